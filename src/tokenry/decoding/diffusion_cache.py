"""Run a masked-diffusion model over a text in which some places are frozen: their keys and values are kept, not made.

A masked-diffusion model looks both ways, so whatever is kept was made when other places still hid their tokens: an
approximation, exact when everything is refreshed at each step. `Freeze` says what is kept, `Runner` keeps it.

Papers: FlashDLM, first called FreeCache (arXiv 2505.21467), section 3.1; dKV-Cache (arXiv 2505.15781) for freezing one
step late; Fast-dLLM (arXiv 2505.22618) for keeping the places behind the block too.
"""

# Axes: B rows, T places of the canvas, Q places computed, K keys, L places asked for, V vocabulary.

import inspect
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokenry.models.kv_cache import GrowingCache
from tokenry.models.session_support import inspect_attention

UNITS, TIMES = ("prompt", "block", "token"), ("delayed", "immediate")
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest relative difference of a logit that the check of a cache takes for rounding; 0.1 in half precision."""

_checked: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


@dataclass(frozen=True)
class Freeze:
    """Which places keep their keys and values from one step to the next.

    Attributes:
        unit: the frozen prefix ends behind the prompt ("prompt"), behind a finished block ("block", the paper's), or
            behind the last token that has none hidden before it ("token").
        when: "delayed" keeps what was computed from the tokens themselves; "immediate" already what was computed while
            they were hidden (what the paper's code does; a step a block cheaper and worse).
        lag: places this near to the first hidden one stay unfrozen.
        refresh: compute everything anew at every n-th step (1 is exact), or at each "block"; None never.
        suffix: keep the hidden places behind the block as well (Fast-dLLM's dual cache); needs refresh="block".
    """

    unit: str = "block"
    when: str = "delayed"
    lag: int = 0
    refresh: int | str | None = None
    suffix: bool = False

    def __post_init__(self) -> None:
        for value, known, what in ((self.unit, UNITS, "unit"), (self.when, TIMES, "when")):
            if value not in known:
                raise ValueError(f"{what}={value!r} of a frozen prefix; need one of {', '.join(known)}.")
        if self.refresh not in (None, "block") and not (isinstance(self.refresh, int) and self.refresh >= 1):
            raise ValueError(f"refresh={self.refresh!r}; need a number of steps from 1, 'block', or none.")
        if self.suffix and self.refresh != "block":
            raise ValueError("suffix=True keeps hidden places, which age; need refresh='block' with it.")
        if self.lag < 0:
            raise ValueError(f"lag={self.lag}; need 0 or more places.")

    def is_due(self, step: int, *, opens_block: bool) -> bool:
        """Whether everything is computed anew at this step (counted from 0)."""
        return opens_block if self.refresh == "block" else bool(self.refresh) and step % self.refresh == 0

    def n_frozen(self, seen: int, written: int, *, prompt: int, block: int) -> int:
        """Length of the prefix to keep after a step.

        Args:
            seen: places without a hidden one before them in what the step read.
            written: the same after what it wrote.
            prompt: places of the prompt.
            block: places of a block.
        """
        clean = (seen if self.when == "delayed" else written) - self.lag
        if clean < prompt or self.unit == "prompt":
            return max(0, min(clean, prompt))
        return clean if self.unit == "token" else prompt + (clean - prompt) // block * block


class Runner:
    """Logits of a model at some places of a canvas, with the other places kept or computed beside them.

    Attributes:
        kept: places whose keys and values are there, in the order of the cache.
        n_forwards, n_full: forward passes, and those that computed every place.
        n_computed: places computed in all, summed over passes (a row of the batch counts once).
    """

    def __init__(self, model: nn.Module, *, pads: Sequence[int] = (), cached: bool = False) -> None:
        if cached:
            check_cache(model)
        self.model, self.cached = model, cached
        self.kept: list[int] = []
        self.n_forwards = self.n_full = self.n_computed = 0
        parameters = inspect.signature(model.forward).parameters
        self._cuts_head, self._takes_cache = "logits_to_keep" in parameters, "use_cache" in parameters
        self._cache_name = next((name for name in ("cache", "past_key_values") if name in parameters), "")
        self._cache = GrowingCache() if cached else None
        device = model.get_input_embeddings().weight.device
        self._pads_B = torch.tensor(list(pads), device=device) if any(pads) else None

    def forget(self) -> None:
        """Keep nothing: the next pass computes everything."""
        self.kept, self._cache = [], GrowingCache() if self.cached else None

    def run(self, ids_BT: Tensor, places: Sequence[int]) -> Tensor:
        """Logits (B, L, V) at `places`; computes every place that is not kept.

        Raises:
            ValueError: a place that is kept and so has no logits.
        """
        n_places = ids_BT.shape[1]
        kept = set(self.kept)
        computed = [place for place in range(n_places) if place not in kept]
        if not kept.isdisjoint(places):
            raise ValueError(f"logits at {sorted(kept & set(places))} asked for, which are kept; forget() them first.")
        computed_Q = torch.tensor(computed, device=ids_BT.device)
        row_of = {place: row for row, place in enumerate(computed)}
        rows_L = torch.tensor([row_of[place] for place in places], device=ids_BT.device)
        settings: dict[str, object] = {"logits_to_keep": rows_L} if self._cuts_head else {}
        if self._takes_cache:
            settings["use_cache"] = self.cached
        if self.cached:
            settings |= {self._cache_name: self._cache, "position_ids": computed_Q[None]}
        if self._pads_B is not None:
            keys_K = torch.tensor([*self.kept, *computed], device=ids_BT.device)
            settings["attention_mask"] = self._pad_mask(keys_K, len(computed))
            settings["position_ids"] = (computed_Q[None] - self._pads_B[:, None]).clamp_min(0)
        with torch.inference_mode():
            logits_BQV = self.model(input_ids=ids_BT[:, computed_Q] if kept else ids_BT, **settings).logits
        self.n_forwards += 1
        self.n_full += len(computed) == n_places
        self.n_computed += len(computed)
        if self.cached:
            self.kept = [*self.kept, *computed]
        return logits_BQV if self._cuts_head else logits_BQV[:, rows_L]

    def keep(self, places: Sequence[int]) -> None:
        """Of the places there are, keep these for the next pass; a beginning of what is there costs nothing."""
        if not self.cached:
            return
        row_of = {place: row for row, place in enumerate(self.kept)}
        self._cache.keep(0, [row_of[place] for place in places])
        self.kept = list(places)

    def _pad_mask(self, keys_K: Tensor, n_queries: int) -> Tensor:
        """Additive mask (B, 1, Q, K) that hides the places before each row's text."""
        dtype = self.model.get_input_embeddings().weight.dtype
        hidden_BK = keys_K[None] < self._pads_B[:, None]
        mask_BK = torch.zeros(hidden_BK.shape, dtype=dtype, device=keys_K.device)
        mask_BK.masked_fill_(hidden_BK, torch.finfo(dtype).min)
        return mask_BK[:, None, None].expand(-1, 1, n_queries, -1)


def sees_later_tokens(model: nn.Module) -> bool:
    """Whether the logits of a place change with the token after it."""
    logits_BTV = _probe(model, torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]]))
    return not torch.allclose(logits_BTV[0, :3], logits_BTV[1, :3], rtol=1e-5, atol=1e-9)


