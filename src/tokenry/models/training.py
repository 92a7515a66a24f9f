"""`fit`, the only training loop: token-weighted accumulation, schedules, resume bit for bit, several processes.

A loss is `f(model, batch) -> (mean over tokens, metrics)`, where `metrics["tokens"]` says over how many. Losses are
weighted by it, so k accumulated micro-batches are one large batch, however unevenly their tokens fall.

Papers: AdamW (arXiv 1711.05101); the count of operations follows Scaling Laws for Neural Language Models
(arXiv 2001.08361), section 2.1.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.models.batches import NOT_LEARNED, Batch
from tokenry.models.checkpoints import State, capture_random, load_state, save_state
from tokenry.models.processes import Processes, holding_interrupts

Loss = Callable[[nn.Module, Batch], tuple[Tensor, dict]]
SCHEDULES = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        rate: highest learning rate; a parameter group may set its own ("rate").
        schedule: what happens after the warm-up: "linear" or "cosine" to zero at the last step, or "constant".
        warmup: steps of linear rise from zero.
        weight_decay: of AdamW, for matrices and embeddings only; norms and biases never decay.
        betas, epsilon: of AdamW.
        clip: largest norm of the whole gradient; None does not clip.
        accumulate: micro-batches in one step.
        seed: set before the first step, for dropout; the data have their own.
        groups: model -> parameter groups, dicts with "params" and optionally "rate" and "weight_decay".
        save_every: steps between states on disk; None saves at the end and on interruption only. Needs `resume`.
        floor: share of the rate that "linear" and "cosine" end at.
        dtype: "bfloat16" runs the forward pass under autocast in it; None or "float32" as the weights are.
    """

    rate: float = 1e-3
    schedule: str = "linear"
    warmup: int = 0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    clip: float | None = 1.0
    accumulate: int = 1
    seed: int = 0
    groups: Callable[[nn.Module], list[dict]] | None = None
    save_every: int | None = None
    dtype: str | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            from tokenry.core.choosing import suggest

            raise ValueError(
                f"schedule {self.schedule!r} is not known.{suggest(self.schedule, SCHEDULES)} "
                f"Known: {', '.join(SCHEDULES)}."
            )
        if self.dtype not in (None, "float32", "bfloat16"):
            raise ValueError(
                f"dtype {self.dtype!r} is not trained in; need bfloat16 or float32 (float16 would need loss scaling). "
                "Take bfloat16."
            )
        for name, least in (("accumulate", 1), ("warmup", 0), ("weight_decay", 0), ("rate", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; need at least {least}. Correct the training settings.")


@dataclass(frozen=True)
class FitResult:
    """What a training run did, interruptions and resumptions together.

    Attributes:
        history: one dict a step: "step" (from 1), "loss" (mean over its tokens), "tokens", "rate", "norm" (of the
            gradient before clipping, NaN without clipping), "cpu_seconds" and "seconds" since the start, and whatever
            else the loss measured (token-weighted mean).
        seconds, cpu_seconds: time in steps; `on_step` is not counted.
        tokens: targets learned.
        steps: steps done; fewer than asked when `on_step` stopped the run.
    """

    history: list[dict] = field(repr=False)
    seconds: float
    cpu_seconds: float
    tokens: int
    steps: int


def next_token_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
    """Mean cross-entropy in nats of each labelled token given those before it.

    Returns:
        (scalar, {"tokens": number of targets}); the scalar is 0 when the batch has no target.
    """
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    mask = inputs.get("attention_mask")
    if mask is not None and mask.is_floating_point():
        inputs["attention_mask"] = mask.to(next(model.parameters()).dtype)
    logits_NV = model(**inputs, use_cache=False).logits.flatten(0, 1)
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    # The labels move, not the logits: shifting those would copy them.
    targets_N = functional.pad(batch["labels"][:, 1:], (0, 1), value=NOT_LEARNED).flatten()
    n_targets = int((targets_N != NOT_LEARNED).sum())
    total = functional.cross_entropy(logits_NV, targets_N, ignore_index=NOT_LEARNED, reduction="sum")
    return total / max(1, n_targets), {"tokens": n_targets}


def fit(
    model: nn.Module,
    batches: Callable[[int], Batch] | Sequence[Batch] | Iterable[Batch],
    loss: Loss = next_token_loss,
    *,
    steps: int,
    config: FitConfig | None = None,
    on_step: Callable[[int, dict], object] | None = None,
    resume: str | Path | None = None,
    label: str = "training",
) -> FitResult:
    """Train a model in place.

    Args:
        model: in training mode for the run; parameters without `requires_grad` stay as they are.
        batches: a function of the micro-batch number (best: nothing is stored to resume), a list (gone round), or any
            iterable (on resuming, what was used is skipped).
        loss: see the head of this file.
        steps: optimiser steps in all, those of an interrupted run included.
        config: FitConfig; the default trains with AdamW at 1e-3, linearly to zero.
        on_step: called after each step with (steps done, that step's history entry); a true result ends the run.
        resume: folder for the state. Where it holds one the run goes on from there and ends bit for bit as if it had
            never stopped (same machine and threads, one process). The state is written there every `save_every`
            steps, on Ctrl-C, and at the end.
        label: of the progress line.

    Under `accelerate launch` with several processes each takes every n-th micro-batch, and gradients are summed.

    Raises:
        ValueError: nothing to train, data that end too early, a loss that is NaN or infinite, a state of another run.
        KeyboardInterrupt: after the state is saved.
    """
    config = config or FitConfig()
    run = _Run(model, batches, loss, steps, config, Path(resume) if resume else None)
    return run.go(on_step, label)


def rate_at(step: int, *, steps: int, config: FitConfig) -> float:
    """Share of the highest rate at a step counted from 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup) / max(1, steps - config.warmup)
    share = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.floor + (1 - config.floor) * share


def default_groups(model: nn.Module) -> list[dict]:
    """Matrices and embeddings decay; vectors (norms, biases) do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def flops(model: nn.Module, n_tokens: int, *, length: int, backward: bool = True) -> float:
    """Floating-point operations of training on (or, without `backward`, running over) `n_tokens` tokens.

    2 a token and weight forward, twice that backward, over every matrix that multiplies: all of them but
    embeddings (look-ups), the head included even where it is tied; and attention, 4 x length x width a layer forward
    (scores and values, the full square, which is what implementations without a causal kernel compute). Norms, softmax
    and activations are left out (a few per cent).

    Args:
        n_tokens: tokens in all.
        length: T of the sequences they come in.

    Paper: Scaling Laws for Neural Language Models (arXiv 2001.08361), section 2.1.
    """
    head = model.get_output_embeddings().weight
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)} | {id(head)}
    weights = head.numel() + sum(p.numel() for p in model.parameters() if p.ndim >= 2 and id(p) not in looked_up)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = 4 * config.num_hidden_layers * length * heads * head_width
    return float(n_tokens) * (2 * weights + attention) * (3 if backward else 1)


