"""The report of a comparison of row methods: ranks after equal training, controls, curves, and what step 0 is worth.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); the comparison is ours.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval, bootstrap_interval
from tokenry.core.report import Figure, Report
from tokenry.models.scoring import Scores
from tokenry.transplant.compare_orders import order_correlation, rank_correlation, ranks, turned_pairs
from tokenry.transplant.comparing_methods import TRAINED, UNTOUCHED, CompareConfig, Trial, pooled

NOT_BY_STEP_ZERO = (
    "Bits per byte at step 0 must not rank the methods: a start that commits to nothing can score best before training "
    "and learn worst. The ranks are those after equal training."
)
EVERYWHERE = "all"
LEAST_BYTES = 500
"""A script with less scored text than this has no row of its own: its bits per byte would be noise."""


def compare_report(
    trials: list[Trial], skipped: dict[str, str], *, config: CompareConfig, name: str, target: str
) -> Report:
    """Rank the methods by bits per byte after training, over all domains that were trained on.

    Args:
        trials: of every method and both controls, one for each seed.
        skipped: method -> why it was left out.
        config: as they were run. name, target: of model and tokenizer.

    Returns:
        Report with tables "methods" (both ranks; changes against the best and against `config.reference` are paired
        over documents, and over seeds), "domains", "scripts", "budgets" (what the order at each point of the curve is
        worth), "skipped"; figures of both orders and of the curves; the rank correlation of step 0 with after training.
    """
    by_name: dict[str, list[Trial]] = {}
    for trial in trials:
        by_name.setdefault(trial.method, []).append(trial)
    parts = list(trials[0].before)
    trained_on = [part for part in parts if not part.endswith(" (general)")]
    methods = [key for key in by_name if key not in (UNTOUCHED, TRAINED)]
    after = {key: pooled(by_name[key], "after", trained_on) for key in by_name}
    before = {key: pooled(by_name[key], "before", trained_on) for key in by_name}
    ranked = sorted(methods, key=lambda key: after[key].bits_per_byte().value)
    order = [*ranked, *(key for key in (TRAINED, UNTOUCHED) if key in by_name)]
    report = Report("transplant-compare", f"{Path(name).name} to the tokens of {target}: {len(methods)} methods")
    report.tables["methods"] = pa.Table.from_pylist(
        _method_rows(by_name, before, after, order=order, parts=trained_on, reference=config.reference)
    )
    report.tables["domains"] = pa.Table.from_pylist(_domains(by_name, order, parts))
    scripts = _scripts(by_name, order, parts)
    if scripts:
        report.tables["scripts"] = pa.Table.from_pylist(scripts)
    budgets = _budgets(by_name, ranked)
    if budgets:
        report.tables["budgets"] = pa.Table.from_pylist(budgets)
    if skipped:
        report.tables["skipped"] = pa.table({"method": list(skipped), "why": list(skipped.values())})
    report.facts = _facts(before, after, ranked=ranked, config=config, skipped=skipped)
    report.figures = [_curves(by_name, [key for key in order if key != UNTOUCHED]), _both_orders(before, after, ranked)]
    report.verdict = _verdict(report, before, ranked, config)
    _warn(report, config)
    return report


def _facts(
    before: dict[str, Scores], after: dict[str, Scores], *, ranked: list[str], config: CompareConfig, skipped: dict
) -> dict:
    best = ranked[0]
    level = [key for key in ranked[1:] if after[key].change_from(after[best]).low <= 0]
    facts = {"best": best, "level_with_best": ", ".join(level), "methods": len(ranked), "skipped": len(skipped)}
    facts |= {"steps": config.heal.steps, "seeds": config.seeds, "units": len(after[best].nats)}
    facts["bits_per_byte.best"] = after[best].bits_per_byte()
    if UNTOUCHED in after:
        facts["bits_per_byte.original"] = after[UNTOUCHED].bits_per_byte()
    if TRAINED in after:
        facts["bits_per_byte.original_trained"] = after[TRAINED].bits_per_byte()
        facts["change.best_from_original_trained"] = after[best].change_from(after[TRAINED])
    sides = [before[key] for key in ranked], [after[key] for key in ranked]
    facts["rank_correlation.step_0_and_after"] = order_correlation(*sides)
    pairs = turned_pairs(*sides)
    facts |= {"pairs": pairs.total, "pairs.told_apart_after": pairs.told_apart}
    return facts | {"pairs.same_order_at_step_0": pairs.kept, "pairs.turned_round_since_step_0": pairs.reversed}


def _method_rows(
    by_name: dict[str, list[Trial]], before: dict, after: dict, *, order: list[str], parts: list[str], reference: str
) -> list[dict]:
    """A row a method, the best after training first; the controls have no rank."""
    ranked = [key for key in order if key not in (UNTOUCHED, TRAINED)]
    first = dict(zip(ranked, ranks([before[key].bits_per_byte().value for key in ranked]), strict=True))
    rows = []
    for place, key in enumerate(order):
        row = {"rank": place + 1 if key in first else None, "rank at step 0": first.get(key), "method": key}
        row |= _columns("step 0", before[key].bits_per_byte()) | _columns("after", after[key].bits_per_byte())
        row |= _seed_columns(by_name[key], parts)
        row |= _columns("worse than best by", after[key].change_from(after[order[0]]))
        if reference in after:
            row |= _columns(f"from {reference}", after[key].change_from(after[reference]))
            row |= _columns(f"from {reference} at step 0", before[key].change_from(before[reference]))
            row |= _paired_seeds(by_name, key, parts, reference)
        row |= {"CPU seconds to plan": round(sum(t.plan_seconds for t in by_name[key]) / len(by_name[key]), 2)}
        rows.append(row)
    return rows


def _columns(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}, low": found.low, f"{name}, high": found.high}


def _seed_columns(trials: list[Trial], parts: list[str]) -> dict[str, float]:
    """Interval over the orders of the text; empty with one of them."""
    if len(trials) < 2:
        return {}
    found = bootstrap_interval([_bits(trial, parts) for trial in trials])
    return {"seeds, low": found.low, "seeds, high": found.high}


def _paired_seeds(by_name: dict[str, list[Trial]], key: str, parts: list[str], reference: str) -> dict[str, float]:
    """Interval of the difference to the reference over orders of the text, each order against itself."""
    theirs = {trial.seed: trial for trial in by_name[reference]}
    both = [(trial, theirs[trial.seed]) for trial in by_name[key] if trial.seed in theirs]
    if len(both) < 2 or key == UNTOUCHED:
        return {}
    found = bootstrap_interval([_bits(own, parts) - _bits(other, parts) for own, other in both])
    return {f"from {reference}, seeds, low": found.low, f"from {reference}, seeds, high": found.high}


def _bits(trial: Trial, parts: list[str]) -> float:
    return pooled([trial], "after", parts).bits_per_byte().value


def _domains(by_name: dict[str, list[Trial]], order: list[str], parts: list[str]) -> list[dict]:
    """A row for each domain and method; the ranks of a domain are its own."""
    rows = []
    for part in parts:
        found = []
        for key in order:
            before, after = (pooled(by_name[key], when, [part]) for when in ("before", "after"))
            row = {"domain": part, "method": key, "units": len(after.nats)}
            row |= _columns("step 0", before.bits_per_byte()) | _columns("after", after.bits_per_byte())
            found.append(row | _seed_columns(by_name[key], [part]))
        rows += _ranked_rows(found)
    return rows


def _scripts(by_name: dict[str, list[Trial]], order: list[str], parts: list[str]) -> list[dict]:
    """A row for each script and method, over all domains together and within each that holds several scripts."""
    sizes: dict[str, dict[str, int]] = {}
    for (part, script), scores in by_name[order[0]][0].scripts_after.items():
        for place in (EVERYWHERE, part):
            table = sizes.setdefault(place, {})
            table[script] = table.get(script, 0) + int(scores.n_bytes.sum())
    rows = []
    for place in (EVERYWHERE, *parts):
        for script, n_bytes in sorted(sizes.get(place, {}).items(), key=lambda item: -item[1]):
            if n_bytes < LEAST_BYTES:
                continue
            found = []
            for key in order:
                sides = [_of_script(by_name[key], when, place, script) for when in ("scripts_before", "scripts_after")]
                row = {"script": script, "domain": place, "bytes": n_bytes, "method": key}
                row |= {"units": len(sides[1].nats)} | _columns("step 0", sides[0].bits_per_byte())
                found.append(row | _columns("after", sides[1].bits_per_byte()))
            rows += _ranked_rows(found)
    return rows


def _of_script(trials: list[Trial], when: str, place: str, script: str) -> Scores:
    """Scores of one script over the documents that hold it, nats averaged over the seeds."""
    chosen = [key for key in getattr(trials[0], when) if key[1] == script and place in (EVERYWHERE, key[0])]
    whole = pooled(trials, when, chosen)
    there = whole.n_bytes > 0
    return Scores(whole.nats[there], whole.n_bytes[there], whole.n_tokens[there])


def _ranked_rows(rows: list[dict]) -> list[dict]:
    """The rows with the methods' ranks among themselves at both times; controls have none."""
    own = [row for row in rows if row["method"] not in (UNTOUCHED, TRAINED)]
    places = {when: ranks([row[when] for row in own]) for when in ("step 0", "after")}
    for at, row in enumerate(own):
        row |= {"rank at step 0": places["step 0"][at], "rank": places["after"][at]}
    return [{"rank": None, "rank at step 0": None} | row for row in rows]


