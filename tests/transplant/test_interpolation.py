"""Interpolation between shared tokens: the closed forms of its weights, and that a donor helps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_donors import world

from tokenry.core.vocab import Kind
from tokenry.transplant.interpolation import nearest, solve_weights
from tokenry.transplant.matching import match
from tokenry.transplant.planning import new_rows, plan


def gap_ids(old, new):
    return np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))


def reference(x, anchors, k, weights, distance):
    """One target by the formulas of mergekit 0.1.5, in float64."""
    if distance == "euclidean":
        far = np.linalg.norm(anchors - x, axis=1)
    else:
        far = 1 - anchors @ x / np.linalg.norm(anchors, axis=1) / np.linalg.norm(x)
    picks = np.argsort(far, kind="stable")[:k]
    points = anchors[picks]
    if weights == "distance":
        w = 1 - far[picks] if distance == "cosine" else 1 / np.maximum(far[picks], 1e-6)
        return picks, w / w.sum()
    if weights == "least-squares":
        return picks, np.linalg.lstsq(points.T, x, rcond=None)[0]
    one = np.ones((k, 1))
    system = np.block([[points @ points.T, one], [one.T, np.zeros((1, 1))]])
    return picks, np.linalg.lstsq(system, np.append(points @ x, 1), rcond=None)[0][:k]


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["distance", "barycentric", "least-squares"])
def test_the_weights_are_the_published_formulas(old, new, weights, distance):
    donor = world(old, new, noise=0.3)[0].astype(np.float64)
    options = {"k": 8, "weights": weights, "distance": distance, "untrained_quantile": 0}
    made = plan(old, new, method="common-interpolation", donor=donor, **options)
    new_ids, old_ids = match(old, new).anchors(old, new)
    order = np.argsort(old_ids, kind="stable")
    new_ids, old_ids = new_ids[order], old_ids[order]
    for i in gap_ids(old, new):
        picks, expected = reference(donor[i], donor[new_ids], 8, weights, distance)
        ids, got = made.input.row(i)
        assert ids.tolist() == old_ids[picks].tolist()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        if weights != "least-squares":
            assert got.sum() == pytest.approx(1, abs=1e-5)


def test_a_donor_row_on_an_anchor_copies_its_base_row(old, new):
    donor, base, _ = world(old, new)
    new_ids, old_ids = match(old, new).anchors(old, new)
    target = gap_ids(old, new)[3]
    donor[target] = donor[new_ids[7]]
    for weights in ("distance", "barycentric", "least-squares"):
        made = plan(old, new, method="common-interpolation", donor=donor, k=4, weights=weights, untrained_quantile=0)
        np.testing.assert_allclose(new_rows(made, base)[0][target], base[old_ids[7]], atol=2e-4 * np.abs(base).max())


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
def test_solved_weights_are_the_constrained_least_squares(seed, k, sum_to_one):
    rng = np.random.default_rng(seed)
    x, anchors = rng.standard_normal((1, 7)), rng.standard_normal((9, 7))
    picks = rng.permutation(9)[None, :k]
    weights = solve_weights(x, anchors, picks, sum_to_one=sum_to_one)[0]
    if sum_to_one:
        assert weights.sum() == pytest.approx(1)
        # No step that keeps the sum brings it nearer: the gradient is the same for all anchors.
        gradient = anchors[picks[0]] @ (weights @ anchors[picks[0]] - x[0])
        np.testing.assert_allclose(gradient, gradient[0], atol=1e-8)
    else:
        np.testing.assert_allclose(weights, np.linalg.lstsq(anchors[picks[0]].T, x[0], rcond=None)[0], atol=1e-8)


def test_a_ridge_is_the_closed_form_and_shortens_weights_that_cancel():
    rng = np.random.default_rng(0)
    anchors = rng.standard_normal((3, 6))
    anchors[1] = anchors[0] + 1e-3 * rng.standard_normal(6)
    x = rng.standard_normal((1, 6))
    picks = np.array([[0, 1, 2]])
    gram = anchors @ anchors.T
    expected = np.linalg.solve(gram + 0.01 * np.trace(gram) / 3 * np.eye(3), anchors @ x[0])
    made = solve_weights(x, anchors, picks, ridge=0.01)[0]
    np.testing.assert_allclose(made, expected, atol=1e-9)
    assert np.abs(made).sum() < 0.1 * np.abs(solve_weights(x, anchors, picks)[0]).sum()


def test_missing_picks_weigh_nothing_and_dependent_anchors_share():
    anchors = np.array([[1.0, 0], [1, 0], [0, 1]])
    weights = solve_weights(np.array([[2.0, 3]]), anchors, np.array([[0, 1, -1]]))
    np.testing.assert_allclose(weights, [[1, 1, 0]], atol=1e-9)
    none = solve_weights(np.array([[2.0, 3]]), anchors, np.array([[-1, -1]]), sum_to_one=True)
    np.testing.assert_allclose(none, [[0, 0]], atol=1e-9)
    with pytest.raises(ValueError, match="ridge=-1"):
        solve_weights(np.zeros((1, 2)), anchors, np.array([[0]]), ridge=-1)


def test_nearest_is_a_full_sort_with_the_lower_column_first_among_equals():
    rng = np.random.default_rng(0)
    far = rng.permutation(200).astype(float).reshape(2, 100)
    for k in (1, 3, 30, 100):
        np.testing.assert_array_equal(nearest(far, k), np.argsort(far, axis=1, kind="stable")[:, :k])
    ties = np.array([[1.0, 0, 0, 1, 1, 0, 2, 2, 2]])
    for k in range(1, 10):
        np.testing.assert_array_equal(nearest(ties, k), np.argsort(ties, axis=1, kind="stable")[:, :k])


def test_neighbours_in_a_donor_beat_pieces_and_mean_when_spelling_says_little(old, new):
    donor, base, truth = world(old, new, noise=0.2)
    ids = gap_ids(old, new)
    error = {}
    for name, method, options in (
        ("barycentric", "common-interpolation", {"donor": donor, "k": 24, "weights": "barycentric"}),
        ("distance", "common-interpolation", {"donor": donor, "k": 8}),
        ("pieces", "pieces", {}), ("mean", "mean", {}),
    ):  # fmt: skip
        made, _ = new_rows(plan(old, new, method=method, **options), base)
        error[name] = np.square(made[ids] - truth[ids]).mean()
    assert error["barycentric"] < 0.8 * min(error["pieces"], error["mean"])
    assert error["distance"] < 0.95 * min(error["pieces"], error["mean"])


def test_more_neighbours_than_shared_tokens_are_cut_down_with_what_was_got_and_what_is_used(old, new):
    donor, base, _ = world(old, new)
    anchors = match(old, new).anchors(old, new)[0].size
    options = {"donor": donor, "base": base, "untrained_quantile": 0}
    with pytest.warns(UserWarning, match=rf"k=5000 lowered to {anchors}: .*share so many tokens"):
        made = plan(old, new, method="common-interpolation", k=5000, **options)
    assert made.info["k"] == anchors


def test_what_cannot_work_is_refused(old, new):
    donor = world(old, new)[0]
    for options, message in (
        ({}, "needs donor rows"),
        ({"donor": donor, "k": 0}, "k=0"),
        ({"donor": donor, "weights": "best"}, "'best' is unknown"),
        ({"donor": np.zeros_like(donor)}, "Use method 'pieces'"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(old, new, method="common-interpolation", **options)
