"""`route`: label where a small model spoils a text, train a router that sends those tokens to a large one, measure."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import (
    DeviceOption,
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    ReportOption,
    SeedOption,
    TextColumn,
    folder_to_be,
    quiet,
    show,
)

app = typer.Typer(no_args_is_help=True, help="Let a small model write and a large one only the tokens that matter.")

Small = Annotated[str, typer.Option("--small", help="The small model: a folder or hub name.")]
Large = Annotated[str, typer.Option("--large", help="The large model, of the same vocabulary.")]
Prompts = Annotated[Path, typer.Option("--prompts", help="Documents, each a prompt.")]


@app.callback()
def _group() -> None:
    pass


@app.command(
    epilog="Example:  `tokenry route label --small ./1b --large ./32b --prompts prompts.jsonl --verifier same-numbers "
    "--out labels/`"
)
def label(
    small: Small,
    large: Large,
    prompts: Prompts,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the labels.")],
    verifier: Annotated[
        str, typer.Option(help="same-text, same-numbers, same-answer, or pkg.module:function.")
    ] = "same-numbers",
    verifier_model: Annotated[str | None, typer.Option(help="Or an instruction model that is asked.")] = None,
    sentences: Annotated[int, typer.Option(min=0, help="Sentences compared; 0 goes to the end of the text.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer of the large model.")] = 256,
    continuation_tokens: Annotated[int, typer.Option(min=1, help="Longest continuation compared.")] = 256,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    device: DeviceOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Find the tokens where the small model would spoil the large model's text; goes on where it was interrupted."""
    from tokenry.core.runs import write_run
    from tokenry.core.tables import texts
    from tokenry.decoding.routing_labels import label_prompts

    quiet(no_progress)
    asked = list(texts(prompts, text=text_column, limit=limit))
    how = {"sentences": sentences, "max_new_tokens": max_new_tokens, "continuation_tokens": continuation_tokens}
    judge = {"verifier": verifier, "verifier_model": verifier_model}
    report = label_prompts(small, large, asked, out=out, device=device, **judge, **how)
    arguments = {"small": small, "large": large, "prompts": prompts, "limit": limit, **judge, **how}
    write_run(out, verb="route label", arguments=arguments, seed=None, inputs=[prompts])
    show(report, json=as_json)


@app.command(
    epilog="Example:  `tokenry route train labels/ --out router/`, then `tokenry generate ./32b --strategy routed "
    "--with small=./1b --with router=router/ --prompt '...'`"
)
def train(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder that route label wrote.")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the router.")],
    small: Annotated[str | None, typer.Option("--small", help="The small model; default: as labelled.")] = None,
    min_recall: Annotated[float, typer.Option(help="Share of divergent tokens to be found.")] = 0.95,
    inner: Annotated[int, typer.Option(min=1, help="Width of the network's blocks.")] = 1024,
    blocks: Annotated[int, typer.Option(min=0, help="Blocks of the network.")] = 6,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 5e-5,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the labels.")] = 50,
    batch: Annotated[int, typer.Option(min=1, help="Tokens in one step.")] = 1024,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Train a router on labels; its threshold finds the asked share of divergent tokens at the smallest rate."""
    from tokenry.core.runs import write_run
    from tokenry.decoding.router_training import RouterTraining, train_router

    quiet(no_progress)
    how = RouterTraining(rate=rate, epochs=epochs, batch=batch, min_recall=min_recall, seed=seed)
    size = {"inner": inner, "blocks": blocks, "small": small, "device": device}
    _, report = train_router(labels, out=out, training=how, overwrite=overwrite, **size)
    write_run(out, verb="route train", arguments={"labels": labels, **size}, seed=seed, inputs=[labels])
    show(report, json=as_json)


@app.command(epilog="Example:  `tokenry route curve --small ./1b --large ./32b --router router/ --prompts test.jsonl`")
def curve(
    small: Small,
    large: Large,
    prompts: Prompts,
    router: Annotated[list[str], typer.Option("--router", help="A router's folder, or entropy, random; repeat.")],
    quality: Annotated[
        str, typer.Option(help="agreement, same-text, same-answer, or pkg.module:function.")
    ] = "agreement",
    share: Annotated[
        list[float] | None, typer.Option("--share", help="Share of tokens for the large model; repeat for more.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest continuation.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Prompts decoded at once.")] = 16,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    device: DeviceOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Quality against the share of tokens the large model writes, beside each model alone and whole-prompt routing."""
    from tokenry.core.tables import texts
    from tokenry.decoding.routing_curve import route_curve

    quiet(no_progress)
    asked = list(texts(prompts, text=text_column, limit=limit))
    how = {
        "quality": quality,
        "shares": share or (0.05, 0.1, 0.2),
        "max_new_tokens": max_new_tokens,
        "batch": batch,
        "device": device,
    }
    show(route_curve(small, large, asked, routers=router, **how), json=as_json, out=out)
