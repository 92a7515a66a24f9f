"""Move a model to another vocabulary: in memory, or folder to folder without loading its body.

The whole surface of the surgery can be imported from here: match, plan, new_rows, move, apply_plan, save_plan,
load_plan, revert, verify.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607), Fast Vocabulary Transfer (Gee 2022).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.transplant.configs import moved_ids, unknown_in_template, with_conventions
from tokenry.transplant.manifest import load_plan, save_plan
from tokenry.transplant.matching import Match, match, raw_overlap, rows_fingerprint
from tokenry.transplant.move_report import move_report
from tokenry.transplant.planning import Gap, Plan, Rows, new_bias, new_rows, plan
from tokenry.transplant.row_making import check_range
from tokenry.transplant.undoing import apply_plan, keep_original, revert
from tokenry.transplant.verifying import verify

__all__ = [
    "Gap",
    "Match",
    "Moved",
    "Plan",
    "Rows",
    "apply_plan",
    "keep_original",
    "load_plan",
    "match",
    "move",
    "new_bias",
    "new_rows",
    "plan",
    "raw_overlap",
    "revert",
    "save_plan",
    "verify",
]

_plan = plan
_VOCABULARY_NAMES = ("embed", "lm_head", "vocab", "logits", "wte", "word")


@dataclass(frozen=True, eq=False)
class Moved:
    """A moved model."""

    lm: object
    """tokenry.models.lm.LM; a new model, nothing shared with the old one."""
    plan: Plan
    report: Report


def move(
    lm: object,
    to: Vocab,
    *,
    method: str | Callable[..., Rows] = "pieces",
    plan: Plan | None = None,
    pad_to_multiple_of: int | None = None,
    **options,
) -> Moved:
    """Give a model another vocabulary, in memory; the old LM stays as it is.

    Embedding and head are made anew from their old rows; ids in configuration and generation configuration follow by
    role; the chat template is carried over where the new tokenizer has none.

    Args:
        lm: tokenry.models.lm.LM.
        to: the new vocabulary.
        method, options: as in `plan`, to which they go (`pieces`, `donor`, `seed`, `untie`, and the method's own).
        plan: a finished plan instead; it must start from this model's vocabulary and lead to `to`.
        pad_to_multiple_of: round the number of rows up; 64 or 128 suits most hardware. Without it there is one row
            an id, except that a move to the same vocabulary keeps the rows it has.

    Raises:
        ValueError: a plan for other vocabularies, an architecture with further vocabulary-sized tables, weights that
            are not finite, or what `plan` raises.
    """
    parts = _parts(lm.model, lm.name)
    before = parts.rows()
    if plan is None:
        plan = _plan(lm.vocab, to, method=method, **{"base": before.input, "base_head": before.head, **options})
    elif options:
        raise ValueError(f"Got a finished plan and the options {', '.join(options)}; give one or the other.")
    check_plan(plan, lm.vocab, to, name=lm.name)
    n_rows = wanted_rows(plan, len(before.input), pad_to_multiple_of)
    made_input, made_head = new_rows(plan, before.input, before.head, n_rows=n_rows)
    made_bias = None if before.bias is None else new_bias(plan, before.bias, n_rows=n_rows)
    template = lm.tokenizer.chat_template
    to = with_conventions(to, lm.vocab, template)
    model = _rebuilt(lm.model, parts, made_input, made_head, made_bias)
    lost = _set_ids(model, plan, lm.vocab, to, n_rows)
    from tokenry.models.lm import LM, tokenizer_of

    new_lm = LM(model, tokenizer_of(to), to, lm.name)
    unknown = unknown_in_template(to.config.get("chat_template"), lm.vocab, to)
    report = move_report(plan, lm.vocab, to, before=before.input, after=made_input, lost=lost, template=unknown)
    return Moved(new_lm, plan, report)


def check_plan(plan: Plan, old: Vocab, to: Vocab, *, name: str) -> None:
    """Refuse a plan between other vocabularies than these two.

    Raises:
        ValueError: naming which of the two does not fit.
    """
    for what, ours, theirs, size in (
        ("starts from", rows_fingerprint(old), plan.old_fingerprint, plan.n_old),
        ("leads to", rows_fingerprint(to), plan.new_fingerprint, plan.n_new),
    ):
        if ours != theirs:
            vocab = old if what == "starts from" else to
            raise ValueError(
                f"{name or 'The model'}: the plan {what} a vocabulary of {size} ids (fingerprint {theirs}), but "
                f"{vocab.name or 'this one'} has {vocab.size} ids ({ours}). Use the tokenizer the plan was made for, "
                "or plan again."
            )


def wanted_rows(plan: Plan, old_rows: int, multiple: int | None) -> int:
    """Rows of the new matrices (see move)."""
    if multiple is None:
        return old_rows if plan.is_identity else plan.n_new
    if multiple < 1:
        raise ValueError(f"pad_to_multiple_of={multiple}; need 1 or more, for example 64.")
    return -(-plan.n_new // multiple) * multiple


@dataclass(frozen=True, eq=False)
class _Rows:
    input: np.ndarray
    head: np.ndarray | None
    bias: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Parts:
    """The vocabulary-sized parts of a model."""

    embedding: object
    head: object
    is_tied: bool

    def rows(self) -> _Rows:
        bias = getattr(self.head, "bias", None)
        head = None if self.is_tied else _to_numpy(self.head.weight)
        return _Rows(_to_numpy(self.embedding.weight), head, None if bias is None else _to_numpy(bias))


def _to_numpy(tensor) -> np.ndarray:
    import torch

    tensor = tensor.detach().cpu()
    # Sums are made in float32; numpy has no bfloat16. Both directions keep the bits of a copied row.
    return tensor.numpy() if tensor.dtype in (torch.float32, torch.float64) else tensor.float().numpy()


def _parts(model, name: str) -> _Parts:
    """Find embedding and head, and refuse a model with vocabulary-sized tables we would leave behind."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    kind = type(model).__name__
    if head is None or getattr(head, "weight", None) is None or getattr(embedding, "weight", None) is None:
        raise ValueError(
            f"{name or kind}: {kind} has no embedding and head over a vocabulary; need a causal language model "
            "(AutoModelForCausalLM)."
        )
    n_rows = len(embedding.weight)
    if len(head.weight) != n_rows:
        raise ValueError(
            f"{name or kind}: the embedding has {n_rows} rows and the head {len(head.weight)}; need the same number. "
            "Such an architecture is not supported."
        )
    known = {id(embedding.weight), id(head.weight), id(getattr(head, "bias", None))}
    tables = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for key, tensor in tables:
        is_table = n_rows in tensor.shape and any(part in key.lower() for part in _VOCABULARY_NAMES)
        if id(tensor) not in known and is_table:
            raise ValueError(
                f"{name or kind}: {kind} has another table over the vocabulary, {key} {tuple(tensor.shape)}, which a "
                "move would leave as it is. Such an architecture is not supported."
            )
    tied = head.weight is embedding.weight or head.weight.data_ptr() == embedding.weight.data_ptr() != 0
    return _Parts(embedding, head, tied)


def _rebuilt(model, parts: _Parts, made_input: np.ndarray, made_head: np.ndarray | None, made_bias: np.ndarray | None):
    """A copy of the model with new rows; the old rows are never copied."""
    import torch
    from torch import nn

    def like(old, rows: np.ndarray):
        check_range(rows, "model", largest=torch.finfo(old.dtype).max, dtype=str(old.dtype))
        tensor = torch.from_numpy(np.ascontiguousarray(rows)).to(device=old.device, dtype=old.dtype)
        return nn.Parameter(tensor, requires_grad=old.requires_grad)

    old_input, old_head = parts.embedding.weight, parts.head.weight
    memo = {id(old_input): like(old_input, made_input)}
    if not parts.is_tied:
        memo[id(old_head)] = like(old_head, made_head)
    elif old_head is not old_input:
        memo[id(old_head)] = memo[id(old_input)]
    if made_bias is not None:
        memo[id(parts.head.bias)] = like(parts.head.bias, made_bias)
    # deepcopy keys are ids: the originals must not be collected meanwhile, and they are not, `model` holds them.
    copied = copy.deepcopy(model, memo)
    embedding, head = copied.get_input_embeddings(), copied.get_output_embeddings()
    if parts.is_tied and made_head is not None:
        head.weight = like(old_head, made_head)
        for config in {id(c): c for c in (copied.config, copied.config.get_text_config())}.values():
            config.tie_word_embeddings = False
        own = {key for key, value in copied.named_parameters(remove_duplicate=False) if value is head.weight}
        tied_keys = getattr(copied, "all_tied_weights_keys", None)
        if tied_keys:
            copied.all_tied_weights_keys = {a: b for a, b in tied_keys.items() if a not in own and b not in own}
    n_rows = len(made_input)
    if hasattr(embedding, "num_embeddings"):
        embedding.num_embeddings = n_rows
    if hasattr(head, "out_features"):
        head.out_features = n_rows
    return copied


def _set_ids(model, plan: Plan, old: Vocab, to: Vocab, n_rows: int) -> list[str]:
    """Write the new size and ids into a model's configurations; returns what was lost."""
    text = model.config.get_text_config()
    common = {"old": old, "to": to, "n_rows": n_rows}
    lost = []
    for config in {id(c): c for c in (model.config, text)}.values():
        if config is text or getattr(config, "vocab_size", None) is not None:
            config.vocab_size = n_rows
        updates = moved_ids(config.to_dict(), plan, **common, generation=False)
        for key, value in updates.values.items():
            setattr(config, key, value)
        lost += updates.lost
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        updates = moved_ids(generation.to_dict(), plan, **common, generation=True)
        for key, value in updates.values.items():
            setattr(generation, key, value)
        lost += updates.lost
    embedding = model.get_input_embeddings()
    pad = text.pad_token_id if getattr(embedding, "padding_idx", None) is not None else None
    for module in model.modules():
        if isinstance(getattr(module, "vocab_size", None), int):
            module.vocab_size = n_rows
        if module is embedding or (hasattr(module, "padding_idx") and hasattr(module, "embed_tokens")):
            # The row at padding_idx gets no gradient: it must not fall on an ordinary token.
            module.padding_idx = pad if isinstance(pad, int) else None
    return list(dict.fromkeys(lost))
