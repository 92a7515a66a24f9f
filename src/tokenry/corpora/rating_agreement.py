"""How far two raters agree: exact agreement, rank correlation, kappa, confusion, beside what costs nothing.

A rater is only as good as it is better than saying what is said most often, and than a bag of words.

Papers: A Coefficient of Agreement for Nominal Scales (Cohen, 1960); Weighted kappa (Cohen, 1968); used as in DataMan
(arXiv 2502.19363).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import wilson_interval
from tokenry.core.numerics import spearman
from tokenry.core.report import Report
from tokenry.corpora.rubrics import Ratings

if TYPE_CHECKING:
    from tokenry.corpora.raters import Rater

# Axes: N documents, K levels of a scale.

__all__ = ["agreement_report", "bag_of_words", "cohen_kappa", "compared", "confusion"]


def confusion(true_N: Sequence[int], said_N: Sequence[int], levels: Sequence[int]) -> np.ndarray:
    """Counts (K, K): row the true level, column the one that was said.

    Raises:
        ValueError: a value is no level, or the lengths differ.
    """
    true_N, said_N, levels_K = np.asarray(true_N), np.asarray(said_N), np.asarray(levels)
    if len(true_N) != len(said_N):
        raise ValueError(f"{len(true_N)} true scores and {len(said_N)} said; need one of each for a document.")
    if not (np.isin(true_N, levels_K).all() and np.isin(said_N, levels_K).all()):
        raise ValueError(f"a score that is none of {levels_K.tolist()}; leave documents without a rating out.")
    places = [np.searchsorted(np.sort(levels_K), values) for values in (true_N, said_N)]
    return np.bincount(places[0] * len(levels_K) + places[1], minlength=len(levels_K) ** 2).reshape(len(levels_K), -1)


def cohen_kappa(counts_KK: np.ndarray, *, weights: str = "none") -> float:
    """Agreement beyond chance: 1 whole, 0 as by chance, NaN where chance alone explains all.

    Args:
        counts_KK: from `confusion`.
        weights: "none" counts any difference as one; "quadratic" by its square.
    """
    counts_KK = np.asarray(counts_KK, np.float64)
    places_K = np.arange(len(counts_KK))
    if weights not in ("none", "quadratic"):
        raise ValueError(f"weights={weights!r}; need none or quadratic.")
    distance_KK = (places_K[:, None] - places_K[None, :]) ** 2
    loss_KK = (distance_KK > 0).astype(float) if weights == "none" else distance_KK.astype(float)
    total = counts_KK.sum()
    by_chance = np.outer(counts_KK.sum(axis=1), counts_KK.sum(axis=0)) / total if total else counts_KK
    expected = (loss_KK * by_chance).sum()
    return float(1 - (loss_KK * counts_KK).sum() / expected) if expected > 0 else float("nan")


def bag_of_words(
    texts: Sequence[str], scores_N: Sequence[int], new_texts: Sequence[str], *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What a linear classifier over single words says of new texts after learning from rated ones.

    Returns:
        The likeliest scores (N,) and the expected ones (N,).
    """
    from tokenry.corpora.linear import LinearClassifier

    if len(set(scores_N)) == 1:
        value = int(scores_N[0])
        return np.full(len(new_texts), value), np.full(len(new_texts), float(value))
    model = LinearClassifier.train(texts, scores_N, buckets=1 << 16, ngrams=1, epochs=20, seed=seed)
    shares_NK, levels_K = model.probabilities(new_texts), np.array([int(name) for name in model.classes])
    return levels_K[shares_NK.argmax(axis=1)], shares_NK @ levels_K


