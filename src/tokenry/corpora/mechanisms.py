"""Turn a utility into a choice: best first, sampled, by quota, capped; always within a budget, always with a seed.

A selector is a utility (what a document is worth) and a mechanism (how that becomes keep or drop). The utilities are
elsewhere; these are the mechanisms, over plain arrays. Each gives `copies`: how often a document is kept, 0 for never.

Papers: A Survey on Data Selection for Language Models (arXiv 2402.16827); DataMan (arXiv 2502.19363) for budgets by
cell; Language Models are Few-Shot Learners (arXiv 2005.14165) for the noisy threshold.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tokenry.core.choosing import suggest

# Axes: N documents, C cells.

__all__ = ["CELL_BUDGETS", "best", "by_cell", "capped", "cell_budgets", "noisy_keep", "share_threshold", "softened"]

CELL_BUDGETS = ("proportional", "equal")


def best(utility_N: np.ndarray, size_N: np.ndarray, budget: float, *, seed: int = 0) -> np.ndarray:
    """Keep the documents of the highest utility until the budget is spent.

    The last one kept is the one that reaches the budget, so what is kept weighs at least `budget` (if there is enough)
    and less than `budget` plus that document. Documents of equal utility come in random order. Missing utility (NaN)
    is never kept.

    Args:
        utility_N: what each is worth.
        size_N: what each costs, in the unit of the budget; not negative.
        budget: how much may be kept.
        seed: of the order of ties.

    Returns:
        copies_N: int64, 1 for kept and 0 for dropped.
    """
    utility_N, size_N = _checked(utility_N, size_N)
    if budget < 0:
        raise ValueError(f"a budget of {budget}; need 0 or more.")
    order_N = _order(utility_N, seed)
    order_N = order_N[~np.isnan(utility_N[order_N])]
    spent_N = np.cumsum(size_N[order_N], dtype=np.float64)
    n_kept = int(np.searchsorted(spent_N, budget, side="left")) + 1 if budget > 0 else 0
    copies_N = np.zeros(len(utility_N), np.int64)
    copies_N[order_N[:n_kept]] = 1
    return copies_N


def softened(utility_N: np.ndarray, temperature: float, *, seed: int = 0) -> np.ndarray:
    """Utility with Gumbel noise: `best` on it samples without replacement with p ~ exp(utility / temperature).

    Args:
        utility_N: log weights.
        temperature: above 0; small follows the utility, large forgets it.
        seed: of the noise.

    Paper: Stochastic Beams and Where to Find Them (arXiv 1903.06059), the Gumbel top-k trick.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; need a number above 0. For the best alone use no temperature.")
    uniform_N = np.random.default_rng(seed).random(len(utility_N))
    return np.asarray(utility_N, np.float64) / temperature - np.log(-np.log(np.maximum(uniform_N, 1e-300)))


