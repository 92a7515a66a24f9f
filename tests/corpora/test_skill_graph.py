"""A skill graph counts what X'X counts, brings names of one skill together, and comes back as it was saved."""

import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.hashing import stable_hash
from tokenry.corpora.skill_graph import Embedder, SkillGraph, graph_report, open_embedder


def hashed(strings):
    """A vector for each string, unrelated to any other's."""
    return np.stack([np.random.default_rng(stable_hash(one)).normal(size=64) for one in strings]).astype(np.float32)


def by_first_word(strings):
    """Names that begin with one word are one skill."""
    return hashed([one.split()[0] for one in strings])


PROBLEMS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), min_size=1, max_size=30).filter(any)


@given(PROBLEMS, st.booleans())
def test_the_matrix_is_symmetric_and_its_two_parts_sum_to_one(problems, idf):
    graph = SkillGraph.build(problems, hashed, threshold=0.99)
    matrix = graph.adjacency(idf=idf).toarray()
    assert (matrix >= 0).all()
    assert np.array_equal(matrix, matrix.T)
    assert np.trace(matrix) == pytest.approx(1)
    beside = matrix.sum() - np.trace(matrix)
    assert beside == pytest.approx(1 if len(graph.edges_E2) else 0)


@given(PROBLEMS)
def test_counts_are_those_of_the_indicator_times_itself(problems):
    graph = SkillGraph.build(problems, hashed, threshold=0.99)
    has = np.array([[skill in each for skill in graph.skills] for each in problems], int)
    both = has.T @ has
    assert np.array_equal(graph.counts_K, both.diagonal())
    found = np.zeros_like(both)
    found[tuple(graph.edges_E2.T)] = graph.together_E
    assert np.array_equal(found, np.triu(both, k=1))
    assert all(
        n <= min(graph.counts_K[a], graph.counts_K[b])
        for (a, b), n in zip(graph.edges_E2, graph.together_E, strict=False)
    )
    assert graph.n_problems == has.any(axis=1).sum()


@given(PROBLEMS, st.randoms(use_true_random=False))
def test_the_order_of_problems_and_of_their_skills_does_not_matter(problems, random):
    other = [random.sample(each, len(each)) for each in random.sample(problems, len(problems))]
    a, b = (SkillGraph.build(one, hashed) for one in (problems, other))
    assert a.key() == b.key()


def test_two_names_of_one_skill_in_one_problem_count_once():
    problems = [["ratio one", "ratio two", "speed"], ["ratio one"], ["ratio two", "speed"]]
    graph = SkillGraph.build(problems, by_first_word)
    assert graph.skills == ["ratio one", "speed"]
    assert graph.members == [["ratio one", "ratio two"], ["speed"]]
    assert graph.counts_K.tolist() == [3, 2]
    assert graph.together_E.tolist() == [2]
    assert graph.neighbours("ratio two") == [("speed", 2)]
    again = SkillGraph.build([[graph.skills[graph.index(one)] for one in each] for each in problems], by_first_word)
    assert again.key() == graph.key()
    assert [len(one) for one in again.members] == [1, 1]


def test_a_threshold_of_one_merges_none_but_equal_vectors():
    problems = [["a x", "b"], ["a y", "c"]]
    assert len(SkillGraph.build(problems, hashed, threshold=1).skills) == 4
    # The cosine of two equal vectors may be 1 - 1e-7: just below 1 they are one skill, and nothing else is.
    assert SkillGraph.build(problems, by_first_word, threshold=1 - 1e-6).skills == ["a x", "b", "c"]


def test_rare_skills_are_left_out_when_asked():
    problems = [["a", "b"], ["a"], ["a", "c"], ["c"]]
    graph = SkillGraph.build(problems, hashed, least=2)
    assert graph.skills == ["a", "c"]
    assert graph.together_E.tolist() == [1]
    with pytest.raises(ValueError, match="most frequent has 3"):
        SkillGraph.build(problems, hashed, least=9)
    with pytest.raises(ValueError, match="no skill in any of 2"):
        SkillGraph.build([[], []], hashed)


