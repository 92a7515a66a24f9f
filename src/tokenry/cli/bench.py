"""The verb `bench`: decoding strategies side by side on your model, text and machine."""

from pathlib import Path
from typing import Annotated

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
)

EPILOG = """Examples:

`tokenry bench --strategies plain,lookup,transformers:greedy`  (the model and prompts carried in the package)

`tokenry bench MODEL --strategies plain,a=lookup,b=lookup --with b.n_guesses=4 --prompts code.jsonl --limit 20`
"""
Strategies = Annotated[str, typer.Option(help="Names of strategies, or label=name, by commas.")]
Against = Annotated[str, typer.Option(help="Label of the baseline; added when it is not named.")]
Clock = Annotated[str, typer.Option(help="wall, or cpu: processor time, for a machine that others use.")]
PromptBytes = Annotated[int | None, typer.Option(min=1, help="Take so many first bytes of each document.")]


def register(parent: typer.Typer) -> None:
    """Put the verb on `parent`."""
    parent.command(epilog=EPILOG)(bench)


def bench(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Causal LM; else the one carried.")] = None,
    strategies: Strategies = "plain,lookup,transformers:greedy,transformers:prompt-lookup",
    option: Annotated[list[str], typer.Option("--with", help="Option of a strategy: STRATEGY.name=value.")] = [],  # noqa: B006
    prompts: Annotated[Path | None, typer.Option(help="Documents, each a prompt; else carried stories.")] = None,
    prompt_bytes: PromptBytes = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")] = 0.0,
    passes: Annotated[int, typer.Option(min=1, help="Timed passes over the prompts.")] = 3,
    against: Against = "plain",
    clock: Clock = "wall",
    seed: SeedOption = 0,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Measure decoding strategies side by side: tokens a second and a forward, break-even, sameness, quality."""
    from tokenry.decoding.benchmark_prompts import prompts_of
    from tokenry.decoding.benchmark_report import bench as run
    from tokenry.decoding.sampling import Settings

    quiet(no_progress)
    settings = Settings(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    texts = prompts_of(prompts, limit=limit, text=text_column, n_bytes=prompt_bytes)
    choice = {"strategies": strategies.split(","), "options": option, "against": against, "passes": passes}
    where = {"clock": clock, "device": device, "dtype": dtype}
    show(run(model, texts, settings=settings, **choice, **where), json=as_json, out=out)
