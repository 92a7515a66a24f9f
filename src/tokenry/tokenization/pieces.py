"""The distinct pieces of a text with their encodings: each pre-token is encoded once, however often it stands there."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tokenry.core.alphabets import METASPACE, from_byte_level
from tokenry.core.cutters import Cutter
from tokenry.core.hf_json import alphabet_of
from tokenry.core.splitting import script_of
from tokenry.core.vocab import Vocab
from tokenry.tokenization.tallies import SourceTally, distinct_pairs, ragged

# Axes: D documents, V vocabulary ids, W distinct pieces, N pieces in order of the text, P ids of the W pieces.

_FORGET_AT = 2_000_000
"""Distinct pieces kept; beyond, the table starts anew (its counts are already in the totals)."""

Piece = str | tuple[str]
"""A raw piece of text, or the finished pre-token (in a tuple) where only the library could cut."""


class _Interner(dict):
    """Key -> its position; a new key goes to the end."""

    def __missing__(self, key: Piece) -> int:
        self[key] = position = len(self)
        return position


class Sequences:
    """Documents as sequences of distinct keys, gathered until they are taken."""

    def __init__(self) -> None:
        self.positions = _Interner()
        self._pending: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, keys: Sequence[Piece]) -> None:
        """Append one document."""
        self._pending.extend(map(self.positions.__getitem__, keys))
        self._ends.append(len(self._pending))

    def keys_from(self, start: int) -> list[Piece]:
        """The distinct keys from position `start` on."""
        return list(islice(self.positions, start, None))

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N,) of everything gathered and the bounds (D + 1,) of its documents; the gathering starts anew."""
        taken = np.array(self._pending, np.int64), np.array([0, *self._ends], np.int64)
        self._pending, self._ends = [], []
        return taken


