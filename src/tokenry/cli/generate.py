"""The verb `generate`: continue text by any decoding strategy."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenry.cli.output import (
    DeviceOption,
    DtypeOption,
    JsonFlag,
    LimitOption,
    QuietFlag,
    ReportOption,
    SeedOption,
    TextColumn,
    quiet,
    show,
    text_or_stdin,
)

if TYPE_CHECKING:
    from tokenry.core.report import Report

EPILOG = """Examples:

`tokenry generate out/demo --prompt 'Once upon a time' --strategy lookup --with n_guesses=8`

`tokenry generate MODEL --prompts prompts.jsonl --temperature 0.8 --top-p 0.95 --json`
"""


def register(parent: typer.Typer) -> None:
    """Put the verb on `parent`."""
    parent.command(epilog=EPILOG)(generate)


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")],
    prompt: Annotated[list[str], typer.Option("--prompt", help="Text to go on from; - reads standard input.")] = [],  # noqa: B006
    prompts: Annotated[Path | None, typer.Option(help="Documents, each a prompt.")] = None,
    strategy: Annotated[str, typer.Option(help="plain, lookup, ..., or pkg.module:function.")] = "plain",
    option: Annotated[list[str], typer.Option("--with", help="Option of the strategy, as name=value.")] = [],  # noqa: B006
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that sum to this.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens; 0 from all.")] = 0,
    stop: Annotated[list[str], typer.Option("--stop", help="Text that ends a continuation.")] = [],  # noqa: B006
    seed: SeedOption = 0,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Continue text; strategies that guess ahead write what the model alone would write, in fewer passes."""
    from tokenry.decoding.sampling import Settings
    from tokenry.decoding.verbs import generate_report

    quiet(no_progress)
    texts = [*map(text_or_stdin, prompt), *_read(prompts, limit, text_column)]
    settings = Settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    tell = None if as_json else (lambda one: typer.echo(one.text))
    model_options = {"device": device, "dtype": dtype, "on_text": tell, "stop": stop}
    report = generate_report(model, texts, strategy=strategy, options=option, settings=settings, **model_options)
    _show(report, as_json, out, no_progress)


def _read(prompts: Path | None, limit: int | None, text_column: str) -> list[str]:
    if prompts is None:
        return []
    from tokenry.core.tables import texts

    return list(texts(prompts, text=text_column, limit=limit))


def _show(report: "Report", as_json: bool, out: Path | None, silent: bool) -> None:
    """The texts stand on stdout already: the costs go to stderr, the report to --json and --out."""
    if as_json:
        show(report, json=True, out=out)
        return
    if out is not None:
        print(f"report: {report.save(out)}", file=sys.stderr)
    if not silent:
        facts = report.facts
        told = f"{facts['n_tokens']} tokens in {facts['n_forwards']} forward passes"
        print(f"{facts['strategy']}: {told}, {facts['tokens_per_second']:.0f} tokens/s", file=sys.stderr)
