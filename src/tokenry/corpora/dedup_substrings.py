"""Find passages that stand more than once, byte for byte, wherever they begin: quoted articles, licences, templates.

Every run of `length` bytes that stood before is marked, in whole documents or in the middle of one. A first pass takes
the least hash of each run as its anchor (winnowing): equal runs have equal anchors, so only the neighbourhood of
anchors that come twice can repeat. Those regions go into a suffix array, which is exact; where they are too many for
the memory, anchors are dealt out over several arrays, and equal runs still meet in one. The result is a sidecar of
spans; `corpus select --cut` takes them out.

Papers: Deduplicating Training Data Makes Language Models Better (arXiv 2107.06499), exact substring duplication;
Winnowing: local algorithms for document fingerprinting (Schleimer, Wilkerson, Aiken, 2003).
"""

import functools
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import needs
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import check_folder, log, write_run
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.sidecars import write_sidecar
from tokenry.corpora.spans import SPANS
from tokenry.corpora.units import Reading

__all__ = ["KEEP", "Substrings", "dedup_substrings"]

# Axes: D documents, A anchors, R regions, S spans.

KEEP = ("first", "none")
_SHORTEST = 16
_BYTES_EACH = 12  # of memory for a byte of a region: itself, its suffix (4 or 8), marks
_BORDER = 0xFF  # stands in no UTF-8 text
_PLACES = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))


@dataclass(frozen=True)
class Substrings:
    """What was found: the sidecar `dedup.substring.spans` and `.share`, and a report."""

    decisions: Mapped
    report: Report


