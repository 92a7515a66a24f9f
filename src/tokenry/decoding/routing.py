"""Routing: a small and a large model of one vocabulary write a text together, token by token.

The small model proposes every token; a router looks at its state and decides whether the large one writes it instead.
Both keep their cache: the small model never caches a proposal that was replaced, the large one catches up in one
forward pass over all it has not read yet. The output is the large model's at threshold 0 and the small model's at
threshold 1, and something in between elsewhere: this is an approximation, unlike speculative decoding.

Paper: R2R: Efficiently Navigating Divergent Reasoning Paths with Small-Large Model Token Routing (arXiv 2505.21600).
"""

# Axes: B rows still running, V vocabulary.

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.routers import Router, RoutingStep, open_router
from tokenry.decoding.routing_cost import RoutingCost, notes_of
from tokenry.decoding.sampling import Settings, check_numbers
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.lm import LM
from tokenry.models.session import Session


@dataclass
class RoutedText:
    """One text.

    Attributes:
        ids: the new ids, an end token included.
        from_large: for each, whether the large model wrote it.
        scores: for each, the router's score; NaN where none was asked.
        ended_by: "end", "stop", "length" or "context".
    """

    ids: list[int] = field(default_factory=list)
    from_large: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ended_by: str = ""


def check_pair(small: LM, large: LM) -> None:
    """Refuse two models whose ids mean different tokens (rows that only pad a matrix may differ in number).

    Raises:
        ValueError: with the way out.
    """
    ours, theirs = small.vocab.tokens, large.vocab.tokens
    differing = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    if differing or small.vocab.specials != large.vocab.specials:
        what = (
            f"{differing} of {max(len(ours), len(theirs))} ids differ" if differing else "their special tokens differ"
        )
        raise ValueError(
            f"{small.name} and {large.name} have different vocabularies ({what}); routing hands ids from one to the "
            "other, so need the same. Move the small model onto the large one's tokenizer first: tokenry transplant "
            "SMALL --tokenizer LARGE --out MOVED."
        )


@torch.inference_mode()
def routed_generate(
    small: LM | None,
    large: LM | None,
    prompts: Sequence[Sequence[int]],
    *,
    router: Router | None = None,
    threshold: float | None = None,
    settings: Settings | None = None,
) -> tuple[list[RoutedText], RoutingCost]:
    """Continue prompts as one batch.

    Args:
        small, large: the pair; one that the threshold rules out may be None.
        prompts: ids of each, at least one id. Shorter ones are padded on the left.
        router: scores each proposal; not needed at the limits.
        threshold: the large model writes a token whose score is at least this; None takes the router's own. 0 or less:
            all of them (the small model does not run); 1 or more: none (the large model does not run).
        settings: as for every strategy; each row draws from its own generator of the same seed.

    Returns:
        One RoutedText a prompt, and the cost of all together. At the limits in float32 the ids are those of the model
        alone; under sampling too.

    Raises:
        ValueError: no prompt, an empty one, one without room in the context, no router between the limits.
    """
    threshold = _threshold(router, threshold, None)
    run = _Run(small, large, [list(map(int, prompt)) for prompt in prompts], router, threshold, settings or Settings())
    started = time.perf_counter()
    while run.alive:
        run.step()
    run.cost.seconds = time.perf_counter() - started
    return run.texts, run.cost


class _Lane:
    """One model of the pair: a session that reads, when asked, all it has not read yet."""

    def __init__(self, lm: LM | None, name: str, *, hidden_states: bool = False) -> None:
        if lm is None:
            raise ValueError(f"no {name} model, and this threshold needs one. Give it.")
        self.lm, self.hidden_states = lm, hidden_states
        self.session: Session | None = None
        self.n_read = self.n_forwards = self.n_positions = 0

    def logits(self, contexts: list[list[int]], n_written: int) -> Tensor:
        """Raw logits (B, V) after each row's text, in one forward pass over what is new.

        All rows have written the same number of tokens, so they have the same number of unread ones.
        """
        if self.session is None:
            self.session = Session.open(self.lm, batch=len(contexts), hidden_states=self.hidden_states)
            new = contexts
        else:
            new = [row[self.n_read - n_written :] for row in contexts]
        logits = self.session.extend(new).reshape(len(contexts), -1)
        self.n_read = n_written
        self.n_forwards += 1
        self.n_positions += sum(map(len, new))
        return logits

    def keep(self, places: list[int]) -> None:
        """Go on with these rows."""
        if self.session is not None:
            self.session.select(places)


