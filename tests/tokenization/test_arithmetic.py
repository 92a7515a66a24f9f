"""Sums to ask: lengths as chosen, numbers as written, examples that fit."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.arithmetic import (
    FORMATS,
    Problem,
    controlled_problems,
    format_number,
    length_pairs,
    length_triples,
    messages,
    parse_number,
    parse_setting,
    problems,
    prompt,
    shots_for,
)


def _lengths(problem: Problem) -> tuple[int, int, int]:
    return len(str(problem.a)), len(str(problem.b)), len(str(problem.answer))


def test_the_papers_sets_have_their_sizes():
    # Nine pairs of lengths; thirteen triples of which nine match, so 900 of 1,300 problems match.
    assert len(length_pairs(7, 9)) == 9
    assert len(length_triples(7, 9)) == 13
    asked = controlled_problems(length_triples(7, 9), 100)
    assert len(asked) == 1300
    assert sum(problem.length_match for problem in asked) == 900


@given(a=st.integers(1, 12), b=st.integers(1, 12), longer=st.booleans(), seed=st.integers(0, 99))
def test_controlled_lengths_are_met_exactly(a, b, longer, seed):
    triple = (a, b, max(a, b) + longer)
    for problem in controlled_problems([triple], 5, seed=seed):
        assert _lengths(problem) == triple
        for shot in shots_for(problem, 3, seed=seed):
            assert _lengths(shot) == triple


def test_seven_and_seven_digits_with_seven_need_a_shorter_addend_below_nine_million():
    asked = controlled_problems([(7, 7, 7)], 500)
    assert all(min(p.a, p.b) < 9_000_000 for p in asked)
    assert any(p.a > p.b for p in asked)
    assert any(p.a < p.b for p in asked)


def test_answers_are_uniform_where_the_sampler_says_so():
    # One-digit addends and answers of two digits: given the smaller a, the answer is uniform over 10 .. 9 + a.
    asked = controlled_problems([(1, 2, 2)], 9000)
    counts = Counter(p.answer for p in asked if p.a == 5)
    n, expected = sum(counts.values()), range(15, 100)
    assert set(counts) == set(expected)
    # chi-square over 85 cells has mean 84 and standard deviation 13; 5 deviations.
    chi = sum((counts[value] - n / 85) ** 2 / (n / 85) for value in expected)
    assert chi < 84 + 5 * 13


@given(number=st.integers(-(10**20), 10**20), name=st.sampled_from(FORMATS), chunk=st.integers(1, 5))
def test_a_written_number_is_read_back(number, name, chunk):
    assert parse_number(format_number(number, name, chunk=chunk)) == number


def test_formats_are_the_papers():
    assert format_number(1234567, "comma_r2l") == "1,234,567"
    assert format_number(1234567, "comma_l2r") == "123,456,7"
    assert format_number(1234567, "hashtag_r2l") == format_number(1234567, "hash_r2l") == "1#234#567"
    assert format_number(1234567, "foo_r2l") == "1foo234foo567"
    with pytest.raises(ValueError, match="Did you mean 'comma_r2l'"):
        format_number(1, "coma_r2l")


def test_fewer_examples_are_the_beginning_of_more():
    problem = problems([(7, 8)], 1)[0]
    assert shots_for(problem, 8)[:2] == shots_for(problem, 2)
    assert all(_lengths(shot)[:2] == (7, 8) for shot in shots_for(problem, 8))


def test_prompts_say_what_the_setting_says():
    problem = Problem(0, 1234567, 89)
    assert prompt(problem, parse_setting("comma_r2l", shots=0)) == "1,234,567+89="
    assert prompt(problem, parse_setting("nosep+2", shots=0)) == "1234567  +  89  =  "
    lines = prompt(problem, parse_setting("nosep>comma_r2l>comma_l2r", shots=1)).splitlines()
    assert lines[0].count("=") == 2
    assert lines[-1] == "1234567+89="
    turns = messages(problem, parse_setting("nosep>comma_r2l", shots=2))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert parse_setting("nosep>comma_r2l>nosep").name == "nosep>comma_r2l>nosep"


@pytest.mark.parametrize("name", [*FORMATS, "nosep+3", "comma_r2l>nosep", "nosep>comma_r2l>nosep"])
def test_a_setting_has_the_name_it_was_read_from(name):
    assert parse_setting(name).name == name


def test_other_operations_and_flips():
    for op, sign in (("sub", "-"), ("mul", "*")):
        for problem in problems([(2, 3)], 20, op=op):
            assert sign in prompt(problem, parse_setting("nosep", shots=1))
            assert problem.answer >= 0
    flipped = Problem(3, 12, 345).flipped()
    assert (flipped.a, flipped.b, flipped.answer) == (345, 12, 357)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"pairs": []}, {"pairs": [(0, 3)]}, {"op": "div"}])
def test_problems_that_cannot_be_made_are_refused(wrong):
    with pytest.raises(ValueError, match="need"):
        problems(wrong.pop("pairs", [(2, 2)]), wrong.pop("n", 1), **wrong)
    with pytest.raises(ValueError, match="no addition has"):
        controlled_problems([(2, 2, 4)], 1)
