"""Numba kernels of the byte n-gram model: exact counts of packed byte strings, and the probability of every byte.

A string of 1 to 7 bytes is one number: its bytes, and above them a 1 that says where they begin. Numbers lie in an open
hash table; nothing collides.
"""

import numpy as np
from numba import njit

# Axes: P positions, N strings, S slots of a table (a power of two).

START = 3
"""The byte that stands before every text (end of text, of the control characters)."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FREE = np.uint64(0)


@njit(cache=True, nogil=True)
def packed(data, starts, order):
    """The string of `order` bytes that ends at each position of each text; texts too short for it give none.

    `starts` are the places of the START bytes and the end; no string crosses into another text.
    """
    n = 0
    for text in range(len(starts) - 1):
        n += max(0, starts[text + 1] - starts[text] - order + 1)
    made = np.empty(n, np.uint64)
    mark = np.uint64(1) << np.uint64(8 * order)
    n = 0
    for text in range(len(starts) - 1):
        code = np.uint64(0)
        for at in range(starts[text], starts[text + 1]):
            code = ((code << np.uint64(8)) | np.uint64(data[at])) & (mark - np.uint64(1))
            if at - starts[text] + 1 >= order:
                made[n] = code | mark
                n += 1
    return made


@njit(cache=True, nogil=True)
def _slot(keys_S, key):
    mask = np.uint64(len(keys_S) - 1)
    mixed = (key ^ (key >> np.uint64(29))) * _STEP
    at = (mixed ^ (mixed >> np.uint64(32))) & mask
    while keys_S[at] != _FREE and keys_S[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True, nogil=True)
def filled(keys_N, own_N, rest_N, n_slots):
    """A table of strings: keys, and two float32 values of each."""
    keys_S, own_S, rest_S = np.zeros(n_slots, np.uint64), np.zeros(n_slots, np.float32), np.zeros(n_slots, np.float32)
    for i in range(len(keys_N)):
        at = _slot(keys_S, keys_N[i])
        keys_S[at], own_S[at], rest_S[at] = keys_N[i], own_N[i], rest_N[i]
    return keys_S, own_S, rest_S


@njit(cache=True, nogil=True)
def text_bits(data, starts, keys_S, own_S, rest_S, order, floor):
    """Bits of every text: of each of its bytes after START, given at most `order - 1` before it.

    p(byte | context) = own(context byte) + rest(context) * p(byte | context without its first byte); under the shortest
    lies `floor`, the same for every byte.
    """
    bits = np.zeros(len(starts) - 1)
    rest, after = np.ones(order + 1), np.ones(order + 1)
    for text in range(len(starts) - 1):
        code = np.uint64(START)
        rest[:] = 1.0
        slot = _slot(keys_S, np.uint64(256) | code)
        if keys_S[slot] != _FREE:
            rest[1] = rest_S[slot]
        for at in range(starts[text] + 1, starts[text + 1]):
            code = (code << np.uint64(8)) | np.uint64(data[at])
            p, is_known = floor, True
            for size in range(1, min(order, at - starts[text] + 1) + 1):
                if size > 1:
                    p *= rest[size - 1]
                after[size] = 1.0
                if not is_known:
                    continue
                mark = np.uint64(1) << np.uint64(8 * size)
                slot = _slot(keys_S, (code & (mark - np.uint64(1))) | mark)
                if keys_S[slot] == _FREE:
                    is_known = False  # nor is any longer string that ends with it
                else:
                    p += own_S[slot]
                    after[size] = rest_S[slot]
            rest, after = after, rest
            bits[text] -= np.log2(p)
    return bits
