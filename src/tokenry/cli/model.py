"""Verbs on models: evaluate, sample, next-bytes."""

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
    text_or_stdin,
)

app = typer.Typer(help="Score and sample causal language models.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")]


Target = Annotated[str, typer.Option(help="canonical, restricted or all: which ways to write a text count.")]


@app.command(epilog="Example:  `tokenry model evaluate out/demo --text pages.jsonl --json`")
def evaluate(
    model: Model,
    data: Annotated[list[str], typer.Option("--data", "--text", help="Text to score.")],
    segment_bytes: Annotated[int, typer.Option(help="Documents are cut into segments of this many bytes.")] = 1024,
    exact: Annotated[
        str | None, typer.Option(help="Count more than the tokenizer's own way: canonical, restricted or all.")
    ] = None,
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
    from functools import partial

    from tokenry.models.evaluation import evaluate as run

    quiet(no_progress)
    how = {"segment_bytes": segment_bytes, "device": device, "dtype": dtype}
    if exact is not None:
        from tokenry.decoding.bytes_scoring import byte_scores

        how["score"] = partial(byte_scores, target=exact)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    show(run(model, sources(data), reading=reading, **how), json=as_json, out=out)


@app.command("next-bytes", epilog="Example:  `tokenry model next-bytes out/demo 'Once upon a ti'`")
def next_bytes(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="Text so far; it may end anywhere; - reads standard input.")],
    partner: Annotated[list[str], typer.Option("--with", help="Another model, of any tokenizer: an ensemble.")] = [],  # noqa: B006
    combine: Annotated[str, typer.Option(help="mean or product of several models.")] = "mean",
    target: Target = "canonical",
    top: Annotated[int, typer.Option(min=1, help="Most rows.")] = 12,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Which bytes may follow a text, whatever tokens they belong to, and how likely each is."""
    from tokenry.decoding.bytes_scoring import next_bytes_report

    options = {"target": target, "top": top, "combine": combine, "device": device, "dtype": dtype}
    show(next_bytes_report([model, *partner], text_or_stdin(prompt), **options), json=as_json, out=out)


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
