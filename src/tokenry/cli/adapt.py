"""The main job: `tokenry adapt`."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.heal import Balanced, NextToken
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
)

EPILOG = """Examples:

`tokenry adapt --demo --out out/demo`  (a real tiny model and text carried in the package; three minutes)

`tokenry adapt HuggingFaceTB/SmolLM2-135M-Instruct --data german/*.jsonl.zst --out smollm2-de --add 8000`

`tokenry adapt ./llama --data filings.parquet --eval general.jsonl --out ./llama-filings --heal-steps 2000`
"""
Objective = Annotated[
    str,
    typer.Option(
        help="next-token, distil (stay near the original's hidden states), alm (its likelihoods), or token-distil (new "
        "rows first, by its hidden states)."
    ),
]
RowsFirst = Annotated[
    int | None, typer.Option(min=0, help="Steps that train only new rows; default 0, with token-distil half of all.")
]


def register(app: typer.Typer) -> None:
    """Put the verb on `app`."""
    app.command(epilog=EPILOG)(adapt)


def adapt(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", help="Your text: files, globs, folders, hf://...")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the adapted model and its report.")] = None,
    evaluate: Annotated[str | None, typer.Option("--eval", help="General text the model must not forget.")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Entries of the new vocabulary; default: by data.")] = None,
    add: Annotated[int | None, typer.Option("--add", help="Tokens to add (instead of --size).")] = None,
    replace: Annotated[bool, typer.Option("--replace/--keep-old", help="Train a new vocabulary, or extend.")] = False,
    method: Annotated[
        str,
        typer.Option(
            help="How new rows begin: auto (a short probe decides), pieces, weighted-pieces, "
            "asymmetric, omp, mean, random, zero, or module:function."
        ),
    ] = "auto",
    heal_steps: Annotated[
        int | None, typer.Option("--heal-steps", help="Training steps after the move; 0: none; default 200.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences in one training step.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens in one training sequence.")] = 256,
    rate: Annotated[float | None, typer.Option(help="Learning rate of the body; default by the model's width.")] = None,
    objective: Objective = "next-token",
    next_token: NextToken = 0.0,
    balanced: Balanced = False,
    rows_first: RowsFirst = None,
    no_control: Annotated[bool, typer.Option("--no-control", help="Do not train the original for comparison.")] = False,
    replay: Annotated[
        float | None, typer.Option(help="Share of training text from --eval, against forgetting.")
    ] = None,
    keep_control: Annotated[bool, typer.Option("--keep-control", help="Write the control beside the model.")] = False,
    heldout_bytes: Annotated[int, typer.Option(help="Most held-out text to score; more narrows intervals.")] = 40_000,
    demo: Annotated[bool, typer.Option("--demo", help="Use the model and the text carried in the package.")] = False,
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
    """Move a pretrained model onto tokens composed from your data, heal it, and prove what was gained and lost."""
    from tokenry.cli.adapt_command import AdaptArguments, run

    quiet(no_progress)
    run(
        AdaptArguments(
            model=model, data=data or [], out=out, evaluate=evaluate, size=size, add=add, replace=replace, rate=rate,
            method=method, heal_steps=heal_steps, batch=batch, length=length, objective=objective, replay=replay,
            next_token=next_token, balanced=balanced, rows_first=rows_first,
            control=not no_control, keep_control=keep_control, heldout_bytes=heldout_bytes, demo=demo, seed=seed,
            device=device, dtype=dtype, limit=limit, text=text_column, skip_bad=skip_bad, overwrite=overwrite,
            resume=resume, as_json=as_json,
        )
    )  # fmt: skip
