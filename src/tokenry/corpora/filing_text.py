"""Clean the text of a filing: lines that were wrapped by hand flow again, tables of numbers and page furniture go.

Page furniture is what stands on a page and not in the text: its number, `<PAGE>`, the heads and feet that repeat. What
is a table of numbers is said by `html_text.is_numeric`. A sentence that a page break has cut is joined again.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass

from tokenry.corpora.filing_container import Part, part_kind
from tokenry.corpora.html_text import PAGE_BREAK, decoded, html_text, is_numeric, tidy

__all__ = ["Cleaned", "clean_html", "clean_part", "clean_plain", "without_furniture"]

_PAGE_TAG = re.compile(r"^[ \t]*<PAGE>[ \t]*(?:\d{1,4}[ \t]*)?$", re.IGNORECASE | re.MULTILINE)
# What has no end of its own ends where the next begins; the last one would take the rest of the filing with it.
_TABLE_BLOCK = re.compile(
    r"^[ \t]*<TABLE>[ \t]*\n(.*?)(?:^[ \t]*</TABLE>[ \t]*$|(?=^[ \t]*<TABLE>))", re.I | re.M | re.S
)
_TABLE_TAG = re.compile(r"^[ \t]*</?(?:TABLE|CAPTION)>[ \t]*$|</?(?:S|C|F\d?|FN)>", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(
    r"^(?:page\s+)?(?:[-–—]\s*)?(?:[a-z]{1,2}-)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:of|/)\s*\d{1,4})?(?:\s*[-–—])?\.?$",
    re.IGNORECASE,
)
_PLAIN_NUMBER = re.compile(r"^(?:page\s+)?(?:[-–—]\s*)?(?:[A-Z]{1,2}-)?\d{1,4}(?:\s*[-–—])?$", re.IGNORECASE)
_CONTENTS = re.compile(r"^(?:back to |return to )?table of contents$|^index$", re.IGNORECASE)
_RULE = re.compile(r"^[\s\-=_*.·~]{3,}$")
_GAPS = re.compile(r"\S {3,}\S|\t")
_STARTS = re.compile(
    r"^\s*(?:[-•*o·]\s|\((?:[a-z]|[ivx]{1,4}|\d{1,2})\)\s|(?:[a-z]|\d{1,2})[.)]\s"
    r"|(?:item|part|note|exhibit)\s+[\divx]{1,4}[a-k]?\s*[.:–—-])",
    re.IGNORECASE,
)
_ENDS = tuple(".!?:;\"'”’)")
_NARROWEST = 35  # a paragraph of shorter lines was not wrapped
_REPEATS, _REACH, _LONGEST_HEAD = 3, 2, 120


@dataclass(frozen=True)
class Cleaned:
    """A part as text.

    Attributes:
        text: the prose; "" where nothing is left.
        kind: "html" or "text"; or why it was left out, as `part_kind` says it.
        n_tables: tables of numbers left out.
        n_furniture: lines of page furniture left out.
    """

    text: str
    kind: str
    n_tables: int = 0
    n_furniture: int = 0


def clean_part(part: Part, *, keep_tables: bool = False) -> Cleaned:
    """The prose of one document of a filing.

    Args:
        part: as `read_submission` gives it.
        keep_tables: keep tables of numbers.

    Raises:
        UnreadablePage: too large or too deep.
    """
    kind, body = part_kind(part)
    if kind == "html":
        return clean_html(decoded(body, fallback="cp1252"), keep_tables=keep_tables)
    if kind == "text":
        return clean_plain(decoded(body, fallback="cp1252"), keep_tables=keep_tables)
    return Cleaned("", kind)


def clean_html(html: str, *, keep_tables: bool = False) -> Cleaned:
    """The prose of an HTML document."""
    page = html_text(html, numeric_tables=keep_tables, breaks=True, cell=" ")
    text, n_furniture = without_furniture(page.text)
    return Cleaned(text, "html", page.n_tables, n_furniture)


def clean_plain(text: str, *, keep_tables: bool = False) -> Cleaned:
    """The prose of a plain document: of the years before HTML, and of letters."""
    text = _PAGE_TAG.sub(PAGE_BREAK, text.expandtabs(8))
    n_tables = 0

    def block(found: re.Match) -> str:
        nonlocal n_tables
        if not keep_tables and is_numeric(found[1]):
            n_tables += 1
            # A page may be broken inside a table.
            return "\n" + f"{PAGE_BREAK}\n" * found[1].count(PAGE_BREAK)
        return found[0]

    text = _TABLE_TAG.sub("", _TABLE_BLOCK.sub(block, text))
    lines = [line.rstrip(" ") for line in text.split("\n")]
    # A form feed may stand before the first words of a page.
    lines = [piece for line in lines for piece in _split_breaks(line)]
    if not keep_tables:
        lines, n_more = _without_tables(lines)
        n_tables += n_more
    text, n_furniture = without_furniture("\n".join(lines), tidied=False)
    return Cleaned(tidy(_reflowed(text.split("\n"))), "text", n_tables, n_furniture)


def without_furniture(text: str, *, tidied: bool = True) -> tuple[str, int]:
    """The text without page numbers, repeated heads and feet and page breaks; and how many lines went.

    Args:
        text: with lines of `PAGE_BREAK`.
        tidied: lines are whole paragraphs (else lines of a page).
    """
    lines = text.split("\n")
    breaks = [row for row, line in enumerate(lines) if line.strip(" ") == PAGE_BREAK]
    near: dict[int, str] = {}
    for at in breaks:
        for step in (-1, 1):
            row, left = at + step, _REACH
            while 0 <= row < len(lines) and left and lines[row].strip(" ") != PAGE_BREAK:
                if line := lines[row].strip():
                    near[row] = " ".join(line.split())
                    left -= 1
                row += step
    last = next((row for row in range(len(lines) - 1, -1, -1) if lines[row].strip()), None)
    counts = Counter(line for line in near.values() if len(line) <= _LONGEST_HEAD)
    gone = set(breaks)
    for row, line in near.items():
        if _NUMBER.match(line) or _CONTENTS.match(line) or (counts[line] >= _REPEATS and len(line) <= _LONGEST_HEAD):
            gone.add(row)
    if last is not None and _PLAIN_NUMBER.match(lines[last].strip()):
        gone.add(last)
    # Where pages are not marked, a lone number between empty lines that counts up is one.
    gone |= _counting(lines)
    gone |= {row for row, line in enumerate(lines) if _CONTENTS.match(line.strip()) and row > 200}
    n_gone = len(gone) - len(breaks)
    kept = _joined(lines, gone, set(breaks)) if tidied else _bridged(lines, gone, set(breaks))
    made = "\n".join(kept)
    return (tidy(made) if tidied else made), n_gone


def _split_breaks(line: str) -> list[str]:
    if PAGE_BREAK not in line:
        return [line]
    pieces: list[str] = []
    for number, piece in enumerate(line.split(PAGE_BREAK)):
        pieces += [PAGE_BREAK] if number else []
        pieces += [piece] if piece.strip() else []
    return pieces


def _counting(lines: list[str]) -> set[int]:
    """Rows of lone numbers that go up by one at least three times in a row, wherever they stand."""
    found = []
    for row, line in enumerate(lines):
        short = line.strip()
        alone = (row == 0 or not lines[row - 1].strip()) and (row + 1 == len(lines) or not lines[row + 1].strip())
        if len(short) <= 12 and alone and _PLAIN_NUMBER.match(short):
            found.append((row, int(re.sub(r"\D", "", short))))
    gone, run = set(), found[:1]
    for before, now in itertools.pairwise(found):
        if now[1] != before[1] + 1:
            run = []
        run = [*run, now] if run else [now]
        if len(run) >= _REPEATS:
            gone |= {row for row, _ in run}
    return gone


def _joined(lines: list[str], gone: set[int], breaks: set[int]) -> list[str]:
    """Paragraphs without those that are gone; one that a page break cut is whole again."""
    kept: list[str] = []
    was_broken = False
    for row, line in enumerate(lines):
        if row in gone:
            was_broken |= row in breaks
            continue
        if not line:
            kept.append("")
            continue
        last = next((n for n in range(len(kept) - 1, max(-1, len(kept) - 8), -1) if kept[n]), None)
        if was_broken and last is not None and _goes_on(kept[last], line):
            kept[last:] = [f"{kept[last]} {line}"]
        else:
            kept.append(line)
        was_broken = False
    return kept


def _bridged(lines: list[str], gone: set[int], breaks: set[int]) -> list[str]:
    """The same for lines of a page: the empty lines around a break go where the sentence goes on."""
    kept: list[str] = []
    was_broken = False
    for row, line in enumerate(lines):
        if row in gone:
            was_broken |= row in breaks
            kept.append("")
            continue
        if line.strip() and was_broken:
            last = next((n for n in range(len(kept) - 1, -1, -1) if kept[n].strip()), None)
            if last is not None and _goes_on(kept[last].strip(), line.strip()):
                del kept[last + 1 :]
            was_broken = False
        kept.append(line)
    return kept


def _goes_on(before: str, after: str) -> bool:
    return not before.endswith(_ENDS) and after[:1].islower() and not _STARTS.match(after)


def _without_tables(lines: list[str]) -> tuple[list[str], int]:
    """Lines without blocks of three or more that are set in columns and hold numbers."""
    kept: list[str] = []
    block: list[str] = []
    n_tables = 0

    def end() -> None:
        nonlocal n_tables
        rows = [line for line in block if line.strip() and not _RULE.match(line) and line != PAGE_BREAK]
        columns = sum(bool(_GAPS.search(line.strip())) for line in rows)
        if len(rows) >= 3 and columns >= 0.6 * len(rows) and is_numeric("\n".join(rows)):
            n_tables += 1
            kept.append("")
            kept.extend(line for line in block if line == PAGE_BREAK)
        else:
            kept.extend(block)
        block.clear()

    for line in lines:
        inside = bool(_GAPS.search(line.strip())) or bool(_RULE.match(line))
        if inside or (block and line == PAGE_BREAK) or (not line.strip() and block and block[-1].strip()):
            block.append(line)
        else:
            end()
            kept.append(line)
    end()
    return [line for line in kept if not _RULE.match(line)], n_tables


def _reflowed(lines: list[str]) -> str:
    """Paragraphs of lines that were wrapped by hand as one line each.

    A line was wrapped where the first word of the next would not have fitted: the width is that of the longest line of
    the paragraph, so every true wrap is seen, and a short line that stands for itself stays.
    """
    made: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        if not paragraph:
            return
        width = max(map(len, paragraph))
        flowing = ""
        for before, line in zip(["", *paragraph], paragraph, strict=False):
            word = line.split(None, 1)[0]
            wrapped = len(before) + 1 + len(word) > width and width >= _NARROWEST
            if flowing and wrapped and not _STARTS.match(line):
                glue = "" if flowing.endswith("-") and flowing[-2:-1].isalpha() and word[:1].islower() else " "
                flowing = f"{flowing}{glue}{line.strip()}"
            else:
                made.extend([flowing] if flowing else [])
                flowing = line.strip()
        made.extend([flowing, ""])
        paragraph.clear()

    for line in lines:
        if line.strip():
            paragraph.append(line)
        else:
            end()
    end()
    return "\n".join(made)
