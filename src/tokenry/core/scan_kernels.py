"""Numba kernels that cut text as the well-known split patterns do, without a regular expression engine.

A text is two bytes for each of its bytes in UTF-8: the byte, and the classes of its character (the engine's own answer
to \\p{L}, \\s, ...); so a run of a class ends between two characters, and where a piece ends needs no adding up. One
function per family of patterns says where the piece that starts here ends; alternatives are tried in the order of the
pattern, with the backtracking a regular expression engine would do.
"""

import numpy as np
from numba import njit

from tokenry.core.wide_kernels import ONES, byte_at, eight_at, first_byte_of

LETTER, NUMBER, SPACE, UPPER, LOWER, MARK = 1, 2, 4, 8, 16, 32
"""Classes: \\p{L}, \\p{N}, \\s, [\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}], [\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}], \\p{M}."""
CLASSES = (r"\p{L}", r"\p{N}", r"\s", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"\p{M}")

LOOKED_AT, UNSAFE = 64, 128
"""Set once the classes of a character are known; set where the engines do not agree on them."""
_OTHER, _IS_METASPACE = 64, 128
"""The same bits of a byte of the text: neither letter nor number nor space; a byte of "▁". Every byte has a class, and
the eight bytes behind a text have none: so no run leaves it, and no place needs to be compared with its end."""
_VISIBLE = LETTER | NUMBER | _OTHER

GPT2, CL100K, QWEN2, QWEN35, O200K, TEKKEN, METASPACE_RUNS = range(7)

_QUOTE, _BLANK, _NEWLINE, _RETURN, _SLASH = 39, 32, 10, 13, 47
_D, _E, _L, _M, _R, _S, _T, _V = 100, 101, 108, 109, 114, 115, 116, 118
_HIGH = np.uint64(0x8080808080808080)

# `text` and `flags` are addresses of the text's bytes and of their classes, `start` and `end` count from both.


@njit(cache=True, nogil=True)
def _run(flags, start, mask):
    """End of the run of characters with a class of `mask`: of bytes that are not 0 under it, eight at a time."""
    wide = ONES * np.uint64(mask)
    while True:
        word = eight_at(flags + start) & wide
        n = first_byte_of((word - ONES) & ~word & _HIGH)
        start += n
        if n < 8:
            return start


@njit(cache=True, nogil=True)
def _others(flags, start, known):
    """End of the run of characters that are no space and in no class of `known` (letters, numbers, perhaps marks)."""
    wide, wanted = ONES * np.uint64(_OTHER | (known & MARK)), ONES * np.uint64(_OTHER)
    while True:
        n = first_byte_of((eight_at(flags + start) & wide) ^ wanted)
        start += n
        if n < 8:
            return start


@njit(cache=True, nogil=True)
def _after(text, start):
    """Where the next character begins."""
    first = byte_at(text + start)
    return start + 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)


@njit(cache=True, nogil=True)
def _contraction(text, flags, start, fold):
    """End of 's, 't, 're, 've, 'm, 'll or 'd at `start`; `start` when there is none. `fold` adds 32 to capitals."""
    if byte_at(text + start) != _QUOTE or not byte_at(flags + start) or not byte_at(flags + start + 1):
        return start
    first = byte_at(text + start + 1)
    if fold and 65 <= first <= 90:
        first += 32
    if first in (_S, _T, _M, _D):
        return start + 2
    if not byte_at(flags + start + 2):
        return start
    second = byte_at(text + start + 2)
    if fold and 65 <= second <= 90:
        second += 32
    if (first == _R and second == _E) or (first == _V and second == _E) or (first == _L and second == _L):
        return start + 3
    return start


@njit(cache=True, nogil=True)
def _spaces(text, flags, start):
    """`\\s+(?!\\S)|\\s+`: the run but its last character where something follows."""
    end = _run(flags, start, SPACE)
    if not byte_at(flags + end):
        return end
    last = end - 1
    while byte_at(text + last) & 0xC0 == 0x80:
        last -= 1
    return last if last > start else end


@njit(cache=True, nogil=True)
def _breaks(text, flags, start, slash):
    """End of `[\\r\\n]*`, or `[\\r\\n/]*`."""
    while byte_at(flags + start):
        point = byte_at(text + start)
        if point != _NEWLINE and point != _RETURN and not (slash and point == _SLASH):
            return start
        start += 1
    return start


