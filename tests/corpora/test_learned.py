"""A model's signals are what the model says, in one pass with the others, under the published names and formulas."""

import itertools
import json
import pickle
import re
import shutil

import numpy as np
import pytest
from scipy.stats import poisson
from signal_worlds import batch_of
from test_linear import planted, trained
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.tables import read
from tokenry.corpora.dsir import Bag, Weights, counts_of
from tokenry.corpora.learned import linear_family
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.ngram_lm import ByteNgrams
from tokenry.corpora.sidecars import read_signals, versions_of
from tokenry.corpora.signals import families_of, score_batch, score_corpus

BOOKS = ["The cat sat on the mat.", "A dog, a cat and a mat: the cat sat on the dog."]
CORPUS = ["Click here to log in.", "the cat", "A mat is on sale, click here! Click here now.", ""]


def weights(**bag):
    import pyarrow as pa

    bag = Bag(**bag)
    return Weights(bag, counts_of(pa.array(BOOKS), bag), counts_of(pa.array(CORPUS), bag))


def one(typed, texts):
    made = score_batch(batch_of(texts), families_of([typed]))
    return {name: made.column(name).to_pylist() for name in made.schema.names if name != "id"}


def verb(*typed):
    return CliRunner().invoke(app, ["corpus", *map(str, typed), "-q"])


def test_a_classifier_is_scored_beside_other_signals_in_one_pass_of_the_verb(tmp_path):
    trained().save(tmp_path / "art")
    texts = planted(10, 7)[0]
    docs = tmp_path / "d.jsonl"
    docs.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, None]))
    run = verb("score", docs, "--signals", f"ccnet,linear:{tmp_path / 'art'}", "--out", tmp_path / "s", "--workers", 1)
    assert run.exit_code == 0, run.output
    sent = pickle.loads(pickle.dumps(linear_family(tmp_path / "art")))  # as a worker of an engine gets it
    assert score_batch(batch_of(texts), [sent]).column("quality.art").to_pylist() == [
        *trained().probabilities(texts)[:, 1]
    ]
    found = read_signals(tmp_path / "s")
    assert found.column("quality.art").to_pylist() == [*trained().probabilities(texts)[:, 1], None]
    assert found.column("ccnet.length").to_pylist() == [*map(len, texts), None]
    assert versions_of(tmp_path / "s")["quality.art"] == trained().fingerprint


def test_a_model_that_is_trained_anew_in_the_same_folder_is_read_anew(tmp_path):
    texts, labels = planted(60, 1)
    folder = tmp_path / "m"
    trained().save(folder)
    assert one(f"linear:{folder}", texts)["quality.m"] == pytest.approx(trained().probabilities(texts)[:, 1])
    stale = linear_family(folder)
    shutil.rmtree(folder)
    other = LinearClassifier.train(texts, labels, buckets=64)
    other.save(folder)
    assert one(f"linear:{folder}", texts)["quality.m"] == pytest.approx(other.probabilities(texts)[:, 1])
    from tokenry.corpora.learned import _opened

    _opened.cache_clear()  # as in another process
    with pytest.raises(ValueError, match="has changed since"):
        score_batch(batch_of(texts), [stale])


def test_published_classifier_scores_are_the_probability_of_what_is_not_the_crawl(tmp_path):
    texts, labels = planted(100, 2)
    names = {"art": "cc", "law": "wiki"}
    made = LinearClassifier.train(texts, [names[label] for label in labels], buckets=512)
    made.save(tmp_path / "wiki")
    found = one(f"rpv2.doc_ml_wikiref_score:{tmp_path / 'wiki'}", texts)
    assert found == {"rpv2.doc_ml_wikiref_score": made.probabilities(texts)[:, made.place("wiki")].tolist()}
    trained().save(tmp_path / "art")
    with pytest.raises(ValueError, match=r"classes art, law; .* needs one trained with --positive"):
        families_of([f"rpv2.doc_ml_palm_score:{tmp_path / 'art'}"])


def test_published_importance_is_that_of_the_formula_with_words_on_both_sides(tmp_path):
    made = weights(words="tokens")
    made.save(tmp_path / "books")
    found = one(f"rpv2.doc_books_importance:{tmp_path / 'books'}", [*CORPUS, None])
    name = "rpv2.doc_books_importance"

    def runs(text):
        words = re.findall(r"\w+|[^\w\s]+", text)  # NLTK's WordPunct
        return words, [*words, *itertools.pairwise(words)]

    # Some 60 runs in 10,000 buckets: none of these share one, so buckets are runs.
    counts = [{}, {}]
    for table, texts in zip(counts, (BOOKS, CORPUS), strict=True):
        for text in texts:
            for run in runs(text)[1]:
                table[run] = table.get(run, 0) + 1
    totals = [sum(table.values()) for table in counts]
    means = [np.mean([len(runs(text)[0]) for text in texts]) for texts in (BOOKS, CORPUS)]
    assert [made.target.mean_words, made.raw.mean_words] == pytest.approx(means)
    for at, text in enumerate(CORPUS):
        words, all_runs = runs(text)
        target, corpus = (
            sum(np.log(table.get(run, 0) / n + 1e-8) for run in all_runs)
            for table, n in zip(counts, totals, strict=True)
        )
        length = np.log(poisson.pmf(len(words), means[0]) + 1e-8) - np.log(poisson.pmf(len(words), means[1]) + 1e-8)
        assert found[name][at] == pytest.approx(target - corpus, abs=1e-9)
        assert found[f"{name}_length_correction"][at] == pytest.approx(target - corpus + length, abs=1e-9)
    assert found[name][-1] is None


