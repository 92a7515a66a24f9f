"""Find the shares of categories under which each merge of a tokenizer was, as nearly as can be, the most frequent pair.

The linear programme has a row for each step and each pair, far too many to write down. Rows are added when the present
shares violate them: the steps are walked with a queue of pairs, and of the violations found a greedy matching is added,
because for fixed shares the slacks are the dual of a heaviest matching between steps and pairs. The programme without
the missing rows bounds the optimum from below; raising each step's slack to its worst violation bounds it from above.

    fit = fit_mixture(trajectories.changes(counts_WC), n_pairs_C, merged_pair=trajectories.merged_pair)
    fit.pairs_share, fit.gap

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from dataclasses import dataclass

import numpy as np

from tokenry.core.choosing import suggest
from tokenry.core.runs import Progress
from tokenry.tokenization.mixture_replay import Changes

# Axes: T steps, C categories, E events (distinct (step, pair)), P pairs, K rows of the programme.

SCALE = 1e6
"""Counts enter the programme per million first pairs of their category: late merges are around one in a million, and
the solver's tolerances are absolute."""
TOLERANCE = 1e-6
"""A violation below this many pairs per million is none."""
NEGLIGIBLE = 1e-3
"""An objective below this many pairs per million, one occurrence in a billion, is as good as 0: no gap is left."""
SOLVERS = ("cuts", "simplex", "ipm")
_TOP = 10
"""Violations listed at a step, at most."""
_FIRST_STEPS, _GROWTH, _COARSE = 1000, 4, 0.02
"""The first steps are fitted first, to this gap, then so many times more: the shares are nearly right when most rows
are chosen."""


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """The best shares, and how well they explain the merges."""

    pairs_share: np.ndarray
    """float64 (C,), share of first pairs; sums to 1."""
    objective: float
    """Sum of all slacks at these shares, in pairs per million: an upper bound of the optimum that is proved."""
    lower_bound: float
    """No shares do better than this."""
    gap: float
    """(objective - lower bound) / objective; 0 where the objective is 0."""
    slack_step: np.ndarray
    """float64 (T,), pairs per million: how far the step is wrong whatever the pair."""
    slack_pair: np.ndarray
    """float64 (P,), pairs per million: how far the samples hold too much of the pair."""
    constrained: np.ndarray
    """bool (T,), steps that are evidence: asked for, and their pair is held by some category at that step."""
    rows: np.ndarray
    """int32 (K, 2), step and pair of the programme's rows; a start for a problem that is nearly the same."""
    n_rounds: int
    """Rounds of looking for violations."""
    matchings: tuple[np.ndarray, ...] = ()
    """Rows of each matching that bounds the value near the best shares; part of a start."""

    @property
    def n_rows(self) -> int:
        return len(self.rows)


