"""Decode masked-diffusion models: many tokens a step, a frozen prefix, and what both cost in quality.

`diffuse` fills the hidden places behind a prompt, block after block from the left; `Freeze` keeps keys and values of
what is written, `Counted`, `Threshold`, `EntropyBound` and `Guided` decide how many tokens a step uncovers.

Papers: Accelerating Diffusion Language Model Inference via Efficient KV Caching and Guided Diffusion (FreeCache, later
FlashDLM; arXiv 2505.21467); LLaDA (arXiv 2502.09992) for the sampler; Fast-dLLM (arXiv 2505.22618).
"""

# Axes: B rows, L places of the block, T places of the canvas, V vocabulary.

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tokenry.decoding.diffusion_cache import Freeze, Runner, sees_later_tokens
from tokenry.decoding.diffusion_models import DiffusionSpec
from tokenry.decoding.diffusion_unmasking import Counted, Proposal, Unmask, highest
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM, context_of


@dataclass
class DiffusionCost:
    """What a run cost; passes and places count once for the whole batch.

    Attributes:
        n_forwards, n_full: forward passes, and those over the whole canvas.
        n_computed: places computed, summed over passes.
        seconds: of wall time.
    """

    n_forwards: int = 0
    n_full: int = 0
    n_computed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Diffused:
    """What was written.

    Attributes:
        ids: new ids of each row, an end token included and nothing behind it.
        uncovered_at: for each of them the step (from 0) it was uncovered at.
        ended_by: of each row, "end", "stop" or "length".
        cost: of all rows together.
    """

    ids: list[list[int]]
    uncovered_at: list[list[int]]
    ended_by: list[str]
    cost: DiffusionCost = field(default_factory=DiffusionCost)


def diffuse(
    model: "nn.Module | LM",
    prompts: Sequence[Sequence[int]],
    spec: DiffusionSpec,
    *,
    settings: Settings | None = None,
    unmask: Unmask | None = None,
    freeze: Freeze | None = None,
    block: int | None = 32,
) -> Diffused:
    """Write `settings.max_new_tokens` tokens behind each prompt.

    Args:
        model: fills hidden places; logits at every place of `input_ids`.
        prompts: ids of each row, none empty.
        spec: its mask id and shift.
        settings: length, temperature, top-k, top-p, seed, ends, stop. Rows of a batch share the chance; without chance
            a row is what it would be alone.
        unmask: what a step uncovers; None is one token a step, the most confident.
        freeze: what is kept between steps; None computes everything each time.
        block: places written before the next ones are looked at; None takes all as one.

    Raises:
        ValueError: an empty prompt, a text longer than the context, a model that cannot be cached as asked, rows of
            different lengths on a model that does not look both ways.
    """
    run = _Run(model.model if isinstance(model, LM) else model, prompts, spec, settings or Settings(), block)
    was_training = run.model.training
    run.model.eval()
    try:
        return run.go(unmask or Counted(), freeze)
    finally:
        run.model.train(was_training)


