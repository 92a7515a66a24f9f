"""Every course that chance can take through a piece of code, with its probability as a fraction."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction

import numpy as np


class Course:
    """Chance that follows a given beginning, then always the first way; it notes the ways it did not take."""

    def __init__(self, beginning: Sequence[int] = ()) -> None:
        self.beginning, self.taken, self.ways = list(beginning), [], []
        self.probability = Fraction(1)

    def accepts(self, probability: Fraction) -> bool:
        """True with this probability."""
        return self._choose([probability, 1 - probability]) == 0

    def draws(self, weights_V: Sequence[Fraction]) -> int:
        """An index with probability proportional to its weight."""
        total = sum(weights_V)
        return self._choose([weight / total for weight in weights_V])

    def _choose(self, probabilities: list[Fraction]) -> int:
        assert all(isinstance(p, Fraction | int) and 0 <= p <= 1 for p in probabilities), (
            "arithmetic left the rationals"
        )
        ways = [way for way, p in enumerate(probabilities) if p > 0]
        place = len(self.taken)
        way = self.beginning[place] if place < len(self.beginning) else ways[0]
        self.taken.append(way)
        self.ways.append(ways)
        self.probability *= probabilities[way]
        return way


def outcomes(act: Callable[[Course], Hashable]) -> dict[Hashable, Fraction]:
    """The exact law of what `act(chance)` returns; it must use no other randomness."""
    found: dict[Hashable, Fraction] = defaultdict(Fraction)
    waiting: list[list[int]] = [[]]
    while waiting:
        beginning = waiting.pop()
        course = Course(beginning)
        found[act(course)] += course.probability
        for place in range(len(beginning), len(course.taken)):
            waiting += [[*course.taken[:place], way] for way in course.ways[place] if way != course.taken[place]]
    assert sum(found.values()) == 1
    return dict(found)


def random_law(generator: np.random.Generator, size: int, *, zeros: bool = False) -> np.ndarray:
    """A law of small rationals, an object array of Fractions; `zeros` lets some be 0."""
    weights = generator.integers(0 if zeros else 1, 6, size)
    weights[generator.integers(size)] += 1
    return np.array([Fraction(int(weight), int(weights.sum())) for weight in weights], dtype=object)


def drawn_without_replacement(law_V: np.ndarray, n: int, chance: Course) -> list[int]:
    """At most `n` different indices, one after another, each from what is left of the law."""
    rest_V, drawn = law_V * 1, []
    while len(drawn) < n and rest_V.sum() > 0:
        drawn.append(chance.draws(list(rest_V)))
        rest_V[drawn[-1]] = Fraction(0)
    return drawn
