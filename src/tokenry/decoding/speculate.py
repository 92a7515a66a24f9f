"""The decoding loop: guess a tree of tokens, verify it in one forward pass, keep what the model itself would write.

The output is the model's own, greedy or sampled, whatever the drafter guesses; only the number of forward passes
changes. In float32 the greedy output equals the library's `generate` token by token; in half precision near ties may
break differently, as between any two ways to batch the same computation.

Papers: speculative decoding (arXiv 2211.17192), SpecInfer (arXiv 2305.09781).
"""

# Axes: N nodes, V vocabulary.

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from tokenry.decoding.acceptance import RULES, Rule, Seeded, Walk, follow, walk
from tokenry.decoding.sampling import Settings, check_numbers
from tokenry.decoding.trees import TokenTree, chain
from tokenry.models.session import Session


@dataclass(frozen=True)
class Draft:
    """Guesses for the next tokens.

    Attributes:
        tree: node 0 carries the newest token of the text; the guesses hang below it.
        laws: node -> law (V,) its children were drawn from without replacement, in their order; None (or a node left
            out) when the guesses were made without chance.
    """

    tree: TokenTree
    laws: Mapping[int, object] | None = None


@dataclass(frozen=True)
class Verified:
    """One step of the loop, as a drafter learns of it.

    Attributes:
        draft: what was proposed (cut to the depth that was asked for); `path` counts its nodes.
        logits_NV: the model's raw logits after every node, rejected ones included.
        path: accepted nodes, the root first.
        tokens: tokens the step added: those of path[1:], then the bonus token (fewer when the text ended).
    """

    draft: Draft
    logits_NV: Tensor
    path: list[int]
    tokens: list[int]


class Drafter(Protocol):
    """What guesses. One object may serve many texts, one after another, and keep what it learnt between them."""

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """A new text starts. `session` is empty yet; a drafter with a model opens its own session here."""

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> Draft | TokenTree | None:
        """Guess at most `budget` tokens after `context` (the prompt and all new tokens; not to be changed).

        The root of the tree is context[-1], and no path needs to be longer than `depth` guesses: the loop cuts what is
        deeper, and numbers the nodes anew where it had to. None, or a tree of one node, is a plain step. The shape may
        depend on chance and on the guesses, never on the model's own law; a drawn guess must not be dropped again.
        """

    def update(self, step: Verified) -> None:
        """Learn from a step; `context` grew by `step.tokens`."""


class NoDrafter:
    """Guesses nothing: plain decoding."""

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """Nothing to prepare."""

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> None:
        """No guess."""

    def update(self, step: Verified) -> None:
        """Nothing to learn."""


class Sizing(Protocol):
    """Decides how many guesses a step may verify (the place of a measured cost model)."""

    def budget(self) -> int:
        """Most guesses of the next tree; 0 asks for a plain step."""

    def observe(self, step: "StepCost") -> None:
        """What a step cost and gave."""


@dataclass(frozen=True)
class StepCost:
    """Attributes: nodes verified (the root included), tokens added, text before it, and seconds of each part."""

    n_nodes: int
    n_tokens: int
    n_context: int
    draft_seconds: float
    verify_seconds: float


@dataclass(frozen=True)
class FixedSize:
    """The same budget at every step."""

    n_guesses: int

    def budget(self) -> int:
        """`n_guesses`."""
        return self.n_guesses

    def observe(self, step: StepCost) -> None:
        """Nothing changes."""


