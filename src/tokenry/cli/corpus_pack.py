"""The verb that ends the pipeline: documents as arrays of token ids."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Workers
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, folder_to_be, quiet, show


@app.command(
    epilog="Example:  `tokenry corpus pack mixed/ --tokenizer ./my-tokenizer --length 4096 --out shards/`, then in "
    "Python `draw(PackedShards('shards/'), batch_size=8)` (tokenry.models.batches)"
)
def pack(
    docs: Docs,
    tokenizer: Annotated[str, typer.Option("--tokenizer", help="A folder, tokenizer.json, .model, hub name, ...")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the shards.")],
    ends: Annotated[str, typer.Option("--ends", help="Around documents: eos (behind), bos (before), both, none.")] = (
        "eos"
    ),
    in_order: Annotated[bool, typer.Option("--in-order", help="Documents as they come; else shuffled.")] = False,
    length: Annotated[int | None, typer.Option("--length", min=2, help="Rows of so many tokens; else flat.")] = None,
    shard_tokens: Annotated[str, typer.Option("--shard-tokens", help="A shard ends about here: 500K, 200M.")] = "256M",
    special: Annotated[
        bool, typer.Option("--special", help="Special tokens written in a text count as such; else plain text.")
    ] = False,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Write documents as arrays of token ids with an index, for training; any program can map them."""
    from tokenry.corpora.choices import amount
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.packing import Packing, pack_corpus
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    packing = Packing(ends, not in_order, int(amount(shard_tokens)), length, special, seed)
    report = pack_corpus(docs, out, tokenizer=tokenizer, packing=packing,
                         reading=Reading(text=text_column, skip_bad=skip_bad),
                         engine=open_engine(engine, workers=workers))  # fmt: skip
    show(report, json=as_json, out=Path(f"{out}.report"))
