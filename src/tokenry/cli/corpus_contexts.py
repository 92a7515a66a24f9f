"""Verb that compares how two corpora speak of the same things."""

from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Workers
from tokenry.cli.output import JsonFlag, QuietFlag, ReportOption, SeedOption, SkipBadFlag, TextColumn, quiet, show


@app.command(
    epilog="Example:  `tokenry corpus contexts filings/ --reference crawl/ --scorer words:bad-words.txt --out audit/`"
)
def contexts(
    docs: Docs,
    reference: Annotated[list[str], typer.Option("--reference", help="The documents to compare with (repeatable).")],
    scorer: Annotated[
        str, typer.Option("--scorer", help="words:FILE, linear:FOLDER[:CLASS], signal:NAME, hf:FOLDER[:LABEL], mod:fn.")
    ],
    lexicon: Annotated[
        str, typer.Option("--lexicon", help="identities (our own), or a .toml or .json: axis -> descriptors.")
    ] = "identities",
    per_descriptor: Annotated[int, typer.Option("--per-descriptor", min=2, help="Sentences of each, at most.")] = 1000,
    per_document: Annotated[
        int | None, typer.Option("--per-document", min=1, help="Sentences of one document for a descriptor, at most.")
    ] = None,
    least: Annotated[int, typer.Option("--least", min=2, help="Test only descriptors with as many in both.")] = 10,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Compare a score (toxicity, ...) of sentences that name the same groups in two corpora, at equal sample sizes."""
    from tokenry.corpora.contexts import contexts as audit
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    reading = Reading(text=text_column, skip_bad=skip_bad)
    report = audit(docs, reference, lexicon=lexicon, scorer=scorer, per_descriptor=per_descriptor,
                   per_document=per_document, least=least, seed=seed, reading=reading,
                   engine=open_engine(engine, workers=workers))  # fmt: skip
    show(report, json=as_json, out=out)
