"""What every character is, as tables a kernel can read: its classes, its folded form, its place in words.

Classes are those of Python's own strings (`isspace`, `isalpha`, `isupper`, ...), for the published signals are
defined by them; the tables are made from Python's Unicode data when they are first asked for.

Papers: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372), whose normalised words are
what `folds` spells out.
"""

import functools
import string
import unicodedata
from dataclasses import dataclass

import numpy as np

__all__ = ["Classes", "Folds", "classes", "folds"]

SIZE = 0x110000
# Nothing behind these has a case, a decomposition or a class of its own in any version of Unicode that Python knows.
_ASSIGNED = (range(0x32000), range(0xE0000, 0xE0200), range(0x1FFF0, 0x20000))

SPACE, WORD, ALPHA, UPPER, LOWER, NUMERIC, DECIMAL, LATIN, PUNCTUATION, SYMBOL, BULLET, CLOSING, ALNUM, SIGN = (
    1 << place for place in range(14)
)
"""Bits of a character: `str.isspace`; `\\w`; `isalpha`; upper case; lower or title case; `isnumeric`; `isdecimal`; a
letter of ASCII; `string.punctuation`; punctuation of datatrove; a bullet of RedPajama; the end of a sentence in any
script; `isalnum`; the number sign and the ellipsis character."""

_BULLETS = "\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013"

# What datatrove takes for punctuation, its control characters included: words of nothing else are no words.
_SYMBOLS = (
    string.punctuation
    + "«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"
    + "".join(chr(code) for a, b in ((0, 9), (11, 32), (127, 160)) for code in range(a, b))
)

# Marks that end a sentence in some script, as datatrove lists them for FineWeb.
_CLOSING = (
    "!.?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362"
    "\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u17d6\u17d9\u17da\u1803\u1809\u1944\u1945\u1aa8\u1aa9\u1aaa\u1aab"
    "\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047\u2048\u2049\u2e2e\u2e3c\u2e53"
    "\u2e54\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f\uaaf0"
    "\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57"
    "\U00010f58\U00010f59\U00010f86\U00010f87\U00010f88\U00010f89\U00011047\U00011048\U000110be\U000110bf\U000110c0"
    "\U000110c1\U00011141\U00011142\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239"
    "\U0001123b\U0001123c\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9\U000115ca\U000115cb\U000115cc"
    "\U000115cd\U000115ce\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4\U000115d5\U000115d6\U000115d7"
    "\U00011641\U00011642\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c"
    "\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38"
    "\U00016b44\U00016e98\U0001bc9f\U0001da88"
)


@dataclass(frozen=True)
class Classes:
    """Tables over all code points.

    Attributes:
        bits: uint16, the bits named above.
        kinds: uint8: 0 white space, 1 a character of `\\w`, 2 any other (the runs of WordPunct).
        blanks: uint8: 0 white space, 1 any other (the runs of `str.split`).
        lower: uint32, the lower case where it is one character, else the character itself.
    """

    bits: np.ndarray
    kinds: np.ndarray
    blanks: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True)
class Folds:
    """Lower case and canonical decomposition of every character.

    Attributes:
        starts: int32 (SIZE + 1,), where the folded form of a code point begins in `values`.
        values: uint32, the folded forms one after the other.
        order: uint8, canonical combining class.
    """

    starts: np.ndarray
    values: np.ndarray
    order: np.ndarray


@functools.cache
def classes() -> Classes:
    """The classes of all characters."""
    bits, lower = np.zeros(SIZE, np.uint16), np.arange(SIZE, dtype=np.uint32)
    tests = (
        (SPACE, str.isspace), (ALPHA, str.isalpha), (UPPER, str.isupper), (LOWER, str.islower),
        (NUMERIC, str.isnumeric), (DECIMAL, str.isdecimal), (ALNUM, str.isalnum),
    )  # fmt: skip
    for codes in _ASSIGNED:
        characters = [chr(code) for code in codes]
        span = slice(codes.start, codes.stop)
        for bit, test in tests:
            bits[span] |= np.fromiter(map(test, characters), bool, len(characters)) * np.uint16(bit)
        title = np.fromiter(map(str.istitle, characters), bool, len(characters)) & (bits[span] & UPPER == 0)
        bits[span] |= title * np.uint16(LOWER)  # `str.isupper` of a word fails on either
        lowered = map(str.lower, characters)
        lower[span] = [ord(low) if len(low) == 1 else code for low, code in zip(lowered, codes, strict=True)]
    bits |= (bits & ALNUM != 0) * np.uint16(WORD)
    bits[ord("_")] |= WORD
    sets = (
        (LATIN, string.ascii_letters), (PUNCTUATION, string.punctuation), (SYMBOL, _SYMBOLS), (BULLET, _BULLETS),
        (CLOSING, _CLOSING), (SIGN, "#…"),
    )  # fmt: skip
    for bit, members in sets:
        bits[[ord(member) for member in members]] |= np.uint16(bit)
    blanks = (bits & SPACE == 0).astype(np.uint8)
    kinds = (blanks * (2 - (bits & WORD != 0))).astype(np.uint8)
    return Classes(bits, kinds, blanks, lower)


@functools.cache
def folds() -> Folds:
    """The folded forms of all characters.

    Capital sigma is folded to the sigma inside words; its form at the end of a word depends on its neighbours and is
    seen to by `prepared`.
    """
    sizes = np.ones(SIZE, np.int32)
    order = np.zeros(SIZE, np.uint8)
    forms: dict[int, str] = {}
    for codes in _ASSIGNED:
        characters = [chr(code) for code in codes]
        order[codes.start : codes.stop] = list(map(unicodedata.combining, characters))
        for code, character in zip(codes, characters, strict=True):
            form = unicodedata.normalize("NFD", character.lower())
            if form != character:
                forms[code] = form
    for code, form in forms.items():
        sizes[code] = len(form)
    starts = np.zeros(SIZE + 1, np.int32)
    np.cumsum(sizes, out=starts[1:])
    values = np.empty(starts[-1], np.uint32)
    values[starts[:-1]] = np.arange(SIZE, dtype=np.uint32)
    for code, form in forms.items():
        values[starts[code] : starts[code + 1]] = list(map(ord, form))
    return Folds(starts, values, order)
