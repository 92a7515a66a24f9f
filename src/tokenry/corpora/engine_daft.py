"""The engine of a cluster: the same units, run by Daft on this machine or on the Ray cluster that the user has.

Daft is handed the units, not the rows: each worker runs the very function that the embedded pool runs, and writes the
same part. So both engines give equal parts in equal order, and work that was cut off goes on. Groups, joins and sorts
are Daft's own, spread over the cluster. The parts must lie where all workers see them: a shared file system.

Daft lives in a child process: it may be set up once only in a process, and it can crash at exit after the work is done.
"""

import contextlib
import json
import multiprocessing
import os
import re
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import needs
from tokenry.core.runs import Progress, atomic_path, log
from tokenry.corpora.embedded import begin, finish
from tokenry.corpora.engine import (
    Mapped,
    grouped_schema,
    joined_names,
    joined_schema,
    parts_of,
    sorted_schema,
    write_rows,
)
from tokenry.corpora.units import Reading, Unit, finished, run_unit

__all__ = ["DaftEngine"]

# Daft and Ray report home unless told not to, and Daft decides when it is imported.
_QUIET = {"DO_NOT_TRACK": "1", "DAFT_ANALYTICS_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0"}
_POLL = 0.5
_STOPPED = ".stopped"  # in the folder of the parts: a unit has failed, begin no other


