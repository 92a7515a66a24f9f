"""What synthetic data do to a model trained on them: the second order of the audit.

The same small model is trained on human text, on synthetic text and on mixtures of the same size, several times, and
measured on human text held out: over all of it, and over the documents with the most rare words, because what is lost
first is the minority. The model is a byte n-gram model, or any function of yours.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), second order.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.report import Report
from tokenry.corpora.artifacts import Finding, compare_means, report_of
from tokenry.corpora.artifacts_text import Reference, TextSide

__all__ = ["second_order", "train_ngrams"]

TrainEval = Callable[[list[str], list[str], int], np.ndarray]
"""(training texts, test texts, seed) to a loss for each test text, lower is better."""


def train_ngrams(train: list[str], test: list[str], seed: int) -> np.ndarray:
    """Bits per byte of each test text under a byte n-gram model (order 5) of the training texts."""
    from tokenry.corpora.ngram_lm import ByteNgrams

    return ByteNgrams.train(train, order=5).bits_per_byte(test)


def second_order(
    human: Sequence[str],
    synthetic: Sequence[str],
    test: Sequence[str],
    *,
    ratios: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    n_train: int | None = None,
    repeats: int = 5,
    train_eval: TrainEval = train_ngrams,
    seed: int = 0,
) -> Report:
    """Train on human text, on mixtures and on synthetic text; measure on human text.

    Args:
        human: texts by people to train on.
        synthetic: texts by a model.
        test: texts by people held out.
        ratios: shares of synthetic text (by characters) in the mixtures.
        n_train: characters of every training set; all that the smaller side has when not given.
        repeats: training sets drawn for each ratio; those of one number share their human order.
        train_eval: the model.
        seed: of the draws.

    Raises:
        ValueError: a ratio outside [0, 1], no texts, fewer than 2 repeats, or a text of the test in training.

    The interval is over repeats (draws of training text), paired with pure human training of the same draw.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    if not all(0 <= ratio <= 1 for ratio in ratios) or repeats < 2 or not (human and synthetic and test):
        raise ValueError(f"ratios={list(ratios)}, repeats={repeats}, {len(human)} human, {len(synthetic)} synthetic, "
                         f"{len(test)} test texts; need shares from 0 to 1, 2 repeats or more, and texts.")  # fmt: skip
    if both := set(test) & (set(human) | set(synthetic)):
        raise ValueError(f"{len(both)} test texts are in training too; take them out first (corpus decontaminate).")
    size = n_train or int(0.8 * min(sum(map(len, human)), sum(map(len, synthetic))))
    rare = _rarest(human, list(test))
    losses: dict[float, np.ndarray] = {}
    for ratio in sorted({0.0, *ratios}):
        rows = []
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, repeat])
            train = _drawn(human, size * (1 - ratio), rng) + _drawn(synthetic, size * ratio, rng)
            loss = np.asarray(train_eval(train, list(test), seed + repeat), np.float64)
            rows.append([np.nanmean(loss), np.nanmean(loss[rare]), np.nanmean(loss[~rare])])
        losses[ratio] = np.array(rows)
    findings = _costs(losses)
    curve = pa.table({
        "synthetic share": sorted(losses), "loss": [float(losses[r][:, 0].mean()) for r in sorted(losses)],
        "deviation": [float(losses[r][:, 0].std(ddof=1)) for r in sorted(losses)], "repeats": [repeats] * len(losses),
    })  # fmt: skip
    notes = [f"{size:,} characters of training text each; {int(rare.sum())} of {len(test)} test texts count as rare.",
             "In this table 'human' is trained on human text alone and 'synthetic' on the mixture."]  # fmt: skip
    return report_of("training", findings, tables={"curve": curve}, notes=notes)


def _costs(losses: dict[float, np.ndarray]) -> list[Finding]:
    """Loss of every mixture against that of human text alone, by repeat."""
    findings: list[Finding] = []
    for ratio in sorted(losses):
        if ratio:
            for place, name in enumerate(("all", "rare words", "common words")):
                one = compare_means(losses[0.0][:, place], losses[ratio][:, place], metric="loss", paired=True,
                                    group=f"{ratio:.0%} synthetic, {name}")  # fmt: skip
                findings.append(one)
            extra = [losses[r][:, 1] - losses[r][:, 2] for r in (0.0, ratio)]
            findings.append(compare_means(*extra, metric="loss on rare less loss on common words", paired=True,
                                          group=f"{ratio:.0%} synthetic"))  # fmt: skip
    return findings


def _rarest(human: Sequence[str], test: list[str]) -> np.ndarray:
    """The third of the test texts with the largest share of words that are not common in human text."""
    shares = TextSide(test, Reference.of(human)).features["rare.words"]
    shares = np.where(np.isfinite(shares), shares, -math.inf)
    made = np.zeros(len(test), bool)
    made[np.argsort(-shares, kind="stable")[: max(1, len(test) // 3)]] = True
    return made


def _drawn(texts: Sequence[str], size: float, rng: np.random.Generator) -> list[str]:
    """Texts in a random order up to a number of characters, the last one cut."""
    made, left = [], int(size)
    for place in rng.permutation(len(texts)):
        if left <= 0:
            break
        made.append(texts[place][:left])
        left -= len(texts[place])
    return made