class _Run:
    """State of one batch."""

    def __init__(
        self,
        small: LM | None,
        large: LM | None,
        prompts: list[list[int]],
        router: Router | None,
        threshold: float,
        settings: Settings,
    ) -> None:
        self.uses_small, self.uses_large = threshold > 0, threshold < 1
        self.router, self.threshold, self.settings = router, threshold, settings
        if self.uses_small and self.uses_large and router is None:
            raise ValueError(f"threshold={threshold} without a router; give one, or 0 (all large) or 1 (all small).")
        self.small = _Lane(small, "small", hidden_states=self.uses_large) if self.uses_small else None
        self.large = _Lane(large, "large") if self.uses_large else None
        lanes = [lane for lane in (self.small, self.large) if lane]
        self.room = min(lane.lm.context for lane in lanes)
        self._check(prompts)
        self.contexts, self.longest, self.n_written = prompts, max(map(len, prompts)), 0
        self.chances = [Seeded(settings.seed) for _ in prompts]
        self.texts = [RoutedText() for _ in prompts]
        self.alive = list(range(len(prompts)))
        self.ends = frozenset(settings.ends)
        sizes = {f"{name}_parameters": _n_parameters(lm) for name, lm in (("small", small), ("large", large)) if lm}
        self.cost = RoutingCost(**sizes, router_parameters=getattr(router, "n_parameters", 0))

    def step(self) -> None:
        """Propose, route, append one token a row."""
        rows = [self.contexts[at] for at in self.alive]
        none = [float("nan")] * len(rows)
        if self.small is None:
            tokens, routed, scores = self._choose(self.large.logits(rows, self.n_written)), [True] * len(rows), none
        else:
            logits_BV = self.small.logits(rows, self.n_written)
            tokens, routed, scores = self._choose(logits_BV), [False] * len(rows), none
            self.cost.n_scored += len(rows)
            if self.large is not None:
                tokens, routed, scores = self._route(rows, logits_BV, tokens)
        self.n_written += 1
        for at, token, is_large, score in zip(self.alive, tokens, routed, scores, strict=True):
            self.contexts[at].append(token)
            text = self.texts[at]
            text.ids.append(token)
            text.from_large.append(is_large)
            text.scores.append(score)
            text.ended_by = self._ended(text)
        self.cost.n_tokens += len(rows)
        self.cost.n_large += sum(routed)
        self._drop_ended()

    def _route(self, rows: list, logits_BV: Tensor, tokens: list[int]) -> tuple[list[int], list[bool], list[float]]:
        """Tokens, who wrote them, and the scores."""
        found: list[Tensor] = []

        def large() -> Tensor:
            if not found:
                found.append(self.large.logits(rows, self.n_written).to(logits_BV.device))
            return found[0]

        model = self.small.lm.model
        tokens_B = torch.tensor(tokens, device=logits_BV.device)
        step = RoutingStep(
            hidden_BD=self.small.session.hidden[-1][:, -1],
            logits_BV=logits_BV[..., : self.settings.n_tokens],
            tokens_B=tokens_B,
            embedding_BD=model.get_input_embeddings().weight[tokens_B],
            rows=self.alive,
            position=self.n_written,
            contexts=rows,
            large=large,
        )
        scores = self.router(step).tolist()
        routed = [score >= self.threshold for score in scores]
        if any(routed):
            places = [place for place, is_large in enumerate(routed) if is_large]
            for place, token in zip(places, self._choose(large()[places], places), strict=True):
                tokens[place] = token
        return tokens, routed, scores

    def _choose(self, logits_BV: Tensor, places: Sequence[int] | None = None) -> list[int]:
        """The next token of each row; `places` says which of the running rows these are."""
        settings = self.settings
        rows = [self.alive[place] for place in (range(len(self.alive)) if places is None else places)]
        if settings.is_greedy and settings.processors is None:
            return check_numbers(settings.processed(logits_BV)).argmax(-1).tolist()
        pairs = list(zip(rows, logits_BV, strict=True))
        if settings.is_greedy:
            return [int(check_numbers(settings.processed(row, self.contexts[at])).argmax(-1)) for at, row in pairs]
        return [self.chances[at].draws(settings.law(row, self.contexts[at])) for at, row in pairs]

    def _drop_ended(self) -> None:
        places = [place for place, at in enumerate(self.alive) if not self.texts[at].ended_by]
        lanes = [lane for lane in (self.small, self.large) if lane]
        if len(places) < len(self.alive) and places:
            for lane in lanes:
                lane.keep(places)
        self.alive = [self.alive[place] for place in places]
        for name, lane in (("small", self.small), ("large", self.large)):
            if lane is not None:
                setattr(self.cost, f"{name}_forwards", lane.n_forwards)
                setattr(self.cost, f"{name}_positions", lane.n_positions)

    def _ended(self, text: RoutedText) -> str:
        if text.ids[-1] in self.ends:
            return "end"
        if self.settings.stop is not None and self.settings.stop(text.ids):
            return "stop"
        if len(text.ids) >= self.settings.max_new_tokens:
            return "length"
        return "context" if self.longest + self.n_written > self.room else ""

    def _check(self, prompts: list[list[int]]) -> None:
        if not prompts or not all(prompts):
            raise ValueError(
                "an empty prompt has nothing to predict from; start it with the model's start token (LM.start)."
            )
        longest = max(map(len, prompts))
        if longest >= self.room:
            raise ValueError(
                f"a prompt of {longest} tokens; both models together hold {self.room}, the answer included. Keep its "
                "end, or take models with a longer context."
            )


