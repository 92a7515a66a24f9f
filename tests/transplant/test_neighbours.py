"""Weights of neighbours: against brute force, the reference packages' own numbers, and the laws of a mean."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from small_vocabularies import byte_level_of
from tokenry.core.tokenmap import RowKind
from tokenry.transplant.matching import match
from tokenry.transplant.neighbours import (
    cosine_blocks,
    loose_match,
    near_rows,
    nearest_softmax,
    sparsemax,
    with_fallback,
)
from tokenry.transplant.planning import Gap

# Made by deepfocus 1.0.1 and wechsel 0.0.4 from seeded vectors; the file names the functions.
PEER = json.loads((Path(__file__).parent / "peer_rows.json").read_text())


def simplex_projection(scores):
    """The nearest point of the simplex by trying every support: on each the weights are scores minus a constant."""
    best, least = None, np.inf
    for size in range(1, len(scores) + 1):
        for support in map(list, combinations(range(len(scores)), size)):
            weights = np.zeros(len(scores))
            weights[support] = scores[support] - (scores[support].sum() - 1) / size
            if weights.min() >= -1e-12 and (distance := np.square(weights - scores).sum()) < least:
                best, least = weights, distance
    return best


@given(arrays(np.float64, st.integers(1, 6), elements=st.floats(-3, 3)))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    np.testing.assert_allclose(sparsemax(scores), simplex_projection(scores), atol=1e-9)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 400)), elements=st.floats(-1, 1, width=16)),
    st.floats(-5, 5),
)
def test_sparsemax_sums_to_one_is_not_negative_and_ignores_a_constant(scores, constant):
    weights = sparsemax(scores)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(sparsemax(scores + constant), weights, atol=1e-9)


def test_sparsemax_of_equal_scores_is_uniform_even_past_the_first_try():
    np.testing.assert_allclose(sparsemax(np.full((2, 1000), 0.25)), 1 / 1000)
    assert sparsemax(np.array([0.1, 0.2, 3.0, 2.5])).tolist() == [0, 0, 0.75, 0.25]


def test_sparsemax_refuses_what_is_not_a_row_of_numbers():
    for wrong in (np.zeros((2, 0)), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="sparsemax"):
            sparsemax(wrong)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 60)), elements=st.floats(-1, 1, width=16)),
    st.integers(1, 12),
)
def test_the_nearest_are_the_greatest_scores_and_weigh_by_softmax(scores, k):
    picks, weights = nearest_softmax(scores, k=k, temperature=0.1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert picks.tolist() == order.tolist()
    wanted = np.exp(np.take_along_axis(scores, order, axis=1) / 0.1)
    np.testing.assert_allclose(weights, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-12)


def test_no_neighbour_or_no_temperature_is_refused():
    for options in ({"k": 0, "temperature": 1}, {"k": 1, "temperature": 0}):
        with pytest.raises(ValueError, match="temperature"):
            nearest_softmax(np.zeros((1, 2)), **options)


@pytest.mark.parametrize(("k", "name"), [(None, "focus"), (3, "wechsel")])
def test_rows_are_those_of_deepfocus_and_wechsel_on_the_same_vectors(k, name):
    old, new, rows = (np.array(PEER[key]) for key in ("old_vectors", "new_vectors", "rows"))
    made = np.array([weights @ rows[ids] for ids, weights in near_rows(new, old, np.arange(9), k=k)])
    np.testing.assert_allclose(made, PEER[name], atol=2e-7)


def test_cosines_in_blocks_are_those_in_one_piece():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((37, 4)), rng.standard_normal((40_000, 4)).astype(np.float32)
    a[5] = 0
    blocks = list(cosine_blocks(a, b, memory_mb=8))
    assert len(blocks) > 1
    whole = np.concatenate([block for _, block in blocks])
    wanted = (a @ b.T) / np.maximum(np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1), 1e-300)
    np.testing.assert_allclose(whole, wanted, atol=1e-6)
    assert [start for start, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks[:-1])]).tolist()


def test_tokens_alike_but_for_case_or_space_meet_and_lower_case_is_taken_first():
    old = byte_level_of(["the House house Tree", "the House house Tree"], 300)
    new = byte_level_of(["THE HOUSE tree", "THE HOUSE tree"], 300)
    found = match(old, new)
    ids = np.flatnonzero(found.new_to_old < 0)
    gap = Gap(old, new, found, ids, [[] for _ in ids])

    def meets(**options):
        pairs = {new.tokens[ids[n]]: old.tokens[i] for n, i in loose_match(gap, **options).items()}
        return pairs.get(b" HOUSE"), pairs.get(b" tree"), pairs.get(b"THE")

    assert meets(ignore_space=False)[:2] == (b" house", b" Tree")
    assert meets(ignore_space=True)[2].strip() == b"the"


def test_what_has_no_neighbour_falls_back_as_asked(old, new):
    found = match(old, new)
    ids = np.flatnonzero(found.new_to_old < 0)
    gap = Gap(old, new, found, ids, [[1, 2] if n % 2 else [] for n in range(ids.size)])
    known = {0: (np.array([3, 4]), np.array([0.5, 0.5]))}
    for fallback, kinds in {
        "pieces": [RowKind.COMBINE, RowKind.COMBINE, RowKind.MEAN],
        "mean": [RowKind.COMBINE, RowKind.MEAN, RowKind.MEAN],
        "random": [RowKind.COMBINE, RowKind.RANDOM, RowKind.RANDOM],
    }.items():
        rows = with_fallback(gap, known, fallback, info={})
        assert rows.kinds[:3].tolist() == kinds
        assert rows.info["placed_rows"] == 1
        assert rows.info["fallback_rows"] == ids.size - 1
    with pytest.raises(ValueError, match="pieces, mean, random"):
        with_fallback(gap, known, "zeros", info={})
