"""Mixtures sum to their budget and keep to their bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.mixtures import budgets_within_epochs, effective_tokens, normalised, temperature_weights, unimax

SIZES = st.lists(st.integers(0, 10_000), min_size=1, max_size=8).filter(any)


def test_unimax_gives_the_worked_example():
    sizes = np.array([100, 1_000, 10_000])
    assert unimax(sizes, 6_000, epochs=4).tolist() == [400, 2_800, 2_800]
    assert unimax(sizes, 6_000, epochs=1).tolist() == [100, 1_000, 4_900]


@given(SIZES, st.floats(1, 1e5), st.floats(0.1, 8))
def test_unimax_spends_the_budget_unless_all_are_at_their_bound(sizes, budget, epochs):
    budgets = unimax(np.array(sizes), budget, epochs=epochs)
    bound = epochs * np.array(sizes)
    assert (budgets <= bound * (1 + 1e-9)).all()
    assert np.isclose(budgets.sum(), min(budget, bound.sum()))
    larger = np.argsort(sizes)
    assert (np.diff(budgets[larger]) >= -1e-6 * budget).all()


@given(SIZES, st.floats(1, 1e5), st.floats(0.1, 8))
def test_a_bound_on_epochs_moves_the_rest_to_the_others(sizes, budget, epochs):
    sizes = np.array(sizes, float)
    weights = np.arange(1, len(sizes) + 1)
    budgets = budgets_within_epochs(weights, sizes, budget, epochs=epochs)
    assert (budgets <= epochs * sizes * (1 + 1e-9) + 1e-9).all()
    assert np.isclose(budgets.sum(), min(budget, epochs * sizes.sum()), rtol=1e-6)


def test_without_a_bound_in_reach_the_weights_are_followed():
    made = budgets_within_epochs(np.array([1, 3]), np.array([1e9, 1e9]), 100, epochs=1)
    assert made.tolist() == [25, 75]


def test_the_exponent_goes_from_even_to_proportional():
    sizes = np.array([1.0, 3.0, 0.0])
    assert np.allclose(temperature_weights(sizes, 1), [0.25, 0.75, 0])
    assert np.allclose(temperature_weights(sizes, 0), [0.5, 0.5, 0])


def test_repeated_text_is_worth_less_as_published():
    assert effective_tokens(1, 4) == pytest.approx(3.73, abs=0.005)
    assert effective_tokens(1, 16) == pytest.approx(10.6, abs=0.1)
    assert effective_tokens(10, 0.5) == 5


def test_weights_of_no_source_are_named():
    assert normalised({"a": 1, "b": 3}, ["b", "a"]).tolist() == [0.75, 0.25]
    with pytest.raises(ValueError, match="'wbe', which is no source"):
        normalised({"wbe": 1}, ["web"])
    with pytest.raises(ValueError, match="need a number of 0 or more"):
        normalised({"web": -1}, ["web"])