class _Run:
    """One run of `diffuse`: the canvas, which rows are done, and the passes so far."""

    def __init__(
        self, model: nn.Module, prompts: Sequence[Sequence[int]], spec: DiffusionSpec, settings: Settings,
        block: int | None,
    ) -> None:  # fmt: skip
        _check(model, prompts, spec, settings, block)
        self.model, self.spec, self.settings = model, spec, settings
        self.n_prompt, self.n_new = max(map(len, prompts)), settings.max_new_tokens
        self.block = min(block or self.n_new, self.n_new)
        self.pads = tuple(self.n_prompt - len(prompt) for prompt in prompts)
        rows = [
            [0] * pad + list(map(int, prompt)) + [spec.mask] * self.n_new + list(spec.tail)
            for pad, prompt in zip(self.pads, prompts, strict=True)
        ]
        self.canvas_BT = torch.tensor(rows, device=model.get_input_embeddings().weight.device)
        self.end = self.n_prompt + self.n_new
        self.step_BN = torch.full((len(rows), self.n_new), -1)
        self.hidden_BN = torch.ones((len(rows), self.n_new), dtype=torch.bool, device=self.canvas_BT.device)
        self.lengths: list[int | None] = [None] * len(rows)
        self.looked_at = [0] * len(rows)
        self.ended_by = ["length"] * len(rows)
        self.generator = torch.Generator().manual_seed(settings.seed)

    def go(self, unmask: Unmask, freeze: Freeze | None) -> Diffused:
        if freeze is not None and freeze.suffix and not sees_later_tokens(self.model):
            raise ValueError("suffix=True on a model that does not look at later tokens; need one that does.")
        started, step = time.perf_counter(), 0
        runner = Runner(self.model, pads=self.pads, cached=freeze is not None)
        for start in range(self.n_prompt, self.end, self.block):
            stop, step_of_block = min(start + self.block, self.end), 0
            while bool((hidden_BL := self._hidden(start, stop)).any()):
                if freeze is None or freeze.is_due(step, opens_block=step_of_block == 0):
                    runner.forget()
                seen = self._clean()
                first = max(start, seen)
                logits_BLV = runner.run(self.canvas_BT, range(first - self.spec.shift, stop - self.spec.shift))
                where = {"start": first, "n_block": stop - start, "step": step_of_block}
                self._uncover(unmask, self._proposal(logits_BLV, hidden_BL[:, first - start :], **where), step)
                if freeze is not None:
                    runner.keep(self._kept(freeze, seen, start, stop))
                step, step_of_block = step + 1, step_of_block + 1
        ids = [
            row[self.n_prompt : self.end][:length]
            for row, length in zip(self.canvas_BT.tolist(), self.lengths, strict=True)
        ]
        steps = [row[: len(new)] for row, new in zip(self.step_BN.tolist(), ids, strict=True)]
        cost = DiffusionCost(runner.n_forwards, runner.n_full, runner.n_computed, time.perf_counter() - started)
        return Diffused(ids, steps, self.ended_by, cost)

    def _hidden(self, start: int, stop: int) -> Tensor:
        """Hidden places (B, L) of the block in rows that go on."""
        open_B = torch.tensor([length is None for length in self.lengths], device=self.canvas_BT.device)
        return self.hidden_BN[:, start - self.n_prompt : stop - self.n_prompt] & open_B[:, None]

    def _clean(self) -> int:
        """Places before the first hidden one, in the row that is least far."""
        sizes_B = torch.where(self.hidden_BN.any(1), self.hidden_BN.long().argmax(1), self.n_new).tolist()
        going = [size for size, length in zip(sizes_B, self.lengths, strict=True) if length is None]
        return self.n_prompt + min(going, default=self.n_new)

    def _proposal(self, logits_BLV: Tensor, hidden_BL: Tensor, **where: int) -> Proposal:
        logits_BLV = logits_BLV.double()
        if self.spec.mask < logits_BLV.shape[-1]:
            hiding = torch.tensor([self.spec.mask], device=logits_BLV.device)
            logits_BLV = logits_BLV.index_fill(-1, hiding, -torch.inf)
        laws_BLV = self.settings.processed(logits_BLV).softmax(-1)
        drawn_from_BLV = self.settings.law(logits_BLV)
        if self.settings.is_greedy:
            tokens_BL = drawn_from_BLV.argmax(-1)
        else:
            chance = torch.rand(drawn_from_BLV.shape[:2], generator=self.generator, dtype=torch.float64)
            tokens_BL = inverse_cdf(drawn_from_BLV, chance.to(drawn_from_BLV.device))
        return Proposal(
            canvas_BT=self.canvas_BT, hidden_BL=hidden_BL, tokens_BL=tokens_BL, laws_BLV=laws_BLV, pads=self.pads,
            generator=self.generator, **where,
        )  # fmt: skip

    def _uncover(self, unmask: Unmask, proposal: Proposal, step: int) -> None:
        hidden_BL = proposal.hidden_BL
        chosen_BL = unmask.choose(proposal) & hidden_BL
        none_B = ~chosen_BL.any(1)
        chosen_BL |= highest(proposal.confidence, hidden_BL, none_B.long())
        stop = proposal.start + hidden_BL.shape[1]
        written_BL = self.canvas_BT[:, proposal.start : stop]
        written_BL.copy_(torch.where(chosen_BL, proposal.tokens_BL, written_BL))
        there = slice(proposal.start - self.n_prompt, stop - self.n_prompt)
        self.hidden_BN[:, there] &= ~chosen_BL
        self.step_BN[:, there].masked_fill_(chosen_BL.cpu(), step)
        self._look_for_ends()

    def _look_for_ends(self) -> None:
        """Close rows whose text, as far as nothing before it is hidden, holds an end."""
        if not self.settings.ends and self.settings.stop is None:
            return
        for row, hidden_N in enumerate(self.hidden_BN):
            if self.lengths[row] is not None:
                continue
            clean = int(hidden_N.long().argmax()) if bool(hidden_N.any()) else self.n_new
            new = self.canvas_BT[row, self.n_prompt : self.n_prompt + clean].tolist()
            for size in range(self.looked_at[row] + 1, clean + 1):
                is_end = new[size - 1] in self.settings.ends
                if is_end or (self.settings.stop is not None and self.settings.stop(new[:size])):
                    self.lengths[row], self.ended_by[row] = size, "end" if is_end else "stop"
                    break
            self.looked_at[row] = clean

    def _kept(self, freeze: Freeze, seen: int, start: int, stop: int) -> list[int]:
        """Places whose keys and values the next pass finds."""
        size = self.canvas_BT.shape[1]
        if freeze.suffix:
            return [*range(start - self.spec.shift), *range(stop, size)]
        frozen = freeze.n_frozen(seen, self._clean(), prompt=self.n_prompt, block=self.block)
        # A shifted model reads the first place of what follows from the last frozen one, which is therefore computed.
        return list(range(max(0, min(frozen, self.end) - self.spec.shift)))


