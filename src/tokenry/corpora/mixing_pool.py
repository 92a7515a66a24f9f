"""Draw the mixtures among which a search looks: Dirichlet draws around the sizes of the domains, within a budget.

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161), section 2.3; RegMix
(arXiv 2407.01492).
"""

from collections.abc import Sequence

import numpy as np

from tokenry.corpora.mixtures import budgets_within_epochs

__all__ = ["CONCENTRATIONS", "affordable_candidates", "candidates"]

# Axes: P candidates in the pool, K domains.

CONCENTRATIONS = (0.3, 0.7, 1.5, 4.0)


def candidates(
    sizes_K: np.ndarray,
    n: int,
    *,
    concentrations: Sequence[float] = CONCENTRATIONS,
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
        raise ValueError(
            f"{len(sizes_K)} domains of sizes {sizes_K.tolist()}; need at least two, all above 0. Leave empty ones out."
        )
    share_K = sizes_K / sizes_K.sum() if by_size else np.full(len(sizes_K), 1 / len(sizes_K))
    rng = np.random.default_rng(seed)
    counts = np.bincount(np.arange(n) % len(concentrations), minlength=len(concentrations))
    drawn_PK = np.concatenate(
        [rng.dirichlet(one * len(share_K) * share_K, size) for one, size in zip(concentrations, counts, strict=True)]
    )
    drawn_PK = np.where(np.isfinite(drawn_PK).all(axis=1, keepdims=True), drawn_PK, share_K)
    return rng.permutation(drawn_PK / drawn_PK.sum(axis=1, keepdims=True))


def affordable_candidates(
    sizes_K: np.ndarray,
    n: int,
    *,
    concentrations: Sequence[float] = CONCENTRATIONS,
    by_size: bool = True,
    seed: int = 0,
    budget: float | None = None,
    epochs: float = 4.0,
) -> np.ndarray:
    """`candidates`, each once, brought within `epochs` passes over each domain when there is a budget.

    Raises:
        ValueError: the domains cannot fill the budget within the epochs.
    """
    pool_PK = candidates(sizes_K, n, concentrations=concentrations, by_size=by_size, seed=seed)
    if budget is not None:
        pool_PK = _affordable(pool_PK, np.asarray(sizes_K, np.float64), budget, epochs)
    return pool_PK[np.sort(np.unique(pool_PK, axis=0, return_index=True)[1])]


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
