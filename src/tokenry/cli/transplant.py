"""Verbs that change a model's tokens: transplant (move, apply, revert, verify) and heal."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

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

PANEL = "Models"
Folder = Annotated[Path, typer.Argument(help="Model folder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]


class _MoveByDefault(TyperGroup):
    """`tokenry transplant BASE ...` means `tokenry transplant move BASE ...`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["move", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_MoveByDefault, no_args_is_help=True, help="Give a model another tokenizer; apply, revert, verify."
)


def register(parent: typer.Typer) -> None:
    """Put the verbs of this file on `parent`."""
    parent.add_typer(app, name="transplant", rich_help_panel=PANEL)
    parent.command(rich_help_panel=PANEL, epilog="Example:  `tokenry heal moved/ --data pages.jsonl --out healed/`")(
        heal
    )


@app.command(epilog="Example:  `tokenry transplant ./smollm2 --tokenizer ./german-tok --method pieces --out ./moved`")
def move(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model to keep: folder or hub name.")],
    out: Out,
    tokenizer: Annotated[str | None, typer.Option(help="The tokenizer it should have.")] = None,
    donor: Annotated[str | None, typer.Option(help="A model whose tokenizer it should have (needed by omp).")] = None,
    method: Annotated[
        str, typer.Option(help="pieces, weighted-pieces, asymmetric, omp, mean, random, zero.")
    ] = "pieces",
    k: Annotated[int, typer.Option(help="omp: shared tokens mixed into one new token.")] = 64,
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Give BASE another tokenizer without training; every row's origin is recorded, and can be reverted."""
    from tokenry.transplant.verbs import transplant_folder

    options = {"method": method, "k": k, "seed": seed, "overwrite": overwrite}
    show(transplant_folder(base, out, tokenizer=tokenizer, donor=donor, **options), json=as_json)


@app.command(epilog="Example:  `tokenry transplant apply moved/tokenry_plan ./smollm2-chat --out ./chat-moved`")
def apply(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan folder that a transplant wrote.")],
    model: Annotated[Path, typer.Argument(help="A fine-tuned relative of the plan's base.")],
    out: Out,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Apply a recorded plan to another model with the same old vocabulary."""
    from tokenry.transplant.verbs import apply_folder

    show(apply_folder(plan, model, out, overwrite=overwrite), json=as_json)


@app.command(epilog="Example:  `tokenry transplant revert moved/ --out restored/`")
def revert(model: Folder, out: Out, overwrite: OverwriteFlag = False, as_json: JsonFlag = False) -> None:
    """Give a transplanted model its old tokenizer and old rows back."""
    from tokenry.transplant.undoing import revert as run

    show(run(model, out, overwrite=overwrite), json=as_json)


@app.command(epilog="Example:  `tokenry transplant verify moved/`")
def verify(model: Folder, as_json: JsonFlag = False) -> None:
    """Reopen a model folder and check rows, specials, chat template, round trip, finite weights."""
    from tokenry.transplant.verifying import verify as run

    report = run(model)
    show(report, json=as_json)
    if not report.facts.get("ok", False):
        raise typer.Exit(1)


def heal(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text to train on.")],
    out: Out,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 200,
    batch: Annotated[int, typer.Option(help="Sequences in one step.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens in one sequence.")] = 256,
    rate: Annotated[float | None, typer.Option(help="Learning rate of the body; default by the model's width.")] = None,
    rows_first: Annotated[int, typer.Option(help="Steps that train only embedding and head, before all.")] = 0,
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
    from tokenry.transplant.healing import HealConfig
    from tokenry.transplant.verbs import heal_folder

    quiet(no_progress)
    config = HealConfig(
        steps=steps, batch=batch, length=length, rate=rate, rows_first=rows_first, seed=seed, dtype=dtype
    )
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"device": device, "overwrite": overwrite, "resume": resume}
    show(heal_folder(model, sources(data), out, config=config, reading=reading, **options), json=as_json)
