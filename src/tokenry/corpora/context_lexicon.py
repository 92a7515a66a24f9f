"""Find sentences that speak of something: a lexicon of descriptors, matched longest first, one descriptor a sentence.

A lexicon is axis -> descriptor -> the ways it is written. A small one of our own is shipped (`contexts.toml`);
HolisticBias (its descriptors.json), or your own list, is read by its path.

Papers: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827); "I'm
sorry to hear that": Finding New Biases in Language Models with a Holistic Descriptor Dataset (arXiv 2205.09209).
"""

import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenry.core.splitting import sentences

__all__ = ["PRONOUNS", "Hit", "Lexicon", "hits", "open_lexicon", "pronouns"]

_MOST_BYTES, _MOST_FORMS, _LONGEST_FORM = 16 * 2**20, 200_000, 200
_OWN = Path(__file__).with_name("contexts.toml")
# Letters and digits of any script; the underscore counts as punctuation.
_EDGE_BEFORE, _EDGE_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
# Abbreviations of business text after which the splitter of core may cut.
_NO_END = re.compile(r"\b(?:Corp|Bros|Nos|Sec|Exch|Assn|Dept|Div|Gen|Gov|Hon|Sen|Rep|Vol|Art|para|pp|est|incl)\.\s+$")
PRONOUNS = {
    "she": frozenset(["she", "her", "hers", "herself"]),
    "he": frozenset(["he", "him", "his", "himself"]),
    "they": frozenset(["they", "them", "their", "theirs", "themselves", "themself"]),
    "first person": frozenset(["i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves"]),
    "second person": frozenset(["you", "your", "yours", "yourself", "yourselves"]),
    "third person": frozenset(
        [
            "she",
            "her",
            "hers",
            "herself",
            "he",
            "him",
            "his",
            "himself",
            "it",
            "its",
            "itself",
            "they",
            "them",
            "their",
            "theirs",
            "themselves",
            "themself",
        ]
    ),
}
_ACCENTS = re.compile("[\u0300-\u036f]")
_PUNCTUATION = re.compile(r"[^\w\s]|_")


@dataclass(frozen=True)
class Hit:
    """A sentence and the one descriptor it is taken for.

    Attributes:
        axis, descriptor: as the lexicon names them.
        form: as it stands in the sentence.
        sentence: without white space at its ends.
    """

    axis: str
    descriptor: str
    form: str
    sentence: str


@dataclass(frozen=True)
class Lexicon:
    """Descriptors and the ways they are written.

    Attributes:
        name: where it is from, for the record.
        forms: axis -> descriptor -> forms.
        is_folded: case does not count; else a form in lower case matches with a capital too (a sentence may begin
            with it), and one with a capital only as written.
    """

    name: str
    forms: Mapping[str, Mapping[str, tuple[str, ...]]]
    is_folded: bool = False
    _owners: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for axis, descriptors in self.forms.items():
            for descriptor, forms in descriptors.items():
                for form in forms:
                    if len(form) > _LONGEST_FORM:
                        raise ValueError(f"{descriptor[:40]!r} is {len(form):,} long; need at most {_LONGEST_FORM}.")
                    for spelt in self._spelt(" ".join(form.split())):
                        self._owners.setdefault(spelt, (axis, descriptor))
        if not self._owners:
            raise ValueError(f"the lexicon {self.name} names nothing. Need axes with descriptors.")
        if len(self._owners) > _MOST_FORMS:
            raise ValueError(f"the lexicon {self.name} has {len(self._owners):,} forms; need at most {_MOST_FORMS:,}.")

    def _spelt(self, form: str) -> set[str]:
        if not form:
            return set()
        if self.is_folded:
            return {form.lower()}
        return {form, form[0].upper() + form[1:]} if form == form.lower() else {form}

    @property
    def owners(self) -> Mapping[str, tuple[str, str]]:
        """Form as matched -> (axis, descriptor); a form of two descriptors belongs to the first."""
        return self._owners

    @property
    def descriptors(self) -> list[tuple[str, str]]:
        """(axis, descriptor), in order."""
        return [(axis, one) for axis, found in self.forms.items() for one in found]

    @functools.cached_property
    def pattern(self) -> re.Pattern:
        """Matches the longest form at every place, between white space, punctuation or the ends of the text."""
        tree: dict = {}
        for form in self._owners:
            node = tree
            for letter in form:
                node = node.setdefault(letter, {})
            node[""] = {}
        flags = re.IGNORECASE if self.is_folded else 0
        # A look-ahead: a longer form may begin inside a shorter one.
        return re.compile(f"{_EDGE_BEFORE}(?=({_alternatives(tree)}){_EDGE_AFTER})", flags)

    def match(self, sentence: str) -> tuple[str, str, str] | None:
        """Axis, descriptor and form of the longest match; of equally long ones the first in the sentence."""
        best = ""
        for found in self.pattern.finditer(sentence):
            if len(found[1]) > len(best):
                best = found[1]
        if not best:
            return None
        return (*self._owners[best.lower() if self.is_folded else best], best)

    def axes(self, text: str) -> set[str]:
        """The axes of all that a text names; what stands inside a longer form is not named by itself."""
        found, end = set(), 0
        for one in self.pattern.finditer(text):
            if one.start() >= end:
                end = one.end(1)
                found.add(self._owners[one[1].lower() if self.is_folded else one[1]][0])
        return found


