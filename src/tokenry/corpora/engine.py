"""Run one function over a corpus and group, join and sort what comes out, on this machine or on a cluster.

A capability of this room is a function over record batches. Engines run it; none is imported by a capability. The
embedded engine (a pool of processes, DuckDB for what must be brought together) needs nothing but this machine. The
Daft engine runs the same functions on the Ray cluster that the user already has. Both give the same parts.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tokenry.core.choosing import resolve
from tokenry.corpora.units import Reading, Tally, part_name

__all__ = [
    "AGGREGATES",
    "ENGINES",
    "Engine",
    "Mapped",
    "check_engine",
    "map_once",
    "open_engine",
    "parts_of",
    "read_mapped",
]

AGGREGATES = ("count", "sum", "min", "max", "mean")
ENGINES = {
    "embedded": "tokenry.corpora.embedded:EmbeddedEngine",
    "daft": "tokenry.corpora.engine_daft:DaftEngine",
}
MANIFEST = "manifest.json"
_GROUP_ROWS = 16_384


@dataclass(frozen=True)
class Mapped:
    """What a finished run over a corpus leaves: a folder of parts, and what became of every unit.

    Attributes:
        folder: where the parts lie.
        tallies: one for each unit, in order.
        key: of the function and its settings, as given.
    """

    folder: Path
    tallies: list[Tally] = field(default_factory=list)
    key: str = ""

    @property
    def parts(self) -> list[Path]:
        """The parts in the order of the corpus."""
        return [self.folder / part_name(tally.number) for tally in self.tallies]

    @property
    def n_in(self) -> int:
        """Documents read."""
        return sum(tally.n_in for tally in self.tallies)

    @property
    def n_out(self) -> int:
        """Rows written."""
        return sum(tally.n_out for tally in self.tallies)

    @property
    def n_bad(self) -> int:
        """Broken rows passed over."""
        return sum(tally.n_bad for tally in self.tallies)

    @property
    def losses(self) -> dict[str, int]:
        """What was passed over or set aside, as facts of a report; empty where nothing was."""
        found = {"broken rows": self.n_bad, "quarantined": len(self.quarantined)}
        return {name: n for name, n in found.items() if n}

    @property
    def quarantined(self) -> list[tuple[str, str]]:
        """Id and error of every document the function failed on."""
        return [entry for tally in self.tallies for entry in tally.quarantined]


class Engine(Protocol):
    """What an engine does. Paths are those of the machine that calls; a cluster must see the same files.

    `function` and `setup` travel to other processes: they must be importable, or be made by `functools.partial` of
    such. Results do not depend on the number of workers.
    """

    name: str

    def map(
        self,
        source: object,
        function: Callable[..., pa.RecordBatch],
        out: str | Path,
        *,
        key: str,
        setup: Callable[[], object] | None = None,
        reading: Reading = Reading(),  # noqa: B008 - frozen
        label: str = "documents",
    ) -> Mapped:
        """Run `function` over every batch of a corpus and write its results as a folder of parts.

        Args:
            source: files, folders, globs: what `core.tables.stream` reads.
            function: record batch (also an empty one) to record batch; with `setup` its second argument is what that
                gave this worker.
            out: the folder to make. Interrupted work stays beside it and is gone on with by the same call.
            key: fingerprint of the function and its settings: work of another key is not gone on with.
            setup: run once in each worker (to load a model).
            reading: the text column, other columns to keep, what happens to broken rows.
            label: what progress calls the work.

        Raises:
            ValueError: a broken row, or a document on which the function fails (both named).
            FileExistsError: `out` is there already.
        """
        ...

    def group(
        self,
        source: str | Path | Sequence[Path],
        keys: Sequence[str],
        out: str | Path,
        *,
        aggregates: Mapping[str, tuple[str, str]],
    ) -> Path:
        """One row for each set of values of `keys`, sorted by them, in one Parquet file `out`.

        Args:
            source: a Parquet file, a folder of parts, or a list of files.
            keys: columns to group by; rows with a null key make a group of their own.
            out: the file to write.
            aggregates: new column -> (one of `AGGREGATES`, column); for "count" the column may be "*".
        """
        ...

    def join(
        self,
        left: str | Path | Sequence[Path],
        right: str | Path | Sequence[Path],
        out: str | Path,
        *,
        on: str,
        how: str = "inner",
    ) -> Path:
        """Join by one column: "inner" and "left" add the other columns of `right`, "semi" and "anti" only choose rows.

        Columns of `right` whose names `left` has too are called NAME_right. The result is one Parquet file sorted by
        `on`, then by the other columns in their order.
        """
        ...

    def sort(
        self,
        source: str | Path | Sequence[Path],
        by: Sequence[str],
        out: str | Path,
        *,
        descending: bool = False,
        drop: bool = False,
    ) -> Path:
        """Sort by the columns `by`, nulls last, into one Parquet file; `drop` leaves those columns out of it."""
        ...


def open_engine(name: str | Engine = "embedded", **options: object) -> Engine:
    """The engine of this name, made with `options`; an engine object is passed through.

    Args:
        name: "embedded"; "daft" (on this machine); "ray" (the Ray cluster this machine belongs to); or the address of
            one, "ray://host:10001".
        options: of the engine: `workers`, `memory` (bytes for the embedded shuffles).

    Raises:
        ValueError: no engine is called so (the nearest name is given). ImportError: its extra is missing.
    """
    if not isinstance(name, str):
        return name
    if name == "ray" or name.startswith("ray://"):
        address = "auto" if name == "ray" else name
        return resolve("daft", ENGINES, kind="engine")(address=address, **options)
    return resolve(name, ENGINES, kind="engine")(**options)


def parts_of(source: str | Path | Sequence[Path]) -> list[str]:
    """The Parquet files of a file, a folder of parts, or a list, in order.

    Raises:
        FileNotFoundError: there are none.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    else:
        files = [Path(one) for one in source]
    if not files or not all(file.is_file() for file in files):
        raise FileNotFoundError(
            f"{source}: no Parquet parts there. Give a Parquet file, or the --out of a corpus verb."
        )
    return [str(file) for file in files]


