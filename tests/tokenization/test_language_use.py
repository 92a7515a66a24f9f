"""Languages by use: shares rank a known mixture, sum to one, and ignore how much text there is of each."""

import numpy as np
import pytest
from audited_tokenizers import byte_level, made_documents
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import count
from tokenry.tokenization.language_use import (
    attribution,
    dictionary_shares,
    effective_vocabulary,
    languages,
    used_matrix,
)

_MATRIX = arrays.arrays(np.int64, st.tuples(st.integers(2, 4), st.integers(1, 8)), elements=st.integers(0, 50))


def _words(rng: np.random.Generator, letters: str, n: int) -> list[str]:
    return ["".join(rng.choice(list(letters), rng.integers(3, 9))) for _ in range(n)]


def _language(rng: np.random.Generator, letters: str) -> list[str]:
    """Sentences of 400 Zipfian words."""
    words, weights = _words(rng, letters, 400), 1 / np.arange(1, 401)
    return [" ".join(rng.choice(words, 12, p=weights / weights.sum())) for _ in range(800)]


def test_the_shares_of_a_vocabulary_rank_the_mixture_it_was_trained_on():
    rng = np.random.default_rng(0)
    spoken = {"xa": _language(rng, "abcdefgh"), "xb": _language(rng, "ijklmnop"), "xc": _language(rng, "qrstuvwx")}
    order = ("xb", "xc", "xa")
    text = [s for name, n in zip(order, (600, 200, 60), strict=True) for s in spoken[name][:n]]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    # Judged on other sentences, and with a hundred times less of the language that has most of the vocabulary.
    judged = [(s, name) for name, n in (("xb", 2), ("xc", 200), ("xa", 200)) for s in spoken[name][-n:]]
    found = languages(count(Vocab.open(tokenizer), judged, by_source=True))
    used = dict(zip(found.tables["languages"]["language"], found.tables["languages"]["own_tokens"], strict=True))
    assert used["xc"] > used["xa"]
    even = [(s, name) for name in order for s in spoken[name][-200:]]
    table = languages(count(Vocab.open(tokenizer), even, by_source=True)).tables["languages"]
    assert tuple(table["language"]) == order
    assert sum(table["share_of_vocabulary"]) == pytest.approx(1)
    assert all(n > 50 for n in table["own_tokens"]), "the letters are apart: what is used often belongs to one language"
    for low, share, high in zip(table["low"], table["share_of_vocabulary"], table["high"], strict=True):
        assert 0 < high - low < 0.1
        assert low < share < high


@given(_MATRIX, st.floats(0.01, 5))
def test_attribution_is_a_distribution_and_more_use_is_more_share(n_LU, alpha):
    shares = attribution(n_LU, alpha=alpha)
    assert np.allclose(shares.sum(axis=0), 1)
    assert (shares > 0).all()


def test_the_amount_of_text_does_not_count():
    n_LU = np.array([[10, 0, 5], [0, 20, 10]])
    scaled = n_LU * np.array([[1000], [1]])
    assert np.allclose(attribution(n_LU, alpha=1e-9)[0], attribution(scaled, alpha=1e-9)[0], atol=1e-6)
    with pytest.raises(ValueError, match="alpha"):
        attribution(n_LU, alpha=0)


def test_the_effective_vocabulary_by_hand():
    assert effective_vocabulary(np.array([50, 0, 40, 9, 1]), (0.5, 0.9, 0.99, 1.0)) == [1, 2, 3, 4]
    assert effective_vocabulary(np.array([0, 0])) == [0, 0, 0]


def test_the_used_matrix_counts_every_ordinary_token_once():
    documents = made_documents(30)
    counts = count(byte_level(), documents, by_source=True)
    n_LU = used_matrix(counts)
    plain = np.array([data is not None for data in counts.vocab.tokens])
    assert n_LU.sum() == counts.tokens_V[plain].sum()
    assert (n_LU.sum(axis=0) > 0).all()


def test_one_source_is_told_apart_from_many():
    found = languages(count(byte_level(), [("a text", "")], by_source=True))
    assert not found.tables
    assert "one source" in found.notes[0]
    with pytest.raises(ValueError, match="by_source"):
        languages(count(byte_level(), [("a", "x"), ("b", "y")]))


def test_dictionary_shares_divide_a_token_among_its_languages():
    known = {" haus": ["de"], "in": ["de", "en", "nl"]}
    shares = dictionary_shares([" haus", "in", "zzz"], known)
    assert shares == pytest.approx({"de": (1 + 1 / 3) / 4, "en": 1 / 12, "nl": 1 / 12})
