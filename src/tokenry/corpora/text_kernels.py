"""Numba kernels that cut a batch of texts into lines and words over flat arrays, and hash what they cut.

Positions are numbers of characters in the whole batch; `starts` (D + 1,) says where each document begins. A span is
given by its first position and the one after its last; `offsets` (D + 1,) says which spans are of which document.
"""

import numpy as np
from numba import njit

NEWLINE = np.uint32(10)
BASE = np.uint64(0x9E3779B97F4A7C15)
_ADD, _MULTIPLY = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xBF58476D1CE4E5B9)
_SPACE, _WORD = np.uint16(1), np.uint16(2)


@njit(cache=True, nogil=True)
def decode(data, offsets):
    """Code points of UTF-8 texts, and where each text begins; the bytes must be valid."""
    n = 0
    for at in range(offsets[0], offsets[-1]):
        n += (data[at] & 0xC0) != 0x80
    codes, starts = np.empty(n, np.uint32), np.empty(len(offsets), np.int64)
    to = 0
    for text in range(len(offsets) - 1):
        starts[text] = to
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            byte = np.uint32(data[at])
            if byte < 0x80:
                size, code = 1, byte
            elif byte < 0xE0:
                size, code = 2, byte & np.uint32(0x1F)
            elif byte < 0xF0:
                size, code = 3, byte & np.uint32(0x0F)
            else:
                size, code = 4, byte & np.uint32(0x07)
            for more in range(at + 1, at + size):
                code = (code << np.uint32(6)) | np.uint32(data[more] & 0x3F)
            codes[to] = code
            to += 1
            at += size
    starts[-1] = to
    return codes, starts


@njit(cache=True, nogil=True)
def scrambled(code):
    """A character as an unrelated 64-bit number, never 0."""
    x = (np.uint64(code) + np.uint64(1)) * _MULTIPLY
    return (x ^ (x >> np.uint64(29))) * _ADD | np.uint64(1)


@njit(cache=True, nogil=True)
def hash_of(codes, start, end):
    """Hash of a run of characters: a polynomial, so that hashes of neighbours make the hash of both."""
    h = np.uint64(0)
    for at in range(start, end):
        h = h * BASE + scrambled(codes[at])
    return h


@njit(cache=True, nogil=True)
def span_hashes(codes, begins, ends):
    """`hash_of` for every span."""
    made = np.empty(len(begins), np.uint64)
    for i in range(len(begins)):
        made[i] = hash_of(codes, begins[i], ends[i])
    return made


@njit(cache=True, nogil=True)
def token_spans(codes, starts, kinds):
    """Maximal runs of characters of one kind, kind 0 left out: begins, ends, offsets."""
    n = 0
    for text in range(len(starts) - 1):
        last = 0
        for at in range(starts[text], starts[text + 1]):
            kind = kinds[codes[at]]
            n += kind != 0 and kind != last
            last = kind
    begins, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    offsets = np.empty(len(starts), np.int64)
    n = 0
    for text in range(len(starts) - 1):
        offsets[text] = n
        last = 0
        for at in range(starts[text], starts[text + 1]):
            kind = kinds[codes[at]]
            if kind != last:
                if last != 0:
                    ends[n - 1] = at
                if kind != 0:
                    begins[n] = at
                    n += 1
                last = kind
        if last != 0:
            ends[n - 1] = starts[text + 1]
    offsets[-1] = n
    return begins, ends, offsets


@njit(cache=True, nogil=True)
def kept_lines(codes, starts):
    """Lines with their newline; what stands behind the last newline is a line when there is something."""
    n = 0
    for text in range(len(starts) - 1):
        for at in range(starts[text], starts[text + 1]):
            n += codes[at] == NEWLINE
        n += starts[text + 1] > starts[text] and codes[starts[text + 1] - 1] != NEWLINE
    begins, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    offsets = np.empty(len(starts), np.int64)
    n = 0
    for text in range(len(starts) - 1):
        offsets[text] = n
        begin = starts[text]
        for at in range(starts[text], starts[text + 1]):
            if codes[at] == NEWLINE or at == starts[text + 1] - 1:
                begins[n], ends[n] = begin, at + 1
                n += 1
                begin = at + 1
    offsets[-1] = n
    return begins, ends, offsets


@njit(cache=True, nogil=True)
def split_at_newlines(codes, lows, highs, least, each):
    """What `least` or more newlines in a row divide, as `re.split` gives it; with `each` every newline divides.

    `lows` and `highs` bound each text, so that it may be stripped before.
    """
    most = len(lows)
    for text in range(len(lows)):
        for at in range(lows[text], highs[text]):
            most += codes[at] == NEWLINE
    begins, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    offsets = np.empty(len(lows) + 1, np.int64)
    n = 0
    for text in range(len(lows)):
        offsets[text] = n
        begin, at, end = lows[text], lows[text], highs[text]
        while at < end:
            if codes[at] != NEWLINE:
                at += 1
                continue
            run = at + 1
            while not each and run < end and codes[run] == NEWLINE:
                run += 1
            if run - at >= least:
                begins[n], ends[n] = begin, at
                n += 1
                begin = run
            at = run
        begins[n], ends[n] = begin, end
        n += 1
    offsets[-1] = n
    return begins[:n], ends[:n], offsets


