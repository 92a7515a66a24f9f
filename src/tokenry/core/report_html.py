"""Reports as one self-contained web page: no network, no scripts, light and dark, wide and narrow, at most 1 MB.

Every text is escaped: titles, facts and above all tokens come from data nobody has checked. Charts are drawn twice, for
wide and for narrow screens, so that their letters stay readable on a phone.
"""

import math
import re
import unicodedata
from functools import lru_cache
from html import escape
from importlib.resources import files

import pyarrow as pa

from tokenry import __version__
from tokenry.core.charts import svg
from tokenry.core.report import FactValue, Figure, Headline, Interval, Report, TokenSample
from tokenry.core.report_text import (
    OUTCOME_TITLES,
    OUTCOME_WORDS,
    TOKEN_COLUMNS,
    format_change,
    format_fact,
    format_pair,
    format_range,
    format_value,
    headline_unit,
    table_cells,
    visible,
    visible_token,
)

MAX_BYTES = 1_000_000
_LIMITS = ((200, 400, 300), (60, 200, 200), (20, 80, 120), (5, 20, 60))
"""(table rows, tokens a sample row, characters a cell): the first that keeps the page under MAX_BYTES is taken."""
_TALL = 24
_STAND_IN = re.compile(r"\\x[0-9a-f]{2}|<0x[0-9A-F]{2}>|[\ufffd\ud800-\udfff]")
_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_html(report: Report) -> str:
    """The report as one page of HTML.

    Long tables and samples are cut, and say so; where the page would still pass 1 MB they are cut shorter.

    Raises:
        ValueError: if even the shortest page is over 1 MB (hundreds of charts or of facts).
    """
    for limits in _LIMITS:
        page = _page(report, *limits)
        size = len(page.encode("utf-8", "replace"))
        if size < MAX_BYTES:
            return page
    raise ValueError(
        f"the report's page takes {size:,} bytes and may take {MAX_BYTES:,}: {len(report.facts):,} facts, "
        f"{len(report.figures):,} figures, {len(report.tables):,} tables. Put long lists into one table."
    )


def _page(report: Report, n_rows: int, n_tokens: int, n_chars: int) -> str:
    parts = [
        f'<p class="kicker">{_e(report.kind.replace("-", " "))}</p>',
        f"<h1>{_e(report.title)}</h1>",
        f'<p class="verdict">{_e(report.verdict, lines=True)}</p>' if report.verdict else "",
        _warnings(report.warnings),
        _outcomes(report.headline) if report.headline else _key_facts(report.facts),
        _charts(report.figures),
        "".join(_table(name, table, n_rows, n_chars) for name, table in report.tables.items()),
        _samples(report.samples, n_tokens),
        _facts(report.facts, n_chars),
        f'<h2>Make it again</h2><pre tabindex="0"><code>{_e(report.command, lines=True)}</code></pre>'
        if report.command
        else "",
        _notes(report.notes),
    ]
    body = chr(10).join(part for part in parts if part)
    footer = (
        "Every number is in report.json beside this page; "
        "[brackets] are 95 % intervals over documents unless a note says otherwise."
    )
    return page_frame(report.title, body, footer=footer)


