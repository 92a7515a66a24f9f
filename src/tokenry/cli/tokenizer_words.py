"""Verbs on words: train, tune, use and score a decompounder."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    ReportOption,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)
from tokenry.cli.tokenizer import Data, Out, app

words_app = typer.Typer(
    help="Cut compounds (Haus|tür): learn it from hyphens in plain text, use it, score it.", no_args_is_help=True
)
app.add_typer(words_app, name="decompound")

Model = Annotated[
    str, typer.Option("--model", help="Folder of a decompounder, or freq:FILE (word, tab, count; or text).")
]


@words_app.command(
    epilog="Example:  `tokenry tokenizer decompound train --data german.jsonl.xz --out de-compounds/` (needs torch)"
)
def train(
    data: Data,
    out: Out,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 2000,
    min_count: Annotated[int, typer.Option(min=1, help="Words seen less often are not looked at.")] = 1,
    hyphens_only: Annotated[
        bool, typer.Option("--hyphens-only", help="Learn from hyphens alone, as the paper, not from counts too.")
    ] = False,
    counts: Annotated[Path | None, typer.Option(help="Frequency list of the language (word, tab, count).")] = None,
    exclude: Annotated[Path | None, typer.Option(help="Gold words to keep out of the training.")] = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Learn a decompounder from the hyphens of your text, with no gold."""
    from tokenry.tokenization.decompounding import train_to_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"steps": steps, "min_count": min_count, "hyphens_only": hyphens_only, "counts": counts}
    options |= {"exclude": exclude, "seed": seed}
    show(train_to_folder(sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)


@words_app.command(
    epilog="Example:  `tokenry tokenizer decompound tune --model de-compounds/ --gold gold.tsv --out de-tuned/` (torch)"
)
def tune(
    model: Annotated[Path, typer.Option("--model", help="Folder of `decompound train`.")],
    gold: Annotated[
        list[Path], typer.Option("--gold", help="Word, tab, constituents (Arbeit|Platz); SIGMORPHON files; repeatable.")
    ],
    out: Out,
    held_share: Annotated[float, typer.Option("--held-share", help="Share of the words to measure on.")] = 0.2,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 600,
    balanced: Annotated[bool, typer.Option("--balanced", help="Weigh compounds and simple words alike.")] = False,
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Fine-tune a decompounder on gold, constituents included, and measure it on words kept back."""
    from tokenry.tokenization.compound_tuning import tune_to_folder

    quiet(no_progress)
    options = {"held_share": held_share, "steps": steps, "balanced": balanced, "seed": seed, "overwrite": overwrite}
    show(tune_to_folder(model, gold, out, **options), json=as_json)


@words_app.command(epilog="Example:  `tokenry tokenizer decompound apply Haustürschlüssel --model de-compounds/`")
def apply(
    words: Annotated[list[str] | None, typer.Argument(help="Words to cut.")] = None,
    model: Model = "",
    data: Annotated[
        list[str] | None, typer.Option("--data", "--text", help="Cut every distinct word of a text.")
    ] = None,
    constituents: Annotated[
        bool, typer.Option("--constituents", help="What the word is made of (Arbeit|Platz), after `tune`.")
    ] = False,
    limit: LimitOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Cut words into their parts."""
    from tokenry.tokenization.decompounding import apply_report

    found = sources(data) if data else None
    report = apply_report(words or [], model, source=found, limit=limit, constituents=constituents)
    show(report, json=as_json, out=out)


@words_app.command(
    epilog="Example:  `tokenry tokenizer decompound score gold.tsv --model de-compounds/ --model freq:de.tsv`"
)
def score(
    gold: Annotated[Path, typer.Argument(help="Word, tab, parts (Haus|tür), one a line; no parts: no compound.")],
    models: Annotated[
        list[str], typer.Option("--model", help="Folder, freq:FILE, or pkg.module:function; repeatable.")
    ],
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Score decompounders on gold words: exact match overall, on compounds and on simple words."""
    from tokenry.tokenization.decompounding import score_report

    show(score_report(gold, models), json=as_json, out=out)
