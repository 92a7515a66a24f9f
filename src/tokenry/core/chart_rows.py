"""Charts that lie down: a row for each category and series, for bars and for dot-and-whisker intervals."""

from tokenry.core.chart_marks import (
    Axis,
    axis_heading,
    colour_of,
    legend,
    marker,
    nice_ticks,
    rule,
    shortened,
    text_at,
    text_width,
    tick_labels,
    whisker,
    x_axis,
)
from tokenry.core.report import Figure, Point
from tokenry.core.report_text import column_decimals, format_number

_MOST_ROWS = 60


def draw_rows(figure: Figure, series: dict[str, list[Point]], width: int) -> tuple[list[str], float]:
    """Elements and height of the chart: labels at the left, or above their rows where the width is small."""
    rows = _rows(series)
    shown, is_bar = rows[:_MOST_ROWS], figure.kind == "bar"
    numbers = [v for _, _, point, _ in shown for v in point[1:]]
    low, high = min(numbers), max(numbers)
    ticks = nice_ticks(min(0.0, low), max(0.0, high)) if is_bar else nice_ticks(low, high)
    decimals = column_decimals([point[1] for _, _, point, _ in shown])
    values = [format_number(float(point[1]), decimals=decimals) for _, _, point, _ in shown]
    widest = max(text_width(label) for label, _, _, _ in shown)
    side = width >= 480 and widest <= width * 0.3
    left = 14 + widest if side else 4.0
    ax = Axis(ticks[0], ticks[-1], left + 6, width - 14 - max(text_width(value) for value in values))
    key, y = ([], 26.0) if len(series) == 1 else legend(list(series), width=width, y=34.0, kind=figure.kind)
    top, marks = y, []
    for (label, i, point, is_first), value in zip(shown, values, strict=True):
        if is_first:
            y += 10 if side else 30
            place = (left - 8, y + 10, "end") if side else (left, y - 6, "start")
            marks.append(text_at(*place[:2], shortened(label, width - 8), anchor=place[2], halo=not side))
        marks += _row(i, point, ax, y + 6, is_bar)
        reach = max(ax(v) for v in (*point[1:], *([0.0] if is_bar else [])))
        marks.append(text_at(reach + 8, y + 10, value, halo=True))
        y += 18
    bottom = y + 8
    body = [text_at(0, 14, shortened(axis_heading(figure), width), muted=True), *key]
    body += [rule((ax(t), top), (ax(t), bottom), strong=t == 0 and is_bar) for t in ticks]
    body += x_axis(ax, ticks, tick_labels(ticks), bottom=bottom, width=width)
    if len(rows) > len(shown):
        bottom += 18
        body.append(text_at(0, bottom + 18, f"{len(rows) - len(shown):,} more rows in the data", muted=True))
    return body + marks, bottom + 26


def _rows(series: dict[str, list[Point]]) -> list[tuple[str, int, Point, bool]]:
    """(label, number of the series, point, first of its category), categories in order of appearance."""
    grouped: dict[float | str, list[tuple[int, Point]]] = {}
    for i, points in enumerate(series.values()):
        for point in points:
            grouped.setdefault(point[0], []).append((i, point))
    return [
        (x if isinstance(x, str) else format_number(x), i, point, k == 0)
        for x, members in grouped.items()
        for k, (i, point) in enumerate(members)
    ]


def _row(i: int, point: Point, ax: Axis, y: float, is_bar: bool) -> list[str]:
    if is_bar:
        x0, x1 = sorted((ax(0.0), ax(point[1])))
        size = f'width="{max(x1 - x0, 0.75):.1f}" height="12"'
        bar = f'<rect x="{x0:.1f}" y="{y - 6:.1f}" {size} style="fill:{colour_of(i)}"/>'
        return [bar, whisker((ax(point[2]), y), (ax(point[3]), y))] if len(point) == 4 else [bar]
    dot = marker(i, ax(point[1]), y, size=4.5)
    if len(point) == 2:
        return [dot]
    x0, x1 = ax(point[2]), ax(point[3])
    line = f"M{x0:.1f} {y:.1f}H{x1:.1f}M{x0:.1f} {y - 4:.1f}v8M{x1:.1f} {y - 4:.1f}v8"
    return [f'<path d="{line}" style="stroke:{colour_of(i)};stroke-width:2;fill:none"/>', dot]
