"""Verbs on language and domain: morphology, hybrid, undertrained, spoil."""

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
from tokenry.cli.tokenizer import Data, Out, Tokenizer, app

Lexicon = Annotated[Path | None, typer.Option("--lexicon", help="Word list, or a hunspell .dic with its .aff.")]
Affixes = Annotated[Path | None, typer.Option("--affixes", help="Affix list beside a word list.")]
Analyzer = Annotated[
    str | None,
    typer.Option(
        "--analyzer", help="zeyrek, hunspell:FILE, unimorph:FILE, sigmorphon:FILE, conllu:FILE, or pkg.mod:function."
    ),
]
Lang = Annotated[str, typer.Option("--lang", help="Language code, for lower-casing (tr: I and ı are a pair).")]


@app.command(epilog="Example:  `tokenry tokenizer morphology gpt2/ --text tr.txt --analyzer zeyrek --lang tr`")
def morphology(
    tokenizer: Tokenizer,
    data: Data,
    lexicon: Lexicon = None,
    affixes: Affixes = None,
    analyzer: Analyzer = None,
    gold: Annotated[Path | None, typer.Option("--gold", help="Gold segmentations: word, tab, un|do|ing.")] = None,
    lang: Lang = "",
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Does it respect words and morphemes? Valid and pure tokens, boundaries, beside what they cost."""
    from tokenry.tokenization.gold_segmentations import read_gold
    from tokenry.tokenization.language_purity import language_purity
    from tokenry.tokenization.validators import open_validator

    quiet(no_progress)
    validator = open_validator(lexicon=lexicon, affixes=affixes, analyzer=analyzer, lang=lang)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad, "seed": seed}
    words = read_gold(gold) if gold else None
    show(language_purity(tokenizer, sources(data), validator, gold=words, **reading), json=as_json, out=out)


@app.command(epilog="Example:  `tokenry tokenizer hybrid --text tr.jsonl --analyzer zeyrek --size 16000 --out hybrid/`")
def hybrid(
    data: Data,
    out: Out,
    size: Annotated[int, typer.Option("--size", help="Entries in all.")],
    lexicon: Lexicon = None,
    affixes: Affixes = None,
    analyzer: Analyzer = None,
    lang: Lang = "",
    dictionary_share: Annotated[
        float, typer.Option("--dictionary-share", min=0, max=1, help="Most room for morphemes.")
    ] = 0.8,
    min_count: Annotated[int, typer.Option("--min-count", min=1, help="Words seen less often are not analysed.")] = 2,
    roots: Annotated[Path | None, typer.Option("--roots", help="Roots to have in any case, one a line.")] = None,
    allomorphs: Annotated[
        bool, typer.Option("--allomorphs", help="Turkish: say which suffix forms share an id (allomorphs.json).")
    ] = False,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a tokenizer of roots, affixes and fall-back pieces from a dictionary or analyser."""
    from tokenry.tokenization.hybrid import hybrid_to_folder
    from tokenry.tokenization.validators import open_validator, read_words

    quiet(no_progress)
    validator = open_validator(lexicon=lexicon, affixes=affixes, analyzer=analyzer, lang=lang)
    options = {"size": size, "dictionary_share": dictionary_share, "min_count": min_count}
    options |= {"limit": limit, "text": text_column, "roots": read_words(roots) if roots else ()}
    options |= {"overwrite": overwrite, "allomorphs": allomorphs}
    show(hybrid_to_folder(sources(data), validator, out, **options), json=as_json)


@app.command(epilog="Example:  `tokenry tokenizer undertrained SmolLM2-135M/ --verify`")
def undertrained(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder with safetensors weights.")],
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="Where it does not lie in the folder.")] = None,
    unused: Annotated[list[int] | None, typer.Option("--unused", help="An id never trained (repeatable).")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Have the model repeat each candidate (torch).")] = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tokens a model never learned, by the rows of its embedding and head."""
    from tokenry.tokenization.undertrained import undertrained_report

    found = undertrained_report(model, tokenizer=tokenizer, unused=unused or (), verify=verify, seed=seed)
    show(found, json=as_json, out=out)


@app.command(epilog="Example:  `tokenry tokenizer spoil --text pages.jsonl --rate 0.02 --out pairs.tsv`")
def spoil(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="File of clean, tab, noisy lines to write.")],
    rate: Annotated[float, typer.Option("--rate", min=0, max=1, help="Chance of an error at each character.")] = 0.02,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    seed: SeedOption = 0,
    as_json: JsonFlag = False,
) -> None:
    """Make clean and noisy lines as a scanner would (OCR channel), for the lens noise."""
    from tokenry.tokenization.noise import spoil_to_file

    show(spoil_to_file(sources(data), out, rate=rate, seed=seed, limit=limit, text=text_column), json=as_json)
