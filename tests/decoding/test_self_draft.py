"""A model's own first layers guess: the text stays the model's, the guesses are those of the shorter model."""

import copy
from collections import Counter

import pytest
import torch
from shorter_models import shorter

from tiny_causal_models import KINDS, tiny
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_by
from tokenry.decoding.custom_generate import drafted
from tokenry.decoding.layer_switch import decoder_layers
from tokenry.decoding.sampling import Settings
from tokenry.decoding.self_draft import SelfDrafter
from tokenry.decoding.speculate import generate
from tokenry.models.lm import LM
from tokenry.models.session import Session

PROMPT = [3, 14, 15, 9, 26, 5]


def close_exit(kind: str = "llama") -> torch.nn.Module:
    """A model whose upper layers add little, as after training with exits: some guesses stand, some do not."""
    model = copy.deepcopy(tiny(kind))
    with torch.no_grad():
        for layer in decoder_layers(model)[2:]:
            for weight in layer.parameters():
                weight *= 0.3
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "layers"), [("bottom", 1), ("top", 2)])
def test_greedy_text_is_that_of_the_library(kind, place, layers):
    model = tiny(kind)
    truth = model.generate(torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
                           max_new_tokens=16, do_sample=False, pad_token_id=0)[0, len(PROMPT) :].tolist()  # fmt: skip
    drafter = SelfDrafter(layers=layers, place=place, confidence=0.0)
    new, stats = generate(Session.open(model), PROMPT, drafter, settings=Settings(max_new_tokens=16))
    assert new == truth
    assert drafter.notes["layer passes a token"] == pytest.approx(
        (drafter.notes["draft passes"] * layers + stats.n_steps * 3) / 15
    )
    assert not any("forward" in layer.__dict__ for layer in decoder_layers(model))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_guesses_are_the_text_of_the_model_cut_short(kind):
    """Read from the keys of the whole model, with no pass over the prompt."""
    model, session = tiny(kind), Session.open(tiny(kind))
    drafter = SelfDrafter(layers=2, n_guesses=5, confidence=0.0)
    drafter.begin(PROMPT, session, Settings())
    session.extend(PROMPT[:-1])
    buffers = [layer.buffer for layer in session._cache.layers]
    draft = drafter.propose(PROMPT, budget=9, depth=9)
    cut, text = shorter(model, (0, 1)), list(PROMPT)
    for _ in range(5):
        text.append(int(cut(torch.tensor([text])).logits[0, -1].argmax()))
    assert draft.tree.tokens.tolist() == text[len(PROMPT) - 1 :]
    session.verify(draft.tree)
    assert [layer.buffer for layer in session._cache.layers] == buffers, "nothing was copied"


def test_all_layers_guess_what_all_layers_say():
    model = tiny()
    for temperature in (0.0, 0.8):
        settings = Settings(max_new_tokens=26, temperature=temperature, seed=3)
        drafter = SelfDrafter(layers=3, n_guesses=4, confidence=0.0)
        _, stats = generate(Session.open(model), PROMPT, drafter, settings=settings)
        assert (stats.tokens_per_step, stats.n_steps) == (5.0, 5)


def test_sampled_text_follows_the_models_law():
    """Three tokens, 80 texts: chi-square against the exact law, 99.99 % point."""
    from dataclasses import replace

    from scipy.stats import chi2

    model, asked = tiny("qwen3"), Settings(max_new_tokens=3, temperature=4.0, top_k=2)
    prompt = Session.open(model)
    prompt.extend(PROMPT[:-1])
    law = {(): 1.0}
    for _ in range(3):
        after = {text: asked.law(prompt.fork().extend([PROMPT[-1], *text])) for text in law}
        law = {(*text, token): p * float(after[text][token])
               for text, p in law.items() for token in after[text].nonzero().flatten().tolist()}  # fmt: skip
    counts, n_accepted, n_guesses, n_texts = Counter(), 0, 0, 80
    for seed in range(n_texts):
        drafter = SelfDrafter(layers=2, n_guesses=2, confidence=0.0)
        new, stats = generate(prompt.fork(), PROMPT, drafter, settings=replace(asked, seed=seed))
        counts[tuple(new)] += 1
        n_accepted, n_guesses = n_accepted + stats.n_accepted, n_guesses + stats.n_guesses
    assert 0 < n_accepted < n_guesses, "some guesses stand, some do not"
    assert set(counts) <= set(law)
    statistic = sum((counts[text] - n_texts * p) ** 2 / (n_texts * p) for text, p in law.items())
    assert statistic < chi2.ppf(0.9999, len(law) - 1)


def test_guessing_stops_where_the_draft_is_unsure():
    model = tiny()
    drafter = SelfDrafter(layers=2, confidence=1.0)
    new, stats = generate(Session.open(model), PROMPT, drafter, settings=Settings(max_new_tokens=12))
    assert (stats.n_guesses, stats.n_steps) == (0, 11)
    assert drafter.notes["draft passes"] == 10, "the last token leaves no room for a guess"
    assert new == generate(Session.open(model), PROMPT, settings=Settings(max_new_tokens=12))[0]


def test_a_model_whose_exit_is_close_takes_fewer_passes():
    model, settings = close_exit(), Settings(max_new_tokens=60)
    truth, plain = generate(Session.open(model), PROMPT, settings=settings)
    new, stats = generate(Session.open(model), PROMPT, SelfDrafter(layers=2, confidence=0.0), settings=settings)
    assert new == truth
    assert stats.n_forwards < 0.7 * plain.n_forwards


def test_inside_the_librarys_generate_and_by_name():
    lm = LM.open(demo_model())
    decode = drafted(SelfDrafter(layers=3))
    ids = torch.tensor([lm.encode(["Once upon a time"])[0].astype(int).tolist()])
    settings = {"max_new_tokens": 20, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(lm.model.generate(ids, custom_generate=decode, **settings), lm.model.generate(ids, **settings))
    found = generate_by(lm, "Once upon a time", strategy="self-draft", layers=3, max_new_tokens=20)
    assert found.text == lm.generate("Once upon a time", max_new_tokens=20)
    assert found.notes["draft passes"] > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [({"n_guesses": 0}, "at least 1"), ({"confidence": 2}, "confidence=2"), ({"layers": 4}, "of 3"),
     ({"layers": 0}, "1 to")],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        generate(Session.open(tiny()), PROMPT, SelfDrafter(**options))
