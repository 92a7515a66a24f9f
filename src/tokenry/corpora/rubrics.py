"""What a rater is asked, as data: criteria, domains, scale; the question, the reading of the answer, its grammar.

`rubric("dataman")` is one that comes along; `rubric("mine.toml")` one of your own. An answer is one letter for the
domain (where the rubric has domains) and one digit for each criterion, each on a line of its own.

Papers: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363), sections 2 and 3 and its
released code for the rules of reading; The FineWeb Datasets (arXiv 2406.17557) for the preset "education".
"""

import functools
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint

__all__ = ["RUBRICS", "Criterion", "ParseError", "Ratings", "Rubric", "Step", "marks", "prepare", "rubric"]

RUBRICS = ("dataman", "education", "quality")
_FILE = Path(__file__).with_name("rubrics.toml")
_MOST_ANSWER, _MOST_FILE = 10_000, 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)(?:\s*/\s*(\d{1,3}))?")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+)?(?:\[\d{1,2}\]\s*|\d{1,2}[.)]\s+(?=[^\d\s]))?")
_NONE = re.compile(r"n\s*/\s*a\.?|none|null|unknown", re.IGNORECASE)
_QUOTED_DOTS = re.compile(r"^\s*[\"'“”‘’]\s*(?:\.{3,}|…)\s*")
_MARKS = ("BEGIN>>>\n", "\n<<<END")
_LIKE_A_MARK = re.compile(r"<<<\s*end|begin\s*>>>", re.IGNORECASE)
TO_FILL = "FILL IN"
"""Stands in a draft where somebody has to say what an end of the scale means."""
OWN_COLUMNS = {"domain", "truncated", "error"}
_IMAGE = re.compile(r"!\[[^\[\]\n]{0,2000}\]\([^()\s]{0,4000}(?:\s+\"[^\"\n]{0,500}\")?\)")


@dataclass(frozen=True)
class Criterion:
    """One question: its name (as in column names), and what the ends of the scale mean."""

    name: str
    low: str
    high: str

    @property
    def title(self) -> str:
        """The name as people write it."""
        return self.name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Ratings:
    """What a rater said of a document: a score for each criterion, in order, and the letter of the domain."""

    scores: tuple[int, ...]
    domain: str | None = None


@dataclass(frozen=True)
class ParseError:
    """Why an answer could not be read."""

    reason: str


