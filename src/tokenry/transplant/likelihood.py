"""Approximate likelihood matching: a model learns from one with another tokenizer, chunk of text by chunk of text.

Both read the same text; wherever their tokens end at the same byte, both have given the stretch before a probability,
and the student's is drawn to the teacher's. Unlike hidden states this needs neither equal widths nor shared tokens.

Paper: Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching (arXiv 2503.20083).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokenry.models.batches import Batch

# Axes: B rows, T student positions, S teacher positions, V vocabulary, C chunks, D width.

EPSILON = 1e-6


@dataclass(frozen=True)
class Matching:
    """How likelihoods are matched; the defaults are the paper's."""

    temperature: float = 100.0
    """tau: log-probabilities are divided by it before they are compared; inf takes the limit of tau x KL."""
    threshold: float = 0.1
    """a chunk ends where the teacher gives white space at least this chance; elsewhere it joins the next. 0: never."""
    append_space: bool = True
    """count the chance that white space follows into every chunk."""
    hidden: float = 0.0
    """weight of the squared distance of last hidden states at chunk ends; needs equal widths."""
    next_token: float = 0.0
    """weight of the plain loss on the text beside the likelihoods'."""
    balanced: bool = False
    """before the weights, scale every further term to the gradient norm that the likelihoods' has at the last hidden
    states: then the weights say how hard each pulls, whatever its unit."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Chunks after merging: log-probabilities on both sides, and what counts."""

    log_p: tuple[Tensor, Tensor]
    """student, teacher: (B, C) at the place of each group's number."""
    valid_BC: Tensor
    """whether there is a group of that number, all of it usable."""
    ends_2BC: Tensor
    """last token of each group on either side; 0 where there is none."""


def log1mexp(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)) for log_p < 0 in the form that is exact on its side of -ln 2; its gradient is finite."""
    small = log_p < -math.log(2)
    # `where` passes gradients of both arms: each sees a harmless value where it is not taken.
    low = torch.where(small, log_p, torch.full_like(log_p, -1.0))
    high = torch.where(small, torch.full_like(log_p, -0.5), log_p)
    return torch.where(small, torch.log1p(-low.exp()), torch.log(-torch.expm1(high)))


def likelihood_distance(student: Tensor, teacher: Tensor, *, temperature: float = 100.0) -> Tensor:
    """Binary cross-entropy between the teacher's and the student's chance of each chunk, both at a temperature.

    With p = exp(l / tau - 1e-6): -(p_T log p_S + (1 - p_T) log(1 - p_S)), least where both agree.

    Args:
        student, teacher: log-probabilities of chunks, at most 0, any shape.
        temperature: tau; inf gives the limit of tau x KL, (l_T - l_S) + l_T ln(l_S / l_T).

    Paper: arXiv 2503.20083, equation 5; the limit is ours.
    """
    student, teacher = student.clamp(max=0.0), teacher.clamp(max=0.0)
    if math.isinf(temperature):
        student, teacher = student - EPSILON, teacher - EPSILON
        return (teacher - student) + teacher * torch.log(student / teacher)
    log_s, log_t = student / temperature - EPSILON, teacher / temperature - EPSILON
    p_t = log_t.exp()
    return -(p_t * log_s - torch.expm1(log_t) * log1mexp(log_s))


def token_scores(logits_BTV: Tensor, ids_BT: Tensor, space_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token given those before it, and of white space after it.

    Returns:
        log_p_BT: 0 at the first position, which nothing predicts. space_BT: log of the mass on `space_ids` next.
    """
    logits_BTV = logits_BTV.to(torch.promote_types(logits_BTV.dtype, torch.float32))
    norm_BT = logits_BTV.logsumexp(-1)
    taken = logits_BTV[:, :-1].gather(-1, ids_BT[:, 1:, None])[..., 0] - norm_BT[:, :-1]
    return nn.functional.pad(taken, (1, 0)), logits_BTV[..., space_ids].logsumexp(-1) - norm_BT