class _Run:
    """The state of one `fit`: what it needs between steps, and nothing of a step itself."""

    def __init__(
        self, model: nn.Module, batches: object, loss: Loss, steps: int, config: FitConfig, folder: Path | None
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}; need at least 1. Leave training out instead of asking for none.")
        self.model, self.loss, self.steps, self.config, self.folder = model, loss, steps, config, folder
        self.processes = Processes(model)
        self.optimizer = _optimizer(model, config)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.state = State(step=0, history=[], seconds=0.0, cpu_seconds=0.0, random=None)
        kept = ("accumulate", "rate", "schedule", "warmup", "weight_decay", "seed")
        self.signature = {key: getattr(config, key) for key in kept}
        self.signature |= {"steps": steps, "processes": self.processes.count}
        self.is_whole = True  # weights and `state` are of the same step
        found = folder and load_state(folder, model, self.optimizer, state=self.state, signature=self.signature)
        if not found:
            torch.manual_seed(config.seed + self.processes.rank)
            self.state.random = capture_random()
        self.take = _source(batches)

    def go(self, on_step: Callable[[int, dict], object] | None, label: str) -> FitResult:
        from tokenry.core.runs import Progress

        was_training = self.model.training
        self.model.train()
        stopped = False
        progress = Progress(label, self.steps, "steps", self.processes.rank > 0, start=self.state.step)
        try:
            with progress, holding_interrupts() as interrupted:
                while self.state.step < self.steps and not stopped:
                    entry = self._step(interrupted)
                    progress.add(1, note=f"loss {entry['loss']:.3f}")
                    stopped = bool(on_step(self.state.step, entry)) if on_step else False
                    self.state.random = capture_random()  # `on_step` may have drawn
                    stopped = self.processes.any(stopped)
                    every = self.config.save_every
                    if every and self.state.step % every == 0 and self.state.step < self.steps:
                        self._save()
                    interrupted.raise_if_asked()
        except KeyboardInterrupt:
            if self.is_whole:
                self._save(wait=False)
            raise
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self.model.train(was_training)
        self._save()
        history = self.state.history
        tokens = sum(entry["tokens"] for entry in history)
        return FitResult(history, self.state.seconds, self.state.cpu_seconds, tokens, self.state.step)

    def _step(self, interrupted: object) -> dict:
        """One optimiser step; nothing of `state` changes unless all of it is done."""
        wall, cpu = time.perf_counter(), time.process_time()
        n_micro, processes = self.config.accumulate, self.processes
        self.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, float] = {"tokens": 0.0, "loss": 0.0}
        for micro in range(n_micro):
            number = (self.state.step * n_micro + micro) * processes.count + processes.rank
            batch = self.take(number)
            with processes.syncing(micro == n_micro - 1), _autocast(self.model, self.config.dtype):
                mean, metrics = self.loss(processes.model, batch)
                # Summed now and divided once all counts are known; multiplied here so that processes may average.
                (mean * float(metrics["tokens"]) * processes.count).backward()
            for key, value in {**metrics, "loss": float(mean.detach())}.items():
                weight = 1.0 if key == "tokens" else float(metrics["tokens"])
                totals[key] = totals.get(key, 0.0) + float(value) * weight
            interrupted.raise_if_asked()
        totals = processes.sums(totals)
        n_tokens = totals.pop("tokens")
        entry = {key: value / max(1.0, n_tokens) for key, value in totals.items()}
        norm = self._update(n_tokens, entry["loss"])
        self.optimizer.zero_grad(set_to_none=True)
        state = self.state
        state.step += 1
        state.seconds += time.perf_counter() - wall
        state.cpu_seconds += time.process_time() - cpu
        state.random = capture_random()
        times = {"seconds": state.seconds, "cpu_seconds": state.cpu_seconds}
        entry |= {"step": state.step, "tokens": int(n_tokens), "norm": norm, **times}
        entry["rate"] = self.optimizer.param_groups[0]["lr"]
        state.history.append(entry)
        self.is_whole = True
        return entry

    def _update(self, n_tokens: float, loss: float) -> float:
        """Clip and apply the gradient of one step; the norm before clipping."""
        gradients = [p.grad for p in self.trained if p.grad is not None]
        if not math.isfinite(loss) or not gradients:
            raise ValueError(
                f"The loss of step {self.state.step + 1} is {loss} with {len(gradients)} gradients; need a finite loss "
                "that reaches the trained weights. Lower the rate, or look at the batch."
            )
        if n_tokens:
            torch._foreach_div_(gradients, n_tokens)
        share = rate_at(self.state.step, steps=self.steps, config=self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * share
        norm = math.nan
        if self.config.clip is not None:
            norm = float(nn.utils.clip_grad_norm_(self.trained, self.config.clip))
            if not math.isfinite(norm):
                raise ValueError(
                    f"The gradient of step {self.state.step + 1} is {norm}; need finite numbers. Lower the rate, train "
                    "in float32 or bfloat16, or look at the batch."
                )
        self.is_whole = False
        self.optimizer.step()
        return norm

    def _save(self, *, wait: bool = True) -> None:
        if self.folder is not None and self.processes.rank == 0:
            save_state(self.folder, self.model, self.optimizer, state=self.state, signature=self.signature)
        if wait:  # on Ctrl-C the other processes may be gone
            self.processes.wait()


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.AdamW:
    groups = config.groups(model) if config.groups else default_groups(model)
    groups = [
        {"rate": config.rate, "weight_decay": config.weight_decay, **group, "params": list(group["params"])}
        for group in groups
    ]
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError(
            f"{type(model).__name__} has no parameter to train: all are frozen. Free some: parameter.requires_grad."
        )
    return torch.optim.AdamW(groups, lr=config.rate, betas=config.betas, eps=config.epsilon)


def _source(batches: object) -> Callable[[int], Batch]:
    """Micro-batches by number, whatever form they came in."""
    if callable(batches):
        return batches
    if isinstance(batches, Sequence):
        if not batches:
            raise ValueError("The list of batches is empty; need at least one. Give more text.")
        return lambda number: batches[number % len(batches)]
    stream: Iterator[Batch] = iter(batches)
    taken = 0

    def take(number: int) -> Batch:
        nonlocal taken
        while True:
            try:
                batch = next(stream)
            except StopIteration:
                raise ValueError(
                    f"The data ended after {taken} batches, batch {number + 1} is needed. Give more text, fewer steps, "
                    "or a list or function of batches, which can be gone round."
                ) from None
            taken += 1
            if taken > number:
                return batch

    return take


def _autocast(model: nn.Module, dtype: str | None) -> object:
    kind = next(model.parameters()).device.type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == "bfloat16")
