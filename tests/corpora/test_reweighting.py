"""Weights follow losses as the papers' equations say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.reweighting import (
    MeanWeights,
    bandit_step,
    doge_scores,
    doge_step,
    doremi_step,
    excess_losses,
    skill_weights,
)

vectors = st.lists(st.floats(-50, 50), min_size=2, max_size=6)


def test_a_proxy_as_good_as_its_reference_keeps_uniform_weights():
    losses = np.random.default_rng(0).random(40)
    excess, counts = excess_losses(losses, losses, np.arange(40) % 4, n_domains=4)
    weights, mean = np.full(4, 0.25), MeanWeights()
    for _ in range(50):
        weights = doremi_step(weights, excess)
        mean.add(weights)
    np.testing.assert_allclose(mean.mean, 0.25, rtol=1e-12)
    assert counts.tolist() == [10] * 4


def test_a_constant_excess_grows_as_the_closed_form_says():
    """Without smoothing the log ratio of two weights grows by rate * difference each step."""
    weights = np.array([0.5, 0.5])
    for _ in range(7):
        weights = doremi_step(weights, [0.3, 0.1], rate=0.5, smoothing=0)
    assert np.log(weights[0] / weights[1]) == pytest.approx(7 * 0.5 * 0.2)


def test_smoothing_has_the_fixed_point_of_its_equation():
    """a = (1 - c) a e / (a e + 1 - a) + c / 2, solved for a."""
    weights, growth, c = np.array([0.5, 0.5]), np.exp(0.4), 0.05
    for _ in range(2000):
        weights = doremi_step(weights, [0.4, 0.0], smoothing=c)
    a = weights[0]
    assert a == pytest.approx((1 - c) * a * growth / (a * growth + 1 - a) + c / 2, abs=1e-12)
    assert 0.5 < a < 1 - c / 4


def test_excess_counts_only_tokens_on_which_the_proxy_is_worse():
    excess, counts = excess_losses([2.0, 1.0, 3.0], [1.0, 4.0, 1.0], np.array([0, 0, 2]), n_domains=3)
    assert excess.tolist() == [0.5, 0.0, 2.0]
    assert counts.tolist() == [2, 0, 1]


def test_doge_favours_the_domain_whose_gradient_points_where_all_point():
    gradients = np.array([[1.0, 0], [1, 1], [0, -1]])
    np.testing.assert_allclose(doge_scores(gradients), [2, 2, 0])
    weights = doge_step(np.full(3, 1 / 3), doge_scores(gradients), rate=0.1, strength=0.2)
    np.testing.assert_allclose(weights, np.exp([1, 1, 0]) / np.exp([1, 1, 0]).sum())


def test_orthogonal_gradients_of_one_length_keep_uniform_weights():
    np.testing.assert_allclose(doge_step(np.full(4, 0.25), doge_scores(np.eye(4))), 0.25)


def test_the_bandit_explores_less_with_time_and_draws_what_is_hard():
    weights, rewards, rng = np.full(3, 1 / 3), np.zeros(3), np.random.default_rng(0)
    for step in range(1, 400):
        drawn = rng.choice(3, p=weights)
        losses = np.full(3, np.nan)
        losses[drawn] = (1.0, 1.0, 5.0)[drawn]
        rewards, weights = bandit_step(rewards, losses, weights, step=step)
        assert weights.min() >= min(1 / 3, np.sqrt(np.log(3) / (3 * step))) - 1e-12
    assert weights.argmax() == 2


def test_skills_that_help_hard_ones_get_more():
    weights = skill_weights([[1, 0], [1, 1]], [0.5, 2.0], rate=0.3)
    assert np.log(weights[1] / weights[0]) == pytest.approx(0.3 * 2.0)


@given(vectors, st.floats(0, 100), st.floats(0, 1))
def test_weights_stay_on_the_simplex_and_above_their_floor(excess, rate, smoothing):
    weights = doremi_step(np.full(len(excess), 1 / len(excess)), excess, rate=rate, smoothing=smoothing)
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    assert weights.min() >= smoothing / len(excess) - 1e-12
    order = np.argsort(excess, kind="stable")
    assert (np.diff(weights[order]) >= -1e-12).all()


def test_a_diverged_loss_is_named():
    with pytest.raises(ValueError, match="diverged"):
        doremi_step([0.5, 0.5], [np.nan, 0])
    with pytest.raises(ValueError, match="no weights"):
        _ = MeanWeights().mean
