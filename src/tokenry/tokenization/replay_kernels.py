"""Numba kernels of the merge engine, third part: replay a known merge list on words."""

import heapq

import numpy as np
from numba import njit

from tokenry.tokenization.pair_kernels import EMPTY, NEVER, find, next_token, pack


@njit(cache=True, nogil=True)
def contains(cells, parts):
    """Do these symbols stand side by side anywhere?"""
    for p in range(len(cells) - len(parts) + 1):
        if cells[p] == parts[0]:
            same = True
            for k in range(1, len(parts)):
                if cells[p + k] != parts[k]:
                    same = False
                    break
            if same:
                return True
    return False


@njit(cache=True, nogil=True)
def rank_table(merges, stamp):
    """Hash of pair -> rank, for `replay`: (keys, ranks). A pair listed twice has its last rank."""
    room = 1024
    while room < 3 * len(merges):
        room *= 2
    keys, ranks = np.full(room, EMPTY), np.zeros(room, np.int64)
    for rank in range(len(merges)):
        key = pack(merges[rank, 0], merges[rank, 1])
        slot = find(keys, key)
        if slot < 0:
            slot = -slot - 1
            keys[slot] = key
        ranks[slot] = rank
    return keys, ranks


@njit(cache=True, nogil=True)
def _rank(keys, ranks, left, right):
    slot = find(keys, pack(left, right))
    return ranks[slot] if slot >= 0 else NEVER


@njit(cache=True, nogil=True)
def _replay_short(word, keys, ranks, results):
    """Merge in place by scanning for the smallest rank; returns the new length."""
    n = len(word)
    ahead = np.empty(n, np.int64)
    for i in range(n - 1):
        ahead[i] = _rank(keys, ranks, word[i], word[i + 1])
    while n > 1:
        best = 0
        for i in range(1, n - 1):
            if ahead[i] < ahead[best]:
                best = i
        if ahead[best] == NEVER:
            break
        word[best] = results[ahead[best]]
        for i in range(best + 1, n - 1):
            word[i] = word[i + 1]
        for i in range(best + 1, n - 2):
            ahead[i] = ahead[i + 1]
        n -= 1
        if best > 0:
            ahead[best - 1] = _rank(keys, ranks, word[best - 1], word[best])
        if best < n - 1:
            ahead[best] = _rank(keys, ranks, word[best], word[best + 1])
    return n


@njit(cache=True, nogil=True)
def _replay_long(word, keys, ranks, results):
    """Merge in place with a queue of (rank, position), so a long word costs n log n; returns the new length."""
    n = len(word)
    after, before = np.arange(1, n + 1), np.arange(-1, n - 1)
    alive = np.ones(n, np.bool_)
    queue = [(_rank(keys, ranks, word[i], word[i + 1]), i, word[i], word[i + 1]) for i in range(n - 1)]
    queue = [entry for entry in queue if entry[0] < NEVER]
    heapq.heapify(queue)
    while len(queue):
        rank, i, left, right = heapq.heappop(queue)
        j = after[i]
        if not alive[i] or j >= n or word[i] != left or word[j] != right:
            continue
        word[i] = results[rank]
        alive[j] = False
        after[i] = after[j]
        if after[j] < n:
            before[after[j]] = i
            rank = _rank(keys, ranks, word[i], word[after[i]])
            if rank < NEVER:
                heapq.heappush(queue, (rank, i, word[i], word[after[i]]))
        if before[i] >= 0:
            h = before[i]
            rank = _rank(keys, ranks, word[h], word[i])
            if rank < NEVER:
                heapq.heappush(queue, (rank, h, word[h], word[i]))
    n_left = 0
    for i in range(n):
        if alive[i]:
            word[n_left] = word[i]
            n_left += 1
    return n_left


@njit(cache=True, nogil=True)
def replay(cells, offsets, keys, ranks, results, stamp):
    """Merge every word in place (its ids move to its front); returns the words' new lengths."""
    lengths = np.zeros(len(offsets) - 1, np.int64)
    for word in range(len(lengths)):
        ids = cells[offsets[word] : offsets[word + 1]]
        if len(ids) <= 64:
            lengths[word] = _replay_short(ids, keys, ranks, results)
        else:
            lengths[word] = _replay_long(ids, keys, ranks, results)
    return lengths


@njit(cache=True, nogil=True)
def gather(cells, offsets, ends):
    """The front `ends[w+1] - ends[w]` ids of every word, end to end."""
    ids = np.empty(ends[-1], np.int32)
    for word in range(len(ends) - 1):
        n = ends[word + 1] - ends[word]
        ids[ends[word] : ends[word + 1]] = cells[offsets[word] : offsets[word] + n]
    return ids


@njit(cache=True, nogil=True)
def compact(cells, offsets, stamp):
    """The tokens of cells in which merges were learned, one each, and where each word starts among them."""
    n = 0
    for cell in cells[: offsets[-1]]:
        if cell >= 0:
            n += 1
    symbols, starts, end = np.empty(n, np.int32), np.zeros(len(offsets), np.int64), 0
    for word in range(len(offsets) - 1):
        p = offsets[word]
        while p < offsets[word + 1]:
            symbols[end] = cells[p]
            end += 1
            p = next_token(cells, p)
        starts[word + 1] = end
    return symbols, starts
