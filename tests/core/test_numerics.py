import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.isotonic import IsotonicRegression

from tokenry.core.numerics import (
    entropy,
    gumbel_top_k,
    isotonic,
    js_divergence,
    kendall_tau,
    log1mexp,
    logsumexp,
    renyi_entropy,
    softmax,
    spearman,
)

logits = st.lists(st.floats(-800, 800) | st.just(-math.inf), min_size=1, max_size=8)
counts = st.lists(st.integers(0, 9), min_size=2, max_size=8).filter(any)


@given(logits)
def test_logsumexp_equals_scipy(values):
    # Near 0 the result is a difference of rounded numbers near 1: absolute error of a few units in the last place of 1.
    np.testing.assert_allclose(logsumexp(values), special.logsumexp(values), rtol=1e-12, atol=1e-15)


def test_logsumexp_keeps_axes_and_infinities():
    values = np.random.default_rng(0).normal(size=(2, 3, 4)) * 50
    np.testing.assert_allclose(logsumexp(values, axis=1), special.logsumexp(values, axis=1))
    assert logsumexp([-math.inf, -math.inf]) == -math.inf
    assert logsumexp([math.inf, 0.0]) == math.inf
    assert logsumexp([]) == -math.inf
    assert logsumexp(np.zeros((2, 0)), axis=1).tolist() == [-math.inf, -math.inf]


@given(st.floats(-700, -1e-300) | st.sampled_from([0.0, -math.inf, -math.log(2)]))
def test_log1mexp_is_exact_at_both_ends(log_p):
    from decimal import Decimal, getcontext

    getcontext().prec = 400
    if log_p in (0.0, -math.inf):
        assert log1mexp(log_p) == (-math.inf if log_p == 0 else 0.0)
    else:
        expected = float((1 - Decimal(log_p).exp()).ln())
        assert float(log1mexp(log_p)) == pytest.approx(expected, rel=1e-12)


def test_log1mexp_refuses_what_is_no_log_probability():
    with pytest.raises(ValueError, match="at most 0"):
        log1mexp([0.1])


@given(logits)
def test_softmax_equals_scipy_and_sums_to_one(values):
    if max(values) > -math.inf:
        np.testing.assert_allclose(softmax(values), special.softmax(values), atol=1e-15)
        assert softmax(values).sum() == pytest.approx(1)


@given(counts)
def test_entropy_equals_scipy_and_is_bounded_by_the_support(weights):
    bits = entropy(weights, base=2)
    assert bits == pytest.approx(stats.entropy(weights, base=2), abs=1e-12)
    assert -1e-12 <= bits <= math.log2(sum(w > 0 for w in weights)) + 1e-12


@given(counts, st.floats(0, 8))
def test_renyi_entropy_falls_with_its_order(weights, alpha):
    low, high = renyi_entropy(weights, alpha), renyi_entropy(weights, alpha + 0.5)
    assert high <= low + 1e-9
    p = np.array([w for w in weights if w]) / sum(weights)
    if abs(alpha - 1) > 1e-3:
        assert low == pytest.approx(math.log((p**alpha).sum()) / (1 - alpha), abs=1e-9)


def test_renyi_entropy_meets_its_limits():
    p = [0.5, 0.25, 0.25, 0.0]
    assert renyi_entropy(p, 0, base=2) == pytest.approx(math.log2(3))
    assert renyi_entropy(p, 1, base=2) == pytest.approx(1.5)
    assert renyi_entropy(p, math.inf, base=2) == pytest.approx(1)
    assert renyi_entropy(p, 1 + 1e-6) == pytest.approx(float(entropy(p)), abs=1e-5)
    with pytest.raises(ValueError, match="order"):
        renyi_entropy(p, -1)


@given(counts, counts)
def test_js_divergence_equals_scipy(p, q):
    size = min(len(p), len(q))
    p, q = p[:size], q[:size]
    if any(p) and any(q):
        from scipy.spatial.distance import jensenshannon

        assert js_divergence(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)
        assert js_divergence(p, q) == pytest.approx(float(js_divergence(q, p)), abs=1e-15)


