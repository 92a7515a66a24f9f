"""Logits beside kept keys and values are those of a whole pass, when what is kept is fresh."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from small_vocabularies import byte_level
from tiny_causal_models import tiny
from tiny_diffusion_models import KINDS, both_ways
from tokenry.decoding.diffusion_cache import Freeze, Runner, check_cache, sees_later_tokens
from tokenry.models.tiny import tiny_bert

IDS = torch.tensor([[3, 9, 1, 33, 60, 60, 12, 7, 60, 60]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kept", [range(4), range(9), [0, 1, 2, 6, 7, 8, 9], [9, 0, 5]], ids=str)
def test_what_is_computed_beside_fresh_places_is_the_whole_pass(kind, implementation, kept):
    model = both_ways(kind, implementation)
    with torch.inference_mode():
        whole = model(input_ids=IDS).logits
    runner = Runner(model, cached=True)
    asked = [place for place in range(10) if place not in set(kept)]
    first = runner.run(IDS, range(10))
    torch.testing.assert_close(first, whole, atol=1e-4, rtol=1e-4)
    runner.keep(kept)
    torch.testing.assert_close(runner.run(IDS, asked[-2:]), whole[:, asked[-2:]], atol=1e-4, rtol=1e-4)
    assert (runner.n_forwards, runner.n_full, runner.n_computed) == (2, 1, 10 + len(asked))
    runner.forget()
    torch.testing.assert_close(runner.run(IDS, [0]), whole[:, :1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cached", [False, True])
def test_padding_reaches_no_row(cached):
    model = both_ways()
    short = IDS[:, 3:]
    both = torch.cat([IDS, torch.cat([torch.zeros(1, 3, dtype=torch.long), short], 1)])
    with torch.inference_mode():
        alone = model(input_ids=short).logits
    runner = Runner(model, pads=[0, 3], cached=cached)
    torch.testing.assert_close(runner.run(both, range(3, 10))[1:], alone, atol=1e-4, rtol=1e-4)
    if cached:
        runner.keep([0, 1, 2, 3, 4])
        torch.testing.assert_close(runner.run(both, range(5, 10))[1:], alone[:, 2:], atol=1e-4, rtol=1e-4)


def test_a_kept_place_has_no_logits():
    runner = Runner(both_ways(), cached=True)
    runner.run(IDS, [3])
    runner.keep(range(5))
    with pytest.raises(ValueError, match="kept"):
        runner.run(IDS, [4, 5])


def test_models_that_keep_nothing_are_refused_by_name():
    bert = tiny_bert(byte_level(specials=("<|end|>", "<s>", "<pad>")), width=16, heads=2).model
    assert sees_later_tokens(bert)
    with pytest.raises(ValueError, match=r"BertForMaskedLM.*cache=none"):
        check_cache(bert)
    with pytest.raises(ValueError, match="sliding"):
        check_cache(tiny("mistral"))
    assert not sees_later_tokens(tiny("llama"))


@given(
    seen=st.integers(0, 40), more=st.integers(0, 9), prompt=st.integers(1, 12), block=st.integers(1, 9),
    lag=st.integers(0, 9),
)  # fmt: skip
@examples(max_examples=60)
def test_a_prefix_never_reaches_beyond_what_is_written(seen, more, prompt, block, lag):
    for unit in ("prompt", "block", "token"):
        sizes = {when: Freeze(unit, when, lag).n_frozen(seen, seen + more, prompt=prompt, block=block)
                 for when in ("delayed", "immediate")}  # fmt: skip
        assert 0 <= sizes["delayed"] <= max(0, seen - lag)
        assert sizes["delayed"] <= sizes["immediate"] <= max(0, seen + more - lag)
        if unit == "prompt":
            assert max(sizes.values()) <= prompt
        if unit == "block" and sizes["delayed"] > prompt:
            assert (sizes["delayed"] - prompt) % block == 0
            assert sizes["delayed"] + block > seen - lag


@pytest.mark.parametrize(
    "odd", [{"unit": "word"}, {"when": "soon"}, {"refresh": 0}, {"refresh": "now"}, {"suffix": True}, {"lag": -1}]
)
def test_an_odd_schedule_is_refused(odd):
    with pytest.raises(ValueError, match="need"):
        Freeze(**odd)


def test_refreshing_is_due_when_asked():
    assert [Freeze(refresh=3).is_due(step, opens_block=False) for step in range(5)] == [True, False, False, True, False]
    assert Freeze(refresh="block").is_due(7, opens_block=True)
    assert not Freeze().is_due(0, opens_block=True)
