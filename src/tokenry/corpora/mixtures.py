"""How much of each source to take: by size, by temperature, evenly with a bound on repeats, or as told.

Papers: UniMax: Fairer and more Effective Language Sampling for Large-Scale Multilingual Pretraining (arXiv 2304.09151);
Scaling Data-Constrained Language Models (arXiv 2305.16264) for what repeated text is worth.
"""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["budgets_within_epochs", "effective_tokens", "normalised", "temperature_weights", "unimax"]

# Axes: S sources.


def normalised(weights: Mapping[str, float], sources: Sequence[str]) -> np.ndarray:
    """Weights of the sources as shares that sum to 1.

    Raises:
        ValueError: a weight for no source, below 0 or not finite, or all 0.
    """
    from tokenry.core.choosing import suggest

    for name, weight in weights.items():
        if name not in sources:
            raise ValueError(f"a weight for {name!r}, which is no source.{suggest(name, sources)}")
        if not np.isfinite(weight) or weight < 0:
            raise ValueError(f"the weight of {name!r} is {weight}; need a number of 0 or more.")
    shares_S = np.array([weights.get(name, 0.0) for name in sources], np.float64)
    if shares_S.sum() <= 0:
        raise ValueError("no weight is above 0; need one for at least one source.")
    return shares_S / shares_S.sum()


def temperature_weights(sizes_S: np.ndarray, exponent: float) -> np.ndarray:
    """Shares proportional to size ** exponent: 1 follows the sizes, 0 takes all alike.

    Args:
        sizes_S: not negative; a source of size 0 gets nothing.
        exponent: 1 / T of the usual temperature T; 0.3 is common for languages.
    """
    sizes_S = np.asarray(sizes_S, np.float64)
    if (sizes_S < 0).any() or sizes_S.sum() <= 0:
        raise ValueError(f"sizes {sizes_S.tolist()}; need numbers of 0 or more, and one above 0.")
    powers_S = np.where(sizes_S > 0, np.power(np.maximum(sizes_S, 1e-300), exponent), 0.0)
    return powers_S / powers_S.sum()


def unimax(sizes_S: np.ndarray, budget: float, *, epochs: float = 4.0) -> np.ndarray:
    """Share a budget as evenly as a bound on repeats allows; the smallest sources first.

    Args:
        sizes_S: how much each source holds.
        budget: to share, in the same unit.
        epochs: how often a source may be gone through at most.

    Returns:
        budgets_S: float64; they sum to `budget`, or to less when all sources are at their bound.

    Paper: UniMax (arXiv 2304.09151), Algorithm 1.
    """
    sizes_S = np.asarray(sizes_S, np.float64)
    if budget < 0 or epochs <= 0 or (sizes_S < 0).any():
        raise ValueError(f"budget={budget}, epochs={epochs}; need a budget of 0 or more, epochs above 0, sizes >= 0.")
    budgets_S = np.zeros(len(sizes_S))
    left = float(budget)
    order = np.argsort(sizes_S, kind="stable")
    for place, source in enumerate(order):
        budgets_S[source] = min(left / (len(order) - place), epochs * sizes_S[source])
        left -= budgets_S[source]
    return budgets_S


def budgets_within_epochs(weights_S: np.ndarray, sizes_S: np.ndarray, budget: float, *, epochs: float) -> np.ndarray:
    """Share a budget by weights, but go through no source more often than `epochs`; what is over goes to the others.

    Returns:
        budgets_S: they sum to `budget`, or to less when every weighted source is at its bound.
    """
    weights_S, sizes_S = np.asarray(weights_S, np.float64), np.asarray(sizes_S, np.float64)
    bound_S = epochs * sizes_S
    budgets_S = np.zeros(len(weights_S))
    free_S = weights_S > 0
    left = float(budget)
    while free_S.any() and left > 1e-9 * budget:
        wanted_S = np.where(free_S, left * weights_S / weights_S[free_S].sum(), 0.0)
        full_S = free_S & (budgets_S + wanted_S >= bound_S)
        if not full_S.any():
            return budgets_S + wanted_S
        left -= float((bound_S - budgets_S)[full_S].sum())
        budgets_S[full_S] = bound_S[full_S]
        free_S &= ~full_S
    return budgets_S


def effective_tokens(unique: float, epochs: float, *, half_life: float = 15.4) -> float:
    """What `epochs` passes over `unique` tokens are worth in unique ones: U (1 + R* (1 - exp(-(epochs - 1) / R*))).

    Args:
        unique: different tokens, U.
        epochs: passes; below 1 counts as that share.
        half_life: R* of the paper's fit (15.4).

    Paper: Scaling Data-Constrained Language Models (arXiv 2305.16264), section 3.
    """
    if epochs <= 1:
        return unique * max(0.0, epochs)
    return unique * (1 + half_life * (1 - float(np.exp(-(epochs - 1) / half_life))))
