"""Tell an inferred mixture: shares with their intervals, what does not fit, and how far to believe it.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenry.core.report import Figure, Report
from tokenry.tokenization import entries
from tokenry.tokenization.mixture_calibration import calibrated_interval
from tokenry.tokenization.mixture_merges import script_class
from tokenry.tokenization.mixture_programme import TOLERANCE

if TYPE_CHECKING:
    from tokenry.tokenization.mixture import MixtureResult

# Axes: n categories, R rounds or resamples, T merges.

_KINDS = ("calibrated", "bootstrap", "near-optimal")
_EDGES = (0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
_WORST = 20
_MOST_MISSING = 200
_FEW_DOCS = 40
_FEW_BYTES = 1_000_000
_FEW_DRAWS, _FEW_ROUNDS = 8, 5
_FEW_EXPLAINED = 0.2
_TRADE_OFF = -0.5
_CONTINUED = bytes(range(0x80, 0xC0))


def mixture_report(result: "MixtureResult") -> Report:
    """The report of `infer_mixture`.

    Returns:
        Report with the tables shares, intervals, baselines, slack, worst_steps, worst_pairs, missing, missing_scripts,
        and where asked for groups, correlations and refit.
    """
    intervals = interval_ends(result)
    shown = next((kind for kind in _KINDS if kind in intervals), None)
    ends = intervals[shown] if shown else np.full((len(result.bytes_share), 2), np.nan)
    tables = {"shares": _shares(result, ends)}
    if result.options.groups:
        tables["groups"] = _groups(result, shown)
    tables["intervals"] = _interval_table(result, intervals)
    if result.baselines:
        guesses = {name.replace(" ", "_"): share for name, share in result.baselines.items()}
        tables["baselines"] = pa.table({"source": list(_names(result)), "inferred": result.bytes_share, **guesses})
    tables |= _misfit_tables(result)
    if (trade := _correlations(result)) is not None:
        tables["correlations"] = trade
    if result.refit:
        steps, overlap, tau = zip(*result.refit, strict=True)
        tables["refit"] = pa.table({"merges": steps, "overlap": overlap, "kendall_tau": tau})
    return Report(
        kind="tokenizer-mixture",
        title=f"What {result.vocab.name} was trained on, among {len(_names(result))} categories",
        facts=_facts(result, shown),
        tables=tables,
        figures=[_figure(result, ends, shown)],
        verdict=_verdict(result, ends, shown, tables.get("groups")),
        warnings=_warnings(result, shown, tables),
        notes=_notes(result, shown),
    )


def interval_ends(result: "MixtureResult", members: list[int] | None = None) -> dict[str, np.ndarray]:
    """Kind -> float64 (n, 2), low and high of each share in the unit asked for.

    Args:
        result: what was found.
        members: take these categories for one; then the arrays are (1, 2), without the near-optimal range.
    """
    estimate = result.bytes_share if result.options.unit == "bytes" else result.pairs_share
    level, ends = result.options.level, {}
    draws = result.draws
    if members is not None:
        estimate = estimate[members].sum(keepdims=True)
        draws = {kind: drawn[:, members].sum(1, keepdims=True) for kind, drawn in draws.items()}
    if "calibrated" in draws:
        ends["calibrated"] = calibrated_interval(estimate, draws["calibrated"], level=level)
    if "bootstrap" in draws:
        ends["bootstrap"] = np.quantile(draws["bootstrap"], [(1 - level) / 2, (1 + level) / 2], axis=0).T
    if result.ranges is not None and members is None:
        ends["near-optimal"] = result.ranges
    return ends


def _names(result: "MixtureResult") -> tuple[str, ...]:
    return result.evidence.categories.names


def _shares(result: "MixtureResult", ends: np.ndarray) -> pa.Table:
    order = np.argsort(-result.bytes_share, kind="stable")
    return pa.table(
        {
            "source": [_names(result)[i] for i in order],
            "bytes_share": result.bytes_share[order],
            "pairs_share": result.pairs_share[order],
            "low": ends[order, 0],
            "high": ends[order, 1],
        }
    )


def _groups(result: "MixtureResult", shown: str | None) -> pa.Table:
    rows = []
    for group, names in result.options.groups.items():
        members = [_names(result).index(name) for name in names]
        ends = interval_ends(result, members).get(shown, np.full((1, 2), np.nan))[0]
        rows.append(
            {
                "group": group,
                "members": ", ".join(names),
                "bytes_share": float(result.bytes_share[members].sum()),
                "pairs_share": float(result.pairs_share[members].sum()),
                "low": float(ends[0]),
                "high": float(ends[1]),
            }
        )
    return pa.Table.from_pylist(rows)


def _interval_table(result: "MixtureResult", intervals: dict[str, np.ndarray]) -> pa.Table:
    rows = [
        {"source": name, "kind": kind, "low": float(low), "high": float(high)}
        for kind, ends in intervals.items()
        for name, (low, high) in zip(_names(result), ends, strict=True)
    ]
    schema = pa.schema([("source", pa.string()), ("kind", pa.string()), ("low", pa.float64()), ("high", pa.float64())])
    return pa.Table.from_pylist(rows, schema=schema)


def _misfit_tables(result: "MixtureResult") -> dict[str, pa.Table]:
    """What does not fit: slack by range of merges, the worst merges and pairs, and merges no sample holds."""
    vocab, steps = result.vocab, result.evidence.trajectories
    missing = missing_steps(result)
    tables = {"missing": _merge_rows(result, missing[:_MOST_MISSING]), "missing_scripts": _scripts(result, missing)}
    if result.fit is None:
        return tables
    from tokenry.tokenization.mixture_intervals import slack_by_range, worst_pairs, worst_steps

    slack = np.asarray(result.fit.slack_step)
    edges = np.array([e for e in _EDGES if e < len(slack)] + [len(slack)])
    ranges, total = slack_by_range(result.fit, edges), slack.sum()
    tables["slack"] = pa.table(
        {
            "merges": [f"{a + 1:,}-{b:,}" for a, b in pairwise(edges)],
            "evidence": ranges[:, 0].astype(np.int64),
            "zero_slack": ranges[:, 1],
            "mean_slack": ranges[:, 2],
            "share_of_slack": np.add.reduceat(slack, edges[:-1]) / (total if total > 0 else 1.0),
            "missing": np.histogram(missing, edges)[0],
        }
    )
    places = worst_steps(result.fit, _WORST)
    tables["worst_steps"] = _merge_rows(result, places).append_column("slack", pa.array(slack[places], pa.float64()))
    rows = worst_pairs(result.fit, _WORST)
    pairs = steps.pairs[rows]
    tables["worst_pairs"] = pa.table(
        {
            "left": pa.array([entries.shown(vocab, int(left)) for left, _ in pairs], pa.string()),
            "right": pa.array([entries.shown(vocab, int(right)) for _, right in pairs], pa.string()),
            "most_in": pa.array(_homes(result, rows), pa.string()),
            "slack": pa.array(np.asarray(result.fit.slack_pair)[rows], pa.float64()),
        }
    )
    return tables


def missing_steps(result: "MixtureResult") -> np.ndarray:
    """Merges that would be evidence, but no sample holds their pair when their turn comes."""
    held = result.evidence.trajectories.merged_pair >= 0 if result.fit is None else result.fit.constrained
    return np.flatnonzero(result.evidence.constrained & ~held)


def _merge_rows(result: "MixtureResult", places: np.ndarray) -> pa.Table:
    merges, vocab = result.evidence.trajectories.merges[places], result.vocab
    shown = [[entries.shown(vocab, int(i)) for i in column] for column in merges.T] if len(merges) else [[], [], []]
    columns = {"merge": (places + 1).tolist(), "left": shown[0], "right": shown[1], "token": shown[2]}
    schema = pa.schema([("merge", pa.int64()), *((k, pa.string()) for k in ("left", "right", "token"))])
    return pa.table(columns, schema=schema)


def _scripts(result: "MixtureResult", missing: np.ndarray) -> pa.Table:
    """Scripts of the tokens made by merges no sample holds: they name what is missing among the categories."""
    merges, vocab = result.evidence.trajectories.merges, result.vocab
    among_missing = set(missing.tolist())
    n_all, n_missing = Counter(), Counter()
    for step in np.flatnonzero(result.evidence.constrained).tolist():
        script = _script_of_token(vocab.tokens[int(merges[step, 2])])
        n_all[script] += 1
        n_missing[script] += step in among_missing
    rows = [
        {"script": script, "missing": n, "merges": n_all[script], "share": n / n_all[script]}
        for script, n in n_missing.most_common()
        if n
    ]
    schema = pa.schema(
        [("script", pa.string()), ("missing", pa.int64()), ("merges", pa.int64()), ("share", pa.float64())]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _script_of_token(token: bytes | None) -> str:
    """The script of the first letter; half a character is completed, because its first bytes tell the script."""
    data = (token or b"").lstrip(_CONTINUED).strip()
    text = next((t for t in (data.decode("utf-8", "ignore"), _completed(data)) if t), "")
    letters = [c for c in text if c.isalpha()]
    return script_class(letters[0]) if letters else script_class(text[0]) if text else "part of a character or space"


def _completed(data: bytes) -> str:
    """The one character whose first bytes these are, roughly."""
    return next((t for t in ((data + b"\x90" * k).decode("utf-8", "ignore") for k in (1, 2, 3)) if t), "")


def _homes(result: "MixtureResult", pairs: np.ndarray) -> list[str]:
    """For each pair the category whose sample holds it most often, at its height, per pair of the sample."""
    steps, evidence = result.evidence.trajectories, result.evidence
    counts = evidence.spelled.spread(evidence.categories.by_category())
    names = []
    for pair in pairs.tolist():
        rows = np.flatnonzero(steps.event_pair == pair)
        changes = (steps.events[rows].astype(np.int64) @ counts).toarray()
        names.append(_names(result)[int(np.argmax(np.cumsum(changes, axis=0).max(0) / evidence.pairs_n))])
    return names


def _correlations(result: "MixtureResult") -> pa.Table | None:
    """Pairs of categories whose errors go against each other: one can stand in for the other.

    A correlation of a few draws is noise, so the kind with the most of them tells it.
    """
    drawn = max(result.draws.values(), key=len, default=())
    if len(drawn) < _FEW_DRAWS:
        return None
    live = np.flatnonzero(drawn.std(0) > 1e-9)
    if len(live) < 2:
        return None
    matrix = np.corrcoef(drawn[:, live].T)
    rows = [
        {"source": _names(result)[live[i]], "other": _names(result)[live[j]], "correlation": float(matrix[i, j]),
         "sd": float(drawn[:, live[i]].std()), "sd_other": float(drawn[:, live[j]].std())}
        for i in range(len(live)) for j in range(i + 1, len(live))
    ]  # fmt: skip
    rows.sort(key=lambda row: row["correlation"] * min(row["sd"], row["sd_other"]))
    return pa.Table.from_pylist(rows[:_WORST])


def _facts(result: "MixtureResult", shown: str | None) -> dict:
    evidence, fit, options = result.evidence, result.fit, result.options
    steps = evidence.trajectories
    facts = {
        "n_categories": len(_names(result)),
        "n_documents": int(evidence.categories.n_docs.sum()),
        "n_bytes": int(evidence.bytes_n.sum()),
        "n_merges": len(steps.merges),
        "n_merges.evidence": int(evidence.constrained.sum()) - len(missing_steps(result)),
        "n_merges.missing": len(missing_steps(result)),
    }
    if fit is not None:
        slack = np.asarray(fit.slack_step)[fit.constrained]
        facts["zero_slack_share"] = float((slack <= TOLERANCE).mean()) if len(slack) else 1.0
    if (errors := result.draws.get("calibrated")) is not None:
        facts["calibration.rmse"] = float(np.sqrt((errors**2).mean()))
        facts["calibration.rounds"] = len(errors)
    facts |= {
        "n_merges.listed": result.found.n_listed,
        "n_merges.redundant": result.found.n_redundant,
        "n_merges.unreachable": int(result.found.unreachable.sum()),
        "n_merges.skipped": result.n_skipped,
        "n_merges.silent": options.first_merge,
        "n_tokens_without_merge": len(result.found.without_merge),
        "n_words": len(evidence.categories.words),
        "n_long_words_cut": evidence.spelled.n_cut,
        "interval": shown or "none",
        "unit": options.unit,
        "level": options.level,
        "seed": options.seed,
    }
    if fit is not None:
        facts |= {
            "objective": float(fit.objective),
            "lower_bound": float(fit.lower_bound),
            "gap": float(fit.gap),
            "n_rows": int(fit.n_rows),
            "n_rounds": int(fit.n_rounds),
        }
    return facts


def _figure(result: "MixtureResult", ends: np.ndarray, shown: str | None) -> Figure:
    unit = result.options.unit
    share = result.bytes_share if unit == "bytes" else result.pairs_share
    percent = 100 * np.column_stack([share, ends])
    points = [(_names(result)[i], *percent[i]) for i in np.argsort(-share, kind="stable")]
    title = f"Inferred shares of the {unit} of the training text"
    if shown:
        title += f"; whiskers: {shown} intervals, {result.options.level:.0%}"
    return Figure("interval", title, "category", f"share of {unit}", {"inferred": points}, "%")


def _verdict(result: "MixtureResult", ends: np.ndarray, shown: str | None, groups: pa.Table | None) -> str:
    names, unit = _names(result), result.options.unit
    if result.fit is None:
        return f"Only one category was given, {names[0]}, so its share is 1 by definition and nothing was learned."
    share = result.bytes_share if unit == "bytes" else result.pairs_share
    top = [i for i in np.argsort(-share, kind="stable")[:3] if share[i] > 0]
    rows = [(names[i], share[i], *ends[i]) for i in top]
    for row in groups.to_pylist()[:3] if groups else []:
        rows.append((f"together {row['group']}", row[f"{unit}_share"], row["low"], row["high"]))
    told = "; ".join(f"{n} {x:.1%}" + ("" if np.isnan(a) else f" [{a:.1%}, {b:.1%}]") for n, x, a, b in rows)
    n_used = len(result.evidence.trajectories.merges) - result.options.first_merge
    missing = len(missing_steps(result)) / max(int(result.evidence.constrained.sum()), 1)
    return (
        f"Of the text {result.vocab.name} was trained on, as far as these {len(names)} categories can explain it, the "
        f"largest shares of {unit} are {told}"
        + (f" ({shown} intervals, {result.options.level:.0%})" if shown else "")
        + f"; {missing:.1%} of the {n_used:,} merges used stand in no sample."
    )


def _warnings(result: "MixtureResult", shown: str | None, tables: dict[str, pa.Table]) -> list[str]:
    evidence, fit, options = result.evidence, result.fit, result.options
    out = []
    if fit is None:
        return [f"one category only: its share is 1 whatever the tokenizer was trained on ({_names(result)[0]})"]
    if fit.gap > options.tolerance:
        out.append(
            f"solving stopped at a gap of {fit.gap:.2g}, over the {options.tolerance:.2g} asked for: the shares may "
            "still move"
        )
    missing, n_evidence = len(missing_steps(result)), max(int(evidence.constrained.sum()), 1)
    if missing > 0.2 * n_evidence:
        out.append(
            f"{missing:,} of {n_evidence:,} merges stand in no sample (see the tables missing and missing_scripts): "
            "categories are missing, or the samples are too small for so many merges (--merges)"
        )
    explained = float((np.asarray(fit.slack_step)[fit.constrained] <= TOLERANCE).mean()) if n_evidence >= 300 else 1.0
    if explained < _FEW_EXPLAINED:
        out.append(f"only {explained:.0%} of the merges are explained without slack: do not read the shares (a third "
                   "is usual); the samples are too small for merges so late, or the wrong ones")  # fmt: skip
    docs = evidence.categories.n_docs.reshape(len(_names(result)), -1).sum(1)
    few = [n for n, d, b in zip(_names(result), docs, evidence.bytes_n, strict=True) if d < _FEW_DOCS or b < _FEW_BYTES]
    if few:
        listed = ", ".join(few[:8]) + (", ..." if len(few) > 8 else "")
        out.append(
            f"samples under {_FEW_BYTES / 1e6:.0f} MB or {_FEW_DOCS} documents: {listed}; the paper used 1 GB each; "
            "what such a sample lacks (topics, spellings) is read as absence of the category"
        )
    if "correlations" in tables and len(_names(result)) > 2:  # two shares always trade off
        strong = [r for r in tables["correlations"].to_pylist() if r["correlation"] < _TRADE_OFF]
        if strong and max(min(r["sd"], r["sd_other"]) for r in strong) > 0.005:
            a = strong[0]
            both, wish = {a["source"], a["other"]}, f"--groups both={a['source']}+{a['other']}"
            known = next((f"see the group {g}" for g, members in options.groups.items() if both <= set(members)), None)
            out.append(
                f"{a['source']} and {a['other']} trade off (correlation of errors {a['correlation']:.2f}): trust their "
                f"sum rather than either, {known or wish}"
            )
    if shown == "bootstrap":
        out.append(
            "the bootstrap sees the noise of these samples only, not that of the tokenizer's own training text nor a "
            "difference of domain: it is too narrow; --calibrate 10 gives an interval for the former"
        )
    if shown == "calibrated" and (rounds := len(result.draws[shown])) < _FEW_ROUNDS:
        out.append(f"the intervals come from {rounds} calibration rounds and are rough themselves: --calibrate 10")
    if shown is None:
        out.append("no interval: fewer than two documents in a category, or none asked for (--bootstrap, --calibrate)")
    return out


def _notes(result: "MixtureResult", shown: str | None) -> list[str]:
    notes = [
        "shares are of the given categories alone and sum to 1: text unlike all of them is given to the nearest",
        "bytes_share is pairs_share times the bytes per pair of each sample, made to sum to 1",
    ]
    if shown:
        notes.append(f"[brackets], low and high are the ends of {shown} intervals of shares of {result.options.unit}, "
                     f"{result.options.level:.0%}")  # fmt: skip
    if shown == "calibrated":
        rounds = len(result.draws["calibrated"])
        notes.append(
            f"calibrated: {rounds} tokenizers of {len(result.evidence.trajectories.merges):,} merges were trained at "
            "the estimate on half of the documents and inferred from the other half; interval = estimate -+ t times "
            "their root mean squared error"
        )
    if result.baselines:
        notes.append("baselines are shares of bytes; encoding efficiency is fitted on known mixtures of these samples")
    return notes
