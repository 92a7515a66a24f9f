"""Verifiers judge what they say they judge."""

from dataclasses import replace

import pytest
from routing_models import tiny_pair

from tokenry.decoding.verifiers import (
    AskedModel,
    Fork,
    answered,
    open_verifier,
    same_answer,
    same_numbers,
    same_text,
)

FORK = Fork("Q. ", "so 1,000 and ", "two", "2", " is 3.50 .", " makes 3.5 .")


def test_equal_meaning_is_neutral_by_each_measure():
    forks = [
        replace(FORK, small_token="2"),
        FORK,
        replace(FORK, small_token="2", small_rest="  MAKES 3.5 ."),
        replace(FORK, large_rest=" makes 3.6 ."),
    ]
    assert same_numbers(forks) == [0, 1, 0, 1]
    assert same_text(forks) == [1, 1, 0, 1]
    assert same_answer(forks) == [0, 0, 0, 1]
    boxed = replace(FORK, small_rest=r" so \boxed{x + 1} 7", large_rest=r" thus \boxed{X  + 1}.")
    assert same_answer([boxed]) == [0]


def test_answers_of_a_model_are_read_strictly():
    assert [answered(text) for text in ("1", " 0.", "Answer: 1\n", "10", "yes", "0.5 of it")] == [1, 0, 1, -1, -1, -1]


def test_the_question_marks_both_tokens_and_the_model_is_asked():
    _, large = tiny_pair()
    judge = AskedModel(large, prompt="w1 {before} {small} {large} w2")
    fork = Fork("w3 ", "w4 ", "w5", "w6", " w7", " w8")
    assert len(judge.ids(fork)) > 4
    assert set(judge([fork, fork])) <= {0, 1, -1}


def test_one_verifier_is_named():
    assert open_verifier("same-text") is same_text
    for source, model in ((None, None), ("same-text", "x")):
        with pytest.raises(ValueError, match="need one of them"):
            open_verifier(source, model=model)
