"""A trie over byte strings in flat arrays: longest match, everything that starts here, everything below a prefix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ByteTrie:
    """Byte strings sorted once, with the trie above them in compressed rows. Build it with `ByteTrie.build`.

    Node 0 is the root; the children of node n are rows child_start[n]..child_start[n+1], sorted by label.

    Attributes:
        child_start: int64 (nodes + 1,).
        labels: uint8 (nodes - 1,), the byte on the edge.
        children: int32 (nodes - 1,), the node below the edge.
        values: int32 (nodes,), id of the string that ends at the node, -1 when none does.
        order: int32 (strings,), ids sorted by their bytes (then by preference).
        strings: the sorted byte strings, aligned with `order`.
    """

    child_start: np.ndarray
    labels: np.ndarray
    children: np.ndarray
    values: np.ndarray
    order: np.ndarray
    strings: tuple[bytes, ...]

    @classmethod
    def build(cls, tokens: Sequence[bytes | None], *, preference: Sequence[int] | None = None) -> "ByteTrie":
        """Build from id -> bytes.

        Args:
            tokens: byte strings by id; None and the empty string are left out.
            preference: among ids with the same bytes the one with the smallest value here is found, then the lowest.
        """
        from tokenry.core.trie_kernels import build_nodes

        rank = preference if preference is not None else (0,) * len(tokens)
        keys = sorted((token, rank[i], i) for i, token in enumerate(tokens) if token)
        strings = tuple(key[0] for key in keys)
        order = np.fromiter((key[2] for key in keys), np.int32, len(keys))
        offsets = np.zeros(len(keys) + 1, np.int64)
        np.cumsum([len(string) for string in strings], out=offsets[1:])
        data = np.frombuffer(b"".join(strings), np.uint8)
        return cls(*build_nodes(data, offsets, order), order, strings)

    def __len__(self) -> int:
        return len(self.strings)

    def longest_match(self, data: bytes, start: int = 0) -> tuple[int, int]:
        """(id, length) of the longest string that `data` holds at `start`; (-1, 0) when there is none."""
        found = self.covers(data, start)
        return found[-1] if found else (-1, 0)

    def covers(self, data: bytes, start: int = 0) -> list[tuple[int, int]]:
        """(id, length) of every string that `data` holds at `start`, shortest first."""
        from tokenry.core.trie_kernels import matches_at

        if not 0 <= start <= len(data):
            raise ValueError(f"start={start} is outside the data; need 0 <= start <= {len(data)}.")
        ids, lengths = matches_at(*self._arrays, np.frombuffer(data, np.uint8), start)
        return list(zip(ids.tolist(), lengths.tolist(), strict=True))

    def prefix_range(self, prefix: bytes) -> np.ndarray:
        """Every id whose bytes begin with `prefix` (all of them for b""), int32, in the order of their bytes."""
        from bisect import bisect_left

        low = bisect_left(self.strings, prefix)
        end = _successor(prefix)
        high = len(self.strings) if end is None else bisect_left(self.strings, end, low)
        return self.order[low:high]

    def segment(self, data: bytes, *, greedy: bool = False) -> list[int]:
        """Cut `data` into strings of the trie: the fewest pieces (ties: longer pieces first), or greedily the longest.

        Returns an empty list when the strings cannot spell `data`, and for empty data.
        """
        from tokenry.core.trie_kernels import fewest_pieces, greedy_pieces

        kernel = greedy_pieces if greedy else fewest_pieces
        return kernel(*self._arrays, np.frombuffer(data, np.uint8)).tolist()

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.child_start, self.labels, self.children, self.values


def _successor(prefix: bytes) -> bytes | None:
    """The smallest byte string greater than everything that begins with `prefix`; None when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def check_trie(trie: ByteTrie, tokens: Sequence[bytes | None], data: bytes) -> None:
    """The laws of a trie: what it finds is there, it finds all of it, and a segmentation spells the data."""
    present = {token for token in tokens if token}
    assert sorted(trie.order.tolist()) == [i for i, token in enumerate(tokens) if token]
    for start in range(len(data) + 1):
        found = trie.covers(data, start)
        assert all(tokens[i] == data[start : start + length] for i, length in found)
        expected = [n for n in range(1, len(data) - start + 1) if data[start : start + n] in present]
        assert [length for _, length in found] == expected
        assert trie.longest_match(data, start) == (found[-1] if found else (-1, 0))
        prefix = data[start : start + 2]
        below = {i for i, token in enumerate(tokens) if token and token.startswith(prefix)}
        assert set(trie.prefix_range(prefix).tolist()) == below
    for greedy in (False, True):
        pieces = trie.segment(data, greedy=greedy)
        assert not pieces or b"".join(tokens[i] for i in pieces) == data
