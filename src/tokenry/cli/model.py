"""Verbs on models: evaluate, sample."""

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
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)

app = typer.Typer(help="Score and sample causal language models.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")]


@app.command(epilog="Example:  `tokenry model evaluate out/demo --text pages.jsonl --json`")
def evaluate(
    model: Model,
    data: Annotated[list[str], typer.Option("--data", "--text", help="Text to score.")],
    segment_bytes: Annotated[int, typer.Option(help="Documents are cut into segments of this many bytes.")] = 1024,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Bits per byte of a model on a text: comparable across tokenizers, with an interval over documents."""
    from tokenry.models.evaluation import evaluate as run

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    show(
        run(model, sources(data), segment_bytes=segment_bytes, device=device, dtype=dtype, reading=reading),
        json=as_json,
        out=out,
    )


@app.command(epilog="Example:  `tokenry model sample out/demo 'Once upon a time'`")
def sample(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="Text to go on from.")],
    tokens: Annotated[int, typer.Option(help="Most new tokens.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.")] = 0.0,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Continue a text."""
    from tokenry.models.evaluation import sample as run

    report = run(model, prompt, max_new_tokens=tokens, temperature=temperature, seed=seed, device=device, dtype=dtype)
    if as_json:
        show(report, json=True)
    else:
        typer.echo(report.facts["text"])
