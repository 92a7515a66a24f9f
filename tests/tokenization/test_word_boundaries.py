"""Boundary and word scores: cases by hand and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.hyphens import parts_of
from tokenry.tokenization.word_boundaries import boundary_scores


def test_scores_by_hand():
    # the|dog|ran against thedog|ra|n: one of the two inner boundaries of each side agrees; no unit has both ends right.
    scores = boundary_scores([["the", "dog", "ran"]], [["thedog", "ra", "n"]])
    assert (scores.boundary.right, scores.boundary.found, scores.boundary.gold) == (1, 2, 2)
    assert scores.boundary.f1 == 0.5
    assert scores.word.f1 == 0.0
    with_ends = boundary_scores([["the", "dog", "ran"]], [["thedog", "ra", "n"]], count_ends=True)
    assert with_ends.boundary.f1 == pytest.approx(2 / 3)


def test_characters_have_recall_one_and_the_ratio_of_boundaries_as_precision():
    gold = [["ab", "cde"], ["fgh"]]
    scores = boundary_scores(gold, [list("abcde"), list("fgh")])
    assert scores.boundary.recall == 1.0
    assert scores.boundary.precision == 1 / 6


def test_an_empty_sentence_adds_nothing():
    assert boundary_scores([["ab", "c"], []], [["a", "bc"], []]) == boundary_scores([["ab", "c"]], [["a", "bc"]])


def test_cuts_of_different_sentences_are_refused():
    with pytest.raises(ValueError, match="same sentence"):
        boundary_scores([["a"]], [["b"]])


@given(st.text("abc", min_size=2, max_size=12), st.sets(st.integers(1, 11)), st.sets(st.integers(1, 11)))
def test_scores_are_symmetric_and_one_on_equal_cuts(text, a, b):
    first, second = ([parts_of(text, sorted(c for c in cuts if c < len(text)))] for cuts in (a, b))
    one, other = boundary_scores(first, second), boundary_scores(second, first)
    assert one.boundary.f1 == other.boundary.f1
    assert one.word.precision == other.word.recall
    assert boundary_scores(first, first).word.f1 == 1.0
