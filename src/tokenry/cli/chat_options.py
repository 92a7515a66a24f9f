"""Options of every verb that asks a chat model: which one, what it may cost, where answers are kept."""

from pathlib import Path
from typing import Annotated

import typer

ModelFolder = Annotated[str | None, typer.Option("--model", help="A model folder, or a rater you trained.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="Or the address of an OpenAI-like API.")]
ModelName = Annotated[str | None, typer.Option("--model-name", help="endpoint: its name of the model.")]
KeyVariable = Annotated[
    str | None, typer.Option("--key-variable", help="endpoint: variable with the key (TOKENRY_API_KEY).")
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, help="endpoint: requests at a time.")]
Timeout = Annotated[float, typer.Option("--timeout", help="endpoint: seconds for an answer.")]
Retries = Annotated[int, typer.Option("--retries", min=0, help="endpoint: tries after the first.")]
BudgetRequests = Annotated[str | None, typer.Option("--budget-requests", help="endpoint: 500, 10K.")]
BudgetTokens = Annotated[str | None, typer.Option("--budget-tokens", help="endpoint: 5M.")]
BudgetMoney = Annotated[float | None, typer.Option("--budget-money", help="endpoint: with --price.")]
Price = Annotated[tuple[float, float], typer.Option("--price", help="endpoint: of a million prompt and answer tokens.")]
Device = Annotated[str | None, typer.Option("--device", help="model: cpu, cuda.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="File that keeps answers; none is asked for twice.")]
