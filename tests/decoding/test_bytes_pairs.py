"""Pairs that may stand side by side inside one pre-token, against the library's own merging and Viterbi."""

import random

import numpy as np
import pytest

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.decoding.bytes_kernels import stable_row
from tokenry.decoding.bytes_pairs import MergePairs, UnigramPairs, merging_model
from tokenry.tokenization.train import train


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
def test_a_pair_is_stable_exactly_when_merging_gives_it_back(style):
    vocab = byte_level("both", 600) if style == "byte-level" else train(ENGLISH + GERMAN, size=420, style="metaspace")
    pairs, tokenize, rng = MergePairs(vocab), merging_model(vocab).tokenize, random.Random(1)
    ids = [i for i in range(vocab.size) if vocab.kinds[i] == 0]
    found = 0
    for _ in range(3000):
        a, b = rng.choice(ids), rng.choice(ids)
        want = [token.id for token in tokenize(vocab.literal(a) + vocab.literal(b))] == [a, b]
        assert pairs.stable(a, b) == want, (vocab.literal(a), vocab.literal(b))
        found += not want
    assert found > 15  # both answers occur


def test_runs_of_stable_pairs_are_what_merging_gives():
    """The pairwise theorem: a run of three is canonical exactly when both its pairs are."""
    vocab = byte_level("both", 600)
    pairs, tokenize, rng = MergePairs(vocab), merging_model(vocab).tokenize, random.Random(2)
    ids = [i for i in range(vocab.size) if vocab.kinds[i] == 0 and len(vocab.tokens[i]) < 4]
    for _ in range(3000):
        run = tuple(rng.choice(ids) for _ in range(3))
        want = [token.id for token in tokenize("".join(map(vocab.literal, run)))] == list(run)
        assert pairs.all_stable(run) == want


def test_the_compiled_row_is_the_plain_one():
    vocab = byte_level("both", 420)
    pairs = MergePairs(vocab)
    tables = (pairs.whole, *pairs._made, pairs._by_left, pairs._spines)
    for token in range(260, 300):
        np.testing.assert_array_equal(pairs.row(token), stable_row.py_func(token, *tables))


@pytest.mark.filterwarnings("ignore:.*entries instead of")
def test_unigram_allows_what_viterbi_would_write():
    vocab = train(ENGLISH + GERMAN, size=400, kind="unigram")
    pairs, rng = UnigramPairs(vocab), random.Random(3)
    for text in (" the", " cat", " house", " die", " sh"):
        run = tuple(pairs.best(text.encode())[0])
        row_V = pairs.after(run)
        for token in rng.sample([i for i in range(vocab.size) if vocab.kinds[i] == 0], 60):
            want = pairs.best(text.encode() + vocab.tokens[token])[0] == [*run, token]
            assert row_V[token] == want
