"""Draft trees grow to the best shape under their own assumption; whatever the shape, the text's law is exact."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from exact_chance import Course, outcomes, random_law
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.acceptance import multi_round, point_mass, walk
from tokenry.decoding.expansion import AsDrafted, drawn, grow_fixed, grow_greedy, grow_layers, likeliest
from tokenry.decoding.trees import Shape, TokenTree

N_TOKENS, DEPTH = 3, 2


class World:
    """A law for every short text, in fractions."""

    def __init__(self, seed: int, *, zeros: bool = False) -> None:
        generator = np.random.default_rng(seed)
        texts = [text for size in range(DEPTH + 2) for text in product(range(N_TOKENS), repeat=size)]
        self.laws = {text: random_law(generator, N_TOKENS, zeros=zeros) for text in texts}

    def after(self, growth, nodes: list[int]) -> list[np.ndarray]:
        return [self.laws[text_of(growth, node)] for node in nodes]


def text_of(growth, node: int) -> tuple[int, ...]:
    text: tuple[int, ...] = ()
    while node:
        text = (growth.tokens[node], *text)
        node = growth.parents[node]
    return text


class ByRank:
    """An estimate that has nothing to do with the laws, as a calibration in its first steps."""

    def __call__(self, share: object, rank: int) -> Fraction:
        return Fraction(2, 3 + rank) if share < Fraction(1, 2) else Fraction(3, 4 + rank)

    def mean(self, rank: int) -> Fraction:
        return Fraction(2, 3 + rank)


GROWN = {
    "greedy": lambda world, children, estimate: grow_greedy(
        9, world.after, budget=3, depth=DEPTH, children=children, estimate=estimate
    ),
    "layers": lambda world, children, estimate: grow_layers(
        9, world.after, threshold=Fraction(1, 4), budget=3, depth=DEPTH, children=children, estimate=estimate
    ),
    "fixed": lambda world, children, estimate: grow_fixed(
        9, world.after, shape=Shape([-1, 0, 0, 1]), children=children
    ),
}


def target_law(target: World) -> dict[tuple[int, ...], Fraction]:
    """Law of the first two tokens by the target alone."""
    return {
        (a, b): target.laws[()][a] * target.laws[(a,)][b] for a, b in product(range(N_TOKENS), repeat=2)
        if target.laws[()][a] * target.laws[(a,)][b]
    }  # fmt: skip


def written(target: World, draft: World, chance: Course, *, how: str, estimate, spoil=None) -> tuple[int, ...]:
    """The first two tokens of a text whose first step goes through a drawn tree; the rest is drawn plainly."""
    growth = GROWN[how](draft, drawn(chance), estimate)
    tree, laws = growth.tree, growth.laws
    if spoil is not None:
        tree, laws = spoil(growth)
    # The target's law after a node of `tree`, by its text below the root.
    found = walk(tree, lambda node: target.laws[tuple(tree.text(node)[1:])], rule=multi_round, chance=chance, laws=laws)
    text = (*tree.tokens[found.path[1:]].tolist(), found.bonus)
    while len(text) < 2:
        text = (*text, chance.draws(target.laws[text]))
    return text[:2]


@pytest.mark.parametrize("how", GROWN)
@pytest.mark.parametrize("estimate", [AsDrafted(), ByRank()], ids=["as drafted", "by rank"])
@pytest.mark.parametrize("seed", range(3))
def test_text_through_a_drawn_tree_has_the_targets_law_exactly(how, estimate, seed):
    target, draft = World(seed, zeros=True), World(100 + seed, zeros=seed == 2)
    found = outcomes(lambda chance: written(target, draft, chance, how=how, estimate=estimate))
    assert found == target_law(target)


def test_dropping_a_drawn_child_by_its_value_is_found_out():
    """The mutation of the card: first children of small value are thrown away after the draw; the law is wrong."""

    def spoil(growth):
        kept = [node for node in range(len(growth)) if growth.values[node] >= Fraction(1, 5)]
        tree = growth.tree.only([node for node in kept if all(above in kept for above in growth.tree.path(node))])
        number = {old: new for new, old in enumerate(sorted(kept))}
        return tree, {number[node]: law for node, law in growth.laws.items() if node in number}

    wrong = 0
    for seed in range(4):
        target, draft = World(seed), World(100 + seed)
        found = outcomes(lambda chance, t=target, d=draft: written(t, d, chance, how="greedy", estimate=AsDrafted(),
                                                                   spoil=spoil))  # fmt: skip
        wrong += found != target_law(target)
    assert wrong


def test_likeliest_children_need_the_point_mass_rule():
    target, draft = World(1), World(2)
    growth = grow_greedy(9, draft.after, budget=3, depth=DEPTH, children=likeliest, estimate=AsDrafted(), by_gain=True)

    def first(chance, rule, laws):
        found = walk(growth.tree, lambda node: target.laws[text_of(growth, node)], rule=rule, chance=chance, laws=laws)
        return (*growth.tree.tokens[found.path[1:]].tolist(), found.bonus)[0]

    right = dict(enumerate(target.laws[()]))
    assert outcomes(lambda chance: first(chance, point_mass, None)) == right
    assert outcomes(lambda chance: first(chance, multi_round, growth.laws)) != right


def float_world(seed: int, n_tokens: int = 3, depth: int = 3) -> dict[tuple[int, ...], np.ndarray]:
    generator = np.random.default_rng(seed)
    texts = [text for size in range(depth + 1) for text in product(range(n_tokens), repeat=size)]
    return {text: generator.dirichlet(np.ones(n_tokens)) for text in texts}


def grown(laws: dict, **options):
    return grow_greedy(9, lambda growth, nodes: [laws[text_of(growth, node)] for node in nodes], depth=3,
                       children=likeliest, estimate=AsDrafted(), **options)  # fmt: skip


def every_tree(n_nodes: int, texts: list[tuple[int, ...]]) -> Iterator[set]:
    """All trees of n nodes below the root, as sets of texts that hold the beginnings of each."""

    def extend(chosen: tuple, start: int) -> Iterator[set]:
        if len(chosen) == n_nodes:
            yield set(chosen)
            return
        for place in range(start, len(texts)):
            if len(texts[place]) == 1 or texts[place][:-1] in chosen:
                yield from extend((*chosen, texts[place]), place + 1)

    yield from extend((), 0)


@given(seed=st.integers(0, 10_000), n_nodes=st.integers(1, 4))
@examples(max_examples=20)
def test_the_gain_rule_gives_the_tree_of_largest_expected_acceptance(seed, n_nodes):
    """Under DySpec's assumption a node stands with its path probability: the best of ALL trees, by brute force."""
    laws = float_world(seed)
    texts = sorted((text for size in (1, 2, 3) for text in product(range(3), repeat=size)), key=lambda t: (len(t), t))
    worth = {text: np.prod([laws[text[:i]][text[i]] for i in range(len(text))]) for text in texts}
    best = max(sum(worth[text] for text in tree) for tree in every_tree(n_nodes, texts))
    growth = grown(laws, budget=n_nodes, by_gain=True)
    assert len(growth) == n_nodes + 1
    assert growth.expected == pytest.approx(best, rel=1e-12)
    assert growth.values[1:] == pytest.approx([worth[text_of(growth, node)] for node in range(1, len(growth))])


