"""Verbs that decide about documents: select, mix, describe."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.output import JsonFlag, QuietFlag, ReportOption, SeedOption, SkipBadFlag, TextColumn, quiet, show

Docs = Annotated[list[str], typer.Argument(help="Documents: files, folders, globs, hf://datasets/owner/name.")]
Signals = Annotated[
    list[Path] | None, typer.Option("--signals", help="Folder of signals that belong to the documents (repeatable).")
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="embedded, daft, ray (this machine's cluster) or ray://host:10001.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core.")]


SomeDocs = Annotated[
    list[str] | None, typer.Argument(help="Documents: files, folders, globs, hf://datasets/owner/name.")
]
Kept = Annotated[
    Path | None, typer.Option("--out", help="Folder of the kept documents; the decisions go to OUT.decisions.")
]
Method = Annotated[str | None, typer.Option("--method", help="A selector: measures and decides; `list` shows all.")]
Rules = Annotated[list[str] | None, typer.Option("--where", help="A rule all kept documents hold (repeatable).")]
Noisy = Annotated[float | None, typer.Option("--noisy", help="Keep by the noisy threshold with this alpha (9).")]
Targets = Annotated[
    list[Path] | None, typer.Option("--target", help="Documents that the choice shall look like (repeatable).")
]
Model = Annotated[str | None, typer.Option("--model", help="Selectors lm, rho: a language model by path.")]
Reference = Annotated[str | None, typer.Option("--reference", help="Selector rho: a model trained on the target.")]
Encoder = Annotated[
    str | None, typer.Option("--encoder", help="Sentence encoder by path, or words: word statistics of the corpus.")
]
Classifier = Annotated[str | None, typer.Option("--classifier", help="Folder of a linear classifier.")]
Label = Annotated[str, typer.Option("--label", help="Selector el2n: the column of classes.")]
Numbers = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of a selector (repeatable).")]


@app.command(
    epilog="Example:  `tokenry corpus select crawl/ --signals signals/ --preset gopher-quality --where "
    "'language.label == \"en\"' --score quality.score --budget 5M --unit bytes --per source --out kept/`  ·  `tokenry "
    "corpus select crawl/ --method dsir --target wiki.jsonl --budget 5M --unit bytes --out kept/`"
)
def select(
    docs: SomeDocs = None,
    out: Kept = None,
    signals: Signals = None,
    method: Method = None,
    target: Targets = None,
    model: Model = None,
    reference: Reference = None,
    encoder: Encoder = None,
    classifier: Classifier = None,
    label: Label = "source",
    numbers: Numbers = None,
    where: Rules = None,
    preset: Annotated[list[str] | None, typer.Option("--preset", help="A published set of rules (repeatable).")] = None,
    score: Annotated[str | None, typer.Option("--score", help="What a document is worth: an expression.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="How much to keep: 20000, 5M, 1.5B.")] = None,
    share: Annotated[float | None, typer.Option("--share", help="Or the share to keep.")] = None,
    unit: Annotated[str, typer.Option("--unit", help="docs, chars, bytes, or a column such as tokens.n.")] = "docs",
    per: Annotated[str | None, typer.Option("--per", help="Share the budget among the values of this column.")] = None,
    quota: Annotated[str, typer.Option("--quota", help="proportional, equal, or web=2,books=1.")] = "proportional",
    cap: Annotated[str | None, typer.Option("--cap", help="At most so much of each value of --per.")] = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="Repeat documents where a quota cannot be met.")] = False,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Sample with p ~ exp(score/T).")] = None,
    noisy: Noisy = None,
    cut: Annotated[
        list[str] | None, typer.Option("--cut", help="SPANS or SPANS=MARK: cut such spans out of what is kept.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and count, but write no documents.")] = False,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Keep documents by rules and by what they are worth, within a budget; every other one gets its reason."""
    from tokenry.corpora.choices import choice_of, cuts_of, given, means_of
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.selector_report import selectors_report
    from tokenry.corpora.selectors import select_by
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    if method == "list":
        show(selectors_report(), json=as_json)
        return
    choice = choice_of(
        where=where or (), presets=preset or (), budget=budget, quota=quota, cap=cap, score=score, share=share,
        unit=unit, per=per, repeat=repeat, temperature=temperature, noisy=noisy, seed=seed,
    )  # fmt: skip
    reading = Reading(text=text_column, skip_bad=skip_bad)
    means = means_of(target, numbers, model=model, reference=reference, encoder=encoder, classifier=classifier,
                     label=label, seed=seed)  # fmt: skip
    made = select_by(given(docs, "DOCS"), given(out, "--out"), method=method, choice=choice, means=means,
                     sidecars=signals or (), engine=open_engine(engine, workers=workers), reading=reading,
                     cut=cuts_of(cut or (), preset or ()), write=not dry_run)  # fmt: skip
    show(made.report, json=as_json, out=Path(f"{out}.decisions") / "report")


@app.command(epilog="Example:  `tokenry corpus describe crawl/ --signals signals/ --out page/`")
def describe(
    docs: Docs,
    signals: Signals = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Show what a corpus is: sources, lengths, and the spread of every signal."""
    from tokenry.corpora.describe import describe as measure
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    reading = Reading(text=text_column, skip_bad=skip_bad)
    report = measure(docs, sidecars=signals or (), reading=reading, engine=open_engine(engine, workers=workers))
    show(report, json=as_json, out=out)


@app.command(
    epilog="Example:  `tokenry corpus mix --source web=kept-web/ --source books=books.jsonl --weights web=3,books=1 "
    "--budget 5M --out mixed/`"
)
def mix(
    source: Annotated[list[str], typer.Option("--source", help="NAME=DOCUMENTS to draw from (repeatable).")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the mixture.")],
    weights: Annotated[str | None, typer.Option("--weights", help="web=3,books=1; default: by size.")] = None,
    exponent: Annotated[float, typer.Option("--exponent", help="Without weights: size to this power.")] = 1.0,
    even: Annotated[bool, typer.Option("--even", help="As evenly as --epochs allows (UniMax).")] = False,
    budget: Annotated[str | None, typer.Option("--budget", help="How much in all: 20000, 5M; default: all.")] = None,
    unit: Annotated[str, typer.Option("--unit", help="docs, chars or bytes.")] = "bytes",
    epochs: Annotated[float, typer.Option("--epochs", help="Go through no source more often than this.")] = 4.0,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Draw documents from several sources in given proportions, in a random order."""
    from tokenry.corpora.choices import amount, named_paths, weights_of
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.mix import Proportions
    from tokenry.corpora.mix import mix as draw
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    proportions = Proportions(amount(budget) if budget else None, unit, weights_of(weights) if weights else None,
                              exponent, even, epochs)  # fmt: skip
    reading = Reading(text=text_column, skip_bad=skip_bad)
    report = draw(named_paths(source, "--source"), out, proportions=proportions, seed=seed, reading=reading,
                  engine=open_engine(engine, workers=workers))  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))
