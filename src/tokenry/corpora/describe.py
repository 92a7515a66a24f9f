"""See what a corpus is: how much of what source, how long its documents are, how every signal is spread.

One pass over the text for the sizes; the signals are read from their sidecars, a column at a time.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Figure, Report
from tokenry.corpora.engine import Engine, open_engine
from tokenry.corpora.sidecars import columns_of, read_signals
from tokenry.corpora.units import Reading

__all__ = ["describe", "sizes"]

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_MOST_VALUES = 20  # of a column of words, the most frequent ones


def sizes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Source, characters and bytes of each document; missing texts have neither."""
    import pyarrow.compute as pc

    text = batch.column("text")
    columns = {
        "id": batch.column("id"),
        "source": batch.column("source"),
        "chars": pc.utf8_length(text).cast(pa.int64()),
        "bytes": pc.binary_length(text).cast(pa.int64()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def describe(
    source: object,
    *,
    sidecars: Sequence[str | Path] = (),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
    scratch: str | Path | None = None,
) -> Report:
    """Sources, sizes and the spread of every signal.

    Args:
        source: documents, as `core.tables.stream` reads them.
        sidecars: folders of signals that belong to them.
        reading: how the documents are read.
        engine: an engine or its name.
        scratch: where the sizes of all documents are kept while it runs; None takes a temporary folder (a cluster
            needs one that all its workers see).
    """
    import tempfile

    import pyarrow.parquet as pq

    engine = open_engine(engine)
    known = columns_of(sidecars)
    with tempfile.TemporaryDirectory(prefix=".describe-", dir=scratch) as folder:
        key = fingerprint("describe", 1)
        mapped = engine.map(source, sizes, Path(folder) / "sizes", key=key, reading=reading, label="measuring")
        table = pa.concat_tables([pq.read_table(part, columns=["source", "chars", "bytes"]) for part in mapped.parts])
    tables, figures = _signals(sidecars)
    by_source = _sources(table)
    facts = {
        "documents": table.num_rows,
        "sources": by_source.num_rows,
        "bytes": int(_known(table.column("bytes")).sum()),
        "characters": int(_known(table.column("chars")).sum()),
        "without_text": table.column("bytes").null_count,
        "signals": len(known),
        **mapped.losses,
    }
    largest = by_source.to_pylist()[0]
    return Report(
        kind="corpus",
        title="Corpus",
        facts=facts,
        tables={"sources": by_source, **tables},
        figures=[_lengths(table), *figures],
        verdict=f"{facts['documents']:,} documents, {facts['bytes']:,} bytes in {facts['sources']} sources; "
        f"the largest, {largest['source']}, has {largest['share_of_bytes']:.1%} of the bytes.",
        warnings=[f"{facts['without_text']:,} documents have no text."] if facts["without_text"] else [],
        notes=["A signal of lines or spans is described by the mean of its scores in each document."] if known else [],
    )


def _signals(sidecars: Sequence[str | Path]) -> tuple[dict[str, pa.Table], list[Figure]]:
    """The spread of every signal, as tables and charts; a column at a time is all that is held."""
    numbers, words, figures = [], [], []
    for side in sidecars:
        for name, column in columns_of([side]).items():
            values = read_signals(side, [name]).column(name)
            if pa.types.is_string(column.type) or pa.types.is_boolean(column.type):
                words += _words(name, values)
            elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                numbers.append(_numbers(name, values))
                figures += _spread(name, values)
            elif pa.types.is_list(column.type):
                numbers.append(_numbers(name, pa.chunked_array([_span_means(chunk) for chunk in values.chunks])))
    tables = {"signals": pa.Table.from_pylist(numbers)} if numbers else {}
    return tables | ({"values": pa.Table.from_pylist(words)} if words else {}), figures


def _known(values: pa.ChunkedArray) -> np.ndarray:
    return values.drop_null().cast(pa.float64()).to_numpy()


def _sources(table: pa.Table) -> pa.Table:
    grouped = table.group_by("source").aggregate(
        [("bytes", "count"), ("bytes", "sum"), ("chars", "sum"), ("bytes", "approximate_median")]
    )
    n_all = {row["values"]: row["counts"] for row in table.column("source").combine_chunks().value_counts().to_pylist()}
    total = max(1, sum(value or 0 for value in grouped.column("bytes_sum").to_pylist()))
    rows = [
        {
            "source": row["source"],
            "documents": n_all[row["source"]],
            "bytes": row["bytes_sum"] or 0,
            "share_of_bytes": (row["bytes_sum"] or 0) / total,
            "bytes_per_char": (row["bytes_sum"] or 0) / max(1, row["chars_sum"] or 0),
            "median_bytes": row["bytes_approximate_median"],
        }
        for row in grouped.to_pylist()
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: (-row["bytes"], row["source"])))


def _numbers(name: str, values: pa.ChunkedArray) -> dict[str, object]:
    known = _known(values)
    row: dict[str, object] = {"signal": name, "n": len(values), "missing": values.null_count}
    row["mean"] = float(known.mean()) if len(known) else None
    quantiles = np.quantile(known, _QUANTILES) if len(known) else [None] * len(_QUANTILES)
    for share, value in zip(_QUANTILES, quantiles, strict=True):
        row[f"q{share * 100:g}"] = None if value is None else float(value)
    return row


def _words(name: str, values: pa.ChunkedArray) -> list[dict[str, object]]:
    counts = values.cast(pa.string()).combine_chunks().value_counts().to_pylist()
    counts.sort(key=lambda row: (-row["counts"], row["values"] or ""))
    n = max(1, len(values))
    shown = [(row["values"], row["counts"]) for row in counts[:_MOST_VALUES]]
    if rest := sum(row["counts"] for row in counts[_MOST_VALUES:]):
        shown.append((f"({len(counts) - _MOST_VALUES} others)", rest))
    return [{"signal": name, "value": value, "documents": count, "share": count / n} for value, count in shown]


def _spread(name: str, values: pa.ChunkedArray) -> list[Figure]:
    known = _known(values)
    known = known[np.isfinite(known)]
    if len(known) < 2 or known.min() == known.max():
        return []
    # The outermost hundredth would squeeze all others into one bin.
    low, high = np.quantile(known, (0.005, 0.995))
    inside = known[(known >= low) & (known <= high)]
    return [Figure.of_values(name, name, {"documents": inside}, bins=30)] if inside.min() < inside.max() else []


def _lengths(table: pa.Table) -> Figure:
    known = np.log10(np.maximum(_known(table.column("bytes")), 1))
    return Figure.of_values("Length of documents", "log10 of bytes", {"documents": known}, bins=30)


def _span_means(values: pa.ListArray) -> pa.Array:
    from tokenry.corpora.expressions import FUNCTIONS

    return FUNCTIONS["mean"][1](values)
