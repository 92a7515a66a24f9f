"""Families: each member is what training for its size alone gives."""

import pytest
from trained_vocabularies import fiction

from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.ensured import Terms
from tokenry.tokenization.train import train, train_family


@pytest.mark.parametrize("options", [{}, {"style": "metaspace"}, {"max_characters": 3, "pattern": "gpt2"}])
def test_each_member_is_bit_for_bit_the_vocabulary_trained_for_its_size(options):
    recipe = Recipe(**options)
    members = train_family(fiction(100), [700, 400, 512], recipe)
    assert list(members) == [400, 512, 700]
    for size, vocab in members.items():
        assert vocab.size == size
        assert vocab.fingerprint == compose(fiction(100), Recipe(size=size, **options)).vocab.fingerprint


def test_members_are_nested():
    small, large = train_family(fiction(100), [400, 700]).values()
    assert large.tokens[:400] == small.tokens
    assert (large.merges[: len(small.merges)] == small.merges).all()


def test_terms_boundaries_and_padding_hold_in_every_member():
    choices = {"terms": Terms(("certiorari",)), "pattern": "gpt2", "boundaries": ("digits:r2l",), "pad_to": 64}
    recipe = Recipe(**choices)
    for size, vocab in train_family(fiction(100), [450, 700], recipe).items():
        assert vocab.size == -(-size // 64) * 64
        assert len(vocab.encode(["certiorari"])[0]) == 1
        alone = compose(fiction(100), Recipe(size=size, **choices))
        assert vocab.fingerprint == alone.vocab.fingerprint


@pytest.mark.parametrize(
    "recipe",
    [Recipe(kind="unigram"), Recipe(boundaries=("whitespace",)), Recipe(mix={"a": 1}),
     Recipe(terms=Terms(("a",), "merges-first"))],
)  # fmt: skip
def test_what_is_not_nested_is_refused(recipe):
    with pytest.raises(ValueError, match="one by one"):
        train_family(fiction(10), [400], recipe)
    with pytest.raises(ValueError, match="at least one size"):
        train_family(fiction(10), [])


def test_a_family_like_a_unigram_tokenizer_is_refused():
    like = train(fiction(20), size=300, kind="unigram")
    with pytest.raises(ValueError, match="trained for BPE"):
        train_family(fiction(10), [400], Recipe(like=like))