def dedup_substrings(
    source: object,
    out: str | Path,
    *,
    length: int = 200,
    keep: str = "first",
    memory: int = 2 * 2**30,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Substrings:
    """Find the passages that stand more than once.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder of the sidecar.
        length: bytes of a run (200 are some 50 BPE tokens of English, the paper's number).
        keep: "first" leaves the first of equal runs alone; "none" marks every copy, as the authors' program lists them.
        memory: bytes that a suffix array may take; the text is gone through once more for each that is needed.
        reading: how the documents are read.
        engine: for all that reads text; the suffix arrays are made on this machine.

    Raises:
        ImportError: the extra "substring" is missing. FileExistsError: `out` is there. ValueError: a wrong setting.
    """
    needs("substring", "pydivsufsort")
    if length < _SHORTEST or keep not in KEEP:
        raise ValueError(
            f"length={length}, keep={keep!r}; need at least {_SHORTEST} bytes (--length), and to keep first or none "
            "(--keep)."
        )
    engine, target = open_engine(engine), Path(out)
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    scratch = target.parent / f".{target.name}.substrings"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        work = _Work(engine, source, scratch, reading, length)
        dealt = _dealt(work, memory)
        spans = [_found(work, number, keep) for number in range(dealt)]
        decisions = _written(work, spans, target, keep)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    arguments = {"method": "substring", "length": length, "keep": keep, "memory": memory}
    write_run(target, verb="corpus dedup", arguments=arguments, seed=None, inputs=[source])
    report = _report(decisions, length, keep, dealt)
    report.facts |= decisions.losses
    return Substrings(decisions, report)


@dataclass(frozen=True)
class _Work:
    """What all passes share: the engine, the documents, a folder for what lies between, the bytes of a run."""

    engine: Engine
    source: object
    scratch: Path
    reading: Reading
    length: int

    @property
    def gram(self) -> int:
        """Bytes of an anchor: half a run, so that one byte in about `length` / 4 has one."""
        return self.length // 2

    def map(self, function: object, name: str, **options: object) -> Mapped:
        reading = options.pop("reading", self.reading)
        return self.engine.map(
            self.source, function, self.scratch / name, key=fingerprint("dedup-substrings", 1, self.length),
            reading=reading, **options,
        )  # fmt: skip


def anchor_rows(batch: pa.RecordBatch, *, length: int, gram: int) -> pa.RecordBatch:
    """The hash of every anchor of every text, a row each."""
    from tokenry.corpora import substring_kernels

    data, offsets = _bytes_of(batch)
    _, hashes, _ = substring_kernels.all_anchors(data, offsets, length, gram)
    return pa.RecordBatch.from_arrays([pa.array(hashes.view(np.int64))], names=["anchor"])


def regions(batch: pa.RecordBatch, wanted_A: np.ndarray, *, length: int, gram: int) -> pa.RecordBatch:
    """What stands around the anchors `wanted_A` (sorted) of each text: where it begins, and its bytes."""
    from tokenry.corpora import substring_kernels

    data, offsets = _bytes_of(batch)
    places, hashes, starts = substring_kernels.all_anchors(data, offsets, length, gram)
    known = np.searchsorted(wanted_A, hashes)
    chosen = np.flatnonzero(wanted_A[np.minimum(known, len(wanted_A) - 1)] == hashes) if len(wanted_A) else known[:0]
    rows = np.searchsorted(starts, chosen, side="right") - 1
    sizes = np.diff(offsets)
    # In places of the whole batch, a byte apart, so that regions of two texts never touch.
    shifts = offsets[:-1] + np.arange(len(sizes))
    low = shifts[rows] + np.maximum(places[chosen] - (length - gram), 0)
    high = shifts[rows] + np.minimum(places[chosen] + length, sizes[rows])
    begins, ends = substring_kernels.merged(low, high)
    row = np.searchsorted(shifts, begins, side="right") - 1
    begins, ends = begins - shifts[row], ends - shifts[row]
    whole = data.tobytes()
    pieces = [whole[offsets[r] + b : offsets[r] + e] for r, b, e in zip(row, begins, ends, strict=True)]
    counts = np.searchsorted(row, np.arange(len(sizes) + 1)).astype(np.int32)
    columns = {
        "id": batch.column("id"),
        "size": pa.array(sizes, pa.int64()),
        "begins": pa.ListArray.from_arrays(counts, pa.array(begins, pa.int64())),
        "pieces": pa.ListArray.from_arrays(counts, pa.array(pieces, pa.binary())),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def character_spans(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Spans of bytes (the column `places`) as spans of whole characters, and their share of the text."""
    from tokenry.corpora import substring_kernels

    data, offsets = _bytes_of(batch)
    places = batch.column("places")
    counts = np.concatenate([[0], np.cumsum(places.value_lengths().fill_null(0).to_numpy())])
    bounds = places.flatten()
    begins, ends = (bounds.field(place).to_numpy() for place in (0, 1))
    rows = np.repeat(np.arange(batch.num_rows), np.diff(counts))
    both = substring_kernels.characters_before(
        data, offsets, np.repeat(rows, 2), np.stack([begins, ends], axis=1).ravel()
    ).reshape(-1, 2)
    after = np.append(data, 0)[offsets[rows] + ends]
    # A span that ends inside a character does not hold it, and one that ends with its text does.
    both[:, 1] -= ((after & 0xC0) == 0x80) & (offsets[rows] + ends < offsets[rows + 1])
    kept = both[:, 1] > both[:, 0]
    counts = np.concatenate([[0], np.cumsum(kept)])[counts]
    both = both[kept]
    made = pa.StructArray.from_arrays(
        [pa.array(both[:, 0]), pa.array(both[:, 1]), pa.array(np.ones(len(both)))], fields=list(SPANS.value_type)
    )
    covered = np.concatenate([[0], np.cumsum(both[:, 1] - both[:, 0])])[counts]
    lengths = np.maximum(_characters(data, offsets), 1)
    columns = {
        "id": batch.column("id"),
        "dedup.substring.spans": pa.ListArray.from_arrays(pa.array(counts, pa.int32()), made),
        "dedup.substring.share": pa.array(np.diff(covered) / lengths, pa.float64()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _bytes_of(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts and where each begins; a null text has none."""
    texts = batch.column("text").fill_null("")
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    data = texts.buffers()[2]
    held = np.frombuffer(b"" if data is None else data, np.uint8)
    return held[offsets[0] : offsets[-1]], offsets - offsets[0]


def _characters(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    firsts = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
    return np.diff(firsts[offsets])


def _dealt(work: _Work, memory: int) -> int:
    """Write the anchors that come more than once, dealt out so that the regions of each deal fit; how many deals."""
    import pyarrow.parquet as pq

    made = work.map(
        functools.partial(anchor_rows, length=work.length, gram=work.gram), "anchors", label="looking for passages"
    )
    counted = work.engine.group(
        made.folder, ["anchor"], work.scratch / "counts.parquet", aggregates={"n": ("count", "*")}
    )
    shutil.rmtree(made.folder)
    anchors, counts = [], []
    for batch in pq.ParquetFile(counted).iter_batches():
        n = batch.column("n").to_numpy()
        anchors.append(batch.column("anchor").to_numpy().view(np.uint64)[n > 1])
        counts.append(n[n > 1])
    anchors_A = np.concatenate([*anchors, np.empty(0, np.uint64)])
    n_bytes = int(np.concatenate([*counts, np.empty(0, np.int64)]).sum()) * (2 * work.length - work.gram)
    dealt = max(1, math.ceil(n_bytes * _BYTES_EACH / memory))
    for number in range(dealt):
        np.save(work.scratch / f"anchors-{number}.npy", np.sort(anchors_A[anchors_A % np.uint64(dealt) == number]))
    if dealt > 1:
        log(f"at most {n_bytes:,} bytes may repeat: {dealt} suffix arrays of {memory:,} bytes")
    return dealt


def _load(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def _found(work: _Work, number: int, keep: str) -> np.ndarray:
    """(S, 3) int64: document, first byte, the one after the last, of what repeats among the regions of one deal."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from pydivsufsort import divsufsort

    from tokenry.corpora import substring_kernels

    name = f"regions-{number}"
    made = work.map(
        functools.partial(regions, length=work.length, gram=work.gram), name, label="collecting passages",
        setup=functools.partial(_load, work.scratch / f"anchors-{number}.npy"),
    )  # fmt: skip
    documents, begins, pieces, n_before = [], [], [], 0
    for part in made.parts:
        table = pq.read_table(part, columns=["begins", "pieces"])
        counts = pc.list_value_length(table.column("begins")).to_numpy()
        documents.append(n_before + np.repeat(np.arange(len(counts)), counts))
        begins += [chunk.flatten().to_numpy() for chunk in table.column("begins").chunks]
        pieces += [piece for chunk in table.column("pieces").chunks for piece in chunk.flatten().to_pylist()]
        n_before += table.num_rows
    if not pieces:
        return np.empty((0, 3), np.int64)
    document_R, begin_R = np.concatenate(documents), np.concatenate(begins)
    sizes_R = np.array([len(piece) for piece in pieces], np.int64)
    data = np.frombuffer(bytearray([_BORDER]).join(pieces), np.uint8)  # a bytearray: the library wants to own it
    del pieces
    first_R = np.concatenate([[0], np.cumsum(sizes_R + 1)[:-1]])
    ends_R, first = first_R + sizes_R, keep == "first"
    low, high = substring_kernels.repeats(data, divsufsort(data), first_R, ends_R, work.length, first)
    region = np.searchsorted(first_R, low, side="right") - 1
    shift = begin_R[region] - first_R[region]
    return np.stack([document_R[region], low + shift, high + shift], axis=1)


def _written(work: _Work, spans: list[np.ndarray], target: Path, keep: str) -> Mapped:
    """Join what the deals found, count in characters, and write the sidecar."""
    import dataclasses

    import pyarrow.parquet as pq

    from tokenry.corpora import substring_kernels

    like = _opened(work, "regions-0")
    sizes_D = np.concatenate([pq.read_table(part, columns=["size"]).column("size").to_numpy() for part in like.parts])
    shifts_D = np.concatenate([[0], np.cumsum(sizes_D + 1)])  # a byte apart: spans of two documents never touch
    found_S3 = np.concatenate(spans)
    low, high = (shifts_D[found_S3[:, 0]] + found_S3[:, side] for side in (1, 2))
    order = np.argsort(low, kind="stable")
    low, high = substring_kernels.merged(low[order], high[order])
    document_S = np.searchsorted(shifts_D, low, side="right") - 1
    counts = np.searchsorted(document_S, np.arange(len(sizes_D) + 1))
    bounds = [pa.array(side - shifts_D[document_S], pa.int64()) for side in (low, high)]
    places = pa.ListArray.from_arrays(
        pa.array(counts, pa.int32()), pa.StructArray.from_arrays(bounds, fields=list(_PLACES.value_type))
    )
    key = fingerprint("dedup-substrings", 1, work.length, keep)
    beside = write_sidecar(like, {"places": places}, work.scratch / "places", key=key, engine=work.engine.name)
    reading = dataclasses.replace(
        work.reading, columns=(), schema=None, sidecars=(str(beside.folder),), signals=("places",)
    )
    return work.engine.map(work.source, character_spans, target, key=key, reading=reading, label="writing spans")


def _opened(work: _Work, name: str) -> Mapped:
    from tokenry.corpora.engine import read_mapped

    return read_mapped(work.scratch / name)


def _report(decisions: Mapped, length: int, keep: str, dealt: int) -> Report:
    import pyarrow.parquet as pq

    shares, longest, n_spans = [], 0, 0
    for part in decisions.parts:
        table = pq.read_table(part, columns=["dedup.substring.share", "dedup.substring.spans"])
        shares.append(table.column(0).to_numpy())
        for chunk in table.column(1).chunks:
            spans = chunk.flatten()
            lengths = spans.field(1).to_numpy() - spans.field(0).to_numpy()
            longest, n_spans = max(longest, int(lengths.max(initial=0))), n_spans + len(lengths)
    share_D = np.concatenate(shares)
    bounds = (0.0, 0.1, 0.3, 0.5, 0.8)
    rows = [{"share_above": bound, "documents": int((share_D > bound).sum())} for bound in bounds]
    what = "The first of equal passages stays." if keep == "first" else "Every copy is marked, the first too."
    return Report(
        kind="dedup",
        title="Repeated passages",
        facts={
            "documents": len(share_D),
            "spans": n_spans,
            "documents_with_spans": int((share_D > 0).sum()),
            "longest_characters": longest,
            "suffix_arrays": dealt,
        },
        tables={"documents by share": pa.Table.from_pylist(rows)},
        verdict=f"{n_spans:,} passages of at least {length} bytes stand elsewhere too, in "
        f"{int((share_D > 0).sum()):,} of {len(share_D):,} documents.",
        notes=[f"{what} Bytes are compared: case, punctuation and white space count."],
    )
