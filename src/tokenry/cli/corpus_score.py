"""Verbs that measure documents and mask what was found: score, mask, presets."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.output import JsonFlag, QuietFlag, ReportOption, SkipBadFlag, TextColumn, quiet, show

Docs = Annotated[list[str], typer.Argument(help="Documents: files, folders, globs, hf://datasets/owner/name.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="embedded, daft, ray (this machine's cluster) or ray://host:10001.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core.")]
OnError = Annotated[str, typer.Option("--on-error", help="raise, or quarantine: set failing documents aside.")]


@app.command(
    epilog="Example:  `tokenry corpus score crawl/ --signals gopher,repetition,pii --out signals/`  ·  "
    "`tokenry corpus presets`"
)
def score(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", help="Folder of the signals, row by row beside the documents.")],
    signals: Annotated[
        list[str] | None,
        typer.Option("--signals", help="Families, with commas (`tokenry corpus signals`), models as linear:DIR."),
    ] = None,
    preset: Annotated[list[str] | None, typer.Option("--preset", help="Whatever these presets need.")] = None,
    stop_words: Annotated[str | None, typer.Option("--stop-words", help="List of stop words, one a line.")] = None,
    bad_words: Annotated[str | None, typer.Option("--bad-words", help="List of words or phrases (LDNOOBW).")] = None,
    domains: Annotated[str | None, typer.Option("--domains", help="Folder CATEGORY/domains (UT1).")] = None,
    url_column: Annotated[str, typer.Option("--url-column", help="Column of addresses or domains.")] = "url",
    path_column: Annotated[str, typer.Option("--path-column", help="Column of file names (code).")] = "path",
    detector: Annotated[str, typer.Option("--detector", help="lid176, py3langid, lingua, module:function.")] = "lid176",
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="tokenizer.json for the code signals.")] = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    on_error: OnError = "raise",
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Measure documents: write columns of signals beside them, and decide nothing."""
    from tokenry.corpora.presets import asked_families
    from tokenry.corpora.signals import Settings, score_corpus, score_report
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    settings = Settings(stop_words=stop_words, bad_words=bad_words, domains=domains, url=url_column, path=path_column,
                        detector=detector, tokenizer=tokenizer)  # fmt: skip
    reading = Reading(text=text_column, skip_bad=skip_bad, on_error=on_error)
    families = asked_families(signals or (), preset or ())
    made = score_corpus(docs, families, out, engine=engine, workers=workers, settings=settings, reading=reading)
    show(score_report(made), json=as_json)


@app.command(epilog="Example:  `tokenry corpus mask crawl/ --signals pii/ --out masked/`")
def mask(
    docs: Docs,
    signals: Annotated[list[Path], typer.Option("--signals", help="Folder of signals with the spans (repeatable).")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the masked documents.")],
    replace: Annotated[
        list[str] | None, typer.Option("--replace", help="COLUMN=TEXT, such as pii.emails=<mail>; default: all of pii.")
    ] = None,
    preset: Annotated[list[str] | None, typer.Option("--preset", help="What these presets take out.")] = None,
    least: Annotated[float, typer.Option("--least", help="Only spans with at least this score.")] = 0.0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Write documents with marked spans replaced: personal data, bad words, lines a rule would drop."""
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.masking import mask_corpus, mask_report, read_replacements
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    replacements = read_replacements(replace, preset)
    made = mask_corpus(docs, signals, out, replacements=replacements, least=least,
                       engine=open_engine(engine, workers=workers),
                       reading=Reading(text=text_column, skip_bad=skip_bad))  # fmt: skip
    show(mask_report(made, replacements), json=as_json)


@app.command(epilog="Example:  `tokenry corpus signals`  ·  `tokenry corpus signals gopher`")
def signals(
    families: Annotated[list[str] | None, typer.Argument(help="Families to list the columns of.")] = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the families of signals, or the columns of some."""
    from tokenry.corpora.signals import signals_report

    show(signals_report(families or ()), json=as_json, out=out)


@app.command(epilog="Example:  `tokenry corpus presets`  ·  `tokenry corpus presets gopher-quality`")
def presets(
    names: Annotated[list[str] | None, typer.Argument(help="Presets to show the rules of.")] = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the published sets of rules, or the rules of some."""
    from tokenry.corpora.presets import presets_report

    show(presets_report(names or ()), json=as_json, out=out)
