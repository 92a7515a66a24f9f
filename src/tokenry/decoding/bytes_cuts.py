"""Where a pre-tokenizer may cut a text that goes on: a table of outcomes by classes of characters.

Patterns look ahead (the last of several spaces goes with the next word, digits are grouped from one side, 's is cut
off), so whether a token may follow depends on the text before it and on what comes after. A pattern only sees classes
of characters; texts and tokens with equal classes are cut alike, and one of each is shown to the library itself.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_CONTRACTED = "delmrstv"
_KEPT = set(" \t\n\r'/.,!?…。，、।۔،|(")
"""Characters that some known pattern names."""
_MOST = {" ": 4, **dict.fromkeys("UVlmoMCKPpYy", 3)}
"""Longest run of a class that is told apart; digits and line ends are never shortened."""
_ENDINGS = {
    "space": ("", "a", "1", " ", "\n", "."),
    "digit": ("", "1", "12"),
    "apostrophe": ("", "s", "a", "1", " "),
    "letter": ("",),
    "contracted": ("", "l", "e", "a"),
    "other": ("", "\n", "a", "/"),
}
"""What may come after a token, by its last character."""


@lru_cache(maxsize=1 << 16)
def class_of(character: str) -> str:
    """The class of a character, one symbol; characters that patterns name are their own class."""
    if character in _KEPT:
        return character
    if "一" <= character <= "龥":
        return "C"
    if "\u3040" <= character <= "\u30ff":
        return "K"
    ascii_, kind = character.isascii(), unicodedata.category(character)
    if kind in ("Lu", "Lt"):
        return "U" if ascii_ else "V"
    if kind == "Ll":
        return "l" if ascii_ else "m"
    if character.isspace() and not "\x1c" <= character <= "\x1f":  # separators are spaces to Python only
        return "S"
    first = {"L": "o", "M": "M", "N": "D" if ascii_ else "N", "P": "p" if ascii_ else "P"}
    return first.get(kind[0], ("y" if ascii_ else "Y") if kind[0] == "S" else "X")


def classes_of(text: str, *, fine: bool = False) -> tuple[str, list[int]]:
    """Classes of a text with long runs shortened, and for each kept class the place it stands for.

    Args:
        text: what is looked at.
        fine: keep the letters of contractions at the beginning too, for a token that may follow an apostrophe.
    """
    symbols, places = [], []
    apostrophe = -1 if fine else -9
    run = 0
    for place, character in enumerate(text):
        symbol = class_of(character)
        if character == "'":
            apostrophe = place
        elif place - apostrophe <= 2 and character.lower() in _CONTRACTED:
            symbol = chr(0xE000 + ord(character.lower()))
        run = run + 1 if symbols and symbols[-1] == symbol else 1
        if run > _MOST.get(symbol, len(text)):
            symbols.pop()
            del places[1 - _MOST[symbol]]  # the first and the last stay: patterns split off the last space
        symbols.append(symbol)
        places.append(place)
    return "".join(symbols), places


@dataclass(frozen=True, eq=False)
class Outcome:
    """One way in which a text and what follows it are cut.

    Attributes:
        cuts: places in the text, its end included where a pre-token ends there.
        groups_G: bool, groups of tokens for which some ending leads to it.
    """

    cuts: tuple[int, ...]
    groups_G: np.ndarray


@dataclass(frozen=True, eq=False)
class Groups:
    """The vocabulary by classes.

    Attributes:
        of_V: group of each id, -1 for tokens that cannot follow (invalid UTF-8).
        texts: one text for each group, and the bytes of the character it leaves unfinished.
    """

    of_V: np.ndarray
    texts: list[tuple[str, bytes]]


class Cuts:
    """The table of one tokenizer.

    Args:
        pre_tokenizer: of the library; None never cuts.
        tokens: id -> bytes, None for what is no ordinary token.
        metaspace: whether it sees spaces as "▁".
    """

    def __init__(self, pre_tokenizer: object | None, tokens: list[bytes | None], *, metaspace: bool) -> None:
        self.pre_tokenizer, self.tokens, self.metaspace = pre_tokenizer, tokens, metaspace
        self.groups = lru_cache(maxsize=64)(self._groups)
        self._table: dict[tuple[str, bool, bytes], list[Outcome]] = {}
        self.cuts = lru_cache(maxsize=1 << 16)(self._cuts)

    def outcomes(self, text: str, unfinished: bytes) -> tuple[list[Outcome], Groups]:
        """Every way the text may be cut when a token follows, as places in the text; and the groups they speak of."""
        fine = "'" in text[-2:]
        groups = self.groups(fine, unfinished)
        key, places = classes_of(text)
        found = self._table.get((key, fine, unfinished))
        if found is None:
            shown = "".join(text[place] for place in places)
            found = self._table[key, fine, unfinished] = self._try_all(shown, groups, fine)
        ends = [*places, len(text)]
        return [Outcome(tuple(ends[cut] for cut in one.cuts), one.groups_G) for one in found], groups

    def _try_all(self, shown: str, groups: Groups, fine: bool) -> list[Outcome]:
        found: dict[tuple[int, ...], np.ndarray] = {}
        for number, (text, unfinished) in enumerate(groups.texts):
            last = len(shown) + len(text) + bool(unfinished)
            for ending in characters_from(unfinished) if unfinished else _endings(text, fine):
                cuts = self.cuts(shown + text + ending)
                inside = [cut for cut in cuts if len(shown) < cut < last]
                if not inside:
                    left = tuple(cut for cut in cuts if cut <= len(shown))
                    found.setdefault(left, np.zeros(len(groups.texts), bool))[number] = True
        return [Outcome(cuts, groups_G) for cuts, groups_G in found.items()]

    def _cuts(self, text: str) -> tuple[int, ...]:
        """Places where a pre-token of this very text ends or begins, its two ends left out."""
        if self.pre_tokenizer is None or not text:
            return ()
        shown = text.replace(" ", "▁") if self.metaspace else text
        edges = {edge for _, span in self.pre_tokenizer.pre_tokenize_str(shown) for edge in span}
        return tuple(sorted(edge for edge in edges if 0 < edge < len(text)))

    def _groups(self, fine: bool, unfinished: bytes) -> Groups:
        numbers: dict[tuple[str, str], int] = {}
        of_V, texts = np.full(len(self.tokens), -1, np.int64), []
        for i, token in enumerate(self.tokens):
            known = None if token is None else readable(unfinished + token)
            if known is None:
                continue
            text, rest = known
            key = (classes_of(text, fine=fine)[0], _classes_from(rest))
            if key not in numbers:
                numbers[key] = len(texts)
                texts.append((text, rest))
            of_V[i] = numbers[key]
        return Groups(of_V, texts)


def readable(data: bytes) -> tuple[str, bytes] | None:
    """Text of bytes and the bytes of a last unfinished character; None when no continuation makes them UTF-8."""
    try:
        return data.decode("utf-8"), b""
    except UnicodeDecodeError as error:
        rest = data[error.start :]
        if error.reason == "unexpected end of data" and error.end == len(data):
            return data[: error.start].decode("utf-8"), rest
        return None


@lru_cache(maxsize=1 << 12)
def characters_from(data: bytes) -> tuple[str, ...]:
    """One character of each class among those whose UTF-8 begins with `data`."""
    size = 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
    first = data + b"\x80" * (size - len(data))
    code = {2: 0x1F, 3: 0x0F, 4: 0x07}[size] & first[0]
    for byte in first[1:]:
        code = code << 6 | byte & 0x3F
    span = range(max(code, {2: 0x80, 3: 0x800, 4: 0x10000}[size]), min(code + 64 ** (size - len(data)), 0x110000))
    found: dict[str, str] = {}
    for code in span:
        if not 0xD800 <= code < 0xE000 and code < 0x40000:  # nothing but private and unassigned characters beyond
            found.setdefault(class_of(chr(code)), chr(code))
    return tuple(found.values())


@lru_cache(maxsize=1 << 12)
def _classes_from(data: bytes) -> str:
    """Classes of the characters that begin with `data`; two such beginnings with equal classes are cut alike."""
    return "".join(sorted(map(class_of, characters_from(data)))) if data else ""


def _endings(text: str, fine: bool) -> tuple[str, ...]:
    last = text[-1:]
    if last.isspace():
        return _ENDINGS["space"]
    if last.isnumeric():
        return _ENDINGS["digit"]
    if last == "'":
        return _ENDINGS["apostrophe"]
    if last.isalpha():
        return _ENDINGS["contracted" if fine and len(text) < 3 else "letter"]
    return _ENDINGS["other"]
