"""Run strategies side by side on the same prompts, fairly: interleaved, repeated, counted by watching the models.

What is measured here is judged in `benchmark_judging` and reported by `benchmark_report`.
"""

# Axes: P prompts, S strategies, R passes.

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from tokenry.decoding.library_decoders import counted_calls
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import Continuation, Prompt, Strategy
from tokenry.decoding.trees import chain
from tokenry.models.lm import LM
from tokenry.models.session import Session

Maker = Callable[[], Strategy]
Clock = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """One strategy on one prompt, once.

    Attributes:
        strategy: its label.
        prompt: number of the prompt.
        number: of the pass; pass 0 is not timed: it warms up and counts the forwards of every model.
        written: what it wrote; None when it failed.
        seconds, cpu_seconds: on the clock, and of the processor (all threads together).
        forwards: passes of the model itself: no more than it says, no more than were seen.
        other_forwards: all other passes seen (draft, guide, small model, or the model with fewer layers); pass 0 only.
        problem: why it failed; "".
    """

    strategy: str
    prompt: int
    number: int
    written: Continuation | None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forwards: int = 0
    other_forwards: int = 0
    problem: str = ""


def measure(
    lm: LM,
    prompts: Sequence[Prompt],
    makers: Mapping[str, Maker],
    *,
    settings: Settings,
    passes: int = 3,
    seed: int = 0,
    clock: Clock | None = None,
    on_run: Callable[[Run], None] | None = None,
) -> list[Run]:
    """Run every strategy on every prompt, `passes` + 1 times.

    In each pass every strategy is made anew, writes a few tokens from the start token (untimed: draft models are opened
    there), and then meets the prompts in their order, so that what it learns from one it may use on the next, but never
    what it learnt from the same prompt in the pass before. At each prompt the strategies follow each other in an order
    drawn for this prompt and pass: what the machine does meanwhile strikes all alike, and ratios are taken within.

    A strategy that raises on a prompt has failed there; the others go on.

    Args:
        lm: the model.
        prompts: texts or ids.
        makers: label -> function that makes the strategy.
        settings: what is asked of each.
        passes: timed passes.
        seed: of the orders.
        clock: gives (seconds, processor seconds).
        on_run: called with each run.

    Returns:
        All runs in the order they were made.
    """
    if passes < 1:
        raise ValueError(f"passes={passes}; need at least 1 timed pass.")
    chance, clock = np.random.default_rng(seed), clock or _clock_of(lm)
    labels, found = list(makers), []
    _check_trees(lm)
    for number in range(passes + 1):
        made = {label: _made(make, lm, settings) for label, make in makers.items()}
        for place, prompt in enumerate(prompts):
            for turn in chance.permutation(len(labels)):
                label = labels[turn]
                run = _run(lm, prompt, made[label], settings, clock, watch=number == 0)
                found.append(replace(run, strategy=label, prompt=place, number=number))
                if on_run is not None:
                    on_run(found[-1])
    return found


def _check_trees(lm: LM) -> None:
    """The first tree of a model is checked against plain text; that is no cost of the strategy that comes first."""
    with suppress(Exception):  # no session can hold this model, or it has no start token: strategies say so themselves
        session = Session.open(lm)
        session.extend([lm.start])
        session.verify(chain([lm.start, lm.start]))


def _made(make: Maker, lm: LM, settings: Settings) -> Strategy | Exception:
    """The strategy after a few words from nowhere; or why it cannot be made."""
    try:
        strategy = make()
    except Exception as problem:  # it is shown as the reason of every prompt
        return problem
    with suppress(Exception):  # comes again at the prompts, and is told there
        strategy(lm, [lm.start], replace(settings, max_new_tokens=min(4, settings.max_new_tokens)))
    return strategy


def _run(
    lm: LM, prompt: Prompt, strategy: Strategy | Exception, settings: Settings, clock: Clock, *, watch: bool
) -> Run:
    if isinstance(strategy, Exception):
        return Run("", 0, 0, None, problem=reason_of(strategy))
    with counted_calls(lm.model) as own, _all_calls(watch) as every:
        before = clock()
        try:
            written = strategy(lm, prompt, settings)
        except Exception as problem:  # a failure is a result of a benchmark
            return Run("", 0, 0, None, problem=reason_of(problem))
        after = clock()
    told = written.stats.n_forwards
    forwards = min(told, own[0]) if own[0] else told
    return Run(
        "", 0, 0, written, after[0] - before[0], after[1] - before[1], forwards, max(0, every[0] - forwards)
    )  # fmt: skip


def reason_of(problem: BaseException) -> str:
    """A failure in one line."""
    text = " ".join(str(problem).split())
    return text if isinstance(problem, ValueError) and text else f"{type(problem).__name__}: {text}"


def _clock_of(lm: LM) -> Clock:
    def read() -> tuple[float, float]:
        if lm.device.type == "cuda":
            torch.cuda.synchronize(lm.device)
        return time.perf_counter(), time.process_time()

    return read


@contextmanager
def _all_calls(on: bool) -> Iterator[list[int]]:
    """Forward passes of all language models of the process while inside, if asked; it slows every layer a little."""
    from transformers import PreTrainedModel

    found, speaks = [0], {}

    def count(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, PreTrainedModel):
            if id(module) not in speaks:
                speaks[id(module)] = module.get_output_embeddings() is not None
            found[0] += speaks[id(module)]

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count) if on else None
    try:
        yield found
    finally:
        if handle is not None:
            handle.remove()
