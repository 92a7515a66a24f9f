"""Packing loses nothing and learns nothing twice; batches are fixed by seed and step alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.batches import collate, draw, pack, tokenise
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import next_token_loss

documents_of_ids = st.lists(
    st.lists(st.integers(3, 70_000), max_size=12).map(lambda ids: np.array(ids, dtype=np.uint32)), max_size=8
)
end = st.sampled_from([None, 1, 2])


@given(documents_of_ids, st.integers(2, 9), end, end)
def test_packing_keeps_every_id_in_order(documents, length, bos, eos):
    packs = pack(documents, length=length, bos=bos, eos=eos)
    head, tail = [[] if token is None else [token] for token in (bos, eos)]
    expected = [number for document in documents for number in [*head, *document.tolist(), *tail]]
    filled = packs.documents.ravel() >= 0
    if len(expected) < 2:
        assert len(packs) == 0
        return
    assert packs.ids.ravel()[filled].tolist() == expected
    assert packs.ids.shape == packs.learned.shape == packs.documents.shape == (-(-len(expected) // length), length)
    assert not packs.learned.ravel()[~filled].any()
    is_bos_behind_eos = np.zeros(len(expected), dtype=bool)
    if bos is not None and eos is not None:
        starts = np.cumsum([0, *(len(document) + 2 for document in documents)])[:-1]
        is_bos_behind_eos[starts] = True
    np.testing.assert_array_equal(packs.learned.ravel()[filled], ~is_bos_behind_eos)


def test_small_ids_take_two_bytes():
    assert pack([np.array([5, 6], dtype=np.uint32)], length=2).ids.dtype == np.uint16
    assert pack([np.array([5, 70_000], dtype=np.uint32)], length=2).ids.dtype == np.uint32


def some_packs(n=23, length=6, seed=0):
    rng = np.random.default_rng(seed)
    return pack([rng.integers(3, 500, size=rng.integers(1, 20)) for _ in range(n)], length=length, bos=1)


@given(st.integers(1, 40), st.integers(0, 50))
def test_an_epoch_shows_every_sequence_once(batch_size, seed):
    packs = some_packs()
    batches = draw(packs, batch_size=batch_size, seed=seed)
    seen = np.concatenate([batches(step)["input_ids"].numpy() for step in range(len(packs))])
    for epoch in range(batch_size):
        rows = seen[epoch * len(packs) : (epoch + 1) * len(packs)]
        assert sorted(map(tuple, rows)) == sorted(map(tuple, packs.ids.astype(np.int64)))


def test_a_batch_is_fixed_by_seed_and_step_whatever_was_drawn_before():
    packs = some_packs()
    forward, backward = draw(packs, batch_size=4, seed=9), draw(packs, batch_size=4, seed=9)
    expected = [forward(step)["input_ids"] for step in range(40)]
    for step in reversed(range(40)):
        assert torch.equal(backward(step)["input_ids"], expected[step])
    assert not torch.equal(draw(packs, batch_size=4, seed=8)(0)["input_ids"], expected[0])


def test_labels_are_the_ids_or_not_learned():
    packs = pack([np.array([5, 6, 7]), np.array([8, 9])], length=4, bos=1, eos=2)
    batch = collate(packs, np.arange(len(packs)))
    assert batch["input_ids"].tolist() == [[1, 5, 6, 7], [2, 1, 8, 9], [2, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 5, 6, 7], [2, -100, 8, 9], [2, -100, -100, -100]]


def test_documents_set_apart_are_scored_as_if_alone():
    """The loss of isolated documents in a pack equals the token-weighted loss of each document by itself."""
    vocab = Vocab.open(demo_model())
    lm = tiny_llama(vocab, spread=0.3)
    ids = vocab.encode(["Tom ran to the park.", "Lily!", "The dog was sad."])
    packs = pack(ids, length=sum(len(i) + 2 for i in ids) + 3, bos=1, eos=2)
    for attention in ("eager", "sdpa"):
        lm.model.set_attn_implementation(attention)
        with torch.no_grad():
            together, facts = next_token_loss(lm.model, collate(packs, np.array([0]), isolate=True))
            leaky, _ = next_token_loss(lm.model, collate(packs, np.array([0])))
            total = n_tokens = 0
            for document in ids:
                alone = pack([document], length=len(document) + 2, bos=1, eos=2)
                loss, found = next_token_loss(lm.model, collate(alone, np.array([0])))
                total, n_tokens = total + float(loss) * found["tokens"], n_tokens + found["tokens"]
        assert facts["tokens"] == n_tokens
        assert float(together) == pytest.approx(total / n_tokens, abs=1e-5)
        assert abs(float(leaky) - float(together)) > 1e-3


def test_isolation_works_in_half_precision():
    lm = tiny_llama(Vocab.open(demo_model()), spread=0.3)
    lm.model.to(torch.bfloat16)
    loss, _ = next_token_loss(lm.model, collate(some_packs(), np.arange(3), isolate=True))
    assert torch.isfinite(loss)


def test_tokenise_gives_each_text_in_order():
    vocab = Vocab.open(demo_model())
    texts = [f"Tom saw {number} dogs." for number in range(7)]
    for ids, text in zip(tokenise(vocab, iter(texts), batch_texts=3), texts, strict=True):
        np.testing.assert_array_equal(ids, vocab.encode([text])[0])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: pack([], length=1), "needs 2 tokens"),
        (lambda: draw(pack([], length=8), batch_size=2), "nothing to train on"),
        (lambda: draw(some_packs(), batch_size=0), "at least 1"),
    ],
)
def test_what_gives_no_batch_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
