"""The library's own decoders as strategies: they write what `generate` writes, and their passes are counted."""

import pytest
import torch

from small_vocabularies import byte_level
from tokenry.data import demo_model
from tokenry.decoding.library_decoders import assisted
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import generate, stop_at
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama

PROMPT = "Once upon a time, there was a little girl named Lily. Lily liked to"


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model())


def test_all_three_write_the_greedy_text_and_count_their_passes(lm):
    prompt = f"{PROMPT} play. {PROMPT}"  # what was said before is said again, so that the lookup has what to find
    expected = lm.generate(prompt, max_new_tokens=24)
    plain = generate(lm, prompt, strategy="transformers:greedy", max_new_tokens=24)
    guessed = generate(lm, prompt, strategy="transformers:prompt-lookup", max_new_tokens=24, n_guesses=5)
    own = generate(lm, prompt, strategy="transformers:assisted", max_new_tokens=24, draft=lm)
    assert plain.text == guessed.text == own.text == expected
    assert plain.stats.n_forwards == plain.stats.n_new == 24
    assert guessed.stats.n_forwards < 24
    assert guessed.stats.n_accepted == 24 - guessed.stats.n_forwards


def test_a_stop_and_an_end_are_told_apart(lm):
    word = generate(lm, PROMPT, max_new_tokens=8).text.split()[-2]
    settings = Settings(max_new_tokens=24, stop=stop_at(lm, [word]))
    stopped = generate(lm, PROMPT, strategy="transformers:greedy", settings=settings)
    assert stopped.stats.ended_by == "stop"
    assert word in stopped.text[len(PROMPT) :]
    first = generate(lm, PROMPT, strategy="transformers:greedy", max_new_tokens=4).ids
    ended = generate(lm, PROMPT, strategy="transformers:greedy", settings=Settings(max_new_tokens=24, ends=(first[2],)))
    assert ended.ids == first[:3]
    assert ended.stats.ended_by == "end"


def test_draws_follow_the_seed_and_leave_the_global_generator_alone(lm):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    both = [
        generate(lm, PROMPT, strategy="transformers:greedy", max_new_tokens=8, temperature=0.9, seed=4).ids
        for _ in range(2)
    ]
    assert both[0] == both[1]
    assert torch.equal(state, torch.get_rng_state())


def test_a_draft_is_needed_and_must_speak_the_same_tokens(lm):
    with pytest.raises(ValueError, match="draft=FOLDER"):
        assisted()
    with pytest.raises(ValueError, match="tokenry transplant"):
        generate(lm, PROMPT, strategy="transformers:assisted", draft=tiny_llama(byte_level()), max_new_tokens=4)
