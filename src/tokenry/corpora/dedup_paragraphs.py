"""Find paragraphs that stood before, in any document: menus, notices, quoted mails, licence texts.

A Bloom filter remembers the paragraphs, so memory is fixed whatever the corpus: a known small share of new paragraphs
is taken for old. The corpus is gone through in order, and the first of equal paragraphs stays. The result is a sidecar
of spans; `corpus select --cut` takes them out when documents are written.

Papers: Dolma (arXiv 2402.00159), section on paragraph deduplication; Space/time trade-offs in hash coding with
allowable errors (Bloom, 1970).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import BloomFilter, fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import Progress, check_folder, write_run
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.sidecars import write_sidecar
from tokenry.corpora.spans import SPANS
from tokenry.corpora.units import Reading

__all__ = ["Paragraphs", "dedup_paragraphs", "paragraph_hashes", "repeated_spans"]


@dataclass(frozen=True)
class Paragraphs:
    """What was found: the sidecar `dedup.paragraphs.spans` and `.share`, and a report."""

    decisions: Mapped
    report: Report


def paragraph_hashes(batch: pa.RecordBatch, *, shortest: int) -> pa.RecordBatch:
    """Place and hash of each paragraph (line) of each document; those of fewer than `shortest` words are left out.

    Case, punctuation and white space do not count. Offsets are characters of the text, the newline not included.
    """
    from tokenry.corpora.prepared import Prepared

    prepared = Prepared(batch.column("text"))
    lines = prepared.strip(prepared.universal_lines)
    words = prepared.folded
    first = np.searchsorted(words.begins, lines.begins)
    last = np.searchsorted(words.begins, lines.ends)
    kept = last - first >= max(1, shortest)
    hashes = _folded(words.hashes, first[kept], last[kept])
    counts = np.concatenate([[0], np.cumsum(kept)])
    offsets = counts[lines.offsets]
    document = np.repeat(np.arange(batch.num_rows), np.diff(lines.offsets))[kept]
    begins = lines.begins[kept] - prepared.starts[document]
    ends = lines.ends[kept] - prepared.starts[document]
    columns = {
        "id": batch.column("id"),
        "chars": pa.array(prepared.lengths, pa.int64()),
        "begins": pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(begins, pa.int64())),
        "ends": pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(ends, pa.int64())),
        "hashes": pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(hashes, pa.uint64())),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def repeated_spans(table: pa.Table, seen: BloomFilter) -> tuple[pa.ListArray, np.ndarray]:
    """The spans of paragraphs that `seen` holds or that stood earlier in the table, and their share of the characters.

    Args:
        table: rows of `paragraph_hashes`, in the order of the corpus.
        seen: gets all the paragraphs of the table.
    """
    hashes = table.column("hashes").combine_chunks()
    begins, ends = (table.column(name).combine_chunks().flatten().to_numpy() for name in ("begins", "ends"))
    offsets = np.concatenate([[0], np.cumsum(hashes.value_lengths().fill_null(0).to_numpy())])
    repeated = seen.add(hashes.flatten().to_numpy()) if len(begins) else np.empty(0, bool)
    counts = np.concatenate([[0], np.cumsum(repeated)])[offsets]
    spans = pa.StructArray.from_arrays(
        [pa.array(begins[repeated]), pa.array(ends[repeated]), pa.array(np.ones(int(repeated.sum())))],
        fields=list(SPANS.value_type),
    )
    covered = np.concatenate([[0], np.cumsum(np.where(repeated, ends - begins, 0))])[offsets]
    chars = np.maximum(table.column("chars").to_numpy(), 1)
    return pa.ListArray.from_arrays(pa.array(counts, pa.int32()), spans), np.diff(covered) / chars


def dedup_paragraphs(
    source: object,
    out: str | Path,
    *,
    shortest: int = 3,
    capacity: int | None = None,
    error: float = 1e-5,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Paragraphs:
    """Find the paragraphs that stood before.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder of the sidecar.
        shortest: paragraphs of fewer words are left alone: headings, list items.
        capacity: different paragraphs the filter is made for; None takes the number of paragraphs there are.
        error: share of new paragraphs that may be taken for old.
        reading: how the documents are read.
        engine: for the hashing; the filter itself is filled on this machine.

    Raises:
        FileExistsError: `out` is there. ValueError: a share outside 0..1.
    """
    import shutil

    import pyarrow.parquet as pq

    engine, target = open_engine(engine), Path(out)
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    scratch = target.parent / f".{target.name}.hashes"
    shutil.rmtree(scratch, ignore_errors=True)
    key = fingerprint("dedup-paragraphs", 1, shortest)
    made = engine.map(source, partial(paragraph_hashes, shortest=shortest), scratch, key=key, reading=reading,
                      label="hashing paragraphs")  # fmt: skip
    n_paragraphs = sum(_n_values(part) for part in made.parts)
    seen = BloomFilter(max(1, capacity or n_paragraphs), error)
    spans, shares = [], []
    with Progress("comparing paragraphs", total=made.n_out) as progress:
        for part in made.parts:
            table = pq.read_table(part)
            found, share = repeated_spans(table, seen)
            spans.append(found)
            shares.append(pa.array(share))
            progress.add(table.num_rows)
    columns = {
        "dedup.paragraphs.spans": pa.chunked_array(spans, SPANS),
        "dedup.paragraphs.share": pa.chunked_array(shares, pa.float64()),
    }
    decisions = write_sidecar(made, columns, target, key=key, engine=engine.name)
    shutil.rmtree(scratch)
    arguments = {"method": "paragraphs", "shortest": shortest, "capacity": seen.capacity, "error": error}
    write_run(target, verb="corpus dedup", arguments=arguments, seed=None, inputs=[source])
    return Paragraphs(decisions, _report(columns, n_paragraphs, seen))


def _folded(words: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """One hash for the words `first` to `last` of each paragraph."""
    from tokenry.corpora import minhash_kernels

    return minhash_kernels.run_hashes(np.ascontiguousarray(words), first.astype(np.int64), last.astype(np.int64))


def _n_values(part: Path) -> int:
    import pyarrow.parquet as pq

    return int(sum(len(chunk.flatten()) for chunk in pq.read_table(part, columns=["begins"]).column(0).chunks))


def _report(columns: dict[str, pa.ChunkedArray], n_paragraphs: int, seen: BloomFilter) -> Report:
    shares = columns["dedup.paragraphs.share"].to_numpy()
    n_repeated = sum(len(chunk.flatten()) for chunk in columns["dedup.paragraphs.spans"].chunks)
    bounds = (0.0, 0.1, 0.3, 0.5, 0.8)
    rows = [{"share_above": bound, "documents": int((shares > bound).sum())} for bound in bounds]
    n = len(shares)
    return Report(
        kind="dedup",
        title="Repeated paragraphs",
        facts={
            "documents": n,
            "paragraphs": n_paragraphs,
            "repeated": n_repeated,
            "filter_megabytes": len(seen.bits) / 1e6,
            "expected_error": seen.expected_error(),
        },
        tables={"documents by share": pa.Table.from_pylist(rows)},
        verdict=f"{n_repeated:,} of {n_paragraphs:,} paragraphs stood before, in {int((shares > 0).sum()):,} of {n:,} "
        "documents.",
        notes=["The first of equal paragraphs stays. Case, punctuation and white space do not count."],
    )
