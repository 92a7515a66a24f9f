"""Early exit by position: later tokens run fewer layers, batched and cached, at a cost that is known beforehand.

Changes the text: fine-tune the model with its schedule first (`exit_training`). With all layers at every step the text
is the model's own, bit for bit. The lossless relative is `self_draft`.

Paper: SkipDecode (arXiv 2307.02628).
"""

# Axes: B rows, V vocabulary, L layers.

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers, layer_flops
from tokenry.decoding.sampling import Settings, check_numbers
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.lm import LM
from tokenry.models.session import Session
from tokenry.models.session_support import check_cache


@dataclass(frozen=True)
class Skipped:
    """What a batch came to.

    Attributes:
        ids: new ids of each row, an end token included.
        statistics: of each row; the batch's seconds are shared equally among its rows.
        token_layers: layers run, summed over tokens, measured while it ran.
        cached: tokens cached in each layer at the end, int64 (L,); 0 for a layer that never ran.
    """

    ids: list[list[int]]
    statistics: list[Statistics]
    token_layers: int
    cached: np.ndarray


def skip_generate(
    model: "nn.Module | LM",
    prompts: Sequence[Sequence[int]],
    schedule: LayerSchedule,
    *,
    settings: Settings | None = None,
    stop_text: Callable[[list[int]], bool] | None = None,
) -> Skipped:
    """Continue prompts together, each step with the layers the schedule gives it.

    The prompt runs all layers. Steps are counted in new tokens, so rows of different lengths agree; a row that has
    ended leaves the batch. Each row draws with the same seed, as it would alone. The cache has holes afterwards and is
    dropped: a chat goes on by a new call with the whole text.

    Args:
        model: a causal transformers model or an LM.
        prompts: ids of each row, at least one each; lengths may differ (padded on the left: the longest row bounds how
            far the batch can go).
        schedule: for this model's number of layers.
        settings: length, temperature, ends.
        stop_text: called with prompt and new ids of a row after each token; True ends the row.

    Raises:
        ValueError: an empty prompt, one that fills the context, a schedule for another number of layers.
    """
    model = model.model if isinstance(model, LM) else model
    _check(model, prompts, schedule)
    rows = [list(map(int, row)) for row in prompts]
    batch = _Batch(Session.open(model, batch=len(rows)), rows, settings, stop_text)
    started = time.perf_counter()
    with LayerSwitch(model) as switch:
        batch.start()
        step = 0
        while batch.alive:
            switch.run(schedule.layers(step))
            batch.step()
            step += 1
    seconds = (time.perf_counter() - started) / len(prompts)
    for row, stats in enumerate(batch.statistics):
        stats.seconds, stats.n_new = seconds, len(batch.new[row])
        stats.prompt_seconds, stats.verify_seconds = batch.prompt_seconds / len(prompts), batch.step_seconds[row]
    cached = np.zeros(switch.n_layers, dtype=np.int64)
    for place, layer in enumerate(batch.session._cache.layers):
        cached[place] = layer.get_seq_length()
    return Skipped(batch.new, batch.statistics, switch.token_layers, cached)