@given(seed=st.integers(0, 10_000), n_nodes=st.integers(1, 8))
def test_the_gain_rule_asks_the_draft_only_where_it_may_matter(seed, n_nodes):
    laws = float_world(seed)
    growth = grown(laws, budget=n_nodes, by_gain=True)
    all_worth = sorted((np.prod([laws[text[:i]][text[i]] for i in range(len(text))])
                        for size in (1, 2, 3) for text in product(range(3), repeat=size)), reverse=True)  # fmt: skip
    assert sorted(growth.values[1:], reverse=True) == pytest.approx(all_worth[:n_nodes])
    assert growth.n_calls <= n_nodes


@given(seed=st.integers(0, 10_000), n_nodes=st.integers(1, 12))
def test_the_heap_of_slots_and_the_threshold_give_one_tree(seed, n_nodes):
    """The card's identity: tau = value of the n-th popped slot. The heap pops slots in falling order of value."""
    laws = float_world(seed)

    def after(growth, nodes):
        return [laws[text_of(growth, node)] for node in nodes]

    by_heap = grown(laws, budget=n_nodes, by_gain=False)
    if len(by_heap) != n_nodes + 1:
        return  # the whole vocabulary to the full depth
    popped = [by_heap.values[node] / by_heap.shares[node] for node in range(1, len(by_heap))]
    assert popped == sorted(popped, reverse=True) or np.allclose(popped, sorted(popped, reverse=True))
    tau = popped[-1] * (1 - 1e-9)
    one_more = grown(laws, budget=n_nodes + 1, by_gain=False)
    if len(one_more) == n_nodes + 2 and one_more.values[-1] / one_more.shares[-1] >= tau:
        return  # a tie: the threshold takes both
    layers = grow_layers(9, after, threshold=tau, budget=100, depth=3, children=likeliest, estimate=AsDrafted())
    assert {text_of(layers, n) for n in range(len(layers))} == {text_of(by_heap, n) for n in range(len(by_heap))}
    assert layers.n_calls <= 3


def test_children_are_drawn_without_replacement_in_the_laws_proportion():
    law = np.array([Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], dtype=object)
    found = outcomes(lambda chance: tuple(drawn(chance)(law)))
    assert found[((0, Fraction(1, 2)), (1, Fraction(2, 3)), (2, Fraction(1)))] == Fraction(1, 3)
    assert len(found) == 6
    big = np.random.default_rng(0).dirichlet(np.ones(500))
    order = [token for token, _ in likeliest(big)]
    assert order == np.argsort(-big, kind="stable").tolist()[: len(order)]
    assert len(order) > 400


def test_a_fixed_shape_is_filled_as_far_as_the_law_has_tokens():
    law = np.array([0.75, 0.25, 0.0])
    growth = grow_fixed(9, lambda growth, nodes: [law] * len(nodes), shape=Shape.branching([3, 1]), children=likeliest)
    assert growth.tree.tokens.tolist() == [9, 0, 1, 0, 0]
    assert growth.parents == [-1, 0, 0, 1, 2]
    assert growth.n_calls == 2
    assert isinstance(growth.tree, TokenTree)
    assert growth.expected == pytest.approx(0.75 + 0.25 + 0.75 * 0.75 + 0.25 * 0.75)
