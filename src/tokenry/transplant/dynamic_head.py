"""A very large vocabulary for a decoder whose body stays: rows for a million tokens, and a neighbour search.

The vocabulary continues the model's own merges (`tokenization.extend`); text is cut by longest prefix; the rows of all
tokens are made once. At each step only the nearest output rows of the hidden state get exact logits.

An inner product is no distance: a frequent token with a long row may be far away by angle and still have the highest
logit. One more dimension, sqrt(M^2 - |row|^2) with M the longest norm, makes the order by distance that by logit.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 4. The added dimension
is from Bachrach et al., Speeding Up the Xbox Recommender System (RecSys 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tokenry.core.alphabets import from_byte_level, from_metaspace
from tokenry.core.cutters import Cutter
from tokenry.core.hf_json import alphabet_of
from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.transplant.dynamic_rows import MakeRows

# Axes: B hidden states, N tokens of the large vocabulary, K candidates, D width.

_CHUNK = 1 << 15
_SAMPLE = 40  # training points a list for k-means; faiss warns below 39


@dataclass(frozen=True, eq=False)
class LongestPrefix:
    """A vocabulary used by longest prefix instead of by merges: within each pre-token the longest entry comes first.

    Attributes:
        vocab: gives the entries and the pre-tokeniser.
    """

    vocab: Vocab

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens.

        Raises:
            ValueError: the entries cannot spell a part of it.
        """
        ids: list[int] = []
        for word in self._cutter(text):
            found = self._words.get(word)
            if found is None:
                data = self._bytes(word)
                found = self.vocab.trie.segment(data, greedy=True)
                if not found:
                    raise ValueError(
                        f"longest prefix gets stuck in {word!r}; need a vocabulary with all 256 bytes (byte-level, or "
                        "metaspace with byte fallback)."
                    )
                self._words[word] = found
            ids += found
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        return self.vocab.decode_bytes(ids).decode("utf-8", "replace")

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(self.vocab.spec)

    @cached_property
    def _words(self) -> dict[str, list[int]]:
        return {}

    def _bytes(self, word: str) -> bytes:
        kind = alphabet_of(self.vocab.spec)
        if kind == "byte-level":
            return from_byte_level(word)
        return from_metaspace(word) if kind == "metaspace" else word.encode()


