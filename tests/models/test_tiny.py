"""Tiny models are deterministic, fit their vocabulary, and learn."""

import pytest
import torch

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama, trained_tiny
from tokenry.worlds.texts import invent_language


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    return Vocab.open(demo_model())


def test_a_tiny_llama_has_a_tenth_of_a_million_parameters_and_the_tokenizer_of_the_vocab(vocab):
    lm = tiny_llama(vocab)
    table = vocab.size * 64
    assert 60_000 < sum(p.numel() for p in lm.model.parameters()) - table < 140_000
    assert lm.tokenizer("Once upon a time")["input_ids"] == [1, *vocab.encode(["Once upon a time"])[0].tolist()]
    assert (lm.bos, lm.model.config.bos_token_id, lm.model.config.eos_token_id) == (1, 1, 2)


def test_a_seed_gives_one_model_and_leaves_the_global_generator_alone(vocab):
    state = torch.get_rng_state()
    first, again, other = (tiny_llama(vocab, seed=seed).model.model.norm for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.weight, again.weight)
    models = [tiny_llama(vocab, seed=seed).model.get_input_embeddings().weight for seed in (1, 1, 2)]
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
    assert other is not None


def test_it_saves_and_opens_alone(vocab, tmp_path):
    lm = tiny_llama(vocab, tied=False, rows=520)
    again = LM.open(lm.save(tmp_path / "tiny"), device="cpu")
    assert again.model.lm_head.weight.shape == (520, 64)
    assert again.vocab.tokens == vocab.tokens


def test_training_brings_it_near_the_entropy_of_its_language(vocab):
    """An invented language of 20 words needs 3.8 bits a word at least; untrained a byte costs about 4.5 bits."""
    language = invent_language(n_words=20, seed=3)
    texts, held_out = language.documents(n=60, seed=0), language.documents(n=8, seed=1)
    trained = trained_tiny(texts, vocab, steps=60, length=64, batch_size=8, width=32, layers=1)
    untrained = tiny_llama(vocab, width=32, layers=1)
    after, before = (lm.score(held_out, max_bytes=200).bits_per_byte().value for lm in (trained, untrained))
    words = sum(len(text.split()) for text in held_out)
    floor = language.entropy_bits * words / sum(len(text.encode()) for text in held_out)
    assert floor < after < 0.5 * before


@pytest.mark.parametrize(("shape", "told"), [({"rows": 500}, "needs a row"), ({"width": 60, "heads": 8}, "divisible")])
def test_shapes_that_do_not_fit_are_refused(vocab, shape, told):
    with pytest.raises(ValueError, match=told):
        tiny_llama(vocab, **shape)
