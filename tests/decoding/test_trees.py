"""Trees keep their laws, whatever their shape."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.decoding.trees import Shape, TokenTree, best, best_ranks, chain, from_paths, merge


@st.composite
def trees(draw, max_nodes: int = 14, n_tokens: int = 5) -> TokenTree:
    n_nodes = draw(st.integers(1, max_nodes))
    parents = [-1] + [draw(st.integers(0, node - 1)) for node in range(1, n_nodes)]
    return TokenTree([draw(st.integers(0, n_tokens - 1)) for _ in range(n_nodes)], parents)


def texts(tree: TokenTree) -> set[tuple[int, ...]]:
    return {tuple(tree.text(node)) for node in range(len(tree))}


@given(tree=trees())
def test_depth_path_and_ancestors_tell_the_same(tree):
    for node in range(len(tree)):
        path = tree.path(node)
        assert path[0] == 0
        assert path[-1] == node
        assert len(path) == tree.depth[node] + 1
        assert set(path) == set(np.flatnonzero(tree.ancestors[node]).tolist())
        assert all(tree.parents[below] == above for above, below in itertools.pairwise(path))


@given(tree=trees())
def test_children_ranks_levels_and_leaves_tell_the_same(tree):
    shape = tree.shape
    for node, children in enumerate(shape.children):
        assert children == sorted(children) == [c for c in range(len(tree)) if tree.parents[c] == node]
        assert [int(shape.rank[child]) for child in children] == list(range(len(children)))
    assert sorted(node for level in shape.levels for node in level.tolist()) == list(range(len(tree)))
    assert all((shape.depth[level] == d).all() for d, level in enumerate(shape.levels))
    assert shape.leaves == [node for node in range(len(tree)) if node not in set(tree.parents.tolist())]


@given(tree=trees())
def test_its_paths_build_it_again(tree):
    again = from_paths(int(tree.tokens[0]), [tree.text(leaf)[1:] for leaf in tree.shape.leaves])
    assert texts(again) == texts(tree)
    assert len(texts(again)) == len(again), "a path stands once"


@given(first=trees(), second=trees())
def test_a_merged_tree_holds_the_texts_of_both_once(first, second):
    second = TokenTree([first.tokens[0], *second.tokens[1:]], second.shape)
    both = merge(first, second)
    assert texts(both) == texts(first) | texts(second)
    assert len(texts(both)) == len(both)
    assert texts(merge(first, first)) == texts(first)


@given(tree=trees(), data=st.data())
def test_the_best_nodes_are_a_tree_of_the_largest_values(tree, data):
    own = [1.0] + [data.draw(st.sampled_from((0.2, 0.5, 0.9, 1.0))) for _ in range(len(tree) - 1)]
    values = [float(np.prod([own[node] for node in tree.path(node)])) for node in range(len(tree))]
    n_nodes = data.draw(st.integers(1, len(tree)))
    kept = best(tree, values, n_nodes)
    assert len(kept) == n_nodes
    ranked = sorted(range(len(tree)), key=lambda node: (node != 0, -values[node], node))[:n_nodes]
    assert sorted(map(tuple, map(kept.text, range(n_nodes)))) == sorted(tuple(tree.text(node)) for node in ranked)


@given(tree=trees(), depth=st.integers(0, 6), n_nodes=st.integers(1, 14))
def test_cut_trees_are_what_is_left(tree, depth, n_nodes):
    assert texts(tree.shallow(depth)) == {text for text in texts(tree) if len(text) <= depth + 1}
    assert tree.first(n_nodes).tokens.tolist() == tree.tokens[:n_nodes].tolist()
    kept = [node for node in range(len(tree)) if tree.depth[node] <= depth]
    assert tree.only(kept).tokens.tolist() == tree.tokens[kept].tolist()


@given(tree=trees(), token=st.integers(0, 5))
def test_a_child_is_found_by_its_token(tree, token):
    for node in range(len(tree)):
        carrying = [child for child in tree.children[node] if tree.tokens[child] == token]
        assert tree.child(node, token) == (carrying[0] if carrying else None)


def test_a_chain_and_fixed_branching():
    assert chain([4, 5, 6]).text(2) == [4, 5, 6]
    shape = Shape.branching((2, 1, 3))
    assert [len(level) for level in shape.levels] == [1, 2, 2, 6]
    assert [len(children) for children in shape.children[:5]] == [2, 1, 1, 3, 3]


def test_a_template_of_ranks_has_its_children_in_order():
    shape = Shape.from_ranks([(1,), (0, 0), (0,), (1, 0), (0, 1)])
    assert shape.parents.tolist() == [-1, 0, 0, 1, 1, 2]
    assert shape.rank.tolist() == [0, 0, 1, 0, 1, 0]
    with pytest.raises(ValueError, match="left sibling"):
        Shape.from_ranks([(1,)])


def test_the_best_template_is_the_best_of_all():
    """Brute force over every template of 4 guesses with 3 ranks: none expects more accepted tokens."""
    rates = (0.5, 0.3, 0.1)
    paths = [path for d in (1, 2, 3, 4) for path in itertools.product(range(3), repeat=d)]

    def worth(chosen):
        return sum(np.prod([rates[rank] for rank in path]) for path in chosen)

    def is_template(chosen):
        there = set(chosen) | {()}
        return all(path[:-1] in there and (not path[-1] or (*path[:-1], path[-1] - 1) in there) for path in chosen)

    likely = sorted(paths, key=lambda path: -worth([path]))[:14]
    most = max(worth(chosen) for chosen in itertools.combinations(likely, 4) if is_template(chosen))
    shape = best_ranks(rates, 4)
    values = np.ones(len(shape))
    for node in range(1, len(shape)):
        values[node] = values[shape.parents[node]] * rates[shape.rank[node]]
    assert len(shape) == 5
    assert values[1:].sum() == pytest.approx(most)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda: Shape([-1, 2, 0]), "a node before it"),
        (lambda: Shape([-1, 0, -2]), "need -1"),
        (lambda: TokenTree([1, 2], [-1]), "one a node"),
        (lambda: chain([1, 2, 3]).only([0, 2]), "without its parent"),
        (lambda: merge(chain([1]), chain([2])), "same token"),
        (lambda: merge(), "merge needs"),
        (lambda: best(chain([1, 2]), [0.5, 0.7], 2), "more than its parent"),
        (lambda: best_ranks((0.1, 0.5), 3), "rises"),
    ],
)
def test_what_is_no_tree_is_refused(act, told):
    with pytest.raises(ValueError, match=told):
        act()
