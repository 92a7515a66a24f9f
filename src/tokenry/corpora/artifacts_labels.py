"""Labels by several people against labels by several models, of the same items: whose opinions go missing.

Majority and minority sets, variation, agreement, distance on the scale, and the matrix of flips. Where the paper's code
takes the Wasserstein distance between vectors of probabilities as if they were samples, values with weights are used
here, so it matters which class the mass is on.

Sides with more annotators vary more, and whoever decides what the majority is agrees with it. So both sides are cut to
as many annotators, and one half of the people judges: "human" is the other half against it, "synthetic" the models.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), section on task labels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from tokenry.core.report import Report
from tokenry.corpora.artifacts import Finding, compare_means, compare_resampled, report_of

__all__ = ["audit_labels", "kappa", "label_counts", "majority_sets", "minority_sets", "wasserstein"]

_ROUNDS = 10  # random halves of the people that are averaged

# Axes: N items, A annotators, C classes.


def label_counts(labels_NA: ArrayLike, classes: Sequence[int]) -> np.ndarray:
    """How many annotators gave each class to each item (N, C); -1 (missing) counts for none."""
    labels_NA = np.asarray(labels_NA)
    return np.stack([(labels_NA == one).sum(axis=1) for one in classes], axis=1)


def majority_sets(counts_NC: np.ndarray) -> np.ndarray:
    """The most frequent classes of each item, bool (N, C); none where no class was given twice."""
    top = counts_NC.max(axis=1, keepdims=True)
    return (counts_NC == top) & (top >= 2)


def minority_sets(counts_NC: np.ndarray) -> np.ndarray:
    """The least frequent classes that were given, bool (N, C); none where all given were given equally often."""
    given = np.where(counts_NC > 0, counts_NC, np.iinfo(np.int64).max)
    least = given.min(axis=1, keepdims=True)
    return (given == least) & (least < counts_NC.max(axis=1, keepdims=True))


def wasserstein(values: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """1-Wasserstein distance of two distributions over the same values; NaN if one has no mass."""
    from scipy.stats import wasserstein_distance

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.sum() <= 0 or second.sum() <= 0:
        return math.nan
    return float(wasserstein_distance(values, values, first, second))


def kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's kappa of two lists of labels of the same items; NaN where chance alone would agree always."""
    first, second = np.asarray(first), np.asarray(second)
    if not len(first):
        return math.nan
    classes = np.union1d(first, second)
    expected = sum(np.mean(first == one) * np.mean(second == one) for one in classes)
    return float((np.mean(first == second) - expected) / (1 - expected)) if expected < 1 else math.nan


