"""Sequential Monte Carlo over texts: particles grow token by token under a constraint, carry weights, are resampled.

The weighted texts stand for p(x) C(x) over all texts x, p the model's law and C the constraint: what masking distorts
(it takes every next token renormalised, and so prefers beginnings that are hard to finish) the weights put right. The
mean weight estimates the evidence, sum of p(x) C(x), without bias. Arithmetic works alike on float laws and laws of
Fractions, so that the tests can enumerate it.

Paper: Fast Controlled Generation from Language Models with Adaptive Weighted Rejection Sampling (arXiv 2504.05410).
"""

# Axes: V vocabulary, M particles.

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from tokenry.decoding.acceptance import Chance
from tokenry.decoding.awrs import NO_LIMIT, Draw, automatic, geometric, likeliest, once, recursive, spread, two_loops
from tokenry.decoding.constraints import State
from tokenry.decoding.token_masks import View

Proposer = Callable[..., Draw]
"""(view, state, law_V, chance, most_rejects) -> Draw."""


class Laws(Protocol):
    """Where next-token laws come from, for rows that grow together."""

    def first(self) -> np.ndarray:
        """The law (V,) after the prompt."""

    def next(self, rows: Sequence[int], tokens: Sequence[int]) -> list[np.ndarray]:
        """Make the rows anew from these (of the call before; 0 after `first`), append a token to each: their laws."""


@dataclass
class Samples:
    """Weighted texts.

    Attributes:
        ids: new tokens of each particle, the end token included.
        weights_M: mean 1 over all particles; 0 where the text did not meet the constraint. All 0 if none did.
        factors: their product estimates the evidence, sum of p(x) C(x), without bias; NaN where nothing was drawn.
        log_p: of each text, under the model.
        ended_by: "end" (end token), "complete" (nothing can follow, and the model has no end token), "stop", "length",
            "dead end" (no token is allowed, or a drawn one was refused).
        n_steps: laws asked for, of all rows at once.
        n_tokens: tokens drawn, of all particles.
        n_tries: texts begun; more than the particles in plain rejection.
        n_resampled: how often particles were resampled.
    """

    ids: list[list[int]]
    weights_M: np.ndarray
    factors: list[object]
    log_p: list[float]
    ended_by: list[str]
    n_steps: int = 0
    n_tokens: int = 0
    n_tries: int = 0
    n_resampled: int = 0

    @property
    def log_evidence(self) -> float:
        """Log of the estimate; -inf if no particle met the constraint."""
        return float(sum(-math.inf if factor == 0 else math.log(factor) for factor in self.factors))

    @property
    def effective(self) -> float:
        """Particles that equally weighted ones would be worth: (sum w)^2 / sum w^2; 0 if none met the constraint."""
        total = float(sum(self.weights_M))
        return total**2 / float(sum(w * w for w in self.weights_M)) if total else 0.0


@dataclass
class _State:
    """All particles; `weights` have the mean 1, what was divided out is in `factors`."""

    ids: list[list[int]]
    states: list[State]
    weights: list[object]
    log_p: list[float]
    ended: list[str]
    rows: list[int]
    factors: list[object] = field(default_factory=list)

    def pick(self, parents: Sequence[int]) -> None:
        """Become these particles, equally weighted."""
        self.ids = [self.ids[parent].copy() for parent in parents]
        for name in ("states", "log_p", "ended", "rows"):
            values = getattr(self, name)
            setattr(self, name, [values[parent] for parent in parents])
        one = self.weights[0] * 0 + 1
        self.weights = [one] * len(self.weights)

    def level(self) -> bool:
        """Divide the weights by their mean; False if all are 0."""
        mean = sum(self.weights) / len(self.weights)
        self.factors.append(mean)
        if mean > 0:
            self.weights = [weight / mean for weight in self.weights]
        return mean > 0


def run(
    laws: Laws,
    view: View,
    *,
    n_particles: int,
    most_tokens: int,
    chance_of: Callable[[int, int], Chance],
    propose: Proposer,
    resample_below: float = 0.5,
    most_rejects: int = NO_LIMIT,
    stop: Callable[[Sequence[int]], bool] | None = None,
) -> Samples:
    """Grow the particles until all have ended.

    Args:
        laws: the model.
        view: the constraint.
        n_particles: M.
        most_tokens: of one text. The last of them must be an end token where there are some; without end tokens the
            text must be acceptable there.
        chance_of: (step, particle) -> its chance; particle -1 is the resampling's.
        propose: one of PROPOSERS.
        resample_below: resample when fewer than this share of the particles is effective; 0 never.
        most_rejects: of one step of one particle; then its weight is 0.
        stop: ends a text; it must be acceptable there.

    Returns:
        Samples. An unfinished text has the weight 0.
    """
    law_V = laws.first()
    one = law_V.sum() * 0 + 1
    at = _State([[] for _ in range(n_particles)], [view.begin()] * n_particles, [one] * n_particles,
                [0.0] * n_particles, [""] * n_particles, [0] * n_particles)  # fmt: skip
    found = Samples([], np.zeros(0), at.factors, [], [], n_steps=1, n_tries=n_particles)
    law_of = dict.fromkeys(range(n_particles), law_V)
    for step in range(most_tokens):
        for particle, law_V in law_of.items():
            chance = chance_of(step, particle)
            found.n_tokens += _grow(at, particle, law_V, view, partial(propose, chance=chance, most=most_rejects),
                                    chance, step == most_tokens - 1, stop)  # fmt: skip
        alive = at.level()
        live = [i for i in range(n_particles) if not at.ended[i]]
        if not alive or not live:
            break
        if _effective(at.weights) < resample_below * n_particles:
            at.pick(spread(np.array(at.weights), chance_of(step, -1)))
            found.n_resampled += 1
            live = [i for i in range(n_particles) if not at.ended[i]]
            if not live:
                break
        laws_B = laws.next([at.rows[i] for i in live], [at.ids[i][-1] for i in live])
        found.n_steps += 1
        for row, i in enumerate(live):
            at.rows[i] = row
        law_of = dict(zip(live, laws_B, strict=True))
    found.ids, found.weights_M, found.log_p, found.ended_by = at.ids, np.array(at.weights), at.log_p, at.ended
    return found


