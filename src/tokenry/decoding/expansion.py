"""How a draft tree grows: fixed shapes, and DySpec's two forms, a heap of slots and whole layers above a threshold.

Pure functions over a callback that gives the draft's law after nodes; they run on float arrays and on arrays of
fractions alike. A SLOT is "the next child of u": its value s estimates the chance that verification comes to it, all
earlier siblings rejected. Whether a child is drawn is decided by s before the draw; a drawn child is never dropped.

Papers: DySpec (arXiv 2410.11744, section 4: greedy expansion, threshold expansion); Sequoia (arXiv 2402.12374).
"""

# Axes: V vocabulary.

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tokenry.decoding.acceptance import Chance
from tokenry.decoding.trees import Shape, TokenTree

_NOTHING_LEFT = 1e-9
"""Mass of a law below which no further child is drawn (float arithmetic; in fractions nothing is lost)."""


class Estimate(Protocol):
    """Chance that a child stands, its earlier siblings rejected; `calibration.AcceptanceMap` is one."""

    def __call__(self, share: object, rank: int) -> object:
        """Of a child with this draft probability (of the mass that is left)."""

    def mean(self, rank: int) -> object:
        """Of a child whose probability is not known yet; 1 where nothing better is known."""


class AsDrafted:
    """DySpec's hypothesis: a guess stands with its draft probability."""

    def __call__(self, share: object, rank: int) -> object:
        """The probability itself."""
        return share

    def mean(self, rank: int) -> object:
        """1: the slot's own value decides."""
        return 1


@dataclass
class Growth:
    """A draft tree in the making.

    Attributes:
        tokens, parents: of the nodes, in order of their making; node 0 is the root.
        values: estimated chance that each node is accepted, the root's is 1. Their sum without the root's estimates the
            accepted guesses.
        shares: draft probability of each node, of the mass its earlier siblings left.
        depths: steps of each node from the root.
        laws: node -> the draft's law after it, for the nodes that were asked.
        n_calls: forward passes of the draft.
    """

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    values: list = field(default_factory=lambda: [1])
    shares: list = field(default_factory=lambda: [1])
    depths: list[int] = field(default_factory=lambda: [0])
    laws: dict[int, object] = field(default_factory=dict)
    n_calls: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tree(self) -> TokenTree:
        """What is verified."""
        return TokenTree(self.tokens, Shape(self.parents))

    @property
    def expected(self) -> float:
        """Estimated accepted guesses."""
        return float(sum(self.values[1:]))

    def add(self, parent: int, token: int, share: object, *, value: object) -> int:
        """A child more; its number."""
        self.tokens.append(token)
        self.parents.append(parent)
        self.shares.append(share)
        self.values.append(value)
        self.depths.append(self.depths[parent] + 1)
        return len(self.tokens) - 1


LawsAfter = Callable[[Growth, list[int]], list]
"""(growth, nodes) -> the draft's law (V,) after each of them, by one forward pass."""
Children = Callable[[object], Iterator[tuple[int, object]]]
"""law (V,) -> its tokens in the order in which children stand, each with its share of the mass left before it."""


def drawn(chance: Chance) -> Children:
    """Children drawn one after another without replacement: for `multi_round` acceptance."""

    def in_turn(law_V: object) -> Iterator[tuple[int, object]]:
        rest_V, left = law_V * 1, law_V.sum()
        exact = not isinstance(left, float)
        while left > (0 if exact else _NOTHING_LEFT):
            token = int(chance.draws(rest_V))
            yield token, rest_V[token] / left
            left = left - rest_V[token]
            rest_V[token] = 0

    return in_turn


def likeliest(law_V: object) -> Iterator[tuple[int, object]]:
    """Children by falling probability: for greedy or point-mass acceptance. Ties go to the smaller id."""
    left = law_V.sum()
    exact = not isinstance(left, float)
    for token in _sorted_parts(law_V):
        if not left > (0 if exact else _NOTHING_LEFT) or not law_V[token] > 0:
            return
        yield token, min(law_V[token] / left, 1)
        left = left - law_V[token]


def _sorted_parts(law_V: object) -> Iterator[int]:
    """Ids by falling probability; the first few without sorting the whole vocabulary."""
    import numpy as np

    first = 32
    if law_V.dtype != object and len(law_V) > 4 * first:
        top = np.argpartition(law_V, -first)[-first:]
        yield from top[np.lexsort((top, -law_V[top]))].tolist()
        done = set(top.tolist())
        yield from (token for token in np.argsort(-law_V, kind="stable").tolist() if token not in done)
    else:
        yield from np.argsort(-law_V, kind="stable").tolist()


