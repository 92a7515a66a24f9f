"""What everything that measures returns: facts, tables and figures as data, with the sentence that sums them up.

A `Report` prints (`print_report`), becomes JSON and back (`to_json`, `Report.from_json`), and saves itself as a folder
(`save`: report.json, report.md, report.html). Two reports of one kind stand side by side with `compare_reports`.

JSON is strict: a number that is not finite is written as null. Read back, null is NaN where a number must stand (an
end of an interval, a point of a figure) and None in facts and tables.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval

FactValue = int | float | str | bool | None | Interval
Point = tuple[float | str, float] | tuple[float | str, float, float, float]

FIGURE_KINDS = ("line", "bar", "interval", "histogram")


@dataclass(frozen=True)
class Headline:
    """One quantity before and after, with the direction that is good: the first thing a reader sees.

    Attributes:
        label: what it is, in a reader's words ("Bits per byte on your text").
        before: a number or an Interval.
        after: the same quantity afterwards.
        unit: "bits/byte"; "" for a bare number.
        better: "higher" or "lower".
        change: after minus before with its own (paired) interval, when it was measured; it decides the outcome.
    """

    label: str
    before: float | Interval
    after: float | Interval
    unit: str = ""
    better: str = "higher"
    change: Interval | None = None

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better={self.better!r} for {self.label!r}; need 'higher' or 'lower'.")

    @property
    def difference(self) -> float:
        """After minus before; NaN when either is unknown."""
        return self.change.value if self.change else _value(self.after) - _value(self.before)

    @property
    def outcome(self) -> str:
        """ "better", "worse", or "unclear" where intervals overlap (or the interval of the change holds 0)."""
        difference = self.difference
        if math.isnan(difference) or not self._told_apart():
            return "unclear"
        return "better" if (difference > 0) == (self.better == "higher") else "worse"

    def _told_apart(self) -> bool:
        if self.change is not None:
            return self.change.low > 0 or self.change.high < 0
        if isinstance(self.before, Interval) and isinstance(self.after, Interval):
            return not self.before.overlaps(self.after)
        return _value(self.before) != _value(self.after)


@dataclass(frozen=True)
class Figure:
    """A chart as data.

    Attributes:
        kind: "line", "bar", "interval" (dot and whisker) or "histogram".
        title: what it shows.
        x: name of the horizontal quantity (of the categories, when x values are strings).
        y: name of the measured quantity.
        series: name -> points (x, y) or (x, y, low, high). In a histogram x is the left edge of a bin and y its count.
        unit: of y.
        log_x: logarithmic horizontal axis of a line or histogram (numeric x above 0).
    """

    kind: str
    title: str
    x: str
    y: str
    series: dict[str, list[Point]]
    unit: str = ""
    log_x: bool = False

    def __post_init__(self) -> None:
        if self.kind not in FIGURE_KINDS:
            raise ValueError(f"figure kind {self.kind!r}; need one of {', '.join(FIGURE_KINDS)}.")
        # Plain tuples of plain numbers, so that equality and JSON do not depend on who made the points.
        series = {str(name): [_point(point, self.title) for point in points] for name, points in self.series.items()}
        object.__setattr__(self, "series", series)

    @classmethod
    def of_values(cls, title: str, x: str, values: Mapping[str, np.ndarray], *, bins: int = 30) -> "Figure":
        """A histogram of raw values (non-finite ones left out), with the same bins for every series."""
        finite = {name: np.asarray(v, dtype=np.float64) for name, v in values.items()}
        finite = {name: v[np.isfinite(v)] for name, v in finite.items()}
        pooled = np.concatenate(list(finite.values())) if finite else np.zeros(0)
        edges = np.histogram_bin_edges(pooled, bins=bins)
        series = {name: list(zip(edges[:-1], np.histogram(v, edges)[0], strict=True)) for name, v in finite.items()}
        return cls("histogram", title, x, "count", series)


@dataclass(frozen=True)
class TokenSample:
    """The same text as cut by several tokenizers.

    Attributes:
        title: which text ("German news").
        rows: (label, token texts) for each tokenizer; joined, the token texts are the text.
    """

    title: str
    rows: list[tuple[str, list[str]]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", [(str(label), [str(t) for t in tokens]) for label, tokens in self.rows])


@dataclass
class Report:
    """The result of a measurement.

    Attributes:
        kind: what was done ("adapt", "tokenizer-audit"); only reports of one kind compare.
        title: one line for a reader.
        facts: flat dotted names -> values ("bits_per_byte.before").
        tables: name -> Arrow table of booleans, numbers, strings, or lists of them.
        figures: charts as data.
        verdict: one sentence: what to conclude or do.
        warnings: what a reader could get wrong.
        notes: how it was measured.
        command: the command line that makes it again.
        samples: texts cut into tokens.
        headline: quantities before and after.
    """

    kind: str
    title: str
    facts: dict[str, FactValue] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    verdict: str = ""
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    samples: list[TokenSample] = field(default_factory=list)
    headline: list[Headline] = field(default_factory=list)

    def to_json(self) -> str:
        """Strict JSON (no NaN), keys in a fixed order.

        Raises:
            ValueError: for a fact or a column that JSON cannot hold; the message names it.
        """
        from tokenry.core.report_json import write_json

        return write_json(self)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote.

        Raises:
            ValueError: if the text is not JSON, or not of this schema.
        """
        from tokenry.core.report_json import read_json

        return read_json(text)

    def save(self, folder: str | Path) -> Path:
        """Write report.json, report.md and report.html into `folder` (made if absent); return the path of the page.

        Each file is written beside its place and renamed, so none is ever half written.

        Raises:
            NotADirectoryError, PermissionError: no folder can be made there.
        """
        from tokenry.core.report_html import to_html
        from tokenry.core.report_text import to_markdown
        from tokenry.core.runs import atomic_write, check_folder

        folder = Path(folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {
            "report.json": self.to_json(),
            "report.md": to_markdown(self),
            "report.html": to_html(self),
        }.items():
            # A lone surrogate (half a character, from a broken token) has no UTF-8 form and becomes "?".
            atomic_write(folder / name, text.encode("utf-8", "replace"))
        return folder / "report.html"

    def __str__(self) -> str:
        from tokenry.core.report_text import to_terminal

        return to_terminal(self)


def print_report(report: Report, *, file: TextIO | None = None) -> None:
    """Print a report for a terminal: verdict, headline, warnings, tables, facts; in colour where there is a terminal.

    Args:
        report: any report.
        file: where to; None is standard output.
    """
    from tokenry.core.report_text import write_terminal

    write_terminal(report, file=file)


def compare_reports(a: Report, b: Report, *, names: tuple[str, str] = ("A", "B")) -> Report:
    """Two reports of one kind side by side: each fact in both with its change, charts of one title laid together.

    Args:
        a: the first.
        b: the second; the change is b minus a.
        names: how to call them.

    Raises:
        ValueError: if their kinds differ, or the names are equal.
    """
    if a.kind != b.kind:
        raise ValueError(f"a report of kind {a.kind!r} beside one of kind {b.kind!r}; need two of the same kind.")
    first, second = names
    if first == second:
        raise ValueError(f"both reports are called {first!r}; give two different names.")
    keys = [*a.facts, *(key for key in b.facts if key not in a.facts)]
    from tokenry.core.report_text import format_fact

    rows = {
        "fact": keys,
        first: [format_fact(a.facts[key]) if key in a.facts else "" for key in keys],
        second: [format_fact(b.facts[key]) if key in b.facts else "" for key in keys],
        "change": [_change(a.facts.get(key), b.facts.get(key)) for key in keys],
    }
    schema = pa.schema([("fact", pa.string()), (first, pa.string()), (second, pa.string()), ("change", pa.float64())])
    facts = {f"{key}.{name}": r.facts[key] for key in keys for name, r in ((first, a), (second, b)) if key in r.facts}
    return Report(
        kind=f"{a.kind}-comparison",
        title=f"{first}: {a.title} — {second}: {b.title}",
        facts=facts,
        tables={"side by side": pa.table(rows, schema=schema)},
        figures=_laid_together(a, b, names),
        warnings=[f"{name}: {text}" for name, report in ((first, a), (second, b)) for text in report.warnings],
        notes=[f"{name}: {report.verdict}" for name, report in ((first, a), (second, b)) if report.verdict],
        samples=[
            TokenSample(sample.title, [(f"{name}: {label}", tokens) for label, tokens in sample.rows])
            for name, report in ((first, a), (second, b))
            for sample in report.samples
        ],
    )


def _laid_together(a: Report, b: Report, names: tuple[str, str]) -> list[Figure]:
    figures = []
    others = {(figure.kind, figure.title): figure for figure in b.figures}
    for figure in a.figures:
        other = others.get((figure.kind, figure.title))
        if other is None or (other.x, other.y, other.unit) != (figure.x, figure.y, figure.unit):
            continue
        series = {
            f"{name}: {key}": points
            for name, each in zip(names, (figure, other), strict=True)
            for key, points in each.series.items()
        }
        figures.append(Figure(figure.kind, figure.title, figure.x, figure.y, series, figure.unit, figure.log_x))
    return figures


def _change(before: FactValue, after: FactValue) -> float | None:
    if any(isinstance(value, bool | str) or value is None for value in (before, after)):
        return None
    difference = _value(after) - _value(before)
    return difference if math.isfinite(difference) else None


def _value(number: float | Interval) -> float:
    return float(number.value if isinstance(number, Interval) else number)


def _point(point: Point, title: str) -> Point:
    if len(point) not in (2, 4):
        raise ValueError(f"a point of {len(point)} values in figure {title!r}; need (x, y) or (x, y, low, high).")
    x, *rest = point
    numbers = tuple(math.nan if value is None else float(value) for value in rest)
    if not isinstance(x, str):
        x = math.nan if x is None else float(x)
    return (x, *numbers)
