"""The whole particle filter in exact arithmetic: its weighted texts stand for p(x) C(x), its evidence is unbiased."""

import math
from collections import Counter
from fractions import Fraction
from functools import reduce
from operator import mul

import numpy as np
import pytest
from exact_chance import outcomes, random_law
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.particles import PROPOSERS, run

END = 2


class ToyLaws:
    """A law for every beginning over the tokens 0, 1 and an end, made from a seed."""

    def __init__(self, seed: int, *, exact: bool = True, n_tokens: int = 3) -> None:
        self.seed, self.exact, self.n_tokens = seed, exact, n_tokens
        self.texts: list[tuple[int, ...]] = []

    def law(self, text: tuple[int, ...]) -> np.ndarray:
        law_V = random_law(np.random.default_rng([self.seed, len(text), *text]), self.n_tokens)
        return law_V if self.exact else law_V.astype(float)

    def first(self):
        self.texts = [()]
        return self.law(())

    def next(self, rows, tokens):
        self.texts = [(*self.texts[row], token) for row, token in zip(rows, tokens, strict=True)]
        return [self.law(text) for text in self.texts]


class ToyView:
    """Texts of a set, over token ids; states are the texts so far."""

    n_checks = n_masks = 0

    def __init__(self, accepted: set[tuple[int, ...]], *, ends: tuple[int, ...] = (END,), blind: bool = False) -> None:
        self.accepted, self.ends = accepted, ends
        self.prefixes = {text[:cut] for text in accepted for cut in range(len(text) + 1)}
        self.blind = blind

    def begin(self):
        return ()

    def advance(self, state, token):
        after = (*state, token)
        return after if token not in self.ends and (self.blind or after in self.prefixes) else None

    def allows(self, state, token):
        self.n_checks += 1
        return self.accepts(state) if token in self.ends else self.advance(state, token) is not None

    def mask(self, state):
        self.n_masks += 1
        return np.array([self.allows(state, token) for token in range(3)])

    def accepts(self, state):
        return state in self.accepted

    def is_final(self, state):
        return False


ACCEPTED = {(0,), (0, 1), (1, 1), (1, 0)}


def _truth(laws, accepted, most_tokens):
    """p(x) of the accepted texts that end in time."""
    found = {}
    for text in accepted:
        if len(text) < most_tokens:
            chances = [laws.law(text[:place])[token] for place, token in enumerate((*text, END))]
            found[*text, END] = reduce(mul, chances)
    return found


def _act(laws, view, **settings):
    def act(chance):
        found = run(laws, view, chance_of=lambda step, particle: chance, **settings)
        evidence = reduce(mul, found.factors, Fraction(1))
        return tuple((tuple(ids), evidence * weight) for ids, weight in zip(found.ids, found.weights_M, strict=True))

    return act


def _assert_proper(laws, view, accepted, *, n_particles, most_tokens, **settings):
    found = outcomes(_act(laws, view, n_particles=n_particles, most_tokens=most_tokens, **settings))
    truth, means = _truth(laws, accepted, most_tokens), Counter()
    for particles, chance in found.items():
        for text, weight in particles:
            means[text] += chance * weight / n_particles
    assert {text: mean for text, mean in means.items() if mean} == truth


@pytest.mark.parametrize("sampler", ["awrs-recursive", "awrs-two-loops", "mask", "reject"])
@pytest.mark.parametrize("blind", [False, True])
def test_one_particle_is_properly_weighted_over_whole_texts(sampler, blind):
    """`blind`: every beginning is allowed, so the constraint is only known at the end; dead ends weigh nothing."""
    laws, view = ToyLaws(1), ToyView(ACCEPTED, blind=blind)
    _assert_proper(laws, view, ACCEPTED, n_particles=1, most_tokens=3, propose=PROPOSERS[sampler])


@given(seed=st.integers(0, 1000), below=st.sampled_from([0.0, 0.8, 1.0]), texts=st.integers(1, 15))
@examples(max_examples=6)
def test_particles_that_are_resampled_stay_properly_weighted(seed, below, texts):
    accepted = {text for bit, text in enumerate(sorted(ACCEPTED)) if texts >> bit & 1}
    laws, view = ToyLaws(seed), ToyView(accepted)
    _assert_proper(laws, view, accepted, n_particles=2, most_tokens=3, resample_below=below, propose=PROPOSERS["mask"])