def test_a_graph_comes_back_as_it_was_saved_and_runs_nothing(tmp_path):
    texts = ["ratio of speed", "speed of a ratio", "cost of speed", "ratio cost"]
    words = open_embedder("words", texts=texts, dim=3)
    graph = SkillGraph.build([["ratio", "speed"], ["cost", "speed"], ["ratio"]], words, provenance={"way": "tags"})
    graph.save(tmp_path / "graph")
    back = SkillGraph.load(tmp_path / "graph")
    assert back.key() == graph.key()
    assert back.provenance == {"way": "tags"}
    assert back.members == graph.members
    np.testing.assert_array_equal(back.embedder.units(texts), graph.embedder.units(texts))
    with pytest.raises(FileExistsError):
        graph.save(tmp_path / "graph")

    named = SkillGraph.build([["a", "b"]], Embedder(hashed, "function", "os:getcwd"))
    named.save(tmp_path / "named")
    with pytest.raises(ValueError, match="give it again"):
        SkillGraph.load(tmp_path / "named")
    assert SkillGraph.load(tmp_path / "named", embedder=hashed).skills == ["a", "b"]
    with pytest.raises(ValueError, match="no module"):
        SkillGraph.load(tmp_path / "named", embedder="no_such_module_here:function")


@pytest.mark.parametrize("harm", ["manifest", "vectors", "edges", "lacking", "empty", "pickle"])
def test_a_damaged_graph_is_refused(tmp_path, harm):
    SkillGraph.build([["a", "b"], ["b", "c"]], hashed).save(tmp_path / "graph")
    folder = tmp_path / "graph"
    if harm == "manifest":
        (folder / "manifest.json").write_text(json.dumps({"problems": 2}))
    elif harm == "vectors":
        np.save(folder / "vectors.npy", np.zeros((2, 4), np.float32))
    elif harm == "edges":
        (folder / "edges.parquet").write_bytes(b"PAR1nothing")
    elif harm == "empty":
        (folder / "vectors.npy").write_bytes(b"")
    elif harm == "pickle":
        (folder / "vectors.npy").write_bytes(pickle.dumps([1, 2]))
    else:
        os.remove(folder / "nodes.parquet")
    with pytest.raises((ValueError, FileNotFoundError), match="graph"):
        SkillGraph.load(folder, embedder=hashed)


def test_another_embedder_than_the_graphs_is_refused(tmp_path):
    words = [open_embedder("words", texts=texts, dim=2) for texts in (["a b", "b a", "a"], ["c d", "d c", "c"])]
    SkillGraph.build([["a", "b"]], words[0]).save(tmp_path / "graph")
    with pytest.raises(ValueError, match="not the one that made"):
        SkillGraph.load(tmp_path / "graph", embedder=words[1])


def test_graphml_is_read_by_networkx(tmp_path):
    networkx = pytest.importorskip("networkx")
    graph = SkillGraph.build([['a & "b" <c>', "d"], ["d"], ["d", "e\x00f"]], hashed)
    graph.export(tmp_path / "graph.graphml")
    read = networkx.read_graphml(tmp_path / "graph.graphml")
    assert {data["label"]: data["count"] for _, data in read.nodes(data=True)} == {
        'a & "b" <c>': 1,
        "d": 3,
        "ef": 1,
    }
    assert sorted(data["weight"] for *_, data in read.edges(data=True)) == [1, 1]


def test_the_report_counts_hubs_and_warns_of_skills_without_a_vector():
    graph = SkillGraph.build(
        [["a", "b"], ["a", "c"]], lambda strings: hashed(strings) * (np.array(strings) != "c")[:, None]
    )
    report = graph_report(graph)
    assert report.facts["degree, highest"] == 2
    assert report.facts["pairs"] == 2
    assert "1 skills have no vector" in report.warnings[0]
    assert graph_report(graph, skill="a").tables["neighbours"].to_pylist()[0]["problems"] == 1
    with pytest.raises(ValueError, match="no skill 'z'"):
        graph_report(graph, skill="z")
