"""Draw the next token under a constraint with few checks, and an unbiased weight for how much of the law it allows.

Tokens are tried in the order of draws without replacement; the first accepted one has exactly the law p c / Z (p the
model's law, c the constraint, Z the mass that is allowed). The weight has the mean Z, so the pair is properly weighted:
E[weight f(token)] = sum p(v) c(v) f(v). All arithmetic works alike on float arrays and arrays of Fraction; the tests
enumerate every course of chance.

Paper: Fast Controlled Generation from Language Models with Adaptive Weighted Rejection Sampling (arXiv 2504.05410);
the recursive and the geometric estimator are those of its library, genlm-control.
"""

# Axes: V vocabulary, M particles.

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tokenry.decoding.acceptance import Chance, Seeded

PEAKED = 2 / 3
"""Above this largest probability the geometric estimator needs fewer checks: it may draw the same token again."""
NO_LIMIT = 1 << 62
_THIN = 1e-3
"""Share of the mass left below which it is summed anew: differences of floats have lost their digits by then."""


@dataclass(frozen=True)
class Draw:
    """A token and its weight.

    Attributes:
        token: None when nothing was accepted.
        weight: unbiased for the allowed mass; 0 when nothing was accepted.
        n_asked: tokens judged, each once.
    """

    token: int | None
    weight: object
    n_asked: int


Estimator = Callable[..., Draw]
"""(law_V, accepts, chance, most_rejects=) -> Draw."""


class _Left:
    """What is left of a law as tokens are rejected."""

    def __init__(self, law_V: np.ndarray) -> None:
        self.law_V = law_V * 1
        self.total = self.mass = law_V.sum()
        self._summed = self.total
        self.n_rejects = self.n_asked = 0

    def strike(self, token: int) -> None:
        self.mass -= self.law_V[token]
        self.law_V[token] *= 0
        if self.mass < self._summed * _THIN:
            self.mass = self._summed = self.law_V.sum()

    def reject(self, token: int) -> None:
        self.strike(token)
        self.n_rejects += 1


def without_replacement(law_V: np.ndarray, chance: Chance) -> Iterator[int]:
    """Tokens of a law one after another, each drawn from what is left; those without mass never come.

    Of a float law, draws that repeat a token are skipped until half the mass is gone, which is the same law and saves
    the running sums.
    """
    rest_V = law_V * 1
    if not (isinstance(chance, Seeded) and rest_V.dtype == np.float64):
        while rest_V.any():
            token = chance.draws(rest_V)
            rest_V[token] *= 0
            yield token
        return
    while rest_V.any():
        sums_V = np.cumsum(rest_V)
        half = sums_V[-1] / 2
        gone = 0.0
        while gone < half:
            token = int(np.searchsorted(sums_V, chance.generator.random() * sums_V[-1], side="right"))
            if token < len(rest_V) and rest_V[token] > 0:
                gone += rest_V[token]
                rest_V[token] = 0.0
                yield token


def recursive(
    law_V: np.ndarray, accepts: Callable[[int], bool], chance: Chance, *, most_rejects: int = NO_LIMIT
) -> Draw:
    """One pass: each reject takes its share off the weight, and the token after the accepted one is judged too.

    With q the share of a token in what is left: weight = product of (1 - q) over the rejects, times q of the accepted
    one if the next is refused.
    """
    left, weight = _Left(law_V), law_V.sum()
    order = without_replacement(law_V, chance)
    for token in order:
        left.n_asked += 1
        if accepts(token):
            share = left.law_V[token] / left.mass
            after = None if left.n_rejects == most_rejects - 1 else next(order, None)
            if after is not None:
                left.n_asked += 1
                weight = weight if accepts(after) else weight * share
            return Draw(token, weight, left.n_asked)
        before = left.mass
        left.reject(token)
        weight = weight * (left.mass / before)
        if left.n_rejects >= most_rejects:
            break
    return Draw(None, law_V[0] * 0, left.n_asked)


def two_loops(
    law_V: np.ndarray, accepts: Callable[[int], bool], chance: Chance, *, most_rejects: int = NO_LIMIT
) -> Draw:
    """The estimator of the paper: go on, with the accepted token put back, until another one is accepted.

    weight = (1 - mass rejected before the first accept) / (rejects of both loops + 1).
    """
    left = _Left(law_V)
    order = without_replacement(law_V, chance)
    token = _first(left, order, accepts, most_rejects)
    if token is None:
        return Draw(None, law_V[0] * 0, left.n_asked)
    kept, own = left.mass, law_V[token]
    while left.n_rejects < most_rejects and (left.mass - own > own * 1e-12) and not chance.accepts(own / left.mass):
        other = next(order, None)  # from what is left beside the token itself
        if other is None:
            break
        left.n_asked += 1
        if accepts(other):
            break
        left.reject(other)
    return Draw(token, kept / min(left.n_rejects + 1, most_rejects), left.n_asked)


