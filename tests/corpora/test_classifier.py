"""Training by path is tested on what was held out, explains itself exactly, and its thresholds keep what they say."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_linear import SIGNS, planted, trained
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.corpora.classifier import auc, classes_of, contributions, explain, span_of, train_classifier
from tokenry.corpora.sidecars import read_signals


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="both kinds"):
            auc(scores, labels)
        return
    pairs = scores[labels][:, None] - scores[~labels][None]
    assert auc(scores, labels).value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_auc_and_its_interval_are_those_of_the_literature():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    inside, values = 0, []
    for _ in range(200):
        labels = rng.random(80) < 0.4
        scores = rng.normal(size=80) + labels
        found = auc(scores, labels)
        values.append(found.value - metrics.roc_auc_score(labels, scores))
        inside += found.low <= 0.7602 <= found.high  # Phi(1 / sqrt 2)
    assert np.abs(values).max() < 1e-12
    # 190 of 200 are expected; four binomial standard deviations are 12, and DeLong's is a little short at n = 80.
    assert inside >= 174


def test_an_area_without_a_pair_out_of_order_is_not_certain():
    perfect = auc([3, 4, 5, 0, 1, 2], [1, 1, 1, 0, 0, 0])
    assert (perfect.value, perfect.high) == (1, 1)
    # (1 - A)^2 = z^2 A (1 - A) (1 + 2 ((1 - A) / (2 - A) + A / (1 + A))) / 9, solved by bisection.
    assert perfect.low == pytest.approx(0.50102, abs=1e-4)
    alike = auc([1, 1, 1, 1], [1, 1, 0, 0])
    assert alike.low < 0.2 < alike.value < 0.8 < alike.high


@pytest.mark.parametrize("text", ["canvas court w1 w1 canvas", "w3", "", "oil oil oil oil"])
def test_contributions_sum_to_the_logits(text):
    spans, moved = contributions(trained(), text)
    assert len(spans) == len(moved)
    np.testing.assert_allclose(moved.sum(axis=0), trained().logits([text])[0], atol=1e-6)


def test_the_words_that_explain_are_the_signs():
    texts, _ = planted(100, 8)
    rows = explain(trained(), texts, place=trained().place("law"), n=4)
    assert {row["words"] for row in rows[:4]} == set(SIGNS["law"])
    assert {row["words"] for row in rows[-4:]} == set(SIGNS["art"])


def lines(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_toxic_text_by_path_through_the_verbs(tmp_path):
    texts, labels = planted(600, 11)
    files = {
        label: lines(tmp_path / f"{label}.jsonl", [t for t, own in zip(texts, labels, strict=True) if own == label])
        for label in SIGNS
    }
    run = CliRunner().invoke(
        app,
        ["corpus", "train-classifier", "--positive", files["law"], "--negative", files["art"], "--buckets", "4096",
         "--words", "folded", "--out", str(tmp_path / "toxicity"), "--json", "-q"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)["facts"]
    assert facts["AUC on held-out documents"]["value"] > 0.98
    assert 30 <= facts["tested on"] <= 90  # 60 expected, four binomial standard deviations are 29
    docs = lines(tmp_path / "docs.jsonl", [*planted(40, 12)[0], ""])
    run = CliRunner().invoke(
        app,
        ["corpus", "classify", docs, "--classifier", str(tmp_path / "toxicity"), "--out", str(tmp_path / "signal"),
         "--workers", "1", "-q"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    found = read_signals(tmp_path / "signal").column("quality.toxicity").to_pylist()
    assert np.mean([(value > 0.5) == bool(at % 2) for at, value in enumerate(found[:40])]) > 0.9


def test_copies_of_a_text_are_on_one_side(tmp_path):
    texts, labels = planted(200, 13)
    made = train_classifier(
        {label: [t for t, own in zip(texts, labels, strict=True) if own == label] * 3 for label in SIGNS},
        held_out=0.2, buckets=512,
    )  # fmt: skip
    assert made.report.facts["trained on"] % 3 == made.report.facts["tested on"] % 3 == 0
    assert made.report.facts["trained on"] + made.report.facts["tested on"] == 600


def test_a_limit_takes_a_sample_whatever_the_order_and_texts_of_two_classes_are_warned_of(tmp_path):
    texts = [f"w{n} w{n % 7}" for n in range(3000)]
    classes = {"a": texts, "b": [f"{text} b" for text in texts]}
    made, turned = (
        train_classifier({name: rows[::way] for name, rows in classes.items()}, limit=300, buckets=512, epochs=1)
        for way in (1, -1)
    )
    assert made.report.facts["trained on"] + made.report.facts["tested on"] == 600
    assert made.report.facts["trained on"] == turned.report.facts["trained on"]
    assert made.report.facts["tested on"] > 30  # 60 expected: the sample is not what is held out
    assert not made.report.warnings
    both = train_classifier({"a": texts[:40], "b": texts[30:80]}, buckets=512)
    assert any("10 texts stand in more than one class" in said for said in both.report.warnings)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="--overwrite"):
        train_classifier({"a": 3, "b": 4}, tmp_path / "there")  # before anything is read


def test_what_was_typed_is_read_or_refused():
    assert classes_of(["a"], ["b"], []) == ({"negative": ["b"], "positive": ["a"]}, "positive")
    assert classes_of([], [], ["x=a", "y=b"]) == ({"x": "a", "y": "b"}, None)
    with pytest.raises(ValueError, match="--negative"):
        classes_of(["a"], [], [])
    assert span_of("3-5") == (3, 5)
    assert span_of("") == (0, 0)
    with pytest.raises(ValueError, match="3-5"):
        span_of("x")
    with pytest.raises(ValueError, match="none of the classes"):
        train_classifier({"a": ["x"], "b": ["y"]}, positive="c")
    with pytest.raises(ValueError, match="no documents"):
        train_classifier({"a": ["x"], "b": [""]})
