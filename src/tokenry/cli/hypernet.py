"""`hypernet`: train a network that makes rows of any tokenizer, train on after a move, convert a published network."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    DeviceOption,
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

app = typer.Typer(no_args_is_help=True, help="Train a network that makes rows for any tokenizer; use a published one.")


@app.callback()
def _group() -> None:
    pass


@app.command(
    epilog="Example:  `tokenry hypernet train ./base --data pages.jsonl --vocab 8192 --steps 2000 --out ./net`"
)
def train(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Causal or masked LM: a folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text to train on; repeat for more.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    vocab: Annotated[int, typer.Option(help="Entries of the tokenizers that are drawn.")] = 32_768,
    steps: Annotated[int, typer.Option(help="Steps of the main stage (the paper: 200,000).")] = 2000,
    identity_steps: Annotated[
        int | None, typer.Option(help="Steps on the model's own rows first; default: a tenth, none with --residual.")
    ] = None,
    residual: Annotated[bool, typer.Option(help="Learn a correction to the mean of the pieces.")] = True,
    layers: Annotated[int, typer.Option(help="Layers of the network.")] = 3,
    batch: Annotated[int, typer.Option(help="Sequences in one step.")] = 16,
    length: Annotated[int, typer.Option(help="Tokens in one sequence.")] = 128,
    rate: Annotated[float, typer.Option(help="Learning rate of the main stage.")] = 3e-4,
    negatives: Annotated[int, typer.Option(help="Rows made a step beside those of its tokens; 0: all.")] = 2048,
    pool: Annotated[int, typer.Option(help="Texts a tokenizer is drawn from.")] = 2048,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a hypernetwork for BASE, whose body stays as it is; then any tokenizer costs one pass."""
    from tokenry.transplant.hypernet_training import TrainingConfig
    from tokenry.transplant.hypernet_verb import train_hypernet_folder
    from tokenry.transplant.tokenizer_sampling import SamplerConfig

    quiet(no_progress)
    first = (0 if residual else steps // 10) if identity_steps is None else identity_steps
    how = {"identity_steps": first, "steps": steps, "rate": rate, "warmup": max(1, steps // 10), "batch": batch}
    training = TrainingConfig(**how, length=length, negatives=negatives or None, seed=seed)
    options = {"reading": {"limit": limit, "text": text_column, "skip_bad": skip_bad}, "device": device}
    options |= {"shape": {"layers": layers, "residual": residual}, "sampling": SamplerConfig(size=vocab, pool=pool)}
    report = train_hypernet_folder(
        base, sources(data), out, training=training, overwrite=overwrite, resume=resume, **options
    )
    show(report, json=as_json)


@app.command(
    epilog="Example:  `tokenry hypernet nshot ./base --tokenizer ./new --hypernet ./net --data pages.jsonl --out ./x`"
)
def nshot(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Causal or masked LM: a folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text to train on; repeat for more.")],
    tokenizer: Annotated[str, typer.Option(help="The tokenizer it should have.")],
    hypernet: Annotated[Path, typer.Option(help="Folder of the network trained for BASE.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps (the paper: 50,000).")] = 1000,
    batch: Annotated[int, typer.Option(help="Sequences in one step.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens in one sequence.")] = 256,
    rate: Annotated[float, typer.Option(help="Learning rate, constant (the paper, for 7B: 3e-6).")] = 1e-4,
    control: Annotated[bool, typer.Option(help="Train rows of pieces for the same time, to compare.")] = True,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Move BASE by its hypernetwork, then train model and network on together with the new tokenizer."""
    from tokenry.transplant.hypernet_nshot import NshotConfig
    from tokenry.transplant.hypernet_verb import nshot_folder

    quiet(no_progress)
    options = {"tokenizer": tokenizer, "hypernet": hypernet, "device": device, "control": control}
    options["reading"] = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    training = NshotConfig(steps=steps, batch=batch, length=length, rate=rate, seed=seed)
    show(nshot_folder(base, sources(data), out, training=training, overwrite=overwrite, **options), json=as_json)


@app.command(
    epilog="Example:  `tokenry hypernet convert ./zett-hypernetwork-xlm-roberta-base --base ./xlm-r --out ./net`"
)
def convert(
    published: Annotated[Path, typer.Argument(metavar="PUBLISHED", help="Folder of a published hypernetwork.")],
    base: Annotated[Path, typer.Option(help="Folder of the model it was made for.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write, for --hypernet.")],
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a published hypernetwork (zett's layout, safetensors or Flax) usable: `transplant --hypernet OUT`."""
    from tokenry.transplant.hypernet_verb import convert_folder

    show(convert_folder(published, base, out, overwrite=overwrite), json=as_json)