def geometric(
    law_V: np.ndarray,
    accepts: Callable[[int], bool],
    chance: Chance,
    *,
    most_rejects: int = NO_LIMIT,
    most_accepts: int = 2,
) -> Draw:
    """Sampling WITH replacement until `most_accepts` accepts, each token judged once.

    Repeats of rejected tokens are not drawn, only counted: a geometric number before each draw from the others. The
    weight is the Rao-Blackwell form min(m - 1, a) / (a + r - 1) of a accepts and r rejects: the more accepts,
    the less variance.
    """
    left, token, known = _Left(law_V), None, set()
    n_accepts = n_rejects = 0
    while n_accepts < most_accepts and n_rejects < most_rejects and left.mass > 0:
        for drawn in without_replacement(left.law_V, chance):  # the accepted tokens are among what is left again
            if left.mass != left.total:
                n_rejects += _repeats(left.mass / left.total, most_rejects - n_rejects, chance)
                if n_rejects >= most_rejects:
                    break
            left.n_asked += drawn not in known
            if drawn in known or accepts(drawn):
                known.add(drawn)
                token = drawn if token is None else token
                n_accepts += 1
                break
            left.reject(drawn)
            n_rejects += 1
            if n_rejects >= most_rejects:
                break
        else:
            break
    if token is None:
        return Draw(None, law_V[0] * 0, left.n_asked)
    return Draw(token, left.total * min(most_accepts - 1, n_accepts) / (n_accepts + n_rejects - 1), left.n_asked)


def automatic(
    law_V: np.ndarray, accepts: Callable[[int], bool], chance: Chance, *, most_rejects: int = NO_LIMIT
) -> Draw:
    """`geometric` where one token holds two thirds of the law or more, else `recursive`; the library's default too."""
    peaked = law_V.max() >= law_V.sum() * PEAKED
    return (geometric if peaked else recursive)(law_V, accepts, chance, most_rejects=most_rejects)


def once(law_V: np.ndarray, accepts: Callable[[int], bool], chance: Chance, *, most_rejects: int = 1) -> Draw:
    """Draw one token and judge it: weight 1 or 0, times the mass of the law. Whole texts drawn so are plain rejection.

    The number of rejects is always one; the argument stands for the common signature.
    """
    token = chance.draws(law_V)
    return Draw(token, law_V.sum(), 1) if accepts(token) else Draw(None, law_V[0] * 0, 1)


def likeliest(law_V: np.ndarray, accepts: Callable[[int], bool], *, most_rejects: int = NO_LIMIT) -> Draw:
    """The likeliest token that is accepted, found without judging the others; its weight is 1, no estimate."""
    n_asked, size = 0, min(64, len(law_V))
    order = np.argpartition(-law_V, size - 1)[:size]
    order = order[np.lexsort((order, -law_V[order]))]
    while n_asked < min(len(order), most_rejects):
        token = int(order[n_asked])
        if not law_V[token] > 0:
            break
        n_asked += 1
        if accepts(token):
            return Draw(token, 1.0, n_asked)
        if n_asked == len(order) < len(law_V):
            order = np.argsort(-law_V, kind="stable")
    return Draw(None, 0.0, n_asked)


def spread(weights_M: np.ndarray, chance: Chance) -> list[int]:
    """Systematic resampling: every particle's number of children is its share of M, rounded up or down by chance.

    One question to chance, so that it can be enumerated: which piece of the unit interval the comb falls into.

    Args:
        weights_M: not all zero.
    """
    n, zero = len(weights_M), weights_M[0] * 0
    ends = np.cumsum(weights_M * n / weights_M.sum())
    ends[-1] = zero + n  # what rounding left open
    cuts = sorted({end - int(end) for end in ends[:-1].tolist()} - {0})
    pieces = [zero + high - low for low, high in zip([0, *cuts], [*cuts, 1], strict=True)]
    shift = ([0, *cuts])[chance.draws(np.array(pieces, dtype=ends.dtype))]
    # The comb stands at shift + k, and the intervals are closed on the left: every shift of the piece gives the same.
    parents, parent = [], 0
    for tooth in range(n):
        while parent < n - 1 and ends[parent] <= tooth + shift:
            parent += 1
        parents.append(parent)
    return parents


def _first(left: _Left, order: Iterator[int], accepts: Callable[[int], bool], most_rejects: int) -> int | None:
    for token in order:
        left.n_asked += 1
        if accepts(token):
            return token
        left.reject(token)
        if left.n_rejects >= most_rejects:
            break
    return None


def _repeats(fresh: object, most: int, chance: Chance) -> int:
    """How many repeats of rejected tokens come before a fresh one, at most `most`."""
    if isinstance(chance, Seeded):
        return min(most, int(chance.generator.geometric(min(1.0, max(float(fresh), 1e-300)))) - 1)
    count = 0
    while count < most and not chance.accepts(fresh):
        count += 1
    return count
