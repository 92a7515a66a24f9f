import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.chart_marks import Axis, axis_heading, log_ticks, nice_ticks, shortened, text_width, tick_labels
from tokenry.core.report import Figure


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.integers(2, 12))
def test_nice_ticks_enclose_the_data_in_few_round_even_steps(low, spread, n):
    high = low + spread
    ticks = nice_ticks(low, high, n=n)
    step = ticks[1] - ticks[0]
    slack = max(abs(low), abs(high), step) * 1e-6
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= n + 3
    if spread > 1e-6 * max(abs(low), abs(high)):
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-3


def test_ticks_of_a_constant_surround_it():
    for value in (0.0, 5.0, -3e-9, 1e15):
        ticks = nice_ticks(value, value)
        assert ticks[0] < value < ticks[-1]


@given(st.floats(1e-6, 1e6), st.floats(1, 1e9))
def test_log_ticks_enclose_the_data(low, factor):
    ticks = log_ticks(low, low * factor)
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= low * factor * (1 - 1e-6)
    assert len(ticks) <= 13
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([-1.0, 0.0, 1.0], ["−1", "0", "1"]),
        ([-0.5, 0.0, 0.5], ["−0.5", "0.0", "0.5"]),
        ([0, 20_000, 40_000], ["0", "20k", "40k"]),
        ([0, 500_000, 1_000_000], ["0", "0.5M", "1M"]),
        ([1, 10, 100, 1000, 10_000], ["1", "10", "100", "1000", "10k"]),
        ([1e-5, 2e-5], ["1e−05", "2e−05"]),
        ([], []),
    ],
)
def test_tick_labels_are_short_and_even(ticks, labels):
    assert tick_labels(ticks) == labels


@given(st.floats(0.1, 100), st.floats(1.1, 100), st.booleans())
def test_an_axis_maps_its_ends_to_its_ends(low, factor, log):
    axis = Axis(low, low * factor, 40, 400, log)
    assert axis(low) == pytest.approx(40)
    assert axis(low * factor) == pytest.approx(400)
    middle = low * math.sqrt(factor) if log else low * (1 + factor) / 2
    assert axis(middle) == pytest.approx(220)


@given(st.text(max_size=40), st.floats(20, 200))
def test_shortened_text_fits_its_room(text, room):
    assert text_width(shortened(text, room)) <= room + 1


def test_units_are_not_said_twice():
    assert axis_heading(Figure("line", "t", "x", "Bits per byte", {}, "bits/byte")) == "Bits per byte"
    assert axis_heading(Figure("line", "t", "x", "speed", {}, "bytes/s")) == "speed (bytes/s)"
