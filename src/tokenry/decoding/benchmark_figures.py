"""From runs to figures of each strategy: speed against a baseline, tokens a forward, break-even, sameness, quality.

The two ways to count tokens a forward pass, after the pass over the prompt:
    with the bonus token     all new tokens: Leviathan et al. (arXiv 2211.17192), Token Recycling and Spec-Bench (MAT),
                             EAGLE (tau), vLLM's mean acceptance length; 1 in plain decoding.
    without the bonus token  accepted guesses alone: what DySpec estimates and maximises (F), vLLM's acceptance rate;
                             0 in plain decoding.
"""

# Axes: P prompts, R timed passes.

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from tokenry.core.intervals import Interval, bootstrap_interval, ratio_interval
from tokenry.decoding.benchmark import Run
from tokenry.decoding.benchmark_judging import Difference, Quality
from tokenry.decoding.strategies import Continuation


@dataclass
class Figures:
    """One strategy over all prompts. Intervals are over prompts; None where nothing can be said.

    Attributes:
        strategy: its label.
        n_prompts, n_failed: prompts it was given, and those on which any of its passes failed.
        reasons: why -> on how many prompts.
        tokens_per_second: new tokens a second, the prompt's pass included.
        speed: tokens a second over the baseline's: geometric mean over prompts of ratios taken within a pass.
        ratios: prompt -> the same ratio on it alone.
        break_even: time of a forward pass (all the strategy does included) over the baseline's: so many tokens must a
            pass write to be as fast.
        per_forward, accepted_per_forward: tokens a pass adds, with and without the bonus token.
        tokens_per_pass: new tokens by all passes, the prompt's included; speed is this, over the baseline's, by
            break_even.
        n_tokens, n_forwards, n_other_forwards: in one pass over the prompts.
        n_same: prompts whose text is the baseline's, token by token, in every pass.
        differences: prompt -> where the others part.
        n_unstable: prompts on which two passes wrote different texts.
        bits_per_byte, greedy_share: of the text under the full model (see `benchmark_judging`).
    """

    strategy: str
    n_prompts: int = 0
    n_failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    tokens_per_second: Interval | None = None
    speed: Interval | None = None
    ratios: dict[int, float] = field(default_factory=dict)
    break_even: Interval | None = None
    per_forward: Interval | None = None
    accepted_per_forward: Interval | None = None
    tokens_per_pass: float = math.nan
    n_tokens: int = 0
    n_forwards: int = 0
    n_other_forwards: int = 0
    n_same: int = 0
    differences: dict[int, Difference] = field(default_factory=dict)
    n_unstable: int = 0
    bits_per_byte: Interval | None = None
    greedy_share: Interval | None = None

    @property
    def n_done(self) -> int:
        """Prompts it continued in every pass."""
        return self.n_prompts - self.n_failed

    @property
    def n_near_ties(self) -> int:
        """Differences that rounding may have made."""
        return sum(difference.is_near_tie for difference in self.differences.values())


Compare = Callable[[Continuation, Continuation], Difference | None]
Judge = Callable[[Continuation], Quality]


def figures_of(
    runs: Sequence[Run],
    *,
    baseline: str,
    compare: Compare,
    judge: Judge | None = None,
    clock: str = "wall",
    seed: int = 0,
) -> dict[str, Figures]:
    """Figures of every strategy that was run.

    Args:
        runs: of `benchmark.measure`.
        baseline: label that the others are measured against; where it failed a prompt there is no comparison.
        compare: (baseline's text, other text) -> first difference.
        judge: text -> its quality; None leaves quality out.
        clock: "wall", or "cpu" for processor time.
        seed: of the intervals.
    """
    by_label: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        by_label.setdefault(run.strategy, {}).setdefault(run.prompt, []).append(run)
    base = _done(by_label[baseline])
    known: dict[tuple, Quality] = {}

    def judged(written: Continuation) -> Quality:
        key = (tuple(written.prompt_ids), tuple(written.ids))
        if key not in known:
            known[key] = judge(written)
        return known[key]

    found = {}
    for label, tried in by_label.items():
        row = Figures(label, n_prompts=len(tried))
        done = _done(tried)
        _failures(row, tried)
        _costs(row, done, clock, seed)
        _against(row, done, base, clock, seed)
        _sameness(row, done, base, compare)
        if judge is not None and done:
            _quality(row, [judged(passes[0].written) for passes in done.values()], seed)
        found[label] = row
    return found


