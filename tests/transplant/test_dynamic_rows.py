"""Rows of merged pieces: the cache is transparent, means are means, and the model's own rows stay its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import small_model

from small_vocabularies import ENGLISH, byte_level
from tokenry.transplant.dynamic import distinct_new, merge_batch
from tokenry.transplant.dynamic_rows import PieceRows, RowCache, mean_of_pieces, padded


def spelled(pieces):
    """A maker whose row says which piece it is for."""
    return torch.tensor([[float(len(p)), float(sum(p))] for p in pieces]), None


@given(st.lists(st.lists(st.binary(min_size=1, max_size=2), min_size=1, max_size=5, unique=True), max_size=8),
       st.integers(1, 6))  # fmt: skip
def test_the_cache_gives_what_the_maker_gives(batches, capacity):
    cache = RowCache(spelled, capacity=capacity)
    for pieces in batches:
        assert torch.equal(cache.rows(pieces)[0], spelled(pieces)[0])
        assert len(cache) <= capacity
        # The rows of the running batch are the last to go.
        assert len(pieces) > capacity or all(piece in cache for piece in pieces)
    assert cache.hits + cache.misses == sum(map(len, batches))
    assert cache.misses == len(cache) + cache.evictions


def test_the_least_recently_used_row_goes_first():
    made = []

    def make(pieces):
        made.append(list(pieces))
        return spelled(pieces)

    cache = RowCache(make, capacity=2)
    cache.rows([b"a", b"b"])
    cache.rows([b"a"])
    cache.rows([b"c", b"a"])
    assert made == [[b"a", b"b"], [b"c"]]
    assert b"b" not in cache
    assert cache.hit_rate == 2 / 5
    assert cache.evictions == 1


def test_bad_rows_and_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        RowCache(spelled, capacity=0)
    with pytest.raises(ValueError, match="one row for each"):
        RowCache(lambda pieces: (torch.zeros(1, 2), None)).rows([b"a", b"b"])
    with pytest.raises(ValueError, match="NaN"):
        RowCache(lambda pieces: (torch.full((1, 2), float("nan")), None)).rows([b"a"])
    lm = small_model("llama", byte_level())
    with pytest.raises(ValueError, match="'pieces'"):
        PieceRows(lm.model, lm.vocab, "mean")


def test_a_mean_of_pieces_is_the_mean_of_what_the_model_looks_up():
    lm = small_model("gemma", byte_level())  # scales its embedding, and would be caught here
    rows, out = mean_of_pieces(lm.model, lm.vocab)([b"shells by"])
    ids = torch.tensor(lm.vocab.decompose(b"shells by"))
    torch.testing.assert_close(rows[0], lm.model.get_input_embeddings()(ids).mean(0))
    torch.testing.assert_close(out[0], lm.model.get_output_embeddings().weight[ids].mean(0))


def test_vectors_are_the_models_own_where_nothing_was_merged_and_made_ones_elsewhere():
    lm = small_model("llama", byte_level())
    batch = merge_batch(lm.vocab, ENGLISH[:3], reduction=0.5)
    rows = PieceRows(lm.model, lm.vocab)
    pieces_BT, mask_BT = padded(batch.pieces)
    with torch.no_grad():
        vectors = rows.embed(pieces_BT, batch.new)
    every = [*lm.vocab.tokens, *batch.new]
    for row in range(3):
        for place in range(int(mask_BT[row].sum())):
            piece = int(pieces_BT[row, place])
            ids = [piece] if piece < batch.n_base else lm.vocab.decompose(every[piece])
            torch.testing.assert_close(vectors[row, place], lm.model.get_input_embeddings().weight[ids].mean(0))
    assert rows.cache.misses == len(distinct_new(batch))


def test_rows_follow_an_embedding_that_learns():
    lm = small_model("llama", byte_level())
    batch = merge_batch(lm.vocab, ENGLISH[:1])
    rows = PieceRows(lm.model, lm.vocab)
    pieces_BT, _ = padded(batch.pieces)
    weight = lm.model.get_input_embeddings().weight
    with torch.inference_mode():
        before = rows.embed(pieces_BT, batch.new).clone()
    rows.embed(pieces_BT, batch.new).sum().backward()
    assert float(weight.grad.abs().sum()) > 0
    with torch.no_grad():
        weight.add_(1.0)
        after = rows.embed(pieces_BT, batch.new)
    torch.testing.assert_close(after, before + 1.0)
