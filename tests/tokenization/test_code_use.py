"""Pieces of indentation, operators and names are those a reader counts in the cut text."""

import numpy as np
import pytest
from audited_tokenizers import byte_level, made_documents, sentencepiece, word_piece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.code_use import OPERATORS, UNITS, code, single_operators, token_bounds
from tokenry.tokenization.counting import count


def _letters(extra: list[tuple[str, str]] = ()) -> Vocab:
    """One token a byte, and the merges given."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = {char: i for i, char in enumerate([*alphabet, *(a + b for a, b in extra)])}
    tokenizer = Tokenizer(models.BPE(vocab=entries, merges=list(extra)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return Vocab.open(tokenizer)


def _row(found, unit: str) -> dict:
    table = found.tables["code"]
    at = table["unit"].index(unit)
    return {name: column[at] for name, column in table.items()}


def test_units_cost_what_they_are_cut_into():
    text = "def fooBarBaz(a):\n    return a != b\n        x_y1 = 12\n"
    found = code(count(_letters(), [(text, "py")]))
    assert _row(found, "indentation") | {"low": 0, "high": 0} == {
        "unit": "indentation", "n": 2, "documents": 1, "tokens_each": 6, "low": 0, "high": 0, "bytes_each": 6,
        "uncut_share": 0,
    }  # fmt: skip
    assert _row(found, "operator")["tokens_each"] == 2
    assert _row(found, "camelCase name")["tokens_each"] == 9
    assert found.facts["camel_humps_kept"].value == 1
    merged = code(count(_letters([("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("!", "="), ("o", "B")]), [(text, "py")]))
    assert _row(merged, "indentation")["tokens_each"] == 1.5
    assert _row(merged, "operator")["uncut_share"] == 1
    assert merged.facts["camel_humps_kept"].value == 0.5, "oB sits across one of the two humps"


def test_a_letter_of_several_bytes_moves_no_boundary():
    text = "größe != ßß\n  é == ö"
    found = code(count(_letters([("=", "=")]), [(text, "x")]))
    assert _row(found, "operator") | {"low": 0, "high": 0} == {
        "unit": "operator", "n": 2, "documents": 1, "tokens_each": 1.5, "low": 0, "high": 0, "bytes_each": 2,
        "uncut_share": 0.5,
    }  # fmt: skip


def test_a_dummy_space_moves_no_boundary_and_what_is_not_spelled_is_left_out():
    assert token_bounds(sentencepiece(), "a  b")[0] == 0
    assert token_bounds(sentencepiece(), "a  b")[-1] == 4
    assert token_bounds(word_piece(), "Two  Spaces") is None
    assert "no sampled document" in code(count(word_piece(), [("Two  Spaces", "")])).notes[-1]


def test_bounds_are_the_edges_of_the_tokens():
    vocab = byte_level()
    for text, _ in made_documents(20):
        bounds = token_bounds(vocab, text)
        if bounds is None:
            continue
        pieces = [vocab.tokens[i] for i in vocab.encode([text])[0]]
        assert np.diff(bounds).tolist() == [len(piece) for piece in pieces]


def test_operators_in_one_token_are_found():
    assert single_operators(_letters()) == []
    assert single_operators(_letters([("=", "="), ("-", ">")])) == ["==", "->"]
    assert len(set(OPERATORS)) == len(OPERATORS)
    assert len(UNITS) == 6


@pytest.mark.parametrize("text", ["", "no code at all"])
def test_plain_text_has_no_row_of_names(text):
    found = code(count(byte_level(), [(text or "x", "")]))
    assert "camel_humps_kept" not in found.facts
