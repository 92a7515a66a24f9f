"""Verbs of the linear classifier: train it on labelled documents, and score a corpus with it."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Workers
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
)

Positive = Annotated[str | None, typer.Option("--positive-class", help="The class whose probability is the signal.")]


@app.command(
    "train-classifier",
    epilog="Example:  `tokenry corpus train-classifier --positive toxic.jsonl --negative clean.jsonl --out toxicity/`, "
    "then `tokenry corpus classify crawl/ --classifier toxicity/ --out signals/`",
)
def train_classifier(
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the classifier.")],
    positive: Annotated[list[str] | None, typer.Option("--positive", help="Documents that are so.")] = None,
    negative: Annotated[list[str] | None, typer.Option("--negative", help="Documents that are not.")] = None,
    labelled: Annotated[
        list[str] | None, typer.Option("--class", help="Or NAME=DOCUMENTS, for more than two classes (repeatable).")
    ] = None,
    words: Annotated[str, typer.Option("--words", help="tokens, folded (lower case, no marks) or words.")] = "tokens",
    ngrams: Annotated[int, typer.Option("--ngrams", help="Longest run of words.")] = 2,
    characters: Annotated[str, typer.Option("--characters", help="Runs of characters too, as 3-5.")] = "",
    buckets: Annotated[int, typer.Option("--buckets", help="Rows of the hash table.")] = 1 << 18,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the documents.")] = 3,
    rate: Annotated[float, typer.Option("--rate", help="Of the descent.")] = 0.5,
    held_out: Annotated[float, typer.Option("--held-out", min=0, max=0.9, help="Share kept for the test.")] = 0.1,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="A sample of so many documents of each class.")
    ] = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a small fast classifier (quality, toxicity, domain) on documents by path, and test it."""
    from tokenry.corpora.classifier import classes_of, span_of, train_classifier
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    classes, main = classes_of(positive or (), negative or (), labelled or ())
    made = train_classifier(
        classes, out, positive=main, held_out=held_out, limit=limit, seed=seed, words=words, ngrams=ngrams,
        characters=span_of(characters), buckets=buckets, epochs=epochs, rate=rate, overwrite=overwrite,
        reading=Reading(text=text_column, skip_bad=skip_bad),
    )  # fmt: skip
    show(made.report, json=as_json, out=Path(f"{out}.report"))


@app.command(
    epilog="Example:  `tokenry corpus classify crawl/ --classifier quality/ --out signals/`, then `tokenry corpus "
    "select crawl/ --signals signals/ --score quality.quality --share 0.1 --unit chars --out kept/`"
)
def classify(
    docs: Docs,
    classifier: Annotated[Path, typer.Option("--classifier", help="Folder of a trained classifier.")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the signal.")],
    name: Annotated[str | None, typer.Option("--name", help="The signal: quality.NAME; default: the folder's.")] = None,
    positive_class: Positive = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Score documents with a trained classifier: write its probability as a signal, and decide nothing."""
    from tokenry.corpora.classifier import classify as measure
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.signals import score_report
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    made = measure(docs, classifier, out, name=name, positive=positive_class,
                   engine=open_engine(engine, workers=workers),
                   reading=Reading(text=text_column, skip_bad=skip_bad))  # fmt: skip
    show(score_report(made), json=as_json)
