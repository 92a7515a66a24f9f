"""Counting pre-tokens: our scanner against the library's `pre_tokenize_str` and against gigatoken, on the same text.

    python bench/counting.py --mb 20        # the text of bench/corpus.py; gigatoken when it is installed

CPU seconds of this process (gigatoken uses all cores, and their seconds are added) from the text in memory to the table
of distinct pieces and their counts, in each tool's own form; reading the files is left out. gigatoken is timed in its
own form (one call, a list of pairs) and as `count_pretokens(engine="gigatoken")` runs it: looked through for characters
it sees differently, in blocks, into our table. Our engine and gigatoken run three times in turns, the best counts. The
tables are compared afterwards. Written to bench/results/counting.json.
"""

import argparse
import importlib.util
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

from tokenry.core.cutters import Cutter
from tokenry.core.gigatoken_counts import BLOCK, GigatokenCounter, closed_streams
from tokenry.core.patterns import known, split_pretokenizer
from tokenry.core.scanning import byte_level_words
from tokenry.core.string_counts import StringCounts
from tokenry.core.tables import stream

RESULTS = Path(__file__).resolve().parent / "results" / "counting.json"
FAMILIES = ("gpt2", "cl100k", "o200k", "qwen2", "tekken")
EMPTY = {"type": "BPE", "vocab": {}, "merges": []}


REPEATS = 3


def timed(work):
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def best(*works):
    """The works in turns, some times: (CPU seconds, wall seconds, what was found) of each, the least of each."""
    runs = [[] for _ in works]
    for _ in range(REPEATS):
        for work, held in zip(works, runs, strict=True):
            wall = time.perf_counter()
            cpu, found = timed(work)
            held.append((cpu, time.perf_counter() - wall, found))
    return [(min(cpu for cpu, _, _ in held), min(wall for _, wall, _ in held), held[-1][2]) for held in runs]


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


def by_gigatoken_into_table(cutter: Cutter, batches: list[pa.Array]) -> tuple[pa.Array, np.ndarray]:
    counter, table = GigatokenCounter(cutter), StringCounts()
    for texts in blocks(batches):
        table.add_data(*counter(texts))
    return table.arrays()


def blocks(batches: list[pa.Array]):
    held = []
    for texts in batches:
        held.append(texts.cast(pa.large_string()))
        if sum(part.nbytes for part in held) >= BLOCK:
            yield pa.concat_arrays(held)
            held = []
    if held:
        yield pa.concat_arrays(held)


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
        works = [lambda cutter=cutter: by_scanner(cutter, batches)]
        if family == "gpt2" and importlib.util.find_spec("gigatoken"):
            with closed_streams():  # it reports there, and it is imported here, not while it is timed
                by_gigatoken(strings[:1])
            works += [lambda: by_gigatoken(strings), lambda cutter=cutter: by_gigatoken_into_table(cutter, batches)]
        (ours, wall, counted), *others = best(*works)
        words, times, rest = counted
        counted = table_of(words.to_pylist(), times.tolist()) + rest
        library, wanted = timed(lambda cutter=cutter: by_library(cutter, strings))
        row = {"pattern": family, "mb_per_cpu_s": n_bytes / ours / 1e6, "mb_per_s": n_bytes / wall / 1e6,
               "library_mb_per_cpu_s": n_bytes / library / 1e6, "ratio": library / ours, "distinct": len(wanted),
               "equal": counted == wanted}  # fmt: skip
        if others:
            (seconds, _, pairs), (table_seconds, table_wall, table) = others
            row |= {
                "gigatoken_mb_per_cpu_s": n_bytes / seconds / 1e6,
                "gigatoken_equal": table_of(*zip(*pairs, strict=True)) == wanted,
                "gigatoken_into_table_mb_per_cpu_s": n_bytes / table_seconds / 1e6,
                "gigatoken_into_table_mb_per_s": n_bytes / table_wall / 1e6,
                "gigatoken_into_table_equal": table_of(table[0].to_pylist(), table[1].tolist()) == wanted,
            }
        rows.append(row)
        print(json.dumps(row))
    record = {
        "command": f"python bench/counting.py --mb {mb}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_at_end": os.getloadavg()[0],
        "bytes": n_bytes,
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