def grow_fixed(root: int, laws_after: LawsAfter, *, shape: Shape, children: Children) -> Growth:
    """Fill a fixed shape, one draft forward a level; where a law runs out of tokens, the rest below is left out."""
    growth, number = Growth([root]), {0: 0}
    growth_children = shape.children
    for level in shape.levels[:-1]:
        inner = [node for node in level.tolist() if growth_children[node] and node in number]
        if not inner:
            break
        for node, law_V in zip(inner, _asked(growth, laws_after, [number[node] for node in inner]), strict=True):
            found, value = children(law_V), growth.values[number[node]]
            for below in growth_children[node]:
                pair = next(found, None)
                if pair is None:
                    break
                number[below] = growth.add(number[node], *pair, value=value * pair[1])
                value = value * (1 - pair[1])
    return growth


def grow_greedy(
    root: int,
    laws_after: LawsAfter,
    *,
    budget: int,
    depth: int,
    children: Children,
    estimate: Estimate,
    by_gain: bool = False,
) -> Growth:
    """Add nodes one by one where their worth is largest; the draft runs only after nodes whose slot comes up.

    Args:
        root: token of the root.
        laws_after: the draft.
        budget: nodes below the root, at most.
        depth: longest path.
        children: `drawn(chance)`, or `likeliest`.
        estimate: chance that a child stands.
        by_gain: order slots by the value of the child itself, which must not depend on a draw: only with `likeliest`.
            With `AsDrafted` this gives the nodes of largest path probability. False orders them by s and, where the
            estimate knows it, the mean chance at the slot's rank.
    """
    growth = Growth([root])
    heap: list[tuple] = []
    ties = iter(range(1 << 62))

    def push(value: object, node: int, rank: int, *, found: Iterator | None = None) -> None:
        pair = None
        if by_gain and found is not None:
            pair = next(found, None)
            if pair is None:
                return
        worth = value * (estimate(pair[1], rank) if pair else estimate.mean(rank))
        heapq.heappush(heap, (-worth, next(ties), value, node, rank, found, pair))

    push(1, 0, 0)
    while heap and len(growth) <= budget:
        _, _, value, node, rank, found, pair = heapq.heappop(heap)
        if found is None:
            found = children(_asked(growth, laws_after, [node])[0])
            if by_gain:  # what the slot is worth is known only now: back into the heap
                push(value, node, rank, found=found)
                continue
        pair = pair or next(found, None)
        if pair is None:
            continue
        token, share = pair
        chance = estimate(share, rank)
        new = growth.add(node, token, share, value=value * chance)
        if value * (1 - chance) > 0:
            push(value * (1 - chance), node, rank + 1, found=found)
        if growth.depths[new] < depth and value * chance > 0:
            push(value * chance, new, 0)
    return growth


def grow_layers(
    root: int,
    laws_after: LawsAfter,
    *,
    threshold: object,
    budget: int,
    depth: int,
    children: Children,
    estimate: Estimate,
) -> Growth:
    """Add every slot worth at least `threshold`, layer by layer: one draft forward a layer instead of one a node.

    Args:
        root, laws_after, budget, depth, children, estimate: as for `grow_greedy`.
        threshold: about 1 / (nodes wanted).
    """
    growth, layer = Growth([root]), [0]
    while layer and len(growth) <= budget:
        below = []
        for node, law_V in zip(layer, _asked(growth, laws_after, layer), strict=True):
            value, rank, found = growth.values[node], 0, children(law_V)
            while value > 0 and value * estimate.mean(rank) >= threshold and len(growth) <= budget:
                pair = next(found, None)
                if pair is None:
                    break
                chance = estimate(pair[1], rank)
                new = growth.add(node, *pair, value=value * chance)
                if growth.depths[new] < depth and growth.values[new] * estimate.mean(0) >= threshold:
                    below.append(new)
                value, rank = value * (1 - chance), rank + 1
        layer = below
    return growth


def _asked(growth: Growth, laws_after: LawsAfter, nodes: list[int]) -> list:
    laws = laws_after(growth, nodes)
    growth.n_calls += 1
    growth.laws.update(zip(nodes, laws, strict=True))
    return laws
