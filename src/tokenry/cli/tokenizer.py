"""Verbs on tokenizers: train, audit, compare, split, extend. None of them needs torch."""

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

app = typer.Typer(help="Compose, judge and look through tokenizers (no torch needed).", no_args_is_help=True)

Tokenizer = Annotated[
    str,
    typer.Argument(
        metavar="TOKENIZER",
        help="A folder, tokenizer.json, SentencePiece .model, .tiktoken, tekken.json, vocab.txt, .gguf, or a hub name.",
    ),
]
Data = Annotated[
    list[str], typer.Option("--data", "--text", help="Text: .jsonl[.gz|.zst|.xz], .parquet, .txt, folder.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Style = Annotated[str, typer.Option(help="byte-level (GPT-2 way) or metaspace (SentencePiece way, byte fallback).")]
Like = Annotated[str | None, typer.Option(help="Keep this tokenizer's pre-tokeniser, normaliser and specials.")]
Add = Annotated[int | None, typer.Option("--add", help="Number of tokens to add.")]
Size = Annotated[int | None, typer.Option("--size", help="Size of the whole vocabulary afterwards.")]


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


@app.command(epilog="Example:  `tokenry tokenizer audit gpt2/ --text pages.jsonl.zst --json`")
def audit(
    tokenizer: Tokenizer,
    data: Data,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """How well a tokenizer fits a text: compression, fertility, scripts, dead tokens, digits, round trip."""
    from tokenry.tokenization.audit import audit as run

    quiet(no_progress)
    show(
        run(tokenizer, sources(data), seed=seed, limit=limit, text=text_column, skip_bad=skip_bad),
        json=as_json,
        out=out,
    )


@app.command(epilog="Example:  `tokenry tokenizer compare old/ new/ --text pages.jsonl`")
def compare(
    first: Tokenizer,
    second: Tokenizer,
    data: Data,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Two tokenizers on the same text, side by side; tokens shared by bytes."""
    from tokenry.tokenization.audit import compare as run

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    show(run(first, second, sources(data), seed=seed, **reading), json=as_json, out=out)


@app.command(epilog="Example:  `tokenry tokenizer split gpt2/ 'Übergrößenträger 12345'`")
def split(
    tokenizer: Tokenizer,
    text: Annotated[str, typer.Argument(help="Text to cut; - reads it from standard input.")],
    as_json: JsonFlag = False,
) -> None:
    """Show how a tokenizer cuts a text: ids, bytes, kinds."""
    import sys

    from tokenry.tokenization.verbs import split_report

    show(split_report(tokenizer, sys.stdin.read() if text == "-" else text), json=as_json)


@app.command(epilog="Example:  `tokenry tokenizer extend mistral.model --data german.jsonl --add 8000 --out ext/`")
def extend(
    tokenizer: Tokenizer,
    data: Data,
    out: Out,
    add: Add = None,
    size: Size = None,
    min_count: Annotated[int, typer.Option(help="Least number of times a new token must be seen.")] = 2,
    protect: Annotated[
        str | None, typer.Option(help="Text whose segmentation should change as little as possible.")
    ] = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Add tokens learned from your text to a BPE tokenizer; old ids and old merges stay as they are."""
    from tokenry.tokenization.verbs import extend_to_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"add": add, "size": size, "min_count": min_count, "protect": Path(protect) if protect else None}
    show(extend_to_folder(tokenizer, sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)
