"""The ends of each share among all mixtures that explain the merges nearly as well as the best one.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import numpy as np

from tokenry.core.runs import Progress
from tokenry.tokenization.mixture_cuts import Search
from tokenry.tokenization.mixture_programme import NEGLIGIBLE, MixtureFit, MixtureProblem

# Axes: C categories.


def narrowed_range(
    problem: MixtureProblem, fit: MixtureFit, *, ceiling: float, tolerance: float, max_rounds: int
) -> np.ndarray:
    """Move every end inwards until the shares there are within the ceiling: float64 (C, 2).

    Args:
        problem: the problem.
        fit: its best shares; its matchings are the first planes.
        ceiling: largest objective allowed.
        tolerance: by how much of the ceiling an end may be over it.
        max_rounds: planes for each end, at most; an end that needs more stays further out.
    """
    search = Search(problem, tolerance, fit)
    ends = np.empty((problem.n_categories, 2))
    with Progress("ranges of the shares", total=ends.size, unit="ends") as progress:
        for category in range(problem.n_categories):
            for side, sign in enumerate((1.0, -1.0)):
                costs = np.zeros(problem.n_categories)
                costs[category] = sign
                ends[category, side] = _end(search, costs, (ceiling, tolerance, max_rounds)) * sign
                progress.add(1)
        inside = fit.pairs_share  # known to be allowed, whatever the solver's rounding says
        return np.stack([np.minimum(ends[:, 0], inside), np.maximum(ends[:, 1], inside)], 1)


def _end(search: Search, costs_C: np.ndarray, how: tuple[float, float, int]) -> float:
    """The least cost within the ceiling, from below."""
    ceiling, tolerance, max_rounds = how
    cost = -1.0
    for _ in range(max_rounds):
        try:
            cost, shares = search.planes.least(costs_C, ceiling=ceiling)
        except RuntimeError:  # the planes' least value is at the ceiling, to the solver's rounding: the best alone
            return float(costs_C @ search.shares)
        over = search.cut_at(shares, within=max(tolerance * ceiling, 0.2 * NEGLIGIBLE)) - ceiling
        if over <= tolerance * ceiling:
            break
    return cost
