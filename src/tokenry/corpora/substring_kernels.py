"""Numba kernels over the bytes of texts: marks by which equal runs of bytes find each other, and what repeats."""

import numpy as np
from numba import njit

# Axes: N bytes, S suffixes, R regions.

_BASE = np.uint64(0x9E3779B97F4A7C15)
_ONE, _TWO = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def _mixed(x):
    x = (x ^ (x >> np.uint64(30))) * _ONE
    x = (x ^ (x >> np.uint64(27))) * _TWO
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def anchors(data, start, end, length, gram):
    """Places and hashes of the least run of `gram` bytes in each run of `length` bytes (winnowing, the last of equals).

    Equal runs of `length` bytes hold the same least hash, so they have an anchor of one hash.
    """
    n = end - start - gram + 1
    width = length - gram + 1
    if n < width:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    hashes = np.empty(n, np.uint64)
    power = np.uint64(1)
    for _ in range(gram):
        power *= _BASE
    h = np.uint64(0)
    for i in range(end - start):
        h = h * _BASE + np.uint64(data[start + i]) + np.uint64(1)
        if i >= gram:
            h -= power * (np.uint64(data[start + i - gram]) + np.uint64(1))
        if i >= gram - 1:
            hashes[i - gram + 1] = _mixed(h)
    places = np.empty(n, np.int64)
    found, least = 0, -1
    for last in range(width - 1, n):
        first = last - width + 1
        if least < first:  # the least one has left the run
            least = first
            for i in range(first + 1, last + 1):
                if hashes[i] <= hashes[least]:
                    least = i
        elif hashes[last] <= hashes[least]:
            least = last
        else:
            continue
        places[found] = least
        found += 1
    places = places[:found].copy()
    return places, hashes[places]


@njit(cache=True, nogil=True)
def all_anchors(data, offsets, length, gram):
    """`anchors` of many texts: places within each, hashes, and which belong to which text."""
    n_texts = len(offsets) - 1
    places, hashes = np.empty(1024, np.int64), np.empty(1024, np.uint64)
    starts = np.zeros(n_texts + 1, np.int64)
    n = 0
    for text in range(n_texts):
        where, what = anchors(data, offsets[text], offsets[text + 1], length, gram)
        while n + len(where) > len(places):
            places = np.concatenate((places, np.empty_like(places)))
            hashes = np.concatenate((hashes, np.empty_like(hashes)))
        places[n : n + len(where)] = where
        hashes[n : n + len(what)] = what
        n += len(where)
        starts[text + 1] = n
    return places[:n].copy(), hashes[:n].copy(), starts


@njit(cache=True, nogil=True)
def merged(begins, ends):
    """Spans that touch or overlap as one; `begins` must not go down."""
    made_begins, made_ends = np.empty(len(begins), np.int64), np.empty(len(begins), np.int64)
    n = 0
    for i in range(len(begins)):
        if n and begins[i] <= made_ends[n - 1]:
            made_ends[n - 1] = max(made_ends[n - 1], ends[i])
        else:
            made_begins[n], made_ends[n] = begins[i], ends[i]
            n += 1
    return made_begins[:n].copy(), made_ends[:n].copy()


@njit(cache=True, nogil=True)
def _covered(chosen, length):
    """The spans that runs of `length` cover which begin where `chosen` is true; those that touch are one."""
    n, end = 0, -1
    for at in range(len(chosen)):
        if chosen[at]:
            n += at > end
            end = at + length
    begins, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    n, end = 0, -1
    for at in range(len(chosen)):
        if chosen[at]:
            if at > end:
                begins[n] = at
                n += 1
            end = at + length
            ends[n - 1] = end
    return begins, ends


@njit(cache=True, nogil=True)
def repeats(data, suffixes, begins, ends, length, keep_first):
    """Spans of `data` that runs of `length` bytes cover which stand there more than once, within a region each.

    Args:
        data: uint8, the regions one after the other.
        suffixes: all places of `data` in the order of what stands from there on.
        begins, ends: int64 (R,), of each region; a run that crosses a border is none.
        length: bytes of a run.
        keep_first: leave the first of equal runs out.
    """
    n = len(data)
    whole, repeated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for region in range(len(begins)):
        for at in range(begins[region], ends[region] - length + 1):
            whole[at] = True
    first, last = -1, -1  # of the runs that equal the one before: the first in the corpus, the one before
    for i in range(len(suffixes)):
        at = suffixes[i]
        if not whole[at]:
            continue
        same = last >= 0
        if same:
            for k in range(length):
                if data[at + k] != data[last + k]:
                    same = False
                    break
        if not same:
            first = at
        elif keep_first:
            if at < first:
                repeated[first] = True
                first = at
            else:
                repeated[at] = True
        else:
            repeated[first] = True
            repeated[at] = True
        last = at
    return _covered(repeated, length)


@njit(cache=True, nogil=True)
def characters_before(data, offsets, rows, places):
    """For each place (bytes of a text) the number of whole characters before it; those of a text must not go down."""
    made = np.empty(len(places), np.int64)
    text, at, n = -1, 0, 0
    for i in range(len(places)):
        if rows[i] != text:
            text, at, n = rows[i], offsets[rows[i]], 0
        stop = offsets[text] + places[i]
        while at < stop:
            n += (data[at] & 0xC0) != 0x80
            at += 1
        made[i] = n
    return made
