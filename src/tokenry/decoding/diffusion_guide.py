"""Guided unmasking: a small autoregressive model says how far the diffusion model's proposal may be believed.

The diffusion model proposes a whole block, the guide reads it from left to right and consents as long as it would have
gone on so too. The guide never writes: the text stays the diffusion model's, only the number of tokens a step is the
guide's.

Paper: FlashDLM (arXiv 2505.21467), section 3.2 (guided diffusion).
"""

# Axes: B rows, L places of the block, N tokens read, V vocabulary.

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tokenry.core.vocab import Vocab
from tokenry.decoding.diffusion_unmasking import Proposal
from tokenry.models.lm import LM
from tokenry.models.session import Session

Consent = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, V), tokens (N,)) -> bool (N,): which tokens the guide would have written too."""


def among_top(k: int) -> Consent:
    """Consent to the k likeliest tokens; 1 is the paper's main rule."""
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"top-{k} of the guide; need a whole number from 1.")
    return lambda logits_NV, tokens_N: (
        (logits_NV > logits_NV.gather(-1, tokens_N[:, None])).sum(-1) < min(k, logits_NV.shape[-1])
    )


def as_likely_as(least: float) -> Consent:
    """Consent to tokens the guide gives at least this probability."""
    if not 0 <= least <= 1:
        raise ValueError(f"a least probability of {least}; need 0 to 1.")
    return lambda logits_NV, tokens_N: logits_NV.double().softmax(-1).gather(-1, tokens_N[:, None])[:, 0] >= least


@dataclass(eq=False)
class Guided:
    """Uncover, from the left, the run of proposed tokens that a guide consents to; else the first token alone.

    Attributes:
        guide: the autoregressive model, of the same vocabulary (`check_same_vocabulary`).
        consent: `among_top(1)`, `as_likely_as(0.1)`, or a function.
        chunk: tokens the guide reads at once; it stops reading at the first it would not have written.
        n_forwards, n_tokens: passes of the guide, and tokens it read.
    """

    guide: LM
    consent: Consent = field(default_factory=lambda: among_top(1))
    chunk: int = 32
    n_forwards: int = 0
    n_tokens: int = 0
    _sessions: dict[int, Session] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk={self.chunk} tokens read at once; need at least 1.")

    def choose(self, proposal: Proposal) -> Tensor:
        """The consented run of each row."""
        chosen_BL = torch.zeros_like(proposal.hidden_BL)
        for row, hidden_L in enumerate(proposal.hidden_BL):
            if not bool(hidden_L.any()):
                continue
            first = int(hidden_L.long().argmax())
            place = proposal.start + first
            canvas_T = proposal.canvas_BT[row]
            written_L = canvas_T[proposal.start : proposal.start + len(hidden_L)]
            draft_L = torch.where(hidden_L, proposal.tokens_BL[row], written_L)[first:]
            context = canvas_T[proposal.pads[row] : place].tolist()
            run = self._run_of(row, context, draft_L.tolist(), hidden_L[first:].tolist())
            chosen_BL[row, first : first + max(1, run)] = True
        return chosen_BL & proposal.hidden_BL

    def _run_of(self, row: int, context: list[int], draft: list[int], hidden: list[bool]) -> int:
        """How many tokens of the draft stand before the first hidden one without consent."""
        session = self._sessions.setdefault(row, Session.open(self.guide))
        n_known = self.guide.vocab.size
        readable = next((at for at, token in enumerate(draft) if token >= n_known), len(draft))
        common = _common(session.tokens, [*context, *draft], at_most=len(context) - 1)
        session.rollback(len(session) - common)
        done = 0
        while done < readable:
            stop = min(readable, done + self.chunk)
            read = [*context, *draft][len(session) : len(context) + stop - 1]
            logits_NV = session.extend(read, keep="all")[-(stop - done) :, :n_known]
            self.n_forwards += 1
            self.n_tokens += len(read)
            tokens_N = torch.tensor(draft[done:stop], device=logits_NV.device)
            agreed = self.consent(logits_NV, tokens_N).tolist()
            for at, consented in enumerate(agreed, start=done):
                if hidden[at] and not consented:
                    return at
            done = stop
        return readable


def check_same_vocabulary(vocab: Vocab, guide: Vocab) -> None:
    """Refuse a guide whose ids mean other tokens; more ids on either side (a mask, other specials) are no harm.

    Raises:
        ValueError: names the first id that differs.
    """
    size = min(vocab.size, guide.size)
    special = vocab.special_ids | guide.special_ids
    odd = (i for i in range(size) if i not in special and vocab.tokens[i] != guide.tokens[i])
    first = next(odd, None)
    if first is None:
        return
    raise ValueError(
        f"the guide has another vocabulary (id {first} is {vocab.tokens[first]!r} to the diffusion model and "
        f"{guide.tokens[first]!r} to the guide); need the same ids for the same tokens. Move the guide onto "
        "the diffusion model's tokenizer (tokenry transplant GUIDE --tokenizer MODEL), or decode without a guide: "
        "unmask=threshold."
    )


def _common(one: Sequence[int], other: Sequence[int], *, at_most: int) -> int:
    """Length of the common beginning, at most so many."""
    size = min(len(one), len(other), max(0, at_most))
    differ = np.flatnonzero(np.asarray(one[:size], dtype=np.int64) != np.asarray(other[:size], dtype=np.int64))
    return int(differ[0]) if len(differ) else size
