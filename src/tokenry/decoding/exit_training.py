"""Teach a model its layer schedule: losses for `fit` that run each position through its own layers, or every exit.

Paper: SkipDecode (arXiv 2307.02628), section 3 (fine-tuning with the policy); LITE (arXiv 2310.18581) for the loss over
exits. The parallel form, one forward pass with all layers in which a position keeps what its own layers gave, is exact
because the layers of a step hold those of all later ones.
"""

# Axes: B rows, T positions, L layers.

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers
from tokenry.models.batches import NOT_LEARNED, Batch
from tokenry.models.lm import LM
from tokenry.models.training import FitConfig, FitResult, Loss, fit, next_token_loss


def scheduled_loss(schedule: LayerSchedule) -> Loss:
    """A loss for `fit`: next tokens by the layers that generation will run at each position.

    The step of a position is `batch["steps"]` (B, T) where that is given (negative: the prompt, all layers), else it is
    counted from the first token the row learns.
    """

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        inputs = {key: value for key, value in batch.items() if key != "steps"}
        steps_BT = batch["steps"] if "steps" in batch else steps_of(batch["labels"])
        with LayerSwitch(model) as switch:
            switch.run_by_position(active_by_position(schedule, steps_BT))
            return next_token_loss(model, inputs)

    return loss


def exits_loss(exits: Sequence[int], *, share: float = 0.5) -> Loss:
    """A loss for `fit` over several exits: (1 - share) of the whole model's and `share` of the mean over exits.

    An exit after k layers is read by the model's own final norm and head. It makes self-drafts, plain early exit and
    exit by confidence work; the whole model stays in training.

    Args:
        exits: numbers of layers, each below L.
        share: weight of the exits together.
    """
    exits = tuple(exits)
    if not exits or min(exits) < 1 or not 0 <= share <= 1:
        raise ValueError(f"exits {exits}, share={share}; need layers to exit after, from 1, and a share from 0 to 1.")

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        inputs = {key: value for key, value in batch.items() if key != "steps"}
        with LayerSwitch(model) as switch:
            if max(exits) >= switch.n_layers:
                raise ValueError(f"exit after {max(exits)} of {switch.n_layers} layers; need fewer than all.")
            switch.watched = frozenset(layer - 1 for layer in exits)
            total, metrics = next_token_loss(model, inputs)
            metrics["whole"] = float(total.detach())
            seen, total = dict(switch.seen), (1 - share) * total
            switch.watched = frozenset()
            for layer in exits:
                switch.only_head(seen[layer - 1])
                part, _ = next_token_loss(model, inputs)
                metrics[f"exit {layer}"] = float(part.detach())
                total = total + share / len(exits) * part
        return total, metrics

    return loss


def steps_of(labels_BT: Tensor) -> Tensor:
    """Step of each position, counted from the first token a row learns; negative before it (B, T)."""
    learned_BT = labels_BT != NOT_LEARNED
    places_T = torch.arange(labels_BT.shape[1], device=labels_BT.device)
    first_B = torch.where(learned_BT.any(1), learned_BT.int().argmax(1), labels_BT.shape[1])
    return places_T[None] - first_B[:, None]


def active_by_position(schedule: LayerSchedule, steps_BT: Tensor) -> Tensor:
    """Bool (L, B, T): whether a layer runs at a position; the prompt (negative steps) runs all."""
    table_LS = torch.from_numpy(schedule.table()).to(steps_BT.device)
    return table_LS[:, steps_BT.clamp(0, table_LS.shape[1] - 1)] | (steps_BT < 0)


def prompted(batches: Callable[[int], Batch], *, shortest: int, longest: int, seed: int = 0) -> Callable[[int], Batch]:
    """Batches of plain text with a prompt of random length in each row (key "steps"); every token is still learned.

    Args:
        batches: as `models.batches.draw` makes them.
        shortest, longest: tokens of a prompt; 1 <= shortest <= longest.
        seed: of the lengths; with the number of the batch it fixes them.
    """
    if not 1 <= shortest <= longest:
        raise ValueError(f"prompts of {shortest} to {longest} tokens; need 1 <= shortest <= longest.")

    def take(number: int) -> Batch:
        batch = batches(number)
        n_rows, size = batch["input_ids"].shape
        first_B = np.random.default_rng([seed, number]).integers(shortest, longest + 1, n_rows)
        steps_BT = np.arange(size)[None] - first_B[:, None]
        return {**batch, "steps": torch.from_numpy(steps_BT).to(batch["input_ids"].device)}

    return take


def finetune(
    model: "nn.Module | LM",
    batches: "Callable[[int], Batch] | Sequence[Batch] | Iterable[Batch]",
    schedule: LayerSchedule,
    *,
    steps: int,
    config: FitConfig | None = None,
    **others: object,
) -> FitResult:
    """Train a model in place with its schedule, and note the schedule in its configuration (`config.layer_schedule`).

    `tokenry generate FOLDER --strategy early-exit` then follows it without being told.

    Args:
        model: a causal model or LM with as many layers as the schedule.
        batches, steps, config: as for `fit`; the step of a position as for `scheduled_loss`.
        others: `on_step`, `resume`, `label` of `fit`.
    """
    model = model.model if isinstance(model, LM) else model
    _check_layers(model, schedule)
    result = fit(model, batches, scheduled_loss(schedule), steps=steps, config=config, **others)
    model.config.layer_schedule = schedule.to_record()
    return result


def scheduled_nats(model: nn.Module, batches: Sequence[Batch], schedule: LayerSchedule) -> np.ndarray:
    """Mean loss in nats a token of each batch under a schedule, float64 (one a batch); nothing is trained."""
    _check_layers(model, schedule)
    loss, was_training = scheduled_loss(schedule), model.training
    model.eval()
    try:
        with torch.inference_mode():
            return np.array([float(loss(model, batch)[0]) for batch in batches])
    finally:
        model.train(was_training)


def fit_schedule(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    n_steps: int,
    speedup: float = 2.0,
    spreads: Sequence[float] = (0.0, 0.5, 1.0),
    warmups: Sequence[int] = (1, 2),
    place: str = "top",
) -> tuple[LayerSchedule, list[dict]]:
    """The schedule of a speed-up with the least loss on held-out batches, among slopes and numbers of warm-up layers.

    Returns:
        The best schedule, and what was tried: dicts with "warmup", "spread", "layers" (average) and "nats".

    Raises:
        ValueError: no choice can reach the speed-up.
    """
    n_layers, tried = len(decoder_layers(model)), []
    for warmup in warmups:
        for spread in spreads:
            if speedup > n_layers / warmup:
                continue
            how = {"n_steps": n_steps, "speedup": speedup, "spread": spread, "warmup": warmup, "place": place}
            schedule = LayerSchedule.falling(n_layers, **how)
            nats = float(scheduled_nats(model, batches, schedule).mean())
            row = {"warmup": warmup, "spread": spread, "layers": schedule.average(n_steps), "nats": nats}
            tried.append((nats, schedule, row))
    if not tried:
        raise ValueError(f"speedup={speedup} with warmups {list(warmups)} of {n_layers} layers; ask for less.")
    return min(tried, key=lambda one: one[0])[1], [row for _, _, row in tried]


def _check_layers(model: nn.Module, schedule: LayerSchedule) -> None:
    if schedule.n_layers != (n_layers := len(decoder_layers(model))):
        raise ValueError(f"a schedule for {schedule.n_layers} layers on a model of {n_layers}; make one for it.")
