"""Intervals of an inferred mixture: no width where nothing varies, and ends that no better mixture passes."""

import numpy as np
import pytest
from mixture_worlds import counts_by_step, dense_programme, pairs_of, planted, random_merges, random_words
from scipy.optimize import linprog

from tokenry.tokenization.mixture_intervals import (
    bootstrap_shares,
    near_optimal_range,
    resampled_weights,
    slack_by_range,
    worst_pairs,
    worst_steps,
)
from tokenry.tokenization.mixture_programme import fit_mixture
from tokenry.tokenization.mixture_replay import replay_merges


def _random_problem(seed):
    rng = np.random.default_rng(seed)
    symbols, offsets = random_words(rng, n_words=10, longest=9)
    trajectories = replay_merges(symbols, offsets, random_merges(rng, 8))
    counts = rng.integers(0, 50, (10, 3))
    counts[np.argmax(np.diff(offsets))] += 1
    return trajectories, counts, pairs_of(offsets, counts).astype(float)


def _dense_range(table_TPC, n_pairs_C, merged_pair, ceiling):
    """Ends of every share under a ceiling of slack, by `linprog` with all rows."""
    n_steps, n_pairs, n = table_TPC.shape
    rates, rows = table_TPC * (1e6 / n_pairs_C), []
    for t in range(n_steps):
        if merged_pair[t] >= 0 and rates[t, merged_pair[t]].max() > 0:
            for p in range(n_pairs):
                if p != merged_pair[t]:
                    row = np.zeros(n + n_steps + n_pairs)
                    row[:n] = rates[t, p] - rates[t, merged_pair[t]]
                    row[n + t] = row[n + n_steps + p] = -1
                    rows.append(row)
    slack = np.concatenate([np.zeros(n), np.ones(n_steps + n_pairs)])
    total, ends = np.concatenate([np.ones(n), np.zeros(n_steps + n_pairs)])[None], []
    for i in range(n):
        for sign in (1, -1):
            cost = np.zeros(len(slack))
            cost[i] = sign
            found = linprog(cost, np.array([*rows, slack]), [*[0] * len(rows), ceiling], total, [1.0], method="highs")
            ends.append(found.x[i])
    return np.array(ends).reshape(n, 2)


def test_resampling_shards_that_are_all_alike_gives_no_width():
    symbols, offsets, counts, merges = planted(1)
    shards = np.repeat(counts, 4, axis=1)
    draws = bootstrap_shares(
        replay_merges(symbols, offsets, merges), shards, np.repeat(np.arange(3), 4), n_resamples=5, seed=1
    )  # fmt: skip
    assert draws.shape == (5, 3)
    np.testing.assert_allclose(draws, np.broadcast_to(draws[0], draws.shape), atol=1e-12)


def test_resampling_different_shards_gives_the_sampling_noise():
    symbols, offsets, counts, merges = planted(1)
    rng = np.random.default_rng(5)
    shards = np.concatenate([rng.poisson(counts[:, [k]] / 200, (len(counts), 10)) for k in range(3)], 1)
    trajectories, category = replay_merges(symbols, offsets, merges), np.repeat(np.arange(3), 10)
    draws = bootstrap_shares(trajectories, shards, category, n_resamples=12, seed=1)
    again = bootstrap_shares(
        trajectories, shards, category, n_resamples=12, seed=1, n_pairs_C=pairs_of(offsets, shards)
    )  # fmt: skip
    np.testing.assert_array_equal(draws, again)
    assert 1e-5 < draws.std(0).max() < 0.1
    np.testing.assert_allclose(draws.sum(1), 1)


