"""Cut a corpus into units of work and run a function over one of them: what every engine does, wherever it runs.

A unit is a file, a few row groups of a large Parquet file, or a run of lines of a large JSON-lines file that is not
compressed. Its output is one Parquet part whose number follows from
the unit's place in the corpus, so the result is the same with one worker and with a thousand, in any order of work.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from tokenry.core.columns import BadRows, Columns
from tokenry.core.hashing import fingerprint
from tokenry.core.places import HUB, Place, find_places
from tokenry.core.readers import BATCH_BYTES, Section, read_place, sections
from tokenry.core.runs import atomic_path, atomic_write

__all__ = ["Reading", "Tally", "Unit", "cut_units", "inputs_key", "part_name", "read_unit", "run_unit"]

UNIT_BYTES = 64 * 2**20  # uncompressed bytes of the row groups of one unit, about
_GROUP_ROWS, _GROUP_BYTES = 16_384, 64 * 2**20

Function = Callable[..., pa.RecordBatch]


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        number: its place among all units, from 0; the part it makes bears this number.
        place: the file.
        groups: first row group and the one after the last, for a part of a Parquet file; None for a whole file.
        first: number of its first row in the file, from 1.
        n_bytes: about how much there is to read.
        section: the lines, for a part of a JSON-lines file; None for a whole file.
    """

    number: int
    place: Place
    groups: tuple[int, int] | None = None
    first: int = 1
    n_bytes: int = 0
    section: Section | None = None


@dataclass(frozen=True)
class Reading:
    """How documents are read, the same in every worker.

    Attributes:
        text: the column that holds the text.
        columns: other columns to keep, None for all.
        schema: the schema of the documents, fixed by the first batch of the first unit.
        batch_rows: rows in a batch at most.
        skip_bad: pass over broken rows and count them; else the first one ends the run.
        sidecars: folders of signals that belong to these documents; their columns come after the documents' own.
        signals: columns of the sidecars to give; None gives all.
        on_error: what a row does on which the function fails: "raise" names it and ends the run, "quarantine" leaves
            it out and lists it beside the part.
    """

    text: str = "text"
    columns: tuple[str, ...] | None = None
    schema: pa.Schema | None = None
    batch_rows: int = 1024
    skip_bad: bool = False
    sidecars: tuple[str, ...] = ()
    signals: tuple[str, ...] | None = None
    on_error: str = "raise"


@dataclass
class Tally:
    """What became of one unit: the line it leaves in the manifest.

    Attributes:
        number: of the unit and of its part.
        name: the file it read, below the common folder.
        n_in: documents read.
        n_out: rows written.
        n_bad: broken rows passed over.
        quarantined: id and error of the rows the function failed on.
        examples: of the broken rows: path, line, reason.
        seconds: wall time.
        cpu_seconds: processor time.
    """

    number: int
    name: str
    n_in: int = 0
    n_out: int = 0
    n_bad: int = 0
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    examples: list[tuple[str, int | None, str]] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def part_name(number: int) -> str:
    """The file name of the part of unit `number`."""
    return f"part-{number:06d}.parquet"


def cut_units(source: object, *, unit_bytes: int = UNIT_BYTES, skip_bad: bool = False) -> list[Unit]:
    """The units of a corpus, in order.

    Args:
        source: paths, globs, folders, hub addresses, as `core.tables.stream` takes them.
        unit_bytes: about how much of a file makes a unit. Compressed JSON and text files are never cut.
        skip_bad: a Parquet file that cannot be opened is a unit too, counted as broken when it is read.

    Raises:
        FileNotFoundError, ValueError: as `core.places.find_places`; a Parquet file that cannot be opened.
    """
    units: list[Unit] = []
    for place in find_places(source):
        if place.format == "parquet" and not place.path.startswith(HUB):
            units += _parquet_units(place, len(units), unit_bytes, skip_bad=skip_bad)
        else:
            units += _file_units(place, len(units), unit_bytes)
    return units


def inputs_key(units: Sequence[Unit]) -> str:
    """Fingerprint of the files by size and time, and of how they are cut."""
    said = []
    for unit in units:
        path = Path(unit.place.path)
        stamp = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
        said.append([unit.number, unit.place.path, unit.place.name, list(unit.groups or unit.section or ()), *stamp])
    return fingerprint(said)


