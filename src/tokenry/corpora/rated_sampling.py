"""Take the best-rated documents within a budget, whole or by domain and source, and say what each part got.

The budget is split among cells, then the best of each cell are taken without replacement; a cell that is too small may
be repeated, and is then named with its number of epochs.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363), section on sampling and its
released code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.report import Report
from tokenry.corpora.mechanisms import by_cell, cell_budgets

# Axes: N documents, C cells.

__all__ = ["STRATEGIES", "Sample", "sample"]

STRATEGIES = ("uniform", "org_domain", "equi_domain", "multi_domain", "none")
_NO_DOMAIN = "(none)"


@dataclass(frozen=True, eq=False)
class Sample:
    """What a strategy takes.

    Attributes:
        copies_N: how often each document is taken, 0 for never.
        report: what each cell had, was given and got, and how often its documents are repeated.
    """

    copies_N: np.ndarray
    report: Report


def sample(
    metric_N: np.ndarray,
    size_N: np.ndarray,
    *,
    budget: float,
    strategy: str = "org_domain",
    domain_N: Sequence[str | None] | None = None,
    source_N: Sequence[str | None] | None = None,
    among_N: np.ndarray | None = None,
    repeat: bool = False,
    exact: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> Sample:
    """Take the documents of the highest metric within a budget.

    What is taken weighs at least the budget (if there is enough) and less than the budget and the largest document;
    every cell keeps its share to within a document. Documents without a metric (NaN) are never taken.

    Args:
        metric_N: a score, an expected score, or a sum of scores. Equal ones come in random order.
        size_N: tokens, or estimates of them when `exact` is given.
        budget: how much to take, in the unit of the sizes.
        strategy: "uniform": one cell; "org_domain": a cell for each domain, budgets in proportion to its size;
            "equi_domain": equal budgets; "multi_domain": in proportion to each source, within it to each domain;
            "none": all documents.
        domain_N, source_N: names; null is a cell of its own. Needed where the strategy looks at them.
        among_N: bool, documents that may be taken (scores and domains that are wanted); None for all.
        repeat: take documents of a short cell several times; else the cell stays short.
        exact: places -> exact sizes, where sizes are estimates: a tenth more is taken by the estimates, and cut by the
            exact sizes, so only what may be kept has to be counted.
        seed: of the order of ties.

    Raises:
        ValueError: an unknown strategy, no domains or sources where they are needed, arrays of different lengths.
    """
    metric_N = np.array(metric_N, np.float64)
    size_N = np.asarray(size_N, np.float64)
    if strategy not in STRATEGIES:
        raise ValueError(
            f"no strategy {strategy!r}.{suggest(strategy, STRATEGIES)} Need one of {', '.join(STRATEGIES)}."
        )
    if among_N is not None:
        metric_N[~np.asarray(among_N, bool)] = np.nan
    # What may not be taken counts for no cell either: shares are those of the documents that may.
    counted_N = np.where(np.isnan(metric_N), 0.0, size_N)
    cell_N, names = _cells(strategy, len(metric_N), domain_N, source_N)
    held_C = np.bincount(cell_N, weights=counted_N, minlength=len(names))
    if strategy == "none":
        copies_N, budgets_C = (~np.isnan(metric_N)).astype(np.int64), held_C
    elif not held_C.sum():
        copies_N, budgets_C = np.zeros(len(metric_N), np.int64), np.zeros(len(names))
    else:
        budgets_C = cell_budgets(held_C, budget, "equal" if strategy == "equi_domain" else "proportional")
        if exact is not None:
            likely = np.flatnonzero(_by_cell(metric_N, size_N, cell_N, budgets_C * 1.1, repeat=repeat, seed=seed))
            metric_N[np.setdiff1d(np.arange(len(metric_N)), likely)] = np.nan
            size_N = np.zeros(len(metric_N))
            size_N[likely] = exact(likely)
        copies_N = _by_cell(metric_N, size_N, cell_N, budgets_C, repeat=repeat, seed=seed)
    return Sample(copies_N, _report(strategy, copies_N, size_N, cell_N, names, held_C=held_C, budgets_C=budgets_C))


def _by_cell(
    metric_N: np.ndarray, size_N: np.ndarray, cell_N: np.ndarray, budgets_C: np.ndarray, *, repeat: bool, seed: int
) -> np.ndarray:
    """`mechanisms.by_cell`, with what one cell takes too much taken off the next: the sum keeps to the budget too."""
    copies_N, over = np.zeros(len(metric_N), np.int64), 0.0
    for cell, budget in enumerate(budgets_C):
        mine = np.flatnonzero(cell_N == cell)
        left = max(0.0, budget - over)
        took = by_cell(
            metric_N[mine], size_N[mine], np.zeros(len(mine), np.int64), budgets_C=np.array([left]), repeat=repeat,
            seed=seed + cell,
        )  # fmt: skip
        copies_N[mine] = took
        # A cell that is short leaves nothing to the others: their shares stay what they are.
        over = max(0.0, over + float((took * size_N[mine]).sum()) - budget)
    return copies_N


def _cells(
    strategy: str, n: int, domain_N: Sequence[str | None] | None, source_N: Sequence[str | None] | None
) -> tuple[np.ndarray, list[str]]:
    if strategy in ("uniform", "none"):
        return np.zeros(n, np.int64), ["all"]
    columns: list[Sequence[str | None]] = []
    for name, column, needed in (("source", source_N, strategy == "multi_domain"), ("domain", domain_N, True)):
        if needed and (column is None or len(column) != n):
            got = "none" if column is None else len(column)
            raise ValueError(f"the strategy {strategy!r} needs a {name} for each of {n:,} documents, got {got}.")
        if needed:
            columns.append(column)
    keys = [tuple(_NO_DOMAIN if part is None else str(part) for part in row) for row in zip(*columns, strict=True)]
    known = sorted(set(keys))
    places: Mapping[tuple[str, ...], int] = {key: place for place, key in enumerate(known)}
    return np.fromiter((places[key] for key in keys), np.int64, n), [" / ".join(key) for key in known]


def _report(
    strategy: str,
    copies_N: np.ndarray,
    size_N: np.ndarray,
    cell_N: np.ndarray,
    names: list[str],
    *,
    held_C: np.ndarray,
    budgets_C: np.ndarray,
) -> Report:
    n_cells = len(names)
    taken_C = np.bincount(cell_N, weights=copies_N * size_N, minlength=n_cells)
    documents_C = np.bincount(cell_N, weights=(copies_N > 0), minlength=n_cells).astype(np.int64)
    most_C = np.zeros(n_cells, np.int64)
    np.maximum.at(most_C, cell_N, copies_N)
    table = pa.table({
        "cell": names, "held": held_C, "budget": budgets_C, "taken": taken_C, "documents": documents_C,
        "most copies": most_C,
        "epochs": np.divide(taken_C, held_C, out=np.zeros(n_cells), where=held_C > 0),
    })  # fmt: skip
    facts = {"strategy": strategy, "taken": float(taken_C.sum()), "documents": int(documents_C.sum()),
             "documents taken more than once": int((copies_N > 1).sum())}  # fmt: skip
    report = Report("corpus sample", f"sampled by {strategy}", facts, {"cells": table})
    if repeated := [
        f"{names[cell]} ({table['epochs'][cell].as_py():.1f} epochs)" for cell in np.flatnonzero(most_C > 1)
    ]:
        report.warnings.append(f"too small for their budget and repeated: {', '.join(repeated[:10])}.")
    largest = float(size_N.max(initial=0.0))
    if short := [names[cell] for cell in np.flatnonzero(taken_C + largest < budgets_C)]:
        report.warnings.append(f"too small for their budget, which is not met: {', '.join(short[:10])}.")
    return report
