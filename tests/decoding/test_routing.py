"""Two models write one text: the limits are each model alone, the caches hold, and what was routed is counted."""

import math

import pytest
import torch
from chain_pair import HARD, N_STATES, SAY, WORDED, A, B, chain_model, states, token
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from routing_models import tiny_pair, words

from tiny_causal_models import N_TOKENS, full_logits, tiny
from tokenry.decoding import generate
from tokenry.decoding.divergence import PathRouter
from tokenry.decoding.routers import AleatoricRouter, EntropyRouter, OracleRouter, RandomRouter
from tokenry.decoding.routing import check_pair, routed, routed_generate
from tokenry.decoding.routing_cost import RoutingCost
from tokenry.decoding.sampling import Settings
from tokenry.decoding.verifiers import same_numbers
from tokenry.models.lm import LM

PROMPTS = [[5, 9, 12], [7], [3, 3, 8, 40, 2]]
GREEDY = Settings(max_new_tokens=20)


def alone(model: torch.nn.Module, prompt: list[int], n: int) -> list[int]:
    """What the library's own generate writes."""
    ids = torch.tensor([prompt])
    options = {"do_sample": False, "max_new_tokens": n, "pad_token_id": 0}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()


@pytest.mark.parametrize("pair", [("qwen3", "llama"), ("gpt2", "gemma3")])
def test_the_limits_are_each_model_alone(pair):
    small, large = tiny_pair(*pair)
    for threshold, lm in ((0, large), (1, small), (-1, large), (2, small)):
        texts, cost = routed_generate(
            small, large, PROMPTS, router=EntropyRouter(), threshold=threshold, settings=GREEDY
        )
        assert [text.ids for text in texts] == [alone(lm.model, prompt, 20) for prompt in PROMPTS]
        assert (cost.large_forwards, cost.small_forwards) == ((20, 0) if threshold <= 0 else (0, 20))
        assert cost.large_share == (threshold <= 0)


def test_limits_hold_when_drawing_too():
    small, large = tiny_pair()
    for threshold, lm in ((0.0, large), (1.0, small)):
        asked = {"max_new_tokens": 16, "temperature": 0.9, "top_k": 12, "seed": 5}
        found = generate(
            large, PROMPTS[0], strategy=routed(small=small, router="entropy", threshold=threshold), **asked
        )
        assert found.ids == generate(lm, PROMPTS[0], **asked).ids


def test_routing_wherever_tokens_differ_writes_the_large_models_text():
    small, large = tiny_pair()
    texts, cost = routed_generate(small, large, PROMPTS, router=OracleRouter(), settings=GREEDY)
    assert [text.ids for text in texts] == [alone(large.model, prompt, 20) for prompt in PROMPTS]
    assert 0 < cost.large_share < 1
    for prompt, text in zip(PROMPTS, texts, strict=True):
        for at, is_large in enumerate(text.from_large):
            ours = int(full_logits(small.model, [*prompt, *text.ids[:at]])[-1].argmax())
            assert is_large == (ours != text.ids[at])


class Scripted:
    """Routes as written; keeps the logits of both models for the test."""

    def __init__(self, script):
        self.script, self.seen = script, []

    def __call__(self, step):
        routed = [self.script[row][step.position] for row in step.rows]
        large = step.large() if any(routed) else None
        for place, row in enumerate(step.rows):
            mine = large[place] if large is not None else None
            self.seen.append((row, list(step.contexts[place]), step.logits_BV[place], mine, step.hidden_BD[place]))
        return torch.tensor(routed, dtype=torch.float64)


@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=3))
@examples(max_examples=5)
def test_after_any_pattern_both_caches_equal_a_full_forward(script):
    """And each text is what its own pattern says, whatever rows stand beside it."""
    small, large = tiny_pair()
    router = Scripted(script)
    prompts = PROMPTS[: len(script)]
    texts, cost = routed_generate(small, large, prompts, router=router, settings=Settings(max_new_tokens=12))
    for _row, context, ours, theirs, hidden in router.seen:
        torch.testing.assert_close(ours, full_logits(small.model, context)[-1], atol=1e-4, rtol=1e-4)
        with torch.inference_mode():
            states_D = small.model(torch.tensor([context]), output_hidden_states=True).hidden_states[-1][0, -1]
        torch.testing.assert_close(hidden, states_D, atol=1e-4, rtol=1e-4)
        if theirs is not None:
            torch.testing.assert_close(theirs, full_logits(large.model, context)[-1], atol=1e-4, rtol=1e-4)
    for pattern, prompt, text in zip(script, prompts, texts, strict=True):
        assert text.from_large == pattern
        for at, is_large in enumerate(pattern):
            model = (large if is_large else small).model
            assert text.ids[at] == int(full_logits(model, [*prompt, *text.ids[:at]])[-1].argmax())
    # The large model reads every token at most once, and nothing behind the last it was asked for.
    steps = [at for at in range(12) if any(pattern[at] for pattern in script)]
    assert cost.large_forwards == len(steps)
    assert cost.large_positions == (sum(len(prompt) + steps[-1] for prompt in prompts) if steps else 0)
    assert cost.small_positions == sum(len(prompt) + 11 for prompt in prompts)


def test_rows_end_by_themselves_and_the_others_go_on():
    small, large = tiny_pair()
    router = EntropyRouter()
    free, _ = routed_generate(small, large, PROMPTS, router=router, threshold=0.9, settings=GREEDY)
    ends = (free[0].ids[3], free[2].ids[6])
    settings = Settings(max_new_tokens=20, ends=ends)
    together, _ = routed_generate(small, large, PROMPTS, router=router, threshold=0.9, settings=settings)
    single = [
        routed_generate(small, large, [p], router=router, threshold=0.9, settings=settings)[0][0] for p in PROMPTS
    ]
    assert [text.ids for text in together] == [text.ids for text in single]
    assert together[0].ended_by == "end"
    assert len({len(text.ids) for text in together}) > 1
    for text, longer in zip(together, free, strict=True):
        assert text.ids == longer.ids[: len(text.ids)]


