"""Counts of candidate categories by document shard."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines, small

from tokenry.core.pretokens import Words, count_pretokens
from tokenry.core.vocab import Kind
from tokenry.tokenization.mixture_counts import LONGEST_WORD, count_categories, in_bytes, spell_words
from tokenry.tokenization.train import train


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


@pytest.fixture(scope="module")
def english():
    """A metaspace vocabulary that spells English and has only bytes for everything else."""
    return train(["the cat sat on the mat and the dog on the log"] * 20, size=285, style="metaspace", specials=[])


def test_text_in_bytes_is_what_a_direct_count_finds(english):
    texts = {"latin": ["the cat sat"] * 3, "mixed": ["the cat வண"] * 2, "tamil": ["வணக்கம் உலகம்"] * 3}
    found = count_categories(texts, english, n_shards=2)
    is_byte = english.kinds == Kind.BYTE
    for share, column in zip(in_bytes(english, found), found.by_category().T.toarray(), strict=True):
        touched = total = 0
        for word, n in zip(found.words, column.tolist(), strict=True):
            ids = spell_words(english, Words([word])).symbols
            pairs = list(itertools.pairwise(ids))
            touched += n * sum(bool(is_byte[a] or is_byte[b]) for a, b in pairs)
            total += n * len(pairs)
        assert share == touched / total
    assert in_bytes(english, found)[0] == 0 < 0.9 < in_bytes(english, found)[2]


def test_a_script_the_vocabulary_has_no_entries_for_is_left_out_and_takes_nothing(english):
    from tokenry.tokenization.mixture import infer_mixture

    # In bytes every pair is barred, so without the check Tamil alone explains all merges with hardly any slack.
    texts = {"latin": ["the cat sat on the mat and the dog"] * 3, "more": ["a log on a mat and a dog"] * 3,
             "tamil": ["வணக்கம் உலகம்"] * 3}  # fmt: skip
    report = infer_mixture(english, texts, bootstrap=0, baselines=False)
    assert report.tables["shares"].column("source").to_pylist() != []
    assert "tamil" not in report.tables["shares"].column("source").to_pylist()
    assert any("tamil was left out" in warning for warning in report.warnings)


def test_the_same_text_under_two_names_is_said_and_a_group_may_not_take_a_category_s_name(english):
    from tokenry.tokenization.mixture import infer_mixture

    texts = {"a": ["the cat sat on the mat and the dog"] * 3, "b": ["the cat sat on the mat and the dog"] * 3}
    report = infer_mixture(english, texts, bootstrap=0, baselines=False)
    assert any("a and b hold the same text" in warning for warning in report.warnings)
    with pytest.raises(ValueError, match="name of a category"):
        infer_mixture(english, texts, groups={"a": ["b"]}, bootstrap=0, baselines=False)
