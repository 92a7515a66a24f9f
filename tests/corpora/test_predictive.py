"""Strength is Kendall's tau in other words, its chance level is exact, and gamma is Spearman's rho."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from tokenry.corpora.predictive import (
    capped_projection,
    chance_of,
    domain_correlation,
    label_extremes,
    leave_one_out,
    predictive_strength,
)

LOSSES = st.integers(2, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.floats(0.1, 5), min_size=n, max_size=n), min_size=1, max_size=5),
        st.lists(st.integers(0, 50), min_size=n, max_size=n, unique=True),
    )
)


@given(LOSSES)
def test_strength_is_tau_between_benchmark_and_falling_loss(case):
    losses, benchmark = np.array(case[0]), case[1]
    for row, found in zip(losses, predictive_strength(losses, benchmark), strict=True):
        if len(set(row.tolist())) == len(row):
            assert found == pytest.approx((kendalltau(benchmark, -row).statistic + 1) / 2, abs=1e-12)
        pairs = [(i, j) for i in range(len(row)) for j in range(len(row)) if benchmark[i] > benchmark[j]]
        assert found == pytest.approx(np.mean([(row[i] < row[j]) + 0.5 * (row[i] == row[j]) for i, j in pairs]))


@given(LOSSES)
def test_only_orders_count_and_reversal_gives_the_rest(case):
    losses, benchmark = np.array(case[0]), np.array(case[1])
    found = predictive_strength(losses, benchmark)
    # Multiplying by 8 is exact in binary, so ties stay ties.
    np.testing.assert_array_equal(predictive_strength(8 * losses, 3.0 * benchmark - 7), found)
    np.testing.assert_allclose(predictive_strength(losses, -benchmark), 1 - found, atol=1e-12)
    order = np.random.default_rng(0).permutation(len(benchmark))
    np.testing.assert_allclose(predictive_strength(losses[:, order], benchmark[order]), found, atol=1e-12)


def test_ties_gaps_and_missing_losses_by_hand():
    losses = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [2.0, np.nan, 1.0]])
    np.testing.assert_array_equal(predictive_strength(losses, [10, 20, 40]), [1, 0.5, 0, np.nan])
    row = np.array([[2.0, 3.0, 1.0]])  # the pair (10, 20) is wrong, the others right
    assert predictive_strength(row, [10, 20, 40])[0] == pytest.approx(2 / 3)
    assert predictive_strength(row, [10, 20, 40], weights="gaps")[0] == pytest.approx(50 / 60)
    assert predictive_strength(row, [10, 20, 40], least_gap=15)[0] == 1
    assert predictive_strength(row, [10, 10, 40])[0] == 1
    for bad, said in (([1, 1, 1], "no two"), ([1, 2], "one column a model"), ([1, 2, np.nan], "missing")):
        with pytest.raises(ValueError, match=said):
            predictive_strength(row, bad)
    with pytest.raises(ValueError, match="pairs"):
        predictive_strength(row, [1, 2, 3], weights="rank")


def test_a_model_left_out_is_the_measure_of_the_others():
    losses = np.random.default_rng(0).random((20, 4))
    found = leave_one_out(losses, [1, 2, 3, 4])
    np.testing.assert_array_equal(found[1], predictive_strength(losses[:, [0, 2, 3]], [1, 3, 4]))
    near = leave_one_out(losses[:, :3], [1, 2, 9], least_gap=5)
    np.testing.assert_array_equal(np.isnan(near).all(axis=1), [False, False, True])
    np.testing.assert_array_equal(near[0], predictive_strength(losses[:, 1:3], [2, 9]))
    with pytest.raises(ValueError, match="at least 3"):
        leave_one_out(losses[:, :2], [1, 2])


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        ([1, 2, 3, 4, 5], {}),
        ([1, 2, 2, 5, 9], {}),
        ([1, 2, 4, 7, 11], {"weights": "gaps"}),
        ([1, 2, 4, 7, 11], {"least_gap": 3}),
        ([1, 2], {}),
    ],
)
def test_chance_is_that_of_all_orders(benchmark, options):
    orders = np.array(list(itertools.permutations(range(len(benchmark)))), float)
    strength = predictive_strength(orders, benchmark, **options)
    chance = chance_of(benchmark, **options)
    assert strength.mean() == pytest.approx(0.5)
    assert chance.sd == pytest.approx(strength.std(), abs=1e-12)
    assert chance.perfect == pytest.approx((strength > 1 - 1e-12).mean())


def test_chance_of_the_paper_is_that_of_the_formula():
    chance = chance_of([75.38, 76.30, 77.27, 79.46, 80.47, 81.19])
    assert (chance.pairs, chance.values) == (15, 16)
    assert chance.sd**2 == pytest.approx(17 / 540)  # (2N + 5) / (18 N (N - 1))
    assert chance.perfect == pytest.approx(1 / 720)
    assert chance_of(range(20)).perfect == pytest.approx(1 / math.factorial(20))
    assert chance_of(range(20), least_gap=2).perfect is None


def test_labels_take_the_perfect_else_the_strongest():
    strength = np.array([1.0] * 30 + [0.6] * 50 + [0.1] * 40 + [np.nan] * 5)
    made = label_extremes(strength, least=20)
    assert (made.labels_D == 1).tolist() == [True] * 30 + [False] * 95
    assert (made.labels_D == 0).sum() == 30
    assert (strength[made.labels_D == 0] == 0.1).all()
    assert (made.perfect, made.fallback) == (30, False)
    few = label_extremes(strength[25:], share=0.2)
    assert few.fallback
    assert (few.labels_D == 1).sum() == (few.labels_D == 0).sum() == 19
    assert (few.labels_D[:5] == 1).all()
    assert (label_extremes(strength, most=7).labels_D == 1).sum() == 7
    with pytest.raises(ValueError, match="need two"):
        label_extremes(np.array([1.0, np.nan]))


@given(LOSSES)
def test_gamma_is_spearman(case):
    losses, benchmark = np.array(case[0]), np.array(case[1], float)
    n = len(benchmark)
    for row, gamma in zip(losses, domain_correlation(losses, benchmark), strict=True):
        signs = np.sign(benchmark[:, None] - benchmark)
        ranks = np.array([(row > own).sum() + ((row == own).sum() + 1) / 2 for own in row])
        assert gamma == pytest.approx(np.triu(signs * (ranks[:, None] - ranks)).sum())
        if len(set(row.tolist())) == n:
            assert gamma == pytest.approx(spearmanr(-row, benchmark).statistic * n * (n * n - 1) / 6, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.05, 1)), min_size=1, max_size=6))
def test_the_projection_is_the_best_there_is(domains):
    optimize = pytest.importorskip("scipy.optimize")
    gamma, caps = (np.array(column) for column in zip(*domains, strict=True))
    assume(abs(caps.sum() - 1) > 1e-6)
    if caps.sum() < 1:
        with pytest.raises(ValueError, match="1 in all"):
            capped_projection(gamma, caps)
        return
    made = capped_projection(gamma, caps)
    assert made.sum() == pytest.approx(1)
    assert (made <= caps + 1e-12).all()
    best = optimize.linprog(
        -gamma, A_eq=np.ones((1, len(caps))), b_eq=[1], bounds=list(zip(0 * caps, caps, strict=True))
    )
    assert gamma @ made == pytest.approx(-best.fun, abs=1e-7)
