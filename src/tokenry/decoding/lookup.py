"""Prompt lookup: guess that what followed the same words before follows again; no model, no training.

Paper: prompt lookup decoding (Saxena 2023; the library's `prompt_lookup_num_tokens`), after LLMA (arXiv 2304.04487).
"""

from collections.abc import Sequence

from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Verified
from tokenry.decoding.strategies import Drafted
from tokenry.decoding.trees import TokenTree, chain
from tokenry.models.session import Session


class PromptLookup:
    """Guesses the continuation of the latest earlier place where the last tokens stood.

    Attributes:
        longest: tokens compared, most; shorter ends are tried when the longest is new.
        n_guesses: most tokens guessed.
    """

    def __init__(self, *, longest: int = 3, n_guesses: int = 10) -> None:
        if longest < 1 or n_guesses < 1:
            raise ValueError(f"longest={longest}, n_guesses={n_guesses}; need at least 1 each.")
        self.longest, self.n_guesses = longest, n_guesses
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """Forget the text before."""
        self._after, self._indexed = {}, 0

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> TokenTree | None:
        """The chain that followed before, copied on where it runs into the end: what repeats goes on repeating."""
        self._index(context)
        for size in range(min(self.longest, len(context) - 1), 0, -1):
            start = self._after.get(tuple(context[-size:]))
            if start is not None:
                period = len(context) - start
                n_guesses = min(self.n_guesses, budget, depth)
                return chain([context[-1], *(context[start + i % period] for i in range(n_guesses))])
        return None

    def update(self, step: Verified) -> None:
        """Nothing beside the text itself, which `propose` reads."""

    def _index(self, context: Sequence[int]) -> None:
        """Note what stands after every end of up to `longest` tokens; the very end is not noted, nothing follows it."""
        for stop in range(max(1, self._indexed), len(context)):
            for size in range(1, min(self.longest, stop) + 1):
                self._after[tuple(context[stop - size : stop])] = stop
        self._indexed = len(context)


def lookup(*, longest: int = 3, n_guesses: int = 10) -> Drafted:
    """The strategy: see `PromptLookup`."""
    return Drafted(PromptLookup(longest=longest, n_guesses=n_guesses), name="lookup")
