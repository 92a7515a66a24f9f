"""Mechanisms keep to their budgets, follow the utility, and sample as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.mechanisms import best, by_cell, capped, cell_budgets, noisy_keep, share_threshold, softened

DOCS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 9)), min_size=1, max_size=30)


@given(DOCS, st.integers(0, 60), st.integers(0, 3))
def test_the_best_reach_the_budget_with_the_last_of_them(docs, budget, seed):
    utility, size = (np.array(column, float) for column in zip(*docs, strict=True))
    copies = best(utility, size, budget, seed=seed)
    kept = size[copies > 0].sum()
    if budget == 0:
        assert not copies.any()
    elif size.sum() >= budget:
        assert budget <= kept < budget + size.max() + 1e-9
    else:
        assert copies.all()
    if copies.any() and not copies.all():
        assert utility[copies > 0].min() >= utility[copies == 0].max()


@given(DOCS, st.integers(1, 40))
def test_one_cell_is_no_cell(docs, budget):
    utility, size = (np.array(column, float) for column in zip(*docs, strict=True))
    whole = best(utility, size, budget, seed=5)
    assert (by_cell(utility, size, np.zeros(len(docs), int), budgets_C=np.array([budget]), seed=5) == whole).all()


def test_top_k_is_argsort():
    utility = np.random.default_rng(0).normal(size=50)
    copies = best(utility, np.ones(50), 7)
    assert set(np.flatnonzero(copies)) == set(np.argsort(-utility)[:7])


def test_missing_utility_is_never_kept():
    assert best(np.array([np.nan, 1.0]), np.ones(2), 5).tolist() == [0, 1]
    assert noisy_keep(np.array([np.nan, 1.0])).tolist() == [0, 1]


def test_a_short_cell_is_repeated_only_when_asked():
    utility, size = np.array([2.0, 1.0, 5.0]), np.ones(3)
    cell = np.array([0, 0, 1])
    assert by_cell(utility, size, cell, budgets_C=np.array([5.0, 1.0])).tolist() == [1, 1, 1]
    assert by_cell(utility, size, cell, budgets_C=np.array([5.0, 1.0]), repeat=True).tolist() == [3, 2, 1]


def test_budgets_follow_sizes_are_equal_or_as_told():
    sizes = np.array([10.0, 30.0, 0.0])
    assert cell_budgets(sizes, 8, "proportional").tolist() == [2, 6, 0]
    assert cell_budgets(sizes, 8, "equal").tolist() == [4, 4, 0]
    assert cell_budgets(sizes, 8, {"b": 1, "a": 3}, names=["a", "b", "c"]).tolist() == [6, 2, 0]
    with pytest.raises(ValueError, match="'d', which is no cell"):
        cell_budgets(sizes, 8, {"d": 1}, names=["a", "b", "c"])
    with pytest.raises(ValueError, match="proportonal"):
        cell_budgets(sizes, 8, "proportonal")
    with pytest.raises(ValueError, match="one above 0"):
        cell_budgets(sizes, 8, [0, 0, 0])


def test_a_cap_holds_in_every_cell():
    rng = np.random.default_rng(1)
    cell = rng.integers(0, 4, 200)
    copies = capped(rng.normal(size=200), np.ones(200), cell, cap=3)
    assert np.bincount(cell, weights=copies).tolist() == [3, 3, 3, 3]


def test_gumbel_noise_samples_in_proportion_to_the_weights():
    weights = np.array([1.0, 2.0, 5.0])
    n = 6_000
    first = np.array([softened(np.log(weights), 1.0, seed=seed).argmax() for seed in range(n)])
    shares = np.bincount(first, minlength=3) / n
    expected = weights / weights.sum()
    # Four standard errors of a binomial share: one of three fails by chance with p < .0002.
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all()


def test_the_noisy_threshold_keeps_by_its_closed_form():
    n = 200_000
    for score, expected in ((0.0, 2.0**-9), (0.5, 1.5**-9), (0.9, 1.1**-9), (1.0, 1.0)):
        kept = noisy_keep(np.full(n, score), seed=3).mean()
        assert abs(kept - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)


def test_a_share_gives_the_threshold_that_keeps_it():
    rng = np.random.default_rng(2)
    utility, size = rng.normal(size=1000), rng.integers(1, 50, 1000).astype(float)
    threshold = share_threshold(utility, size, 0.1)
    kept = size[utility >= threshold].sum() / size.sum()
    assert 0.1 <= kept < 0.1 + 50 / size.sum()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="need one of each"):
        best(np.ones(2), np.ones(3), 1)
    with pytest.raises(ValueError, match="below 0"):
        best(np.ones(2), np.array([1, -1]), 1)
    with pytest.raises(ValueError, match="outside 0"):
        noisy_keep(np.array([2.0]))
    with pytest.raises(ValueError, match="above 0"):
        softened(np.ones(2), 0.0)
