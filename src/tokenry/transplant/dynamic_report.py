"""The report of `tokenry transplant dynamic`: tokens saved and bits per byte lost, by level of reduction.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval, ratio_interval
from tokenry.core.report import Figure, Report
from tokenry.core.runs import Progress
from tokenry.models.lm import LM
from tokenry.transplant.dynamic_lm import Continued, score_continuations
from tokenry.transplant.dynamic_rows import PieceRows

CONTROLS = ("truncated", "random")


def profile_report(
    lm: LM, pairs: Sequence[tuple[str, str]], rows: PieceRows, *, levels: Sequence[float], setting: dict
) -> Report:
    """Score the continuations at every level and beside the controls.

    Args:
        lm: a decoder.
        pairs: prompts and continuations.
        rows: embeds new pieces.
        levels: of reduction, ascending, the first 0.
        setting: boundary, batch_size and seed of `score_continuations`.
    """
    runs: dict[tuple[str, float], Continued] = {}
    wanted = [("merged", level) for level in levels]
    wanted += [(control, level) for control in CONTROLS for level in levels if level > 0]
    with Progress("scoring after merged prompts", total=len(wanted), unit="settings") as progress:
        for way, level in wanted:
            control = None if way == "merged" else way
            runs[way, level] = score_continuations(lm, pairs, rows=rows, reduction=level, control=control, **setting)
            progress.add(1)
    plain = runs["merged", levels[0]]
    lines = [_line(way, level, run, plain) for (way, level), run in runs.items()]
    against = {
        level: run.scores.change_from(runs["truncated", level].scores)
        for (way, level), run in runs.items()
        if way == "merged" and level > 0
    }
    return _report(lm, lines, (plain, against), setting=setting)


def _line(way: str, level: float, run: Continued, plain: Continued) -> dict:
    change = run.scores.change_from(plain.scores)
    pairs = zip(run.choices, plain.choices, strict=True)
    same = np.array([int((ours == theirs).sum()) for ours, theirs in pairs])
    sizes = np.array([len(row) for row in run.choices])
    return {
        "prompt": way,
        "asked": level,
        "reduction": run.reduction,
        "shorter_by": float(1 - run.n_after.sum() / run.n_before.sum()),
        "merges_a_batch": float(np.mean(run.merges)),
        "bits_per_byte": run.scores.bits_per_byte(),
        "change": change,
        "same_choice": ratio_interval(same, sizes),
        "seconds_merging": run.seconds["merging"],
        "seconds_rows": run.seconds["rows"],
        "seconds_model": run.seconds["model"],
        "hit_rate": run.hit_rate,
    }


def _report(lm: LM, lines: list[dict], compared: tuple[Continued, dict[float, Interval]], *, setting: dict) -> Report:
    plain, against = compared
    merged = [line for line in lines if line["prompt"] == "merged"]
    facts = {
        "model": lm.name,
        "prompts": len(plain.n_before),
        "tokens.before": int(plain.n_before.sum()),
        "tokens.floor": int(plain.n_words),
        "bits_per_byte.unmerged": plain.scores.bits_per_byte(),
        **setting,
    }
    for line in merged[1:]:
        facts[f"shorter_by.at_{line['asked']:g}"] = line["shorter_by"]
        facts[f"bits_per_byte.change.at_{line['asked']:g}"] = line["change"]
        facts[f"bits_per_byte.merged_minus_truncated.at_{line['asked']:g}"] = against[line["asked"]]
    return Report(
        kind="transplant-dynamic",
        title=f"Merged prompts of {lm.name}",
        facts=facts,
        tables={"by level of reduction": _table(lines)},
        figures=[_figure(lines)],
        verdict=_verdict(merged, against) if len(merged) > 1 else "Only the unmerged model was measured.",
        warnings=_warnings(lines, setting),
        notes=[
            "Prompts are merged batch by batch; continuations are predicted in the model's ordinary tokens, and their "
            "bits per byte compare at every level. Intervals: bootstrap over prompts; changes are paired.",
            "asked: share of the way from the tokens to one piece per pre-token (or word); shorter_by: share of the "
            "prompt's positions saved.",
            "truncated: the prompt cut to the same length instead, its beginning lost. random: random pairs merged.",
            "seconds are of the clock, over all prompts; rows are made once and then come from the cache (hit_rate).",
        ],
    )


def _table(lines: list[dict]) -> pa.Table:
    columns: dict[str, list] = {}
    for line in lines:
        for key, value in line.items():
            if isinstance(value, Interval):
                for part in ("value", "low", "high"):
                    name = key if part == "value" else f"{key}_{part}"
                    columns.setdefault(name, []).append(getattr(value, part))
            else:
                columns.setdefault(key, []).append(value)
    return pa.table(columns)


def _figure(lines: list[dict]) -> Figure:
    series: dict[str, list] = {}
    for line in lines:
        bits = line["bits_per_byte"]
        series.setdefault(line["prompt"], []).append((line["shorter_by"], bits.value, bits.low, bits.high))
    return Figure("line", "Bits per byte after prompts made shorter", "share of the prompt's tokens saved",
                  "bits per byte", series, unit="bits/byte")  # fmt: skip


def _verdict(merged: list[dict], against: dict[float, Interval]) -> str:
    last = merged[-1]
    free = [line for line in merged[1:] if line["change"].low <= 0]
    if free:
        best = free[-1]
        said = (
            f"Prompts may be {best['shorter_by']:.0%} shorter (reduction {best['asked']:g}) without a loss that "
            f"{last['change'].n} prompts can tell: {best['change']}."
        )
    else:
        first = merged[1]
        said = (
            f"Every level costs: {first['shorter_by']:.0%} shorter prompts (reduction {first['asked']:g}) cost "
            f"{first['change']}."
        )
    difference = against[last["asked"]]
    how = "better than" if difference.high < 0 else "worse than" if difference.low > 0 else "not told apart from"
    return said + f" At {last['shorter_by']:.0%} merging is {how} cutting the prompt to that length ({difference})."


def _warnings(lines: list[dict], setting: dict) -> list[str]:
    last = [line for line in lines if line["prompt"] == "merged"][-1]
    warnings = [
        f"What a prompt becomes depends on the {setting['batch_size']} prompts of its batch and their order; for "
        "scores that can be repeated learn a fixed list of merges (transplant.learn_merges)."
    ]
    if any(line["prompt"] == "truncated" and line["change"].high < 0 for line in lines):
        warnings.append(
            "Cutting the prompts alone makes the model better: they are longer than what it learned from, and merging "
            "may only seem to help. Measure with shorter prompts (--prompt-bytes)."
        )
    if last["seconds_merging"] + last["seconds_rows"] > last["seconds_model"]:
        warnings.append("Merging and making rows took longer than the model: on this model nothing is saved in time.")
    return warnings
