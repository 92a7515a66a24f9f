"""Which decoder layers run at which step: monotone schedules whose cost is known before anything is generated.

Paper: SkipDecode (arXiv 2307.02628), section 3: one exit point a position, shared by the batch, never rising; a few
bottom layers and then the top ones. The general form (nested sets of layers) is ours: whatever the sets, a layer that
runs at a step ran at all earlier ones, so it holds keys for the whole text.
"""

# Axes: T steps, L layers.

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda tau_T: tau_T,
    "cosine": lambda tau_T: (1 - np.cos(np.pi * tau_T)) / 2,
    "quadratic": lambda tau_T: tau_T**2,
    "root": lambda tau_T: np.sqrt(tau_T),
    "step": lambda tau_T: (tau_T >= 0.5).astype(float),
}
"""How the depth falls between its ends: share of the way at relative time tau."""
PLACES = ("top", "bottom", "even")
"""Where the layers beside the warm-up ones lie: SkipDecode's top, the bottom (plain early exit), evenly spread."""


@dataclass(frozen=True)
class LayerSchedule:
    """The layers of each step of a generation. Step t feeds the new token number t (the prompt runs all layers).

    Attributes:
        n_layers: L of the model.
        sets: layers of each step, ascending; after the last step its set is kept.

    Raises:
        ValueError: a set that is no part of the one before it (a layer would miss keys), one without layer 0 (the
            length of the cache is read there), layers that are not there.
    """

    n_layers: int
    sets: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.sets:
            raise ValueError("a schedule without steps; need the layers of one step at least.")
        for step, layers in enumerate(self.sets):
            if list(layers) != sorted(set(layers)) or not layers or layers[0] != 0 or layers[-1] >= self.n_layers:
                raise ValueError(
                    f"step {step} runs layers {list(layers)} of {self.n_layers}; need ascending numbers below "
                    f"{self.n_layers}, 0 among them (the cache's length is read from it)."
                )
        for step, (before, after) in enumerate(pairwise(self.sets)):
            if not set(after) <= set(before):
                new = sorted(set(after) - set(before))
                raise ValueError(
                    f"step {step + 1} runs layers {new} that step {step} skipped; their keys for that token would be "
                    "missing, and nothing would tell. Let the depth fall or stay, never rise."
                )

    @classmethod
    def full(cls, n_layers: int) -> "LayerSchedule":
        """All layers at every step: ordinary generation."""
        return cls(n_layers, (tuple(range(n_layers)),))

    @classmethod
    def from_counts(
        cls, n_layers: int, counts: Iterable[int], *, warmup: int = 1, place: str = "top"
    ) -> "LayerSchedule":
        """The `warmup` lowest layers and, at step t, counts[t] others.

        Args:
            n_layers: L.
            counts: falling or constant numbers from 0 to L - warmup.
            warmup: lowest layers that always run, at least 1.
            place: "top" takes the highest layers (SkipDecode), "bottom" the next ones above the warm-up (plain early
                exit, and with a constant count naive truncation), "even" spreads them (constant counts only, the sets
                would not be nested otherwise).
        """
        _check_place(place, warmup, n_layers)
        found = []
        for count in counts:
            if not 0 <= count <= n_layers - warmup:
                raise ValueError(
                    f"{count} layers beside {warmup} warm-up layers of {n_layers}; need 0 to {n_layers - warmup}."
                )
            found.append((*range(warmup), *_placed(n_layers, warmup, int(count), place)))
        return cls(n_layers, tuple(found))

    @classmethod
    def falling(
        cls,
        n_layers: int,
        *,
        n_steps: int,
        speedup: float | None = None,
        k_max: float | None = None,
        k_min: float | None = None,
        spread: float = 0.5,
        warmup: int = 1,
        shape: str = "linear",
        place: str = "top",
    ) -> "LayerSchedule":
        """A depth that falls over `n_steps` steps: k_t = round(k_max - (k_max - k_min) shape(t / (n_steps - 1))).

        Args:
            n_layers: L.
            n_steps: steps until the depth is at its lowest, where it stays.
            speedup: L over the average number of layers, reached or passed over n_steps steps; 2 when neither it nor
                both ends are given.
            k_max, k_min: layers beside the warm-up ones at the first and at the last step. What is not given follows
                from `speedup`.
            spread: when neither end is given: k_max is (1 + spread), k_min (1 - spread) times the middle, as far as
                there are layers; 0 keeps one depth.
            warmup, place: as for `from_counts`.
            shape: one of SHAPES.
        """
        from tokenry.core.choosing import suggest

        _check_place(place, warmup, n_layers)
        if shape not in SHAPES:
            raise ValueError(f"shape {shape!r}.{suggest(shape, SHAPES)} Known: {', '.join(SHAPES)}.")
        if n_steps < 1 or not 0 <= spread <= 1:
            raise ValueError(f"n_steps={n_steps}, spread={spread}; need at least 1 step and a spread from 0 to 1.")
        if k_max is not None and k_min is not None and (speedup is not None or k_min > k_max):
            raise ValueError(
                f"k_max={k_max}, k_min={k_min}, speedup={speedup}; need k_min <= k_max, and no speedup beside both."
            )
        share_T = SHAPES[shape](np.arange(n_steps) / max(1, n_steps - 1))
        most = n_layers - warmup

        def counts(high: float, low: float) -> np.ndarray:
            depth_T = high - (high - low) * share_T
            return np.clip(np.floor(depth_T + 0.5), 0, most).astype(np.int64)

        if k_max is not None and k_min is not None:
            return cls.from_counts(n_layers, counts(k_max, k_min), warmup=warmup, place=place)
        ends = _ends(k_max, k_min, spread, most)
        target = _beside_warmup(n_layers, 2.0 if speedup is None else speedup, warmup)
        found = _largest(lambda free: counts(*ends(free)), target)
        if found is None:
            raise ValueError(
                f"k_max={k_max}, k_min={k_min} leave {target:.2f} layers a step beside the warm-up out of reach; "
                "change the end, or ask for another speed-up."
            )
        return cls.from_counts(n_layers, found, warmup=warmup, place=place)

    @property
    def is_full(self) -> bool:
        """Whether every step runs all layers."""
        return len(self.sets[-1]) == self.n_layers

    def layers(self, step: int) -> tuple[int, ...]:
        """Layers of a step, counted from 0."""
        return self.sets[min(step, len(self.sets) - 1)]

    def depths(self, n_steps: int | None = None) -> np.ndarray:
        """Number of layers at each of `n_steps` steps (None: those of the schedule), int64 (T,)."""
        steps = range(len(self.sets) if n_steps is None else n_steps)
        return np.array([len(self.layers(step)) for step in steps], dtype=np.int64)

    def cost(self, n_prompt: int, n_new: int) -> int:
        """Layers run, summed over tokens, to continue a prompt by `n_new` tokens: known before it is done.

        The prompt runs all layers and gives the first new token; each new token but the last is fed at its own depth.
        """
        return n_prompt * self.n_layers + int(self.depths(max(0, n_new - 1)).sum())

    def average(self, n_steps: int | None = None) -> float:
        """Mean number of layers a step."""
        return float(self.depths(n_steps).mean())

    def speedup(self, n_steps: int | None = None) -> float:
        """L over `average`: the most that decoding can gain by it, without head and overhead."""
        return self.n_layers / self.average(n_steps)

    def table(self, n_steps: int | None = None) -> np.ndarray:
        """Bool (L, T): whether a layer runs at a step."""
        steps = range(len(self.sets) if n_steps is None else n_steps)
        found = np.zeros((self.n_layers, len(steps)), dtype=bool)
        for step in steps:
            found[list(self.layers(step)), step] = True
        return found

    def to_record(self) -> dict[str, object]:
        """Plain numbers, for JSON: runs of equal steps as [steps, layers]."""
        runs = [[len(list(same)), list(layers)] for layers, same in groupby(self.sets)]
        return {"n_layers": self.n_layers, "runs": runs}

    @classmethod
    def from_record(cls, record: dict) -> "LayerSchedule":
        """What `to_record` gave."""
        if not {"n_layers", "runs"} <= set(record):
            raise ValueError(f"a record with {sorted(record)}; a schedule needs n_layers and runs.")
        sets = (tuple(layers) for n_steps, layers in record["runs"] for _ in range(n_steps))
        return cls(int(record["n_layers"]), tuple(sets))