@njit(cache=True, nogil=True)
def _divides(code):
    return (10 <= code <= 13) or (28 <= code <= 30) or code == 0x85 or code == 0x2028 or code == 0x2029


@njit(cache=True, nogil=True)
def universal_lines(codes, starts):
    """Lines as `str.splitlines` gives them."""
    most = len(starts)
    for at in range(len(codes)):
        most += _divides(codes[at])
    begins, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    offsets = np.empty(len(starts), np.int64)
    n = 0
    for text in range(len(starts) - 1):
        offsets[text] = n
        begin, at, end = starts[text], starts[text], starts[text + 1]
        while at < end:
            if _divides(codes[at]):
                begins[n], ends[n] = begin, at
                n += 1
                if codes[at] == 13 and at + 1 < end and codes[at + 1] == NEWLINE:
                    at += 1
                begin = at + 1
            at += 1
        if begin < end:
            begins[n], ends[n] = begin, end
            n += 1
    offsets[-1] = n
    return begins[:n], ends[:n], offsets


@njit(cache=True, nogil=True)
def stripped(codes, begins, ends, bits):
    """Spans without the white space at their two ends."""
    lows, highs = begins.copy(), ends.copy()
    for i in range(len(begins)):
        low, high = lows[i], highs[i]
        while low < high and bits[codes[low]] & _SPACE:
            low += 1
        while high > low and bits[codes[high - 1]] & _SPACE:
            high -= 1
        lows[i], highs[i] = low, high
    return lows, highs


@njit(cache=True, nogil=True)
def span_bits(codes, begins, ends, bits):
    """The bits that some character of a span has, and those that all of them have."""
    some, every = np.empty(len(begins), np.uint16), np.empty(len(begins), np.uint16)
    for i in range(len(begins)):
        any_bit, all_bits = np.uint16(0), np.uint16(0xFFFF)
        for at in range(begins[i], ends[i]):
            any_bit |= bits[codes[at]]
            all_bits &= bits[codes[at]]
        some[i], every[i] = any_bit, all_bits
    return some, every


@njit(cache=True, nogil=True)
def bit_counts(codes, begins, ends, bits, wanted):
    """Characters of each span that have one of the bits `wanted`."""
    made = np.zeros(len(begins), np.int64)
    for i in range(len(begins)):
        n = 0
        for at in range(begins[i], ends[i]):
            n += (bits[codes[at]] & wanted) != 0
        made[i] = n
    return made


@njit(cache=True, nogil=True)
def slot_counts(codes, starts, slots, n_slots):
    """How often characters of each slot stand in each text; slot 0 is for all others."""
    made = np.zeros((len(starts) - 1, n_slots), np.int64)
    for text in range(len(starts) - 1):
        for at in range(starts[text], starts[text + 1]):
            slot = slots[codes[at]] if codes[at] < len(slots) else 0
            if slot:
                made[text, slot] += 1
    return made


@njit(cache=True, nogil=True)
def dot_triples(codes, starts):
    """How often "..." stands in each text, none overlapping another."""
    made = np.zeros(len(starts) - 1, np.int64)
    for text in range(len(starts) - 1):
        run, n = 0, 0
        for at in range(starts[text], starts[text + 1]):
            if codes[at] == 46:
                run += 1
                if run == 3:
                    n += 1
                    run = 0
            else:
                run = 0
        made[text] = n
    return made


@njit(cache=True, nogil=True)
def _is_stop(code):
    return code == 46 or code == 33 or code == 63


@njit(cache=True, nogil=True)
def sentences_of(codes, at, end, bits):
    r"""Matches of `\b[^.!?]+[.!?]*` in one run of characters, taken for a text of its own."""
    n, before = 0, False
    while at < end:
        now = (bits[codes[at]] & _WORD) != 0
        if now == before or _is_stop(codes[at]):
            before = now
            at += 1
            continue
        while at < end and not _is_stop(codes[at]):
            at += 1
        while at < end and _is_stop(codes[at]):
            at += 1
        before = (bits[codes[at - 1]] & _WORD) != 0
        n += 1
    return n


@njit(cache=True, nogil=True)
def sentence_counts(codes, starts, bits):
    """`sentences_of` each text."""
    made = np.zeros(len(starts) - 1, np.int64)
    for text in range(len(made)):
        made[text] = sentences_of(codes, starts[text], starts[text + 1], bits)
    return made
