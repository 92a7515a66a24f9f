"""How sure an inferred mixture is: resampled documents, shares that do nearly as well, and where the fit is bad.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np

from tokenry.core.runs import Progress
from tokenry.tokenization.mixture_programme import NEGLIGIBLE, TOLERANCE, MixtureFit, MixtureProblem, fit_mixture
from tokenry.tokenization.mixture_replay import Changes, Trajectories

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Axes: W words, S columns (category x shard), C categories, R resamples, T steps, P pairs.


def bootstrap_shares(
    trajectories: Trajectories,
    counts_WS: "np.ndarray | csr_matrix",
    shard_category: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
    n_pairs_C: np.ndarray | None = None,
    start: "np.ndarray | MixtureFit | None" = None,
    constrained_T: np.ndarray | None = None,
    excluded_pairs: np.ndarray | None = None,
    tolerance: float = 1e-3,
) -> np.ndarray:
    """Shares inferred from resampled documents: shards are drawn with replacement inside each category.

    This is the noise of the samples alone. The tokenizer's own training text was a sample too, which no resampling of
    ours shows: the intervals are too narrow for the whole error.

    Args:
        trajectories: the replay over the words.
        counts_WS: occurrences of each word in each shard of each category.
        shard_category: int (S,), the category of each column, 0 to C - 1.
        n_resamples: R.
        seed: of the draws.
        n_pairs_C: first pairs of each column (S,); None: from the replay.
        start: shares, or the fit, of the whole samples. From a fit each resample needs few rounds.
        constrained_T, excluded_pairs, tolerance: as in `fit_mixture`.

    Returns:
        float64 (R, C), shares of pairs.

    Raises:
        ValueError: no resample, or a category without pairs.

    Paper: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
    """
    from scipy import sparse

    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples}; need at least 1, better 20.")
    shard_category, rng = np.asarray(shard_category), np.random.default_rng(seed)
    counts_WS = sparse.csr_matrix(counts_WS)
    pairs_S = _pairs_of(trajectories, counts_WS) if n_pairs_C is None else np.asarray(n_pairs_C, np.float64)
    draws = []
    with Progress("resampling", total=n_resamples, unit="resamples") as progress:
        for _ in range(n_resamples):
            weights_SC = resampled_weights(shard_category, pairs_S > 0, rng)
            changes = trajectories.changes(counts_WS @ sparse.csr_matrix(weights_SC))
            fit = fit_mixture(
                changes, pairs_S @ weights_SC, merged_pair=trajectories.merged_pair, constrained_T=constrained_T,
                excluded_pairs=excluded_pairs, tolerance=tolerance, start=start,
            )  # fmt: skip
            start = start if isinstance(start, MixtureFit) else fit  # its planes serve the next one
            draws.append(fit.pairs_share)
            progress.add(1)
    return np.array(draws)


def resampled_weights(shard_category: np.ndarray, held_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 (S, C): how often each shard is drawn, as many of each category's non-empty shards as it has."""
    n = int(shard_category.max()) + 1
    weights = np.zeros((len(shard_category), n), np.int64)
    for category in range(n):
        shards = np.flatnonzero((shard_category == category) & held_S)
        if not len(shards):
            raise ValueError(f"category {category} has no pairs in any shard; give it more text, or leave it out.")
        np.add.at(weights[:, category], rng.choice(shards, len(shards)), 1)
    return weights


def near_optimal_range(
    changes: Changes,
    n_pairs_C: np.ndarray,
    *,
    merged_pair: np.ndarray,
    constrained_T: np.ndarray | None = None,
    excluded_pairs: np.ndarray | None = None,
    slack: float = 0.01,
    tolerance: float = 1e-3,
    start: "np.ndarray | MixtureFit | None" = None,
    max_rounds: int = 200,
) -> np.ndarray:
    """Least and largest share of each category among all mixtures that explain the merges nearly as well as the best.

    A wide range says that the merges cannot tell this category from a mixture of the others. It is found from outside:
    each end is moved in by planes while the shares there do worse than allowed, so the true range lies inside.

    Args:
        changes, n_pairs_C, merged_pair, constrained_T, excluded_pairs: as in `fit_mixture`.
        slack: how much worse the objective may be, as a share of the best.
        tolerance: relative gap of the best, and by how much an end may miss what is allowed.
        start: the fit, where there is one already.
        max_rounds: for each end, at most.

    Returns:
        float64 (C, 2).

    Raises:
        ValueError: a slack below 0, and as `fit_mixture`.

    Paper: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
    """
    from tokenry.tokenization.mixture_cuts import solve_by_cuts
    from tokenry.tokenization.mixture_ranges import narrowed_range

    if not slack >= 0:
        raise ValueError(f"slack={slack}; need a share of at least 0, such as 0.01.")
    problem = MixtureProblem(
        changes, n_pairs_C, merged_pair=merged_pair, constrained_T=constrained_T, excluded_pairs=excluded_pairs
    )
    if problem.n_categories == 1:
        return np.ones((1, 2))
    fit = solve_by_cuts(problem, tolerance=tolerance, start=start)
    ceiling = (1 + slack) * fit.objective + NEGLIGIBLE
    return narrowed_range(problem, fit, ceiling=ceiling, tolerance=tolerance, max_rounds=max_rounds)


def slack_by_range(fit: MixtureFit, edges: np.ndarray) -> np.ndarray:
    """Where in the list of merges the fit is bad.

    Args:
        fit: the fit.
        edges: int, rising: range k is steps `edges[k]` to `edges[k + 1]`.

    Returns:
        float64 (len(edges) - 1, 4): steps that are evidence, share of those without slack, mean slack and largest slack
        (pairs per million). The last three are NaN for a range without evidence.
    """
    rows = []
    for low, high in itertools.pairwise(edges):
        used = fit.slack_step[low:high][fit.constrained[low:high]]
        nothing = (np.nan,) * 3
        rows.append((len(used), *((np.mean(used <= TOLERANCE), used.mean(), used.max()) if len(used) else nothing)))
    return np.array(rows, np.float64).reshape(-1, 4)


def worst_steps(fit: MixtureFit, k: int = 20) -> np.ndarray:
    """int64, up to `k` steps of the largest slack, largest first: merges of something no category holds enough of."""
    return _largest(fit.slack_step, k)


def worst_pairs(fit: MixtureFit, k: int = 20) -> np.ndarray:
    """int64, up to `k` pairs of the largest slack, largest first: what the samples hold too much of."""
    return _largest(fit.slack_pair, k)


def _largest(slack: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-slack, kind="stable")[:k]
    return order[slack[order] > TOLERANCE].astype(np.int64)


def _pairs_of(trajectories: Trajectories, counts_WS: "csr_matrix") -> np.ndarray:
    """float64 (S,), pairs of each column before any merge.

    Raises:
        ValueError: the replay does not know them.
    """
    if trajectories.first_step:
        raise ValueError("the replay begins after inherited merges and does not hold the first pairs; give n_pairs_C.")
    held = int(np.searchsorted(trajectories.event_step, 0, side="right"))
    per_word = np.asarray(trajectories.events[:held].sum(0), np.int64).ravel()
    return np.asarray(counts_WS.T @ per_word, np.float64)
