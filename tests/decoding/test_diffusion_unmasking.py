"""What a step uncovers, against counts in closed form and against going through all sets."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.diffusion_unmasking import (
    SCORES,
    Counted,
    EntropyBound,
    Proposal,
    Threshold,
    even_counts,
    highest,
)


def proposal(seed: int, *, rows: int = 2, size: int = 6, step: int = 0) -> Proposal:
    """Random laws of different sharpness; some places are not hidden."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = torch.rand((rows, size, 1), generator=generator, dtype=torch.float64) * 8
    laws = (torch.rand((rows, size, 7), generator=generator, dtype=torch.float64) * sharpness).softmax(-1)
    hidden = torch.rand((rows, size), generator=generator) < 0.7
    hidden[:, 0] = True
    canvas = torch.zeros((rows, size + 3), dtype=torch.long)
    return Proposal(canvas, 3, size, hidden, laws.argmax(-1), laws, step, (0,) * rows, generator)


@examples(max_examples=40)
@given(n_hidden=st.integers(1, 200), steps=st.integers(1, 250))
def test_even_counts_are_the_schedule_of_llada(n_hidden, steps):
    counts = even_counts(n_hidden, steps)
    assert sum(counts) == n_hidden
    assert len(counts) == min(steps, n_hidden)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] == (1 if n_hidden % len(counts) else 0)


@given(seed=st.integers(0, 500), step=st.integers(0, 3))
@examples(max_examples=20)
def test_counted_takes_the_highest_scores_that_are_hidden(seed, step):
    made = proposal(seed, step=step)
    for score in SCORES:
        chosen = Counted(2, score=score).choose(made)
        assert not (chosen & ~made.hidden_BL).any()
        assert torch.equal(chosen.sum(1), made.hidden_BL.sum(1).clamp_max(2))
        if score != "random":
            values = SCORES[score](made).expand(chosen.shape)
            for row in range(2):
                left = values[row][made.hidden_BL[row] & ~chosen[row]]
                assert len(left) == 0 or left.max() <= values[row][chosen[row]].min()
    assert Counted(steps=4).choose(made).sum(1).max() <= even_counts(6, 4)[step]


@given(seed=st.integers(0, 500), budget=st.floats(0, 4))
@examples(max_examples=20)
def test_the_entropy_bound_takes_the_largest_set_there_is(seed, budget):
    """Among all sets of hidden places whose entropies sum, less the largest, to at most the budget, none is larger."""
    made = proposal(seed, rows=1)
    chosen = EntropyBound(budget).choose(made)[0].nonzero()[:, 0].tolist()
    entropy = made.entropy[0].tolist()
    hidden = made.hidden_BL[0].nonzero()[:, 0].tolist()

    def spent(places):
        values = [entropy[place] for place in places]
        return sum(values) - max(values)

    fits = [places for n in range(1, len(hidden) + 1) for places in itertools.combinations(hidden, n)
            if spent(places) <= budget]  # fmt: skip
    assert spent(chosen) <= budget + 1e-9
    assert len(chosen) == max(map(len, fits))


def test_a_threshold_takes_what_passes_and_its_limits_are_one_and_all():
    made = proposal(4, rows=3)
    assert torch.equal(Threshold(0.5).choose(made) & made.hidden_BL, (made.confidence > 0.5) & made.hidden_BL)
    assert Threshold(0.0).choose(made).all()
    assert not Threshold(1.0).choose(made).any()


def test_scores_are_what_they_say():
    made = proposal(9)
    laws = made.laws_BLV
    torch.testing.assert_close(made.entropy, -(laws * laws.log()).sum(-1))
    ordered = laws.sort(-1, descending=True).values
    torch.testing.assert_close(made.margin, ordered[..., 0] - ordered[..., 1])
    torch.testing.assert_close(made.confidence, ordered[..., 0])


def test_among_equals_the_leftmost_comes_first():
    allowed = torch.tensor([[False, True, True, True]])
    assert highest(torch.ones(1, 4), allowed, torch.tensor([2])).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    "make",
    [lambda: Counted(0), lambda: Counted(steps=0), lambda: Counted(score="luck"), lambda: Threshold(1.5),
     lambda: EntropyBound(-1.0)],
)  # fmt: skip
def test_odd_numbers_are_refused(make):
    with pytest.raises(ValueError, match="need"):
        make()
