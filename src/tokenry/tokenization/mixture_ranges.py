"""The ends of each share among all mixtures that explain the merges nearly as well as the best one.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import numpy as np

from tokenry.core.runs import Progress
from tokenry.tokenization.mixture_cuts import Search
from tokenry.tokenization.mixture_programme import NEGLIGIBLE, MixtureFit, MixtureProblem, quiet_solver

# Axes: C categories.

_SAME = 5e-4
"""An end is found when a mixture that is allowed has a share this near to it."""
_TRIES = 8
"""Planes on the way from a corner to the border, at most; Newton's steps on a line are few."""


def narrowed_range(
    problem: MixtureProblem, fit: MixtureFit, *, ceiling: float, tolerance: float, max_rounds: int
) -> np.ndarray:
    """Move every end inwards until the shares there are within the ceiling: float64 (C, 2).

    Args:
        problem: the problem.
        fit: its best shares; its matchings are the first planes.
        ceiling: largest objective allowed.
        tolerance: by how much of the ceiling an end may be over it.
        max_rounds: corners looked at for each end, at most; an end that needs more stays further out.
    """
    search = Search(problem, tolerance, fit)
    corners = _Corners(search, ceiling)
    ends = np.empty((problem.n_categories, 2))
    with Progress("ranges of the shares", total=ends.size, unit="ends") as progress:
        for category in range(problem.n_categories):
            for side, sign in enumerate((1.0, -1.0)):
                costs = np.zeros(problem.n_categories)
                costs[category] = sign
                ends[category, side] = _end(search, corners, costs, (ceiling, tolerance, max_rounds)) * sign
                progress.add(1)
        inside = fit.pairs_share  # known to be allowed, whatever the solver's rounding says
        return np.stack([np.minimum(ends[:, 0], inside), np.maximum(ends[:, 1], inside)], 1)


def _end(search: Search, corners: "_Corners", costs_C: np.ndarray, how: tuple[float, float, int]) -> float:
    """The least cost within the ceiling, from below.

    Planes are laid where the line from the best shares to the corner leaves what is allowed: there they touch it, while
    a plane at the corner itself, far outside, cuts little away. (Veinott 1967, the supporting hyperplane method.)
    """
    ceiling, tolerance, max_rounds = how
    cost, best = -1.0, search.shares
    for _ in range(max_rounds):
        found = corners.least(costs_C)
        if found is None:  # the planes' least value is at the ceiling, to the solver's rounding: the best alone
            return float(costs_C @ best)
        cost, corner = found
        point = corner
        for _ in range(_TRIES):
            over = search.cut_at(point, within=max(tolerance * ceiling, 0.2 * NEGLIGIBLE)) - ceiling
            if over <= tolerance * ceiling:
                break
            plane = search.planes.cuts_MC[-1]
            fall = float(plane @ (point - best))
            if fall <= over:  # the plane is over the ceiling at the best shares too, to rounding
                point = best
                break
            point = best + (1 - over / fall) * (point - best)
        if float(costs_C @ (point - corner)) <= _SAME:
            break
    return cost


class _Corners:
    """The least cost under the planes so far: one programme that keeps its basis while planes are added."""

    def __init__(self, search: Search, ceiling: float) -> None:
        import highspy

        self._search, self._ceiling, self._n_rows = search, ceiling, 0
        self._highs, n = quiet_solver(), search.problem.n_categories
        self._highs.addCols(n, np.zeros(n), np.zeros(n), np.ones(n), 0, np.zeros(n, np.int32),
                            np.zeros(0, np.int32), np.zeros(0))  # fmt: skip
        self._highs.addRows(
            1, np.ones(1), np.ones(1), n, np.zeros(1, np.int32), np.arange(n, dtype=np.int32), np.ones(n)
        )
        self._optimal = highspy.HighsModelStatus.kOptimal

    def least(self, costs_C: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The least cost and its shares; None where no shares lie under all planes."""
        n = len(costs_C)
        self._grow()
        self._highs.changeColsCost(n, np.arange(n, dtype=np.int32), costs_C)
        self._highs.run()
        if self._highs.getModelStatus() != self._optimal:
            self._highs.clearSolver()  # a basis that went numerically bad: once more from nothing
            self._highs.run()
        if self._highs.getModelStatus() != self._optimal:
            return None
        shares = np.maximum(np.array(self._highs.getSolution().col_value)[:n], 0.0)
        return float(self._highs.getInfo().objective_function_value), shares / shares.sum()

    def _grow(self) -> None:
        """Add the planes laid since the last call, each scaled to a largest weight of 1."""
        new = self._search.planes.cuts_MC[self._n_rows :]
        self._n_rows += len(new)
        if len(new):
            scale = np.maximum(np.abs(new).max(1), 1e-300)
            rows = new / scale[:, None]
            k, n = rows.shape
            self._highs.addRows(k, np.full(k, -np.inf), self._ceiling / scale, rows.size,
                                np.arange(0, rows.size, n, dtype=np.int32),
                                np.tile(np.arange(n, dtype=np.int32), k), rows.ravel())  # fmt: skip
