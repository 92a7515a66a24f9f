"""Token distillation: new rows learn to leave the hidden states that the old pieces left, in snippets of real text.

Only rows of new tokens train. Both models read a snippet around one new token: the teacher its old pieces, the student
the token in their place. States must agree at the end of the token and at every old token after it.

Paper: Token Distillation: Attention-Aware Input Embeddings for New Tokens (arXiv 2505.20133).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.models.batches import NOT_LEARNED, Batch, draw_rows
from tokenry.models.lm import LM
from tokenry.transplant.likelihood import balance

# Axes: B snippets, T student positions, S teacher positions.

PER_TOKEN, LENGTH = 100, 50
"""Snippets a token and old tokens a snippet, the paper's; more brought little there."""


@dataclass(frozen=True, eq=False)
class Snippet:
    """One place of a new token."""

    student: np.ndarray
    """int64 (T,): start, old tokens, the new token, old tokens."""
    teacher: np.ndarray
    """int64 (S,): the same with the old pieces."""
    at: int
    """position of the new token; what comes after it is old tokens, one to one."""


def find_snippets(
    student: LM, teacher: LM, texts: Sequence[str], *, rows: Sequence[int], per_token: int = PER_TOKEN,
    length: int = LENGTH,
) -> list[Snippet]:  # fmt: skip
    """Places in `texts` where the new tokenizer writes one of the new tokens, up to `per_token` of each.

    Encoding is the search: it finds all tokens at once, and of the places where a token's bytes stand those where the
    tokenizer will really write it (the paper's automaton also finds it inside longer words). A place counts where the
    old tokens are cut at both its ends and the old tokens around it are tokens of the new vocabulary too.

    Args:
        rows: ids of the new tokens.

    Raises:
        ValueError: none of them is anywhere.
    """
    is_new = np.zeros(student.vocab.size, bool)
    is_new[np.asarray(rows, np.int64)] = True
    carried = _carried(teacher, student)
    counts = np.zeros(student.vocab.size, np.int64)
    found: list[Snippet] = []
    for at in range(0, len(texts), 256):
        some = list(texts[at : at + 256])
        for new, old in zip(student.vocab.encode(some), teacher.vocab.encode(some), strict=True):
            found += _in_text(student, teacher, (new, old), is_new=is_new, carried=carried, counts=counts,
                              limits=(per_token, length))  # fmt: skip
    if not found:
        raise ValueError(
            "none of the new tokens stands in the text where the old tokens are cut at both its ends; need text that "
            "uses them, and an old vocabulary that is kept. Give more text, or take the objective alm."
        )
    return found


def _carried(teacher: LM, student: LM) -> np.ndarray:
    """Old id -> id of the same bytes in the new vocabulary, -1 where there is none."""
    index = student.vocab.index
    return np.array([index[t][0] if t and t in index else -1 for t in teacher.vocab.tokens], np.int64)


def _in_text(
    student: LM, teacher: LM, ids: tuple[np.ndarray, np.ndarray], *, is_new: np.ndarray, carried: np.ndarray,
    counts: np.ndarray, limits: tuple[int, int],
) -> list[Snippet]:  # fmt: skip
    new, old = (side.astype(np.int64) for side in ids)
    ends = [np.cumsum(lm.vocab.byte_lengths[side]) for lm, side in ((student, new), (teacher, old))]
    if not len(old) or not len(new) or ends[0][-1] != ends[1][-1]:
        return []  # a normaliser or a dummy prefix of one side only: places are not comparable
    found, (per_token, length) = [], limits
    for j in np.flatnonzero(is_new[new]).tolist():
        token, stop = int(new[j]), int(ends[0][j])
        begin = stop - int(student.vocab.byte_lengths[token])
        last = int(np.searchsorted(ends[1], stop))
        first = int(np.searchsorted(ends[1], begin, side="right")) if begin else 0
        is_cut = ends[1][last] == stop and (not begin or ends[1][first - 1] == begin)
        if not is_cut or counts[token] >= per_token or last - first >= length - 1:
            continue
        low = max(0, first - (length - (last - first + 1)) // 2)
        high = min(len(old), low + length)
        before, after = carried[old[low:first]], carried[old[last + 1 : high]]
        if (before < 0).any() or (after < 0).any():
            continue
        counts[token] += 1
        found.append(
            Snippet(
                np.concatenate([[student.start], before, [token], after]),
                np.concatenate([[teacher.start], old[low:high]]),
                1 + first - low,
            )
        )
    return found


def draw_snippets(
    snippets: Sequence[Snippet], *, batch_size: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Callable[[int], Batch]:
    """A function from step to batch: ids and labels of both sides, and `near` (B, T), the student positions matched.

    `teacher_at` (B, T) says which position of the teacher each of them must agree with.
    """
    rows_of = draw_rows(len(snippets), batch_size=batch_size, seed=seed)

    def batch(step: int) -> Batch:
        chosen = [snippets[row] for row in rows_of(step)]
        n, m = max(len(s.student) for s in chosen), max(len(s.teacher) for s in chosen)
        ids, labels = np.zeros((len(chosen), n), np.int64), np.full((len(chosen), n), NOT_LEARNED, np.int64)
        old, near = np.zeros((len(chosen), m), np.int64), np.zeros((len(chosen), n), bool)
        at = np.zeros((len(chosen), n), np.int64)
        for row, one in enumerate(chosen):
            size = len(one.student)
            ids[row, :size], old[row, : len(one.teacher)] = one.student, one.teacher
            labels[row, 1:size] = one.student[1:]
            near[row, one.at : size] = True
            at[row, one.at : size] = np.arange(one.at, size) + len(one.teacher) - size
        tensors = {"input_ids": ids, "labels": labels, "teacher_ids": old, "near": near, "teacher_at": at}
        return {key: torch.from_numpy(value).to(device, non_blocking=True) for key, value in tensors.items()}

    return batch


def token_distillation_loss(
    teacher: nn.Module, *, layer: int = -1, next_token: bool = True
) -> Callable[[nn.Module, Batch], tuple[Tensor, dict]]:
    """A loss for `fit`: mean squared distance of hidden states from the new token on.

    Args:
        layer: which hidden states; the last by default, an early one (6 or 7 of a large model) also works.
        next_token: add the cross-entropy, scaled to pull equally hard; it is what head rows learn from.

    Paper: arXiv 2505.20133, section 3.
    """
    teacher.eval()

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        output = model(input_ids=batch["input_ids"], output_hidden_states=True, use_cache=False)
        with torch.no_grad():
            seen = teacher(input_ids=batch["teacher_ids"], output_hidden_states=True, use_cache=False)
        aim = seen.hidden_states[layer]
        aim = aim.gather(1, batch["teacher_at"][..., None].expand(-1, -1, aim.shape[-1]))[batch["near"]]
        states = output.hidden_states[layer]
        near = (states[batch["near"]] - aim).float().square().mean()
        n_near = int(batch["near"].sum())
        if not next_token:
            return near, {"tokens": n_near, "hidden": float(near.detach())}
        logits_NV = output.logits[:, :-1].flatten(0, 1).float()
        entropy = nn.functional.cross_entropy(logits_NV, batch["labels"][:, 1:].flatten(), ignore_index=NOT_LEARNED)
        return balance([near, entropy], states), {"tokens": n_near, "hidden": float(near.detach())}

    return loss