@njit(cache=True, nogil=True)
def _tail(text, flags, start, known, slash):
    """` ?[^\\s known]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`; `start` when nothing matches."""
    at = start + (byte_at(text + start) == _BLANK)
    end = _others(flags, at, known)
    if end > at:
        return _breaks(text, flags, end, slash)
    if not byte_at(flags + start) & SPACE:
        return start
    end = _run(flags, start, SPACE)
    for i in range(end - 1, start - 1, -1):
        point = byte_at(text + i)
        if point in (_NEWLINE, _RETURN):
            return i + 1
    return _spaces(text, flags, start)


@njit(cache=True, nogil=True)
def _gpt2(text, flags, start):
    first = byte_at(text + start)
    if first == _QUOTE:
        end = _contraction(text, flags, start, False)
        if end > start:
            return end
    # A sum instead of a branch: what follows a blank is what a processor cannot guess.
    at = start + ((first == _BLANK) & (byte_at(flags + start + 1) & _VISIBLE != 0))
    kind = byte_at(flags + at) & _VISIBLE
    return _run(flags, at, kind) if kind else _spaces(text, flags, start)


@njit(cache=True, nogil=True)
def _numbers(text, flags, start, most):
    for _ in range(most):
        if not byte_at(flags + start) & NUMBER:
            return start
        start = _after(text, start)
    return start


@njit(cache=True, nogil=True)
def _word_start(text, flags, start, letters):
    """Where the letters begin that `[^\\r\\n\\p{L}\\p{N}]?` may stand before; `start` when none follow it."""
    first = byte_at(text + start)
    may = (byte_at(flags + start) & (LETTER | NUMBER) == 0) & (first != _NEWLINE) & (first != _RETURN)
    after = _after(text, start)
    return start + (after - start) * (may & (byte_at(flags + after) & letters != 0))


@njit(cache=True, nogil=True)
def _uncased(text, flags, start, letters, most):
    """cl100k and its relatives; `letters` makes a word, numbers have at most `most` digits."""
    if byte_at(text + start) == _QUOTE:
        end = _contraction(text, flags, start, True)
        if end > start:
            return end
    at = _word_start(text, flags, start, letters)
    if byte_at(flags + at) & letters:
        return _run(flags, at, letters)
    if byte_at(flags + start) & NUMBER:
        return _numbers(text, flags, start, most)
    return _tail(text, flags, start, letters | NUMBER, False)


@njit(cache=True, nogil=True)
def _lower_end(flags, start):
    """End of `U*L+` (upper run, then lower run) from `start`; `start` when it does not match."""
    upper = _run(flags, start, UPPER)
    end = _run(flags, upper, LOWER)
    if end > upper:
        return end
    # The upper run gives back until what it gives back is of both classes (a mark, a letter without case).
    for i in range(end - 1, start - 1, -1):
        if byte_at(flags + i) & LOWER:
            return i + 1
    return start


@njit(cache=True, nogil=True)
def _cased(text, flags, start, contractions, most):
    """o200k and tekken."""
    at = _word_start(text, flags, start, UPPER | LOWER)
    end = start
    if byte_at(flags + at) & (UPPER | LOWER):
        end = _lower_end(flags, at)
        if end == at:
            # A mark may stand before letters, or be one.
            is_one = at > start and byte_at(flags + start) & MARK
            end = _lower_end(flags, start) if is_one else _run(flags, at, UPPER)
    if end > start:
        return _contraction(text, flags, end, True) if contractions else end
    if byte_at(flags + start) & NUMBER:
        return _numbers(text, flags, start, most)
    return _tail(text, flags, start, LETTER | NUMBER, True)


@njit(cache=True, nogil=True)
def _metaspace_run(flags, start, n):
    """`▁*[^▁]+|▁+`."""
    start, wide = _run(flags, start, _IS_METASPACE), ONES * np.uint64(_IS_METASPACE)
    while start < n:
        ahead = first_byte_of(eight_at(flags + start) & wide)
        start += ahead
        if ahead < 8:
            return start
    return n


@njit(cache=True, nogil=True)
def _cut_gpt2(points, flags, ends, n_pieces, before):
    """Enter the ends of one text's pieces, `before` bytes on; returns how many there are, -1 where nothing matches.

    One loop a family, with its function inside: a call for each piece would cost as much as the cutting.
    """
    start, n, text, classes = 0, len(points), points.ctypes.data, flags.ctypes.data
    while start < n:
        end = _gpt2(text, classes, start)
        if end <= start:
            return -1
        ends[n_pieces] = before + end
        n_pieces += 1
        start = end
    return n_pieces


