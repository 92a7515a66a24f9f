from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, pre_tokenizers

from tokenry.core.alphabets import (
    BYTE_TO_CHAR,
    byte_of_piece,
    byte_piece,
    from_byte_level,
    from_metaspace,
    to_byte_level,
)


def test_the_alphabet_is_the_one_of_the_library():
    assert sorted(BYTE_TO_CHAR) == sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("Grüße 한\n")
    assert to_byte_level("Grüße 한\n".encode()) == "".join(piece for piece, _ in pieces)


@given(st.binary(max_size=300))
def test_bytes_survive_the_alphabet(data):
    assert from_byte_level(to_byte_level(data)) == data


@given(st.text(alphabet=st.characters(max_codepoint=0x200, exclude_categories=["Cs"]), max_size=8))
def test_entries_outside_the_alphabet_decode_as_in_the_library(text):
    expected = decoders.ByteLevel().decode([text])
    assert from_byte_level(text).decode("utf-8", "replace") == expected


def test_byte_pieces_are_told_from_text():
    assert all(byte_of_piece(byte_piece(byte)) == byte for byte in range(256))
    assert [byte_of_piece(text) for text in ("<0x0a>", "<0x0A", "0x0A", "<0x0A>x", "<0xGG>", "")] == [None] * 6


def test_a_metaspace_is_a_space():
    assert from_metaspace("▁the▁") == b" the "
