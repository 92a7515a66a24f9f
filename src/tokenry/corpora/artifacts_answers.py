"""What labels or choices of models do to a classifier trained on them: the second order for labels and preferences.

The same linear classifier is trained on what people said and on what models said of the same texts, and asked about
texts it has not seen; people decide what is right. Every item is asked once (cross-validation), so the unit of the
comparison is the item, as everywhere in the audit.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), second order.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tokenry.core.report import Report
from tokenry.corpora.artifacts import compare_means, report_of
from tokenry.corpora.artifacts_labels import label_counts, majority_sets, minority_sets

__all__ = ["train_on_labels", "train_on_preferences"]

# Axes: N items, C classes.

Answer = Callable[[tuple[list[str], list[str]], list[str], int], np.ndarray]
"""((training texts, their labels), texts asked, seed) to probabilities (asked, labels in sorted order)."""


def linear_answers(examples: tuple[list[str], list[str]], asked: list[str], seed: int) -> np.ndarray:
    """Probabilities of the house's linear classifier on words and pairs of words."""
    from tokenry.corpora.linear import LinearClassifier

    texts, labels = examples
    if len(set(labels)) == 1:
        return np.ones((len(asked), 1))
    model = LinearClassifier.train(texts, labels, buckets=1 << 16, epochs=10, seed=seed, words="folded")
    probabilities = np.asarray(model.probabilities(asked))
    return probabilities[:, [list(model.classes).index(label) for label in sorted(set(labels))]]


def train_on_labels(
    human: ArrayLike,
    synthetic: ArrayLike,
    *,
    texts: Sequence[str],
    folds: int = 5,
    answers: Answer = linear_answers,
    seed: int = 0,
) -> Report:
    """Train on people's and on models' labels; how often does each say what most, and what fewest, people say?

    Args:
        human: whole numbers (N, A), -1 for missing.
        synthetic: (N, B), the same items in the same order.
        texts: of the items; every label of a text is an example.
        folds: of the cross-validation.
        answers: the classifier.
        seed: of the folds and of it.

    Raises:
        ValueError: shapes that do not fit, or fewer items than folds.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    sides = [np.asarray(human), np.asarray(synthetic)]
    if any(side.ndim != 2 or len(side) != len(texts) for side in sides):
        raise ValueError(f"labels of shape {sides[0].shape} and {sides[1].shape}, {len(texts)} texts; need a text and "
                         "a row of labels on both sides for each item.")  # fmt: skip
    classes = np.unique(np.concatenate([side.ravel() for side in sides]))
    classes = classes[classes >= 0]
    counts_NC = label_counts(sides[0], classes)
    said = np.full((2, len(texts)), -1)
    for train, asked in _folds(len(texts), folds, seed):
        for place, side in enumerate(sides):
            pairs = [(texts[row], str(label)) for row in train for label in side[row] if label >= 0]
            if not pairs:
                raise ValueError("a fold has no label to train on; give more labelled items.")
            known = sorted({label for _, label in pairs})
            examples = ([text for text, _ in pairs], [label for _, label in pairs])
            made = answers(examples, [texts[row] for row in asked], seed)
            chosen = np.array(known, np.int64)[made.argmax(axis=1)]
            said[place, asked] = np.searchsorted(classes, chosen)
    findings = []
    for name, sets_NC in (("majority", majority_sets(counts_NC)), ("minority", minority_sets(counts_NC))):
        rows = np.flatnonzero(sets_NC.any(axis=1))
        hits = [sets_NC[rows, side[rows]].astype(float) for side in said]
        findings.append(compare_means(*hits, metric=f"trained.says_{name}", paired=True))
    findings += [
        compare_means(*(side == place for side in said), metric="trained.class_share", group=str(one), paired=True)
        for place, one in enumerate(classes)
    ]
    return report_of("training", findings, notes=_notes(folds))


def train_on_preferences(
    human: ArrayLike,
    synthetic: ArrayLike,
    *,
    pairs: Sequence[tuple[str, str]],
    folds: int = 5,
    answers: Answer = linear_answers,
    seed: int = 0,
) -> Report:
    """Train a reward model on people's and on models' choices; how often does each prefer what people prefer?

    A text that was chosen is an example of "good", the other of "bad"; of a new pair the text that is likelier good is
    preferred. Pairs that a side is undecided about (0.5) are not trained on, those that people are undecided about not
    asked.

    Args:
        human: (N,) how much people prefer the first text, 0 to 1; NaN for none.
        synthetic: the same of models.
        pairs: the texts.
        folds: of the cross-validation; pairs that share a text are in one fold.
        answers: the classifier.
        seed: of the folds and of it.

    Raises:
        ValueError: lists of different lengths, fewer groups of pairs than folds.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    sides = [np.asarray(human, np.float64), np.asarray(synthetic, np.float64)]
    if any(side.shape != (len(pairs),) for side in sides):
        raise ValueError(f"{len(sides[0])} and {len(sides[1])} choices, {len(pairs)} pairs; need one of each a pair.")
    gaps = np.full((2, len(pairs)), np.nan)
    groups = _groups(pairs)
    for train, asked in _folds(int(groups.max(initial=-1)) + 1, folds, seed):
        train, asked = np.flatnonzero(np.isin(groups, train)), np.flatnonzero(np.isin(groups, asked))
        for place, side in enumerate(sides):
            rows = [row for row in train if np.isfinite(side[row]) and side[row] != 0.5]
            if not rows:
                raise ValueError("a fold has no choice to train on; give more pairs.")
            texts = [text for row in rows for text in pairs[row]]
            labels = [label for row in rows for label in (("good", "bad") if side[row] > 0.5 else ("bad", "good"))]
            made = answers((texts, labels), [text for row in asked for text in pairs[row]], seed)[:, -1]
            gaps[place, asked] = made[::2] - made[1::2]
    known = np.isfinite(sides[0]) & (sides[0] != 0.5)
    hits = [np.where(gap[known] == 0, 0.5, (gap[known] > 0) == (sides[0][known] > 0.5)) for gap in gaps]
    finding = compare_means(*hits, metric="trained.prefers_what_people_prefer", paired=True)
    return report_of("training", [finding], notes=_notes(folds))


def _notes(folds: int) -> list[str]:
    return [f"'human' is trained on people's answers, 'synthetic' on the models'; people decide what is right. {folds} "
            "folds: every item is asked once, by a classifier that has not seen it."]  # fmt: skip


def _folds(n: int, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to ask, `folds` times."""
    if not 2 <= folds <= n:
        raise ValueError(f"{folds} folds of {n} items that share no text; need 2 folds or more and as many items.")
    parts = np.array_split(np.random.default_rng(seed).permutation(n), folds)
    for place, asked in enumerate(parts):
        yield np.sort(np.concatenate(parts[:place] + parts[place + 1 :])), np.sort(asked)


def _groups(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Number of the group of every pair; pairs that share a text, also by way of others, are in one."""
    above: dict[str, str] = {}

    def top(text: str) -> str:
        above.setdefault(text, text)
        while above[text] != text:
            above[text] = above[above[text]]
            text = above[text]
        return text

    for a, b in pairs:
        above[top(a)] = top(b)
    names: dict[str, int] = {}
    return np.array([names.setdefault(top(a), len(names)) for a, _ in pairs], np.int64)
