"""The engine of one machine: a pool of processes over the units of a corpus, DuckDB for groups, joins and sorts.

Nothing leaves the machine, memory is bounded (a batch in each worker; DuckDB spills to disk), work that was cut off
goes on where it stood.
"""

import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import needs
from tokenry.core.columns import BadRows
from tokenry.core.hashing import fingerprint
from tokenry.core.runs import Progress, atomic_path, atomic_write, check_folder, log
from tokenry.corpora.engine import (
    Mapped,
    grouped_schema,
    joined_names,
    joined_schema,
    parts_of,
    read_mapped,
    sorted_schema,
    write_manifest,
    write_rows,
)
from tokenry.corpora.units import (
    Reading,
    Tally,
    Unit,
    cut_units,
    finished,
    first_schema,
    inputs_key,
    part_name,
    run_unit,
)

__all__ = ["EmbeddedEngine", "begin", "finish"]

_POLL = 0.5
_GROUP_ROWS = 16_384  # rows that DuckDB hands over at once
_WORKER: dict[str, object] = {}


class EmbeddedEngine:
    """Runs on this machine.

    Args:
        workers: processes; None takes one for each core. With 1 the work is done in this process.
        memory: bytes that groups, joins and sorts may take before they spill to disk.
    """

    name = "embedded"

    def __init__(self, *, workers: int | None = None, memory: int = 2 * 2**30) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}; need at least 1, or none given for one a core.")
        self.workers = workers or _cores()
        self.memory = memory

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
        """As `engine.Engine.map` says."""
        units, reading, folder = begin(source, out, key=key, reading=reading)
        done = {unit.number: tally for unit in units if (tally := finished(folder, unit.number)) is not None}
        if done:
            log(f"{label}: {len(done)} of {len(units)} parts are there already")
        rest = [unit for unit in units if unit.number not in done]
        with Progress(label, start=sum(tally.n_in for tally in done.values())) as progress:
            run = self._inline if min(self.workers, len(rest)) <= 1 else self._pooled
            for tally in run(rest, function, setup, folder, reading, progress):
                done[tally.number] = tally
        return finish(folder, out, [done[unit.number] for unit in units], key=key, engine=self.name)

    def _inline(
        self,
        units: list[Unit],
        function: Callable,
        setup: Callable | None,
        folder: Path,
        reading: Reading,
        progress: Progress,
    ) -> Iterator[Tally]:
        state = (setup(),) if setup is not None and units else ()
        for unit in units:
            yield run_unit(unit, function, folder, reading=reading, state=state, count=progress.add)

    def _pooled(
        self,
        units: list[Unit],
        function: Callable,
        setup: Callable | None,
        folder: Path,
        reading: Reading,
        progress: Progress,
    ) -> Iterator[Tally]:
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        with _single_threads():
            pool = concurrent.futures.ProcessPoolExecutor(
                min(self.workers, len(units)),
                mp_context=context,
                initializer=_start_worker,
                initargs=(function, setup, folder, reading, counter),
            )
            # The largest first, so that the last worker does not stand alone at the end.
            order = sorted(units, key=lambda unit: (-unit.n_bytes, unit.number))
            waiting = {pool.submit(_work, unit) for unit in order}
        n_told = 0
        try:
            while waiting:
                ended, waiting = concurrent.futures.wait(
                    waiting, timeout=_POLL, return_when=concurrent.futures.FIRST_COMPLETED
                )
                n_now = counter.value
                progress.add(n_now - n_told)
                n_told = n_now
                yield from (future.result() for future in ended)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died, most likely for want of memory. What is finished is kept: "
                "give fewer --workers and run the same command again."
            ) from error
        finally:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            if waiting:
                for process in processes:
                    process.terminate()
            for process in processes:
                process.join(5)

    def group(
        self,
        source: str | Path | Sequence[Path],
        keys: Sequence[str],
        out: str | Path,
        *,
        aggregates: Mapping[str, tuple[str, str]],
    ) -> Path:
        """As `engine.Engine.group` says."""
        schema = grouped_schema(parts_of(source), keys, aggregates)
        names = ", ".join(map(quoted, keys))
        made = [_aggregate(name, *what, schema.field(name).type) for name, what in aggregates.items()]
        query = f"SELECT {', '.join([names, *made])} FROM {_scan(source)} GROUP BY {names} ORDER BY {names}"
        return self.query(query, out, schema)

    def join(
        self,
        left: str | Path | Sequence[Path],
        right: str | Path | Sequence[Path],
        out: str | Path,
        *,
        on: str,
        how: str = "inner",
    ) -> Path:
        """As `engine.Engine.join` says."""
        import pyarrow.parquet as pq

        files = parts_of(left), parts_of(right)
        names = joined_names(*files, on=on, how=how)
        added = "".join(f", r.{quoted(name)} AS {quoted(new)}" for name, new in names.items())
        ours = pq.read_schema(files[0][0]).names
        order = ", ".join(quoted(name) for name in [on, *(n for n in [*ours, *names.values()] if n != on)])
        by = f"{_scan(left)} AS l {how.upper()} JOIN {_scan(right)} AS r ON l.{quoted(on)} = r.{quoted(on)}"
        return self.query(f"SELECT l.*{added} FROM {by} ORDER BY {order}", out, joined_schema(*files, names))

    def sort(
        self,
        source: str | Path | Sequence[Path],
        by: Sequence[str],
        out: str | Path,
        *,
        descending: bool = False,
        drop: bool = False,
    ) -> Path:
        """As `engine.Engine.sort` says."""
        way = "DESC" if descending else "ASC"
        order = ", ".join(f"{quoted(name)} {way} NULLS LAST" for name in by)
        columns = f"* EXCLUDE ({', '.join(map(quoted, by))})" if drop else "*"
        schema = sorted_schema(parts_of(source), by if drop else ())
        return self.query(f"SELECT {columns} FROM {_scan(source)} ORDER BY {order}", out, schema)

    def query(self, query: str, out: str | Path, schema: pa.Schema) -> Path:
        """Write what a query of DuckDB gives as one Parquet file that appears whole or not at all."""
        with self.connect(Path(out).resolve().parent) as database, atomic_path(out) as part:
            write_rows(database.sql(query).to_arrow_reader(_GROUP_ROWS), part, schema)
        return Path(out)

    @contextlib.contextmanager
    def connect(self, beside: Path) -> Iterator[object]:
        """A connection to DuckDB with bounded memory, that spills beside the output."""
        needs("data", "duckdb")
        import duckdb

        beside.mkdir(parents=True, exist_ok=True)
        spill = tempfile.mkdtemp(prefix=".spill-", dir=beside)
        try:
            with duckdb.connect() as database:
                database.execute(f"SET memory_limit='{self.memory // 2**20}MiB'")
                database.execute(f"SET threads={self.workers}")
                database.execute(f"SET temp_directory={_text(spill)}")
                database.execute("SET enable_progress_bar=false")
                yield database
        finally:
            shutil.rmtree(spill, ignore_errors=True)