def grouped_schema(files: Sequence[str], keys: Sequence[str], aggregates: Mapping[str, tuple[str, str]]) -> pa.Schema:
    """The schema of what `Engine.group` writes: counts and sums of whole numbers are int64, means float64.

    Raises:
        ValueError: a column is not there, or an aggregate has no such name or column.
    """
    import pyarrow.parquet as pq

    columns = pq.read_schema(files[0])
    for name in (*keys, *(column for _, column in aggregates.values() if column != "*")):
        if name not in columns.names:
            raise ValueError(f"no column {name!r} in {files[0]}; there are: {', '.join(columns.names)}.")
    fields = [columns.field(name) for name in keys]
    for name, (how, column) in aggregates.items():
        if how not in AGGREGATES or (column == "*" and how != "count"):
            raise ValueError(f"no aggregate {how!r} of {column!r}; need one of {', '.join(AGGREGATES)} of a column.")
        kind = pa.int64() if how == "count" else columns.field(column).type
        if how == "mean":
            kind = pa.float64()
        elif how == "sum":
            kind = pa.float64() if pa.types.is_floating(kind) else pa.int64()
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def sorted_schema(files: Sequence[str], dropped: Sequence[str] = ()) -> pa.Schema:
    """The schema of what `Engine.sort` writes: that of its input without the columns `dropped`."""
    import pyarrow.parquet as pq

    return pa.schema([column for column in pq.read_schema(files[0]) if column.name not in dropped])


def joined_schema(left: Sequence[str], right: Sequence[str], names: Mapping[str, str]) -> pa.Schema:
    """The schema of what `Engine.join` writes, with `names` of `joined_names`."""
    import pyarrow.parquet as pq

    theirs = pq.read_schema(right[0])
    return pa.schema([*sorted_schema(left), *(theirs.field(name).with_name(new) for name, new in names.items())])