def chunk_sums(log_p_BT: Tensor, ends_BC: Tensor) -> Tensor:
    """Sum of log-probabilities inside each chunk; 0 for chunks that are not there (end -1)."""
    total_BT = log_p_BT.cumsum(1)
    at_BC = total_BT.gather(1, ends_BC.clamp_min(0))
    before_BC = nn.functional.pad(at_BC[:, :-1], (1, 0))
    return torch.where(ends_BC >= 0, at_BC - before_BC, torch.zeros_like(at_BC))


def merge_chunks(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], batch: Batch, *, how: Matching
) -> Groups:
    """Join each chunk whose end the teacher does not trust to the next one, and add up.

    Args:
        student, teacher: what `token_scores` gave for each side.
        batch: `ends`, `usable` and `closed` of `pairing.collate_pairs`.

    Returns:
        Groups. A group without a trusted end (the last of a row) is dropped, and one with an unusable chunk in it.

    Paper: arXiv 2503.20083, section 3.3 (the bias of tokenised prefixes inside words).
    """
    ends_2BC, usable_BC = batch["ends"], batch["usable"]
    there_BC = ends_2BC[0] >= 0
    spaces = [space.gather(1, ends.clamp_min(0)) for (_, space), ends in zip((student, teacher), ends_2BC, strict=True)]
    trusted_BC = there_BC & (batch["closed"] | (spaces[1] > math.log(how.threshold) if how.threshold > 0 else there_BC))
    number_BC = trusted_BC.long().cumsum(1) - trusted_BC.long()
    n_groups_B1 = trusted_BC.sum(1, keepdim=True)
    log_p = []
    for (scores, _), ends_BC in zip((student, teacher), ends_2BC, strict=True):
        parts_BC = chunk_sums(scores, ends_BC)
        log_p.append(torch.zeros_like(parts_BC).scatter_add(1, number_BC, parts_BC))
    if how.append_space:
        kept_BC = trusted_BC.to(log_p[0].dtype)
        for side, space in enumerate(spaces):
            log_p[side] = log_p[side].scatter_add(1, number_BC, space * kept_BC.to(space.dtype))
    broken_BC = torch.zeros_like(number_BC).scatter_add(1, number_BC, (there_BC & ~usable_BC).long())
    places_C = torch.arange(number_BC.shape[1], device=number_BC.device)
    valid_BC = (places_C < n_groups_B1) & (broken_BC == 0)
    at = torch.where(trusted_BC, ends_2BC, torch.zeros_like(ends_2BC))
    ends = torch.stack([torch.zeros_like(number_BC).scatter_add(1, number_BC, side) for side in at])
    return Groups((log_p[0], log_p[1]), valid_BC, ends)


