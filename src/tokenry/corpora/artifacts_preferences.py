"""Which of two texts is preferred, by people and by models: do surface words decide, and does entailment?

A style score of a text is the highest attribution of its words in a list of that style; of two texts the one that wins
most styles (more of a positive one, less of a negative one) is the one that words alone would prefer. How far choices
follow it is a correlation, for people and for models.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), section on preferences.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from tokenry.core.report import Report
from tokenry.core.splitting import sentences, words
from tokenry.corpora.artifacts import compare_resampled, report_of

__all__ = ["NEGATIVE", "POSITIVE", "audit_preferences", "entailment", "lexical_gap", "read_style"]

# Axes: N pairs.

POSITIVE = ("joy", "politeness", "positive_sentiment")
NEGATIVE = ("anger", "disgust", "fear", "offensiveness", "sadness", "negative_sentiment")
_MOST_LINES = 1_000_000

Style = Mapping[str, float]


def read_style(path: str | Path) -> dict[str, float]:
    """A list of attributions: word, tab, number, one a line; empty lines and those with # are passed over.

    Raises:
        FileNotFoundError: there is no such file. ValueError: a line is not so, or the list is too long.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no list of attributions at {path}; need lines of word, tab, number.")
    made: dict[str, float] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if number > _MOST_LINES:
                raise ValueError(f"{path} has more than {_MOST_LINES:,} lines; need a list of words.")
            if not line.strip() or line.startswith("#"):
                continue
            word, _, value = line.rstrip("\n").partition("\t")
            try:
                made[word.lower()] = float(value)
            except ValueError:
                raise ValueError(f"{path}, line {number}: {line[:60]!r}; need word, tab, number.") from None
            if not math.isfinite(made[word.lower()]):
                raise ValueError(f"{path}, line {number}: {value.strip()} is no number to compare with.")
    return made


def style_score(text: str, style: Style) -> float:
    """The highest attribution of a text's words, 0 without any on the list."""
    return max((style.get(word.lower(), 0.0) for word in words(text)), default=0.0)


def lexical_gap(pair: tuple[str, str], styles: Mapping[str, Style], signs: Mapping[str, int]) -> float:
    """Share of styles that speak for the first text less those for the second; above 0 words prefer the first."""
    (a, b), wins = pair, 0.0
    for name, style in styles.items():
        wins += signs[name] * np.sign(style_score(a, style) - style_score(b, style))
    return float(wins) / len(styles)


def signs_of(styles: Mapping[str, Style]) -> dict[str, int]:
    """+1 for a style that is liked, -1 for one that is not: the paper's nine by name, others as +name or -name.

    Raises:
        ValueError: a style that is neither.
    """
    made = {}
    for name in styles:
        plain = name.lstrip("+-")
        if name[:1] in "+-":
            made[name] = 1 if name[0] == "+" else -1
        elif plain in POSITIVE or plain in NEGATIVE:
            made[name] = 1 if plain in POSITIVE else -1
        else:
            from tokenry.core.choosing import suggest

            raise ValueError(
                f"style {name!r}: liked or not?{suggest(name, (*POSITIVE, *NEGATIVE))} Write +{name} or -{name}."
            )
    return made


def entailment(text: str, reference: str, entails: Callable[[list[str], str], Sequence[float]]) -> float:
    """The highest probability that the reference entails a sentence of a text; NaN without a sentence."""
    parts = [one.strip() for one in sentences(text) if one.strip()]
    return float(max(entails(parts, reference))) if parts else math.nan


