"""Heal a model after its tokens were changed: a short training with a bits-per-byte curve.

Papers: Fast Vocabulary Transfer (arXiv 2402.09977); Cabrita (arXiv 2308.11878).
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tokenry.core.runs import atomic_write
from tokenry.models.batches import Packs, draw, pack, tokenise
from tokenry.models.lm import LM
from tokenry.models.partial import freeze
from tokenry.models.training import FitConfig, FitResult, Loss, fit, flops, next_token_loss
from tokenry.transplant.distilling import Teacher, distilled_loss
from tokenry.transplant.scoring import measure

OBJECTIVES = ("next-token", "distil")
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
    objective: str = "next-token"
    weight: float = 1.0
    """of the hidden-state term."""
    evaluations: int = 5
    """points of the curve after the first."""
    dtype: str | None = None
    """number type of the forward pass (weights stay as they are): "bfloat16" halves the time on recent processors."""
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read in all steps."""
        return self.steps * self.batch * self.length


@dataclass(frozen=True, eq=False)
class Healed:
    """A healed model and what it cost."""

    lm: LM
    curve: list[dict]
    """step, tokens, bytes, flops, cpu_seconds, bits_per_byte on the validation texts; the first point is before."""
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
    validation: list[str] = (),
    compute: float | None = None,
    teacher: Teacher | None = None,
    folder: Path | None = None,
    segment_bytes: int = 512,
    label: str = "healing",
) -> Healed:
    """Train `lm` in place on `texts`.

    Args:
        lm: the model; its weights change.
        texts: documents, packed end to end and gone round as often as the steps need.
        config: see HealConfig; `config.steps` = 0 trains nothing.
        validation: texts for the curve, scored before, on the way and after; none: no curve.
        compute: floating-point operations to spend; replaces `config.steps` by the number of steps nearest to it.
        teacher: the original model and its pieces; needed by the objective "distil".
        folder: where the state to resume from lies; a state found there is continued.
        segment_bytes: the curve scores texts in segments of this many bytes.
        label: of the progress line.

    Raises:
        ValueError: an unknown objective, "distil" without a teacher, nothing to train on.
        KeyboardInterrupt: after the state was saved in `folder`.
    """
    from tokenry.core.choosing import suggest

    if config.objective not in OBJECTIVES or (config.objective == "distil" and teacher is None):
        raise ValueError(
            f"objective {config.objective!r} cannot be used here.{suggest(config.objective, OBJECTIVES)} Need one of "
            f"{', '.join(OBJECTIVES)}; distil also needs the original model and an extended vocabulary (--keep-old)."
        )
    per_step = step_flops(lm, config, teacher)
    steps = config.steps if compute is None else max(1, round(compute / per_step))
    bos = lm.bos
    documents = tokenise(lm.vocab, texts)
    packs = pack(documents, length=config.length, bos=bos, eos=lm.start if bos is None else None)
    batches = draw(packs, batch_size=config.batch, seed=config.seed, device=lm.device)
    curve = _Curve(
        lm, list(validation), segment_bytes, config, steps, folder,
        flops_per_step=per_step, bytes_per_step=config.batch * _mean_bytes(lm, packs),
    )  # fmt: skip
    curve.point(0, 0.0)
    if steps == 0:
        return Healed(lm, curve.points, 0.0, 0, 0.0, 0.0)
    phases = _train(
        lm, batches, loss_of(config, teacher), steps, config=config, curve=curve, folder=folder, label=label
    )
    done = sum(phase.steps for phase in phases)
    seconds, cpu = (sum(getattr(phase, key) for phase in phases) for key in ("seconds", "cpu_seconds"))
    return Healed(lm, curve.points, per_step * done, done, seconds, cpu)


def loss_of(config: HealConfig, teacher: Teacher | None) -> Loss:
    """The loss that `config.objective` names."""
    return next_token_loss if config.objective == "next-token" else distilled_loss(teacher, weight=config.weight)


def _train(
    lm: LM, batches: Callable, loss: Loss, steps: int, *,
    config: HealConfig, curve: "_Curve", folder: Path | None, label: str,
) -> list[FitResult]:  # fmt: skip
    """Rows first where asked, then everything; each phase has its own state, warm-up and decay."""
    rate = config.rate or default_rate(lm.model)
    rows = _row_names(lm.model)
    results, start = [], 0
    for name, n_steps in (("rows", min(config.rows_first, steps)), ("all", steps - min(config.rows_first, steps))):
        if n_steps == 0:
            continue
        settings = FitConfig(
            rate=rate, warmup=max(1, n_steps // 20), seed=config.seed, dtype=config.dtype,
            groups=lambda model: _groups(model, rate, config.row_ratio), save_every=max(1, n_steps // 10),
        )  # fmt: skip
        spent = sum(result.cpu_seconds for result in results)

        def after(step: int, entry: dict, start: int = start, spent: float = spent) -> None:
            curve.point(start + step, entry["cpu_seconds"] + spent)

        with freeze(lm.model, but=rows) if name == "rows" else nullcontext():
            results.append(
                fit(
                    lm.model,
                    lambda number, start=start: batches(start + number),
                    loss,
                    steps=n_steps,
                    config=settings,
                    on_step=after,
                    resume=folder / name if folder else None,
                    label=label,
                )
            )
        start += n_steps
    return results


def _row_names(model: nn.Module) -> list[str]:
    """Names of the embedding and the head among the parameters (one name where they are shared)."""
    tables = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return [name for name, parameter in model.named_parameters() if id(parameter) in tables]


def step_flops(lm: LM, config: HealConfig, teacher: Teacher | None = None) -> float:
    """Floating-point operations of one training step; a teacher's forward pass over the old tokens included."""
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


def _mean_bytes(lm: LM, packs: Packs) -> float:
    """Bytes of text in one sequence, on average."""
    return float(lm.vocab.byte_lengths[packs.ids].sum(1).mean()) if len(packs) else 0.0


class _Curve:
    """Bits per byte on the way; kept on disk beside the state, so that a resumed run has the whole curve."""

    def __init__(
        self, lm: LM, texts: list[str], segment_bytes: int, config: HealConfig, steps: int, folder: Path | None, *,
        flops_per_step: float, bytes_per_step: float,
    ) -> None:  # fmt: skip
        self.lm, self.texts, self.segment_bytes, self.config = lm, texts, segment_bytes, config
        self.flops_per_step, self.bytes_per_step = flops_per_step, bytes_per_step
        parts = max(1, config.evaluations)
        self.marks = {0, *(round(steps * (i + 1) / parts) for i in range(parts))}
        self.file = None if folder is None else folder.with_name(f"{folder.name}-curve.json")
        known = self.file is not None and self.file.exists()
        self.points: list[dict] = json.loads(self.file.read_text()) if known else []

    def point(self, step: int, cpu_seconds: float) -> None:
        if not self.texts or step not in self.marks or any(p["step"] == step for p in self.points):
            return
        scores = measure(self.lm, self.texts, segment_bytes=self.segment_bytes)
        self.points.append(
            {
                "step": step,
                "tokens": step * self.config.batch * self.config.length,
                "bytes": step * self.bytes_per_step,
                "flops": step * self.flops_per_step,
                "cpu_seconds": cpu_seconds,
                "bits_per_byte": scores.bits_per_byte().value,
            }
        )
        if self.file is not None:
            atomic_write(self.file, json.dumps(self.points))
