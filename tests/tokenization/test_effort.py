"""The effort lens: closed forms, a simulation, and the audit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trained_vocabularies import fiction, small

from tokenry.tokenization.audit import audit
from tokenry.tokenization.counting import count
from tokenry.tokenization.effort import effort, lexicon_bits, tokens_bits, type_curve
from tokenry.tokenization.train import train


def test_bits_of_a_fair_code():
    assert tokens_bits(np.array([4, 4])) == 8.0
    assert tokens_bits(np.array([7])) == 0.0
    assert tokens_bits(np.zeros(0, np.int64)) == 0.0
    # Two one-byte strings and two end marks: a, b once each and the mark twice, 1/4 1/4 1/2: 2 + 2 + 1 + 1 bits.
    assert lexicon_bits([b"a", b"b"]) == pytest.approx(6.0)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_the_curve_of_types_is_the_hypergeometric_expectation(uses):
    total = sum(uses)
    for n, types in type_curve(np.array(uses), points=total):
        expected = sum(1 - math.comb(total - f, n) / math.comb(total, n) for f in uses)
        assert types == pytest.approx(expected, abs=1e-9)
    assert type_curve(np.array(uses))[-1] == (total, pytest.approx(len(uses)))


def test_the_lens_counts_what_an_encoding_holds():
    vocab, documents = small(), [(text, "") for text in fiction(40)]
    facts = effort(count(vocab, documents)).facts
    ids = np.concatenate(vocab.encode([text for text, _ in documents]))
    assert facts["effort.tokens"] == len(ids)
    assert facts["effort.types_used"] == len(set(ids.tolist()))
    assert facts["effort.storage_bytes"] == sum(len(vocab.tokens[i]) for i in set(ids.tolist()))
    uses = np.unique(ids, return_counts=True)[1]
    entropy = -sum(f / len(ids) * math.log2(f / len(ids)) for f in uses.tolist())
    assert facts["effort.token_entropy_bits"] == pytest.approx(entropy)
    assert facts["effort.tokens_per_kilobyte"].n == 40


def test_tokens_across_words_are_seen():
    vocab = train(["the dog and the cat"] * 50, size=300, kind="least-effort")
    assert effort(count(vocab, [("the dog and the cat", "")] * 3)).facts["effort.several_words_share"] > 0
    assert effort(count(small(), [(text, "") for text in fiction(5)])).facts["effort.several_words_share"] == 0


def test_the_audit_takes_the_lens_by_name():
    report = audit(small(), fiction(20), lenses=["tokenry.tokenization.effort:effort"])
    assert report.facts["effort.description_bits"] > 0
    assert report.figures[0].log_x
