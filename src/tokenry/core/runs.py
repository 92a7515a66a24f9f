"""What a run leaves behind and says while it works: whole folders or nothing, `run.json`, progress on stderr."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import platform
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import tokenry
from tokenry.core.progress import Progress, log, set_quiet
from tokenry.core.system_errors import check_names, refused_write

__all__ = [
    "Progress",
    "atomic_folder",
    "atomic_path",
    "atomic_write",
    "check_folder",
    "describe_input",
    "log",
    "read_run",
    "set_quiet",
    "write_run",
]

_LOADED_AT = time.time()
_WHOLE_FILE = 64 * 2**20  # files up to this size are fingerprinted whole, longer ones by their two ends,
_ENDS = 8 * 2**20  # this long each,
_WHOLE_FOLDER = 2 * 2**30  # and so are all files of a folder that is larger than this
_LIBRARIES = (
    *("numpy", "scipy", "pyarrow", "tokenizers", "huggingface-hub", "numba", "regex", "torch", "transformers"),
    *("safetensors", "accelerate", "peft", "sentencepiece", "gguf", "datasets"),
)


@contextlib.contextmanager
def atomic_folder(out: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a folder that appears whole or not at all.

    The block fills a hidden folder beside `out`; at its end that folder is renamed to `out`. After any failure or
    Ctrl-C it is removed, and what stood at `out` before is untouched.

    Args:
        out: the folder to make; missing parents are made too.
        overwrite: replace an existing `out`, after success only.

    Raises:
        FileExistsError: `out` exists and `overwrite` is off.
        PermissionError: its parent cannot be written.
        OSError: the disk is full, or the name too long; `errno` is kept.
        ValueError: replacing `out` would remove the working directory or the home directory.
    """
    target = Path(os.path.realpath(Path(out).expanduser()))
    _check_target(target, out, overwrite=overwrite)
    part = _beside(target)
    with _telling(out, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    try:
        with _telling(out, target, part):
            yield part
            _swap(part, target, overwrite=overwrite)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all: the block writes the path it is given, which is then renamed.

    An existing file is replaced, after success only. Raises as `atomic_folder` does, but never for an existing file.
    """
    check_names(path)
    target = Path(os.path.realpath(Path(path).expanduser()))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; need the name of a file to write.")
    part = _beside(target)
    with _telling(path, target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _telling(path, target, part):
            yield part
            os.replace(part, target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a whole file or nothing; text is written as UTF-8 with its line ends as they are."""
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_folder(path: str | Path) -> None:
    """Refuse a path at which no folder is nor can be made, before the work that shall fill it.

    Raises:
        NotADirectoryError: it, or a part of it, is a file. PermissionError: nothing may be written there.
        OSError: a name in it is too long.
    """
    check_names(path)
    standing = Path(os.path.realpath(Path(path).expanduser()))
    while not os.path.lexists(standing):
        standing = standing.parent
    if not standing.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {standing} is a file, not a folder. Give another path.")
    if not os.access(standing, os.W_OK):
        raise PermissionError(f"may not write {path}. Give a place you may write, or change the mode of {standing}.")


def write_run(
    folder: str | Path, *, verb: str, arguments: dict, seed: int | None, inputs: list, started: float | None = None
) -> Path:
    """Write `run.json`: all that is needed to do the run again, and to know whether its inputs are still the same.

    Args:
        folder: where the run's output lies.
        verb: the command or function that ran.
        arguments: its arguments; paths become text, objects become the name of their type.
        seed: the seed of all random choices, None when there were none.
        inputs: what it read: files, folders, globs, hub names or objects. Files up to 64 MB are fingerprinted
            whole (blake2b), longer ones and those of folders over 2 GB by size, first and last 8 MB.
        started: `time.time()` at the start; the start of the program when not given.

    Returns:
        Path of the file written.
    """
    started = _LOADED_AT if started is None else started
    ended = time.time()
    record = {
        "verb": verb,
        "arguments": {str(key): _plain(value) for key, value in arguments.items()},
        "seed": seed,
        "inputs": [entry for source in inputs for entry in describe_input(source)],
        "command": shlex.join(sys.argv),
        "started": _stamp(started),
        "ended": _stamp(ended),
        "seconds": round(ended - started, 3),
        "cpu_seconds": round(time.process_time(), 3),
        "versions": _versions(),
        "machine": machine(),
    }
    path = Path(folder) / "run.json"
    atomic_write(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return path


def read_run(path: str | Path) -> dict:
    """Read a `run.json`, given it or its folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a record written by `write_run`.
    """
    file = Path(path) / "run.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no run record at {file}; give a run.json, or the output folder of a tokenry run.")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}); need a run.json as tokenry wrote it.") from error
    if not isinstance(record, dict) or not {"verb", "arguments"} <= record.keys():
        raise ValueError(f"{file} is not a run record: it has no verb and arguments. Need a run.json of tokenry.")
    return record


