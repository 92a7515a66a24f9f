"""Suffix matching: guess what followed the LONGEST earlier occurrence of the newest text, in this text or a corpus.

A suffix automaton finds that occurrence in constant time a token, however long the text; no model, no training.

Paper: SAM Decoding (arXiv 2411.10666); on-line construction after Blumer and others (1985).
"""

# Axes: none; ids are Python ints.

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenry.core.tables import texts
from tokenry.decoding.sampling import Settings
from tokenry.decoding.sizing import sizing_of
from tokenry.decoding.speculate import Draft, Drafter, Verified
from tokenry.decoding.strategies import Drafted
from tokenry.decoding.trees import TokenTree, chain
from tokenry.models.lm import LM
from tokenry.models.session import Session

_BORDER = -1
"""Stands between the documents of a corpus; no text holds it, so no match crosses it."""
_RECENT = 64
"""Suffixes whose newest place is noted at each token, the longest first; bounds the work in a text like aaaa."""


class SuffixAutomaton:
    """All substrings of a growing text; tells where its longest suffix that occurred before ended.

    Attributes:
        text: the ids so far.
    """

    def __init__(self, text: Iterable[int] = ()) -> None:
        self.text: list[int] = []
        self._next: list[dict[int, int]] = [{}]
        self._link, self._length, self._end = [-1], [0], [0]
        self._last = 0
        for token in text:
            self.append(token)

    def __len__(self) -> int:
        return len(self.text)

    def append(self, token: int) -> None:
        """One token more."""
        self.text.append(token)
        following, link, length = self._next, self._link, self._length
        new, state = self._state({}, length[self._last] + 1), self._last
        while state >= 0 and token not in following[state]:
            following[state][token] = new
            state = link[state]
        if state < 0:
            link[new] = 0
        else:
            below = following[state][token]
            link[new] = below if length[below] == length[state] + 1 else self._split(state, token, below)
        self._last = new
        self._note(new)

    def longest(self) -> tuple[int, int]:
        """Length of the longest suffix that stands earlier too, and where that earlier one ended: text[end] followed.

        (0, 0) when the newest token is new. Of several places it is the newest, save in texts that nest more than
        64 repeats, where it may be an older one.
        """
        state = self._link[self._last]
        return (self._length[state], self._before[state]) if state > 0 else (0, 0)

    def shorter(self) -> list[tuple[int, int]]:
        """As `longest`, for every shorter suffix with more places than the one before; the longest first."""
        found, state = [], self._link[self._last]
        while state > 0:
            found.append((self._length[state], self._before[state]))
            state = self._link[state]
        return found

    def step(self, state: int, length: int, token: int) -> tuple[int, int]:
        """Match another text against this one: the state and length after its next token, from those before it."""
        while state and token not in self._next[state]:
            state = self._link[state]
            length = self._length[state]
        return (self._next[state][token], length + 1) if token in self._next[state] else (0, 0)

    def end(self, state: int) -> int:
        """Where an occurrence of the substrings of a state ends."""
        return self._end[state]

    def _state(self, following: dict[int, int], length: int) -> int:
        self._next.append(following)
        self._link.append(-1)
        self._length.append(length)
        self._end.append(len(self.text))
        return len(self._next) - 1

    def _split(self, state: int, token: int, below: int) -> int:
        """The part of `below` that is as long as its way over `state`, as a state of its own."""
        clone = self._state(dict(self._next[below]), self._length[state] + 1)
        self._end[clone] = self._end[below]
        self._link[clone], self._link[below] = self._link[below], clone
        while state >= 0 and self._next[state].get(token) == below:
            self._next[state][token] = clone
            state = self._link[state]
        return clone

    def _note(self, new: int) -> None:
        """Every suffix of the text has its newest place here; keep the one before, which `longest` asks for."""
        self._before, state = {}, self._link[new]
        while state > 0 and len(self._before) < _RECENT:
            self._before[state] = self._end[state]
            self._end[state] = len(self.text)
            state = self._link[state]


