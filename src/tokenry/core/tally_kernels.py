"""Numba kernels that add up counts of strings in flat arrays: about 35 bytes a string instead of 350 in a dict.

Most pieces of a text are few and short. So strings of up to 15 bytes are first looked for in a small table that stays
in the processor's cache and holds each as two numbers beside its count; what it drops goes to the large table.
"""

import numpy as np
from numba import njit

from tokenry.core.wide_kernels import byte_at, eight_at, put_eight

SHORT = 15
"""Bytes of a string that two numbers hold, with its length in the last byte."""
SETS = 4096
"""Places of the small table: 64 bytes each, for two strings (two numbers, count, nothing)."""
SMALL = SETS * 8
"""Numbers in the small table."""
QUEUE = 64
"""Strings that wait to be looked up in the large table together."""
SLACK = 16
"""Bytes of a pool behind its strings: reading eight at once may pass their end."""
_LOW = np.uint64(0xFFFFFFFF)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_OTHER_FACTOR = np.uint64(0xD6E8FEB86659FD93)


@njit(cache=True, nogil=True)
def _first_bytes(address, size, limit):
    """The first `size` (under 8) bytes as a number; nothing at or behind `limit` is read."""
    if address + 8 <= limit:
        return eight_at(address) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    word = np.uint64(0)
    for i in range(size):
        word |= np.uint64(byte_at(address + i)) << np.uint64(8 * i)
    return word


@njit(cache=True, nogil=True)
def _packed(address, size, limit):
    """A short string as two numbers."""
    length = np.uint64(size) << np.uint64(56)
    if size < 8:
        return _first_bytes(address, size, limit), length
    return eight_at(address), _first_bytes(address + 8, size - 8, limit) | length


@njit(cache=True, nogil=True)
def _hash_of(low, high):
    h = (low ^ (high * _OTHER_FACTOR)) * _FACTOR
    h ^= h >> np.uint64(32)
    h *= _OTHER_FACTOR
    return h ^ (h >> np.uint64(29))


@njit(cache=True, nogil=True)
def _hash_at(address, size, limit):
    """Hash of any string."""
    if size <= SHORT:
        low, high = _packed(address, size, limit)
        return _hash_of(low, high)
    h = np.uint64(size)
    while size >= 8:
        h = _hash_of(eight_at(address), h)
        address += 8
        size -= 8
    return _hash_of(_first_bytes(address, size, limit), h)


@njit(cache=True, nogil=True)
def _same(held, address, size, limit):
    """Are these `size` bytes equal? `held` may be read 8 bytes past its end."""
    while size >= 8:
        if eight_at(held) != eight_at(address):
            return False
        held += 8
        address += 8
        size -= 8
    return _first_bytes(held, size, held + 8) == _first_bytes(address, size, limit)


# `pool`, `starts`, `slots`, `totals` are the addresses of the large table's arrays; `limit` is the first address behind
# the data that may not be read.


@njit(cache=True, nogil=True)
def _add(pool, starts, slots, mask, totals, n, h, address, size, limit, count):
    """Add to the count of one string; there must be room. Returns how many strings are held."""
    tag = h >> np.uint64(32)
    slot = np.int64(tag) & mask
    found = eight_at(slots + 8 * slot)
    while found != np.uint64(0):
        if found >> np.uint64(32) == tag:
            i = np.int64(found & _LOW) - 1
            start = np.int64(eight_at(starts + 8 * i))
            if np.int64(eight_at(starts + 8 * i + 8)) - start == size and _same(pool + start, address, size, limit):
                put_eight(totals + 8 * i, np.uint64(np.int64(eight_at(totals + 8 * i)) + count))
                return n
        slot = (slot + 1) & mask
        found = eight_at(slots + 8 * slot)
    start = np.int64(eight_at(starts + 8 * n))
    for at in range(0, size - 7, 8):
        put_eight(pool + start + at, eight_at(address + at))
    rest = size & ~7
    put_eight(pool + start + rest, _first_bytes(address + rest, size - rest, limit))
    put_eight(starts + 8 * n + 8, np.uint64(start + size))
    put_eight(totals + 8 * n, np.uint64(count))
    put_eight(slots + 8 * slot, (tag << np.uint64(32)) | np.uint64(n + 1))
    return n + 1


