"""Tokenizers drawn from text: by the counts without noise, by the seed with it, and always able to spell anything."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.core.alphabets import BYTE_TO_CHAR
from tokenry.core.vocab import Kind, check_vocab
from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler, best_pieces, count_substrings

REFERENCE = byte_level("english", 340, ("<|end|>", "<|start|>", "<|pad|>"))
NONE = -math.inf


def sampler(*, seed: int = 0, texts=ENGLISH + GERMAN, **options) -> TokenizerSampler:
    config = SamplerConfig(**{"size": 400, "pool": 8, **options})
    return TokenizerSampler(REFERENCE, texts, config=config, seed=seed)


def test_substrings_are_counted_as_by_hand():
    found = count_substrings(Counter({"aba": 2, "b": 5}), longest=2)
    assert found == {"a": 4, "b": 7, "ab": 2, "ba": 2}


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=6), st.integers(1, 9), max_size=12), st.integers(0, 40))
def test_without_noise_the_best_by_frequency_and_length_are_taken(words, extra):
    counts = count_substrings(Counter(words), longest=4)
    pieces, log_p = best_pieces(counts, room=256 + extra, rng=np.random.default_rng(0))
    longer = [name for name in counts if len(name) > 1]
    best = sorted(longer, key=lambda name: (-counts[name] * len(name), name))[:extra]
    assert set(pieces) == {*BYTE_TO_CHAR, *best}
    assert (np.diff(log_p) <= 0).all()
    assert math.isclose(np.exp(log_p).sum(), 1)
    score = {name: counts[name] * len(name) for name in best}
    by_piece = dict(zip(pieces, log_p, strict=True))
    for one in best:
        for other in best:
            ratio = math.log(score[one] / score[other])
            assert math.isclose(by_piece[one] - by_piece[other], ratio, abs_tol=1e-9)


@given(st.floats(0, 10), st.integers(0, 10_000))
@settings(max_examples=30)
def test_any_noise_leaves_sorted_scores_the_exact_size_and_every_byte(spread, seed):
    counts = count_substrings(Counter({"ĠHäuser": 3, "Ġthe": 9, "Ġcats": 4}))
    pieces, log_p = best_pieces(counts, room=270, spread=spread, rng=np.random.default_rng(seed))
    assert len(pieces) == len(set(pieces)) == 270
    assert set(BYTE_TO_CHAR) <= set(pieces)
    assert np.isfinite(log_p).all()
    assert (np.diff(log_p) <= 0).all()


def test_a_drawn_tokenizer_has_the_size_the_bytes_and_the_special_ids_of_the_reference():
    vocab = sampler().sample(0)
    assert vocab.size == 400
    assert vocab.family == "unigram"
    assert {vocab.tokens[i] for i in range(400)} >= {bytes([b]) for b in range(256)}
    assert vocab.specials == REFERENCE.specials
    assert vocab.special_ids == REFERENCE.special_ids
    assert all(vocab.literal(i) == REFERENCE.literal(i) for i in vocab.special_ids)
    assert vocab.encode(["<|end|>"])[0].tolist() == [REFERENCE.specials["eos"]]


def test_special_ids_beyond_the_size_become_the_last_ids_in_their_order():
    from small_vocabularies import permuted

    far = permuted(REFERENCE, np.arange(REFERENCE.size)[::-1])
    vocab = TokenizerSampler(far, ENGLISH, config=SamplerConfig(size=300, pool=8)).sample(0)
    assert vocab.special_ids == {297, 298, 299}
    assert [vocab.literal(i) for i in (297, 298, 299)] == [far.literal(i) for i in sorted(far.special_ids)]


def test_number_and_seed_decide_the_tokenizer_whatever_was_drawn_before():
    one, other = sampler(queue=2), sampler(queue=2)
    drawn = [one.sample(number).fingerprint for number in range(3)]
    assert other.sample(2).fingerprint == drawn[2] == one.sample(2).fingerprint
    assert len(set(drawn)) == 3
    assert sampler(seed=1, queue=2).sample(2).fingerprint != drawn[2]
    plain = [sampler(seed=seed, noise_centre=NONE).sample(1).fingerprint for seed in (0, 1)]
    assert plain[0] == plain[1]


def test_a_queue_adds_up_the_counts_of_the_pools_before():
    first, second = ["aaaa bbbb"], ["cccc dddd"]
    options = {"size": 300, "pool": 1, "noise_centre": NONE}
    alone = sampler(texts=first + second, **options).sample(1)
    both = sampler(texts=first + second, queue=2, **options).sample(1)
    assert b"aaaa" not in alone.index
    assert b"cccc" in alone.index
    assert b"aaaa" in both.index
    assert b"cccc" in both.index


@given(st.text(max_size=40))
@settings(max_examples=60)
def test_any_text_comes_back_from_a_drawn_tokenizer(text):
    vocab = DRAWN
    ids = vocab.encode([text])[0]
    if not any(vocab.kinds[i] == Kind.SPECIAL for i in ids):
        assert vocab.decode_bytes(ids) == text.encode()
        assert vocab.decode(ids) == text
    check_vocab(vocab, [text])


DRAWN = sampler().sample(0)


@pytest.mark.parametrize(
    ("options", "said"), [({"size": 100}, "at least 259"), ({"texts": []}, "no text"), ({"queue": 0}, "queue=0")]
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        sampler(**options)
