"""Cut text without losing any: words, sentences, paragraphs, segments of bounded bytes; split a corpus by document.

`segments`, `sentences` and `paragraphs` are partitions: joined again they are the text. `words` keeps only words.
Scripts come from the Unicode script property. `split_documents` decides by a hash of the content, so a document and
its copies always fall on the same side.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import regex

from tokenry.core.hashing import stable_hash

_NO_SPACES = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Yi}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Javanese}\p{Balinese}ーｰ"
)
_LETTER = rf"[[\p{{L}}\p{{N}}]--[{_NO_SPACES}]]"
_TAIL = r"[\p{M}\u200c\u200d]"
_INSIDE = rf"[{_LETTER}||{_TAIL}]"
# Doubles the speed on Latin text: the common letters are tried as plain ranges before the sets of scripts.
_COMMON = "A-Za-z0-9À-ÖØ-öø-ɏ"
_WORD = regex.compile(
    rf"(?=[\p{{L}}\p{{N}}])(?:(?:[{_COMMON}]|{_LETTER})"
    rf"(?:[{_COMMON}]++|{_INSIDE}++|(?<=\p{{Nd}})[.,](?=\p{{Nd}})|(?<=[\p{{L}}\p{{M}}])['’·](?=\p{{L}}))*+"
    rf"|[{_NO_SPACES}]{_TAIL}*+)",
    regex.V1,
)
_SPACED_WORD = regex.compile(f" ?(?:{_WORD.pattern})", regex.V1)
_CONNECTORS = frozenset(".,'’·")
_PLAIN = regex.compile(rf"{_INSIDE}++", regex.V1)

_NEVER_ENDS = (
    r"(?<!\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|No|Nr|Fig|Eq|cf|al|etc|e\.g|i\.e|z\.B|d\.h|u\.a|bzw|ca|Inc|Ltd|Co|approx))"
    r"(?<!\b\p{Lu})"
)
_CLOSERS = r"[\p{Pe}\p{Pf}\"'’”»]"
# Runs are entered only at their start and taken possessively: a wall of marks must not cost quadratic time.
_SENTENCE_END = regex.compile(
    rf"(?:{_NEVER_ENDS}\.(?={_CLOSERS}*+\s++[^\p{{Ll}}])"
    rf"|(?<![!?…؟۔।॥։።])[!?…؟۔।॥։።]++(?={_CLOSERS}*+(?:\s|$))"
    rf"|(?<!\.)\.{{2,}}+(?=\s)){_CLOSERS}*+\s*+"
    r"|[。！？｡]++[」』）”’]*+\s*+"
    r"|\n[^\S\n]*+\n\s*+",
    regex.V1,
)
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_AFTER = "\n。！？"


def words(text: str) -> list[str]:
    """The words of a text, in order; spaces, punctuation and symbols are left out.

    A word is a run of letters, marks and digits; an apostrophe or middle dot inside letters and a point or comma inside
    digits belong to it ("don't", "3.14"). Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese,
    Tibetan, ...) count by character, with their marks.
    """
    return _WORD.findall(text)


def spaced_words(text: str) -> list[str]:
    """The words of `words(text)`, each with the one space before it where one stands there (" dog", "dog")."""
    return _SPACED_WORD.findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word of `words(text)`, in code points."""
    return [match.span() for match in _WORD.finditer(text)]


def sentences(text: str) -> list[str]:
    """Cut after each sentence, by rule; joined, the pieces are the text (white space stays behind its sentence).

    A full stop ends a sentence when white space and something other than a lower-case letter follow, unless an initial
    or a common English or German abbreviation stands before it; an empty line always ends one. No model is used, so a
    few cuts will be wrong.
    """
    return _cut_at(text, (match.end() for match in _SENTENCE_END.finditer(text)))


def paragraphs(text: str) -> list[str]:
    """Cut behind empty lines; joined, the pieces are the text."""
    return _cut_at(text, (match.end() for match in _PARAGRAPH_END.finditer(text)))