def page_frame(title: str, body: str, *, footer: str, css: str = "") -> str:
    """A whole page around a body of finished HTML, in the style of reports: no scripts, no network.

    Args:
        title: plain text, escaped here.
        body: finished HTML; whatever came from data in it has been through `escaped`.
        footer: plain text.
        css: rules added to those of reports.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{_e(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{_css()}{css}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n"
        f"<footer>Written by tokenry {_e(__version__)}. {_e(footer)}</footer>\n</body>\n</html>\n"
    )


@lru_cache(maxsize=1)
def _css() -> str:
    return files("tokenry.core").joinpath("report.css").read_text(encoding="utf-8")


def escaped(text: str, *, lines: bool = False) -> str:
    """Untrusted text for HTML: control characters drawn, markup escaped; `lines` lets line ends through."""
    return escape(visible(str(text), lines=lines), quote=True)


_e = escaped


def _warnings(texts: list[str]) -> str:
    items = "".join(f"<li>{_e(text, lines=True)}</li>" for text in texts)
    word = "Warning" if len(texts) == 1 else "Warnings"
    return f'<div class="warnings"><b>{word}</b><ul>{items}</ul></div>' if items else ""


def _outcomes(headline: list[Headline]) -> str:
    groups = {name: [line for line in headline if line.outcome == name] for name in OUTCOME_TITLES}
    sections = []
    for name, lines in groups.items():
        if name == "unclear" and not lines:
            continue
        tiles = "".join(_tile(line) for line in lines)
        empty = "Nothing measured got better." if name == "better" else "Nothing measured got worse."
        content = f'<div class="tiles">{tiles}</div>' if tiles else f'<p class="none">{empty}</p>'
        wide = " wide" if name == "unclear" else ""
        sections.append(
            f'<section class="{name}{wide}" id="{name}"><h2>{OUTCOME_TITLES[name]} '
            f'<span class="count">{len(lines)}</span></h2>{content}</section>'
        )
    # On a phone the second list is a screen away, so both are announced before the first.
    jumps = "".join(
        f'<a class="{name}" href="#{name}">{len(lines)} {OUTCOME_WORDS[name]}</a>'
        for name, lines in groups.items()
        if lines or name != "unclear"
    )
    return f'<nav class="jumps" aria-label="Outcomes">{jumps}</nav><div class="outcomes">{"".join(sections)}</div>'


def _tile(line: Headline) -> str:
    before, before_range, after, after_range = format_pair(line)
    small = f"{line.better} is better"
    if before_range and after_range:
        small = f"{before_range} → {after_range} · {small}"
    if line.change is not None and format_range(line.change):
        small += f" · paired change {format_value(line.change)} {format_range(line.change)}"
    label = line.label[:1].upper() + line.label[1:]
    return _stat(label, before, after, headline_unit(line), format_change(line), _tile_chart(line), small)


def _stat(label: str, before: str, after: str, unit: str, sign: str, chart: str, small: str) -> str:
    """One tile: label and sign of the change, then before → after, then intervals; empty parts are left out."""
    was = f'<span class="was">{_e(before)}<span class="to"> → </span></span>' if before else ""
    return (
        f'<div class="tile"><div class="top"><span class="label">{_e(label)}</span>'
        + (f'<span class="sign">{_e(sign)}</span>' if sign else "")
        + f'</div><div class="pair">{was}<span class="now">{_e(after)}</span>'
        + (f'<span class="unit">{_e(unit)}</span>' if unit else "")
        + f"{chart}</div>"
        + (f'<div class="small">{_e(small)}</div>' if small else "")
        + "</div>"
    )


def _tile_chart(line: Headline) -> str:
    """Before (hollow) above after (full) with their intervals on one scale; a picture of the numbers beside it."""
    both = [line.before, line.after]
    if not all(isinstance(v, Interval) and math.isfinite(v.low) and math.isfinite(v.high) for v in both):
        return ""
    low, high = min(v.low for v in both), max(v.high for v in both)
    if not high > low:
        return ""

    def x(value: float) -> float:
        return 7 + 186 * (value - low) / (high - low)

    marks = []
    for y, v, full in ((7, line.before, False), (21, line.after, True)):
        ink = f"var(--{line.outcome})" if full else "var(--muted)"
        marks.append(
            f'<path d="M{x(v.low):.1f} {y}H{x(v.high):.1f}" style="stroke:{ink};stroke-width:3;opacity:.55" '
            f'stroke-linecap="round"/><circle cx="{x(v.value):.1f}" cy="{y}" r="4.5" '
            f'style="fill:{ink if full else "var(--paper)"};stroke:{ink};stroke-width:2"/>'
        )
    return f'<svg viewBox="0 0 200 28" aria-hidden="true">{"".join(marks)}</svg>'


def _key_facts(facts: dict[str, FactValue]) -> str:
    """Without a headline the first numbers of a report stand on its first screen, `.before` beside `.after`."""
    numbers = {k: v for k, v in facts.items() if isinstance(v, Interval | int | float) and not isinstance(v, bool)}
    numbers.pop("seed", None)
    tiles = []
    for name, value in numbers.items():
        stem, _, side = name.rpartition(".")
        if side == "before" and f"{stem}.after" in numbers:
            line = Headline(stem, value, numbers[f"{stem}.after"])
            before, before_range, after, after_range = format_pair(line)
            small = f"{before_range} → {after_range}" if before_range and after_range else ""
            tiles.append(_stat(_spoken(stem), before, after, headline_unit(line), format_change(line), "", small))
        elif not (side == "after" and f"{stem}.before" in numbers):
            unit = value.unit if isinstance(value, Interval) else ""
            tiles.append(_stat(_spoken(name), "", format_value(value), unit, "", "", format_range(value)))
    return f'<div class="keys">{"".join(tiles[:8])}</div>' if tiles else ""


def _spoken(name: str) -> str:
    """A fact's name for a reader: "n_tokens.before" is "Tokens, before"."""
    text = ", ".join(part.removeprefix("n_") for part in name.split(".")).replace("_", " ")
    return text[:1].upper() + text[1:]


