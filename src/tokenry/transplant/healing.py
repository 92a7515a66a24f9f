"""Heal a model after its tokens were changed: a short training in stages, with a bits-per-byte curve.

Papers: Fast Vocabulary Transfer (arXiv 2402.09977); Cabrita (arXiv 2308.11878); Approximate Likelihood Matching
(arXiv 2503.20083) and Token Distillation (arXiv 2505.20133) as objectives.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from tokenry.core.runs import atomic_write
from tokenry.models.checkpoints import load_weights
from tokenry.models.lm import LM
from tokenry.models.processes import count, rank
from tokenry.models.scoring import check_causal
from tokenry.models.training import FitConfig, FitResult, Loss, fit, flops, next_token_loss
from tokenry.transplant.distilling import Teacher, distilled_loss
from tokenry.transplant.objectives import OBJECTIVES, Course, check_objective, check_terms, course, stage_share
from tokenry.transplant.scoring import measure
from tokenry.transplant.stages import Stage, scaled, training_part

__all__ = ["OBJECTIVES", "HealConfig", "Healed", "default_rate", "heal", "loss_of", "step_flops"]

REFERENCE_WIDTH, REFERENCE_RATE = 64, 3e-3
"""The rate that worked at width 64; it falls with 1/width, as the size of an update that a layer can bear does."""


@dataclass(frozen=True)
class HealConfig:
    """How a healing trains."""

    steps: int = 200
    batch: int = 8
    """sequences in one step."""
    length: int = 256
    """tokens in one sequence."""
    rate: float | None = None
    """learning rate of the body; None: 3e-3 at width 64, falling with 1/width."""
    row_ratio: float = 3.0
    """rows of embedding and head learn this much faster than the body."""
    rows_first: int = 0
    """steps that train only rows of embedding and head before all weights train."""
    stages: tuple[Stage, ...] = ()
    """what trains when, in place of `steps` and `rows_first`; see stages.parse_stages."""
    lora_rank: int = 16
    """width of the low-rank additions."""
    objective: str = "next-token"
    """next-token, distil (hidden states too), alm (likelihoods across tokenizers), or token-distil (hidden states in
    snippets, in the stage "rows"; later stages learn the next token)."""
    weight: float = 1.0
    """of the hidden-state term of distil; 0 leaves the next token out of token-distil."""
    temperature: float = 100.0
    """alm: what log-probabilities are divided by."""
    threshold: float = 0.1
    """alm: least chance of white space at which the teacher's chunk may end."""
    alm_hidden: float = 0.0
    """alm: weight of a hidden-state term."""
    next_token: float = 0.0
    """alm: weight of the next token beside the likelihoods."""
    balanced: bool = False
    """alm: scale the further terms to the gradient norm of the likelihoods before they are weighted."""
    stop_patience: int | None = None
    """end a stage after so many points of the curve without a gain of `stop_delta`; None: never."""
    stop_delta: float = 0.002
    """bits per byte that count as a gain."""
    evaluations: int = 5
    """points of the curve after the first."""
    dtype: str | None = None
    """number type of the forward pass (weights stay as they are): "bfloat16" halves the time on recent processors."""
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read in all steps."""
        return sum(stage.steps for stage in self.plan) * self.batch * self.length

    @property
    def plan(self) -> tuple[Stage, ...]:
        """The stages, those of `steps` and `rows_first` where none are named."""
        first = min(self.rows_first, self.steps)
        made = self.stages or (Stage("rows", first), Stage("all", self.steps - first))
        return tuple(stage for stage in made if stage.steps)


@dataclass(frozen=True, eq=False)
class Healed:
    """A healed model and what it cost."""

    lm: LM
    curve: list[dict]
    """step, stage, tokens, bytes, flops, cpu_seconds, bits_per_byte on the validation texts (and bits_per_byte.NAME on
    further ones); the first point is before."""
    flops: float
    steps: int
    seconds: float
    cpu_seconds: float


def default_rate(model: nn.Module) -> float:
    """Learning rate of the body for a model of this width."""
    return REFERENCE_RATE * REFERENCE_WIDTH / model.get_input_embeddings().weight.shape[1]


def heal(
    lm: LM,
    texts: list[str],
    *,
    config: HealConfig,
    validation: list[str] | dict[str, list[str]] = (),
    compute: float | None = None,
    teacher: Teacher | LM | None = None,
    folder: Path | None = None,
    segment_bytes: int = 512,
    label: str = "healing",
    rows: Sequence[int] | None = None,
) -> Healed:
    """Train `lm` in place on `texts`, stage after stage.

    Args:
        lm: the model; its weights change.
        texts: documents, gone round as often as the steps need.
        config: see HealConfig; no steps train nothing.
        validation: texts for the curve, scored before, on the way and after; none: no curve. A dict scores several
            kinds of text, the first of which decides when a stage has come to rest.
        compute: floating-point operations to spend; the stages grow or shrink to it in proportion.
        teacher: the original model; needed by all objectives but next-token. For a vocabulary made by extension
            "distil" also takes a Teacher with the pieces of each token.
        folder: where the state to resume from lies; a state found there is continued.
        segment_bytes: the curve scores texts in segments of this many bytes.
        label: of the progress line.
        rows: ids whose rows train in the stages "rows" and "lora"; None: all rows.

    Raises:
        ValueError: an unknown objective, no teacher for one that needs it, a masked model, nothing to train on.
        KeyboardInterrupt: after the state was saved in `folder`.
    """
    stages = _checked(lm, config, teacher)
    kinds = validation if isinstance(validation, dict) else {"": list(validation)}
    if not stages:
        curve = _Curve(lm, kinds, segment_bytes, config, folder)
        curve.point(0, "", [0.0] * 4)
        return Healed(lm, curve.points, 0.0, 0, 0.0, 0.0)
    courses = _courses(lm, texts, stages, config=config, teacher=teacher, rows=rows)
    costs = [_cost(lm, config, stage, learned) for stage, learned in zip(stages, courses, strict=True)]
    if compute is not None:
        kept = config.plan
        stages = scaled(kept, costs, compute)
    curve = _Curve(lm, kinds, segment_bytes, config, folder)
    curve.point(0, "", [0.0] * 4)
    run = _Stages(lm, config, curve, rows, folder, label)
    total = sum(stage.steps for stage in stages)
    for number, (stage, learned, cost) in enumerate(zip(stages, courses, costs, strict=True)):
        if stage.steps:
            run.train(number, stage, learned, cost=cost, total=total)
    return Healed(lm, curve.points, run.spent[2], run.steps, run.seconds, run.spent[3])


def _checked(lm: LM, config: HealConfig, teacher: Teacher | LM | None) -> list[Stage]:
    """The stages, once models and objective fit."""
    for side in (lm, *filter(None, [teacher])):
        check_causal(side.model)
    check_objective(config.objective, teacher)
    check_terms(config)
    stages = list(config.plan)
    if config.objective == "token-distil" and stages and all(stage.what != "rows" for stage in stages):
        raise ValueError(
            "token-distil trains the rows of new tokens, and no stage trains rows alone; need one, such as --stages "
            "rows:100,all:100 (from Python HealConfig.rows_first). Name it, or take another objective."
        )
    return stages


def _courses(
    lm: LM, texts: list[str], stages: Sequence[Stage], *, config: HealConfig, teacher: object,
    rows: Sequence[int] | None,
) -> list[Course]:  # fmt: skip
    """What each stage learns from; stages with the same objective share it."""
    made: dict[str, Course] = {}
    for stage in stages:
        name = _objective(config, stage)
        if name not in made:
            how = replace(config, objective=name)
            made[name] = course(lm, texts, config=how, teacher=None if name == "next-token" else teacher, rows=rows)
    return [made[_objective(config, stage)] for stage in stages]


def _objective(config: HealConfig, stage: Stage) -> str:
    """Token distillation is for new rows; what trains more than rows learns the next token."""
    return "next-token" if config.objective == "token-distil" and stage.what != "rows" else config.objective


def _cost(lm: LM, config: HealConfig, stage: Stage, learned: Course) -> float:
    length = max(1, round(learned.tokens / config.batch))
    return flops(lm.model, learned.tokens, length=length) * stage_share(stage.what) + learned.teacher_flops


def loss_of(config: HealConfig, teacher: Teacher | None) -> Loss:
    """The loss that `config.objective` names, for packed sequences."""
    return next_token_loss if config.objective == "next-token" else distilled_loss(teacher, weight=config.weight)


class _Stages:
    """Where a healing stands between its stages."""

    def __init__(
        self, lm: LM, config: HealConfig, curve: "_Curve", rows: Sequence[int] | None, folder: Path | None, label: str
    ) -> None:
        self.lm, self.config, self.curve, self.rows, self.folder, self.label = lm, config, curve, rows, folder, label
        self.steps, self.seconds = 0, 0.0
        self.spent = [0.0, 0.0, 0.0, 0.0]
        """tokens, bytes, operations and CPU seconds of the stages done."""

    def train(self, number: int, stage: Stage, learned: Course, *, cost: float, total: int) -> None:
        """One stage, with a warm-up, a decay and a state of its own."""
        config, lm, before, start = self.config, self.lm, list(self.spent), self.steps
        each = (learned.tokens, learned.n_bytes, cost)
        parts = max(1, round(max(1, config.evaluations) * stage.steps / total))
        marks = {round(stage.steps * (i + 1) / parts) for i in range(parts)}

        def amounts(step: int, cpu_seconds: float) -> list[float]:
            return [old + step * new for old, new in zip(before, each, strict=False)] + [before[3] + cpu_seconds]

        def after(step: int, entry: dict) -> bool:
            if step not in marks:
                return False
            self.curve.point(start + step, stage.what, amounts(step, entry["cpu_seconds"]))
            return step < stage.steps and self.curve.at_rest(start, start + step)

        only_input = config.objective == "token-distil" and config.weight == 0
        with training_part(
            lm.model, stage.what, rows=self.rows, rank=config.lora_rank, seed=config.seed, only_input=only_input
        ):
            result = self._fitted(number, stage, learned, after)
        self.steps += result.steps
        self.seconds += result.seconds
        self.spent = amounts(result.steps, result.cpu_seconds)

    def _fitted(self, number: int, stage: Stage, learned: Course, after: object) -> FitResult:
        config = self.config
        place = self.folder / f"{number}-{stage.what}" if self.folder else None
        ended = place and place / "ended.json"
        if ended and ended.is_file():  # stopped early: `fit` would go on
            facts = json.loads(ended.read_text())
            load_weights(place, self.lm.model)
            return FitResult([], facts["seconds"], facts["cpu_seconds"], facts["tokens"], facts["steps"])
        rate = stage.rate or config.rate or default_rate(self.lm.model)
        settings = FitConfig(
            rate=rate, warmup=max(1, stage.steps // 20), seed=config.seed, dtype=config.dtype,
            groups=lambda model: _groups(model, rate, config.row_ratio), save_every=max(1, stage.steps // 10),
        )  # fmt: skip
        start = self.steps * count()  # each process takes a batch of its own in every step
        result = fit(
            self.lm.model, lambda n: learned.batches(start + n), learned.loss, steps=stage.steps, config=settings,
            on_step=after, resume=place, label=f"{self.label}: {stage.what}" if number else self.label,
        )  # fmt: skip
        if ended and result.steps < stage.steps and rank() == 0:
            kept = ("seconds", "cpu_seconds", "tokens", "steps")
            atomic_write(ended, json.dumps({name: getattr(result, name) for name in kept}))
        return result


def step_flops(lm: LM, config: HealConfig, teacher: Teacher | None = None) -> float:
    """Floating-point operations of one step that trains all; a teacher's forward pass over the old tokens included."""
    n_tokens = config.batch * config.length
    own = flops(lm.model, n_tokens, length=config.length)
    if config.objective != "distil" or teacher is None:
        return own
    # Old sequences are longer; twice is what extensions of a few thousand tokens reach.
    return own + flops(teacher.model, 2 * n_tokens, length=2 * config.length, backward=False)


