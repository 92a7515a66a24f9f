"""What every verb does with its result: print a Report or its JSON to stdout, save it, leave run.json beside it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tokenry.core.report import Report

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the report as JSON to stdout.")]


def folder_to_be(path: Path | None) -> Path | None:
    """Refuse a place where no folder can be before the work is done, not after it."""
    if path is not None:
        from tokenry.core.runs import check_folder

        check_folder(path)
    return path


QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Read at most this many documents.")]
TextColumn = Annotated[str, typer.Option("--text-column", help="Name of the column that holds the text.")]
SkipBadFlag = Annotated[bool, typer.Option("--skip-bad", help="Count broken lines instead of stopping at the first.")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
ReportOption = Annotated[
    Path | None,
    typer.Option("--out", callback=folder_to_be, help="Also save report.json, .md and .html in this folder."),
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; default: cuda if present.")]
DtypeOption = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16; default: the model's.")]


def sources(data: list[str]) -> list:
    """What was typed after --data as paths; an address (hf://...) stays a string. Nothing typed is taken for a text.

    Raises:
        ValueError: an empty name, which would mean the working directory.
    """
    if not all(data):
        raise ValueError("an empty name after --data (an unset variable?); need a file or folder of text.")
    return [entry if "://" in entry else Path(entry) for entry in data]


def text_or_stdin(text: str) -> str:
    """The text typed, or for - what stands on standard input.

    Raises:
        ValueError: standard input is closed, or not UTF-8.
    """
    if text != "-":
        return text
    if sys.stdin is None:
        raise ValueError("standard input is closed, and - reads it. Give the text itself, or pipe it in.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"standard input is not UTF-8 (byte 0x{error.object[error.start]:02x}); need text in UTF-8. Convert it "
            "first: iconv -f LATIN1 -t UTF-8."
        ) from None


def command_line() -> str:
    """The command as typed, with the program's short name."""
    import shlex

    return shlex.join(["tokenry", *sys.argv[1:]])


def quiet(on: bool) -> None:
    """Switch progress off for this process when asked."""
    from tokenry.core.runs import set_quiet

    set_quiet(on)


def show(report: "Report", *, json: bool = False, out: Path | None = None) -> None:
    """Print `report` to stdout (tables, or strict JSON) and save it under `out` when given."""
    report.command = report.command or command_line()
    if out is not None:
        page = report.save(out)
        print(f"report: {page}", file=sys.stderr)
    if json:
        print(report.to_json())
    else:
        from tokenry.core.report import print_report

        print_report(report)
