"""The merge engine against the tokenizers library: the same merges, the same cuts, on made and on real words."""

import json
import lzma
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from merge_oracle import library_merges, named, our_merges, table_of
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenry.core.alphabets import to_byte_level
from tokenry.core.cutters import Cutter
from tokenry.core.patterns import byte_level
from tokenry.data import demo_text
from tokenry.tokenization import merges as engine
from tokenry.tokenization.guided_merges import guided_merges
from tokenry.tokenization.merges import (
    MergeTable,
    Rules,
    encode_words,
    learn_merges,
    train_merges,
    usable_merges,
    word_marks,
)

WORDS = st.dictionaries(st.text("aab", min_size=1, max_size=14), st.integers(1, 4), min_size=1, max_size=10)
MORE_WORDS = st.dictionaries(st.text("abcd", min_size=1, max_size=20), st.integers(1, 4), min_size=1, max_size=14)
SPECIALS = st.sampled_from([(), ("<s>",), ("ab",), ("aba", "<s>"), ("aa", "aaa", "bb")])
TEXT_WORDS = st.sampled_from(["", "a", "ab", "banana", "aaaa", "aaaaaaaaab"])


def _text_words(texts: list[str]) -> dict[str, int]:
    """Byte-level words of texts cut by the GPT-2 pattern."""
    cutter = Cutter({"pre_tokenizer": byte_level(use_regex=True), "model": {"type": "BPE", "vocab": {}, "merges": []}})
    return Counter(word for text in texts for word in cutter(text))


def _mixture(shared_data: Path, *, documents: int | None = None) -> list[str]:
    texts = []
    for path in sorted((shared_data / "mixture").glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line, _ in zip(lines, range(documents or 10**9), strict=False)]
    return texts


def _library_text_merges(texts: list[str], size: int, min_count: int = 2) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def _our_text_merges(texts: list[str], size: int) -> list[tuple[str, str]]:
    names = sorted(to_byte_level(bytes(range(256))))
    words = _text_words(texts)
    table = train_merges(*table_of(words, names), n_symbols=256, n_merges=size - 256, names=names, min_count=2)
    return named(table, names)[0]


@settings(max_examples=150)
@given(words=WORDS | MORE_WORDS, specials=SPECIALS, min_count=st.integers(0, 3), size=st.sampled_from([4, 9, 30, 100]))
@example(words={"aaaa": 1, "aaaaa": 2}, specials=(), min_count=0, size=30)
@example(words={"ababab": 3, "baba": 1}, specials=("ab",), min_count=0, size=30)
def test_merges_and_ids_are_those_of_the_library_with_ties_runs_and_known_strings(words, specials, min_count, size):
    wanted = library_merges(words, size, specials=specials, min_count=min_count)
    assert our_merges(words, size, specials=specials, min_count=min_count) == wanted


@settings(max_examples=60)
@given(words=WORDS | MORE_WORDS, cap=st.integers(3, 7))
def test_the_length_cap_is_the_librarys_less_one(words, cap):
    assert our_merges(words, 60, max_length=cap) == library_merges(words, 60, max_length=cap)


@settings(max_examples=60)
@given(words=WORDS | MORE_WORDS)
def test_listing_few_positions_at_a_time_changes_nothing(words):
    before, engine.LEAST_LISTED = engine.LEAST_LISTED, 1
    try:
        assert our_merges(words, 100, min_count=1) == library_merges(words, 100)
    finally:
        engine.LEAST_LISTED = before


def test_no_token_is_longer_than_the_inclusive_cap():
    words = {"aaaaaaaa": 5, "abababab": 7}
    for cap in (1, 2, 3, 5):
        _, vocabulary = our_merges(words, 60, max_length=cap + 1)
        assert max(map(len, vocabulary)) <= cap


def test_merges_on_fiction_are_those_of_the_library():
    with lzma.open(demo_text("fiction"), "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    assert _our_text_merges(texts, 3000) == _library_text_merges(texts, 3000)


@pytest.mark.slow  # trains twice on a part of 33 languages
def test_merges_on_every_language_are_those_of_the_library(shared_data, monkeypatch):
    texts = _mixture(shared_data, documents=200)
    monkeypatch.setattr(engine, "LEAST_LISTED", 1)
    assert _our_text_merges(texts, 9000) == _library_text_merges(texts, 9000)


def test_counts_beyond_32_bits_do_not_overflow():
    names = list("abc")
    words = {"ab": 2**40, "bc": 2**40 + 1, "ca": 3}
    table = train_merges(*table_of(words, names), n_symbols=3, n_merges=2, names=names)
    assert named(table, names)[0] == [("b", "c"), ("a", "b")]
    assert table.counts.tolist() == [2**40 + 1, 2**40]


@settings(max_examples=80)
@given(words=WORDS | MORE_WORDS, n=st.integers(0, 12), m=st.integers(0, 12))
def test_continuing_n_merges_by_m_is_training_n_and_m_at_once(words, n, m):
    names = sorted(set("".join(words)))
    symbols, offsets, counts = table_of(words, names)
    options = {"n_symbols": len(names), "names": names}
    whole = train_merges(symbols, offsets, counts, n_merges=n + m, **options)
    first = train_merges(symbols, offsets, counts, n_merges=n, **options)
    ids, ends = encode_words(symbols, offsets, first.triples)
    longer = list(named(first, names)[1])
    second = train_merges(ids, ends, counts, n_symbols=len(longer), n_merges=m, names=longer)
    assert np.concatenate([first.triples, second.triples]).tolist() == whole.triples.tolist()


@settings(max_examples=80)
@given(words=WORDS | MORE_WORDS, text=st.lists(st.text("abcd", min_size=1, max_size=150), min_size=1, max_size=6))
def test_replaying_cuts_words_as_the_library_does(words, text):
    words = words | {"abcd": 1}
    names = sorted(set("".join(words)))
    table = train_merges(*table_of(words, names), n_symbols=len(names), n_merges=40, names=names)
    merges, vocabulary = named(table, names)
    model = models.BPE(vocab=vocabulary, merges=merges)
    ids, ends = encode_words(*table_of(dict.fromkeys(text, 1), names)[:2], table.triples)
    for k, word in enumerate(dict.fromkeys(text)):
        assert ids[ends[k] : ends[k + 1]].tolist() == [token.id for token in model.tokenize(word)]


def test_a_merge_listed_twice_has_its_last_rank():
    merges = np.array([[0, 1, 3], [1, 2, 4], [0, 1, 3]])
    ids, _ = encode_words(np.array([0, 1, 2]), np.array([0, 3]), merges)
    assert ids.tolist() == [0, 4]


def test_a_very_long_word_is_replayed_and_learned_without_quadratic_time():
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 4, 300_000).astype(np.int32)
    offsets, names = np.array([0, len(symbols)]), list("abcd")
    table = train_merges(symbols, offsets, np.array([1]), n_symbols=4, n_merges=200, names=names)
    ids, _ = encode_words(symbols, offsets, table.triples)
    spelled = list(named(table, names)[1])
    assert "".join(spelled[i] for i in ids) == "".join(names[i] for i in symbols)


