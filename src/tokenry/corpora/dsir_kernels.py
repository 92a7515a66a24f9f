"""Numba kernels of DSIR: sums and counts over the hashed words and runs of words of documents."""

import numpy as np
from numba import njit

from tokenry.corpora.linear_kernels import bucket_of

# Axes: D documents, W words of all of them, K buckets.

_STEP = np.uint64(0xD1342543DE82EF95)


@njit(cache=True, nogil=True)
def bag_sums(hashes_W, offsets, values_K, n_words):
    """For each document the sum of `values_K` over its runs of 1 to `n_words` words, and how many there are."""
    n_docs, n_buckets = len(offsets) - 1, len(values_K)
    sums_D, n_D = np.zeros(n_docs), np.zeros(n_docs, np.int64)
    for doc in range(n_docs):
        end = offsets[doc + 1]
        for at in range(offsets[doc], end):
            key = np.uint64(0)
            for size in range(min(n_words, end - at)):
                key = key * _STEP + hashes_W[at + size]
                sums_D[doc] += values_K[bucket_of(key, n_buckets)]
                n_D[doc] += 1
    return sums_D, n_D


@njit(cache=True, nogil=True)
def bag_counts(hashes_W, offsets, n_buckets, n_words):
    """How often each bucket occurs in all documents."""
    counts_K = np.zeros(n_buckets, np.int64)
    for doc in range(len(offsets) - 1):
        end = offsets[doc + 1]
        for at in range(offsets[doc], end):
            key = np.uint64(0)
            for size in range(min(n_words, end - at)):
                key = key * _STEP + hashes_W[at + size]
                counts_K[bucket_of(key, n_buckets)] += 1
    return counts_K
