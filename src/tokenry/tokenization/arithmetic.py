"""Sums to ask a model: problems of controlled lengths, number formats, and prompts with worked examples.

The lengths of addends and answer decide whether groups read from the left fall on the same digits in all three numbers
("length match": the answer has as many digits as one of the addends), which is what the suite is about.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tokenry.core.choosing import suggest
from tokenry.tokenization.numerals import groups_of
from tokenry.tokenization.rewriting import SEPARATORS

OPERATIONS = {"add": "+", "sub": "-", "mul": "*"}
SYSTEM = "You are a helpful assistant."
_ALIASES = {"dec": "dot", "hashtag": "hash"}
_PUBLISHED = {"foo": "foo"}
_MOST_DIGITS = 1000
FORMATS = ("nosep", *(f"{name}_{side}" for name in SEPARATORS for side in ("r2l", "l2r")))


@dataclass(frozen=True)
class Problem:
    """One sum.

    Attributes:
        index: its number in the set; the same index is the same problem in every setting.
        a, b: the operands, in the order asked.
        op: a key of `OPERATIONS`.
        controlled: whether the length of the answer was chosen too; worked examples then share it.
    """

    index: int
    a: int
    b: int
    op: str = "add"
    controlled: bool = False

    @property
    def answer(self) -> int:
        """The right answer."""
        return true_answer(self.a, self.b, self.op)

    @property
    def length_match(self) -> bool:
        """Whether the answer has as many digits as one of the operands."""
        return len(str(abs(self.answer))) in (len(str(self.a)), len(str(self.b)))

    def flipped(self) -> "Problem":
        """The operands the other way round (not for subtraction, whose answer would change)."""
        return self if self.op == "sub" else replace(self, a=self.b, b=self.a)


@dataclass(frozen=True)
class Setting:
    """How problems are written.

    Attributes:
        question: number format of the operands.
        answer: number format of the answers in the worked examples.
        repeat: None, or the format in which the model first repeats the problem.
        spaces: extra spaces around the sign and behind "=": thinking tokens that change no group.
        shots: worked examples before the problem.
    """

    question: str = "nosep"
    answer: str = "nosep"
    repeat: str | None = None
    spaces: int = 0
    shots: int = 8

    @property
    def name(self) -> str:
        """As `parse_setting` reads it: "nosep", "nosep+1", "nosep>comma_r2l", "nosep>comma_r2l>nosep"."""
        question = f"{self.question}+{self.spaces}" if self.spaces else self.question
        if self.repeat is not None:
            return f"{question}>{self.repeat}>{self.answer}"
        return question if self.answer == self.question else f"{question}>{self.answer}"


def parse_setting(text: str, *, shots: int = 8) -> Setting:
    """A setting from its name: "nosep", "comma_r2l", "nosep+2" (two spaces), "nosep>comma_r2l" (question > answer),
    "nosep>comma_r2l>comma_r2l" (question > repeat > answer).

    Raises:
        ValueError: for an unknown format, more than three, or a bad number of spaces or shots.
    """
    parts = [part.strip() for part in text.split(">")]
    question, _, spaces = parts[0].partition("+")
    if len(parts) > 3 or (spaces and not spaces.isdigit()) or shots < 0:
        raise ValueError(f"setting {text!r} with {shots} shots; need FORMAT, FORMAT>ANSWER or FORMAT>REPEAT>ANSWER.")
    formats = [question, *parts[1:]]
    for name in formats:
        _separator(name)
    return Setting(
        question, formats[-1], formats[1] if len(formats) == 3 else None, spaces=min(int(spaces or 0), 20), shots=shots
    )


def true_answer(a: int, b: int, op: str) -> int:
    """a + b, a - b or a * b.

    Raises:
        ValueError: for an unknown operation.
    """
    if op not in OPERATIONS:
        raise ValueError(f"operation {op!r}; need one of {', '.join(OPERATIONS)}.{suggest(op, OPERATIONS)}")
    return a + b if op == "add" else a - b if op == "sub" else a * b


def problems(pairs: Iterable[tuple[int, int]], n: int, *, op: str = "add", seed: int = 0) -> list[Problem]:
    """`n` problems for each pair of operand lengths, the operands uniform over all numbers of that length.

    Of a subtraction the larger number stands first.

    Raises:
        ValueError: no pair, a length outside 1 to 1,000, n below 1, an unknown operation.
    """
    pairs = list(pairs)
    _check_lengths([length for pair in pairs for length in pair], n)
    rng, found = random.Random(f"problems {seed} {op}"), []
    for first, second in pairs:
        for _ in range(n):
            a, b = _of_length(rng, first), _of_length(rng, second)
            a, b = (max(a, b), min(a, b)) if op == "sub" else (a, b)
            true_answer(a, b, op)
            found.append(Problem(len(found), a, b, op))
    return found


def length_pairs(low: int, high: int) -> list[tuple[int, int]]:
    """All ordered pairs of lengths from low to high; 7 to 9 gives the paper's nine."""
    return [(a, b) for a in range(low, high + 1) for b in range(low, high + 1)]


def length_triples(low: int, high: int) -> list[tuple[int, int, int]]:
    """All (length a, length b, length of the sum) within low to high; 7 to 9 gives the paper's thirteen."""
    triples = [(a, b, c) for a, b in length_pairs(low, high) for c in (max(a, b), max(a, b) + 1)]
    return [triple for triple in triples if triple[2] <= high]


