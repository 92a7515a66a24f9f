"""Word vectors are those of scikit-learn's TF-IDF and truncated SVD, and tell topics apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.corpora.embedding_features import WordVectors, fit

WORDS = ["river", "stone", "loom", "quartz", "amber", "fjord", "maple", "sonar", "velvet", "cobalt", "harbor", "ember"]


def worlds(n=200, seed=0, topics=4):
    """Texts of some topics, each with words of its own among words that all have."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, topics, n)
    own = [[f"{word}{'abcdefgh'[topic]}" for word in WORDS] for topic in range(topics)]
    texts = [" ".join([*rng.choice(own[label], 8), *rng.choice(WORDS, 12)]) for label in labels]
    return texts, labels


def test_vectors_are_those_of_scikit_learn():
    text_features = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.decomposition import TruncatedSVD

    texts, _ = worlds()
    weights = text_features.TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"\S+").fit_transform(texts)
    theirs = TruncatedSVD(5, algorithm="arpack", random_state=0).fit_transform(weights)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = fit(texts, 5)(texts)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_topics_are_told_apart_by_the_nearest_text():
    """Eight words of twenty decide. By chance a neighbour has the topic in a quarter of cases; z = 20 for 0.85."""
    texts, labels = worlds(400)
    embed = fit(texts[:200], 16)
    known, new = embed(texts[:200]), embed(texts[200:])
    assert (labels[:200][(new @ known.T).argmax(axis=1)] == labels[200:]).mean() > 0.85


def test_texts_without_spaces_are_taken_by_their_characters():
    texts = ["水の流れる川の音が静かに響いている夜に山の向こうへ"] * 3 + [
        "学校で先生が新しい本を読み始めると生徒たちは黙った"
    ] * 3
    vectors = fit(texts, 2)(texts)
    assert vectors[0] @ vectors[1] > 0.99 > vectors[0] @ vectors[4]


@settings(max_examples=25)
@given(st.lists(st.text(max_size=30), max_size=8), st.integers(0, 3))
def test_a_text_has_its_vector_whatever_stands_beside_it(texts, seed):
    embed = fit(worlds(40)[0], 6, seed)
    together = embed(texts)
    assert together.shape == (len(texts), 6)
    assert together.dtype == np.float32
    lengths = np.linalg.norm(together, axis=1)
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()
    for place, text in enumerate(texts):
        np.testing.assert_allclose(embed([text])[0], together[place], atol=1e-6)


def test_it_is_saved_and_opened_and_a_strange_file_is_named(tmp_path):
    texts, _ = worlds(50)
    made = fit(texts, 4)
    made.save(tmp_path / "words.npz")
    again = WordVectors.load(tmp_path / "words.npz")
    assert again.key == made.key == fit(texts, 4).key
    assert np.array_equal(again(texts), made(texts))
    (tmp_path / "strange.npz").write_bytes(b"PK no")
    with pytest.raises(ValueError, match="no word vectors"):
        WordVectors.load(tmp_path / "strange.npz")
    with pytest.raises(FileNotFoundError):
        WordVectors.load(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match="no word stands"):
        fit(["a", "b"], 2)
