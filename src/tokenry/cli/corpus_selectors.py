"""Verb that measures what documents are worth to a selector, and leaves the decision for later: utility."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import (
    Classifier,
    Docs,
    Encoder,
    EngineOption,
    Label,
    Model,
    Numbers,
    Reference,
    Targets,
    Workers,
)
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, folder_to_be, quiet, show


@app.command(
    epilog="Example:  `tokenry corpus utility crawl/ --method dsir --target wiki.jsonl --out dsir/`, then `tokenry "
    "corpus select crawl/ --signals dsir/ --score 'dsir.log_weight + dsir.log_length_ratio' --budget 5M --unit bytes "
    "--out kept/`"
)
def utility(
    docs: Docs,
    method: Annotated[str, typer.Option("--method", help="A selector; `tokenry corpus select --method list`.")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the columns.")],
    target: Targets = None,
    model: Model = None,
    reference: Reference = None,
    encoder: Encoder = None,
    classifier: Classifier = None,
    label: Label = "source",
    numbers: Numbers = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Measure what documents are worth to a selector: columns beside them, and no decision."""
    from tokenry.corpora.choices import means_of
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.selector_report import utility_report
    from tokenry.corpora.selectors import measure
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    means = means_of(target, numbers, model=model, reference=reference, encoder=encoder, classifier=classifier,
                     label=label, seed=seed)  # fmt: skip
    made = measure(docs, method, out, means=means, reading=Reading(text=text_column, skip_bad=skip_bad),
                   engine=open_engine(engine, workers=workers))  # fmt: skip
    show(utility_report(method, made), json=as_json, out=Path(f"{out}.report"))
