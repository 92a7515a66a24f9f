"""Composing the new vocabulary of an adaptation."""

import json
import lzma

import pytest

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.transplant.composing import MEETINGS, compose, least_count


@pytest.fixture(scope="module")
def old():
    return Vocab.open(demo_model())


@pytest.fixture(scope="module")
def texts():
    with lzma.open(demo_text("fiction"), "rt") as file:
        return [json.loads(line)["text"] for line in file][:120]


def test_without_a_size_every_new_token_is_met_often_enough_while_healing(old, texts):
    compose_bytes = sum(len(t.encode()) for t in texts)
    made = compose(old, texts, size=None, add=None, replace=False, least=least_count(compose_bytes, compose_bytes))
    counts = [0] * made.vocab.size
    for ids in made.vocab.encode(texts):
        for i in ids.tolist():
            counts[i] += 1
    # A token may later be swallowed by a longer one; as it was made it occurred at least MEETINGS times.
    assert made.least_count == MEETINGS
    assert made.vocab.size > old.size + 100
    swallowed = sum(count < MEETINGS for count in counts[old.size :])
    assert swallowed < 0.5 * (made.vocab.size - old.size)


def test_more_healing_affords_rarer_tokens():
    assert least_count(1000, 10_000) < least_count(1000, 1000) < least_count(1000, 100)
    assert least_count(1000, 1e9) == 2
    assert least_count(1000, 0) == MEETINGS


def test_new_tokens_spell_what_their_pieces_spell(old, texts):
    made = compose(old, texts, size=old.size + 300, add=None, replace=False, least=2)
    assert made.vocab.size == old.size + 300
    for new, pieces in enumerate(made.pieces, start=old.size):
        assert made.vocab.tokens[new] == b"".join(old.tokens[i] for i in pieces)


def test_a_replaced_vocabulary_keeps_specials_and_has_no_pieces(old, texts):
    made = compose(old, texts, size=400, add=None, replace=True, least=2)
    assert made.pieces is None
    assert made.vocab.size == 400
    assert made.vocab.specials == old.specials


def test_sizes_that_contradict_or_add_nothing_are_refused(old, texts):
    with pytest.raises(ValueError, match="both"):
        compose(old, texts, size=600, add=10, replace=False, least=2)
    with pytest.raises(ValueError, match="--replace"):
        compose(old, texts, size=old.size, add=None, replace=False, least=2)
    with pytest.raises(ValueError, match="nothing to"):
        compose(old, ["x y z"], size=None, add=None, replace=False, least=5)
