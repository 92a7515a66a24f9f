"""The stages of a healing: rows of embedding and head, rows with low-rank additions, everything; each with its steps.

Papers: LoRA (arXiv 2106.09685); Token Distillation (arXiv 2505.20133) for training new rows alone.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from tokenry.core.tokenmap import RowKind
from tokenry.models.partial import freeze, lora, train_rows
from tokenry.transplant.planning import Plan

KINDS = ("rows", "lora", "all")


@dataclass(frozen=True)
class Stage:
    """A stretch of training of one part of the model."""

    what: str
    """"rows", "lora" (rows and low-rank additions, merged at its end) or "all"."""
    steps: int
    rate: float | None = None
    """learning rate; None: that of the whole healing."""

    def __post_init__(self) -> None:
        if self.what not in KINDS or self.steps < 0:
            from tokenry.core.choosing import suggest

            raise ValueError(
                f"stage {self.what!r} of {self.steps} steps is not one.{suggest(self.what, KINDS)} Need one of "
                f"{', '.join(KINDS)} and 0 steps or more, such as rows:100,lora:200:1e-4,all:0."
            )


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Stages from "rows:100,lora:200:1e-4,all:0"; a third part is the stage's learning rate.

    Raises:
        ValueError: a part that is none.
    """
    found = []
    for part in filter(None, text.split(",")):
        what, *numbers = part.strip().split(":")
        try:
            steps, *rate = numbers
            if len(rate) > 1:
                raise ValueError(part)
            found.append(Stage(what, int(steps), float(rate[0]) if rate else None))
        except (ValueError, TypeError) as problem:
            told = str(problem) if "is not one" in str(problem) else f"{part!r} is not a stage."
            raise ValueError(f"{told} Need NAME:STEPS or NAME:STEPS:RATE, such as rows:100,lora:200:1e-4.") from None
    return tuple(found)


def scaled(stages: Sequence[Stage], costs: Sequence[float], compute: float) -> list[Stage]:
    """The stages in the same proportion, as long as `compute` pays for at `costs` a step; at least one step."""
    planned = sum(stage.steps * cost for stage, cost in zip(stages, costs, strict=True))
    if not planned:
        raise ValueError("the stages have no steps, so their proportion says nothing; give steps.")
    steps = [round(stage.steps * compute / planned) for stage in stages]
    if not sum(steps):
        steps[int(np.argmax([stage.steps for stage in stages]))] = 1
    return [replace(stage, steps=n) for stage, n in zip(stages, steps, strict=True)]


def made_rows(made: Plan) -> list[int] | None:
    """Ids whose rows a plan makes anew, for what trains those alone; None where there are none."""
    found = np.flatnonzero(made.input.kinds > RowKind.SPECIAL)
    return np.setdiff1d(found, made.unfilled).tolist() or None


def row_names(model: nn.Module) -> list[str]:
    """Names of the embedding and the head among the parameters (one name where they are shared)."""
    tables = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return [name for name, parameter in model.named_parameters() if id(parameter) in tables]


@contextlib.contextmanager
def training_part(
    model: nn.Module, what: str, *, rows: Sequence[int] | None, rank: int, seed: int, only_input: bool = False
) -> Iterator[None]:
    """Let the part of the model train that a stage names; afterwards it is whole and plain again.

    Args:
        rows: ids whose rows train in the stages "rows" and "lora"; None: all.
        rank: of the low-rank additions.
        seed: of their first weights.
        only_input: leave the head alone where it is a matrix of its own.
    """
    with contextlib.ExitStack() as stack:
        if what == "lora":
            stack.enter_context(lora(model, rank=rank, seed=seed))
        if what != "all" and rows is not None:
            head_rows = [] if only_input else None
            stack.enter_context(train_rows(model, rows, head_rows, freeze_rest=what == "rows"))
        elif what == "rows":
            stack.enter_context(freeze(model, but=row_names(model)))
        elif what == "lora":
            for table in (model.get_input_embeddings(), model.get_output_embeddings()):
                table.weight.requires_grad_(True)  # taking the additions off puts the flags back
        yield
