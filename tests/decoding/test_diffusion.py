"""Diffusion decoding against brute force: whole passes, enumerated laws, causal models where freezing is exact."""

import itertools
from collections import defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tiny_causal_models import tiny
from tiny_diffusion_models import MASK, SPEC, both_ways, small
from tokenry.decoding.diffusion import diffuse, inverse_cdf
from tokenry.decoding.diffusion_cache import Freeze
from tokenry.decoding.diffusion_models import DiffusionSpec
from tokenry.decoding.diffusion_unmasking import Counted, EntropyBound, Threshold
from tokenry.decoding.sampling import Settings

PROMPT = [5, 17, 3, 44, 21]
WAYS = [Counted(), Counted(3, score="margin"), Counted(steps=3, score="random"), Threshold(0.3), EntropyBound(1.0)]


def by_hand(model, prompt, n_new, block, *, shift=0) -> tuple[list[int], list[int]]:
    """One token a step, the most confident of the block, by whole passes and nothing else."""
    text, order = [*prompt, *[MASK] * n_new], [0] * n_new
    for step in range(n_new):
        with torch.inference_mode():
            laws = model(input_ids=torch.tensor([text])).logits[0].double()
        laws = laws.clone()
        laws[:, MASK] = -torch.inf
        laws = laws.softmax(-1)
        start = len(prompt) + step // block * block
        hidden = [place for place in range(start, min(start + block, len(text))) if text[place] == MASK]
        best = max(hidden, key=lambda place: float(laws[place - shift].max()))
        text[best], order[best - len(prompt)] = int(laws[best - shift].argmax()), step
    return text[len(prompt) :], order


@pytest.mark.parametrize("shift", [0, 1])
def test_one_token_a_step_is_the_loop_written_by_hand(shift):
    model = both_ways()
    found = diffuse(
        model, [PROMPT], DiffusionSpec(MASK, shift=bool(shift)), settings=Settings(max_new_tokens=11), block=4
    )
    ids, order = by_hand(model, PROMPT, 11, 4, shift=shift)
    assert found.ids == [ids]
    assert found.uncovered_at == [order]
    assert found.cost.n_forwards == found.cost.n_full == 11
    assert found.cost.n_computed == 11 * 16


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(("kind", "shift"), [("llama", True), ("gpt2", False)])
def test_a_prefix_refreshed_at_each_step_changes_nothing(way, kind, shift):
    asked = {"settings": Settings(max_new_tokens=9, temperature=0.7, top_p=0.95, seed=3), "unmask": way, "block": 4}
    spec = DiffusionSpec(MASK, shift=shift)
    whole = diffuse(both_ways(kind), [PROMPT], spec, **asked)
    for unit in ("prompt", "block", "token"):
        kept = diffuse(both_ways(kind), [PROMPT], spec, freeze=Freeze(unit=unit, refresh=1), **asked)
        assert (kept.ids, kept.uncovered_at) == (whole.ids, whole.uncovered_at)
        assert kept.cost.n_computed == whole.cost.n_computed


@pytest.mark.parametrize("unit", ["prompt", "block", "token"])
@pytest.mark.parametrize("way", WAYS[:3], ids=str)
def test_on_a_causal_model_freezing_late_is_exact_and_freezing_early_is_not(unit, way):
    """What stands behind a place cannot reach it there, so only what was hidden itself when it was kept is wrong."""
    asked = {"settings": Settings(max_new_tokens=24), "unmask": way, "block": 6}
    whole = diffuse(tiny("llama"), [PROMPT], SPEC, **asked)
    late = diffuse(tiny("llama"), [PROMPT], SPEC, freeze=Freeze(unit=unit), **asked)
    early = diffuse(tiny("llama"), [PROMPT], SPEC, freeze=Freeze(unit=unit, when="immediate"), **asked)
    assert late.ids == whole.ids
    assert late.cost.n_computed < whole.cost.n_computed
    assert (early.ids != whole.ids) == (unit != "prompt")


