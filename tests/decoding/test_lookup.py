"""Prompt lookup guesses what followed before, and needs fewer forward passes for the same text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_causal_models import tiny
from tokenry.decoding.lookup import PromptLookup
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import generate
from tokenry.models.session import Session


def guesses(context: list[int], **options: int) -> list[int]:
    drafter = PromptLookup(**options)
    drafter.begin(context, None, None)
    tree = drafter.propose(context, budget=100, depth=100)
    return [] if tree is None else tree.tokens[1:].tolist()


def by_scanning(context: list[int], longest: int, n_guesses: int) -> list[int]:
    """The same rule by looking at every place, slowly."""
    for size in range(min(longest, len(context) - 1), 0, -1):
        tail = context[-size:]
        for stop in range(len(context) - 1, size - 1, -1):
            if context[stop - size : stop] == tail:
                copied = list(context)
                for i in range(n_guesses):
                    copied.append(copied[stop + i])
                return copied[len(context) :]
    return []


@given(context=st.lists(st.integers(0, 3), min_size=1, max_size=25), longest=st.integers(1, 4), n=st.integers(1, 6))
def test_the_index_finds_what_a_scan_finds(context, longest, n):
    assert guesses(context, longest=longest, n_guesses=n) == by_scanning(context, longest, n)


@given(context=st.lists(st.integers(0, 2), min_size=2, max_size=25), data=st.data())
def test_an_index_that_grows_with_the_text_is_the_same(context, data):
    drafter = PromptLookup()
    drafter.begin(context, None, None)
    for stop in sorted(data.draw(st.sets(st.integers(1, len(context))))):
        drafter.propose(context[:stop], budget=5, depth=5)
    tree = drafter.propose(context, budget=100, depth=100)
    assert ([] if tree is None else tree.tokens[1:].tolist()) == guesses(context)


def test_a_repeating_text_is_copied_on():
    assert guesses([1, 2, 3, 1, 2, 3, 1], n_guesses=7) == [2, 3, 1, 2, 3, 1, 2]
    assert guesses([4, 5]) == []


def test_budget_and_depth_bound_the_guesses():
    drafter = PromptLookup()
    drafter.begin([1, 1, 1], None, None)
    assert len(drafter.propose([1, 1, 1], budget=4, depth=9)) == 5
    assert len(drafter.propose([1, 1, 1], budget=9, depth=2)) == 3


def test_a_text_that_repeats_takes_fewer_passes():
    """Greedy text of a random model ends in a cycle; all but the way there is guessed, 10 at a time."""
    model, settings = tiny("gpt-neox"), Settings(max_new_tokens=100)
    truth, plain = generate(Session.open(model), [3, 14, 15], settings=settings)
    new, stats = generate(Session.open(model), [3, 14, 15], PromptLookup(), settings=settings)
    assert new == truth

    assert stats.n_forwards < 0.7 * plain.n_forwards


@pytest.mark.parametrize("wrong", [{"longest": 0}, {"n_guesses": 0}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        PromptLookup(**wrong)