def agreement_report(
    true_NC: np.ndarray,
    said: Mapping[str, np.ndarray],
    *,
    criteria: Sequence[str],
    levels: Sequence[int],
    expected: Mapping[str, np.ndarray] | None = None,
    most_often: Sequence[int] | None = None,
) -> Report:
    """Compare raters with the truth (or with a better rater), criterion by criterion.

    Documents without a rating (-1) count as wrong for accuracy, and are left out of the correlations.

    Args:
        true_NC: the scores to reach.
        said: rater -> scores of the same shape, -1 for none.
        criteria, levels: names of the columns; the scores there are.
        expected: rater -> expected scores, for the rank correlation; else it is that of the scores.
        most_often: each criterion's commonest score in the training set: the rater that always says it. None takes
            the commonest of `true_NC` itself, which flatters that rater.
    """
    true_NC = np.asarray(true_NC, np.int64)
    levels = sorted(int(level) for level in levels)
    common_C = most_often if most_often is not None else [np.bincount(column).argmax() for column in true_NC.T]
    raters = {"always the commonest": np.tile(np.asarray(common_C, np.int64), (len(true_NC), 1)), **said}
    rows, tables = [], {}
    for place, name in enumerate(criteria):
        true_N = true_NC[:, place]
        for rater, said_NC in raters.items():
            said_N = np.asarray(said_NC)[:, place]
            known_N = said_N >= 0
            counts_KK = confusion(true_N[known_N], said_N[known_N], levels)
            fine_N = np.asarray((expected or {}).get(rater, said_NC))[:, place]
            hit = wilson_interval(int((said_N == true_N).sum()), len(true_N)) if len(true_N) else None
            rows.append({
                "criterion": name, "rater": rater, "accuracy": hit and hit.value, "low": hit and hit.low,
                "high": hit and hit.high, "spearman": _finite(spearman(true_N[known_N], fine_N[known_N])),
                "kappa": _finite(cohen_kappa(counts_KK)),
                "weighted kappa": _finite(cohen_kappa(counts_KK, weights="quadratic")),
                "unrated": int((~known_N).sum()),
            })  # fmt: skip
            if rater != "always the commonest":
                tables[f"confusion.{rater}.{name}"] = pa.table(
                    {"true": levels, **{f"said {level}": counts_KK[:, at] for at, level in enumerate(levels)}}
                )
    facts = {"documents": len(true_NC), "criteria": len(criteria)}
    for rater in raters:
        mine = [row["accuracy"] for row in rows if row["rater"] == rater and row["accuracy"] is not None]
        facts[f"mean accuracy.{rater}"] = float(np.mean(mine)) if mine else None
    notes = ["intervals of accuracy: Wilson, 95 %; spearman of expected scores where a rater gives them"]
    return Report("rating agreement", "agreement of raters", facts, {"agreement": pa.Table.from_pylist(rows), **tables},
                  notes=notes)  # fmt: skip


def compared(
    rater: "Rater",
    learnt: Sequence[str],
    learnt_ratings: Sequence[Ratings],
    *,
    tested: Sequence[str],
    tested_ratings: Sequence[Ratings],
) -> Report:
    """A rater against ratings of documents it has not seen, beside a bag of words and the commonest score.

    Args:
        rater: what is tested.
        learnt, learnt_ratings: what it (and the bag of words) learnt from.
        tested, tested_ratings: what it is tested on.
    """
    scheme = rater.rubric
    columns = [[np.array([one.scores[place] for one in side], np.int64) for side in (learnt_ratings, tested_ratings)]
               for place in range(len(scheme.names))]  # fmt: skip
    made = rater.rate(tested)
    words = [bag_of_words(learnt, before, tested) for before, _ in columns]
    said = {"this rater": made.scores_DC, "bag of words": np.stack([likely for likely, _ in words], axis=1)}
    finer = {"bag of words": np.stack([fine for _, fine in words], axis=1)}
    if not np.isnan(made.expected_DC).any():
        finer["this rater"] = made.expected_DC
    report = agreement_report(
        np.stack([after for _, after in columns], axis=1), said, criteria=scheme.names,
        levels=[int(level) for level in scheme.levels], expected=finer,
        most_often=[int(np.bincount(before).argmax()) for before, _ in columns],
    )  # fmt: skip
    if scheme.domains and tested:
        right = [
            scheme.domains[str(one.domain)] == name for one, name in zip(tested_ratings, made.domains, strict=True)
        ]
        report.facts["domain accuracy"] = wilson_interval(sum(right), len(right))
    return report


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