def _budgets(by_name: dict[str, list[Trial]], ranked: list[str]) -> list[dict]:
    """What the order at each point of the curves says of the order at their end."""
    curves = {key: [trial.curve for trial in by_name[key] if trial.curve] for key in ranked}
    if len({len(curve) for found in curves.values() for curve in found}) != 1:
        return []
    means = {
        key: np.mean([[point["bits_per_byte"] for point in curve] for curve in found], axis=0)
        for key, found in curves.items()
        if found
    }
    last = [values[-1] for values in means.values()]
    rows = []
    for at, point in enumerate(curves[ranked[0]][0]):
        values = [found[at] for found in means.values()]
        row = {
            "step": point.get("step"),
            "tokens": point.get("tokens"),
            "best here": list(means)[int(np.argmin(values))],
        }
        rows.append(
            row | {"spread of the methods": float(np.ptp(values)), "tau with the end": rank_correlation(values, last)}
        )
    return rows


def _both_orders(before: dict[str, Scores], after: dict[str, Scores], ranked: list[str]) -> Figure:
    """Where each method stands at step 0 and after training, the best after training first."""
    series = {}
    for name, side in (("step 0", before), ("after training", after)):
        found = [(key, side[key].bits_per_byte()) for key in ranked]
        series[name] = [(key, bits.value, bits.low, bits.high) for key, bits in found]
    return Figure(
        "interval", "Step 0 and after equal training", "method, best after training first", "bits per byte", series
    )


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


