"""Tokens sorted by their bytes: what begins with the same bytes is one range, and sums over ranges are exact.

Two ids may spell the same bytes (byte-fallback pieces repeat ASCII); each keeps its own place.
"""

# Axes: S sorted tokens, V ids, C children of a node.

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tokenry.core.vocab import Vocab

END = 256
"""Where the end of the text stands in a law over 257 outcomes."""


class Node(NamedTuple):
    """The sorted tokens `low`..`high` that share their first `depth` bytes: a node of the trie over the vocabulary."""

    low: int
    high: int
    depth: int


@dataclass(frozen=True)
class Children:
    """What lies below a node.

    Attributes:
        n_whole: tokens that end at the node itself; they are the first of its range.
        bytes_C: next bytes, ascending.
        starts_C: first place of each child's range, relative to the node's first child.
        nodes: byte -> the node below.
    """

    n_whole: int
    bytes_C: np.ndarray
    starts_C: np.ndarray
    nodes: dict[int, Node]


class SortedTokens:
    """The ordinary tokens of a vocabulary in the order of their bytes.

    Attributes:
        ids_S: id at each place.
        strings: bytes at each place.
        root: the node of all tokens.
        longest: bytes of the longest token.
    """

    def __init__(self, vocab: Vocab) -> None:
        trie = vocab.trie
        self.ids_S = trie.order.astype(np.int64)
        self.strings = trie.strings
        self.lengths_S = np.fromiter(map(len, self.strings), np.int64, len(self.strings))
        self.longest = int(self.lengths_S.max(initial=0))
        self.root = Node(0, len(self.strings), 0)
        if not self.strings:
            raise ValueError(f"{vocab.name} has no token that spells bytes; need an ordinary tokenizer.")
        self._data = np.frombuffer(b"".join(self.strings) + b"\0", np.uint8)
        self._offsets = np.zeros(len(self.strings) + 1, np.int64)
        np.cumsum(self.lengths_S, out=self._offsets[1:])
        self.children = lru_cache(maxsize=1 << 16)(self._children)

    def __len__(self) -> int:
        return len(self.strings)

    def node(self, prefix: bytes) -> Node | None:
        """The node of all tokens that begin with `prefix`; None where there is none."""
        node: Node | None = self.root
        for byte in prefix:
            node = None if node is None else self.children(node).nodes.get(byte)
        return node

    def below(self, node: Node, byte: int) -> Node | None:
        """The child of a node for a byte."""
        if node.high - node.low == 1:  # most nodes deep down hold one token
            string = self.strings[node.low]
            return Node(*node[:2], node.depth + 1) if len(string) > node.depth and string[node.depth] == byte else None
        return self.children(node).nodes.get(byte)

    def whole(self, node: Node) -> range:
        """Places of the tokens whose bytes end at the node."""
        if node.high - node.low == 1:
            return range(node.low, node.low + (len(self.strings[node.low]) == node.depth))
        return range(node.low, node.low + self.children(node).n_whole)

    def masses(self, q_S: np.ndarray, node: Node, *, out: np.ndarray, scale: float = 1.0) -> None:
        """Add scale x (sum of `q_S` below each next byte) to `out` (257,); sums only, nothing is subtracted."""
        if node.high - node.low == 1:
            string = self.strings[node.low]
            if len(string) > node.depth:
                out[string[node.depth]] += scale * q_S[node.low]
            return
        found = self.children(node)
        if len(found.bytes_C):
            values_S = q_S[node.low + found.n_whole : node.high]
            out[found.bytes_C] += scale * np.add.reduceat(values_S, found.starts_C)

    def _children(self, node: Node) -> Children:
        low, high, depth = node
        # Sorted order puts what ends here before everything longer.
        n_whole = int(np.searchsorted(self.lengths_S[low:high] > depth, True))
        first = low + n_whole
        labels_S = self._data[self._offsets[first:high] + depth]
        starts_C = np.flatnonzero(np.r_[True, labels_S[1:] != labels_S[:-1]]) if len(labels_S) else np.zeros(0, int)
        bytes_C = labels_S[starts_C].astype(np.int64)
        edges = [*(starts_C + first).tolist(), high]
        nodes = {int(b): Node(edges[i], edges[i + 1], depth + 1) for i, b in enumerate(bytes_C)}
        return Children(n_whole, bytes_C, starts_C, nodes)
