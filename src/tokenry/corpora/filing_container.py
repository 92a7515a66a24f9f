"""Read the container in which a regulator's system keeps one filing: a header, then documents with type and text.

The format is that of EDGAR's full-submission text files, of 1993 to now: lines such as `<TYPE>10-K` before `<TEXT>`,
binary parts as uuencoded lines, in old files a PEM header around all. It looks like SGML and is none: nothing is closed
for certain, so it is read line by line and what is cut short is said to be.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

__all__ = ["Part", "Submission", "part_kind", "read_submission"]

_TAG = re.compile(rb"^<(/?)(DOCUMENT|TEXT)>[ \t]*$", re.MULTILINE)
_FIELD = re.compile(r"^<([A-Z][A-Z0-9-]*)>[ \t]*(.*)$", re.MULTILINE)
_KEY = re.compile(r"^[ \t]*([A-Z][A-Z0-9 ./&'()-]{2,60}):[ \t]*(\S.*)$", re.MULTILINE)
_UUENCODED = re.compile(rb"^\s*(?:<[A-Za-z]{2,8}>\s*)?begin [0-7]{3,4} \S", re.DOTALL)
_WRAPPER = re.compile(rb"^\s*<(XBRL|XML|PDF|HTML)>[ \t]*\n?", re.IGNORECASE)
_MARKUP = re.compile(rb"<(?:!doctype html|html|body|head|div|p|br|font|center|td)[\s>]", re.IGNORECASE)
_SUFFIXES = {
    "image": "jpg jpeg gif png bmp tif tiff svg",
    "pdf": "pdf",
    "spreadsheet": "xls xlsx csv",
    "archive": "zip gz",
    "data": "xml xsd xbrl js json css fil paper",
}
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_KIND_OF_TYPE = {
    "GRAPHIC": "image",
    "EXCEL": "spreadsheet",
    "ZIP": "archive",
    "XML": "data",
    "JSON": "data",
    "PDF": "pdf",
}
_MOST_HEADER = 2**20
_EASTERN = "America/New_York"


@dataclass(frozen=True)
class Part:
    """One document of a filing.

    Attributes:
        type: such as 10-K, EX-99.1.
        sequence: its number in the filing, as written.
        filename: as written.
        description: as written.
        body: the bytes between `<TEXT>` and `</TEXT>`, line ends as line feeds.
        is_whole: both ends were there.
        level: 0 for a document of the filing, 1 for one found inside the text of another, and so on.
    """

    type: str = ""
    sequence: str = ""
    filename: str = ""
    description: str = ""
    body: bytes = b""
    is_whole: bool = True
    level: int = 0


@dataclass(frozen=True)
class Submission:
    """One filing.

    Attributes:
        accession: its number, "" when the header has none.
        form: the type of the submission.
        accepted: when it was taken in, in UTC (the file says it in the time of Washington); None when it is not said.
        filed: the day of filing.
        period: the end of the period it reports on.
        company: name of the first filer.
        cik: number of the first filer, digits.
        sic: industry code of the first filer.
        parts: its documents, in order; one inside another comes after it.
        is_whole: the end was there, and every part's.
        header: every key -> its values, in order.
    """

    accession: str = ""
    form: str = ""
    accepted: datetime | None = None
    filed: date | None = None
    period: date | None = None
    company: str = ""
    cik: str = ""
    sic: str = ""
    parts: tuple[Part, ...] = ()
    is_whole: bool = True
    header: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass
class _Open:
    """A document whose end has not come yet."""

    start: int
    level: int
    head: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    text_from: int | None = None
    has_text: bool = False


def read_submission(data: bytes) -> Submission:
    """Read one full-submission text file.

    Args:
        data: the whole file. `\\r\\n` and `\\r` count as line ends.

    Raises:
        ValueError: there is no header and no document: this is another kind of file.
    """
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    parts, starts, n_open = _parts(data)
    header = _header(data[: min(starts, _MOST_HEADER)].decode("utf-8", "replace"))
    if not parts and "ACCESSION NUMBER" not in header:
        raise ValueError(
            "no header and no <DOCUMENT> in it: this is no full-submission text file. Need files such as "
            "0000320193-20-000096.txt, as the archives of the regulator give them."
        )
    first = {key: values[0] for key, values in header.items()}
    ended = re.search(rb"^(</(SEC|IMS)-DOCUMENT>|</SUBMISSION>|-----END PRIVACY)", data[-4096:], re.MULTILINE)
    opened = re.search(rb"^(<(SEC|IMS)-DOCUMENT>|<SUBMISSION>|-----BEGIN PRIVACY)", data[:4096], re.MULTILINE)
    return Submission(
        accession=first.get("ACCESSION NUMBER", ""),
        form=first.get("CONFORMED SUBMISSION TYPE") or first.get("TYPE", "") or (parts[0].type if parts else ""),
        accepted=_instant(first.get("ACCEPTANCE DATETIME", "")),
        filed=_day(first.get("FILED AS OF DATE") or first.get("FILING DATE", "")),
        period=_day(first.get("CONFORMED PERIOD OF REPORT") or first.get("PERIOD", "")),
        company=first.get("COMPANY CONFORMED NAME") or first.get("CONFORMED NAME", ""),
        cik=(first.get("CENTRAL INDEX KEY") or first.get("CIK", "")).strip(),
        sic=_code(first.get("STANDARD INDUSTRIAL CLASSIFICATION") or first.get("ASSIGNED SIC", "")),
        parts=tuple(parts),
        is_whole=n_open == 0 and all(part.is_whole for part in parts) and bool(ended or not opened),
        header=header,
    )


def part_kind(part: Part) -> tuple[str, bytes]:
    """What a part is, and its body without the wrapper that binary and XBRL parts have.

    Returns:
        "html" or "text" for what can be read; else why not: "uuencoded", "xbrl", "image", "pdf", "spreadsheet",
        "archive", "data" or "empty".
    """
    body, suffix = part.body, part.filename.rpartition(".")[2].lower()
    if not body.strip():
        return "empty", b""
    if part.type.startswith("EX-101") or part.type == "XBRL":
        return "xbrl", b""
    kind = _KIND_OF_TYPE.get(part.type) or _KIND_OF_SUFFIX.get(suffix)
    if (kind and "." in part.filename) or part.type in _KIND_OF_TYPE:
        return str(kind), b""
    if _UUENCODED.match(body):
        return "uuencoded", b""
    wrapper = _WRAPPER.match(body)
    if wrapper and wrapper[1].upper() != b"HTML":
        name = wrapper[1].upper()
        if name in (b"PDF", b"XML"):
            return {b"PDF": "pdf", b"XML": "data"}[name], b""
        body = body[wrapper.end() :]
        body = body.removesuffix(b"\n").removesuffix(b"</XBRL>")
    if suffix in ("htm", "html", "xhtml") or _MARKUP.search(body[:4096]):
        return "html", body
    if b"\0" in body[:65536] and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "data", b""
    return "text", body


def _parts(data: bytes) -> tuple[list[Part], int, int]:
    """The documents in order of their beginnings, where the first begins, and how many had no end."""
    made: list[tuple[int, Part]] = []
    stack: list[_Open] = []
    starts, n_open = len(data), 0

    def close(at: int, *, is_whole: bool) -> None:
        one = stack.pop()
        if one.text_from is not None:
            one.pieces.append(data[one.text_from : at])
            is_whole = False
        if not one.has_text:
            one.head = data[one.start : at]
        said = {name: value.strip() for name, value in reversed(_FIELD.findall(one.head.decode("utf-8", "replace")))}
        made.append((one.start, Part(
            said.get("TYPE", ""), said.get("SEQUENCE", ""), said.get("FILENAME", ""), said.get("DESCRIPTION", ""),
            b"".join(one.pieces), is_whole, one.level,
        )))  # fmt: skip
        if stack and stack[-1].text_from is not None:
            stack[-1].text_from = at

    for found in _TAG.finditer(data):
        closing, name = bool(found[1]), found[2]
        after = min(found.end() + 1, len(data))
        top = stack[-1] if stack else None
        if name == b"DOCUMENT" and not closing:
            starts = min(starts, found.start())
            if top and top.text_from is not None:  # one document inside the text of another
                top.pieces.append(data[top.text_from : found.start()])
                top.text_from = found.start()
            elif top:  # the end of the one before is missing
                close(found.start(), is_whole=False)
                n_open += 1
            stack.append(_Open(after, len(stack)))
        elif name == b"DOCUMENT" and top:
            close(found.start(), is_whole=top.has_text)
            if stack and stack[-1].text_from is not None:
                stack[-1].text_from = after
        elif top and name == b"TEXT" and not closing and not top.has_text:
            top.head, top.has_text, top.text_from = data[top.start : found.start()], True, after
        elif top and name == b"TEXT" and closing and top.text_from is not None:
            top.pieces.append(data[top.text_from : found.start()])
            top.text_from = None
    while stack:
        close(len(data), is_whole=False)
        n_open += 1
    return [part for _, part in sorted(made, key=lambda one: one[0])], starts, n_open


def _header(text: str) -> dict[str, list[str]]:
    """Keys and values of either spelling: `KEY: value`, and `<KEY>value` of the daily feeds."""
    found: dict[str, list[str]] = {}
    pairs = [(m.start(), m[1], m[2]) for pattern in (_KEY, _FIELD) for m in pattern.finditer(text)]
    for _, key, value in sorted(pairs):
        if value.strip():
            found.setdefault(key.replace("-", " ").strip(), []).append(value.strip())
    return found


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text.strip()[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _instant(text: str) -> datetime | None:
    try:
        local = datetime.strptime(text.strip()[:14], "%Y%m%d%H%M%S")
        return local.replace(tzinfo=ZoneInfo(_EASTERN)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _code(text: str) -> str:
    found = re.search(r"\b(\d{4})\b", text)
    return found[1] if found else ""
