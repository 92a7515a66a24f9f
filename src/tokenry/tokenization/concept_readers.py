"""Terms of a field from the files they come in: ontologies (OBO), tables (CSV, TSV) and plain lists.

Own readers, bounded and without evaluation of anything; `.gz`, `.xz` and `.bz2` are opened.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

import bz2
import csv
import gzip
import io
import lzma
import re
from pathlib import Path

_MOST_BYTES = 1 << 29
_MOST_TERMS = 5_000_000
_LONGEST_TERM = 2_000
_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"n": " ", "t": " ", "W": " "}
_NAMES = ("term", "name", "label", "synonym", "text", "word", "description")


def read_terms(path: str | Path, *, column: str | None = None, synonyms: bool = True) -> list[str]:
    """The terms of a file, each once, in order.

    Args:
        path: `.obo` (names and synonyms of terms that are not obsolete), `.csv` or `.tsv` (with a header), anything
            else one term a line; also compressed.
        column: of a table; without, the first of term, name, label, synonym, text, word, description, else the first.
        synonyms: whether an ontology's synonyms count.

    Raises:
        FileNotFoundError: no such file. ValueError: not UTF-8, too large, no term, no such column.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no term list at {path}; need an .obo, .csv, .tsv or .txt file.")
    text = _text(file)
    kind = next((suffix for suffix in reversed(file.suffixes) if suffix not in _OPENERS), "")
    if kind == ".obo":
        found = obo_terms(text, synonyms=synonyms)
    elif kind in (".csv", ".tsv"):
        found = _table(text, "," if kind == ".csv" else "\t", column, str(path))
    else:
        found = [line.strip() for line in text.splitlines()]
    terms = list(dict.fromkeys(term[:_LONGEST_TERM] for term in found if term.strip()))
    if not terms or len(terms) > _MOST_TERMS:
        raise ValueError(f"{path} holds {len(terms):,} terms; need 1 to {_MOST_TERMS:,}. Is it the right file?")
    return terms


def obo_terms(text: str, *, synonyms: bool = True) -> list[str]:
    """Names and synonyms of the `[Term]` stanzas of an OBO file that are not marked obsolete."""
    found: list[str] = []
    stanza: list[str] = []
    inside = dead = False
    for line in [*text.splitlines(), "["]:
        line = line.strip()
        if line.startswith("["):
            found += [] if dead else stanza
            stanza, dead, inside = [], False, line == "[Term]"
        elif not inside:
            continue
        elif line.startswith("name:"):
            stanza.append(_plain(line[5:].partition(" ! ")[0].strip()))
        elif line.startswith("synonym:") and synonyms:
            if match := _QUOTED.search(line):
                stanza.append(_plain(match.group(1)))
        elif line.startswith("is_obsolete:"):
            dead = "true" in line
    return found


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(1)), text).strip()


def _table(text: str, delimiter: str, column: str | None, where: str) -> list[str]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{where} is not a table ({error}). Check its delimiter.") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if column is not None and column.lower() not in header:
        raise ValueError(f"{where} has no column {column!r}; it has {', '.join(header) or 'none'}.")
    named = [column.lower()] if column is not None else [name for name in _NAMES if name in header]
    place = header.index(named[0]) if named else 0
    body = rows[1:] if named else rows
    return [row[place].strip() for row in body if len(row) > place]


def _text(file: Path) -> str:
    opener = _OPENERS.get(file.suffix, open)
    try:
        with opener(file, "rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{file} cannot be read ({error}). Is it complete?") from None
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{file} unpacks to more than {_MOST_BYTES:,} bytes; a term list has fewer. Split it.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}). Convert it: iconv -t utf-8.") from None
