"""Verbs on tokenizers. None of them needs torch. This file holds their common arguments and `split`."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, show, text_or_stdin

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


@app.command(epilog="Example:  `tokenry tokenizer split gpt2/ 'Übergrößenträger 12345'`")
def split(
    tokenizer: Tokenizer,
    text: Annotated[str, typer.Argument(help="Text to cut; - reads it from standard input.")],
    as_json: JsonFlag = False,
) -> None:
    """Show how a tokenizer cuts a text: ids, bytes, kinds."""
    from tokenry.tokenization.verbs import split_report

    show(split_report(tokenizer, text_or_stdin(text)), json=as_json)
