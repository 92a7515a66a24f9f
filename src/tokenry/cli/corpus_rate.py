"""Verbs that rate documents on a rubric, and train raters."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.chat_options import (
    BudgetMoney,
    BudgetRequests,
    BudgetTokens,
    Concurrency,
    Device,
    Endpoint,
    KeyVariable,
    ModelFolder,
    ModelName,
    Price,
    Retries,
    Timeout,
)
from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, folder_to_be, quiet, show

Rubric = Annotated[str | None, typer.Option("--rubric", help="dataman, education, quality, or your own file.toml.")]


@app.command(
    epilog="Example:  `tokenry corpus rate crawl/ --endpoint http://localhost:8000/v1 --model-name qwen "
    "--rubric dataman --budget-tokens 5M --out ratings/`, then `select ... --signals ratings/ --score "
    "dataman.overall.expected --per dataman.domain`"
)
def rate(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the ratings.")],
    model: ModelFolder = None,
    endpoint: Endpoint = None,
    rubric: Rubric = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="File that keeps answers; OUT.answers.")] = None,
    model_name: ModelName = None,
    key_variable: KeyVariable = None,
    concurrency: Concurrency = 4,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    budget_requests: BudgetRequests = None,
    budget_tokens: BudgetTokens = None,
    budget_money: BudgetMoney = None,
    price: Price = (0.0, 0.0),
    device: Device = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Annotated[int, typer.Option("--workers", min=1, help="model: processes, each with the model.")] = 1,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Rate documents on a rubric with a language model; what it says stands in columns beside them."""
    from tokenry.corpora.chat_budget import limits_of
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.raters import one_model
    from tokenry.corpora.raters import rate as ask
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    named = one_model(model, endpoint, workers=workers, engine=engine)
    opening = {"device": device, "cache": str(cache or f"{out}.answers")}
    if endpoint:
        limits = limits_of(budget_requests, budget_tokens, budget_money, prices=price, timeout=timeout, retries=retries,
                           workers=concurrency)  # fmt: skip
        opening |= {"name": model_name, "key_variable": key_variable, "limits": limits}
    made = ask(docs, out, model=named, scheme=rubric, reading=Reading(text=text_column, skip_bad=skip_bad),
               engine=open_engine(engine, workers=workers), **opening)  # fmt: skip
    show(made.report, json=as_json, out=Path(f"{out}.report"))


@app.command(
    "train-rater",
    epilog="Example:  `tokenry corpus train-rater sample/ --ratings ratings/ --rubric dataman --base "
    "Qwen/Qwen2.5-1.5B --out my-rater/`, then `tokenry corpus rate crawl/ --model my-rater/ --out ratings-of-all/`",
)
def train_rater(
    docs: Docs,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the rater.")],
    ratings: Annotated[
        list[Path] | None, typer.Option("--ratings", help="Ratings beside the documents; default: their own columns.")
    ] = None,
    rubric: Rubric = "dataman",
    base: Annotated[str | None, typer.Option("--base", help="The causal model that is trained.")] = None,
    linear: Annotated[bool, typer.Option("--linear", help="A linear rater instead: words, no order, fast.")] = False,
    asking: Annotated[str, typer.Option("--asking", help="base: bare (the document alone) or full.")] = "bare",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the documents.")] = 5,
    rate: Annotated[float, typer.Option("--rate", help="base: highest learning rate.")] = 1e-5,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="base: documents in a step.")] = 64,
    test: Annotated[float, typer.Option("--test", help="Share held out for the agreement report.")] = 0.1,
    device: Annotated[str | None, typer.Option("--device", help="base: cpu, cuda.")] = None,
    seed: SeedOption = 1024,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a rater on rated documents, and report how far it agrees with them on others."""
    from tokenry.corpora.raters_training import TrainingPlan, base_of, train_and_compare
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    micro = min(8, batch_size)
    plan = TrainingPlan(epochs, rate, micro, max(1, batch_size // micro), seed=seed)
    report = train_and_compare(docs, out, scheme=rubric, ratings=ratings or (), base=base_of(base, linear=linear),
                               test=test, reading=Reading(text=text_column, skip_bad=skip_bad), plan=plan,
                               asking=asking, device=device)  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))
