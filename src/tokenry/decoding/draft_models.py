"""A second, smaller model that follows the text: its laws after any node of a draft tree, its cache kept in step.

Paper: speculative decoding (arXiv 2211.17192).
"""

# Axes: V vocabulary of the target, N nodes.

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenry.decoding.expansion import Growth
from tokenry.decoding.sampling import Settings, check_numbers
from tokenry.decoding.trees import TokenTree
from tokenry.models.lm import LM
from tokenry.models.session import Session

_LEAD = 8
"""Accepted tokens the draft has not run yet that may still go in front of the tree; more are run on their own."""


class DraftModel:
    """A draft model in step with the target's text.

    Attributes:
        model: the transformers model.
        n_calls: its forward passes so far.
    """

    def __init__(self, draft: "torch.nn.Module | LM", *, score_temperature: float = 1.0) -> None:
        self.lm = draft if isinstance(draft, LM) else None
        self.model = draft.model if isinstance(draft, LM) else draft
        self.score_temperature = score_temperature
        self.n_calls = 0
        self._session: Session | None = None
        self._placed: dict[int, int] = {}

    def begin(self, session: Session, settings: Settings) -> None:
        """A new text of the target in `session`.

        Raises:
            ValueError: the draft's ids cannot be the target's.
        """
        rows = [_rows(session.model), _rows(self.model)]
        self._n_tokens = settings.n_tokens or rows[0]
        if rows[0] != rows[1] and (settings.n_tokens is None or rows[1] < settings.n_tokens):
            raise ValueError(
                f"a draft of {rows[1]} token ids for a target of {rows[0]}; need the same vocabulary. Move the draft "
                "onto the target's first: tokenry transplant DRAFT --donor TARGET --out draft (then heal it a little)."
            )
        self._settings, self._device = settings, session.device
        self._session = Session.open(self.model)
        self._placed = {}

    def start(self, context: Sequence[int], depth: int) -> int:
        """Stand at the end of the text; how deep a tree may grow there (0: the draft's context is full)."""
        session = self._session
        depth = min(depth, session.context - len(context))
        if depth < 1:
            return 0
        if len(context) - 1 - len(session) > _LEAD:
            session.extend(context[len(session) : -1])
            self.n_calls += 1
        self._lead = list(context[len(session) : -1])
        self._order, self._placed, self._context = [], {}, context
        return depth

    def laws_after(self, growth: Growth, nodes: list[int]) -> list[np.ndarray]:
        """The laws (V,), float64, after nodes whose parents were asked before; one forward pass."""
        n_lead = len(self._lead)
        known = n_lead + len(self._order) if self._order else 0
        for node in nodes:
            self._placed[node] = n_lead + len(self._order)
            self._order.append(node)
        tokens = [*self._lead, *(growth.tokens[node] for node in self._order)]
        parents = [*range(-1, n_lead - 1)]
        parents += [self._placed[growth.parents[node]] if node else n_lead - 1 for node in self._order]
        logits_NV = self._session.verify(TokenTree(tokens, parents), known=known)[-len(nodes) :]
        self.n_calls += 1
        return self._laws(logits_NV, growth, nodes)

    def settle(self, path: Sequence[int]) -> None:
        """The target accepted these nodes of the last tree: keep what of them the draft has run."""
        if self._placed:
            ran = [self._placed[node] for node in path if node in self._placed]
            self._session.accept([*range(len(self._lead)), *ran])
            self._placed = {}

    def laws_on_device(self, laws: dict[int, np.ndarray]) -> dict[int, Tensor]:
        """Laws as the acceptance rules of the loop want them."""
        return {node: torch.from_numpy(law_V).to(self._device) for node, law_V in laws.items()}

    def _laws(self, logits_NV: Tensor, growth: Growth, nodes: list[int]) -> list[np.ndarray]:
        """As the target's settings draw them; at temperature 0 a softmax that only scores."""
        settings, laws = self._settings, []
        logits_NV = logits_NV[:, : self._n_tokens]
        plain = settings.is_greedy and settings.processors is None
        if plain:
            scores_NV = check_numbers(logits_NV).double() / self.score_temperature
            return list(scores_NV.softmax(-1).cpu().numpy())
        for node, logits_V in zip(nodes, logits_NV, strict=True):
            path = None
            if settings.processors is not None:
                path = [*self._context, *_text(growth, node)]
            if settings.is_greedy:
                logits_V = check_numbers(settings.processed(logits_V, path)).double() / self.score_temperature
                laws.append(logits_V.softmax(-1).cpu().numpy())
            else:
                laws.append(settings.law(logits_V, path).cpu().numpy())
        return laws


def _text(growth: Growth, node: int) -> list[int]:
    """Tokens below the root down to a node."""
    tokens = []
    while node > 0:
        tokens.append(growth.tokens[node])
        node = growth.parents[node]
    return tokens[::-1]


def _rows(model: torch.nn.Module) -> int:
    return model.get_input_embeddings().weight.shape[0]


def check_same_tokens(target: LM, draft: LM) -> None:
    """Refuse a draft whose ids do not spell what the target's spell.

    Raises:
        ValueError: with the first id that differs, and the way out.
    """
    ours, theirs = target.vocab.tokens, draft.vocab.tokens
    way_out = (
        f"need one vocabulary. Move the draft onto the target's first: tokenry transplant {draft.name} --donor "
        f"{target.name} --out draft (then heal it a little)."
    )
    for number, (right, guessed) in enumerate(zip(ours, theirs, strict=False)):
        if right != guessed:
            raise ValueError(f"token {number} is {right!r} to the target and {guessed!r} to the draft; {way_out}")
    if len(ours) != len(theirs):
        raise ValueError(f"a draft of {len(theirs)} tokens for a target of {len(ours)}; {way_out}")


def opened(draft: object, target: LM | None = None) -> LM:
    """A draft from a folder, a hub name or an LM, on the target's device and checked against its tokens.

    Raises:
        ValueError: no draft given, or another vocabulary.
    """
    if draft is None or draft == "":
        raise ValueError("no draft model; need a small model with the target's tokenizer. Give --with draft=FOLDER.")
    device = None if target is None else str(target.device)
    lm = LM.open(
        str(draft) if isinstance(draft, Path) else draft, device=device if isinstance(draft, str | Path) else None
    )
    if target is not None:
        check_same_tokens(target, lm)
    return lm
