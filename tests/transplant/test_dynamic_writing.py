"""Writing with a large vocabulary: with the model's own rows it is the model's own greedy text."""

from collections import Counter

import numpy as np
import pytest
import torch
from small_models import small_model

from small_vocabularies import ENGLISH, byte_level
from tokenry.transplant.dynamic_head import LargeVocabulary, LongestPrefix, Neighbours, large_vocabulary
from tokenry.transplant.dynamic_writing import Choosing, choose, write

GREEDY = Choosing(temperature=0.0, repetition_penalty=1.0)


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gpt2", "phi"])
def test_with_the_models_own_rows_it_writes_as_the_model(family):
    lm = small_model(family, byte_level())
    head = lm.model.get_output_embeddings()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach().numpy()
    own = LargeVocabulary(
        LongestPrefix(lm.vocab),
        lm.model.get_input_embeddings().weight.detach(),
        Neighbours(head.weight.detach().numpy(), bias, kind="exact"),
    )
    prompt = "the cat sat"
    ids = own.prefix.encode(prompt)
    with torch.inference_mode():
        for _ in range(8):
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    _, ours = write(lm, own, prompt, max_new_tokens=8, how=GREEDY)
    theirs = ids[-8:]
    eos = lm.vocab.specials["eos"]
    assert ours == (theirs[: theirs.index(eos)] if eos in theirs else theirs)


def test_a_larger_vocabulary_writes_its_own_tokens():
    lm = small_model("llama", byte_level("english", 300))
    large = large_vocabulary(lm, ENGLISH, size=340, kind="exact")
    text, ids = write(lm, large, "the cat", max_new_tokens=12, seed=1)
    assert text == large.prefix.decode(ids)
    assert write(lm, large, "the cat", max_new_tokens=12, seed=1) == (text, ids)
    assert write(lm, large, "the cat", max_new_tokens=12, how=Choosing(eos_bias=1e6))[1] == []


def test_candidates_are_chosen_by_penalty_share_and_rank():
    ids, logits = np.array([5, 7, 9, -1]), np.array([2.0, 1.9, -1.0, -np.inf])
    rng = np.random.default_rng(0)
    assert choose(ids, logits, seen=(), how=GREEDY, rng=rng) == 5
    # 2.0 / 1.1 < 1.9: the token already there loses its lead; the others are not touched.
    assert choose(ids, logits, seen={5}, how=Choosing(temperature=0.0), rng=rng) == 7
    # exp(-3) < 0.1 of the best: dropped; the two others are drawn as their weights say.
    drawn = Counter(choose(ids, logits, seen=(), how=Choosing(), rng=rng) for _ in range(2000))
    assert set(drawn) == {5, 7}
    share = np.exp(2.0) / (np.exp(2.0) + np.exp(1.9))
    assert abs(drawn[5] / 2000 - share) < 4 * np.sqrt(share * (1 - share) / 2000)  # 4 standard errors
    only = Counter(choose(ids, logits, seen=(), how=Choosing(top_k=1), rng=rng) for _ in range(20))
    assert set(only) == {5}


@pytest.mark.parametrize("bad", [{"candidates": 0}, {"temperature": -1}, {"min_p": 2}, {"repetition_penalty": 0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="candidates >= 1"):
        Choosing(**bad)


@pytest.mark.parametrize("family", ["llama-untied", "phi"])
def test_rows_that_are_means_are_never_the_best(family):
    """A mean of logits is below the highest of them: greedy writing stays in the model's own tokens."""
    lm = small_model(family, byte_level("english", 300))
    large = large_vocabulary(lm, ENGLISH, size=340, kind="exact")
    assert len(large.neighbours) > lm.vocab.size
    hidden = np.random.default_rng(0).normal(size=(500, large.rows_in.shape[1])).astype(np.float32)
    best = large.neighbours.search(hidden, k=1)[0][:, 0]
    assert (best < lm.vocab.size).all()
    assert len(set(best.tolist())) > 20
