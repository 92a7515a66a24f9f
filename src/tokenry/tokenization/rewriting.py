"""Write long numbers in groups before a model reads a text, and take the groups out again, exactly.

For a model whose tokenizer cannot be changed: 1234567 becomes 1,234,567, which every tokenizer with digit groups cuts
from the right. Two ways back: the record of what was put in (`Rewritten.undo`), or the text alone (`group` and
`ungroup`, which mark separators that were there before).

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from tokenry.tokenization.numerals import groups_of

SEPARATORS = {"comma": ",", "space": " ", "dot": ".", "dollar": "$", "hash": "#", "underscore": "_", "thin": "\u2009"}
_DIRECTIONS = ("r2l", "l2r")


@dataclass(frozen=True)
class Rewritten:
    """A text with its numbers in groups.

    Attributes:
        text: the new text.
        inserted: where separators were put in: offsets in `text`, rising.
        separator: what was put in.
    """

    text: str
    inserted: tuple[int, ...]
    separator: str

    def undo(self) -> str:
        """The text as it was, to the letter, whatever separators it held before."""
        size, pieces, start = len(self.separator), [], 0
        for place in self.inserted:
            pieces.append(self.text[start:place])
            start = place + size
        return "".join([*pieces, self.text[start:]])

    def original_offset(self, offset: int) -> int:
        """The offset in the original text of an offset in `text` (inside a separator: of what follows it)."""
        size = len(self.separator)
        return offset - sum(min(size, offset - place) for place in self.inserted if place < offset)


def rewrite(
    text: str,
    *,
    separator: str = ",",
    k: int = 3,
    direction: str = "r2l",
    least: int = 4,
    keep_fractions: bool = True,
    keep_years: bool = False,
    keep_identifiers: bool = True,
) -> Rewritten:
    """Put a separator between groups of digits, and keep a record of where.

    Numbers that are grouped already hold no run of `least` digits and stay as they are: rewriting twice changes
    nothing more.

    Args:
        text: any text. Only the digits 0-9 are looked at.
        separator: what to put in; must hold no digit.
        k: digits in a group.
        direction: "r2l" (1,234,567) or "l2r" (123,456,7; for experiments).
        least: shorter numbers stay.
        keep_fractions: digits behind a decimal point stay (3.14159).
        keep_years: a number of four digits from 1000 to 2999 stays.
        keep_identifiers: digits that touch a letter or underscore stay (user12345).

    Raises:
        ValueError: a separator that is empty or holds a digit, k or `least` below 1, an unknown direction.

    Paper: Tokenization counts (arXiv 2402.14903).
    """
    _check(separator, k, direction, least)
    pieces, inserted, size, end = [], [], 0, 0
    for match in re.finditer("[0-9]+", text):
        digits = match.group()
        if len(digits) < least or len(digits) <= k:
            continue
        if _stays(text, match, keep_fractions=keep_fractions, keep_years=keep_years, keep_identifiers=keep_identifiers):
            continue
        before = text[end : match.start()]
        pieces.append(before)
        size += len(before)
        for number, group in enumerate(groups_of(digits, direction, k)):
            if number:
                inserted.append(size)
                pieces.append(separator)
                size += len(separator)
            pieces.append(group)
            size += len(group)
        end = match.end()
    return Rewritten("".join([*pieces, text[end:]]), tuple(inserted), separator)


def group(text: str, *, separator: str = ",", **options: object) -> str:
    """`rewrite`, with separators that stood between digits before doubled (or one more than they were).

    So the text alone says what was put in: `ungroup(group(text)) == text` for every text. Options as for `rewrite`.
    """
    _check(separator, 3, "r2l", 1)
    made = rewrite(text, separator=separator, **options)
    inserted = set(made.inserted)

    def longer(match: re.Match) -> str:
        return match.group() if match.start() in inserted else match.group() + separator

    return _runs(separator).sub(longer, made.text)


def ungroup(text: str, *, separator: str = ",") -> str:
    """Take out what `group` put in: a single separator between digits goes, a longer run gets one shorter.

    On a model's answer, 1,234,567 becomes 1234567.
    """
    _check(separator, 3, "r2l", 1)
    return _runs(separator).sub(lambda match: match.group()[len(separator) :], text)


@lru_cache(maxsize=64)
def _runs(separator: str) -> re.Pattern:
    return re.compile(f"(?<=[0-9])(?:{re.escape(separator)})+(?=[0-9])")


def _stays(text: str, match: re.Match, *, keep_fractions: bool, keep_years: bool, keep_identifiers: bool) -> bool:
    start, end, digits = match.start(), match.end(), match.group()
    before, after = text[start - 1 : start], text[end : end + 1]
    if keep_fractions and before == "." and text[start - 2 : start - 1].isdigit():
        return True
    if keep_years and len(digits) == 4 and digits[0] in "12":
        return True
    touches = (before, after) if keep_identifiers else ()
    return any(mark and (mark.isalpha() or mark == "_") for mark in touches)


def _check(separator: str, k: int, direction: str, least: int) -> None:
    if not separator or any(character.isdigit() for character in separator):
        raise ValueError(
            f"separator {separator!r}; need at least one character and no digit. A comma is the usual one."
        )
    if k < 1 or least < 1 or direction not in _DIRECTIONS:
        raise ValueError(
            f"k={k}, least={least}, direction={direction!r}; need k and least from 1 on and a direction of "
            f"{' or '.join(_DIRECTIONS)}."
        )
