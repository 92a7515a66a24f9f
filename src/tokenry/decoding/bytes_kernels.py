"""The compiled loop of the pairwise mask; kept apart because importing numba takes time."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def stable_row(a, whole_V, left_V, right_V, rank_V, merges, spines):
    """bool (V,): tokens that may stand after `a` inside one pre-token.

    Args:
        a: the token in front.
        whole_V: bool, tokens that merging their own bytes gives.
        left_V, right_V, rank_V: the merge that makes each token; -1 for one that no merge makes.
        merges: (start (V + 1,), right, rank): merges by their left part, by rank.
        spines: (start (V + 1,), token, rank): tokens by each member of their left spine, with the rank of the merge
            that consumes the member there.
    """
    merge_start, merge_right, merge_rank = merges
    spine_start, spine_token, spine_rank = spines
    row_V = whole_V.copy()
    if not whole_V[a]:
        row_V[:] = False
        return row_V
    part, consumed = a, np.int64(1) << 60
    while part >= 0:
        for k in range(merge_start[part], merge_start[part + 1]):
            if merge_rank[k] >= consumed:
                break
            other = merge_right[k]
            for e in range(spine_start[other], spine_start[other + 1]):
                if spine_rank[e] >= merge_rank[k]:
                    row_V[spine_token[e]] = False
        consumed = rank_V[part]
        part = right_V[part]
    return row_V
