"""A forecast finds a planted parity, its interval covers it, and where nothing can be said it says so."""

import numpy as np
import pytest

from tokenry.transplant.forecasting import forecast

READ = [1e5 * 2**k for k in range(6)]


def test_a_straight_curve_meets_the_target_where_it_was_planted():
    found = forecast(READ, [3.0 - 0.1 * np.log(a / 1e5) for a in READ], target=3.0 - 0.1 * np.log(100))
    assert found.value == pytest.approx(1e7, rel=1e-6)
    assert found.low == pytest.approx(1e7, rel=1e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, hits, n = np.random.default_rng(0), 0, 400
    for _ in range(n):
        values = [3.0 - 0.1 * np.log(a / 1e5) + rng.normal(0, 0.01) for a in READ]
        found = forecast(READ, values, target=3.0 - 0.1 * np.log(60))
        hits += found.low is not None and found.low <= 6e6 <= (found.high or np.inf)
    # 95 % nominal: three standard errors of 400 trials are 0.033.
    assert abs(hits / n - 0.95) < 0.033


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([2.0, 2.1, 2.2, 2.3, 2.4, 2.5], "does not fall"),
        ([3.0, 2.5, 2.9, 2.4, 2.95, 2.6], "explains only"),
        ([2.0 - 1e-4 * k for k in range(6)], "beyond 100 times"),
    ],
)
def test_without_ground_there_is_no_forecast(values, reason):
    found = forecast(READ, values, target=1.0)
    assert found.value is None
    assert reason in str(found)


def test_few_points_and_parity_already_reached_are_told():
    assert "3 points" in str(forecast(READ[:3], [3.0, 2.9, 2.8], target=1.0))
    assert forecast([0, *READ], [1.0, 3.0, 2.0, 1.9, 1.8, 1.7, 1.6], target=2.0).value == READ[1]