def read_unit(unit: Unit, reading: Reading, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The documents of one unit, batch by batch: `id`, `text`, `source`, those that are kept, those of the sidecars."""
    if reading.sidecars:
        from tokenry.corpora.sidecars import Beside

        beside = Beside(unit, reading.sidecars, reading.signals)
        yield from map(beside.join, _documents(unit, reading, bad))
        beside.close()
        return
    yield from _documents(unit, reading, bad)


def _documents(unit: Unit, reading: Reading, bad: BadRows) -> Iterator[pa.RecordBatch]:
    shaper = Columns(text=reading.text, keep=reading.columns, skip_bad=reading.skip_bad, bad=bad)
    shaper.schema = reading.schema
    n_before = 0
    if unit.section is not None and unit.section.lines_before:
        shaper.checked = unit.place  # the column of the text is looked for at the head of a file
    if unit.groups is None:
        batches = read_place(
            unit.place, batch_rows=reading.batch_rows, on_bad=shaper.on_bad, needed=shaper.needed, section=unit.section
        )
    else:
        batches = _group_batches(unit, reading, shaper)
    for batch in batches:
        if isinstance(batch, pa.RecordBatch):
            shaped = shaper.from_arrow(batch, unit.place, unit.first + n_before)
            n_before += batch.num_rows
        else:
            shaped = shaper.from_rows(batch, unit.place)
        yield from (one for one in shaped if one.num_rows)


def run_unit(
    unit: Unit,
    function: Function,
    out: Path,
    *,
    reading: Reading,
    state: tuple = (),
    count: Callable[[int], None] | None = None,
) -> Tally:
    """Run `function(batch, *state)` over one unit and write its part and its line of the manifest.

    Args:
        unit: what to read.
        function: record batch to record batch, also one without rows; the schema of its results must not depend on
            the rows.
        out: the folder of the parts. The part appears whole or not at all; the line only after it.
        reading: how to read.
        state: what `setup` gave this worker, in a tuple; empty when there is none.
        count: called with the number of documents after each batch.

    Raises:
        ValueError: the function failed (the message names file and id), or its results changed their schema.
    """
    started, cpu = time.perf_counter(), time.process_time()
    bad, tally = BadRows(), Tally(unit.number, unit.place.name)

    def results() -> Iterator[pa.RecordBatch]:
        for batch in read_unit(unit, reading, bad):
            tally.n_in += batch.num_rows
            for made in _applied(batch, function, state, unit, reading.on_error, tally):
                tally.n_out += made.num_rows
                yield made
            if count is not None:
                count(batch.num_rows)

    with atomic_path(out / part_name(unit.number)) as part:
        _write_part(results(), part, unit, lambda: _schema_of_none(unit, function, reading, state))
    tally.n_bad, tally.examples = bad.n, bad.examples
    tally.seconds = round(time.perf_counter() - started, 3)
    tally.cpu_seconds = round(time.process_time() - cpu, 3)
    atomic_write(out / _line_name(unit.number), json.dumps(asdict(tally), ensure_ascii=False))
    return tally


def finished(folder: Path, number: int) -> Tally | None:
    """The line of a unit whose part is there, None when it has to be done."""
    line = folder / _line_name(number)
    if not (line.is_file() and (folder / part_name(number)).is_file()):
        return None
    return Tally(**json.loads(line.read_text(encoding="utf-8")))


def _line_name(number: int) -> str:
    return f".part-{number:06d}.json"


def _file_units(place: Place, number: int, unit_bytes: int) -> list[Unit]:
    if place.path.startswith(HUB):
        return [Unit(number, place)]
    stamp = Path(place.path).stat()
    if place.format != "jsonl" or place.compression is not None or stamp.st_size <= unit_bytes:
        return [Unit(number, place, n_bytes=stamp.st_size)]
    cut = _cut_lines(place.path, stamp.st_size, stamp.st_mtime_ns, unit_bytes)
    return [Unit(number + at, place, n_bytes=part.end - part.start, section=part) for at, part in enumerate(cut)]


@functools.lru_cache(maxsize=1024)
def _cut_lines(path: str, size: int, time_ns: int, unit_bytes: int) -> list[Section]:
    """The sections of a file of this size and time: a verb asks for its units more than once, the lines are counted
    once."""
    return sections(path, unit_bytes)


def _parquet_units(place: Place, number: int, unit_bytes: int, *, skip_bad: bool) -> list[Unit]:
    from pyarrow import parquet

    try:
        metadata = parquet.ParquetFile(place.path).metadata
    except (pa.ArrowInvalid, OSError) as error:
        if skip_bad:
            return [Unit(number, place)]
        raise ValueError(
            f"{place.path} is no readable Parquet file ({error}). Write it again, leave it out, or pass over such "
            "files (--skip-bad)."
        ) from error
    units, start, row, size, first = [], 0, 1, 0, 1
    for group in range(metadata.num_row_groups):
        described = metadata.row_group(group)
        size += described.total_byte_size
        row += described.num_rows
        if size >= unit_bytes or group == metadata.num_row_groups - 1:
            units.append(Unit(number + len(units), place, (start, group + 1), first, size))
            start, first, size = group + 1, row, 0
    return units or [Unit(number, place, n_bytes=0)]


def _group_batches(unit: Unit, reading: Reading, shaper: Columns) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(unit.place.path)
        names = file.schema_arrow.names
        if shaper.needed is not None and reading.text in names:
            names = [name for name in names if name in shaper.needed]
        groups = list(range(*unit.groups))
        n_rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        # Rows of a batch by bytes, not by number alone: one document may be 200 MB long.
        rows = max(1, min(reading.batch_rows, BATCH_BYTES * n_rows // max(1, unit.n_bytes)))
        yield from file.iter_batches(batch_size=rows, row_groups=groups, columns=names)
    except (pa.ArrowInvalid, OSError) as error:
        shaper.on_bad(unit.place, None, f"the file is damaged or cut short ({error}); the rest cannot be read")


def _applied(
    batch: pa.RecordBatch, function: Function, state: tuple, unit: Unit, on_error: str, tally: Tally
) -> Iterator[pa.RecordBatch]:
    """The results for a batch; where the function fails, those of its halves, down to the row that it fails on."""
    try:
        yield function(batch, *state)
        return
    except (MemoryError, ConnectionError):  # no fault of a document: a smaller batch would not mend it
        raise
    except Exception as error:
        if batch.num_rows == 1:
            named = batch.column("id")[0].as_py()
            sentence = f"{type(error).__name__}: {error}"
            if on_error == "raise":
                raise ValueError(
                    f"{unit.place.path}, document {named!r}: {sentence}. "
                    "Mend or remove it, or set such documents aside (--on-error quarantine)."
                ) from error
            tally.quarantined.append((named, sentence[:300]))
            return
    half = batch.num_rows // 2
    yield from _applied(batch.slice(0, half), function, state, unit, on_error, tally)
    yield from _applied(batch.slice(half), function, state, unit, on_error, tally)


def _write_part(
    batches: Iterator[pa.RecordBatch], path: Path, unit: Unit, schema_of_none: Callable[[], pa.Schema]
) -> None:
    from pyarrow import parquet

    first = next(batches, None)
    if first is None:
        first = empty(schema_of_none())
    with parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        n_rows = n_bytes = 0
        for batch in _chained(first, batches):
            if batch.schema != first.schema:
                raise ValueError(
                    f"{unit.place.path}: the function gave the columns {_described(batch.schema)} after "
                    f"{_described(first.schema)}; need one schema for all batches. Give the types explicitly."
                )
            group.append(batch)
            n_rows += batch.num_rows
            n_bytes += batch.nbytes
            if n_rows >= _GROUP_ROWS or n_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, first.schema))
                group, n_rows, n_bytes = [], 0, 0
        if group:
            writer.write_table(pa.Table.from_batches(group, first.schema))


def _schema_of_none(unit: Unit, function: Function, reading: Reading, state: tuple) -> pa.Schema:
    """The schema of the results where a unit has no documents: what the function makes of none."""
    none = empty(reading.schema)
    if reading.sidecars:
        from tokenry.corpora.sidecars import Beside

        none = Beside(unit, reading.sidecars, reading.signals).join(none)
    return function(none, *state).schema


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """A batch of this schema without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], column.type) for column in schema], schema=schema)


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in schema)


def first_schema(units: Sequence[Unit], reading: Reading) -> pa.Schema:
    """The schema of the documents: of the first batch of the first unit that holds any.

    Raises:
        ValueError: no unit holds a document, or a row is broken.
    """
    bad = BadRows()
    for unit in units:
        for batch in _documents(unit, reading, bad):
            return batch.schema
    passed = f" ({bad})" if bad.n else ""
    names = ", ".join(unit.place.path for unit in units[:3])
    raise ValueError(f"{names} hold no documents{passed}. Need at least one row with a text.")
