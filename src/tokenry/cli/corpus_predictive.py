"""Verbs of predictive data selection: losses of several models, and what they say about each document."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption
from tokenry.cli.output import (
    DeviceOption,
    DtypeOption,
    JsonFlag,
    QuietFlag,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    folder_to_be,
    quiet,
    show,
)


@app.command(
    epilog="Example:  `tokenry corpus losses sample.jsonl --model small=models/a --model large=models/b --out losses/`"
)
def losses(
    docs: Docs,
    model: Annotated[list[str], typer.Option("--model", help="NAME=PATH of a causal model (repeatable).")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Gets a folder of signals for each model.")],
    context: Annotated[int | None, typer.Option("--context", min=2, help="Positions of a window.")] = None,
    stride: Annotated[int | None, typer.Option("--stride", min=1, help="New tokens a window; default: half.")] = None,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", min=16, help="Padded tokens in one pass.")] = 4096,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes; each loads the model.")] = 1,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Score every document with every model (nats, characters, bytes): once, for all that is asked of losses."""
    from tokenry.corpora.choices import named_paths
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.losses import Windows, document_losses, losses_report, read_losses
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    document_losses(
        docs, named_paths(model, "--model"), out, windows=Windows(context, stride, batch_tokens, device, dtype),
        reading=Reading(text=text_column, skip_bad=skip_bad), engine=open_engine(engine, workers=workers),
    )  # fmt: skip
    show(losses_report(read_losses(out)), json=as_json, out=out / "report")


@app.command(
    epilog="Example:  `tokenry corpus predictive --losses losses/ --benchmark small=41.2 --benchmark middle=47.9 "
    "--benchmark large=55.0 --out strength/ --docs sample.jsonl --train scorer/`, then `tokenry corpus classify`"
)
def predictive(
    losses: Annotated[Path, typer.Option("--losses", help="The --out of `tokenry corpus losses`.")],
    benchmark: Annotated[list[str], typer.Option("--benchmark", help="NAME=SCORE of each model, or a .json file.")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the signal.")],
    docs: Annotated[list[str] | None, typer.Option("--docs", help="The documents, for --train (repeatable).")] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Train a scorer on the extremes, into here.")] = None,
    weights: Annotated[str, typer.Option("--weights", help="pairs (all alike) or gaps (by benchmark).")] = "pairs",
    least_gap: Annotated[float, typer.Option("--least-gap", min=0, help="Leave out pairs nearer than this.")] = 0.0,
    per: Annotated[str, typer.Option("--per", help="chars (one language) or bytes (several scripts).")] = "chars",
    shortest: Annotated[int, typer.Option("--shortest", min=0, help="Characters a document must have.")] = 200,
    most: Annotated[int | None, typer.Option("--most", min=1, help="Positives and negatives at most, each.")] = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Find the documents whose losses rank models as their benchmarks do, and train a light scorer on them."""
    from tokenry.corpora.predictive_corpus import Pairs, measure_strength, read_benchmark, train_scorer, train_sources
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    sources = train_sources(docs, train)
    made = measure_strength(losses, read_benchmark(benchmark), out, pairs=Pairs(weights, least_gap, per, shortest),
                            most=most, seed=seed)  # fmt: skip
    if train is not None:
        scorer = train_scorer(sources, out, train, reading=Reading(text=text_column, skip_bad=skip_bad), seed=seed)
        made.report.facts |= {f"scorer: {name}": fact for name, fact in scorer.report.facts.items()}
        made.report.tables |= {f"scorer: {name}": table for name, table in scorer.report.tables.items()}
    show(made.report, json=as_json, out=Path(f"{out}.report"))
