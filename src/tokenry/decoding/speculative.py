"""Draft models: a chain, a fixed tree of the best shape, and DySpec's tree that grows where it is likely to stand.

Sampled children are drawn from the draft without replacement and judged by the multi-round rule, so the text has the
target's law exactly; at temperature 0, or with `children="likeliest"`, the draft's likeliest tokens are taken.

Papers: DySpec (arXiv 2410.11744); Sequoia (arXiv 2402.12374); speculative decoding (arXiv 2211.17192).
"""

# Axes: N nodes, V vocabulary, R ranks.

from collections.abc import Sequence

import numpy as np
import torch

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.calibration import AcceptanceMap, RankRates
from tokenry.decoding.draft_models import DraftModel, opened
from tokenry.decoding.expansion import AsDrafted, Growth, drawn, grow_fixed, grow_greedy, grow_layers, likeliest
from tokenry.decoding.sampling import Settings
from tokenry.decoding.sizing import sizing_of
from tokenry.decoding.speculate import Draft, Verified
from tokenry.decoding.strategies import Drafted
from tokenry.decoding.trees import Shape, best_ranks
from tokenry.models.lm import LM
from tokenry.models.session import Session

EXPANSIONS, PRIORITIES, CHILDREN = ("greedy", "layers"), ("calibrated", "slot", "gain"), ("drawn", "likeliest")
START_RATES = (0.6, 0.15, 0.08, 0.05, 0.03, 0.02, 0.015, 0.01)
"""Chance that the child of each rank is right before anything is measured."""
_FILLED = 0.85
"""Share of the budget that a tree above the threshold has on average."""


class _Drafting:
    """What the drafters with a model share: the draft in step, the seed, and what is counted."""

    def __init__(self, draft: object, *, children: str, score_temperature: float) -> None:
        _one_of("children", children, CHILDREN)
        if not score_temperature > 0:
            raise ValueError(f"score_temperature={score_temperature}; need more than 0 (1 leaves the draft as it is).")
        self._source, self._children, self._score_temperature = draft, children, score_temperature
        self.draft: DraftModel | None = None
        self._target: LM | None = None
        self.map = AcceptanceMap()
        self._growth: Growth | None = None
        self._n_steps, self._expected, self._accepted, self._n_drafted = 0, 0.0, 0, 0

    @property
    def notes(self) -> dict[str, float]:
        """Draft forwards in all; guesses, and guesses accepted as estimated and as they came, a step."""
        n = max(1, self._n_steps)
        calls = 0 if self.draft is None else self.draft.n_calls
        return {"draft forwards": float(calls), "guesses a step": self._n_drafted / n,
                "expected": self._expected / n, "accepted": self._accepted / n}  # fmt: skip

    def prepare(self, lm: LM) -> None:
        """Open the draft on the target's device and compare the vocabularies."""
        if self._target is not lm and not isinstance(self._source, torch.nn.Module):
            self._use(opened(self._source if self.draft is None else self.draft.lm, lm))
            self._target = lm

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """A new text."""
        if self.draft is None:
            self._use(self._source if isinstance(self._source, torch.nn.Module) else opened(self._source))
        self.draft.begin(session, settings)
        self._draws = not settings.is_greedy and self._children == "drawn"
        # Not the seed of the loop: the guesses must be independent of the draws that judge them.
        chance = Seeded(np.random.default_rng([settings.seed, 0x647261667473]))
        self._in_turn = drawn(chance) if self._draws else likeliest
        self._growth = None

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> Draft | None:
        """A tree of guesses by the draft."""
        depth = self.draft.start(context, depth)
        if not depth:
            return None
        self._growth = growth = self._grow(int(context[-1]), budget, depth)
        laws = self.draft.laws_on_device(growth.laws) if self._draws else None
        return Draft(growth.tree, laws)

    def update(self, step: Verified) -> None:
        """Bring the draft in step; count which guesses stood."""
        growth, self._growth = self._growth, None
        if growth is None:
            return
        self.draft.settle(step.path)
        children = step.draft.tree.children
        for node, following in zip(step.path, [*step.path[1:], None], strict=True):
            tried = children[node]
            # The last node's children were all refused only if the text did not end before they were judged.
            if following is None and len(step.tokens) < len(step.path):
                break
            self._learn(growth, tried, following)
        self.map.settle()
        self._n_steps += 1
        self._n_drafted += len(growth) - 1
        self._expected += growth.expected
        self._accepted += len(step.path) - 1

    def _learn(self, growth: Growth, tried: list[int], following: int | None) -> None:
        for rank, child in enumerate(tried):
            self.map.observe(growth.shares[child], rank, child == following)
            if child == following:
                return

    def _use(self, model: object) -> None:
        self.draft = DraftModel(model, score_temperature=self._score_temperature)

    def _grow(self, root: int, budget: int, depth: int) -> Growth:
        raise NotImplementedError


