"""Verbs on skills: name those of a trusted set, make their graph, score documents with it, look at both."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.chat_options import BudgetRequests, BudgetTokens, Cache, Concurrency, KeyVariable, ModelName, Timeout
from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Workers
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
)

skills_app = typer.Typer(
    help="Find documents that teach the skills of a small trusted set, and their combinations.", no_args_is_help=True
)
app.add_typer(skills_app, name="skills")

Graph = Annotated[Path, typer.Option("--graph", help="Folder of a skill graph.")]
Encoder = Annotated[
    str | None, typer.Option("--encoder", help="Only where the graph was made with your own module:function.")
]


@skills_app.command(
    epilog="Example:  `tokenry corpus skills extract gsm8k.jsonl --text-column question --solution-column answer "
    "--way chat --model ./SmolLM2-Instruct --cache answers.db --out skills.parquet`"
)
def extract(
    reference: Docs,
    out: Annotated[Path, typer.Option("--out", help="File of the problems with their skills (.parquet).")],
    way: Annotated[str, typer.Option("--way", help="lexical (phrases, no model), chat, or tags (you have them).")] = (
        "lexical"
    ),
    model: Annotated[str | None, typer.Option("--model", help="chat: a folder, or http(s)://host/v1.")] = None,
    model_name: ModelName = None,
    cache: Cache = None,
    key_variable: KeyVariable = None,
    concurrency: Concurrency = 4,
    timeout: Timeout = 120.0,
    budget_requests: BudgetRequests = None,
    budget_tokens: BudgetTokens = None,
    per_item: Annotated[int, typer.Option("--per-item", min=1, help="Skills of a problem at most.")] = 10,
    solution: Annotated[str | None, typer.Option("--solution-column", help="Put behind the problem's text.")] = None,
    tags: Annotated[str, typer.Option("--tags-column", help="tags: lists, or strings with commas.")] = "tags",
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Name the skills that each problem of a reference needs."""
    from tokenry.corpora.chat_budget import limits_of
    from tokenry.corpora.skill_extraction import Extraction, open_model
    from tokenry.corpora.skill_extraction import extract as name_skills

    quiet(no_progress)
    extraction = Extraction(way, per_item, solution=solution, tags=tags)
    limits = limits_of(budget_requests, budget_tokens, None, prices=(0.0, 0.0), timeout=timeout, workers=concurrency)
    chat = open_model(extraction, model, name=model_name, cache=cache, limits=limits, key_variable=key_variable)
    report = name_skills(reference, out, extraction=extraction, chat=chat, text=text_column, limit=limit,
                         skip_bad=skip_bad)  # fmt: skip
    show(report, json=as_json)


@skills_app.command(
    epilog="Example:  `tokenry corpus skills graph skills.parquet --encoder ./all-MiniLM-L6-v2 --out graph/`"
)
def graph(
    skills: Annotated[Path, typer.Argument(help="File of skills, as `extract` writes it.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the graph.")],
    encoder: Annotated[
        str, typer.Option("--encoder", help="Sentence encoder: a folder, module:function, or words (TF-IDF and SVD).")
    ] = "words",
    sample: Annotated[
        list[str] | None, typer.Option("--sample", help="words: documents to learn from besides the reference.")
    ] = None,
    merge_cosine: Annotated[float, typer.Option("--merge-cosine", help="Names nearer than this are one skill.")] = 0.9,
    least: Annotated[int, typer.Option("--least", min=1, help="Leave out skills of fewer problems.")] = 1,
    graphml: Annotated[Path | None, typer.Option("--graphml", help="Also write this file for Gephi and such.")] = None,
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Bring names of one skill together; count skills and pairs."""
    from tokenry.corpora.skill_reports import build

    quiet(no_progress)
    report = build(skills, out, encoder=encoder, sample=sample, threshold=merge_cosine, least=least, graphml=graphml,
                   seed=seed, overwrite=overwrite)  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))


@skills_app.command(
    "show",
    epilog="Example:  `tokenry corpus skills show graph/ --skill fractions`  ·  `tokenry corpus skills show graph/ "
    "--docs kept/ --above 0.5`  ·  `tokenry corpus skills show graph/ --docs crawl/ --explain crawl/a:17`",
)
def show_graph(
    graph: Annotated[Path, typer.Argument(help="Folder of a skill graph.")],
    skill: Annotated[str | None, typer.Option("--skill", help="The neighbours of this skill.")] = None,
    docs: Annotated[
        list[str] | None, typer.Option("--docs", help="What of the reference these documents cover, and the gaps.")
    ] = None,
    above: Annotated[float, typer.Option("--above", help="A document has a skill from this cosine on.")] = 0.5,
    explain: Annotated[
        list[str] | None, typer.Option("--explain", help="Instead: where the score of this id comes from (repeatable).")
    ] = None,
    encoder: Encoder = None,
    text_column: TextColumn = "text",
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Show a graph, the neighbours of a skill, what documents cover, or why a document scores as it does."""
    from tokenry.corpora.skill_reports import look

    quiet(no_progress)
    report = look(graph, skill=skill, docs=docs, above=above, explain=explain or (), embedder=encoder, text=text_column)
    show(report, json=as_json, out=out)


@skills_app.command(
    epilog="Example:  `tokenry corpus skills score crawl/ --graph graph/ --background web.jsonl --out signals/`, then "
    "`tokenry corpus select crawl/ --signals signals/ --score skills.score --share 0.3 --per skills.top --cap 500 "
    "--out kept/`"
)
def score(
    docs: Docs,
    graph: Graph,
    out: Annotated[Path, typer.Option("--out", help="Folder of the signals, row by row beside the documents.")],
    aggregation: Annotated[
        str, typer.Option("--aggregation", help="quadratic, node-only, linear or similarity-only.")
    ] = "quadratic",
    background: Annotated[
        list[str] | None, typer.Option("--background", help="General text: what is common there counts nothing.")
    ] = None,
    quantile: Annotated[float, typer.Option("--quantile", help="Of the background's similarities.")] = 0.9,
    tau: Annotated[float, typer.Option("--tau", help="Without --background: taken off every similarity.")] = 0.0,
    top_m: Annotated[int, typer.Option("--top-m", min=0, help="Skills of a piece that count; 0 takes all.")] = 32,
    idf: Annotated[bool, typer.Option("--idf", help="Weigh rare skills up.")] = False,
    encoder: Encoder = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Score documents by a skill graph: columns beside them, nothing is dropped."""
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.skill_reports import scores_report
    from tokenry.corpora.skills import Scoring, score_by_skills, tau_of
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    if background:
        tau = tau_of(graph, background, quantile=quantile, seed=seed, embedder=encoder)
    scoring = Scoring(aggregation, top_m or None, tau, idf)
    made = score_by_skills(docs, graph, out, scoring=scoring, embedder=encoder,
                           reading=Reading(text=text_column, skip_bad=skip_bad),
                           engine=open_engine(engine, workers=workers))  # fmt: skip
    show(scores_report(made, scoring), json=as_json, out=Path(f"{out}.report"))
