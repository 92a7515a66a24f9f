"""The page of a comparison, to look at: what each language pays, and the same sentences cut by each in colour.

Everything is drawn from the report alone, without scripts; the text of tokens is data and is always escaped.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989), Language Model Tokenizers Introduce Unfairness Between Languages (arXiv 2305.15425).
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from tokenry.core.intervals import Interval
from tokenry.core.report import Report, TokenSample
from tokenry.core.report_html import direction, escaped, page_frame
from tokenry.core.report_text import format_range, format_value, visible_token
from tokenry.core.runs import atomic_write
from tokenry.tokenization.comparing import compare
from tokenry.tokenization.language_names import language_name

_MOST_BARS, _OPEN_BARS = 250, 30
_MOST_TOKENS = 400
_OPEN_SAMPLES = 4
_COLOURS = 8
_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+")


def compare_to_page(
    tokenizers: Sequence[object], source: object, *, out: str | Path | None = None, **options: object
) -> Report:
    """`compare`, and with `out` also its page, `index.html` in that folder.

    Args:
        tokenizers, source, options: as for `comparing.compare`.
        out: a folder, made if absent; the report itself is saved there by whoever called (`Report.save`).
    """
    report = compare(tokenizers, source, **options)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        atomic_write(Path(out) / "index.html", to_page(report).encode("utf-8", "replace"))
    return report


def to_page(report: Report) -> str:
    """The page of a report of kind "tokenizer-compare".

    Raises:
        ValueError: for a report of another kind.
    """
    if report.kind != "tokenizer-compare":
        raise ValueError(f"a report of kind {report.kind!r}; the page is drawn from one of kind 'tokenizer-compare'.")
    names = report.tables["entries"].column("tokenizer").to_pylist()
    notes = "".join(f"<li>{escaped(note)}</li>" for note in report.notes)
    sections = [
        '<p class="kicker">tokenizers side by side</p>',
        f"<h1>{escaped(report.title)}</h1>",
        f'<p class="verdict">{escaped(report.verdict)}</p>' if report.verdict else "",
        _cards(report, names),
        _premiums(report, names) or _rates(report, names),
        _look(report.samples, names),
        _relations(report, names),
        '<p class="more">All tables with their intervals: <a href="report.html">report.html</a>; as data: '
        '<a href="report.json">report.json</a>.</p>',
        f'<h2>How to read this</h2><ul class="notes">{notes}</ul>',
    ]
    css = files("tokenry.tokenization").joinpath("comparison_page.css").read_text(encoding="utf-8")
    footer = "[brackets] are 95 % intervals over documents, or over lines with their translations."
    return page_frame(report.title, "\n".join(part for part in sections if part), footer=footer, css=css)


def _dot(i: int) -> str:
    return f'<i class="dot" style="background:var(--c{i % _COLOURS + 1})"></i>'


def _cards(report: Report, names: list[str]) -> str:
    facts, cards = report.facts, []
    for i, name in enumerate(names):
        rate = facts[f"bytes_per_token.{name}"]
        change = facts.get(f"normalised_sequence_length.{name}")
        said = "the others are measured against this one"
        if name != facts["reference"] and isinstance(change, Interval):
            said = f"{change.value:.2f} times the tokens of {facts['reference']} {format_range(change)}"
        lines = [said, f"{facts[f'vocab_size.{name}']:,} entries, {facts[f'used_tokens.{name}']:,} used here"]
        if f"parity.median.{name}" in facts:
            lines.append(
                f"{facts[f'parity.median.{name}']:.2f} times {language_name(str(facts['parity.pivot']))} in the median "
                f"language, {facts[f'parity.highest.{name}']:.2f} in the dearest"
            )
        if facts[f"round_trip_failures.{name}"]:
            lines.append(
                f"{facts[f'round_trip_failures.{name}']:,} of {facts['n_documents']:,} texts do not come back exactly"
            )
        cards.append(
            f'<div class="tile"><div class="top"><span class="label">{_dot(i)}{escaped(name)}</span></div>'
            f'<div class="pair"><span class="now">{format_value(rate)}</span>'
            '<span class="unit">bytes/token</span></div>'
            f'<div class="small">{escaped(format_range(rate))}</div>'
            + "".join(f'<div class="small">{escaped(line)}</div>' for line in lines)
            + "</div>"
        )
    return f'<div class="keys cards">{"".join(cards)}</div>'


def _premiums(report: Report, names: list[str]) -> str:
    """Bars: what each language needs, in tokens of the pivot language with the same tokenizer."""
    if "premiums" not in report.tables:
        return ""
    rows = report.tables["premiums"].to_pylist()
    value = {(row["tokenizer"], row["language"]): row for row in rows}
    order = report.tables["parity"].column("language").to_pylist()
    pivot = language_name(str(report.facts["parity.pivot"]))
    bars = [
        (language, [(value[name, language]["premium"], _premium_title(name, value[name, language])) for name in names])
        for language in order
    ]
    words = (
        f"Tokens for the same text, as a multiple of what {pivot} needs with the same tokenizer; dearest for "
        f"{names[0]} first."
    )
    return _bars("What each language pays", words, bars, names=names, form="{:.2f}×", what="languages")


def _premium_title(name: str, row: dict) -> str:
    return f"{name}: {row['premium']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['lines']:,} lines"


def _rates(report: Report, names: list[str]) -> str:
    if "sources" not in report.tables:
        return ""
    rows = report.tables["sources"].to_pylist()
    bars = [
        (row["source"], [(row[f"bytes/token {name}"], f"{name}: {row[f'tokens {name}']:,} tokens") for name in names])
        for row in rows
    ]
    words = "Bytes of text in one token; more is shorter. Compare within a row: scripts differ in bytes a character."
    return _bars("Bytes per token by source", words, bars, names=names, form="{:.2f}", what="sources")


def _bars(
    title: str, words: str, bars: list[tuple[str, list[tuple[float, str]]]], *, names: list[str], form: str, what: str
) -> str:
    top = max(value for _, values in bars for value, _ in values)
    rows = []
    for label, values in bars[:_MOST_BARS]:
        drawn = "".join(
            f'<span class="bar" title="{escaped(said)}"><b style="width:{100 * value / top:.2f}%;'
            f'background:var(--c{i % _COLOURS + 1})"></b><em>{form.format(value)}</em></span>'
            for i, (value, said) in enumerate(values)
        )
        code = f"<small>{escaped(label)}</small>" if language_name(label) != label else ""
        rows.append(
            f'<div class="language"><span class="name">{escaped(language_name(label))}{code}</span>'
            f'<span class="bars">{drawn}</span></div>'
        )
    legend = "".join(f"<span>{_dot(i)}{escaped(name)}</span>" for i, name in enumerate(names))
    more = ""
    if len(rows) > _OPEN_BARS:
        rest = f'<div class="bargrid">{"".join(rows[_OPEN_BARS:])}</div>'
        more = f'<details class="rest"><summary>{len(rows) - _OPEN_BARS} more {what}</summary>{rest}</details>'
    return (
        f'<h2>{escaped(title)}</h2><p class="lead">{escaped(words)}</p><p class="legend">{legend}</p>'
        f'<div class="bargrid">{"".join(rows[:_OPEN_BARS])}</div>{more}'
    )


def _look(samples: list[TokenSample], names: list[str]) -> str:
    """The same sentences cut by each tokenizer: one card a language, open to look into."""
    if not samples:
        return ""
    cards = []
    for k, sample in enumerate(samples):
        counts = [len(tokens) for _, tokens in sample.rows]
        top = max(counts) or 1
        minis = "".join(
            f'<span class="mini" title="{escaped(name)}: {n} tokens"><b style="height:{max(8, 100 * n / top):.0f}%;'
            f'background:var(--c{i % _COLOURS + 1})"></b></span>'
            for i, (name, n) in enumerate(zip(names, counts, strict=True))
        )
        way = direction(sample)
        body = "".join(
            f'<div class="cut"><div class="who"><b>{_dot(i)}{escaped(name)}</b>'
            f"<span>{len(tokens):,} tokens</span></div>"
            f'<div class="tokens" dir="{way}">{_tokens(tokens)}</div></div>'
            for i, (name, tokens) in enumerate(sample.rows)
        )
        low, high = min(counts), max(counts)
        said = f"{low:,} tokens" if low == high else f"{low:,} to {high:,} tokens"
        cards.append(
            f'<details class="look"{" open" if k < _OPEN_SAMPLES else ""}><summary><span class="name">'
            f'{escaped(language_name(sample.title))}</span><span class="minis" aria-hidden="true">{minis}</span>'
            f'<span class="range">{said}</span></summary>{body}</details>'
        )
    return (
        '<h2>Look at the cuts</h2><p class="lead">The same sentence, cut by each tokenizer; a token is a box. '
        "Boxes with bytes in small hex are parts of one character.</p>" + "".join(cards)
    )


def _tokens(tokens: list[str]) -> str:
    spans = "".join(f'<span class="t t{i % 6}">{_token(token)}</span>' for i, token in enumerate(tokens[:_MOST_TOKENS]))
    more = len(tokens) - _MOST_TOKENS
    return spans + (f'<span class="more">… {more:,} more</span>' if more > 0 else "")


def _token(text: str) -> str:
    """A token with spaces drawn, and bytes that are no character as small hex."""
    parts, end = [], 0
    for match in _BYTES.finditer(text):
        parts.append(_drawn(text[end : match.start()]))
        parts.append(f'<i class="hex">{match[0][2:].replace(chr(92) + "x", " ")}</i>')
        end = match.end()
    return "".join([*parts, _drawn(text[end:])])


def _drawn(text: str) -> str:
    parts = []
    for char in text[:200]:
        strange = char.isspace() or not char.isprintable()
        parts.append(
            f"<i>{escaped(visible_token(char))}</i>" if strange and char not in "\u200c\u200d" else escaped(char)
        )
    return "".join(parts) + ("…" if len(text) > 200 else "")


def _relations(report: Report, names: list[str]) -> str:
    """Similarity as a matrix of shades, the groups, and shared or lone entries."""
    table = report.tables["similarity"].to_pydict()
    head = "".join(f'<th class="num">{escaped(name)}</th>' for name in names)
    body = "".join(
        f"<tr><th>{_dot(i)}{escaped(row)}</th>"
        + "".join(
            f'<td class="num heat" style="--heat:{100 * table[name][i]:.0f}%">{table[name][i]:.2f}</td>'
            for name in names
        )
        + "</tr>"
        for i, row in enumerate(names)
    )
    entries = report.tables["entries"].to_pylist()
    lines = "".join(
        f'<tr><th>{_dot(i)}{escaped(row["tokenizer"])}</th><td class="num">{row["entries"]:,}</td>'
        f'<td class="num">{row["only_here"]:,}</td><td class="num">{100 * row["core_share"]:.1f} %</td></tr>'
        for i, row in enumerate(entries)
    )
    groups = [members for members in report.tables["groups"].column("members").to_pylist() if len(members) > 1]
    said = "; ".join(", ".join(members) for members in groups)
    words = f"Practically one token set: {said}." if groups else "No two of them are practically the same token set."
    return (
        '<h2>Who shares tokens with whom</h2><p class="lead">Entries in both over entries in either (Jaccard), by '
        f"bytes. {escaped(words)}</p>"
        '<div class="sides"><div class="block"><div class="scroll" tabindex="0"><table>'
        f"<thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></div>"
        '<div class="block"><div class="scroll" tabindex="0"><table><thead><tr><th></th><th class="num">entries</th>'
        '<th class="num">only here</th><th class="num">share in all others too</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div></div></div>"
    )
