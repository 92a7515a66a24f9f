"""Counting pre-tokens: the counts are those of cutting every text by the library, however the counting is done."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_texts import script_texts

from tokenry.core import pretokens as module
from tokenry.core import tables
from tokenry.core.cutters import Cutter
from tokenry.core.patterns import byte_level, known, split_pretokenizer
from tokenry.core.pretokens import Pretokens, Words, count_pretokens, distinct_pretokens, pretokenize

MODEL = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
GPT2 = {"normalizer": None, "pre_tokenizer": byte_level(use_regex=True), "model": MODEL}
CL100K = {"normalizer": None, "pre_tokenizer": split_pretokenizer(known("cl100k")), "model": MODEL}
BERT = {"normalizer": None, "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": MODEL}
PUNCTUATED = {
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False},
            {"type": "Punctuation", "behavior": "Isolated"},
        ],
    },
    "model": MODEL,
}


def _library_counts(texts: list[str], spec: dict) -> dict[str, int]:
    cutter = Cutter(spec)
    return Counter(word for text in texts for word in cutter.by_library(text))


def _documents() -> list[dict]:
    return [{"text": text, "source": "odd" if i % 2 else "even"} for i, text in enumerate(script_texts()) if text]


@pytest.mark.parametrize("spec", [GPT2, CL100K, BERT, PUNCTUATED])
def test_counts_are_those_of_the_library(spec):
    texts = [text for text in [*script_texts(), "Wa'ſ IT'K"] if text]
    found = count_pretokens(texts, spec)
    assert dict(zip(found.words, found.total.tolist(), strict=True)) == _library_counts(texts, spec)
    assert found.n_docs.tolist() == [len(texts)]
    assert found.n_bytes.tolist() == [sum(len(text.encode()) for text in texts)]


def test_words_come_with_falling_counts_and_then_by_code_points():
    found = count_pretokens(["b b a a c a 北 é"], GPT2)
    keys = [(-count, word) for word, count in zip(found.words, found.total.tolist(), strict=True)]
    assert keys == sorted(keys)


def test_each_source_has_its_own_column():
    documents = _documents()
    found = count_pretokens(documents, GPT2)
    assert found.sources == ("even", "odd")
    for column, source in enumerate(found.sources):
        texts = [row["text"] for row in documents if row["source"] == source]
        counts = {w: c for w, c in zip(found.words, found.counts[:, column].tolist(), strict=True) if c}
        assert counts == _library_counts(texts, GPT2)
    merged = count_pretokens(documents, GPT2, by_source=False)
    assert merged.sources == ("",)
    assert merged.words == found.words
    assert (merged.total == found.total).all()


def test_moving_counts_to_the_compact_table_often_changes_nothing(monkeypatch):
    wanted = count_pretokens(_documents(), GPT2)
    monkeypatch.setattr(module, "_FLUSH_AT", 5)
    found = count_pretokens(_documents(), GPT2)
    assert found.words == wanted.words
    assert (found.counts == wanted.counts).all()


@pytest.mark.slow  # starts two processes
def test_counting_in_several_processes_changes_nothing():
    wanted, found = (count_pretokens(_documents(), CL100K, workers=n) for n in (1, 2))
    assert found.words == wanted.words
    assert (found.counts == wanted.counts).all()
    assert found.n_docs.tolist() == wanted.n_docs.tolist()


def test_a_saved_table_comes_back(tmp_path):
    table = count_pretokens(_documents(), GPT2)
    table.save(tmp_path / "table.parquet")
    back = Pretokens.load(tmp_path / "table.parquet")
    assert back.words == table.words
    assert (back.counts == table.counts).all()
    assert (back.sources, back.fingerprint) == (table.sources, table.fingerprint)
    assert (back.n_bytes == table.n_bytes).all()
    tables.write(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not a table of pre-tokens"):
        Pretokens.load(tmp_path / "other.parquet")


def test_the_cache_knows_text_and_pre_tokeniser(tmp_path):
    path, cache = tmp_path / "a.txt", tmp_path / "cache"
    path.write_text("one two two", encoding="utf-8")
    first = count_pretokens(path, GPT2, cache=cache)
    assert len(list(cache.iterdir())) == 1
    again = count_pretokens(path, GPT2, cache=cache)
    assert again.words == first.words
    count_pretokens(path, BERT, cache=cache)
    path.write_text("three", encoding="utf-8")
    assert count_pretokens(path, GPT2, cache=cache).words == ["three"]
    assert len(list(cache.iterdir())) == 3


def test_no_text_is_an_error():
    with pytest.raises(ValueError, match="no text"):
        count_pretokens([{"text": None}], GPT2)


def test_too_many_sources_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_SOURCES", 1)
    with pytest.raises(ValueError, match="by_source=False"):
        count_pretokens(_documents(), GPT2)


def test_pretokenize_gives_the_words_in_order():
    assert pretokenize(["a b", ""], GPT2) == [["a", "Ġb"], []]


@given(words=st.lists(st.text(max_size=5), max_size=12), start=st.integers(-14, 14), stop=st.integers(-14, 14))
def test_words_behave_like_a_list(words, start, stop):
    held = Words(words)
    assert list(held) == words
    assert held == words
    assert held[start:stop] == words[start:stop]
    assert held.joined() == "".join(words)
    assert held.lengths().tolist() == [len(word) for word in words]
    if -len(words) <= start < len(words):
        assert held[start] == words[start]


@given(counts=st.lists(st.dictionaries(st.text(max_size=4), st.integers(1, 2**40), max_size=30), max_size=6))
def test_the_compact_table_adds_up_like_a_counter(counts):
    compact, wanted = module.StringCounts(), Counter()
    for part in counts:
        compact.add(list(part), np.array(list(part.values()), np.int64))
        wanted.update(part)
    words, totals = compact.arrays()
    assert dict(zip(words.to_pylist(), totals.tolist(), strict=True)) == wanted


def _end_to_end(words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(words), np.uint8), np.cumsum([len(w) for w in words], dtype=np.int64)


@given(batches=st.lists(st.lists(st.binary(max_size=20) | st.sampled_from([b"", b"\0", b"\0\0", b"a", b"a\0"]))))
def test_pieces_add_up_like_a_counter(batches):
    held, wanted = module.StringCounts(), Counter()
    for pieces in batches:
        held.add_pieces(*_end_to_end(pieces))
        wanted.update(pieces)
    words, totals = held.arrays()
    assert dict(zip(words.cast(pa.large_binary()).to_pylist(), totals.tolist(), strict=True)) == wanted
    assert len(held) == len(wanted)


def test_pieces_of_all_lengths_that_crowd_each_other_out_of_the_small_table_add_up_like_a_counter():
    # 30,000 distinct pieces in 8,192 places: most counts go to the large table, which grows under them several times.
    rng, held, wanted = np.random.default_rng(0), module.StringCounts(), Counter()
    kinds = [b"%d" % n * (1 + n % 5) for n in range(30_000)]
    for _ in range(4):
        pieces = [kinds[n] for n in (30_000 * rng.random(40_000) ** 3).astype(int).tolist()]
        held.add_pieces(*_end_to_end(pieces))
        held.add([piece.decode() for piece in kinds[:9]], np.arange(9))
        wanted.update(pieces)
        wanted.update(dict(zip(kinds[:9], range(9), strict=True)))
    words, totals = held.arrays()
    found = Counter(dict(zip(words.cast(pa.large_binary()).to_pylist(), totals.tolist(), strict=True)))
    assert +found == +wanted


@pytest.mark.parametrize("spec", [GPT2, CL100K, BERT, PUNCTUATED])
def test_distinct_pretokens_are_those_of_each_text_apart(spec):
    texts = [*script_texts(), "one two", "two", ""]
    words = list(distinct_pretokens(texts, spec))
    assert len(words) == len(set(words))
    assert set(words) == set(_library_counts(texts, spec))


def test_texts_are_cut_in_parts_with_the_same_counts(monkeypatch):
    whole = count_pretokens(_documents(), GPT2)
    monkeypatch.setattr(module, "_MOST_BYTES", 50)
    monkeypatch.setattr(module, "_GIVE_BACK_EVERY", 1)
    parts = count_pretokens(_documents(), GPT2)
    assert parts.words == whole.words
    assert (parts.counts == whole.counts).all()
