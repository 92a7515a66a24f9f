"""How a measured value carries its uncertainty: `Interval`, bootstrap over documents, shares of trials.

`ratio_interval` is the estimator behind bits per byte and bytes per token; `ratio_change_interval` is the one to quote
for "did it get better" on the same documents.

Paper: What Teachers Should Know About the Bootstrap (arXiv 1411.5279).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

# Axes: D documents, R resamples, P ratios measured on the same documents.

_DRAWS_AT_ONCE = 1_000_000
"""Resampled indices held in memory at one time (int64, so 8 MB)."""


@dataclass(frozen=True)
class Interval:
    """A measured value with its confidence interval.

    Attributes:
        value: the estimate, on all the data.
        low: lower end; NaN when it cannot be known (fewer than two documents).
        high: upper end; NaN when it cannot be known.
        n: how many independent things (documents, trials) it rests on.
        unit: what it is measured in, such as "bits/byte"; "" for a bare number.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = ""

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{self.value:.4g}{unit} (no interval, n={self.n})"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{unit}"

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two intervals share a point; True when either is unknown, since nothing was told apart."""
        apart = self.high < other.low or other.high < self.low
        return not apart


def bootstrap_interval(
    values: ArrayLike | tuple[ArrayLike, ArrayLike],
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int | np.random.Generator = 0,
    unit: str = "",
) -> Interval:
    """Confidence interval of a mean, or of a ratio of sums, by resampling documents.

    Args:
        values: (D,) one value a document, for its mean; or a tuple (numerators, denominators), each (D,), for
            sum(numerators) / sum(denominators).
        n: resamples.
        level: coverage asked for, inside (0, 1).
        seed: a number, or a generator to draw from.
        unit: carried into the result.

    Returns:
        Interval; its ends are NaN for fewer than two documents, because nothing is known about the spread.

    Raises:
        ValueError: if there is no document, a value is not finite, lengths differ, or the denominators sum to 0.

    Percentiles at levels widened for small samples ("expanded percentile"). On ratios of document sums it covers as
    asked from some ten documents on; with three it covers about three times in four, so read such an interval as
    "at least this wide". BCa and bootstrap-t were measured too and did no better on these ratios.

    Paper: What Teachers Should Know About the Bootstrap (arXiv 1411.5279), section 3.2.
    """
    if isinstance(values, tuple):
        numerators, denominators = values
        return ratio_interval(numerators, denominators, seed=seed, n_resamples=n, level=level, unit=unit)
    values = np.asarray(values, dtype=np.float64)
    return ratio_interval(values, np.ones_like(values), seed=seed, n_resamples=n, level=level, unit=unit)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int | np.random.Generator = 0,
    n_resamples: int = 1000,
    level: float = 0.95,
    unit: str = "",
) -> Interval:
    """sum(numerators) / sum(denominators) with a bootstrap interval over documents.

    This is the estimator of bits per byte (bits and bytes of each document) and of bytes per token.

    Args:
        numerators: (D,), one per document.
        denominators: (D,), one per document; non-negative with a positive sum.
        seed, n_resamples, level, unit: as for `bootstrap_interval`.

    Raises:
        ValueError: as for `bootstrap_interval`.
    """
    numerators, denominators = _checked_pair(numerators, denominators)
    _check_level(n_resamples, level)
    draws_R = _resampled_ratios(np.stack([numerators, denominators]), n_resamples, np.random.default_rng(seed))
    value = float(np.sum(numerators) / np.sum(denominators))
    low, high = _ends(value, draws_R[0], len(numerators), level)
    return Interval(value, low, high, len(numerators), unit)


def ratio_change_interval(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    *,
    seed: int | np.random.Generator = 0,
    n_resamples: int = 1000,
    level: float = 0.95,
    unit: str = "",
) -> Interval:
    """The change of a ratio of sums, after minus before, measured on the same documents (paired resampling).

    Two intervals that overlap may still hide a clear change, because both move with the choice of documents; this is
    the interval to quote for "did it get better".

    Args:
        before: (numerators, denominators), each (D,).
        after: the same documents in the same order.
        seed, n_resamples, level, unit: as for `bootstrap_interval`.

    Raises:
        ValueError: as for `bootstrap_interval`, and if the two sides have different numbers of documents.
    """
    first, second = _checked_pair(*before), _checked_pair(*after)
    if len(first[0]) != len(second[0]):
        raise ValueError(
            f"{len(first[0])} documents before and {len(second[0])} after; "
            "a paired change needs the same documents in the same order. Score both models on one list."
        )
    _check_level(n_resamples, level)
    draws_2R = _resampled_ratios(np.stack([*first, *second]), n_resamples, np.random.default_rng(seed))
    value = float(np.sum(second[0]) / np.sum(second[1]) - np.sum(first[0]) / np.sum(first[1]))
    low, high = _ends(value, draws_2R[1] - draws_2R[0], len(first[0]), level)
    return Interval(value, low, high, len(first[0]), unit)


def wilson_interval(successes: int, n: int, *, level: float = 0.95, unit: str = "") -> Interval:
    """Confidence interval of a share of independent trials (Wilson 1927): never outside [0, 1], sound at 0 and n.

    Raises:
        ValueError: unless 0 <= successes <= n, n >= 1 and 0 < level < 1.
    """
    if not (n >= 1 and 0 <= successes <= n and 0 < level < 1):
        raise ValueError(
            f"successes={successes} of n={n} at level={level}; need 0 <= successes <= n, n >= 1, level < 1."
        )
    z = _normal_quantile((1 + level) / 2)
    p, zz = successes / n, z * z
    middle = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    # At the ends the formula is exact in algebra but not in floats.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Interval(p, low, high, n, unit)


def _checked_pair(numerators: ArrayLike, denominators: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    numerators = np.asarray(numerators, dtype=np.float64)
    denominators = np.asarray(denominators, dtype=np.float64)
    if numerators.ndim != 1 or numerators.shape != denominators.shape or len(numerators) == 0:
        raise ValueError(
            f"numerators of shape {numerators.shape} and denominators of shape {denominators.shape}; "
            "need two equally long lists with at least one document."
        )
    if not (np.all(np.isfinite(numerators)) and np.all(np.isfinite(denominators))):
        bad = int(np.flatnonzero(~np.isfinite(numerators) | ~np.isfinite(denominators))[0])
        raise ValueError(f"document {bad} has a value that is not finite; drop it, or find out why it was scored so.")
    if np.any(denominators < 0) or not np.sum(denominators) > 0:
        raise ValueError("denominators are negative or sum to 0; need non-negative sizes with something in them.")
    return numerators, denominators


def _check_level(n_resamples: int, level: float) -> None:
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples={n_resamples}, level={level}; need at least 1 resample and 0 < level < 1.")


def _resampled_ratios(columns: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Ratios of the row pairs (0/1, 2/3, ...) of `columns` (2P, D) over shared resamples: (P, R)."""
    n_docs = columns.shape[1]
    step = max(1, _DRAWS_AT_ONCE // n_docs)
    parts = []
    for start in range(0, n_resamples, step):
        rows = rng.integers(n_docs, size=(min(step, n_resamples - start), n_docs))
        sums = np.stack([column[rows].sum(axis=1) for column in columns])
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(sums[0::2] / sums[1::2])
    return np.concatenate(parts, axis=1)


def _ends(value: float, draws_R: np.ndarray, n_docs: int, level: float) -> tuple[float, float]:
    from scipy.special import ndtr, stdtrit

    # A resample of only empty documents has no ratio and cannot vote.
    draws_R = draws_R[np.isfinite(draws_R)]
    if n_docs < 2 or len(draws_R) == 0:
        return math.nan, math.nan
    # The plain percentile interval is too narrow by sqrt((n-1)/n) and ignores the t tails.
    tail = ndtr(stdtrit(n_docs - 1, (1 - level) / 2) * math.sqrt(n_docs / (n_docs - 1)))
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    # A few resamples may all miss the estimate; it always belongs to its own interval.
    return float(min(low, value)), float(max(high, value))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
