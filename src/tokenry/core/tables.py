"""Read documents from anywhere as a stream of Arrow batches, and write them whole or not at all.

Documents are Arrow tables with the columns `id`, `text`, `source` (strings) and any others:

- `id`: as given (numbers become text); else file name and line or row number, `de.jsonl:12`. Files read together are
  named from their common folder on.
- `text`: as given, or the column named by `text=`, which then takes this name. It may be null.
- `source`: as given; else the file's name without suffixes, or `""` for rows from memory.
- A row of JSON (or of an iterable) may be a string: then it is the text.
- Others: the columns of the first batch, with their types there. A column of several types in it, or without any
  value, is left out; later a new column is left out, and a value of another type becomes null (one warning a column).

A `.txt` file is one document. Over 1 MB it is cut at blank lines into documents of about 16 kB, so that it streams and
can be split by document; they join to the file again.
"""

import contextlib
import gzip
import itertools
import json
import lzma
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tokenry.core.columns import MEMORY, BadRows, Columns
from tokenry.core.places import KNOWN, find_places, looks_like_paths, split_suffix
from tokenry.core.readers import BATCH_BYTES, Row, Rows, read_place
from tokenry.core.runs import atomic_path

__all__ = ["BadRows", "read", "stream", "texts", "write"]

Raw = tuple[Rows | pa.RecordBatch, object]  # a batch before its columns are set, and the place it came from
_GROUP_ROWS, _GROUP_BYTES = 16_384, 64 * 2**20  # a Parquet row group ends at either
_EMPTY = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string())])


def stream(
    source: object,
    *,
    text: str = "text",
    columns: Sequence[str] | None = None,
    batch_rows: int = 1024,
    skip_bad: bool = False,
    limit: int | None = None,
    bad: BadRows | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream documents, a batch in memory at a time.

    Args:
        source: a path, glob, folder (with its subfolders) or `hf://datasets/owner/name/...`, or a list of those;
            a `datasets.Dataset` or `IterableDataset`; an Arrow table or whatever hands out Arrow (pandas, polars);
            an iterable of strings, mappings or record batches. Files are .jsonl, .ndjson, .json (an array, or
            values one after the other), .txt, each also with .gz, .zst, .xz, .bz2; and .parquet. A list of strings
            names files when all of them are, see `places.looks_like_paths`; `pathlib.Path` is always a file.
        text: the column that holds the text.
        columns: other columns to keep; None keeps all, `()` none (faster).
        batch_rows: rows in a batch at most; batches of long documents are smaller.
        skip_bad: pass over broken rows, count them in `bad` and warn once; else the first one raises.
        limit: stop after this many documents.
        bad: counts what was passed over.

    Raises:
        FileNotFoundError: nothing is there, or it lies on the hub and the hub is switched off. At once.
        ValueError: a broken row (with file and line), no text column (with those that exist), no documents.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows={batch_rows}; need at least 1.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} documents; need at least 1, or None for all.")
    own = BadRows() if bad is None else bad
    shaper = Columns(text=text, keep=columns, skip_bad=skip_bad, bad=own)
    raw = _open(source, min(batch_rows, limit or batch_rows), shaper)
    return _shaped(raw, shaper, limit, _described(source), warn=bad is None)


def read(source: object, **options: object) -> pa.Table:
    """All documents as one table; arguments and errors as for `stream`."""
    return pa.Table.from_batches(list(stream(source, **options)))


def texts(source: object, **options: object) -> Iterator[str]:
    """The texts alone, nulls left out; arguments and errors as for `stream`."""
    for batch in stream(source, **{"columns": (), **options}):
        yield from (text for text in batch.column("text").to_pylist() if text is not None)


def write(documents: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch | pa.Table], path: str | Path) -> None:
    """Write documents to a file that appears whole or not at all; an existing one is replaced.

    Args:
        documents: a table, a batch, or a stream of batches (never all in memory).
        path: its suffix says how: .jsonl, .txt (each also with .gz, .zst, .xz, .bz2) or .parquet. A `.txt` file
            holds the texts only, a blank line between two. In JSON, NaN and infinities become null.

    Raises:
        ValueError: the suffix is unknown, or a column cannot be held by the format.
        OSError: the disk is full, or the folder may not be written.
    """
    _, form, compression = split_suffix(os.fspath(path))
    if form is None or str(path).lower().endswith(".json"):
        raise ValueError(f"{path}: no format to write by this suffix. Need .jsonl, .txt or .parquet; read: {KNOWN}.")
    batches = _batches(documents)
    with atomic_path(path) as part:
        if form == "parquet":
            _write_parquet(batches, part)
            return
        lines = _text_lines(batches) if form == "txt" else _json_lines(batches)
        with _compressed(part, compression) as file:
            for line in lines:
                file.write(line)


