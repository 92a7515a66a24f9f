"""How many guesses a step should verify: measured while decoding, plain steps where guessing does not pay.

A step of n guesses takes t(n) seconds and adds E(n) tokens; it pays when E(n) is above its BREAK-EVEN t(n) / t(0).
Both are measured on the machine and the text at hand, and the n of the most tokens a second is taken.

Papers: Sequoia (arXiv 2402.12374, section 3.3, chooses the tree by measured times); Token Recycling (arXiv 2408.08696).
"""

# Axes: A sizes that may be asked for.

import time
from collections import deque
from collections.abc import Sequence
from statistics import median

import numpy as np

from tokenry.decoding.calibration import PUBLISHED_RATES
from tokenry.decoding.speculate import FixedSize, Sizing, StepCost
from tokenry.decoding.trees import Shape, best_ranks
from tokenry.models.session import Session

SIZES = (0, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 128, 256)

_LINE = 1.0
"""Measurements the line through all sizes counts for, at each of them: one slow step must not decide."""


class Measured:
    """Sizing by measured times and gains.

    Attributes:
        sizes_A: sizes it chooses from, 0 (a plain step) first.
        memory: steps after which an observed gain counts for 1/e; texts change.
        retry: plain steps after which guessing is tried again; doubled each time it loses, up to 16 times as many.
    """

    def __init__(self, sizes_A: Sequence[int] = SIZES, *, memory: float = 200.0, retry: int = 16) -> None:
        if not sizes_A or min(sizes_A) < 0 or max(sizes_A) == 0:
            raise ValueError(f"sizes {list(sizes_A)}; need at least one above 0.")
        self.sizes_A = tuple(sorted({0, *map(int, sizes_A)}))
        self.memory, self.retry = memory, retry
        n = len(self.sizes_A)
        self._seconds = [deque(maxlen=9) for _ in range(n)]
        self._weight_A, self._gain_A, self._nodes_A = np.zeros(n), np.zeros(n), np.zeros(n)
        self._asked, self._n_steps = 0, 0
        self._rest, self._pause = 0, retry
        self._first = [0, min(5, n - 1), min(2, n - 1), 0, min(5, n - 1)]

    def budget(self) -> int:
        """The size for the next step."""
        self._asked = self._choose()
        return self.sizes_A[self._asked]

    def observe(self, step: StepCost) -> None:
        """Note what the step took and gave, for the size that was asked (a drafter may guess less, or nothing)."""
        place = self._asked if step.n_nodes > 1 else 0
        if step.n_nodes == 1 and self._asked:
            # Nothing was guessed: the time is a plain step's, the lack of a gain belongs to the size that was asked.
            self._learn(self._asked, 0.0, 1)
        self._seconds[place].append(step.draft_seconds + step.verify_seconds)
        if place:
            self._learn(place, step.n_tokens - 1, step.n_nodes)
        self._n_steps += 1

    @property
    def notes(self) -> dict[str, float]:
        """The size taken last, its break-even and what it gives, in tokens a step."""
        place = self._asked
        return {
            "size": float(self.sizes_A[place]),
            "break-even": float(self.break_even()[place]),
            "gives": float(1 + self.gains()[place]),
        }

    def seconds(self) -> np.ndarray:
        """(A,) seconds of a step of each size: the median of the last nine, drawn towards the line through all."""
        known = [place for place, times in enumerate(self._seconds) if times]
        if not known:
            return np.ones(len(self.sizes_A))
        middle = np.array([median(self._seconds[place]) for place in known])
        count = np.array([len(self._seconds[place]) for place in known], dtype=np.float64)
        sizes_A = np.array(self.sizes_A, dtype=np.float64)
        slope, base = np.polyfit(sizes_A[known], middle, 1, w=np.sqrt(count)) if len(known) > 1 else (0.0, middle[0])
        seconds_A = max(base, 1e-9) + max(slope, 0.0) * sizes_A
        seconds_A[known] = (count * middle + _LINE * seconds_A[known]) / (count + _LINE)
        return np.maximum.accumulate(seconds_A)  # more guesses are never cheaper; what says so is noise

    def gains(self) -> np.ndarray:
        """(A,) accepted guesses a step: what was seen, shrunk to c log2(1 + n) fitted over all sizes."""
        shape_A = np.log2(1 + np.array(self.sizes_A, dtype=np.float64))
        total = (self._weight_A * shape_A**2).sum()
        slope = (self._gain_A * shape_A).sum() / total if total else 0.5
        gains_A = (self._gain_A + 4 * slope * shape_A) / (self._weight_A + 4)
        gains_A[0] = 0.0
        return gains_A

    def break_even(self) -> np.ndarray:
        """(A,) tokens a step must add at least, at each size, to be worth its time."""
        seconds_A = self.seconds()
        return seconds_A / seconds_A[0]

    def table(self) -> list[dict[str, float]]:
        """Rows of guesses, milliseconds a step, break-even and tokens a step, for the sizes that were tried."""
        seconds_A, even_A, gains_A = self.seconds(), self.break_even(), self.gains()
        return [
            {"guesses": size, "ms": 1e3 * seconds_A[a], "break-even": even_A[a], "tokens": 1 + gains_A[a]}
            for a, size in enumerate(self.sizes_A)
            if self._seconds[a]
        ]

    def _choose(self) -> int:
        if self._first:
            return self._first.pop(0)
        rates_A = (1 + self.gains()) / self.seconds()
        best = int(rates_A.argmax())
        if best == 0:
            return self._resting(rates_A)
        self._rest, self._pause = 0, self.retry
        turn = self._n_steps % 16
        if turn in (5, 13):  # look at the neighbours, so that a wrong estimate is found out
            best = min(max(1, best + (1 if turn == 5 else -1)), len(self.sizes_A) - 1)
        return 0 if self._n_steps % 64 == 63 else best

    def _resting(self, rates_A: np.ndarray) -> int:
        """Plain steps; now and then a look whether guessing pays by now."""
        self._rest += 1
        if self._rest <= self._pause:
            return 0
        if self._rest >= self._pause + 3:
            self._rest, self._pause = 0, min(2 * self._pause, 16 * self.retry)
        return 1 + int(rates_A[1:].argmax())

    def _learn(self, place: int, gain: float, n_nodes: int) -> None:
        fade = np.exp(-1 / self.memory)
        self._weight_A *= fade
        self._gain_A *= fade
        self._weight_A[place] += 1
        self._gain_A[place] += gain
        self._nodes_A[place] = n_nodes


