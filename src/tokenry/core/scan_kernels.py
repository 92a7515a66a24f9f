"""Numba kernels that cut text as the well-known split patterns do, without a regular expression engine.

A text is two bytes for each character: its classes (the engine's own answer to \\p{L}, \\s, ...) and, in ASCII, itself.
One function per family of patterns says where the piece that starts here ends; alternatives are tried in the order of
the pattern, with the backtracking a regular expression engine would do.
"""

import numpy as np
from numba import njit

LETTER, NUMBER, SPACE, UPPER, LOWER, MARK = 1, 2, 4, 8, 16, 32
"""Classes: \\p{L}, \\p{N}, \\s, [\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}], [\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}], \\p{M}."""
CLASSES = (r"\p{L}", r"\p{N}", r"\s", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"\p{M}")

LOOKED_AT, UNSAFE = 64, 128
"""Set once the classes of a character are known; set where the engines do not agree on them."""

GPT2, CL100K, QWEN2, QWEN35, O200K, TEKKEN, METASPACE_RUNS = range(7)

_QUOTE, _BLANK, _NEWLINE, _RETURN, _SLASH, _METASPACE = 39, 32, 10, 13, 47, 128
_D, _E, _L, _M, _R, _S, _T, _V = 100, 101, 108, 109, 114, 115, 116, 118


@njit(cache=True, nogil=True, inline="always")
def _run(flags, start, mask):
    """End of the run of characters with a class of `mask`."""
    end = start
    while end < len(flags) and flags[end] & mask:
        end += 1
    return end


@njit(cache=True, nogil=True, inline="always")
def _others(flags, start, mask):
    """End of the run of characters with no class of `mask`."""
    end = start
    while end < len(flags) and not flags[end] & mask:
        end += 1
    return end


@njit(cache=True, nogil=True)
def _contraction(points, start, fold):
    """End of 's, 't, 're, 've, 'm, 'll or 'd at `start`; `start` when there is none. `fold` adds 32 to capitals."""
    if start + 1 >= len(points) or points[start] != _QUOTE:
        return start
    first = points[start + 1]
    if fold and 65 <= first <= 90:
        first += 32
    if first in (_S, _T, _M, _D):
        return start + 2
    if start + 2 >= len(points):
        return start
    second = points[start + 2]
    if fold and 65 <= second <= 90:
        second += 32
    if (first == _R and second == _E) or (first == _V and second == _E) or (first == _L and second == _L):
        return start + 3
    return start


@njit(cache=True, nogil=True)
def _spaces(flags, start):
    """`\\s+(?!\\S)|\\s+`: the run but its last character where something follows."""
    end = _run(flags, start, SPACE)
    return end - 1 if end < len(flags) and end - start > 1 else end


@njit(cache=True, nogil=True)
def _breaks(points, start, slash):
    """End of `[\\r\\n]*`, or `[\\r\\n/]*`."""
    end = start
    while end < len(points) and (
        points[end] == _NEWLINE or points[end] == _RETURN or (slash and points[end] == _SLASH)
    ):
        end += 1
    return end


@njit(cache=True, nogil=True)
def _tail(points, flags, start, known, slash):
    """` ?[^\\s known]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`; `start` when nothing matches."""
    n = len(points)
    at = start + 1 if points[start] == _BLANK and start + 1 < n and not flags[start + 1] & (known | SPACE) else start
    if not flags[at] & (known | SPACE):
        return _breaks(points, _others(flags, at, known | SPACE), slash)
    if not flags[start] & SPACE:
        return start
    end = _run(flags, start, SPACE)
    for i in range(end - 1, start - 1, -1):
        if points[i] == _NEWLINE or points[i] == _RETURN:
            return i + 1
    return _spaces(flags, start)


@njit(cache=True, nogil=True, inline="always")
def _gpt2(points, flags, start):
    end = _contraction(points, start, False)
    if end > start:
        return end
    at = start + 1 if points[start] == _BLANK and start + 1 < len(points) and not flags[start + 1] & SPACE else start
    if flags[at] & LETTER:
        return _run(flags, at, LETTER)
    if flags[at] & NUMBER:
        return _run(flags, at, NUMBER)
    if not flags[at] & SPACE:
        return _others(flags, at, LETTER | NUMBER | SPACE)
    return _spaces(flags, start)