@dataclass
class _Batch:
    """Rows in progress; `alive` are the numbers of those still in the session, in its order."""

    session: Session
    contexts: list[list[int]]
    settings: Settings | None = None
    stop_text: Callable[[list[int]], bool] | None = None
    alive: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = self.settings or Settings()
        self.new: list[list[int]] = [[] for _ in self.contexts]
        self.statistics = [Statistics(n_prompt=len(row)) for row in self.contexts]
        self.chances = [Seeded(self.settings.seed) for _ in self.contexts]
        self.step_seconds = np.zeros(len(self.contexts))
        self.prompt_seconds = 0.0

    def start(self) -> None:
        """Run the prompts and take the first token of each."""
        started = time.perf_counter()
        self.alive = list(range(len(self.contexts)))
        rows = self.contexts if len(self.contexts) > 1 else self.contexts[0]
        self._choose(self.session.extend(rows))
        self.prompt_seconds = time.perf_counter() - started

    def step(self) -> None:
        """Feed each row its newest token and take the next."""
        started, fed = time.perf_counter(), self.alive
        for row in fed:
            self.statistics[row].n_steps += 1
        self._choose(self.session.extend([[self.contexts[row][-1]] for row in fed]))
        self.step_seconds[fed] += (time.perf_counter() - started) / len(fed)

    def _choose(self, logits: Tensor) -> None:
        """Add a token to every row, and let those that ended go."""
        logits_BV = logits.reshape(len(self.alive), -1)
        for row, token in zip(self.alive, self._tokens(logits_BV), strict=True):
            self.contexts[row].append(token)
            self.new[row].append(token)
            stats = self.statistics[row]
            stats.n_forwards += 1
            stats.ended_by = self._ended(row, token)
        kept = [place for place, row in enumerate(self.alive) if not self.statistics[row].ended_by]
        if kept and len(kept) < len(self.alive):
            self.session.select(kept)
        self.alive = [self.alive[place] for place in kept]

    def _tokens(self, logits_BV: Tensor) -> list[int]:
        settings = self.settings
        if settings.is_greedy and settings.processors is None:
            return check_numbers(settings.processed(logits_BV)).argmax(-1).tolist()
        laws = [settings.law(logits_V, self.contexts[row])
                for row, logits_V in zip(self.alive, logits_BV, strict=True)]  # fmt: skip
        if settings.is_greedy:
            return [int(law_V.argmax()) for law_V in laws]
        return [self.chances[row].draws(law_V) for row, law_V in zip(self.alive, laws, strict=True)]

    def _ended(self, row: int, token: int) -> str:
        if token in self.settings.ends:
            return "end"
        if self.settings.stop is not None and self.settings.stop(self.new[row]):
            return "stop"
        if self.stop_text is not None and self.stop_text(self.contexts[row]):
            return "stop"
        if len(self.new[row]) >= self.settings.max_new_tokens:
            return "length"
        return "context" if self.session.room < 1 else ""


def skipped(schedule: LayerSchedule) -> Callable[..., Tensor]:
    """What the library's `model.generate(ids, custom_generate=skipped(schedule), ...)` takes.

    Processors, warpers, end tokens and stop strings are the library's. Sampling takes its seed from torch's generator,
    the same one for each row. Padded rows are refused (the library's processors read a whole padded batch; use
    `skip_generate` for rows of different lengths), and so is a cache that holds text: its layers would be of different
    lengths afterwards.
    """

    def decode(
        model, input_ids, *, logits_processor=None, stopping_criteria=None, generation_config=None, **kwargs
    ) -> Tensor:
        check_cache(kwargs.get("past_key_values", kwargs.get("cache")), model)
        mask = kwargs.get("attention_mask")
        if mask is not None and not bool(mask.all()):
            raise ValueError("padded rows; this takes rows of one length. For others use early_exit.skip_generate.")
        device, sampled = input_ids.device, bool(getattr(generation_config, "do_sample", False))

        def processed(ids: Tensor, logits: Tensor) -> Tensor:
            return logits_processor(ids, logits) if logits_processor is not None else logits

        def ended(context: list[int]) -> bool:
            return stopping_criteria is not None and bool(
                stopping_criteria(torch.tensor([context], device=device), None).all()
            )

        settings = Settings(
            max_new_tokens=1 << 30,
            temperature=1.0 if sampled else 0.0,
            seed=int(torch.randint(1 << 62, ())) if sampled else 0,
            processors=processed,
        )
        new = skip_generate(model, input_ids.tolist(), schedule, settings=settings, stop_text=ended).ids
        longest, pad = max(map(len, new)), getattr(generation_config, "_pad_token_tensor", None)
        filled = [[*row, *[0 if pad is None else int(pad)] * (longest - len(row))] for row in new]
        return torch.cat([input_ids, torch.tensor(filled, device=device)], dim=1)

    return decode


