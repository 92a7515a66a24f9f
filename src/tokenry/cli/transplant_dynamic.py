"""The verbs `transplant dynamic`: what merged prompts cost a model; and `dynamic-tune`: teach it to read them."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, OverwriteFlag, QuietFlag, ReportOption, SeedOption, quiet, show, sources
from tokenry.cli.transplant import app


@app.command(epilog="Example:  `tokenry transplant dynamic ./smollm2 --data pages.jsonl --reduction 0.5`")
def dynamic(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal language model: folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text: its documents give prompts and what follows.")],
    reduction: Annotated[
        list[float] | None,
        typer.Option(help="Share of the way to one token a word, 0 to 1; repeatable. Default: quarters."),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="Rows of merged tokens: pieces, hypernet, or package.module:function of (model, vocab).")
    ] = "pieces",
    hypernet: Annotated[str | None, typer.Option(help="Folder of a trained hypernetwork, for --rows hypernet.")] = None,
    boundary: Annotated[str, typer.Option(help="pretokens, word, word_hyphen or sentence.")] = "pretokens",
    batch: Annotated[int, typer.Option(min=1, help="Prompts merged together.")] = 16,
    prompt_bytes: Annotated[int, typer.Option(min=8, help="Longest prompt in bytes.")] = 512,
    limit: Annotated[int, typer.Option(min=1, help="Most documents.")] = 200,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Merge the tokens of prompts batch by batch, at run time: positions saved, bits per byte lost, by level."""
    from tokenry.transplant.dynamic import LEVELS, profile

    quiet(no_progress)
    options = {"rows": rows, "hypernet": hypernet, "boundary": boundary, "batch_size": batch, "seed": seed}
    options |= {"prompt_bytes": prompt_bytes, "limit": limit, "reductions": reduction or LEVELS}
    show(profile(model, sources(data), **options), json=as_json, out=out)


@app.command(
    "dynamic-tune",
    epilog="Example:  `tokenry transplant dynamic-tune ./smollm2 --data pages.jsonl --steps 500 --out ./reads-merged`",
)
def dynamic_tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal language model: folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text; a fifth of its documents is held out and scored.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write: an ordinary model, and a report.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of each of the two trainings.")] = 500,
    level: Annotated[str, typer.Option(help="uniform, gaussian, or one share for every batch.")] = "uniform",
    rank: Annotated[int, typer.Option(min=1, help="Of the low-rank additions (LoRA).")] = 128,
    dropout: Annotated[float, typer.Option(min=0, max=1, help="On the input of the additions.")] = 0.3,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-4,
    batch: Annotated[int, typer.Option(min=1, help="Prompts of a step, merged together.")] = 32,
    prompt_bytes: Annotated[int, typer.Option(min=8, help="Longest prompt in bytes.")] = 512,
    boundary: Annotated[str, typer.Option(help="pretokens, word, word_hyphen or sentence.")] = "pretokens",
    limit: Annotated[int, typer.Option(min=10, help="Most documents.")] = 5000,
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Teach a decoder to read merged prompts (LoRA at sampled levels), beside the same training on ordinary ones."""
    from tokenry.transplant.dynamic_tuning_verb import Tuning, share_or_kind, tune_decoder

    quiet(no_progress)
    how = {"steps": steps, "level": share_or_kind(level), "rank": rank, "dropout": dropout, "rate": rate}
    how |= {"batch": batch, "prompt_bytes": prompt_bytes, "boundary": boundary}
    options = {"how": Tuning(**how), "limit": limit, "seed": seed, "overwrite": overwrite}
    show(tune_decoder(model, sources(data), out, **options), json=as_json)
