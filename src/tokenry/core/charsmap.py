"""SentencePiece's compiled normaliser as steps of a tokenizer.json that follow it character by character.

SentencePiece replaces the longest match of its table from the left. The library's `Precompiled` step looks a whole
user-perceived character up and keeps the shortest match, so it drops text ("\\r\\n" loses a space, "ọ̀" its grave) and
leaves decomposed kana, Hangul and Indic vowels apart. So characters are kept apart while it runs, and what the table
composes is composed afterwards by NFC, held back from reordering marks, which SentencePiece never does.

What still differs, counted on 34,403 of the 220,267 sequences in the nmt_nfkc table: 21, all of scripts newer than the
library's Unicode; with case folding 710, nearly all Greek with an iota subscript, which the table leaves unfolded where
it is decomposed. U+0344 (two marks in one) composes here only, and the noncharacters U+FDD0 to U+FDD2 are dropped.
"""

import base64
import struct
import unicodedata
from functools import cache

# Noncharacters: no text should hold them, and none of the usual tables maps them.
_APART, _CLOSED, _DOTTED = "\ufdd0", "\ufdd1", "\ufdd2"
# Marks that open a composition (mostly vowel signs of India and Bali), with combining class 0.
_OPENING_MARKS = (
    "\u09c7\u0b47\u0bc6\u0bc7\u0c46\u0cbf\u0cc6\u0cca\u0d46\u0d47\u0dd9\u0ddc\u1b3a\u1b3c\u1b3e\u1b3f\u1b42"
    "\U00011131\U00011132\U00011347\U000113c2\U000114b9\U000115b8\U00011935"
)


def lookup(charsmap: bytes, key: str) -> str | None:
    """What the table makes of exactly `key`, None when it has no such entry.

    The table is a double array of 32-bit units (its size in bytes first), then the replacements, NUL-terminated.

    Raises:
        ValueError: when the table is cut short.
    """
    try:
        (size,) = struct.unpack_from("<I", charsmap)
        node = _offset(_unit(charsmap, 0))
        for byte in key.encode("utf-8"):
            place = node ^ byte
            if place * 4 >= size:
                return None
            unit = _unit(charsmap, place)
            if unit & 0x800000FF != byte:
                return None
            node = place ^ _offset(unit)
        if not unit >> 8 & 1:
            return None
        start = 4 + size + (_unit(charsmap, node) & 0x7FFFFFFF)
        return charsmap[start : charsmap.index(b"\0", start)].decode("utf-8")
    except (struct.error, ValueError):
        raise ValueError("the compiled normaliser of this SentencePiece model is cut short.") from None


def _unit(charsmap: bytes, place: int) -> int:
    return struct.unpack_from("<I", charsmap, 4 + 4 * place)[0]


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def normalizer_steps(charsmap: bytes) -> list[dict]:
    """The steps for the `normalizer` of a spec; empty for an empty table."""
    if not charsmap:
        return []
    compiled = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    # Never before the first character: the library's alignment breaks there and the process would panic.
    apart = _replace(r"(?!\A)(?=\n|[^\x00-\x7F])", _APART)
    steps = [apart, compiled, _remove(_APART)]
    if lookup(charsmap, "e\u0301") != "é":
        return steps
    # One pair is joined in each round; no composition of the table has more than three marks.
    between_marks = rf"(?<=[\p{{M}}&&[^{_OPENING_MARKS}]])(?=\p{{M}})"
    for _ in range(3):
        steps += [_replace(between_marks, _APART), {"type": "NFC"}, _remove(_APART), _replace(_out_of_order(), _CLOSED)]
    if lookup(charsmap, "ê\u0301") is None:
        # A composed letter in the text stays as it is, whatever mark follows.
        steps.insert(0, _replace(rf"(?<=[{_composed_letters()}])(?=\p{{M}})", _CLOSED))
    if lookup(charsmap, "I\u0307") == "İ" and lookup(charsmap, "I") == "i":
        # Case folding tables leave this one pair unfolded.
        return [_swap("I\u0307", _DOTTED), *steps, _remove(_CLOSED), _swap(_DOTTED, "İ")]
    return [*steps, _remove(_CLOSED)]


def _replace(regex: str, content: str) -> dict:
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def _swap(text: str, content: str) -> dict:
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def _remove(character: str) -> dict:
    return _swap(character, "")


@cache
def _composed_letters() -> str:
    """Letters with a canonical decomposition, below the kana: a set that Unicode promises not to change."""
    return "".join(
        character
        for character in map(chr, range(0xC0, 0x3000))
        if unicodedata.category(character)[0] == "L" and len(unicodedata.normalize("NFD", character)) > 1
    )


@cache
def _out_of_order() -> str:
    """Where a composed letter is followed by a mark that NFC would sort before the letter's own last mark."""
    last = {letter: unicodedata.normalize("NFD", letter)[-1] for letter in _composed_letters()}
    marks = sorted({mark for mark in last.values() if unicodedata.combining(mark)})
    places = []
    for order in sorted({unicodedata.combining(mark) for mark in marks}):
        letters = "".join(letter for letter, mark in last.items() if unicodedata.combining(mark) == order)
        earlier = "".join(mark for mark in marks if unicodedata.combining(mark) < order)
        if earlier:
            places.append(rf"(?<=[{letters}])(?=[{earlier}])")
    return "|".join(places)
