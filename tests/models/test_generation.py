"""Generation goes on as the library does, and speed is bytes over seconds."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.generation import _continue, speed
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model(), device="cpu")


def test_greedy_text_is_the_argmax_of_full_passes(lm):
    ids = lm.encode(["Tom had a"])[0].tolist()
    for _ in range(12):
        with torch.no_grad():
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    expected = AutoTokenizer.from_pretrained(demo_model()).decode(ids, skip_special_tokens=True)
    assert lm.generate("Tom had a", max_new_tokens=12) == expected


def test_a_seed_gives_one_text_and_leaves_the_global_generator_alone(lm):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = lm.generate("Tom", max_new_tokens=20, temperature=1.0, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert lm.generate("Tom", max_new_tokens=20, temperature=1.0, seed=1) == first
    assert lm.generate("Tom", max_new_tokens=20, temperature=1.0, seed=2) != first


def test_sampling_follows_the_whole_distribution():
    """First tokens of 300 seeds on a nearly flat model, against its own probabilities.

    Binomial counts: 4.5 standard deviations are left for the likelier half of the ids together.
    """
    lm = tiny_llama(Vocab.open(demo_model()), spread=0.3, width=16, layers=1)
    ids = torch.from_numpy(lm.encode(["Tom"])[0].astype(np.int64))[None]
    with torch.no_grad():
        p = torch.softmax(lm.model(ids).logits[0, -1] / 2.0, dim=-1)
    likelier = set(p.argsort(descending=True)[:100].tolist())
    share, n = float(p[list(likelier)].sum()), 300
    draws = [int(_continue(lm, ids[0].numpy(), max_new_tokens=1, temperature=2.0)[-1]) for _ in range(n)]
    assert abs(sum(draw in likelier for draw in draws) - n * share) < 4.5 * (n * share * (1 - share)) ** 0.5
    assert len(set(draws)) > 60  # a hidden top-k of 50 would show


def test_an_empty_prompt_starts_a_story(lm):
    assert lm.generate("", max_new_tokens=8).startswith("Once upon a time")


def test_rows_behind_the_vocabulary_are_never_generated():
    vocab = Vocab.open(demo_model())
    lm = tiny_llama(vocab, rows=640, spread=0.5, tied=False)
    with torch.no_grad():
        lm.model.lm_head.weight[512:] = lm.model.lm_head.weight[:128] * 4
    measured = speed(lm, ["Tom", "One day"], max_new_tokens=16)
    assert measured.per_token.value > 0
    assert lm.generate("Tom", max_new_tokens=16)


def test_speed_counts_the_bytes_of_exactly_the_steps_asked(lm, monkeypatch):
    prompts = ["Once upon a time", "One day, Lily", "Tom"]
    ticks = iter(range(100))
    monkeypatch.setattr("tokenry.models.generation.time.process_time", lambda: float(next(ticks)))
    measured = speed(lm, prompts, max_new_tokens=24)
    model = AutoModelForCausalLM.from_pretrained(demo_model())
    total = 0
    for prompt in prompts:
        ids = lm.tokenizer(prompt, return_tensors="pt")
        full = model.generate(**ids, max_new_tokens=24, min_new_tokens=24, do_sample=False)[0]
        total += int(lm.vocab.byte_lengths[full[ids["input_ids"].shape[1] :].numpy()].sum())
    assert measured.per_cpu_second.value == pytest.approx(total / 3)  # one tick a prompt
    assert measured.per_token.value == pytest.approx(total / (3 * 24))
    assert measured.per_wall_second.value > 0


@pytest.mark.parametrize(
    ("arguments", "told"), [({"max_new_tokens": 0}, "at least 1"), ({"max_new_tokens": 4, "temperature": -1}, "greedy")]
)
def test_settings_that_make_no_sense_are_refused(lm, arguments, told):
    with pytest.raises(ValueError, match=told):
        lm.generate("Tom", **arguments)


def test_speed_needs_a_prompt(lm):
    with pytest.raises(ValueError, match="at least one"):
        speed(lm, [])
