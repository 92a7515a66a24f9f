"""Rules that decide which guesses stand, such that the output has exactly the model's own law, and the walk they steer.

A rule sees one node: the model's law after it, the tokens of its children in order, and the law they were drawn from.
All arithmetic works alike on float tensors, float arrays and arrays of `fractions.Fraction`; the tests enumerate every
course of chance in fractions and find the model's law without an error.

Papers: speculative sampling (arXiv 2211.17192, 2302.01318), SpecInfer (arXiv 2305.09781), Sequoia (arXiv 2402.12374),
DySpec (arXiv 2410.11744).
"""

# Axes: V vocabulary, N nodes.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tokenry.decoding.trees import TokenTree


class Chance(Protocol):
    """Where a rule's randomness comes from."""

    def accepts(self, probability: object) -> bool:
        """True with this probability."""

    def draws(self, weights_V: object) -> int:
        """An index with probability proportional to its weight."""


class Seeded:
    """Chance from a seeded generator: one uniform number a question, so a course can be repeated."""

    def __init__(self, seed: int | np.random.Generator = 0) -> None:
        self.generator = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)

    def accepts(self, probability: object) -> bool:
        """True with this probability."""
        return self.generator.random() < float(probability)

    def draws(self, weights_V: object) -> int:
        """An index by the inverse of the cumulative weights; of a tensor, computed where it lies."""
        uniform = self.generator.random()
        if isinstance(weights_V, np.ndarray):
            sums_V = np.cumsum(weights_V)
            found = int(np.searchsorted(sums_V, uniform * sums_V[-1], side="right"))
            return found if found < len(sums_V) and weights_V[found] > 0 else int(np.flatnonzero(weights_V > 0)[-1])
        sums_V = weights_V.cumsum(-1)
        # First index whose sum passes the target; a target rounded up to the total falls on the last positive one.
        passed_V = (sums_V > uniform * sums_V[-1]) & (weights_V > 0)
        found = int(passed_V.int().argmax())
        return found if bool(passed_V[found]) else int(weights_V.nonzero()[-1])


Rule = Callable[..., tuple[int | None, int]]
"""(law_V, tokens of the children, proposal_V or None, chance=) -> (place of the accepted child or None, token)."""


def greedy(
    law_V: object, tokens: Sequence[int], proposal_V: object = None, *, chance: Chance | None = None
) -> tuple[int | None, int]:
    """Follow the child that carries the likeliest token; it is the next token in any case."""
    return _follow(int(law_V.argmax()), tokens)


def point_mass(
    law_V: object, tokens: Sequence[int], proposal_V: object = None, *, chance: Chance | None = None
) -> tuple[int | None, int]:
    """Draw the next token from the model's law and follow the child that carries it: exact for ANY guesses.

    The same law as accepting each child x in turn with probability law[x] and striking it out on a rejection, with one
    random number a token: the text is the one plain sampling writes with the same seed.
    """
    return _follow(chance.draws(law_V), tokens)


def multi_round(
    law_V: object, tokens: Sequence[int], proposal_V: object = None, *, chance: Chance | None = None
) -> tuple[int | None, int]:
    """Try the children in the order in which they were drawn WITHOUT replacement from `proposal_V`; exact for those.

    A child x stands with probability min(1, law[x] / proposal[x]). On a rejection the law becomes what the proposal
    did not cover, and x leaves the proposal. A child chosen in another way (the top k, say) needs `point_mass`.

    Raises:
        ValueError: children without the law they were drawn from.
    """
    if proposal_V is None:
        if tokens:
            raise ValueError(
                "multi-round acceptance needs the law the children were drawn from (Draft.laws). "
                "Guesses made without chance need the rule point-mass."
            )
        return None, chance.draws(law_V)
    for place, token in enumerate(tokens):
        right, guessed = law_V[token], proposal_V[token]
        if right > 0 and (right >= guessed or chance.accepts(right / guessed)):
            return place, int(token)
        law_V, proposal_V = _uncovered(law_V, proposal_V), _without(proposal_V, token)
    return None, chance.draws(law_V)


def lossless(
    law_V: object, tokens: Sequence[int], proposal_V: object = None, *, chance: Chance | None = None
) -> tuple[int | None, int]:
    """`multi_round` where the children were drawn from a law that is known, `point_mass` elsewhere: exact for both."""
    rule = point_mass if proposal_V is None else multi_round
    return rule(law_V, tokens, proposal_V, chance=chance)


def _follow(token: int, tokens: Sequence[int]) -> tuple[int | None, int]:
    return next((place for place, other in enumerate(tokens) if other == token), None), token


def _uncovered(law_V: object, proposal_V: object) -> object:
    """max(law - proposal, 0) as a law; the law itself where rounding left nothing (then a rejection cannot happen)."""
    rest_V = (law_V - proposal_V) * (law_V > proposal_V)
    total = rest_V.sum()
    return rest_V / total if total > 0 else law_V


def _without(law_V: object, token: int) -> object:
    """The law without one token; all zero when nothing else is left."""
    rest_V = law_V * 1
    rest_V[token] = 0
    total = rest_V.sum()
    return rest_V / total if total > 0 else rest_V


RULES: dict[str, Rule] = {
    "greedy": greedy,
    "point-mass": point_mass,
    "multi-round": multi_round,
    "lossless": lossless,
}


@dataclass(frozen=True)
class Walk:
    """What a verified tree came to.

    Attributes:
        path: accepted nodes, the root first.
        bonus: the token after them, from the model itself.
    """

    path: list[int]
    bonus: int


def walk(
    tree: TokenTree,
    law_of: Callable[[int], object],
    *,
    rule: Rule,
    chance: Chance | None = None,
    laws: Mapping[int, object] | None = None,
) -> Walk:
    """Go down from the root as long as the rule accepts a child.

    Args:
        tree: one root, node 0.
        law_of: the model's law (V,) after a node; asked only for nodes the walk reaches.
        rule: one of RULES, or a function like them.
        chance: randomness of the rule.
        laws: node -> the law its children were drawn from, for `multi_round`.
    """
    node, path = 0, [0]
    while True:
        children = tree.children[node]
        tokens = [int(tree.tokens[child]) for child in children]
        place, token = rule(law_of(node), tokens, None if laws is None else laws.get(node), chance=chance)
        if place is None:
            return Walk(path, token)
        node = children[place]
        path.append(node)


def follow(tree: TokenTree, picks: Sequence[int]) -> Walk:
    """The greedy walk when the model's pick after every node is known at once (one transfer from the device)."""
    node, path = 0, [0]
    while (child := tree.child(node, picks[node])) is not None:
        node = child
        path.append(node)
    return Walk(path, int(picks[node]))
