"""Token contexts that share their beginnings, run by one Session: a new context costs one row of one forward pass.

Contexts form a tree of tokens. What all live contexts share is the session's text; what they do not share yet hangs
below it as a verified tree, which grows node by node (`Session.verify(..., known=n)`). Nothing is copied for a byte.
"""

# Axes: N contexts, S sorted tokens, V ids.

from collections.abc import Callable, Iterable, Sequence
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from tokenry.decoding.trees import TokenTree
from tokenry.models.lm import LM
from tokenry.models.session import Session

MOST_PENDING = 48
"""Nodes of the tree after which what all contexts share moves into the text."""
MOST_AT_ONCE = 128
"""Contexts run in one forward pass."""


class Context:
    """Tokens after which a model was, or will be, asked.

    Attributes:
        parent, token: the context before and the token after it; None and -1 at the root.
        depth: tokens since the root.
        log_p: natural log-probability of the tokens since the root.
        tail: the last tokens, as far as they decide what may follow.
        law_S: probabilities of the sorted tokens, once the model was asked; None before.
        end: probability that the text ends here.
        leaked: probability that the model gave to what may not follow.
    """

    __slots__ = ("__weakref__", "children", "depth", "end", "law_S", "leaked", "log_p", "parent", "tail", "token")

    def __init__(self, parent: "Context | None", token: int, log_p: float, tail: tuple[int, ...]) -> None:
        self.parent, self.token, self.log_p, self.tail = parent, token, log_p, tail
        self.depth = 0 if parent is None else parent.depth + 1
        self.law_S: np.ndarray | None = None
        self.end = self.leaked = 0.0
        self.children: WeakValueDictionary[int, Context] = WeakValueDictionary()

    def tokens(self) -> list[int]:
        """Tokens since the root."""
        found, context = [], self
        while context.parent is not None:
            found.append(context.token)
            context = context.parent
        return found[::-1]


class ContextRunner:
    """Asks the model about contexts below one root.

    Args:
        lm: the model.
        before: ids of the root, at least one.
        on_logits: called with contexts and their logits (N, V).

    Attributes:
        session: what runs; its text begins with `before`.
        root: the context after `before`.
    """

    def __init__(self, lm: LM, before: Sequence[int], on_logits: Callable[[Sequence[Context], Tensor], None]) -> None:
        self.session = Session.open(lm)
        self.before, self.on_logits = list(before), on_logits
        self.root = Context(None, -1, 0.0, ())
        self._trunk: list[Context] = [self.root]
        self._nodes: list[Context] = []
        self._number: dict[int, int] = {}

    def run(self, wanted: Sequence[Context], live: Iterable[Context] = ()) -> None:
        """Ask the model about contexts, the fewest forward passes it takes.

        Args:
            wanted: without a law yet; repeated and known ones are left out.
            live: other contexts that may grow later: what they share with the wanted stays cheap.
        """
        todo = sorted({id(c): c for c in wanted if c.law_S is None}.values(), key=lambda c: c.depth)
        live = list(live)
        if todo and todo[0] is self.root:
            if len(self.session):  # an earlier question moved on
                self._forget(self.root)
                self.session.rollback(len(self.session))
            self.on_logits([self.root], self.session.extend(self.before)[None])
            todo = todo[1:]
        elif todo and not len(self.session):
            self.session.extend(self.before)
        for start in range(0, len(todo), MOST_AT_ONCE):
            self._run(todo[start : start + MOST_AT_ONCE], [*live, *todo[start + MOST_AT_ONCE :]])

    def _run(self, wanted: list[Context], live: list[Context]) -> None:
        new = self._missing(wanted)
        if not self._nodes and len(new) > 1 and self._is_chain(new):
            logits_NV = self.session.extend([c.token for c in new], keep="all")
            self._trunk += new
        else:
            if len(self._nodes) + len(new) > MOST_PENDING and self._commit([*wanted, *live]):
                new = self._missing(wanted)
            known = len(self._nodes)
            for context in new:
                self._number[id(context)] = len(self._nodes)
                self._nodes.append(context)
            parents = [self._number.get(id(c.parent), -1) for c in self._nodes]
            logits_NV = self.session.verify(TokenTree([c.token for c in self._nodes], parents), known=known)
        self.on_logits(new, logits_NV)

    def _missing(self, wanted: list[Context]) -> list[Context]:
        """Contexts to run so that the wanted ones are known, parents first; the text goes back where they need it."""
        anchor = min(self._anchor(context) for context in wanted)
        if anchor < len(self._trunk) - 1:
            self._forget(self._trunk[anchor])
        found: dict[int, Context] = {}
        for context in wanted:
            path = []
            while id(context) not in found and not self._has(context):
                path.append(context)
                context = context.parent
            found |= {id(one): one for one in reversed(path)}
        return sorted(found.values(), key=lambda c: c.depth)

    def _anchor(self, context: Context) -> int:
        """Depth of the nearest ancestor in the text."""
        while not self._in_trunk(context):
            context = context.parent
        return context.depth

    def _in_trunk(self, context: Context) -> bool:
        return context.depth < len(self._trunk) and self._trunk[context.depth] is context

    def _has(self, context: Context) -> bool:
        return id(context) in self._number or self._in_trunk(context)

    def _is_chain(self, new: list[Context]) -> bool:
        before = [self._trunk[-1], *new[:-1]]
        return all(context.parent is parent for context, parent in zip(new, before, strict=True))

    def _forget(self, context: Context) -> None:
        """Go back to a context of the text; the tree is dropped."""
        self.session.rollback(len(self._trunk) - 1 - context.depth)
        del self._trunk[context.depth + 1 :]
        self._nodes, self._number = [], {}

    def _commit(self, contexts: list[Context]) -> bool:
        """Move into the text what all contexts share, and drop the rest of the tree."""
        shared = contexts[0]
        for other in contexts[1:]:
            while shared is not other:
                if shared.depth >= other.depth:
                    shared = shared.parent
                else:
                    other = other.parent
        while not self._has(shared):
            shared = shared.parent
        path = []
        while id(shared) in self._number:
            path.append(shared)
            shared = shared.parent
        self.session.accept([self._number[id(context)] for context in reversed(path)])
        self._trunk += reversed(path)
        self._nodes, self._number = [], {}
        return True