@njit(cache=True, nogil=True, inline="always")
def _numbers(flags, start, most):
    end = start
    while end < len(flags) and end - start < most and flags[end] & NUMBER:
        end += 1
    return end


@njit(cache=True, nogil=True, inline="always")
def _starts_word(points, flags, start):
    """Is this `[^\\r\\n\\p{L}\\p{N}]`?"""
    return not flags[start] & (LETTER | NUMBER) and points[start] != _NEWLINE and points[start] != _RETURN


@njit(cache=True, nogil=True, inline="always")
def _uncased(points, flags, start, letters, most):
    """cl100k and its relatives; `letters` makes a word, numbers have at most `most` digits."""
    end = _contraction(points, start, True)
    if end > start:
        return end
    n = len(points)
    if _starts_word(points, flags, start) and start + 1 < n and flags[start + 1] & letters:
        return _run(flags, start + 1, letters)
    if flags[start] & letters:
        return _run(flags, start, letters)
    if flags[start] & NUMBER:
        return _numbers(flags, start, most)
    return _tail(points, flags, start, letters | NUMBER, False)


@njit(cache=True, nogil=True)
def _lower_end(flags, start):
    """End of `U*L+` (upper run, then lower run) from `start`; `start` when it does not match."""
    end = _run(flags, start, UPPER)
    if end < len(flags) and flags[end] & LOWER:
        return _run(flags, end, LOWER)
    # The upper run gives back until what it gives back is of both classes (a mark, a letter without case).
    for i in range(end - 1, start - 1, -1):
        if flags[i] & LOWER:
            return i + 1
    return start


@njit(cache=True, nogil=True, inline="always")
def _cased(points, flags, start, contractions, most):
    """o200k and tekken."""
    n = len(points)
    behind = start + 1 if _starts_word(points, flags, start) and start + 1 < n else -1
    end = start
    if behind > 0:
        end = _lower_end(flags, behind)
        end = end if end > behind else start
    if end == start:
        end = _lower_end(flags, start)
    if end == start and behind > 0 and flags[behind] & UPPER:
        end = _run(flags, behind, UPPER)
    if end == start and flags[start] & UPPER:
        end = _run(flags, start, UPPER)
    if end > start:
        return _contraction(points, end, True) if contractions else end
    if flags[start] & NUMBER:
        return _numbers(flags, start, most)
    return _tail(points, flags, start, LETTER | NUMBER, True)


@njit(cache=True, nogil=True, inline="always")
def _metaspace_run(points, start):
    """`▁*[^▁]+|▁+`."""
    end = start
    while end < len(points) and points[end] == _METASPACE:
        end += 1
    while end < len(points) and points[end] != _METASPACE:
        end += 1
    return end


@njit(cache=True, nogil=True)
def _cut_gpt2(points, flags, sizes, ends, n_pieces, n_bytes):
    """Enter the ends of one text's pieces; returns how many there are in all and the bytes, -1 where nothing matches.

    One loop a family, with its function inside: a call for each piece would cost as much as the cutting.
    """
    start = 0
    while start < len(points):
        end = _gpt2(points, flags, start)
        if end <= start:
            return -1, n_bytes
        for i in range(start, end):
            n_bytes += sizes[i]
        ends[n_pieces] = n_bytes
        n_pieces += 1
        start = end
    return n_pieces, n_bytes


@njit(cache=True, nogil=True)
def _cut_uncased(points, flags, sizes, ends, n_pieces, n_bytes, letters, most):
    start = 0
    while start < len(points):
        end = _uncased(points, flags, start, letters, most)
        if end <= start:
            return -1, n_bytes
        for i in range(start, end):
            n_bytes += sizes[i]
        ends[n_pieces] = n_bytes
        n_pieces += 1
        start = end
    return n_pieces, n_bytes


@njit(cache=True, nogil=True)
def _cut_cased(points, flags, sizes, ends, n_pieces, n_bytes, contractions, most):
    start = 0
    while start < len(points):
        end = _cased(points, flags, start, contractions, most)
        if end <= start:
            return -1, n_bytes
        for i in range(start, end):
            n_bytes += sizes[i]
        ends[n_pieces] = n_bytes
        n_pieces += 1
        start = end
    return n_pieces, n_bytes


