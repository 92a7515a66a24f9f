"""What a strategy wrote, judged: is it the baseline's text, where do they part and was it a near tie, how good is it.

Quality is told by the full model alone: bits per byte of the text under it, and how many tokens are its own first
choice. Low bits per byte is not beauty (a loop costs nothing); it says how far a text is from what the model would say.
"""

# Axes: N new tokens, V vocabulary.

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenry.decoding.strategies import Continuation
from tokenry.models.lm import LM
from tokenry.models.session import Session


@dataclass(frozen=True)
class Difference:
    """Where a text first parts from the baseline's.

    Attributes:
        position: of the first token that differs, counted from the first new one (negative: within the prompt, which
            some strategies cut anew).
        expected, written: the tokens of the baseline and of the strategy there; None past an end.
        gap: logit of the expected token less that of the written one, after the text they share; NaN past an end, or
            where no model tells.
        is_near_tie: the gap is within what rounding may turn (see `near_tie`).
    """

    position: int
    expected: int | None
    written: int | None
    gap: float
    is_near_tie: bool


@dataclass(frozen=True)
class Quality:
    """A text under the full model.

    Attributes:
        nats: what its new tokens cost, given all before.
        n_bytes: of the new tokens; special ones spell none.
        n_tokens: new tokens.
        n_first: of them, the model's own likeliest there: what greedy decoding would have written next.
    """

    nats: float
    n_bytes: int
    n_tokens: int
    n_first: int


def first_difference(lm: LM | None, expected: Continuation, written: Continuation) -> Difference | None:
    """Compare two texts token by token, prompts included; None when they are the same.

    Args:
        lm: the model whose logits tell how near a choice was; None for a model without next tokens.
        expected: the baseline's.
        written: the other.
    """
    ours, theirs = [*expected.prompt_ids, *expected.ids], [*written.prompt_ids, *written.ids]
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    if shared == len(ours) == len(theirs):
        return None
    position = shared - len(expected.prompt_ids)
    ends = [ids[shared] if shared < len(ids) else None for ids in (ours, theirs)]
    if None in ends or not shared or lm is None:
        return Difference(position, *ends, float("nan"), False)
    logits_V = logits_after(lm, ours[:shared], 1)[0]
    gap = float(logits_V[ends[0]] - logits_V[ends[1]])
    return Difference(position, *ends, gap, near_tie(gap, logits_V, lm.model.dtype))


def near_tie(gap: float, logits_V: Tensor, dtype: torch.dtype) -> bool:
    """Whether rounding may have turned a choice: |gap| at most sqrt(eps) of the largest |logit|.

    The square root of the machine epsilon (float32: 3.5e-4, bfloat16: 0.09) is far above what two orders of the same
    sums differ by, and far below a true preference.
    """
    return abs(gap) <= torch.finfo(dtype).eps ** 0.5 * float(logits_V.abs().max())


def judged(lm: LM, written: Continuation) -> Quality:
    """The new tokens under the model.

    Raises:
        ValueError: a model that does not give the next token, a text without room in the context.
    """
    logits_NV = logits_after(lm, [*written.prompt_ids, *written.ids[:-1]], len(written.ids))
    ids_N = torch.tensor(written.ids, device=logits_NV.device)
    nats = torch.nn.functional.cross_entropy(logits_NV.double(), ids_N, reduction="sum")
    lengths = lm.vocab.byte_lengths
    n_bytes = int(sum(lengths[token] for token in written.ids if token < lm.vocab.size))
    return Quality(float(nats), n_bytes, len(written.ids), int((logits_NV.argmax(-1) == ids_N).sum()))


def logits_after(lm: LM, ids: Sequence[int], n_last: int) -> Tensor:
    """Logits (N, V) after each of the last `n_last` ids, in float32 or better, for ids of the vocabulary alone."""
    session = Session.open(lm)
    head = list(ids[: len(ids) - n_last])
    if head:
        session.extend(head)
    logits_NV = session.extend(list(ids[len(head) :]), keep="all")[..., : lm.vocab.size]
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
