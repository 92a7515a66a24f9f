"""Counting pre-tokens: our scanner against the library's `pre_tokenize_str` and against gigatoken, on the same text.

    python bench/counting.py --mb 20        # the text of bench/corpus.py; gigatoken when it is installed

CPU seconds of this process (gigatoken uses all cores, and their seconds are added) from the text in memory to the table
of distinct pieces and their counts, in each tool's own form; reading the files is left out. The tables are compared
afterwards. Written to bench/results/counting.json.
"""

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from corpus import corpus

from tokenry.core.cutters import Cutter, byte_level_words
from tokenry.core.patterns import known, split_pretokenizer
from tokenry.core.string_counts import StringCounts
from tokenry.core.tables import stream

RESULTS = Path(__file__).resolve().parent / "results" / "counting.json"
FAMILIES = ("gpt2", "cl100k", "o200k", "qwen2", "tekken")
EMPTY = {"type": "BPE", "vocab": {}, "merges": []}


def timed(work):
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def by_scanner(cutter: Cutter, batches: list[pa.Array]) -> tuple[pa.Array, np.ndarray, Counter]:
    held, rest = StringCounts(), Counter()
    for texts in batches:
        scanned = cutter.scan(texts)
        if scanned is not None:
            held.add_pieces(*scanned)
            continue
        for pieces, is_raw in cutter.raw(texts.to_pylist()):
            rest.update(byte_level_words(pieces) if is_raw else pieces)
    return (*held.arrays(), rest)


def by_library(cutter: Cutter, strings: list[list[str]]) -> Counter:
    found: Counter = Counter()
    for texts in strings:
        for text in texts:
            found.update(word for word, _ in cutter._library.pre_tokenizer.pre_tokenize_str(text))
    return found


def by_gigatoken(strings: list[list[str]]) -> list[tuple[bytes, int]]:
    from gigatoken import gigatoken_rs

    return gigatoken_rs.pretokenized_counts(
        "\xff".encode("latin-1").join(t.encode() for s in strings for t in s), b"\xff"
    )


def table_of(words: Sequence[str | bytes], counts: Sequence[int]) -> Counter:
    words = [word.decode() if isinstance(word, bytes) else word for word in words]
    return Counter(dict(zip(byte_level_words(words), counts, strict=True)))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--mb", type=int, default=20)
    mb = options.parse_args().mb
    batches = [batch.column("text") for batch in stream(corpus(mb), columns=(), batch_rows=16)]
    strings = [texts.to_pylist() for texts in batches]
    n_bytes = sum(len(text.encode()) for texts in strings for text in texts)
    rows = []
    for family in FAMILIES:
        cutter = Cutter({"pre_tokenizer": split_pretokenizer(known(family)), "model": EMPTY})
        by_scanner(cutter, batches[:1])
        ours, counted = timed(lambda cutter=cutter: by_scanner(cutter, batches))
        words, times, rest = counted
        counted = table_of(words.to_pylist(), times.tolist()) + rest
        library, wanted = timed(lambda cutter=cutter: by_library(cutter, strings))
        row = {"pattern": family, "mb_per_cpu_s": n_bytes / ours / 1e6, "library_mb_per_cpu_s": n_bytes / library / 1e6,
               "ratio": library / ours, "distinct": len(wanted), "equal": counted == wanted}  # fmt: skip
        if family == "gpt2":
            try:
                seconds, found = timed(lambda: by_gigatoken(strings))
                row |= {
                    "gigatoken_mb_per_cpu_s": n_bytes / seconds / 1e6,
                    "gigatoken_equal": table_of(*zip(*found, strict=True)) == wanted,
                }
            except ImportError:
                pass
        rows.append(row)
        print(json.dumps(row))
    record = {"command": f"python bench/counting.py --mb {mb}", "date": datetime.now(UTC).date().isoformat(),
              "machine": f"{platform.machine()}, {os.cpu_count()} cores", "bytes": n_bytes, "rows": rows}  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