@njit(cache=True, nogil=True)
def _cut_uncased(points, flags, ends, n_pieces, before, letters, most):
    start, n, text, classes = 0, len(points), points.ctypes.data, flags.ctypes.data
    while start < n:
        end = _uncased(text, classes, start, letters, most)
        if end <= start:
            return -1
        ends[n_pieces] = before + end
        n_pieces += 1
        start = end
    return n_pieces


@njit(cache=True, nogil=True)
def _cut_cased(points, flags, ends, n_pieces, before, contractions, most):
    start, n, text, classes = 0, len(points), points.ctypes.data, flags.ctypes.data
    while start < n:
        end = _cased(text, classes, start, contractions, most)
        if end <= start:
            return -1
        ends[n_pieces] = before + end
        n_pieces += 1
        start = end
    return n_pieces


@njit(cache=True, nogil=True)
def _cut_metaspace(points, flags, ends, n_pieces, before):
    start, n, classes = 0, len(points), flags.ctypes.data
    while start < n:
        end = _metaspace_run(classes, start, n)
        ends[n_pieces] = before + end
        n_pieces += 1
        start = end
    return n_pieces


@njit(cache=True, nogil=True)
def _cut(points, flags, ends, n_pieces, before, family):
    if family == GPT2:
        return _cut_gpt2(points, flags, ends, n_pieces, before)
    if family == CL100K:
        return _cut_uncased(points, flags, ends, n_pieces, before, LETTER, 3)
    if family == QWEN2:
        return _cut_uncased(points, flags, ends, n_pieces, before, LETTER, 1)
    if family == QWEN35:
        return _cut_uncased(points, flags, ends, n_pieces, before, LETTER | MARK, 1)
    if family == O200K:
        return _cut_cased(points, flags, ends, n_pieces, before, True, 3)
    if family == TEKKEN:
        return _cut_cased(points, flags, ends, n_pieces, before, False, 1)
    return _cut_metaspace(points, flags, ends, n_pieces, before)


@njit(cache=True, nogil=True)
def _character(place):
    """Code point and bytes of the character at an address."""
    first = byte_at(place)
    if first < 0x80:
        return first, 1
    second = byte_at(place + 1) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = byte_at(place + 2) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | byte_at(place + 3) & 0x3F, 4


@njit(cache=True, nogil=True)
def _meet(data, table, met):
    """Set `met` for the code points of a text that are not in the table."""
    place, known, seen = data.ctypes.data, table.ctypes.data, met.ctypes.data
    end = place + len(data)
    while place < end:
        code, size = _character(place)
        place += size
        if not byte_at(known + code) and not byte_at(seen + code):
            met[code] = 1


@njit(cache=True, nogil=True)
def new_characters(data, table):
    """int64, the code points of a UTF-8 text that are not in the table of classes yet, each once."""
    met = np.zeros(len(table), np.uint8)
    _meet(data, table, met)
    return np.flatnonzero(met)


@njit(cache=True, nogil=True)
def _mark(points, table, flags):
    """Enter the classes of each byte's character; returns -1, or a character not yet looked at or not safe."""
    at = 0
    while at < len(points):
        first = points[at]
        if first < 0x80:
            seen = table[first]
            if seen & (LOOKED_AT | UNSAFE) != LOOKED_AT:
                return np.int64(first)
            flags[at] = seen ^ LOOKED_AT | (0 if seen & (LETTER | NUMBER | SPACE) else _OTHER)
            at += 1
            continue
        code, size = _character(points.ctypes.data + at)
        seen = table[code]
        if seen & (LOOKED_AT | UNSAFE) != LOOKED_AT:
            return code
        seen ^= LOOKED_AT
        seen |= (0 if seen & (LETTER | NUMBER | SPACE) else _OTHER) | (_IS_METASPACE if code == 0x2581 else 0)
        flags[at] = seen
        for i in range(at + 1, at + size):
            flags[i] = seen
        at += size
    flags[at : at + 8] = 0
    return np.int64(-1)


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
    flags = np.empty(longest + 8, np.uint8)
    ends = np.empty(len(data) // 3 + 64, np.int64)
    n_pieces, first = 0, 0
    for last in text_ends:
        points = data[first:last]
        stopped_at = _mark(points, table, flags)
        if stopped_at >= 0:
            return ends[:0], stopped_at
        if n_pieces + last - first > len(ends):
            longer = np.empty(2 * (n_pieces + last - first), np.int64)
            longer[:n_pieces] = ends[:n_pieces]
            ends = longer
        n_pieces = _cut(points, flags, ends, n_pieces, first, family)
        if n_pieces < 0:
            return ends[:0], np.int64(0x110000)
        first = last
    return ends[:n_pieces], np.int64(-1)