class MixtureProblem:
    """Counts of all pairs at all steps, by category: gives rows of the programme and finds what is violated.

    Args:
        changes: changes of the counts, a column for each category.
        n_pairs_C: first pairs of each category.
        merged_pair: int (T,), the pair merged at each step, -1 where no word holds it.
        constrained_T: bool (T,), steps that are evidence; None: all.
        excluded_pairs: bool (P,), pairs that are no evidence; None: none.

    Raises:
        ValueError: sizes that do not fit, or a category without pairs.
    """

    def __init__(
        self,
        changes: Changes,
        n_pairs_C: np.ndarray,
        *,
        merged_pair: np.ndarray,
        constrained_T: np.ndarray | None = None,
        excluded_pairs: np.ndarray | None = None,
    ) -> None:
        n_pairs_C, merged_pair = np.asarray(n_pairs_C, np.float64), np.asarray(merged_pair)
        self.n_steps, self.n_pairs, self.n_categories = len(merged_pair), changes.n_pairs, changes.counts.shape[1]
        self._check(n_pairs_C, constrained_T, excluded_pairs)
        kept = int(np.searchsorted(changes.event_step, self.n_steps, side="left"))
        self.event_step, self.event_pair = changes.event_step[:kept], changes.event_pair[:kept]
        self.rates = changes.counts[:kept].astype(np.float64)
        self.rates.data *= (SCALE / n_pairs_C)[self.rates.indices]
        order = np.argsort(self.event_pair, kind="stable")
        self._by_pair = order, np.searchsorted(self.event_pair[order], np.arange(self.n_pairs + 1))
        self.merged_pair = merged_pair.astype(np.int32)
        self.merged_TC = self.rates_of(np.arange(self.n_steps), self.merged_pair)
        self.constrained = (self.merged_pair >= 0) & (self.merged_TC.max(1, initial=0.0) > TOLERANCE)
        if constrained_T is not None:
            self.constrained &= np.asarray(constrained_T, bool)
        self.barred = np.zeros(self.n_pairs, bool) if excluded_pairs is None else np.asarray(excluded_pairs, bool)

    def _check(
        self, n_pairs_C: np.ndarray, constrained_T: np.ndarray | None, excluded_pairs: np.ndarray | None
    ) -> None:
        sizes = {"n_pairs_C": (len(n_pairs_C), self.n_categories, "category")}
        if constrained_T is not None:
            sizes["constrained_T"] = (len(constrained_T), self.n_steps, "step")
        if excluded_pairs is not None:
            sizes["excluded_pairs"] = (len(excluded_pairs), self.n_pairs, "pair")
        for name, (got, needed, what) in sizes.items():
            if got != needed:
                raise ValueError(f"{got:,} values of {name}; need {needed:,}, one for each {what}.")
        if not len(n_pairs_C) or (n_pairs_C <= 0).any():
            raise ValueError("a category has no pairs; every category needs words of two symbols or more.")

    def rates_of(self, steps: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """float64 (K, C): pairs per million of each category that are this pair, before this step."""
        from tokenry.tokenization.mixture_kernels import counts_at

        rows = self.rates.indptr, self.rates.indices, self.rates.data
        return counts_at(pairs, steps, self._by_pair, self.event_step, rows, self.n_categories)

    def rows_of(self, steps: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """float64 (K, C): what the shares must weigh to at least minus the two slacks."""
        return self.merged_TC[steps] - self.rates_of(steps, pairs)

    def violations(
        self, shares_C: np.ndarray, slack_T: np.ndarray, slack_P: np.ndarray, *, last: int, top: int = _TOP
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Walk the first `last` steps.

        Returns:
            Steps, pairs and amounts of the `top` worst violations of each step, and the worst of each (T,).
        """
        from tokenry.tokenization.mixture_kernels import find_violations

        target = np.where(self.constrained, self.merged_TC @ shares_C + slack_T, np.inf)[:last]
        kept = int(np.searchsorted(self.event_step, last, side="left"))
        events = self.event_step[:kept], self.event_pair[:kept], (self.rates @ shares_C)[:kept]
        slack = np.where(self.barred, np.inf, slack_P)
        *found, worst = find_violations(events, target, self.merged_pair, slack, TOLERANCE, top)
        return *found, np.concatenate([worst, np.zeros(self.n_steps - last)])

    def matched(self, steps: np.ndarray, pairs: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """bool (K,): of violations, a greedy matching of steps and pairs, the largest first."""
        from tokenry.tokenization.mixture_kernels import greedy_matching

        order = np.argsort(-amounts, kind="stable")
        return greedy_matching(order, steps, pairs, self.n_steps, self.n_pairs)


def fit_mixture(
    changes: Changes,
    n_pairs_C: np.ndarray,
    *,
    merged_pair: np.ndarray,
    constrained_T: np.ndarray | None = None,
    excluded_pairs: np.ndarray | None = None,
    tolerance: float = 1e-3,
    max_rounds: int = 2000,
    start: "np.ndarray | MixtureFit | None" = None,
    solver: str = "cuts",
) -> MixtureFit:
    """The shares of the categories that violate the order of the merges least.

    Args:
        changes: changes of the counts, a column for each category (`Trajectories.changes`).
        n_pairs_C: first pairs of each category, the sum of its words' symbols less one.
        merged_pair: int (T,), of `Trajectories`.
        constrained_T: bool (T,), steps that are evidence; None: all.
        excluded_pairs: bool (P,), pairs that are no evidence (the trainer could not merge them); None: none.
        tolerance: stop at this relative gap between what is found and what is proved.
        max_rounds: stop after so many solves in any case; the gap says how far it came.
        start: shares to start from, or the fit of a problem that is nearly the same.
        solver: HiGHS method of the first solve, "simplex" or "ipm"; later ones start from the last basis.

    Returns:
        The fit. Steps whose pair no category holds are no evidence. One category has share 1.

    Raises:
        ValueError: sizes that do not fit, a category without pairs, an unknown solver.

    Paper: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver={solver!r}; need one of {', '.join(SOLVERS)}.{suggest(solver, SOLVERS)}")
    problem = MixtureProblem(
        changes, n_pairs_C, merged_pair=merged_pair, constrained_T=constrained_T, excluded_pairs=excluded_pairs
    )
    if solver == "cuts":
        from tokenry.tokenization.mixture_cuts import solve_by_cuts

        return solve_by_cuts(problem, tolerance=tolerance, max_rounds=max_rounds, start=start)
    return solve_by_rows(problem, tolerance=tolerance, max_rounds=max_rounds, start=start, solver=solver)


def solve_by_rows(
    problem: MixtureProblem,
    *,
    tolerance: float = 1e-3,
    max_rounds: int = 500,
    start: "np.ndarray | MixtureFit | None" = None,
    solver: str = "simplex",
) -> MixtureFit:
    """`fit_mixture` of a problem that is laid out already."""
    programme = Programme(problem, solver=solver)
    shares = np.full(problem.n_categories, 1 / problem.n_categories)
    if isinstance(start, MixtureFit):
        shares = start.pairs_share
        programme.add(start.rows[:, 0], start.rows[:, 1])
        programme.solve()
    elif start is not None:
        shares = np.asarray(start, np.float64) / np.sum(start)
    n_steps = problem.n_steps
    last = min(_FIRST_STEPS, n_steps) if start is None else n_steps
    best = None
    with Progress("fitting the mixture", unit="rounds") as progress:
        for _ in range(max_rounds):
            if programme.n_rows:
                shares = programme.shares
            slacks = programme.step_slacks, programme.pair_slacks
            steps, pairs, amounts, worst = problem.violations(shares, *slacks, last=last)
            upper = programme.value + float(worst.sum())
            if best is None or last > best[4] or upper < best[0]:
                best = (upper, shares, slacks[0] + worst, slacks[1], last)
            gap = relative_gap(best[0], programme.value)
            progress.add(1, note=f"{programme.n_rows:,} rows, gap {gap:.2g} over {last:,} steps")
            done = problem.n_categories == 1 or not len(steps) or gap <= (tolerance if last == n_steps else _COARSE)
            if done and last == n_steps:
                break
            if done:
                last = min(_GROWTH * last, n_steps)
                continue
            chosen = problem.matched(steps, pairs, amounts)
            programme.add(steps[chosen], pairs[chosen])
            programme.solve()
    upper, shares, slack_T, slack_P, seen = best
    if seen < n_steps:  # out of rounds before all steps were looked at
        *_, worst = problem.violations(shares, slack_T, slack_P, last=n_steps)
        upper, slack_T = upper + float(worst.sum()), slack_T + worst
    lower = min(programme.value, upper)
    if problem.n_categories == 1:  # nothing is solved; any matching of the violations is a bound
        lower = float(amounts[problem.matched(steps, pairs, amounts)].sum())
    return MixtureFit(
        pairs_share=shares, objective=upper, lower_bound=lower, gap=relative_gap(upper, lower), slack_step=slack_T,
        slack_pair=slack_P, constrained=problem.constrained, rows=programme.rows, n_rounds=programme.n_solved,
    )  # fmt: skip


class Programme:
    """The linear programme as far as it is written down, in HiGHS; it keeps its basis from solve to solve.

    Args:
        problem: where rows come from.
        solver: method of the first solve.
    """

    def __init__(self, problem: MixtureProblem, *, solver: str = "simplex") -> None:
        self._problem = problem
        self._highs = quiet_solver(solver)
        n = problem.n_categories
        self._columns(np.zeros(n), np.ones(n))
        self._add_rows(np.ones(1), np.ones(1), (np.zeros(1), np.arange(n), np.ones(n)))
        self._column_T = np.full(problem.n_steps, -1, np.int64)
        self._column_P = np.full(problem.n_pairs, -1, np.int64)
        self._n_columns, self._rows, self._values = n, [], np.full(n, 1 / n)
        self.value, self.n_solved = 0.0, 0

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([np.zeros((0, 2), np.int32), *self._rows])

    @property
    def n_rows(self) -> int:
        return sum(map(len, self._rows))

    @property
    def shares(self) -> np.ndarray:
        shares = np.maximum(self._values[: self._problem.n_categories], 0.0)
        return shares / shares.sum()

    @property
    def step_slacks(self) -> np.ndarray:
        return self._slack(self._column_T)

    @property
    def pair_slacks(self) -> np.ndarray:
        return self._slack(self._column_P)

    def add(self, steps: np.ndarray, pairs: np.ndarray) -> None:
        """Add rows; those of steps or pairs that are no evidence are left out."""
        fits = self._problem.constrained[steps] & ~self._problem.barred[pairs]
        steps, pairs = steps[fits], pairs[fits]
        if not len(steps):
            return
        self._add_columns(self._column_T, steps)
        self._add_columns(self._column_P, pairs)
        weights = self._problem.rows_of(steps, pairs)
        n, k = weights.shape[1], len(steps)
        values = np.concatenate([weights, np.ones((k, 2))], 1)
        columns = np.empty((k, n + 2), np.int64)
        columns[:, :n] = np.arange(n)
        columns[:, n], columns[:, n + 1] = self._column_T[steps], self._column_P[pairs]
        held = np.abs(values) > 1e-9
        starts = np.concatenate([[0], np.cumsum(held.sum(1))[:-1]])
        self._add_rows(np.zeros(k), np.full(k, np.inf), (starts, columns[held], values[held]))
        self._rows.append(np.column_stack([steps, pairs]).astype(np.int32))

    def solve(self) -> None:
        """Solve again from the last basis.

        Raises:
            RuntimeError: HiGHS finds no optimum.
        """
        import highspy

        self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self._highs.clearSolver()  # a basis that went numerically bad: once more from nothing
            self._highs.run()
        status = self._highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(
                f"HiGHS ended with {self._highs.modelStatusToString(status)} on {self.n_rows:,} rows; try solver='ipm'."
            )
        self._highs.setOptionValue("solver", "simplex")
        self._values = np.array(self._highs.getSolution().col_value)
        self.value = max(float(self._highs.getInfo().objective_function_value), 0.0)
        self.n_solved += 1

    def _add_columns(self, column_of: np.ndarray, used: np.ndarray) -> None:
        """A slack for each of these that has none."""
        new = np.unique(used)
        new = new[column_of[new] < 0]
        n = len(new)
        if not n:
            return
        column_of[new] = self._n_columns + np.arange(n)
        self._n_columns += n
        self._columns(np.ones(n), np.full(n, np.inf))
        self._values = np.concatenate([self._values, np.zeros(n)])

    def _columns(self, costs: np.ndarray, most: np.ndarray) -> None:
        n, none = len(costs), np.zeros(0)
        self._highs.addCols(n, costs, np.zeros(n), most, 0, np.zeros(n, np.int32), none.astype(np.int32), none)

    def _add_rows(self, lower: np.ndarray, upper: np.ndarray, entries: tuple) -> None:
        starts, columns, values = entries
        self._highs.addRows(len(lower), lower, upper, len(values), starts.astype(np.int32),
                            columns.astype(np.int32), values.astype(np.float64))  # fmt: skip

    def _slack(self, column_of: np.ndarray) -> np.ndarray:
        return np.where(column_of >= 0, np.maximum(self._values[column_of], 0.0), 0.0)


def quiet_solver(solver: str = "simplex") -> object:
    """HiGHS without its output, on one thread."""
    import highspy

    highs = highspy._core._Highs()  # what `highspy.Highs` extends; that one prints a banner to stdout when it is made
    for option, value in (("output_flag", False), ("threads", 1), ("solver", solver)):
        highs.setOptionValue(option, value)
    return highs


def relative_gap(upper: float, lower: float) -> float:
    """What the bounds are apart, as a share of the upper one; 0 where that is no violation at all."""
    return (upper - lower) / upper if upper > lower and upper > NEGLIGIBLE else 0.0
