"""Constraints on text, as bytes: what may still become an accepted text, and what is one already.

A constraint is asked token by token, and a token may end inside a character, so all of them speak of bytes. Their
states are immutable: a state may be kept, shared by particles and asked again.

Paper: Fast Controlled Generation from Language Models with Adaptive Weighted Rejection Sampling (arXiv 2504.05410).
"""

# Axes: N states asked at once.

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable

import numpy as np

from tokenry.core.trie import ByteTrie

State = Hashable


class Constraint(ABC):
    """What every constraint can answer.

    Attributes:
        steps: None, or a function (states_N, bytes_N) -> states_N on int64 arrays, -1 where nothing accepted begins
            so. A constraint that has it is asked about a whole vocabulary at once.
    """

    steps: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    @abstractmethod
    def begin(self) -> State:
        """The state before the first byte."""

    @abstractmethod
    def advance(self, state: State, data: bytes) -> State | None:
        """The state after more bytes; None when no accepted text begins so.

        To answer with a state where no completion exists is allowed: what is written stays right, some of it is lost
        at a dead end.
        """

    @abstractmethod
    def accepts(self, state: State) -> bool:
        """Whether the text may end here."""

    def is_final(self, state: State) -> bool:
        """Whether it is known that the text must end here."""
        return False

    def prefix_ok(self, data: bytes) -> bool:
        """Whether some accepted text begins with these bytes (or may: see `advance`)."""
        return self.advance(self.begin(), data) is not None

    def complete_ok(self, data: bytes) -> bool:
        """Whether these bytes are an accepted text."""
        state = self.advance(self.begin(), data)
        return state is not None and self.accepts(state)


class WordList(Constraint):
    """One of these words or sentences, whole.

    Args:
        words: texts, or bytes.

    Raises:
        ValueError: no word.
    """

    def __init__(self, words: Iterable[str | bytes]) -> None:
        if isinstance(words, str | bytes):
            raise ValueError("Got one string where words are listed; need a list. Put it in brackets: [word].")
        data = [word.encode() if isinstance(word, str) else bytes(word) for word in words]
        if not data:
            raise ValueError("an empty word list; no text can meet it. Give at least one word.")
        self._trie = ByteTrie.build(data)
        self._empty_word = b"" in data
        starts = self._trie.child_start
        nodes = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
        self._keys = nodes * 256 + self._trie.labels
        self.steps = self._steps

    def begin(self) -> int:
        """The root of the trie."""
        return 0

    def advance(self, state: int, data: bytes) -> int | None:
        """The node below."""
        for byte in data:
            key = state * 256 + byte
            place = int(np.searchsorted(self._keys, key))
            if place == len(self._keys) or self._keys[place] != key:
                return None
            state = int(self._trie.children[place])
        return state

    def accepts(self, state: int) -> bool:
        """Whether a word ends here."""
        return bool(self._trie.values[state] >= 0) or (state == 0 and self._empty_word)

    def is_final(self, state: int) -> bool:
        """Whether no longer word goes on from here."""
        return bool(self._trie.child_start[state] == self._trie.child_start[state + 1])

    def _steps(self, states_N: np.ndarray, bytes_N: np.ndarray) -> np.ndarray:
        keys_N = states_N * 256 + bytes_N
        places_N = np.searchsorted(self._keys, keys_N)
        known_N = places_N < len(self._keys)
        known_N[known_N] = self._keys[places_N[known_N]] == keys_N[known_N]
        found_N = np.full(len(states_N), -1, dtype=np.int64)
        found_N[known_N] = self._trie.children[places_N[known_N]]
        return found_N


