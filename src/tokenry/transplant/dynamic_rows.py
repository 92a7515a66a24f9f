"""Rows for pieces that a vocabulary does not have: made when they are first met, and kept while they are in use.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 3.2.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.core.vocab import Vocab

# Axes: B texts, T pieces, P new pieces, D width.

MakeRows = Callable[[Sequence[bytes]], tuple[Tensor, Tensor | None]]
"""Bytes of pieces -> (input rows (P, D), output rows (P, D) or None where the maker has none)."""
CAPACITY = 5000


class RowCache:
    """The rows of recently used pieces, by their bytes.

    All misses of a call are made in one call of the maker. Rows of the running call are the last to go, so only a
    batch with more pieces than the cache holds drops some of its own (it still gets them all).

    Args:
        make: gives the rows of pieces; must depend on the bytes alone.
        capacity: rows to keep.

    Attributes:
        hits, misses, evictions: counted over all calls, by distinct piece and call.
        seconds: time spent in the maker.

    Raises:
        ValueError: a capacity below 1.
    """

    def __init__(self, make: MakeRows, *, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}; need room for at least 1 row. The paper keeps 5,000.")
        self.make, self.capacity = make, capacity
        self.hits = self.misses = self.evictions = 0
        self.seconds = 0.0
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, piece: bytes) -> bool:
        return piece in self._kept

    def rows(self, pieces: Sequence[bytes]) -> tuple[Tensor, Tensor | None]:
        """Rows of distinct pieces, in order.

        Raises:
            ValueError: the maker gave rows of the wrong shape, or rows that are not finite.
        """
        missing = [piece for piece in pieces if piece not in self._kept]
        self.hits, self.misses = self.hits + len(pieces) - len(missing), self.misses + len(missing)
        for piece in pieces:
            if piece in self._kept:
                self._kept.move_to_end(piece)
        if missing:
            started = time.perf_counter()
            made_PD, out_PD = self.make(missing)
            self.seconds += time.perf_counter() - started
            _check_rows(made_PD, out_PD, len(missing))
            for i, piece in enumerate(missing):
                self._kept[piece] = made_PD[i], None if out_PD is None else out_PD[i]
        found = [self._kept[piece] for piece in pieces]
        while len(self._kept) > self.capacity:
            self._kept.popitem(last=False)
            self.evictions += 1
        outputs = [out for _, out in found]
        rows_PD = torch.stack([row for row, _ in found])
        return rows_PD, None if any(out is None for out in outputs) else torch.stack(outputs)

    def clear(self) -> None:
        """Forget all rows; the counters stay."""
        self._kept.clear()

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that found their row; NaN before the first."""
        total = self.hits + self.misses
        return self.hits / total if total else float("nan")


def mean_of_pieces(model: nn.Module, vocab: Vocab) -> MakeRows:
    """The mean of the rows of the tokens that spell a piece, input and output: the baseline without any training.

    Args:
        model: a transformers model; its embedding is read at every call, as it is then.
        vocab: its tokenizer. What it cannot spell raises ValueError.
    """

    def make(pieces: Sequence[bytes]) -> tuple[Tensor, Tensor | None]:
        spelled = [vocab.decompose(piece) for piece in pieces]
        if not all(spelled):
            piece = pieces[[bool(ids) for ids in spelled].index(False)]
            raise ValueError(
                f"{vocab.name} cannot spell {piece!r}; need a vocabulary that reaches its own tokens. Is this the "
                "tokenizer of the model?"
            )
        table, head = model.get_input_embeddings(), model.get_output_embeddings()
        device = table.weight.device
        flat = torch.tensor([i for ids in spelled for i in ids], device=device)
        sizes = torch.tensor([len(ids) for ids in spelled], device=device)
        owner = torch.repeat_interleave(torch.arange(len(spelled), device=device), sizes)

        def mean(rows: Tensor) -> Tensor:
            sums = rows.new_zeros(len(spelled), rows.shape[1]).index_add(0, owner, rows)
            return sums / sizes[:, None].to(sums.dtype)

        # Through the module, not its matrix: some models scale what they look up (Gemma).
        return mean(table(flat)), None if head is None else mean(head.weight[flat])

    return make


class PieceRows:
    """The embedding of merged batches: the model's own rows where the vocabulary has the piece, made rows elsewhere.

    Args:
        model: a transformers model.
        vocab: its tokenizer.
        source: "pieces" (the mean of the rows of its tokens), or a maker (see `MakeRows`), as a hypernetwork is one.
        capacity: rows to keep.

    While gradients are recorded and the embedding trains, means of pieces are taken anew, so that it learns through
    them; and rows made from an embedding that has changed since are thrown away.
    """

    def __init__(
        self, model: nn.Module, vocab: Vocab, source: str | MakeRows = "pieces", *, capacity: int = CAPACITY
    ) -> None:
        if isinstance(source, str) and source != "pieces":
            raise ValueError(f"rows from {source!r} are not known; need 'pieces', or a function that makes rows.")
        self.model, self.vocab = model, vocab
        self.learns = source == "pieces"
        self.cache = RowCache(mean_of_pieces(model, vocab) if self.learns else source, capacity=capacity)
        self._made_of = self._state()

    def embed(self, pieces_BT: Tensor, new: Sequence[bytes]) -> Tensor:
        """Input vectors (B, T, D) of pieces, where numbers from the size of the vocabulary on point into `new`."""
        table, n_base = self.model.get_input_embeddings(), self.vocab.size
        is_new_BT = pieces_BT >= n_base
        vectors_BTD = table(pieces_BT.masked_fill(is_new_BT, 0))
        if not bool(is_new_BT.any()):
            return vectors_BTD
        used, places = torch.unique(pieces_BT[is_new_BT] - n_base, return_inverse=True)
        rows_PD = self._rows([new[i] for i in used.tolist()]).to(vectors_BTD)
        return vectors_BTD.masked_scatter(is_new_BT[..., None], rows_PD[places])

    def _rows(self, pieces: Sequence[bytes]) -> Tensor:
        weight = self.model.get_input_embeddings().weight
        if self.learns and torch.is_grad_enabled() and weight.requires_grad:
            return self.cache.make(pieces)[0]
        if self._state() != self._made_of:
            self.cache.clear()
            self._made_of = self._state()
        # Rows made under inference_mode could not be trained through later.
        with torch.inference_mode(False), torch.no_grad():
            return self.cache.rows(pieces)[0]

    def _state(self) -> tuple[int, int]:
        weight = self.model.get_input_embeddings().weight
        # A matrix made under inference_mode carries no version: it cannot be changed in place outside of it either.
        return weight.data_ptr(), 0 if weight.is_inference() else weight._version


def padded(rows: Sequence[np.ndarray], *, left: bool = False, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as one matrix (B, T), and its mask, padded on the right or on the left."""
    longest = max((len(row) for row in rows), default=0)
    out_BT = np.full((len(rows), longest), fill, np.int64)
    mask_BT = np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        out_BT[i, place], mask_BT[i, place] = row, 1
    return torch.from_numpy(out_BT), torch.from_numpy(mask_BT)


def _check_rows(made_PD: Tensor, out_PD: Tensor | None, n: int) -> None:
    for rows in (made_PD, out_PD):
        if rows is None:
            continue
        if rows.ndim != 2 or rows.shape[0] != n:
            raise ValueError(f"rows of shape {tuple(rows.shape)} were made for {n} pieces; need one row for each.")
        if not bool(torch.isfinite(rows).all()):
            raise ValueError("rows that are NaN or infinite were made; need finite ones. Look at the hypernetwork.")