def audit_labels(
    human: ArrayLike,
    synthetic: ArrayLike,
    *,
    ordinal: bool = True,
    names: Sequence[str] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Report:
    """Compare labels of the same items.

    Args:
        human: whole numbers (N, A), -1 for missing.
        synthetic: (N, B), the same items in the same order.
        ordinal: the numbers are a scale: spreads and distances mean something.
        names: of the classes, for the matrix of flips.
        resamples: of the bootstrap over items.
        seed: of it, and of the halves of the people.

    Raises:
        ValueError: shapes that do not fit, labels that are no whole numbers, or no label at all.

    Standard deviations are of the labels an item has (ddof 0).

    Paper: Under the Surface (arXiv 2401.14698).
    """
    human_NA, synthetic_NB = _checked(human, synthetic)
    classes = np.unique(np.concatenate([human_NA.ravel(), synthetic_NB.ravel()]))
    classes = classes[classes >= 0]
    rng = np.random.default_rng(seed)
    rounds = [_drawn(human_NA, synthetic_NB, classes, rng) for _ in range(_ROUNDS)]
    warnings, findings = [], _variation(rounds, classes, ordinal=ordinal)
    if human_NA.shape[1] > 1:
        findings += _opinions(rounds)
        findings += _agreement(rounds[0], classes, ordinal=ordinal, boot={"resamples": resamples, "seed": seed})
    else:
        warnings.append("only one human annotator: nothing says how far people agree among themselves.")
    counts = [label_counts(one, classes) for one in (human_NA, synthetic_NB)]
    shares = [_shares(one) for one in counts]
    findings += [
        compare_means(shares[0][:, place], shares[1][:, place], metric="class_share", group=str(one), paired=True)
        for place, one in enumerate(classes)
    ]
    flips = _flips(*counts, [str(one) for one in classes] if names is None else list(names))
    notes = [f"Variation and agreement compare as many annotators of both sides, {_ROUNDS} draws averaged by item; "
             "what people agree on is decided by other people than those who are measured."]  # fmt: skip
    return report_of("labels", findings, tables={"flips": flips}, cautions=warnings, notes=notes)


@dataclass(frozen=True)
class _Draw:
    """Counts of labels (N, C) of annotators drawn so that both sides have as many.

    Attributes:
        people, models: all that can be had.
        judges: half of the people, who decide what the majority is.
        others, rivals: as many of the other people, and of the models.
    """

    people: np.ndarray
    models: np.ndarray
    judges: np.ndarray
    others: np.ndarray
    rivals: np.ndarray


def _drawn(human_NA: np.ndarray, synthetic_NB: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> _Draw:
    people, models = rng.permutation(human_NA.shape[1]), rng.permutation(synthetic_NB.shape[1])
    most, half = min(len(people), len(models)), (len(people) + 1) // 2
    few = min(len(people) - half, len(models))
    chosen = (
        human_NA[:, people[:most]], synthetic_NB[:, models[:most]], human_NA[:, people[:half]],
        human_NA[:, people[half : half + few]], synthetic_NB[:, models[:few]],
    )  # fmt: skip
    return _Draw(*(label_counts(one, classes) for one in chosen))


def _checked(human: ArrayLike, synthetic: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(human), np.asarray(synthetic)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or not first.size or not second.size:
        raise ValueError(
            f"labels of shape {first.shape} and {second.shape}; need (items, annotators) of the same items on both "
            "sides, -1 where one is missing."
        )
    if first.dtype.kind not in "iu" or second.dtype.kind not in "iu":
        raise ValueError(f"labels are {first.dtype} and {second.dtype}; need whole numbers. Number your classes first.")
    if (first < 0).all() or (second < 0).all():
        raise ValueError("one side has no label at all; need at least one on each.")
    return first, second


def _averaged(values: list[np.ndarray]) -> np.ndarray:
    """Mean of an item over the draws that gave it a value."""
    stacked = np.stack(values).astype(np.float64)
    known = np.isfinite(stacked)
    n = known.sum(axis=0)
    return np.divide(np.where(known, stacked, 0).sum(axis=0), n, out=np.full(len(n), math.nan), where=n > 0)


def _compared(pairs: list[tuple[np.ndarray, np.ndarray]], metric: str, group: str = "all") -> Finding:
    both = [np.isfinite(first) & np.isfinite(second) for first, second in pairs]
    sides = [
        _averaged([np.where(known, pair[side], math.nan) for known, pair in zip(both, pairs, strict=True)])
        for side in (0, 1)
    ]
    return compare_means(*sides, metric=metric, group=group, paired=True)


def _variation(rounds: list[_Draw], classes: np.ndarray, *, ordinal: bool) -> list[Finding]:
    measures = {"top_share": _top_share, "entropy_bits": _entropy}
    if ordinal:
        measures["standard_deviation"] = lambda counts_NC: _deviation(counts_NC, classes)
    made = []
    for name, measure in measures.items():
        metric = f"variation.{name}"
        made.append(_compared([(measure(one.people), measure(one.models)) for one in rounds], metric))
        # Where people disagree, a model that only knows the majority is furthest from them.
        split = [_entropy(one.judges) > 0 for one in rounds]
        measured = [(measure(one.others), measure(one.rivals)) for one in rounds]
        for group, wanted in (("people agree", False), ("people disagree", True)):
            chosen = [
                tuple(np.where(rows == wanted, side, math.nan) for side in pair)
                for rows, pair in zip(split, measured, strict=True)
            ]
            made.append(_compared(chosen, metric, group))
    return [one for one in made if one.n]


def _shares(counts_NC: np.ndarray) -> np.ndarray:
    totals = counts_NC.sum(axis=1, keepdims=True)
    return np.divide(counts_NC, totals, out=np.full(counts_NC.shape, math.nan), where=totals > 0)


def _top_share(counts_NC: np.ndarray) -> np.ndarray:
    return _shares(counts_NC).max(axis=1)


def _entropy(counts_NC: np.ndarray) -> np.ndarray:
    shares = _shares(counts_NC)
    logs = np.log2(np.where(shares > 0, shares, 1.0))
    return -(shares * logs).sum(axis=1)


def _deviation(counts_NC: np.ndarray, classes: np.ndarray) -> np.ndarray:
    shares = _shares(counts_NC)
    means = shares @ classes
    return np.sqrt(np.maximum(shares @ classes.astype(np.float64) ** 2 - means**2, 0))


def _opinions(rounds: list[_Draw]) -> list[Finding]:
    """How much each side says what the judges say most and least, and how often their sets share a class."""
    made = []
    for name, sets in (("majority", majority_sets), ("minority", minority_sets)):
        said, matched = [], []
        for one in rounds:
            judged = sets(one.judges)
            known = judged.any(axis=1)
            pair = (_shares(one.others), _shares(one.rivals))
            said.append(tuple(np.where(known, (side * judged).sum(axis=1), math.nan) for side in pair))
            matched.append((_matched(judged, sets(one.others)), _matched(judged, sets(one.rivals))))
        made.append(_compared(said, f"{name}_opinion.share"))
        made.append(_compared(matched, f"{name}_match"))
    return made


def _matched(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether two sets share a class, NaN where one is not defined."""
    both = first.any(axis=1) & second.any(axis=1)
    return np.where(both, (first & second).any(axis=1), math.nan)


def _agreement(one: _Draw, classes: np.ndarray, *, ordinal: bool, boot: dict) -> list[Finding]:
    tops = [_single(counts) for counts in (one.judges, one.others, one.rivals)]

    def agreeing(measure: Callable[[np.ndarray, np.ndarray], float]) -> object:
        def statistic(rows: np.ndarray) -> tuple[float, float]:
            judges, *sides = (top[rows] for top in tops)
            known = [(judges >= 0) & (side >= 0) for side in sides]
            made = [measure(judges[both], side[both]) for side, both in zip(sides, known, strict=True)]
            return made[0], made[1]

        return statistic

    n = len(one.judges)
    made = [compare_resampled(agreeing(kappa), n, metric="kappa_with_people", **boot),
            compare_resampled(agreeing(_accuracy), n, metric="accuracy_against_people", **boot)]  # fmt: skip
    if ordinal:

        def distances(rows: np.ndarray) -> tuple[float, float]:
            judges, others, rivals = (counts[rows].sum(axis=0) for counts in (one.judges, one.others, one.rivals))
            return wasserstein(classes, judges, others), wasserstein(classes, judges, rivals)

        made.append(compare_resampled(distances, n, metric="wasserstein_from_people", **boot))
    return made


def _accuracy(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean(first == second)) if len(first) else math.nan


def _single(counts_NC: np.ndarray) -> np.ndarray:
    """Place of the one most frequent class, -1 where there is none or several."""
    top = counts_NC == counts_NC.max(axis=1, keepdims=True)
    alone = (top.sum(axis=1) == 1) & (counts_NC.max(axis=1) > 0)
    return np.where(alone, top.argmax(axis=1), -1)


def _flips(human_NC: np.ndarray, synthetic_NC: np.ndarray, names: list[str]) -> pa.Table:
    """From the one most frequent label of people to that of the models: how many items."""
    people, models = _single(human_NC), _single(synthetic_NC)
    both = (people >= 0) & (models >= 0)
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, (people[both], models[both]), 1)
    rows = {f"models say {name}": matrix[:, place] for place, name in enumerate(names)}
    return pa.table({"people say": names, **rows})
