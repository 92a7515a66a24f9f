"""What a constraint says about tokens: one token at a time, or the whole vocabulary, counted and remembered.

A token is allowed where the constraint allows its bytes, an end token where the text may end, and a special token that
spells nothing never. `MaskedLogits` puts a constraint into the law of any decoding loop.
"""

# Axes: V vocabulary, N nodes of the trie of tokens reached, E edges below them, T tokens.

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tokenry.core.vocab import Vocab
from tokenry.decoding.constraints import Constraint, State

MASK_BYTES = 1 << 26
"""Memory for remembered masks."""
REMEMBERED = 1 << 18
"""Answers about single tokens that are remembered."""


class DeadEndError(ValueError):
    """No token may follow, and the text may not end."""


class View(Protocol):
    """A constraint as a decoding loop asks it.

    Attributes:
        ends: ids that end a text.
        n_checks: answers about one token that had to be computed.
        n_masks: answers about the whole vocabulary that had to be computed.
    """

    ends: tuple[int, ...]
    n_checks: int
    n_masks: int

    def begin(self) -> State:
        """The state before the first token."""

    def advance(self, state: State, token: int) -> State | None:
        """The state after a token that is no end; None where it is not allowed."""

    def allows(self, state: State, token: int) -> bool:
        """Whether a token, or an end, may follow."""

    def mask(self, state: State) -> np.ndarray:
        """All of them at once, bool (V,)."""

    def accepts(self, state: State) -> bool:
        """Whether the text may end here."""

    def is_final(self, state: State) -> bool:
        """Whether it is known that it must."""


