"""Step-by-step problems: solutions are right, wordings differ, and both are recognised."""

from types import SimpleNamespace

import numpy as np
import pytest

from tokenry.worlds.digit_steps import DigitSteps, same_steps, steps_said


def test_solutions_are_right_and_spoilt_ones_are_not():
    world = DigitSteps(3)
    for problem in world.problems(20, seed=0):
        text = world.solution(problem, np.random.default_rng(0))
        right = world.answer(problem)
        assert world.is_right(problem, problem + text)
        assert not world.is_right(problem, text.replace(f" {right} !", f" {(right + 1) % 8} !"))
        assert not world.is_right(problem, text[:-2])


def test_wordings_differ_and_say_the_same():
    world = DigitSteps(1)
    problem = world.problems(1, seed=4)[0]
    texts = sorted({world.solution(problem, np.random.default_rng(at)) for at in range(8)})
    assert len(texts) > 4
    assert len({tuple(steps_said(text)) for text in texts}) == 1
    forks = [SimpleNamespace(small=texts[0], large=text) for text in (texts[1], texts[1].replace("add", "mix") + " 1")]
    assert same_steps(forks) == [0, 1]


def test_a_step_is_the_table_of_its_operation_on_the_last_two_digits():
    world = DigitSteps(2, n_steps=2)
    first = world.tables[world.programs[3][0]][5, 7]
    assert world.answer("run 3 from 5 7 :") == world.tables[world.programs[3][1]][7, first]
    assert (world.tables["add"][5, 7], world.tables["add"][0, 7]) == (4, 7)
    with pytest.raises(ValueError, match="1 to 8"):
        DigitSteps(n_steps=9)


def test_held_out_problems_are_in_no_document():
    world = DigitSteps(0)
    asked = set(world.problems(160, seed=1))
    assert len(asked) == 160
    assert not asked & {text[: text.index(":") + 1] for text in world.documents(2000, seed=0)}
    assert not asked & set(world.known_problems(480, seed=0))
