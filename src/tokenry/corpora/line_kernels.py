"""Numba kernels for what C4 asks of a line: does it hold a phrase, and which rule, if any, would drop it."""

import numpy as np
from numba import njit

from tokenry.corpora.text_kernels import sentences_of

KEPT, LONG_WORD, NO_CLOSING, FEW_WORDS, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACKET, POLICY = range(8)
"""What becomes of a line."""
_SPACE, _DECIMAL = np.uint16(1), np.uint16(64)
_LONGEST_WORD, _FEWEST_WORDS = 1000, 3


@njit(cache=True, nogil=True)
def _stands(codes, at, end, lower, phrase):
    if at + len(phrase) > end:
        return False
    same = 0
    while same < len(phrase) and lower[codes[at + same]] == phrase[same]:
        same += 1
    return same == len(phrase)


@njit(cache=True, nogil=True)
def holds(codes, begins, ends, lower, phrase):
    """Which spans hold the phrase (in lower case), whatever their case."""
    made = np.zeros(len(begins), np.bool_)
    for i in range(len(begins)):
        for at in range(begins[i], ends[i] - len(phrase) + 1):
            if lower[codes[at]] == phrase[0] and _stands(codes, at, ends[i], lower, phrase):
                made[i] = True
                break
    return made


@njit(cache=True, nogil=True)
def _bucket(first, second, third):
    return ((first * 31 + second) * 31 + third) & 4095


@njit(cache=True, nogil=True)
def holds_any(codes, begins, ends, lower, phrases, bounds):
    """Which spans hold one of many phrases (in lower case, of three characters and more), whatever their case."""
    heads, following = np.full(4096, -1, np.int64), np.empty(len(bounds), np.int64)
    for k in range(len(bounds) - 1):
        at = bounds[k]
        place = _bucket(np.int64(phrases[at]), np.int64(phrases[at + 1]), np.int64(phrases[at + 2]))
        following[k] = heads[place]
        heads[place] = k
    made = np.zeros(len(begins), np.bool_)
    for i in range(len(begins)):
        at, end = begins[i], ends[i]
        while at + 3 <= end and not made[i]:
            place = _bucket(np.int64(lower[codes[at]]), np.int64(lower[codes[at + 1]]), np.int64(lower[codes[at + 2]]))
            k = heads[place]
            while k >= 0 and not made[i]:
                made[i] = _stands(codes, at, end, lower, phrases[bounds[k] : bounds[k + 1]])
                k = following[k]
            at += 1
    return made


@njit(cache=True, nogil=True)
def _citation(codes, at, end, bits, edit, needed):
    r"""Characters of the citation that begins here: [12], [edit], [citation needed]; 0 for none."""
    if codes[at] != 91:
        return 0
    to = at + 1
    while to < end and bits[codes[to]] & _DECIMAL:
        to += 1
    if to < end and codes[to] == 93:
        return to + 1 - at
    for phrase in (edit, needed):
        if at + len(phrase) <= end:
            same = True
            for k in range(len(phrase)):
                same &= codes[at + k] == phrase[k]
            if same:
                return len(phrase)
    return 0


@njit(cache=True, nogil=True)
def _closes(line, n):
    if n == 0:
        return False
    last = line[n - 1]
    if not (last == 46 or last == 63 or last == 33 or last == 34 or last == 39):
        return False
    return not (n >= 3 and last == 46 and line[n - 2] == 46 and line[n - 3] == 46)


@njit(cache=True, nogil=True)
def _words_and_longest(codes, low, high, bits):
    n, longest, run = 0, 0, 0
    for at in range(low, high):
        if bits[codes[at]] & _SPACE:
            run = 0
        else:
            n += run == 0
            run += 1
            longest = max(longest, run)
    return n, longest


@njit(cache=True, nogil=True)
def _beginnings(phrases, bounds):
    """Which characters of ASCII begin a phrase."""
    made = np.zeros(128, np.bool_)
    for k in range(len(bounds) - 1):
        made[phrases[bounds[k]]] = True
    return made


@njit(cache=True, nogil=True)
def _phrase_rule(line, n, lower, phrases, bounds, begins):
    """Whether lorem ipsum, javascript and any policy phrase stand in the line."""
    lorem, script, policy = False, False, False
    for at in range(n):
        code = lower[line[at]]
        if code >= 128 or not begins[code]:
            continue
        for k in range(len(bounds) - 1):
            low, size = bounds[k], bounds[k + 1] - bounds[k]
            if code != phrases[low] or at + size > n or lower[line[at + 1]] != phrases[low + 1]:
                continue
            same = 2
            while same < size and lower[line[at + same]] == phrases[low + same]:
                same += 1
            if same == size:
                lorem |= k == 0
                script |= k == 1
                policy |= k > 1
    return lorem, script, policy


@njit(cache=True, nogil=True)
def line_fates(codes, begins, ends, bits, lower, phrases, bounds, edit, needed):
    """What C4's rules, in datatrove's order, make of each stripped line, and the sentences of those that are kept.

    `phrases` are "lorem ipsum", "javascript" and the policy phrases one after the other, cut at `bounds`.
    """
    fates, sentences = np.zeros(len(begins), np.uint8), np.zeros(len(begins), np.int64)
    line, first = np.empty(256, np.uint32), _beginnings(phrases, bounds)
    for i in range(len(begins)):
        low, high = begins[i], ends[i]
        n_words, longest = _words_and_longest(codes, low, high, bits)
        if longest > _LONGEST_WORD:
            fates[i] = LONG_WORD
            continue
        if high - low > len(line):
            line = np.empty(2 * (high - low), np.uint32)
        n, at, curly = 0, low, False
        while at < high:
            size = _citation(codes, at, high, bits, edit, needed)
            if size:
                at += size
                continue
            line[n] = codes[at]
            curly |= codes[at] == 123
            n += 1
            at += 1
        if not _closes(line, n):
            fates[i] = NO_CLOSING
            continue
        if n_words < _FEWEST_WORDS:
            fates[i] = FEW_WORDS
            continue
        lorem, script, policy = _phrase_rule(line, n, lower, phrases, bounds, first)
        if lorem:
            fates[i] = LOREM_IPSUM
        elif script:
            fates[i] = JAVASCRIPT
        elif curly:
            fates[i] = CURLY_BRACKET
        elif policy:
            fates[i] = POLICY
        else:
            sentences[i] = sentences_of(line, 0, n, bits)
    return fates, sentences
