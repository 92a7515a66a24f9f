"""How synthetic data differ from human data of the same kind: one table, whatever the kind.

`artifact_battery(kind, human, synthetic)` compares labels, preferences, instructions, dialogues or free text. Every
audit gives `Finding`s, each one difference (synthetic less human) with its interval and test, and `table_of` lays them
in one tidy table with p values corrected for their number (Benjamini and Hochberg, 1995).

The unit of resampling and of tests is always the item (a text, a pair, a dialogue), never a single label or word. What
happens when a model is trained on each side is in `artifacts_training`.

Papers: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from tokenry.core.choosing import resolve
from tokenry.core.report import Report

__all__ = ["KINDS", "Finding", "artifact_battery", "compare_means", "compare_resampled", "report_of", "table_of"]

KINDS = {
    "labels": "tokenry.corpora.artifacts_labels:audit_labels",
    "preferences": "tokenry.corpora.artifacts_preferences:audit_preferences",
    "instructions": "tokenry.corpora.artifacts_instructions:audit_instructions",
    "dialogues": "tokenry.corpora.artifacts_dialogues:audit_dialogues",
    "text": "tokenry.corpora.artifacts_text:audit_text",
}
"""Kind of data -> its audit."""

LEVEL = 0.95


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        metric: what was measured.
        group: on which part: "all", "raw", "length-matched", a class, a turn.
        human: its value on human data.
        synthetic: its value on synthetic data.
        difference: synthetic less human.
        low: lower end of the 95 % interval of the difference, NaN where it cannot be known.
        high: upper end.
        n: items behind it, both sides together unless they are the same items.
        test: how p was found; "" where there is none.
        p: probability of so large a difference by chance, uncorrected.
    """

    metric: str
    group: str
    human: float
    synthetic: float
    difference: float
    low: float
    high: float
    n: int
    test: str
    p: float


def table_of(findings: Sequence[Finding]) -> pa.Table:
    """The tidy table, one row a finding, with `p_adjusted` (Benjamini-Hochberg over all that have a p)."""
    from scipy.stats import false_discovery_control

    columns = list(zip(*map(astuple, findings), strict=True)) or [()] * len(fields(Finding))
    names = [one.name for one in fields(Finding)]
    kinds = {"metric": pa.string(), "group": pa.string(), "test": pa.string(), "n": pa.int64()}
    p = np.array(columns[names.index("p")], np.float64)
    adjusted = np.full(len(p), math.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = false_discovery_control(p[known])
    table = {
        name: pa.array(list(column), kinds.get(name, pa.float64())) for name, column in zip(names, columns, strict=True)
    }
    return pa.table({**table, "p_adjusted": pa.array(adjusted)})


def compare_means(
    human: ArrayLike, synthetic: ArrayLike, *, metric: str, group: str = "all", paired: bool = False
) -> Finding:
    """The difference of two means with a t interval: Welch's for different items, paired for the same items.

    Args:
        human: one value an item; NaN where the metric gives none, left out (with its pair).
        synthetic: the same.
        metric, group: how to call it.
        paired: the two lists are of the same items in the same order.

    Raises:
        ValueError: paired lists of different lengths.
    """
    from scipy import stats

    h, s = np.asarray(human, np.float64), np.asarray(synthetic, np.float64)
    if paired:
        if h.shape != s.shape:
            raise ValueError(f"{len(h)} human and {len(s)} synthetic values of {metric}; pairs need as many of both.")
        both = np.isfinite(h) & np.isfinite(s)
        h, s = h[both], s[both]
    else:
        h, s = h[np.isfinite(h)], s[np.isfinite(s)]
    test = "paired t" if paired else "Welch t"
    n = len(h) if paired else len(h) + len(s)
    if min(len(h), len(s)) == 0:
        means = [float(one.mean()) if len(one) else math.nan for one in (h, s)]
        return Finding(metric, group, *means, math.nan, math.nan, math.nan, n, "", math.nan)
    difference = float(s.mean() - h.mean())
    known = (h.mean(), s.mean(), difference)
    spread = np.ptp(s - h) if paired else np.ptp(h) + np.ptp(s)
    # Spread at the level of rounding is none.
    if min(len(h), len(s)) < 2 or spread <= 1e-12 * max(np.abs(h).max(), np.abs(s).max()):
        # Nothing varies, so nothing is known of the error.
        return Finding(metric, group, *map(float, known), math.nan, math.nan, n, "", math.nan)
    with warnings.catch_warnings():
        # One side that hardly varies is no trouble: the other one does.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = stats.ttest_rel(s, h) if paired else stats.ttest_ind(s, h, equal_var=False)
        interval = found.confidence_interval(LEVEL)
    return Finding(metric, group, *map(float, known), float(interval.low), float(interval.high), n, test,
                   float(found.pvalue))  # fmt: skip


def compare_resampled(
    statistic: Callable[[np.ndarray], tuple[float, float]],
    n: int,
    *,
    metric: str,
    group: str = "all",
    resamples: int = 500,
    seed: int = 0,
) -> Finding:
    """The difference of two values of any kind, with a bootstrap over items.

    Args:
        statistic: rows of items (with repeats) to (human, synthetic).
        n: items.
        metric, group: how to call it.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if n == 0:
        return Finding(metric, group, *([math.nan] * 5), 0, "", math.nan)
    human, synthetic = map(float, statistic(np.arange(n)))
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(n, size=n)) for _ in range(resamples)] if n > 1 else []
    differences = np.array([s - h for h, s in drawn], np.float64)
    differences = differences[np.isfinite(differences)]
    difference = synthetic - human
    if len(differences) < 20 or not math.isfinite(difference) or np.ptp(differences) == 0:
        return Finding(metric, group, human, synthetic, difference, math.nan, math.nan, n, "", math.nan)
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = min(np.sum(differences <= 0), np.sum(differences >= 0))
    p = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Finding(metric, group, human, synthetic, difference, float(low), float(high), n, "bootstrap over items", p)


def report_of(
    kind: str,
    findings: Sequence[Finding],
    *,
    tables: dict[str, pa.Table] | None = None,
    cautions: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """A report whose first table is the tidy one."""
    table = table_of(findings)
    adjusted = np.asarray(table["p_adjusted"].to_numpy(zero_copy_only=False), np.float64)
    tested, told = int(np.isfinite(adjusted).sum()), int(np.sum(adjusted < 0.05))
    names = [f"{one.metric} ({one.group})" for one, p in zip(findings, adjusted, strict=True) if p < 0.05]
    shown = f": {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else ""
    return Report(
        f"corpus-artifacts-{kind}", f"Synthetic {kind} against human {kind}",
        facts={"tested": tested, "differ": told},
        tables={"differences": table, **(tables or {})},
        verdict=f"{told} of {tested} tested differences are more than chance (p adjusted below 0.05){shown}.",
        warnings=list(cautions),
        notes=["Difference is synthetic less human, with a 95 % interval; p_adjusted is Benjamini-Hochberg.", *notes],
    )  # fmt: skip


def artifact_battery(kind: str, human: object, synthetic: object, **options: object) -> Report:
    """Compare synthetic with human data of a kind.

    Args:
        kind: one of `KINDS`, or a function of your own that gives a Report.
        human: what the audit of this kind takes: see its function.
        synthetic: the same.
        options: of that function.

    Raises:
        ValueError: an unknown kind; data that the audit cannot read.

    Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698).
    """
    return resolve(kind, KINDS, kind="kind of data")(human, synthetic, **options)
