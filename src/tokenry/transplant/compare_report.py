"""The report of a comparison of row methods: ranks after equal training, controls, curves, and what step 0 is worth.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); the comparison is ours.
"""

from pathlib import Path

import pyarrow as pa

from tokenry.core.intervals import Interval, bootstrap_interval
from tokenry.core.numerics import kendall_tau
from tokenry.core.report import Figure, Report
from tokenry.transplant.comparing_methods import TRAINED, UNTOUCHED, CompareConfig, Trial, pooled

NOT_BY_STEP_ZERO = (
    "Bits per byte at step 0 must not rank the methods: a start that commits to nothing can score best before training "
    "and learn worst. The ranks are those after equal training."
)


def compare_report(
    trials: list[Trial], skipped: dict[str, str], *, config: CompareConfig, name: str, target: str
) -> Report:
    """Rank the methods by bits per byte after training, over all domains that were trained on.

    Args:
        trials: of every method and both controls, one for each seed.
        skipped: method -> why it was left out.
        config: as they were run. name, target: of model and tokenizer.

    Returns:
        Report with tables "methods" (ranked; changes against the best are paired over documents), "domains",
        "skipped"; a figure of the curves; the rank correlation of step 0 with after training.
    """
    by_name: dict[str, list[Trial]] = {}
    for trial in trials:
        by_name.setdefault(trial.method, []).append(trial)
    parts = list(trials[0].before)
    trained_on = [part for part in parts if not part.endswith(" (general)")]
    methods = [key for key in by_name if key not in (UNTOUCHED, TRAINED)]
    after = {key: pooled(by_name[key], "after", trained_on) for key in by_name}
    before = {key: pooled(by_name[key], "before", trained_on) for key in by_name}
    value = {key: scores.bits_per_byte().value for key, scores in after.items()}
    value_before = {key: scores.bits_per_byte().value for key, scores in before.items()}
    ranked = sorted(methods, key=value.get)
    best = ranked[0]
    changes = {key: after[key].change_from(after[best]) for key in by_name}
    level = [key for key in ranked[1:] if changes[key].low <= 0]
    rows = []
    for place, key in enumerate([*ranked, TRAINED, UNTOUCHED]):
        row = {"rank": place + 1 if key in methods else None, "method": key}
        row |= {"step 0": value_before[key]} | _columns("after", after[key].bits_per_byte())
        row |= _columns("worse than best by", changes[key])
        row |= _seed_columns(by_name[key], trained_on)
        row |= {"CPU seconds to plan": round(sum(t.plan_seconds for t in by_name[key]) / len(by_name[key]), 2)}
        rows.append(row)
    report = Report("transplant-compare", f"{Path(name).name} to the tokens of {target}: {len(methods)} methods")
    report.tables["methods"] = pa.Table.from_pylist(rows)
    report.tables["domains"] = pa.Table.from_pylist(_domains(by_name, [*ranked, TRAINED, UNTOUCHED], parts))
    if skipped:
        report.tables["skipped"] = pa.table({"method": list(skipped), "why": list(skipped.values())})
    report.facts = {"best": best, "level_with_best": ", ".join(level), "methods": len(methods), "skipped": len(skipped)}
    report.facts |= {"steps": config.heal.steps, "seeds": config.seeds, "units": len(after[best].nats)}
    report.facts["bits_per_byte.best"] = after[best].bits_per_byte()
    report.facts["bits_per_byte.original"] = after[UNTOUCHED].bits_per_byte()
    report.facts["bits_per_byte.original_trained"] = after[TRAINED].bits_per_byte()
    report.facts["change.best_from_original_trained"] = after[best].change_from(after[TRAINED])
    report.facts["rank_correlation.step_0_and_after"] = rank_correlation(
        [value_before[key] for key in ranked], [value[key] for key in ranked]
    )
    report.figures = [_curves(by_name, [*ranked, TRAINED])]
    report.verdict = _verdict(report, value_before, ranked, level, config)
    _warn(report, config)
    return report


def rank_correlation(first: list[float], second: list[float]) -> float | None:
    """Kendall's tau-b; None for fewer than two methods or where all are tied."""
    tau = float(kendall_tau(first, second)) if len(first) > 1 else float("nan")
    return None if tau != tau else tau


def _columns(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}, low": found.low, f"{name}, high": found.high}


def _seed_columns(trials: list[Trial], parts: list[str]) -> dict[str, float]:
    """Interval over the orders of the text; empty with one of them."""
    if len(trials) < 2:
        return {}
    found = bootstrap_interval([pooled([trial], "after", parts).bits_per_byte().value for trial in trials])
    return {"seeds, low": found.low, "seeds, high": found.high}


def _domains(by_name: dict[str, list[Trial]], order: list[str], parts: list[str]) -> list[dict]:
    rows = []
    for part in parts:
        for key in order:
            before, after = (pooled(by_name[key], when, [part]) for when in ("before", "after"))
            row = {"domain": part, "method": key, "units": len(after.nats)}
            row |= _columns("step 0", before.bits_per_byte()) | _columns("after", after.bits_per_byte())
            rows.append(row)
    return rows


def _curves(by_name: dict[str, list[Trial]], order: list[str]) -> Figure:
    """Mean over the seeds, with the least and the greatest where there are several."""
    series = {}
    for key in order:
        points = []
        for same in zip(*(trial.curve for trial in by_name[key]), strict=True):
            values = [point["bits_per_byte"] for point in same]
            spread = (min(values), max(values)) if len(values) > 1 else ()
            points.append((same[0]["flops"], sum(values) / len(values), *spread))
        series[key] = points
    return Figure("line", "Bits per byte while training", "floating-point operations", "bits per byte", series)


def _verdict(report: Report, before: dict, ranked: list[str], level: list[str], config: CompareConfig) -> str:
    best, facts = ranked[0], report.facts
    said = f"After {config.heal.steps} steps {best} predicts your text best ({facts['bits_per_byte.best']})"
    said += f"; level with it: {', '.join(level)}." if level else "."
    starts = min(ranked, key=lambda key: before[key])
    if starts != best:
        said += f" At step 0 {starts} scored best: that must not decide."
    change = facts["change.best_from_original_trained"]
    if change.low > 0:
        said += " The original trained with the same compute is better than all of them: the move does not pay yet."
    elif change.high < 0:
        said += " It is also better than the original trained with the same compute."
    else:
        said += " It is level with the original trained with the same compute."
    return said


def _warn(report: Report, config: CompareConfig) -> None:
    report.warnings.append(NOT_BY_STEP_ZERO)
    report.notes += [
        "Same batches and the same number of steps for every method; the trained original got the same operations.",
        "Intervals are over held-out documents, with the nats of each averaged over the seeds; differences are paired.",
        "The best of many is a little flattered by having been chosen on this text; so are small differences.",
    ]
    if config.seeds == 1:
        report.notes.append("One order of the training text: how much another order moves the scores is not known.")
