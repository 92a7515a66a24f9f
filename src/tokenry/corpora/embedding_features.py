"""Vectors for texts where no encoder is at hand: words weighed by how rare they are, brought down to a few directions.

Latent semantic analysis. It knows words, not meaning: enough to tell languages, programming languages and topics apart,
not enough to find a paraphrase.

Papers: Indexing by Latent Semantic Analysis (Deerwester et al., 1990); A statistical interpretation of term specificity
(Spärck Jones, 1972), for the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint

__all__ = ["WordVectors", "fit"]

# Axes: N texts, F features (different words), D width.

_BATCH = 4096
_UNSPACED = 24  # characters a word from which on a text counts as written without spaces


@dataclass(frozen=True)
class WordVectors:
    """A function from texts to vectors of length 1 (of zeros, for a text without a known word).

    Attributes:
        features_F: uint64, sorted hashes of the words that count.
        idf_F: weight of each.
        components_FD: float32, what a word adds to the vector.
    """

    features_F: np.ndarray
    idf_F: np.ndarray
    components_FD: np.ndarray

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 (n, D)."""
        out_ND = np.zeros((len(texts), self.components_FD.shape[1]), np.float32)
        for start in range(0, len(texts), _BATCH):
            weights_NF = _weighed(_counts(texts[start : start + _BATCH], self.features_F), self.idf_F)
            rows_ND = np.asarray(weights_NF @ self.components_FD, np.float64)
            lengths_N = np.linalg.norm(rows_ND, axis=1, keepdims=True)
            out_ND[start : start + _BATCH] = rows_ND / np.where(lengths_N > 0, lengths_N, 1)
        return out_ND

    @property
    def key(self) -> str:
        """Fingerprint of the content."""
        return fingerprint("word vectors", 1, self.features_F, self.idf_F, self.components_FD)

    def save(self, path: str | Path) -> None:
        """Write one .npz file."""
        from tokenry.core.runs import atomic_path

        with atomic_path(path) as part, open(part, "wb") as file:
            np.savez(file, features=self.features_F, idf=self.idf_F, components=self.components_FD)

    @classmethod
    def load(cls, path: str | Path) -> "WordVectors":
        """Open what `save` wrote; nothing in it is run.

        Raises:
            FileNotFoundError: no such file. ValueError: it is none of ours.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no word vectors at {path}. Give the .npz that was written with the domains.")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                made = cls(arrays["features"], arrays["idf"], arrays["components"])
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise ValueError(f"{path} holds no word vectors ({error}). Make them again.") from error
        n = len(made.features_F)
        if made.features_F.dtype != np.uint64 or made.idf_F.shape != (n,) or made.components_FD.shape[:1] != (n,):
            raise ValueError(f"{path} holds arrays that do not fit each other. Make the word vectors again.")
        return made


def fit(
    texts: Sequence[str], dim: int = 128, seed: int = 0, *, max_features: int = 50_000, min_texts: int = 2
) -> WordVectors:
    """Learn vectors from texts: term frequency (1 + log), inverse document frequency, truncated SVD.

    Words are lower case without punctuation; texts written without spaces are taken character by character.

    Args:
        texts: some thousands are enough.
        dim: width; less where the texts do not have so many independent directions.
        seed: of the first vector of the Lanczos iteration; the directions do not depend on it but for rounding.
        max_features: words that count, those of the most texts.
        min_texts: a word must stand in so many texts.

    Raises:
        ValueError: no word stands in `min_texts` texts.
    """
    from scipy.sparse.linalg import svds

    if dim < 1 or max_features < 2 or min_texts < 1:
        raise ValueError(f"dim={dim}, max_features={max_features}, min_texts={min_texts}; need 1, 2 and 1 at least.")
    features_F, counts_F = _vocabulary(texts, max_features, min_texts)
    idf_F = np.log((1 + len(texts)) / (1 + counts_F)) + 1
    weights_NF = _weighed(_counts(texts, features_F), idf_F)
    width = min(dim, min(weights_NF.shape) - 1)
    if width < 1:
        raise ValueError(f"{len(texts)} texts with {len(features_F)} words in common; need at least two of each.")
    start = np.random.default_rng(seed).normal(size=min(weights_NF.shape))
    _, sizes_D, rows_DF = svds(weights_NF, k=width, v0=start, return_singular_vectors="vh")
    order = np.argsort(-sizes_D)
    order = order[sizes_D[order] > 1e-9 * sizes_D.max()]
    rows_DF = rows_DF[order]
    # A direction has no sign of its own: its largest entry is made positive.
    largest = np.abs(rows_DF).argmax(axis=1)
    rows_DF = rows_DF * np.sign(rows_DF[np.arange(len(rows_DF)), largest])[:, None]
    return WordVectors(features_F, idf_F, np.ascontiguousarray(rows_DF.T, np.float32))


def _vocabulary(texts: Sequence[str], most: int, least_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words that stand in the most texts, sorted, and in how many."""
    known, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, len(texts), _BATCH):
        words, rows = _words(texts[start : start + _BATCH])
        pairs = np.unique(np.rec.fromarrays([words, rows], names="word,row"))
        all_words = np.concatenate([known, pairs["word"]])
        known, places = np.unique(all_words, return_inverse=True)
        counts = np.bincount(places, np.concatenate([counts, np.ones(len(pairs))]), len(known)).astype(np.int64)
    kept = np.flatnonzero(counts >= least_texts)
    if not len(kept):
        raise ValueError(f"no word stands in {least_texts} of the {len(texts)} texts. Give more text.")
    kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:most]])
    return known[kept], counts[kept]


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash of every word and the number of its text."""
    from tokenry.corpora.prepared import Prepared

    prepared = Prepared(pa.array([text or "" for text in texts], pa.string()))
    words = prepared.folded
    n_words = words.counts
    rows = np.repeat(np.arange(len(n_words)), n_words)
    unspaced = prepared.lengths / np.maximum(n_words, 1) >= _UNSPACED
    if not unspaced.any():
        return words.hashes, rows
    chars = np.repeat(unspaced, prepared.lengths)
    char_rows = np.repeat(np.arange(len(n_words)), prepared.lengths)[chars]
    spaced = ~unspaced[rows]
    return (
        np.concatenate([words.hashes[spaced], prepared.codes[chars].astype(np.uint64)]),
        np.concatenate([rows[spaced], char_rows]),
    )


def _counts(texts: Sequence[str], features_F: np.ndarray) -> object:
    """How often each feature stands in each text: a sparse (N, F) matrix."""
    from scipy.sparse import csr_array

    words, rows = _words(texts)
    places = np.minimum(np.searchsorted(features_F, words), len(features_F) - 1)
    known = features_F[places] == words
    made = csr_array((np.ones(int(known.sum())), (rows[known], places[known])), shape=(len(texts), len(features_F)))
    made.sum_duplicates()
    return made


def _weighed(counts_NF: object, idf_F: np.ndarray) -> object:
    """(1 + log count) * idf, each text brought to length 1."""
    from scipy.sparse import csr_array

    values = (1 + np.log(counts_NF.data)) * idf_F[counts_NF.indices]
    rows = np.repeat(np.arange(counts_NF.shape[0]), np.diff(counts_NF.indptr))
    lengths = np.sqrt(np.bincount(rows, values**2, counts_NF.shape[0]))
    return csr_array((values / lengths[rows], counts_NF.indices, counts_NF.indptr), shape=counts_NF.shape)