def by_cell(
    utility_N: np.ndarray,
    size_N: np.ndarray,
    cell_N: np.ndarray,
    *,
    budgets_C: np.ndarray,
    repeat: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Keep the best documents of each cell within that cell's budget.

    Args:
        utility_N: what each is worth.
        size_N: what each costs.
        cell_N: the cell of each, 0..C-1; -1 for none, never kept.
        budgets_C: how much of each cell may be kept.
        repeat: where a cell has less than its budget, keep all of it several times, and the best once more, until the
            budget is reached. Otherwise such a cell stays below its budget.
        seed: of the order of ties.

    Returns:
        copies_N: int64, how often each is kept.
    """
    utility_N, size_N = _checked(utility_N, size_N)
    cell_N = np.asarray(cell_N, np.int64)
    copies_N = np.zeros(len(utility_N), np.int64)
    order_N = np.argsort(cell_N, kind="stable")
    starts = np.searchsorted(cell_N[order_N], np.arange(len(budgets_C) + 1))
    for cell, budget in enumerate(budgets_C):
        mine = order_N[starts[cell] : starts[cell + 1]]
        held = float(size_N[mine][~np.isnan(utility_N[mine])].sum())
        whole = 0
        if repeat and held > 0:
            whole = int(budget // held)
            copies_N[mine[~np.isnan(utility_N[mine])]] += whole
        copies_N[mine] += best(utility_N[mine], size_N[mine], budget - whole * held, seed=seed + cell)
    return copies_N


def cell_budgets(
    sizes_C: np.ndarray, budget: float, how: str | Mapping[str, float] | Sequence[float], *, names: Sequence[str] = ()
) -> np.ndarray:
    """Share a budget among cells.

    Args:
        sizes_C: how much there is in each.
        budget: to share.
        how: "proportional" to the sizes, "equal", or a weight for each cell (by name, or in order).
        names: of the cells, for weights by name.

    Raises:
        ValueError: an unknown way or name, a negative weight, or no weight above 0.
    """
    sizes_C = np.asarray(sizes_C, np.float64)
    if isinstance(how, str):
        if how not in CELL_BUDGETS:
            raise ValueError(f"no way {how!r} to share a budget.{suggest(how, CELL_BUDGETS)} Need {CELL_BUDGETS}.")
        weights_C = sizes_C if how == "proportional" else (sizes_C > 0).astype(np.float64)
    elif isinstance(how, Mapping):
        unknown = [name for name in how if name not in names]
        if unknown:
            raise ValueError(f"a weight for {unknown[0]!r}, which is no cell.{suggest(unknown[0], names)}")
        weights_C = np.array([how.get(name, 0.0) for name in names], np.float64)
    else:
        weights_C = np.asarray(how, np.float64)
    if len(weights_C) != len(sizes_C):
        raise ValueError(f"{len(weights_C)} weights for {len(sizes_C)} cells; need one for each.")
    if not np.isfinite(weights_C).all() or (weights_C < 0).any() or weights_C.sum() <= 0:
        raise ValueError(f"weights {weights_C.tolist()}; need numbers of 0 or more, and one above 0.")
    return budget * weights_C / weights_C.sum()


def capped(utility_N: np.ndarray, size_N: np.ndarray, cell_N: np.ndarray, *, cap: float, seed: int = 0) -> np.ndarray:
    """Keep at most `cap` of each cell (domain, skill, cluster), the best first."""
    cell_N = np.asarray(cell_N, np.int64)
    n_cells = int(cell_N.max(initial=-1)) + 1
    return by_cell(utility_N, size_N, cell_N, budgets_C=np.full(n_cells, float(cap)), seed=seed)


def noisy_keep(probability_N: np.ndarray, *, alpha: float = 9.0, seed: int = 0) -> np.ndarray:
    """Keep a document when a Pareto draw exceeds 1 - its probability of being good: P(keep) = (2 - p) ** -alpha.

    Args:
        probability_N: of being good, in 0..1; NaN is never kept.
        alpha: of the Pareto distribution; 9 in the paper.
        seed: of the draws.

    Returns:
        copies_N: int64, 0 or 1.
    """
    probability_N = np.asarray(probability_N, np.float64)
    known_N = ~np.isnan(probability_N)
    if (probability_N[known_N] < 0).any() or (probability_N[known_N] > 1).any():
        raise ValueError("probabilities outside 0..1; the noisy threshold needs a score that is a probability.")
    draws_N = np.random.default_rng(seed).pareto(alpha, len(probability_N))
    return (known_N & (draws_N > 1 - probability_N)).astype(np.int64)


def share_threshold(utility_N: np.ndarray, size_N: np.ndarray, share: float) -> float:
    """The utility above which (or at which) the given share of all there is lies: a threshold to use elsewhere.

    Args:
        utility_N: NaN counts as the lowest.
        size_N: what each weighs.
        share: of the whole weight, in (0, 1].
    """
    utility_N, size_N = _checked(utility_N, size_N)
    if not 0 < share <= 1:
        raise ValueError(f"a share of {share}; need a number above 0 and at most 1.")
    kept_N = best(utility_N, size_N, share * float(size_N.sum()))
    return float(utility_N[kept_N > 0].min()) if kept_N.any() else float("nan")


def _order(utility_N: np.ndarray, seed: int) -> np.ndarray:
    """Places by falling utility, ties in random order, NaN last."""
    shuffled_N = np.random.default_rng(seed).permutation(len(utility_N))
    return shuffled_N[np.argsort(-utility_N[shuffled_N], kind="stable")]


def _checked(utility_N: np.ndarray, size_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    utility_N, size_N = np.asarray(utility_N, np.float64), np.asarray(size_N, np.float64)
    if utility_N.shape != size_N.shape or utility_N.ndim != 1:
        raise ValueError(f"{utility_N.shape} utilities and {size_N.shape} sizes; need one of each for a document.")
    if (size_N < 0).any() or np.isnan(size_N).any():
        raise ValueError("a size below 0 or missing; need what each document costs.")
    return utility_N, size_N
