"""Columns of bits are those of the models behind them, ranks are within a source, errors have bounds."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.ngram_lm import ByteNgrams
from tokenry.corpora.perplexity import error_norm, open_models, open_ngrams, ranks_within, signals


def batch(texts):
    ids = [str(n) for n in range(len(texts))]
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(texts, pa.string())], names=["id", "text"])


def test_the_difference_of_two_models_tells_the_target_from_the_corpus(tmp_path):
    code = [f"for i in range({n}): total += values[i]" for n in range(60)]
    prose = [f"The {n} men went down to the river in the evening." for n in range(60)]
    for name, texts in (("target", code[:30]), ("corpus", code[:5] + prose[:30])):
        ByteNgrams.train(texts).save(tmp_path / name)
    models = open_ngrams({"m.target": str(tmp_path / "target"), "m.corpus": str(tmp_path / "corpus")})
    table = signals(batch(code[30:] + prose[30:]), models, difference=("m.difference", "m.target", "m.corpus"))
    found = np.array(table["m.difference"])
    np.testing.assert_allclose(found, np.array(table["m.target"]) - np.array(table["m.corpus"]))
    # The two kinds share no sentence: the least prose-like prose is farther from the target than any code.
    assert found[:30].max() < found[30:].min()
    assert table.schema.field("m.target").metadata[b"version"].decode() == models["m.target"].fingerprint


def test_missing_texts_have_no_bits_and_no_documents_keep_the_columns():
    models = {"n.bits": ByteNgrams.train(["a cat"])}
    table = signals(batch(["a", None, ""]), models)
    assert [value is None for value in table["n.bits"].to_pylist()] == [False, True, True]
    assert signals(batch([]), models).schema == table.schema


@pytest.mark.slow  # loads torch and transformers, about 5 s
def test_the_column_of_a_language_model_is_its_score(tmp_path):
    pytest.importorskip("torch")
    from tokenry.models.lm import load
    from tokenry.models.tiny import tiny_llama
    from tokenry.tokenization.train import train

    texts = ["The cat sat on the mat. " * 8, "A dog.", "x"]
    tiny_llama(train(texts, size=300)).save(tmp_path / "lm")
    models = open_models({"lm.bits_per_byte": str(tmp_path / "lm")}, piece_bytes=64)
    found = signals(batch([*texts, None]), models)["lm.bits_per_byte"].to_pylist()
    scores = load(str(tmp_path / "lm")).score(texts, max_bytes=64)
    np.testing.assert_allclose(found[:3], scores.nats / np.log(2) / scores.n_bytes, rtol=1e-6)
    assert found[3] is None
    lead = open_models({"lm": str(tmp_path / "lm")}, lead_bytes=24)["lm"].bits_per_byte(texts)
    np.testing.assert_allclose(
        lead[0], load(str(tmp_path / "lm")).score([texts[0][:24]], max_bytes=64).bits_per_byte().value
    )


def test_ranks_and_thirds_are_within_a_source():
    values = np.array([1.0, 2.0, 3.0, np.nan, 100.0, 300.0, 200.0])
    cells = np.array([0, 0, 0, 0, 1, 1, 1])
    ranks, parts = ranks_within(values, cells)
    np.testing.assert_allclose(ranks, [1 / 6, 3 / 6, 5 / 6, np.nan, 1 / 6, 5 / 6, 3 / 6])
    assert parts.tolist() == [0, 1, 2, -1, 0, 2, 1]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_ranks_follow_the_values_equal_ones_alike(values):
    ranks, _ = ranks_within(np.array(values), np.zeros(len(values), int))
    order = np.argsort(values, kind="stable")
    assert (np.diff(ranks[order]) >= 0).all()
    assert len(set(ranks)) == len(set(values))
    assert ranks.min() > 0
    assert ranks.max() < 1
    assert abs(ranks.mean() - 0.5) < 1e-12


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(-1, 1)), min_size=1, max_size=10))
def test_the_error_of_a_classifier_lies_between_0_and_the_root_of_2(rows):
    p = np.array([[one, 1 - one] for one, _ in rows])
    labels = np.array([label for _, label in rows])
    found = error_norm(p, labels)
    expected = np.where(labels < 0, np.nan, np.sqrt(2) * np.abs(1 - p[np.arange(len(p)), labels]))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.nanmax(np.append(found, 0)) <= np.sqrt(2) + 1e-12


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one a row"):
        error_norm(np.ones((2, 2)), np.ones(3, int))
    with pytest.raises(ValueError, match="of 2 classes"):
        error_norm(np.ones((1, 2)), np.array([2]))