def test_a_resample_draws_as_many_shards_as_hold_text():
    held = np.array([True, False, True, True, True, True])
    weights = resampled_weights(np.array([0, 0, 0, 1, 1, 1]), held, np.random.default_rng(0))
    assert weights.sum(0).tolist() == [2, 3]
    assert weights[1].tolist() == [0, 0]
    assert (weights[:3, 1] == 0).all()
    assert (weights[3:, 0] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_near_optimal_ends_are_those_of_the_programme_with_all_rows(seed):
    trajectories, counts, n_pairs = _random_problem(seed)
    changes, merged = trajectories.changes(counts), trajectories.merged_pair
    ends = near_optimal_range(changes, n_pairs, merged_pair=merged, slack=0.05, tolerance=1e-5)
    table = counts_by_step(trajectories, counts)
    value, _ = dense_programme(table, n_pairs, merged)
    # Found from outside, to a tolerance of 1e-5 in the objective against a slack of 5e-2.
    inner = _dense_range(table, n_pairs, merged, 1.05 * value + 1e-6)
    assert (ends[:, 0] <= inner[:, 0] + 1e-6).all()
    assert (ends[:, 1] >= inner[:, 1] - 1e-6).all()
    np.testing.assert_allclose(ends, inner, atol=5e-3)


def test_near_optimal_range_holds_the_best_and_closes_with_its_slack():
    symbols, offsets, counts, merges = planted(1)
    rng = np.random.default_rng(2)
    sample = rng.poisson(counts * 0.05)
    trajectories, n_pairs = replay_merges(symbols, offsets, merges), pairs_of(offsets, sample)
    changes, merged = trajectories.changes(sample), trajectories.merged_pair
    fit = fit_mixture(changes, n_pairs, merged_pair=merged, tolerance=1e-6)
    widths = []
    for slack in (0.3, 0.03, 0.0):
        ends = near_optimal_range(changes, n_pairs, merged_pair=merged, slack=slack, tolerance=1e-6, start=fit)
        assert (ends[:, 0] <= fit.pairs_share).all()
        assert (fit.pairs_share <= ends[:, 1]).all()
        widths.append((ends[:, 1] - ends[:, 0]).max())
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 1e-4


def test_the_range_of_an_exact_fit_is_found_too():
    """With the training text itself the objective is 0, and the range is all shares that keep it there."""
    symbols, offsets, counts, merges = planted(1)
    trajectories, n_pairs = replay_merges(symbols, offsets, merges), pairs_of(offsets, counts)
    ends = near_optimal_range(trajectories.changes(counts), n_pairs, merged_pair=trajectories.merged_pair)
    truth = n_pairs / n_pairs.sum()
    assert (ends[:, 0] <= truth + 1e-9).all()
    assert (truth - 1e-9 <= ends[:, 1]).all()
    assert (ends[:, 1] - ends[:, 0]).max() < 0.1


def test_one_category_has_no_range():
    symbols, offsets, counts, merges = planted(2)
    trajectories = replay_merges(symbols, offsets, merges)
    one = counts[:, :1]
    ends = near_optimal_range(trajectories.changes(one), pairs_of(offsets, one), merged_pair=trajectories.merged_pair)
    assert ends.tolist() == [[1, 1]]


def test_slack_is_told_by_range_and_the_worst_come_first():
    trajectories, counts, n_pairs = _random_problem(3)
    fit = fit_mixture(trajectories.changes(counts), n_pairs, merged_pair=trajectories.merged_pair)
    table = slack_by_range(fit, np.array([0, 2, len(fit.slack_step)]))
    assert table[:, 0].sum() == fit.constrained.sum()
    assert np.nansum(table[:, 0] * table[:, 2]) == pytest.approx(fit.slack_step.sum())
    steps, pairs = worst_steps(fit, 3), worst_pairs(fit, 3)
    assert (np.diff(fit.slack_step[steps]) <= 0).all()
    assert (fit.slack_step[steps] > 0).all()
    assert (np.diff(fit.slack_pair[pairs]) <= 0).all()
    assert fit.slack_step.max() in (0, *fit.slack_step[steps])


def test_nothing_to_resample_is_refused():
    trajectories, counts, _ = _random_problem(1)
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap_shares(trajectories, counts, np.arange(3), n_resamples=0, seed=0)
    with pytest.raises(ValueError, match="no pairs in any shard"):
        bootstrap_shares(trajectories, counts * [1, 0, 1], np.arange(3), n_resamples=1, seed=0)
    with pytest.raises(ValueError, match="slack="):
        near_optimal_range(
            trajectories.changes(counts), np.ones(3), merged_pair=trajectories.merged_pair, slack=-1
        )  # fmt: skip
