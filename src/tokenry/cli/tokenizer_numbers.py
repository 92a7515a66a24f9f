"""The verb `tokenry tokenizer retrofit`: cut numbers another way in a tokenizer that exists."""

from typing import Annotated

import typer

from tokenry.cli.output import JsonFlag, OverwriteFlag, show
from tokenry.cli.tokenizer import Out, Tokenizer, app


@app.command(epilog="Example:  `tokenry tokenizer retrofit ./llama --digits r2l3 --out llama-r2l`")
def retrofit(
    tokenizer: Tokenizer,
    out: Out,
    digits: Annotated[str, typer.Option(help="single, l2r3 or r2l3, or with another group size.")] = "r2l3",
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Only 0-9, not the digits of other scripts.")] = False,
    keep_fractions: Annotated[bool, typer.Option(help="Read digits behind a decimal point from the point on.")] = True,
    keep_years: Annotated[bool, typer.Option(help="Leave numbers from 1000 to 2999 as they were cut.")] = False,
    keep_identifiers: Annotated[bool, typer.Option(help="Leave words with digits (user12345) as they were.")] = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Switch the direction in which numbers are cut into groups; vocabulary and ids stay."""
    from tokenry.tokenization.numerals import retrofit_to_folder

    options = {"ascii_only": ascii_only, "keep_fractions": keep_fractions, "keep_years": keep_years}
    report = retrofit_to_folder(
        tokenizer, out, overwrite=overwrite, digits=digits, keep_identifiers=keep_identifiers, **options
    )
    show(report, json=as_json)
