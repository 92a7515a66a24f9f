"""What a selection did: documents and volume by the rule that dropped them, and by source."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenry.core.report import Figure, Report

__all__ = ["BUDGET", "KEPT", "Counted", "selection_report"]

KEPT, BUDGET = "kept", "over the budget"


@dataclass(frozen=True, eq=False)
class Counted:
    """The decision about every document, as arrays.

    Attributes:
        broken_N: int64, a bit for each rule that is broken.
        first_N: int64, the place of the reason: a rule, then kept, then over the budget.
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


def selection_report(counted: Counted, rules: Mapping[str, str], unit: str) -> Report:
    """Tables of what each rule dropped (in order, and alone) and of what is left of each source.

    Args:
        counted: the decisions.
        rules: name -> rule, in the order in which they name the reason.
        unit: the unit of the sizes.
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
    reasons = _reasons(counted, rules, unit)
    points = [(row["reason"], row["documents"]) for row in reasons]
    share = after / before if before else 0.0
    return Report(
        kind="selection",
        title="Selected documents",
        facts=facts,
        tables={"reasons": pa.Table.from_pylist(reasons), "sources": _by_source(counted, unit)},
        figures=[Figure("bar", "Documents by reason", "reason", "documents", {"documents": points})],
        verdict=f"{int(kept_N.sum()):,} of {len(size_N):,} documents are kept, {share:.1%} of the {unit}.",
        warnings=warnings,
        notes=[
            "The reason of a document is the first rule it breaks. 'broken' counts all that break the rule, 'alone' "
            "those that break no other: what would come back without it.",
        ],
    )


def _reasons(counted: Counted, rules: Mapping[str, str], unit: str) -> list[dict[str, object]]:
    rows = []
    for place, name in enumerate([*rules, KEPT, BUDGET]):
        mine = counted.first_N == place
        if name == BUDGET and not mine.any():
            continue
        bit = 1 << place
        is_rule = name in rules
        rows.append(
            {
                "reason": name,
                "rule": rules.get(name, ""),
                "documents": int(mine.sum()),
                unit: float(counted.size_N[mine].sum()),
                "broken": int(((counted.broken_N & bit) > 0).sum()) if is_rule else None,
                "alone": int((counted.broken_N == bit).sum()) if is_rule else None,
            }
        )
    return rows


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