def _grow(
    at: _State, i: int, law_V: np.ndarray, view: View, propose: Callable, chance: Chance, last: bool, stop: object
) -> int:
    """Add a token to particle `i`, or end it; how many were added."""
    state = at.states[i]
    if not view.ends and view.accepts(state) and view.is_final(state):
        at.ended[i] = "complete"
        return 0
    ending = last and view.ends
    draw = _end(view, state, law_V, chance) if ending else propose(view, state, law_V)
    if draw.token is None:
        exhausted = draw.n_asked >= np.count_nonzero(law_V)
        if not view.ends and exhausted and view.accepts(state):
            at.ended[i] = "complete"
            return 0
        at.weights[i] *= 0
        at.ended[i] = "length" if ending and not view.accepts(state) else "dead end"
        return 0
    token = draw.token
    at.ids[i].append(token)
    at.weights[i] *= draw.weight
    at.log_p[i] += math.log(law_V[token]) if law_V[token] > 0 else -math.inf
    if token in view.ends:
        at.ended[i] = "end"
        return 1
    at.states[i] = state = view.advance(state, token)
    if stop is not None and stop(at.ids[i]):
        at.ended[i] = "stop"
    elif not view.ends and view.is_final(state) and view.accepts(state):
        at.ended[i] = "complete"
    elif last:
        at.ended[i] = "length"
    if at.ended[i] and not view.accepts(state):
        at.weights[i] *= 0
    return 1


def _end(view: View, state: State, law_V: np.ndarray, chance: Chance) -> Draw:
    """One of the end tokens, for the mass of them all."""
    ends_V = law_V * 0
    if view.accepts(state):
        ends_V[list(view.ends)] = law_V[list(view.ends)]
    total = ends_V.sum()
    return Draw(chance.draws(ends_V), total, len(law_V)) if total > 0 else Draw(None, total, len(law_V))


def _effective(weights: list[object]) -> float:
    return float(sum(weights)) ** 2 / float(sum(w * w for w in weights))


def _stepwise(estimator: Callable) -> Proposer:
    def propose(view: View, state: State, law_V: np.ndarray, *, chance: Chance, most: int) -> Draw:
        return estimator(law_V, partial(view.allows, state), chance, most_rejects=most)

    return propose


def masked(view: View, state: State, law_V: np.ndarray, *, chance: Chance, most: int = NO_LIMIT) -> Draw:
    """Judge the whole vocabulary and draw from what is allowed; the weight is the exact allowed mass."""
    allowed_V = _allowed(view, state, law_V)
    total = allowed_V.sum()
    return Draw(chance.draws(allowed_V), total, len(law_V)) if total > 0 else Draw(None, total, len(law_V))


def masked_likeliest(view: View, state: State, law_V: np.ndarray, *, chance: Chance, most: int = NO_LIMIT) -> Draw:
    """Judge the whole vocabulary and take the likeliest token that is allowed; its weight is 1, no estimate."""
    allowed_V = _allowed(view, state, law_V)
    token = int(allowed_V.argmax())
    return Draw(token if allowed_V[token] > 0 else None, 1.0, len(law_V))


def first_allowed(view: View, state: State, law_V: np.ndarray, *, chance: Chance, most: int = NO_LIMIT) -> Draw:
    """The same token, found from the likeliest downwards with few checks."""
    return likeliest(law_V, partial(view.allows, state), most_rejects=most)


def _allowed(view: View, state: State, law_V: np.ndarray) -> np.ndarray:
    mask = view.mask(state)
    allowed_V = law_V * 1
    size = min(len(mask), len(law_V))
    allowed_V[:size][~mask[:size]] *= 0
    allowed_V[size:] *= 0
    return allowed_V


PROPOSERS: dict[str, Proposer] = {
    "awrs": _stepwise(automatic),
    "awrs-recursive": _stepwise(recursive),
    "awrs-two-loops": _stepwise(two_loops),
    "awrs-geometric": _stepwise(geometric),
    "mask": masked,
    "reject": _stepwise(once),
}
"""Ways to draw the next token of a particle."""
