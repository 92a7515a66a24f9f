"""Surface forms: pieces spell the token, a token of the vocabulary is itself, lacking bytes have their own ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from small_vocabularies import byte_level
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.surface_forms import N_BYTES, surface_forms, surface_matrix

OLD = byte_level("english", 340)


@pytest.fixture(scope="module")
def poor() -> Vocab:
    """A vocabulary of five letters and two words: most bytes are lacking."""
    pieces = {piece: i for i, piece in enumerate(["<unk>", "a", "b", "c", "ab", "abc"])}
    return Vocab.open(Tokenizer(models.BPE(pieces, [("a", "b"), ("ab", "c")], unk_token="<unk>")))


def spelled(vocab: Vocab, row: np.ndarray) -> bytes:
    ids = row[row >= 0].tolist()
    return b"".join(vocab.tokens[i] if i < vocab.size else bytes([i - vocab.size]) for i in ids)


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=5))
def test_the_pieces_spell_the_token_whatever_its_bytes(tokens):
    rows, truncated = surface_forms(OLD, tokens, pieces=12)
    assert truncated == 0
    assert rows.dtype == np.int64
    assert [spelled(OLD, row) for row in rows] == tokens


def test_a_token_of_the_old_vocabulary_is_its_own_single_piece():
    ids = np.flatnonzero(OLD.kinds == Kind.NORMAL)
    rows, truncated = surface_forms(OLD, [OLD.tokens[i] for i in ids])
    assert truncated == 0
    assert (rows[:, 0] == ids).all()
    assert (rows[:, 1:] == -1).all()


def test_bytes_the_old_vocabulary_lacks_have_ids_behind_it(poor):
    rows, _ = surface_forms(poor, [b"abc", b"abz", "ü".encode(), b"zabc"], pieces=4)
    size = poor.size
    assert rows[0].tolist() == [5, -1, -1, -1]
    assert rows[1].tolist() == [4, size + ord("z"), -1, -1]
    assert rows[2].tolist() == [size + 0xC3, size + 0xBC, -1, -1]
    assert rows[3].tolist() == [size + ord("z"), 5, -1, -1]
    assert rows.max() < size + N_BYTES


def test_specials_have_no_pieces_and_long_tokens_are_counted():
    rows, truncated = surface_forms(OLD, [None, b"\x00\x01\x02\x03", b"\x00\x01"], pieces=3)
    assert (rows[0] == -1).all()
    assert truncated == 1
    assert (rows[1] >= 0).all()


def test_no_room_for_a_piece_is_refused():
    with pytest.raises(ValueError, match="at least 1 piece"):
        surface_matrix([[1]], pieces=0)
