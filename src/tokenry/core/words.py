"""Many words in one Arrow array, which a table of words reads as a list."""

import operator
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 1 << 16
"""Words that are Python strings at once."""


class Words(Sequence):
    """Many words in one Arrow array: a read-only list that takes a fifth of the memory."""

    def __init__(self, array: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        self.array = array if isinstance(array, pa.Array) else pa.array(array, pa.large_string())

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                return self.array.slice(start, max(stop - start, 0)).to_pylist()
            return self.array.take(pa.array(range(start, stop, step), pa.int64())).to_pylist()
        return self.array[range(len(self))[place]].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.array), _ROWS):
            yield from self.array.slice(start, _ROWS).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Words):
            return self.array.equals(other.array)
        return isinstance(other, (list, tuple)) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None

    def __repr__(self) -> str:
        return f"Words({len(self):,}: {', '.join(map(repr, self[:5]))}{', ...' if len(self) > 5 else ''})"

    def lengths(self) -> np.ndarray:
        """int64 (W,), characters of each word."""
        return pc.utf8_length(self.array).to_numpy().astype(np.int64, copy=False)

    def joined(self) -> str:
        """All words end to end."""
        return "".join("".join(self.array.slice(start, _ROWS).to_pylist()) for start in range(0, len(self), _ROWS))
