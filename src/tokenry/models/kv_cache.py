"""A key-value cache that appends in place, forks without copying and keeps chosen rows, for any stock causal model.

The library's own dynamic cache concatenates, so every step copies everything cached. Here a layer owns a buffer with
room to spare: a step writes only its own rows. What copies remain: the buffer moves when it is full (half as large
again each time, so a constant per token in the long run), and a fork copies its layers once, at its first write that
would touch rows another fork can see.
"""

# Axes: B rows, H key-value heads, T positions, D width of a head.

import weakref

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

SPARE_ROWS = 256
"""Room beside what is needed when a buffer is first made."""


class _Buffer:
    """Keys and values with room to spare; `claimed` rows were written by one of the layers that look into it."""

    def __init__(self, keys: Tensor, values: Tensor, claimed: int) -> None:
        self.keys, self.values, self.claimed = keys, values, claimed
        self.users: weakref.WeakSet = weakref.WeakSet()


class GrowingLayer(DynamicLayer):
    """One layer of `GrowingCache`; `keys` and `values` are views of its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.buffer: _Buffer | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append rows (B, H, T, D) and return all."""
        start, stop = self.length, self.length + key_states.shape[-2]
        if self.buffer is None:
            self.device, self.dtype, self.is_initialized = key_states.device, key_states.dtype, True
        self._make_room(start, stop, like=(key_states, value_states))
        self.buffer.keys[..., start:stop, :] = key_states
        self.buffer.values[..., start:stop, :] = value_states
        self._show(stop)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Rows cached."""
        return self.length

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last rows (the library counts them by a negative number); nothing is copied."""
        if self.buffer is not None and tokens_to_remove:
            self._show(max(0, self.length - abs(tokens_to_remove)))

    @torch.inference_mode()
    def keep(self, start: int, rows: Tensor | None, n_rows: int) -> None:
        """Keep, of the rows from `start` on, those at `start + rows` in this order; None means the first `n_rows`."""
        if self.buffer is None:
            return
        if rows is not None and n_rows:
            keys = self.buffer.keys[..., start + rows, :]
            values = self.buffer.values[..., start + rows, :]
            self._make_room(start, start + n_rows, like=(keys, values))
            self.buffer.keys[..., start : start + n_rows, :] = keys
            self.buffer.values[..., start : start + n_rows, :] = values
        self._show(start + n_rows)

    def fork(self) -> "GrowingLayer":
        """The same rows, seen by another layer; copied only when one of the two writes over what the other sees."""
        other = GrowingLayer()
        if self.buffer is not None:
            other.device, other.dtype, other.is_initialized = self.device, self.dtype, True
            other.buffer = self.buffer
            other.buffer.users.add(other)
            other._show(self.length)
        return other

    @torch.inference_mode()
    def select(self, rows_B: Tensor) -> None:
        """Make rows of the batch anew from the given ones; copies."""
        if self.buffer is not None:
            keys, values = self.keys.index_select(0, rows_B), self.values.index_select(0, rows_B)
            self._own(_Buffer(keys, values, self.length))
            self._show(self.length)

    def _make_room(self, start: int, stop: int, *, like: tuple[Tensor, Tensor]) -> None:
        """After this, rows start..stop of the buffer may be written by this layer."""
        buffer = self.buffer
        fits = buffer is not None and stop <= buffer.keys.shape[-2]
        if fits and (start >= buffer.claimed or len(buffer.users) == 1):
            buffer.claimed = stop
            return
        size = stop + max(SPARE_ROWS, stop // 2)
        fresh = [part.new_empty((*part.shape[:-2], size, part.shape[-1])) for part in like]
        if buffer is not None:
            fresh[0][..., :start, :] = buffer.keys[..., :start, :]
            fresh[1][..., :start, :] = buffer.values[..., :start, :]
        self._own(_Buffer(*fresh, stop))

    def _own(self, buffer: _Buffer) -> None:
        if self.buffer is not None:
            self.buffer.users.discard(self)
        self.buffer = buffer
        buffer.users.add(self)

    def _show(self, length: int) -> None:
        self.length = length
        self.keys, self.values = self.buffer.keys[..., :length, :], self.buffer.values[..., :length, :]


class GrowingCache(Cache):
    """The cache of a Session: `GrowingLayer` for every layer, full length also where attention slides (a tree needs the
    window in its mask, and truncated keys could not be rolled back)."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)

    def fork(self) -> "GrowingCache":
        """A cache with the same rows; see `GrowingLayer.fork`."""
        other = GrowingCache()
        other.layers = [layer.fork() for layer in self.layers]
        return other

    def keep(self, start: int, path: list[int]) -> None:
        """Of the rows from `start` on, keep those of `path`, in order, and drop the others."""
        in_place = path == list(range(len(path)))
        device = next((layer.device for layer in self.layers if layer.is_initialized), torch.device("cpu"))
        rows = None if in_place else torch.tensor(path, device=device)
        for layer in self.layers:
            layer.keep(start, rows if rows is None else rows.to(layer.device), len(path))

    def select(self, rows_B: Tensor) -> None:
        """Make the batch anew from the given rows."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.select(rows_B.to(layer.device))