def test_weights_counted_otherwise_do_not_go_by_a_published_name(tmp_path):
    weights().save(tmp_path / "lowered")
    with pytest.raises(ValueError, match="--set words=tokens"):
        families_of([f"rpv2.doc_wikipedia_importance:{tmp_path / 'lowered'}"])
    found = one(f"dsir:{tmp_path / 'lowered'}", CORPUS)
    assert list(found) == [
        f"dsir.lowered.{name}" for name in ("log_weight", "log_weight_per_ngram", "log_length_ratio")
    ]


def test_the_verb_counts_what_the_published_name_needs(tmp_path):
    for name, texts in (("books", BOOKS), ("crawl", CORPUS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    crawl = tmp_path / "crawl.jsonl"
    run = verb("utility", crawl, "--method", "dsir", "--target", tmp_path / "books.jsonl", "--set", "words=tokens",
               "--out", tmp_path / "u", "--workers", 1)  # fmt: skip
    assert run.exit_code == 0, run.output
    typed = f"rpv2.doc_books_importance:{tmp_path / 'u.model'}"
    run = verb("score", crawl, "--signals", typed, "--out", tmp_path / "s", "--workers", 1)
    assert run.exit_code == 0, run.output
    assert read_signals(tmp_path / "s").column("rpv2.doc_books_importance").to_pylist() == pytest.approx(
        read_signals(tmp_path / "u").column("dsir.log_weight").to_pylist()
    )


def test_bits_of_several_models_stand_side_by_side(tmp_path):
    for name, texts in (("wiki", BOOKS), ("ads", CORPUS)):
        ByteNgrams.train(texts, order=3).save(tmp_path / name)
    made = score_batch(batch_of([BOOKS[0], None]), families_of([f"ngram:{tmp_path / n}" for n in ("wiki", "ads")]))
    wiki, ads = (made.column(f"ngram.{name}.bits_per_byte").to_pylist() for name in ("wiki", "ads"))
    assert wiki[0] == pytest.approx(ByteNgrams.load(tmp_path / "wiki").bits_per_byte(BOOKS[:1])[0])
    assert wiki[0] < ads[0]
    assert wiki[1] is None


def test_toxic_sentences_are_found_and_cut_and_the_others_stay(tmp_path):
    rng = np.random.default_rng(0)
    mild, foul = [f"word{n}" for n in range(60)], ["grunk", "blarf", "snod"]

    def sentence(toxic):
        words = [str(word) for word in rng.choice(mild, 8)]
        for place in range(3 if toxic else 0):
            words[2 * place + 1] = str(rng.choice(foul))
        return " ".join(words).capitalize() + "."

    for name, toxic in (("toxic", True), ("clean", False)):
        rows = [{"text": sentence(toxic)} for _ in range(200)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = verb("train-classifier", "--positive", tmp_path / "toxic.jsonl", "--negative", tmp_path / "clean.jsonl",
               "--words", "folded", "--epochs", 10, "--buckets", 4096, "--out", tmp_path / "toxicity")  # fmt: skip
    assert run.exit_code == 0, run.output
    plan = rng.random((60, 5)) < 0.3
    written = [[sentence(bool(toxic)) for toxic in row] for row in plan]
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"id": str(n), "text": " ".join(row)}) + "\n" for n, row in enumerate(written)))
    score_corpus(docs, f"linear.sentences:{tmp_path / 'toxicity'}", tmp_path / "s", workers=1)
    spans = read_signals(tmp_path / "s").column("quality.toxicity.sentences").to_pylist()
    found = np.array([[span["score"] >= 0.4 for span in row] for row in spans])
    assert found.shape == plan.shape
    # 300 sentences whose signs are planted without error: Dolma's threshold finds all of them, and no other.
    assert (found == plan).all()
    run = verb("mask", docs, "--signals", tmp_path / "s", "--replace", "quality.toxicity.sentences=", "--least", 0.4,
               "--out", tmp_path / "clean")  # fmt: skip
    assert run.exit_code == 0, run.output
    left = read(tmp_path / "clean").column("text").to_pylist()
    for text, row, toxic in zip(left, written, plan, strict=True):
        assert text.split() == " ".join(one for one, bad in zip(row, toxic, strict=True) if not bad).split()


@pytest.mark.parametrize(
    ("typed", "said"),
    [("linear", "name its folder: linear:DIR"), ("linear:nowhere", "no classifier.json"),
     ("ngram:nowhere", "no ngrams.json"), ("json:dumps", "need a tokenry.corpora.families.Family"),
     ("linaer:x", "no module 'linaer'")],
)  # fmt: skip
def test_what_is_no_model_is_refused_with_the_way_out(typed, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        families_of(typed)
