"""Charts of a report as inline SVG: line, bar, interval (dot and whisker), histogram.

A chart is drawn for a given width, so that its letters keep their size on a phone. Colours are CSS variables (`--c1`
to `--c8`, `--ink`, `--muted`, `--rule`, `--paper`) with fallbacks: one drawing serves light and dark pages, and stands
alone.
Points that are not finite, or not above 0 on a logarithmic axis, cannot be drawn and are counted below the chart.
"""

import math
from dataclasses import replace
from html import escape
from itertools import pairwise

from tokenry.core.chart_marks import (
    DASHES,
    FONT,
    Axis,
    axis_heading,
    colour_of,
    legend,
    log_ticks,
    marker,
    nice_ticks,
    rule,
    safe,
    shortened,
    text_at,
    text_width,
    tick_labels,
    whisker,
    x_axis,
)
from tokenry.core.chart_rows import draw_rows
from tokenry.core.report import Figure, Point
from tokenry.core.report_text import format_number

_MOST_POINTS = 400
_MOST_CATEGORIES = 16


def svg(figure: Figure, *, width: int = 520, name: str = "chart") -> str:
    """Draw a figure.

    Args:
        figure: what to draw.
        width: units of the drawing, meant to be shown at about as many CSS pixels; at least 240.
        name: prefix of the ids inside, unique on the page.

    Returns:
        One <svg> element with a <title> and a <desc>.

    Raises:
        ValueError: if width is under 240.
    """
    if width < 240:
        raise ValueError(f"width={width}; need at least 240 for a chart with readable labels.")
    if figure.log_x and figure.kind not in ("line", "histogram"):
        figure = replace(figure, log_x=False)
    series, n_left_out = _drawable(figure)
    if not any(series.values()):
        body, height = [text_at(width / 2, 40, "no data", anchor="middle", muted=True)], 70.0
    elif figure.kind == "interval" or (figure.kind == "bar" and _has_names(series)):
        body, height = draw_rows(figure, series, width)
    else:
        body, height = _draw_plane(figure, series, width)
    if n_left_out:
        height += 18
        body.append(text_at(0, height - 4, f"{n_left_out:,} points cannot be drawn here", muted=True))
    ids = f"{escape(name)}-t", f"{escape(name)}-d"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-labelledby="{ids[0]} {ids[1]}" font-family="system-ui,-apple-system,Segoe UI,Roboto,sans-serif" '
        f'font-size="{FONT}"><title id="{ids[0]}">{safe(figure.title)}</title>'
        f'<desc id="{ids[1]}">{safe(describe(figure))}</desc>{"".join(body)}</svg>'
    )


def describe(figure: Figure) -> str:
    """What the chart shows, in words: kind, axes, and first and last point of every series."""

    def place(x: float | str) -> str:
        return x if isinstance(x, str) else format_number(x)

    parts = [f"{figure.kind.capitalize()} chart of {axis_heading(figure)} by {figure.x}."]
    for label, points in list(figure.series.items())[:12]:
        if points:
            first, last = points[0], points[-1]
            text = f"{label}: {format_number(first[1])} at {place(first[0])}"
            parts.append(text + (f", {format_number(last[1])} at {place(last[0])}." if len(points) > 1 else "."))
    return " ".join(parts)


def _drawable(figure: Figure) -> tuple[dict[str, list[Point]], int]:
    """Series without what cannot be drawn, and how many points that were. A line keeps its gaps as NaN."""
    kept, n_left_out = {}, 0
    for label, points in figure.series.items():
        good = []
        for point in points:
            x = point[0] if isinstance(point[0], str) else _within_reach(point[0])
            y, *ends = map(_within_reach, point[1:])
            bad_x = (isinstance(x, str) or not x > 0) if figure.log_x else x != x
            if bad_x or math.isnan(y):
                n_left_out += 1
                if figure.kind == "line" and good and not bad_x:
                    good.append((x, math.nan))
                continue
            good.append((x, y, *(y if math.isnan(end) else end for end in ends)))
        kept[label] = good
    return kept, n_left_out


def _within_reach(value: float) -> float:
    """NaN for what no axis can hold, 0 for what is lost beside any other number."""
    if not abs(value) < 1e100:
        return math.nan
    return value if abs(value) > 1e-100 else 0.0


def _has_names(series: dict[str, list[Point]]) -> bool:
    return any(isinstance(point[0], str) for points in series.values() for point in points)