def _charts(figures: list[Figure]) -> str:
    if not figures:
        return ""
    drawn = []
    for i, figure in enumerate(figures):
        # An odd chart out gets the whole width, and the first is the one that matters most.
        full = len(figures) % 2 == 1 and i == 0
        wide = svg(figure, width=1000 if full else 480, name=f"f{i}w").replace("<svg ", '<svg class="wide" ', 1)
        narrow = svg(figure, width=330, name=f"f{i}n").replace("<svg ", '<svg class="narrow" ', 1)
        kind = ' class="full"' if full else ""
        drawn.append(f"<figure{kind}><figcaption>{_e(figure.title)}</figcaption>{wide}{narrow}</figure>")
    return f'<h2>Charts</h2><div class="charts">{"".join(drawn)}</div>'


def _table(name: str, table: pa.Table, n_rows: int, n_chars: int) -> str:
    rows, numeric = table_cells(table, n_rows)
    return (
        f'<h2>{_e(_spoken(name))}</h2><div class="block">'
        + _grid(
            [*zip(table.column_names, numeric, strict=True)],
            [[_cut(cell, n_chars) for cell in row] for row in rows],
            name,
        )
        + _more(table.num_rows - len(rows), "rows")
        + "</div>"
    )


def _grid(columns: list[tuple[str, bool]], rows: list[list[str]], label: str) -> str:
    kinds = ["num" if is_number else "mono" if name in TOKEN_COLUMNS else "" for name, is_number in columns]
    head = "".join(f"<th{_class(kind)}>{_e(c)}</th>" for (c, _), kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(kind or ('long' if len(cell) > 40 else ''))}>{_e(cell, lines=True)}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="{"scroll tall" if len(rows) > _TALL else "scroll"}" tabindex="0" role="region" '
        f'aria-label="{_e(label)}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cut(text: str, n_chars: int) -> str:
    return text if len(text) <= n_chars else text[: n_chars - 1] + "…"


def _more(n: int, what: str) -> str:
    return f'<p class="more">{n:,} more {what} in report.json.</p>' if n > 0 else ""


def _samples(samples: list[TokenSample], n_tokens: int) -> str:
    if not samples:
        return ""
    blocks = []
    for sample in samples:
        way = direction(sample)
        cuts = "".join(_cut_row(label, tokens, n_tokens, way) for label, tokens in sample.rows)
        blocks.append(f'<div class="sample"><h3>{_e(sample.title)}</h3>{cuts}</div>')
    return "<h2>Tokens</h2>" + "".join(blocks)


def direction(sample: TokenSample) -> str:
    """ "rtl" where most letters of the text run from right to left, else "ltr": the same for every row.

    A row cannot tell by itself: cut into bytes, Arabic begins with the Latin letters of its hex digits.
    """

    def letters(match: re.Match) -> str:
        return bytes.fromhex(match[0].replace("\\x", "")).decode("utf-8", "ignore")

    text = "".join(_BYTES.sub(letters, "".join(tokens)) for _, tokens in sample.rows)
    ways = [unicodedata.bidirectional(char) for char in text]
    return "rtl" if ways.count("R") + ways.count("AL") > ways.count("L") else "ltr"


def _cut_row(label: str, tokens: list[str], n_tokens: int, way: str) -> str:
    spans = "".join(
        f'<span class="t t{i % 6}">{_token(token)}</span>' + ("<br>" if token.endswith("\n") else "")
        for i, token in enumerate(tokens[:n_tokens])
    )
    rate = f"{len(tokens):,} tokens"
    # Where a character falls into several tokens their texts are stand-ins, and their bytes mean nothing.
    if tokens and not any(_STAND_IN.search(token) for token in tokens):
        rate += f" · {sum(len(token.encode()) for token in tokens) / len(tokens):.2f} bytes/token"
    return (
        f'<div class="cut"><div class="who"><b>{_e(label)}</b><span>{rate}</span></div>'
        f'<div class="tokens" dir="{way}">{spans}</div>{_more(len(tokens) - n_tokens, "tokens")}</div>'
    )


def _token(text: str) -> str:
    """A token with its white space drawn in the colour of marks; a line end inside it breaks the line."""
    parts = []
    for i, char in enumerate(text):
        drawn = visible_token(char) if char.isspace() or not char.isprintable() else ""
        if drawn and not (char in "\u200c\u200d" and len(text) > 1):
            parts.append(f"<i>{escape(drawn)}</i>" + ("<br>" if char == "\n" and i < len(text) - 1 else ""))
        else:
            parts.append(escape(char))
    return "".join(parts)


def _facts(facts: dict[str, FactValue], n_chars: int) -> str:
    if not facts:
        return ""
    rows = [[name, _cut(format_fact(value), n_chars)] for name, value in facts.items()]
    grid = _grid([("fact", False), ("value", False)], rows, "All facts")
    is_open = " open" if len(rows) <= 12 else ""
    return f"<details{is_open}><summary>All {len(rows):,} facts</summary>{grid}</details>"


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{_e(note, lines=True)}</li>" for note in notes)
    return f'<h2>Notes</h2><ul class="notes">{items}</ul>' if items else ""