@njit(cache=True, nogil=True)
def _add_queued(queue, n_queued, pool, starts, slots, mask, totals, n, limit):
    """Add the strings of the queue; returns how many are held.

    The large table lies far from the processor, and a string takes four looks at it, each after the other. Here each
    kind of look is taken for all strings of the queue before the next kind, so that they wait together.
    """
    for k in range(n_queued):
        at = queue + 64 * k
        put_eight(at + 48, eight_at(slots + 8 * (np.int64(eight_at(at) >> np.uint64(32)) & mask)))
    seen = np.uint64(0)
    for k in range(n_queued):
        at = queue + 64 * k
        i = max(np.int64(eight_at(at + 48) & _LOW) - 1, 0)
        put_eight(at + 56, eight_at(starts + 8 * i))
        seen ^= eight_at(totals + 8 * i)
    for k in range(n_queued):
        seen ^= eight_at(pool + np.int64(eight_at(queue + 64 * k + 56)))
    put_eight(queue + 48, seen)  # so that the looks are taken
    for k in range(n_queued):
        at = queue + 64 * k
        size, count, address = np.int64(eight_at(at + 8)), np.int64(eight_at(at + 16)), np.int64(eight_at(at + 24))
        n = _add(pool, starts, slots, mask, totals, n, eight_at(at), address, size,
                 address + 16 if size <= SHORT else limit, count)  # fmt: skip
    return n


@njit(cache=True, nogil=True)
def _fill_pieces(small, queue, pool, starts, slots, mask, totals, n, room, pool_room, data, ends, k, m, limit):
    """Count pieces k to m, or until the large table has no room; returns the piece it stands at and what is held."""
    start = np.int64(eight_at(ends + 8 * k - 8)) if k else np.int64(0)
    n_queued, free = 0, pool_room - np.int64(eight_at(starts + 8 * n)) - 2 * SLACK
    while k < m:
        end = np.int64(eight_at(ends + 8 * k))
        size, address = end - start, data + start
        start = end
        at = queue + 64 * n_queued
        if size <= SHORT:
            low, high = _packed(address, size, limit)
            h = _hash_of(low, high)
            place = small + 64 * (np.int64(h) & (SETS - 1))
            if eight_at(place) == low and eight_at(place + 8) == high:
                put_eight(place + 16, eight_at(place + 16) + np.uint64(1))
                k += 1
                continue
            if eight_at(place + 32) == low and eight_at(place + 40) == high:
                put_eight(place + 48, eight_at(place + 48) + np.uint64(1))
                k += 1
                continue
            if n + n_queued >= room or free < SLACK:
                break
            place += 32 * (eight_at(place + 48) < eight_at(place + 16))
            old_low, old_high, count = eight_at(place), eight_at(place + 8), eight_at(place + 16)
            put_eight(place, low)
            put_eight(place + 8, high)
            put_eight(place + 16, np.uint64(1))
            put_eight(at, _hash_of(old_low, old_high))
            put_eight(at + 8, old_high >> np.uint64(56))
            put_eight(at + 16, count)
            put_eight(at + 24, np.uint64(at + 32))
            put_eight(at + 32, old_low)
            put_eight(at + 40, old_high)
            n_queued += count != np.uint64(0)
            free -= SLACK
        else:
            if n + n_queued >= room or free < size:
                break
            put_eight(at, _hash_at(address, size, limit))
            put_eight(at + 8, np.uint64(size))
            put_eight(at + 16, np.uint64(1))
            put_eight(at + 24, np.uint64(address))
            n_queued += 1
            free -= size
        k += 1
        if n_queued == QUEUE:
            n = _add_queued(queue, n_queued, pool, starts, slots, mask, totals, n, limit)
            n_queued, free = 0, pool_room - np.int64(eight_at(starts + 8 * n)) - 2 * SLACK
    return k, _add_queued(queue, n_queued, pool, starts, slots, mask, totals, n, limit)


@njit(cache=True, nogil=True)
def _fill_counts(pool, starts, slots, mask, totals, n, room, pool_room, data, ends, counts, k, m, limit):
    """Like `_fill_pieces`, for strings with counts."""
    start = np.int64(eight_at(ends + 8 * k - 8)) if k else np.int64(0)
    while k < m:
        end = np.int64(eight_at(ends + 8 * k))
        size, address = end - start, data + start
        if n >= room or np.int64(eight_at(starts + 8 * n)) + size + SLACK > pool_room:
            return k, n
        h, count = _hash_at(address, size, limit), np.int64(eight_at(counts + 8 * k))
        n = _add(pool, starts, slots, mask, totals, n, h, address, size, limit, count)
        start = end
        k += 1
    return k, n


