"""Train a moved model to stay near the hidden states of the original on its own segmentation of the same text.

A token appended by continued BPE is a fixed run of old tokens, so both sequences meet at the end of every new token.

Paper: Token Distillation (arXiv 2505.20133).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Teacher:
    """The original model, and the old ids each appended token is made of."""

    model: nn.Module
    pieces: list[list[int]]
    n_old: int


def distilled_loss(teacher: Teacher, *, weight: float = 1.0) -> Callable[[nn.Module, dict], tuple[Tensor, dict]]:
    """A loss for `fit`: next token, plus `weight` times the distance to the teacher's hidden states.

    Paper: Token Distillation (arXiv 2505.20133), section 3; there only new rows train, here all weights may.
    """
    teacher.model.eval()

    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, dict]:
        ids_BT = batch["input_ids"]
        output = model(input_ids=ids_BT, output_hidden_states=True, use_cache=False)
        targets_N = batch["labels"][:, 1:].flatten()
        n_targets = int((targets_N >= 0).sum())
        logits_NV = output.logits[:, :-1].flatten(0, 1).float()
        total = nn.functional.cross_entropy(logits_NV, targets_N, ignore_index=-100, reduction="sum")
        old_BS, ends_BT = expand_ids(ids_BT.cpu().numpy(), teacher.pieces, teacher.n_old)
        with torch.no_grad():
            old = torch.from_numpy(old_BS).to(ids_BT.device)
            seen = teacher.model(input_ids=old, output_hidden_states=True, use_cache=False).hidden_states[-1]
        ends = torch.from_numpy(ends_BT).to(ids_BT.device)
        near = hidden_state_loss(output.hidden_states[-1], seen, ends, batch["labels"] >= 0)
        return total / max(1, n_targets) + weight * near, {"tokens": n_targets, "hidden": float(near.detach())}

    return loss


def hidden_state_loss(student_BTD: Tensor, teacher_BSD: Tensor, ends_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Squared distance between hidden states where both sequences end the same bytes, in units of the teacher's power.

    Args:
        student_BTD: last hidden states on new tokens.
        teacher_BSD: last hidden states on old tokens of the same text.
        ends_BT: for each new token the position of its last old token, int64.
        mask_BT: which positions count, bool.

    Returns:
        A scalar; 0 when the student equals the teacher at every position that counts.

    Paper: Token Distillation (arXiv 2505.20133), section 3.
    """
    aligned_BTD = teacher_BSD.gather(1, ends_BT[..., None].expand(-1, -1, teacher_BSD.shape[-1]))
    distance_BT = (student_BTD - aligned_BTD).float().square().mean(-1)
    power = aligned_BTD[mask_BT].float().square().mean()
    return distance_BT[mask_BT].mean() / power.clamp_min(1e-12)


def expand_ids(ids_BT: np.ndarray, pieces: list[list[int]], n_old: int) -> tuple[np.ndarray, np.ndarray]:
    """Old tokens of new token sequences, and where each new token ends among them.

    Args:
        ids_BT: new ids; an id below `n_old` is itself, `n_old + j` is `pieces[j]`.
        pieces: old ids of each appended token.
        n_old: size of the old vocabulary.

    Returns:
        old_BS: int64, padded with 0 at the end (a causal model does not look there). ends_BT: int64.
    """
    sizes = np.concatenate([np.ones(n_old, np.int64), [len(p) for p in pieces]]).astype(np.int64)
    flat = np.concatenate([np.arange(n_old), *map(np.asarray, pieces)]).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ends_BT = np.cumsum(sizes[ids_BT], axis=1) - 1
    old_BS = np.zeros((len(ids_BT), int(ends_BT[:, -1].max()) + 1), np.int64)
    for row, ids in enumerate(ids_BT):
        n = sizes[ids]
        offsets = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        old_BS[row, : n.sum()] = flat[np.repeat(starts[ids], n) + offsets]
    return old_BS, ends_BT


def paired_distilled_loss(
    teacher: nn.Module, *, weight: float = 1.0
) -> Callable[[nn.Module, dict], tuple[Tensor, dict]]:
    """`distilled_loss` for any two tokenizers: batches of `pairing.draw_pairs`, states compared where chunks end.

    Paper: Token Distillation (arXiv 2505.20133), section 3; the alignment is that of arXiv 2503.20083.
    """
    teacher.eval()

    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, dict]:
        ids_BT = batch["input_ids"]
        output = model(input_ids=ids_BT, output_hidden_states=True, use_cache=False)
        targets_N = batch["labels"][:, 1:].flatten()
        n_targets = int((targets_N >= 0).sum())
        logits_NV = output.logits[:, :-1].flatten(0, 1).float()
        total = nn.functional.cross_entropy(logits_NV, targets_N, ignore_index=-100, reduction="sum")
        with torch.no_grad():
            seen = teacher(input_ids=batch["teacher_ids"], output_hidden_states=True, use_cache=False).hidden_states[-1]
        ends_BT = torch.zeros_like(ids_BT)
        mask_BT = torch.zeros(ids_BT.shape, dtype=torch.bool, device=ids_BT.device)
        rows, chunks = batch["usable"].nonzero(as_tuple=True)
        own, theirs = (side[rows, chunks] for side in batch["ends"])
        ends_BT[rows, own], mask_BT[rows, own] = theirs, True
        near = hidden_state_loss(output.hidden_states[-1], seen, ends_BT, mask_BT)
        return total / max(1, n_targets) + weight * near, {"tokens": n_targets, "hidden": float(near.detach())}

    return loss
