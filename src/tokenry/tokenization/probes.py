"""How a tokenizer treats numbers and runs of white space, found by showing it made strings.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903; digit groups).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import encode_words

_LONGEST_NUMBER = 12
_PROBES_EACH = 40
_LARGEST_GROUP = 4
_LONGEST_STRING = 3

SPACES = {
    "1 space": " ",
    "2 spaces": " " * 2,
    "4 spaces": " " * 4,
    "8 spaces": " " * 8,
    "16 spaces": " " * 16,
    "1 tab": "\t",
    "2 tabs": "\t\t",
    "1 line break": "\n",
    "2 line breaks": "\n\n",
    "CR LF": "\r\n",
    "line break, 4 spaces": "\n    ",
    "no-break space": "\u00a0",
}


@dataclass(frozen=True)
class DigitScheme:
    """How numbers are cut.

    Attributes:
        name: "single digits", "groups of 3 from the left", "groups of 3 from the right", "free", or "unknown" when the
            vocabulary cannot spell digits.
        tokens_per_digit: mean over the probes.
        example: 1234567 as it is cut, with bars.
    """

    name: str
    tokens_per_digit: float
    example: str


def digit_scheme(vocab: Vocab, *, after_space: bool, seed: int = 0) -> DigitScheme:
    """Find how numbers of 1 to 12 digits are cut, from 40 random numbers of each length.

    Args:
        after_space: numbers behind a space, or behind a line break.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    numbers = ["1234567"]
    for length in range(1, _LONGEST_NUMBER + 1):
        first = rng.integers(1, 10, _PROBES_EACH)
        rest = rng.integers(0, 10, (_PROBES_EACH, length - 1))
        numbers += ["".join(map(str, [a, *row])) for a, row in zip(first.tolist(), rest.tolist(), strict=True)]
    encoded = encode_words(vocab, [" " * after_space + number for number in numbers])
    groups = [_digits(vocab, ids) for ids in encoded]
    if any("".join(pieces) != number for number, pieces in zip(numbers, groups, strict=True)):
        return DigitScheme("unknown", float("nan"), "")
    sizes = [[len(piece) for piece in pieces] for pieces in groups]
    per_digit = sum(map(len, sizes)) / sum(map(sum, sizes))
    return DigitScheme(_scheme(sizes), per_digit, "|".join(groups[0]))


def digit_strings(vocab: Vocab) -> dict[int, tuple[int, int]]:
    """For 1, 2 and 3 digits: how many of the 10, 100 and 1,000 strings are entries, and how many with a space before.

    Looked up by bytes; whether the pre-tokeniser ever lets them happen is another question (`digit_scheme`).
    """
    found = {}
    for size in range(1, _LONGEST_STRING + 1):
        strings = [f"{n:0{size}d}".encode() for n in range(10**size)]
        found[size] = sum(s in vocab.index for s in strings), sum(b" " + s in vocab.index for s in strings)
    return found


def _digits(vocab: Vocab, ids: Sequence[int]) -> list[str]:
    """The pieces of a number without the space in front; [""] when an id has no bytes."""
    pieces = [(vocab.tokens[i] or b"?").decode("utf-8", "replace").strip() for i in ids]
    return [piece for piece in pieces if piece]


def _scheme(sizes: list[list[int]]) -> str:
    for size in range(1, _LARGEST_GROUP + 1):
        left = all(_grouped(pieces, size) for pieces in sizes)
        right = all(_grouped(pieces[::-1], size) for pieces in sizes)
        if left and right:
            return "single digits"
        if left or right:
            return f"groups of {size} from the {'left' if left else 'right'}"
    return "free"


def _grouped(pieces: list[int], size: int) -> bool:
    """Whether all pieces have `size` digits, but for a shorter last one."""
    return all(n == size for n in pieces[:-1]) and pieces[-1] <= size


def space_runs(vocab: Vocab) -> dict[str, tuple[int, bool]]:
    """For each run of `SPACES` between two letters: tokens that are nothing but white space, and whether it survives.

    A space that is joined to the letter behind it costs no token of its own.
    """
    found = {}
    for name, run in SPACES.items():
        text = f"a{run}b"
        pieces = [vocab.tokens[i] or b"" for i in encode_words(vocab, [text])[0]]
        alone = sum(b"a" not in piece and b"b" not in piece for piece in pieces)
        found[name] = (alone, vocab.decode(vocab.encode([text])[0]) == text)
    return found