def write_rows(batches: Iterable[pa.RecordBatch], out: str | Path, schema: pa.Schema) -> None:
    """Write what a query gives as one Parquet file: equal rows make equal bytes, whichever engine gave them."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        held = schema.empty_table()
        for batch in batches:
            table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            held = pa.concat_tables([held, table])
            whole = held.num_rows - held.num_rows % _GROUP_ROWS
            if whole:
                writer.write_table(held.slice(0, whole).combine_chunks(), row_group_size=_GROUP_ROWS)
                held = held.slice(whole).combine_chunks()
        if held.num_rows:
            writer.write_table(held.combine_chunks())


def joined_names(left: Sequence[str], right: Sequence[str], *, on: str, how: str) -> dict[str, str]:
    """Column of `right` -> its name in what `Engine.join` writes; empty for joins that only choose rows."""
    import pyarrow.parquet as pq

    if how not in ("inner", "left", "semi", "anti"):
        raise ValueError(f"how={how!r}; need inner, left, semi or anti.")
    ours, theirs = pq.read_schema(left[0]).names, pq.read_schema(right[0]).names
    for names, side in ((ours, left), (theirs, right)):
        if on not in names:
            raise ValueError(f"no column {on!r} in {side[0]}; there are: {', '.join(names)}.")
    if how in ("semi", "anti"):
        return {}
    return {name: f"{name}_right" if name in ours else name for name in theirs if name != on}


def write_manifest(mapped: Mapped, engine: str) -> None:
    """Write the manifest of a finished folder of parts: totals, and a line for each unit."""
    from tokenry.core.runs import atomic_write

    record = {
        "format": 1,
        "key": mapped.key,
        "engine": engine,
        "documents": mapped.n_in,
        "rows": mapped.n_out,
        "bad_rows": mapped.n_bad,
        "units": [asdict(tally) for tally in mapped.tallies],
    }
    atomic_write(mapped.folder / MANIFEST, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_mapped(folder: str | Path) -> Mapped:
    """Open a folder of parts by its manifest.

    Raises:
        FileNotFoundError: there is no manifest. ValueError: it is none of ours, or parts are missing.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {folder}. Need the --out folder of a finished corpus verb.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        mapped = Mapped(Path(folder), [Tally(**unit) for unit in record["units"]], record["key"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no manifest of a corpus ({error}). Need one written by tokenry corpus.") from error
    if missing := [part.name for part in mapped.parts if not part.is_file()]:
        raise ValueError(f"{folder} lacks {len(missing)} of its parts ({missing[0]}, ...). Make it again.")
    return mapped


def map_once(
    engine: Engine, source: object, function: Callable[..., pa.RecordBatch], *, out: Path, **options: object
) -> Mapped:
    """`Engine.map`, unless a finished folder of the same key stands at `out`, left by a run that was cut off later."""
    if out.is_dir():
        if (standing := read_mapped(out)).key == options["key"]:
            return standing
        shutil.rmtree(out)
    return engine.map(source, function, out, **options)


def _lengths(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.utf8_length(batch.column("text")), 0).cast(pa.int64())
    return pa.RecordBatch.from_arrays(
        [batch.column("id"), lengths, pc.bit_wise_and(lengths, 1)], names=["id", "n", "odd"]
    )


def check_engine(engine: Engine, source: object, folder: Path) -> None:
    """The laws of an engine, over any corpus: rows keep their order, groups add up, joins and sorts are right."""
    import pyarrow.parquet as pq

    from tokenry.core.tables import read

    expected = read(source)
    mapped = engine.map(source, _lengths, folder / "mapped", key="check")
    made = pa.concat_tables([pq.read_table(part) for part in mapped.parts])
    assert made.column("id").to_pylist() == expected.column("id").to_pylist()
    lengths = [len(text or "") for text in expected.column("text").to_pylist()]
    assert made.column("n").to_pylist() == lengths
    assert mapped.n_in == mapped.n_out == expected.num_rows

    totals = pq.read_table(
        engine.group(
            mapped.folder, ["odd"], folder / "grouped.parquet", aggregates={"rows": ("count", "*"), "n": ("sum", "n")}
        )
    ).to_pylist()
    assert [row["odd"] for row in totals] == sorted({n % 2 for n in lengths})
    assert [row["rows"] for row in totals] == [sum(n % 2 == row["odd"] for n in lengths) for row in totals]
    assert sum(row["n"] for row in totals) == sum(lengths)

    ordered = pq.read_table(engine.sort(mapped.folder, ["n", "id"], folder / "sorted.parquet", descending=True))
    pairs = list(zip(ordered.column("n").to_pylist(), ordered.column("id").to_pylist(), strict=True))
    assert pairs == sorted(zip(lengths, expected.column("id").to_pylist(), strict=True), reverse=True)

    joined = pq.read_table(engine.join(mapped.folder, folder / "grouped.parquet", folder / "joined.parquet", on="odd"))
    assert joined.num_rows == expected.num_rows
    kept = pq.read_table(
        engine.join(folder / "sorted.parquet", mapped.folder, folder / "semi.parquet", on="id", how="semi")
    )
    assert sorted(kept.column("id").to_pylist()) == sorted(expected.column("id").to_pylist())