@pytest.mark.parametrize("freeze", [None, Freeze(), Freeze(unit="token")], ids=str)
def test_a_shifted_causal_model_from_the_left_writes_its_own_greedy_text(freeze):
    model, prompt = tiny("llama"), torch.tensor([PROMPT])
    truth = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=20, pad_token_id=0,
        suppress_tokens=[MASK],
    )[0, len(PROMPT) :].tolist()  # fmt: skip
    asked = {"settings": Settings(max_new_tokens=20), "unmask": Counted(score="left"), "block": 7, "freeze": freeze}
    assert diffuse(model, [PROMPT], DiffusionSpec(MASK, shift=True), **asked).ids == [truth]


def exact_law(model, prompt, n_new, mask, score) -> dict[tuple, float]:
    """The law of the text when each step draws all hidden tokens and keeps one, by going through all ways."""
    found = defaultdict(float)

    def go(text, weight):
        hidden = [place for place, token in enumerate(text) if token == mask]
        if not hidden:
            found[tuple(text[len(prompt) :])] += weight
            return
        with torch.inference_mode():
            laws = model(input_ids=torch.tensor([text])).logits[0].double()
        laws = laws.clone()
        laws[:, mask] = -torch.inf
        laws = laws.softmax(-1)
        after = defaultdict(float)
        for drawn in itertools.product(range(mask), repeat=len(hidden)):
            chances = [float(laws[place, token]) for place, token in zip(hidden, drawn, strict=True)]
            share = torch.tensor(chances).double().prod().item()
            if score == "random":
                for place, token in zip(hidden, drawn, strict=True):
                    after[place, token] += share / len(hidden)
            else:
                best = max(range(len(hidden)), key=lambda at: (chances[at], -at))
                after[hidden[best], drawn[best]] += share
        for (place, token), share in after.items():
            go([*text[:place], token, *text[place + 1 :]], weight * share)

    go([*prompt, *[mask] * n_new], 1.0)
    return found


@pytest.mark.parametrize("score", ["random", "confidence"])
def test_sampled_texts_follow_the_law_found_by_enumeration(score):
    model, prompt, n = small(4), [0, 2], 4000
    law = exact_law(model, prompt, 3, 3, score)
    assert sum(law.values()) == pytest.approx(1)
    asked = {"settings": Settings(max_new_tokens=3, temperature=1.0, seed=1), "unmask": Counted(score=score)}
    found = diffuse(model, [prompt] * n, DiffusionSpec(3), **asked)
    counts = defaultdict(int)
    for row in found.ids:
        counts[tuple(row)] += 1
    # Pearson's statistic over 27 texts: mean 26, variance near 52; 26 + 5 x 7.2 is passed by less than 1 in 10,000.
    assert set(counts) <= set(law)
    assert sum((counts[text] - n * p) ** 2 / (n * p) for text, p in law.items()) < 62


def test_in_random_order_the_law_is_the_mean_over_orders_of_the_product():
    """Closed form beside the enumeration: an order-agnostic model draws each token from its law given those before."""
    model, prompt, mask = small(4), [0, 2], 3
    law = exact_law(model, prompt, 3, mask, "random")
    for text in [(0, 1, 2), (2, 2, 0), (1, 0, 1)]:
        total = 0.0
        for order in itertools.permutations(range(3)):
            canvas, chance = [*prompt, *[mask] * 3], 1.0
            for place in order:
                with torch.inference_mode():
                    logits = model(input_ids=torch.tensor([canvas])).logits[0, 2 + place, :mask].double()
                chance *= float(logits.softmax(-1)[text[place]])
                canvas[2 + place] = text[place]
            total += chance / 6
        assert law[text] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    "freeze", [None, Freeze(), Freeze(unit="token"), Freeze(refresh="block", suffix=True)], ids=str
)
@pytest.mark.parametrize("way", [Counted(3), Threshold(0.3)], ids=str)
def test_rows_of_a_batch_are_what_they_would_be_alone(freeze, way):
    """Without chance. A row that waits for others reads the same canvas again; "token" moves with the slowest row."""
    prompts = [PROMPT, [7, 9], [30, 31, 32, 33]]
    asked = {"settings": Settings(max_new_tokens=9), "unmask": way, "block": 4, "freeze": freeze}
    together = diffuse(both_ways(), prompts, SPEC, **asked)
    if freeze is None or freeze.unit == "block":
        assert together.ids == [diffuse(both_ways(), [prompt], SPEC, **asked).ids[0] for prompt in prompts]
    assert [len(row) for row in together.ids] == [9, 9, 9]


