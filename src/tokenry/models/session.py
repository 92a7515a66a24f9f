"""`Session`: a running text (or batch of texts) of a stock causal model with its cache: extend, rollback, fork, verify.

`verify` gives the logits of every node of a tree of guesses in ONE forward pass; `accept` keeps one path of it. Every
operation equals a full forward pass over the same tokens (float32: within 1e-4 of the largest logit; see `tests`).
"""

# Axes: B rows, T new tokens, P cached tokens, N nodes of a tree, V vocabulary.

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tokenry.models.kv_cache import GrowingCache
from tokenry.models.lm import LM, context_of
from tokenry.models.session_support import (
    Attention,
    check_cache,
    check_looks_back,
    check_trees,
    inspect_attention,
)


class Tree(Protocol):
    """What `verify` needs of a tree; `decoding.trees.TokenTree` is one.

    Attributes:
        tokens: ids (N,).
        parents: (N,), the node before; -1 for a node that follows the cached text itself. Parents stand before
            their children.
        depth: (N,), 0 where the parent is -1.
        ancestors: bool (N, N); row i marks the nodes on the path to i, i included.
    """

    tokens: np.ndarray
    parents: np.ndarray
    depth: np.ndarray
    ancestors: np.ndarray


class Session:
    """A text in progress.

    Attributes:
        model: the transformers model; never changed.
        context: most tokens it may hold.
        n_forwards: forward passes so far (a fork starts at its parent's count).
        hidden: the hidden states (B, T, D) of the last forward pass, one entry a layer, when asked for at `open`.
    """

    def __init__(self, model: torch.nn.Module, attention: Attention, context: int) -> None:
        self.model, self.context = model, context
        self.n_forwards = 0
        self.hidden: tuple[Tensor, ...] | None = None
        self._attention = attention
        self._cache = GrowingCache()
        self._rows: list[list[int]] = [[]]
        self._pads_B: Tensor | None = None
        self._pending: Tree | None = None
        self._keep_hidden = False

    @classmethod
    def open(
        cls, model: "torch.nn.Module | LM", *, batch: int = 1, hidden_states: bool = False, cache: object = None
    ) -> "Session":
        """Start an empty text on a model.

        Args:
            model: a causal transformers model, or an LM.
            batch: rows that grow together; trees need 1.
            hidden_states: keep those of the last forward pass in `hidden`.
            cache: a cache the caller would like used; only looked at: a kind that cannot be rolled back is refused.

        Raises:
            ValueError: a model whose state cannot be rolled back or branched (recurrent, static cache), by name.
        """
        model = model.model if isinstance(model, LM) else model
        check_cache(cache, model)
        if batch < 1:
            raise ValueError(f"batch={batch} rows; need at least 1. Open a session with one row per text.")
        check_looks_back(model)
        session = cls(model, inspect_attention(model), context_of(model))
        session._rows = [[] for _ in range(batch)]
        session._keep_hidden = hidden_states
        return session

    @property
    def tokens(self) -> list[int]:
        """Ids of the accepted text (one row; see `rows`)."""
        self._one_row("tokens")
        return self._rows[0]

    @property
    def rows(self) -> list[list[int]]:
        """Ids of every row, padding left out."""
        pads = [0] * self.batch if self._pads_B is None else self._pads_B.tolist()
        return [row[pad:] for row, pad in zip(self._rows, pads, strict=True)]

    @property
    def batch(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Where ids are fed."""
        return self.model.get_input_embeddings().weight.device

    def __len__(self) -> int:
        return len(self._rows[0])

    @property
    def room(self) -> int:
        """Tokens that still fit the context."""
        return self.context - len(self)

    def extend(self, tokens: Sequence[int] | np.ndarray | Tensor, *, keep: str = "last") -> Tensor:
        """Append tokens and return the logits after them.

        Args:
            tokens: ids (T,), or (B, T); at the start of a batch also a list of rows of different lengths, which are
                padded on the left.
            keep: "last" for the logits after the last token, "all" for those after each.

        Returns:
            Logits (V,) or, for "all", (T, V); with a batch (B, V) or (B, T, V).

        Raises:
            ValueError: no token, ids outside the vocabulary, or more than the context holds.
        """
        ids_BT = self._ids(tokens)
        if keep not in ("last", "all"):
            raise ValueError(f"keep={keep!r}; need 'last' or 'all'.")
        self._drop_pending()
        self._check_room(ids_BT.shape[1], "tokens")
        settings: dict[str, Tensor] = {}
        if self._pads_B is not None:
            length = len(self) + ids_BT.shape[1]
            places_T = torch.arange(length, device=self.device)
            settings["attention_mask"] = (places_T[None] >= self._pads_B[:, None]).long()
            positions_BT = places_T[None, len(self) :] - self._pads_B[:, None]
            settings["position_ids"] = positions_BT.clamp_min(0)
        logits_BTV = self._forward(ids_BT, n_logits=1 if keep == "last" else 0, **settings)
        for row, new in zip(self._rows, ids_BT.tolist(), strict=True):
            row.extend(new)
        logits = logits_BTV[:, -1] if keep == "last" else logits_BTV
        return logits[0] if self.batch == 1 else logits

    def rollback(self, n: int) -> None:
        """Forget the last `n` tokens of every row, and any tree that was verified and not accepted; copies nothing.

        Raises:
            ValueError: more than there are.
        """
        if not 0 <= n <= len(self):
            raise ValueError(f"rollback of {n} tokens in a text of {len(self)}; need 0 <= n <= {len(self)}.")
        self._drop_pending()
        self._cache.crop(-n)
        for row in self._rows:
            del row[len(row) - n :]

    def fork(self) -> "Session":
        """Another session with the same text. The cache is shared; it is copied when one writes where the other reads.

        A tree that was verified and not accepted is forked with it, so that several of its paths can be accepted.
        """
        other = Session(self.model, self._attention, self.context)
        other.n_forwards = self.n_forwards
        other._cache = self._cache.fork()
        other._rows = [row.copy() for row in self._rows]
        other._pads_B, other._pending, other._keep_hidden = self._pads_B, self._pending, self._keep_hidden
        return other

    def select(self, rows: Sequence[int]) -> None:
        """Make the batch anew from these rows (repeated ones are copies): resampling, beams, one row out of many."""
        picked = [int(row) for row in rows]
        if not picked or min(picked) < 0 or max(picked) >= self.batch:
            raise ValueError(
                f"rows {picked} of a batch of {self.batch}; need at least one, each from 0 to {self.batch - 1}."
            )
        self._drop_pending()
        rows_B = torch.tensor(picked, device=self.device)
        self._cache.select(rows_B)
        self._rows = [self._rows[row].copy() for row in picked]
        self._pads_B = None if self._pads_B is None else self._pads_B[rows_B]

    def verify(self, tree: Tree, *, known: int = 0) -> Tensor:
        """Logits after every node of a tree, in one forward pass; the text itself stays as it is.

        Args:
            tree: its roots (parent -1) follow the text. In a decoding loop there is one root: the newest token, which
                is not cached yet.
            known: the first `known` nodes are those verified by the call before (their rows are still cached); only
                the nodes after them are run. So a draft tree grows layer by layer without work done twice.

        Returns:
            Logits (N - known, V), row i for node known + i.

        Raises:
            ValueError: more than one row, an empty tree, a deeper tree than the context holds.
        """
        self._one_row("verify")
        n_nodes = len(tree.tokens)
        if not self._check_known(tree, known):
            self._drop_pending()
        if n_nodes <= known:
            raise ValueError(f"a tree of {n_nodes} nodes, {known} of them known; need at least one new node.")
        self._check_room(int(tree.depth.max()) + 1, "levels of a tree")
        check_trees(self.model, self._attention)
        positions_N = torch.from_numpy(np.asarray(tree.depth[known:], dtype=np.int64) + len(self)).to(self.device)
        ids_N = torch.from_numpy(np.asarray(tree.tokens[known:], dtype=np.int64)).to(self.device)
        masks = self._attention.tree_masks(tree, n_cached=len(self), known=known, like=self._like())
        logits_1NV = self._forward(ids_N[None], n_logits=0, attention_mask=masks, position_ids=positions_N[None])
        self._pending = tree
        return logits_1NV[0]

    def accept(self, path: Sequence[int]) -> None:
        """Make a path of the verified tree part of the text and drop the other nodes; gathers the path's rows only.

        Args:
            path: nodes from a root downwards; empty drops the whole tree.

        Raises:
            ValueError: nothing was verified, or the nodes are not a path.
        """
        path = [int(node) for node in path]
        if self._pending is None:
            if path:
                raise ValueError("accept without a verified tree; call verify(tree) first.")
            return
        parents = self._pending.parents
        if any(int(parents[node]) != before for before, node in zip([-1, *path], path, strict=False)):
            raise ValueError(
                f"nodes {path} are no path from a root of the verified tree; need each one's parent before it."
            )
        self._cache.keep(len(self), path)
        self._rows[0].extend(int(self._pending.tokens[node]) for node in path)
        self._pending = None

    def _forward(self, ids_BT: Tensor, *, n_logits: int, **settings: object) -> Tensor:
        if self._attention.keeps_logits:
            settings["logits_to_keep"] = n_logits
        if self._keep_hidden:
            settings["output_hidden_states"] = True
        with torch.inference_mode():
            out = self.model(input_ids=ids_BT, use_cache=True, **{self._attention.cache_name: self._cache}, **settings)
        self.n_forwards += 1
        self.hidden = out.hidden_states if self._keep_hidden else None
        return out.logits

    def _ids(self, tokens: Sequence | np.ndarray | Tensor) -> Tensor:
        """Ids (B, T) on the device; ragged rows padded on the left, which only the start of a text allows."""
        if isinstance(tokens, Sequence) and tokens and isinstance(tokens[0], Sequence | np.ndarray):
            longest = max(len(row) for row in tokens)
            pads = [longest - len(row) for row in tokens]
            if any(pads) and (len(self) or longest in pads):
                raise ValueError(
                    f"rows of {[len(row) for row in tokens]} tokens; rows differ in length only at the start of a "
                    "batch, and none is empty. Extend all rows by the same number of tokens."
                )
            tokens = [[0] * pad + [int(t) for t in row] for row, pad in zip(tokens, pads, strict=True)]
            self._pads_B = torch.tensor(pads, device=self.device) if any(pads) else self._pads_B
        ids = torch.as_tensor(np.asarray(tokens, dtype=np.int64)) if not isinstance(tokens, Tensor) else tokens.long()
        ids_BT = ids[None] if ids.ndim == 1 else ids
        if ids_BT.ndim != 2 or ids_BT.shape[0] != self.batch or not ids_BT.shape[1]:
            raise ValueError(
                f"tokens of shape {tuple(ids.shape)} for {self.batch} row(s); need at least one token for each row. "
                "An empty prompt has nothing to predict from: start it with the model's start token (LM.start)."
            )
        n_rows = self._attention.n_rows
        if int(ids_BT.min()) < 0 or int(ids_BT.max()) >= n_rows:
            raise ValueError(f"ids from {int(ids_BT.min())} to {int(ids_BT.max())}; the model knows 0 to {n_rows - 1}.")
        return ids_BT.to(self.device)

    def _check_known(self, tree: Tree, known: int) -> bool:
        """Whether the first nodes may be taken from the call before."""
        if not known:
            return False
        before = self._pending
        if (
            before is None
            or len(before.tokens) != known
            or not np.array_equal(before.tokens, tree.tokens[:known])
            or not np.array_equal(before.parents, tree.parents[:known])
        ):
            raise ValueError(
                f"known={known}, but the tree verified before is not the first {known} nodes of this one. "
                "Append new nodes behind the old ones, or leave known out."
            )
        return True

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self._cache.keep(len(self), [])
            self._pending = None

    def _check_room(self, n: int, what: str) -> None:
        if n > self.room:
            raise ValueError(
                f"{n} {what} after {len(self)} tokens; the model holds {self.context}. Shorten the prompt (keep its "
                "end), or take a model with a longer context."
            )

    def _one_row(self, what: str) -> None:
        if self.batch != 1:
            raise ValueError(
                f"{what} with a batch of {self.batch}; need one row. Open one session per text, or select([row])."
            )

    def _like(self) -> Tensor:
        return self.model.get_input_embeddings().weight
