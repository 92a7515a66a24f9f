"""Find documents that hold pieces of a test set, so that a benchmark measures ability and not memory.

Every run of `width` normalised words of the test sets is remembered; a document is measured by the runs it shares with
them. Test items shorter than a run count as a whole. Nothing is removed: the result is a sidecar.

Papers: Language Models are Few-Shot Learners (arXiv 2005.14165), appendix C, runs of 13 words; Dolma (arXiv
2402.00159), section on decontamination.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_path, check_folder, write_run
from tokenry.core.tables import stream
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.units import Reading

__all__ = ["Contamination", "TestRuns", "collect_runs", "decontaminate", "overlap"]

# Axes: R remembered runs, W words of a batch.

_FIELDS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("decontaminate.runs", pa.int64(), metadata={"version": "1"}),
        pa.field("decontaminate.words", pa.int64(), metadata={"version": "1"}),
        pa.field("decontaminate.share", pa.float64(), metadata={"version": "1"}),
        pa.field("decontaminate.test_set", pa.string(), metadata={"version": "1"}),
        pa.field("decontaminate.item", pa.string(), metadata={"version": "1"}),
    ]
)


@dataclass(frozen=True, eq=False)
class TestRuns:
    """What is remembered of the test sets.

    Attributes:
        hashes: uint64 (R,), sorted, of all runs.
        items: int64 (R,), the item each run is from (the first, if several).
        widths: lengths of the runs: `width`, and those of items that are shorter.
        names: id of each item.
        sets: int64, the test set of each item.
        set_names: their names.
    """

    __test__ = False  # no test class, whatever its name

    hashes: np.ndarray
    items: np.ndarray
    widths: list[int]
    names: list[str]
    sets: np.ndarray
    set_names: list[str]


@dataclass(frozen=True)
class Contamination:
    """What was found: the sidecar, and a report of counts."""

    decisions: Mapped
    report: Report


def collect_runs(
    test_sets: Mapping[str, object], *, width: int = 13, shortest: int = 8, columns: Sequence[str] = ("text",)
) -> TestRuns:
    """Remember the runs of words of test sets.

    Args:
        test_sets: name -> documents, as `core.tables.stream` reads them.
        width: words in a run.
        shortest: items of fewer words than `width` count as a whole down to this many; shorter ones are left out, for
            they stand in innocent text.
        columns: what makes an item, joined by a space: `question`, `answer`.

    Raises:
        ValueError: no item is long enough, a column is missing, or `shortest` is above `width`.
    """
    from tokenry.corpora.prepared import Prepared

    if not 1 <= shortest <= width:
        raise ValueError(f"width={width}, shortest={shortest}; need 1 <= shortest <= width.")
    hashes, items, names, sets, widths, first = [], [], [], [], {width}, columns[0]
    for place, source in enumerate(test_sets.values()):
        for batch in stream(source, text=first, columns=tuple(columns[1:])):
            texts = _joined(batch, columns)
            words = Prepared(texts).folded
            for row in range(len(texts)):
                mine = words.hashes[words.offsets[row] : words.offsets[row + 1]]
                if len(mine) < shortest:
                    continue
                widths.add(min(width, len(mine)))
                made = _runs(mine, min(width, len(mine)))
                hashes.append(made)
                items.append(np.full(len(made), len(names)))
                names.append(batch.column("id")[row].as_py())
                sets.append(place)
    if not hashes:
        raise ValueError(
            f"no item of {', '.join(test_sets)} has {shortest} words. Need longer ones, or a smaller shortest."
        )
    flat, of = np.concatenate(hashes), np.concatenate(items)
    unique, places = np.unique(flat, return_index=True)
    return TestRuns(unique, of[places], sorted(widths), names, np.array(sets), list(test_sets))


def overlap(batch: pa.RecordBatch, tests: TestRuns) -> pa.RecordBatch:
    """For each document: shared runs, words covered by them, their share, and the test set and item hit most.

    Args:
        batch: documents.
        tests: what `collect_runs` gave.
    """
    from tokenry.corpora.prepared import Prepared

    words = Prepared(batch.column("text")).folded
    rows = []
    for row in range(batch.num_rows):
        mine = words.hashes[words.offsets[row] : words.offsets[row + 1]]
        covered, hits = np.zeros(len(mine) + 1, np.int64), []
        for width in tests.widths:
            if len(mine) < width:
                continue
            made = _runs(mine, width)
            at = np.minimum(np.searchsorted(tests.hashes, made), len(tests.hashes) - 1)
            places = np.flatnonzero(tests.hashes[at] == made)
            np.add.at(covered, places, 1)
            np.add.at(covered, places + width, -1)
            hits.append(tests.items[at[places]])
        found = np.concatenate(hits) if hits else np.empty(0, np.int64)
        n_words = int((np.cumsum(covered[:-1]) > 0).sum())
        most = int(np.bincount(found).argmax()) if len(found) else -1
        rows.append((len(found), n_words, n_words / len(mine) if len(mine) else None, most))
    n_runs, n_covered, shares, most = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = [
        batch.column("id"),
        *(pa.array(n, pa.int64()) for n in (n_runs, n_covered)),
        pa.array(shares, pa.float64()),
        pa.array([None if one < 0 else tests.set_names[tests.sets[one]] for one in most], pa.string()),
        pa.array([None if one < 0 else tests.names[one] for one in most], pa.string()),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=_FIELDS)


def decontaminate(
    source: object,
    out: str | Path,
    *,
    test_sets: Mapping[str, object],
    width: int = 13,
    shortest: int = 8,
    columns: Sequence[str] = ("text",),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Contamination:
    """Measure how much of each document stands in test sets.

    Args:
        source: documents.
        out: the folder of the sidecar; what is remembered of the test sets goes beside it, into `OUT.runs.npz`.
        test_sets: name -> documents.
        width, shortest, columns: as `collect_runs` takes them.
        reading: how the documents are read.
        engine: an engine or its name.

    Raises:
        ValueError: as `collect_runs`. FileExistsError: `out` is there.
    """
    import pyarrow.parquet as pq

    engine, runs = open_engine(engine), Path(f"{out}.runs.npz")
    check_folder(Path(out).parent)
    if Path(out).exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    tests = collect_runs(test_sets, width=width, shortest=shortest, columns=columns)
    _save(tests, runs)
    key = fingerprint("decontaminate", 1, tests.hashes, tests.widths)
    setup = functools.partial(_load, str(runs.resolve()))
    mapped = engine.map(source, overlap, out, key=key, setup=setup, reading=reading, label="looking for test sets")
    arguments = {"test_sets": {name: str(one) for name, one in test_sets.items()}, "width": width, "shortest": shortest}
    write_run(out, verb="corpus decontaminate", arguments=arguments, seed=None, inputs=[source, *test_sets.values()])
    names = ["decontaminate.runs", "decontaminate.share", "decontaminate.test_set", "decontaminate.item"]
    table = pa.concat_tables([pq.read_table(part, columns=names) for part in mapped.parts])
    return Contamination(mapped, _report(table, tests))


def _joined(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.StringArray:
    if len(columns) == 1:
        return batch.column("text")
    pieces = [batch.column("text" if place == 0 else name).to_pylist() for place, name in enumerate(columns)]
    return pa.array([" ".join(str(one) for one in row if one is not None) for row in zip(*pieces, strict=True)])


def _runs(words: np.ndarray, width: int) -> np.ndarray:
    from tokenry.corpora import minhash_kernels

    made = np.empty(max(1, len(words)), np.uint64)
    n = minhash_kernels.shingles(np.ascontiguousarray(words), 0, len(words), width, made)
    return made[:n]


def _save(tests: TestRuns, path: Path) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file, hashes=tests.hashes, items=tests.items, widths=np.array(tests.widths), sets=tests.sets,
            names=np.array(tests.names, dtype=np.str_), set_names=np.array(tests.set_names, dtype=np.str_),
        )  # fmt: skip


def _load(path: str) -> TestRuns:
    with np.load(path, allow_pickle=False) as held:
        names, set_names = held["names"].tolist(), held["set_names"].tolist()
        return TestRuns(held["hashes"], held["items"], held["widths"].tolist(), names, held["sets"], set_names)


def _report(table: pa.Table, tests: TestRuns) -> Report:
    runs_N = table.column("decontaminate.runs").to_numpy()
    found = table.filter(pa.array(runs_N > 0))
    hit_items = set(found.column("decontaminate.item").to_pylist())
    rows = []
    for place, name in enumerate(tests.set_names):
        mine = [row == name for row in found.column("decontaminate.test_set").to_pylist()]
        items = [tests.names[one] for one in np.flatnonzero(tests.sets == place)]
        rows.append({"test_set": name, "items": len(items), "documents": sum(mine),
                     "items_found": sum(one in hit_items for one in items)})  # fmt: skip
    shares = [share for share in found.column("decontaminate.share").to_pylist() if share is not None]
    bounds = (0.0, 0.1, 0.3, 0.5, 0.8)
    by_share = [{"share_above": bound, "documents": sum(share > bound for share in shares)} for bound in bounds]
    n = table.num_rows
    return Report(
        kind="decontaminate",
        title="Documents that hold pieces of test sets",
        facts={"documents": n, "with_a_shared_run": len(shares), "runs_remembered": len(tests.hashes)},
        tables={"test sets": pa.Table.from_pylist(rows), "documents by share": pa.Table.from_pylist(by_share)},
        verdict=f"{len(shares):,} of {n:,} documents share a run of words with a test set.",
        notes=[
            f"Runs of {', '.join(map(str, tests.widths))} normalised words. A document names the item it shares most "
            "with; 'items_found' counts items that are named so. Quotations and licence texts are hits too: look at "
            "the share before dropping.",
        ],
    )
