"""Which documents rank models as their benchmarks do: predictive strength, its chance level, domains, labels.

A document whose losses put several models into the order of their downstream scores is one that those abilities show
in; training on such documents is the bet. The measure costs a pass of every model, so it is taken on a sample and a
light classifier learns it (`corpora.linear`).

Papers: Predictive Data Selection (arXiv 2503.00808); Improving Pretraining Data Using Perplexity Correlations
(arXiv 2409.05816) for domains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Chance", "Labels", "capped_projection", "chance_of", "domain_correlation", "label_extremes", "leave_one_out",
    "predictive_strength",
]  # fmt: skip

# Axes: D documents, N models, J domains.

_MOST_EXACT = 16  # models whose orders are counted exactly, by subsets
PERFECT = 1 - 1e-12


def predictive_strength(
    losses_DN: np.ndarray, benchmark_N: Sequence[float], *, weights: str = "pairs", least_gap: float = 0.0
) -> np.ndarray:
    """Share of the pairs of models in which the better one has the lower loss; equal losses count half.

    Without ties it is (tau + 1) / 2 with Kendall's tau between benchmark and -loss. Models of equal benchmark make no
    pair. Only the order of a document's losses counts, so any unit will do.

    Args:
        losses_DN: of each document under each model; nan makes the document's strength nan.
        benchmark_N: score of each model, higher is better.
        weights: "pairs" (all alike, the paper) or "gaps": |b_i - b_j|, so that near-equal models hardly count.
        least_gap: leave out pairs whose benchmarks are nearer than this.

    Returns:
        strength_D in 0..1.

    Raises:
        ValueError: another number of models, fewer than two of different benchmark, or unknown weights.

    Paper: Predictive Data Selection (arXiv 2503.00808), equation 2.
    """
    losses_DN, benchmark_N = _checked(losses_DN, benchmark_N)
    weight_NN = _pair_weights(benchmark_N, weights, least_gap)
    total_D = np.zeros(len(losses_DN))
    for better, worse in zip(*np.nonzero(weight_NN), strict=True):
        ours_D, theirs_D = losses_DN[:, better], losses_DN[:, worse]
        total_D += weight_NN[better, worse] * ((ours_D < theirs_D) + 0.5 * (ours_D == theirs_D))
    strength_D = total_D / weight_NN.sum()
    strength_D[np.isnan(losses_DN).any(axis=1)] = np.nan
    return strength_D


def leave_one_out(losses_DN: np.ndarray, benchmark_N: Sequence[float], **options: object) -> np.ndarray:
    """Strength without each model in turn, (N, D): what of the measure hangs on one model.

    A row is nan where the models that are left make no pair that differs enough.

    Raises:
        ValueError: as `predictive_strength`, and for fewer than three models.
    """
    losses_DN, benchmark_N = _checked(losses_DN, benchmark_N)
    if len(benchmark_N) < 3:
        raise ValueError(f"{len(benchmark_N)} models; need at least 3 to leave one out.")
    made_ND = np.full(losses_DN.shape[::-1], np.nan)
    least_gap = options.get("least_gap", 0.0)
    for left in range(len(benchmark_N)):
        kept = np.arange(len(benchmark_N)) != left
        span = np.ptp(benchmark_N[kept])
        if span > 0 and span >= least_gap:
            made_ND[left] = predictive_strength(losses_DN[:, kept], benchmark_N[kept], **options)
    return made_ND


@dataclass(frozen=True)
class Chance:
    """What strength would be if losses had nothing to do with benchmarks (all orders equally likely).

    Attributes:
        mean: 1/2.
        sd: standard deviation over documents.
        perfect: chance of strength 1; None for partial orders of too many models.
        pairs: that count.
        values: different values strength can take, when all pairs count alike.
    """

    mean: float
    sd: float
    perfect: float | None
    pairs: int
    values: int


def chance_of(benchmark_N: Sequence[float], *, weights: str = "pairs", least_gap: float = 0.0) -> Chance:
    """The chance level for these benchmarks; with all pairs sd^2 = (2N + 5) / (18 N (N - 1)) and 1/N! are perfect."""
    benchmark_N = np.asarray(benchmark_N, np.float64)
    weight_NN = _pair_weights(benchmark_N, weights, least_gap)
    # A pair in order is a coin; two pairs that share a model on the same side agree with covariance 1/12, on opposite
    # sides with -1/12; others are independent.
    wins_N, losses_N = weight_NN.sum(axis=1), weight_NN.sum(axis=0)
    squares = float((weight_NN**2).sum())
    same = float((wins_N**2 + losses_N**2).sum()) - 2 * squares
    opposite = 2 * float((wins_N * losses_N).sum())
    variance = (squares / 4 + (same - opposite) / 12) / float(weight_NN.sum()) ** 2
    pairs = int(np.count_nonzero(weight_NN))
    return Chance(0.5, math.sqrt(max(0.0, variance)), _perfect(weight_NN > 0), pairs, pairs + 1)


def _perfect(above_NN: np.ndarray) -> float | None:
    """Share of all orders that agree with every pair: linear extensions over N!, counted over subsets."""
    n = len(above_NN)
    if above_NN.sum() == n * (n - 1) // 2:
        return 1 / math.factorial(n)
    if n > _MOST_EXACT:
        return None
    before = [sum(1 << int(other) for other in np.flatnonzero(above_NN[:, one])) for one in range(n)]
    ways = [0] * (1 << n)
    ways[0] = 1
    for placed in range(1 << n):
        if ways[placed]:
            for one in range(n):
                if not placed >> one & 1 and before[one] & placed == before[one]:
                    ways[placed | 1 << one] += ways[placed]
    return ways[-1] / math.factorial(n)


@dataclass(frozen=True)
class Labels:
    """What a scorer is trained on.

    Attributes:
        labels_D: 1 for the strongest, 0 for the weakest, -1 for the rest.
        perfect: documents of strength 1.
        least_positive: the lowest strength among the positives.
        most_negative: the highest among the negatives.
        fallback: whether the strongest had to be taken, there being too few of strength 1.
    """

    labels_D: np.ndarray
    perfect: int
    least_positive: float
    most_negative: float
    fallback: bool


def label_extremes(
    strength_D: np.ndarray, *, most: int | None = None, least: int = 100, share: float = 0.2, seed: int = 0
) -> Labels:
    """Label the documents of strength 1 as positives and as many of the weakest as negatives.

    Where fewer than `least` (and fewer than `share` of all) are perfect, the strongest `share` is taken instead:
    1/N! of any documents are perfect by chance, and a scorer needs enough of them.

    Args:
        strength_D: nan is never labelled.
        most: positives at most, chosen at random among equals.
        least: perfect documents that suffice.
        share: of the known documents, for the fallback; at most a half.
        seed: of the order among equals.

    Raises:
        ValueError: fewer than two documents with a strength, or a share outside (0, 0.5].

    Paper: Predictive Data Selection (arXiv 2503.00808), section 3: strength 15/15, then the lowest until balanced.
    """
    strength_D = np.asarray(strength_D, np.float64)
    known = np.flatnonzero(~np.isnan(strength_D))
    if len(known) < 2 or not 0 < share <= 0.5:
        raise ValueError(f"{len(known)} documents with a strength, share={share}; need two, and a share up to 0.5.")
    known = np.random.default_rng(seed).permutation(known)
    falling = known[np.argsort(-strength_D[known], kind="stable")]
    perfect = int((strength_D[known] >= PERFECT).sum())
    fallback = perfect < min(least, math.ceil(share * len(known)))
    n = math.ceil(share * len(known)) if fallback else perfect
    n = min(n, len(known) // 2, len(known) if most is None else most)
    labels_D = np.full(len(strength_D), -1, np.int64)
    labels_D[falling[:n]], labels_D[falling[::-1][:n]] = 1, 0
    lowest, highest = float(strength_D[falling[n - 1]]), float(strength_D[falling[-n]])
    return Labels(labels_D, perfect, lowest, highest, fallback)


def domain_correlation(losses_JN: np.ndarray, benchmark_N: Sequence[float]) -> np.ndarray:
    """How well the order of models on each domain is that of the benchmark.

    gamma_j = sum over pairs k < l of sign(y_k - y_l) (r_j(k) - r_j(l)), where r_j(k) is the rank of model k by FALLING
    loss on domain j, so that a positive gamma means that better models have lower loss. Without ties it is Spearman's
    rho times N (N^2 - 1) / 6.

    Args:
        losses_JN: of each domain under each model, such as mean bits per byte.
        benchmark_N: higher is better.

    Returns:
        gamma_J.

    Paper: Improving Pretraining Data Using Perplexity Correlations (arXiv 2409.05816).
    """
    from scipy.stats import rankdata

    losses_JN, benchmark_N = _checked(losses_JN, benchmark_N)
    ranks_JN = rankdata(-losses_JN, axis=1, nan_policy="propagate")
    standing_N = np.sign(benchmark_N[:, None] - benchmark_N[None]).sum(axis=1)
    return ranks_JN @ standing_N


def capped_projection(gamma_J: np.ndarray, caps_J: np.ndarray) -> np.ndarray:
    """Weights of domains, none above its cap, with the largest gamma @ weights: the best are filled first.

    Args:
        gamma_J: of each domain; nan gets weight 0.
        caps_J: most weight of each, such as its share of the tokens times the epochs allowed.

    Raises:
        ValueError: caps below 0, or that sum to less than 1 over the known domains.

    Paper: Improving Pretraining Data Using Perplexity Correlations (arXiv 2409.05816), its linear projection.
    """
    gamma_J, caps_J = np.asarray(gamma_J, np.float64), np.asarray(caps_J, np.float64)
    room_J = np.where(np.isnan(gamma_J), 0.0, caps_J)
    if gamma_J.shape != caps_J.shape or not (caps_J >= 0).all() or room_J.sum() < 1 - 1e-9:
        raise ValueError(f"caps {caps_J.tolist()} for {len(gamma_J)} domains; need one of 0 or more each, 1 in all.")
    order_J = np.argsort(-np.where(np.isnan(gamma_J), -np.inf, gamma_J), kind="stable")
    before_J = np.cumsum(room_J[order_J]) - room_J[order_J]
    weights_J = np.zeros(len(gamma_J))
    weights_J[order_J] = np.clip(1 - before_J, 0, room_J[order_J])
    return weights_J


def _checked(losses: np.ndarray, benchmark: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    losses, benchmark = np.asarray(losses, np.float64), np.asarray(benchmark, np.float64)
    if losses.ndim != 2 or losses.shape[1] != len(benchmark):
        raise ValueError(f"losses of shape {losses.shape} and {len(benchmark)} benchmarks; need one column a model.")
    return losses, benchmark


def _pair_weights(benchmark_N: np.ndarray, weights: str, least_gap: float) -> np.ndarray:
    """(N, N): weight of the pair in which the row's model is better than the column's, else 0."""
    if weights not in ("pairs", "gaps"):
        raise ValueError(f"weights={weights!r}; need pairs (all alike) or gaps (by the difference of the benchmarks).")
    if not np.isfinite(benchmark_N).all():
        raise ValueError("a benchmark score is missing or not finite; need a number for every model.")
    gap_NN = benchmark_N[:, None] - benchmark_N[None]
    counts_NN = (gap_NN > 0) & (gap_NN >= least_gap)
    if not counts_NN.any():
        raise ValueError(
            f"{len(benchmark_N)} models, no two of which differ in their benchmark"
            f"{f' by {least_gap:g} or more' if least_gap else ''}; need models that differ. Give others"
            f"{', or a lower --least-gap' if least_gap else ''}."
        )
    return np.where(counts_NN, gap_NN, 0.0) if weights == "gaps" else counts_NN.astype(np.float64)