def channel_distance(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """Mean squared distance, each channel in units of the teacher's mean square in it.

    Paper: arXiv 2503.20083, section 4 (self-distillation: both have the same body, so no projection).
    """
    if not len(student_ND):
        return student_ND.sum()
    power_D = teacher_ND.float().square().mean(0).clamp_min(1e-12)
    return ((student_ND - teacher_ND).float().square().mean(0) / power_D).mean()


class TeacherScores:
    """Two floats a token of a teacher's rows, kept after the first pass, so that later epochs need no teacher."""

    def __init__(self) -> None:
        self.rows: dict[int, Tensor] = {}

    def get(self, batch: Batch, compute: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The scores of a batch: from memory when all its rows are there, else by `compute`, which is then kept."""
        ids_BS, rows = batch["teacher_ids"], batch["rows"].tolist()
        if not all(row in self.rows for row in rows):
            scores = compute()
            for at, row in enumerate(rows):
                self.rows[row] = torch.stack([side[at] for side in scores]).float().cpu()
            return scores
        found = torch.zeros(2, *ids_BS.shape, device=ids_BS.device)
        for at, row in enumerate(rows):
            kept = self.rows[row][:, : ids_BS.shape[1]]
            found[:, at, : kept.shape[1]] = kept.to(found.device)
        return found[0], found[1]


def likelihood_loss(
    teacher: nn.Module,
    spaces: tuple[Tensor, Tensor],
    *,
    how: Matching | None = None,
    scores: TeacherScores | None = None,
) -> Callable[[nn.Module, Batch], tuple[Tensor, dict]]:
    """A loss for `fit` over batches of `pairing.draw_pairs`.

    Args:
        teacher: the model to match; it is not trained.
        spaces: ids after which a word has ended, student's and teacher's (`alignment.space_starts`).
        how: see Matching.
        scores: keeps what the teacher said; not used with a hidden-state term, which needs its states.

    Paper: arXiv 2503.20083.
    """
    how = how or Matching()
    teacher.eval()

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        wants_states = how.hidden > 0
        output = model(input_ids=batch["input_ids"], output_hidden_states=wants_states or how.balanced, use_cache=False)
        own = token_scores(output.logits, batch["input_ids"], spaces[0])
        seen: list[Tensor] = []

        def compute() -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                found = teacher(input_ids=batch["teacher_ids"], output_hidden_states=wants_states, use_cache=False)
                seen.extend(found.hidden_states[-1:] if wants_states else ())
                return token_scores(found.logits, batch["teacher_ids"], spaces[1])

        theirs = compute() if scores is None or wants_states else scores.get(batch, compute)
        groups = merge_chunks(own, theirs, batch, how=how)
        n_groups = int(groups.valid_BC.sum())
        student, aim = (side[groups.valid_BC] for side in groups.log_p)
        terms = [(1.0, likelihood_distance(student, aim, temperature=how.temperature).sum() / max(1, n_groups))]
        facts = {"tokens": n_groups, "gap_nats": float((student - aim).detach().abs().sum()) / max(1, n_groups)}
        if how.next_token > 0:
            learned_BT = batch["labels"][:, 1:] >= 0
            plain = -(own[0][:, 1:] * learned_BT).sum() / learned_BT.sum().clamp_min(1)
            terms.append((how.next_token, plain))
            facts["next_token"] = float(plain.detach())
        if wants_states:
            near = _states_distance(output.hidden_states[-1], seen[0], groups)
            terms.append((how.hidden, near))
            facts["hidden"] = float(near.detach())
        # A batch without a usable chunk gives no gradient to scale the others to.
        at = output.hidden_states[-1] if how.balanced and n_groups and torch.is_grad_enabled() else None
        return _added(terms, at), facts

    return loss


def _states_distance(own_BTD: Tensor, seen_BSD: Tensor, groups: Groups) -> Tensor:
    """Distance of the last hidden states where groups end."""
    states = [
        hidden.gather(1, ends[..., None].expand(-1, -1, hidden.shape[-1]))[groups.valid_BC]
        for hidden, ends in zip((own_BTD, seen_BSD), groups.ends_2BC, strict=True)
    ]
    return channel_distance(*states)


def _added(terms: list[tuple[float, Tensor]], at: Tensor | None) -> Tensor:
    """Terms with their weights in one sum, balanced at a tensor where one is given."""
    weights, parts = [weight for weight, _ in terms], [part for _, part in terms]
    if at is not None and len(parts) > 1:
        return balance(parts, at, weights)
    return sum(weight * part for weight, part in terms)


def balance(parts: list[Tensor], at: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Losses added so that each pulls equally hard: scaled to the gradient norm of the first at one tensor.

    Args:
        parts: scalars of one graph.
        at: last hidden states. The paper takes the last layer's weights; those may be frozen here.
        weights: how hard each pulls; None: all alike.

    Raises:
        ValueError: a part does not depend on `at`.

    Paper: arXiv 2503.20083, section 4 (weights by gradient magnitude).
    """
    norms = []
    for part in parts:
        (gradient,) = torch.autograd.grad(part, at, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "a loss does not depend on the last hidden states; need losses of the same output. Add them plainly."
            )
        norms.append(gradient.float().norm())
    scales = [torch.where(norm > 0, norms[0] / norm.clamp_min(1e-30), torch.ones_like(norm)) for norm in norms]
    weights = [1.0] * len(parts) if weights is None else weights
    return sum(weight * scale * part for weight, scale, part in zip(weights, scales, parts, strict=True))
