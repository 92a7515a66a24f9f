"""The compiled search for the fewest tokens over a Less-is-Better lexicon.

Papers: Rethinking Tokenization (Less-is-Better, arXiv 2403.00417).
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def fewest_by_rank(child_start, labels, children, values, ranks, data):
    """Fewest pieces of `data` (uint8) over the arrays of a `ByteTrie`; among equals the smallest sum of ranks.

    Among equals in both, the longer first piece. Empty where the strings cannot spell the data.
    """
    size = data.size
    far = np.int64(1) << 60
    cost, total = np.full(size + 1, far, np.int64), np.zeros(size + 1, np.int64)
    pick, step = np.full(size + 1, -1, np.int32), np.zeros(size + 1, np.int64)
    cost[size] = 0
    for start in range(size - 1, -1, -1):
        node = 0
        for at in range(start, size):
            low, high = child_start[node], child_start[node + 1]
            while low < high:
                middle = (low + high) // 2
                if labels[middle] < data[at]:
                    low = middle + 1
                else:
                    high = middle
            if low >= child_start[node + 1] or labels[low] != data[at]:
                break
            node = children[low]
            value = values[node]
            if value < 0 or cost[at + 1] == far:
                continue
            c, t = cost[at + 1] + 1, total[at + 1] + ranks[value]
            if c < cost[start] or (c == cost[start] and t <= total[start]):
                cost[start], total[start], pick[start], step[start] = c, t, value, at + 1 - start
    out, n, start = np.empty(size, np.int32), 0, 0
    while start < size:
        if pick[start] < 0:
            return out[:0]
        out[n] = pick[start]
        n += 1
        start += step[start]
    return out[:n]
