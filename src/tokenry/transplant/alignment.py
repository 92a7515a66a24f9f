"""Where two tokenizers of one text meet: chunks that end at the same byte on both sides.

Paper: Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching (arXiv 2503.20083), section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.vocab import Kind, Vocab

# Axes: C chunks.

_MARKS = {
    role: bytes([0xF8 + number]) for number, role in enumerate(("bos", "eos", "pad", "unk", "mask", "cls", "sep"))
}
"""A special token of a role both sides have stands as one byte that no UTF-8 text holds, so it is a unit of its own."""
START = b"\xff"
"""The token in front of a text, whatever role each side gives it."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """Stretches of text that are whole tokens under both tokenizers, in order, the shortest possible.

    Attributes:
        ends: int64 (2, C), position of the last token of each chunk on either side.
        same: bool (C,), whether both sides spell the same bytes there.
        special: bool (C,), whether the chunk is a special token.
    """

    ends: np.ndarray
    same: np.ndarray
    special: np.ndarray

    def __len__(self) -> int:
        return len(self.same)


def align(first: Sequence[bytes], second: Sequence[bytes]) -> Chunks:
    """Close a chunk wherever both token sequences have spelt the same number of bytes.

    A leading space that only one side has (a dummy prefix) is credited to the other. Tokens without bytes belong to
    the chunk before them, at the start to the first.

    Args:
        first, second: bytes of each token, as `spelt` gives them.

    Paper: arXiv 2503.20083, section 3.1 (the walk along both sequences, here as an intersection of their ends).
    """
    first, second = _without_dummy(list(first), list(second))
    data = [np.frombuffer(b"".join(side), np.uint8) for side in (first, second)]
    places = [np.cumsum([len(token) for token in side], dtype=np.int64) for side in (first, second)]
    stops_C = np.intersect1d(*places)
    stops_C = stops_C[stops_C > 0]
    ends_2C = np.stack([np.searchsorted(place, stops_C, side="right") - 1 for place in places])
    shared = min(map(len, data))
    apart = np.concatenate([[0], np.cumsum(data[0][:shared] != data[1][:shared])])
    starts_C = np.concatenate([[0], stops_C[:-1]]).astype(np.int64)
    same_C = apart[stops_C] == apart[starts_C]
    special_C = np.zeros(len(stops_C), bool)
    if len(stops_C):
        special_C = (data[0][starts_C] >= 0xF8) & (stops_C - starts_C == 1)
    return Chunks(ends_2C.astype(np.int64), same_C, special_C)


def spelt(vocab: Vocab, other: Vocab, ids: np.ndarray) -> list[bytes]:
    """Bytes of each id for `align`; a special token is the mark of its role where `other` has that role too.

    Any other special token stands for the characters it is written with, as the other tokenizer reads them.
    """
    roles = {number: role for role, number in vocab.specials.items() if role in other.specials}
    out = []
    for token in ids.tolist():
        data = vocab.tokens[token]
        if data is None:
            role = roles.get(token)
            data = _MARKS[role] if role in _MARKS else vocab.literal(token).encode()
        out.append(data)
    return out


def space_starts(vocab: Vocab, n_rows: int) -> np.ndarray:
    """bool (n_rows,): ids whose bytes begin with white space, and special tokens: after a word, the word has ended."""
    found = np.zeros(n_rows, bool)
    for number, token in enumerate(vocab.tokens):
        found[number] = token[:1] in (b" ", b"\n", b"\t", b"\r") if token else vocab.kinds[number] == Kind.SPECIAL
    return found


def _without_dummy(first: list[bytes], second: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Both sides, the one with one leading space more than the other without it."""
    spaces = []
    for side in (first, second):
        head = b"".join(side[:8])
        head = head.removeprefix(START)
        spaces.append(len(head) - len(head.lstrip(b" ")))
    if abs(spaces[0] - spaces[1]) != 1:
        return first, second
    side = first if spaces[0] > spaces[1] else second
    at = next(i for i, token in enumerate(side) if token.startswith(b" "))
    side[at] = side[at][1:]
    return first, second
