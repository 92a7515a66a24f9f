"""Hidden words are the same under every tokenizer, and their code length is a sum of chances that can be added up."""

import math

import numpy as np
import pytest
import torch
from test_masked import NEW, OLD, with_mask

from small_vocabularies import ENGLISH, byte_level
from tokenry.models.tiny import tiny_bert
from tokenry.transplant.masked_scoring import score_masked

ROLES = ("<|end|>", "<|start|>", "<|pad|>", "<|mask|>")


def model(vocab, seed=0, **shape):
    return tiny_bert(vocab, width=16, layers=1, heads=2, seed=seed, **{"positions": 256, **shape})


def test_the_same_words_are_hidden_under_every_tokenizer():
    letters = with_mask(byte_level("english", 260, ROLES))
    scores = [score_masked(model(vocab), ENGLISH) for vocab in (OLD, NEW, letters)]
    assert all(np.array_equal(score.n_bytes, scores[0].n_bytes) for score in scores)
    assert scores[2].n_tokens.sum() > scores[0].n_tokens.sum()


def test_a_model_that_knows_nothing_pays_for_every_token_alike():
    """Logits that are all 0: each token costs ln V, and the counts of tokens cost what the KT code says."""
    lm = model(OLD)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.zero_()
    score = score_masked(lm, ENGLISH[:3])
    tokens = int(score.n_tokens.sum()) * math.log(OLD.size)
    rest = float(score.nats.sum()) - tokens
    # The first count costs ln 24, and none costs more than a count never seen: ln((n + 12) / 0.5).
    n_words = int(score.n_tokens.sum())
    assert math.log(24) - 1e-6 <= rest <= n_words * math.log((n_words + 12) / 0.5)


def test_chances_inside_a_word_are_taken_left_to_right_by_brute_force():
    """One segment, one hidden word: the score is that of filling its masks one after another, by hand."""
    lm = model(OLD, seed=1)
    text = "zebra"  # the only word, so it is the one hidden
    ids = OLD.encode([text])[0].astype(int).tolist()
    assert len(ids) > 1
    mask, start, nats = OLD.specials["mask"], lm.start, math.log(24)  # ln 24: the first count of tokens
    for turn, target in enumerate(ids):
        seen = torch.tensor([[start, *ids[:turn], *[mask] * (len(ids) - turn)]])
        with torch.no_grad():
            log_p = lm.model(input_ids=seen).logits[0, 1 + turn].double().log_softmax(-1)
        nats -= float(log_p[target])
    score = score_masked(lm, [text])
    assert score.nats[0] == pytest.approx(nats, rel=1e-6)
    assert score.n_bytes[0] == 5


def test_the_order_and_size_of_batches_do_not_matter():
    lm = model(OLD, seed=2)
    whole, small = (score_masked(lm, ENGLISH, batch_tokens=size) for size in (4096, 64))
    np.testing.assert_allclose(whole.nats, small.nats, rtol=1e-6)


def test_roberta_is_scored_whatever_its_pad_is_called():
    lm = model(OLD, kind="roberta", seed=1)
    assert np.isfinite(score_masked(lm, ENGLISH[:2]).nats).all()


def test_segments_beyond_the_context_are_refused():
    with pytest.raises(ValueError, match="shorter segments"):
        score_masked(model(OLD, positions=16), ENGLISH[:1] * 20)
