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

from tokenry.core.choosing import needs, resolve
from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.intervals import Interval
from tokenry.core.numerics import spearman
from tokenry.core.progress import Progress, log
from tokenry.corpora.mixing_pool import CONCENTRATIONS, affordable_candidates
from tokenry.corpora.mixing_predictors import PREDICTORS, Predict, cross_validated
from tokenry.corpora.mixing_runs import Run, RunsFile

__all__ = ["Found", "Round", "Search", "TrainEval", "search_mixture"]

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
        repeats: measure the result and the best proxy so many times again, both with the same fresh seeds.
        seed: of the pool, the draws and the seeds of the proxies.
    """

    rounds: tuple[int, ...] = (64, 32, 16)
    predictor: str | Callable[..., Predict] = "lightgbm"
    better: str = "higher"
    pool: int = 20_000
    concentrations: tuple[float, ...] = CONCENTRATIONS
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
        measured: its score on `repeats` proxies (95 %, Student's t), None without them.
        best_again: the score of the best proxy's mixture with the same seeds; its first score was the luckiest of many.
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
    best_again: Interval | None
    epochs: dict[str, float]
    rounds: list[Round]
    runs: list[Run]
    pool_key: str
    search: Search
    sizes: dict[str, float]
    budget: float | None = None

    @property
    def best_run(self) -> Run:
        """The best proxy of the rounds; those that measured the result again are not among them."""
        return _best(self.runs, 1 if self.search.better == "higher" else -1)


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
            that is not finite (a model that diverged) counts as measured and is left out of the fit. A search that goes
            on does not notice that the function was changed.
        sizes: domain -> how much it holds, in the unit of `budget`.
        search: the settings.
        budget: of the real run: every candidate is brought within `epochs` passes over each domain.
        epochs: passes over a domain at most.
        runs: file of the runs (JSON lines). A search that was interrupted goes on from it.
        workers: proxies trained at the same time (threads). The result does not depend on it.

    Raises:
        ValueError: fewer than two domains, a file of runs of another search, a result that is no number, or fewer than
            two finite scores. ImportError: the predictor needs an extra (said before anything is trained).

    Paper: CLIMB (arXiv 2504.13161); with one round RegMix (arXiv 2407.01492).
    """
    names, sizes_K = list(sizes), np.array(list(sizes.values()), np.float64)
    function = resolve(train_eval, {}, kind="training function")
    fit = resolve(search.predictor, PREDICTORS, kind="predictor")
    if search.predictor == "lightgbm":
        needs("mixing", "lightgbm")
    pool_PK = _pool(sizes_K, search, budget=budget, epochs=epochs)
    state = _State(names, pool_PK, search, fit, 1 if search.better == "higher" else -1)
    settings = (search.rounds, _name(search.predictor), search.better, search.top, search.average, search.seed)
    key = fingerprint("mixture search", 1, names, pool_PK, *settings, _name(train_eval))
    state.file = RunsFile(None if runs is None else Path(runs), key)
    if state.file.known:
        log(f"going on with {len(state.file.known)} proxies of {runs}; remove it if the training function has changed")
    with Progress("mixture search", total=sum(search.rounds) + 2 * search.repeats, unit="proxies") as progress:
        running = (function, workers, progress)
        for number, n in enumerate(search.rounds, 1):
            state.round(number, n, running)
        weights_K = state.result()
        chosen = dict(zip(names, map(float, weights_K), strict=True))
        again = state.again(chosen, running)
    return Found(
        weights=chosen, predicted=state.predicted(weights_K),
        measured=_mean(again[: search.repeats]), best_again=_mean(again[-search.repeats :] if again else []),
        epochs={} if budget is None else {name: share * budget / sizes[name] for name, share in chosen.items()},
        rounds=state.told, runs=state.runs + again, pool_key=fingerprint(pool_PK), search=search, sizes=dict(sizes),
        budget=budget,
    )  # fmt: skip


def _pool(sizes_K: np.ndarray, search: Search, *, budget: float | None, epochs: float) -> np.ndarray:
    """The candidates of a search; more than its proxies."""
    pool_PK = affordable_candidates(
        sizes_K, search.pool, concentrations=search.concentrations, by_size=search.by_size, seed=search.seed,
        budget=budget, epochs=epochs,
    )  # fmt: skip
    if len(pool_PK) < sum(search.rounds):
        raise ValueError(
            f"{len(pool_PK)} different mixtures are within {epochs:g} epochs, for {sum(search.rounds)} proxies. Lower "
            "--budget, or raise --epochs."
        )
    return pool_PK


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

    def round(self, number: int, n: int, running: tuple[TrainEval, int, Progress]) -> None:
        """Choose, measure, learn."""
        rows = self.choose(n, number)
        before = None if self.predict is None else self.predict(self.pool_PK[rows])
        weights = [dict(zip(self.names, map(float, self.pool_PK[row]), strict=True)) for row in rows]
        made = self.measure(weights, (number, len(self.rows), rows), running=running)
        self.learn(rows, [run.score for run in made], before)
        self.runs += made

    def again(self, chosen: dict[str, float], running: tuple[TrainEval, int, Progress]) -> list[Run]:
        """Measure the result and the best proxy's mixture `repeats` times; once where they are the same."""
        best = _best(self.runs, self.sign)
        same = np.allclose(list(chosen.values()), list(best.weights.values()), rtol=1e-9, atol=1e-12)
        asked = [(chosen, -1)] if same else [(chosen, -1), (best.weights, best.candidate)]
        asked = [one for one in asked for _ in range(self.search.repeats)]
        weights, rows = [one[0] for one in asked], [one[1] for one in asked]
        return self.measure(weights, (0, len(self.rows), rows), running=running)

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
        weights: Sequence[dict[str, float]],
        place: tuple[int, int, Sequence[int]],
        *,
        running: tuple[TrainEval, int, Progress],
    ) -> list[Run]:
        """The runs of these weights, from the file or made now; `place` is round, first number, rows of the pool."""
        (round_number, first, rows), (function, workers, progress) = place, running

        def one(place: int) -> Run:
            number = first + place
            if (known := self.file.find(number, weights[place])) is None:
                # What is measured again gets the seeds of the result, so that the two can be compared.
                drawn = first + place % self.search.repeats if round_number == 0 else number
                seed = stable_hash(f"mixture search {self.search.seed} {drawn}") % 2**31
                started = time.perf_counter()
                score = _number(function(dict(weights[place]), seed))
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


def _best(runs: Sequence[Run], sign: int) -> Run:
    return max((run for run in runs if run.round and run.score is not None), key=lambda run: sign * run.score)


def _number(score: object) -> float:
    try:
        return float(score)
    except (TypeError, ValueError):
        raise ValueError(
            f"the training function gave {score!r:.80}; need a number. Let it return the score of its proxy."
        ) from None


def _name(function: object) -> str:
    """What tells one function from another in a file of runs."""
    if isinstance(function, str):
        return function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"


def _mean(runs: Sequence[Run]) -> Interval | None:
    scores = np.array([run.score for run in runs if run.score is not None], np.float64)
    if not len(scores):
        return None
    mean, spread = float(scores.mean()), float("nan")
    if len(scores) > 1:
        from scipy.stats import t

        # Three proxies are usual: with 1.96 standard errors one interval in five would miss.
        spread = float(t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores)))
    return Interval(mean, mean - spread, mean + spread, len(scores))
