"""What a byte model knows after some bytes: the cover, the law of the next byte, and the state after it.

Paper: Exact Byte-Level Probabilities from Tokenized Language Models (arXiv 2410.09303), section 4.
"""

# Axes: S sorted tokens.

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenry.core.numerics import logsumexp
from tokenry.decoding.bytes_contexts import Context, ContextRunner
from tokenry.decoding.bytes_tokens import END, Node

if TYPE_CHECKING:
    from tokenry.decoding.bytes import ByteLM


class Candidate(NamedTuple):
    """Part of a cover: `context`, then some token of `node`, whose first `node.depth` bytes are said already."""

    context: Context
    node: Node
    log_weight: float


class CoverMember(NamedTuple):
    """Tokens that cover the text: the last one ends at its last byte or goes on by `beyond`.

    Attributes:
        ids: all tokens since the start.
        beyond: bytes said beyond the text.
        p: its share of the probability of the text.
    """

    ids: list[int]
    beyond: bytes
    p: float


@dataclass(frozen=True, eq=False)
class ByteState:
    """What is known after some bytes. It never changes: `advance` gives another, and both may go on.

    Attributes:
        model: the byte model.
        runner: what asks the token model; shared by all states of one start.
        candidates: the cover of the bytes, grouped by context.
        offset: log-probability that does not count (the space a tokenizer adds).
    """

    model: "ByteLM"
    runner: ContextRunner = field(repr=False)
    candidates: tuple[Candidate, ...] = field(repr=False)
    offset: float = 0.0

    @cached_property
    def log_p(self) -> float:
        """Natural log-probability of the bytes so far."""
        if not self.candidates:
            return -np.inf
        return float(logsumexp(np.array([c.log_weight for c in self.candidates]))) - self.offset

    @cached_property
    def masses(self) -> np.ndarray:
        """Log-probability of each next byte (257,), the end at 256, not normalised for "restricted".

        For "canonical" they are the law itself: they sum to one.
        """
        total = np.zeros(END + 1)
        if not self.candidates:
            raise ValueError(
                f"no token sequence of target {self.model.target!r} spells these bytes (an unfinished or invalid "
                "character, a character that is no token, or a text the tokenizer would change), or the beam lost "
                "them. Take target 'all', or a wider beam."
            )
        scale = self.log_p + self.offset
        for context, node, _ in self._open:
            weight = np.exp(context.log_p - scale)
            self.model.sorted.masses(context.law_S, node, out=total, scale=weight)
            if node.depth == 0:
                total[END] += weight * context.end
        with np.errstate(divide="ignore"):
            return np.log(total)

    @cached_property
    def next_log_p(self) -> np.ndarray:
        """Natural log-probabilities (257,) of the next byte, the end of the text at 256."""
        total = float(logsumexp(self.masses))
        if total == -np.inf:
            raise ValueError("nothing may follow these bytes under this target; take target 'all'.")
        return self.masses - total

    def advance(self, data: bytes | int) -> "ByteState":
        """The state after one more byte, or several."""
        state = self
        for byte in (data,) if isinstance(data, int | np.integer) else data:
            state = state._step(int(byte))
        return state

    def _step(self, byte: int) -> "ByteState":
        found = self._below(self._open, byte) if self.candidates else []
        if not found and self.candidates and (self.model.beam or self.model.prune):
            found = self._below(self._ask(self._whole), byte)  # the beam lost this byte: look at all again
        return ByteState(self.model, self.runner, tuple(found), self.offset)

    def _below(self, candidates: Sequence[Candidate], byte: int) -> list[Candidate]:
        """What is left of candidates after a byte."""
        found = []
        for context, node, _ in candidates:
            below = self.model.sorted.below(node, byte)
            mass = 0.0 if below is None else float(context.law_S[below.low : below.high].sum())
            if mass > 0:
                found.append(Candidate(context, below, context.log_p + float(np.log(mass))))
        return found

    @cached_property
    def _open(self) -> list[Candidate]:
        """The candidates, and a new one for every token that ends here, pruned; the model has been asked about all."""
        return self._ask(self._pruned(self._whole))

    def _ask(self, candidates: list[Candidate]) -> list[Candidate]:
        asked = [candidate.context for candidate in candidates if candidate.context.law_S is None]
        if asked:
            self.runner.run(asked, [candidate.context for candidate in candidates])
        return candidates

    @cached_property
    def _whole(self) -> list[Candidate]:
        """The candidates, and a new one for every token that ends here."""
        model, found, fresh = self.model, [], []
        for candidate in self.candidates:
            context, node, _ = candidate
            if node.depth == 0:
                fresh.append(candidate)
                continue
            whole = model.sorted.whole(node)
            rest = context.law_S[whole.stop : node.high].sum()
            if rest > 0:
                found.append(candidate._replace(log_weight=context.log_p + float(np.log(rest))))
            for place in whole:
                if context.law_S[place] > 0:
                    child = model._child(context, int(model.sorted.ids_S[place]))
                    child.log_p = context.log_p + float(np.log(context.law_S[place]))
                    fresh.append(Candidate(child, model.sorted.root, child.log_p))
        return [*found, *fresh]

    def _pruned(self, candidates: list[Candidate]) -> list[Candidate]:
        model = self.model
        if model.prune and candidates:
            total = logsumexp(np.array([c.log_weight for c in candidates]))
            candidates = [c for c in candidates if c.log_weight - total >= np.log(model.prune)]
        if model.beam and len(candidates) > model.beam:
            return sorted(candidates, key=lambda c: -c.log_weight)[: model.beam]
        return candidates

    @property
    def leaked(self) -> float:
        """Probability that the model puts on what the target leaves out, at the heaviest context."""
        return max(self._open, key=lambda c: c.context.log_p).context.leaked

    def cover(self, most: int | None = None) -> list[CoverMember]:
        """The token sequences that cover the bytes, heaviest first.

        Args:
            most: how many; None for all with any probability.
        """
        scale, found = self.log_p + self.offset, []
        for context, node, log_weight in self.candidates:
            if node.depth == 0:
                found.append((np.exp(log_weight - scale), context, -1, node))
                continue
            share_S = np.exp(context.log_p - scale) * context.law_S[node.low : node.high]
            order = np.argsort(-share_S, kind="stable")[:most]
            found += [(share_S[i], context, node.low + int(i), node) for i in order if share_S[i] > 0]
        found.sort(key=lambda one: -one[0])
        return [self._member(*one) for one in found[:most]]

    def sample_cover(self, rng: np.random.Generator) -> CoverMember:
        """One of the covering sequences, drawn with its probability; what follows it is ordinary generation."""
        weights = np.exp(np.array([c.log_weight for c in self.candidates]) - self.log_p - self.offset)
        context, node, _ = self.candidates[rng.choice(len(weights), p=weights / weights.sum())]
        if node.depth == 0:
            return self._member(1.0, context, -1, node)
        law = context.law_S[node.low : node.high]
        place = node.low + int(rng.choice(len(law), p=law / law.sum()))
        share = float(np.exp(context.log_p - self.log_p - self.offset) * context.law_S[place])
        return self._member(share, context, place, node)

    def _member(self, p: float, context: Context, place: int, node: Node) -> CoverMember:
        ids = [*self.runner.before, *context.tokens()]
        if place < 0:
            return CoverMember(ids, b"", float(p))
        string = self.model.sorted.strings[place]
        return CoverMember([*ids, int(self.model.sorted.ids_S[place])], string[node.depth :], float(p))
