"""`transplant language`: teach a model another language, beside training it on its old tokens."""

from typing import Annotated

import typer

from tokenry.cli.output import (
    DeviceOption,
    DtypeOption,
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)
from tokenry.cli.transplant import Out, app


@app.command(
    epilog="Example:  `tokenry transplant language ./base --data pt.jsonl --general en.jsonl --add 2000 --out ./pt`"
)
def language(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text of the language; repeat for more.")],
    out: Out,
    general: Annotated[
        list[str] | None, typer.Option("--general", help="Text of what it knew: to replay, and to score forgetting.")
    ] = None,
    add: Annotated[int, typer.Option(help="New tokens.")] = 2000,
    methods: Annotated[
        str, typer.Option(help="How their rows begin; one arm each, the first is kept.")
    ] = "pieces,random",
    steps: Annotated[int, typer.Option(help="Training steps of an extended arm.")] = 200,
    batch: Annotated[int, typer.Option(help="Sequences in one step.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens in one sequence.")] = 256,
    rate: Annotated[float | None, typer.Option(help="Learning rate of the body; default by the model's width.")] = None,
    replay: Annotated[float, typer.Option(help="Share of general text in the training text.")] = 0.1,
    seeds: Annotated[int, typer.Option(help="Orders of the training text.")] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Extend MODEL for a language and train on, beside its old tokens at equal text and at equal compute."""
    from tokenry.transplant.healing import HealConfig
    from tokenry.transplant.languages import LanguageConfig, adapt_language

    quiet(no_progress)
    heal = HealConfig(steps=steps, batch=batch, length=length, rate=rate, seed=seed, dtype=dtype)
    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    config = LanguageConfig(add, names, heal, replay if general else 0.0, seeds=seeds)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    given = sources(general) if general else None
    options = {"reading": reading, "device": device, "overwrite": overwrite, "resume": resume}
    show(adapt_language(model, sources(data), out, general=given, config=config, **options), json=as_json)