@dataclass
class Routed:
    """The strategy: the LM it is called with is the large model.

    Attributes:
        small: what `LM.open` takes; opened at the first prompt.
        router: a router, its folder, or a name in ROUTERS.
        threshold: None takes the router's own.
        share: instead of a threshold: the share of tokens the large model should write, as on the validation texts.
    """

    small: object
    router: object = None
    threshold: float | None = None
    share: float | None = None
    name: str = "routed"
    _opened: tuple[LM, Router | None, float] | None = None

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        ids = ids_of(lm, prompt)
        texts, cost = self.batch(lm, [ids], settings)
        new = texts[0].ids
        stats = Statistics(n_prompt=len(ids), n_new=len(new), n_forwards=cost.small_forwards + cost.large_forwards)
        stats.n_steps, stats.seconds, stats.ended_by = len(new) - 1, cost.seconds, texts[0].ended_by
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, notes_of(cost))

    def batch(
        self, lm: LM, prompts: Sequence[Sequence[int]], settings: Settings
    ) -> tuple[list[RoutedText], RoutingCost]:
        """Continue several prompts as one batch; see `routed_generate`."""
        small, router, threshold = self._open(lm)
        return routed_generate(small, lm, prompts, router=router, threshold=threshold, settings=settings)

    def _open(self, large: LM) -> tuple[LM, Router | None, float]:
        if self._opened is None:
            limit = self.threshold is not None and not 0 < self.threshold < 1
            if self.small is None:
                raise ValueError("routing needs the small model beside the large one. Give it: --with small=FOLDER.")
            if self.router is None and not limit:
                raise ValueError(
                    "routing needs a router, unless the threshold is 0 (all large) or 1 (all small). Give --with "
                    "router=FOLDER (tokenry route train), or entropy or random."
                )
            small = LM.open(self.small, device=None if isinstance(self.small, LM) else str(large.device))
            check_pair(small, large)
            router = None if limit else open_router(self.router, device=small.device)
            if hasattr(router, "check"):
                router.check(small)
            self._opened = small, router, _threshold(router, self.threshold, self.share)
        return self._opened


def routed(
    *,
    small: object = None,
    router: object = None,
    threshold: float | None = None,
    share: float | None = None,
) -> Routed:
    """The strategy "routed".

    Args:
        small: folder or hub name of the small model (or an LM); its vocabulary must be the large one's.
        router: folder of a trained router, or entropy, aleatoric, random, oracle; not needed at threshold 0 or 1.
        threshold: score from which on the large model writes; None takes the router's own.
        share: instead: the share of tokens the large model should write (as on the router's validation texts).

    Raises:
        ValueError: threshold and share together, a share that is none; at the first prompt: no small model, no router.
    """
    if threshold is not None and share is not None:
        raise ValueError(f"threshold={threshold} and share={share}; one sets the other. Give one of them.")
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"share={share}; need a share of tokens from 0 to 1.")
    if share in (0, 1):
        threshold, share = 1.0 - share, None
    return Routed(small, router, threshold, share)


def _threshold(router: Router | None, threshold: float | None, share: float | None) -> float:
    if threshold is not None:
        return float(threshold)
    if share is None:
        return float(getattr(router, "threshold", 0.5))
    if not hasattr(router, "threshold_for"):
        raise ValueError(f"{type(router).__name__} cannot be set to a share of tokens; give a threshold instead.")
    # A share between the limits stays between them, even where all scores are alike.
    return min(max(router.threshold_for(share), 1e-12), 1 - 1e-12)


def _n_parameters(lm: LM) -> int:
    return sum(parameter.numel() for parameter in lm.model.parameters())
