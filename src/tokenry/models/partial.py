"""Train a part of a model: chosen rows of the embedding and the head, named weights, or low-rank adapters.

Each is a context manager; what it changed is undone at its end, what was learned stays.

Paper: LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685).
"""

import contextlib
import fnmatch
import warnings
from collections.abc import Callable, Iterator, Sequence

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


class LowRank(nn.Module):
    """A matrix with a low-rank addition: what it gave, plus scale x input x A x B; B starts at zero."""

    def __init__(self, plain: nn.Module, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.plain, self.scale, self.dropout = plain, scale, nn.Dropout(dropout)
        n_in, n_out = _sizes(plain)
        kind = {"device": plain.weight.device, "dtype": plain.weight.dtype}
        self.lora_A = nn.Parameter(torch.empty(rank, n_in, **kind))
        self.lora_B = nn.Parameter(torch.zeros(n_out, rank, **kind))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)  # as in the paper's code and in peft

    @property
    def weight(self) -> Tensor:
        """The matrix below; some models ask a layer for its dtype."""
        return self.plain.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(x) + self.scale * ((self.dropout(x) @ self.lora_A.T) @ self.lora_B.T)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the product to the matrix; the addition gives nothing afterwards."""
        addition = self.scale * (self.lora_B @ self.lora_A)
        self.plain.weight += addition if isinstance(self.plain, nn.Linear) else addition.T
        self.lora_B.zero_()


def _sizes(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs): a Linear stores (out, in), GPT-2's Conv1D (in, out)."""
    n_rows, n_columns = module.weight.shape
    return (n_columns, n_rows) if isinstance(module, nn.Linear) else (n_rows, n_columns)


def _matrices(model: nn.Module, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """Name -> module of every matrix that gets an addition.

    Raises:
        ValueError: none does.
    """
    head = model.get_output_embeddings()
    kinds = (nn.Linear, *_conv1d())
    found = {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not head}
    if not isinstance(targets, str):
        found = {n: m for n, m in found.items() if any(n == t or n.endswith(f".{t}") for t in targets)}
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no matrix named {targets!r}; need names of its linear layers, or "
            "'all-linear'. List them: model.named_modules()."
        )
    return found


def _conv1d() -> tuple[type, ...]:
    from transformers.pytorch_utils import Conv1D

    return (Conv1D,)


@contextlib.contextmanager
def lora(
    model: nn.Module,
    *,
    rank: int = 16,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: str | Sequence[str] = "all-linear",
    merge: bool = True,
    seed: int | None = None,
) -> Iterator[nn.Module]:
    """Train low-rank additions to the body's matrices in place of the matrices themselves.

    Done by peft where it is installed, else by `LowRank` here, which computes the same.

    Args:
        rank: width of the additions.
        alpha: their scale is alpha / rank; None means 2 x rank.
        dropout: on the input of the additions, while training.
        targets: module names; "all-linear" takes every matrix but the head.
        merge: at the end add what was learned to the matrices; False drops it.
        seed: of the additions' first weights; None draws from torch's own generator.

    Yields:
        The wrapped model to train; the additions also stand in `model` itself. Head and embedding are frozen in it;
        `train_rows(model, ..., freeze_rest=False)` inside trains rows beside the additions.

    Raises:
        ValueError: no matrix has such a name.

    Paper: LoRA (arXiv 2106.09685).
    """
    if rank < 1:
        raise ValueError(f"rank={rank}; need at least 1. 8 to 64 is usual.")
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        wrapped, take_off = _added(model, rank=rank, scale=(alpha or 2 * rank) / rank, dropout=dropout, targets=targets)
    done = False
    try:
        yield wrapped
        done = True
    finally:
        # Both ways put plain modules back into `model`, so that it is whole again.
        take_off(merge and done)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before.get(name, True))


def _added(
    model: nn.Module, *, rank: int, scale: float, dropout: float, targets: str | Sequence[str]
) -> tuple[nn.Module, Callable[[bool], None]]:
    """The model with additions, all else frozen, and what takes them off again (True merges them first)."""
    _matrices(model, targets)  # the sentence of peft does not say what names there are
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        return model, _added_here(model, rank, scale, dropout=dropout, targets=targets)
    targets = targets if isinstance(targets, str) else list(targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        wrapped = get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=scale * rank, lora_dropout=dropout, target_modules=targets)
        )
    return wrapped, lambda merge: wrapped.merge_and_unload() if merge else wrapped.unload()


def _added_here(
    model: nn.Module, rank: int, scale: float, *, dropout: float, targets: str | Sequence[str]
) -> Callable[[bool], None]:
    found = _matrices(model, targets)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    added = {name: LowRank(module, rank, scale, dropout) for name, module in found.items()}
    for name, module in added.items():
        _put(model, name, module)

    def take_off(merge: bool) -> None:
        for name, module in added.items():
            if merge:
                module.merge()
            _put(model, name, module.plain)

    return take_off


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
