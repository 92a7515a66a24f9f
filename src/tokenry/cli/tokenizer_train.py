"""`tokenizer train`."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    folder_to_be,
    quiet,
    show,
    sources,
)
from tokenry.cli.tokenizer import Data, Out, app

Style = Annotated[str, typer.Option(help="byte-level (GPT-2 way) or metaspace (SentencePiece way, byte fallback).")]
Like = Annotated[str | None, typer.Option(help="Keep this tokenizer's pre-tokeniser, normaliser and specials.")]
Kind = Annotated[str, typer.Option(help="bpe, unigram, wordpiece, byte, character, least-effort, unicode")]
Size = Annotated[int | None, typer.Option("--size", help="Entries, specials and alphabet included. [default: 32768]")]
Sizes = Annotated[str | None, typer.Option(help="Several nested sizes from one run: 8192,16384,32768.")]
Pattern = Annotated[str | None, typer.Option(help="Split pattern: gpt2, cl100k, o200k ... or a regular expression.")]
MinCount = Annotated[int, typer.Option(min=1, help="Least number of times a pair must be seen to be merged.")]
MaxLength = Annotated[int, typer.Option(min=0, help="Longest entry in characters of the style's alphabet; 0 = any.")]
MaxCharacters = Annotated[int | None, typer.Option(min=1, help="Longest entry in characters of the text, inclusive.")]
Preset = Annotated[
    str | None, typer.Option(help="char: pieces of at most 3 characters, for correction of OCR and typos.")
]
Mix = Annotated[str | None, typer.Option(help="Share of each source (column or file name): en=0.5,code=0.3.")]
Digits = Annotated[str | None, typer.Option(help="Numbers: single, l2r, r2l (groups of 3; r2l2: of 2), or free.")]
Boundaries = Annotated[
    list[str] | None,
    typer.Option("--boundary", help="No token crosses: compounds:MODEL, lexicon:FILE, characters, pkg.mod:fn; or "
                 "tokens over words: stochastic, whitespace:0.3, superword:0.75,words=3. Repeatable."),
]  # fmt: skip
TermsFile = Annotated[Path | None, typer.Option("--terms", help="Terms that shall be single tokens, one a line.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--custom-group", help="whitespace, markdown, html, json, years:1776-2049, numbers:10-999, "
                 "enumerators, legal; several with commas."),
]  # fmt: skip
TermsAs = Annotated[str, typer.Option(help="merges, merges-first, whole-words, added, both.")]
Budget = Annotated[int | None, typer.Option(min=1, help="Keep so many of the terms: those that save most tokens.")]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="An uncased tokenizer.")]
Normalizer = Annotated[str | None, typer.Option(help="nfc, nfkc or none; default: the kind's own.")]
PadTo = Annotated[str | None, typer.Option(help="Round the size up: pow2, or a multiple such as 64.")]
PadWith = Annotated[str, typer.Option(help="reserved (tokens), merges, or whitespace (runs).")]
Heldout = Annotated[list[str] | None, typer.Option(help="Other text, to measure compression on.")]
Cache = Annotated[
    Path | None, typer.Option(callback=folder_to_be, help="Folder that keeps the counted words for the next run.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="least-effort: documents read while learning; default 5,000.")]
Decoding = Annotated[str | None, typer.Option(help="least-effort: greedy (longest match, the paper's) or fewest.")]
Spaces = Annotated[
    bool | None, typer.Option("--keep-spaces/--drop-spaces", help="least-effort: a space is a character like others.")
]
Gaps = Annotated[
    str | None, typer.Option(help="least-effort: learn from frames around a gap too: published or every; default off.")
]
Resume = Annotated[
    Path | None,
    typer.Option(callback=folder_to_be, help="Folder that keeps what is learned, to go on after an interruption."),
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes that count words.")]


@app.command(epilog="Example:  `tokenry tokenizer train --data notes.jsonl --size 32768 --digits r2l --out tok/`")
def train(
    data: Data,
    out: Out,
    size: Size = None,
    sizes: Sizes = None,
    kind: Kind = "bpe",
    style: Style = "byte-level",
    like: Like = None,
    preset: Preset = None,
    pattern: Pattern = None,
    digits: Digits = None,
    boundary: Boundaries = None,
    mix: Mix = None,
    terms: TermsFile = None,
    custom_group: Groups = None,
    terms_as: TermsAs = "merges",
    terms_budget: Budget = None,
    normalizer: Normalizer = None,
    lowercase: Lowercase = False,
    pad_to: PadTo = None,
    pad_with: PadWith = "reserved",
    min_count: MinCount = 2,
    max_length: MaxLength = 0,
    max_characters: MaxCharacters = None,
    epochs: Epochs = None,
    decoding: Decoding = None,
    keep_spaces: Spaces = None,
    gaps: Gaps = None,
    heldout: Heldout = None,
    seed: SeedOption = 0,
    resume: Resume = None,
    cache: Cache = None,
    workers: Workers = 1,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a tokenizer on your text and write a folder that AutoTokenizer opens."""
    from tokenry.tokenization.recipe_options import read_sizes
    from tokenry.tokenization.verbs import train_to_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad, "cache": cache, "workers": workers}
    size = 32_768 if size is None and preset is None else size
    options = {
        "size": size, "kind": kind, "style": style, "like": like, "preset": preset, "pattern": pattern, "mix": mix,
        "digit_policy": digits, "boundary": boundary or [], "terms": terms, "custom_group": custom_group or [],
        "terms_as": terms_as, "terms_budget": terms_budget, "normalizer": normalizer, "lowercase": lowercase,
        "pad_to": pad_to, "pad_with": pad_with, "min_count": min_count, "max_length": max_length,
        "max_characters": max_characters, "sizes": read_sizes(sizes), "seed": seed, "state": resume,
        "epochs": epochs, "decoding": decoding, "keep_spaces": keep_spaces, "gaps": gaps,
        "heldout": sources(heldout) if heldout else None,
    }  # fmt: skip
    show(train_to_folder(sources(data), out, reading=reading, overwrite=overwrite, **options), json=as_json)
