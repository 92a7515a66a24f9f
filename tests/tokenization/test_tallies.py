"""Counts by source add up to the whole, in any order and with small buffers."""

from collections import Counter

import numpy as np
import pytest
from audited_tokenizers import MAKERS, byte_level, made_documents
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.splitting import spaced_words
from tokenry.tokenization import tallies
from tokenry.tokenization.counting import count
from tokenry.tokenization.tallies import Reservoir, distinct_pairs, ragged

DOCUMENTS = made_documents(40)


@pytest.mark.parametrize("family", list(MAKERS))
def test_tokens_of_each_source_equal_the_library(family):
    vocab = MAKERS[family]()
    counts = count(vocab, DOCUMENTS, by_source=True)
    expected: Counter = Counter()
    for (_, source), ids in zip(DOCUMENTS, vocab.encode([text for text, _ in DOCUMENTS]), strict=True):
        expected.update((source, int(i)) for i in ids)
    columns = counts.by_source.tokens()
    got = {(counts.sources[s], i): n for s, i, n in zip(*(c.tolist() for c in columns), strict=True)}
    assert got == expected


def test_words_of_each_source_equal_a_plain_count(monkeypatch):
    monkeypatch.setattr(tallies, "_MOST_PENDING", 10)
    vocab = byte_level()
    counts = count(vocab, DOCUMENTS, by_source=True)
    assert counts.by_source.is_exact
    for s, source in enumerate(counts.sources):
        texts = [text for text, own in DOCUMENTS if own == source]
        expected = Counter(word.strip() for text in texts for word in spaced_words(text))
        words, n_W, lengths_W = counts.by_source.words(s)
        assert dict(zip(words, n_W.tolist(), strict=True)) == expected
        assert n_W.tolist() == sorted(n_W.tolist(), reverse=True)
        if " dog" in "".join(texts) and "dog" in words:
            at = words.index("dog")
            assert lengths_W[at] == len(vocab.encode(["x dog"])[0]) - 1


def test_forgetting_rare_words_is_told(monkeypatch):
    monkeypatch.setattr(tallies, "_MOST_WORDS", 5)
    counts = count(byte_level(), DOCUMENTS, by_source=True)
    assert not counts.by_source.is_exact


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9)), min_size=1))
def test_distinct_pairs_sum_their_weights(rows):
    first, second, weights = (np.array(column) for column in zip(*rows, strict=True))
    expected: Counter = Counter()
    for a, b, n in rows:
        expected[a, b] += n
    got = distinct_pairs(first, second, weights)
    assert {(a, b): n for a, b, n in zip(*(c.tolist() for c in got), strict=True)} == expected


def test_ragged_rows_are_laid_end_to_end():
    values, starts = np.arange(10, 17), np.array([0, 3, 3, 7])
    place, at = ragged(starts, np.array([2, 0, 1, 2]))
    assert values[at].tolist() == [13, 14, 15, 16, 10, 11, 12, 13, 14, 15, 16]
    assert place.tolist() == [0, 0, 0, 0, 1, 1, 1, 3, 3, 3, 3]


def test_the_sample_is_bounded_and_even(monkeypatch):
    monkeypatch.setattr(tallies, "_SAMPLE", 200)
    reservoir = Reservoir()
    for i in range(2_000):
        reservoir.add("x" * 5_000, str(i))
    assert len(reservoir.kept) == 200
    assert {len(text) for _, text in reservoir.kept} == {4_000}
    late = sum(int(source) >= 1_000 for source, _ in reservoir.kept)
    # Binomial(200, 1/2): 4 standard deviations are 28.
    assert 72 <= late <= 128
