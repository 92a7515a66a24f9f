"""Terms of a domain: lists by group (mark-up, years, enumerators, legal abbreviations), and a choice by what they save.

Single characters are dropped from groups, as an alphabet has them.

Paper: KL3M Tokenizers (custom tokens; arXiv 2503.17247).
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tokenry.core.choosing import needs, suggest
from tokenry.core.vocab import Vocab

_TAGS = """
    a abbr address article aside b base blockquote body br button caption center cite code col dd del details
    dfn div dl dt em embed fieldset figcaption figure font footer form frame h1 h2 h3 h4 h5 h6 head header hr
    html i iframe img input ins kbd label legend li link main map mark meta nav noscript object ol optgroup
    option p param picture pre q s samp script section select small source span strike strong style sub summary
    sup svg table tbody td textarea tfoot th thead time title tr tt u ul var video
""".split()  # noqa: SIM905
_ATTRIBUTES = """
    action align alt bgcolor border cellpadding cellspacing class color colspan content data dir for height href
    id lang method name rel rowspan size src style target title type valign value width
""".split()  # noqa: SIM905
_ROMAN = ["ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"]


def whitespace() -> list[str]:
    """Runs of 2 to 8 spaces, tabs, CR and LF, and CRLF."""
    return [c * n for c in " \t\r\n" for n in range(2, 9)] + ["\r\n"]


def markdown() -> list[str]:
    """Headings, emphasis, fences, images, URL schemes, rules of 2 to 8 characters."""
    marks = ["#" * n for n in range(2, 7)] + ["**", "__", "~~", "```", "![", "](", "[^", "- [ ]", "- [x]"]
    schemes = ["http://", "https://", "ftp://", "mailto:", "www."]
    return marks + schemes + [c * n for c in ".-=_*~" for n in range(2, 9)]


def html() -> list[str]:
    """Opening and closing tags in both cases, and attributes with their space."""
    tags = [f"{left}{tag}{right}" for tag in _TAGS for left, right in (("<", ""), ("</", ">"))]
    return tags + [tag.upper() for tag in tags] + [f" {name}=" for name in _ATTRIBUTES]


def json() -> list[str]:
    """Pairs of JSON and XML punctuation."""
    return ['":', '",', '"}', '{"', '["', '"]', "[]", "{}", "[[", "]]", "[{", "}]", "},", "],", '": "', '", "', '"},',
            '": {', '": [', "<?xml", "?>", "<!--", "-->", "<![CDATA[", "]]>", "/>", '="', '">', "</", "&amp;", "&lt;",
            "&gt;", "&quot;", "&nbsp;"]  # fmt: skip


def years(first: int = 1776, last: int = 2049) -> list[str]:
    """Years, both ends included."""
    return _range(first, last, "years")


def numbers(first: int = 10, last: int = 999) -> list[str]:
    """Whole numbers, both ends included."""
    return _range(first, last, "numbers")


def _range(first: int, last: int, group: str) -> list[str]:
    if not 0 <= first <= last or last - first >= 100_000:
        raise ValueError(
            f"{group}:{first}-{last}; need a rising range of at most 100,000 numbers, e.g. {group}:10-999."
        )
    return [str(number) for number in range(first, last + 1)]


def enumerators() -> list[str]:
    """(a) to (z), (1) to (99), (ii) to (ix)."""
    inner = [*"abcdefghijklmnopqrstuvwxyz", *map(str, range(1, 100)), *_ROMAN]
    return list(dict.fromkeys(f"({text})" for text in inner))


def legal() -> list[str]:
    """Abbreviations of reporters, law journals and case names, each cut at white space.

    Raises:
        ImportError: the package reporters-db, which carries them, is not installed.
    """
    needs("legal", "reporters_db")
    import reporters_db as db

    editions = [name for entries in db.REPORTERS.values() for entry in entries for name in entry["editions"]]
    names = [*db.REPORTERS, *editions, *db.JOURNALS, *db.CASE_NAME_ABBREVIATIONS, *db.STATE_ABBREVIATIONS]
    return sorted({part for name in names for part in name.split()})


GROUPS = {"whitespace": whitespace, "markdown": markdown, "html": html, "json": json, "years": years,
          "numbers": numbers, "enumerators": enumerators, "legal": legal}  # fmt: skip


def group(name: str) -> list[str]:
    """The terms of one group: "markdown", "years:1776-2049".

    Raises:
        ValueError: unknown group, or a range where the group has none.
    """
    stem, _, argument = name.partition(":")
    if stem not in GROUPS:
        raise ValueError(f"unknown group of terms {name!r}; known are {', '.join(GROUPS)}.{suggest(stem, GROUPS)}")
    if not argument:
        found = GROUPS[stem]()
    elif stem in ("years", "numbers") and (match := re.fullmatch(r"(\d{1,9})-(\d{1,9})", argument)):
        found = GROUPS[stem](int(match[1]), int(match[2]))
    else:
        raise ValueError(f"group {name!r}; only years and numbers take a range, written years:1776-2049.")
    return [term for term in dict.fromkeys(found) if len(term) > 1]


def groups(names: str | Sequence[str]) -> list[str]:
    """The terms of several groups, in a list or separated by commas; each term once."""
    names = names.split(",") if isinstance(names, str) else names
    return list(dict.fromkeys(term for name in names for term in group(name.strip())))


@dataclass(frozen=True)
class Picked:
    """A term worth a token."""

    term: str
    saved: int
    """Tokens it saves on the text, given the terms picked before it."""
    occurrences: int
    """Where it replaces tokens, then."""


def select_terms(
    candidates: Iterable[str], texts: Iterable[str], vocab: Vocab, *, budget: int, joins_space: bool = False
) -> list[Picked]:
    """Pick the terms that save most tokens on a text, greedily, scored anew after each pick.

    An occurrence counts where the term stands as whole words and begins and ends with tokens of its own; it saves its
    tokens less one. Where its first token holds the space before it, an added token leaves the space alone, one token
    more; this may lose. A pick takes its places: a term inside it, or overlapping it, gains nothing there any more, and
    one around it counts it as one token. Gains fall as places are taken, so a lazy queue is enough. A pick always
    saves: the count of tokens on this text never rises. Measure the result on another text.

    Args:
        candidates: terms, of one word or several.
        texts: where they shall save.
        vocab: the tokenizer they would be added to.
        budget: most terms to pick; those that save nothing are not picked.
        joins_space: a term of one word takes the space before it along, as merges and whole words do.

    Returns:
        The picks, best first.

    Paper: KL3M Tokenizers (asked for in its section on limitations; arXiv 2503.17247).
    """
    ends, places = _occurrences(list(dict.fromkeys(candidates)), texts, vocab, joins_space=joins_space)
    queue = [(-gain, term) for term in places if (gain := _gain(ends, places[term])[0]) > 0]
    heapq.heapify(queue)
    picked: list[Picked] = []
    while queue and len(picked) < budget:
        stale, term = heapq.heappop(queue)
        gain, taken = _gain(ends, places[term])
        if gain < -stale:
            if gain > 0:
                heapq.heappush(queue, (-gain, term))
            continue
        for start, end, split in taken:
            ends[start + 1 : end] = bytes(end - start - 1)
            ends[start + 1] |= split
        picked.append(Picked(term, gain, len(taken)))
    return picked


Span = tuple[int, int, bool]
"""First byte, end, and whether a space in front becomes a token of its own."""


def _gain(ends: bytearray, spans: list[Span]) -> tuple[int, list[Span]]:
    """Tokens saved at the places that are still whole tokens, and these places, left to right without overlap."""
    gain, taken, last = 0, [], -1
    for start, end, split in spans:
        if start >= last and ends[start] and ends[end]:
            inside = ends.count(1, start + 1, end)
            if inside or split:
                gain += inside - split
                taken.append((start, end, split))
                last = end
    return gain, taken


_WORD = re.compile(r"\w+|[^\w\s]|\s")


def _occurrences(
    candidates: list[str], texts: Iterable[str], vocab: Vocab, *, joins_space: bool
) -> tuple[bytearray, dict[str, list[Span]]]:
    """Where tokens end (1 at each byte offset, all texts end to end), and the byte spans of each candidate.

    The space before a term belongs to its span where the tokenizer joins the two.
    """
    sought: dict[str, dict[tuple[str, ...], str]] = {}
    for term in candidates:
        words = tuple(_WORD.findall(term))
        if words:
            sought.setdefault(words[0], {})[words] = term
    sizes = {word: sorted({len(words) for words in found}, reverse=True) for word, found in sought.items()}
    ends, places = bytearray(b"\1"), {}
    for ids in _encoded(texts, vocab):
        offset = len(ends) - 1
        data = vocab.decode_bytes(ids)
        bounds = np.zeros(len(data), np.uint8)
        bounds[np.cumsum(vocab.byte_lengths[ids])[vocab.byte_lengths[ids] > 0] - 1] = 1
        ends += bounds.tobytes()
        shown = data.decode("utf-8", "replace")
        if len(shown.encode()) != len(data):
            continue  # bytes that are no text: offsets would not fit
        words = _WORD.findall(shown)
        starts = np.concatenate([[0], np.cumsum([len(w) if w.isascii() else len(w.encode()) for w in words])]).tolist()
        for i, word in enumerate(words):
            for n in sizes.get(word, ()):
                term = sought[word].get(tuple(words[i : i + n]))
                if term is not None and i + n <= len(words):
                    start, end = offset + starts[i], offset + starts[i + n]
                    spaced = not ends[start] and i > 0 and words[i - 1] == " "
                    split = spaced and not (joins_space and n == 1)
                    places.setdefault(term, []).append((start - spaced, end, split))
    return ends, places


def _encoded(texts: Iterable[str], vocab: Vocab) -> Iterator[np.ndarray]:
    remaining = iter(texts)
    while batch := list(islice(remaining, 256)):
        yield from vocab.encode(batch)


def frequent_phrases(texts: Iterable[str], *, max_words: int = 4, min_count: int = 5, limit: int = 20_000) -> list[str]:
    """Candidate terms of a text: its most frequent words and phrases, most characters covered first.

    Args:
        texts: documents.
        max_words: words in a phrase at most; white space and punctuation end a phrase, one space joins it.
        min_count: a phrase seen less often is left out.
        limit: phrases to return.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for run in re.findall(r"\w+(?: \w+)*", text):
            words = run.split(" ")
            for n in range(1, max_words + 1):
                for i in range(len(words) - n + 1):
                    phrase = " ".join(words[i : i + n])
                    counts[phrase] = counts.get(phrase, 0) + 1
    kept = [(count * len(phrase), phrase) for phrase, count in counts.items() if count >= min_count and len(phrase) > 1]
    return [phrase for _, phrase in sorted(kept, key=lambda row: (-row[0], row[1]))[:limit]]
