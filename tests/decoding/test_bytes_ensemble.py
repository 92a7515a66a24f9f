"""Ensembles over different vocabularies: the formula, its limits, and what they are worth."""

import functools

import numpy as np
import pytest

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_ensemble import ByteEnsemble, finished, write
from tokenry.models.tiny import tiny_llama, trained_tiny
from tokenry.tokenization.train import train


@functools.cache
def members() -> tuple[ByteLM, ByteLM]:
    first = tiny_llama(byte_level("english", 340), spread=0.25, width=32)
    second = tiny_llama(train(ENGLISH, size=400, style="metaspace"), spread=0.25, width=32, seed=1)
    return ByteLM(first), ByteLM(second)


def test_mean_and_product_are_what_their_names_say():
    states = [member.start().advance(b"the c") for member in members()]
    laws = np.exp([state.next_log_p for state in states])
    mean = ByteEnsemble(members(), weights=(1, 3)).start().advance(b"the c")
    np.testing.assert_allclose(np.exp(mean.next_log_p), 0.25 * laws[0] + 0.75 * laws[1], atol=1e-5)
    with np.errstate(divide="ignore"):
        mixed = np.exp(0.5 * np.log(laws[0]) + 0.5 * np.log(laws[1]))
    found = ByteEnsemble(members(), combine="product").start().advance(b"the c")
    np.testing.assert_allclose(np.exp(found.next_log_p), mixed / mixed.sum(), atol=1e-5)


@pytest.mark.parametrize("combine", ["mean", "product"])
def test_one_member_or_all_the_weight_is_that_member(combine):
    first, _ = members()
    text = "the cat sat"
    want = first.log_prob(text)
    assert ByteEnsemble([first], combine=combine).log_prob(text) == pytest.approx(want, abs=1e-3)
    assert ByteEnsemble(members(), weights=(1, 0), combine=combine).log_prob(text) == pytest.approx(want, abs=1e-3)


def test_reading_fast_is_reading_byte_by_byte():
    both = ByteEnsemble(members())
    assert both.log_prob("the dog") == pytest.approx(both.start().advance(b"the dog").log_p, abs=1e-3)


def test_writing_keeps_to_what_is_possible_and_ends_with_a_whole_character():
    both = ByteEnsemble(members())
    greedy = write(both.after("the ca"), n_bytes=6)
    assert greedy == write(both.after("the ca"), n_bytes=6)
    for seed in range(3):
        write(both.after("the ca"), n_bytes=8, temperature=1.0, top_p=0.9, seed=seed).decode("utf-8")
    assert finished("né".encode()[:-1]) == b"n"
    assert finished("né".encode()) == "né".encode()


def test_a_mean_of_two_models_is_never_much_worse_and_their_weights_are_checked():
    """log((p + q) / 2) >= max(log p, log q) - log 2 at every byte."""
    text = "the dog ran"
    best = max(member.log_prob(text) for member in members())
    assert ByteEnsemble(members()).log_prob(text) >= best - len(text) * np.log(2)
    for wrong in ({"weights": (1,)}, {"weights": (0, 0)}, {"combine": "sum"}):
        with pytest.raises(ValueError, match="need"):
            ByteEnsemble(members(), **wrong)


@pytest.mark.slow  # trains two models
def test_an_ensemble_covers_what_each_member_alone_does_not_know():
    """One member learned English, one German. On a text of both, the mean pays at most one bit a byte more than the
    better of the two at each byte; each alone pays several on the language it never saw."""
    taught = ENGLISH, GERMAN
    vocabularies = byte_level("english", 340), byte_level("german", 330)
    lms = [trained_tiny(t * 4, v, steps=40, length=64) for t, v in zip(taught, vocabularies, strict=True)]
    both = [ByteLM(lm) for lm in lms]
    texts = ["the dog sat on the mat and the cat ran", "der Hund lief der Katze nach und die Kinder spielen"]
    alone = [sum(-member.log_prob(text) for text in texts) for member in both]
    assert sum(-ByteEnsemble(both).log_prob(text) for text in texts) < min(alone)