def segments(text: str, max_bytes: int) -> list[str]:
    """Cut a text into pieces of at most `max_bytes` UTF-8 bytes, for models with a bounded window.

    A piece ends behind the last line or CJK sentence end of its second half, else before the last white space, else
    anywhere but inside a character (combining marks stay with their base where the piece is long enough).

    Args:
        text: any string.
        max_bytes: at least 4, the longest character.

    Returns:
        Pieces without gaps or overlap: joined, they are `text`. [] for "".

    Raises:
        ValueError: if max_bytes is under 4.
    """
    if max_bytes < 4:
        raise ValueError(f"max_bytes={max_bytes}; one character takes up to 4 bytes, so need at least 4.")
    pieces, start = [], 0
    while start < len(text):
        window = text[start : start + max_bytes]
        raw = window.encode("utf-8", "surrogatepass")
        size = len(window)
        if len(raw) > max_bytes:
            end = max_bytes
            while raw[end] & 0xC0 == 0x80:
                end -= 1
            size = len(raw[:end].decode("utf-8", "surrogatepass"))
        if start + size < len(text):
            size = _cut_before(text, start, size)
        pieces.append(text[start : start + size])
        start += size
    return pieces


def _cut_before(text: str, start: int, size: int) -> int:
    """Where to end a piece of at most `size` characters: 1 <= result <= size."""
    piece = text[start : start + size]
    better = max(piece.rfind(mark) for mark in _AFTER) + 1
    if better > size // 2:
        return better
    if text[start + size].isspace():
        return size
    if piece[-1].isspace():
        return max(size - 1, 1)
    tail = piece.rsplit(None, 1)[-1]
    cut = size - len(tail) - 1
    if cut > 0:
        return cut
    for back in range(min(32, size - 1)):
        if not _sticks(text[start + size - back]) and text[start + size - back - 1] != "\u200d":
            return size - back
    return size


def _sticks(char: str) -> bool:
    import unicodedata

    return char == "\u200d" or unicodedata.category(char).startswith("M") or "\U0001f3fb" <= char <= "\U0001f3ff"


def _cut_at(text: str, ends: Iterable[int]) -> list[str]:
    cuts = [0, *ends]
    if cuts[-1] < len(text):
        cuts.append(len(text))
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


class IncrementalSplitter:
    """Words of a text that arrives in chunks, as while a model writes it.

    Whatever the chunks, all that `feed` returned and then `flush` is `words` of the whole. A word is returned as soon
    as nothing that may follow can lengthen it.
    """

    def __init__(self) -> None:
        self._pending: list[str] = []

    def feed(self, text: str) -> list[str]:
        """Take the next chunk; return the words completed by it."""
        # Letters alone complete nothing: without this a very long word would be scanned again at every chunk.
        if self._pending and _PLAIN.fullmatch(text):
            self._pending.append(text)
            return []
        whole = "".join([*self._pending, text])
        done, rest = [], len(whole)
        for match in _WORD.finditer(whole):
            end = match.end()
            if end >= len(whole) or (whole[end] in _CONNECTORS and end + 1 >= len(whole)):
                rest = match.start()
                break
            done.append(match.group())
        self._pending = [whole[rest:]] if rest < len(whole) else []
        return done

    def flush(self) -> list[str]:
        """Return the words still open, and start anew."""
        whole, self._pending = "".join(self._pending), []
        return words(whole)


