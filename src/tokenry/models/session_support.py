"""Which models a Session can run: how their layers attend, what is refused by name, and the masks of trees."""

# Axes: N nodes, P cached tokens, K = P + N keys.

import inspect
import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.models.opening import quiet_library
from tokenry.models.scoring import is_masked

MASKED_ATTENTION = ("eager", "sdpa")
"""Implementations that add a 4-D mask to the scores as it is."""
TREE_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference of a logit, relative to the largest logit, that the check of trees takes for rounding."""
COARSE_TOLERANCE = 0.1
"""The same for half precision."""

_checked: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


@dataclass(frozen=True)
class Attention:
    """How the layers of a model attend.

    Attributes:
        kinds: distinct layer types, "full_attention" or "sliding_attention".
        window: most positions a sliding layer looks back, its own included; None when no layer slides.
        implementation: what computes attention.
        keeps_logits: whether its forward takes `logits_to_keep`.
        cache_name: what its forward calls the cache (the library is renaming it).
        n_rows: rows of its embedding.
    """

    kinds: tuple[str, ...]
    window: int | None
    implementation: str
    keeps_logits: bool
    cache_name: str
    n_rows: int

    def tree_masks(self, tree: object, *, n_cached: int, known: int, like: Tensor) -> Tensor | dict[str, Tensor]:
        """The additive mask (1, 1, N - known, K) of a tree, or one for each kind of layer where kinds differ."""
        masks = {kind: _tree_mask(tree, n_cached, known, self.window if "sliding" in kind else None, like)
                 for kind in self.kinds}  # fmt: skip
        return next(iter(masks.values())) if len(masks) == 1 else masks


def _tree_mask(tree: object, n_cached: int, known: int, window: int | None, like: Tensor) -> Tensor:
    ancestors_NN = tree.ancestors[known:]
    blocked = torch.finfo(like.dtype).min
    mask = torch.zeros((ancestors_NN.shape[0], n_cached + ancestors_NN.shape[1]), dtype=like.dtype, device=like.device)
    mask[:, n_cached:].masked_fill_(torch.from_numpy(~ancestors_NN).to(like.device), blocked)
    deepest = int(tree.depth.max())
    if window is not None and n_cached + deepest >= window:
        depth = torch.from_numpy(np.asarray(tree.depth, dtype=np.int64)).to(like.device)
        keys_K = torch.cat([torch.arange(n_cached, device=like.device), n_cached + depth])
        mask.masked_fill_((n_cached + depth[known:])[:, None] - keys_K[None] >= window, blocked)
    return mask[None, None]


def inspect_attention(model: nn.Module) -> Attention:
    """Read from the configuration how a model attends.

    Raises:
        ValueError: its state cannot be rolled back or branched; the kind of layer is named.
    """
    name = type(model).__name__
    config = getattr(model, "config", None)
    parameters = inspect.signature(model.forward).parameters
    if config is None or not hasattr(model, "get_input_embeddings"):
        raise ValueError(f"{name} is no transformers model; a session needs one that AutoModelForCausalLM opens.")
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{name} is an encoder-decoder; a session runs causal models. Give a decoder-only model.")
    way_out = "Use the library's own generate for it, or a model whose layers all attend."
    cache_name = next((known for known in ("cache", "past_key_values") if known in parameters), None)
    if cache_name is None or "cache_params" in parameters:
        raise ValueError(f"{name} keeps a recurrent state, which can be neither rolled back nor branched. {way_out}")
    text = config.get_text_config(decoder=True)
    kinds, window = _layer_kinds(text, name, way_out)
    implementation = getattr(text, "_attn_implementation", None) or "eager"
    if implementation not in MASKED_ATTENTION:
        raise ValueError(
            f"{name} computes attention by {implementation!r}, which takes no mask of our own; need one of "
            f"{', '.join(MASKED_ATTENTION)}. Switch it: model.set_attn_implementation('sdpa')."
        )
    n_rows = model.get_input_embeddings().weight.shape[0]
    return Attention(kinds, window, implementation, "logits_to_keep" in parameters, cache_name, n_rows)


def check_looks_back(model: nn.Module) -> None:
    """Refuse what fills gaps: a model whose configuration or class says that it looks at later tokens.

    Raises:
        ValueError: with the way out.
    """
    if getattr(getattr(model, "config", None), "is_causal", True) is False or is_masked(model):
        raise ValueError(
            f"{type(model).__name__} looks at later tokens, so it has no next token to give; a session runs causal "
            "models. What fills gaps writes by --strategy diffusion."
        )


def _layer_kinds(text: object, name: str, way_out: str) -> tuple[tuple[str, ...], int | None]:
    """Distinct kinds of layers and the window of the sliding ones."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    declared = list(getattr(text, "layer_types", None) or [])
    odd = sorted(set(declared) - {"full_attention", "sliding_attention"})
    try:
        layers = [] if odd else DynamicCache(config=text).layers
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{name}: its layers cannot be told from its configuration ({error!r}). {way_out}") from None
    odd += sorted(
        {type(layer).__name__ for layer in layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__}
    )
    if odd:
        raise ValueError(
            f"{name} has layers of the kind {', '.join(odd)}, whose state can be neither rolled back nor branched; "
            f"need full or sliding attention. {way_out}"
        )
    slides = [isinstance(layer, DynamicSlidingWindowLayer) for layer in layers]
    windows = {layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)}
    if len(windows) > 1:
        raise ValueError(f"{name} has sliding windows of different sizes ({sorted(windows)}); need one. {way_out}")
    kinds = tuple(
        kind
        for kind, there in (("full_attention", not all(slides) or not slides), ("sliding_attention", any(slides)))
        if there
    )
    return kinds, next(iter(windows), None)


