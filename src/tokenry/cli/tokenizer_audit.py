"""Verbs that judge tokenizers: audit, compare, families."""

from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    QuietFlag,
    ReportOption,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)
from tokenry.cli.tokenizer import Data, Tokenizer, app

Tokenizers = Annotated[
    list[str],
    typer.Argument(metavar="TOKENIZER...", help="Two or more: folders, files or hub names, as for audit."),
]
Names = Annotated[str | None, typer.Option("--names", help="What to call them, with commas: gpt2,claude,qwen.")]
Reference = Annotated[str | None, typer.Option("--reference", help="Tokenizer to measure the others against.")]
Parallel = Annotated[
    str | None,
    typer.Option("--parallel", help="Line-aligned texts: a folder, one file a language; or language, line, text."),
]


@app.command(epilog="Example:  `tokenry tokenizer audit gpt2/ --text pages.jsonl.zst --json`")
def audit(
    tokenizer: Tokenizer,
    data: Data,
    lens: Annotated[
        list[str] | None,
        typer.Option(
            "--lens", help="Only these (repeatable): compression, words, parity, ..., or pkg.module:function."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model folder: under-trained tokens.")] = None,
    parallel: Parallel = None,
    lexicon: Annotated[str | None, typer.Option("--lexicon", help="Word list of the language: morphology.")] = None,
    affixes: Annotated[str | None, typer.Option("--affixes", help="Affix list of the language.")] = None,
    analyzer: Annotated[str | None, typer.Option("--analyzer", help="Morphological analyser, by name.")] = None,
    gold: Annotated[str | None, typer.Option("--gold", help="Words with their gold segmentation.")] = None,
    terms: Annotated[str | None, typer.Option("--terms", help="List of domain terms: tokens a term.")] = None,
    reference: Reference = None,
    lang: Annotated[str | None, typer.Option("--lang", help="The language, as a code: tr, de, ...")] = None,
    pairs: Annotated[str | None, typer.Option("--pairs", help="Clean and noisy text, tab-separated.")] = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """How well a tokenizer fits a text: compression, fertility, scripts, languages, dead tokens, digits, round trip."""
    from tokenry.tokenization.audit import audit as run

    quiet(no_progress)
    material = {"model": model, "parallel": parallel, "lexicon": lexicon, "affixes": affixes, "analyzer": analyzer}
    material |= {"gold": gold, "terms": terms, "reference": reference, "lang": lang, "pairs": pairs}
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    chosen = {"lenses": lens} if lens else {}
    show(run(tokenizer, sources(data), material=material, seed=seed, **chosen, **reading), json=as_json, out=out)


@app.command(epilog="Example:  `tokenry tokenizer compare gpt2/ claude.json qwen/ --text flores/ --out page`")
def compare(
    tokenizers: Tokenizers,
    data: Data,
    names: Names = None,
    reference: Reference = None,
    parallel: Parallel = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Any number of tokenizers on the same text: measures, languages, shared tokens, and a page to look at."""
    from tokenry.tokenization.comparison_page import compare_to_page

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    called = names.split(",") if names else None
    options = {"names": called, "reference": reference, "parallel": parallel, "seed": seed}
    show(compare_to_page(tokenizers, sources(data), out=out, **options, **reading), json=as_json, out=out)


@app.command(epilog="Example:  `tokenry tokenizer families llama/ mistral.model qwen/ gemma/`")
def families(
    tokenizers: Tokenizers,
    names: Names = None,
    alike: Annotated[float, typer.Option("--alike", help="Average similarity that makes one group.")] = 0.95,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Vocabularies side by side, no text needed: classes, scripts, shared tokens, groups."""
    from tokenry.tokenization.families import families as run

    show(run(tokenizers, names=names.split(",") if names else None, alike=alike), json=as_json, out=out)
