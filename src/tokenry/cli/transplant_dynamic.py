"""The verb `tokenry transplant dynamic`: what a model loses when its prompts are merged into fewer tokens."""

from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, QuietFlag, ReportOption, SeedOption, quiet, show, sources
from tokenry.cli.transplant import app


@app.command(epilog="Example:  `tokenry transplant dynamic ./smollm2 --data pages.jsonl --reduction 0.5`")
def dynamic(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal language model: folder or hub name.")],
    data: Annotated[list[str], typer.Option("--data", help="Text: its documents give prompts and what follows.")],
    reduction: Annotated[
        list[float] | None,
        typer.Option(help="Share of the way to one token a word, 0 to 1; repeatable. Default: quarters."),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="Rows of merged tokens: pieces, hypernet, or package.module:function of (model, vocab).")
    ] = "pieces",
    hypernet: Annotated[str | None, typer.Option(help="Folder of a trained hypernetwork, for --rows hypernet.")] = None,
    boundary: Annotated[str, typer.Option(help="pretokens, word, word_hyphen or sentence.")] = "pretokens",
    batch: Annotated[int, typer.Option(min=1, help="Prompts merged together.")] = 16,
    prompt_bytes: Annotated[int, typer.Option(min=8, help="Longest prompt in bytes.")] = 512,
    limit: Annotated[int, typer.Option(min=1, help="Most documents.")] = 200,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Merge the tokens of prompts batch by batch, at run time: positions saved, bits per byte lost, by level."""
    from tokenry.transplant.dynamic import LEVELS, profile

    quiet(no_progress)
    options = {"rows": rows, "hypernet": hypernet, "boundary": boundary, "batch_size": batch, "seed": seed}
    options |= {"prompt_bytes": prompt_bytes, "limit": limit, "reductions": reduction or LEVELS}
    show(profile(model, sources(data), **options), json=as_json, out=out)