@dataclass(frozen=True)
class Step:
    """One token of an answer.

    Attributes:
        tokens: the ids that may stand here; one where nothing is to be chosen.
        values: what each of them says, a letter or a score; empty where nothing is to be chosen.
    """

    tokens: tuple[int, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rubric:
    """What is asked of a document.

    Attributes:
        name: first part of the names of the columns.
        criteria: in the order of the answer.
        scale: lowest and highest score, both of one digit.
        domains: letter -> name; none when no domain is asked.
        overall: the criterion that sums up.
        asks: how the question begins.
        characters, tokens: a document longer than this loses its middle.
        version: of this rubric.
        says, paper: for lists.
    """

    name: str
    criteria: tuple[Criterion, ...]
    scale: tuple[int, int] = (1, 5)
    domains: Mapping[str, str] = field(default_factory=dict)
    overall: str = ""
    asks: str = ""
    characters: int = 20_000
    tokens: int = 1894
    version: int = 1
    says: str = ""
    paper: str = ""

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, [self.name, *names])):
            raise ValueError(
                f"the rubric {self.name!r} has the criteria {list(names)}; need different names, of small letters, "
                "digits and underscores."
            )
        if taken := sorted(OWN_COLUMNS & set(names)):
            raise ValueError(f"the rubric {self.name!r} has a criterion {taken[0]!r}, a column of its own. Rename it.")
        if blank := [one.name for one in self.criteria if TO_FILL in (one.low, one.high)]:
            raise ValueError(
                f"the rubric {self.name!r} is a draft: {', '.join(blank)} say {TO_FILL!r} where low or high should say "
                "what a bad or a good document is like. Write that, or strike the criterion."
            )
        if not 0 <= self.scale[0] < self.scale[1] <= 9:
            raise ValueError(f"the rubric {self.name!r} has the scale {self.scale}; need two digits, the lower first.")
        if not all(re.fullmatch(r"[A-Z]", letter) for letter in self.domains) or len(self.domains) == 1:
            raise ValueError(f"the rubric {self.name!r} has domains {list(self.domains)}; need two or more, A to Z.")
        if self.overall and self.overall not in names:
            raise ValueError(f"overall = {self.overall!r} is no criterion.{suggest(self.overall, names)}")
        if self.characters < 2 or self.tokens < 8:
            raise ValueError(f"the rubric {self.name!r} leaves {self.characters} characters, {self.tokens} tokens.")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the criteria."""
        return tuple(criterion.name for criterion in self.criteria)

    @property
    def levels(self) -> tuple[str, ...]:
        """The scores there are, as digits."""
        return tuple(str(score) for score in range(self.scale[0], self.scale[1] + 1))

    @functools.cached_property
    def hash(self) -> str:
        """Changes with anything that may change an answer."""
        asked = [[one.name, one.low, one.high] for one in self.criteria]
        return fingerprint("rubric", asked, list(self.scale), list(self.domains.items()), self.asks, self.version)

    def question(self) -> tuple[str, str]:
        """What stands before the marked document and what after it."""
        low, high = self.scale
        lines = [self.asks] if self.asks else []
        lines += [f"Give a whole number from {low} to {high} for each criterion:"]
        lines += [f"- {one.title}: {low} = {one.low}; {high} = {one.high}" for one in self.criteria]
        if self.domains:
            listed = ", ".join(f"{letter} {name}" for letter, name in self.domains.items())
            lines += [f"Also name the one domain it belongs to most: {listed}."]
        parts = ["the letter of the domain"] if self.domains else []
        n = len(self.criteria)
        parts += [
            f"{n} numbers in the order {', '.join(one.title for one in self.criteria)}" if n > 1 else "the number"
        ]
        how = "each on a line of its own, " if n > 1 or self.domains else ""
        after = f"\nAnswer with {', then '.join(parts)}, {how}and nothing else."
        return "\n".join(lines) + "\nThe document stands between the marks.\n", after

    def prompt(self, text: str) -> str:
        """The whole question about a document; the text is prepared (`prepare`) and cut to `characters`."""
        (before, after), text = self.question(), prepare(text, self.characters)[0]
        begin, end = marks(text)
        return f"{before}{begin}{text}{end}{after}"

    def answer(self, ratings: Ratings) -> str:
        """The answer that says this."""
        return "\n".join(([ratings.domain or ""] if self.domains else []) + [str(score) for score in ratings.scores])

    def parse(self, answer: str) -> Ratings | ParseError:
        """Read an answer strictly: everything asked for, nothing twice, nothing out of range.

        A line may be the bare value or "Criterion: value". A score given twice over (two equal halves) counts once.
        Fractions go away from the middle of the scale: down below it, up from it on.
        """
        if len(answer) > _MOST_ANSWER:
            return ParseError(f"an answer of {len(answer):,} characters; at most {_MOST_ANSWER:,} are read")
        letters: list[str] = []
        scores: list[tuple[str | None, int]] = []
        for line in answer.splitlines():
            label, value = self._line(line)
            if not value:
                continue
            if _NONE.fullmatch(value):
                return ParseError(f"{label or 'a line'} is not rated ({value})")
            if label == "domain" or (label is None and value[0].isalpha()):
                letter = self._letter(value)
                if letter is None:
                    return ParseError(f"{value[:40]!r} is no domain" if self.domains else f"{value[:40]!r} is no score")
                letters.append(letter)
                continue
            score = self._score(value)
            if isinstance(score, ParseError):
                return score
            if label is not None and label not in self.names:
                return ParseError(f"{label[:40]!r} is no criterion")
            scores.append((label, score))
        return self._put_together(letters, scores)

    def _line(self, line: str) -> tuple[str | None, str]:
        text = _BULLET.sub("", line, count=1).replace("*", "").strip()
        label, colon, value = text.rpartition(":")
        if not colon:
            return None, text.strip("` ")
        name = re.sub(r"[\s_-]+", "_", label.strip().lower())
        name = "domain" if name.endswith("domain") else name.removesuffix("_score") if name not in self.names else name
        return name, value.strip("` .")

    def _letter(self, value: str) -> str | None:
        if value in self.domains:
            return value
        for letter, name in self.domains.items():
            if value.casefold() in (name.casefold(), f"{letter} {name}".casefold(), f"{letter}. {name}".casefold()):
                return letter
        return None

    def _score(self, value: str) -> int | ParseError:
        found = _NUMBER.fullmatch(value)
        low, high = self.scale
        if found is None or (found[2] is not None and int(found[2]) != high):
            return ParseError(f"{value[:40]!r} is no score from {low} to {high}")
        number = float(found[1])
        if number != int(number):
            number = math.floor(number) if number < (low + high) / 2 else math.ceil(number)
        if not low <= number <= high:
            return ParseError(f"a score of {value} outside {low} to {high}")
        return int(number)

    def _put_together(self, letters: list[str], scores: list[tuple[str | None, int]]) -> Ratings | ParseError:
        n = len(self.criteria)
        if len(set(letters)) != (1 if self.domains else 0):
            return ParseError(f"{len(set(letters))} domains; need {1 if self.domains else 0}")
        if len(scores) == 2 * n and [one for _, one in scores[:n]] == [one for _, one in scores[n:]]:
            scores = scores[:n]
        if len(scores) != n:
            return ParseError(f"{len(scores)} scores; need {n}")
        if any(label is not None for label, _ in scores):
            named = dict(scores)
            if set(named) != set(self.names):
                missing = sorted(set(self.names) - set(named))
                return ParseError(f"some scores are named and these are not: {', '.join(missing)}")
            scores = [(name, named[name]) for name in self.names]
        return Ratings(tuple(score for _, score in scores), letters[0] if letters else None)

    def answer_grammar(self, vocab: object) -> list[Step]:
        """The answer as tokens of a vocabulary: at each place the ids that may stand there.

        Where every answer has the same number of tokens and each choice changes one of them, these are the tokens as
        the vocabulary itself cuts an answer; else one token for each letter, digit and line end.

        Args:
            vocab: a `core.vocab.Vocab`.

        Raises:
            ValueError: neither is so with this vocabulary.
        """
        fields = ([tuple(self.domains)] if self.domains else []) + [self.levels] * len(self.criteria)
        return _natural_steps(vocab, fields) or _single_steps(vocab, fields)


def _natural_steps(vocab: object, fields: Sequence[tuple[str, ...]]) -> list[Step] | None:
    first = [choices[0] for choices in fields]
    variants = [first]
    for place, choices in enumerate(fields):
        variants += [[*first[:place], choice, *first[place + 1 :]] for choice in choices[1:]]
    variants.append([choices[-1] for choices in fields])
    encoded = [ids.tolist() for ids in vocab.encode(["\n".join(one) for one in variants])]
    start, steps, row = encoded[0], [Step((token,)) for token in encoded[0]], 1
    if any(len(ids) != len(start) for ids in encoded):
        return None
    for choices in fields:
        rows = encoded[row : row + len(choices) - 1]
        row += len(choices) - 1
        changed = {place for ids in rows for place, (a, b) in enumerate(zip(start, ids, strict=True)) if a != b}
        if len(changed) != 1:
            return None
        place = changed.pop()
        tokens = (start[place], *(ids[place] for ids in rows))
        if len(set(tokens)) < len(tokens) or steps[place].values:
            return None
        steps[place] = Step(tokens, choices)
    # Choices must not work on one another: the answer of all last choices is spelt by the last tokens.
    return steps if [step.tokens[-1] for step in steps] == encoded[-1] else None


def _single_steps(vocab: object, fields: Sequence[tuple[str, ...]]) -> list[Step]:
    known = {token: number for number, token in reversed(list(enumerate(vocab.tokens))) if token}
    needed = {b"\n", *(choice.encode() for choices in fields for choice in choices)}
    if missing := sorted(needed - set(known)):
        raise ValueError(
            f"the vocabulary has no token for {missing[0].decode()!r} alone, so an answer cannot be spelt by fixed "
            "places. Give another model, or rate through a chat (answers are then read as text)."
        )
    steps: list[Step] = []
    for choices in fields:
        steps += [Step((known[b"\n"],))] if steps else []
        steps.append(Step(tuple(known[choice.encode()] for choice in choices), choices))
    return steps


def marks(text: str) -> tuple[str, str]:
    """What stands around a document in a question: marks that do not occur in it, so it cannot end itself early.

    Nearly every document gets the same two; one that holds anything like them gets marks with digits of its own hash.
    """
    begin, end = _MARKS
    if not _LIKE_A_MARK.search(text):
        return begin, end
    sign = fingerprint("mark", text)
    while sign in text:  # whoever could find such a text gets the next sign
        sign = fingerprint("mark", sign, text)
    return f"BEGIN {sign}>>>\n", f"\n<<<END {sign}"


def prepare(text: str, characters: int) -> tuple[str, bool]:
    """A document as it is rated: no ellipsis quoted at its start, no markdown images, without its middle if too long.

    Returns:
        The text, and whether its middle was taken out.
    """
    text = _IMAGE.sub("", _QUOTED_DOTS.sub("", text))
    if len(text) <= characters:
        return text, False
    head = characters // 2
    return text[:head] + text[len(text) - (characters - head) :], True


def rubric(name: str | Path | Rubric) -> Rubric:
    """A rubric by name, or from a TOML file of your own (one table, laid out as in `rubrics.toml`).

    Raises:
        ValueError: no rubric has this name, or the file is not laid out so. FileNotFoundError: there is no such file.
    """
    if isinstance(name, Rubric):
        return name
    known = _shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.suffix != ".toml":
        raise ValueError(f"no rubric {str(name)!r}.{suggest(str(name), known)} There are {', '.join(known)}, and files "
                         "of your own (mine.toml).")  # fmt: skip
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; need a rubric: one TOML table with criteria, see rubrics.toml.")
    if path.stat().st_size > _MOST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a rubric has at most {_MOST_FILE:,}.")
    found = _rubrics_of(path.read_bytes(), str(path))
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} tables ({', '.join(found)}); need one rubric in a file.")
    return next(iter(found.values()))


@functools.cache
def _shipped() -> dict[str, Rubric]:
    return _rubrics_of(_FILE.read_bytes(), _FILE.name)


def _rubrics_of(content: bytes, where: str) -> dict[str, Rubric]:
    try:
        tables = tomllib.loads(content.decode())
        return {name: rubric_of({"name": name, **table}) for name, table in tables.items()}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{where} is laid out as no rubric ({error}). Compare it with rubrics.toml of tokenry."
        ) from error


def rubric_of(table: Mapping[str, object]) -> Rubric:
    """A rubric from a mapping, as in a TOML table or in the record of a trained rater."""
    made = dict(table)
    made["asks"] = str(made.get("asks", ""))
    made["criteria"] = tuple(Criterion(one["name"], one["low"], one["high"]) for one in made["criteria"])
    made["scale"] = tuple(made.get("scale", (1, 5)))
    if [type(end) for end in made["scale"]] != [int, int]:
        raise ValueError(f"the rubric {made['name']!r} has the scale {made['scale']}; need two digits.")
    made["domains"] = {str(letter): str(domain) for letter, domain in dict(made.get("domains", {})).items()}
    return Rubric(**made)
