"""Counts of many distinct strings in flat arrays: about 35 bytes a string instead of 350 in a dictionary."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


class StringCounts:
    """Counts of distinct strings in flat arrays."""

    def __init__(self) -> None:
        self._held = (np.empty(1024, np.uint8), np.zeros(1025, np.int64), np.zeros(1024, np.uint64),
                      np.zeros(1024, np.int64), 0)  # fmt: skip
        self._small: np.ndarray | None = None

    def add(self, words: Sequence[str], counts: np.ndarray) -> None:
        text = "".join(words)
        data = np.frombuffer(text.encode("utf-8"), np.uint8)
        sizes = (
            map(len, words) if len(data) == len(text) else (len(w) if w.isascii() else len(w.encode()) for w in words)
        )
        self.add_data(data, np.cumsum(np.fromiter(sizes, np.int64, len(words))), counts)

    def add_data(self, data: np.ndarray, ends: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of strings: uint8, the strings end to end in UTF-8, and int64, where each ends."""
        from tokenry.core.tally_kernels import add_strings

        self._held = add_strings(*self._held, data, ends, _plain(counts))

    def add_pieces(self, data: np.ndarray, ends: np.ndarray) -> None:
        """Add one of each piece: uint8, the pieces end to end in UTF-8, and int64, where each ends."""
        from tokenry.core.tally_kernels import SMALL, add_pieces

        if self._small is None:
            self._small = np.zeros(SMALL, np.uint64)
        self._held = add_pieces(*self._held, self._small, data, ends)

    def add_arrays(self, words: pa.Array, counts: np.ndarray) -> None:
        """Add counts of the strings of a large_string array, as `arrays` gives them."""
        _, offsets, data = words.buffers()
        starts = np.frombuffer(offsets, np.int64)[words.offset : words.offset + len(words) + 1]
        pool = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]] if len(words) and data else np.zeros(0, np.uint8)
        self.add_data(pool, starts[1:] - starts[0], counts)

    def __len__(self) -> int:
        return self._drained()[4]

    def arrays(self) -> tuple[pa.Array, np.ndarray]:
        """The strings, and int64 counts."""
        pool, starts, _, totals, n = self._drained()
        buffers = [None, pa.py_buffer(starts[: n + 1]), pa.py_buffer(pool[: starts[n]])]
        return pa.Array.from_buffers(pa.large_string(), n, buffers), totals[:n]

    def _drained(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        if self._small is not None:
            from tokenry.core.tally_kernels import drain

            self._held, self._small = drain(*self._held, self._small), None
        return self._held


def _plain(counts: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(counts, np.int64)