def _done(tried: dict[int, list[Run]]) -> dict[int, list[Run]]:
    """Prompts without a failure -> runs, pass 0 first."""
    return {
        prompt: sorted(passes, key=lambda run: run.number)
        for prompt, passes in tried.items()
        if all(run.written is not None and run.written.ids for run in passes)
    }


def _failures(row: Figures, tried: dict[int, list[Run]]) -> None:
    for passes in tried.values():
        problem = next((run.problem for run in passes if run.problem), "")
        if not problem and any(not run.written.ids for run in passes):
            problem = "wrote nothing"
        if problem:
            row.n_failed += 1
            row.reasons[problem] = row.reasons.get(problem, 0) + 1


def _costs(row: Figures, done: dict[int, list[Run]], clock: str, seed: int) -> None:
    if not done:
        return
    first = [passes[0] for passes in done.values()]
    n_tokens = np.array([len(run.written.ids) for run in first])
    n_forwards = np.array([run.forwards for run in first])
    seconds = [median(_seconds(run, clock) for run in passes[1:]) for passes in done.values()]
    row.n_tokens, row.n_forwards = int(n_tokens.sum()), int(n_forwards.sum())
    row.n_other_forwards = sum(run.other_forwards for run in first)
    if sum(seconds):
        row.tokens_per_second = ratio_interval(n_tokens, seconds, seed=seed, unit="tokens/s")
    if row.n_forwards:
        row.tokens_per_pass = row.n_tokens / row.n_forwards
    steps = n_forwards - 1
    if (steps >= 0).all() and steps.sum():
        accepted = [run.written.stats.n_accepted for run in first]
        row.per_forward = ratio_interval(n_tokens - 1, steps, seed=seed, unit="tokens/forward")
        row.accepted_per_forward = ratio_interval(accepted, steps, seed=seed, unit="guesses/forward")


def _against(
    row: Figures, done: dict[int, list[Run]], base: dict[int, list[Run]], clock: str, seed: int
) -> None:  # fmt: skip
    """Ratios within a pass, then the median over passes, then the geometric mean over prompts."""
    shared = [prompt for prompt in done if prompt in base]
    if not shared:
        return

    def ratios(amount: Callable[[Run], int]) -> list[float]:
        """Per prompt: seconds per unit of `amount` of the strategy over the baseline's."""
        found = []
        for prompt in shared:
            pairs = zip(done[prompt][1:], base[prompt][1:], strict=True)
            found.append(median(_each(ours, amount, clock) / _each(theirs, amount, clock) for ours, theirs in pairs))
        return found

    if all(_seconds(run, clock) > 0 for prompt in shared for run in (*done[prompt][1:], *base[prompt][1:])):
        row.ratios = {
            prompt: 1 / ratio for prompt, ratio in zip(shared, ratios(lambda run: len(run.written.ids)), strict=True)
        }
        row.speed = _geometric(list(row.ratios.values()), seed)
        if all(run.forwards for prompt in shared for run in (*done[prompt], *base[prompt])):
            row.break_even = _geometric(ratios(lambda run: run.forwards), seed)


def _each(run: Run, amount: Callable[[Run], int], clock: str) -> float:
    return _seconds(run, clock) / amount(run)


def _seconds(run: Run, clock: str) -> float:
    return run.cpu_seconds if clock == "cpu" else run.seconds


def _geometric(ratios_P: Sequence[float], seed: int) -> Interval:
    logs = bootstrap_interval(np.log(ratios_P), seed=seed)
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n, "times")


def _sameness(row: Figures, done: dict[int, list[Run]], base: dict[int, list[Run]], compare: Compare) -> None:
    for prompt, passes in done.items():
        texts = {(tuple(run.written.prompt_ids), tuple(run.written.ids)): run.written for run in passes}
        row.n_unstable += len(texts) > 1
        if prompt not in base:
            continue
        expected = base[prompt][0].written
        found = next((d for d in (compare(expected, written) for written in texts.values()) if d), None)
        if found is None:
            row.n_same += 1
        else:
            row.differences[prompt] = found


def _quality(row: Figures, judged: list[Quality], seed: int) -> None:
    n_bytes = [quality.n_bytes for quality in judged]
    if sum(n_bytes):
        bits = [quality.nats / math.log(2) for quality in judged]
        row.bits_per_byte = ratio_interval(bits, n_bytes, seed=seed, unit="bits/byte")
    n_first, n_tokens = [q.n_first for q in judged], [q.n_tokens for q in judged]
    row.greedy_share = ratio_interval(n_first, n_tokens, seed=seed)
