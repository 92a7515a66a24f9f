"""A made-up language of operations: problems combine two of them, documents do so or do not; who is who is known.

For methods that should find documents with the combinations of a reference, and not merely its subject.
"""

import numpy as np

__all__ = ["KINDS", "Operations"]

KINDS = ("pair", "crossed", "single", "irrelevant", "off")
_SYLLABLES = [f"{consonant}{vowel}" for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_N, _RELEVANT, _WORDS = 12, 8, 5  # operations, those of the reference, words of each


class Operations:
    """Twelve operations on the digits, five words each. The reference needs eight of them, in 8 of their 28 pairs.

    Each of the eight is in two pairs (a ring), some pairs are needed up to eight times as often as others. Kinds of
    documents: "pair" combines two as the reference does, "crossed" two that it needs but never together, "single" needs
    one, "irrelevant" two of the other four, "off" none. All have 8 words of operations (but "off") and 24 in all, so no
    length tells them apart.

    Args:
        seed: of words, pairs and texts.
        solved: put the words of operations into solved problems ("mi ka 7 = 3 ."), between the others.
    """

    def __init__(self, seed: int, *, solved: bool = False) -> None:
        self.rng, self.solved = np.random.default_rng(seed), solved
        words = list(dict.fromkeys("".join(self.rng.choice(_SYLLABLES, 3)) for _ in range(2000)))
        self.operations = [words[at * _WORDS : (at + 1) * _WORDS] for at in range(_N)]
        self.fillers, self.others = words[60:210], words[210:460]
        self.maps = [self.rng.permutation(10) for _ in range(_N)]
        order = self.rng.permutation(_RELEVANT)
        ring = {tuple(sorted((int(order[at]), int(order[at - 1])))) for at in range(_RELEVANT)}
        self.pairs = sorted(ring)
        every = [(a, b) for a in range(_RELEVANT) for b in range(a + 1, _RELEVANT)]
        self.crossed = [pair for pair in every if pair not in ring]
        self.shares = self.rng.permutation(1 / np.arange(1, len(self.pairs) + 1))
        self.shares /= self.shares.sum()

    @property
    def words(self) -> list[str]:
        """All words there are, with digits and marks."""
        own = [word for each in self.operations for word in each]
        return [*own, *self.fillers, *self.others, *"0123456789=."]

    def name(self, operation: int) -> str:
        """What a tagger calls the skill: its first two words."""
        return " ".join(self.operations[operation][:2])

    def problem(self, operations: tuple[int, ...]) -> tuple[str, str]:
        """A question ("mi ka 7 =") and its answer: the operations one after the other on a digit."""
        start = value = int(self.rng.integers(10))
        for operation in operations:
            value = int(self.maps[operation][value])
        named = " ".join(self.rng.choice(self.operations[operation]) for operation in operations)
        return f"{named} {start} =", str(value)

    def text(self, operations: tuple[int, ...], *, pool: list[str] | None = None) -> str:
        """One document."""
        n_own, pool = 8 if operations else 0, pool or self.fillers
        if not self.solved:
            own = [self.rng.choice(self.operations[operations[at % len(operations)]]) for at in range(n_own)]
            return " ".join(self.rng.permutation([*own, *self.rng.choice(pool, 24 - n_own)]))
        pieces = [" ".join(self.problem(operations)) + " ." for _ in range(n_own // max(1, len(operations)))]
        return " ".join(self.rng.permutation([*pieces, *self.rng.choice(pool, 24 - n_own)]))

    def drawn(self) -> tuple[int, ...]:
        """A pair as often as the reference needs it."""
        return self.pairs[self.rng.choice(len(self.pairs), p=self.shares)]

    def reference(self, n: int) -> tuple[list[str], list[list[str]]]:
        """Texts that combine two operations, and the skills a tagger gives them."""
        drawn = [self.drawn() for _ in range(n)]
        return [self.text(pair) for pair in drawn], [[self.name(one) for one in pair] for pair in drawn]

    def documents(self, n: int) -> tuple[list[str], np.ndarray]:
        """`n` documents of each kind, and their kinds."""
        texts = []
        for kind in KINDS:
            texts += [self.text(self._operations(kind), pool=self.others if kind == "off" else None) for _ in range(n)]
        return texts, np.repeat(KINDS, n)

    def _operations(self, kind: str) -> tuple[int, ...]:
        if kind == "pair":
            return self.drawn()
        if kind == "crossed":
            return self.crossed[self.rng.integers(len(self.crossed))]
        if kind == "single":
            return (int(self.rng.integers(_RELEVANT)),)
        return tuple(self.rng.choice(np.arange(_RELEVANT, _N), 2, replace=False)) if kind == "irrelevant" else ()
