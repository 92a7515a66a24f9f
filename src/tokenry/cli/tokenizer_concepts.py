"""The verbs `tokenry tokenizer concepts build|encode|report`: pieces of a field's terms, chosen word by word."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    ReportOption,
    TextColumn,
    show,
    sources,
    text_or_stdin,
)
from tokenry.cli.tokenizer import Data, Out
from tokenry.cli.tokenizer import app as tokenizer_app

app = typer.Typer(
    help="Add the terms of a field to a WordPiece tokenizer and choose word by word.", no_args_is_help=True
)
tokenizer_app.add_typer(app, name="concepts")

Pool = Annotated[Path, typer.Argument(metavar="POOL", help="A folder made by `tokenizer concepts build`.")]
Rule = Annotated[str | None, typer.Option(help="Another rule: unigram_loglik, min_tokens, lexicon_match, ...")]


@app.command(
    epilog="Example:  `tokenry tokenizer concepts build ./bert --lexicon hp.obo:disease --lexicon drugs.tsv:drug "
    "--vocab drug=10000,disease=3000 --out ktok`"
)
def build(
    base: Annotated[str, typer.Argument(metavar="TOKENIZER", help="A WordPiece tokenizer (BERT's kind).")],
    lexicon: Annotated[list[str], typer.Option("--lexicon", help="FILE:TYPE; .obo, .csv, .tsv or one term a line.")],
    out: Out,
    vocab: Annotated[str, typer.Option("--vocab", help="Pieces by type: drug=10000,disease=3000.")] = "",
    delta: Annotated[
        float | None, typer.Option(min=0, max=1, help="Else: leave out pieces with this share of the counts.")
    ] = None,
    how: Annotated[str, typer.Option(help="terms (word by word) or continued (merges after the base's).")] = "terms",
    forced: Annotated[str | None, typer.Option(help="Morphemes that are entries: cardio-, -itis, one a line.")] = None,
    general: Annotated[list[str] | None, typer.Option(help="General text, for the base's own likelihood.")] = None,
    rule: Annotated[str, typer.Option(help="How a word chooses.")] = "unigram_loglik",
    threshold: Annotated[float, typer.Option(help="Sentences shorter by this share or more go back to base.")] = 1.0,
    margin_bits: Annotated[float, typer.Option(help="What a type must be likelier by.")] = 0.0,
    need_lexicon: Annotated[str, typer.Option(help="A type needs the word: in its lexicon, or near it.")] = "",
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Learn pieces of term lists and add them behind the ids of a tokenizer."""
    from tokenry.tokenization.concept_report import build_to_folder

    report = build_to_folder(
        base, lexicon, out, sizes=vocab, general=general or (), forced=forced, overwrite=overwrite, delta=delta,
        how=how, rule=rule, threshold=threshold, margin_bits=margin_bits, need_lexicon=need_lexicon,
    )  # fmt: skip
    show(report, json=as_json)


@app.command(epilog="Example:  `tokenry tokenizer concepts encode ktok 'acute nephropathy' --json`")
def encode(
    pool: Pool,
    text: Annotated[str, typer.Argument(help="Text to cut; - reads it from standard input.")] = "-",
    rule: Rule = None,
    as_json: JsonFlag = False,
) -> None:
    """Cut a text: pieces, ids, places, and which type each word took."""
    from tokenry.tokenization.concept_report import encode_report

    show(encode_report(pool, text_or_stdin(text), rule=rule), json=as_json)


@app.command(epilog="Example:  `tokenry tokenizer concepts report ktok --text notes.jsonl`")
def report(
    pool: Pool,
    data: Data,
    rule: Rule = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Words by route, tokens per word before and after, sentences given back to base."""
    from tokenry.core.tables import texts
    from tokenry.tokenization.concept_report import concept_report
    from tokenry.tokenization.concepts import TokenizerPool

    documents = texts(sources(data), text=text_column, limit=limit)
    show(concept_report(TokenizerPool.open(pool, rule=rule), documents), json=as_json, out=out)
