"""Token Recycling: what the model nearly said after each token is kept, and unrolled into a tree of guesses.

One row per token id holds the K likeliest next tokens of the last place where the model was asked after it. Each
verifying pass rewrites the rows of ALL the nodes it saw, rejected ones too. No second model, no training.

Paper: Turning Trash into Treasure: Token Recycling (arXiv 2408.08696), section 3.
"""

# Axes: V vocabulary, K kept successors, N nodes.

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from tokenry.decoding.calibration import RankRates
from tokenry.decoding.sampling import Settings
from tokenry.decoding.sizing import Measured, sizing_of
from tokenry.decoding.speculate import Sizing, Verified
from tokenry.decoding.strategies import Continuation, Drafted, Prompt
from tokenry.decoding.trees import Shape, TokenTree, best_ranks
from tokenry.models.lm import LM
from tokenry.models.session import Session

WIDTH, SIZE = 8, 80
_DEEPEST = 16
"""Longest path of a template made from rates."""
_COUNTS = (
    {(): 8},
    dict(zip([(r,) for r in range(8)], (8, 4, 3, 2, 1, 1, 1, 1), strict=True)),
    {(0, 0): 8, (0, 1): 3, (0, 2): 2, (0, 3): 1, (0, 4): 1, (0, 5): 1, (0, 6): 1, (0, 7): 1, (1, 0): 2, (1, 1): 1,
     (2, 0): 1, (3, 0): 1, (4, 0): 1, (5, 0): 1},
    {(0, 0, 0): 5, (0, 0, 1): 2, (0, 0, 2): 1, (0, 0, 3): 1, (0, 0, 4): 1, (0, 1, 0): 1, (0, 2, 0): 1, (1, 0, 0): 1,
     (2, 0, 0): 1, (3, 0, 0): 1},
    {(0, 0, 0, 0): 3, (0, 0, 0, 1): 1, (0, 0, 0, 2): 1, (0, 0, 1, 0): 1, (0, 1, 0, 0): 1, (1, 0, 0, 0): 1},
    {(0, 0, 0, 0, 0): 2, (0, 0, 0, 1, 0): 1},
)  # fmt: skip
"""Children of every inner node of the paper's tree, by its path of ranks, level by level."""


@functools.cache
def published_tree() -> Shape:
    """The paper's template: 80 guesses below the root, 8, 21, 25, 15, 8 and 3 a level."""
    return Shape.from_ranks((*path, rank) for level in _COUNTS for path, n in level.items() for rank in range(n))


