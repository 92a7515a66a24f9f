"""The verb `tokenry model arithmetic`: how the way numbers are written and cut changes a model's sums."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.model import app
from tokenry.cli.output import DeviceOption, DtypeOption, JsonFlag, QuietFlag, ReportOption, SeedOption, quiet, show

EPILOG = """Examples:

`tokenry model arithmetic ./llama --formats nosep,comma_r2l,comma_l2r --lengths 7-9 --shots 1,8 --n 10 --out sums`

`tokenry model arithmetic ./llama --digits r2l3 --controlled --lengths 7-9 --n 100`  (other digit groups at inference)

`tokenry model arithmetic --rescore sums`
"""


@app.command(epilog=EPILOG)
def arithmetic(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Causal LM: a folder or hub name.")] = None,
    formats: Annotated[str, typer.Option(help="nosep, comma_r2l, nosep+1, QUESTION>REPEAT>ANSWER, ... with commas.")]
    = "nosep,comma_r2l,comma_l2r",
    lengths: Annotated[str, typer.Option(help="Digits of the operands: 7-9, or 5.")] = "7-9",
    shots: Annotated[str, typer.Option(help="Worked examples, several with commas.")] = "8",
    n: Annotated[int, typer.Option("--n", help="Problems for each pair (or triple) of lengths.")] = 10,
    op: Annotated[str, typer.Option(help="add, sub or mul.")] = "add",
    controlled: Annotated[bool, typer.Option("--controlled", help="Choose the answer's length too.")] = False,
    chat: Annotated[bool, typer.Option("--chat/--completion", help="Through the chat template, or as plain lines.")]
    = False,
    flip: Annotated[bool, typer.Option("--flip", help="Ask each problem with its operands swapped as well.")] = False,
    digits: Annotated[str | None, typer.Option(help="Cut numbers so at inference: single, l2r3, r2l3.")] = None,
    rescore: Annotated[Path | None, typer.Option(help="Score stored responses (a CSV, or a folder of them).")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:  # fmt: skip
    """Accuracy of a model on sums by number format, with every response and the pattern of its errors."""
    from tokenry.tokenization.arithmetic_probe import from_words

    quiet(no_progress)
    report = from_words(
        model, rescored=rescore, formats=formats, lengths=lengths, shots=shots, n=n, op=op, controlled=controlled,
        chat=chat, flip=flip, digits=digits, seed=seed, device=device, dtype=dtype, out=out,
    )  # fmt: skip
    show(report, json=as_json, out=out)
