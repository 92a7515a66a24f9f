"""The linear classifier is the descent it says it is, keeps its file whole, and scores as it was trained."""

import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.hashing import mix
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.learned import linear_family
from tokenry.corpora.linear import WORDS, Features, LinearClassifier, columns_of, score, signal_name
from tokenry.corpora.prepared import Prepared

COMMON = [f"w{number}" for number in range(200)]
SIGNS = {"art": ["canvas", "brush", "oil", "fresco"], "law": ["clause", "court", "plea", "writ"]}
TEXTS = st.lists(st.text("abc .,é\n", max_size=30), min_size=1, max_size=8)


def planted(n, seed, *, share=0.15, size=40):
    """Documents of common words of which `share` are signs of their class."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(n):
        label = ("art", "law")[number % 2]
        words = [str(rng.choice(SIGNS[label] if rng.random() < share else COMMON)) for _ in range(size)]
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


@functools.cache
def trained():
    return LinearClassifier.train(*planted(400, 0), buckets=1 << 12)


def dense(features, texts):
    buckets, values, rows = features.of_texts(texts)
    made = np.zeros((len(texts), features.buckets))
    for text in range(len(texts)):
        made[text, buckets[rows[text] : rows[text + 1]]] = values[rows[text] : rows[text + 1]]
    return made


def test_features_are_the_square_roots_of_shares_of_runs_counted_by_hand():
    features = Features(buckets=1 << 20, ngrams=2)
    text = "a b a b c"
    tokens = Prepared(pa.array([text])).tokens.hashes
    step = np.uint64(0xD1342543DE82EF95)
    with np.errstate(over="ignore"):
        keys = [*tokens, *(tokens[:-1] * step + tokens[1:]), 0x9E6C63D0876A9A35]
    scrambled = mix(np.array(keys, np.uint64))
    places = ((scrambled >> np.uint64(32)).astype(object) * (1 << 20)) >> 32
    expected = np.zeros(1 << 20)
    np.add.at(expected, places.astype(np.int64), 1)
    np.testing.assert_allclose(dense(features, [text])[0], np.sqrt(expected / 10), rtol=1e-6)
    assert sorted(expected[expected > 0]) == [1, 1, 1, 1, 2, 2, 2]  # c, "b a", "b c", the end; a, b, "a b"


@given(TEXTS, st.sampled_from(WORDS), st.sampled_from([(0, 0), (2, 3)]))
def test_a_text_is_a_vector_of_unit_length_whoever_stands_beside_it(texts, words, characters):
    features = Features(buckets=64, ngrams=2, characters=characters, words=words)
    together = dense(features, texts)
    for row, text in zip(together, texts, strict=True):
        assert (row == dense(features, [text])[0]).all()
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_characters_are_the_runs_within_marked_words():
    features = Features(buckets=1 << 16, ngrams=1, characters=(2, 3))
    n_all = 2 + 4 + 3  # the word and the end; <a ab bc c>; <ab abc bc>
    row = dense(features, ["abc"])[0]
    assert (row > 0).sum() == n_all
    assert row[row > 0] == pytest.approx(np.sqrt(1 / n_all))
    assert (dense(features, ["abc"]) == dense(features, ["abc "])).all()


def test_the_descent_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    texts, labels = planted(60, 1)
    ours = LinearClassifier.train(texts, labels, buckets=256, epochs=1, rate=0.3, decays=False, seed=4)
    order = np.random.default_rng(4).permutation(60)
    peer = linear_model.SGDClassifier(
        loss="log_loss",
        alpha=0.0,
        learning_rate="constant",
        eta0=0.6,
        max_iter=1,
        tol=None,
        shuffle=False,
        fit_intercept=False,
    )  # the difference of our two columns moves at twice the rate
    inputs = dense(ours.features, texts)
    peer.fit(inputs[order], np.array(labels)[order])
    np.testing.assert_allclose(ours.weights_KC[:, 1] - ours.weights_KC[:, 0], peer.coef_[0], atol=2e-6)
    np.testing.assert_allclose(ours.probabilities(texts), peer.predict_proba(inputs), atol=1e-5)


def test_it_ends_where_the_best_logistic_regression_does():
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    # Labels of one in ten are wrong, so the best weights are finite; few buckets, so both have the same to fit.
    texts, labels = planted(600, 2)
    rng = np.random.default_rng(0)
    labels = [label if rng.random() < 0.9 else {"art": "law", "law": "art"}[label] for label in labels]
    ours = LinearClassifier.train(texts, labels, buckets=32, ngrams=1, epochs=200, rate=1.0)
    inputs = dense(ours.features, texts)
    best = linear_model.LogisticRegression(C=1e6, max_iter=2000, fit_intercept=False).fit(inputs, labels)
    found, least = (metrics.log_loss(labels, one) for one in (ours.probabilities(texts), best.predict_proba(inputs)))
    assert least <= found + 1e-6
    assert found < least + 0.005


def test_planted_signs_are_learnt_from_the_words_that_are_signs():
    texts, labels = planted(400, 9)
    assert np.mean(np.array(trained().predict(texts)) == labels) > 0.97
    from tokenry.corpora.classifier import weight_of_words

    signs = {label: weight_of_words(trained(), words) for label, words in SIGNS.items()}
    common = weight_of_words(trained(), COMMON)
    assert signs["law"].min() > common.max()
    assert signs["art"].max() < common.min()


def test_three_classes_and_their_columns():
    texts, labels = planted(300, 3)
    texts += [" ".join(["sea", "ship", "mast", *COMMON[:20]])] * 100
    ours = LinearClassifier.train(texts, [*labels, *["sail"] * 100], buckets=1 << 12, epochs=5)
    found = ours.probabilities(texts)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert ours.predict(["sea ship mast"]) == ["sail"]
    assert list(columns_of(ours, "kind")) == ["quality.kind.art", "quality.kind.law", "quality.kind.sail"]


def test_equal_input_gives_equal_weights_and_another_seed_does_not():
    texts, labels = planted(50, 5)
    one, same, other = (LinearClassifier.train(texts, labels, buckets=512, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_saved_and_loaded_is_the_same(tmp_path):
    trained().save(tmp_path / "Quality v1")
    again = LinearClassifier.load(tmp_path / "Quality v1")
    texts, _ = planted(20, 6)
    assert (again.probabilities(texts) == trained().probabilities(texts)).all()
    assert again.fingerprint == trained().fingerprint
    assert again.record["texts"] == {"art": 200, "law": 200}
    assert signal_name(tmp_path / "Quality v1") == "quality_v1"
    with pytest.raises(FileExistsError):
        trained().save(tmp_path / "Quality v1")


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-classifier"):
        LinearClassifier.load(tmp_path)
    folder = trained().save(tmp_path / "c")
    record = folder / "classifier.json"
    good = json.loads(record.read_text())
    for change, said in (
        ({"format": 9}, "format 9"),
        ({"classes": ["art"]}, "need 2 to"),
        ({"features": {**good["features"], "buckets": 1 << 40}}, "buckets"),
        ({"features": {**good["features"], "run": "os.system"}}, "no classifier of ours"),
        ({"record": 3}, "no classifier of ours"),
    ):
        record.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=said):
            LinearClassifier.load(folder)
    record.write_text(json.dumps(good))
    weights = folder / "weights.npy"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="cut short"):
        LinearClassifier.load(folder)
    np.save(weights, np.array([{}] * 4096, object))
    with pytest.raises(ValueError, match=r"cut short|no array"):
        LinearClassifier.load(folder)
    np.save(weights, np.full((1 << 12, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="not finite"):
        LinearClassifier.load(folder)


def test_bad_training_is_refused():
    with pytest.raises(ValueError, match="2 to"):
        LinearClassifier.train(["a"], ["x"])
    with pytest.raises(ValueError, match="one label for each"):
        LinearClassifier.train(["a"], ["x", "y"], buckets=64)
    with pytest.raises(ValueError, match="Did you mean 'tokens'"):
        LinearClassifier.train(["a", "b"], ["x", "y"], words="token")
    with pytest.raises(ValueError, match="rate"):
        LinearClassifier.train(["a", "b"], ["x", "y"], rate=float("nan"), buckets=64)


def test_odd_texts_have_a_score():
    odd = ["", None, "\x00\x00", "\ud800 half", "🙂" * 3, "x" * 100_000]
    found = trained().probabilities(odd)
    assert np.isfinite(found).all()
    assert (found[0] == found[1]).all()
    assert trained().probabilities([]).shape == (0, 2)


def test_an_engine_scores_a_corpus_and_a_family_gives_the_same(tmp_path):
    from tokenry.corpora.signals import score_corpus

    folder = trained().save(tmp_path / "art")
    texts, _ = planted(30, 7)
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, None]))
    made = EmbeddedEngine(workers=1).map(
        tmp_path / "d.jsonl", functools.partial(score, name="art", positive="art"), tmp_path / "out", key="k",
        setup=functools.partial(LinearClassifier.load, str(folder)),
    )  # fmt: skip
    table = pq.read_table(made.parts[0])
    expected = trained().probabilities(texts)[:, 0]
    assert table.column("quality.art").to_pylist() == [*expected, None]
    assert table.schema.field("quality.art").metadata[b"version"].decode() == trained().fingerprint
    beside = score_corpus(tmp_path / "d.jsonl", ["ccnet", linear_family(folder, positive="art")], tmp_path / "both",
                          engine=EmbeddedEngine(workers=1))  # fmt: skip
    assert pq.read_table(beside.parts[0]).column("quality.art").to_pylist() == [*expected, None]
    none = pa.RecordBatch.from_pylist([], pa.schema([("id", pa.string()), ("text", pa.string())]))
    assert score(none, trained()).schema.names == ["id", "quality.linear"]
