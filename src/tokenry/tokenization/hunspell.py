"""Read a hunspell dictionary (.dic with .aff) as a validator: words by prefix and suffix rules, and their parts.

Our own reader of the affix rules, because the one on PyPI (spylls) has not changed since 2021 and holds every word as
an object; tests compare both. Compounding, conversion tables and suggestions are not read: a compound which the
dictionary does not list is no word here.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenry.tokenization.validators import Segmentation, lower

_MOST_BYTES = 64_000_000
_LONGEST = 80
_MOST_ANALYSES = 32
_DEPTH = 3
"""Affixes on one word; hunspell itself takes two suffixes and one prefix."""


@dataclass(frozen=True)
class _Rule:
    """One line of an affix class: take `strip` off, put `add` on, where `condition` matches the stem."""

    flag: str
    strip: str
    add: str
    condition: re.Pattern | None
    flags: frozenset[str]
    crosses: bool


class Hunspell:
    """A validator from a hunspell dictionary.

    A word is what the rules make of an entry; its parts are the entry (as far as it shows) and the affixes. Morphemes
    are entries, and the strings that rules add. Dictionaries that list inflected forms as entries, or whole chains of
    suffixes as one rule (Turkish), call more things a morpheme than a linguist would: use an analyser there.

    Args:
        path: the `.dic` file; the `.aff` lies beside it.
        lang: for lower-casing; the dictionary's own `LANG` when empty.
        affixes: bare affixes to take instead of all that the rules add.

    Raises:
        FileNotFoundError: one of the files is not there. ValueError: not a hunspell dictionary, or too large.
    """

    def __init__(self, path: str | Path, *, lang: str = "", affixes: Iterable[str] | None = None) -> None:
        path = Path(path).expanduser()
        self.name = path.name
        rules = _AffixFile(path.with_suffix(".aff"))
        self.lang = lang or rules.lang
        self._rules = rules
        self._entries = _read_entries(path, rules)
        self._affixes = set(affixes) if affixes is not None else rules.added()
        self._affixes = {lower(affix.strip("-+~"), self.lang) for affix in self._affixes} - {""}

    def __len__(self) -> int:
        return len(self._entries)

    def is_word(self, text: str) -> bool:
        """Whether entry and rules make it, as written or in the cases that hunspell allows; or a bare affix."""
        return lower(text, self.lang) in self._affixes or any(self._derived(form) for form in self._cases(text))

    def analyses(self, text: str) -> list[Segmentation]:
        """Cuts into entry and affixes; the text itself where it is an entry or an affix."""
        form = lower(text, self.lang)
        found = [(form,)] if form in self._affixes else []
        for written in self._cases(text):
            for cut in self._derived(written):
                if cut not in found:
                    found.append(cut)
        return found[:_MOST_ANALYSES]

    def _cases(self, text: str) -> list[str]:
        """The text; in lower case, if it is capitalised or all capitals; capitalised, if it is all capitals."""
        forms, small = [text], lower(text, self.lang)
        if text[:1] != small[:1]:
            rest = text[1:]
            if rest == lower(rest, self.lang) or text == text.upper():
                forms.append(small)
            if len(text) > 1 and text == text.upper():
                forms.append(text[:1] + small[1:])
        return forms

    def _derived(self, form: str) -> list[Segmentation]:
        if not form or len(form) > _LONGEST:
            return []
        if any(self._rules.forbidden & flags for flags in self._entries.get(form, ())):
            return []
        found = list(self._suffixed(form, frozenset(), _DEPTH, crossing=False))
        for rule in self._rules.prefixes_of(form):
            stem = rule.strip + form[len(rule.add) :]
            if stem and (rule.condition is None or rule.condition.match(stem)):
                depth = _DEPTH - 1 if rule.crosses else 0
                for cut in self._suffixed(stem, frozenset((rule.flag,)), depth, crossing=True):
                    found.append((rule.add, *_without_head(cut, len(rule.strip))))
        return list(dict.fromkeys(cut for cut in found if cut))

    def _suffixed(self, form: str, needs: frozenset[str], depth: int, *, crossing: bool) -> Iterator[Segmentation]:
        """Cuts of a form whose entry or suffixes carry all flags in `needs`."""
        for flags in self._entries.get(form, ()):
            if needs <= flags and not (self._rules.forbidden & flags or (not needs and self._rules.partial & flags)):
                yield (form,)
        if not depth:
            return
        for rule in self._rules.suffixes_of(form):
            if (crossing and not rule.crosses) or (not needs and self._rules.partial & rule.flags):
                continue
            stem = form[: len(form) - len(rule.add)] + rule.strip
            if not stem or (rule.condition is not None and not rule.condition.search(stem)):
                continue
            # A suffix carries the flags of what may follow it; what it does not carry, its stem must.
            left = needs - rule.flags | {rule.flag}
            if not crossing and needs and needs - rule.flags:
                continue
            for cut in self._suffixed(stem, left, depth - 1, crossing=crossing):
                yield (*_without_tail(cut, len(rule.strip)), rule.add)


def _without_tail(cut: Segmentation, n: int) -> Segmentation:
    parts = list(cut)
    while n and parts:
        kept = parts[-1][: max(0, len(parts[-1]) - n)]
        n -= len(parts[-1]) - len(kept)
        parts[-1:] = [kept] if kept else []
    return tuple(parts)


def _without_head(cut: Segmentation, n: int) -> Segmentation:
    return tuple(part[::-1] for part in _without_tail(tuple(part[::-1] for part in cut[::-1]), n)[::-1])


class _AffixFile:
    """The rules of an `.aff` file."""

    def __init__(self, path: Path) -> None:
        data = _bytes_of(path)
        named = re.search(rb"^\s*SET\s+(\S+)", data, re.MULTILINE)
        self.encoding = named.group(1).decode("ascii", "replace") if named else "ISO8859-1"
        self.lang, self._flag_kind = "", "char"
        self._aliases: list[frozenset[str]] = []
        self.forbidden: frozenset[str] = frozenset()
        self.partial: frozenset[str] = frozenset()
        self._suffixes: dict[str, list[_Rule]] = defaultdict(list)
        self._prefixes: dict[str, list[_Rule]] = defaultdict(list)
        text = _decoded(data, self.encoding, path)
        self._read(text.splitlines())
        self._longest = max((len(add) for add in (*self._suffixes, *self._prefixes)), default=0)

    def _read(self, lines: list[str]) -> None:
        headers: dict[tuple[str, str], list] = {}
        for line in lines:
            cells = line.split()
            if not cells or cells[0].startswith("#"):
                continue
            kind, rest = cells[0], cells[1:]
            if kind == "FLAG" and rest:
                self._flag_kind = rest[0].lower()
            elif kind == "LANG" and rest:
                self.lang = rest[0]
            elif kind == "AF" and rest:
                self._alias(rest[0])
            elif kind == "FORBIDDENWORD" and rest:
                self.forbidden |= self.flags(rest[0])
            elif kind in ("NEEDAFFIX", "PSEUDOROOT", "ONLYINCOMPOUND", "CIRCUMFIX") and rest:
                self.partial |= self.flags(rest[0])
            elif kind in ("SFX", "PFX") and len(rest) >= 3:
                self._affix_line(kind, rest, headers)

    def _alias(self, cell: str) -> None:
        """The first AF line tells how many follow; flags in words and rules are then line numbers."""
        if self._aliases or not cell.isdigit() or self._counted:
            self._aliases.append(self._split(cell))
        else:
            self._counted = True

    _counted = False

    def _affix_line(self, kind: str, rest: list[str], headers: dict) -> None:
        header = headers.setdefault((kind, rest[0]), [])
        if not header or header[1] <= 0:
            if rest[1] in ("Y", "N") and rest[2].isdigit():
                header[:] = [rest[1] == "Y", int(rest[2])]
            return
        header[1] -= 1
        add, _, flags = rest[2].partition("/")
        strip, add = rest[1].replace("0", ""), "" if add == "0" else add
        condition = rest[3] if len(rest) > 3 and rest[3] != "." and ":" not in rest[3] else ""
        (flag,) = self.flags(rest[0]) or {rest[0]}
        rule = _Rule(
            flag, strip, add, _condition(condition, at_end=kind == "SFX"), self.aliased(flags), crosses=header[0]
        )
        (self._suffixes if kind == "SFX" else self._prefixes)[add].append(rule)

    def flags(self, cell: str) -> frozenset[str]:
        """Flags as they are written out."""
        return self._split(cell)

    def aliased(self, cell: str) -> frozenset[str]:
        """Flags of a word or rule: written out, or the number of an AF line."""
        if self._aliases and cell.isdigit():
            place = int(cell)
            return self._aliases[place - 1] if 0 < place <= len(self._aliases) else frozenset()
        return self._split(cell)

    def _split(self, cell: str) -> frozenset[str]:
        if self._flag_kind == "num":
            return frozenset(part for part in cell.split(",") if part)
        if self._flag_kind == "long":
            return frozenset(cell[i : i + 2] for i in range(0, len(cell), 2))
        return frozenset(cell)

    def suffixes_of(self, form: str) -> Iterator[_Rule]:
        """Rules whose added string ends the form."""
        for size in range(min(self._longest, len(form)) + 1):
            yield from self._suffixes.get(form[len(form) - size :] if size else "", ())

    def prefixes_of(self, form: str) -> Iterator[_Rule]:
        """Rules whose added string begins the form."""
        for size in range(1, min(self._longest, len(form)) + 1):
            yield from self._prefixes.get(form[:size], ())

    def added(self) -> set[str]:
        """Every string that a rule adds."""
        return {add for add in (*self._suffixes, *self._prefixes) if add.isalpha()}


def _condition(text: str, *, at_end: bool) -> re.Pattern | None:
    """A condition as a pattern: single characters, dots and sets in brackets, nothing else has a meaning."""
    if not text:
        return None
    pattern = ""
    for part in re.findall(r"\[\^?[^\]]*\]|.", text):
        if len(part) > 2 and part.startswith("["):
            negated = part[1] == "^"
            letters = re.escape(part[2:-1] if negated else part[1:-1])
            pattern += f"[{'^' if negated else ''}{letters}]" if letters else "."
        else:
            pattern += "." if part == "." else re.escape(part)
    return re.compile(f"(?:{pattern})$" if at_end else f"(?:{pattern})")


def _read_entries(path: Path, rules: _AffixFile) -> dict[str, list[frozenset[str]]]:
    text = _decoded(_bytes_of(path), rules.encoding, path)
    lines = text.splitlines()
    if not lines or not re.match(r"\s*\d+", lines[0]):
        raise ValueError(
            f"{path} is not a hunspell dictionary: its first line is no number of words. Give the .dic file."
        )
    entries: dict[str, list[frozenset[str]]] = {}
    for line in lines[1:]:
        if not line or line.startswith(("\t", "#")):
            continue
        word, flags = _entry(line)
        if word:
            entries.setdefault(word, []).append(rules.aliased(flags) if flags else frozenset())
    if not entries:
        raise ValueError(f"{path} lists no word; need a hunspell dictionary with at least one.")
    return entries


def _entry(line: str) -> tuple[str, str]:
    r"""Word and flags of a dictionary line; a slash of the word itself is written \/."""
    body = line.split("\t")[0]
    match = re.search(r"(?<!\\)/", body[1:])
    if match is None:
        return re.sub(r" \w\w:.*", "", body).strip().replace("\\/", "/"), ""
    at = match.start() + 1
    tail = body[at + 1 :].split()
    return body[:at].strip().replace("\\/", "/"), tail[0] if tail else ""


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; need a hunspell .dic with its .aff beside it. Check the path.")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; no dictionary over {_MOST_BYTES:,} is read.")
    return path.read_bytes()


def _decoded(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode("utf-8-sig" if encoding.upper() in ("UTF-8", "UTF8") else encoding, "replace")
    except LookupError:
        raise ValueError(
            f"{path} is in the encoding {encoding!r}, which is not known here. Convert it to UTF-8."
        ) from None
