"""Predictors are those of the libraries they are named after, and rank mixtures they have not seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.corpora import mixing_predictors as predictors
from tokenry.corpora.mixing_predictors import cross_validated, fit_gaussian_process, fit_line, fit_trees


def measured(n=60, k=5, seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k), n)
    return weights, np.sqrt(weights) @ np.linspace(-1, 2, k) + noise * rng.normal(size=n)


def test_the_process_predicts_as_scikit_learn_does_with_the_same_kernel():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    from sklearn.gaussian_process import GaussianProcessRegressor

    weights, scores = measured()
    ours = fit_gaussian_process(weights, scores)
    kernel = kernels.ConstantKernel(ours.amplitude) * kernels.RBF(ours.length) + kernels.WhiteKernel(ours.noise)
    standard = (scores - scores.mean()) / scores.std()
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-10).fit(weights, standard)
    new = measured(30, seed=1)[0]
    mean, deviation = theirs.predict(new, return_std=True)
    np.testing.assert_allclose(ours(new), scores.mean() + scores.std() * mean, rtol=1e-7, atol=1e-9)
    without_noise = np.sqrt(np.maximum(0, deviation**2 - ours.noise)) * scores.std()
    np.testing.assert_allclose(ours.deviation(new), without_noise, rtol=1e-4, atol=1e-6)
    logs = np.log([ours.amplitude, ours.length, ours.noise])
    value, slope = predictors._likelihood(logs, predictors._squares(weights, weights), standard)
    likelihood, gradient = theirs.log_marginal_likelihood(logs, eval_gradient=True, clone_kernel=False)
    assert -value == pytest.approx(likelihood, rel=1e-7)
    np.testing.assert_allclose(-slope, gradient, atol=1e-5)


def test_the_process_is_as_likely_as_that_scikit_learn_finds():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    from sklearn.gaussian_process import GaussianProcessRegressor

    weights, scores = measured(40, noise=0.1)
    ours = fit_gaussian_process(weights, scores)
    standard = (scores - scores.mean()) / scores.std()
    kernel = kernels.ConstantKernel(1.0) * kernels.RBF(0.5) + kernels.WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, n_restarts_optimizer=4, random_state=0).fit(weights, standard)
    logs = np.log([ours.amplitude, ours.length, ours.noise])
    value, _ = predictors._likelihood(logs, predictors._squares(weights, weights), standard)
    assert -value > theirs.log_marginal_likelihood_value_ - 1e-3


def test_trees_are_those_of_lightgbm_with_the_stated_settings():
    lightgbm = pytest.importorskip("lightgbm")

    weights, scores = measured(18)  # too few for a curve: 30 trees
    standard = (scores - scores.mean()) / scores.std()
    settings = {**predictors.TREE_SETTINGS, "seed": 4}
    theirs = lightgbm.train(settings, lightgbm.Dataset(weights, standard, params=settings), 30)
    new = measured(30, seed=1)[0]
    ours = fit_trees(weights, scores, seed=4)
    assert np.array_equal(ours(new), scores.mean() + scores.std() * theirs.predict(new, num_threads=1))


def test_sixty_mixtures_make_trees_that_split():
    """With the library's own limit of 20 a leaf, 64 mixtures can make three leaves at most."""
    pytest.importorskip("lightgbm")
    weights, scores = measured(64)
    assert len(np.unique(fit_trees(weights, scores)(measured(500, seed=2)[0]))) > 20


def test_the_line_is_found_and_its_error_is_that_of_leaving_each_out():
    weights, _ = measured()
    slope = np.array([3.0, -1, 0, 2, 1])
    line = fit_line(weights, weights @ slope + 0.5)
    new = measured(20, seed=3)[0]
    np.testing.assert_allclose(line(new), new @ slope + 0.5, atol=1e-5)


@pytest.mark.parametrize("fit", [fit_gaussian_process, fit_line, fit_trees])
def test_held_out_mixtures_are_ranked(fit):
    """60 rows: a rank correlation of 0.5 has z = 0.5 * sqrt(59) = 3.8 against none."""
    if fit is fit_trees:
        pytest.importorskip("lightgbm")
    from scipy.stats import spearmanr

    weights, scores = measured()
    predicted = cross_validated(fit, weights, scores)
    assert spearmanr(predicted, scores).statistic > 0.5
    assert np.array_equal(predicted, cross_validated(fit, weights, scores))


@settings(max_examples=15)
@given(st.integers(2, 12), st.integers(2, 5), st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.integers(0, 9))
def test_a_process_moves_with_the_scale_of_the_scores(n, k, shift, scale, seed):
    weights, scores = measured(n, k, seed)
    new = measured(5, k, seed + 1)[0]
    plain, moved = fit_gaussian_process(weights, scores), fit_gaussian_process(weights, shift + scale * scores)
    tolerance = 1e-3 * scale * (np.ptp(scores) + 1e-9) + 1e-9 * abs(shift)
    np.testing.assert_allclose(moved(new), shift + scale * plain(new), atol=tolerance)


def test_equal_scores_and_bad_numbers():
    weights, _ = measured(12)
    for fit in (fit_gaussian_process, fit_line):
        np.testing.assert_allclose(fit(weights, np.full(12, 3.0))(weights), 3.0)
    with pytest.raises(ValueError, match="not finite"):
        fit_gaussian_process(weights, np.full(12, np.nan))
    with pytest.raises(ValueError, match="two rows"):
        fit_line(weights[:1], [1.0])
