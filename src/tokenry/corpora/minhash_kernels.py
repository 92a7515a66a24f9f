"""MinHash bands of many documents at once, as one pass over the hashes of their words."""

import numpy as np
from numba import njit

# Axes: D documents, W words, K permutations, B bands.

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(0xBF58476D1CE4E5B9)
_TWO = np.uint64(0x94D049BB133111EB)
_MOST = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True, inline="always")
def _mixed(x):
    x = (x ^ (x >> np.uint64(30))) * _ONE
    x = (x ^ (x >> np.uint64(27))) * _TWO
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def shingles(words, start, end, width, out):
    """Hashes of the runs of `width` words as `core.hashing.shingle_hashes` makes them; returns how many."""
    n_words = end - start
    if n_words == 0:
        return 0
    width = min(width, n_words)
    n = n_words - width + 1
    for at in range(n):
        h = np.uint64(0)
        for place in range(width):
            h = _mixed(h + _GAMMA + words[start + at + place])
        out[at] = h
    return n


@njit(cache=True, nogil=True)
def signatures(words, offsets, width, a, b):
    """Signatures as `core.hashing.MinHash` makes them: uint32 (D, K), all ones for a document without words."""
    n_docs, n_perms = len(offsets) - 1, len(a)
    made = np.empty((n_docs, n_perms), np.uint32)
    longest = 0
    for d in range(n_docs):
        longest = max(longest, offsets[d + 1] - offsets[d])
    hashes = np.empty(max(1, longest), np.uint64)
    least = np.empty(n_perms, np.uint64)
    for d in range(n_docs):
        n = shingles(words, offsets[d], offsets[d + 1], width, hashes)
        least[:] = _MOST
        for i in range(n):
            x = hashes[i]
            for k in range(n_perms):
                least[k] = min(least[k], a[k] * x + b[k])
        for k in range(n_perms):
            made[d, k] = np.uint32(least[k] >> np.uint64(32)) if n else np.uint32(0xFFFFFFFF)
    return made


@njit(cache=True, nogil=True)
def band_hashes(signature, rows):
    """One hash for each band of `rows` neighbouring values: uint64 (D, B); different bands of equal values differ."""
    n_docs, n_bands = signature.shape[0], signature.shape[1] // rows
    made = np.empty((n_docs, n_bands), np.uint64)
    for d in range(n_docs):
        for band in range(n_bands):
            h = np.uint64(band)
            for row in range(rows):
                h = _mixed(h + _GAMMA + np.uint64(signature[d, band * rows + row]))
            made[d, band] = h
    return made


@njit(cache=True, nogil=True)
def run_hashes(words, firsts, lasts):
    """One hash for each run of words `firsts[i]` to `lasts[i]`, its length included."""
    made = np.empty(len(firsts), np.uint64)
    for i in range(len(firsts)):
        h = np.uint64(lasts[i] - firsts[i])
        for at in range(firsts[i], lasts[i]):
            h = _mixed(h + _GAMMA + words[at])
        made[i] = h
    return made
