"""How well a cut finds the words of a text: boundary and word precision, recall and F1 against gold words.

Papers: Rethinking Tokenization (Less-is-Better, arXiv 2403.00417; the "B" and "L" scores of its demonstration).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class Score:
    """Precision, recall and their harmonic mean."""

    right: int
    """Found and gold."""
    found: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of what was found that is gold; 1 where nothing was found."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the gold that was found; 1 where there is none."""
        return self.right / self.gold if self.gold else 1.0

    @property
    def f1(self) -> float:
        """2 right / (found + gold); 1 where there is neither."""
        return 2 * self.right / (self.found + self.gold) if self.found + self.gold else 1.0


@dataclass(frozen=True)
class BoundaryScores:
    """What `boundary_scores` found."""

    boundary: Score
    """Places between two units."""
    word: Score
    """Units with both ends right."""


def boundary_scores(
    gold: Iterable[Sequence[str]], found: Iterable[Sequence[str]], *, count_ends: bool = False
) -> BoundaryScores:
    """Compare cuts of the same sentences.

    Args:
        gold: the words of each sentence.
        found: its units; joined they are the joined words.
        count_ends: the end of a sentence counts as a boundary found, as in the published scores; it flatters.

    Raises:
        ValueError: a sentence whose units do not spell its words, or lists of different lengths.
    """
    totals = [0] * 6
    for words, units in zip(gold, found, strict=True):
        if "".join(words) != "".join(units):
            raise ValueError(f"{units!r} does not spell {words!r}; need two cuts of the same sentence.")
        ends, other_ends = list(accumulate(map(len, words))), list(accumulate(map(len, units)))
        spans, other_spans = (set(pairwise([0, *e])) for e in (ends, other_ends))
        last = None if count_ends else -1
        a, b = set(ends[:last]), set(other_ends[:last])
        for i, n in enumerate((len(a & b), len(b), len(a), len(spans & other_spans), len(other_spans), len(spans))):
            totals[i] += n
    return BoundaryScores(Score(*totals[:3]), Score(*totals[3:]))
