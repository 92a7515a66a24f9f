"""Continued BPE against appending another tokenizer's pieces, at equal size, on a production vocabulary (Cabrita).

    python bench/extend.py            # needs ../shared/data beside the project; about a minute

Mistral's 32,000 entries (SentencePiece BPE) are extended by 3,000 for Turkish software documentation: by continued BPE,
and by the pieces of a Turkish tokenizer appended after the old merges (the mildest of the appending ways). Tokens are
counted on Turkish paragraphs neither was learned from, and on English ones. Written to bench/results/extend.json.
"""

import json
import lzma
import platform
from datetime import UTC, datetime
from pathlib import Path

from tokenry.core.vocab import Vocab
from tokenry.tokenization.extend import extend
from tokenry.tokenization.train import train

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results" / "extend.json"
ADDED = 3000


def paragraphs(label: str) -> list[str]:
    """The paragraphs of one label of the mixture."""
    with lzma.open(SHARED / "mixture" / f"{label}.jsonl.xz", "rt") as file:
        return [json.loads(line)["text"] for line in file]


def appended(old: Vocab, other: Vocab, n: int) -> Vocab:
    """`old` with the first `n` pieces of `other` it lacks, and every merge of two known ones, after its own merges."""
    entries, merges = dict(old.spec["model"]["vocab"]), list(old.spec["model"]["merges"])
    as_text = bool(merges) and isinstance(merges[0], str)
    for left, right, result in other.merges.tolist():
        name, parts = other.literal(result), [other.literal(left), other.literal(right)]
        if name in entries or len(entries) >= old.size + n:
            continue
        entries[name] = len(entries)
        if all(part in entries for part in parts):
            merges.append(" ".join(parts) if as_text else parts)
    model = {**old.spec["model"], "vocab": entries, "merges": merges}
    return Vocab.from_spec({**old.spec, "model": model}, old.config, "appended")


def main() -> None:
    old = Vocab.open(SHARED / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    turkish, english = paragraphs("tr"), paragraphs("en")[:1000]
    learn, held = turkish[:2500], turkish[2500:]
    vocabularies = {
        "base": old,
        "continued BPE": extend(old, learn, add=ADDED).vocab,
        "appended pieces": appended(old, train(learn, size=16_000, like=old), ADDED),
    }
    rows = {}
    for name, vocab in vocabularies.items():
        cuts = vocab.encode(english)
        unreachable = sum(vocab.decompose(vocab.tokens[i]) != [i] for i in range(old.size, vocab.size))
        changed = sum(len(a) != len(b) for a, b in zip(cuts, old.encode(english), strict=True))
        rows[name] = {
            "size": vocab.size, "turkish_tokens": sum(map(len, vocab.encode(held))),
            "english_tokens": sum(map(len, cuts)), "english_paragraphs_changed": changed,
            "unreachable_new": unreachable,
        }  # fmt: skip
    result = {
        "what": "tokens of held-out text after extending by 3,000 entries", "command": "python bench/extend.py",
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.machine(),
        "turkish_paragraphs": len(held), "english_paragraphs": len(english), "rows": rows,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