def _categories(figure: Figure, series: dict[str, list[Point]]) -> list[float | str]:
    """The x values that take equal steps: names, and the few numbers of a bar chart (1, 2, 4, 8, ...)."""
    seen = dict.fromkeys(point[0] for points in series.values() for point in points)
    if _has_names(series):
        return list(seen)
    return sorted(seen) if figure.kind == "bar" and len(seen) <= _MOST_CATEGORIES and not figure.log_x else []


def _draw_plane(figure: Figure, series: dict[str, list[Point]], width: int) -> tuple[list[str], float]:
    """Line, vertical bars over numbers, histogram: y upwards, x to the right."""
    names = _categories(figure, series)
    if names:
        order = {x: float(i) for i, x in enumerate(names)}
        series = {label: [(order[p[0]], *p[1:]) for p in points] for label, points in series.items()}
    solid = figure.kind != "line"
    ys = [y for points in series.values() for p in points for y in p[1:] if math.isfinite(y)]
    y_ticks = nice_ticks(*((min(0.0, *ys), max(0.0, *ys)) if solid else (min(ys), max(ys))))
    y_labels = tick_labels(y_ticks)
    left = 10 + max(text_width(label) for label in y_labels)
    # Names stand at the ends of the lines where there is room, else in a legend.
    direct = figure.kind == "line" and 1 < len(series) <= 6 and width >= 480
    right = 14 + (min(150, max(text_width(label) for label in series)) + 14 if direct else 0)
    key, top = ([], 30.0) if direct or len(series) == 1 else legend(list(series), width=width, y=34.0, kind=figure.kind)
    bottom = top + width * (0.42 if width < 700 else 0.30)
    ax, x_ticks = _x_scale(figure, series, left, width - right, bool(names))
    x_labels = [x if isinstance(x, str) else format_number(x) for x in names] or tick_labels(x_ticks)
    ay = Axis(y_ticks[0], y_ticks[-1], bottom, top)
    middle = (left + width - right) / 2
    body = [text_at(0, 14, shortened(axis_heading(figure), width), muted=True), *key]
    body += [rule((left, ay(t)), (width - right, ay(t)), strong=t == 0 and solid) for t in y_ticks]
    body += [text_at(left - 7, ay(t) + 4, label, anchor="end") for t, label in zip(y_ticks, y_labels, strict=True)]
    body += x_axis(ax, x_ticks, x_labels, bottom=bottom, width=width)
    body.append(text_at(middle, bottom + 37, shortened(figure.x, width), anchor="middle", muted=True))
    if figure.kind == "line":
        body += _lines(series, ax, ay)
        body += _end_labels(series, ay, width - right) if direct else []
    else:
        body += _columns(figure, series, ax, ay)
    return body, bottom + 44


def _x_scale(
    figure: Figure, series: dict[str, list[Point]], start: float, end: float, named: bool
) -> tuple[Axis, list[float]]:
    low, high, step = _x_range(figure, series)
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        pad = max(step / 2, abs(low) * 1e-3)
        low, high = (low / 2, high * 2) if figure.log_x else (low - pad, high + pad)
    if named:
        ticks = [float(i) for i in range(math.ceil(low), math.floor(high) + 1)]
    elif figure.log_x:
        ticks = log_ticks(low, high)
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    else:
        slack = (high - low) * 1e-9
        ticks = nice_ticks(low, high, n=max(4, round((end - start) / 62)))
        ticks = [tick for tick in ticks if low - slack <= tick <= high + slack]
    return Axis(low, high, start, end, figure.log_x), ticks


def _x_range(figure: Figure, series: dict[str, list[Point]]) -> tuple[float, float, float]:
    """Lowest and highest x to show, and the smallest step between two of them."""
    xs = sorted({float(p[0]) for points in series.values() for p in points})
    gaps = [b - a for a, b in pairwise(xs)]
    step = min(gaps, default=1.0)
    if figure.kind == "histogram":
        return xs[0], xs[-1] + (gaps[-1] if gaps else 1.0), step
    if figure.kind == "bar":
        return xs[0] - step / 2, xs[-1] + step / 2, step
    return xs[0], xs[-1], step