class Checked(Constraint):
    """Any function of the bytes; its state is the bytes so far.

    Args:
        complete_ok: whether a whole text is accepted.
        prefix_ok: whether a beginning may still become one; without it every beginning may, and a text is only judged
            at its end: right, but poor, because the particles learn too late.
        most_bytes: texts longer than this are refused; None for no bound.
    """

    def __init__(
        self,
        complete_ok: Callable[[bytes], bool],
        prefix_ok: Callable[[bytes], bool] | None = None,
        *,
        most_bytes: int | None = None,
    ) -> None:
        if not callable(complete_ok):
            raise ValueError(f"complete_ok is a {type(complete_ok).__name__}; need a function of bytes.")
        self._complete_ok, self._prefix_ok, self._most = complete_ok, prefix_ok, most_bytes

    def begin(self) -> bytes:
        """Nothing yet."""
        return b""

    def advance(self, state: bytes, data: bytes) -> bytes | None:
        """The bytes so far, if they may go on; nothing written is not asked about."""
        if not data:
            return state
        text = state + data
        if self._most is not None and len(text) > self._most:
            return None
        return text if self._prefix_ok is None or self._prefix_ok(text) else None

    def accepts(self, state: bytes) -> bool:
        """Ask the function."""
        return bool(self._complete_ok(state))


class AllOf(Constraint):
    """Several constraints at once. Beginnings that each allows may have no end that all allow: a dead end then."""

    def __init__(self, *constraints: Constraint) -> None:
        if not constraints:
            raise ValueError("AllOf without a constraint; need at least one.")
        self.constraints = constraints

    def begin(self) -> tuple[State, ...]:
        """All beginnings."""
        return tuple(one.begin() for one in self.constraints)

    def advance(self, state: tuple[State, ...], data: bytes) -> tuple[State, ...] | None:
        """All go on, or none."""
        after = []
        for one, part in zip(self.constraints, state, strict=True):
            part = one.advance(part, data)
            if part is None:
                return None
            after.append(part)
        return tuple(after)

    def accepts(self, state: tuple[State, ...]) -> bool:
        """Whether all accept."""
        return all(one.accepts(part) for one, part in zip(self.constraints, state, strict=True))

    def is_final(self, state: tuple[State, ...]) -> bool:
        """Whether one of them must end."""
        return any(one.is_final(part) for one, part in zip(self.constraints, state, strict=True))


class WithoutFirstSpace(Constraint):
    """The same constraint on a text whose first byte, if it is a space, does not count.

    SentencePiece tokenizers put a space before a text which is no part of it.
    """

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint

    def begin(self) -> tuple[bool, State]:
        """True: nothing written yet."""
        return True, self.constraint.begin()

    def advance(self, state: tuple[bool, State], data: bytes) -> tuple[bool, State] | None:
        """Skip the first space."""
        if not data:
            return state
        after = self.constraint.advance(state[1], data[1:] if state[0] and data[:1] == b" " else data)
        return None if after is None else (False, after)

    def accepts(self, state: tuple[bool, State]) -> bool:
        """As the constraint within."""
        return self.constraint.accepts(state[1])

    def is_final(self, state: tuple[bool, State]) -> bool:
        """As the constraint within."""
        return self.constraint.is_final(state[1])


def check_constraint(constraint: Constraint, data: bytes) -> None:
    """The laws of a constraint: states do not change, pieces come to the same as the whole, a prefix of what is
    accepted is allowed, and many at once are answered as one at a time."""
    begin = constraint.begin()
    whole = constraint.advance(begin, data)
    assert constraint.advance(begin, b"") == begin
    for cut in range(len(data) + 1):
        first = constraint.advance(begin, data[:cut])
        if first is None:
            assert whole is None, "what no accepted text begins with cannot be mended by more bytes"
        else:
            assert constraint.advance(first, data[cut:]) == whole
            if constraint.is_final(first):
                assert cut == len(data) or whole is None
        if constraint.steps is not None and first is not None:
            every = np.arange(256, dtype=np.int64)
            many = constraint.steps(np.full(256, first, dtype=np.int64), every)
            one = [constraint.advance(first, bytes([byte])) for byte in range(256)]
            assert many.tolist() == [-1 if state is None else state for state in one]
    assert constraint.begin() == begin
    if constraint.complete_ok(data):
        assert constraint.prefix_ok(data)
