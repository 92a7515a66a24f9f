"""Numba kernels of guided merging: rewrite all words by one rule and keep the counts of pairs and symbols, by source.

Every word is a stretch of `cells` of which the first `lengths[w]` are its tokens now. Packed arguments: `words` =
(cells, offsets, lengths, counts (W, S)), `table` = (hash slots of keys, row of each slot, keys of the rows, counts of
the rows (R, S), rows used).
"""

import numpy as np
from numba import njit

from tokenry.tokenization.pair_kernels import EMPTY, find, longer, pack


@njit(cache=True, nogil=True)
def empty_table(n_sources):
    """A table of pairs without any."""
    slots, places, keys = np.full(1024, EMPTY), np.zeros(1024, np.int64), np.zeros(512, np.int64)
    return slots, places, keys, np.zeros((512, n_sources), np.int64), np.int64(0)


@njit(cache=True, nogil=True)
def _row(table, key):
    """(table, row of a pair), entered where it is new."""
    slots, places, keys, counts, n = table
    slot = find(slots, key)
    if slot >= 0:
        return table, places[slot]
    if 2 * n >= len(slots):
        slots, places = np.full(2 * len(slots), EMPTY), np.zeros(2 * len(slots), np.int64)
        for i in range(n):
            free = -find(slots, keys[i]) - 1
            slots[free], places[free] = keys[i], i
        slot = find(slots, key)
    if n == len(keys):
        keys = longer(keys, 2 * n)
        wider = np.zeros((2 * n, counts.shape[1]), np.int64)
        wider[:n] = counts
        counts = wider
    slot = -slot - 1
    slots[slot], places[slot], keys[n] = key, n, key
    return (slots, places, keys, counts, n + 1), n


@njit(cache=True, nogil=True)
def _tally(table, symbol_counts, tokens, weights, sign):
    """Add or take away the pairs and symbols of one word."""
    for i in range(len(tokens)):
        for s in range(len(weights)):
            symbol_counts[tokens[i], s] += sign * weights[s]
        if i + 1 < len(tokens):
            table, row = _row(table, pack(tokens[i], tokens[i + 1]))
            for s in range(len(weights)):
                table[3][row, s] += sign * weights[s]
    return table


@njit(cache=True, nogil=True)
def count_all(words, table, symbol_counts, stamp):
    """The table with the pairs of all words, position by position."""
    cells, offsets, lengths, counts = words
    for w in range(len(lengths)):
        table = _tally(table, symbol_counts, cells[offsets[w] : offsets[w] + lengths[w]], counts[w], 1)
    return table


@njit(cache=True, nogil=True)
def _stands_at(tokens, i, wanted):
    for k in range(len(wanted)):  # noqa: SIM110  (numba compiles no all() of a generator)
        if tokens[i + k] != wanted[k]:
            return False
    return True


@njit(cache=True, nogil=True)
def rewrite(words, table, symbol_counts, wanted, put):
    """Replace a run of symbols by another in all words, leftmost first; the counts follow. Returns the table."""
    cells, offsets, lengths, counts = words
    for w in range(len(lengths)):
        n = lengths[w]
        tokens = cells[offsets[w] : offsets[w] + n]
        first = 0
        while first + len(wanted) <= n and not _stands_at(tokens, first, wanted):
            first += 1
        if first + len(wanted) > n:
            continue
        table = _tally(table, symbol_counts, tokens, counts[w], -1)
        old, i, end = tokens.copy(), 0, offsets[w]
        while i < n:
            if i >= first and i + len(wanted) <= n and _stands_at(old, i, wanted):
                cells[end : end + len(put)] = put
                end += len(put)
                i += len(wanted)
            else:
                cells[end] = old[i]
                end += 1
                i += 1
        lengths[w] = end - offsets[w]
        table = _tally(table, symbol_counts, cells[offsets[w] : end], counts[w], 1)
    return table
