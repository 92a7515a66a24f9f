"""Verbs that find what should be there once or not at all: duplicates, pieces of test sets."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Signals, Workers
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, folder_to_be, quiet, show


@app.command(
    epilog="Example:  `tokenry corpus dedup crawl/ --method minhash --out dups/`, then `tokenry corpus select crawl/ "
    "--signals dups/ --where 'missing(dedup.minhash.duplicate_of)' --out unique/`"
)
def dedup(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the result; hashes: OUT.index.")],
    method: Annotated[str, typer.Option("--method", help="exact, url, minhash, paragraphs, substring.")] = "minhash",
    keep: Annotated[
        str, typer.Option("--keep", help="first, longest, or a signal: the highest; substring: first or none.")
    ] = "first",
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="Index of an earlier corpus (OUT.index, repeatable).")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exact: byte for byte.")] = False,
    url: Annotated[str, typer.Option("--url", help="url: the column of addresses.")] = "url",
    width: Annotated[int, typer.Option("--width", help="minhash: words in a shingle.")] = 5,
    bands: Annotated[int, typer.Option("--bands", help="minhash: one equal band makes a pair.")] = 14,
    rows: Annotated[int, typer.Option("--rows", help="minhash: values in a band.")] = 8,
    verify: Annotated[float, typer.Option("--verify", help="minhash: drop pairs estimated below this.")] = 0.0,
    shortest: Annotated[int, typer.Option("--shortest", help="paragraphs: leave those of fewer words alone.")] = 3,
    length: Annotated[int, typer.Option("--length", help="substring: bytes of a passage at least.")] = 200,
    memory: Annotated[str, typer.Option("--memory", help="substring: bytes a suffix array may take.")] = "2G",
    signals: Signals = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Name every duplicate and the document that is kept for it; nothing is removed."""
    from dataclasses import replace

    from tokenry.corpora.dedup import Settings
    from tokenry.corpora.dedup import dedup as find
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    _refuse_unused(method, {"--against": against, "--signals": signals, "--keep": keep != "first"})
    runs, plain = open_engine(engine, workers=workers), Reading(text=text_column, skip_bad=skip_bad)
    if method == "paragraphs":
        from tokenry.corpora.dedup_paragraphs import dedup_paragraphs

        made = dedup_paragraphs(docs, out, shortest=shortest, reading=plain, engine=runs)
    elif method == "substring":
        from tokenry.corpora.choices import amount
        from tokenry.corpora.dedup_substrings import dedup_substrings

        made = dedup_substrings(docs, out, length=length, keep=keep, memory=int(amount(memory)), reading=plain,
                                engine=runs)  # fmt: skip
    else:
        settings = Settings(method, strict, url, width, bands, rows, verify, seed)
        reading = replace(plain, sidecars=tuple(map(str, signals or ())))
        made = find(docs, out, settings=settings, keep=keep, against=against or (), reading=reading, engine=runs)
    show(made.report, json=as_json, out=Path(f"{out}.report"))


def _refuse_unused(method: str, given: dict[str, object]) -> None:
    """Options that a method does not know are refused: ignored, they would be believed."""
    unused = {"paragraphs": ("--against", "--signals", "--keep"), "substring": ("--against", "--signals")}
    if wrong := [name for name in unused.get(method, ()) if given[name]]:
        raise ValueError(f"--method {method} knows no {wrong[0]}: the first in order stays. Leave it out.")


@app.command(
    epilog="Example:  `tokenry corpus decontaminate crawl/ --test-set gsm8k=gsm8k-test.jsonl --columns question,answer "
    "--out tests/`, then `select ... --where 'decontaminate.share < 0.3'`"
)
def decontaminate(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the result.")],
    test_set: Annotated[list[str], typer.Option("--test-set", help="NAME=FILE of a test set (repeatable).")],
    width: Annotated[int, typer.Option("--width", help="Words in a run.")] = 13,
    shortest: Annotated[int, typer.Option("--shortest", help="Items of fewer words than this are left out.")] = 8,
    columns: Annotated[str, typer.Option("--columns", help="Columns that make a test item, with commas.")] = "text",
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Measure how much of each document stands in test sets; nothing is removed."""
    from tokenry.corpora.choices import named_paths
    from tokenry.corpora.decontaminate import decontaminate as measure
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    made = measure(
        docs, out, test_sets=named_paths(test_set, "--test-set"), width=width, shortest=shortest,
        columns=tuple(columns.split(",")), reading=Reading(text=text_column, skip_bad=skip_bad),
        engine=open_engine(engine, workers=workers),
    )  # fmt: skip
    show(made.report, json=as_json, out=Path(f"{out}.report"))