class Neighbours:
    """The rows of a head, searched for those with the highest logit.

    Args:
        rows_ND: output rows, float32 numpy.
        bias_N: bias of the head, or None.
        kind: "exact" multiplies all rows; "ivf" looks into the nearest cells of a k-means partition whose vectors are
            kept in 8 bits a number (needs faiss), and orders what it finds by exact logits.
        cells: of the partition; None means 2 x sqrt(N), about the paper's 2,000 for a million.
        probes: cells to look into; None means an eighth of them (the paper: 250 of 2,000).
        reorder: neighbours taken from the index and given exact logits.
        seed: of the k-means sample.

    Raises:
        ValueError: an unknown kind, or rows that are not finite.
        ImportError: "ivf" without faiss.
    """

    def __init__(
        self,
        rows_ND: np.ndarray,
        bias_N: np.ndarray | None = None,
        *,
        kind: str = "ivf",
        cells: int | None = None,
        probes: int | None = None,
        reorder: int = 200,
        seed: int = 0,
    ) -> None:
        if kind not in ("exact", "ivf"):
            raise ValueError(f"kind {kind!r} is not known; need 'exact' or 'ivf'.")
        self.rows_ND = np.ascontiguousarray(rows_ND, np.float32)
        self.bias_N = None if bias_N is None else np.asarray(bias_N, np.float32)
        self.kind, self.reorder = kind, reorder
        norms_N = np.einsum("nd,nd->n", self.rows_ND, self.rows_ND)
        if self.bias_N is not None:
            norms_N = norms_N + self.bias_N**2
        if not np.isfinite(norms_N).all():
            raise ValueError("output rows hold NaN or infinite numbers; need finite ones. Look at what made them.")
        self._lift_N = np.sqrt(np.maximum(norms_N.max(initial=0.0) - norms_N, 0.0))
        if kind == "ivf":
            self._index = self._build(cells, probes, seed)

    def __len__(self) -> int:
        return len(self.rows_ND)

    def search(self, hidden_BD: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` candidates of each hidden state and their exact logits, highest first: (B, K) ids and logits.

        With "ivf" they are the best of what the index found; a place it could not fill has id -1 and logit -inf.
        """
        if not 1 <= k <= len(self):
            raise ValueError(f"k={k} candidates of {len(self)} tokens; need 1 <= k <= {len(self)}. Ask for fewer.")
        hidden_BD = np.ascontiguousarray(hidden_BD, np.float32)
        if self.kind == "exact":
            logits_BN = hidden_BD @ self.rows_ND.T
            logits_BN = logits_BN if self.bias_N is None else logits_BN + self.bias_N
            ids_BK = np.argpartition(-logits_BN, k - 1, axis=1)[:, :k]
            return _ordered(ids_BK, np.take_along_axis(logits_BN, ids_BK, 1), k)
        _, found_BK = self._index.search(self._lifted_query(hidden_BD), min(max(k, self.reorder), len(self)))
        rows = self.rows_ND[np.maximum(found_BK, 0)]
        logits_BK = np.einsum("bkd,bd->bk", rows, hidden_BD)
        if self.bias_N is not None:
            logits_BK = logits_BK + self.bias_N[np.maximum(found_BK, 0)]
        return _ordered(found_BK, np.where(found_BK >= 0, logits_BK, -np.inf), k)

    def lifted(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop with the bias and the dimension that makes distance follow the logit."""
        parts = [self.rows_ND[start:stop], self._lift_N[start:stop, None]]
        if self.bias_N is not None:
            parts.insert(1, self.bias_N[start:stop, None])
        return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)

    def _lifted_query(self, hidden_BD: np.ndarray) -> np.ndarray:
        tail = [np.zeros((len(hidden_BD), 1), np.float32)]
        if self.bias_N is not None:
            tail.insert(0, np.ones((len(hidden_BD), 1), np.float32))
        return np.ascontiguousarray(np.concatenate([hidden_BD, *tail], axis=1))

    def _build(self, cells: int | None, probes: int | None, seed: int) -> object:
        try:
            import faiss
        except ImportError:
            raise ImportError(
                "the neighbour search needs faiss, which is not installed. pip install 'tokenry[neighbours]' "
                "(or faiss-cpu), or search exactly: kind='exact'."
            ) from None
        n, width = len(self), self.lifted(0, 1).shape[1]
        cells = min(cells or max(1, round(2 * n**0.5)), n)
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(width), width, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2
        )
        index.own_fields = False
        self._coarse = index.quantizer  # kept alive beside the index
        index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = seed, 10, 1
        sample = np.random.default_rng(seed).permutation(n)[: min(n, max(_SAMPLE * cells, 256))]
        lifted = np.concatenate([self.rows_ND[sample], self._lift_N[sample, None]], axis=1)
        if self.bias_N is not None:
            lifted = np.insert(lifted, -1, self.bias_N[sample], axis=1)
        index.train(np.ascontiguousarray(lifted, np.float32))
        for start in range(0, n, _CHUNK):
            index.add(self.lifted(start, min(n, start + _CHUNK)))
        index.nprobe = probes or max(1, cells // 8)
        return index


def _ordered(ids_BK: np.ndarray, logits_BK: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k by logit, ties by id."""
    order = np.lexsort((ids_BK, -logits_BK), axis=1)[:, :k]
    return np.take_along_axis(ids_BK, order, 1).astype(np.int64), np.take_along_axis(logits_BK, order, 1)


@dataclass(frozen=True, eq=False)
class LargeVocabulary:
    """A model's vocabulary continued to many entries, with a row for each.

    Attributes:
        prefix: the encoder, and the vocabulary.
        rows_in: input rows (N, D).
        neighbours: output rows, searchable.
    """

    prefix: LongestPrefix
    rows_in: Tensor
    neighbours: Neighbours


def large_vocabulary(
    lm: LM, source: object, *, size: int, rows: str | MakeRows = "pieces", min_count: int = 2, **search: object
) -> LargeVocabulary:
    """Continue a model's own merges on text to `size` entries and make all their rows.

    With rows from pieces a new entry's logit is the mean of its pieces' logits, so some token of the model's own always
    has a higher one: greedy writing never takes a new entry, sampling sometimes does. A hypernetwork's rows may win.

    Args:
        lm: a decoder with a BPE tokenizer.
        source: the text, as for `tokenization.extend`.
        size: entries in all; fewer are made where the text has no more pairs.
        rows: "pieces" or a maker, as for `PieceRows`.
        min_count: a pair must occur so often in the text.
        search: options of `Neighbours`.
    """
    from tokenry.tokenization.extend import extend

    extension = extend(lm.vocab, source, size=size, min_count=min_count)
    n_old = lm.vocab.size
    table, head = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    with torch.no_grad():
        old = table(torch.arange(n_old, device=lm.device)), head.weight[:n_old]
        if rows == "pieces":
            made = tuple(_means(matrix, extension.pieces) for matrix in old)
        else:
            made = _made(rows, [extension.vocab.tokens[i] or b"" for i in range(n_old, extension.vocab.size)])
        both = [torch.cat([matrix.float().cpu(), new.float().cpu()]) for matrix, new in zip(old, made, strict=True)]
        bias = getattr(head, "bias", None)
        if bias is not None:
            # A new token's bias: the mean of its pieces', as its row.
            own = bias[:n_old, None].float().cpu()
            bias = torch.cat([own, _means(own, extension.pieces)])[:, 0].numpy()
    neighbours = Neighbours(both[1].numpy(), bias, **search)
    return LargeVocabulary(LongestPrefix(extension.vocab), both[0], neighbours)


def _means(matrix: Tensor, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Mean rows of lists of ids; zero for an empty list."""
    out = []
    for start in range(0, len(pieces), _CHUNK):
        part = pieces[start : start + _CHUNK]
        sizes = torch.tensor([len(ids) for ids in part])
        flat = torch.tensor([i for ids in part for i in ids], dtype=torch.long).to(matrix.device)
        owner = torch.repeat_interleave(torch.arange(len(part)), sizes).to(matrix.device)
        sums = matrix.new_zeros(len(part), matrix.shape[1]).index_add(0, owner, matrix[flat])
        out.append(sums / sizes.clamp(min=1)[:, None].to(sums))
    return torch.cat(out) if out else matrix[:0]


def _made(make: MakeRows, pieces: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    parts = [make(pieces[start : start + _CHUNK]) for start in range(0, len(pieces), _CHUNK)]
    if any(out is None for _, out in parts):
        raise ValueError("the maker gives no output rows, and a head needs them. Take rows='pieces', or another maker.")
    return torch.cat([rows for rows, _ in parts]), torch.cat([rows for _, rows in parts])
