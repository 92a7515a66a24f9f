"""What step 0 is worth: the order of the methods before training beside the one after it, and which pairs turn round.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); the comparison is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tokenry.core.intervals import Interval
from tokenry.core.numerics import kendall_tau
from tokenry.models.scoring import Scores

RESAMPLES = 500


@dataclass(frozen=True)
class Pairs:
    """Pairs of methods by what their order at step 0 is worth."""

    total: int
    told_apart: int
    """by the paired interval after training."""
    kept: int
    """told apart at both times, in the same order."""
    reversed: int
    """told apart at both times, in opposite orders."""


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b; None for fewer than two methods or where all are tied."""
    tau = float(kendall_tau(first, second)) if len(first) > 1 else float("nan")
    return None if tau != tau else tau


def order_correlation(before: Sequence[Scores], after: Sequence[Scores], *, seed: int = 0) -> Interval | None:
    """Kendall's tau-b of the methods' bits per byte before and after, with an interval over resampled documents.

    Args:
        before, after: one entry a method, in the same order, on the same documents.

    Returns:
        None for fewer than two methods or where all are tied. Noise alone pulls the tau of a resample towards 0, so
        the interval is no narrower than it should be.
    """
    bits = [[scores.nats.sum() / scores.n_bytes.sum() for scores in side] for side in (before, after)]
    value = rank_correlation(*bits)
    if value is None:
        return None
    n = len(before[0].nats)
    if n < 2:
        return Interval(value, math.nan, math.nan, n)
    rows_RD = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    sizes_R = np.maximum(before[0].n_bytes[rows_RD].sum(axis=1), 1)
    sides = [
        np.stack([scores.nats[rows_RD].sum(axis=1) / sizes_R for scores in side], axis=1) for side in (before, after)
    ]
    draws_R = kendall_tau(*sides)
    low, high = np.quantile(draws_R[np.isfinite(draws_R)], [0.025, 0.975])
    return Interval(value, float(min(low, value)), float(max(high, value)), n)


def turned_pairs(before: Sequence[Scores], after: Sequence[Scores]) -> Pairs:
    """Count the pairs of methods that documents tell apart, and those of them that stood the other way at step 0.

    Args:
        before, after: one entry a method, in the same order, on the same documents.
    """
    told = kept = turned = 0
    numbers = list(combinations(range(len(after)), 2))
    for a, b in numbers:
        later = _sign(after[a].change_from(after[b]))
        if not later:
            continue
        told += 1
        first = _sign(before[a].change_from(before[b]))
        kept += first == later
        turned += first == -later
    return Pairs(len(numbers), told, kept, turned)


def _sign(change: Interval) -> int:
    return int(change.low > 0) - int(change.high < 0)


def ranks(values: Sequence[float]) -> list[int]:
    """Place of each value, 1 for the least; ties by order."""
    order = np.argsort(values, kind="stable")
    places = np.empty(len(values), np.int64)
    places[order] = np.arange(1, len(values) + 1)
    return places.tolist()
