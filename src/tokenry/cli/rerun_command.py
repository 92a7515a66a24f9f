"""Turn a run.json back into the command that made it."""

import shlex
from pathlib import Path

from tokenry.core.runs import describe_input, read_run


def prepare(run: Path, *, out: Path | None = None) -> tuple[list[str], list[str]]:
    """The arguments of the recorded command, and one line for each input that is not what it was.

    Args:
        run: a run.json or the folder holding it.
        out: replaces the value of the recorded `--out`.

    Raises:
        FileNotFoundError: no run.json there.
        ValueError: it records no `tokenry` command, or has no `--out` to replace.
    """
    record = read_run(run)
    program, *arguments = shlex.split(record.get("command", "")) or [""]
    if not _is_tokenry(program):
        raise ValueError(
            f"{run} was made by {program or 'nothing named'}, not by the tokenry command; need a run of a verb. "
            f"Call {record['verb']} from Python again."
        )
    if out is not None:
        arguments = _with_out(arguments, out, run)
    return arguments, _changed(record)


def _is_tokenry(program: str) -> bool:
    path = Path(program)
    return path.stem == "tokenry" or (path.name == "__main__.py" and path.parent.name == "tokenry")


def _with_out(arguments: list[str], out: Path, run: Path) -> list[str]:
    for i, argument in enumerate(arguments):
        if argument == "--out" and i + 1 < len(arguments):
            return [*arguments[: i + 1], str(out), *arguments[i + 2 :]]
        if argument.startswith("--out="):
            return [*arguments[:i], f"--out={out}", *arguments[i + 1 :]]
    raise ValueError(f"{run}: the recorded command has no --out to replace; leave --out away.")


def _changed(record: dict) -> list[str]:
    lines = []
    for entry in record.get("inputs", []):
        path = entry.get("path")
        if path is None:
            continue
        if not Path(path).is_file():
            lines.append(f"{path} is gone")
        elif describe_input(path) != [entry]:
            lines.append(f"{path} has other content")
    return lines
