"""Side counts of an audit: tokens and words of each source apart, and a small random sample of the documents."""

import random
from collections import Counter

import numpy as np

# Axes: S sources, V vocabulary ids, K distinct pairs, N in order.

_SAMPLE, _SAMPLE_CHARACTERS = 1_000, 4_000
_MOST_PENDING = 4_000_000
_MOST_WORDS = 200_000
"""Words kept of a source; beyond, the rarer half is forgotten."""


def distinct_pairs(
    first_N: np.ndarray, second_N: np.ndarray, weights_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct pairs of two non-negative columns, with how often (or with which weight) each occurs."""
    width = int(second_N.max(initial=0)) + 1
    keys_N = first_N.astype(np.int64) * width + second_N
    keys_K, inverse_N = np.unique(keys_N, return_inverse=True)
    n_K = np.bincount(inverse_N, weights=weights_N, minlength=len(keys_K)).astype(np.int64)
    return keys_K // width, keys_K % width, n_K


def ragged(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the elements of some rows of a ragged array, each with the place of its row in `rows`.

    Args:
        starts: where each row begins, and the end of the last.
        rows: which rows.
    """
    lengths = starts[rows + 1] - starts[rows]
    place = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return place, starts[rows][place] + within


class SourceTally:
    """Tokens and words of each source, exact while a source has at most 200,000 distinct words."""

    def __init__(self) -> None:
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_pending = 0
        self._words: dict[int, Counter[str]] = {}
        self._lengths: dict[str, int] = {}
        self._is_exact = True

    def add_tokens(self, source_N: np.ndarray, id_N: np.ndarray, n_N: np.ndarray | None = None) -> None:
        """Count ids of sources, each once or `n_N` times."""
        self._pending.append((source_N, id_N, np.ones(len(id_N), np.int64) if n_N is None else n_N))
        self._n_pending += len(id_N)
        if self._n_pending > _MOST_PENDING:
            self._settle()

    def add_words(self, source_K: np.ndarray, words: list[str], *, n_K: np.ndarray, lengths_K: np.ndarray) -> None:
        """Count words, spelled with the space before them where there was one, of known lengths in tokens."""
        for source, word, n, length in zip(source_K.tolist(), words, n_K.tolist(), lengths_K.tolist(), strict=True):
            bare = word.removeprefix(" ")
            self._words.setdefault(source, Counter())[bare] += n
            # A word belongs behind a space; its other spelling counts only where that one never occurs.
            if word != bare or bare not in self._lengths:
                self._lengths[bare] = length
        for counter in self._words.values():
            if len(counter) > _MOST_WORDS:
                self._is_exact = False
                for word, _ in counter.most_common()[_MOST_WORDS // 2 :]:
                    del counter[word]

    def _settle(self) -> None:
        if len(self._pending) > 1:
            self._pending = [distinct_pairs(*(np.concatenate(column) for column in zip(*self._pending, strict=True)))]
        self._n_pending = 0

    def tokens(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sources, ids and counts of all pairs that occur, each (K,), sorted by source and id."""
        if not self._pending:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing
        return distinct_pairs(*(np.concatenate(column) for column in zip(*self._pending, strict=True)))

    def words(self, source: int, *, most: int | None = None) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The words of a source, most frequent first (ties by spelling): words, counts, tokens behind a space."""
        ordered = sorted(self._words.get(source, {}).items(), key=lambda item: (-item[1], item[0]))[:most]
        names = [word for word, _ in ordered]
        return names, np.array([n for _, n in ordered], np.int64), np.array([self._lengths[w] for w in names], np.int64)

    @property
    def is_exact(self) -> bool:
        """Whether no rare word has been forgotten."""
        return self._is_exact


class Reservoir:
    """Up to 1,000 (source, text) pairs, every document as likely as any other; long texts are cut."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self._n = 0
        self._rng = random.Random(0)

    def add(self, text: str, source: str) -> None:
        """Offer one document."""
        self._n += 1
        if len(self.kept) < _SAMPLE:
            self.kept.append((source, text[:_SAMPLE_CHARACTERS]))
        elif (place := self._rng.randrange(self._n)) < _SAMPLE:
            self.kept[place] = (source, text[:_SAMPLE_CHARACTERS])