def _lines(series: dict[str, list[Point]], ax: Axis, ay: Axis) -> list[str]:
    thin = {label: _thinned(points, ax) for label, points in series.items()}
    body = []
    for i, points in enumerate(thin.values()):
        band = [p for p in points if len(p) == 4]
        if len(band) > 1:
            edge = [(ax(p[0]), ay(p[3])) for p in band] + [(ax(p[0]), ay(p[2])) for p in reversed(band)]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in edge) + "Z"
            body.append(f'<path d="{path}" style="fill:{colour_of(i)};opacity:.16"/>')
    for i, points in enumerate(thin.values()):
        path, pen = [], "M"
        for p in points:
            if math.isnan(p[1]):
                pen = "M"
                continue
            path.append(f"{pen}{ax(p[0]):.1f} {ay(p[1]):.1f}")
            pen = "L"
        dash = f'stroke-dasharray="{DASHES[i % 8]}" ' if DASHES[i % 8] else ""
        style = f'style="stroke:{colour_of(i)};stroke-width:2;fill:none"'
        body.append(f'<path d="{"".join(path)}" {dash}stroke-linejoin="round" {style}/>')
        finite = [p for p in points if math.isfinite(p[1])]
        if len(finite) <= 12:
            body += [marker(i, ax(p[0]), ay(p[1])) for p in finite]
    return body


def _thinned(points: list[Point], ax: Axis) -> list[Point]:
    """About `_MOST_POINTS` points at most: first, last, lowest and highest of each strip of the drawing, and gaps."""
    if len(points) <= _MOST_POINTS:
        return points
    strips: dict[int, list[int]] = {}
    for i, point in enumerate(points):
        strips.setdefault(int((ax(point[0]) - ax.start) / (ax.end - ax.start) * _MOST_POINTS / 4), []).append(i)
    kept = set()
    for run in strips.values():
        full = [i for i in run if not math.isnan(points[i][1])]
        kept.update([i for i in run if math.isnan(points[i][1])][:1])
        if full:
            kept.update((full[0], full[-1]))
            kept.update((min(full, key=lambda i: points[i][1]), max(full, key=lambda i: points[i][1])))
    return [points[i] for i in sorted(kept)]


def _end_labels(series: dict[str, list[Point]], ay: Axis, x: float) -> list[str]:
    """Names at the ends of their lines, pushed apart where they would meet."""
    ends = []
    for i, (label, points) in enumerate(series.items()):
        finite = [p for p in points if math.isfinite(p[1])]
        if finite:
            ends.append([ay(finite[-1][1]), i, label])
    ends.sort()
    for above, below in pairwise(ends):
        below[0] = max(below[0], above[0] + 16)
    limit = ay.start + 2
    for end in reversed(ends):
        end[0] = min(end[0], limit)
        limit = end[0] - 16
    body = []
    for y, i, label in ends:
        dash = f'stroke-dasharray="{DASHES[i % 8]}" ' if DASHES[i % 8] else ""
        body.append(f'<path d="M{x + 8:.1f} {y:.1f}h14" {dash}style="stroke:{colour_of(i)};stroke-width:2.5"/>')
        body.append(text_at(x + 26, y + 4, shortened(label, 140)))
    return body


def _columns(figure: Figure, series: dict[str, list[Point]], ax: Axis, ay: Axis) -> list[str]:
    is_histogram, n = figure.kind == "histogram", len(series)
    low, high, step = _x_range(figure, series)
    body = []
    for i, points in enumerate(series.values()):
        for k, p in enumerate(points):
            if is_histogram:
                after = (
                    points[k + 1][0]
                    if k + 1 < len(points)
                    else min(high, p[0] + (p[0] - points[k - 1][0] if k else step))
                )
                x0, x1 = ax(p[0]), ax(after)
            else:
                slot = (ax.end - ax.start) * 0.76 * (step / (high - low))
                x0 = ax(p[0]) - slot / 2 + slot * i / n
                x1 = x0 + slot / n
            y0, y1 = sorted((ay(0.0), ay(p[1])))
            # Histograms lie over one another, so they are seen through; bars stand side by side.
            opacity = ";opacity:.6" if is_histogram and n > 1 else ""
            gap = min(1.0, (x1 - x0) * 0.2)
            body.append(
                f'<rect x="{x0 + gap / 2:.1f}" y="{y0:.1f}" width="{max(x1 - x0 - gap, 0.5):.1f}" '
                f'height="{y1 - y0:.1f}" style="fill:{colour_of(i)}{opacity}"/>'
            )
            if len(p) == 4:
                body.append(whisker(((x0 + x1) / 2, ay(p[2])), ((x0 + x1) / 2, ay(p[3]))))
    return body
