"""The verb that infers what a tokenizer was trained on: mixture."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    QuietFlag,
    ReportOption,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    folder_to_be,
    quiet,
    show,
)
from tokenry.cli.tokenizer import Tokenizer, app

_DOCS = "Candidate category, name=path, repeatable; or one table whose column `source` names the category."


@app.command(
    epilog="Example:  `tokenry tokenizer mixture cl100k_base.tiktoken --corpus en=en.jsonl --corpus code=src.jsonl`"
)
def mixture(
    tokenizer: Tokenizer,
    corpus: Annotated[list[str], typer.Option("--corpus", metavar="NAME=PATH", help=_DOCS)],
    merges: Annotated[int | None, typer.Option(help="First merges to use; default: all, at most 30,000.")] = None,
    first_merge: Annotated[int, typer.Option(help="Earlier merges are applied silently (inherited ones).")] = 0,
    skip_merges: Annotated[str, typer.Option(help="Hand-made merges: auto, none, or a file, one a line.")] = "auto",
    max_length: Annotated[
        int | None, typer.Option(help="Longest token the trainer allowed; default: by family.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the intervals: bytes or pairs.")] = "bytes",
    bootstrap: Annotated[int, typer.Option(help="Resamples of document shards; 0: none.")] = 20,
    calibrate: Annotated[int, typer.Option(help="Tokenizers to train at the estimate; 10 gives a fair interval.")] = 0,
    near_optimal: Annotated[
        bool, typer.Option("--near-optimal", help="Range of mixtures within 1 % of the best.")
    ] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Train at the estimate and compare the merges.")] = False,
    baselines: Annotated[bool, typer.Option(help="Simpler guesses beside it.")] = True,
    groups: Annotated[
        list[str] | None, typer.Option("--groups", metavar="NAME=A+B", help="Sum of categories, repeatable.")
    ] = None,
    trained_bytes: Annotated[float | None, typer.Option(help="Size of the training text, where known.")] = None,
    level: Annotated[float, typer.Option(help="Coverage the intervals are asked for.")] = 0.9,
    trajectories: Annotated[
        Path | None,
        typer.Option(
            "--trajectories",
            "--save-trajectories",
            callback=folder_to_be,
            help="Folder that keeps counts and replay, to add categories or go on after an interruption.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that count, threads that replay.")] = 1,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Infer what a BPE tokenizer was trained on, from its merges and samples of candidate categories."""
    from tokenry.tokenization.mixture_arguments import mixture_run

    quiet(no_progress)
    reading = {"text": text_column, "limit": limit, "skip_bad": skip_bad}
    options = {
        "merges": merges, "first_merge": first_merge, "skip_merges": skip_merges, "longest": max_length, "unit": unit,
        "bootstrap": bootstrap, "calibrate": calibrate, "near_optimal": 0.01 if near_optimal else None, "refit": refit,
        "baselines": baselines, "trained_bytes": trained_bytes, "level": level, "cache": trajectories, "seed": seed,
        "workers": workers,
    }  # fmt: skip
    report = mixture_run(tokenizer, corpus, groups=groups or (), out=out, reading=reading, **options)
    show(report, json=as_json, out=out)
