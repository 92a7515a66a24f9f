"""Trees of guessed tokens as flat arrays: build them from chains, paths, ranks or other trees, and walk them.

A node knows its parent; parents stand before their children, siblings keep their order (it is the order in which
acceptance tries them). The shape is apart from the tokens, so that a fixed shape is prepared once and filled each step.

Papers: SpecInfer (arXiv 2305.09781), Sequoia (arXiv 2402.12374), DySpec (arXiv 2410.11744),
Token Recycling (arXiv 2408.08696).
"""

# Axes: N nodes.

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np


class Shape:
    """A tree (or forest) without its tokens.

    Attributes:
        parents: int64 (N,); -1 at a root, else smaller than the node's own number.
    """

    def __init__(self, parents: Sequence[int] | np.ndarray) -> None:
        self.parents = np.asarray(parents, dtype=np.int64).reshape(-1)
        late = np.flatnonzero((self.parents >= np.arange(len(self.parents))) | (self.parents < -1))
        if len(late):
            node = int(late[0])
            raise ValueError(f"node {node} has the parent {self.parents[node]}; need -1, or a node before it.")

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def depth(self) -> np.ndarray:
        """Steps from the root, int64 (N,)."""
        depth = np.zeros(len(self), dtype=np.int64)
        for node, parent in enumerate(self.parents.tolist()):
            depth[node] = depth[parent] + 1 if parent >= 0 else 0
        return depth

    @cached_property
    def rank(self) -> np.ndarray:
        """Place among its siblings, int64 (N,)."""
        rank, seen = np.zeros(len(self), dtype=np.int64), [0] * (len(self) + 1)
        for node, parent in enumerate(self.parents.tolist()):
            rank[node] = seen[parent]
            seen[parent] += 1
        return rank

    @cached_property
    def children(self) -> list[list[int]]:
        """Children of every node, in order."""
        children: list[list[int]] = [[] for _ in range(len(self))]
        for node, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                children[parent].append(node)
        return children

    @cached_property
    def roots(self) -> list[int]:
        """Nodes without a parent."""
        return np.flatnonzero(self.parents < 0).tolist()

    @cached_property
    def ancestors(self) -> np.ndarray:
        """Bool (N, N): row i marks the nodes on the path to i, i included."""
        ancestors = np.eye(len(self), dtype=bool)
        for node, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                ancestors[node] |= ancestors[parent]
        return ancestors

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """Nodes by depth, each level in order: a fixed shape is filled with one gather a level."""
        return [np.flatnonzero(self.depth == d) for d in range(int(self.depth.max(initial=-1)) + 1)]

    @cached_property
    def leaves(self) -> list[int]:
        """Nodes without children."""
        return [node for node, children in enumerate(self.children) if not children]

    def path(self, node: int) -> list[int]:
        """Nodes from a root down to `node`, both included."""
        path = []
        while node >= 0:
            path.append(int(node))
            node = int(self.parents[node])
        return path[::-1]

    def filled(self, tokens: Sequence[int] | np.ndarray) -> "TokenTree":
        """This shape with tokens; nothing derived is computed again."""
        return TokenTree(tokens, self)

    @classmethod
    def chain(cls, n_nodes: int) -> "Shape":
        """Each node the only child of the one before."""
        return cls(np.arange(n_nodes) - 1)

    @classmethod
    def branching(cls, counts: Sequence[int]) -> "Shape":
        """A root whose nodes at depth d have counts[d] children each, level by level (SpecInfer: 1, 1, 3, 1)."""
        parents, level = [-1], [0]
        for count in counts:
            below = []
            for node in level:
                for _ in range(count):
                    below.append(len(parents))
                    parents.append(node)
            level = below
        return cls(parents)

    @classmethod
    def from_ranks(cls, paths: Iterable[Sequence[int]]) -> "Shape":
        """A template: every path of child ranks below the root, e.g. (0,), (1,), (0, 0); missing parents are refused.

        Raises:
            ValueError: a path whose parent, or whose left sibling, is not there.
        """
        ordered = sorted({tuple(int(r) for r in path) for path in paths} | {()}, key=lambda path: (len(path), path))
        number = {path: node for node, path in enumerate(ordered)}
        for path in ordered[1:]:
            needed = [path[:-1]] + ([(*path[:-1], path[-1] - 1)] if path[-1] else [])
            lacking = [other for other in needed if other not in number]
            if lacking:
                raise ValueError(f"path {path} without {lacking[0]}; need its parent and its left sibling. Add them.")
        return cls([-1 if not path else number[path[:-1]] for path in ordered])