def _groups(model: nn.Module, rate: float, row_ratio: float) -> list[dict]:
    rows = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if id(p) not in rows]},
        {"params": [p for p in trained if id(p) in rows], "rate": rate * row_ratio},
    ]


class _Curve:
    """Bits per byte on the way; kept on disk beside the state, so that a resumed run has the whole curve."""

    def __init__(
        self, lm: LM, kinds: dict[str, list[str]], segment_bytes: int, config: HealConfig, folder: Path | None
    ) -> None:
        self.lm, self.kinds, self.segment_bytes, self.config = lm, kinds, segment_bytes, config
        self.file = None if folder is None else folder.with_name(f"{folder.name}-curve.json")
        known = self.file is not None and self.file.exists()
        self.points: list[dict] = json.loads(self.file.read_text()) if known else []

    def point(self, step: int, stage: str, amounts: list[float]) -> None:
        """Score the texts, unless this step is known; of several processes only the first does."""
        if not any(self.kinds.values()) or rank() or any(p["step"] == step for p in self.points):
            return
        tokens, n_bytes, spent, cpu_seconds = amounts
        entry = {"step": step, "stage": stage, "tokens": tokens, "bytes": n_bytes, "flops": spent}
        entry["cpu_seconds"] = cpu_seconds
        for place, (kind, texts) in enumerate(self.kinds.items()):
            name = f"bits_per_byte.{kind}" if place else "bits_per_byte"
            if texts:
                entry[name] = measure(self.lm, texts, segment_bytes=self.segment_bytes).bits_per_byte().value
        self.points.append(entry)
        if self.file is not None:
            atomic_write(self.file, json.dumps(self.points))

    def at_rest(self, start: int, step: int) -> bool:
        """Whether none of the last `stop_patience` points of a stage gained `stop_delta` on the best before them."""
        patience = self.config.stop_patience
        values = [p["bits_per_byte"] for p in self.points if start <= p["step"] <= step]
        if patience is None or len(values) <= patience:
            return False
        return min(values[-patience:]) > min(values[:-patience]) - self.config.stop_delta
