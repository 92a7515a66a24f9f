"""Reports as text: how numbers and tokens are written everywhere, the terminal, and Markdown."""

import math
import sys
from typing import TextIO

import numpy as np
import pyarrow as pa

from tokenry.core.report import FactValue, Headline, Interval, Report, TokenSample

MISSING = "–"
TOKEN_COLUMNS = ("token", "tokens", "old token", "new token", "piece", "pieces", "left", "right", "made_of", "fact")
OUTCOMES = ("better", "worse", "unclear")
OUTCOME_TITLES = {"better": "Got better", "worse": "Got worse", "unclear": "No clear change"}
OUTCOME_WORDS = {"better": "better", "worse": "worse", "unclear": "unclear"}
_ROWS = {"terminal": 20, "markdown": 200}
_TERMINAL_FACTS, _TERMINAL_SAMPLES = 48, 4
_TOKENS = {"terminal": 80, "markdown": 200}
_STRANGE = {"\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ", "\u200e": "LRM", "\u200f": "RLM", "\ufeff": "BOM"}
_MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\u3000": "□"}
_SPACES = "\u00a0\u2009\u202f\u3000"
_JOINERS = "\u200c\u200d"


def format_number(value: float, *, decimals: int | None = None) -> str:
    """A number for a reader: thousands with commas, about four significant digits, "–" for NaN."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if decimals is None:
        if value == 0:
            return "0"
        if not 1e-4 <= abs(value) < 1e12:
            return f"{value:.3g}".replace("-", "−")
        decimals = max(0, min(6, 3 - math.floor(math.log10(abs(value)))))
        text = f"{value:,.{decimals}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    return f"{value:,.{decimals}f}".replace("-", "−")


def interval_decimals(interval: Interval) -> int | None:
    """Decimals that show two significant digits of the half width; None when there is no width."""
    half = (interval.high - interval.low) / 2
    if not (math.isfinite(half) and half > 0):
        return None
    return max(0, min(6, 1 - math.floor(math.log10(half))))


def format_value(value: float | Interval) -> str:
    """The estimate alone."""
    if isinstance(value, Interval):
        return format_number(float(value.value), decimals=interval_decimals(value))
    return format_number(value)


def format_range(value: float | Interval, *, decimals: int | None = None) -> str:
    """The interval alone, "[low, high]"; "" for what has none."""
    if not isinstance(value, Interval) or math.isnan(value.low) or math.isnan(value.high):
        return ""
    decimals = interval_decimals(value) if decimals is None else decimals
    low, high = (format_number(float(end), decimals=decimals) for end in (value.low, value.high))
    return f"[{low}, {high}]"


def format_fact(value: FactValue) -> str:
    """Any fact on one line."""
    if value is None:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, Interval):
        return " ".join(part for part in (format_value(value), format_range(value), value.unit) if part)
    return format_number(value)


def format_pair(line: Headline) -> tuple[str, str, str, str]:
    """Before, its range, after, its range: with the same decimals on both sides."""
    both = (line.before, line.after)
    found = [d for d in (interval_decimals(v) for v in both if isinstance(v, Interval)) if d is not None]
    if not found:
        return format_value(line.before), "", format_value(line.after), ""
    values = [float(v.value if isinstance(v, Interval) else v) for v in both]
    texts = [format_number(v, decimals=min(found)) for v in values]
    decimals = max(found) if texts[0] == texts[1] else min(found)
    shown = [format_number(v, decimals=decimals) for v in values]
    return shown[0], format_range(line.before, decimals=decimals), shown[1], format_range(line.after, decimals=decimals)


def headline_unit(line: Headline) -> str:
    """The unit of a headline: its own, else that of its intervals."""
    return line.unit or next((v.unit for v in (line.after, line.before) if isinstance(v, Interval) and v.unit), "")


def format_change(line: Headline) -> str:
    """The change with its sign: in per cent where before is a positive number, else as a difference."""
    before = float(line.before.value if isinstance(line.before, Interval) else line.before)
    difference = line.difference
    if math.isnan(difference):
        return "not measured"
    share = 100 * difference / before if before > 0 else math.nan
    if math.isfinite(share) and abs(share) < 1000:
        digits = 0 if abs(share) >= 100 else 1 if abs(share) >= 1 or share == 0 else 2
        return f"{share:+.{digits}f} %".replace("-", "−")
    return ("+" if difference > 0 else "") + format_number(difference)


def table_cells(table: pa.Table, n_rows: int) -> tuple[list[list[str]], list[bool]]:
    """The first rows of a table as text, and for each column whether it holds numbers.

    In a column named "token", white space and invisible characters are drawn.
    """
    columns, numeric = [], []
    for name, column in zip(table.column_names, table.slice(0, n_rows).columns, strict=True):
        is_float, is_int = pa.types.is_floating(column.type), pa.types.is_integer(column.type)
        numeric.append(is_float or is_int)
        values = column.to_pylist()
        decimals = column_decimals(values) if is_float else None
        draw = visible_token if name in TOKEN_COLUMNS else visible
        columns.append([draw(_cell(value, decimals)) for value in values])
    return [list(row) for row in zip(*columns, strict=True)], numeric


def visible(text: str, *, lines: bool = False) -> str:
    """The text with control characters made visible, so that it cannot steer a terminal or hide itself.

    `lines` lets line ends through, for text that may have several.
    """
    if text.isprintable():
        return text
    kept = _SPACES + "\n" if lines else _SPACES
    return "".join(char if char.isprintable() or char in kept else _picture(char) for char in text)


def visible_token(text: str) -> str:
    """A token with its spaces, line ends and invisible characters drawn; joiners inside an emoji stay."""
    last = len(text) - 1
    return "".join(
        _MARKS.get(char) or (char if char.isprintable() or (char in _JOINERS and 0 < i < last) else _picture(char))
        for i, char in enumerate(text)
    )


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"‹{_STRANGE.get(char) or f'U+{code:04X}'}›"


def _cell(value, decimals: int | None) -> str:
    if isinstance(value, float) and decimals is not None and math.isfinite(value):
        return format_number(value, decimals=decimals)
    if isinstance(value, list):
        return ", ".join(_cell(item, None) for item in value)
    return format_fact(value)


def column_decimals(values: list) -> int | None:
    """Decimals that suit a whole column; None where its numbers differ too much in size."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value) and value != 0]
    if not sizes:
        return 0
    if max(sizes) >= 1e12:
        return None
    decimals = max(0, min(4, 3 - math.floor(math.log10(max(sizes)))))
    if all(float(size).is_integer() for size in sizes):
        return 0
    if min(sizes) < 0.5 * 10**-decimals:
        return None
    while decimals and all(round(size, decimals) == round(size, decimals - 1) for size in sizes):
        decimals -= 1
    return decimals


