"""The measured size: near the best of all on machines of known cost, plain where guessing loses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tiny_causal_models import tiny
from tokenry.decoding.recycling import Recycling
from tokenry.decoding.sampling import Settings
from tokenry.decoding.sizing import Measured, best_size, expected_accepted, sizing_of, step_seconds
from tokenry.decoding.speculate import FixedSize, StepCost, generate
from tokenry.decoding.trees import Shape, best_ranks
from tokenry.models.session import Session


def simulate(sizing: Measured, *, each: float, gain: float, n_steps: int, seed: int = 0, noise: float = 0.1) -> dict:
    """A machine on which n guesses take 1 + each * n, and of which gain * log2(1 + n) stand on average."""
    generator = np.random.default_rng(seed)
    asked, tokens, seconds = [], 0, 0.0
    for _ in range(n_steps):
        n = sizing.budget()
        took = (1 + each * n) * float(generator.lognormal(0, noise))
        added = 1 + int(generator.poisson(gain * np.log2(1 + n)))
        sizing.observe(StepCost(n + 1, added, 100, 0.0, took))
        asked.append(n)
        tokens, seconds = tokens + added, seconds + took
    return {"asked": asked, "rate": tokens / seconds}


@given(each=st.floats(0.002, 0.5), gain=st.floats(0.0, 0.8), seed=st.integers(0, 1000))
@examples(max_examples=12)
def test_it_reaches_nearly_the_best_rate_of_any_fixed_size(each, gain, seed):
    """Looks around cost at most: 1 step in 8 at a neighbour, 1 in 64 plain, and the first seven; with estimates from
    noisy counts a tenth in all."""
    sizing = Measured()
    found = simulate(sizing, each=each, gain=gain, n_steps=600, seed=seed)
    best = max((1 + gain * np.log2(1 + n)) / (1 + each * n) for n in sizing.sizes_A)
    assert found["rate"] > 0.85 * best / np.exp(0.1**2 / 2)


def test_it_stops_guessing_where_nothing_stands_and_starts_again_when_it_does():
    sizing = Measured()
    lost = simulate(sizing, each=0.1, gain=0.0, n_steps=400)
    assert np.mean([n == 0 for n in lost["asked"][50:]]) > 0.9
    won = simulate(sizing, each=0.01, gain=0.8, n_steps=1500, seed=1)
    assert np.mean([n > 0 for n in won["asked"][-200:]]) > 0.9


def test_break_even_is_the_ratio_of_measured_times():
    sizing = Measured([0, 4, 8])
    simulate(sizing, each=0.25, gain=0.5, n_steps=60, noise=1e-6)
    assert sizing.break_even() == pytest.approx([1, 2, 3], rel=1e-3)
    assert [row["guesses"] for row in sizing.table()] == [0, 4, 8]
    assert sizing.notes["break-even"] in (
        pytest.approx(1, rel=1e-3),
        pytest.approx(2, rel=1e-3),
        pytest.approx(3, rel=1e-3),
    )


def test_a_drafter_without_a_guess_costs_the_size_that_was_asked():
    sizing = Measured([0, 4])
    for _ in range(40):
        sizing.budget()
        sizing.observe(StepCost(1, 1, 10, 0.0, 1.0))
    assert sizing.gains()[1] < 0.1
    assert len(sizing._seconds[1]) == 0


def test_the_text_stays_what_it_is():
    prompt, settings = [5, 17, 3, 44], Settings(max_new_tokens=80)
    truth, _ = generate(Session.open(tiny()), prompt, settings=settings)
    sizing = Measured()
    new, stats = generate(Session.open(tiny()), prompt, Recycling(), settings=settings, sizing=sizing)
    assert new == truth
    assert sizing._n_steps == stats.n_steps
    assert set(sizing.notes) == {"size", "break-even", "gives"}


def sequoia(rates: list[float], n_nodes: int, depth: int) -> float:
    """Sequoia's recurrence, with the empty tree: most expected guesses of a forest hung below one node."""
    from functools import cache

    @cache
    def hung(n: int, levels: int, rank: int) -> float:
        """Best value of children of rank `rank` and later, n nodes in all."""
        if n == 0 or levels == 0 or rank == len(rates):
            return 0.0
        return max(
            rates[rank] * (1 + hung(inner, levels - 1, 0)) + hung(n - 1 - inner, levels, rank + 1) for inner in range(n)
        )

    return hung(n_nodes, depth, 0)


@given(
    rates=st.lists(st.floats(0.01, 0.9), min_size=1, max_size=4).map(
        lambda r: sorted((x / max(1, sum(r)) for x in r), reverse=True)
    ),
    n=st.integers(1, 9),
    depth=st.integers(1, 4),
)
def test_the_best_first_template_is_sequoias_optimum(rates, n, depth):
    shape = best_ranks(rates, n, max_depth=depth)
    assert expected_accepted(shape, rates) == pytest.approx(sequoia(rates, len(shape) - 1, depth))
    assert expected_accepted(Shape.chain(1), rates) == 0


def test_the_best_size_weighs_times_and_levels():
    rates = [0.7, 0.2]
    free = dict.fromkeys((0, 1, 2, 4, 8), 1.0)
    assert best_size(rates, free)[0] == 8
    assert best_size(rates, {n: 1.0 + n for n in (0, 1, 2, 4, 8)}) == (0, 0)
    assert best_size(rates, free, level_seconds=0.5)[1] < best_size(rates, free)[1]
    with pytest.raises(ValueError, match="plain step"):
        best_size(rates, {4: 1.0})


def test_times_of_steps_are_measured_for_every_size():
    found = step_seconds(tiny(), (0, 2, 40), length=500, repeats=3)  # cut to what the context of 128 leaves
    assert list(found) == [0, 2, 40]
    assert min(found.values()) > 0


def test_sizes_are_said_in_words_or_numbers():
    assert sizing_of(7, most=80) == FixedSize(7)
    assert sizing_of("auto", most=10).sizes_A == (0, 2, 4, 6, 8, 10)
    for wrong in (0, "much", 2.5):
        with pytest.raises(ValueError, match="'auto'"):
            sizing_of(wrong, most=80)
    with pytest.raises(ValueError, match="above 0"):
        Measured([0])
