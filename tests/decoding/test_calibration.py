"""Counts become estimates: the prior without data, the share with much of it, ranks never rising."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.decoding.calibration import AcceptanceMap, RankRates


@given(visits=st.lists(st.tuples(st.integers(0, 8), st.one_of(st.none(), st.integers(0, 9))), max_size=60))
def test_rates_never_rise_with_the_rank(visits):
    rates = RankRates()
    for n_children, accepted in visits:
        rates.observe(n_children, accepted if accepted is not None and accepted < n_children else None)
    found = rates.rates()
    assert (np.diff(found) <= 0).all()
    assert (found > 0).all()
    assert (found < 1).all()


def test_rates_are_the_shares_once_there_is_much_of_them():
    rates = RankRates((0.5, 0.1), weight=10)
    for number in range(1000):
        rates.observe(2, 0 if number % 5 == 0 else 1 if number % 5 == 1 else None)
    assert rates.rates() == pytest.approx([205 / 1010, 201 / 1010])


def test_a_map_starts_at_its_prior_and_moves_to_what_is_seen():
    chart = AcceptanceMap()
    assert [chart.mean(rank) for rank in range(6)] == [0.6, 0.3, 0.2, 0.15, 0.1, 0.1]
    assert chart(0.4, 0) == 0.6
    for number in range(400):
        chart.observe(1 / 200, 0, number % 2 == 0)
    assert chart(1 / 200, 0) == 0.6, "what is seen counts from settle on"
    chart.settle()
    assert chart(1 / 200, 0) == pytest.approx(0.5, abs=0.01)
    assert chart(0.9, 0) == pytest.approx(chart.mean(0)), "an empty cell has the mean of its rank"
    assert chart(1 / 200, 7) == 0.1
    (row,) = chart.table()
    assert row == {"rank": 0, "from": 1 / 256, "to": 1 / 128, "tried": 400, "accepted": 0.5}


@given(share=st.floats(0, 1), rank=st.integers(0, 100))
def test_every_probability_has_a_cell(share, rank):
    chart = AcceptanceMap()
    chart.observe(share, rank, True)
    chart.settle()
    (row,) = chart.table()
    assert row["from"] <= share <= row["to"]
    assert 0 < chart(share, rank) < 1
