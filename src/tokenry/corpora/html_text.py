"""Turn the HTML of web pages and filings into plain text, one block a line, with a bound on what a hostile page costs.

The work is done by resiliparse (Apache-2.0; extra `web`): it parses as browsers do, does not recurse, and comes with
FastWARC, which reads WARC files for us. DataComp-LM chose it over trafilatura and the text that Common Crawl gives.

Paper: DataComp-LM: In search of the next generation of training sets for language models (arXiv 2406.11794).
"""

import re
from dataclasses import dataclass

from tokenry.core.choosing import needs

__all__ = ["PAGE_BREAK", "Page", "UnreadablePage", "decoded", "html_text", "is_numeric", "tidy"]

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 4096
MOST_TABLES_DEEP = 32
PAGE_BREAK = "\f"
"""Stands alone on a line where the page was broken, when `breaks` asks for it."""

# Private characters: white space (and so a form feed) is folded by the parser's text.
_MARK, _GAP = "\ue00c", "\ue00d"
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:_-]{0,40})")
# Neither void elements nor those that the next one of their kind closes make a page deep.
_FLAT = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "td",
        "th",
        "tr",
        "dt",
        "dd",
        "option",
        "optgroup",
        "tbody",
        "thead",
        "tfoot",
        "rp",
        "rt",
    ]
)
_HIDDEN = frozenset(
    ["script", "style", "template", "noscript", "iframe", "object", "svg", "math", "ix:header", "ix:hidden"]
)
_HIDING = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_BREAKING = re.compile(r"break-(before|after)\s*:\s*(?!auto|avoid|inherit)[a-z]", re.IGNORECASE)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff\0"))
_BLANKS = re.compile(r"[^\S\n]+")
_ITEM = re.compile(r"\bitem\s{1,5}[1-9]", re.IGNORECASE)


class UnreadablePage(ValueError):  # noqa: N818 - what it is, not that it is wrong
    """A page that is left alone; `reason` says why in two words, for counts."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Page:
    """What was made of a page.

    Attributes:
        text: one block a line, an empty line around paragraphs and headings.
        title: of the page, "" for none.
        n_tables: tables of numbers that were left out.
    """

    text: str
    title: str = ""
    n_tables: int = 0


def decoded(data: bytes, declared: str | None = None, *, fallback: str | None = None) -> str:
    """Bytes of a page as text: by byte order mark, what is declared, its `meta`, UTF-8, and at last by guess.

    Args:
        data: the bytes.
        declared: the character set the server named.
        fallback: taken instead of a guess where nothing else holds.

    No byte stops it: what is broken becomes U+FFFD.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    found = _CHARSET.search(data[:4096])
    for name in (declared, found and found[1].decode("ascii")):
        if name and (text := _decoded_as(data, name)) is not None:
            return text
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        if fallback is None:
            needs("web", "resiliparse")
            from resiliparse.parse.encoding import detect_encoding

            fallback = detect_encoding(data[:65536], html5_compatible=True) or "windows-1252"
    return _lenient(data, fallback)


def _decoded_as(data: bytes, name: str) -> str | None:
    """The text, or None where the name is none, or clearly wrong: UTF-8 that is broken."""
    import codecs

    try:
        found = codecs.lookup(name).name
        b"".decode(found)
    except (LookupError, ValueError, TypeError):
        return None
    # Browsers take these as windows-1252, and pages mean it: the range 0x80 to 0x9f holds quotes and dashes.
    if found in ("iso8859-1", "ascii", "latin-1"):
        found = "cp1252"
    if found == "utf-8":
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if found in ("cp1252",):
        try:
            return data.decode("utf-8")  # where both hold, several bytes that form UTF-8 are not chance
        except UnicodeDecodeError:
            return _lenient(data, "cp1252")
    return _lenient(data, found)


def _lenient(data: bytes, name: str) -> str:
    try:
        return data.decode(name, "replace")
    except (LookupError, ValueError):
        return data.decode("cp1252", "replace")


def html_text(
    html: str, *, main: bool = False, numeric_tables: bool = True, breaks: bool = False, cell: str = "\t"
) -> Page:
    """The text of a page.

    Args:
        html: decoded, see `decoded`.
        main: only what looks like the content; menus, headers and footers are left out by resiliparse's rules.
        numeric_tables: keep tables of numbers; off, those that `is_numeric` are left out, the inner ones first.
        breaks: mark page breaks (`hr`, page-break styles) by lines of `PAGE_BREAK`.
        cell: what stands between the cells of a row.

    Raises:
        UnreadablePage: over 64 MB, nested deeper than 4,096, or no HTML for the parser.
    """
    needs("web", "resiliparse")
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree, traverse_dom

    _check(html)
    try:
        tree = HTMLTree.parse(html.replace(_MARK, "").replace(_GAP, "").replace("\0", ""))
        title = " ".join((tree.title or "").split())
        body = tree.body
        if body is None:
            return Page("", title)
        found = _Found(has_styles="none" in html or "break-" in html, has_hidden="hidden" in html)
        traverse_dom(body, found.see, elements_only=True)
        for node in found.hidden:
            node.decompose()
        if breaks:
            _mark_breaks(tree, found.breaks)
        n_tables = 0 if numeric_tables else _without_numbers(tree, found.tables, html)
        text = extract_plain_text(tree, main_content=main, list_bullets=False, alt_texts=False)
    except BaseException as error:
        # A failure inside the Rust of the library comes as a PanicException, which is no Exception.
        if not isinstance(error, (ValueError, RuntimeError)) and type(error).__name__ != "PanicException":
            raise
        raise UnreadablePage("broken HTML", f"the parser gives up on this page ({error}).") from error
    text = text.replace(_GAP, "").replace("\t\t", "\0").replace("\t", " ").replace("\0", "\t")
    return Page(tidy(text.replace(_MARK, f"\n{PAGE_BREAK}\n"), cell=cell), title, n_tables)


