"""What a vocabulary is made of: the class, place and script of every entry, at once over the whole vocabulary.

The tables of Qtok, from bytes and Unicode properties instead of stored glyphs and character names. The text of an entry
is data here; nothing ever evaluates it.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.splitting import script_of
from tokenry.core.vocab import Kind, Vocab

# Axes: V vocabulary ids, T entries with a text, C characters of all texts end to end.

CLASSES = (
    "special",
    "unused",
    "byte",
    "fragment",
    "character, letter",
    "character, other",
    "character, unnamed",
    "word start, letters",
    "word start, other",
    "word start, unnamed",
    "inner, letters",
    "inner, other",
    "inner, unnamed",
)
QTOK_NAMES = {
    "special": "control",
    "unused": "control",
    "byte": "pure_unicode",
    "fragment": "unicode_flanks",
    "character, letter": "char_alpha",
    "character, other": "char_other",
    "character, unnamed": "char_errors",
    "word start, letters": "spaced_alpha",
    "word start, other": "spaced_other",
    "word start, unnamed": "spaced_errors",
    "inner, letters": "inner_alpha",
    "inner, other": "inner_other",
    "inner, unnamed": "inner_errors",
}
"""What Qtok calls each class. It counts the characters that spell single bytes (ASCII among them) as bytes too."""
PLACES = ("word start", "inner", "character")
CJK = ("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo")

_SPECIAL, _UNUSED, _BYTE, _FRAGMENT, _CHARACTER, _START, _INNER = 0, 1, 2, 3, 4, 7, 10
_OTHER, _UNNAMED = 1, 2
_NEUTRAL = ("Common", "Inherited", "Unknown")


@dataclass(frozen=True, eq=False)
class Composition:
    """The class and script of every id.

    Attributes:
        class_V: uint8, position in `CLASSES`; together they are a partition.
        script_V: int16, position in `scripts`.
        scripts: names: Unicode scripts, "Mixed", "Common" (no letters), "Fragment", "Special".
    """

    class_V: np.ndarray
    script_V: np.ndarray
    scripts: tuple[str, ...]

    @property
    def class_names(self) -> list[str]:
        """The class of every id by name."""
        return np.array(CLASSES, object)[self.class_V].tolist()

    @property
    def script_names(self) -> list[str]:
        """The script of every id by name."""
        return np.array(self.scripts, object)[self.script_V].tolist()

    def class_counts(self) -> dict[str, int]:
        """Entries of each class, zeros too."""
        return dict(zip(CLASSES, np.bincount(self.class_V, minlength=len(CLASSES)).tolist(), strict=True))

    def places(self) -> dict[tuple[str, str], int]:
        """Entries made of letters, by (script, place in a word); most frequent first."""
        found: Counter[tuple[str, str]] = Counter()
        for place, code in zip(PLACES, (_START, _INNER, _CHARACTER), strict=True):
            of = np.bincount(self.script_V[self.class_V == code], minlength=len(self.scripts))
            found.update({(name, place): n for name, n in zip(self.scripts, of.tolist(), strict=True) if n})
        return dict(found.most_common())


def composition(vocab: Vocab) -> Composition:
    """The class and script of every id of a vocabulary.

    "byte" is a byte-fallback piece or a single byte that is no character by itself; "fragment" is a longer piece of one
    or more characters cut inside one; "word start" begins with a space; "letters" means that all characters but the
    space in front are letters or marks of one script (letters common to several scripts take their neighbours');
    "unnamed" holds a character without a Unicode name: a control character such as a line break, a private or
    unassigned one.
    """
    return compose(vocab.tokens, vocab.kinds)


def compose(tokens: Sequence[bytes | None], kinds_V: np.ndarray | None = None) -> Composition:
    """`composition` of plain bytes.

    Args:
        tokens: (V,) bytes of each entry; None for control tokens.
        kinds_V: (V,) see `Kind`; None takes NORMAL, and SPECIAL where there are no bytes.
    """
    if kinds_V is None:
        kinds_V = np.array([Kind.SPECIAL if data is None else Kind.NORMAL for data in tokens], np.uint8)
    class_V = np.full(len(tokens), _INNER + _OTHER, np.uint8)
    script_V = np.full(len(tokens), -1, np.int16)
    texts, ids_T, single = _decoded(tokens)
    script_V[ids_T], names = _scripts(texts)
    class_V[ids_T] = _classes(texts)
    broken_V = np.array([data is not None for data in tokens], bool)
    broken_V[ids_T] = False
    class_V[broken_V] = _FRAGMENT
    class_V[single] = _BYTE
    class_V[kinds_V == Kind.BYTE] = _BYTE
    class_V[kinds_V == Kind.SPECIAL] = _SPECIAL
    class_V[kinds_V == Kind.UNUSED] = _UNUSED
    scripts = (*names, "Fragment", "Special")
    script_V[broken_V] = len(names)
    script_V[script_V < 0] = len(names) + 1
    return Composition(class_V, script_V, scripts)


def _decoded(tokens: Sequence[bytes | None]) -> tuple[list[str], np.ndarray, list[int]]:
    """Texts of the entries that are whole characters, their ids, and the ids of lone bytes that are none."""
    texts, ids, single = [], [], []
    for i, data in enumerate(tokens):
        if data is None:
            continue
        try:
            texts.append(data.decode("utf-8"))
            ids.append(i)
        except UnicodeDecodeError:
            if len(data) == 1:
                single.append(i)
    return texts, np.array(ids, np.int64), single


def _points(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code points (C,) of all texts end to end, the distinct ones, and where each text starts (T + 1,)."""
    points_C = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    seen = np.zeros(0x110000, bool)
    seen[points_C] = True
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
    return points_C, np.flatnonzero(seen), starts


def _table(points: np.ndarray, values: list, dtype: type) -> np.ndarray:
    table = np.zeros(0x110000, dtype)
    table[points] = values
    return table


def _over(operation: np.ufunc, values_C: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """An operation over the characters of each text; of an empty text whatever stands there, which nobody uses."""
    if not len(values_C):
        return np.zeros(len(starts) - 1, values_C.dtype)
    return operation.reduceat(values_C, np.minimum(starts[:-1], len(values_C) - 1))


def _scripts(texts: list[str]) -> tuple[np.ndarray, list[str]]:
    """The script of each text, as positions in the names: one script, "Common" without letters, or "Mixed"."""
    points_C, distinct, starts = _points(texts)
    found = [script_of(chr(point)) for point in distinct.tolist()]
    names = ["Common", "Mixed", *sorted(set(found) - set(_NEUTRAL))]
    position = {name: i for i, name in enumerate(names)} | dict.fromkeys(_NEUTRAL, 0)
    codes_C = _table(distinct, [position[name] for name in found], np.int16)[points_C]
    highest = _over(np.maximum, codes_C, starts)
    lowest = _over(np.minimum, np.where(codes_C == 0, np.int16(0x7FFF), codes_C), starts)
    script_T = np.where(highest == 0, 0, np.where(lowest == highest, highest, 1)).astype(np.int16)
    script_T[np.diff(starts) == 0] = 0
    return script_T, names


def _classes(texts: list[str]) -> np.ndarray:
    """The class of each text, as positions in `CLASSES`."""
    import unicodedata

    points_C, distinct, starts = _points(texts)
    categories = [unicodedata.category(chr(point)) for point in distinct.tolist()]
    scripts = [script_of(chr(point)) for point in distinct.tolist()]
    is_letter = _table(distinct, [category[0] in "LM" for category in categories], bool)
    is_unnamed = _table(distinct, [category in ("Cc", "Cs", "Co", "Cn") for category in categories], bool)
    names = {name: i for i, name in enumerate(sorted(set(scripts) - set(_NEUTRAL)), 1)}
    script = _table(distinct, [names.get(name, 0) for name in scripts], np.int16)
    lengths_T = np.diff(starts)
    starts_word = np.array([text.startswith(" ") for text in texts], bool) & (lengths_T > 1)
    # The space in front of a word is no part of it.
    letters_C, script_C = is_letter[points_C], script[points_C]
    letters_C[starts[:-1][starts_word]] = True
    highest = _over(np.maximum, script_C, starts)
    lowest = _over(np.minimum, np.where(script_C == 0, np.int16(0x7FFF), script_C), starts)
    letters_T = _over(np.logical_and, letters_C, starts) & (highest > 0) & (highest == lowest)
    unnamed_T = _over(np.logical_or, is_unnamed[points_C], starts)
    places_T = np.where(starts_word, _START, np.where(lengths_T == 1, _CHARACTER, _INNER))
    class_T = places_T + np.where(letters_T, 0, np.where(unnamed_T, _UNNAMED, _OTHER))
    class_T[lengths_T == 0] = _INNER + _OTHER
    return class_T.astype(np.uint8)


def flanks(tokens: Sequence[bytes | None]) -> dict[str, tuple[int, str]]:
    """Entries cut inside a character, by the first byte of the character they begin: how many, and which scripts.

    The keys are hex bytes ("E4"), and "tail" for entries that only end characters begun elsewhere.
    """
    found: Counter[str] = Counter()
    for data in tokens:
        if data is not None and (head := _unfinished(data)) is not None:
            found[f"{head:02X}" if head else "tail"] += 1
    return {key: (n, _begun(int(key, 16)) if key != "tail" else "") for key, n in found.most_common()}


def _unfinished(data: bytes) -> int | None:
    """The lead byte of the character a piece leaves open at its end; 0 when it leaves none open but does not decode."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        for back in range(1, min(4, len(data)) + 1):
            byte = data[-back]
            if byte >= 0xC0:
                size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                return byte if back < size else 0
            if byte < 0x80:
                break
        return 0
    return None


def _begun(lead: int) -> str:
    """The scripts that characters beginning with this byte belong to, the largest first."""
    if lead < 0xE0:
        low, high = (lead & 0x1F) << 6, ((lead & 0x1F) + 1) << 6
    elif lead < 0xF0:
        low, high = max(0x800, (lead & 0x0F) << 12), ((lead & 0x0F) + 1) << 12
    else:
        low, high = max(0x10000, (lead & 0x07) << 18), ((lead & 0x07) + 1) << 18
    step = max(1, (high - low) // 512)
    points = [point for point in range(low, min(high, 0x110000), step) if not 0xD800 <= point < 0xE000]
    scripts = Counter(script_of(chr(point)) for point in points)
    for name in _NEUTRAL:
        scripts.pop(name, None)
    return ", ".join(name for name, _ in scripts.most_common(3))


def impossible(data: bytes) -> bool:
    """Whether no valid UTF-8 holds these bytes anywhere: an entry with them can only come from broken text."""
    head = 0
    while head < min(3, len(data)) and data[head] & 0xC0 == 0x80:
        head += 1
    for start in range(head + 1):
        rest = data[start:]
        if start and not _may_end(data[:start]):
            continue
        if not rest or _begins_valid(rest):
            return False
    return True


def _may_end(tail: bytes) -> bool:
    """Whether some character ends with these continuation bytes."""
    return any(_valid(lead + tail) for lead in _LEADS)


_LEADS = [bytes([lead]) for lead in range(0xC2, 0xF5)] + [
    bytes([lead, second]) for lead in range(0xE0, 0xF5) for second in (0x80, 0x9F, 0xA0, 0x8F, 0x90, 0xBF)
] + [bytes([lead, second, 0x80]) for lead in range(0xF0, 0xF5) for second in (0x80, 0x8F, 0x90, 0xBF)]  # fmt: skip


def _valid(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def _begins_valid(data: bytes) -> bool:
    """Whether these bytes are characters, and perhaps the beginning of one more."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True
