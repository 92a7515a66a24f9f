"""What a selection did: documents and volume by the rule that dropped them, and by source."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenry.core.report import Figure, Report

__all__ = [
    "BUDGET",
    "CAP",
    "KEPT",
    "NOISE",
    "NO_CELL",
    "NO_SCORE",
    "NO_SIZE",
    "OUTCOMES",
    "Counted",
    "selection_report",
]

KEPT, BUDGET, CAP, NOISE = "kept", "over the budget", "over the cap", "not drawn by the noisy threshold"
NO_SCORE, NO_SIZE, NO_CELL = "no score", "no size", "no value to share the budget by"
# Axes: N documents, R rules, M different sets of broken rules.

OUTCOMES = (KEPT, BUDGET, CAP, NOISE, NO_SCORE, NO_SIZE, NO_CELL)
"""What becomes of a document that holds every rule."""
_MOST_PAIRS = 40


@dataclass(frozen=True, eq=False)
class Counted:
    """The decision about every document, as arrays.

    Attributes:
        broken_N: int64, a bit for each rule that is broken.
        first_N: int64, the place of the reason: the rules, then `OUTCOMES`.
        copies_N: int64, how often it is kept.
        size_N: float64, in the unit of the budget.
        source_N: int64, its source.
        sources: the names of the sources.
    """

    broken_N: np.ndarray
    first_N: np.ndarray
    copies_N: np.ndarray
    size_N: np.ndarray
    source_N: np.ndarray
    sources: list[str]


def selection_report(counted: Counted, rules: Mapping[str, str], unit: str, *, budget: float | None = None) -> Report:
    """Tables of what each rule dropped (in order, and alone) and of what is left of each source.

    Args:
        counted: the decisions.
        rules: name -> rule, in the order in which they name the reason.
        unit: the unit of the sizes.
        budget: what was asked for, to say when it is not reached.
    """
    size_N, kept_N = counted.size_N, counted.copies_N > 0
    before, after = float(size_N.sum()), float((size_N * counted.copies_N).sum())
    facts = {"documents": len(size_N), "kept": int(kept_N.sum()), f"{unit}.before": before, f"{unit}.kept": after}
    warnings = []
    if (most := int(counted.copies_N.max(initial=0))) > 1:
        facts |= {"repeated": int((counted.copies_N > 1).sum()), "copies_most": most}
        warnings.append(f"documents are repeated up to {most} times to fill a quota.")
    if not kept_N.any():
        warnings.append("nothing is kept. Look at the reasons: a rule may ask for what no document has.")
    elif budget is not None and after < budget:
        warnings.append(f"only {after:,.0f} of the {budget:,.0f} {unit} asked for are kept. The reasons say why.")
    reasons = _reasons(counted, rules, unit)
    points = [(row["reason"], row["documents"]) for row in reasons]
    share = after / before if before else 0.0
    tables = {"reasons": pa.Table.from_pylist(reasons), "sources": _by_source(counted, unit)}
    notes = [
        "The reason of a document is the first rule it breaks. 'broken' counts all that break the rule, 'alone' those "
        "that break no other: what would come back without it."
    ]
    if overlaps := _overlaps(counted, list(rules)):
        tables["overlap of rules"] = pa.Table.from_pylist(overlaps[:_MOST_PAIRS])
        notes.append("Overlap: documents that break both rules, over those that break either (Jaccard).")
        if len(overlaps) > _MOST_PAIRS:
            notes.append(f"Of {len(overlaps)} pairs of rules that overlap the {_MOST_PAIRS} strongest are shown.")
    return Report(
        kind="selection",
        title="Selected documents",
        facts=facts,
        tables=tables,
        figures=[Figure("bar", "Documents by reason", "reason", "documents", {"documents": points})],
        verdict=f"{int(kept_N.sum()):,} of {len(size_N):,} documents are kept, {share:.1%} of the {unit}.",
        warnings=warnings,
        notes=notes,
    )


def _reasons(counted: Counted, rules: Mapping[str, str], unit: str) -> list[dict[str, object]]:
    rows, total = [], max(float(counted.size_N.sum()), 1e-300)
    for place, name in enumerate([*rules, *OUTCOMES]):
        mine_N = counted.first_N == place
        is_rule = place < len(rules)
        if not (is_rule or name == KEPT or mine_N.any()):
            continue
        breaks_N = (counted.broken_N & (1 << place)) > 0 if is_rule else None
        rows.append(
            {
                "reason": name,
                "rule": rules[name] if is_rule else "",
                "documents": int(mine_N.sum()),
                unit: float(counted.size_N[mine_N].sum()),
                "broken": int(breaks_N.sum()) if is_rule else None,
                f"share of {unit} broken": float(counted.size_N[breaks_N].sum()) / total if is_rule else None,
                "alone": int((counted.broken_N == 1 << place).sum()) if is_rule else None,
            }
        )
    return rows


def _overlaps(counted: Counted, rules: list[str]) -> list[dict[str, object]]:
    """Pairs of rules that some document breaks both of, the most alike first."""
    masks_M, counts_M = np.unique(counted.broken_N, return_counts=True)
    breaks_MR = (masks_M[:, None] >> np.arange(len(rules))) & 1
    both_RR = breaks_MR.T @ (counts_M[:, None] * breaks_MR)
    alone_R = both_RR.diagonal()
    rows = [
        {"rule": rules[a], "other": rules[b], "both": int(both_RR[a, b]),
         "overlap": float(both_RR[a, b] / (alone_R[a] + alone_R[b] - both_RR[a, b]))}
        for a in range(len(rules)) for b in range(a + 1, len(rules)) if both_RR[a, b]
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["overlap"], -row["both"], row["rule"], row["other"]))


def _by_source(counted: Counted, unit: str) -> pa.Table:
    n = len(counted.sources)
    kept_size_N = counted.size_N * counted.copies_N
    sizes = np.bincount(counted.source_N, weights=counted.size_N, minlength=n)
    kept = np.bincount(counted.source_N, weights=kept_size_N, minlength=n)
    return pa.table(
        {
            "source": pa.array(counted.sources, pa.string()),
            "documents": np.bincount(counted.source_N, minlength=n),
            "kept": np.bincount(counted.source_N[counted.copies_N > 0], minlength=n),
            f"{unit} before": sizes / max(sizes.sum(), 1e-300),
            f"{unit} kept": kept / max(kept.sum(), 1e-300),
        }
    )
