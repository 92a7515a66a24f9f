"""A large vocabulary: longest prefix as the library's, search against the full product, and writing with it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_model
from tokenizers import Tokenizer, models

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.core.alphabets import to_byte_level
from tokenry.core.pretokens import pretokenize
from tokenry.transplant.dynamic_head import LongestPrefix, Neighbours, large_vocabulary


@settings(max_examples=100)
@given(st.text(max_size=30))
def test_longest_prefix_spells_every_text(text):
    prefix = LongestPrefix(byte_level("both", 420))
    assert prefix.decode(prefix.encode(text)) == text


def test_longest_prefix_is_the_librarys_wordpiece_without_a_prefix():
    vocab = byte_level("both", 420)
    entries = {to_byte_level(token): i for i, token in enumerate(vocab.tokens) if token}
    theirs = Tokenizer(models.WordPiece(entries, unk_token="?", continuing_subword_prefix=""))
    ours = LongestPrefix(vocab)
    for text in (*ENGLISH[:5], *GERMAN[:4]):
        words = pretokenize([text], vocab)[0]
        assert ours.encode(text) == [token.id for word in words for token in theirs.model.tokenize(word)]


@settings(max_examples=60)
@given(st.integers(0, 1000), st.booleans())
def test_with_one_more_dimension_distance_orders_as_the_logit_does(seed, has_bias):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 4)) * rng.exponential(size=(30, 1))
    bias = rng.normal(size=30) if has_bias else None
    head = Neighbours(rows, bias, kind="exact")
    query = rng.normal(size=4)
    lifted = head.lifted(0, 30).astype(np.float64)
    asked = np.concatenate([query, [1.0] if has_bias else [], [0.0]])
    distance = ((lifted - asked) ** 2).sum(1)
    logits = rows @ query + (bias if has_bias else 0.0)
    # |x - q|^2 = M^2 + |q|^2 - 2 x.q for every row.
    np.testing.assert_allclose(distance, distance.mean() - 2 * (logits - logits.mean()), atol=1e-3 * distance.max())
    ids, found = head.search(query[None], k=5)
    assert found[0] == pytest.approx(np.sort(logits)[::-1][:5], abs=1e-4)
    assert (np.diff(found[0]) <= 0).all()
    assert len(set(ids[0].tolist())) == 5


def test_a_search_of_all_cells_is_exact_and_of_few_beats_chance():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 16))
    rows = (centres[rng.integers(40, size=4000)] + 0.3 * rng.normal(size=(4000, 16))) * rng.uniform(0.5, 2, (4000, 1))
    queries = centres[rng.integers(40, size=50)] + 0.3 * rng.normal(size=(50, 16))
    truth, logits = Neighbours(rows, kind="exact").search(queries, k=20)
    index = Neighbours(rows, kind="ivf", cells=40, probes=40, reorder=400)
    ids, found = index.search(queries, k=20)
    # All cells are looked into and 400 of 4,000 are given exact logits: what 8-bit distances misplace lies inside.
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-4)
    few = Neighbours(rows, kind="ivf", cells=40, probes=8, reorder=400).search(queries, k=20)[0]
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(few.tolist(), truth.tolist(), strict=True)])
    # Looking into 8 of 40 cells at random finds a fifth; Hoeffding over 50 queries: 0.2 + 0.3 has p < 1e-3.
    assert recall > 0.2 + math.sqrt(math.log(1000) / (2 * 50)) + 0.05
    assert (ids >= 0).all()


def test_a_large_vocabulary_keeps_the_models_rows_and_means_the_new_ones():
    lm = small_model("phi", byte_level("english", 300))
    large = large_vocabulary(lm, ENGLISH, size=340, kind="exact")
    vocab = large.prefix.vocab
    assert vocab.size == len(large.neighbours) == len(large.rows_in) == 340
    torch.testing.assert_close(large.rows_in[:300], lm.model.get_input_embeddings().weight.detach()[:300])
    pieces = lm.vocab.decompose(vocab.tokens[320])
    head = lm.model.get_output_embeddings()
    np.testing.assert_allclose(
        large.neighbours.rows_ND[320], head.weight.detach()[pieces].mean(0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(large.neighbours.bias_N[320], head.bias.detach()[pieces].mean(), rtol=1e-4, atol=1e-5)


def test_rows_of_a_maker_need_output_rows():
    lm = small_model("llama", byte_level("english", 300))

    def make(pieces):
        return torch.zeros(len(pieces), 16), None

    with pytest.raises(ValueError, match="no output rows"):
        large_vocabulary(lm, ENGLISH, size=320, rows=make, kind="exact")


def test_impossible_searches_are_refused():
    with pytest.raises(ValueError, match="'exact' or 'ivf'"):
        Neighbours(np.zeros((3, 2)), kind="hnsw")
    with pytest.raises(ValueError, match="NaN"):
        Neighbours(np.full((3, 2), np.nan), kind="exact")
    with pytest.raises(ValueError, match="k=4"):
        Neighbours(np.zeros((3, 2)), kind="exact").search(np.zeros((1, 2)), k=4)
