"""Numba kernels of the merge engine, first part: the pairs of a word table, counted, queued and listed.

One int32 cell per start symbol of the unique words. A token is a span of cells: its first cell holds the id; where it
is longer than one cell, its second and its last cell hold minus its length (the same cell where the length is 2), so
both neighbours are found without links. Every other cell of a span is negative too, so a position that was swallowed
never looks like a token.

Packed arguments: `table` = (keys, counts, guards) of an open-addressing hash of pairs, `heap` = (counts, keys, list
starts, list lengths), `words` = (offsets, counts, guards, index of blocks), `rules` = (sizes, limits, min_count), where
`sizes` = (name lengths, word marks) by symbol and `limits` = (max_length, max_words), 0 for none. A length below 0 bars
a symbol. A word mark holds how many words a symbol has (runs of anything but white space), times 4, plus 2 where it
begins and 1 where it ends with white space; there are none where words are not limited.

numba's cache only knows a kernel's own file, and the kernels of the other files hold copies of these: their entry
points take a `stamp`, an empty array whose type names the content of this file.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

STAMP = np.zeros(0, np.dtype([("k" + hashlib.blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest(), "i1")]))

EMPTY = np.int64(-1)
NEVER = np.int64(2**62)  # more than any count, later than any rank
_BLOCK = 4  # one entry of the position-to-word index per 2**4 cells


@njit(cache=True, nogil=True)
def mix(key):
    h = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True)
def find(keys, key):
    """Slot of a key, or -(free slot) - 1."""
    mask = np.uint64(len(keys) - 1)
    slot = mix(key) & mask
    while True:
        held = keys[slot]
        if held == key:
            return np.int64(slot)
        if held == EMPTY:
            return -np.int64(slot) - 1
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def pack(left, right):
    return (np.int64(left) << 32) | np.int64(right)


@njit(cache=True, nogil=True)
def rehash(table, least):
    """The table with the pairs below `least` dropped, in twice the room the rest needs."""
    keys, counts, guards = table
    n_live = 0
    for i in range(len(keys)):
        if keys[i] != EMPTY and counts[i] >= least:
            n_live += 1
    room = 1024
    while room < 3 * n_live:
        room *= 2
    new_keys = np.full(room, EMPTY)
    new_counts = np.zeros(room, np.int64)
    new_guards = np.zeros(room if len(guards) else 0, np.int64)
    for i in range(len(keys)):
        if keys[i] != EMPTY and counts[i] >= least:
            slot = -find(new_keys, keys[i]) - 1
            new_keys[slot] = keys[i]
            new_counts[slot] = counts[i]
            if len(guards):
                new_guards[slot] = guards[i]
    return new_keys, new_counts, new_guards


@njit(cache=True, nogil=True)
def add(table, n_used, key, amounts, insert, least):
    """Add (count, guard) to a pair; a pair that is not held is entered only if `insert`."""
    slot = find(table[0], key)
    if slot < 0:
        if not insert:
            return table, n_used
        if 2 * n_used >= len(table[0]):
            table = rehash(table, least)
            n_used = np.count_nonzero(table[0] != EMPTY)
            slot = find(table[0], key)
        slot = -slot - 1
        table[0][slot] = key
        table[1][slot] = 0
        if len(table[2]):
            table[2][slot] = 0
        n_used += 1
    table[1][slot] += amounts[0]
    if len(table[2]):
        table[2][slot] += amounts[1]
    return table, n_used


@njit(cache=True, nogil=True)
def _above(heap, i, j):
    """Does entry i come before entry j: larger count first, then smaller pair."""
    return heap[0][i] > heap[0][j] or (heap[0][i] == heap[0][j] and heap[1][i] < heap[1][j])


@njit(cache=True, nogil=True)
def _swap(heap, i, j):
    counts, keys, starts, lengths = heap
    counts[i], counts[j] = counts[j], counts[i]
    keys[i], keys[j] = keys[j], keys[i]
    starts[i], starts[j] = starts[j], starts[i]
    lengths[i], lengths[j] = lengths[j], lengths[i]


@njit(cache=True, nogil=True)
def sift_down(heap, i, size):
    while True:
        child = 2 * i + 1
        if child >= size:
            return
        if child + 1 < size and _above(heap, child + 1, child):
            child += 1
        if not _above(heap, child, i):
            return
        _swap(heap, i, child)
        i = child


@njit(cache=True, nogil=True)
def _sift_up(heap, i):
    while i > 0:
        parent = (i - 1) >> 1
        if not _above(heap, i, parent):
            return
        _swap(heap, i, parent)
        i = parent


@njit(cache=True, nogil=True)
def longer(array, size):
    new = np.empty(size, array.dtype)
    new[: len(array)] = array
    return new


@njit(cache=True, nogil=True)
def push(heap, size, entry):
    if size == len(heap[0]):
        room = 2 * size + 16
        heap = (longer(heap[0], room), longer(heap[1], room), longer(heap[2], room), longer(heap[3], room))
    heap[0][size], heap[1][size], heap[2][size], heap[3][size] = entry
    _sift_up(heap, size)
    return heap


@njit(cache=True, nogil=True)
def pop(heap, size):
    entry = (heap[0][0], heap[1][0], heap[2][0], heap[3][0])
    size -= 1
    heap[0][0], heap[1][0], heap[2][0], heap[3][0] = heap[0][size], heap[1][size], heap[2][size], heap[3][size]
    sift_down(heap, 0, size)
    return entry, size


@njit(cache=True, nogil=True)
def word_index(offsets, n_cells):
    """For every block of cells the word its first cell belongs to."""
    index = np.zeros((n_cells >> _BLOCK) + 1, np.int32)
    word = 0
    for block in range(len(index)):
        cell = block << _BLOCK
        while word + 2 < len(offsets) and offsets[word + 1] <= cell:
            word += 1
        index[block] = word
    return index


@njit(cache=True, nogil=True)
def word_of(index, offsets, cell):
    word = np.int64(index[cell >> _BLOCK])
    while offsets[word + 1] <= cell:
        word += 1
    return word


@njit(cache=True, nogil=True)
def joined_mark(left, right):
    """Word mark of two symbols side by side: a word that ends the left and one that begins the right are one."""
    n_words = (left >> 2) + (right >> 2) - (1 if not (left & 1 or right & 2) else 0)
    return n_words << 2 | (left & 2) | (right & 1)


@njit(cache=True, nogil=True)
def may_join(lengths, marks, limits, left, right):
    """Symbols without a name never merge; names may not grow past the limits."""
    if lengths[left] < 0 or lengths[right] < 0:
        return False
    if limits[0] and lengths[left] + lengths[right] > limits[0]:
        return False
    return limits[1] == 0 or joined_mark(marks[left], marks[right]) >> 2 <= limits[1]


@njit(cache=True, nogil=True)
def next_token(cells, p):
    """Where the token after the one at p starts."""
    return p - cells[p + 1] if cells[p + 1] < 0 else p + 1


@njit(cache=True, nogil=True)
def _sketch_pairs(cells, words, rules):
    """Pair counts and numbers of positions, added up in buckets: never less than those of a pair in the bucket."""
    (offsets, counts), (lengths, marks) = words[:2], rules[0]  # taken apart here: in the loop it would cost a third
    room = 1 << 12
    while room < len(cells) and room < 1 << 20:
        room *= 2
    weights, numbers = np.zeros(room, np.int64), np.zeros(room, np.int32)
    mask = np.uint64(room - 1)
    for word in range(len(counts)):
        p, end = offsets[word], offsets[word + 1]
        while p < end:
            q = next_token(cells, p)
            if q < end and may_join(lengths, marks, rules[1], cells[p], cells[q]):
                bucket = mix(pack(cells[p], cells[q])) & mask
                weights[bucket] += counts[word]
                numbers[bucket] += 1
            p = q
    return weights, numbers


@njit(cache=True, nogil=True)
def _floor(counts, numbers, min_count, budget):
    """Smallest pair count worth queueing now: the lists of more frequent pairs hold about `budget` positions."""
    low, high = min_count, min_count
    for slot in range(len(counts)):
        if numbers[slot]:
            high = max(high, counts[slot])
    while low < high:
        middle = (low + high) // 2
        total = 0
        for slot in range(len(counts)):
            if counts[slot] >= middle:
                total += numbers[slot]
        if total > budget:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _count_pairs(cells, words, rules, weights, floor):
    """Hash table of the pairs of all words as they are cut now; pairs whose bucket is below `floor` are left out."""
    (offsets, counts, guards, _), (lengths, marks) = words, rules[0]
    keys = np.full(1 << 10, EMPTY)
    table = (keys, np.zeros(len(keys), np.int64), np.zeros(len(keys) if len(guards) else 0, np.int64))
    n_used = 0
    mask = np.uint64(len(weights) - 1)
    for word in range(len(counts)):
        p, end = offsets[word], offsets[word + 1]
        while p < end:
            q = next_token(cells, p)
            if q < end and may_join(lengths, marks, rules[1], cells[p], cells[q]):
                key = pack(cells[p], cells[q])
                if weights[mix(key) & mask] >= floor:
                    guard = guards[word] if len(guards) else np.int64(0)
                    table, n_used = add(table, n_used, key, (counts[word], guard), True, -NEVER)
            p = q
    return table


@njit(cache=True, nogil=True)
def _list_lengths(cells, offsets, keys):
    """How many positions each slot of the table has."""
    numbers = np.zeros(len(keys), np.int64)
    for word in range(len(offsets) - 1):
        p, end = offsets[word], offsets[word + 1]
        while p < end:
            q = next_token(cells, p)
            if q < end:
                slot = find(keys, pack(cells[p], cells[q]))
                if slot >= 0:
                    numbers[slot] += 1
            p = q
    return numbers


@njit(cache=True, nogil=True)
def _queue_pairs(cells, offsets, table, numbers, floor):
    """Queue and position lists of the pairs with at least `floor` occurrences: (heap, size, pool, end of pool)."""
    keys, counts, _ = table
    kept = np.int64(0)
    size = 0
    for slot in range(len(keys)):
        if numbers[slot] and counts[slot] >= floor:
            kept += numbers[slot]
            size += 1
    # A merge removes one pair of neighbours for good and makes at most two positions: this is never outgrown, and
    # room that is not written to costs no memory.
    pool = np.empty(kept + 2 * len(cells), np.int32)
    room = 2 * size + 16
    heap = (np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    ends = np.full(len(keys), np.int64(-1))
    end, size = np.int64(0), 0
    for slot in range(len(keys)):
        if numbers[slot] and counts[slot] >= floor:
            heap[0][size], heap[1][size], heap[2][size], heap[3][size] = counts[slot], keys[slot], end, numbers[slot]
            ends[slot] = end
            end += numbers[slot]
            size += 1
    for word in range(len(offsets) - 1):
        p, last = offsets[word], offsets[word + 1]
        while p < last:
            q = next_token(cells, p)
            if q < last:
                slot = find(keys, pack(cells[p], cells[q]))
                if slot >= 0 and ends[slot] >= 0:
                    pool[ends[slot]] = p
                    ends[slot] += 1
            p = q
    for i in range(size // 2, -1, -1):
        sift_down(heap, i, size)
    return heap, size, pool, end


@njit(cache=True, nogil=True)
def look_afresh(cells, words, rules, budget, exact):
    """Count the pairs of the words as they are now and queue the frequent ones.

    Args:
        rules: (sizes, limits, min_count).
        budget: positions to list at most, roughly. What is rarer waits until the queue is empty and this is called
            again: lists of all pairs at once would take more memory than the words.
        exact: queue everything and remember everything.

    Returns:
        table, queue = (heap, size, pool, end of pool), floor = smallest count that is in the queue.
    """
    if exact or len(words[2]):
        # A pair passed over for its guard must not come back, so with guards everything is queued at once.
        floor = np.int64(1) if exact else rules[2]
        table = _count_pairs(cells, words, rules, np.full(1, NEVER), floor)
        queue = _queue_pairs(cells, words[0], table, _list_lengths(cells, words[0], table[0]), floor)
        return rehash(table, -NEVER if exact else floor), queue, floor
    weights, numbers = _sketch_pairs(cells, words, rules)
    while True:
        floor = _floor(weights, numbers, rules[2], budget)
        table = _count_pairs(cells, words, rules, weights, floor)
        queue = _queue_pairs(cells, words[0], table, _list_lengths(cells, words[0], table[0]), floor)
        if queue[1] > 0 or floor <= rules[2]:
            return rehash(table, floor), queue, floor
        budget *= 4  # a bucket of several pairs is heavier than each of them, so the floor may be above all