class SuffixMatch:
    """Guesses what followed the longest earlier occurrence of the newest tokens; copies on where it meets the end.

    Attributes:
        n_guesses: most tokens guessed.
        shortest: a shorter match is no reason to guess; `fallback` is asked then.
        corpus, corpus_file: documents to look up in beside the text: ids, and a file or folder of texts.
        bias: how much longer a match in the corpus must be than one in the text itself to be taken.
        fallback: another drafter (the paper: Token Recycling), or None.
        notes: mean match length, and the share of steps whose guesses came from the text, the corpus and the fallback.
    """

    def __init__(
        self,
        *,
        n_guesses: int = 16,
        shortest: int = 1,
        corpus: Iterable[Sequence[int]] = (),
        bias: int = 2,
        corpus_file: str | Path | None = None,
        fallback: Drafter | None = None,
    ) -> None:
        if n_guesses < 1 or shortest < 1:
            raise ValueError(f"n_guesses={n_guesses}, shortest={shortest}; need at least 1 each.")
        self.n_guesses, self.shortest, self.bias, self.fallback = n_guesses, shortest, bias, fallback
        self._corpus = SuffixAutomaton()
        self._text = SuffixAutomaton()
        self._state, self._length = 0, 0
        self._counts = {"text": 0, "corpus": 0, "fallback": 0, "none": 0}
        self._matched, self._file = 0, corpus_file
        self.add(corpus)

    @property
    def notes(self) -> dict[str, float]:
        """See the class."""
        n = max(1, sum(self._counts.values()))
        shares = {f"from {source}": count / n for source, count in self._counts.items()}
        return {"match length": self._matched / n, **shares, **(getattr(self.fallback, "notes", None) or {})}

    def add(self, corpus: Iterable[Sequence[int]]) -> None:
        """Add documents to look up in; about 300 bytes of memory a token."""
        for document in corpus:
            for token in document:
                self._corpus.append(int(token))
            self._corpus.append(_BORDER)

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """Forget the text before; the corpus stays."""
        self._text = SuffixAutomaton()
        self._state, self._length = 0, 0
        if self.fallback is not None:
            self.fallback.begin(prompt, session, settings)

    def prepare(self, lm: LM) -> None:
        """Read the file of the corpus as the model's ids, once."""
        if self._file is not None:
            self.add(lm.vocab.encode(list(texts(self._file))))
            self._file = None
        if hasattr(self.fallback, "prepare"):
            self.fallback.prepare(lm)

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> Draft | TokenTree | None:
        """The copied chain, or what the fallback guesses."""
        self._read(context)
        length, end = self._text.longest()
        n_guesses, source, guessed = min(self.n_guesses, budget, depth), "none", []
        if self._length > length + self.bias:
            source, length = "corpus", self._length
            end = self._corpus.end(self._state)
            guessed = self._corpus.text[end : end + n_guesses]
            guessed = guessed[: guessed.index(_BORDER)] if _BORDER in guessed else guessed
        elif length:
            source, period = "text", len(context) - end
            guessed = [context[end + i % period] for i in range(n_guesses)]
        self._matched += length
        if length < self.shortest or not guessed:
            source = "none" if self.fallback is None else "fallback"
        self._counts[source] += 1
        if source == "fallback":
            return self.fallback.propose(context, budget=budget, depth=depth)
        return None if source == "none" else chain([context[-1], *guessed])

    def update(self, step: Verified) -> None:
        """The fallback learns; the text itself is read by `propose`."""
        if self.fallback is not None:
            self.fallback.update(step)

    def _read(self, context: Sequence[int]) -> None:
        for token in context[len(self._text) :]:
            self._text.append(token)
            if len(self._corpus):
                self._state, self._length = self._corpus.step(self._state, self._length, token)


def suffix(
    *,
    n_guesses: int = 16,
    shortest: int = 1,
    corpus: str | Path | None = None,
    bias: int = 2,
    fallback: str = "",
    size: int | str = "auto",
) -> Drafted:
    """The strategy: see `SuffixMatch`; `corpus` is a file of texts, `fallback` may be "recycling"."""
    from tokenry.decoding.strategies import make

    other = make(fallback).drafter if fallback else None
    drafter = SuffixMatch(n_guesses=n_guesses, shortest=shortest, corpus_file=corpus, bias=bias, fallback=other)
    return Drafted(drafter, name="suffix", sizing=sizing_of(size, most=80 if fallback else n_guesses))