@njit(cache=True, nogil=True)
def _longer(array, size):
    new = np.empty(size, array.dtype)
    new[: len(array)] = array
    return new


@njit(cache=True, nogil=True)
def _with_room(pool, starts, slots, totals, n, size):
    """The arrays of the large table with room for at least one more string of `size` bytes."""
    if n + 1 >= len(totals):
        totals, starts = _longer(totals, 3 * n // 2 + 1024), _longer(starts, 3 * n // 2 + 1025)
    if starts[n] + size + 4 * SLACK > len(pool):
        pool = _longer(pool, 3 * (starts[n] + size) // 2 + 64 * SLACK)
    if 4 * (n + 1) > 3 * len(slots):
        mask = np.uint64(2 * len(slots) - 1)
        wider = np.zeros(2 * len(slots), np.uint64)
        for held in slots:
            if held:
                slot = (held >> np.uint64(32)) & mask
                while wider[slot]:
                    slot = (slot + np.uint64(1)) & mask
                wider[slot] = held
        slots = wider
    return pool, starts, slots, totals


@njit(cache=True, nogil=True)
def _room(slots, totals):
    """Most strings the arrays hold before they must grow."""
    return min(len(totals) - 1, 3 * len(slots) // 4)


@njit(cache=True, nogil=True)
def add_strings(pool, starts, slots, totals, n, data, ends, counts):
    """Add counts of strings, new ones at the end.

    Args:
        pool: uint8, the bytes of the strings held, end to end, and room.
        starts: int64, string i is `pool[starts[i]:starts[i+1]]`, and room.
        slots: uint64 (a power of two), half of a string's hash and its place + 1, or 0.
        totals: int64, count of each string held, and room.
        n: strings held.
        data: uint8, bytes of the strings to add, end to end.
        ends: int64 (m,), where each of them ends.
        counts: int64 (m,).

    Returns:
        pool, starts, slots, totals, n as they are now.
    """
    k, m, limit = 0, len(ends), data.ctypes.data + len(data)
    while k < m:
        size = ends[k] - (ends[k - 1] if k else 0)
        pool, starts, slots, totals = _with_room(pool, starts, slots, totals, n, size)
        k, n = _fill_counts(pool.ctypes.data, starts.ctypes.data, slots.ctypes.data, len(slots) - 1, totals.ctypes.data,
                            n, _room(slots, totals), len(pool), data.ctypes.data, ends.ctypes.data, counts.ctypes.data,
                            k, m, limit)  # fmt: skip
    return pool, starts, slots, totals, n


@njit(cache=True, nogil=True)
def add_pieces(pool, starts, slots, totals, n, small, data, ends):
    """Add one to the count of each string; as `add_strings`, but short ones may wait in the small table.

    Args:
        small: uint64 (SMALL,), zeros at first; `drain` moves what waits there.
    """
    k, m, limit, queue = 0, len(ends), data.ctypes.data + len(data), np.empty(8 * QUEUE + 8, np.uint64)
    while k < m:
        size = ends[k] - (ends[k - 1] if k else 0)
        pool, starts, slots, totals = _with_room(pool, starts, slots, totals, n, size)
        k, n = _fill_pieces(small.ctypes.data, queue.ctypes.data, pool.ctypes.data, starts.ctypes.data,
                            slots.ctypes.data, len(slots) - 1, totals.ctypes.data, n, _room(slots, totals), len(pool),
                            data.ctypes.data, ends.ctypes.data, k, m, limit)  # fmt: skip
    queue[0] = 0  # the array must live until here
    return pool, starts, slots, totals, n


@njit(cache=True, nogil=True)
def drain(pool, starts, slots, totals, n, small):
    """Move the counts of the small table to the large one."""
    for place in range(0, len(small), 4):
        count = np.int64(small[place + 2])
        if count:
            pool, starts, slots, totals = _with_room(pool, starts, slots, totals, n, SHORT)
            low, high, address = small[place], small[place + 1], small.ctypes.data + 8 * place
            n = _add(pool.ctypes.data, starts.ctypes.data, slots.ctypes.data, len(slots) - 1, totals.ctypes.data, n,
                     _hash_of(low, high), address, np.int64(high >> np.uint64(56)), address + 16, count)  # fmt: skip
            small[place + 2] = 0
    return pool, starts, slots, totals, n
