"""Turn files that are no tables of documents (WARC, filings) into parts of documents, with a count of what is left out.

The engine of the room does the work: its corpus is a listing with one unit for each group of files, so it runs on one
machine or on a cluster, goes on where it was cut off, and gives the same parts with any number of workers. A part is
written as its file is read: memory holds a batch, however long the file.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import atomic_path, atomic_write, check_folder, log, write_run
from tokenry.corpora.engine import Engine, Mapped, open_engine, read_mapped, write_manifest
from tokenry.corpora.units import Reading, Tally, part_name

__all__ = ["Converted", "Passed", "convert", "find_raw"]

_BATCH_ROWS, _BATCH_CHARS = 1024, 16 * 2**20
_MOST_EXAMPLES, _MOST_NAMED = 5, 1000
_PASSED = ".passed.json"
_TALLY = pa.schema(
    [("id", pa.string()), ("name", pa.string()), ("n_in", pa.int64()), ("n_out", pa.int64()), ("passed", pa.string())]
)


@dataclass
class Passed:
    """What was seen and what was left out, by reason.

    Attributes:
        n_seen: records or documents looked at.
        counts: reason -> how many.
        examples: reason -> names of the first few.
        kept: those of the reasons that are remarks: what they count is there all the same.
    """

    n_seen: int = 0
    counts: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    @property
    def n_left_out(self) -> int:
        """Records or documents left out, without the remarks."""
        return sum(n for reason, n in self.counts.items() if reason not in self.kept)

    def remark(self, reason: str, name: str) -> None:
        """Count something to be known of what is kept, or of a whole file."""
        self.kept.add(reason)
        self.add(reason, name)

    def add(self, reason: str, name: str) -> None:
        """Count one that is left out."""
        self.counts[reason] += 1
        named = self.examples.setdefault(reason, [])
        if len(named) < _MOST_EXAMPLES:
            named.append(name[:200])

    def merge(self, other: "Passed") -> None:
        """Add the counts of another."""
        self.n_seen += other.n_seen
        self.counts.update(other.counts)
        self.kept |= other.kept
        for reason, names in other.examples.items():
            held = self.examples.setdefault(reason, [])
            held.extend(names[: _MOST_EXAMPLES - len(held)])

    def table(self) -> pa.Table:
        """Reasons, the most frequent first."""
        rows = [
            {
                "reason": reason,
                "n": n,
                "is_left_out": reason not in self.kept,
                "examples": ", ".join(self.examples.get(reason, [])),
            }
            for reason, n in sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))
        ]
        schema = pa.schema(
            [("reason", pa.string()), ("n", pa.int64()), ("is_left_out", pa.bool_()), ("examples", pa.string())]
        )
        return pa.Table.from_pylist(rows, schema)


Read = Callable[[Path, Passed], Iterable[Mapping[str, object]]]


@dataclass(frozen=True)
class Converted:
    """What was made.

    Attributes:
        documents: the folder of parts.
        passed: what was left out.
    """

    documents: Mapped
    passed: Passed


def find_raw(source: str | Path | Sequence[str | Path], suffixes: Sequence[str]) -> list[Path]:
    """The files behind paths, globs and folders (with subfolders) whose names end in one of `suffixes`, sorted.

    A file that is named itself is taken whatever its name.

    Raises:
        FileNotFoundError: nothing is there, or nothing with such a name.
    """
    import glob

    named = [source] if isinstance(source, (str, Path)) else list(source)
    found: dict[Path, None] = {}
    others = 0
    for one in named:
        path = Path(one).expanduser()
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise FileNotFoundError(f"{one}: nothing there. Give files, folders or globs.")
        for match in matches:
            if match.is_file():
                found[match.resolve()] = None
                continue
            inside = [file for file in sorted(match.rglob("*")) if file.is_file() and not file.name.startswith(".")]
            fitting = {file.resolve(): None for file in inside if file.name.lower().endswith(tuple(suffixes))}
            others += len(inside) - len(fitting)
            found |= fitting
    if not found:
        raise FileNotFoundError(f"{source}: no files there that end in {', '.join(suffixes)}.")
    if others:
        log(f"{others:,} files with other suffixes than {', '.join(suffixes)} are not read")
    return list(found)


def convert(
    files: Sequence[Path],
    out: str | Path,
    *,
    read: Read,
    schema: pa.Schema,
    key: str,
    per_part: int = 1,
    engine: str | Engine = "embedded",
    label: str = "files",
    run: Mapping[str, object] | None = None,
    again: bool = False,
) -> Converted:
    """Read every file and write its documents as parts of one folder.

    Args:
        files: in order.
        out: the folder to make; interrupted work stays beside it and is gone on with by the same call.
        read: gives the documents of one file, as mappings, and counts what it leaves out; it must be importable.
        schema: of the documents.
        key: fingerprint of `read` and its settings.
        per_part: files that make one part.
        engine: an engine or its name.
        label: what progress calls the work.
        run: for `run.json`: verb and arguments.
        again: where `out` was made of the same files with the same settings, take it as it is.

    Raises:
        FileExistsError: `out` is there. ValueError: unfinished work of other settings is beside it.
    """
    target = Path(out).expanduser()
    check_folder(target.parent)
    if target.exists():
        if again and (found := _reopened(target, key, files)):
            log(f"{label}: {target} is there already")
            return found
        raise FileExistsError(f"{out} exists already. Give another folder, or remove it first.")
    work = target.resolve().parent / f".{target.name}.raw"
    _write_listing(files, work / "listing", per_part)
    (work / "parts").mkdir(exist_ok=True)
    engine = open_engine(engine)
    function = partial(convert_batch, read=read, schema=schema, folder=str(work / "parts"))
    tallies = work / "tallies"
    shutil.rmtree(tallies, ignore_errors=True)
    mapped = engine.map(work / "listing", function, tallies, key=fingerprint("raw", 1, key, str(schema)),
                        reading=Reading(batch_rows=1), label=label)  # fmt: skip
    converted = _gathered(mapped, work / "parts", key)
    _write_records(converted, files, engine.name, dict(run or {}))
    converted.documents.folder.rename(target)
    shutil.rmtree(work)
    return Converted(Mapped(target, converted.documents.tallies, key), converted.passed)


def _gathered(mapped: Mapped, parts: Path, key: str) -> Converted:
    """The tallies of all units as one."""
    import pyarrow.parquet as pq

    passed, lines = Passed(), []
    for part in mapped.parts:
        for row in pq.read_table(part).to_pylist():
            said = json.loads(row["passed"])
            own = Passed(row["n_in"], Counter(said["counts"]), said["examples"], set(said["kept"]))
            passed.merge(own)
            lines.append(Tally(int(row["id"]), row["name"], row["n_in"], row["n_out"], own.n_left_out))
    return Converted(Mapped(parts, lines, key), passed)


def _write_records(made: Converted, files: Sequence[Path], engine: str, run: dict[str, object]) -> None:
    """Manifest, what was left out, and how it was made."""
    folder, table, stamp = made.documents.folder, made.passed.table(), _stamp(files)
    write_manifest(made.documents, engine)
    rows = ["\t".join(table.column_names), *("\t".join(map(str, row.values())) for row in table.to_pylist())]
    atomic_write(folder / "passed.tsv", "\n".join(rows) + "\n")
    atomic_write(folder / _PASSED, _said(made.passed, files=stamp))
    # Each of millions of files read once more, for its fingerprint, would cost more than it says.
    named = list(files) if len(files) <= _MOST_NAMED else [f"{len(files)} files, {stamp}"]
    write_run(folder, verb=str(run.pop("verb", "corpus extract")), arguments=run, seed=None, inputs=named)


def convert_batch(batch: pa.RecordBatch, *, read: Read, schema: pa.Schema, folder: str) -> pa.RecordBatch:
    """Rows of the listing to rows of tallies; the documents are written as the parts of those numbers."""
    import pyarrow.parquet as pq

    rows = []
    for number, listed in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
        paths, passed, n_out = [Path(path) for path in json.loads(listed)], Passed(), 0
        with (
            atomic_path(Path(folder) / part_name(int(number))) as part,
            pq.ParquetWriter(part, schema, compression="zstd") as writer,
        ):
            for made in _batches((row for path in paths for row in read(path, passed)), schema):
                writer.write_batch(made)
                n_out += made.num_rows
        said = _said(passed)
        name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
        rows.append({"id": number, "name": name, "n_in": passed.n_seen, "n_out": n_out, "passed": said})
    table = pa.Table.from_pylist(rows, _TALLY).combine_chunks()
    return table.to_batches()[0] if rows else pa.RecordBatch.from_pylist([], _TALLY)


def _said(passed: Passed, **others: str) -> str:
    return json.dumps({"n_seen": passed.n_seen, "counts": dict(passed.counts), "examples": passed.examples,
                       "kept": sorted(passed.kept), **others})  # fmt: skip


def _stamp(files: Sequence[Path]) -> str:
    return fingerprint([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def _reopened(folder: Path, key: str, files: Sequence[Path]) -> Converted | None:
    """What an earlier call has made of the same files with the same settings; None where it is something else."""
    try:
        made, said = read_mapped(folder), json.loads((folder / _PASSED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if made.key != key or said.get("files") != _stamp(files):
        return None
    return Converted(made, Passed(said["n_seen"], Counter(said["counts"]), said["examples"], set(said["kept"])))


def _batches(rows: Iterable[Mapping[str, object]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    held: list[Mapping[str, object]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(str(row.get("text") or ""))
        if len(held) >= _BATCH_ROWS or size >= _BATCH_CHARS:
            yield pa.RecordBatch.from_pylist(held, schema)
            held, size = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema)


def _write_listing(files: Sequence[Path], folder: Path, per_part: int) -> None:
    """One file for each unit; those that are right already stay as they are, so that finished work still belongs."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for number, start in enumerate(range(0, len(files), per_part)):
        group = files[start : start + per_part]
        stamps = [[file.stat().st_size, file.stat().st_mtime_ns] for file in group]
        row = {"id": str(number), "text": json.dumps([str(file) for file in group]), "stamps": json.dumps(stamps)}
        wanted[f"{number:06d}.jsonl"] = json.dumps(row) + "\n"
    for file in folder.iterdir():
        if file.name not in wanted:
            file.unlink()
    for name, content in wanted.items():
        file = folder / name
        if not (file.is_file() and file.read_text(encoding="utf-8") == content):
            atomic_write(file, content)
