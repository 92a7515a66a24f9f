"""Find the Items of a filing (1, 1A, 7 ... of a 10-K; Parts I and II of a 10-Q; 2.02 of an 8-K) as spans of its text.

Headings are lines that begin with "Item 7". The same words stand in the table of contents and in references, so the
chain of headings is chosen that goes upwards and lies before the most text; an entry of a table of contents has none.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827), which
keeps types and dates; sections are asked for by its users.
"""

import math
import re
from dataclasses import dataclass

__all__ = ["Section", "sections"]

_HEADING = re.compile(
    r"^[ \t]*(?:part[ \t]+([IV]{1,3})[ \t]*[,.:;\-–—]*[ \t]*)?items?[ \t]*(\d{1,2}(?:\.\d{2})?)[ \t]?\(?([A-K]?)\)?"
    r"(?![A-Za-z0-9])[ \t]*[.:\-–—)]*[ \t]*(.{0,200})",
    re.IGNORECASE | re.MULTILINE,
)
_PART = re.compile(
    r"^[ \t]*part[ \t]+(I{1,3}|IV)\b[^a-z\n]{0,80}(?:information)?[^\n]{0,40}$", re.IGNORECASE | re.MULTILINE
)
_END = re.compile(r"^[ \t]*signatures?[ \t]*\.?$", re.IGNORECASE | re.MULTILINE)
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
# Words in the headings of a 10-Q, whose numbers come twice.
_QUARTERLY = {
    (1, 1, ""): "financial statements", (1, 2, ""): "discussion", (1, 3, ""): "quantitative", (1, 4, ""): "controls",
    (2, 1, ""): "legal", (2, 1, "A"): "risk", (2, 2, ""): "unregistered|changes in securities|repurchase|sales",
    (2, 3, ""): "default", (2, 4, ""): "mine|submission|matters", (2, 5, ""): "other", (2, 6, ""): "exhibits",
}  # fmt: skip
_MOST = 2000


@dataclass(frozen=True)
class Section:
    """One Item.

    Attributes:
        item: "1A"; of a 10-Q "I.2" or "II.1A"; of an 8-K "2.02".
        start: of its heading, in characters.
        end: where the next begins.
    """

    item: str
    start: int
    end: int


@dataclass(frozen=True)
class _Candidate:
    start: int
    order: tuple[int, int, str]
    weight: float


def sections(text: str, form: str) -> list[Section]:
    """The Items of a document, in order; [] where there are no headings.

    Args:
        text: cleaned text, a heading at the beginning of a line.
        form: type of the document: 10-K, 10-Q, 8-K, 20-F (amendments, /A, are cut alike).
    """
    is_quarterly = form.upper().startswith("10-Q")
    # A reference that begins a line goes on in lower case: "Item 7 of this report".
    found = [one for one in _HEADING.finditer(text) if not re.match(r"[a-z(]", one[4])][:_MOST]
    if not found:
        return []
    ends = [one.start() for one in found[1:]] + [len(text)]
    parts = [(one.start(), _ROMAN.get(one[1].upper(), 0)) for one in _PART.finditer(text)]
    candidates: list[_Candidate] = []
    for heading, end in zip(found, ends, strict=True):
        weight = math.sqrt(1 + max(0, end - heading.start() - 80))
        candidates += _orders(heading, weight, parts, is_quarterly=is_quarterly)
    chain = _best_chain(candidates)
    last = next((one.start() for one in _END.finditer(text, chain[-1].start)), len(text))
    ends = [one.start for one in chain[1:]] + [last]
    return [Section(_name(one.order, is_quarterly), one.start, end) for one, end in zip(chain, ends, strict=True)]


def _orders(heading: re.Match, weight: float, parts: list[tuple[int, int]], *, is_quarterly: bool) -> list[_Candidate]:
    number, _, below = heading[2].partition(".")
    if below:  # the Items of an 8-K: 2.02
        return [_Candidate(heading.start(), (int(number), int(below), ""), weight)]
    letter, title = heading[3].upper(), heading[4].lower()
    if not is_quarterly:
        return [_Candidate(heading.start(), (0, int(number), letter), weight)]
    said = _ROMAN.get((heading[1] or "").upper(), 0) or next(
        (part for at, part in reversed(parts) if at <= heading.start()), 0
    )
    made = []
    for part in (1, 2):
        key = (part, int(number), letter)
        if key not in _QUARTERLY:
            continue
        fits = 1.0 if not title else (2.0 if re.search(_QUARTERLY[key], title) else 0.3)
        made.append(_Candidate(heading.start(), key, weight * fits * (0.5 if said and said != part else 1.0)))
    return made


def _best_chain(candidates: list[_Candidate]) -> list[_Candidate]:
    """The heaviest chain that goes up in place and in order."""
    orders = sorted({one.order for one in candidates})
    rank = {order: place for place, order in enumerate(orders)}
    best: list[tuple[float, int | None]] = []  # weight of the heaviest chain that ends here, and the one before
    top: list[tuple[float, int] | None] = [None] * len(orders)
    for place, one in enumerate(candidates):
        before = max(
            (held for held in top[: rank[one.order]] if held and candidates[held[1]].start < one.start), default=None
        )
        weight = one.weight + (before[0] if before else 0.0)
        best.append((weight, before[1] if before else None))
        held = top[rank[one.order]]
        if held is None or weight > held[0]:
            top[rank[one.order]] = (weight, place)
    at: int | None = max(range(len(best)), key=lambda place: best[place][0])
    chain = []
    while at is not None:
        chain.append(candidates[at])
        at = best[at][1]
    return chain[::-1]


def _name(order: tuple[int, int, str], is_quarterly: bool) -> str:
    first, second, letter = order
    if is_quarterly:
        return f"{'I' * first}.{second}{letter}"
    return f"{first}.{second:02d}" if first else f"{second}{letter}"
