"""Run a chosen part of a stock model's decoder layers: skip, run by position, look inside, or only the head.

The list of layers is never edited: the library addresses masks and caches by a layer's place in it. Inside the context
a skipped layer's `forward` hands on what it got; afterwards the model is as it was.
"""

# Axes: L layers, B rows, T tokens, D width.

from collections.abc import Iterable
from types import TracebackType

import numpy as np
import torch
from torch import Tensor, nn


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal transformers model, in order.

    Raises:
        ValueError: they cannot be told, or layers of this model share keys and values, so that none may be left out.
    """
    model = getattr(model, "module", model)  # as accelerate wraps it
    name = type(model).__name__
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise ValueError(f"{name} is no transformers model; layers are skipped in one that AutoModelForCausalLM opens.")
    text = config.get_text_config(decoder=True)
    n_layers = getattr(text, "num_hidden_layers", 0)
    if getattr(text, "num_kv_shared_layers", 0):
        raise ValueError(
            f"{name}: its last {text.num_kv_shared_layers} layers use the keys of earlier ones, so none may be left "
            "out. Use a model whose layers each have their own."
        )
    body = model.get_decoder() if hasattr(model, "get_decoder") else model
    lists = (part for part in (body or model).modules() if isinstance(part, nn.ModuleList) and len(part) == n_layers)
    found = next(lists, None)
    if not n_layers or found is None:
        raise ValueError(
            f"{name} has no list of {n_layers} decoder layers to skip from; need a decoder built of equal layers."
        )
    return found


class LayerSwitch:
    """A context in which a model runs only the layers that are switched on.

    All layers run until something else is asked for, with exactly the model's own numbers. Keep layer 0 running while
    text is cached: the library reads the length of a cache from it.

    Attributes:
        n_layers: L.
        calls: int64 (L,), how often each layer ran.
        token_layers: layers run, summed over the tokens they ran on: the measured cost. `only_head` and a choice by
            position are not counted.
        watched: layers whose output is kept in `seen` at the next forward pass.
        seen: layer -> hidden states (B, T, D) after it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = list(decoder_layers(model))
        self.n_layers = len(self._layers)
        self.calls, self.token_layers = np.zeros(self.n_layers, dtype=np.int64), 0
        self.watched: frozenset[int] = frozenset()
        self.seen: dict[int, Tensor] = {}
        self._plan: list[bool | Tensor] = [True] * self.n_layers
        self._handed_in: Tensor | None = None
        self._gives_tuples = False
        self._before: list[object] = []

    def run(self, layers: Iterable[int] | None = None) -> None:
        """From now on run these layers and skip the others; None runs all."""
        chosen = range(self.n_layers) if layers is None else set(layers)
        self._plan = [layer in chosen for layer in range(self.n_layers)]
        self._handed_in = None

    def run_by_position(self, active_LBT: Tensor) -> None:
        """From now on a layer changes only the positions where `active_LBT` is True; the others pass unchanged.

        Every layer computes all positions, so this is for training. Where the layers of each position hold those of
        all later ones, the result equals running each position through its own layers with a cache.
        """
        self._plan = [bool(part.any()) and (bool(part.all()) or part[..., None]) for part in active_LBT]
        self._handed_in = None

    def only_head(self, hidden_BTD: Tensor) -> None:
        """From now on hand these hidden states to what comes after the last layer: the logits of an early exit."""
        self._plan, self._handed_in = [False] * self.n_layers, hidden_BTD

    def __enter__(self) -> "LayerSwitch":
        self._before = [layer.__dict__.get("forward") for layer in self._layers]
        for place, layer in enumerate(self._layers):
            layer.forward = self._switched(place, layer.forward)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for layer, before in zip(self._layers, self._before, strict=True):
            del layer.forward
            if before is not None:
                layer.forward = before
        self.seen, self._handed_in = {}, None

    def _switched(self, place: int, forward: object) -> object:
        def switched(*args: object, **kwargs: object) -> object:
            given = args[0] if args else kwargs["hidden_states"]
            plan = self._plan[place]
            if plan is False:
                passed = given if self._handed_in is None or place else self._handed_in
                out = (passed,) if self._gives_tuples else passed
            else:
                out = forward(*args, **kwargs)
                self._gives_tuples = isinstance(out, tuple)
                self.calls[place] += 1
                if plan is True:
                    self.token_layers += given.shape[0] * given.shape[1]
                else:
                    mixed = torch.where(plan, out[0] if self._gives_tuples else out, given)
                    out = (mixed, *out[1:]) if self._gives_tuples else mixed
            if place in self.watched:
                self.seen[place] = out[0] if isinstance(out, tuple) else out
            return out

        return switched


def layer_flops(model: nn.Module, *, length: int = 256) -> tuple[float, float]:
    """Floating-point operations of one token (a decoder layer, everything else), forward only; see `training.flops`.

    Layers are taken as equal: the first one is counted, and what the whole model needs beyond L of it is the rest (the
    head).
    """
    from tokenry.models.training import flops

    layers = decoder_layers(model)
    config = model.config.get_text_config()
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = sum(weight.numel() for weight in layers[0].parameters() if weight.ndim >= 2)
    layer = 2.0 * weights + 4.0 * length * config.num_attention_heads * head_width
    return layer, max(0.0, flops(model, 1, length=length, backward=False) - len(layers) * layer)