def _open(source: object, batch_rows: int, shaper: Columns) -> Iterator[Raw]:
    """Batches and their places; paths are looked up now, not when the stream is first used."""
    if isinstance(source, (str, os.PathLike)) or (isinstance(source, (list, tuple)) and looks_like_paths(source)):
        places = find_places(source)
        return (
            (batch, place)
            for place in places
            for batch in read_place(place, batch_rows=batch_rows, on_bad=shaper.on_bad, needed=shaper.needed)
        )
    if isinstance(source, Mapping):
        raise ValueError(f"a {type(source).__name__} with the keys {', '.join(map(str, source))}; choose one of them.")
    if hasattr(source, "with_format") and hasattr(source, "iter"):
        return _in_memory(source.with_format("arrow").iter(batch_size=batch_rows), batch_rows)
    if isinstance(source, pa.RecordBatch):
        source = [source]
    elif hasattr(source, "__arrow_c_stream__"):
        source = pa.RecordBatchReader.from_stream(source)
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        raise ValueError(
            f"a {type(source).__name__} is no source of documents. Need a path, a data set, a table, "
            "or an iterable of strings or mappings."
        )
    return _in_memory(source, batch_rows)


def _in_memory(source: Iterable, batch_rows: int) -> Iterator[Raw]:
    members = iter(source)
    first = next(members, None)
    if first is None:
        return
    members = itertools.chain([first], members)
    if isinstance(first, (pa.RecordBatch, pa.Table)):
        for batch in _batches(members):
            for start in range(0, batch.num_rows, batch_rows):
                yield batch.slice(start, batch_rows), MEMORY
        return
    rows = Rows()
    for number, member in enumerate(members, 1):
        rows.add(Row(member, number, number, len(member) if isinstance(member, str) else 0))
        if number % batch_rows == 0 or rows.size >= BATCH_BYTES:
            yield rows, MEMORY
            rows = Rows()
    if rows.values:
        yield rows, MEMORY


def _shaped(
    raw: Iterator[Raw], shaper: Columns, limit: int | None, described: str, *, warn: bool
) -> Iterator[pa.RecordBatch]:
    n_documents, n_before, current = 0, 0, None
    try:
        for batch, place in raw:
            n_before = n_before if place is current else 0
            current = place
            if isinstance(batch, Rows):
                shaped = shaper.from_rows(batch, place)
            else:
                shaped = shaper.from_arrow(batch, place, n_before + 1)
                n_before += batch.num_rows
            for one in shaped:
                if limit is not None:
                    one = one.slice(0, limit - n_documents)
                n_documents += one.num_rows
                if one.num_rows:
                    yield one
                if n_documents == limit:
                    return
        if not n_documents:
            passed = f" ({shaper.bad})" if shaper.bad.n else ""
            raise ValueError(f"{described} holds no documents{passed}. Need at least one row with a text.")
    finally:
        if warn and shaper.bad.n:
            warnings.warn(str(shaper.bad), stacklevel=2)


def _described(source: object) -> str:
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (list, tuple)) and source and isinstance(source[0], os.PathLike):
        return ", ".join(map(str, source[:3])) + (", ..." if len(source) > 3 else "")
    return f"the given {type(source).__name__}"


def _batches(documents: object) -> Iterator[pa.RecordBatch]:
    if isinstance(documents, (pa.Table, pa.RecordBatch)):
        documents = [documents]
    for one in documents:
        if isinstance(one, pa.Table):
            yield from one.to_batches()
        elif isinstance(one, pa.RecordBatch):
            yield one
        else:
            raise ValueError(f"a {type(one).__name__} among record batches; need Arrow: read(rows) makes it of rows.")


def _json_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_as_json).encode
    for batch in batches:
        for start in range(0, batch.num_rows, 256):
            rows = batch.slice(start, 256).to_pylist()
            try:
                lines = [encode(row) for row in rows]
            except ValueError:
                lines = [encode(_finite(row)) for row in rows]
            yield "".join(line + "\n" for line in lines).encode()


def _finite(value: object) -> object:
    """The value with null for NaN and the infinities, which JSON has no words for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    return [_finite(member) for member in value] if isinstance(value, (list, tuple)) else value


def _as_json(value: object) -> str:
    """Dates and times as ISO text; bytes have no form in JSON."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise ValueError(f"JSON lines cannot hold a {type(value).__name__}. Drop that column, or write .parquet.")


def _text_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    between = b""
    for batch in batches:
        for text in batch.column("text").to_pylist():
            if text is not None:
                yield between + text.encode()
                between = b"\n\n"


@contextlib.contextmanager
def _compressed(path: Path, compression: str | None) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
        if compression == "xz":
            yield stack.enter_context(lzma.LZMAFile(path, "wb"))
        elif compression == "gzip":
            # Arrow's own works at the slowest level. No name and no time: the same documents give the same bytes.
            below = stack.enter_context(path.open("wb"))
            yield stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=below, mtime=0))
        else:
            yield stack.enter_context(pa.output_stream(str(path), compression=compression))


def _write_parquet(batches: Iterator[pa.RecordBatch], path: Path) -> None:
    from pyarrow import parquet

    first = next(batches, None)
    schema = _EMPTY if first is None else first.schema
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        group, n_rows, n_bytes = [], 0, 0
        for batch in itertools.chain([] if first is None else [first], batches):
            group.append(batch)
            n_rows += batch.num_rows
            n_bytes += batch.nbytes
            if n_rows >= _GROUP_ROWS or n_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, schema))
                group, n_rows, n_bytes = [], 0, 0
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
