"""Put measured columns beside the documents they belong to, row by row, and refuse what does not belong together.

A sidecar is a folder of parts as an engine writes it: one part for each unit of the corpus, the same rows in the same
order, with `id` first. It never copies the text.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.runs import atomic_folder
from tokenry.corpora.engine import Mapped, read_mapped, write_manifest
from tokenry.corpora.units import Unit, part_name

__all__ = ["Beside", "columns_of", "read_signals", "versions_of", "write_sidecar"]


def columns_of(folders: Sequence[str | Path]) -> dict[str, pa.Field]:
    """Every column of the sidecars but `id`, by name.

    Raises:
        FileNotFoundError: a folder is no sidecar. ValueError: two of them have a column of one name.
    """
    import pyarrow.parquet as pq

    found: dict[str, pa.Field] = {}
    owners: dict[str, object] = {}
    for folder in folders:
        mapped = read_mapped(folder)
        for column in pq.read_schema(mapped.parts[0]):
            if column.name == "id":
                continue
            if column.name in found:
                raise ValueError(
                    f"both {owners[column.name]} and {folder} have the column {column.name!r}. Give one of them, or "
                    "score again under another name."
                )
            found[column.name], owners[column.name] = column, folder
    return found


def versions_of(folder: str | Path) -> dict[str, str]:
    """Signal -> the version of its definition, as the sidecar's columns record it."""
    return {
        name: column.metadata[b"version"].decode()
        for name, column in columns_of([folder]).items()
        if column.metadata and b"version" in column.metadata
    }


def read_signals(folder: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The columns of a whole sidecar as one table, with `id`; numbers fit where texts do not.

    Raises:
        ValueError: a column is not there (the nearest name is given).
    """
    import pyarrow.parquet as pq

    known = columns_of([folder])
    for name in columns or ():
        if name not in known:
            raise ValueError(f"no signal {name!r} in {folder}.{suggest(name, known)} It has: {', '.join(known)}.")
    names = None if columns is None else ["id", *columns]
    return pa.concat_tables([pq.read_table(part, columns=names) for part in read_mapped(folder).parts])


def write_sidecar(
    like: Mapped, columns: Mapping[str, pa.Array | pa.ChunkedArray], out: Path, *, key: str, engine: str
) -> Mapped:
    """Write columns over all documents as a sidecar whose parts are those of `like`.

    Args:
        like: a finished folder of parts whose rows have the `id` of the documents; it gives rows and ids.
        columns: name -> values for every document, in order.
        out: the folder to make; it appears whole or not at all.
        key: of what decided the values.
        engine: the name for the manifest.
    """
    import pyarrow.parquet as pq

    n_rows = like.n_out
    if wrong := [name for name, values in columns.items() if len(values) != n_rows]:
        raise ValueError(f"{len(columns[wrong[0]]):,} values of {wrong[0]} for {n_rows:,} documents; need one each.")
    with atomic_folder(out) as part:
        start = 0
        for tally, path in zip(like.tallies, like.parts, strict=True):
            ids = pq.read_table(path, columns=["id"]).column("id")
            made = {name: values.slice(start, len(ids)) for name, values in columns.items()}
            start += len(ids)
            pq.write_table(pa.table({"id": ids, **made}), part / part_name(tally.number), compression="zstd")
        write_manifest(Mapped(part, like.tallies, key), engine)
    return Mapped(out, like.tallies, key)


class Beside:
    """Follows the batches of one unit and gives each the columns of the sidecars.

    Args:
        unit: the unit whose documents come.
        folders: the sidecars.
        columns: those to give; None gives all.

    Raises:
        ValueError: a sidecar was not made from these documents as they are cut now.
    """

    def __init__(self, unit: Unit, folders: Sequence[str], columns: Sequence[str] | None) -> None:
        self._place = unit.place.path
        self._followers = [_Follower(Path(folder), unit, columns) for folder in folders]

    def join(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns of all sidecars after its own."""
        arrays, fields = list(batch.columns), list(batch.schema)
        taken = set(batch.schema.names)
        for follower in self._followers:
            for column, values in follower.take(batch.column("id")):
                if column.name in taken:
                    raise ValueError(
                        f"the column {column.name!r} of {follower.folder} is in the documents {self._place} too. "
                        "Leave one of them out."
                    )
                taken.add(column.name)
                arrays.append(values)
                fields.append(column)
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    def close(self) -> None:
        """Check that no sidecar has rows left.

        Raises:
            ValueError: one has.
        """
        for follower in self._followers:
            follower.close()


class _Follower:
    """The rows of one part of one sidecar, taken as many at a time as the documents come."""

    def __init__(self, folder: Path, unit: Unit, columns: Sequence[str] | None) -> None:
        import pyarrow.parquet as pq

        self.folder, self._place = folder, unit.place.path
        path = folder / part_name(unit.number)
        if not path.is_file():
            raise self._strange(f"has no part {unit.number}")
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if columns is not None:
            names = [name for name in names if name == "id" or name in columns]
        self._schema = pa.schema([file.schema_arrow.field(name) for name in names])
        self._batches = file.iter_batches(columns=names)
        self._held = pa.table({name: pa.array([], self._schema.field(name).type) for name in names})

    def take(self, ids: pa.StringArray) -> Iterator[tuple[pa.Field, pa.Array]]:
        """Field and values of each column for the next rows, whose ids must be these."""
        while self._held.num_rows < len(ids):
            batch = next(self._batches, None)
            if batch is None:
                raise self._strange(f"ends before the document {ids[len(ids) - 1].as_py()!r}")
            self._held = pa.concat_tables([self._held, pa.Table.from_batches([batch])])
        rows, self._held = self._held.slice(0, len(ids)), self._held.slice(len(ids))
        theirs = rows.column("id").combine_chunks().cast(pa.string())
        if theirs != ids:
            row = next(row for row in range(len(ids)) if theirs[row] != ids[row])
            raise self._strange(f"has the id {theirs[row].as_py()!r} where the document {ids[row].as_py()!r} comes")
        for column in self._schema:
            if column.name != "id":
                values = rows.column(column.name).combine_chunks()
                yield column, values.chunk(0) if isinstance(values, pa.ChunkedArray) else values

    def close(self) -> None:
        if self._held.num_rows or next(self._batches, None) is not None:
            raise self._strange("has more rows than there are documents")

    def _strange(self, what: str) -> ValueError:
        return ValueError(
            f"the sidecar {self.folder} {what} (in {self._place}): it was made from other documents, or they have "
            "changed since. Score them again."
        )


def describe_sidecar(folder: str | Path) -> dict[str, object]:
    """What a sidecar is: its columns with types and versions, and how many rows it has."""
    mapped = read_mapped(folder)
    record = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    columns = {name: str(column.type) for name, column in columns_of([folder]).items()}
    return {"rows": mapped.n_out, "columns": columns, "versions": versions_of(folder), "engine": record["engine"]}
