"""Words of documents, found and encoded once for each distinct chunk between spaces.

Papers: How Good is Your Tokenizer? On the Monolingual Performance of Multilingual Language Models (arXiv 2012.15613).
"""

import numpy as np

from tokenry.core.splitting import spaced_words
from tokenry.core.vocab import Vocab
from tokenry.tokenization.pieces import Sequences, sums
from tokenry.tokenization.tallies import SourceTally, distinct_pairs, ragged

# Axes: D documents, C distinct chunks between spaces, W distinct words, F words of the distinct chunks, N in order.

_FORGET_AT = 2_000_000
"""Distinct words kept; beyond, the table starts anew."""
_BATCH = 1024
_ANCHOR = "\n"
"""Words are encoded behind a line break: there a leading space is an ordinary one, and no dummy space is added."""


class WordTable:
    """Words of documents, found and encoded once for each distinct chunk between spaces."""

    def __init__(self, vocab: Vocab, by_source: SourceTally | None = None) -> None:
        self._vocab, self._by_source = vocab, by_source
        self._start_anew()

    def _start_anew(self) -> None:
        self._chunks, self._forms = Sequences(), Sequences()
        self._lengths_W = np.zeros(0, np.int64)
        self._totals_C3 = np.zeros((0, 3), np.int64)
        self._words_F, self._starts_C = np.zeros(0, np.int64), np.zeros(1, np.int64)

    def add(self, text: str) -> None:
        """Take in one document. No word holds white space, so words are found chunk by chunk."""
        keys: list[str] = []
        for line in text.split("\n"):
            first, *others = line.split(" ")
            # The line break in front keeps apart a chunk that no space precedes.
            keys.append("\n" + first)
            keys += others
        self._chunks.add(keys)

    def flush(self, source_D: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words, tokens of words and one-token words of each document since the last flush, each (D,)."""
        self._learn(self._chunks.keys_from(len(self._totals_C3)))
        order_N, bounds = self._chunks.take()
        if len(bounds) == 1:
            return (np.zeros(len(source_D), np.int64),) * 3
        n_words, n_tokens, n_whole = (sums(column_C[order_N], bounds) for column_C in self._totals_C3.T)
        if self._by_source is not None:
            self._tell_sources(order_N, np.repeat(source_D, np.diff(bounds)))
        if len(self._totals_C3) > _FORGET_AT:
            self._start_anew()
        return n_words, n_tokens, n_whole

    def _tell_sources(self, chunk_N: np.ndarray, source_N: np.ndarray) -> None:
        """Add how often each word stands in each source."""
        source_K, chunk_K, n_K = distinct_pairs(source_N, chunk_N)
        rows, at = ragged(self._starts_C, chunk_K)
        source_K, word_K, n_K = distinct_pairs(source_K[rows], self._words_F[at], n_K[rows])
        forms = self._forms.keys_from(0)
        words = [forms[w] for w in word_K.tolist()]
        self._by_source.add_words(source_K, words, n_K=n_K, lengths_K=self._lengths_W[word_K])

    def _learn(self, chunks: list[str]) -> None:
        for chunk in chunks:
            self._forms.add(spaced_words(chunk if chunk.startswith("\n") else " " + chunk))
        new = encode_words(self._vocab, self._forms.keys_from(len(self._lengths_W)))
        self._lengths_W = np.concatenate([self._lengths_W, np.array(list(map(len, new)), np.int64)])
        order_N, bounds = self._forms.take()
        lengths_N = self._lengths_W[order_N]
        if self._by_source is not None:
            self._starts_C = np.concatenate([self._starts_C, bounds[1:] + len(self._words_F)])
            self._words_F = np.concatenate([self._words_F, order_N])
        columns = [np.diff(bounds), sums(lengths_N, bounds), sums(lengths_N == 1, bounds)]
        self._totals_C3 = np.concatenate([self._totals_C3, np.stack(columns, axis=1)])


def encode_words(vocab: Vocab, words: list[str]) -> list[list[int]]:
    """Ids of words as they stand inside a text: " dog" behind a space, "dog" behind anything else.

    Encoded alone, a word would get the dummy space of a sentencepiece tokenizer, or lose its own.
    """
    encode = vocab.backend.encode_batch_fast
    anchor = encode([_ANCHOR], add_special_tokens=False)[0].ids
    n, found = len(anchor), []
    for start in range(0, len(words), _BATCH):
        batch = encode([_ANCHOR + word for word in words[start : start + _BATCH]], add_special_tokens=False)
        found += [encoding.ids for encoding in batch]
    for i, ids in enumerate(found):
        joined = ids[:n] != anchor
        found[i] = encode([words[i]], add_special_tokens=False)[0].ids if joined else ids[n:]
    return found
