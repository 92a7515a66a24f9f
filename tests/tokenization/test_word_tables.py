"""Words as ids: the table holds what the tokenizer's own encoder gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trained_vocabularies import fiction, mixture, script_lines, small

from tokenry.core.pretokens import Words, count_pretokens
from tokenry.core.vocab import Vocab
from tokenry.tokenization.train import train
from tokenry.tokenization.word_tables import character_counts, covering, encode_table, never_merged, spell

SYMBOLS = {"a": [0], "b": [1, 2], "北": [3, 4, 5], "👩": [70_000], "c": []}


@given(words=st.lists(st.text("abc北👩", max_size=6), max_size=10))
def test_spelling_a_word_is_spelling_its_characters(words):
    for given_words in (words, Words(words)):
        symbols, offsets = spell(given_words, SYMBOLS)
        assert len(offsets) == len(words) + 1
        for k, word in enumerate(words):
            wanted = [symbol for character in word for symbol in SYMBOLS[character]]
            assert symbols[offsets[k] : offsets[k + 1]].tolist() == wanted


@given(words=st.dictionaries(st.text("abc北👩", max_size=6), st.integers(0, 2**40), max_size=10))
def test_character_counts_are_weighted_by_words(words):
    seen = character_counts(list(words), np.array(list(words.values()), np.int64))
    for character in "abc北👩":
        wanted = sum(count * word.count(character) for word, count in words.items())
        assert (seen[ord(character)] if ord(character) < len(seen) else 0) == wanted


def _assert_table_is_the_encoding(vocab: Vocab, texts: list[str]) -> None:
    """Token totals by id of the table and of the encoder are equal."""
    pretokens = count_pretokens(texts, vocab)
    table = encode_table(vocab, pretokens.words, pretokens.total)
    weights = np.repeat(table.counts, np.diff(table.offsets))
    ours = np.bincount(table.symbols, weights=weights, minlength=vocab.size)
    theirs = np.bincount(np.concatenate(vocab.encode(texts)).astype(np.int64), minlength=vocab.size)
    assert ours.tolist() == theirs.tolist()
    assert table.n_tokens == theirs.sum()


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
def test_the_table_counts_the_tokens_of_the_encoder(style):
    _assert_table_is_the_encoding(small(style), fiction()[:80] + script_lines())


def test_whole_words_come_first_where_the_tokenizer_looks_them_up_first():
    vocab = small()
    spec = vocab.spec["model"]
    entries = {**spec["vocab"], "Ġzzyzx": vocab.size}
    whole = Vocab.from_spec({**vocab.spec, "model": {**spec, "vocab": entries, "ignore_merges": True}}, vocab.config)
    _assert_table_is_the_encoding(whole, ["a zzyzx zzyzxes", "the zzyzx"])
    assert vocab.size in whole.encode(["a zzyzx"])[0]


def test_line_ends_and_digits_are_barred_where_no_entry_joins_them():
    texts = ["in 1984 and 1984 or 2024"] * 5
    vocab = train(texts, size=280, style="metaspace", min_count=1)
    barred = {vocab.literal(i) for i in np.flatnonzero(never_merged(vocab))}
    assert {"<s>", "<unk>", "<0x0A>", "1"} <= barred
    assert "▁and" not in barred
    numbers = train(texts, size=286, style="metaspace", pattern="words", min_count=1)
    assert any(numbers.literal(i) == "▁1984" for i in range(numbers.size))
    assert "1" not in {numbers.literal(i) for i in np.flatnonzero(never_merged(numbers))}


def test_a_character_the_model_would_drop_is_an_error():
    spec = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
    with pytest.raises(ValueError, match="drops it"):
        encode_table(Vocab.from_spec(spec), ["abc"], np.array([1]))


@pytest.mark.slow  # four real tokenizers on text in four scripts
@pytest.mark.parametrize("source", ["gpt2", "mistral/tokenizer.model.v1.xz", "qwen2.5", "deepseek-v3"])
def test_the_table_counts_the_tokens_of_real_encoders(source, shared_data):
    vocab = Vocab.open(shared_data / "tokenizers" / source)
    texts = [text for label in ("tr", "zh", "ar", "code_go") for text in mixture(shared_data, label, 60)]
    _assert_table_is_the_encoding(vocab, texts)


def test_covering_takes_the_fewest_frequent_points_that_make_up_the_share():
    seen = np.array([0, 5, 80, 5, 10])
    assert covering(seen, 0.8).tolist() == [2]
    assert covering(seen, 0.81).tolist() == [2, 4]
    assert covering(seen, 1.0).tolist() == [2, 4, 1, 3]  # all that occur; ties by code point
    assert covering(np.zeros(3, np.int64)).tolist() == []