def _check(model: nn.Module, prompts: Sequence[Sequence[int]], schedule: LayerSchedule) -> None:
    n_layers = len(decoder_layers(model))
    if schedule.n_layers != n_layers:
        raise ValueError(
            f"a schedule for {schedule.n_layers} layers on {type(model).__name__} with {n_layers}; make one for it: "
            f"LayerSchedule.falling({n_layers}, n_steps=...)."
        )
    if not prompts or not all(len(row) for row in prompts):
        raise ValueError(
            f"{len(prompts)} prompts, an empty one among them or none at all; each needs a token to predict from. "
            "Start an empty one with the model's start token (LM.start)."
        )


def schedule_of(model: nn.Module) -> LayerSchedule | None:
    """The schedule a model was fine-tuned with, as `exit_training.finetune` leaves it in its configuration."""
    record = getattr(model.config, "layer_schedule", None)
    return LayerSchedule.from_record(record) if isinstance(record, dict) else None


@dataclass
class EarlyExit:
    """The strategy: layers by schedule.

    Attributes:
        schedule: a schedule; None makes one for each request from `options`, or takes what the model was trained with.
        options: of `LayerSchedule.falling`; n_steps follows from the tokens asked for.
        batch: prompts continued together by `many`.
    """

    schedule: LayerSchedule | None = None
    options: dict[str, object] = field(default_factory=dict)
    batch: int = 8
    name: str = "early-exit"

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        return self.many(lm, [prompt], settings)[0]

    def many(self, lm: LM, prompts: Sequence[Prompt], settings: Settings) -> list[Continuation]:
        """Continue prompts, `batch` of them at a time."""
        schedule = self.schedule_for(lm, settings)
        layer, rest = layer_flops(lm.model, length=64)
        ids, found = [ids_of(lm, prompt) for prompt in prompts], []
        for first in range(0, len(ids), self.batch):
            group = ids[first : first + self.batch]
            done = skip_generate(lm.model, group, schedule, settings=settings)
            for prompt, new, stats in zip(group, done.ids, done.statistics, strict=True):
                layers = schedule.average(len(new) - 1) if len(new) > 1 else float(schedule.n_layers)
                whole = layer * schedule.n_layers + rest
                notes = {"layers a token": layers, "share of operations": (layer * layers + rest) / whole}
                found.append(Continuation(prompt, new, text_of(lm, [*prompt, *new]), stats, notes))
        return found

    def schedule_for(self, lm: LM, settings: Settings) -> LayerSchedule:
        """The schedule of a request: the given one, that of the options, or the model's own."""
        own = None if self.options else schedule_of(lm.model)
        if self.schedule is not None or own is not None:
            return self.schedule or own
        n_steps = max(1, settings.max_new_tokens - 1)
        return LayerSchedule.falling(len(decoder_layers(lm.model)), n_steps=n_steps, **self.options)


def early_exit(
    *,
    speedup: float | None = None,
    k_max: float | None = None,
    k_min: float | None = None,
    spread: float | None = None,
    warmup: int | None = None,
    shape: str | None = None,
    place: str | None = None,
    schedule: "LayerSchedule | str | Path | None" = None,
    batch: int = 8,
) -> EarlyExit:
    """The strategy `early-exit`: without options, the schedule the model was fine-tuned with, else twice as fast.

    Args:
        speedup, k_max, k_min, spread, warmup, shape, place: see `LayerSchedule.falling`.
        schedule: a LayerSchedule, or a JSON file of its record; instead of those.
        batch: prompts continued together.
    """
    given = {"speedup": speedup, "k_max": k_max, "k_min": k_min, "spread": spread, "warmup": warmup, "shape": shape,
             "place": place}  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    if schedule is not None and options:
        raise ValueError(f"a schedule and {', '.join(options)}; give one or the other.")
    if batch < 1:
        raise ValueError(f"batch={batch}; need at least 1.")
    if isinstance(schedule, str | Path):
        try:
            schedule = LayerSchedule.from_record(json.loads(Path(schedule).read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise ValueError(f"{schedule} is no JSON ({error}); need what LayerSchedule.to_record gives.") from None
    return EarlyExit(schedule, options, batch)
