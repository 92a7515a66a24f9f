"""Motifs against networkx: the same connected sets, and the same name exactly for the same shape."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.corpora.motifs import Graph, canonical, compare_motifs, connected_sets, count_motifs, graph_of_trees
from tokenry.corpora.parse_trees import read_trees


@st.composite
def _graphs(draw):
    n = draw(st.integers(1, 8))
    edges = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1), st.sampled_from("xy")), max_size=14))
    edges = {(a, b): (a, b, label) for a, b, label in edges if a != b}
    labels = draw(st.one_of(st.just(()), st.lists(st.sampled_from("uv"), min_size=n, max_size=n).map(tuple)))
    return Graph(n, tuple(edges.values()), labels)


def _peer(graph: Graph) -> nx.DiGraph:
    made = nx.DiGraph()
    for node in range(graph.n):
        made.add_node(node, label=graph.labels[node] if graph.labels else "")
    made.add_edges_from((a, b, {"label": label}) for a, b, label in graph.edges)
    return made


def _same(one: nx.DiGraph, other: nx.DiGraph) -> bool:
    equal = nx.algorithms.isomorphism.categorical_node_match("label", "")
    return nx.is_isomorphic(one, other, node_match=equal, edge_match=lambda a, b: a["label"] == b["label"])


@given(_graphs(), st.integers(1, 4))
@settings(max_examples=60)
def test_connected_sets_and_shapes_are_those_of_networkx(graph, k):
    peer = _peer(graph)
    wanted = [
        nodes for nodes in itertools.combinations(range(graph.n), k) if nx.is_weakly_connected(peer.subgraph(nodes))
    ]
    found = sorted(connected_sets(graph, k))
    assert found == wanted
    names = [canonical(graph, nodes) for nodes in found]
    for (one, a), (other, b) in itertools.combinations(list(zip(found, names, strict=True))[:8], 2):
        assert (a == b) == _same(peer.subgraph(one), peer.subgraph(other))


@given(_graphs(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_renaming_nodes_changes_no_count(graph, random):
    order = list(range(graph.n))
    random.shuffle(order)
    labels = [""] * graph.n
    for node, label in enumerate(graph.labels):
        labels[order[node]] = label
    edges = tuple((order[a], order[b], label) for a, b, label in graph.edges)
    renamed = Graph(graph.n, edges, tuple(labels) if graph.labels else ())
    assert count_motifs(graph, 3) == count_motifs(renamed, 3)


def test_trees_become_graphs_from_heads_to_what_hangs_on_them():
    trees = read_trees("(S (NP (DT the) (NN dog)) (VP (VBZ barks)))(S (NP (NNS cats)) (VP (VBP sleep)))")
    graph = graph_of_trees(trees)
    assert graph.n == 5
    assert set(graph.edges) == {(1, 0, "DT"), (2, 1, "NP"), (4, 3, "NP")}


def test_a_sample_of_motifs_has_the_right_mean():
    """A path of 30 nodes has 27 sets of 4; 400 samples at share 0.25.

    A set is kept with probability 0.25, so a count has mean 27 and, if all sets were kept together, deviation of at
    most 27 sqrt(0.75 / 0.25) = 47; the mean of 400 is within 4 x 47 / 20 = 9.4.
    """
    path = Graph(30, tuple((n, n + 1, "e") for n in range(29)))
    rng = np.random.default_rng(0)
    counts = [count_motifs(path, 4, share=0.25, rng=rng).total() for _ in range(400)]
    assert abs(np.mean(counts) - count_motifs(path, 4).total()) < 9.4
    assert count_motifs(path, 4).total() == 27


def test_a_shape_that_one_side_prefers_is_found():
    star = Graph(6, tuple((0, n, "e") for n in range(1, 6)))
    chain = Graph(6, tuple((n, n + 1, "e") for n in range(5)))
    human, synthetic = [star] * 28 + [chain] * 32, [star] * 52 + [chain] * 8
    found = {one.metric: one for one in compare_motifs(human, synthetic, k=3)}
    assert set(found) == {"motif3.entropy_bits", "motif3.0-e>1 0-e>2", "motif3.0-e>1 1-e>2"}
    stars = found["motif3.0-e>1 0-e>2"]
    assert (stars.human, stars.synthetic) == pytest.approx((28 / 60, 52 / 60))
    assert stars.low > 0
    assert stars.p < 0.01


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="need 1 to 9"):
        count_motifs(Graph(2, ()), 12)
    with pytest.raises(ValueError, match="edges outside"):
        Graph(2, ((0, 5, "x"),))
    with pytest.raises(ValueError, match="different questions"):
        compare_motifs([], [], per="words")
