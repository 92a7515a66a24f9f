"""Train a part of a model: chosen rows of the embedding and the head, named weights, or low-rank adapters.

Each is a context manager; what it changed is undone at its end, what was learned stays.

Paper: LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685).
"""

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


@contextlib.contextmanager
def freeze(model: nn.Module, *, but: Sequence[str] = ()) -> Iterator[list[str]]:
    """Train nothing but the parameters whose name matches a pattern.

    Args:
        but: shell patterns over parameter names, such as "model.layers.0.*" or "*norm*"; none freezes all.

    Yields:
        Names of the parameters that still train.

    Raises:
        ValueError: a pattern matches nothing.
    """
    named = dict(model.named_parameters())
    for pattern in but:
        if not fnmatch.filter(named, pattern):
            raise ValueError(
                f"No parameter of {type(model).__name__} matches {pattern!r}; need a pattern over names such as "
                f"{next(iter(named))!r}. List them: model.named_parameters()."
            )
    before = {name: parameter.requires_grad for name, parameter in named.items()}
    kept = [name for name in named if any(fnmatch.fnmatchcase(name, pattern) for pattern in but)]
    try:
        for name, parameter in named.items():
            parameter.requires_grad_(name in kept)
        yield kept
    finally:
        for name, parameter in named.items():
            parameter.requires_grad_(before[name])


@contextlib.contextmanager
def train_rows(
    model: nn.Module,
    rows_in: Sequence[int] | Tensor,
    rows_out: Sequence[int] | Tensor | None = None,
    *,
    freeze_rest: bool = True,
) -> Iterator[None]:
    """Train only some rows of the input embedding and of the head; every other row stays bit for bit.

    Gradients of the other rows are zeroed, and after each step of any optimiser they are put back, because weight
    decay and momentum move rows without a gradient.

    Args:
        rows_in: ids whose input rows train.
        rows_out: ids whose head rows train; None means the same. Where head and embedding are one matrix a row trains
            if either list names it.
        freeze_rest: also freeze the body; False leaves it as it is.

    Raises:
        ValueError: an id outside the matrix.
    """
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    rows_out = rows_in if rows_out is None else rows_out
    if table is head:
        wanted = [(table, torch.cat([_checked(rows_in, table), _checked(rows_out, table)]))]
    else:
        wanted = [(table, _checked(rows_in, table)), (head, _checked(rows_out, head))]
    masks = [_RowMask(parameter, rows) for parameter, rows in wanted]
    before = [mask.parameter.requires_grad for mask in masks]

    def put_back(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for mask in masks:
            mask.put_back(optimizer)

    with freeze(model) if freeze_rest else contextlib.nullcontext():
        for mask in masks:  # a hook needs a parameter that trains
            mask.parameter.requires_grad_(True)
        handles = [mask.parameter.register_hook(mask.keep_gradient) for mask in masks]
        handles.append(register_optimizer_step_post_hook(put_back))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for mask, trained in zip(masks, before, strict=True):
                mask.parameter.requires_grad_(trained)


class _RowMask:
    """A matrix of which only some rows train."""

    def __init__(self, parameter: nn.Parameter, rows: Tensor) -> None:
        self.parameter = parameter
        is_frozen = torch.ones(parameter.shape[0], dtype=torch.bool)
        is_frozen[rows] = False
        self.frozen_rows = is_frozen.nonzero()[:, 0].to(parameter.device)
        self.saved = parameter.detach()[self.frozen_rows].clone()

    def keep_gradient(self, gradient: Tensor) -> Tensor:
        return gradient.index_fill(0, self.frozen_rows, 0.0)

    @torch.no_grad()
    def put_back(self, optimizer: Optimizer) -> None:
        if any(parameter is self.parameter for group in optimizer.param_groups for parameter in group["params"]):
            self.parameter.index_copy_(0, self.frozen_rows, self.saved)


def _checked(rows: Sequence[int] | Tensor, parameter: nn.Parameter) -> Tensor:
    rows = torch.as_tensor(rows, dtype=torch.long).flatten().cpu()
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < parameter.shape[0]:
        raise ValueError(
            f"Rows {int(rows.min())} to {int(rows.max())} asked of a matrix with {parameter.shape[0]} rows; need ids "
            "inside it. Enlarge the model first: resize_token_embeddings."
        )
    return rows


@contextlib.contextmanager
def lora(
    model: nn.Module,
    *,
    rank: int = 16,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: str | Sequence[str] = "all-linear",
    merge: bool = True,
) -> Iterator[nn.Module]:
    """Train low-rank additions to the body's matrices in place of the matrices themselves.

    Args:
        rank: width of the additions.
        alpha: their scale is alpha / rank; None means 2 x rank.
        dropout: on the input of the additions, while training.
        targets: module names; "all-linear" takes every matrix but the head.
        merge: at the end add what was learned to the matrices; False drops it.

    Yields:
        The wrapped model to train. Head and embedding are frozen in it; `train_rows(model, ..., freeze_rest=False)`
        inside trains rows beside the adapters.

    Raises:
        ImportError: peft is not installed.

    Paper: LoRA (arXiv 2106.09685).
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError(
            f"Low-rank adapters need the package peft, which cannot be imported ({error}). "
            "pip install peft, or train rows or all weights."
        ) from None
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    targets = targets if isinstance(targets, str) else list(targets)
    wrapped = get_peft_model(
        model,
        LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout, target_modules=targets),
    )
    done = False
    try:
        yield wrapped
        done = True
    finally:
        # peft swaps modules inside `model` itself; both ways put plain modules back, so `model` is whole again.
        if merge and done:
            wrapped.merge_and_unload()
        else:
            wrapped.unload()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before.get(name, True))