def test_two_particles_with_estimated_weights_are_properly_weighted():
    accepted = {(0,), (1,), ()}
    _assert_proper(ToyLaws(4), ToyView(accepted - {(1,)}), accepted - {(1,)}, n_particles=2, most_tokens=2,
                   resample_below=1.0, propose=PROPOSERS["awrs-recursive"])  # fmt: skip


def _chances(seed):
    return lambda step, particle: Seeded(np.random.default_rng([seed, step, particle + 1]))


@pytest.mark.parametrize("sampler", ["awrs", "mask"])
def test_the_evidence_of_many_runs_has_the_right_mean(sampler):
    """400 runs of 4 particles with floats: within 4 standard errors, for the default sampler too."""
    laws, view = ToyLaws(7, exact=False), ToyView(ACCEPTED)
    found = [
        math.exp(run(laws, view, n_particles=4, most_tokens=3, propose=PROPOSERS[sampler], resample_below=0.9,
                     chance_of=_chances(turn)).log_evidence)
        for turn in range(400)
    ]  # fmt: skip
    truth = float(sum(_truth(laws, ACCEPTED, 3).values()))
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / 20
    assert np.std(found) > 0


def _floats(view, *, n=4, laws=None, sampler="awrs", seed=0, **settings):
    return run(laws or ToyLaws(3, exact=False), view, n_particles=n, chance_of=_chances(seed),
               propose=PROPOSERS[sampler], **{"most_tokens": 3, **settings})  # fmt: skip


@pytest.mark.parametrize("sampler", ["awrs", "awrs-geometric", "mask", "reject"])
def test_a_constraint_that_cannot_be_met_ends_at_once(sampler):
    found = _floats(ToyView({(7, 7)}), sampler=sampler, most_tokens=10**9)
    assert found.ended_by == ["dead end"] * 4
    assert found.log_evidence == -math.inf
    assert found.effective == 0
    assert found.n_steps == 1


def test_a_dead_end_in_the_middle_is_told_apart_from_the_length():
    class OverApproximate(ToyView):
        def advance(self, state, token):
            return (*state, token) if token == 0 and len(state) < 2 else None

    dead = _floats(OverApproximate({(9,)}), most_tokens=50)
    assert dead.ended_by == ["dead end"] * 4
    assert dead.ids == [[0, 0]] * 4
    short = _floats(ToyView({(0, 0, 0, 0)}))
    assert short.ended_by == ["length"] * 4
    assert short.ids == [[0, 0]] * 4, "the third of three tokens would have to be the end"


def test_without_an_end_token_a_text_ends_where_nothing_can_follow():
    laws = ToyLaws(3, exact=False)
    found = _floats(ToyView({(0, 1), (1, 1)}, ends=()), laws=laws, most_tokens=5)
    assert set(found.ended_by) == {"complete"}
    assert {tuple(ids) for ids in found.ids} <= {(0, 1), (1, 1)}
    p = sum(laws.law(())[a] * laws.law((a,))[1] for a in (0, 1))
    means = [math.exp(_floats(ToyView({(0, 1), (1, 1)}, ends=()), laws=laws, seed=s).log_evidence) for s in range(300)]
    assert abs(np.mean(means) - p) < 4 * np.std(means) / np.sqrt(300)
    cut = _floats(ToyView({(0, 1), (1, 1)}, ends=()), laws=laws, most_tokens=1)
    assert (set(cut.ended_by), cut.effective) == ({"length"}, 0)


def test_a_stop_counts_only_where_the_text_is_acceptable():
    found = _floats(ToyView({(0, 1), (1, 1)}), stop=lambda ids: len(ids) == 1, n=8)
    assert set(found.ended_by) == {"stop"}
    assert found.effective == 0
    found = _floats(ToyView({(0,), (1, 1)}), stop=lambda ids: len(ids) == 1, n=8)
    assert all((weight > 0) == (ids == [0]) for ids, weight in zip(found.ids, found.weights_M, strict=True))


def test_the_same_seed_gives_the_same_texts():
    again = [_floats(ToyView(ACCEPTED), seed=5, resample_below=1.0) for _ in range(2)]
    assert again[0].ids == again[1].ids
    assert again[0].factors == again[1].factors
