"""Vectors for strings without an encoder: the model's own rows, or counts over your text.

They say which tokens mean the like where two vocabularies share none, and need weights of no other model.

Papers: TokenAdapt (arXiv 2505.09738); fastText's words as bags of their parts (arXiv 1607.04606) for counts.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tokenry.core.vocab import Kind, Vocab
from tokenry.models.encoders import Encode

SHORTEST, LONGEST = 3, 5
"""Parts of words that have a vector in `counted_encoder`, in characters, the marks of word borders included."""


def row_encoder(vocab: Vocab, rows: np.ndarray) -> Encode:
    """The offline encoder: a string is the mean of the model's own rows of its pieces, less the mean row.

    Rows of most models share one long direction, which would make every cosine near 1; it is taken off.
    """
    ordinary = np.flatnonzero(vocab.kinds == Kind.NORMAL)
    centre = rows[ordinary].mean(axis=0, dtype=np.float64) if ordinary.size else 0.0

    def encode(strings: list[str]) -> np.ndarray:
        out = np.zeros((len(strings), rows.shape[1]))
        for n, string in enumerate(strings):
            if ids := vocab.decompose(string.encode()):
                out[n] = rows[ids].mean(axis=0, dtype=np.float64) - centre
        return out

    return encode


def counted_encoder(texts: Iterable[str], *, width: int = 100, min_count: int = 3, seed: int = 0) -> Encode:
    """An encoder counted on your text: vectors of words from their company, of other strings from their parts.

    A word that occurs often enough has its own vector (see word_vectors.word_vectors) beside those of its parts of 3
    to 5 characters; the vector of a part is the mean of the words it occurs in, by their counts. A string is the mean
    over its words. What holds no known part has a vector of zeros.

    Raises:
        ValueError: when fewer than two words occur `min_count` times.

    Paper: words as bags of their parts, arXiv 1607.04606, here from counts instead of training.
    """
    from tokenry.transplant.word_vectors import word_vectors

    known = word_vectors(texts, width=width, min_count=min_count, seed=seed)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(known.matrix.shape[1]))
    mass: dict[str, float] = defaultdict(float)
    for word, row, count in zip(known.words, known.matrix.astype(np.float64), known.counts, strict=True):
        for part in set(word_parts(word, starts=True, ends=True)):
            sums[part] += count * row
            mass[part] += count

    def vector(string: str) -> np.ndarray:
        found = []
        for n, word in enumerate(words := string.split()):
            if word in known.index:
                found.append(known.matrix[known.index[word]].astype(np.float64))
            starts, ends = n > 0 or string[:1].isspace(), n < len(words) - 1
            parts = [sums[p] / mass[p] for p in word_parts(word, starts=starts, ends=ends) if p in mass]
            if parts:
                found.append(np.mean(parts, axis=0))
        return np.mean(found, axis=0) if found else np.zeros(known.matrix.shape[1])

    return lambda strings: np.stack([vector(string) for string in strings])


def word_parts(word: str, *, starts: bool, ends: bool) -> list[str]:
    """Runs of 3 to 5 characters of a word; "<" marks its start and ">" its end where those are known."""
    marked = "<" * starts + word + ">" * ends
    return [marked[i : i + n] for n in range(SHORTEST, LONGEST + 1) for i in range(len(marked) - n + 1)]
