"""Characters a token of the code-point vocabulary, learned from nine tenths of the carried fiction, on the last tenth.

python bench/unicode_vocabulary.py        # some ten seconds; writes bench/results/unicode_vocabulary.json
"""

import json
from pathlib import Path

import numpy as np

from tokenry.core.intervals import ratio_interval
from tokenry.core.tables import texts
from tokenry.data import demo_text
from tokenry.tokenization.unicode_vocabulary import SIZES, train_unicode

RESULTS = Path(__file__).resolve().parent / "results" / "unicode_vocabulary.json"


def main() -> None:
    everything = list(texts(demo_text("fiction")))
    n = int(0.9 * len(everything))
    held = everything[n:]
    characters = np.array([len(text) for text in held])
    rows = []
    for size in SIZES:
        for longest in (5, 12):
            vocab = train_unicode([{"text": text} for text in everything[:n]], size=size, max_length=longest)
            tokens = np.array([len(ids) for ids in vocab.encode(held)])
            rate = ratio_interval(characters, tokens, seed=0)
            row = {"size": size, "longest_group": longest, "merges": len(vocab.merges), "passages": len(held)}
            rows.append(row | {"characters_per_token": rate.value, "low": rate.low, "high": rate.high})
            print(json.dumps(rows[-1]))
    RESULTS.write_text(json.dumps({"command": "python bench/unicode_vocabulary.py", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