def sizing_of(size: int | str, *, most: int) -> Sizing:
    """A Sizing from what a user says: a number of guesses, or "auto" for `Measured` up to `most`.

    Raises:
        ValueError: anything else.
    """
    if size == "auto":
        return Measured([n for n in (*SIZES, most) if n <= most])
    if isinstance(size, int) and size >= 1:
        return FixedSize(size)
    raise ValueError(f"size={size!r}; need a number of guesses from 1, or 'auto'.")


def step_seconds(
    model: object, sizes: Sequence[int] = (0, 4, 8, 16, 32, 64, 80), *, length: int = 128, repeats: int = 7
) -> dict[int, float]:
    """Measure t(n): seconds of a verifying pass by number of guesses, the median of some, after `length` tokens.

    Args:
        model: an LM or a transformers model.
        sizes: guesses; 0 is a plain step.
        length: tokens cached before.
        repeats: passes of each size, taken in turn.
    """
    session = Session.open(model)
    generator = np.random.default_rng(0)
    n_rows = session.model.get_input_embeddings().weight.shape[0]
    session.extend(generator.integers(0, n_rows, min(length, session.room - max(sizes) - 2)))
    trees = {n: best_ranks(PUBLISHED_RATES, n).filled(generator.integers(0, n_rows, n + 1)) for n in sizes if n}
    times: dict[int, list[float]] = {n: [] for n in sizes}
    for turn in range(repeats + 1):
        for n in sizes:
            started = time.perf_counter()
            logits = session.verify(trees[n]) if n else session.extend([0])
            float(logits.flatten()[0])  # waits for the device
            if turn:  # the first turn warms up
                times[n].append(time.perf_counter() - started)
            session.accept([])
            if not n:
                session.rollback(1)
    return {n: median(measured) for n, measured in times.items()}


def best_size(rates_R: Sequence[float], seconds: dict[int, float], *, level_seconds: float = 0.0) -> tuple[int, int]:
    """The size and depth of the fixed tree with most tokens a second (Sequoia's choice).

    Args:
        rates_R: chance that the child of each rank is right, falling (`calibration.RankRates`).
        seconds: of a verifying step by number of guesses (`step_seconds`), 0 among them.
        level_seconds: seconds of one draft forward; a tree of depth d needs d.

    Returns:
        (guesses, depth); (0, 0) when a plain step is best.

    Raises:
        ValueError: no time of a plain step.
    """
    if 0 not in seconds:
        raise ValueError(f"seconds of {sorted(seconds)} guesses; need those of 0, a plain step, too.")
    found = [(1 / seconds[0], 0, 0)]
    for size in sorted(seconds):
        for depth in range(1, min(size, 16) + 1):
            shape = best_ranks(rates_R, size, max_depth=depth)
            if len(shape) - 1 == size:
                tokens = 1 + expected_accepted(shape, rates_R)
                found.append((tokens / (seconds[size] + depth * level_seconds), size, depth))
    return max(found, key=lambda entry: (entry[0], -entry[1], -entry[2]))[1:]


def expected_accepted(shape: Shape, rates_R: Sequence[float]) -> float:
    """Guesses of a tree accepted on average when the child of rank r is right with chance rates_R[r]."""
    values = np.ones(len(shape))
    for node, (parent, rank) in enumerate(zip(shape.parents.tolist(), shape.rank.tolist(), strict=True)):
        values[node] = values[parent] * rates_R[rank] if parent >= 0 else 1.0
    return float(values[1:].sum())