class DaftEngine:
    """Runs through Daft.

    Args:
        address: of a running Ray cluster, "ray://host:10001" or "host:6379"; None runs on this machine.
        workers: units under way at once; None takes the cores of this machine, or of the cluster.
    """

    name = "daft"

    def __init__(self, *, address: str | None = None, workers: int | None = None) -> None:
        needs("cluster", "daft", *(["ray"] if address else []))
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}; need at least 1, or none given for as many as there are.")
        if address:
            _check_reachable(address)
        self.address = address
        self.workers = workers

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
        units, reading, folder = begin(source, Path(out).resolve(), key=key, reading=reading)
        rest = [unit for unit in units if finished(folder, unit.number) is None]
        if len(rest) < len(units):
            log(f"{label}: {len(units) - len(rest)} of {len(units)} parts are there already")
        (folder / _STOPPED).unlink(missing_ok=True)  # left by a run that failed
        told: set[int] = set()

        def tell(progress: Progress) -> None:
            for unit in rest:
                if unit.number not in told and (tally := finished(folder, unit.number)) is not None:
                    told.add(unit.number)
                    progress.add(tally.n_in)

        if rest:
            work = (rest, function, setup, str(folder), reading, self.workers, self.address is not None)
            self._drive(_map_units, work, label, tell)
        tallies = [finished(folder, unit.number) for unit in units]
        missing = [unit.number for unit, tally in zip(units, tallies, strict=True) if tally is None]
        if missing:
            raise RuntimeError(
                f"the parts {missing[:5]} of {folder} cannot be seen from here. All workers must write to the same "
                "file system as this machine: give an --out on a shared one."
            )
        return finish(folder, Path(out).resolve(), tallies, key=key, engine=self.name)

    def group(
        self,
        source: str | Path | Sequence[Path],
        keys: Sequence[str],
        out: str | Path,
        *,
        aggregates: Mapping[str, tuple[str, str]],
    ) -> Path:
        """As `engine.Engine.group` says."""
        files = parts_of(source)
        schema = grouped_schema(files, keys, aggregates)
        return self._query(_group, (files, list(keys), dict(aggregates), schema), out)

    def join(
        self,
        left: str | Path | Sequence[Path],
        right: str | Path | Sequence[Path],
        out: str | Path,
        *,
        on: str,
        how: str = "inner",
    ) -> Path:  # fmt: skip
        """As `engine.Engine.join` says."""
        files = parts_of(left), parts_of(right)
        names = joined_names(*files, on=on, how=how)
        return self._query(_join, (*files, names, on, how, joined_schema(*files, names)), out)

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
        files = parts_of(source)
        schema = sorted_schema(files, by if drop else ())
        return self._query(_sort, (files, list(by), descending, schema), out)

    def _query(self, task: Callable, work: tuple, out: str | Path) -> Path:
        with atomic_path(out) as part:
            self._drive(task, (*work, str(part)), "bringing together", lambda progress: None)
        return Path(out)

    def _drive(self, task: Callable, work: tuple, label: str, tell: Callable[[Progress], None]) -> None:
        """Run `task` in a child process that has Daft, and pass on its error as our own."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        before = {name: os.environ.get(name) for name in _QUIET}
        os.environ.update(_QUIET)
        child = context.Process(target=_child, args=(theirs, self.address, self.workers, task, work))
        try:
            child.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})
        theirs.close()
        said = None
        try:
            with Progress(label) as progress:
                while said is None and (child.is_alive() or ours.poll()):
                    if ours.poll(_POLL):
                        said = ours.recv_bytes()
                    tell(progress)
        except EOFError:
            said = None
        finally:
            child.join(5)
            if child.is_alive():
                child.terminate()
                child.join(5)
        if said is None:
            raise RuntimeError(
                f"the process that ran Daft ended without a word (exit code {child.exitcode}). What is finished is "
                "kept: run the same command again."
            )
        outcome = json.loads(said)
        if outcome["kind"] != "done":
            kinds = {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError}
            raise kinds.get(outcome["kind"], RuntimeError)(outcome["sentence"])


def _check_reachable(address: str) -> None:
    """Ask whether anything answers there: Ray itself would ask for half a minute, a dead cluster without end."""
    noted = _noted_cluster() if address == "auto" else address.removeprefix("ray://")
    if noted is None:
        return  # Ray says in a moment that it finds no cluster
    host, _, port = noted.rpartition(":")
    if not (host and port.isdigit()):
        raise ValueError(f"{noted} names no port. Need ray://host:10001, as `ray start --head` prints it.")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ValueError(
            f"nothing answers at {noted} ({error}). "
            + (
                "RAY_ADDRESS or Ray's note of this machine's cluster names it: `ray stop`, then `ray start --head`."
                if address == "auto"
                else "Need the client port of a running Ray cluster: `ray start --head --ray-client-server-port=10001` "
                "opens one."
            )
        ) from error


def _noted_cluster() -> str | None:
    """host:port of the cluster that Ray would join by itself, None where it notes none."""
    noted = os.environ.get("RAY_ADDRESS", "").strip()
    if not noted:
        note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
        with contextlib.suppress(OSError):
            noted = note.read_text(encoding="utf-8").strip()
    return noted.removeprefix("ray://") if ":" in noted else None


def _child(pipe: object, address: str | None, workers: int | None, task: Callable, work: tuple) -> None:
    """Do the task and say how it ended; leave at once, for Daft may crash while the interpreter shuts down."""
    outcome = {"kind": "done"}
    try:
        import daft

        if address is None:
            daft.set_runner_native(**({} if workers is None else {"num_threads": workers}))
        else:
            import ray

            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            daft.set_runner_ray(address=address)
        task(daft, work)
    except Exception as error:
        if os.environ.get("TOKENRY_DEBUG"):
            traceback.print_exc()
        outcome = {"kind": type(error).__name__, "sentence": _sentence(error, address)}
    pipe.send_bytes(json.dumps(outcome).encode())
    pipe.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _sentence(error: Exception, address: str | None) -> str:
    if missing := re.findall(r"No module named \W*([\w.]+)", str(error)):  # quoted as often as it was passed on
        return f"the workers have no module {missing[-1]!r}. Install it (and tokenry) in their environment, too."
    if address and ("connect" in str(error).lower() or isinstance(error, ConnectionError)):
        return (
            f"no answer from the Ray cluster at {address} ({error}). Is it running, and does this user have its "
            "token (RAY_AUTH_MODE, the token file of `ray start`)?"
        )
    return str(error)


def _map_units(daft: object, work: tuple) -> None:
    *given, workers, on_ray = work
    n_units = len(given[0])
    runner = _runner(daft, min(n_units, workers or _cores(on_ray)), on_ray=on_ray)(*given)
    frame = daft.from_pydict({"place": list(range(n_units))})
    frame = frame.into_partitions(n_units) if on_ray else frame.into_batches(1)
    ended = frame.select(runner.run(daft.col("place")).alias("outcome")).to_pydict()["outcome"]
    for outcome in map(json.loads, ended):
        if outcome:
            raise {"ValueError": ValueError}.get(outcome["kind"], RuntimeError)(outcome["sentence"])


def _cores(on_ray: bool) -> int:
    if not on_ray:
        return len(os.sched_getaffinity(0))
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _runner(daft: object, n_workers: int, *, on_ray: bool) -> type:
    """The class whose instances run units, one instance in each worker process."""

    @daft.cls(max_concurrency=n_workers, **({} if on_ray else {"use_process": True}))
    class Runner:
        def __init__(
            self, units: list[Unit], function: Callable, setup: Callable | None, folder: str, reading: Reading
        ) -> None:
            self.units, self.function, self.folder, self.reading = units, function, Path(folder), reading
            self.setup, self.state = setup, None

        @daft.method(return_dtype=daft.DataType.string())
        def run(self, place: int) -> str:
            return _outcome(self, place)

    return Runner


def _outcome(runner: object, place: int) -> str:
    """Run one unit; an error comes back as a sentence, for Daft would wrap it in its own. After one, none is begun."""
    stop = runner.folder / _STOPPED
    if stop.exists():
        return json.dumps(None)
    try:
        if runner.state is None:
            runner.state = () if runner.setup is None else (runner.setup(),)
        unit = runner.units[place]
        run_unit(unit, runner.function, runner.folder, reading=runner.reading, state=runner.state)
    except Exception as error:
        stop.touch()
        return json.dumps({"kind": type(error).__name__, "sentence": str(error)})
    return json.dumps(None)


def _group(daft: object, work: tuple) -> None:
    files, keys, aggregates, schema, out = work
    made = []
    for name, (how, column) in aggregates.items():
        of = daft.col(keys[0] if column == "*" else column)
        value = of.count("all" if column == "*" else "valid") if how == "count" else getattr(of, how)()
        made.append(value.alias(name))
    frame = daft.read_parquet(files)
    frame = frame.groupby(*keys).agg(*made) if made else frame.select(*keys).distinct()
    write_rows(frame.sort(keys).to_arrow_iter(), out, schema)


def _join(daft: object, work: tuple) -> None:
    left, right, names, on, how, schema, out = work
    ours, theirs = daft.read_parquet(left), daft.read_parquet(right)
    if names:
        theirs = theirs.select(on, *(daft.col(name).alias(new) for name, new in names.items()))
    order = [on, *(name for name in [*ours.column_names, *names.values()] if name != on)]
    joined = ours.join(theirs, on=on, how=how).select(*ours.column_names, *names.values())
    write_rows(joined.sort(order).to_arrow_iter(), out, schema)


def _sort(daft: object, work: tuple) -> None:
    files, by, descending, schema, out = work
    frame = daft.read_parquet(files).sort(by, desc=descending, nulls_first=False)
    write_rows(frame.to_arrow_iter(), out, schema)