@settings(max_examples=60)
@given(
    words=st.dictionaries(st.text("ab  ", min_size=1, max_size=16), st.integers(1, 4), min_size=1, max_size=8),
    most=st.integers(1, 3), longest=st.integers(0, 6), n=st.integers(0, 30),
)  # fmt: skip
def test_limits_of_words_and_length_are_those_of_a_filter_on_names(words, most, longest, n):
    names = sorted(set("".join(words)))
    table, marks = table_of(words, names), word_marks([name.encode() for name in names])
    learned = learn_merges(*table, rules=Rules(names, n, max_words=most, marks=marks, max_length=longest))

    def allow(left: str, right: str) -> bool:
        return len((left + right).split()) <= most and (not longest or len(left + right) <= longest)

    wanted = guided_merges(*table, names=names, n_merges=n, allow=allow).table
    np.testing.assert_array_equal(learned.triples, wanted.triples)
    np.testing.assert_array_equal(learned.counts, wanted.counts)


def test_lengths_may_be_nothing_and_limits_need_their_marks():
    """Bytes inside a character have no length of their own where characters are counted."""
    names, table = ["a", "b"], table_of({"abab": 3}, ["a", "b"])
    rules = Rules(names, 9, lengths=np.array([1, 0]), max_length=1)
    assert named(learn_merges(*table, rules=rules), names)[0] == [("a", "b")]
    with pytest.raises(ValueError, match="word_marks"):
        learn_merges(*table, rules=Rules(names, 9, max_words=2))
    with pytest.raises(ValueError, match="lengths for 2 symbols"):
        learn_merges(*table, rules=Rules(names, 9, lengths=np.array([1])))


def test_empty_words_and_an_empty_table_are_allowed():
    ids, ends = encode_words(np.zeros(0, np.int32), np.array([0, 0, 0]), np.zeros((0, 3)))
    assert len(ids) == 0
    assert ends.tolist() == [0, 0, 0]
    table = train_merges(np.zeros(0, np.int32), np.array([0]), np.zeros(0), n_symbols=1, n_merges=5, names=["a"])
    assert len(table) == 0


def test_symbols_without_a_name_are_never_merged():
    names = ["a", None, "b"]
    table = train_merges(
        np.array([0, 1, 2, 0, 2, 0, 2]), np.array([0, 7]), np.array([5]), n_symbols=3, n_merges=9, names=names
    )
    assert not (table.pairs == 1).any()
    assert len(table)


def test_a_pair_frequent_in_guarded_text_is_passed_over():
    names = list("abc")
    symbols, offsets, _ = table_of({"ab": 1, "bc": 1, "ca": 1}, names)
    counts, guarded = np.array([10, 9, 8]), np.array([6, 5, 0])

    def learn(limit):
        return named(
            train_merges(symbols, offsets, counts, n_symbols=3, n_merges=3, names=names, guard=(guarded, limit)), names
        )[0]

    assert learn(6) == [("a", "b"), ("b", "c"), ("c", "a")]
    assert learn(5) == [("b", "c"), ("c", "a")]
    assert learn(0) == [("c", "a")]


def test_a_file_holds_each_string_once_and_no_blocked_one():
    table = MergeTable(
        np.array([[0, 1], [1, 2], [3, 2], [4, 0], [0, 1]], np.int32),
        np.array([3, 4, 5, 6, 3], np.int32),
        np.array([9, 8, 7, 6, 5]),
    )
    merges, new = usable_merges(table, ["a", "b", "c"], {"bc"})
    assert new == ["ab", "abc"]
    assert merges.tolist() == [[0, 1, 3], [3, 2, 4]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"offsets": np.array([0, 3])}, "rising offsets"),
        ({"symbols": np.array([0, 7])}, "n_symbols"),
        ({"counts": np.array([-1])}, "0 or more"),
        ({"names": ["a"]}, "one name"),
        ({"guard": (np.array([1, 2]), 0)}, "one per word"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(change, sentence):
    table = {"symbols": np.array([0, 1]), "offsets": np.array([0, 2]), "counts": np.array([1])}
    options = {"n_symbols": 2, "n_merges": 1, "names": ["a", "b"]}
    for key, value in change.items():
        (table if key in table else options)[key] = value
    with pytest.raises(ValueError, match=sentence):
        train_merges(*table.values(), **options)