@njit(cache=True, nogil=True)
def _cut_metaspace(points, sizes, ends, n_pieces, n_bytes):
    start = 0
    while start < len(points):
        end = _metaspace_run(points, start)
        for i in range(start, end):
            n_bytes += sizes[i]
        ends[n_pieces] = n_bytes
        n_pieces += 1
        start = end
    return n_pieces, n_bytes


@njit(cache=True, nogil=True)
def _cut(points, flags, sizes, ends, n_pieces, n_bytes, family):
    if family == GPT2:
        return _cut_gpt2(points, flags, sizes, ends, n_pieces, n_bytes)
    if family == CL100K:
        return _cut_uncased(points, flags, sizes, ends, n_pieces, n_bytes, LETTER, 3)
    if family == QWEN2:
        return _cut_uncased(points, flags, sizes, ends, n_pieces, n_bytes, LETTER, 1)
    if family == QWEN35:
        return _cut_uncased(points, flags, sizes, ends, n_pieces, n_bytes, LETTER | MARK, 1)
    if family == O200K:
        return _cut_cased(points, flags, sizes, ends, n_pieces, n_bytes, True, 3)
    if family == TEKKEN:
        return _cut_cased(points, flags, sizes, ends, n_pieces, n_bytes, False, 1)
    return _cut_metaspace(points, sizes, ends, n_pieces, n_bytes)


@njit(cache=True, nogil=True)
def _decoded(data, start, end, table, points, flags, sizes):
    """Characters of a text in UTF-8: ASCII codes (128 for a metaspace, 255 for others), classes, bytes.

    Returns how many there are; -1 - c where character c has not been looked at yet, or is not safe.
    """
    at, n = start, 0
    while at < end:
        first = data[at]
        if first < 0x80:
            code, size = np.uint32(first), 1
        elif first < 0xE0:
            code, size = (np.uint32(first & 0x1F) << 6) | (data[at + 1] & 0x3F), 2
        elif first < 0xF0:
            code = (np.uint32(first & 0x0F) << 12) | (np.uint32(data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F)
            size = 3
        else:
            code = (np.uint32(first & 0x07) << 18) | (np.uint32(data[at + 1] & 0x3F) << 12)
            code |= (np.uint32(data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F)
            size = 4
        seen = table[code]
        if seen & (LOOKED_AT | UNSAFE) != LOOKED_AT:
            return -1 - np.int64(code)
        flags[n], sizes[n] = seen, size
        points[n] = first if first < 0x80 else _METASPACE if code == 0x2581 else 255
        at += size
        n += 1
    return n


@njit(cache=True, nogil=True)
def find_ends(data, text_ends, table, family):
    """Cut texts.

    Args:
        data: uint8 (N,), the UTF-8 of all texts end to end; must be valid.
        text_ends: int64 (D,), where each text ends in `data`; no piece crosses.
        table: uint8 (0x110000,), classes of each code point, `LOOKED_AT` and `UNSAFE`.
        family: `GPT2`, ...

    Returns:
        int64 (P,), where each piece ends in `data`; and -1, or the code point which stopped the work because it has not
        been looked at or is not safe (its state is in the table), or 0x110000 where no alternative of the pattern
        matches.
    """
    longest, first = 0, 0
    for last in text_ends:
        longest = max(longest, last - first)
        first = last
    points, flags, sizes = np.empty(longest, np.uint8), np.empty(longest, np.uint8), np.empty(longest, np.uint8)
    ends = np.empty(len(data) // 3 + 64, np.int64)
    n_pieces, n_bytes, first = 0, 0, 0
    for last in text_ends:
        n = _decoded(data, first, last, table, points, flags, sizes)
        if n < 0:
            return ends[:0], -1 - n
        here, classes = points[:n], flags[:n]
        if n_pieces + n > len(ends):
            longer = np.empty(2 * (n_pieces + n), np.int64)
            longer[:n_pieces] = ends[:n_pieces]
            ends = longer
        n_pieces, n_bytes = _cut(here, classes, sizes, ends, n_pieces, n_bytes, family)
        if n_pieces < 0:
            return ends[:0], np.int64(0x110000)
        first = last
    return ends[:n_pieces], np.int64(-1)
