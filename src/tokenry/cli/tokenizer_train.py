"""`tokenizer train`."""

from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)
from tokenry.cli.tokenizer import Data, Out, app

Style = Annotated[str, typer.Option(help="byte-level (GPT-2 way) or metaspace (SentencePiece way, byte fallback).")]
Like = Annotated[str | None, typer.Option(help="Keep this tokenizer's pre-tokeniser, normaliser and specials.")]


@app.command(epilog="Example:  `tokenry tokenizer train --data notes.jsonl --size 32768 --out tok/`")
def train(
    data: Data,
    out: Out,
    size: Annotated[int, typer.Option("--size", help="Entries, specials and alphabet included.")] = 32_768,
    kind: Annotated[str, typer.Option(help="bpe, unigram, wordpiece, byte, character")] = "bpe",
    style: Style = "byte-level",
    like: Like = None,
    min_count: Annotated[int, typer.Option(help="Least number of times a pair must be seen to be merged.")] = 2,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a tokenizer on your text and write a folder that AutoTokenizer opens."""
    from tokenry.tokenization.verbs import train_to_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"size": size, "kind": kind, "style": style, "like": like, "min_count": min_count}
    show(train_to_folder(sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)