def controlled_problems(triples: Iterable[tuple[int, int, int]], n: int, *, seed: int = 0) -> list[Problem]:
    """`n` additions for each triple (length of a, length of b, length of the sum), exactly of these lengths.

    The shorter addend is uniform over what leaves an answer possible, then the answer is uniform over what leaves the
    longer addend possible; the longer addend is the difference (the paper's sampler, with our random numbers).

    Raises:
        ValueError: a triple no addition has, lengths outside 1 to 1,000, n below 1.
    """
    triples = list(triples)
    _check_lengths([length for triple in triples for length in triple], n)
    rng, found = random.Random(f"controlled {seed}"), []
    for triple in triples:
        for _ in range(n):
            a, b = _controlled(rng, triple)
            found.append(Problem(len(found), a, b, controlled=True))
    return found


def shots_for(problem: Problem, k: int, *, seed: int = 0) -> list[Problem]:
    """`k` worked examples with operands of the problem's lengths (and its answer's, in a controlled set).

    Fewer are the beginning of more: the first of 8 is the 1 of 1.
    """
    rng = random.Random(f"shots {seed} {problem.index}")
    lengths = len(str(problem.a)), len(str(problem.b)), len(str(abs(problem.answer)))
    found = []
    for _ in range(k):
        if problem.controlled:
            a, b = _controlled(rng, lengths)
        else:
            a, b = _of_length(rng, lengths[0]), _of_length(rng, lengths[1])
            a, b = (max(a, b), min(a, b)) if problem.op == "sub" else (a, b)
        found.append(Problem(-1, a, b, problem.op, problem.controlled))
    return found


def _controlled(rng: random.Random, triple: tuple[int, int, int]) -> tuple[int, int]:
    short, long = sorted(triple[:2])
    least_long = 10 ** (long - 1)
    top = min(10**short, 10 ** triple[2] - least_long)
    bottom = 10 ** (short - 1)
    if top <= bottom or triple[2] not in (long, long + 1):
        raise ValueError(
            f"no addition has the lengths {triple[0]} + {triple[1]} = {triple[2]}; need a possible triple."
        )
    small = rng.randrange(bottom, top)
    low, high = max(10 ** (triple[2] - 1), small + least_long), min(10**long + small, 10 ** triple[2])
    large = rng.randrange(low, high) - small
    if triple[0] == triple[1]:
        return (small, large) if rng.random() < 0.5 else (large, small)
    return (small, large) if triple[0] < triple[1] else (large, small)


def _of_length(rng: random.Random, length: int) -> int:
    return rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length)


def _check_lengths(lengths: Sequence[int], n: int) -> None:
    if not lengths or min(lengths) < 1 or max(lengths) > _MOST_DIGITS or n < 1:
        raise ValueError(
            f"{n} problems of lengths {sorted(set(lengths))}; need one, and lengths from 1 to {_MOST_DIGITS:,}."
        )


def _separator(name: str) -> tuple[str, str]:
    """Separator and direction of a format; ("", "") for nosep."""
    if name == "nosep":
        return "", ""
    stem, _, side = name.rpartition("_")
    separators = {**SEPARATORS, **_PUBLISHED}
    stem = _ALIASES.get(stem, stem)
    if stem not in separators or side not in ("r2l", "l2r"):
        raise ValueError(f"number format {name!r} is not known.{suggest(name, FORMATS)} Known: {', '.join(FORMATS)}.")
    return separators[stem], side


def format_number(number: int, name: str = "nosep", *, chunk: int = 3) -> str:
    """Write a number in a format: 1234567 is "1,234,567" as comma_r2l, "123,456,7" as comma_l2r.

    Raises:
        ValueError: for an unknown format.
    """
    separator, side = _separator(name)
    sign, digits = ("-", str(-number)) if number < 0 else ("", str(number))
    return sign + (separator.join(groups_of(digits, side, chunk)) if side else digits)


def direction_of(name: str) -> str:
    """ "r2l", "l2r", or "" for a format that leaves the cut to the tokenizer."""
    return _separator(name)[1]


def parse_number(text: str) -> int | None:
    """The number in a text whose only digits are its own: separators are dropped; None without a digit.

    A minus sign right before the first digit counts.
    """
    digits = re.sub("[^0-9]", "", text)
    if not digits or len(digits) > 4000:
        return None
    first = re.search("[0-9]", text).start()
    return -int(digits) if text[max(0, first - 1) : first] == "-" else int(digits)


def question(problem: Problem, setting: Setting, *, name: str | None = None) -> str:
    """ "a+b=" in the setting's format (or in format `name`, as when the model repeats it)."""
    spaces = " " * setting.spaces
    a, b = (format_number(number, name or setting.question) for number in (problem.a, problem.b))
    return f"{a}{spaces}{OPERATIONS[problem.op]}{spaces}{b}{spaces}={spaces}"


def reply(problem: Problem, setting: Setting) -> str:
    """What the right reply would be."""
    said = question(problem, setting, name=setting.repeat) if setting.repeat else ""
    return said + format_number(problem.answer, setting.answer)


def messages(problem: Problem, setting: Setting, *, seed: int = 0, system: str = SYSTEM) -> list[dict[str, str]]:
    """The chat: system, worked examples as turns, the problem."""
    turns = [{"role": "system", "content": system}] if system else []
    for shot in shots_for(problem, setting.shots, seed=seed):
        turns.append({"role": "user", "content": question(shot, setting)})
        turns.append({"role": "assistant", "content": reply(shot, setting)})
    return [*turns, {"role": "user", "content": question(problem, setting)}]


def prompt(problem: Problem, setting: Setting, *, seed: int = 0) -> str:
    """The worked examples as lines "a+b=c", then "a+b=", for models that only continue text."""
    lines = [question(s, setting) + reply(s, setting) + "\n" for s in shots_for(problem, setting.shots, seed=seed)]
    return "".join(lines) + question(problem, setting)
