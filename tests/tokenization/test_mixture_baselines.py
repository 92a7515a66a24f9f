"""The two simpler guesses, on cases small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from trained_vocabularies import small

from tokenry.core.pretokens import Words
from tokenry.tokenization.mixture_baselines import (
    EfficiencyModel,
    bytes_per_token,
    encoding_efficiency,
    vocabulary_frequency,
)
from tokenry.tokenization.mixture_counts import spell_words


def test_a_token_goes_where_it_is_most_frequent_per_byte():
    words = Words(["abab", "bc", "xyz"])
    counts = sparse.csr_matrix(np.array([[1, 0], [2, 4], [0, 1]]))
    # ab: 2 in the first of 10 bytes, none in the second; bc: 2/10 and 4/100; xyz: 0 and 1/100; q: nowhere.
    shares = vocabulary_frequency([b"ab", b"bc", b"xyz", b"q"], words, counts_Wn=counts, bytes_n=np.array([10, 100]))
    assert shares == pytest.approx([2 / 3, 1 / 3])


def test_tokens_found_nowhere_say_nothing():
    shares = vocabulary_frequency(
        [b"q"], Words(["ab"]), counts_Wn=sparse.csr_matrix([[1, 1]]), bytes_n=np.array([1, 1])
    )
    assert shares.tolist() == [0.5, 0.5]


@given(st.lists(st.text("ab", min_size=1, max_size=8), min_size=1, max_size=8, unique=True),
       st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5, unique=True))  # fmt: skip
def test_substrings_are_counted_at_every_place(words, tokens):
    """Oracle: str.startswith at every place, by plain Python."""
    counts = np.arange(1, len(words) + 1)[:, None] * [1, 2]
    counts[0, 1] = 9
    expected = np.array(
        [
            [sum(c * sum(w.startswith(t, k) for k in range(len(w))) for w, c in zip(words, column, strict=True))
             for column in counts.T]
            for t in tokens
        ]
    )  # fmt: skip
    found = expected.any(1)
    shares = vocabulary_frequency(
        [t.encode() for t in tokens], Words(words), counts_Wn=sparse.csr_matrix(counts), bytes_n=np.ones(2)
    )
    if found.any():
        homes = np.bincount(expected[found].argmax(1), minlength=2)
        assert shares == pytest.approx(homes / homes.sum())
    else:
        assert shares.tolist() == [0.5, 0.5]


def test_efficiency_is_read_off_the_fitted_line():
    """Closed form: with slope 2, a category at half its own efficiency weighs (1/2)^2 of one at its full efficiency."""
    vocab = small()
    spelled = spell_words(vocab, Words(["th", "qz"]))
    pair = next(row for row in vocab.merges if vocab.literal(row[0]) + vocab.literal(row[1]) == "th")
    counts = sparse.csr_matrix(np.eye(2, dtype=np.int64))
    assert bytes_per_token(spelled, pair[None], counts_Wn=counts, bytes_n=np.array([2, 2])).tolist() == [2.0, 1.0]
    model = EfficiencyModel(counts, np.array([2, 2]), own_n=np.array([2.0, 2.0]), slope=2.0, n_merges=1)
    assert encoding_efficiency(model, spelled, pair[None]) == pytest.approx([0.8, 0.2])
