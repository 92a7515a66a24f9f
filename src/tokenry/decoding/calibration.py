"""How often guesses stand, learnt while decoding: by rank, and by rank and draft probability.

A draft's probability is a poor estimate of the chance that its guess stands: a first child drawn from a flat law may
stand half of the time at a probability of 1/200. These counts replace it; they come from steps that are over, so what
is built on them leaves the output exact.

Papers: DySpec (arXiv 2410.11744), whose estimate is the probability itself; Sequoia (arXiv 2402.12374), by rank.
"""

# Axes: R ranks.

import math
from collections.abc import Sequence

import numpy as np

PUBLISHED_RATES = (0.45, 0.15, 0.08, 0.05, 0.035, 0.025, 0.02, 0.015)
"""Start values for Token Recycling's ranks: chance that the child of a rank is the right one."""


class RankRates:
    """Chance that the child of rank r is the one accepted, counted over visited nodes and shrunk to a start value.

    Attributes:
        prior_R: start values, falling.
        weight: visits the start values count for.
    """

    def __init__(self, prior_R: Sequence[float] = PUBLISHED_RATES, *, weight: float = 16.0) -> None:
        self.prior_R, self.weight = np.asarray(prior_R, dtype=np.float64), weight
        self.visits_R, self.hits_R = np.zeros(len(self.prior_R)), np.zeros(len(self.prior_R))

    def observe(self, n_children: int, accepted: int | None) -> None:
        """A visited node with this many children; the place of the accepted one, None where none was."""
        self.visits_R[:n_children] += 1
        if accepted is not None and accepted < len(self.hits_R):
            self.hits_R[accepted] += 1

    def rates(self) -> np.ndarray:
        """(R,), never rising: a rank is worth at most what the one before it is."""
        rates_R = (self.hits_R + self.weight * self.prior_R) / (self.visits_R + self.weight)
        return np.minimum.accumulate(rates_R)


class AcceptanceMap:
    """Chance that a child stands, given that its earlier siblings were rejected, by rank and draft probability.

    Each cell is shrunk to the mean of its rank, and that to a start value, with the weight of four observations.
    """

    PRIOR = (0.6, 0.3, 0.2, 0.15, 0.1)
    WEIGHT = 4.0
    N_BINS = 13
    """Bins of -log2 of the probability: [0, 1), [1, 2), ..., the last one open."""

    def __init__(self) -> None:
        shape = (len(self.PRIOR), self.N_BINS)
        self.trials, self.hits = np.zeros(shape), np.zeros(shape)
        self._refresh()

    def __call__(self, share: object, rank: int) -> float:
        """The estimate for a child of this rank whose draft probability, of what was left, is `share`."""
        return self._cells[min(rank, len(self.PRIOR) - 1)][self._bin(share)]

    def mean(self, rank: int) -> float:
        """The estimate for a child of this rank before its probability is known."""
        return self._means[min(rank, len(self.PRIOR) - 1)]

    def observe(self, share: object, rank: int, accepted: bool) -> None:
        """A child was tried; it counts from the next `settle` on."""
        place = min(rank, len(self.PRIOR) - 1), self._bin(share)
        self.trials[place] += 1
        self.hits[place] += accepted

    def settle(self) -> None:
        """Let what was observed count from here on."""
        self._refresh()

    def table(self) -> list[dict[str, float]]:
        """Rows of rank (from 0; the last row group is that rank and later ones), probability from and to, trials,
        share accepted: the check of "the acceptance is the draft probability"."""
        rows = []
        for rank, place in np.argwhere(self.trials > 0).tolist():
            n, hits = self.trials[rank, place], self.hits[rank, place]
            low = 0.0 if place == self.N_BINS - 1 else 2.0 ** -(place + 1)
            rows.append({"rank": rank, "from": low, "to": 2.0**-place, "tried": int(n), "accepted": hits / n})
        return rows

    def _bin(self, share: object) -> int:
        return min(self.N_BINS - 1, int(-math.log2(max(float(share), 1e-9)))) if share < 1 else 0

    def _refresh(self) -> None:
        prior_R = np.array(self.PRIOR)
        means_R = (self.hits.sum(1) + self.WEIGHT * prior_R) / (self.trials.sum(1) + self.WEIGHT)
        cells = (self.hits + self.WEIGHT * means_R[:, None]) / (self.trials + self.WEIGHT)
        self._means, self._cells = means_R.tolist(), cells.tolist()
