"""Verbs that make documents of raw files: web archives, regulatory filings."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import EngineOption, Workers
from tokenry.cli.output import JsonFlag, QuietFlag, folder_to_be, quiet, show

OutFolder = Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the documents to make.")]


@app.command(epilog="Example:  `tokenry corpus extract crawl/CC-MAIN-00000.warc.gz --out docs/` (needs tokenry[web])")
def extract(
    archives: Annotated[list[str], typer.Argument(help="WARC or WET files, folders, globs.")],
    out: OutFolder,
    whole: Annotated[bool, typer.Option("--whole", help="Keep menus, headers and footers of pages.")] = False,
    drop_tables: Annotated[bool, typer.Option("--drop-tables", help="Leave out tables of numbers.")] = False,
    shortest: Annotated[int, typer.Option("--shortest", min=1, help="Characters that a text must have.")] = 1,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Make documents of web archives; what is left out is counted by its reason."""
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.warc import Extraction, extract_report
    from tokenry.corpora.warc import extract as make

    quiet(no_progress)
    extraction = Extraction(main=not whole, numeric_tables=not drop_tables, shortest=shortest)
    made = make(archives, out, extraction=extraction, engine=open_engine(engine, workers=workers))
    show(extract_report(made), json=as_json, out=Path(f"{out}.report"))


@app.command(
    epilog="Example:  `tokenry corpus filings edgar/ --forms 10-K,8-K --from 2015-01-01 --out docs/` (tokenry[web])"
)
def filings(
    paths: Annotated[list[str], typer.Argument(help="Full-submission text files (.txt, .gz), folders, globs.")],
    out: OutFolder,
    forms: Annotated[str, typer.Option("--forms", help="Forms to take: 10-K,8-K; default: all.")] = "",
    first: Annotated[str | None, typer.Option("--from", help="Not filed before this day, 2015-01-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Not filed after this day.")] = None,
    amendments: Annotated[bool, typer.Option("--amendments", help="Take amendments (10-K/A) too.")] = False,
    main_only: Annotated[bool, typer.Option("--main-only", help="Only the document of the form, no exhibits.")] = False,
    by_item: Annotated[bool, typer.Option("--by-item", help="One row for each Item (1, 1A, 7 ...).")] = False,
    items: Annotated[str, typer.Option("--items", help="Only these Items: 1A,7 (with --by-item).")] = "",
    keep_tables: Annotated[bool, typer.Option("--keep-tables", help="Keep tables of numbers.")] = False,
    shortest: Annotated[int, typer.Option("--shortest", min=0, help="Words that a text must have.")] = 20,
    dedup: Annotated[str | None, typer.Option("--dedup", help="exact or minhash: keep one of equal documents.")] = None,
    boilerplate: Annotated[bool, typer.Option("--boilerplate", help="Cut paragraphs that stood before.")] = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Make a dated corpus of clean prose from regulatory filings (EDGAR full-submission files)."""
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.filing_corpus import day_of, filing_corpus, listed
    from tokenry.corpora.filings import Wanted

    quiet(no_progress)
    wanted = Wanted(listed(forms), day_of(first), day_of(last), amendments, not main_only, by_item, listed(items),
                    keep_tables, shortest)  # fmt: skip
    report = filing_corpus(paths, out, wanted=wanted, method=dedup, boilerplate=boilerplate,
                           engine=open_engine(engine, workers=workers))  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))
