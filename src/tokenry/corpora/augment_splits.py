"""How to divide labelled texts and their augmentations into training and validation, with the lineage kept.

- `train-val`: some originals are held back, and only the others are augmented. Honest, and costs labels.
- `augment-and-split`: all are augmented, then everything is divided at random. Siblings of one original stand on both
  sides, so validation looks better than it is: here to be compared with, the report counts the leaks.
- `augtrain-train` (the paper's): training is augmentations of all originals and the originals, validation is exactly
  the originals. Good for choosing when to stop; no estimate of accuracy on new texts.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.choosing import suggest

__all__ = ["STRATEGIES", "Example", "Split", "check", "leaks", "split"]

STRATEGIES = ("augtrain-train", "train-val", "augment-and-split")


@dataclass(frozen=True)
class Example:
    """A text with its class and what it came from.

    Attributes:
        text: as it reads.
        label: its class.
        sources: ids of the originals it has something of; an original has its own.
        made: the augmented text behind it, None for an original.
    """

    text: str
    label: str
    sources: tuple[str, ...]
    made: object = None


@dataclass(frozen=True)
class Split:
    """What to train on and what to validate on.

    Attributes:
        strategy: one of `STRATEGIES`.
        train: in a random order.
        validation: in a random order, or the order of the originals for `augtrain-train`.
        says: what validation is worth.
    """

    strategy: str
    train: list[Example]
    validation: list[Example]
    says: str


def leaks(parts: Split) -> int:
    """Validation texts that share an original with a training text."""
    known = {source for example in parts.train for source in example.sources}
    return sum(any(source in known for source in example.sources) for example in parts.validation)


def check(strategy: str, share: float) -> None:
    """Refuse what `split` cannot do, before anything is parsed.

    Raises:
        ValueError: an unknown strategy, a share outside (0, 1).
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r}.{suggest(strategy, STRATEGIES)} Known: {', '.join(STRATEGIES)}.")
    if not 0 < share < 1:
        raise ValueError(f"share={share}; need more than 0 and less than 1.")


def split(
    originals: Sequence[Example],
    make: Callable[[Sequence[Example]], Sequence[Example]],
    *,
    strategy: str = "augtrain-train",
    share: float = 0.5,
    seed: int = 0,
) -> Split:
    """Divide originals and what is made of them.

    Args:
        originals: labelled texts, each with its own id as the one source.
        make: augments some originals, and uses no others.
        strategy: one of `STRATEGIES`.
        share: for validation (of every class's originals in `train-val`, of all texts in `augment-and-split`).
        seed: of the order.

    Raises:
        ValueError: an unknown strategy, a share outside (0, 1), a class with fewer than two originals in `train-val`,
            or, there, an augmentation that has something of an original held back.

    Paper: ALP (arXiv 2112.11916), section on AugTrain-Train.
    """
    check(strategy, share)
    rng = np.random.default_rng(seed)
    if strategy == "augtrain-train":
        train = [*originals, *make(originals)]
        says = "Validation is the originals, which training has seen: use it to stop, not to claim accuracy."
        return Split(strategy, _shuffled(train, rng), list(originals), says)
    if strategy == "augment-and-split":
        everything = _shuffled([*originals, *make(originals)], rng)
        n = min(max(1, round(share * len(everything))), len(everything) - 1)
        made = Split(strategy, everything[n:], everything[:n], "")
        says = f"{leaks(made)} of {n} validation texts share an original with training: the figure will be too good."
        return Split(strategy, made.train, made.validation, says)
    held = _held_back(originals, share, rng)
    kept = [example for place, example in enumerate(originals) if place not in held]
    new = list(make(kept))
    validation = [originals[place] for place in sorted(held)]
    parts = Split(strategy, _shuffled([*kept, *new], rng), _shuffled(validation, rng), "")
    if leaked := leaks(parts):
        raise ValueError(f"{leaked} validation texts share an original with training; `make` must use only its own.")
    return Split(strategy, parts.train, parts.validation, "Validation is originals that training has nothing of.")


def _held_back(originals: Sequence[Example], share: float, rng: np.random.Generator) -> set[int]:
    by_class: dict[str, list[int]] = {}
    for place, example in enumerate(originals):
        by_class.setdefault(example.label, []).append(place)
    held: set[int] = set()
    for label, places in sorted(by_class.items()):
        if len(places) < 2:
            raise ValueError(f"class {label!r} has {len(places)} original; train-val needs two of every class.")
        n = min(max(1, round(share * len(places))), len(places) - 1)
        held |= {places[one] for one in rng.permutation(len(places))[:n]}
    return held


def _shuffled(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    return [examples[place] for place in rng.permutation(len(examples))]