def to_markdown(report: Report) -> str:
    """The report as Markdown: verdict, headline, warnings, facts, tables, token samples, command, notes."""
    lines = [f"# {_md(report.title)}", "", f"*{_md(report.kind)}*", ""]
    if report.verdict:
        lines += [f"**{_md(report.verdict)}**", ""]
    if report.headline:
        rows = [
            [
                _md(line.label),
                *_sides(line),
                _md(headline_unit(line)),
                format_change(line),
                line.outcome,
            ]
            for line in _by_outcome(report.headline)
        ]
        lines += _md_table(["quantity", "before", "after", "unit", "change", "outcome"], rows, [False] + [True] * 2)
    lines += [f"> **Warning:** {_md(text)}\n" for text in report.warnings]
    if report.facts:
        rows = [[f"`{name}`", _md_fact(value)] for name, value in report.facts.items()]
        lines += ["## Facts", "", *_md_table(["fact", "value"], rows, [False, False])]
    for name, table in report.tables.items():
        rows, numeric = table_cells(table, _ROWS["markdown"])
        rows = [[_md(cell) for cell in row] for row in rows]
        lines += [f"## {_md(name)}", "", *_md_table([_md(c) for c in table.column_names], rows, numeric)]
        if table.num_rows > len(rows):
            lines += [f"{table.num_rows - len(rows):,} more rows in `report.json`.", ""]
    for sample in report.samples:
        lines += [f"## Tokens: {_md(sample.title)}", ""]
        for label, tokens in sample.rows:
            lines += [f"{_md(label)}, {len(tokens):,} tokens:", "", *_fenced(_joined(tokens, "markdown")), ""]
    if report.figures:
        titles = "; ".join(_md(figure.title) for figure in report.figures)
        lines += ["## Charts", "", f"Drawn in `report.html`, as numbers in `report.json`: {titles}.", ""]
    if report.command:
        lines += ["## Make it again", "", *_fenced(visible(report.command, lines=True)), ""]
    if report.notes:
        lines += ["## Notes", "", *(f"- {_md(note)}" for note in report.notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def _joined(tokens: list[str], where: str) -> str:
    shown = " | ".join(visible_token(token) for token in tokens[: _TOKENS[where]])
    more = len(tokens) - _TOKENS[where]
    return f"{shown} … and {more:,} more" if more > 0 else shown


def _md(text: str) -> str:
    """Untrusted text inside Markdown: one line, nothing that starts a table cell, a link, or HTML."""
    text = " ".join(visible_line.strip() for visible_line in str(text).splitlines())
    for char in "\\`*_[]<>|":
        text = text.replace(char, "\\" + char)
    return visible(text).replace("&", "&amp;")


def _md_fact(value: FactValue) -> str:
    if isinstance(value, Interval):
        return " ".join(part for part in (format_value(value), format_range(value), _md(value.unit)) if part)
    return _md(format_fact(value))


def _md_table(header: list[str], rows: list[list[str]], numeric: list[bool]) -> list[str]:
    flags = [*numeric, *[False] * (len(header) - len(numeric))]
    rule = ["---:" if flag else "---" for flag in flags]
    return [*("| " + " | ".join(row) + " |" for row in (header, rule, *rows)), ""]


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, text, fence]


def _sides(line: Headline) -> list[str]:
    before, before_range, after, after_range = format_pair(line)
    return [f"{before} {before_range}".strip(), f"{after} {after_range}".strip()]


def _by_outcome(headline: list[Headline]) -> list[Headline]:
    return sorted(headline, key=lambda line: OUTCOMES.index(line.outcome))


def to_terminal(report: Report, *, width: int = 100) -> str:
    """What `print_report` shows, as plain text without colour."""
    import io

    buffer = io.StringIO()
    write_terminal(report, file=buffer, width=width)
    return buffer.getvalue()


def write_terminal(report: Report, *, file: TextIO | None = None, width: int | None = None) -> None:
    """Write a report with rich; `width` None takes the terminal's, or 100 where there is none."""
    from rich.console import Console
    from rich.text import Text

    stream = sys.stdout if file is None else file
    if hasattr(stream, "reconfigure") and "utf" not in (stream.encoding or "").lower():
        # A terminal without these letters gets "?" in their place; the report is not lost over a dash.
        stream.reconfigure(errors="replace")
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    if width is None and not console.is_terminal:
        console = Console(file=file, width=100, highlight=False, markup=False, emoji=False)
    console.print(Text(visible(report.title), style="bold"))
    if report.verdict:
        console.print(Text(visible(report.verdict, lines=True), style="bold cyan"))
    if report.headline:
        _terminal_headline(console, report.headline)
    for text in report.warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), visible(text, lines=True)))
    if report.facts:
        rows = [[visible(name), visible(format_fact(value))] for name, value in report.facts.items()]
        _terminal_table(console, "Facts", ["fact", "value"], rows[:_TERMINAL_FACTS], [False, False])
        _terminal_more(console, len(rows) - _TERMINAL_FACTS, "fact")
    for name, table in report.tables.items():
        cells, numeric = table_cells(table, _ROWS["terminal"])
        rows = [[visible(cell) for cell in row] for row in cells]
        _terminal_table(console, visible(name), [visible(c) for c in table.column_names], rows, numeric)
        _terminal_more(console, table.num_rows - len(rows), "row")
    for sample in report.samples[:_TERMINAL_SAMPLES]:
        _terminal_sample(console, sample)
    _terminal_more(console, len(report.samples) - _TERMINAL_SAMPLES, "text")
    for note in report.notes:
        console.print(Text(f"Note: {visible(note, lines=True)}", style="dim"))
    if report.command:
        console.print(Text(f"Make it again: {visible(report.command, lines=True)}", style="dim"), soft_wrap=True)


