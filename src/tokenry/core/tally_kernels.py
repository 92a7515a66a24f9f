"""Numba kernel that adds up counts of strings in flat arrays: about 35 bytes a string instead of 350 in a dict."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _hash(data, start, end):
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True)
def _grown(array, size):
    new = np.empty(size, array.dtype)
    for i in range(len(array)):
        new[i] = array[i]
    return new


@njit(cache=True, nogil=True)
def _wider(pool, starts, n):
    """A hash of twice the room for the n strings held."""
    room = 1024
    while room < 4 * n:
        room *= 2
    slots = np.full(room, np.int32(-1))
    mask = np.uint64(room - 1)
    for i in range(n):
        slot = _hash(pool, starts[i], starts[i + 1]) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = i
    return slots


@njit(cache=True, nogil=True)
def add_strings(pool, starts, slots, totals, n, data, ends, counts):
    """Add counts of strings, new ones at the end.

    Args:
        pool: uint8, the bytes of the strings held, end to end, and room.
        starts: int64, string i is `pool[starts[i]:starts[i+1]]`, and room.
        slots: int32 (a power of two), hash: place of a string or -1.
        totals: int64, count of each string held, and room.
        n: strings held.
        data: uint8, bytes of the strings to add, end to end.
        ends: int64 (m,), where each of them ends.
        counts: int64 (m,).

    Returns:
        pool, starts, slots, totals, n as they are now.
    """
    start = np.int64(0)
    for k in range(len(ends)):
        end = ends[k]
        mask = np.uint64(len(slots) - 1)
        slot = _hash(data, start, end) & mask
        while slots[slot] >= 0:
            i = slots[slot]
            same = starts[i + 1] - starts[i] == end - start
            for j in range(end - start if same else 0):
                if pool[starts[i] + j] != data[start + j]:
                    same = False
                    break
            if same:
                break
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] >= 0:
            totals[slots[slot]] += counts[k]
            start = end
            continue
        if n + 1 >= len(totals):
            totals, starts = _grown(totals, 3 * n // 2 + 1024), _grown(starts, 3 * n // 2 + 1025)
        last = starts[n] + end - start
        if last > len(pool):
            pool = _grown(pool, 3 * last // 2 + 1024)
        for j in range(end - start):
            pool[starts[n] + j] = data[start + j]
        starts[n + 1] = last
        totals[n] = counts[k]
        slots[slot] = n
        n += 1
        if 2 * n > len(slots):
            slots = _wider(pool, starts, n)
        start = end
    return pool, starts, slots, totals, n