def is_numeric(text: str) -> bool:
    """Whether a table is one of numbers: digits are over 15 % of its letters and digits, and it names no Item.

    The rule is that of Loughran and McDonald for annual reports; tables with the heading of an Item hold prose.
    """
    n_digits = sum(map(str.isdigit, text))
    n_letters = sum(map(str.isalpha, text))
    return n_digits > 0.15 * (n_digits + n_letters) and not _ITEM.search(text[:2000])


def tidy(text: str, *, cell: str = " ") -> str:
    """One space between words, no spaces at the ends of lines, at most one empty line, nothing invisible."""
    lines = []
    for line in text.translate(_INVISIBLE).split("\n"):
        if line.strip(" ") == PAGE_BREAK:
            lines.append(PAGE_BREAK)
            continue
        cells = [_BLANKS.sub(" ", part).strip() for part in line.split("\t")]
        line = cell.join(part for part in cells if part)
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip("\n ")


def _check(html: str) -> None:
    if len(html) > MOST_BYTES:
        raise UnreadablePage("too large", f"a page of {len(html):,} characters; need at most {MOST_BYTES:,}.")
    if html.count("<") > MOST_DEPTH and (deepest := _depth(html, None)) > MOST_DEPTH:
        raise UnreadablePage("too deep", f"elements {deepest:,} deep; need at most {MOST_DEPTH:,}.")


def _depth(html: str, only: str | None) -> int:
    """How deep elements may be nested at most, of one kind or of all that nest."""
    depth = deepest = 0
    for found in _TAG.finditer(html):
        closing, name = found[1], found[2].lower()
        if name == only or (only is None and name not in _FLAT):
            depth = max(0, depth - 1) if closing else depth + 1
            deepest = max(deepest, depth)
    return deepest


class _Found:
    """What one walk over a page notes: the selectors of the library take quadratic time in the number of matches.

    Attributes:
        hidden: elements that are not shown; what lies in them is not noted.
        tables: in the order of the page.
        breaks: elements before or after which the page is broken, with "before", "after" or "hr".
    """

    def __init__(self, *, has_styles: bool, has_hidden: bool) -> None:
        self.hidden, self.tables, self.breaks = [], [], []
        self._has_styles, self._has_hidden = has_styles, has_hidden
        self._under = 1 << 60  # depth of the hidden element that we are in

    def see(self, context: object) -> None:
        """Note one element."""
        if context.depth > self._under:
            return
        self._under = 1 << 60
        node = context.node
        tag = node.tag
        style = (node.getattr("style") or "") if self._has_styles else ""
        if tag in _HIDDEN or (self._has_hidden and node.hasattr("hidden")) or (style and _HIDING.search(style)):
            self.hidden.append(node)
            self._under = context.depth
        elif tag == "table":
            self.tables.append(node)
        elif tag == "hr":
            self.breaks.append((node, "hr"))
        if style and (way := _BREAKING.search(style)) and self._under == 1 << 60:
            self.breaks.append((node, way[1].lower()))


def _without_numbers(tree: object, tables: list, html: str) -> int:
    """Remove the tables of numbers, inner ones first; say how many.

    Where tables lie in tables in tables without end, reading each is quadratic work: they all stay.
    """
    if len(tables) > MOST_TABLES_DEEP and _depth(html, "table") > MOST_TABLES_DEEP:
        return 0
    n_removed = 0
    for table in reversed(tables):
        if is_numeric(table.text):
            if table.parent is not None:  # what stood before and behind it stays apart
                _insert(tree, _GAP, table)
            table.decompose()
            n_removed += 1
    return n_removed


def _mark_breaks(tree: object, breaks: list) -> None:
    for node, way in breaks:
        if node.parent is None:
            continue
        if way == "after" and node.next is None:
            mark = tree.create_element("p")
            mark.text = _MARK
            node.parent.append_child(mark)
        else:
            _insert(tree, _MARK, node.next if way == "after" else node)


def _insert(tree: object, text: str, before: object) -> None:
    mark = tree.create_element("p")
    mark.text = text
    before.parent.insert_before(mark, before)
