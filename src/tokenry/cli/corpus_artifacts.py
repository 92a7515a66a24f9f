"""Verb that compares synthetic with human data: artifacts."""

from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.output import JsonFlag, LimitOption, QuietFlag, ReportOption, SeedOption, quiet, show, sources


@app.command(
    epilog="Example:  `tokenry corpus artifacts --human people.jsonl --synthetic model.jsonl --kind text --lm gpt2`; "
    "what training on it does: `--train-test held-out.jsonl`"
)
def artifacts(
    human: Annotated[list[str], typer.Option("--human", help="Documents by people (repeatable).")],
    synthetic: Annotated[list[str], typer.Option("--synthetic", help="Documents by a model (repeatable).")],
    kind: Annotated[str, typer.Option("--kind", help="labels, preferences, instructions, dialogues or text.")] = "text",
    style: Annotated[
        list[str] | None, typer.Option("--style", help="NAME=FILE of word, tab, attribution (preferences).")
    ] = None,
    entailment: Annotated[
        str | None, typer.Option("--entailment", help="Your function of (sentences, reference) (preferences).")
    ] = None,
    lm: Annotated[str | None, typer.Option("--lm", help="Language model, for bits per byte.")] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Sentence encoder (instructions).")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option("--scorer", help="NAME=pkg.module:function of texts (text).")
    ] = None,
    flip: Annotated[
        list[str] | None,
        typer.Option("--flip", help="NAME=pkg.module:function: probability of a style, same contents by id (text)."),
    ] = None,
    graphs: Annotated[
        str | None, typer.Option("--graphs", help="Parser as in corpus augment, or edges:NAME: motifs (text).")
    ] = None,
    signals: Annotated[str, typer.Option("--signals", help="Families of signals to compare (text).")] = "",
    domain_column: Annotated[
        str | None, typer.Option("--domain-column", help="Column to match and compare within (text, instructions).")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option("--reference", help="More human text, for novelty and rare words (text).")
    ] = None,
    rules: Annotated[str | None, typer.Option("--rules", help="JSON of markers and roles (dialogues).")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train on each side's answers, test on people's (labels, preferences).")
    ] = False,
    train_test: Annotated[
        list[str] | None, typer.Option("--train-test", help="Train on both sides and measure on this human text.")
    ] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", help="Column of the text.")] = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Show how synthetic data differ from human data of the same kind, with intervals and corrected tests."""
    from tokenry.corpora.artifacts_files import Tools, audit_files, train_files

    quiet(no_progress)
    sides, reading = (sources(human), sources(synthetic)), {"limit": limit, "text": text_column, "seed": seed}
    if train_test:
        show(train_files(*sides, sources(train_test), **reading), json=as_json, out=out)
        return
    tools = Tools(style or (), lm, encoder, entailment, scorer or (), flip or (), graphs, signals, domain_column,
                  sources(reference or []), rules)  # fmt: skip
    show(audit_files(kind, *sides, tools=tools, train=train, **reading), json=as_json, out=out)
