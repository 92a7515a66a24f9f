import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tokenry.core.intervals import (
    Interval,
    bootstrap_interval,
    ratio_change_interval,
    ratio_interval,
    wilson_interval,
)

sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=12)


def _documents(rng, n):
    n_bytes = np.exp(rng.normal(7, 0.5, n))
    return n_bytes * np.exp(rng.normal(-0.5 * 0.25**2, 0.25, n)), n_bytes  # the true ratio is 1


@given(st.integers(0, 50).flatmap(lambda s: st.integers(s, 50).map(lambda n: (s, max(n, 1)))))
def test_wilson_equals_scipy(pair):
    successes, n = pair
    ours = wilson_interval(successes, n, level=0.9)
    theirs = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=1e-12)
    assert ours.value == successes / n


@given(sizes, st.integers(0, 5))
def test_the_estimate_is_the_ratio_of_sums_and_lies_inside(numerators, seed):
    denominators = list(range(1, len(numerators) + 1))
    interval = ratio_interval(numerators, denominators, seed=seed, n_resamples=50, unit="bits/byte")
    assert interval.value == pytest.approx(sum(numerators) / sum(denominators))
    assert (interval.n, interval.unit) == (len(numerators), "bits/byte")
    if len(numerators) > 1:
        assert interval.low <= interval.value <= interval.high


def test_the_same_seed_gives_the_same_interval_and_equal_documents_give_no_width():
    numerators, denominators = _documents(np.random.default_rng(1), 30)
    assert ratio_interval(numerators, denominators, seed=4) == ratio_interval(numerators, denominators, seed=4)
    assert ratio_interval(numerators, denominators, seed=4) != ratio_interval(numerators, denominators, seed=5)
    flat = ratio_interval(2 * denominators, denominators)
    assert flat.low == pytest.approx(2, abs=1e-12)
    assert flat.high == pytest.approx(2, abs=1e-12)


def test_chunked_resampling_covers_all_documents(monkeypatch):
    from tokenry.core import intervals

    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 7)
    numerators, denominators = _documents(np.random.default_rng(2), 40)
    interval = ratio_interval(numerators, denominators, n_resamples=300)
    spread = stats.bootstrap(
        (numerators, denominators),
        lambda a, b, axis=-1: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert interval.high - interval.low == pytest.approx(spread.high - spread.low, rel=0.25)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # 400 worlds of 40 documents at level 0.9. Were the coverage 0.90, the count is within 4 standard deviations
    # (4 * sqrt(0.9 * 0.1 / 400) = 0.06) but for one run in 15,000.
    rng = np.random.default_rng(0)
    hits = 0
    for world in range(400):
        numerators, denominators = _documents(rng, 40)
        interval = ratio_interval(numerators, denominators, seed=world, n_resamples=400, level=0.9)
        hits += interval.low <= 1 <= interval.high
    assert abs(hits / 400 - 0.9) < 0.06


def test_ten_documents_are_covered_better_than_by_the_plain_percentile():
    rng = np.random.default_rng(3)
    ours = plain = 0
    for world in range(300):
        numerators, denominators = _documents(rng, 10)
        interval = ratio_interval(numerators, denominators, seed=world, n_resamples=400)
        rows = np.random.default_rng(world).integers(10, size=(400, 10))
        low, high = np.quantile(numerators[rows].sum(1) / denominators[rows].sum(1), [0.025, 0.975])
        ours += interval.low <= 1 <= interval.high
        plain += low <= 1 <= high
    assert ours >= plain + 6


def test_a_paired_change_is_seen_where_the_two_intervals_overlap():
    before, n_bytes = _documents(np.random.default_rng(0), 60)
    after = before * 0.98
    change = ratio_change_interval((before, n_bytes), (after, n_bytes))
    assert ratio_interval(before, n_bytes).overlaps(ratio_interval(after, n_bytes))
    assert change.high < 0
    assert change.value == pytest.approx(-0.02 * before.sum() / n_bytes.sum())


def test_a_mean_is_the_ratio_over_ones():
    values = np.random.default_rng(0).normal(size=25)
    assert bootstrap_interval(values, seed=1) == ratio_interval(values, np.ones(25), seed=1)
    assert bootstrap_interval((values, np.full(25, 2.0)), n=1000).value == pytest.approx(values.mean() / 2)


def test_one_document_has_a_value_but_no_interval():
    interval = ratio_interval([3.0], [2.0])
    assert interval.value == 1.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert "no interval" in str(interval)
    assert interval.overlaps(Interval(9, 8, 10, 5))


def test_documents_of_no_bytes_do_not_break_the_interval():
    interval = ratio_interval([1, 2, 0, 0, 0], [1, 1, 0, 0, 0], n_resamples=200)
    assert math.isfinite(interval.low)
    assert math.isfinite(interval.high)


@pytest.mark.parametrize(
    ("numerators", "denominators", "said"),
    [
        ([], [], "at least one document"),
        ([1, 2], [1], "equally long"),
        ([1.0, math.nan], [1, 1], "document 1"),
        ([1, 1], [0, 0], "sum to 0"),
        ([1, 1], [2, -1], "negative"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_reason(numerators, denominators, said):
    with pytest.raises(ValueError, match=said):
        ratio_interval(numerators, denominators)


def test_bad_levels_and_unpaired_documents_are_refused():
    with pytest.raises(ValueError, match="level"):
        ratio_interval([1, 2], [1, 2], level=1.0)
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="same documents"):
        ratio_change_interval(([1, 2], [1, 2]), ([1], [1]))