def test_a_text_ends_at_its_end_token_and_at_a_stop():
    whole = diffuse(both_ways(), [PROMPT], SPEC, settings=Settings(max_new_tokens=16), block=4)
    row = whole.ids[0]
    end = row[9]
    size = row.index(end) + 1
    ended = diffuse(both_ways(), [PROMPT], SPEC, settings=Settings(max_new_tokens=16, ends=(end,)), block=4)
    assert ended.ids == [row[:size]]
    assert ended.ended_by == ["end"]
    assert ended.cost.n_forwards <= -(-size // 4) * 4
    stop = Settings(max_new_tokens=16, stop=lambda new: len(new) == 6)
    stopped = diffuse(both_ways(), [PROMPT], SPEC, settings=stop, block=4, freeze=Freeze(refresh=1))
    assert (stopped.ids, stopped.ended_by) == ([row[:6]], ["stop"])


@given(
    weights=st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(any), chance=st.floats(0, 1, exclude_max=True)
)
def test_the_inverse_of_the_cumulated_law_draws_only_what_can_be(weights, chance):
    law = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    token = int(inverse_cdf(law[None, None], torch.tensor([[chance]]))[0, 0])
    assert weights[token] > 0
    assert sum(weights[:token]) / sum(weights) <= chance + 1e-12 <= sum(weights[: token + 1]) / sum(weights) + 2e-12


@given(n_new=st.integers(1, 9), block=st.integers(1, 10), seed=st.integers(0, 99), per_step=st.integers(1, 4))
@examples(max_examples=8)
def test_every_place_is_written_once_block_after_block(n_new, block, seed, per_step):
    asked = Settings(max_new_tokens=n_new, temperature=1.0, seed=seed)
    found = diffuse(both_ways(), [PROMPT], SPEC, settings=asked, unmask=Counted(per_step), block=block, freeze=Freeze())
    assert MASK not in found.ids[0]
    blocks = [found.uncovered_at[0][at : at + block] for at in range(0, n_new, block)]
    for one, other in itertools.pairwise(blocks):
        assert max(one) < min(other)
    assert found.cost.n_forwards == sum(-(-len(one) // per_step) for one in blocks) == max(blocks[-1]) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[]]}, "empty prompt"),
        ({"prompts": [[MASK]]}, "may not hold the mask"),
        ({"prompts": [[1]], "settings": Settings(max_new_tokens=500)}, "Ask for fewer tokens"),
        ({"prompts": [[1]], "settings": Settings(processors=lambda ids, logits: logits)}, "processors"),
        ({"prompts": [[1]], "block": 0}, "block=0"),
        ({"prompts": [[1]], "model": tiny("llama"), "freeze": Freeze(refresh="block", suffix=True)}, "suffix=True"),
        ({"prompts": [[1], [1, 2]], "model": tiny("llama")}, "does not look both ways"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_a_way_out(change, message):
    model, prompts = change.pop("model", both_ways()), change.pop("prompts")
    with pytest.raises(ValueError, match=message):
        diffuse(model, prompts, SPEC, **change)


def test_broken_numbers_are_refused():
    model = small(5)
    with torch.no_grad():
        model.get_input_embeddings().weight[1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        diffuse(model, [[1]], DiffusionSpec(4), settings=Settings(max_new_tokens=4))