def _alternatives(tree: dict) -> str:
    """A tree of letters as a pattern that prefers the longest way."""
    branches = [re.escape(letter) + _alternatives(below) for letter, below in sorted(tree.items()) if letter]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    if "" not in tree:
        return joined
    # The whole of it may be left out, but only where a form ends here; the edge is asked for in both ways.
    return f"(?:{joined}{_EDGE_AFTER}|{_EDGE_AFTER})"


def open_lexicon(source: str | Path | Mapping | Lexicon = "identities", *, is_folded: bool = False) -> Lexicon:
    """A lexicon by name or path.

    Args:
        source: "identities" (our small own one); a .toml or .json file of axis -> descriptor -> forms, or axis -> list
            of descriptors; HolisticBias' descriptors.json; a mapping of those shapes.
        is_folded: see `Lexicon`.

    Raises:
        FileNotFoundError: no such file. ValueError: it is no lexicon.
    """
    if isinstance(source, Lexicon):
        return source
    if isinstance(source, Mapping):
        return Lexicon("given", _forms(source, "the given mapping"), is_folded)
    path = _OWN if str(source) == "identities" else Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"there is no lexicon {source}. Give 'identities', or a .toml or .json file.")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a lexicon has at most {_MOST_BYTES:,}.")
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        read = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        forms = _forms(read, str(path), has_buckets='"descriptor"' in text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). Convert it: iconv -f LATIN1 -t UTF-8.") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as {path.suffix or 'JSON'} ({error}).") from error
    return Lexicon("identities" if path == _OWN else path.name, forms, is_folded)


def _forms(read: object, where: str, *, has_buckets: bool = False) -> dict[str, dict[str, tuple[str, ...]]]:
    if not isinstance(read, Mapping):
        raise ValueError(f"{where} is a {type(read).__name__}; need axis -> descriptor -> forms.")
    made: dict[str, dict[str, tuple[str, ...]]] = {}
    for axis, descriptors in read.items():
        axis_forms = made.setdefault(str(axis), {})
        for descriptor, forms in _pairs(descriptors, f"{where}: {axis}", has_buckets):
            axis_forms.setdefault(descriptor, tuple(dict.fromkeys([*_variants(descriptor), *forms])))
    return made


def _pairs(found: object, where: str, has_buckets: bool) -> Iterator[tuple[str, list[str]]]:
    """Descriptors with forms of any shape: names, lists of them; HolisticBias has buckets of names between."""
    if isinstance(found, str):
        yield found, []
    elif isinstance(found, Mapping) and isinstance(found.get("descriptor"), str):
        yield found["descriptor"], []
    elif isinstance(found, list):
        for one in found:
            yield from _pairs(one, where, has_buckets)
    elif isinstance(found, Mapping):
        for name, inside in found.items():
            if not has_buckets and isinstance(inside, list) and all(isinstance(one, str) for one in inside):
                yield str(name), inside
            else:
                yield from _pairs(inside, where, has_buckets)
    else:
        raise ValueError(f"{where} holds a {type(found).__name__}; need descriptors as strings.")


def _variants(descriptor: str) -> list[str]:
    """A compound with a hyphen, with a space and joined."""
    pieces = re.split(r"[- ]", descriptor)
    if len(pieces) < 2 or not all(pieces):
        return [descriptor]
    joined = pieces[0] + "".join(pieces[1:]) if all(piece.islower() for piece in pieces[1:]) else ""
    return list(dict.fromkeys(filter(None, [descriptor, "-".join(pieces), " ".join(pieces), joined])))


def hits(text: str, lexicon: Lexicon) -> Iterator[Hit]:
    """The sentences of a text that speak of something in the lexicon, line by line."""
    for line in text.split("\n"):
        if lexicon.pattern.search(line) is None:
            continue
        for sentence in _sentences(line):
            if found := lexicon.match(sentence):
                yield Hit(*found, sentence)


def _sentences(line: str) -> Iterator[str]:
    held = ""
    for piece in sentences(line):
        held += piece
        if not _NO_END.search(held):
            yield held.strip()
            held = ""
    if held.strip():
        yield held.strip()


def pronouns(text: str) -> list[str]:
    """The classes of `PRONOUNS` of which a text has one: NFKD, lower case, no punctuation, cut at white space.

    An apostrophe ends the word (`I'm` has `i`); "i" is looked for in lower case, as the text is.
    """
    folded = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).lower())  # else "hélas" has "he"
    words = set(_PUNCTUATION.sub(" ", folded).split())
    return [name for name, members in PRONOUNS.items() if not members.isdisjoint(words)]