def test_js_divergence_is_zero_on_equals_and_one_bit_on_strangers():
    assert js_divergence([1, 2, 3], [2, 4, 6]) == 0
    assert js_divergence([1, 0], [0, 1]) == pytest.approx(1)


def test_weights_that_are_no_distribution_are_refused_or_unknown():
    with pytest.raises(ValueError, match="negative"):
        entropy([0.5, -0.5])
    with pytest.raises(ValueError, match="non-finite"):
        entropy([0.5, math.inf])
    assert np.isnan(entropy([[0.0, 0.0], [1.0, 1.0]])).tolist() == [True, False]
    assert math.isnan(renyi_entropy([0.0, 0.0], 2))


def test_gumbel_top_k_draws_like_choice_without_replacement():
    # The ordered pair (i, j) has probability p_i * p_j / (1 - p_i). 20,000 draws, chi-squared over 6 pairs:
    # above 25.7 (5 degrees of freedom) with probability 1e-4.
    p = np.array([0.6, 0.3, 0.1])
    picks = gumbel_top_k(np.broadcast_to(np.log(p), (20_000, 3)), 2, np.random.default_rng(0))
    statistic = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                expected = 20_000 * p[i] * p[j] / (1 - p[i])
                statistic += (np.sum((picks == (i, j)).all(1)) - expected) ** 2 / expected
    assert statistic < 25.7


@given(st.lists(st.floats(-20, 20) | st.just(-math.inf), min_size=1, max_size=9), st.integers(0, 9))
def test_gumbel_top_k_draws_distinct_items_that_have_weight(weights, k):
    rng = np.random.default_rng(0)
    if k > sum(w > -math.inf for w in weights):
        with pytest.raises(ValueError, match="lower k"):
            gumbel_top_k(weights, k, rng)
    else:
        picks = gumbel_top_k(weights, k, rng)
        assert len(set(picks.tolist())) == len(picks) == k
        assert all(weights[i] > -math.inf for i in picks)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_kendall_tau_equals_scipy_with_ties(pairs):
    x, y = zip(*pairs, strict=True)
    np.testing.assert_allclose(kendall_tau(x, y), stats.kendalltau(x, y).statistic, atol=1e-12)


def test_kendall_tau_takes_many_rankings_at_once_and_infinities():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 40)), rng.normal(size=40)
    np.testing.assert_allclose(kendall_tau(x, y), [stats.kendalltau(row, y).statistic for row in x])
    assert kendall_tau([-math.inf, 0, math.inf], [1, 2, 3]) == 1
    assert math.isnan(kendall_tau([1], [1]))
    with pytest.raises(ValueError, match="NaN"):
        kendall_tau([1, math.nan], [1, 2])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_spearman_equals_scipy_with_ties(pairs):
    x, y = zip(*pairs, strict=True)
    if len(set(x)) > 1 and len(set(y)) > 1:
        np.testing.assert_allclose(spearman(x, y), stats.spearmanr(x, y).statistic, atol=1e-12)
    else:
        assert math.isnan(spearman(x, y))


def test_spearman_leaves_out_what_is_not_finite():
    assert spearman([1, 2, math.nan, 3, math.inf], [3, 2, 9, 1, 0]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="one length"):
        spearman([1, 2, 3], [1, 2])


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 5)), min_size=1, max_size=20), st.booleans())
def test_isotonic_equals_scikit_learn(points, increasing):
    values, weights = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    ours = isotonic(values, weights=weights, increasing=increasing)
    grid = np.arange(len(values))
    theirs = IsotonicRegression(increasing=increasing).fit(grid, values, weights).predict(grid)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_isotonic_is_monotone_idempotent_and_keeps_the_mean():
    values = np.random.default_rng(0).normal(size=500).cumsum()
    fit = isotonic(values)
    assert (np.diff(fit) >= 0).all()
    np.testing.assert_allclose(isotonic(fit), fit)
    assert fit.mean() == pytest.approx(values.mean())
    assert isotonic([]).shape == (0,)
    with pytest.raises(ValueError, match="positive"):
        isotonic([1.0, 2.0], weights=[1.0, 0.0])
