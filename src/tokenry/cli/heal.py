"""The verb `heal`: train a model a while after its tokens changed."""

from pathlib import Path
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

EPILOG = """Examples:

`tokenry heal moved/ --data pages.jsonl --out healed/`

`tokenry heal moved/ --data pages.jsonl --stages rows:100,lora:200,all:0 --objective alm --teacher original/ --out x`
"""
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
NextToken = Annotated[float, typer.Option("--next-token", min=0, help="alm: weight of the next-token loss beside it.")]
Balanced = Annotated[
    bool, typer.Option("--balanced", help="alm: scale what stands beside it to pull equally hard, then weigh.")
]


def register(parent: typer.Typer) -> None:
    """Put the verb on `parent`."""
    parent.command(epilog=EPILOG)(heal)


def heal(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text to train on.")],
    out: Out,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 200,
    batch: Annotated[int, typer.Option(help="Sequences in one step.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens in one sequence.")] = 256,
    rate: Annotated[float | None, typer.Option(help="Learning rate of the body; default by the model's width.")] = None,
    rows_first: Annotated[int, typer.Option(help="Steps that train only embedding and head, before all.")] = 0,
    stages: Annotated[str, typer.Option(help="In place of --steps: rows:100,lora:200:1e-4,all:0.")] = "",
    rows: Annotated[str, typer.Option(help="Rows of the stages rows and lora: new (by the plan), all, auto.")] = "auto",
    objective: Annotated[
        str, typer.Option(help="next-token, distil, alm or token-distil; all but the first need --teacher.")
    ] = "next-token",
    next_token: NextToken = 0.0,
    hidden: Annotated[float, typer.Option("--hidden", min=0, help="alm: weight of a hidden-state loss beside it.")] = 0,
    balanced: Balanced = False,
    teacher: Annotated[str | None, typer.Option(help="The original model with its own tokenizer.")] = None,
    general: Annotated[str | None, typer.Option(help="General text: scored against forgetting, and mixed in.")] = None,
    general_share: Annotated[float, typer.Option(help="Share of the training text that is general text.")] = 0.0,
    stop_patience: Annotated[
        int | None, typer.Option(min=1, help="End a stage after so many curve points without a gain.")
    ] = None,
    stop_delta: Annotated[float, typer.Option(help="Bits per byte that count as a gain.")] = 0.002,
    evaluations: Annotated[int, typer.Option(min=1, help="Points of the curve.")] = 5,
    lora_rank: Annotated[int, typer.Option(min=1, help="Width of the low-rank additions.")] = 16,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a model on your text for a while, after a move or as a plain fine-tune; reports a bits-per-byte curve."""
    from tokenry.transplant.heal_verb import Material, heal_folder
    from tokenry.transplant.healing import HealConfig
    from tokenry.transplant.stages import parse_stages

    quiet(no_progress)
    config = HealConfig(
        steps=steps, batch=batch, length=length, rate=rate, rows_first=rows_first, stages=parse_stages(stages),
        lora_rank=lora_rank, objective=objective, next_token=next_token, alm_hidden=hidden, balanced=balanced,
        stop_patience=stop_patience, stop_delta=stop_delta, evaluations=evaluations, seed=seed, dtype=dtype,
    )  # fmt: skip
    material = Material(teacher, sources([general]) if general else None, general_share, rows)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"material": material, "device": device, "overwrite": overwrite, "resume": resume}
    report = heal_folder(model, sources(data), out, config=config, reading=reading, **options)
    if report is not None:  # the first of several processes tells
        show(report, json=as_json)