def split_documents(
    ids: Sequence[str | bytes | int] | int,
    *,
    parts: Mapping[str, float],
    seed: int,
    sizes: Sequence[int] | np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Divide documents among named parts, so that no document and no copy of one is on two sides.

    Documents are put in the order of a hash of (seed, id) and the parts are cut from that order by size. The answer
    does not depend on the order of the documents. Pass texts as ids to keep exact copies together.

    Args:
        ids: what identifies each document (its text, its id), or a number of documents.
        parts: name -> share of the size, summing to 1. A share of 0 gives an empty part.
        seed: another seed, another division.
        sizes: (D,) size of each document, usually its bytes; None counts documents.

    Returns:
        name -> int64 rows, ascending; every row is in exactly one part, and every part with a share has a document.

    Raises:
        ValueError: if shares are negative or do not sum to 1, sizes do not fit, or there are fewer distinct documents
            than parts.
    """
    ids = range(ids) if isinstance(ids, int) else ids
    names = [name for name, share in parts.items() if share > 0]
    shares = np.array([parts[name] for name in names], dtype=np.float64)
    if not names or min(parts.values()) < 0 or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"parts={dict(parts)}; need shares >= 0 that sum to 1.")
    sizes = np.ones(len(ids)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    if sizes.shape != (len(ids),) or not np.all(np.isfinite(sizes)) or np.any(sizes < 0):
        raise ValueError(f"sizes of shape {sizes.shape} for {len(ids)} documents; need one finite size >= 0 for each.")
    head = f"{seed}\x1f".encode()
    hashes = np.fromiter((stable_hash(head + _as_bytes(name)) for name in ids), dtype=np.uint64, count=len(ids))
    _, group = np.unique(hashes, return_inverse=True)
    n_groups = int(group.max()) + 1 if len(ids) else 0
    if n_groups < len(names):
        raise ValueError(
            f"{n_groups} distinct documents cannot be divided into {len(names)} parts ({', '.join(names)}); "
            "give more documents, or cut a long one into several."
        )
    mass = np.bincount(group, weights=sizes, minlength=n_groups)
    # Each group goes where its middle falls, so that one huge document moves a border as little as possible.
    total = mass.sum()
    middle = (np.cumsum(mass) - mass / 2) / total if total > 0 else (np.arange(n_groups) + 0.5) / n_groups
    borders = np.searchsorted(middle, np.cumsum(shares)[:-1])
    for k in range(len(borders)):
        least = 1 if k == 0 else borders[k - 1] + 1
        borders[k] = min(max(borders[k], least), n_groups - (len(names) - 1 - k))
    part_of = np.searchsorted(borders, group, side="right")
    result = {name: np.zeros(0, dtype=np.int64) for name in parts}
    for k, name in enumerate(names):
        result[name] = np.flatnonzero(part_of == k).astype(np.int64)
    return result


def _as_bytes(name: str | bytes | int) -> bytes:
    return name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogatepass")


_SCRIPT_NAMES = """
Latin Han Cyrillic Arabic Greek Hiragana Katakana Hangul Hebrew Devanagari Thai Bengali Tamil Telugu Kannada Malayalam
Gujarati Gurmukhi Sinhala Georgian Armenian Ethiopic Khmer Lao Myanmar Tibetan Mongolian Adlam Ahom
Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid
Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform Cypriot Cypro_Minoan
Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Glagolitic Gothic Grantha Gunjala_Gondi
Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kawi
Kayah_Li Kharoshthi Khitan_Small_Script Khojki Khudawadi Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani
Makasar Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive
Meroitic_Hieroglyphs Miao Modi Mro Multani Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu
Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian
Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician
Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sogdian Sora_Sompeng Soyombo
Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tangsa Tangut Thaana Tifinagh Tirhuta
Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square Inherited Common
"""


@lru_cache(maxsize=1)
def _script_pattern() -> regex.Pattern:
    return regex.compile("|".join(rf"(?P<{script}>\p{{Script={script}}})" for script in _SCRIPT_NAMES.split()))


@lru_cache(maxsize=65536)
def script_of(char: str) -> str:
    """The Unicode script of one character: "Latin", "Han", ...; "Common" for digits and punctuation, "Inherited" for
    combining marks, "Unknown" for what is not assigned (and lone surrogates).

    Raises:
        ValueError: if `char` is not one character.
    """
    if len(char) != 1:
        raise ValueError(f"got {char!r} of {len(char)} characters; need exactly one. For a text: script_counts(text).")
    match = _script_pattern().match(char)
    return match.lastgroup if match else "Unknown"


def script_counts(text: str) -> dict[str, int]:
    """How many characters of each script a text holds, most frequent first (ties by name)."""
    counts: Counter[str] = Counter()
    for char, n in Counter(text).items():
        counts[script_of(char)] += n
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