def check_cache(model: nn.Module) -> None:
    """Try on six tokens, once for a model, that kept keys and values give the logits of a full pass.

    Raises:
        ValueError: the model takes no cache of the library's kind, or ignores it.
    """
    if model in _checked:
        return
    name, way_out = type(model).__name__, "Decode without: cache=none."
    ids_BT = torch.arange(6)[None] % model.get_input_embeddings().weight.shape[0]
    ids_BT = ids_BT.to(model.get_input_embeddings().weight.device)
    whole_BTV = _probe(model, ids_BT)
    try:
        attention = inspect_attention(model)
        if attention.window is not None:
            raise ValueError(f"{name} has sliding layers, whose windows a frozen prefix does not keep.")
        cache, there = GrowingCache(), torch.arange(6, device=ids_BT.device)
        with torch.inference_mode():
            for first, last in ((0, 6), (3, 6)):
                cache.crop(first - cache.get_seq_length())
                settings = {attention.cache_name: cache, "position_ids": there[None, first:last]}
                part_BTV = model(input_ids=ids_BT[:, first:last], use_cache=True, **settings).logits.double()
    except Exception as error:  # each model of its own code fails in its own way
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{name} cannot run with kept keys and values ({reason}) {way_out}") from None
    apart = (part_BTV[:, -3:] - whole_BTV[:, 3:]).abs().max() if part_BTV.shape[1] >= 3 else torch.inf
    if not float(apart) <= TOLERANCE.get(model.dtype, 0.1) * float(whole_BTV.abs().max() + 1e-6):
        raise ValueError(
            f"{name} gives other logits with kept keys and values than without (apart by {float(apart):.3g}); it "
            f"ignores the cache or uses it in its own way. {way_out}"
        )
    _checked.add(model)


def _probe(model: nn.Module, ids_BT: Tensor) -> Tensor:
    embedding = model.get_input_embeddings().weight
    with torch.inference_mode():
        return model(input_ids=(ids_BT % embedding.shape[0]).to(embedding.device)).logits.double()
