"""What a healing learns from: batches, loss and cost of a step for each objective.

Papers: Approximate Likelihood Matching (arXiv 2503.20083); Token Distillation (arXiv 2505.20133).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tokenry.models.batches import Batch, Packs, draw, pack, tokenise
from tokenry.models.lm import LM
from tokenry.models.training import Loss, flops, next_token_loss
from tokenry.transplant.alignment import space_starts
from tokenry.transplant.distilling import Teacher, distilled_loss, paired_distilled_loss
from tokenry.transplant.likelihood import Matching, TeacherScores, likelihood_loss
from tokenry.transplant.pairing import draw_pairs, pair
from tokenry.transplant.snippets import draw_snippets, find_snippets, token_distillation_loss

OBJECTIVES = ("next-token", "distil", "alm", "token-distil")


@dataclass(frozen=True, eq=False)
class Course:
    """Batches and loss of one objective, and what a step reads."""

    batches: Callable[[int], Batch]
    loss: Loss
    tokens: float
    """student tokens in one step."""
    n_bytes: float
    """bytes of text in one step."""
    teacher_flops: float = 0.0
    """operations of the teacher in one step."""


def check_objective(objective: str, teacher: object) -> None:
    """Refuse an objective that is unknown or lacks its teacher."""
    from tokenry.core.choosing import suggest

    fits = teacher is not None or objective == "next-token"
    if isinstance(teacher, Teacher) and objective in ("alm", "token-distil"):
        fits = False
    if objective not in OBJECTIVES or not fits:
        raise ValueError(
            f"objective {objective!r} cannot be used here.{suggest(objective, OBJECTIVES)} Need one of "
            f"{', '.join(OBJECTIVES)}; all but next-token also need the original model, with its own tokenizer "
            "(--teacher)."
        )


def check_terms(config: object) -> None:
    """Refuse what only the likelihoods take beside them under another objective: it would be ignored."""
    given = [name for name in ("next_token", "alm_hidden", "balanced") if getattr(config, name)]
    if given and config.objective != "alm":
        raise ValueError(
            f"{', '.join(given)} with the objective {config.objective!r}; these stand beside alm only (--next-token, "
            "--hidden, --balanced). Take --objective alm, or leave them away."
        )


def course(
    lm: LM, texts: list[str], *, config: object, teacher: Teacher | LM | None, rows: Sequence[int] | None
) -> Course:
    """What `config.objective` learns from in `texts`.

    Raises:
        ValueError: nothing to train on; token-distil without known new rows; hidden states of unequal widths.
    """
    name = config.objective
    if name == "next-token" or isinstance(teacher, Teacher):
        return _plain(lm, texts, config, teacher)
    if name == "token-distil":
        return _snippets(lm, texts, config, teacher=teacher, rows=rows)
    _check_width(lm, teacher, name == "distil" or config.alm_hidden > 0)
    per_token = _bytes_per_token(lm, texts)
    limits = (min(lm.context, 2 * config.length), min(teacher.context, 4 * config.length))
    pairs = pair(lm, teacher, texts, row_bytes=max(16, round(config.length * per_token)), longest=limits)
    batches = draw_pairs(pairs, batch_size=config.batch, seed=config.seed, device=lm.device)
    if name == "distil":
        loss = paired_distilled_loss(teacher.model, weight=config.weight)
    else:
        how = Matching(
            config.temperature, config.threshold, hidden=config.alm_hidden, next_token=config.next_token,
            balanced=config.balanced,
        )  # fmt: skip
        spaces = tuple(
            torch.from_numpy(np.flatnonzero(space_starts(side.vocab, side.model.config.vocab_size))).to(lm.device)
            for side in (lm, teacher)
        )
        loss = likelihood_loss(teacher.model, spaces, how=how, scores=TeacherScores())
    own, theirs = (config.batch * float(np.mean([len(p.ids[side]) for p in pairs])) for side in (0, 1))
    cost = flops(teacher.model, theirs, length=round(theirs / config.batch), backward=False)
    return Course(batches, loss, own, config.batch * float(np.mean([p.n_bytes for p in pairs])), cost)


def _plain(lm: LM, texts: list[str], config: object, teacher: Teacher | None) -> Course:
    packs = pack(tokenise(lm.vocab, texts), length=config.length, bos=lm.bos, eos=lm.start if lm.bos is None else None)
    batches = draw(packs, batch_size=config.batch, seed=config.seed, device=lm.device)
    n_bytes = config.batch * _mean_bytes(lm, packs)
    tokens = config.batch * config.length
    if config.objective == "next-token":
        return Course(batches, next_token_loss, tokens, n_bytes)
    # Old sequences are longer; twice is what extensions of a few thousand tokens reach.
    cost = flops(teacher.model, 2 * tokens, length=2 * config.length, backward=False)
    return Course(batches, distilled_loss(teacher, weight=config.weight), tokens, n_bytes, cost)


def _snippets(lm: LM, texts: list[str], config: object, *, teacher: LM, rows: Sequence[int] | None) -> Course:
    _check_width(lm, teacher, True)
    if rows is None:
        raise ValueError(
            "token-distil trains the rows of new tokens, and which are new is not known; need a model that a "
            "transplant wrote (with its plan). Name the rows, or take another objective."
        )
    found = find_snippets(lm, teacher, texts, rows=rows)
    batches = draw_snippets(found, batch_size=config.batch, seed=config.seed, device=lm.device)
    loss = token_distillation_loss(teacher.model, next_token=config.weight > 0)
    own, theirs = (float(np.mean([len(getattr(s, side)) for s in found])) for side in ("student", "teacher"))
    n_bytes = float(np.mean([teacher.vocab.byte_lengths[s.teacher].sum() for s in found]))
    cost = flops(teacher.model, config.batch * theirs, length=round(theirs), backward=False)
    return Course(batches, loss, config.batch * own, config.batch * n_bytes, cost)


def _check_width(lm: LM, teacher: LM, needed: bool) -> None:
    widths = [side.model.get_input_embeddings().weight.shape[1] for side in (lm, teacher)]
    if needed and widths[0] != widths[1]:
        raise ValueError(
            f"hidden states of {widths[1]} numbers in the teacher and {widths[0]} in the model cannot be compared; "
            "need equal widths. Take the objective alm, which compares likelihoods."
        )


def _bytes_per_token(lm: LM, texts: list[str]) -> float:
    some = texts[:64]
    return sum(len(t.encode()) for t in some) / max(1, sum(len(ids) for ids in lm.vocab.encode(some)))


def _mean_bytes(lm: LM, packs: Packs) -> float:
    """Bytes of text in one sequence, on average."""
    return float(lm.vocab.byte_lengths[packs.ids].sum(1).mean()) if len(packs) else 0.0


def stage_share(what: str) -> float:
    """Operations of a step that trains a part, against one that trains all: frozen matrices need no own gradient."""
    return 1.0 if what == "all" else 2 / 3
