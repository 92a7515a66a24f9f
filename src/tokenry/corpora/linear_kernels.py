"""Numba kernels of the linear classifier: hashed n-grams of a batch, its logits, and stochastic gradient descent.

The features of a document are a sparse vector of unit length: value sqrt(count / all counts) at the bucket of each
n-gram, of which one is the end of the text. Those of document d are `rows[d]` to `rows[d + 1]` of `buckets_F` and
`values_F`.
"""

import numpy as np
from numba import njit

from tokenry.corpora.text_kernels import scrambled

# Axes: D documents, F features of all of them, W words, K buckets, C classes.

_STEP = np.uint64(0xD1342543DE82EF95)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_END = np.uint64(0x9E6C63D0876A9A35)
_EDGE = np.uint32(0x110000)  # no character: the end of a word, for n-grams of characters


@njit(cache=True, nogil=True)
def bucket_of(key, n_buckets):
    """The bucket of an n-gram's key."""
    key = (key ^ (key >> np.uint64(30))) * _MIX_1
    key = (key ^ (key >> np.uint64(27))) * _MIX_2
    key ^= key >> np.uint64(31)
    return np.int64(((key >> np.uint64(32)) * np.uint64(n_buckets)) >> np.uint64(32))


@njit(cache=True, nogil=True)
def word_buckets(hashes_W, n_buckets, n_words):
    """Buckets of all runs of 1 to `n_words` words (from the first word, from the second, ...), then of the end."""
    n = 1
    for size in range(1, n_words + 1):
        n += max(0, len(hashes_W) - size + 1)
    made = np.empty(n, np.int64)
    n = 0
    for at in range(len(hashes_W)):
        key = np.uint64(0)
        for size in range(1, n_words + 1):
            if at + size > len(hashes_W):
                break
            key = key * _STEP + hashes_W[at + size - 1]
            made[n] = bucket_of(key, n_buckets)
            n += 1
    made[n] = bucket_of(_END, n_buckets)
    return made


@njit(cache=True, nogil=True)
def _letter(codes, lower, at, begin, end):
    return _EDGE if at < begin or at >= end else lower[codes[at]]


@njit(cache=True, nogil=True)
def _count(bucket, counts_K, touched, n):
    if counts_K[bucket] == 0:
        touched[n] = bucket
        n += 1
    counts_K[bucket] += 1
    return n


@njit(cache=True, nogil=True)
def features(hashes_W, begins_W, ends_W, offsets, codes, lower, n_buckets, n_words, shortest, longest):
    """The features of every document.

    Args: hashes, first and last position of all words; which are of which document; characters and their lower case;
    buckets; the longest run of words; the shortest and longest run of characters within a word with a mark at each of
    its ends (`longest` 0: none).
    """
    counts_K = np.zeros(n_buckets, np.int32)
    touched = np.empty(n_buckets, np.int64)
    room = max(16, 2 * len(hashes_W))
    buckets_F, values_F = np.empty(room, np.int32), np.empty(room, np.float32)
    rows = np.zeros(len(offsets), np.int64)
    total = 0
    for text in range(len(offsets) - 1):
        n, n_all = 0, 0
        for bucket in word_buckets(hashes_W[offsets[text] : offsets[text + 1]], n_buckets, n_words):
            n = _count(bucket, counts_K, touched, n)
            n_all += 1
        for word in range(offsets[text], offsets[text + 1]):
            begin, end = begins_W[word], ends_W[word]
            for first in range(begin - 1, end + 1):
                key = np.uint64(7)
                for size in range(1, min(longest, end + 1 - first) + 1):
                    key = key * _STEP + scrambled(_letter(codes, lower, first + size - 1, begin, end))
                    if size >= shortest:
                        n = _count(bucket_of(key, n_buckets), counts_K, touched, n)
                        n_all += 1
        while total + n > room:
            room *= 2
            wider, more = np.empty(room, np.int32), np.empty(room, np.float32)
            wider[:total], more[:total] = buckets_F[:total], values_F[:total]
            buckets_F, values_F = wider, more
        for i in range(n):
            bucket = touched[i]
            buckets_F[total + i] = bucket
            values_F[total + i] = np.sqrt(counts_K[bucket] / n_all)
            counts_K[bucket] = 0
        total += n
        rows[text + 1] = total
    return buckets_F[:total].copy(), values_F[:total].copy(), rows


@njit(cache=True, nogil=True)
def logits(buckets_F, values_F, rows, weights_KC):
    """Logits (D, C): sum over features of value x weight."""
    made = np.zeros((len(rows) - 1, weights_KC.shape[1]), np.float64)
    for text in range(len(rows) - 1):
        for f in range(rows[text], rows[text + 1]):
            for c in range(weights_KC.shape[1]):
                made[text, c] += values_F[f] * weights_KC[buckets_F[f], c]
    return made


@njit(cache=True, nogil=True)
def descend(buckets_F, values_F, rows, labels_D, order, weights_KC, rate, done, planned, decays):
    """One pass of stochastic gradient descent on the cross-entropy, in place; returns the mean loss before each step.

    The rate falls in a line to 0 over `planned` steps, of which `done` are behind (`decays` False: it stays).
    """
    n_classes = weights_KC.shape[1]
    error_C = np.empty(n_classes, np.float64)
    loss = 0.0
    for step in range(len(order)):
        text = order[step]
        error_C[:] = 0.0
        for f in range(rows[text], rows[text + 1]):
            for c in range(n_classes):
                error_C[c] += values_F[f] * weights_KC[buckets_F[f], c]
        highest, total = error_C.max(), 0.0
        own = error_C[labels_D[text]] - highest
        for c in range(n_classes):
            error_C[c] = np.exp(error_C[c] - highest)
            total += error_C[c]
        loss += np.log(total) - own
        now = rate * (1.0 - (done + step) / planned) if decays else rate
        for c in range(n_classes):
            error_C[c] = now * ((1.0 if c == labels_D[text] else 0.0) - error_C[c] / total)
        for f in range(rows[text], rows[text + 1]):
            for c in range(n_classes):
                weights_KC[buckets_F[f], c] += values_F[f] * error_C[c]
    return loss / max(1, len(order))
