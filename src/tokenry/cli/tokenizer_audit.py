"""Verbs that judge tokenizers: audit, compare."""

from tokenry.cli.output import (
    JsonFlag,
    LimitOption,
    QuietFlag,
    ReportOption,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    quiet,
    show,
    sources,
)
from tokenry.cli.tokenizer import Data, Tokenizer, app


@app.command(epilog="Example:  `tokenry tokenizer audit gpt2/ --text pages.jsonl.zst --json`")
def audit(
    tokenizer: Tokenizer,
    data: Data,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """How well a tokenizer fits a text: compression, fertility, scripts, dead tokens, digits, round trip."""
    from tokenry.tokenization.audit import audit as run

    quiet(no_progress)
    show(
        run(tokenizer, sources(data), seed=seed, limit=limit, text=text_column, skip_bad=skip_bad),
        json=as_json,
        out=out,
    )


@app.command(epilog="Example:  `tokenry tokenizer compare old/ new/ --text pages.jsonl`")
def compare(
    first: Tokenizer,
    second: Tokenizer,
    data: Data,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    seed: SeedOption = 0,
    out: ReportOption = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Two tokenizers on the same text, side by side; tokens shared by bytes."""
    from tokenry.tokenization.audit import compare as run

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    show(run(first, second, sources(data), seed=seed, **reading), json=as_json, out=out)