def _terminal_headline(console, headline: list[Headline]) -> None:
    styles = {"better": "bold cyan", "worse": "bold yellow", "unclear": "dim"}
    header = ["", "before", "after", "change", "outcome"]
    rows, row_styles = [], []
    for line in _by_outcome(headline):
        unit = f" {headline_unit(line)}" if headline_unit(line) else ""
        cells = _sides(line)
        rows.append(
            [visible(line.label + (f" ({unit.strip()})" if unit else "")), *cells, format_change(line), line.outcome]
        )
        row_styles.append(styles[line.outcome])
    _terminal_table(console, "Before and after", header, rows, [False, True, True, True, False], row_styles)


def _terminal_table(console, title, header, rows, numeric, row_styles=None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    n = _columns_that_fit(header, rows, console.width)
    for name, is_number in zip(header[:n], numeric, strict=False):
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for i, row in enumerate(rows):
        table.add_row(*(Text(cell) for cell in row[:n]), style=row_styles[i] if row_styles else None)
    console.print(table)
    _terminal_more(console, len(header) - n, "column", f": {', '.join(header[n:])}")
    console.print()


def _columns_that_fit(header: list[str], rows: list[list[str]], width: int) -> int:
    """How many columns there is room for without breaking a number or a short word; two at least."""
    used, room = 0, 0
    for k, name in enumerate(header):
        words = [word for text in (name, *(row[k] for row in rows)) for word in text.split(" ")]
        room += 3 + min(24, max(map(len, words)))
        used = k + 1 if room - 3 <= width or k < 2 else used
    return used


def _terminal_more(console, n: int, what: str, names: str = "") -> None:
    from rich.text import Text

    if n > 0:
        console.print(Text(f"… {n:,} more {what}{'s' if n > 1 else ''}{names} (--json shows all)", style="dim"))


def _terminal_sample(console, sample: TokenSample) -> None:
    from rich.text import Text

    console.print(Text(f"Tokens: {visible(sample.title)}", style="bold"))
    for label, tokens in sample.rows:
        if not console.is_terminal or console.no_color:
            line = Text(_joined(tokens, "terminal"))
        else:
            line = Text()
            hues = (
                "black on bright_cyan",
                "black on bright_yellow",
                "black on bright_green",
                "black on bright_magenta",
            )
            for i, token in enumerate(tokens[: _TOKENS["terminal"]]):
                line.append(visible_token(token), style=hues[i % len(hues)])
            more = len(tokens) - _TOKENS["terminal"]
            line.append(f" … and {more:,} more" if more > 0 else "")
        console.print(Text(f"  {visible(label)}, {len(tokens):,} tokens: ", style="dim") + line)
