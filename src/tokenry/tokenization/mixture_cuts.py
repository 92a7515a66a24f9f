"""Solve the mixture programme over the shares alone: each round matches steps and pairs, and cuts with the matching.

For fixed shares the least sum of slacks is the weight of a heaviest matching between steps and pairs, each weighing
what it is violated by. Those weights are linear in the shares, so a matching found at one point is a lower bound
everywhere: a plane over a few dozen shares, instead of tens of thousands of rows and slacks. The next point is the one
nearest to the best at which the planes leave room for a better value (the level method of Lemarechal, Nemirovskii and
Nesterov, 1995).

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from dataclasses import dataclass

import numpy as np

from tokenry.core.runs import Progress
from tokenry.tokenization.mixture_programme import (
    NEGLIGIBLE,
    MixtureFit,
    MixtureProblem,
    quiet_solver,
    relative_gap,
)

# Axes: T steps, C categories, P pairs, K edges (violated rows), M matchings.

_LEVEL = 0.4
"""Where between the bound and the best value the next point is asked to lie."""
_ENOUGH = 0.7
"""The search moves on when the violations not yet listed are at most this share of what it is uncertain by."""
_LAYERS = 5
"""Matchings of violations listed in a round: more rows a round cost little here, where a row is an edge."""
_FINEST = 1e-12
"""Least step of a price, as a part of the largest weight: a smaller one would be lost in rounding, and an auction would
never end."""
_COARSER, _FAR = 30, 1e6
"""Prices of a match are found coarsely first, in steps of so many times the least; in more stages where a least step is
less than so small a part of the largest weight."""
_FIRST_STEPS, _GROWTH, _COARSE = 1000, 5, 0.01
"""The first steps are fitted first, to this gap, then so many times more."""


@dataclass(frozen=True, eq=False)
class Match:
    """A matching at some shares, and slacks that are feasible for its edges."""

    cut_C: np.ndarray
    """float64 (C,): the value at any shares is this times them, at least."""
    value: float
    """Sum of the slacks; the matching weighs no less than this, less the tolerance."""
    slack_T: np.ndarray
    slack_P: np.ndarray
    edges: np.ndarray
    """int64, edges of the matching."""


class Edges:
    """Rows of the programme that were violated somewhere, as edges between steps and pairs."""

    def __init__(self, problem: MixtureProblem) -> None:
        self._problem = problem
        self.rows = np.zeros((0, 2), np.int32)
        self._weights_KC = np.zeros((0, problem.n_categories))
        self._prices = np.zeros(problem.n_pairs)
        self._lay_out()

    def add(self, steps: np.ndarray, pairs: np.ndarray) -> None:
        """Add edges that are not there yet (they are not looked for)."""
        if len(steps):
            self._weights_KC = np.concatenate([self._weights_KC, -self._problem.rows_of(steps, pairs)])
            self.rows = np.concatenate([self.rows, np.column_stack([steps, pairs]).astype(np.int32)])
            self._lay_out()

    def cut(self, edges: np.ndarray) -> np.ndarray:
        """float64 (C,), the plane of a matching; edges that are no evidence here weigh nothing."""
        return self._weights_KC[edges[self._fits[edges]]].sum(0)

    def match(self, shares_C: np.ndarray, *, tolerance: float) -> Match:
        """A matching at these shares that is at most `tolerance` (in pairs per million) lighter than the heaviest."""
        from tokenry.tokenization.mixture_kernels import auction, best_offers

        weights = np.where(self._fits, self._weights_KC @ shares_C, 0.0)[self._order]
        heaviest = np.zeros(self._problem.n_steps)
        np.maximum.at(heaviest, self._by_pair_steps, weights[self._by_pair[1]])
        bidders = np.flatnonzero(heaviest > 0)
        bidders = bidders[np.argsort(heaviest[bidders], kind="stable")]
        epsilon = max(tolerance / max(len(bidders), 1), _FINEST * heaviest.max(initial=0.0))
        steps = [epsilon, _COARSER * epsilon]
        while steps[-1] * _FAR < heaviest.max(initial=0.0):  # far from the values: prices would rise for ever
            steps.append(_COARSER * steps[-1])
        for step in reversed(steps):
            edge_of = auction(self._by_step, self._by_pair, weights, bidders, self._prices, step)
        slack_T = best_offers(*self._by_step, weights, self._prices)
        edges = self._order[edge_of[edge_of >= 0]]
        value = float(slack_T.sum() + self._prices.sum())
        return Match(self.cut(edges), value, slack_T, self._prices.copy(), edges)

    def _lay_out(self) -> None:
        steps, pairs = self.rows[:, 0].astype(np.int64), self.rows[:, 1].astype(np.int64)
        self._fits = self._problem.constrained[steps] & ~self._problem.barred[pairs]
        self._order = np.argsort(steps, kind="stable")
        steps, pairs = steps[self._order], pairs[self._order]
        self._by_step = np.searchsorted(steps, np.arange(self._problem.n_steps + 1)), pairs
        order = np.argsort(pairs, kind="stable")
        self._by_pair = np.searchsorted(pairs[order], np.arange(self._problem.n_pairs + 1)), order, steps[order]
        self._by_pair_steps = self._by_pair[2]


class Planes:
    """Lower bounds of the value, planes over the shares."""

    def __init__(self, n_categories: int) -> None:
        self.n = n_categories
        self.cuts_MC = np.zeros((0, n_categories))
        centred = np.eye(n_categories)[:, 1:] - 1 / n_categories
        self._basis = np.linalg.qr(centred)[0]  # of the directions in which shares keep their sum

    def add(self, cut_C: np.ndarray) -> None:
        self.cuts_MC = np.concatenate([self.cuts_MC, cut_C[None]])

    def least(self) -> tuple[float, np.ndarray]:
        """The least value of the planes' maximum, and its shares.

        Raises:
            RuntimeError: HiGHS finds no optimum.
        """
        import highspy

        highs, n, inf = quiet_solver(), self.n, highspy.kHighsInf
        scale = max(float(np.abs(self.cuts_MC).max(initial=0.0)), 1e-300)
        rows = np.concatenate([self.cuts_MC / scale, -np.ones((len(self.cuts_MC), 1))], 1)  # the last column: the value
        rows = np.concatenate([rows, np.append(np.ones(n), 0.0)[None]])
        highs.addCols(n + 1, np.append(np.zeros(n), 1.0), np.zeros(n + 1), np.append(np.ones(n), inf), 0,
                      np.zeros(n + 1, np.int32), np.zeros(0, np.int32), np.zeros(0))  # fmt: skip
        lower = np.append(np.full(len(rows) - 1, -inf), 1.0)
        upper = np.append(np.zeros(len(rows) - 1), 1.0)
        held = rows != 0
        starts = np.concatenate([[0], np.cumsum(held.sum(1))[:-1]]).astype(np.int32)
        columns = np.broadcast_to(np.arange(n + 1, dtype=np.int32), rows.shape)[held]
        highs.addRows(len(rows), lower, upper, len(columns), starts, columns, rows[held])
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"HiGHS ended with {highs.modelStatusToString(highs.getModelStatus())}.")
        shares = np.maximum(np.array(highs.getSolution().col_value)[:n], 0.0)
        return highs.getInfo().objective_function_value * scale, shares / shares.sum()

    def nearest(self, centre_C: np.ndarray, level: float) -> np.ndarray | None:
        """The shares nearest to a centre at which no plane is above the level; None where none are found."""
        from scipy.optimize import nnls

        bounds = np.concatenate([level - self.cuts_MC @ centre_C, centre_C])
        sides = np.concatenate([self.cuts_MC, -np.eye(self.n)]) @ self._basis
        sizes = np.linalg.norm(sides, axis=1)
        used = sizes > 1e-12
        needs, sides = -(bounds[used] / sizes[used]), -(sides[used] / sizes[used, None])
        reach = float(needs.max(initial=0.0))
        if reach <= 0:
            return centre_C
        table = np.concatenate([sides.T, needs[None] / reach])  # least distance as non-negative least squares
        goal = np.append(np.zeros(sides.shape[1]), 1.0)
        try:
            weights, _ = nnls(table, goal, maxiter=50 * table.shape[1])
        except RuntimeError:
            return None
        rest = table @ weights - goal
        if abs(rest[-1]) < 1e-9:
            return None
        shares = np.maximum(centre_C - reach * (self._basis @ (rest[:-1] / rest[-1])), 0.0)
        return shares / shares.sum() if np.isfinite(shares).all() and shares.sum() > 0 else None


def solve_by_cuts(
    problem: MixtureProblem,
    *,
    tolerance: float = 1e-3,
    max_rounds: int = 2000,
    start: "np.ndarray | MixtureFit | None" = None,
) -> MixtureFit:
    """The best shares of a problem, by planes; see `fit_mixture`."""
    search = Search(problem, tolerance, start)
    with Progress("fitting the mixture", unit="rounds") as progress:
        for _ in range(max_rounds):
            done = search.step()
            progress.add(1, note=f"gap {search.gap:.2g} over {search.last:,} steps")
            if done:
                break
    return search.fit()


class Search:
    """The state between two rounds."""

    def __init__(self, problem: MixtureProblem, tolerance: float, start: "np.ndarray | MixtureFit | None") -> None:
        self.problem, self.tolerance = problem, tolerance
        self.edges, self.planes = Edges(problem), Planes(problem.n_categories)
        self.matchings: list[np.ndarray] = []
        n = problem.n_categories
        self.shares, self.last = np.full(n, 1 / n), problem.n_steps
        if isinstance(start, MixtureFit):
            self.shares = start.pairs_share
            self.edges.add(start.rows[:, 0], start.rows[:, 1])
            for edges in start.matchings:
                self._cut(self.edges.cut(edges), edges)
        elif start is not None:
            self.shares = np.asarray(start, np.float64) / np.sum(start)
        else:
            self.last = min(_FIRST_STEPS, problem.n_steps)
        self.lower = self.planes.least()[0] if self.matchings else 0.0
        self.best: tuple | None = None
        self.n_rounds, self.gap = 0, 1.0

    def step(self) -> bool:
        """One round at the present shares; True once the gap is reached on all steps."""
        goal = self.tolerance if self.last == self.problem.n_steps else max(_COARSE, self.tolerance)
        match, (steps, pairs, amounts), missing = self._look(goal)
        if len(match.edges):
            self._cut(match.cut_C, match.edges)
            self.lower = max(self.lower, self.planes.least()[0])
        self.n_rounds, self.gap = self.n_rounds + 1, relative_gap(self.best[0], self.lower)
        if self.gap <= goal:
            if self.last == self.problem.n_steps:
                return True
            self.last, self.best = self.grown(), None
            return False
        chosen = self._chosen(steps, pairs, amounts)
        self.edges.add(steps[chosen], pairs[chosen])
        if missing <= _ENOUGH * (self.best[0] - self.lower):
            self._move()
        return False

    def _look(self, goal: float) -> tuple[Match, list[np.ndarray], float]:
        """Value the present shares: the match, the violations not listed as edges, and their sum by worst of a step."""
        known = self.best[0] if self.best is not None else self.lower
        match = self.edges.match(self.shares, tolerance=0.2 * max(goal * known, NEGLIGIBLE))
        *found, worst = self.problem.violations(self.shares, match.slack_T, match.slack_P, last=self.last)
        missing = float(worst.sum())
        if self.best is None or match.value + missing < self.best[0]:
            self.best = match.value + missing, self.shares, match.slack_T + worst, match.slack_P
        return match, found, missing

    def grown(self) -> int:
        """Steps of the next stage; what would be left over for a last one is taken along."""
        more = _GROWTH * self.last
        return more if 2 * more < self.problem.n_steps else self.problem.n_steps

    def _chosen(self, steps: np.ndarray, pairs: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """int64, violations of the first greedy matching, of the one among the rest, and so on."""
        left, layers = np.arange(len(steps)), []
        for _ in range(_LAYERS):
            taken = self.problem.matched(steps[left], pairs[left], amounts[left])
            layers.append(left[taken])
            left = left[~taken]
        return np.concatenate(layers)

    def _cut(self, cut_C: np.ndarray, edges: np.ndarray) -> None:
        self.planes.add(cut_C)
        self.matchings.append(edges)

    def _move(self) -> None:
        """To the point nearest to the best one where the planes leave room for a better value."""
        level = self.lower + _LEVEL * (self.best[0] - self.lower)
        shares = self.planes.nearest(self.best[1], level)
        if shares is None or (self.planes.cuts_MC @ shares).max() > self.best[0]:
            shares = self.planes.least()[1]
        self.shares = shares

    def cut_at(self, shares_C: np.ndarray, *, within: float) -> float:
        """The value of a plane that is new at these shares: the programme's value, less at most twice `within`."""
        while True:
            match = self.edges.match(shares_C, tolerance=within)
            *found, worst = self.problem.violations(shares_C, match.slack_T, match.slack_P, last=self.last)
            if worst.sum() <= within:
                self._cut(match.cut_C, match.edges)
                return float(match.cut_C @ shares_C)
            chosen = self._chosen(*found)
            self.edges.add(found[0][chosen], found[1][chosen])

    def fit(self) -> MixtureFit:
        if self.best is None or self.last < self.problem.n_steps:  # out of rounds before all steps were looked at
            self.shares = self.shares if self.best is None else self.best[1]
            self.last, self.best = self.problem.n_steps, None
            self._look(self.tolerance)
        upper, shares, slack_T, slack_P = self.best
        lower = min(self.lower, upper)
        held = np.unique(np.concatenate([np.zeros(0, np.int64), *self.matchings]))
        return MixtureFit(
            pairs_share=shares, objective=upper, lower_bound=lower, gap=relative_gap(upper, lower), slack_step=slack_T,
            slack_pair=slack_P, constrained=self.problem.constrained, rows=self.edges.rows[held],
            n_rounds=self.n_rounds,
            matchings=tuple(np.searchsorted(held, edges) for edges in self._tight(lower)),
        )  # fmt: skip

    def _tight(self, lower: float) -> list[np.ndarray]:
        """Matchings whose plane is near the value at the best shares: those that a nearby problem needs."""
        values = self.planes.cuts_MC @ self.best[1]
        return [edges for edges, value in zip(self.matchings, values, strict=True) if value >= 0.9 * lower]