def check_cache(cache: object, model: nn.Module) -> None:
    """Refuse a cache of the caller's, or one the model asks for, that cannot be rolled back.

    Raises:
        ValueError: a static, quantized, offloaded or filled cache, by name.
    """
    wanted = getattr(getattr(model, "generation_config", None), "cache_implementation", None)
    if wanted in ("static", "offloaded_static", "quantized", "paged"):
        raise ValueError(
            f"{type(model).__name__} asks for a {wanted} cache (generation_config.cache_implementation), which can be "
            "neither rolled back nor branched here. Set it to None."
        )
    if cache is None:
        return
    from transformers.cache_utils import DynamicCache

    if type(cache) is not DynamicCache:
        raise ValueError(
            f"a {type(cache).__name__} cannot be rolled back and branched; need none, or an empty DynamicCache."
        )
    if cache.get_seq_length():
        raise ValueError(
            f"a cache that holds {cache.get_seq_length()} tokens already; need an empty one. Give the text instead."
        )


def check_trees(model: nn.Module, attention: Attention) -> None:
    """Run a small tree and compare it with the plain text, once for each model: an ignored mask would give wrong text.

    Raises:
        ValueError: the model's attention does not follow a 4-D mask.
    """
    if model in _checked:
        return
    device, n_rows = model.get_input_embeddings().weight.device, attention.n_rows
    tree = _Fork(tokens=np.array([n_rows // 2, n_rows // 3, n_rows - 1, n_rows // 5]))
    ids_1N = torch.from_numpy(tree.tokens)[None].to(device)
    masks = attention.tree_masks(tree, n_cached=0, known=0, like=model.get_input_embeddings().weight)
    positions_1N = torch.from_numpy(tree.depth)[None].to(device)
    try:
        with torch.inference_mode(), quiet_library():
            branched = model(input_ids=ids_1N, attention_mask=masks, position_ids=positions_1N, use_cache=False)
            plain = model(input_ids=ids_1N[:, [0, 2, 3]], use_cache=False).logits[0, 2]
        difference = float((branched.logits[0, 3] - plain).abs().max()) / (float(plain.abs().max()) or 1.0)
        told = f"a branch differs from the same text by {difference:.2g} of the largest logit, or is NaN"
        passed = difference <= TREE_TOLERANCE.get(plain.dtype, COARSE_TOLERANCE)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        passed, told = False, str(error).splitlines()[0] if str(error) else type(error).__name__
    if not passed:
        raise ValueError(
            f"{type(model).__name__} does not follow a 4-D attention mask ({told}), so trees would give wrong text. "
            "Decode it without drafts (strategy plain)."
        )
    _checked.add(model)


@dataclass(frozen=True)
class _Fork:
    """root -> {a, b -> c}: node 3 must not see node 1."""

    tokens: np.ndarray
    parents: tuple = (-1, 0, 0, 2)

    @property
    def depth(self) -> np.ndarray:
        return np.array([0, 1, 1, 2])

    @property
    def ancestors(self) -> np.ndarray:
        return np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], dtype=bool)
