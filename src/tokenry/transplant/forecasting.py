"""How much more text until a healed model is as good as its original: a forecast from its curve, or honestly none."""

import math
from dataclasses import dataclass

import numpy as np

LEAST_POINTS, LEAST_FIT, FARTHEST = 4, 0.9, 100.0
"""A forecast needs so many points, such a share of variance explained, and may reach this many times what was read."""


@dataclass(frozen=True)
class Forecast:
    """Bytes until parity, or why nothing is foretold."""

    value: float | None
    """bytes to read in all; None: no forecast."""
    low: float | None
    high: float | None
    """ends of the 95 % interval; `high` is None where the curve may never get there."""
    reason: str

    def __str__(self) -> str:
        if self.value is None:
            return f"no forecast: {self.reason}"
        if self.low is None:
            return f"{self.value:.3g} bytes ({self.reason})"
        high = "no end" if self.high is None else f"{self.high:.3g}"
        return f"{self.value:.3g} bytes [{self.low:.3g}, {high}] ({self.reason})"


def forecast(amounts: list[float], values: list[float], *, target: float) -> Forecast:
    """When a falling curve meets `target`, by a line through the values over the logarithm of the amounts.

    The interval is Fieller's: every amount at which the line, within its own uncertainty, may be at the target. Points
    of one run depend on each other and a falling rate bends the curve, so it is rough.

    Args:
        amounts: bytes (or tokens) read, rising; points at 0 are left out.
        values: bits per byte.
        target: bits per byte of the original on the same text.
    """
    kept = [(a, v) for a, v in zip(amounts, values, strict=True) if a > 0]
    reached = next((a for a, v in kept if v <= target), None)
    if reached is not None:
        return Forecast(float(reached), None, None, "reached")
    if len(kept) < LEAST_POINTS:
        return Forecast(None, None, None, f"{len(kept)} points of the curve, need {LEAST_POINTS}")
    x, y = np.log([a for a, _ in kept]), np.array([v for _, v in kept])
    n, centre = len(x), x.mean()
    spread = float(((x - centre) ** 2).sum())
    slope = float(((x - centre) * (y - y.mean())).sum()) / spread
    residual = y - y.mean() - slope * (x - centre)
    total = float(((y - y.mean()) ** 2).sum())
    fit = 1 - float((residual**2).sum()) / total if total > 0 else 0.0
    if slope >= 0 or fit < LEAST_FIT:
        what = "the curve does not fall" if slope >= 0 else f"a line explains only {fit:.0%} of the curve"
        return Forecast(None, None, None, what)
    from scipy.stats import t

    noise = float((residual**2).sum()) / (n - 2)
    square = float(t.ppf(0.975, n - 2)) ** 2
    ends = _fieller(slope, target - y.mean(), [square * noise / n, square * noise / spread])
    where = centre + (target - y.mean()) / slope
    last = float(kept[-1][0])
    if where > math.log(FARTHEST * last):
        return Forecast(None, None, None, f"beyond {FARTHEST:.0f} times the text that was read")
    if ends is None:
        return Forecast(None, None, None, "the slope cannot be told from none")
    low, high = (centre + end for end in ends)
    high_end = None if high > 700 else math.exp(high)
    return Forecast(math.exp(where), max(last, math.exp(low)), high_end, f"line fits {fit:.0%}")


def _fieller(slope: float, gap: float, errors: list[float]) -> tuple[float, float] | None:
    """Both roots d of (slope d - gap)^2 = errors[0] + errors[1] d^2, or None where the set has no ends."""
    a = slope**2 - errors[1]
    if a <= 0:
        return None
    half, c = slope * gap, gap**2 - errors[0]
    root = math.sqrt(max(0.0, half**2 - a * c))
    return (half - root) / a, (half + root) / a
