"""Find the shares in which domains should be sampled: try a few on small proxies, learn, look where it is promising.

The only thing asked of training is a function `train_eval(weights: dict[str, float], seed: int) -> float`. What it does
is its own affair: a tiny model here, or jobs on a cluster. With one round it is RegMix, with several CLIMB.

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161), sections 2.2 and 2.3; RegMix
(arXiv 2407.01492).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tokenry.core.choosing import resolve
from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.intervals import Interval
from tokenry.core.numerics import spearman
from tokenry.core.progress import Progress, log
from tokenry.corpora.mixing_predictors import PREDICTORS, Predict, cross_validated
from tokenry.corpora.mixing_runs import Run, RunsFile
from tokenry.corpora.mixtures import budgets_within_epochs

__all__ = ["Found", "Round", "Search", "TrainEval", "candidates", "search_mixture"]

# Axes: P candidates in the pool, K domains, N measured mixtures.

TrainEval = Callable[[dict[str, float], int], float]


@dataclass(frozen=True)
class Search:
    """How a mixture is looked for.

    Attributes:
        rounds: proxies in each round; (64, 32, 16) is the paper's, (n,) is RegMix.
        predictor: "lightgbm" (the paper's), "gp", "linear" or a function as in `mixing_predictors`. A Gaussian process
            does better on few, smooth domains (8 of them, 28 proxies), the trees on many (33, 112 proxies); the line
            runs into corners.
        better: "higher" or "lower" scores.
        pool: candidates drawn.
        concentrations: of the Dirichlet, a domain on average; the pool has as many of each. Small ones give mixtures
            of few domains, large ones mixtures near to the sizes.
        by_size: draw around the sizes of the domains (the paper's); else around equal shares.
        top: each later round draws its proxies among the best `top` times as many candidates.
        average: take the mean of so many best predicted candidates (RegMix takes 100); 1 takes the best, or the mean of
            those that tie with it.
        repeats: measure the result so many times with other seeds, for its interval.
        seed: of the pool, the draws and the seeds of the proxies.
    """

    rounds: tuple[int, ...] = (64, 32, 16)
    predictor: str | Callable[..., Predict] = "lightgbm"
    better: str = "higher"
    pool: int = 20_000
    concentrations: tuple[float, ...] = (0.3, 0.7, 1.5, 4.0)
    by_size: bool = True
    top: int = 10
    average: int = 1
    repeats: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rounds or min(self.rounds) < 1 or self.rounds[0] < 2:
            raise ValueError(f"rounds={self.rounds}; need at least one proxy in each, two in the first: (64, 32, 16).")
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better={self.better!r}; need 'higher' or 'lower'.")
        if not self.concentrations or not all(np.isfinite(c) and c > 0 for c in self.concentrations):
            raise ValueError(f"concentrations={self.concentrations}; need numbers above 0.")
        if min(self.top, self.average) < 1 or self.repeats < 0:
            raise ValueError(
                f"top={self.top}, average={self.average}, repeats={self.repeats}; need 1, 1 and 0 or more."
            )
        if self.pool < max(sum(self.rounds), self.average):
            raise ValueError(
                f"a pool of {self.pool} for {sum(self.rounds)} proxies; need more candidates than proxies."
            )


@dataclass(frozen=True)
class Round:
    """What one round told.

    Attributes:
        n_measured: mixtures the predictor was fitted on after it.
        best: score of the best mixture measured so far.
        spearman: rank correlation of what the predictor said of this round's mixtures before it, with their scores;
            NaN in the first round.
        spearman_within: the same by five-fold cross-validation over all mixtures so far.
        predicted: score of the best candidate, as predicted after the round.
    """

    n_measured: int
    best: float
    spearman: float
    spearman_within: float
    predicted: float


@dataclass(frozen=True)
class Found:
    """A mixture and its evidence.

    Attributes:
        weights: domain -> share; they sum to 1.
        predicted: the score it should have, with 1.96 times the predictor's error in cross-validation.
        measured: its score on `repeats` proxies (1.96 standard errors), None without them.
        epochs: domain -> passes over it within the budget; empty without one.
        rounds: one entry each.
        runs: every proxy, in order.
        pool_key: fingerprint of the candidates.
        search: the settings.
        sizes: of the domains.
        budget: tokens of the real run, None when it was not given.
    """

    weights: dict[str, float]
    predicted: Interval
    measured: Interval | None
    epochs: dict[str, float]
    rounds: list[Round]
    runs: list[Run]
    pool_key: str
    search: Search
    sizes: dict[str, float]
    budget: float | None = None

    @property
    def best_run(self) -> Run:
        """The best mixture that was measured."""
        sign = 1 if self.search.better == "higher" else -1
        return max((run for run in self.runs if run.score is not None), key=lambda run: sign * run.score)


def candidates(
    sizes_K: np.ndarray,
    n: int,
    *,
    concentrations: Sequence[float] = Search.concentrations,
    by_size: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Draw mixtures from Dirichlet distributions, as many from each concentration.

    Args:
        sizes_K: of the domains; all above 0.
        n: mixtures.
        concentrations: parameter of a domain of average size; that of another is in proportion to its size.
        by_size: False takes all domains as equally large.
        seed: of the draws.

    Returns:
        weights_PK: float64, rows sum to 1.
    """
    sizes_K = np.asarray(sizes_K, np.float64)
    if len(sizes_K) < 2 or not (np.isfinite(sizes_K) & (sizes_K > 0)).all():
        raise ValueError(f"{len(sizes_K)} domains of sizes {sizes_K.tolist()}; need at least two, all above 0.")
    share_K = sizes_K / sizes_K.sum() if by_size else np.full(len(sizes_K), 1 / len(sizes_K))
    rng = np.random.default_rng(seed)
    counts = np.bincount(np.arange(n) % len(concentrations), minlength=len(concentrations))
    drawn_PK = np.concatenate(
        [rng.dirichlet(one * len(share_K) * share_K, size) for one, size in zip(concentrations, counts, strict=True)]
    )
    drawn_PK = np.where(np.isfinite(drawn_PK).all(axis=1, keepdims=True), drawn_PK, share_K)
    return rng.permutation(drawn_PK / drawn_PK.sum(axis=1, keepdims=True))


def search_mixture(
    train_eval: TrainEval | str,
    sizes: Mapping[str, float],
    *,
    search: Search = Search(),
    budget: float | None = None,
    epochs: float = 4.0,
    runs: str | Path | None = None,
    workers: int = 1,
) -> Found:
    """Look for the mixture with the best score.

    Args:
        train_eval: function of weights and seed, or its name `pkg.module:function` or `./file.py:function`. A result
            that is not finite (a model that diverged) counts as measured and is left out of the fit.
        sizes: domain -> how much it holds, in the unit of `budget`.
        search: the settings.
        budget: of the real run: every candidate is brought within `epochs` passes over each domain.
        epochs: passes over a domain at most.
        runs: file of the runs (JSON lines). A search that was interrupted goes on from it.
        workers: proxies trained at the same time (threads). The result does not depend on it.

    Raises:
        ValueError: fewer than two domains, a file of runs of another search, or a round without one finite score.

    Paper: CLIMB (arXiv 2504.13161); with one round RegMix (arXiv 2407.01492).
    """
    names, sizes_K = list(sizes), np.array(list(sizes.values()), np.float64)
    function = resolve(train_eval, {}, kind="training function")
    fit = resolve(search.predictor, PREDICTORS, kind="predictor")
    pool_PK = _pool(sizes_K, search, budget=budget, epochs=epochs)
    state = _State(names, pool_PK, search, fit, 1 if search.better == "higher" else -1)
    settings = (search.rounds, _name(search.predictor), search.better, search.top, search.average, search.seed)
    key = fingerprint("mixture search", 1, names, pool_PK, *settings, _name(train_eval))
    state.file = RunsFile(None if runs is None else Path(runs), key)
    if state.file.known:
        log(f"going on with {len(state.file.known)} proxies of {runs}")
    with Progress("mixture search", total=sum(search.rounds) + search.repeats, unit="proxies") as progress:
        for number, n in enumerate(search.rounds, 1):
            rows = state.choose(n, number)
            before = None if state.predict is None else state.predict(pool_PK[rows])
            first = len(state.rows)
            weights = [dict(zip(names, map(float, pool_PK[row]), strict=True)) for row in rows]
            made = state.measure(function, weights, (number, first, rows), running=(workers, progress))
            state.learn(rows, [run.score for run in made], before)
            state.runs += made
        weights_K = state.result()
        chosen = dict(zip(names, map(float, weights_K), strict=True))
        again = state.measure(
            function,
            [chosen] * search.repeats,
            (0, len(state.rows), [-1] * search.repeats),
            running=(workers, progress),
        )
    return Found(
        weights=chosen, predicted=state.predicted(weights_K), measured=_mean(again),
        epochs=_epochs(chosen, sizes, budget),
        rounds=state.told, runs=state.runs + again, pool_key=fingerprint(pool_PK), search=search, sizes=dict(sizes),
        budget=budget,
    )  # fmt: skip


@dataclass
class _State:
    """What is known so far."""

    names: list[str]
    pool_PK: np.ndarray
    search: Search
    fit: Callable[..., Predict]
    sign: int
    file: RunsFile | None = None
    rows: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    predict: Predict | None = None
    runs: list[Run] = field(default_factory=list)
    told: list[Round] = field(default_factory=list)
    error: float = float("nan")

    def choose(self, n: int, number: int) -> np.ndarray:
        """Rows of the pool for a round: at random in the first, then among the best that were not measured."""
        rng = np.random.default_rng([self.search.seed, number])
        free = np.setdiff1d(np.arange(len(self.pool_PK)), self.rows)
        if self.predict is None:
            return rng.choice(free, n, replace=False)
        order = np.argsort(-self.sign * self.predict(self.pool_PK[free]), kind="stable")
        return rng.choice(free[order[: max(n, self.search.top * n)]], n, replace=False)

    def measure(
        self,
        function: TrainEval,
        weights: Sequence[dict[str, float]],
        place: tuple[int, int, Sequence[int]],
        *,
        running: tuple[int, Progress],
    ) -> list[Run]:
        """The runs of these weights, from the file or made now; `place` is round, first number, rows of the pool."""
        (round_number, first, rows), (workers, progress) = place, running

        def one(place: int) -> Run:
            number = first + place
            if (known := self.file.find(number, weights[place])) is None:
                seed = stable_hash(f"mixture search {self.search.seed} {number}") % 2**31
                started = time.perf_counter()
                score = float(function(dict(weights[place]), seed))
                known = Run(
                    number, round_number, int(rows[place]), seed, weights[place],
                    score if np.isfinite(score) else None, round(time.perf_counter() - started, 3),
                )  # fmt: skip
                self.file.add(known)
            progress.add(1)
            return known

        if workers == 1:
            return [one(place) for place in range(len(weights))]
        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(one, range(len(weights))))

    def learn(self, rows: Sequence[int], scores: Sequence[float | None], before: np.ndarray | None) -> None:
        """Take in the scores of a round and fit on all there are."""
        self.rows += [int(row) for row in rows]
        self.scores += [float("nan") if score is None else score for score in scores]
        scores_N = np.array(self.scores)
        good_N = np.isfinite(scores_N)
        if good_N.sum() < 2:
            raise ValueError(
                f"{good_N.sum()} of {len(scores_N)} proxies gave a finite score; need two at least. Look at the "
                "training function: it returned NaN or infinity for the others."
            )
        weights_NK, scores_N = self.pool_PK[np.array(self.rows)[good_N]], scores_N[good_N]
        self.predict = self.fit(weights_NK, scores_N, seed=self.search.seed)
        within_N = cross_validated(self.fit, weights_NK, scores_N, seed=self.search.seed)
        self.error = float(np.sqrt(np.mean((within_N - scores_N) ** 2)))
        fresh = np.array([np.nan if score is None else score for score in scores], np.float64)
        self.told.append(
            Round(
                len(scores_N),
                float(self.sign * (self.sign * scores_N).max()),
                float("nan") if before is None else spearman(before, fresh),
                spearman(within_N, scores_N),
                float(self.sign * (self.sign * self.predict(self.pool_PK)).max()),
            )
        )

    def result(self) -> np.ndarray:
        """The best predicted candidate, the mean of those that tie with it, or that of the best few."""
        values_P = self.sign * self.predict(self.pool_PK)
        if self.search.average > 1:
            best = np.argsort(-values_P, kind="stable")[: self.search.average]
        else:
            best = np.flatnonzero(values_P >= values_P.max() - 1e-12 * max(1.0, abs(float(values_P.max()))))
        weights_K = self.pool_PK[best].mean(axis=0)
        return weights_K / weights_K.sum()

    def predicted(self, weights_K: np.ndarray) -> Interval:
        """What the predictor says of a mixture, with its error in cross-validation."""
        value, spread = float(self.predict(weights_K[None])[0]), 1.96 * self.error
        return Interval(value, value - spread, value + spread, int(np.isfinite(self.scores).sum()))


def _pool(sizes_K: np.ndarray, search: Search, *, budget: float | None, epochs: float) -> np.ndarray:
    """The candidates, each once, within the epochs."""
    pool_PK = candidates(
        sizes_K, search.pool, concentrations=search.concentrations, by_size=search.by_size, seed=search.seed
    )
    if budget is not None:
        pool_PK = _affordable(pool_PK, sizes_K, budget, epochs)
    pool_PK = pool_PK[np.sort(np.unique(pool_PK, axis=0, return_index=True)[1])]
    if len(pool_PK) < sum(search.rounds):
        raise ValueError(
            f"{len(pool_PK)} different mixtures are within {epochs:g} epochs, for {sum(search.rounds)} proxies. Lower "
            "--budget, or raise --epochs."
        )
    return pool_PK


def _epochs(weights: Mapping[str, float], sizes: Mapping[str, float], budget: float | None) -> dict[str, float]:
    return {} if budget is None else {name: share * budget / sizes[name] for name, share in weights.items()}


def _affordable(pool_PK: np.ndarray, sizes_K: np.ndarray, budget: float, epochs: float) -> np.ndarray:
    """Each candidate with what is over `epochs` passes given to its other domains, then to any with room."""
    if not (np.isfinite(budget) and budget > 0 and epochs > 0) or epochs * sizes_K.sum() < budget:
        raise ValueError(
            f"a budget of {budget:,.0f} from {sizes_K.sum():,.0f} within {epochs:g} epochs; need a budget above 0 that "
            "the domains can fill. Lower --budget, or raise --epochs."
        )
    made_PK = pool_PK.copy()
    for row in np.flatnonzero((pool_PK * budget > epochs * sizes_K).any(axis=1)):
        budgets_K = budgets_within_epochs(pool_PK[row], sizes_K, budget, epochs=epochs)
        left_K = np.maximum(0, epochs * sizes_K - budgets_K)
        if left_K.sum() > 0:  # its own domains may be too small together
            budgets_K = budgets_K + max(0.0, budget - budgets_K.sum()) * left_K / left_K.sum()
        made_PK[row] = budgets_K / budgets_K.sum()
    return made_PK


def _name(function: object) -> str:
    """What tells one function from another in a file of runs."""
    if isinstance(function, str):
        return function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"


def _mean(runs: Sequence[Run]) -> Interval | None:
    scores = np.array([run.score for run in runs if run.score is not None], np.float64)
    if not len(scores):
        return None
    spread = 1.96 * float(scores.std(ddof=1)) / np.sqrt(len(scores)) if len(scores) > 1 else float("nan")
    return Interval(float(scores.mean()), float(scores.mean() - spread), float(scores.mean() + spread), len(scores))