def _verdict(report: Report, before: dict[str, Scores], ranked: list[str], config: CompareConfig) -> str:
    best, facts = ranked[0], report.facts
    said = f"After {config.heal.steps} steps {best} predicts your text best ({facts['bits_per_byte.best']})"
    said += f"; level with it: {facts['level_with_best']}." if facts["level_with_best"] else "."
    starts = min(ranked, key=lambda key: before[key].bits_per_byte().value)
    if starts != best:
        said += f" At step 0 {starts} scored best: that must not decide."
    change = facts.get("change.best_from_original_trained")
    if change is None:
        return said
    if change.low > 0:
        said += " The original trained with the same compute is better than all of them: the move does not pay yet."
    elif change.high < 0:
        said += " It is also better than the original trained with the same compute."
    else:
        said += " It is level with the original trained with the same compute."
    return said


def _warn(report: Report, config: CompareConfig) -> None:
    report.warnings.append(NOT_BY_STEP_ZERO)
    tau, facts = report.facts["rank_correlation.step_0_and_after"], report.facts
    if tau is not None:
        report.notes.append(
            f"Kendall's tau of the order at step 0 with the order after training: {tau}. Of {facts['pairs']} pairs of "
            f"methods, {facts['pairs.told_apart_after']} are told apart after training; "
            f"{facts['pairs.same_order_at_step_0']} of those stood in the same order at step 0, "
            f"{facts['pairs.turned_round_since_step_0']} the other way round, the rest could not be told apart."
        )
    report.notes += [
        "Same batches and the same number of steps for every method; the trained original got the same operations.",
        "Intervals are over held-out documents, with the nats of each averaged over the seeds; differences are paired. "
        "Columns named seeds are over the orders of the text (Student's t: with three they are wide).",
        "The best of many is a little flattered by having been chosen on this text; so are small differences.",
    ]
    if config.seeds == 1:
        report.notes.append("One order of the training text: how much another order moves the scores is not known.")
    if "scripts" in report.tables:
        report.notes.append(
            "By script: the nats of a token are spread evenly over its bytes; Common is digits and marks."
        )
