"""Schedules of layers: nested, of known cost, and nothing else is let through."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.layer_schedules import PLACES, SHAPES, LayerSchedule


@given(
    n_layers=st.integers(2, 30),
    n_steps=st.integers(1, 60),
    share=st.floats(0, 1),
    spread=st.floats(0, 1),
    shape=st.sampled_from(sorted(SHAPES)),
    place=st.sampled_from(["top", "bottom"]),
    warmup=st.integers(1, 4),
)
@examples(max_examples=40, deadline=None)
def test_a_speedup_is_kept_and_not_overshot_by_a_layer(n_layers, n_steps, share, spread, shape, place, warmup):
    """Raising the free number to the next jump raises no step by more than one layer, so less than one is lost."""
    warmup = min(warmup, n_layers)
    speedup = 1 + share * (n_layers / warmup - 1)
    made = LayerSchedule.falling(n_layers, n_steps=n_steps, speedup=speedup, spread=spread, warmup=warmup, shape=shape,
                                 place=place)  # fmt: skip
    target = n_layers / speedup
    assert target - 1 < made.average() <= target + 1e-9
    assert all(set(after) <= set(before) for before, after in pairwise(made.sets))
    assert all(set(range(warmup)) <= set(layers) for layers in made.sets)
    assert (np.diff(made.depths()) <= 0).all()
    assert LayerSchedule.from_record(made.to_record()) == made


def test_the_example_of_the_card():
    """24 layers, one warm-up, twice as fast: k_max + k_min = 22."""
    made = LayerSchedule.falling(24, n_steps=13, k_max=17, k_min=5)
    assert made.depths().tolist() == [1 + k for k in range(17, 4, -1)]
    assert (made.average(), made.speedup()) == (12.0, 2.0)
    assert made.layers(0) == (0, *range(7, 24))
    assert made.layers(12) == made.layers(500) == (0, *range(19, 24))
    assert LayerSchedule.falling(24, n_steps=13, speedup=2.0, k_max=17).depths().tolist() == made.depths().tolist()
    assert LayerSchedule.falling(24, n_steps=13, speedup=2.0, k_min=5).depths().tolist() == made.depths().tolist()


@given(ends=st.tuples(st.integers(0, 11), st.integers(0, 11)), n_steps=st.integers(2, 50))
def test_the_mean_depth_of_a_linear_schedule_is_the_middle_of_its_ends(ends, n_steps):
    """k_t + k_(T-1-t) is the sum of the ends, up to one where both are halves that round the same way."""
    low, high = sorted(ends)
    made = LayerSchedule.falling(12, n_steps=n_steps, k_max=high, k_min=low)
    assert abs(made.average() - 1 - (low + high) / 2) <= 0.5


@given(n_prompt=st.integers(1, 50), n_new=st.integers(1, 50), n_steps=st.integers(1, 20))
@examples(max_examples=40, deadline=None)
def test_cost_counts_every_fed_token(n_prompt, n_new, n_steps):
    made = LayerSchedule.falling(8, n_steps=n_steps, speedup=2)
    assert made.cost(n_prompt, n_new) == 8 * n_prompt + sum(len(made.layers(t)) for t in range(n_new - 1))
    assert (made.table(n_new).sum(0) == made.depths(n_new)).all()
    assert LayerSchedule.full(8).cost(n_prompt, n_new) == 8 * (n_prompt + n_new - 1)


def test_places():
    assert LayerSchedule.from_counts(8, [3], place="top").layers(0) == (0, 5, 6, 7)
    assert LayerSchedule.from_counts(8, [3], place="bottom").layers(0) == (0, 1, 2, 3)
    assert LayerSchedule.from_counts(8, [3], place="even").layers(0) == (0, 3, 5, 7)
    for place in PLACES:
        assert LayerSchedule.from_counts(8, [7], place=place).is_full
        assert LayerSchedule.from_counts(8, [0], place=place).layers(0) == (0,)
        assert LayerSchedule.from_counts(8, [0], warmup=8, place=place).is_full


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LayerSchedule(4, ((0, 3), (0, 2, 3))), "never rise"),
        (lambda: LayerSchedule.from_counts(6, [2, 3]), "never rise"),
        (lambda: LayerSchedule.from_counts(8, [4, 3], place="even"), "never rise"),
        (lambda: LayerSchedule(4, ((1, 2),)), "0 among them"),
        (lambda: LayerSchedule(4, ((0, 4),)), "below 4"),
        (lambda: LayerSchedule(4, ()), "without steps"),
        (lambda: LayerSchedule.from_counts(4, [4]), "need 0 to 3"),
        (lambda: LayerSchedule.from_counts(4, [1], warmup=0), "warmup=0"),
        (lambda: LayerSchedule.from_counts(4, [1], place="middle"), "middle"),
        (lambda: LayerSchedule.falling(8, n_steps=4, speedup=9), "need 1 to 8"),
        (lambda: LayerSchedule.falling(8, n_steps=4, speedup=0.5), "need 1 to 8"),
        (lambda: LayerSchedule.falling(8, n_steps=0), "n_steps=0"),
        (lambda: LayerSchedule.falling(8, n_steps=4, k_max=2, k_min=3), "k_min <= k_max"),
        (lambda: LayerSchedule.falling(8, n_steps=4, k_max=3, k_min=2, speedup=2), "no speedup"),
        (lambda: LayerSchedule.falling(8, n_steps=4, k_min=6, speedup=2), "out of reach"),
        (lambda: LayerSchedule.falling(8, n_steps=4, shape="liner"), "linear"),
        (lambda: LayerSchedule.from_record({"n_layers": 3}), "n_layers and runs"),
    ],
)
def test_what_cannot_be_run_is_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()
