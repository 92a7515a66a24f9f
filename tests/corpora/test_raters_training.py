"""Training raters: balance, what is learnt, what comes back from disk, and who learns an order."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_worlds import letters_vocab, planted, planted_rubric, tiny_model

from tokenry.core.numerics import spearman
from tokenry.corpora.raters import open_rater
from tokenry.corpora.raters_linear import distil
from tokenry.corpora.raters_local import LocalRater
from tokenry.corpora.raters_training import TrainingPlan, _example, balanced, train_and_compare, train_rater
from tokenry.corpora.rating_agreement import compared
from tokenry.corpora.rubrics import Ratings


@given(st.lists(st.booleans(), max_size=80), st.integers(1, 6), st.integers(1, 4), st.integers(0, 9))
def test_balance_adds_as_many_of_the_rarer_class_as_the_formula_says(is_low, q, k, seed):
    is_low = np.array(is_low, bool)
    places = balanced(is_low, q=q, k=k, seed=seed)
    n_minor = min(is_low.sum(), (~is_low).sum())
    n_major = len(is_low) - n_minor
    n_add = min((n_major - n_minor) // q, n_minor) * k
    assert len(places) == len(is_low) + n_add
    np.testing.assert_array_equal(places[: len(is_low)], np.arange(len(is_low)))
    if n_add:
        minor = is_low if is_low.sum() == n_minor else ~is_low
        assert minor[places].sum() == n_minor + n_add
        assert np.unique(places[len(is_low) :], return_counts=True)[1].tolist() == [k] * (n_add // k)


def test_only_what_the_answer_chooses_is_learnt():
    rater = LocalRater(tiny_model(), planted_rubric(), asking="bare")
    (text,), (ratings,) = planted(1)
    ids, labels = _example(rater, text, ratings)
    n_prompt = len(rater.prompt(rater.document(text)[0]))
    assert set(labels[:n_prompt]) == {-100}
    learnt = [label for label in labels if label != -100]
    assert rater.lm.vocab.decode(learnt) == (ratings.domain or "") + "".join(map(str, ratings.scores))
    assert rater.lm.vocab.decode(ids[n_prompt:]) == rater.rubric.answer(ratings)


def test_a_trained_rater_comes_back_from_its_folder_with_its_rubric(tmp_path):
    texts, ratings = planted(24)
    lm = tiny_model(positions=600, spread=0.05)
    plan = TrainingPlan(epochs=2, rate=3e-3, batch_size=8, accumulate=1, validation=0.2, every=2)
    record = train_rater(texts, ratings, base=lm, scheme=planted_rubric(), out=tmp_path / "rater", plan=plan)
    losses = [loss for _, loss in record["validation"]]
    assert record["held out"] > 0
    assert min(losses) == dict(map(tuple, record["validation"]))[record["kept step"]]
    opened = open_rater(tmp_path / "rater")
    assert (opened.rubric.hash, opened.asking) == (planted_rubric().hash, "bare")
    ours = LocalRater(lm, planted_rubric(), asking="bare").rate(texts)
    theirs = opened.rate(texts)
    np.testing.assert_allclose(ours.expected_DC, theirs.expected_DC, atol=1e-4)
    with pytest.raises(ValueError, match="trained on another rubric"):
        open_rater(tmp_path / "rater", scheme="dataman")
    with pytest.raises(ValueError, match="at least two"):
        train_rater(texts[:1], ratings[:1], base=lm, scheme=planted_rubric(), out=tmp_path / "x")


def test_a_linear_rater_learns_what_words_show_and_comes_back_from_its_folder(tmp_path):
    texts, whole = planted(350)
    names = planted_rubric().names
    kept = [names.index(name) for name in ("coherence", "language_consistency")]
    scheme = replace(planted_rubric(), overall="", criteria=tuple(planted_rubric().criteria[place] for place in kept))
    ratings = [Ratings(tuple(one.scores[place] for place in kept), one.domain) for one in whole]
    rater = distil(texts[:250], ratings[:250], scheme=scheme, epochs=10)
    found = rater.rate(texts[250:])
    rater.save(tmp_path / "linear")
    again = open_rater(tmp_path / "linear").rate(texts[250:])
    np.testing.assert_array_equal(found.scores_DC, again.scores_DC)
    np.testing.assert_allclose(found.expected_DC, again.expected_DC)
    assert found.domains == again.domains
    with pytest.raises(ValueError, match="trained on another rubric"):
        open_rater(tmp_path / "linear", scheme="dataman")
    true = np.array([one.scores for one in ratings[250:]])
    coherence, language = (spearman(true[:, at], found.expected_DC[:, at]) for at in (0, 1))
    # n = 100: an uninformed rank correlation has deviation 0.1. Neither words nor pairs of them tell the order.
    assert language > 0.5
    assert abs(coherence) < 0.3
    right = [scheme.domains[one.domain] for one in ratings[250:]]
    assert np.mean([a == b for a, b in zip(right, found.domains, strict=True)]) > 0.9


@pytest.mark.slow  # trains a small model for about a minute
def test_a_small_model_learns_an_order_that_a_bag_of_words_cannot(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from tokenry.core.vocab import Vocab
    from tokenry.models.tiny import tiny_llama

    texts, ratings = planted(900, seed=5)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(texts[:600], trainers.BpeTrainer(vocab_size=700, special_tokens=["<s>"],
                                initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    lm = tiny_llama(Vocab.open(backend), width=128, layers=3, heads=4, positions=400)
    plan = TrainingPlan(epochs=12, rate=2e-3, batch_size=16, accumulate=1, warmup=0.1, validation=0.05, every=50,
                        balance=None)  # fmt: skip
    train_rater(texts[:600], ratings[:600], base=lm, scheme=planted_rubric(), out=tmp_path / "rater", plan=plan)
    report = compared(open_rater(tmp_path / "rater"), texts[:600], ratings[:600], tested=texts[600:],
                      tested_ratings=ratings[600:])  # fmt: skip
    found = {(row["criterion"], row["rater"]): row for row in report.tables["agreement"].to_pylist()}
    # Under independence a rank correlation over 300 documents has deviation 0.058: 0.2 is 3.5 of them.
    assert found["coherence", "this rater"]["spearman"] > 0.2
    assert abs(found["coherence", "bag of words"]["spearman"]) < 0.2


def test_plans_that_cannot_be_are_refused():
    for wrong in ({"epochs": 0}, {"rate": 0}, {"validation": 1.0}, {"balance": (0, 1)}):
        with pytest.raises(ValueError, match="need"):
            TrainingPlan(**wrong)
    assert letters_vocab().size > 256


def test_without_a_test_share_the_report_says_that_nothing_was_tested(tmp_path):
    texts, ratings = planted(20)
    rows = [{"text": text, "quality.overall": one.scores[-1]} for text, one in zip(texts, ratings, strict=True)]
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = train_and_compare(docs, tmp_path / "rater", scheme="quality", test=0.0)
    assert not report.tables
    assert "no document was held out" in report.warnings[0]
    assert json.loads((tmp_path / "rater" / "run.json").read_text())["arguments"]["rubric"] == "quality"
    docs.write_text(docs.read_text() + json.dumps({"text": "x", "quality.overall": 7}) + "\n")
    with pytest.raises(ValueError, match=r"scores \[7\]; need whole numbers from 1 to 5"):
        train_and_compare(docs, tmp_path / "other", scheme="quality")
