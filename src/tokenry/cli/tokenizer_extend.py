"""Verbs that change a trained tokenizer: extend, prune."""

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
from tokenry.cli.tokenizer import Data, Out, Tokenizer, app

Add = Annotated[int | None, typer.Option("--add", help="Number of tokens to add.")]
Size = Annotated[int | None, typer.Option("--size", help="Size of the whole vocabulary afterwards.")]
Method = Annotated[
    str,
    typer.Option(help="continued (never cuts old tokens anew), or a merge of two vocabularies: append (Cabrita), "
                 "append-zero (Chinese-LLaMA), append-below."),
]  # fmt: skip
Other = Annotated[str | None, typer.Option(help="append: the tokenizer whose pieces are taken; default: trained here.")]
Keep = Annotated[int | None, typer.Option("--keep", min=1, help="Entries afterwards.")]
MinUses = Annotated[
    int | None, typer.Option("--min-uses", min=1, help="Instead: take out what the text uses fewer times.")
]


@app.command(epilog="Example:  `tokenry tokenizer extend mistral.model --data german.jsonl --add 8000 --out ext/`")
def extend(
    tokenizer: Tokenizer,
    data: Data,
    out: Out,
    add: Add = None,
    size: Size = None,
    min_count: Annotated[int, typer.Option(min=1, help="Least number of times a new token must be seen.")] = 2,
    method: Method = "continued",
    other: Other = None,
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
    kept = None if protect is None else sources([protect])[0]
    options = {"add": add, "size": size, "min_count": min_count, "protect": kept, "method": method, "other": other}
    show(extend_to_folder(tokenizer, sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)


@app.command(epilog="Example:  `tokenry tokenizer prune qwen2.5/ --data german.jsonl --keep 100000 --out small/`")
def prune(
    tokenizer: Tokenizer,
    data: Data,
    out: Out,
    keep: Keep = None,
    min_uses: MinUses = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Take out the tokens your text uses least; text that used none of them is cut as before."""
    from tokenry.tokenization.verbs import prune_to_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    options = {"keep": keep, "min_uses": min_uses}
    show(prune_to_folder(tokenizer, sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)
