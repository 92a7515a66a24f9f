"""Numba kernels that find what repeats in each text: equal spans, equal runs of words, phrases of a list.

Equality is that of 64-bit hashes made from the characters; two different spans of one text collide with probability
about n^2 / 2^65.
"""

import numpy as np
from numba import njit

from tokenry.corpora.text_kernels import BASE, scrambled

TOP_COUNT, TOP_CHARACTERS, COVERED, REPEATED, ALL = range(5)
"""What `run_repeats` tells of runs of n words: how often the most frequent one stands there (0: none twice) and its
characters; characters of words in any run that stands there twice; characters of all such runs, and of all runs."""
_POWERS = 4096
_SPREAD = np.uint64(0xD6E8FEB86659FD93)


@njit(cache=True, nogil=True)
def _place(key, mask):
    x = key * _SPREAD
    return np.int64((x ^ (x >> np.uint64(32))) & np.uint64(mask))


@njit(cache=True, nogil=True)
def _mask_for(n):
    size = 16
    while size < 2 * n:
        size *= 2
    return size - 1


@njit(cache=True, nogil=True)
def first_places(hashes, offsets):
    """For each span the first span of its text that equals it, and for those how many equal them."""
    firsts, counts = np.empty(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    table = np.empty(_mask_for(longest) + 1, np.int64)
    for text in range(len(offsets) - 1):
        low, high = offsets[text], offsets[text + 1]
        mask = _mask_for(high - low)
        table[: mask + 1] = -1
        for i in range(low, high):
            at = _place(hashes[i], mask)
            while table[at] >= 0 and hashes[table[at]] != hashes[i]:
                at = (at + 1) & mask
            if table[at] < 0:
                table[at] = i
            firsts[i] = table[at]
            counts[table[at]] += 1
    return firsts, counts


@njit(cache=True, nogil=True)
def spread_of(firsts, counts, offsets):
    """Different words of each text, and the entropy of their frequencies (natural logarithm; nan without words)."""
    distinct, entropy = np.zeros(len(offsets) - 1, np.int64), np.full(len(offsets) - 1, np.nan)
    for text in range(len(offsets) - 1):
        low, high = offsets[text], offsets[text + 1]
        if low == high:
            continue
        n, total, sum_of = 0, float(high - low), 0.0
        for i in range(low, high):
            if firsts[i] == i:
                n += 1
                share = counts[i] / total
                sum_of -= share * np.log(share)
        distinct[text], entropy[text] = n, sum_of
    return distinct, entropy


@njit(cache=True, nogil=True)
def run_repeats(firsts, counts, lengths, offsets, longest):
    """What repeats among the runs of 2 to `longest` words of each text: (D, longest + 1, 5), see `TOP_COUNT`.

    A run can repeat only where the run without its last word and the one without its first word do: only those are
    looked at, so longer runs cost little. Runs are told apart by the first place of their beginning and of their last
    word, which is exact.
    """
    told = np.zeros((len(offsets) - 1, longest + 1, 5), np.int64)
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    before, now = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    seen, ends = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    sums = np.empty(most + 2, np.int64)
    table = np.empty(_mask_for(most) + 1, np.int64)
    keys = np.empty(most + 1, np.uint64)
    for text in range(len(offsets) - 1):
        low, n_words = offsets[text], offsets[text + 1] - offsets[text]
        ends[0] = 0
        sums[0] = 0
        for i in range(n_words):
            before[i] = firsts[low + i] - low if counts[firsts[low + i]] > 1 else -1
            ends[i + 1] = ends[i] + lengths[low + i]
        for i in range(n_words + 1):
            sums[i + 1] = sums[i] + ends[i]
        repeats = True
        for n in range(2, min(longest, n_words) + 1):
            runs = n_words - n + 1
            told[text, n, ALL] = (sums[n_words + 1] - sums[n]) - sums[runs]
            if repeats:
                _link(before, now, firsts, low, runs, n, table, keys, seen)
                repeats = _tell(now, seen, ends, runs, n, told[text, n])
                before, now = now, before
    return told


@njit(cache=True, nogil=True)
def _link(before, now, firsts, low, runs, n, table, keys, seen):
    """First places of the runs of n words that may repeat, -1 for all others; `seen` counts them."""
    hopeful = 0
    for i in range(runs):
        hopeful += before[i] >= 0 and before[i + 1] >= 0
    mask = _mask_for(hopeful)
    table[: mask + 1] = -1
    for i in range(runs):
        now[i] = -1
        if before[i] < 0 or before[i + 1] < 0:
            continue
        key = (np.uint64(before[i]) << np.uint64(32)) | np.uint64(firsts[low + i + n - 1] - low)
        at = _place(key, mask)
        while table[at] >= 0 and keys[table[at]] != key:
            at = (at + 1) & mask
        if table[at] < 0:
            table[at] = i
            keys[i] = key
            seen[i] = 0
        now[i] = table[at]
        seen[now[i]] += 1


@njit(cache=True, nogil=True)
def _tell(now, seen, ends, runs, n, told):
    """Fill in what repeats; False when nothing does. Runs that stand there once become -1."""
    reach, best = 0, 1
    for i in range(runs):
        first = now[i]
        if first < 0:
            continue
        if seen[first] < 2:
            now[i] = -1
            continue
        size = ends[i + n] - ends[i]
        told[REPEATED] += size
        told[COVERED] += ends[i + n] - ends[max(i, reach)]
        reach = i + n
        if first == i and seen[i] > best:
            best = seen[i]
            told[TOP_COUNT], told[TOP_CHARACTERS] = best, size
    return best > 1


@njit(cache=True, nogil=True)
def _power(n):
    made, factor = np.uint64(1), BASE
    while n:
        if n & 1:
            made *= factor
        factor *= factor
        n >>= 1
    return made


@njit(cache=True, nogil=True)
def _powers():
    made = np.empty(_POWERS, np.uint64)
    made[0] = 1
    for i in range(1, _POWERS):
        made[i] = made[i - 1] * BASE
    return made


@njit(cache=True, nogil=True)
def scanned_repeats(hashes, lengths, offsets, longest):
    """Characters of runs met before, as datatrove counts them: (D, longest + 1), for runs of 5 words and more.

    Runs are read from the left, the next one after a known run begins behind it; runs are equal when their words
    written together are.
    """
    made = np.zeros((len(offsets) - 1, longest + 1), np.int64)
    powers = _powers()
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    joined, sizes = np.empty(most, np.uint64), np.empty(most, np.int64)
    table = np.empty(_mask_for(most) + 1, np.int64)
    for text in range(len(offsets) - 1):
        low, n_words = offsets[text], offsets[text + 1] - offsets[text]
        joined[:n_words] = hashes[low : low + n_words]
        sizes[:n_words] = lengths[low : low + n_words]
        for n in range(2, min(longest, n_words) + 1):
            runs = n_words - n + 1
            for i in range(runs):
                last = low + i + n - 1
                size = lengths[last]
                joined[i] = joined[i] * (powers[size] if size < _POWERS else _power(size)) + hashes[last]
                sizes[i] += size
            if n < 5:
                continue
            mask = _mask_for(runs)
            table[: mask + 1] = -1
            i = 0
            while i < runs:
                at = _place(joined[i], mask)
                while table[at] >= 0 and joined[table[at]] != joined[i]:
                    at = (at + 1) & mask
                if table[at] < 0:
                    table[at] = i
                    i += 1
                else:
                    made[text, n] += sizes[i]
                    i += n
    return made


@njit(cache=True, nogil=True)
def find_phrases(hashes, lengths, offsets, phrases, sizes):
    """Runs of words that are among the phrases: begin (word) and number of words of each, and offsets.

    `phrases` are sorted hashes of words joined by one space, `sizes` the numbers of words that any of them has.
    """
    powers, space = _powers(), scrambled(np.uint32(32))
    found_at, found_size = np.empty(64, np.int64), np.empty(64, np.int64)
    found = np.empty(len(offsets), np.int64)
    n_found = 0
    for text in range(len(offsets) - 1):
        found[text] = n_found
        for i in range(offsets[text], offsets[text + 1]):
            key, n = hashes[i], 1
            for size in sizes:
                if i + size > offsets[text + 1]:
                    break
                while n < size:
                    length = lengths[i + n]
                    key = (key * BASE + space) * (powers[length] if length < _POWERS else _power(length))
                    key += hashes[i + n]
                    n += 1
                at = np.searchsorted(phrases, key)
                if at < len(phrases) and phrases[at] == key:
                    if n_found == len(found_at):
                        found_at = np.concatenate((found_at, np.empty_like(found_at)))
                        found_size = np.concatenate((found_size, np.empty_like(found_size)))
                    found_at[n_found], found_size[n_found] = i, size
                    n_found += 1
    found[-1] = n_found
    return found_at[:n_found], found_size[:n_found], found
