"""The verb that finds out by what a corpus should be rated."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.chat_options import (
    BudgetMoney,
    BudgetRequests,
    BudgetTokens,
    Cache,
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
from tokenry.cli.corpus_select import Docs, Signals
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, quiet, show


@app.command(
    epilog="Example:  `tokenry corpus criteria crawl/ --signals perplexity/ --score ngram.bits_per_byte --endpoint "
    "http://localhost:8000/v1 --model-name qwen --budget-requests 500 --out mine.toml`, then read and edit mine.toml, "
    "and `tokenry corpus rate crawl/ --rubric mine.toml ...`"
)
def criteria(
    docs: Docs,
    score: Annotated[str, typer.Option("--score", help="The column: a perplexity, or bits per byte.")],
    out: Annotated[Path, typer.Option("--out", help="File of the draft of a rubric (.toml).")],
    signals: Signals = None,
    model: ModelFolder = None,
    endpoint: Endpoint = None,
    share: Annotated[float, typer.Option("--share", help="Of a source, at each end.")] = 0.02,
    most: Annotated[int, typer.Option("--most", min=2, help="Documents to ask about, at most.")] = 400,
    top: Annotated[int, typer.Option("--top", min=1, help="Reasons that become criteria.")] = 13,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Documents between two looks at the list.")] = 20,
    rests: Annotated[int, typer.Option("--rests", min=1, help="Stop when the list stays so many batches.")] = 2,
    blank: Annotated[bool, typer.Option("--blank", help="Leave the ends of the scale for you to fill in.")] = False,
    cache: Cache = None,
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
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Ask a model why the least and the most predictable documents are so; a draft of a rubric comes out."""
    from tokenry.corpora.chat import open_chat
    from tokenry.corpora.chat_budget import limits_of
    from tokenry.corpora.criteria import Search
    from tokenry.corpora.raters import one_model
    from tokenry.corpora.rubric_drafts import draft_rubric
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    limits = limits_of(budget_requests, budget_tokens, budget_money, prices=price, timeout=timeout, retries=retries,
                       workers=concurrency)  # fmt: skip
    chat = open_chat(one_model(model, endpoint, workers=1, engine="embedded"), cache=cache or f"{out}.answers",
                     name=model_name, limits=limits, key_variable=key_variable, device=device)  # fmt: skip
    search = Search(share, most, batch, top, rests, seed=seed)
    report = draft_rubric(docs, out, score=score, sidecars=signals or (), chat=chat, search=search, blank=blank,
                          reading=Reading(text=text_column, skip_bad=skip_bad))  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))
