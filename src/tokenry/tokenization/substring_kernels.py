"""Numba kernel that counts every string of a trie inside every word, weighted by the words' counts."""

import numpy as np
from numba import njit

from tokenry.core.trie_kernels import _step


@njit(cache=True, nogil=True)
def substring_counts(child_start, labels, children, values, data, ends, indptr, columns, counts, totals):
    """Add the occurrences of every string of a trie to `totals`.

    Args:
        child_start, labels, children, values: a `ByteTrie`.
        data: uint8, the words end to end. ends: int64 (W,), where each ends.
        indptr, columns, counts: a csr matrix (W, n), how often each word occurs in each column.
        totals: float64 (strings, n), added to.
    """
    start = np.int64(0)
    for w in range(len(ends)):
        end = ends[w]
        for begin in range(start, end):
            node = 0
            for at in range(begin, end):
                node = _step(child_start, labels, children, node, data[at])
                if node < 0:
                    break
                if values[node] >= 0:
                    for k in range(indptr[w], indptr[w + 1]):
                        totals[values[node], columns[k]] += counts[k]
        start = end
