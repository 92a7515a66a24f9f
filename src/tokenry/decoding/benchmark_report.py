"""`bench`: strategies on the same prompts in one table: speed, tokens a forward, break-even, sameness, quality.

The rooms' other pages say how each strategy works; this says what it is worth on your model, text and machine.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Report
from tokenry.decoding.benchmark import Maker, Run, measure
from tokenry.decoding.benchmark_figures import Figures, figures_of
from tokenry.decoding.benchmark_judging import Difference, first_difference, judged
from tokenry.decoding.benchmark_prompts import prompts_of
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import Prompt, make, maker, settings_for
from tokenry.models.lm import LM

DEFAULT = ("plain", "lookup", "transformers:greedy", "transformers:prompt-lookup")
CLOCKS = ("wall", "cpu")


def bench(
    model: object = None,
    prompts: Sequence[Prompt] | None = None,
    *,
    strategies: Sequence[str] | Mapping[str, Maker] = DEFAULT,
    options: Iterable[str] = (),
    settings: Settings | None = None,
    passes: int = 3,
    against: str = "plain",
    clock: str = "wall",
    device: str | None = None,
    dtype: str | None = None,
) -> Report:
    """Measure strategies side by side.

    Args:
        model: what `LM.open` takes; None is the model carried in the package.
        prompts: texts or ids; None takes beginnings of the carried stories.
        strategies: names in STRATEGIES (or `pkg.module:function`), each also as "label=name", so that one may stand
            twice with different options; or label -> function that makes it.
        options: of the strategies, as "label.option=value".
        settings: length, temperature, seed (also of the order and of the intervals).
        passes: timed passes over the prompts, beside one that is not timed.
        against: label of the baseline; it is added when it is not among the strategies.
        clock: "wall", or "cpu" for processor time (what to compare on a machine that others use).
        device, dtype: as for `LM.open`.

    Returns:
        Report of kind "bench": tables "speed" and "text and passes" with a row a strategy, "where texts part" and
        "failures" where there are any, and the speed on each prompt; facts `<label>.<figure>` with intervals over
        prompts; a chart of speed, one of tokens a forward.

    Raises:
        ValueError: an unknown strategy or option, no prompt, a baseline that failed on every prompt.
    """
    if clock not in CLOCKS:
        raise ValueError(f"clock={clock!r}; need one of {', '.join(CLOCKS)}.")
    makers = makers_of(strategies, options, against=against)
    lm = _open(model, makers, device, dtype)
    prompts = prompts_of() if prompts is None else list(prompts)
    if not prompts:
        raise ValueError("no prompt to continue; need at least one, better ten. Give --prompts FILE.")
    settings = settings_for(lm, settings or Settings())
    runs = _measured(lm, prompts, makers, settings=settings, passes=passes)
    judge, why = _judge(lm)
    compare = partial(first_difference, lm if judge else None)
    found = figures_of(runs, baseline=against, compare=compare, judge=judge, clock=clock, seed=settings.seed)
    found = {label: found[label] for label in makers}
    if not found[against].n_done:
        reason = next(iter(found[against].reasons))
        raise ValueError(f"the baseline {against} failed on every prompt: {reason} Another baseline: --against LABEL.")
    return _report(lm, found, runs, settings=settings, facts=_facts(lm, prompts, settings, passes, clock), about=(
        against, clock, why))  # fmt: skip


def makers_of(
    strategies: Sequence[str] | Mapping[str, Maker], options: Iterable[str] = (), *, against: str = "plain"
) -> dict[str, Maker]:
    """Label -> function that makes the strategy, the baseline among them; see `bench`.

    Raises:
        ValueError: an unknown strategy, label or option, a label given twice.
    """
    from tokenry.core.choosing import suggest
    from tokenry.decoding.verbs import parsed_option

    named = {} if isinstance(strategies, Mapping) else _labelled(strategies)
    found = dict(strategies) if isinstance(strategies, Mapping) else {}
    if against not in named and against not in found:
        named = {against: against, **named}
    given: dict[str, dict[str, object]] = {label: {} for label in named}
    for option in options:
        place, mark, value = option.partition("=")
        label, dot, key = place.rpartition(".")
        if not (mark and dot):
            raise ValueError(f"option {option!r}; need STRATEGY.name=value, as in --with lookup.n_guesses=8.")
        if label not in given:
            raise ValueError(
                f"an option for {label!r}, which is not among the strategies.{suggest(label, given)} They are: "
                f"{', '.join(given)}."
            )
        given[label].update([parsed_option(f"{key}={value}")])
    for label, name in named.items():
        maker(name, given[label])
        found[label] = partial(make, name, **given[label])
    return found


def _labelled(strategies: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in strategies:
        label, mark, name = entry.strip().partition("=")
        if not label or (mark and not name):
            raise ValueError(f"strategy {entry!r}; need a name, or label=name. Separate them by commas.")
        if label in found:
            raise ValueError(f"strategy {label!r} twice; give them labels: a={label},b={label}.")
        found[label] = name or label
    return found


def _open(model: object, makers: Mapping[str, Maker], device: str | None, dtype: str | None) -> LM:
    """The model; a strategy for models of another kind opens its own."""
    if model is None:
        from tokenry.data import demo_model

        model = demo_model()
    for make_one in makers.values():
        try:
            opener = getattr(make_one(), "open", None)
        except Exception:  # told as its failure on every prompt
            continue
        if opener is not None:
            return opener(model, device=device, dtype=dtype)
    return LM.open(model, device=device, dtype=dtype)


def _measured(
    lm: LM, prompts: Sequence[Prompt], makers: Mapping[str, Maker], *, settings: Settings, passes: int
) -> list[Run]:
    from tokenry.core.progress import Progress

    total = len(prompts) * len(makers) * (passes + 1)
    with Progress("continue prompts", total=total, unit="runs") as progress:
        on_run = lambda run: progress.add(1)  # noqa: E731
        return measure(lm, prompts, makers, settings=settings, passes=passes, seed=settings.seed, on_run=on_run)


def _judge(lm: LM) -> tuple[Callable | None, str]:
    """How texts are judged; or none and why."""
    import torch

    from tokenry.models.scoring import split_head

    try:
        with torch.inference_mode():
            split_head(lm.model)
    except ValueError as problem:
        return None, str(problem)
    return partial(judged, lm), ""


def _facts(lm: LM, prompts: Sequence[Prompt], settings: Settings, passes: int, clock: str) -> dict[str, object]:
    import torch

    from tokenry.core.runs import machine

    return {
        "n_prompts": len(prompts), "passes": passes, "seed": settings.seed, "clock": clock,
        "max_new_tokens": settings.max_new_tokens, "temperature": settings.temperature,
        "model": lm.name, "parameters": sum(weights.numel() for weights in lm.model.parameters()),
        "device": str(lm.device), "dtype": str(lm.model.dtype).removeprefix("torch."),
        "machine": ", ".join(f"{name} {value}" for name, value in machine().items()),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip


def _report(
    lm: LM, found: dict[str, Figures], runs: Sequence[Run], *, settings: Settings, facts: dict, about: tuple
) -> Report:
    import pyarrow as pa

    against, clock, why = about
    n = facts["n_prompts"]
    report = Report(
        kind="bench", title=f"{len(found)} ways to decode {Path(lm.name).name}, on {n} prompts", facts=facts
    )
    for label, row in found.items():
        report.facts |= _facts_of(label, row, is_baseline=label == against)
    tables = {
        "speed": [_speed(row, against) for row in found.values()],
        "text and passes": [_text(row) for row in found.values()],
        "where texts part": _parted(lm, found),
        "failures": _failed(found),
        f"times {against}, prompt by prompt": _of_prompts(found, runs, against),
    }
    report.tables = {name: pa.Table.from_pylist(rows) for name, rows in tables.items() if rows}
    report.figures = _charts(found, against)
    report.verdict = _verdict(found, against)
    report.warnings = _warnings(found, against, settings)
    report.notes = _notes(against, clock, why, facts)
    return report


def _facts_of(label: str, row: Figures, *, is_baseline: bool) -> dict[str, object]:
    names = ("tokens_per_second", *(() if is_baseline else ("speed", "break_even")), "per_forward", "bits_per_byte")
    found = {name: getattr(row, name) for name in names}
    return {f"{label}.{name}": value for name, value in found.items() if value is not None}


def _speed(row: Figures, against: str) -> dict[str, object]:
    return {
        "strategy": row.strategy,
        "tokens/s": _value(row.tokens_per_second),
        f"x {against}": _ratio(row.speed),
        "per forward": _value(row.per_forward),
        "accepted": _value(row.accepted_per_forward),
        "break-even": _value(row.break_even),
    }


def _text(row: Figures) -> dict[str, object]:
    return {
        "strategy": row.strategy,
        "same text": f"{row.n_same}/{row.n_done}",
        "near ties": row.n_near_ties,
        "greedy": _value(row.greedy_share),
        "bits/byte": _value(row.bits_per_byte),
        "forwards": row.n_forwards,
        "other": row.n_other_forwards,
        "failed": row.n_failed,
    }


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _ratio(interval: Interval | None) -> str:
    if interval is None:
        return ""
    if math.isnan(interval.low):
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _parted(lm: LM, found: dict[str, Figures]) -> list[dict[str, object]]:
    def told(token: int | None) -> str:
        return "(end)" if token is None else lm.tokenizer.decode([token])

    return [
        {"strategy": label, "prompt": prompt, "position": there.position, "expected": told(there.expected),
         "written": told(there.written), "logit gap": there.gap, "near tie": there.is_near_tie}
        for label, row in found.items() for prompt, there in row.differences.items()
    ]  # fmt: skip


def _failed(found: dict[str, Figures]) -> list[dict[str, object]]:
    return [
        {"strategy": label, "prompts": count, "reason": _reason(label, reason)}
        for label, row in found.items()
        for reason, count in row.reasons.items()
    ]


def _reason(label: str, reason: str) -> str:
    """A strategy names its options as `tokenry generate` takes them; here the label stands in front."""
    return reason.replace("--with ", f"--with {label}.")


def _of_prompts(found: dict[str, Figures], runs: Sequence[Run], against: str) -> list[dict[str, object]]:
    """Which prompts gain: the ratio of each strategy on each."""
    written = {run.prompt: run.written for run in runs if run.strategy == against and run.written is not None}
    columns = [row for label, row in found.items() if label != against and row.ratios]
    return [
        {"prompt": prompt, "read": len(text.prompt_ids), "written": len(text.ids),
         **{row.strategy: row.ratios.get(prompt) for row in columns}}
        for prompt, text in sorted(written.items()) if columns
    ]  # fmt: skip


def _charts(found: dict[str, Figures], against: str) -> list[Figure]:
    fast = [(label, row.speed) for label, row in found.items() if row.speed is not None and label != against]
    points = [(label, speed.value, speed.low, speed.high) for label, speed in fast]
    both = [(label, row) for label, row in found.items() if row.per_forward is not None and row.break_even is not None]
    charts = []
    if points:
        title = f"Tokens a second against {against} (1 is as fast)"
        charts.append(Figure("interval", title, "strategy", f"times {against}", {"95 % over prompts": points}))
    if both:
        series = {
            "writes": [(label, row.per_forward.value) for label, row in both],
            "must write to pay (break-even)": [(label, row.break_even.value) for label, row in both],
        }
        charts.append(Figure("bar", "Tokens a forward pass", "strategy", "tokens a forward", series))
    return charts


def _verdict(found: dict[str, Figures], against: str) -> str:
    others = [row for label, row in found.items() if label != against and row.speed is not None and not row.n_failed]
    same = [row for row in others if row.n_same + row.n_near_ties == row.n_done]
    faster = [row for row in same if row.speed.low > 1]
    if not others:
        return f"Nothing to compare {against} with."
    best = max(faster or same or others, key=lambda row: row.speed.value)
    told = f"{_ratio(best.speed)} times {against}"
    if faster:
        ties = f", but for {best.n_near_ties} near tie(s)" if best.n_near_ties else ""
        return f"Take {best.strategy}: {told}, and the same text on all {best.n_done} prompts{ties}."
    if same:
        return f"Stay with {against}: of what writes the same text, {best.strategy} comes nearest with {told}."
    return f"Nothing else writes the text of {against}; {best.strategy} is the fastest, {told}: look at its quality."


def _warnings(found: dict[str, Figures], against: str, settings: Settings) -> list[str]:
    warnings = []
    for label, row in found.items():
        parted = {prompt: there for prompt, there in row.differences.items() if not there.is_near_tie}
        if parted and settings.is_greedy:
            warnings.append(_parting(label, against, parted, row.n_done))
        if row.n_failed:
            reason = _reason(label, next(iter(row.reasons)))
            warnings.append(f"{label} failed on {row.n_failed} of {row.n_prompts}: {reason}")
        if row.n_unstable:
            warnings.append(f"{label} wrote different texts in different passes on {row.n_unstable} prompts.")
    n = found[against].n_done
    if n < 5:
        warnings.append(f"{n} prompts: intervals over so few are too narrow or absent. Give ten or more.")
    return warnings


def _parting(label: str, against: str, parted: dict[int, Difference], n: int) -> str:
    prompt, there = next(iter(parted.items()))
    if there.position < 0:
        return (
            f"{label} read the prompt in other tokens than {against} on {len(parted)} of {n} prompts, so their texts "
            "cannot be compared token by token: look at greedy and bits/byte."
        )
    told = f"by {there.gap:.3g} in the logits" if math.isfinite(there.gap) else "how far is not known"
    gap = "where one has ended" if None in (there.expected, there.written) else told
    return (
        f"{label} wrote another text than {against} on {len(parted)} of {n} prompts, and not by rounding: on prompt "
        f"{prompt} at new token {there.position}, {gap}. It is approximate, or wrong."
    )


def _notes(against: str, clock: str, why: str, facts: dict) -> list[str]:
    time_of = "processor time" if clock == "cpu" else "wall time"
    notes = [
        f"x {against}: ratio of tokens a second ({time_of}, prompt included) within each prompt and pass, median over "
        f"{facts['passes']} pass(es), geometric mean over prompts, 95 % bootstrap over prompts (not machines or days). "
        "The order of strategies is drawn anew for every prompt and pass.",
        "per forward counts all new tokens by pass after the prompt's (with the bonus token: MAT of Token Recycling, "
        "of Spec-Bench, vLLM's mean acceptance length); accepted counts guesses alone (without: DySpec's estimate F).",
        f"break-even: time of a pass over that of {against}: so many tokens must a pass write to be as fast.",
        "other: passes of a draft, guide or small model, or of the model with fewer layers.",
        f"same text: prompts with the tokens of {against} in every pass; near ties: of the rest, those whose first "
        "difference is within rounding.",
        "greedy: share of new tokens that are the full model's first choice after the text before them; bits/byte: of "
        "the new text under the full model.",
    ]
    return [*notes, f"No judge of quality: {why}"] if why else notes
