"""Vectors without an encoder: the rows of the model are centred, counts know company."""

import numpy as np

from small_vocabularies import byte_level, rows_for
from tokenry.transplant.string_vectors import counted_encoder, row_encoder, word_parts


def test_the_models_own_rows_are_the_centred_mean_of_the_pieces():
    vocab = byte_level("english", 300)
    rows = rows_for(vocab) + 5
    strings = ["the", " zebra", "ß", ""]
    got = row_encoder(vocab, rows)(strings)
    centre = rows[vocab.kinds == 0].mean(axis=0)
    for string, row in zip(strings[:3], got, strict=False):
        np.testing.assert_allclose(row, rows[vocab.decompose(string.encode())].mean(axis=0) - centre, atol=1e-5)
    assert not got[3].any()


def test_counted_vectors_put_words_of_one_company_and_their_parts_together():
    # Two groups of words that never meet; parts of unseen forms still tell the group.
    rng = np.random.default_rng(0)
    groups = (["kitten", "puppies", "mousehole", "hamster"], ["seashore", "shells", "waterfall", "sailing"])
    texts = [" ".join(rng.choice(groups[n % 2], 12)) for n in range(300)]
    encode = counted_encoder(texts, width=8)

    def unit(strings):
        found = encode(strings)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    forms = ([" kitten", " kittens", "ouseho"], [" shells", " seashores", "aterfa"])
    inside = np.mean([unit(f)[:1] @ unit(f)[1:].T for f in forms])
    across = np.mean(unit(forms[0]) @ unit(forms[1]).T)
    assert inside > across + 0.5
    assert not encode(["§§§"]).any()


def test_parts_of_a_word_mark_its_known_borders():
    assert word_parts("sea", starts=True, ends=True) == ["<se", "sea", "ea>", "<sea", "sea>", "<sea>"]
    assert word_parts("ea", starts=False, ends=False) == []
