"""The pieces charts are made of: round tick values, axes, legends, marks and text as SVG.

Colours are CSS variables with fallbacks; series differ in colour and in dash or shape. The palette is Okabe and Ito's,
darkened for contrast on white.
"""

import math
import unicodedata
from dataclasses import dataclass
from html import escape

from tokenry.core.report import Figure
from tokenry.core.report_text import visible

PALETTE = ("#0067a5", "#c24e00", "#00805e", "#a8478a", "#8a6500", "#7657cf", "#6b6b6b", "#7a4a2b")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "6 2 2 2")
FONT = 12


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic map from values (low..high) to places on the drawing (start..end)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = math.log(value) if self.log else value
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def nice_ticks(low: float, high: float, *, n: int = 5) -> list[float]:
    """About n round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) that enclose [low, high]."""
    # A spread lost in the rounding of the numbers themselves is no spread.
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) * 0.05 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / max(n - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((s * power for s in (1, 2, 2.5, 5) if s * power >= raw * (1 - 1e-9)), 10 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose [low, high], both above 0; with 2 and 5 between them where there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if last - first > 3:
        step = math.ceil((last - first) / 6)
        return [10.0**i for i in range(first, last + step, step)]
    ticks = [m * 10.0**i for i in range(first, last + 1) for m in (1, 2, 5)]
    below = max(t for t in ticks if t <= low * (1 + 1e-9))
    above = min(t for t in ticks if t >= high * (1 - 1e-9))
    return [t for t in ticks if below <= t <= above]


def tick_labels(ticks: list[float]) -> list[str]:
    """Labels of one axis: the same decimals along even steps; then k, M, G, T and P."""
    if not ticks:
        return []
    top = max(abs(tick) for tick in ticks)
    uneven = len(ticks) > 2 and not math.isclose(ticks[1] - ticks[0], ticks[2] - ticks[1], rel_tol=1e-6)
    if uneven:
        return [_scaled(tick, abs(tick)) for tick in ticks]
    if top >= 1e4 or 0 < top < 1e-3:
        return [_scaled(tick, top) for tick in ticks]
    decimals = max(len(_trimmed(tick).partition(".")[2]) for tick in ticks)
    return [f"{tick:.{decimals}f}".replace("-0" if tick == 0 else "-", "0" if tick == 0 else "−") for tick in ticks]


def _scaled(tick: float, top: float) -> str:
    if top >= 1e18 or 0 < top < 1e-3:
        return f"{tick:.3g}".replace("-", "−") if tick else "0"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if top >= size:
            return _trimmed(tick / (1e3 if letter == "k" else size)) + (letter if tick else "")
    return _trimmed(tick)


def _trimmed(value: float) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text.replace("-", "−")


def text_width(text: str, size: float = FONT) -> float:
    """About how wide a text is drawn, in the same units as `size`; wide East Asian characters count fully."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else 0.6 for char in text)


def shortened(text: str, room: float) -> str:
    """The text, or as much of it as fits into `room` with an ellipsis."""
    if text_width(text) <= room:
        return text
    used, kept = 10.0, []
    for char in text:
        used += text_width(char)
        if used > room:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def axis_heading(figure: Figure) -> str:
    """What is measured and its unit, without saying "bits per byte, bits/byte"."""
    if not figure.unit or figure.unit.replace("/", " per ").casefold() in figure.y.replace("/", " per ").casefold():
        return figure.y
    return f"{figure.y} ({figure.unit})"


def x_axis(ax: Axis, ticks: list[float], labels: list[str], *, bottom: float, width: float) -> list[str]:
    """Ticks below the plane; a label that would run into its neighbour is left out, its tick stays."""
    body, reach = [], -math.inf
    for tick, label in zip(ticks, labels, strict=True):
        label = shortened(label, 110)
        half = text_width(label) / 2
        place = min(max(ax(tick), half), width - half)
        body.append(rule((ax(tick), bottom), (ax(tick), bottom + 4), strong=True))
        if place - half > reach + 6:
            body.append(text_at(place, bottom + 18, label, anchor="middle"))
            reach = place + half
    return body


def legend(labels: list[str], *, width: float, y: float, kind: str) -> tuple[list[str], float]:
    """Names with their marks, in as many lines as needed; returns the place below them."""
    body, x = [], 0.0
    for i, label in enumerate(labels):
        label = shortened(label, width - 30)
        size = 22 + text_width(label) + 14
        if x and x + size - 14 > width:
            x, y = 0.0, y + 19
        if kind in ("bar", "histogram"):
            body.append(f'<rect x="{x:.1f}" y="{y - 5:.1f}" width="14" height="10" style="fill:{colour_of(i)}"/>')
        elif kind == "line":
            dash = f'stroke-dasharray="{DASHES[i % 8]}" ' if DASHES[i % 8] else ""
            body.append(f'<path d="M{x:.1f} {y:.1f}h16" {dash}style="stroke:{colour_of(i)};stroke-width:2.5"/>')
        else:
            body.append(f'<path d="M{x:.1f} {y:.1f}h16" style="stroke:{colour_of(i)};stroke-width:2"/>')
            body.append(marker(i, x + 8, y, size=4.5))
        body.append(text_at(x + 21, y + 4, label))
        x += size
    return body, y + 22


def marker(i: int, x: float, y: float, *, size: float = 3.5) -> str:
    """A dot whose shape goes round with the number of its series: circle, square, triangle, diamond."""
    style = f'style="fill:{colour_of(i)};stroke:var(--paper,#fff);stroke-width:1"'
    s = size
    match i % 4:
        case 0:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{s}" {style}/>'
        case 1:
            return f'<rect x="{x - s:.1f}" y="{y - s:.1f}" width="{2 * s}" height="{2 * s}" {style}/>'
        case 2:
            return f'<path d="M{x:.1f} {y - s - 1:.1f}l{s + 1} {2 * s}h{-2 * s - 2}z" {style}/>'
        case _:
            return f'<path d="M{x:.1f} {y - s - 1:.1f}l{s + 1} {s + 1}l{-s - 1} {s + 1}l{-s - 1} {-s - 1}z" {style}/>'


def whisker(start: tuple[float, float], end: tuple[float, float]) -> str:
    """The line of an interval over a bar."""
    return f'<path d="{_line(start, end)}" style="stroke:var(--ink,#1b1e24);stroke-width:1.5"/>'


def rule(start: tuple[float, float], end: tuple[float, float], *, strong: bool = False) -> str:
    """A hairline: of the grid, or strong for ticks and the zero line."""
    colour = "var(--muted,#596070)" if strong else "var(--rule,#e4e2dc)"
    return f'<path d="{_line(start, end)}" style="stroke:{colour};stroke-width:1"/>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"


def text_at(x: float, y: float, text: str, *, anchor: str = "start", muted: bool = False, halo: bool = False) -> str:
    """Escaped text; a halo of paper keeps it readable over lines."""
    fill = "var(--muted,#596070)" if muted else "var(--ink,#1b1e24)"
    extra = ";stroke:var(--paper,#fff);stroke-width:4;stroke-linejoin:round;paint-order:stroke" if halo else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{fill}{extra}">{safe(text)}</text>'


def colour_of(i: int) -> str:
    """The colour of series number i."""
    return f"var(--c{i % 8 + 1},{PALETTE[i % 8]})"


def safe(text: str) -> str:
    """Untrusted text for inside an element."""
    return escape(visible(text), quote=False)
