"""Importance weights are those of the authors' code, vanish where target and corpus are one, and find the target."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.dsir import Bag, Counts, Weights, count, counts_of, kl_divergence, kl_reduction, score
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.mechanisms import best, softened

RAW = ["The cat sat on the mat. The cat sat on the mat!", "def f(x): return x + 1", "Ein Haus, zwei Häuser; drei.",
       "A mat, a cat: one (1) home.", "x"]  # fmt: skip
TARGET = ["The dog sat on the rug.", "A cat and a dog sat on a mat; the dog ran home."]
# PyPI data-selection 1.0.3, HashedNgramDSIR(num_buckets=512) fitted on all tokens, its hash function replaced by ours.
PEER = [-139.93432133023128, -213.63508386621538, -167.0771913856599, -193.76643635646445, -15.100452701490507]

words = st.lists(st.sampled_from(["the", "cat", "(", "Dog", "été", "1"]), min_size=1, max_size=30).map(" ".join)


def batch(texts):
    ids = [str(n) for n in range(len(texts))]
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(texts, pa.string())], names=["id", "text"])


def weights(target, raw, **options):
    bag = Bag(**options)
    return Weights(bag, counts_of(pa.array(target), bag), counts_of(pa.array(raw), bag))


def test_log_weights_are_those_of_the_authors_package():
    found = weights(TARGET, RAW, buckets=512).of(pa.array(RAW))[0]
    np.testing.assert_allclose(found, PEER, rtol=1e-12)


def test_a_weight_is_the_sum_over_words_and_pairs_of_the_log_ratio_of_their_shares():
    # Few different words in many buckets: no two share one, so shares are counted by hand.
    found = weights(["a b", "a"], ["a b b"], buckets=1 << 20)
    target, raw = {"a": 2 / 4, "b": 1 / 4, "a b": 1 / 4}, {"a": 1 / 5, "b": 2 / 5, "a b": 1 / 5, "b b": 1 / 5}
    expected = sum(np.log(target.get(one, 0) + 1e-8) - np.log(raw[one] + 1e-8) for one in ("a", "b", "b", "a b", "b b"))
    sums, n, _ = found.of(pa.array(["a b b"]))
    assert n.tolist() == [5]
    np.testing.assert_allclose(sums, [expected], rtol=1e-12)


@given(st.lists(words, min_size=1, max_size=8))
def test_a_target_that_is_the_corpus_gives_weights_of_zero(texts):
    sums, _, lengths = weights(texts, texts, buckets=64).of(pa.array(texts))
    assert (sums == 0).all()
    assert (lengths == 0).all()


@given(st.lists(words, min_size=2, max_size=8), st.integers(1, 7))
def test_counts_of_parts_add_up_to_those_of_the_whole(texts, cut):
    bag = Bag(buckets=64, ngrams=3)
    parts = [counts_of(pa.array(part, pa.string()), bag) for part in (texts[:cut], texts[cut:])]
    whole = counts_of(pa.array(texts), bag)
    np.testing.assert_array_equal(sum(part.buckets_K for part in parts), whole.buckets_K)
    np.testing.assert_array_equal(sum(part.lengths_L for part in parts), whole.lengths_L)


def test_counting_on_an_engine_is_counting_in_memory(tmp_path):
    (tmp_path / "in").mkdir()
    for n, texts in enumerate((RAW, TARGET)):
        (tmp_path / f"in/{n}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    bag = Bag(buckets=128)
    found = count(tmp_path / "in", tmp_path / "counts", bag=bag, engine=EmbeddedEngine(workers=1))
    np.testing.assert_array_equal(found.buckets_K, counts_of(pa.array(RAW + TARGET), bag).buckets_K)
    assert not (tmp_path / "counts").exists()


def test_per_word_weights_do_not_grow_with_the_length_and_lengths_have_a_ratio_of_their_own():
    found = weights(["a b " * 50] * 3, ["a b", "c d", "a b " * 50])
    table = score(batch(["a b", "a b " * 50]), found)
    long, short = table["dsir.log_weight"][1].as_py(), table["dsir.log_weight"][0].as_py()
    per = table["dsir.log_weight_per_ngram"].to_pylist()
    assert long > 20 * short > 0
    assert abs(per[0] - per[1]) < 0.5
    lengths = table["dsir.log_length_ratio"].to_pylist()
    # Three long of three against one of three: log((3 + 1) / (1 + 1)); classes without documents are alike.
    np.testing.assert_allclose(lengths, [np.log(1 / 3), np.log(4 / 2)], rtol=1e-12)


def test_documents_without_text_have_no_weight_and_no_documents_keep_the_columns():
    found = weights(TARGET, RAW)
    table = score(batch([None, "", "the cat"]), found)
    assert table["dsir.log_weight"].to_pylist()[0] is None
    assert table["dsir.log_weight"][1].as_py() == 0
    assert table["dsir.log_weight_per_ngram"][1].as_py() is None
    assert score(batch([]), found).schema == table.schema
    assert table.schema.field("dsir.log_weight").metadata[b"version"].decode() == found.fingerprint


def test_choosing_by_weight_brings_the_planted_target_and_comes_nearer_to_it():
    rng = np.random.default_rng(0)
    kinds = rng.random(600) < 0.2
    vocabulary = [f"w{n}" for n in range(60)]
    # Words are drawn alike, but half of them twice as often in documents of the target's kind.
    p = np.array([2.0] * 30 + [1.0] * 30) / 90
    texts = [" ".join(rng.choice(vocabulary, 40, p=p if kind else p[::-1])) for kind in kinds]
    target = [" ".join(rng.choice(vocabulary, 40, p=p)) for _ in range(100)]
    found = weights(target, texts)
    utility = found.of(pa.array(texts))[0]
    bag, size = found.bag, np.ones(600)
    kept = best(softened(utility, 1.0, seed=1), size, 60) > 0
    random = best(np.zeros(600), size, 60, seed=1) > 0
    # Two kinds of 40 words are 40 * KL = 40 * log(2) / 3 = 9 nats apart: a pair is told apart almost surely, so nearly
    # all of the 60 are of the target; chance gives 0.2, with a standard error of 0.05.
    assert kinds[kept].mean() > 0.9 > 0.4 > kinds[random].mean()
    chosen, other = (
        counts_of(pa.array([t for t, k in zip(texts, mask, strict=False) if k]), bag) for mask in (kept, random)
    )
    assert kl_reduction(found.target, chosen, other) > 0


def test_divergences_are_those_of_the_textbook():
    counts, other = np.array([1, 3]), np.array([2, 2])
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(kl_divergence(counts, other, smoothing=1e-12), expected, rtol=1e-9)
    assert kl_divergence(counts, counts) == 0


def test_estimates_come_back_from_their_folder_and_a_cut_file_is_refused(tmp_path):
    found = weights(TARGET, RAW, buckets=64)
    found.save(tmp_path / "w")
    again = Weights.load(tmp_path / "w")
    assert again.fingerprint == found.fingerprint
    np.testing.assert_array_equal(again.of(pa.array(RAW))[0], found.of(pa.array(RAW))[0])
    np.save(tmp_path / "w/counts.npy", np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="cut or of another run"):
        Weights.load(tmp_path / "w")
    with pytest.raises(FileNotFoundError, match="utility --method dsir"):
        Weights.load(tmp_path)


def test_impossible_settings_are_named():
    with pytest.raises(ValueError, match="buckets=2"):
        Bag(buckets=2)
    with pytest.raises(ValueError, match="words="):
        Bag(words="folds")
    with pytest.raises(ValueError, match="the target has no words"):
        weights([""], RAW)
    with pytest.raises(ValueError, match="smoothing"):
        Weights(
            Bag(buckets=16), Counts(np.ones(16, int), np.ones(64, int)), Counts(np.ones(16, int), np.ones(64, int)), 0
        )