def audit_preferences(
    human: ArrayLike,
    synthetic: ArrayLike,
    *,
    pairs: Sequence[tuple[str, str]],
    styles: Mapping[str, Style] | None = None,
    references: Sequence[str] | None = None,
    entails: Callable[[list[str], str], Sequence[float]] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Report:
    """Compare choices between the same pairs of texts.

    Args:
        human: (N,) how much people prefer the first text: 1 or 0, or a share of them; NaN for none.
        synthetic: the same of models.
        pairs: the texts.
        styles: name -> word -> attribution; see `signs_of` for the names.
        references: with `entails`, an answer that is known to be good, for each pair.
        entails: (sentences, reference) to a probability for each sentence.
        resamples: of the bootstrap over pairs.
        seed: of it.

    Raises:
        ValueError: lists of different lengths, or neither styles nor entailment.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    choices = np.stack([np.asarray(human, np.float64), np.asarray(synthetic, np.float64)])
    if choices.shape[1] != len(pairs) or (references is not None and len(references) != len(pairs)):
        raise ValueError(f"{choices.shape[1]} choices, {len(pairs)} pairs; need one choice of each side for a pair.")
    if not styles and entails is None:
        raise ValueError("nothing to look for; give lists of styles (--style joy=joy.tsv), or an entailment model.")
    gaps = _gaps(pairs, styles or {}, references, entails)
    findings = [
        compare_resampled(_correlations(gap, choices), len(pairs), metric=f"{name}.correlation", resamples=resamples,
                          seed=seed)
        for name, gap in gaps.items()
    ]  # fmt: skip
    single = {"metric": [], "side": [], "pearson": [], "p": [], "n": []}
    for name, gap in gaps.items():
        for side, choice in zip(("human", "synthetic"), choices, strict=True):
            for column, value in zip(single, (name, side, *_pearson(gap, choice)), strict=True):
                single[column].append(value)
    made = {"correlations": pa.table(single)}
    if styles:
        made["deciles"] = _deciles(gaps["lexical"], choices)
    return report_of("preferences", findings, tables=made)


def _gaps(
    pairs: Sequence[tuple[str, str]],
    styles: Mapping[str, Style],
    references: Sequence[str] | None,
    entails: Callable[[list[str], str], Sequence[float]] | None,
) -> dict[str, np.ndarray]:
    """What speaks for the first text of each pair, more than for the second."""
    gaps: dict[str, np.ndarray] = {}
    if styles:
        signs = signs_of(styles)
        gaps["lexical"] = np.array([lexical_gap(pair, styles, signs) for pair in pairs])
        for name, style in styles.items():
            each = [style_score(a, style) - style_score(b, style) for a, b in pairs]
            gaps[f"style.{name}"] = signs[name] * np.array(each)
    if entails is not None:
        if references is None:
            raise ValueError("an entailment model and no references; give an answer known to be good for each pair.")
        gaps["entailment"] = np.array(
            [entailment(a, r, entails) - entailment(b, r, entails)
             for (a, b), r in zip(pairs, references, strict=True)]
        )  # fmt: skip
    longer = [len(a) - len(b) for a, b in pairs]
    gaps["length"] = np.array(longer, np.float64)
    return gaps


def _pearson(gap: np.ndarray, choice: np.ndarray) -> tuple[float, float, int]:
    from scipy.stats import pearsonr

    rows = np.isfinite(gap) & np.isfinite(choice)
    if rows.sum() < 3 or np.ptp(gap[rows]) == 0 or np.ptp(choice[rows]) == 0:
        return math.nan, math.nan, int(rows.sum())
    found = pearsonr(gap[rows], choice[rows])
    return float(found.statistic), float(found.pvalue), int(rows.sum())


def _correlations(gap: np.ndarray, choices: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
    def statistic(rows: np.ndarray) -> tuple[float, float]:
        made = []
        for choice in choices:
            x, y = gap[rows], choice[rows]
            kept = np.isfinite(x) & np.isfinite(y)
            x, y = x[kept] - x[kept].mean(), y[kept] - y[kept].mean()
            scale = math.sqrt(float(x @ x) * float(y @ y))
            made.append(float(x @ y) / scale if scale > 0 else math.nan)
        return made[0], made[1]

    return statistic


def _deciles(gap: np.ndarray, choices: np.ndarray) -> pa.Table:
    """How often the first text is preferred, from the tenth of pairs whose words speak least for it upwards."""
    rows = np.array_split(np.argsort(gap, kind="stable"), 10)
    rows = [one for one in rows if len(one)]

    def mean(values: np.ndarray) -> float:
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else math.nan

    return pa.table({
        "tenth": np.arange(1, len(rows) + 1), "mean gap": [float(gap[one].mean()) for one in rows],
        "human prefers first": [mean(choices[0][one]) for one in rows],
        "synthetic prefers first": [mean(choices[1][one]) for one in rows],
        "n": [len(one) for one in rows],
    })  # fmt: skip
