"""Step-by-step problems: solutions are right, wordings differ, and both are recognised."""

import numpy as np
import pytest

from tokenry.worlds.digit_steps import DigitSteps, said


def test_solutions_are_right_and_spoilt_ones_are_not():
    world = DigitSteps(3)
    for problem in world.problems(20, seed=0):
        text = world.solution(problem, np.random.default_rng(0))
        right = world.answer(problem)
        assert world.is_right(problem, problem + text)
        assert not world.is_right(problem, text.replace(f" {right} !", f" {(right + 1) % 10} !"))
        assert not world.is_right(problem, text[:-2])


def test_wordings_differ_and_say_the_same():
    world = DigitSteps(1)
    problem = world.problems(1, seed=4)[0]
    texts = {world.solution(problem, np.random.default_rng(at)) for at in range(8)}
    assert len(texts) > 4
    assert len({tuple(said(text)) for text in texts}) == 1


def test_a_step_is_the_table_of_its_operation():
    world = DigitSteps(2, n_steps=1)
    assert world.answer("a add 7 from 5 :") == 2
    assert world.answer("a mix 7 from 5 :") == world.tables["mix"][5, 7]
    with pytest.raises(ValueError, match="1 to 8"):
        DigitSteps(n_steps=9)
