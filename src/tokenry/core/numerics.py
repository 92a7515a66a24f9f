"""Small numerics every room shares: stable logarithms, entropies, sampling without replacement, ranks.

Everything is a pure function over numpy arrays. Logarithms are natural unless a `base` is named. The intervals of
`core/intervals.py` can be imported from here too.

Papers: Stochastic Beams and Where to Find Them (arXiv 1903.06059) for the Gumbel top-k; Tokenization and the Noiseless
Channel (arXiv 2306.16842) for the Rényi entropy.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from tokenry.core.intervals import (
    Interval,
    bootstrap_interval,
    ratio_change_interval,
    ratio_interval,
    wilson_interval,
)

__all__ = [
    "Interval",
    "bootstrap_interval",
    "entropy",
    "gumbel_top_k",
    "isotonic",
    "js_divergence",
    "kendall_tau",
    "log1mexp",
    "logsumexp",
    "ratio_change_interval",
    "ratio_interval",
    "renyi_entropy",
    "softmax",
    "spearman",
    "wilson_interval",
]

# Axes: N items, K picks; `...` any leading axes.


def logsumexp(values: ArrayLike, *, axis: int | None = None) -> np.ndarray:
    """log(sum(exp(values))) without overflow; -inf where every value is -inf, +inf where one is +inf.

    Args:
        values: shape (..., N), any real dtype; worked in float64.
        axis: the axis to sum over; None sums everything.

    Returns:
        float64 array with `axis` removed (0-d for None).
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        return np.sum(values, axis=axis) - np.inf
    top = np.max(values, axis=axis, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        total = np.log(np.sum(np.exp(values - shift), axis=axis, keepdims=True)) + shift
    return np.squeeze(total, axis=axis) if axis is not None else total.reshape(())


def log1mexp(log_p: ArrayLike) -> np.ndarray:
    """log(1 - exp(log_p)): the log-probability of the complement, exact near both ends.

    Args:
        log_p: natural log-probabilities, <= 0, any shape.

    Raises:
        ValueError: if a value is above 0.
    """
    log_p = np.asarray(log_p, dtype=np.float64)
    if np.any(log_p > 0):
        raise ValueError(
            f"log_p has {np.max(log_p)} in it; a log-probability is at most 0. "
            "Normalise first: log_p - logsumexp(log_p, axis=-1)."
        )
    # Two forms, each accurate on its side of log(1/2) (Maechler, "Accurately computing log(1 - exp(-|a|))").
    with np.errstate(divide="ignore"):
        near_one = np.log(-np.expm1(np.maximum(log_p, -math.log(2))))
        near_zero = np.log1p(-np.exp(np.minimum(log_p, -math.log(2))))
    return np.where(log_p > -math.log(2), near_one, near_zero)


def softmax(logits: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """Probabilities proportional to exp(logits) along `axis`, float64; a row of only -inf gives NaN."""
    logits = np.asarray(logits, dtype=np.float64)
    return np.exp(logits - np.expand_dims(logsumexp(logits, axis=axis), axis))


def entropy(weights: ArrayLike, *, axis: int = -1, base: float = math.e) -> np.ndarray:
    """Shannon entropy of distributions along `axis`.

    Args:
        weights: probabilities or counts, non-negative, shape (..., N); they are normalised here.
        axis: the axis that holds one distribution.
        base: e gives nats, 2 gives bits.

    Returns:
        float64 with `axis` removed; NaN where the weights sum to 0.

    Raises:
        ValueError: if a weight is negative or not finite.
    """
    p = _normalised(weights, axis)
    return -np.sum(_xlogx(p), axis=axis) / math.log(base)


def renyi_entropy(weights: ArrayLike, alpha: float, *, axis: int = -1, base: float = math.e) -> np.ndarray:
    """Rényi entropy of order `alpha`: log(sum p^alpha) / (1 - alpha).

    Its limits are met exactly: alpha=0 the log of the support size, 1 Shannon, inf the min-entropy.

    Args:
        weights: probabilities or counts, as for `entropy`.
        alpha: order, >= 0 (may be inf). 2.5 is the usual one for judging tokenizers.
        axis: the axis that holds one distribution.
        base: e gives nats, 2 gives bits.

    Raises:
        ValueError: if alpha is negative or NaN, or a weight is negative or not finite.

    Paper: Tokenization and the Noiseless Channel (arXiv 2306.16842).
    """
    if not alpha >= 0:
        raise ValueError(f"alpha={alpha}; need an order >= 0. Use alpha=1 for Shannon entropy.")
    if alpha == 1:
        return entropy(weights, axis=axis, base=base)
    p = _normalised(weights, axis)
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    if math.isinf(alpha):
        return -np.max(log_p, axis=axis) / math.log(base)
    # 0 * -inf is NaN: a zero weight must stay outside the sum at every order, 0 included.
    powers = np.where(p > 0, alpha * np.where(p > 0, log_p, 0.0), -np.inf)
    result = logsumexp(powers, axis=axis) / (1 - alpha) / math.log(base)
    return np.where(np.isnan(np.sum(p, axis=axis)), np.nan, result)


def js_divergence(p: ArrayLike, q: ArrayLike, *, axis: int = -1, base: float = 2.0) -> np.ndarray:
    """Jensen-Shannon divergence between distributions: 0 when equal, log_base(2) when they share nothing.

    Args:
        p: probabilities or counts, shape (..., N), normalised here.
        q: the same shape, or broadcastable to it.
        axis: the axis that holds one distribution.
        base: 2 (the default) bounds it by 1 bit.

    Raises:
        ValueError: if a weight is negative or not finite.
    """
    p, q = _normalised(p, axis), _normalised(q, axis)
    middle = (p + q) / 2
    nats = np.sum((_xlogx(p) + _xlogx(q)) / 2 - _xlogx(middle), axis=axis)
    return np.maximum(nats, 0.0) / math.log(base)


def _normalised(weights: ArrayLike, axis: int) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    if np.any(weights < 0) or not np.all(np.isfinite(weights)):
        raise ValueError(
            "weights hold a negative or non-finite value; need probabilities or counts, finite and >= 0. "
            "For log-probabilities pass softmax(log_p)."
        )
    total = np.sum(weights, axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, weights, np.nan) / np.where(total > 0, total, 1.0)


def _xlogx(p: np.ndarray) -> np.ndarray:
    # A NaN (weights that sum to 0) must stay NaN, so only exact zeros are replaced.
    return p * np.log(np.where(p == 0, 1.0, p))


def gumbel_top_k(log_weights: ArrayLike, k: int, rng: np.random.Generator) -> np.ndarray:
    """Draw k items without replacement, each next one with probability proportional to its weight.

    Args:
        log_weights: unnormalised natural log-weights, shape (..., N); -inf is never drawn.
        k: items per row, 0 <= k <= the number of weights above -inf in every row.
        rng: the source of randomness.

    Returns:
        int64 indices, shape (..., K), in the order of drawing.

    Raises:
        ValueError: if a weight is NaN or +inf, or a row has fewer than k weights above -inf.

    Paper: Stochastic Beams and Where to Find Them (arXiv 1903.06059).
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    if np.any(np.isnan(log_weights) | (log_weights == np.inf)):
        raise ValueError("log_weights hold NaN or +inf; need finite numbers, or -inf for what may not be drawn.")
    if log_weights.ndim == 0 or k < 0:
        raise ValueError(f"got k={k} and {log_weights.ndim} axes; need k >= 0 and at least one axis of weights.")
    drawable = np.sum(log_weights > -np.inf, axis=-1)
    if np.any(drawable < k):
        raise ValueError(
            f"k={k} picks asked where only {int(np.min(drawable))} items have weight; lower k or drop that row."
        )
    keys = log_weights + rng.gumbel(size=log_weights.shape)
    n = keys.shape[-1]
    if k == 0:
        return np.zeros((*keys.shape[:-1], 0), dtype=np.int64)
    picks = np.argpartition(-keys, min(k, n) - 1, axis=-1)[..., :k] if k < n else np.argsort(-keys, axis=-1)
    order = np.argsort(-np.take_along_axis(keys, picks, axis=-1), axis=-1)
    return np.take_along_axis(picks, order, axis=-1).astype(np.int64)


def kendall_tau(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Kendall's tau-b between paired rankings: 1 same order, -1 opposite order, ties counted for neither.

    Args:
        x: shape (..., N).
        y: the same shape, or broadcastable to it.

    Returns:
        float64, shape (...); NaN where one side is all ties or N < 2. Memory O(N) a row, time O(N^2).

    Raises:
        ValueError: if the last axes differ or a value is NaN.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"rankings of shapes {x.shape} and {y.shape}; need the same items on the last axis.")
    if np.any(np.isnan(x)) or np.any(np.isnan(y)):
        raise ValueError("a ranking holds NaN, which has no place in an order; drop those items from both sides.")
    x, y = np.broadcast_arrays(x, y)
    agree, x_pairs, y_pairs = (np.zeros(x.shape[:-1]) for _ in range(3))
    for i in range(x.shape[-1] - 1):
        # Comparisons, not differences: inf - inf is NaN.
        dx = (x[..., i + 1 :] > x[..., i, None]).astype(np.int8) - (x[..., i + 1 :] < x[..., i, None])
        dy = (y[..., i + 1 :] > y[..., i, None]).astype(np.int8) - (y[..., i + 1 :] < y[..., i, None])
        agree += np.sum(dx * dy, axis=-1)
        x_pairs += np.sum(dx != 0, axis=-1)
        y_pairs += np.sum(dy != 0, axis=-1)
    norm = np.sqrt(x_pairs * y_pairs)
    return np.where(norm > 0, agree / np.where(norm > 0, norm, 1.0), np.nan)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Rank correlation, ties at their mean rank; pairs with a value that is not finite are left out.

    Args:
        x, y: shape (N,).

    Returns:
        -1..1; NaN where fewer than three pairs are left, or one side does not vary.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"shapes {x.shape} and {y.shape}; need two rows of one length.")
    good_N = np.isfinite(x) & np.isfinite(y)
    ranks = [_mean_ranks(side[good_N]) for side in (x, y)]
    if len(ranks[0]) < 3 or any(np.ptp(side) == 0 for side in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _mean_ranks(values_N: np.ndarray) -> np.ndarray:
    _, places_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places_N]


def isotonic(values: ArrayLike, *, weights: ArrayLike | None = None, increasing: bool = True) -> np.ndarray:
    """The monotone sequence nearest to `values` in weighted least squares (pool adjacent violators).

    Args:
        values: (N,), in the order of the predictor.
        weights: (N,), positive; None weighs all alike.
        increasing: False for a non-increasing fit.

    Returns:
        float64 (N,). Time O(N).

    Raises:
        ValueError: if shapes differ, a value is not finite, or a weight is not positive.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or weights.shape != values.shape or not np.all(np.isfinite(values)):
        raise ValueError(f"values {values.shape} and weights {weights.shape}; need two equal lists of finite numbers.")
    if not np.all(weights > 0) or not np.all(np.isfinite(weights)):
        raise ValueError("a weight is not positive; drop those points, they say nothing.")
    if not increasing:
        return -isotonic(-values, weights=weights)
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        length = 1
        while means and means[-1] >= value:
            mass = masses.pop()
            value = (means.pop() * mass + value * weight) / (mass + weight)
            weight += mass
            length += lengths.pop()
        means.append(value)
        masses.append(weight)
        lengths.append(length)
    return np.repeat(np.asarray(means, dtype=np.float64), np.asarray(lengths, dtype=np.int64))