@dataclass
class Statistics:
    """What a continuation cost. The first token comes from the forward pass over the prompt, the others from steps.

    Attributes:
        n_prompt, n_new: tokens of the prompt, and added.
        n_forwards: forward passes of the model, the one over the prompt included.
        n_steps: verifying passes.
        n_guesses: guessed tokens verified.
        n_accepted: guessed tokens that stand in the text.
        accepted_at: accepted_at[d] counts guesses accepted at depth d + 1.
        guessed_at: guessed_at[d] counts steps whose tree reached depth d + 1.
        prompt_seconds, draft_seconds, verify_seconds, seconds: of the prompt's pass, of propose and update, of the
            verifying passes, and of everything.
        ended_by: "end", "stop", "length" or "context".
    """

    n_prompt: int = 0
    n_new: int = 0
    n_forwards: int = 0
    n_steps: int = 0
    n_guesses: int = 0
    n_accepted: int = 0
    accepted_at: list[int] = field(default_factory=list)
    guessed_at: list[int] = field(default_factory=list)
    prompt_seconds: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    seconds: float = 0.0
    ended_by: str = ""

    @property
    def accepted_per_step(self) -> float:
        """Guesses accepted per verifying pass (the definition without the bonus token); 0 in plain decoding."""
        return self.n_accepted / self.n_steps if self.n_steps else 0.0

    @property
    def tokens_per_step(self) -> float:
        """Tokens added per verifying pass (the definition with the bonus token, MAT); 1 in plain decoding."""
        return (self.n_new - 1) / self.n_steps if self.n_steps else 1.0

    @property
    def tokens_per_second(self) -> float:
        """New tokens per second of wall time, prompt included."""
        return self.n_new / self.seconds if self.seconds else 0.0


def generate(
    session: Session,
    prompt: Sequence[int],
    drafter: Drafter | None = None,
    *,
    settings: Settings | None = None,
    rule: str | Rule | None = None,
    sizing: Sizing | int = 64,
    on_token: Callable[[int], None] | None = None,
) -> tuple[list[int], Statistics]:
    """Continue a prompt.

    Args:
        session: empty, or one that already holds a beginning of the prompt (its cache is used), at least a token less.
        prompt: ids, at least one.
        drafter: what guesses; None is plain decoding.
        settings: length, temperature, ends.
        rule: "greedy", "point-mass", "multi-round", "lossless" or a function (see `acceptance`); None takes greedy at
            temperature 0, else lossless: multi-round at nodes with a law in the draft, point-mass at the others.
        sizing: most guesses a step, or what decides it.
        on_token: called with every new token.

    Returns:
        The new ids (an end token included) and what they cost. The session then holds all but the last of them.

    Raises:
        ValueError: an empty prompt, one that leaves no room in the context, NaN logits, a root that is not the newest
            token.
    """
    settings = settings or Settings()
    state = _Loop(session, list(map(int, prompt)), drafter or NoDrafter(), settings, rule, on_token)
    sizing = FixedSize(sizing) if isinstance(sizing, int) else sizing
    started = time.perf_counter()
    state.start()
    while not state.stats.ended_by:
        state.step(sizing)
    state.stats.seconds = time.perf_counter() - started
    state.stats.n_new = len(state.new)
    return state.new, state.stats


