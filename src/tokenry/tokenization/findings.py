"""What a lens of an audit returns, and the ratios with intervals it is made of."""

from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.intervals import Interval, ratio_interval
from tokenry.core.report import FactValue, Figure

# Axes: D documents.

_MOST_GROUPS = 5_000


@dataclass
class Findings:
    """What a lens adds to the report: facts, tables (column name -> values), figures, warnings and notes."""

    facts: dict[str, FactValue] = field(default_factory=dict)
    tables: dict[str, dict[str, list]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def grouped(*columns_D: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Columns over documents, summed over random groups of them when there are more than 5,000.

    Resampling groups gives the same interval as resampling documents, for a fraction of the work.
    """
    n = len(columns_D[0])
    if n <= _MOST_GROUPS:
        return list(columns_D)
    group_D = np.random.default_rng(seed).permutation(n) % _MOST_GROUPS
    return [np.bincount(group_D, weights=column_D) for column_D in columns_D]


def ratio(numerators_D: np.ndarray, denominators_D: np.ndarray, *, seed: int = 0, unit: str = "") -> Interval | None:
    """Ratio of sums with its interval over documents; None where the denominators sum to 0."""
    if not denominators_D.sum():
        return None
    interval = ratio_interval(*grouped(numerators_D, denominators_D, seed=seed), seed=seed, unit=unit)
    return replace(interval, n=len(denominators_D))


def saved_share(after_D: np.ndarray, before_D: np.ndarray, *, seed: int = 0) -> Interval:
    """1 - after / before, below 0 where there is more after; paired over documents."""
    left = ratio_interval(after_D, before_D, seed=seed)
    return Interval(1 - left.value, 1 - left.high, 1 - left.low, left.n)


def share(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return float(part / whole) if whole else None


def rows_as_columns(rows: list[dict]) -> dict[str, list]:
    """Rows with the same keys as a table of columns; {} without a row."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
