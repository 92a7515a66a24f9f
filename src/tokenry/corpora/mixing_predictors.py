"""Learn from a few measured mixtures what another mixture would score: boosted trees, a Gaussian process, a line.

A predictor is fitted by `fit(weights_NK, scores_N, seed=...)` and is then a function of weights.

Papers: CLIMB (arXiv 2504.13161) and RegMix (arXiv 2407.01492) for the trees; Gaussian Processes for Machine Learning
(Rasmussen and Williams, 2006), algorithm 2.1 and section 5.4.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tokenry.core.choosing import needs

__all__ = [
    "PREDICTORS",
    "GaussianProcess",
    "Predict",
    "cross_validated",
    "fit_gaussian_process",
    "fit_line",
    "fit_trees",
]

# Axes: N measured mixtures, M other mixtures, K domains, F folds.

Predict = Callable[[np.ndarray], np.ndarray]
PREDICTORS = {
    "gp": "tokenry.corpora.mixing_predictors:fit_gaussian_process",
    "lightgbm": "tokenry.corpora.mixing_predictors:fit_trees",
    "linear": "tokenry.corpora.mixing_predictors:fit_line",
}

TREE_SETTINGS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "max_depth": 4,
    "num_leaves": 31,
    "min_data_in_leaf": 5,
    "min_data_in_bin": 1,
    "feature_pre_filter": False,
    "feature_fraction": 0.9,
    "bagging_freq": 0,
    "lambda_l1": 0.1,
    "lambda_l2": 0.1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""Of LightGBM, as the paper has them: depth 4 (so 16 leaves at most), 5 samples a leaf, both penalties, no bagging."""
_MOST_TREES, _PATIENCE, _FEW = 500, 20, 200
_JITTER = 1e-10


def fit_trees(weights_NK: np.ndarray, scores_N: np.ndarray, *, seed: int = 0) -> Predict:
    """Boosted trees (LightGBM), the paper's predictor; the scores are standardised first.

    Below 200 mixtures a held-out tenth says nothing: the number of trees is that which is best in five-fold
    cross-validation, 20 rounds without gain ending it. From 200 on a tenth is held out, as in the paper.

    Raises:
        ImportError: LightGBM is not installed.
    """
    needs("mixing", "lightgbm")
    import lightgbm

    weights_NK, scores_N = _checked(weights_NK, scores_N)
    middle, scale = float(scores_N.mean()), float(scores_N.std()) or 1.0
    settings, n = {**TREE_SETTINGS, "seed": seed}, len(scores_N)
    fold_N = np.random.default_rng(seed).permutation(n) % (5 if n < _FEW else 10)
    whole = lightgbm.Dataset(weights_NK, (scores_N - middle) / scale, params=settings, free_raw_data=False)
    whole.construct()
    folds = [(np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)) for fold in range(5 if n < _FEW else 1)]
    # Fewer than 20 mixtures leave no two leaves of 5 in each fold.
    n_trees = 30
    if n >= 20:
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        curve = lightgbm.cv(settings, whole, _MOST_TREES, folds=folds, callbacks=[stop])
        n_trees = max(1, len(curve["valid l2-mean"]))
    trees = lightgbm.train(settings, whole, n_trees)
    return lambda weights_MK: middle + scale * trees.predict(np.asarray(weights_MK, np.float64), num_threads=1)


def fit_line(weights_NK: np.ndarray, scores_N: np.ndarray, *, seed: int = 0) -> Predict:
    """A linear function of the weights with a ridge penalty, chosen by the error of leaving one out (exact).

    Args:
        seed: of no use here; all predictors take one.
    """
    weights_NK, scores_N = _checked(weights_NK, scores_N)
    middle_K, middle = weights_NK.mean(axis=0), float(scores_N.mean())
    left_NK, sizes_K, right_KK = np.linalg.svd(weights_NK - middle_K, full_matrices=False)
    best = (np.inf, np.zeros(weights_NK.shape[1]))
    for penalty in np.logspace(-8, 2, 21) * max(float(sizes_K.max(initial=0)) ** 2, 1e-12):
        shrink_K = sizes_K / (sizes_K**2 + penalty)
        projected_K = left_NK.T @ (scores_N - middle)
        residuals_N = scores_N - middle - left_NK @ (sizes_K * shrink_K * projected_K)
        leverage_N = 1 / len(scores_N) + np.square(left_NK) @ (sizes_K * shrink_K)
        error = float(np.square(residuals_N / np.maximum(1 - leverage_N, 1e-9)).mean())
        if error < best[0]:
            best = (error, right_KK.T @ (shrink_K * projected_K))
    return lambda weights_MK: middle + (np.asarray(weights_MK, np.float64) - middle_K) @ best[1]