def inverse_cdf(laws_BLV: Tensor, chance_BL: Tensor) -> Tensor:
    """The token (B, L) at which the cumulated law passes a uniform number."""
    sums_BLV = laws_BLV.cumsum(-1)
    passed_BL = torch.searchsorted(sums_BLV, (chance_BL * sums_BLV[..., -1])[..., None], right=True)[..., 0]
    last_BL = laws_BLV.shape[-1] - 1 - (laws_BLV.flip(-1) > 0).long().argmax(-1)  # rounding may pass the end
    return torch.minimum(passed_BL, last_BL)


def _check(
    model: nn.Module, prompts: Sequence[Sequence[int]], spec: DiffusionSpec, settings: Settings, block: int | None
) -> None:
    n_rows = model.get_input_embeddings().weight.shape[0]
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("an empty prompt; need at least one token in each. Start it with the model's start token.")
    odd = next((t for prompt in prompts for t in prompt if not 0 <= t < n_rows or t == spec.mask), None)
    if odd is not None or not 0 <= spec.mask < n_rows:
        raise ValueError(
            f"id {spec.mask if odd is None else odd} in the prompt or as the mask; the model has {n_rows} rows, and "
            f"prompts may not hold the mask {spec.mask}. Encode the prompt with the model's tokenizer."
        )
    if settings.processors is not None:
        raise ValueError("processors read a text from the left, and diffusion writes in any order; leave them out.")
    if block is not None and block < 1:
        raise ValueError(f"block={block} places; need at least 1, or none for all at once.")
    size = max(map(len, prompts)) + settings.max_new_tokens + len(spec.tail)
    if size > context_of(model):
        raise ValueError(
            f"prompt and new text take {size} places; the model holds {context_of(model)}. Ask for fewer tokens, or "
            "shorten the prompt (keep its end)."
        )
    if len(set(map(len, prompts))) > 1 and not sees_later_tokens(model):
        raise ValueError(
            "prompts of different lengths on a model that does not look both ways; need equal lengths. Run one by one."
        )
