"""The verb `tokenry transplant word-vectors`: static word vectors of a language from your own text."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, LimitOption, QuietFlag, SeedOption, TextColumn, quiet, show, sources
from tokenry.cli.transplant import app


@app.command(epilog="Example:  `tokenry transplant word-vectors --data german.jsonl --out de.vec`")
def word_vectors(
    data: Annotated[list[str], typer.Option("--data", help="Text of one language; repeat for more.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, in word2vec text format.")],
    width: Annotated[int, typer.Option(min=2, help="Numbers a word; the same for both languages of a move.")] = 100,
    min_count: Annotated[int, typer.Option(min=1, help="Leave out words that occur less often.")] = 5,
    max_words: Annotated[int, typer.Option(min=2, help="Keep so many of the most frequent words.")] = 50_000,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Count word vectors on text, for `--method wechsel`, ofa and focus where a language has no published ones."""
    from tokenry.core.tables import texts
    from tokenry.transplant.word_vectors import write_vectors

    quiet(no_progress)
    lines = texts(sources(data), limit=limit, text=text_column)
    options = {"width": width, "min_count": min_count, "max_words": max_words, "seed": seed}
    show(write_vectors(lines, out, **options), json=as_json)