class Recycling:
    """Drafter that unrolls its table of successors into a fixed tree.

    Attributes:
        table_VK: int32, row t the likeliest tokens after t, best first; -1 where nothing was seen. Made at the first
            text, kept from text to text.
        width: K.
        tree: the template, or None for the best one by `rates` for the budget that is asked.
        rates: how often each rank was right.
        refit: steps after which templates of sizes other than `tree` are made anew from `rates`; 0 leaves them.
        accepted_only: learn from accepted nodes alone (to measure what the rejected ones give).
        from_prompt: put what follows each token in the prompt at rank 0 of its row. Ours, not the paper's; it needs
            no logits.
    """

    def __init__(
        self,
        *,
        width: int = WIDTH,
        tree: Shape | None = None,
        refit: int = 32,
        accepted_only: bool = False,
        from_prompt: bool = True,
    ) -> None:
        if width < 1:
            raise ValueError(f"width={width} successors kept; need at least 1 (the paper: 8).")
        if tree is not None and len(tree) > 1 and int(tree.rank.max()) >= width:
            raise ValueError(f"a tree of ranks up to {int(tree.rank.max())} on width={width}; need a larger width.")
        self.width, self.tree, self.refit = width, tree, refit
        self.accepted_only, self.from_prompt = accepted_only, from_prompt
        self.table_VK: np.ndarray | None = None
        self.rates = RankRates(_start_rates(width))
        self._rates_R = self.rates.rates()
        self._shapes: dict[tuple[int, int], Shape] = {}
        self._deepest = max(_DEEPEST, 0 if tree is None else int(tree.depth.max()))
        self._n_steps, self.owner = 0, ""

    @property
    def notes(self) -> dict[str, float]:
        """Share of the table's rows that hold something."""
        return {"rows known": 0.0 if self.table_VK is None else float((self.table_VK[:, 0] >= 0).mean())}

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """Keep the table; note what follows what in the prompt."""
        n_tokens = settings.n_tokens or session.model.get_input_embeddings().weight.shape[0]
        if self.table_VK is None:
            self.table_VK = np.full((n_tokens, self.width), -1, dtype=np.int32)
        if len(self.table_VK) != n_tokens:
            raise ValueError(
                f"a table of {len(self.table_VK)} tokens for a model of {n_tokens}; need one of this model. "
                "Call reset(), or load the table that belongs to it."
            )
        if self.from_prompt:
            for token, following in itertools.pairwise(prompt):
                row_K = self.table_VK[token]
                if row_K[0] != following:
                    known = np.flatnonzero(row_K == following)
                    stop = int(known[0]) if len(known) else self.width - 1
                    row_K[1 : stop + 1] = row_K[:stop].copy()
                    row_K[0] = following

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> TokenTree | None:
        """The template filled from the table, without what hangs below an empty row."""
        shape = self._shape(budget, depth)
        tokens = np.full(len(shape), -1, dtype=np.int64)
        tokens[0] = context[-1]
        for level in shape.levels[1:]:
            above = tokens[shape.parents[level]]
            tokens[level] = np.where(above < 0, -1, self.table_VK[above, shape.rank[level]])
        known = tokens >= 0
        return shape.filled(tokens) if known.all() else self._partly(shape, tokens, known)

    def update(self, step: Verified) -> None:
        """Rewrite the rows of all nodes; where a token stands at several, the accepted, then the shallower one wins."""
        tree, n_tokens = step.draft.tree, len(self.table_VK)
        for node, following in zip(step.path, [*step.path[1:], None], strict=True):
            children = tree.children[node]
            if children:
                self.rates.observe(len(children), None if following is None else children.index(following))
        top_NK = step.logits_NV[:, :n_tokens].topk(min(self.width, n_tokens), dim=-1).indices.cpu().numpy()
        accepted = np.zeros(len(tree), dtype=bool)
        accepted[step.path] = True
        order = np.lexsort((-tree.depth, accepted))  # numpy keeps the LAST of several writes to a row
        order = order[accepted[order]] if self.accepted_only else order
        self.table_VK[tree.tokens[order], : top_NK.shape[1]] = top_NK[order]
        self._n_steps += 1
        if self.refit and self._n_steps % self.refit == 0:
            self._rates_R, self._shapes = self.rates.rates(), {}

    def learn(self, ids: Sequence[int], logits_TV: Tensor) -> None:
        """Write the rows of a text whose logits are at hand, later places over earlier ones."""
        n_tokens = logits_TV.shape[-1]
        if self.table_VK is None:
            self.table_VK = np.full((n_tokens, self.width), -1, dtype=np.int32)
        top_TK = logits_TV[:, : len(self.table_VK)].topk(min(self.width, n_tokens), dim=-1).indices.cpu().numpy()
        self.table_VK[np.asarray(ids, dtype=np.int64), : top_TK.shape[1]] = top_TK

    def fit_tree(self) -> np.ndarray:
        """Make the template anew, at any budget, from how often each rank was right so far; returns these rates."""
        self.tree, self._rates_R, self._shapes = None, self.rates.rates(), {}
        return self._rates_R

    def reset(self) -> None:
        """Forget the table."""
        self.table_VK = None

    def save(self, path: str | Path) -> Path:
        """Write the table and whose it is (a safetensors file)."""
        from safetensors.numpy import save

        from tokenry.core.runs import atomic_write

        if self.table_VK is None:
            raise ValueError("a table that has seen no text; nothing to save. Decode or warm it first.")
        atomic_write(path, save({"table_VK": self.table_VK}, metadata={"owner": self.owner}))
        return Path(path)

    def load(self, path: str | Path, *, owner: str = "") -> None:
        """Read a table.

        Args:
            path: what `save` wrote.
            owner: `owner_of` the model it will serve; "" takes any.

        Raises:
            ValueError: another width, or another model's.
        """
        from safetensors import safe_open

        with safe_open(str(path), framework="numpy") as file:
            table_VK, of = file.get_tensor("table_VK"), (file.metadata() or {}).get("owner", "")
        if table_VK.shape[1] != self.width:
            raise ValueError(f"{path}: {table_VK.shape[1]} successors a token; width={self.width} is asked.")
        if owner and of and of != owner:
            raise ValueError(f"{path} was learnt from {of}, this model is {owner}; give another file for this model.")
        self.table_VK, self.owner = table_VK.copy(), of or owner

    def _shape(self, budget: int, depth: int) -> Shape:
        """The template as far as budget and depth allow."""
        size = min(budget, SIZE if self.tree is None else len(self.tree) - 1)
        key = size, min(depth, self._deepest)
        if key not in self._shapes:
            whole = self.tree is not None and size == len(self.tree) - 1
            shape = self.tree if whole else best_ranks(self._rates_R, size, max_depth=_DEEPEST)
            if int(shape.depth.max()) > depth:
                shape = Shape(shape.filled(np.zeros(len(shape))).shallow(depth).parents)
            self._shapes[key] = shape
        return self._shapes[key]

    def _partly(self, shape: Shape, tokens: np.ndarray, known: np.ndarray) -> TokenTree | None:
        return shape.filled(tokens).only(np.flatnonzero(known)) if known[1:].any() else None


