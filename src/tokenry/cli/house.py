"""Verbs about the house itself: papers, doctor, rerun."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, show


def register(app: typer.Typer) -> None:
    """Put the verbs of this file on `app`."""
    app.command(epilog="Example:  `tokenry papers 26`")(papers)
    app.command(epilog="Example:  `tokenry doctor --json`")(doctor)
    app.command(epilog="Example:  `tokenry rerun out/run.json --out out-again`")(rerun)


def papers(
    number: Annotated[str | None, typer.Argument(help="Number of one paper, 1 to 58.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/PAPERS.md.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The papers behind the toolkit: verb, function, published figure and ours."""
    from tokenry.cli import papers_table

    if markdown:
        typer.echo(papers_table.markdown(), nl=False)
    else:
        show(papers_table.report(number), json=as_json)


def doctor(as_json: JsonFlag = False) -> None:
    """What is installed, which extras are missing and how to get them, device, threads, hub."""
    from tokenry.cli.doctor_report import examine

    show(examine(), json=as_json)


def rerun(
    run: Annotated[Path, typer.Argument(help="A run.json, or the folder that holds it.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write here instead of the run's own --out.")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the command and stop.")] = False,
) -> None:
    """Run again what a run.json records, and warn when an input has changed since."""
    from tokenry.cli.rerun_command import prepare

    command, changed = prepare(run, out=out)
    for line in changed:
        typer.echo(f"tokenry: input changed since the run: {line}", err=True)
    if dry:
        typer.echo("tokenry " + " ".join(command))
        return
    from tokenry.cli import app

    app(command, standalone_mode=False)
