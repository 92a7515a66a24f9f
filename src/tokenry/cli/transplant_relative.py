"""The verb `tokenry transplant relative`: a fine-tuned relative gets the tokenizer that its base was moved to."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, OverwriteFlag, show
from tokenry.cli.transplant import app


@app.command(epilog="Example:  `tokenry transplant relative ./chat --base ./base --moved ./healed --out ./chat-moved`")
def relative(
    fine_tuned: Annotated[Path, typer.Argument(metavar="FINE_TUNED", help="Folder of a model trained on from BASE.")],
    base: Annotated[Path, typer.Option("--base", help="Folder of its base, before the move.")],
    moved: Annotated[Path, typer.Option("--moved", help="Folder of the base after the move, trained on since.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    lam: Annotated[float, typer.Option("--lambda", help="Share of what training changed in the moved body.")] = 0.5,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Carry a move and the training after it to a fine-tuned relative: body + lambda (moved base - base)."""
    from tokenry.transplant.relatives import merge_relative

    show(merge_relative(fine_tuned, base, moved, out=out, lam=lam, overwrite=overwrite), json=as_json)