class _Loop:
    """State of one continuation."""

    def __init__(
        self,
        session: Session,
        prompt: list[int],
        drafter: Drafter,
        settings: Settings,
        rule: str | Rule | None,
        on_token: Callable[[int], None] | None,
    ) -> None:
        self.session, self.drafter, self.settings, self.on_token = session, drafter, settings, on_token
        self.context, self.new = prompt, []
        self.rule = RULES[rule] if isinstance(rule, str) else rule
        self.chance = Seeded(settings.seed)
        self.stats = Statistics(n_prompt=len(prompt))
        self.forwards_before = session.n_forwards
        self.ends = frozenset(settings.ends)

    def start(self) -> None:
        """Run the prompt and take the first token from its last logits."""
        prompt, session = self.context, self.session
        if not prompt:
            raise ValueError(
                "an empty prompt has nothing to predict from; start it with the model's start token (LM.start)."
            )
        if len(prompt) >= session.context:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens; the model holds {session.context}, the answer included. Keep its "
                f"end: prompt[-{session.context // 2}:], or take a model with a longer context."
            )
        held = session.tokens
        if len(held) >= len(prompt) or held != prompt[: len(held)]:
            raise ValueError(
                f"the session holds {len(held)} tokens that are no proper beginning of the prompt; open a new session, "
                "or roll this one back."
            )
        self.drafter.begin(prompt, session, self.settings)
        started = time.perf_counter()
        logits_V = session.extend(prompt[len(held) :])
        token = self._choose(logits_V)
        self.stats.prompt_seconds = time.perf_counter() - started
        self._add([token])
        self.stats.n_forwards = session.n_forwards - self.forwards_before

    def step(self, sizing: Sizing) -> None:
        """Guess, verify, keep."""
        clock = [time.perf_counter()]
        draft = self._draft(sizing.budget())
        clock.append(time.perf_counter())
        tree, n_context = draft.tree, len(self.session)
        logits_NV = self.session.verify(tree) if len(tree) > 1 else self.session.extend(tree.tokens)[None]
        found = self._walk(draft, logits_NV)
        clock.append(time.perf_counter())
        emitted = [*(int(tree.tokens[node]) for node in found.path[1:]), found.bonus]
        added = self._add(emitted)
        path = found.path[: added + 1]
        if len(tree) > 1:
            self.session.accept(path[:added])  # the newest token is never cached: it is the next root
        clock.append(time.perf_counter())
        self.drafter.update(Verified(draft, logits_NV, path, emitted[:added]))
        self._count(draft, path, clock, time.perf_counter())
        sizing.observe(StepCost(len(tree), added, n_context, clock[1] - clock[0], clock[2] - clock[1]))

    def _draft(self, budget: int) -> Draft:
        """What the drafter proposes, as far as it fits the text that may still come."""
        room = min(self.settings.max_new_tokens - len(self.new), self.session.room) - 1
        draft = self.drafter.propose(self.context, budget=budget, depth=room) if room > 0 and budget > 0 else None
        if draft is None:
            return Draft(chain(self.context[-1:]))
        draft = Draft(draft) if isinstance(draft, TokenTree) else draft
        if not len(draft.tree) or draft.tree.tokens[0] != self.context[-1] or draft.tree.shape.roots != [0]:
            raise ValueError("a draft whose root is not the newest token of the text; node 0 must carry context[-1].")
        # By depth alone: to drop drawn guesses by their value would bias the text.
        tree = draft.tree
        if int(tree.depth.max()) > room:
            kept = (tree.depth <= room).nonzero()[0].tolist()
            laws = draft.laws and {new: draft.laws[old] for new, old in enumerate(kept)
                                   if old in draft.laws and tree.depth[old] < room}  # fmt: skip
            draft = Draft(tree.shallow(room), laws)
        return draft

    def _walk(self, draft: Draft, logits_NV: Tensor) -> Walk:
        settings = self.settings
        if self.rule is None and settings.is_greedy and settings.processors is None:
            return follow(draft.tree, check_numbers(settings.processed(logits_NV)).argmax(-1).tolist())
        rule = self.rule or RULES["greedy" if settings.is_greedy else "lossless"]
        context = self.context[:-1]

        def law_of(node: int) -> Tensor:
            path = [*context, *draft.tree.text(node)] if settings.processors is not None else None
            return settings.law(logits_NV[node], path)

        return walk(draft.tree, law_of, rule=rule, chance=self.chance, laws=draft.laws)

    def _choose(self, logits_V: Tensor) -> int:
        if self.settings.is_greedy:
            return int(check_numbers(self.settings.processed(logits_V, self.context)).argmax(-1))
        return self.chance.draws(self.settings.law(logits_V, self.context))

    def _add(self, tokens: list[int]) -> int:
        """Add tokens one at a time until the text ends; how many were added."""
        for count, token in enumerate(tokens, start=1):
            self.context.append(token)
            self.new.append(token)
            if self.on_token is not None:
                self.on_token(token)
            self.stats.ended_by = self._ended(token)
            if self.stats.ended_by:
                return count
        return len(tokens)

    def _ended(self, token: int) -> str:
        if token in self.ends:
            return "end"
        if self.settings.stop is not None and self.settings.stop(self.new):
            return "stop"
        if len(self.new) >= self.settings.max_new_tokens:
            return "length"
        return "context" if len(self.context) > self.session.context else ""

    def _count(self, draft: Draft, path: list[int], clock: list[float], now: float) -> None:
        stats, deepest = self.stats, int(draft.tree.depth.max())
        stats.n_forwards = self.session.n_forwards - self.forwards_before
        stats.n_steps += 1
        stats.n_guesses += len(draft.tree) - 1
        stats.n_accepted += len(path) - 1
        for counts, reached in ((stats.guessed_at, deepest), (stats.accepted_at, len(path) - 1)):
            counts.extend([0] * (max(deepest, len(counts)) - len(counts)))
            for depth in range(reached):
                counts[depth] += 1
        stats.draft_seconds += clock[1] - clock[0] + now - clock[3]
        stats.verify_seconds += clock[2] - clock[1]