@dataclass(frozen=True)
class GaussianProcess:
    """The posterior of a Gaussian process with kernel a exp(-d^2 / 2 l^2), and noise.

    Attributes:
        weights_NK: mixtures it was fitted on.
        amplitude: a.
        length: l.
        noise: variance of the noise; all three for standardised scores.
        middle, scale: of the scores.
        factor_NN: lower Cholesky factor of kernel + noise.
        coefficients_N: (kernel + noise)^-1 scores.
    """

    weights_NK: np.ndarray
    amplitude: float
    length: float
    noise: float
    middle: float
    scale: float
    factor_NN: np.ndarray
    coefficients_N: np.ndarray

    def __call__(self, weights_MK: np.ndarray) -> np.ndarray:
        """Posterior mean."""
        return self.middle + self.scale * (self._across(weights_MK) @ self.coefficients_N)

    def deviation(self, weights_MK: np.ndarray) -> np.ndarray:
        """Posterior standard deviation of what would be measured without noise."""
        from scipy.linalg import solve_triangular

        solved_NM = solve_triangular(self.factor_NN, self._across(weights_MK).T, lower=True)
        return self.scale * np.sqrt(np.maximum(0, self.amplitude - np.square(solved_NM).sum(axis=0)))

    def _across(self, weights_MK: np.ndarray) -> np.ndarray:
        squares_MN = _squares(np.asarray(weights_MK, np.float64), self.weights_NK)
        return self.amplitude * np.exp(-squares_MN / (2 * self.length**2))


def fit_gaussian_process(weights_NK: np.ndarray, scores_N: np.ndarray, *, seed: int = 0) -> GaussianProcess:
    """A Gaussian process whose amplitude, length and noise are the likeliest ones (L-BFGS from several starts).

    Args:
        weights_NK: shares; scores_N: of any scale, standardised inside.
        seed: of the starts.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    weights_NK, scores_N = _checked(weights_NK, scores_N)
    middle, scale = float(scores_N.mean()), float(scores_N.std()) or 1.0
    targets_N = (scores_N - middle) / scale
    squares_NN = _squares(weights_NK, weights_NK)
    typical = float(np.sqrt(np.median(squares_NN[squares_NN > 0]))) if (squares_NN > 0).any() else 1.0
    bounds = [(np.log(1e-3), np.log(1e3)), (np.log(typical / 20), np.log(typical * 20)), (np.log(1e-6), np.log(2.0))]
    rng = np.random.default_rng(seed)
    starts = [np.log([1.0, typical, 0.1]), np.log([1.0, typical / 3, 0.01])]
    starts += [np.array([rng.uniform(*bound) for bound in bounds]) for _ in range(2)]
    found = [
        minimize(_likelihood, start, args=(squares_NN, targets_N), jac=True, bounds=bounds, method="L-BFGS-B")
        for start in starts
    ]
    amplitude, length, noise = np.exp(min(found, key=lambda one: one.fun).x)
    covariance_NN = amplitude * np.exp(-squares_NN / (2 * length**2)) + (noise + _JITTER) * np.eye(len(targets_N))
    factor = cho_factor(covariance_NN, lower=True)
    return GaussianProcess(
        weights_NK, float(amplitude), float(length), float(noise), middle, scale,
        np.tril(factor[0]), cho_solve(factor, targets_N),
    )  # fmt: skip


def _likelihood(logs: np.ndarray, squares_NN: np.ndarray, targets_N: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative log marginal likelihood and its gradient by log amplitude, log length and log noise."""
    from scipy.linalg import cho_factor, cho_solve

    amplitude, length, noise = np.exp(logs)
    kernel_NN = amplitude * np.exp(-squares_NN / (2 * length**2))
    n = len(targets_N)
    try:
        factor = cho_factor(kernel_NN + (noise + _JITTER) * np.eye(n), lower=True)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros(3)
    coefficients_N = cho_solve(factor, targets_N)
    value = 0.5 * targets_N @ coefficients_N + np.log(np.diag(factor[0])).sum() + 0.5 * n * np.log(2 * np.pi)
    inner_NN = cho_solve(factor, np.eye(n)) - np.outer(coefficients_N, coefficients_N)
    slopes = [(inner_NN * kernel_NN).sum(), (inner_NN * kernel_NN * squares_NN).sum() / length**2]
    return float(value), 0.5 * np.array([*slopes, noise * np.trace(inner_NN)])


def cross_validated(
    fit: Callable[..., Predict], weights_NK: np.ndarray, scores_N: np.ndarray, *, seed: int = 0, n_folds: int = 5
) -> np.ndarray:
    """What a predictor says of each mixture when it was fitted without it.

    Returns:
        predicted_N: NaN everywhere with fewer than 10 mixtures.
    """
    weights_NK, scores_N = _checked(weights_NK, scores_N)
    predicted_N = np.full(len(scores_N), np.nan)
    if len(scores_N) < 10:
        return predicted_N
    fold_N = np.random.default_rng(seed).permutation(len(scores_N)) % n_folds
    for fold in range(n_folds):
        rest_N = fold_N != fold
        predicted_N[~rest_N] = fit(weights_NK[rest_N], scores_N[rest_N], seed=seed)(weights_NK[~rest_N])
    return predicted_N


def _squares(left_MK: np.ndarray, right_NK: np.ndarray) -> np.ndarray:
    products_MN = left_MK @ right_NK.T
    squares_MN = np.square(left_MK).sum(axis=1)[:, None] - 2 * products_MN + np.square(right_NK).sum(axis=1)
    return np.maximum(0, squares_MN)


def _checked(weights_NK: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights_NK, scores_N = np.asarray(weights_NK, np.float64), np.asarray(scores_N, np.float64)
    if weights_NK.ndim != 2 or scores_N.shape != (len(weights_NK),) or len(scores_N) < 2:
        raise ValueError(f"weights {weights_NK.shape}, scores {scores_N.shape}; need at least two rows, a score each.")
    if not (np.isfinite(weights_NK).all() and np.isfinite(scores_N).all()):
        raise ValueError("weights or scores that are not finite; leave those mixtures out.")
    return weights_NK, scores_N