def test_the_chain_is_spoilt_only_by_divergent_tokens():
    """The true labels reach the large model's states with the divergent share alone; entropy asks elsewhere."""
    small, large = chain_model("small"), chain_model("large")
    prompts = [[token(0, SAY)]]
    settings = Settings(max_new_tokens=2 * N_STATES)
    right = states(routed_generate(small, large, prompts, threshold=0, settings=settings)[0][0].ids)
    assert states(routed_generate(small, large, prompts, threshold=1, settings=settings)[0][0].ids) != right
    router = PathRouter(large, same_numbers)
    texts, cost = routed_generate(small, large, prompts, router=router, settings=settings)
    assert states(texts[0].ids) == right
    assert cost.n_large == len(HARD)
    assert router.kinds["neutral"] == len(WORDED)
    # At wordings two words are nearly tied, log 2 nats; after a hard state the small model is sure and wrong.
    texts, cost = routed_generate(small, large, prompts, router=EntropyRouter(), settings=settings)
    assert states(texts[0].ids) != right
    assert cost.n_large > 5 * len(HARD)


def test_chance_routes_the_share_it_is_asked_for():
    """400 draws at .3: within four standard deviations, 4 * sqrt(.21 / 400) = .092."""
    small, large = chain_model("small"), chain_model("large")
    router = RandomRouter(seed=3)
    prompts = [[token(s, SAY)] for s in range(10)]
    run = routed_generate(
        small, large, prompts, router=router, threshold=router.threshold_for(0.3), settings=Settings(max_new_tokens=40)
    )
    assert abs(run[1].large_share - 0.3) < 0.092
    again = routed_generate(
        small,
        large,
        prompts[:1],
        router=router,
        threshold=router.threshold_for(0.3),
        settings=Settings(max_new_tokens=40),
    )
    assert again[0][0].from_large == run[0][0].from_large


def test_uncertainty_scores_are_the_closed_forms():
    """Equal logits: entropy log V, and k equal evidences a have psi(k a + 1) - psi(a + 1)."""
    from tokenry.decoding.routers import RoutingStep, aleatoric_nats

    logits = torch.zeros(1, 8)
    step = RoutingStep(torch.zeros(1, 2), logits, torch.tensor([0]), torch.zeros(1, 2))
    assert math.isclose(float(EntropyRouter()(step)), 1 - 1 / 8)
    # k = 2, a = 1: psi(3) - psi(2) = 1/2
    assert math.isclose(float(aleatoric_nats(torch.ones(1, 2))), 0.5)
    assert 0 <= float(AleatoricRouter()(step)) <= 1


def test_activated_parameters_are_those_of_the_card():
    """(1 - rho) N_s + rho (N_s + N_l) + router: 1.5e9 + .13 * 32e9 is the paper's 5.66e9."""
    cost = RoutingCost(
        n_tokens=100, n_large=13, n_scored=100, small_parameters=15 * 10**8, large_parameters=32 * 10**9,
        small_positions=100, large_positions=100,
    )  # fmt: skip
    assert math.isclose(cost.activated_parameters, 5.66e9)
    assert math.isclose(cost.multiplied_parameters, 33.5e9)


def test_different_vocabularies_are_refused_with_the_way_out():
    _, large = tiny_pair()
    other = LM.open((tiny("qwen3"), words(60)))
    with pytest.raises(ValueError, match=r"different vocabularies \(1 of 61.*tokenry transplant"):
        check_pair(other, large)
    with pytest.raises(ValueError, match="tokenry transplant"):
        generate(large, [5], strategy=routed(small=other, router="entropy"))


def test_bad_options_are_refused():
    small, large = tiny_pair()
    for options, told in (
        ({}, "small model"),
        ({"small": small}, "needs a router"),
        ({"small": small, "router": "entropy", "threshold": 0.1, "share": 0.2}, "one of them"),
        ({"small": small, "router": "random", "share": 1.2}, "from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=told):
            generate(large, [5], strategy=routed(**options))
    with pytest.raises(ValueError, match="cannot be set to a share"):
        generate(large, [5], strategy=routed(small=small, router="entropy", share=0.3))
    with pytest.raises(FileNotFoundError, match="Did you mean 'entropy'"):
        generate(large, [5], strategy=routed(small=small, router="entropi"))
    for prompts, told in (([], "empty prompt"), ([[]], "empty prompt"), ([[1] * 200], "models together hold 128")):
        with pytest.raises(ValueError, match=told):
            routed_generate(small, large, prompts, threshold=0)
    with pytest.raises(ValueError, match="without a router"):
        routed_generate(small, large, [[1]])


def test_damaged_weights_are_told_not_decoded():
    import copy

    small, large = tiny_pair()
    broken = copy.deepcopy(large.model)
    with torch.no_grad():
        broken.lm_head.weight[4] = torch.nan
    bad = LM(broken, large.tokenizer, large.vocab, "bad")
    with pytest.raises(ValueError, match="NaN"):
        routed_generate(small, bad, [[1]], threshold=0)


def test_a_text_fills_the_context_and_ends():
    small, large = tiny_pair()
    texts, _ = routed_generate(
        small, large, [[5] * 120], router=EntropyRouter(), threshold=0.9, settings=Settings(max_new_tokens=50)
    )
    assert texts[0].ended_by == "context"
    assert len(texts[0].ids) == 9  # the last token needs no place
    assert max(texts[0].ids) < N_TOKENS
    assert {A, B} == {1, 2}