def _start_rates(width: int) -> list[float]:
    rates = RankRates().prior_R.tolist()
    return [*rates, *(rates[-1] * 0.8 ** (rank + 1) for rank in range(width - len(rates)))][:width]


def owner_of(lm: LM) -> str:
    """Whose a table is: the model's name and its tokenizer's fingerprint."""
    return f"{Path(lm.name).name} {lm.vocab.fingerprint}"


def warm(drafter: Recycling, lm: LM, texts: Iterable[str]) -> None:
    """Fill the table from texts, one forward pass a text (cut to the model's context)."""
    for ids in lm.encode(list(texts)):
        if len(ids):
            ids = ids[: lm.context]
            drafter.learn(ids.tolist(), Session.open(lm).extend(ids, keep="all")[:, : lm.vocab.size])
    drafter.owner = owner_of(lm)


class _Kept:
    """The strategy with its table read from a file before the first text and written back after each."""

    def __init__(self, drafted: Drafted, path: Path) -> None:
        self.drafted, self.path, self.name = drafted, path, drafted.name

    @property
    def drafter(self) -> Recycling:
        return self.drafted.drafter

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        owner = owner_of(lm)
        if self.drafter.table_VK is None and self.path.is_file():
            self.drafter.load(self.path, owner=owner)
        self.drafter.owner = owner
        found = self.drafted(lm, prompt, settings)
        self.drafter.save(self.path)
        return found


def recycling(
    *, width: int = WIDTH, size: int | str = "auto", state: str | Path | None = None, from_prompt: bool = True
) -> Drafted | Callable[..., Continuation]:
    """The strategy.

    Args:
        width: successors kept a token.
        size: guesses a step; 80 is the paper's tree, "auto" measures what a step costs here and takes what pays.
        state: a file that keeps the table between runs.
        from_prompt: see `Recycling`.
    """
    sizing: Sizing | int = sizing_of(size, most=SIZE)
    whole = size == SIZE or isinstance(sizing, Measured)
    drafter = Recycling(
        width=width, tree=published_tree() if whole and width >= WIDTH else None, from_prompt=from_prompt
    )
    drafted = Drafted(drafter, name="recycling", sizing=sizing)
    return drafted if state is None else _Kept(drafted, Path(state))
