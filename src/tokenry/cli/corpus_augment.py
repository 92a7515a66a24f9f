"""Verb that makes more labelled texts from a few: augment."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs
from tokenry.cli.output import (
    JsonFlag,
    OverwriteFlag,
    QuietFlag,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    folder_to_be,
    quiet,
    show,
    sources,
)  # fmt: skip


@app.command(
    epilog="Example:  `tokenry corpus augment few.jsonl --parser column:tree --label topic --per-class 100 --out "
    "more/`; with a parser: `--parser spacy:en_core_web_sm`, or `--parser ./mine.py:parse` (that file is run)"
)
def augment(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder: train.jsonl, validation.jsonl.")],
    parser: Annotated[
        str,
        typer.Option(
            "--parser", help="column:NAME, conllu:NAME, spacy:MODEL, benepar:MODEL, stanza:LANG, or your function."
        ),
    ] = "column:tree",
    label: Annotated[str, typer.Option("--label", help="Column of the class.")] = "label",
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Texts of a class, originals counted.")] = 100,
    strategy: Annotated[
        str, typer.Option("--strategy", help="augtrain-train, train-val or augment-and-split.")
    ] = "augtrain-train",
    share: Annotated[float, typer.Option("--share", help="For validation (not of augtrain-train).")] = 0.5,
    swaps: Annotated[int, typer.Option("--swaps", min=0, help="Phrases changed in a sentence, at most.")] = 2,
    fill: Annotated[float, typer.Option("--fill", help="Share of content words changed inside the class.")] = 0.0,
    synonyms: Annotated[
        str | None, typer.Option("--synonyms", help="wordnet, or your function of (word, tag).")
    ] = None,
    synonym: Annotated[float, typer.Option("--synonym", help="Share of content words changed for a synonym.")] = 0.1,
    margin: Annotated[
        str, typer.Option("--margin", help="Nats a word that the own class must be ahead of others; or none.")
    ] = "0",
    heads: Annotated[str, typer.Option("--heads", help="collins, or content (no auxiliaries as heads).")] = "collins",
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Make more labelled texts from a few: phrases of one class change places, by the grammar of that class."""
    from tokenry.corpora.augment import Constraints, margin_of
    from tokenry.corpora.augment_documents import Wish, augment_documents

    quiet(no_progress)
    rules = Constraints(swaps=swaps, fill=fill, synonym=synonym if synonyms else 0.0, margin=margin_of(margin))
    wish = Wish(parser, per_class, label, strategy, share, heads, synonyms, constraints=rules, seed=seed)
    reading = {"text": text_column, "skip_bad": skip_bad}
    show(augment_documents(sources(docs), out, wish, overwrite=overwrite, reading=reading), json=as_json)
