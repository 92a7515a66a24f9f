"""Which hidden tokens a diffusion step uncovers: fixed counts, a threshold, a budget of entropy, or a guide's consent.

Papers: LLaDA (arXiv 2502.09992) for even counts and low-confidence order; MaskGIT (arXiv 2202.04200); Fast-dLLM
(arXiv 2505.22618), section 3.3, for the threshold; EB-Sampler (arXiv 2505.24857) for the entropy bound. Guidance by an
autoregressive model is in `diffusion_guide`.
"""

# Axes: B rows, L places of the block, T places of the canvas, V vocabulary.

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the model proposes for the hidden places of a block.

    Attributes:
        canvas_BT: the text, hidden places included.
        start: the first place that is looked at; those before it have no hidden one.
        n_block: places of the whole block.
        hidden_BL: places that may be uncovered.
        tokens_BL: the token proposed for each.
        laws_BLV: the model's law at each (temperature 1), float64.
        step: of this block, from 0.
        pads: places before the text of each row.
        generator: for chance.
    """

    canvas_BT: Tensor
    start: int
    n_block: int
    hidden_BL: Tensor
    tokens_BL: Tensor
    laws_BLV: Tensor
    step: int
    pads: tuple[int, ...]
    generator: torch.Generator

    @cached_property
    def confidence(self) -> Tensor:
        """Probability (B, L) of the proposed token."""
        return self.laws_BLV.gather(-1, self.tokens_BL[..., None])[..., 0]

    @cached_property
    def margin(self) -> Tensor:
        """Probability (B, L) of the likeliest token less that of the second."""
        best_BL2 = self.laws_BLV.topk(2).values
        return best_BL2[..., 0] - best_BL2[..., 1]

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy (B, L) of the law in nats."""
        return torch.special.entr(self.laws_BLV).sum(-1)

    def random(self) -> Tensor:
        """Fresh uniform numbers (B, L)."""
        drawn = torch.rand(self.hidden_BL.shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.hidden_BL.device)


class Unmask(Protocol):
    """Decides what a step uncovers."""

    def choose(self, proposal: Proposal) -> Tensor:
        """Bool (B, L). The loop uncovers the most confident place of a row for which nothing was chosen."""


SCORES: dict[str, Callable[[Proposal], Tensor]] = {
    "confidence": lambda proposal: proposal.confidence,
    "margin": lambda proposal: proposal.margin,
    "entropy": lambda proposal: -proposal.entropy,
    "random": lambda proposal: proposal.random(),
    "left": lambda proposal: -torch.arange(proposal.hidden_BL.shape[1], device=proposal.hidden_BL.device).double(),
}
"""What comes first: the highest score."""


@dataclass(frozen=True)
class Counted:
    """As many tokens a step as a schedule says: the naive way to decode in few steps.

    Attributes:
        per_step: tokens a step; 1 is the reference.
        steps: instead, steps a block, its tokens spread evenly over them (LLaDA's schedule).
        score: a name in SCORES.
    """

    per_step: int = 1
    steps: int | None = None
    score: str = "confidence"

    def __post_init__(self) -> None:
        if self.per_step < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"per_step={self.per_step}, steps={self.steps}; need at least 1 of either.")
        if self.score not in SCORES:
            raise ValueError(f"score={self.score!r}; need one of {', '.join(SCORES)}.")

    def choose(self, proposal: Proposal) -> Tensor:
        """The places of the highest score."""
        counts = even_counts(proposal.n_block, self.steps) if self.steps else [self.per_step]
        count = counts[min(proposal.step, len(counts) - 1)]
        scores_BL = SCORES[self.score](proposal).expand(proposal.hidden_BL.shape)
        count_B = torch.full((len(scores_BL),), count, device=scores_BL.device)
        return highest(scores_BL, proposal.hidden_BL, count_B)


@dataclass(frozen=True)
class Threshold:
    """Every token whose probability passes a threshold (Fast-dLLM).

    Attributes:
        least: probability that is enough, 0 to 1; at 1 one token a step is left.
    """

    least: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ValueError(f"least={self.least} of a threshold; need a probability from 0 to 1.")

    def choose(self, proposal: Proposal) -> Tensor:
        """The confident places."""
        return proposal.confidence > self.least


@dataclass(frozen=True)
class EntropyBound:
    """The places of lowest entropy, as many as keep the entropy of all but the last within a budget (EB-Sampler).

    Tokens drawn side by side miss what they say of each other; of k tokens that is at most the sum of their entropies
    less the largest. With a budget of 0 that leaves one token a step (and those that are certain).

    Attributes:
        budget: nats.
    """

    budget: float = 0.1

    def __post_init__(self) -> None:
        if not self.budget >= 0:
            raise ValueError(f"budget={self.budget} of entropy; need 0 nats or more.")

    def choose(self, proposal: Proposal) -> Tensor:
        """The places within the budget."""
        entropy_BL = proposal.entropy.masked_fill(~proposal.hidden_BL, torch.inf)
        sorted_BL = entropy_BL.sort(-1).values
        finite_BL = sorted_BL.masked_fill(sorted_BL.isinf(), 0)
        spent_BL = finite_BL.cumsum(-1) - finite_BL
        count_B = ((spent_BL <= self.budget) & sorted_BL.isfinite()).sum(-1)
        return highest(-entropy_BL, proposal.hidden_BL, count_B)


def even_counts(n_hidden: int, steps: int) -> list[int]:
    """How many of `n_hidden` tokens each of at most `steps` steps uncovers: the remainder goes to the first steps."""
    steps = max(1, min(steps, n_hidden))
    share, rest = divmod(n_hidden, steps)
    return [share + (step < rest) for step in range(steps)]


def highest(scores_BL: Tensor, allowed_BL: Tensor, count_B: Tensor) -> Tensor:
    """Bool (B, L): in each row the `count_B` allowed places of the highest score, the leftmost among equals."""
    scores_BL = scores_BL.masked_fill(~allowed_BL, -torch.inf)
    order_BL = scores_BL.argsort(dim=-1, descending=True, stable=True)
    ranks_L = torch.arange(scores_BL.shape[-1], device=scores_BL.device)
    chosen_BL = torch.zeros_like(allowed_BL).scatter_(-1, order_BL, ranks_L[None] < count_B[:, None])
    return chosen_BL & allowed_BL