def describe_input(source: object) -> list[dict]:
    """What a source was: per file its path, bytes and blake2b; for hub names and objects what can be said of them."""
    if isinstance(source, (list, tuple)) and all(isinstance(part, (str, Path)) for part in source):
        return [entry for part in source for entry in describe_input(part)]
    if not isinstance(source, (str, Path)):
        return [{"object": type(source).__name__}]
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return [_describe_file(path, whole=path.stat().st_size <= _WHOLE_FILE)]
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            few = sum(file.stat().st_size for file in files) <= _WHOLE_FOLDER
            return [_describe_file(file, whole=few and file.stat().st_size <= _WHOLE_FILE) for file in files]
        if found := sorted(glob.glob(str(path), recursive=True)):
            return [entry for match in found for entry in describe_input(Path(match))]
    except OSError as error:
        return [{"name": str(source), "unreadable": str(error)}]
    return [{"name": str(source)}]


def _check_target(target: Path, out: str | Path, *, overwrite: bool) -> None:
    check_names(out)
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise FileExistsError(f"{out} is a file; need the name of a folder to make.")
    if not overwrite:
        raise FileExistsError(f"{out} exists already. Give another folder, or replace it with --overwrite.")
    for kept in (Path.cwd(), Path(os.path.expanduser("~"))):
        if kept.resolve().is_relative_to(target):
            raise ValueError(f"replacing {out} would remove {kept}. Give a folder of its own to write to.")


def _beside(target: Path) -> Path:
    start = os.fsencode(target.name)[:80].decode("utf-8", "ignore")  # names are bounded in bytes, not in characters
    return target.with_name(f".{start}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _swap(part: Path, target: Path, *, overwrite: bool) -> None:
    """Rename `part` to `target`; what stood there goes only once the new one stands."""
    if not os.path.lexists(target):
        part.rename(target)
        return
    if not overwrite:
        spare = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
        part.rename(spare)
        raise FileExistsError(f"{target} was made by something else meanwhile. This result lies in {spare}; move it.")
    old = _beside(target)
    try:
        target.rename(old)
        part.rename(target)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _telling(out: str | Path, target: Path, part: Path | None = None) -> Iterator[None]:
    """Turn a full disk or a refused write into a sentence that names the output.

    A refusal counts only when it names `part`, once that is given: a refused read of an input keeps its own words.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, FileExistsError) and part is None:
            error = NotADirectoryError(errno.ENOTDIR, "")  # a file stands where a parent should be made
        ours = part is None or str(part) in f"{error} {getattr(error, 'filename', '')}"
        told = refused_write(error, out, under=target.parent, ours=ours)
        if told is not None:
            raise told from error
        raise


def _describe_file(path: Path, *, whole: bool) -> dict:
    size = path.stat().st_size
    whole = whole or size <= 2 * _ENDS
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        if whole:
            while block := file.read(2**20):
                digest.update(block)
        else:
            digest.update(str(size).encode())
            digest.update(file.read(_ENDS))
            file.seek(-_ENDS, os.SEEK_END)
            digest.update(file.read())
    return {"path": str(path), "bytes": size, "blake2b": digest.hexdigest(), "whole": whole}


def _plain(value: object) -> object:
    """The value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(member) for member in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    return f"<{type(value).__name__}>"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"tokenry": tokenry.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


def machine() -> dict[str, object]:
    """System, processor, cores this process may use, and the GPU where torch is loaded and sees one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, object] = {"system": platform.platform(), "cpu": _cpu_name(), "cores": cores}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
