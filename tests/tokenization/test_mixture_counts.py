"""Counts of candidate categories by document shard."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines, small

from tokenry.core.pretokens import Words, count_pretokens
from tokenry.tokenization.mixture_counts import LONGEST_WORD, count_categories, spell_words


def test_shards_add_up_to_the_plain_counts():
    vocab = small()
    found = count_categories({"fiction": fiction(), "scripts": script_lines()}, vocab, n_shards=7)
    for i, texts in enumerate((fiction(), script_lines())):
        plain = count_pretokens(texts, vocab, by_source=False)
        column = found.by_category()[:, [i]].toarray().ravel()
        ours = {word: n for word, n in zip(found.words, column.tolist(), strict=True) if n}
        assert ours == dict(zip(plain.words, plain.total.tolist(), strict=True))
        assert found.bytes_by_category[i] == plain.n_bytes.sum()
    assert found.n_docs.sum() == len(fiction()) + len(script_lines())
    assert (found.n_bytes[:7] > 0).sum() == 7


def test_copies_of_a_document_fall_into_one_shard():
    found = count_categories({"a": ["one text here"] * 9 + ["another"]}, small(), n_shards=20)
    assert sorted(found.n_docs[found.n_docs > 0].tolist()) == [1, 9]


def test_one_table_with_a_source_column_gives_its_categories(tmp_path):
    file = tmp_path / "all.jsonl"
    rows = [{"text": text, "source": name} for name, text in (("b", "zwei drei"), ("a", "one two"), ("b", "vier"))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_column = count_categories(str(file), small())
    by_name = count_categories([("a", ["one two"]), ("b", ["zwei drei", "vier"])], small())
    assert by_column.names == by_name.names == ("a", "b")
    assert list(by_column.words) == list(by_name.words)
    assert (by_column.by_category() != by_name.by_category()).nnz == 0


@pytest.mark.parametrize("wrap", [list, iter, pa.Table.from_pylist])
def test_a_table_in_memory_may_call_its_text_anything(wrap):
    rows = [{"source": "a", "body": "one two"}, {"source": "b", "body": "zwei drei"}]
    assert count_categories(wrap(rows), small(), text="body").bytes_by_category.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ([("a", ["x"]), ("a", ["y"])], "'a' is given twice"),
        ({"a": ["some text"], "b": [""]}, "'b' holds no text"),
        ({"a": ["some text"], "b": []}, "'b' holds no text"),
        ({}, "no category"),
    ],
)
def test_bad_categories_are_named(corpora, message):
    with pytest.raises(ValueError, match=message):
        count_categories(corpora, small())


def test_kept_counts_are_not_counted_again(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("one two three")
    first = count_categories({"a": file}, small(), cache=tmp_path / "kept")
    monkeypatch.setattr("tokenry.tokenization.mixture_counts.count_pretokens", None)
    again = count_categories({"renamed": file}, small(), cache=tmp_path / "kept")
    assert list(again.words) == list(first.words)
    assert (again.counts != first.counts).nnz == 0


def test_long_words_are_cut_and_nothing_is_lost():
    long = "a" * (2 * LONGEST_WORD + 3)
    spelled = spell_words(small(), Words([long, "bc"]))
    assert np.diff(spelled.offsets).tolist() == [LONGEST_WORD, LONGEST_WORD, 3, 2]
    assert spelled.word_of_part.tolist() == [0, 0, 0, 1]
    assert spelled.n_cut == 1


@settings(max_examples=25)  # each counts three categories
@given(st.lists(st.text("abc ", min_size=1, max_size=12), min_size=2, max_size=12), st.integers(0, 2**31))
def test_choosing_shards_and_categories_keeps_every_count(texts, seed):
    vocab = small()
    found = count_categories({"x": texts, "y": texts[::-1], "z": [*texts, "c"]}, vocab, n_shards=3)
    spelled = spell_words(vocab, found.words)
    mask = np.random.default_rng(seed).random(9) < 0.5
    inside, outside = found.within(mask), found.within(~mask)
    pairs = spelled.pairs(found.counts)
    for part, kept in ((inside, mask), (outside, ~mask)):
        assert (spell_words(vocab, part.words).pairs(part.counts) == pairs * kept).all()
    only = found.only([2, 0])
    assert only.names == ("z", "x")
    assert (spell_words(vocab, only.words).pairs(only.counts) == np.concatenate([pairs[6:], pairs[:3]])).all()
