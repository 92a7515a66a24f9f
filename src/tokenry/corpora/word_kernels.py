"""Numba kernels that spell normalised words: no ASCII punctuation, lower case, decomposed, cut at white space."""

import numpy as np
from numba import njit

from tokenry.corpora.text_kernels import hash_of

SIGMAS = (0x3A3, 0x3C2, 0x3C3)
"""Capital sigma and its two small forms."""
ENDS_LOREM, BEGINS_IPSUM = np.uint8(1), np.uint8(2)
"""Tags of words: what ends with "lorem", what begins with "ipsum"."""
_LOREM = np.array([108, 111, 114, 101, 109], np.uint32)
_IPSUM = np.array([105, 112, 115, 117, 109], np.uint32)
_INSERT = 32  # marks in a row that are put in order by insertion; longer rows are counted, whatever a text may hold
_SPACE, _NUMERIC, _PUNCTUATION = np.uint16(1), np.uint16(32), np.uint16(256)


@njit(cache=True, nogil=True)
def _count_words(codes, starts, bits):
    n = 0
    for text in range(len(starts) - 1):
        inside = False
        for at in range(starts[text], starts[text + 1]):
            kind = bits[codes[at]]
            if kind & _SPACE:
                inside = False
            elif not kind & _PUNCTUATION and not inside:
                inside = True
                n += 1
    return n


@njit(cache=True, nogil=True)
def _put_in_order(buffer, n, order):
    """Canonical order of the combining marks: within a row of them by class, equal classes as they stood."""
    at = 0
    while at < n:
        if order[buffer[at]] == 0:
            at += 1
            continue
        end = at
        while end < n and order[buffer[end]] != 0:
            end += 1
        if end - at <= _INSERT:
            for i in range(at + 1, end):
                held, j = buffer[i], i
                while j > at and order[buffer[j - 1]] > order[held]:
                    buffer[j] = buffer[j - 1]
                    j -= 1
                buffer[j] = held
        else:
            places = np.zeros(257, np.int64)
            for i in range(at, end):
                places[order[buffer[i]] + 1] += 1
            for k in range(256):
                places[k + 1] += places[k]
            copy = buffer[at:end].copy()
            for i in range(len(copy)):
                kind = order[copy[i]]
                buffer[at + places[kind]] = copy[i]
                places[kind] += 1
        at = end


@njit(cache=True, nogil=True)
def _tags(buffer, n):
    tag = np.uint8(0)
    if n >= 5:
        lorem, ipsum = True, True
        for k in range(5):
            lorem &= buffer[n - 5 + k] == _LOREM[k]
            ipsum &= buffer[k] == _IPSUM[k]
        if lorem:
            tag |= ENDS_LOREM
        if ipsum:
            tag |= BEGINS_IPSUM
    return tag


@njit(cache=True, nogil=True)
def folded_words(codes, starts, bits, fold_starts, fold_values, order):
    """The normalised words: without ASCII punctuation, in lower case, canonically decomposed, cut at white space.

    Returns hashes, lengths (characters of the normalised word), numeric characters, tags, first and last position
    (+ 1) in the text, and offsets.
    """
    n_words = _count_words(codes, starts, bits)
    hashes, lengths = np.empty(n_words, np.uint64), np.empty(n_words, np.int64)
    numeric, tags = np.zeros(n_words, np.int64), np.zeros(n_words, np.uint8)
    begins, ends = np.empty(n_words, np.int64), np.empty(n_words, np.int64)
    offsets = np.empty(len(starts), np.int64)
    buffer = np.empty(256, np.uint32)
    word = 0
    for text in range(len(starts) - 1):
        offsets[text] = word
        n, marked = 0, False
        for at in range(starts[text], starts[text + 1] + 1):
            kind = _SPACE if at == starts[text + 1] else bits[codes[at]]
            if kind & _SPACE:
                if n:
                    if marked:
                        _put_in_order(buffer, n, order)
                    hashes[word], lengths[word] = hash_of(buffer, 0, n), n
                    tags[word] = _tags(buffer, n)
                    for k in range(n):
                        numeric[word] += (bits[buffer[k]] & _NUMERIC) != 0
                    word += 1
                    n, marked = 0, False
            elif not kind & _PUNCTUATION:
                if n == 0:
                    begins[word] = at
                ends[word] = at + 1
                low, high = fold_starts[codes[at]], fold_starts[codes[at] + 1]
                if n + high - low > len(buffer):
                    wider = np.empty(2 * len(buffer), np.uint32)
                    wider[:n] = buffer[:n]
                    buffer = wider
                for k in range(low, high):
                    buffer[n] = fold_values[k]
                    marked |= order[buffer[n]] != 0
                    n += 1
    offsets[-1] = word
    return hashes, lengths, numeric, tags, begins, ends, offsets