def begin(source: object, out: str | Path, *, key: str, reading: Reading) -> tuple[list[Unit], Reading, Path]:
    """Cut the units, fix the schema, and open the folder in which the unfinished work lies.

    Raises:
        FileExistsError: `out` is there. ValueError: unfinished work of another key or other inputs is there.
    """
    target = Path(out)
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another folder, or remove it first.")
    units = cut_units(source, skip_bad=reading.skip_bad)
    if reading.schema is None:
        reading = replace(reading, schema=first_schema(units, reading))
    state = {"key": key, "inputs": inputs_key(units), "reading": fingerprint(_said(reading)), "format": 1}
    folder = target.parent / f".{target.name}.unfinished"
    record = folder / "state.json"
    if record.is_file():
        if json.loads(record.read_text(encoding="utf-8")) != state:
            raise ValueError(
                f"{folder} holds unfinished work with other settings or other inputs. Repeat the first command to go "
                "on with it, or remove that folder to start again."
            )
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        atomic_write(record, json.dumps(state))
    return units, reading, folder


def finish(folder: Path, out: str | Path, tallies: list[Tally], *, key: str, engine: str) -> Mapped:
    """Check that every part is there, write the manifest and give the folder its name."""
    missing = [tally.number for tally in tallies if not (folder / part_name(tally.number)).is_file()]
    if missing:
        raise RuntimeError(f"{folder} lacks the parts {missing[:5]}: not written, or not seen from here. Run it again.")
    _check_schemas(folder, tallies)
    _tell_of_broken_rows(tallies)
    write_manifest(Mapped(folder, tallies, key), engine)
    for line in folder.glob(".part-*.json"):
        line.unlink()
    (folder / "state.json").unlink()
    folder.rename(out)
    return Mapped(Path(out), tallies, key)


def quoted(name: str) -> str:
    """A column name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _check_schemas(folder: Path, tallies: list[Tally]) -> None:
    import pyarrow.parquet as pq

    first = None
    for tally in tallies:
        schema = pq.read_schema(folder / part_name(tally.number))
        first = schema if first is None else first
        if schema != first:
            raise ValueError(
                f"the function gave other columns for {tally.name} than for {tallies[0].name}: {schema.names} against "
                f"{first.names}. Need one schema, whatever the rows."
            )


def _tell_of_broken_rows(tallies: list[Tally]) -> None:
    """One warning, whatever the verb makes of its report: rows that are gone must not go unseen."""
    told = BadRows(sum(tally.n_bad for tally in tallies), [one for tally in tallies for one in tally.examples][:1])
    if told.n:
        warnings.warn(str(told), stacklevel=2)


def _said(reading: Reading) -> dict[str, object]:
    return {
        "text": reading.text,
        "columns": None if reading.columns is None else list(reading.columns),
        "schema": str(reading.schema),
        "skip_bad": reading.skip_bad,
        "sidecars": [[folder, read_mapped(folder).key] for folder in reading.sidecars],
        "signals": None if reading.signals is None else list(reading.signals),
        "on_error": reading.on_error,
    }


def _aggregate(name: str, how: str, column: str, kind: pa.DataType) -> str:
    """One aggregate as SQL; a sum of whole numbers is cast back, DuckDB would make it a 128-bit one."""
    of = "*" if column == "*" else quoted(column)
    value = f"{'avg' if how == 'mean' else how}({of})"
    return f"{f'CAST({value} AS BIGINT)' if pa.types.is_int64(kind) else value} AS {quoted(name)}"


def _scan(source: str | Path | Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(map(_text, parts_of(source)))}])"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _single_threads() -> Iterator[None]:
    """Children see one thread for every numerical library: two busy cores spin against each other."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(function: Callable, setup: Callable | None, folder: Path, reading: Reading, counter: object) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work; a Ctrl-C reaches the whole group
    pa.set_cpu_count(1)
    # Not set up here: what fails while a worker starts is lost, and the pool only says that it broke.
    _WORKER["setup"] = setup
    _WORKER["run"] = functools.partial(
        run_unit, function=function, out=folder, reading=reading, count=functools.partial(_tell, counter)
    )


def _tell(counter: object, n: int) -> None:
    with counter.get_lock():
        counter.value += n


def _work(unit: Unit) -> Tally:
    if "state" not in _WORKER:
        setup = _WORKER["setup"]
        _WORKER["state"] = (setup(),) if setup is not None else ()
    return _WORKER["run"](unit, state=_WORKER["state"])