def sums(values_N: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sums of consecutive runs of values; an empty run sums to 0."""
    running = np.concatenate([[0], np.cumsum(values_N, dtype=np.int64)])
    return running[bounds[1:]] - running[bounds[:-1]]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The documents of one flush.

    Attributes:
        tokens_D: int64, number of tokens.
        bytes_D: int64, bytes of the pieces as the model sees them.
        spelled_D: bool, whether the tokens of every piece spell exactly that piece.
    """

    tokens_D: np.ndarray
    bytes_D: np.ndarray
    spelled_D: np.ndarray
    _order_N: np.ndarray
    _bounds: np.ndarray
    _ids_P: np.ndarray
    _starts_W: np.ndarray

    def ids(self, document: int) -> np.ndarray:
        """Token ids of one document."""
        order = self._order_N[self._bounds[document] : self._bounds[document + 1]]
        return np.concatenate([self._ids_P[self._starts_W[w] : self._starts_W[w + 1]] for w in order] or [_NO_IDS])


_NO_IDS = np.zeros(0, np.int64)


class PieceTable:
    """Distinct pieces of the documents so far, encoded; token counts and script totals over all of them."""

    def __init__(self, vocab: Vocab, by_source: SourceTally | None = None) -> None:
        self._by_source = by_source
        self._cutter = Cutter(vocab.spec)
        self._model = vocab.backend.model
        self._alphabet = alphabet_of(vocab.spec)
        self._lengths_V = vocab.byte_lengths
        self.tokens_V = np.zeros(vocab.size, np.int64)
        self.script_bytes: Counter[str] = Counter()
        self.script_tokens: Counter[str] = Counter()
        self._start_anew()

    def _start_anew(self) -> None:
        self._sequences = Sequences()
        self._ids_P = _NO_IDS
        self._lengths_W, self._bytes_W, self._scripts_W = _NO_IDS, _NO_IDS, _NO_IDS
        self._spelled_W = np.zeros(0, bool)
        self._scripts: dict[str, int] = {}

    def __len__(self) -> int:
        """Pieces waiting for `flush`."""
        return len(self._sequences)

    def add(self, text: str) -> None:
        """Take in one document; an empty one counts too."""
        [(pieces, is_raw)] = self._cutter.raw([text])
        self._sequences.add(pieces if is_raw else [(word,) for word in pieces])

    def flush(self, source_D: np.ndarray | None = None) -> Encoded:
        """Encode what is new and sum up the documents taken in since the last flush.

        `source_D` is the source of each, needed where tokens are counted by source.
        """
        self._learn(self._sequences.keys_from(len(self._lengths_W)))
        order_N, bounds = self._sequences.take()
        counts_W = np.bincount(order_N, minlength=len(self._lengths_W))
        self.tokens_V += _weighted(self._ids_P, np.repeat(counts_W, self._lengths_W), len(self.tokens_V))
        for totals, sizes_W in ((self.script_bytes, self._bytes_W), (self.script_tokens, self._lengths_W)):
            by_script = _weighted(self._scripts_W, counts_W * sizes_W, len(self._scripts))
            totals.update({name: int(n) for name, n in zip(self._scripts, by_script, strict=True) if n})
        starts_W = np.concatenate([[0], np.cumsum(self._lengths_W)])
        if self._by_source is not None:
            source_K, piece_K, n_K = distinct_pairs(np.repeat(source_D, np.diff(bounds)), order_N)
            rows, at = ragged(starts_W, piece_K)
            self._by_source.add_tokens(source_K[rows], self._ids_P[at], n_K[rows])
        encoded = Encoded(
            tokens_D=sums(self._lengths_W[order_N], bounds),
            bytes_D=sums(self._bytes_W[order_N], bounds),
            spelled_D=sums(~self._spelled_W[order_N], bounds) == 0,
            _order_N=order_N,
            _bounds=bounds,
            _ids_P=self._ids_P,
            _starts_W=starts_W,
        )
        if len(self._lengths_W) > _FORGET_AT:
            self._start_anew()
        return encoded

    def _learn(self, pieces: list[Piece]) -> None:
        """Encode new pieces with the library's own model."""
        if not pieces:
            return
        tokenize, ids, lengths, sizes, scripts = self._model.tokenize, [], [], [], []
        for piece, words in zip(pieces, self._finished(pieces), strict=True):
            found = [token.id for word in words for token in tokenize(word)]
            ids += found
            lengths.append(len(found))
            sizes.append(sum(map(self._n_bytes, words)))
            text = piece if isinstance(piece, str) else self._text(piece[0])
            scripts.append(self._scripts.setdefault(_main_script(text), len(self._scripts)))
        new_ids, new_lengths, new_sizes = (np.array(values, np.int64) for values in (ids, lengths, sizes))
        spelled = sums(self._lengths_V[new_ids], np.concatenate([[0], np.cumsum(new_lengths)]))
        self._ids_P = np.concatenate([self._ids_P, new_ids])
        self._lengths_W = np.concatenate([self._lengths_W, new_lengths])
        self._bytes_W = np.concatenate([self._bytes_W, new_sizes])
        self._scripts_W = np.concatenate([self._scripts_W, np.array(scripts, np.int64)])
        self._spelled_W = np.concatenate([self._spelled_W, spelled == new_sizes])

    def _finished(self, pieces: list[Piece]) -> list[list[str]]:
        """The pre-tokens of each piece."""
        raw = [piece for piece in pieces if isinstance(piece, str)]
        if self._cutter.finishes_one_to_one:
            done = iter([[word] for word in self._cutter.finish(raw)])
        else:
            done = (self._cutter.finish([piece]) for piece in raw)
        return [next(done) if isinstance(piece, str) else list(piece) for piece in pieces]

    def _n_bytes(self, word: str) -> int:
        if self._alphabet == "byte-level":
            return len(word)
        return len(word.replace(METASPACE, " ").encode()) if self._alphabet == "metaspace" else len(word.encode())

    def _text(self, word: str) -> str:
        return from_byte_level(word).decode("utf-8", "replace") if self._alphabet == "byte-level" else word


def _weighted(positions: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Integer sums of weights by position; float64 holds them exactly below 2**53."""
    return np.bincount(positions, weights=weights, minlength=size).astype(np.int64)


_ASCII_LETTER = re.compile("[A-Za-z]")


def _main_script(text: str) -> str:
    """The script most characters of a piece belong to; "Common" when it has no letters."""
    if text.isascii():
        return "Latin" if _ASCII_LETTER.search(text) else "Common"
    counts: dict[str, int] = {}
    for char in text:
        script = script_of(char)
        if script not in ("Common", "Inherited", "Unknown"):
            counts[script] = counts.get(script, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else "Common"