class TokenView:
    """A constraint on bytes, asked about the tokens of a vocabulary.

    Args:
        constraint: over the bytes of the new tokens.
        vocab: their spelling.
        ends: ids that end a text.
    """

    def __init__(self, constraint: Constraint, vocab: Vocab, ends: Sequence[int] = ()) -> None:
        self.constraint, self.vocab, self.ends = constraint, vocab, tuple(ends)
        self.n_checks = self.n_masks = 0
        self._after: OrderedDict[tuple[State, int], State | None] = OrderedDict()
        self._masks: OrderedDict[State, np.ndarray] = OrderedDict()

    def begin(self) -> State:
        """As the constraint."""
        return self.constraint.begin()

    def advance(self, state: State, token: int) -> State | None:
        """See `View`."""
        key = (state, token)
        if key in self._after:
            self._after.move_to_end(key)
            return self._after[key]
        data = self.vocab.tokens[token] if token < self.vocab.size else None
        after = None
        if data and token not in self.ends:
            self.n_checks += 1
            after = self.constraint.advance(state, data)
        _remember(self._after, key, after, REMEMBERED)
        return after

    def allows(self, state: State, token: int) -> bool:
        """See `View`."""
        return self.accepts(state) if token in self.ends else self.advance(state, token) is not None

    def mask(self, state: State) -> np.ndarray:
        """See `View`; computed over the trie of tokens where the constraint answers many at once, else one by one."""
        if state in self._masks:
            self._masks.move_to_end(state)
            return self._masks[state]
        self.n_masks += 1
        if self.constraint.steps is not None:
            allowed_V = self._walked(state)
        else:
            allowed_V = np.zeros(self.vocab.size, dtype=bool)
            for token, data in enumerate(self.vocab.tokens):
                allowed_V[token] = bool(data) and self.advance(state, token) is not None
        allowed_V[list(self.ends)] = bool(self.ends) and self.accepts(state)
        allowed_V.flags.writeable = False
        _remember(self._masks, state, allowed_V, max(4, MASK_BYTES // self.vocab.size))
        return allowed_V

    def accepts(self, state: State) -> bool:
        """As the constraint."""
        return self.constraint.accepts(state)

    def is_final(self, state: State) -> bool:
        """As the constraint."""
        return self.constraint.is_final(state)

    def _walked(self, state: int) -> np.ndarray:
        """Go down the trie of tokens, level by level, with all states at once."""
        trie = self.vocab.trie
        alive = np.zeros(len(trie.values) + 1, dtype=bool)  # the last place answers for tokens without bytes
        nodes_N, states_N = np.zeros(1, dtype=np.int64), np.array([state], dtype=np.int64)
        while len(nodes_N):
            starts_N = trie.child_start[nodes_N]
            counts_N = trie.child_start[nodes_N + 1] - starts_N
            firsts_N = np.cumsum(counts_N) - counts_N
            edges_E = np.arange(int(counts_N.sum())) + np.repeat(starts_N - firsts_N, counts_N)
            found_E = self.constraint.steps(np.repeat(states_N, counts_N), trie.labels[edges_E].astype(np.int64))
            kept_E = found_E >= 0
            nodes_N, states_N = trie.children[edges_E[kept_E]].astype(np.int64), found_E[kept_E]
            alive[nodes_N] = True
        return alive[self._nodes]

    @cached_property
    def _nodes(self) -> np.ndarray:
        """The node of the trie at which each token ends, int64 (V,); -1 for those without bytes."""
        trie, node_V = self.vocab.trie, np.full(self.vocab.size, -1, dtype=np.int64)
        ending = np.flatnonzero(trie.values >= 0)
        node_V[trie.values[ending]] = ending
        for same in self.vocab.index.values():  # of tokens with the same bytes the trie knows the first
            if len(same) > 1 and node_V[same].max() >= 0:
                node_V[same] = node_V[same].max()
        return node_V


class MaskedLogits:
    """A constraint as a logits processor: the law of the loop becomes the model's law on what is allowed, renormalised.

    For `Settings.processors`, or the `logits_processor` of the library's generate (one row). A context that ends before
    the continuation begins, as a draft model may give, is left as it is.

    Args:
        view: the constraint.
        n_prompt: tokens of the prompt.
    """

    def __init__(self, view: View, n_prompt: int) -> None:
        self.view, self.n_prompt = view, n_prompt
        self._states: dict[tuple[int, ...], State | None] = {(): view.begin()}

    def __call__(self, ids_1T: Tensor, logits_1V: Tensor) -> Tensor:
        """Logits with -inf where the constraint forbids.

        Raises:
            DeadEndError: everything is forbidden.
        """
        if ids_1T.shape[-1] < self.n_prompt:
            return logits_1V
        new = ids_1T[0, self.n_prompt :].tolist()
        state = self.state(new)
        if state is None:
            return logits_1V  # a guess that is never reached
        mask_V = self.view.mask(state)
        if not mask_V.any():
            raise DeadEndError(f"after {len(new)} tokens the constraint allows no token, nor the end. Loosen it.")
        size = min(len(mask_V), logits_1V.shape[-1])
        allowed_V = torch.zeros(logits_1V.shape[-1], dtype=torch.bool, device=logits_1V.device)
        allowed_V[:size] = torch.from_numpy(mask_V[:size].copy()).to(logits_1V.device)
        return logits_1V.masked_fill(~allowed_V, -torch.inf)

    def state(self, new: Sequence[int]) -> State | None:
        """The state after these new tokens; None where they are not allowed, or the text has ended."""
        key = tuple(new)
        known = len(key)
        while key[:known] not in self._states:
            known -= 1
        state = self._states[key[:known]]
        for place in range(known, len(key)):
            if state is not None:
                state = None if key[place] in self.view.ends else self.view.advance(state, key[place])
            self._states[key[: place + 1]] = state
        return state

    def is_over(self, new: Sequence[int]) -> bool:
        """Whether the text is accepted and nothing can follow: where a model without an end token must stop."""
        state = self.state(new)
        if state is None or not self.view.accepts(state):
            return False
        return self.view.is_final(state) or not self.view.mask(state).any()


def _remember(store: OrderedDict, key: object, value: object, most: int) -> None:
    store[key] = value
    while len(store) > most:
        store.popitem(last=False)