class TokenTree:
    """A shape with a token at every node; what `Session.verify` takes.

    Attributes:
        shape: its Shape; `parents`, `depth`, `children`, `ancestors` are also reached from here.
        tokens: ids, int64 (N,).
    """

    __slots__ = ("shape", "tokens")

    def __init__(self, tokens: Sequence[int] | np.ndarray, shape: Shape | Sequence[int]) -> None:
        self.shape = shape if isinstance(shape, Shape) else Shape(shape)
        self.tokens = np.asarray(tokens, dtype=np.int64).reshape(-1)
        if len(self.tokens) != len(self.shape):
            raise ValueError(f"{len(self.tokens)} tokens for a shape of {len(self.shape)} nodes; need one a node.")

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def parents(self) -> np.ndarray:
        """See `Shape`."""
        return self.shape.parents

    @property
    def depth(self) -> np.ndarray:
        """See `Shape`."""
        return self.shape.depth

    @property
    def ancestors(self) -> np.ndarray:
        """See `Shape`."""
        return self.shape.ancestors

    @property
    def children(self) -> list[list[int]]:
        """See `Shape`."""
        return self.shape.children

    def path(self, node: int) -> list[int]:
        """Nodes from a root down to `node`."""
        return self.shape.path(node)

    def text(self, node: int) -> list[int]:
        """Tokens from a root down to `node`."""
        return self.tokens[self.path(node)].tolist()

    def child(self, node: int, token: int) -> int | None:
        """The first child of `node` that carries `token`."""
        return next((child for child in self.children[node] if self.tokens[child] == token), None)

    def first(self, n_nodes: int) -> "TokenTree":
        """The tree of its first nodes (parents stand first, so it is one)."""
        return self if n_nodes >= len(self) else TokenTree(self.tokens[:n_nodes], self.parents[:n_nodes])

    def shallow(self, depth: int) -> "TokenTree":
        """Only the nodes at most `depth` steps below a root."""
        return self if int(self.depth.max(initial=0)) <= depth else self.only(np.flatnonzero(self.depth <= depth))

    def only(self, nodes: Sequence[int] | np.ndarray) -> "TokenTree":
        """The tree of these nodes, in their old order.

        Raises:
            ValueError: a node without its parent.
        """
        kept = np.unique(np.asarray(nodes, dtype=np.int64))
        number = np.full(len(self) + 1, -2, dtype=np.int64)
        number[-1] = -1
        number[kept] = np.arange(len(kept))
        parents = number[self.parents[kept]]
        if (parents == -2).any():
            raise ValueError(f"node {int(kept[np.argmin(parents)])} is kept without its parent; keep whole paths.")
        return TokenTree(self.tokens[kept], parents)


def chain(tokens: Sequence[int]) -> TokenTree:
    """One path: the root, then each guess below the one before."""
    return TokenTree(tokens, Shape.chain(len(tokens)))


def from_paths(root: int, paths: Iterable[Sequence[int]]) -> TokenTree:
    """Guessed continuations of `root` merged into one tree; what they share stands once, earlier paths first."""
    tokens, parents = [int(root)], [-1]
    known: dict[tuple[int, int], int] = {}
    for path in paths:
        node = 0
        for token in path:
            token = int(token)
            below = known.get((node, token))
            if below is None:
                below = known[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = below
    return TokenTree(tokens, parents)


def merge(*trees: TokenTree) -> TokenTree:
    """Trees over one root token as one: equal paths stand once, in the order in which they come.

    Raises:
        ValueError: no tree, several roots in one, or different root tokens.
    """
    if not trees or any(tree.shape.roots != [0] for tree in trees) or len({int(tree.tokens[0]) for tree in trees}) > 1:
        raise ValueError("merge needs trees with one root each, and the same token there.")
    tokens, parents = [int(trees[0].tokens[0])], [-1]
    known: dict[tuple[int, int], int] = {}
    for tree in trees:
        place = [0] * len(tree)
        for node in range(1, len(tree)):
            key = (place[int(tree.parents[node])], int(tree.tokens[node]))
            if key not in known:
                known[key] = len(tokens)
                tokens.append(key[1])
                parents.append(key[0])
            place[node] = known[key]
    return TokenTree(tokens, parents)


def best(tree: TokenTree, values: Sequence[float] | np.ndarray, n_nodes: int) -> TokenTree:
    """The `n_nodes` nodes of largest value, roots always; a value may not pass its parent's, so it is a tree.

    Ties go to the earlier node. Only for guesses made without chance: to drop a SAMPLED child by its value would bias
    the output.

    Raises:
        ValueError: a value above its parent's.
    """
    values = np.asarray(values, dtype=np.float64)
    above = np.where(tree.parents >= 0, values[tree.parents], np.inf)
    if (values > above).any():
        raise ValueError("a node is worth more than its parent; need values that fall along every path (products do).")
    ranking = np.where(tree.parents < 0, np.inf, values)
    return tree.only(np.argsort(-ranking, kind="stable")[: max(n_nodes, len(tree.shape.roots))])


def best_ranks(acceptance: Sequence[float], n_nodes: int, *, max_depth: int = 16) -> Shape:
    """The template of `n_nodes` guesses below the root with the largest expected accepted length.

    Args:
        acceptance: probability that the child of rank r is the right one, falling with r; a path is worth the product.
        n_nodes: guesses, the root not counted.
        max_depth: longest path.
    """
    import heapq

    rates = [float(rate) for rate in acceptance]
    if any(later > earlier for earlier, later in pairwise(rates)):
        raise ValueError(f"acceptance {rates} rises with the rank; need the likeliest rank first. Sort it.")
    heap, paths = [(-rates[0], (0,))], []
    while heap and len(paths) < n_nodes:
        value, path = heapq.heappop(heap)
        paths.append(path)
        if path[-1] + 1 < len(rates):
            heapq.heappush(heap, (value / rates[path[-1]] * rates[path[-1] + 1], (*path[:-1], path[-1] + 1)))
        if len(path) < max_depth:
            heapq.heappush(heap, (value * rates[0], (*path, 0)))
    return Shape.from_ranks(paths)