class DraftTree(_Drafting):
    """A fixed shape filled by the draft: a chain, a given tree, or the best tree for the rates measured so far.

    Attributes:
        shape: the given shape, or None for the best one (Sequoia's).
        rates: how often the child of each rank was the accepted one.
        map: acceptance by rank and draft probability, to look at.
        refit: steps between two choices of the best shape; 0 keeps the first.
    """

    def __init__(
        self,
        draft: object,
        *,
        shape: Shape | None = None,
        children: str = "drawn",
        refit: int = 32,
        max_depth: int = 16,
    ) -> None:
        super().__init__(draft, children=children, score_temperature=1.0)
        self.shape, self.refit, self.max_depth = shape, refit, max_depth
        self.rates = RankRates(START_RATES)
        self._rates_R, self._shapes = self.rates.rates(), {}

    def _grow(self, root: int, budget: int, depth: int) -> Growth:
        if self.refit and self.shape is None and self._n_steps % self.refit == self.refit - 1:
            self._rates_R, self._shapes = self.rates.rates(), {}
        shape = self._fitting(budget, min(depth, self.max_depth))
        growth = grow_fixed(root, self.draft.laws_after, shape=shape, children=self._in_turn)
        growth.values = _by_rates(growth, self._rates_R)
        return growth

    def _fitting(self, budget: int, depth: int) -> Shape:
        key = budget, depth
        if key not in self._shapes:
            shape = self.shape or best_ranks(self._rates_R, budget, max_depth=depth)
            whole = shape.filled(np.zeros(len(shape)))
            self._shapes[key] = Shape(whole.shallow(depth).first(budget + 1).parents)
        return self._shapes[key]

    def _learn(self, growth: Growth, tried: list[int], following: int | None) -> None:
        super()._learn(growth, tried, following)
        self.rates.observe(len(tried), tried.index(following) if following in tried else None)


class DynamicTree(_Drafting):
    """DySpec: the shape is decided while the draft's own laws come in.

    Attributes:
        expansion: "greedy" (a heap of slots, one draft forward an inner node) or "layers" (all slots above a threshold,
            one draft forward a layer; the threshold is moved so that the mean tree has 0.85 of the budget).
        priority: "calibrated" (measured acceptance; ours), "slot" (the paper's: acceptance = draft probability), or
            "gain" (the child's own value with the draft probability; children are then the likeliest).
        map: acceptance by rank and draft probability so far; `map.table()` shows how far the paper's assumption holds.
    """

    def __init__(
        self,
        draft: object,
        *,
        expansion: str = "greedy",
        priority: str = "calibrated",
        children: str = "drawn",
        score_temperature: float | None = None,
        max_depth: int = 16,
    ) -> None:
        _one_of("expansion", expansion, EXPANSIONS)
        _one_of("priority", priority, PRIORITIES)
        if priority == "gain" and expansion == "layers":
            raise ValueError(
                "priority gain with expansion layers; need expansion=greedy, or priority calibrated or slot."
            )
        children = "likeliest" if priority == "gain" else children
        super().__init__(
            draft, children=children, score_temperature=1.0 if score_temperature is None else score_temperature
        )
        self.expansion, self.priority, self.max_depth = expansion, priority, max_depth
        self._estimate = self.map if priority == "calibrated" else AsDrafted()
        self._threshold, self._wanted = 0.0, 0

    def _grow(self, root: int, budget: int, depth: int) -> Growth:
        common = {"depth": min(depth, self.max_depth), "children": self._in_turn, "estimate": self._estimate}
        if self.expansion == "greedy":
            by_gain = self.priority == "gain" or (self.priority == "calibrated" and not self._draws)
            return grow_greedy(root, self.draft.laws_after, budget=budget, by_gain=by_gain, **common)
        if budget != self._wanted:
            self._wanted, self._threshold = budget, 1 / budget
        growth = grow_layers(root, self.draft.laws_after, threshold=self._threshold, budget=budget, **common)
        # Trees vary in size; a mean a little below the budget keeps most of them from being cut at it.
        self._threshold *= (max(1, len(growth) - 1) / (_FILLED * budget)) ** 0.25
        self._threshold = float(np.clip(self._threshold, 1e-6, 0.5))
        return growth


def _by_rates(growth: Growth, rates_R: np.ndarray) -> list[float]:
    values, seen = [1.0], [0] * len(growth)
    for parent in growth.parents[1:]:
        values.append(values[parent] * rates_R[min(seen[parent], len(rates_R) - 1)])
        seen[parent] += 1
    return values


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r}; need one of {', '.join(known)}.")


def draft_chain(*, draft: object = None, size: int | str = 5, children: str = "drawn") -> Drafted:
    """The strategy: `size` tokens in a row by the model `draft` (a folder, hub name, LM or model); see `DraftTree`."""
    drafter = DraftTree(draft, shape=Shape.chain(65), children=children, max_depth=64)
    return Drafted(drafter, name="draft-chain", sizing=sizing_of(size, most=16))


def draft_tree(*, draft: object = None, size: int | str = 16, children: str = "drawn", refit: int = 32) -> Drafted:
    """The strategy: the fixed tree of `size` guesses that the measured rates make best; see `DraftTree`."""
    drafter = DraftTree(draft, children=children, refit=refit)
    return Drafted(drafter, name="draft-tree", sizing=sizing_of(size, most=64))


def dynamic_tree(
    *,
    draft: object = None,
    size: int | str = 16,
    expansion: str = "greedy",
    priority: str = "calibrated",
    children: str = "drawn",
    score_temperature: float | None = None,
) -> Drafted:
    """The strategy: DySpec's tree of `size` guesses; see `DynamicTree`."""
    how = {"expansion": expansion, "priority": priority, "children": children, "score_temperature": score_temperature}
    return Drafted(DynamicTree(draft, **how), name="dynamic-tree", sizing=sizing_of(size, most=64))