def _placed(n_layers: int, warmup: int, count: int, place: str) -> Sequence[int]:
    if place == "top":
        return range(n_layers - count, n_layers)
    if place == "bottom":
        return range(warmup, warmup + count)
    room = n_layers - warmup
    # The last layer is among them, as it is in every model that was trained whole.
    return [warmup + math.ceil((i + 1) * room / count) - 1 for i in range(count)]


def _check_place(place: str, warmup: int, n_layers: int) -> None:
    if place not in PLACES:
        raise ValueError(f"place {place!r}; need one of {', '.join(PLACES)}.")
    if not 1 <= warmup <= n_layers:
        raise ValueError(f"warmup={warmup} of {n_layers} layers; need 1 to {n_layers}, layer 0 always runs.")


def _beside_warmup(n_layers: int, speedup: float, warmup: int) -> float:
    if not 1 <= speedup <= n_layers / warmup:
        raise ValueError(
            f"speedup={speedup} of {n_layers} layers with {warmup} that always run; need 1 to "
            f"{n_layers / warmup:.3g}. Ask for less, or for fewer warm-up layers."
        )
    return n_layers / speedup - warmup


def _ends(k_max: float | None, k_min: float | None, spread: float, most: int) -> Callable[[float], tuple[float, float]]:
    """(first, last) depth of one free number from 0 (least) to 2 (all layers that the given end allows)."""
    if k_max is not None:
        return lambda free: (k_max, min(free * most, k_max))
    if k_min is not None:
        return lambda free: (max(free * most, k_min), k_min)
    ratio = (1 - spread) / (1 + spread)
    # Once the first depth is at its most, only the last one can rise.
    return lambda free: (min(free, 1) * most, most * (min(free, 1) * ratio + max(free - 1, 0) * (1 - ratio)))


def _largest(counts: Callable[[float], np.ndarray], target: float) -> np.ndarray | None:
    """The counts of largest mean that do not pass `target`, over a free number from 0 to 2; by bisection."""
    slack = 1e-9
    low, high = 0.0, 2.0
    if counts(low).mean() > target + slack:
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if counts(middle).mean() <= target + slack else (low, middle)
    return counts(low)
