"""Fine-tune a model for merged batches: each batch is merged to a level of its own, so one adapter serves all levels.

    rows = PieceRows(model, vocab)
    batches = classified_batches(vocab, texts, labels, level="uniform")
    tune(model, batches, classification_loss(rows), steps=500, train=["classifier*"])

The body trains by low-rank additions (LoRA), which are added to its matrices at the end: what comes out is a stock
model. With `level=0.0` the same call trains on ordinary tokens, on the same texts in the same order: the control.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 3.3.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.models.partial import lora
from tokenry.models.training import FitConfig, FitResult, fit
from tokenry.transplant.dynamic import draw_reduction
from tokenry.transplant.dynamic_lm import continuation_ids, model_inputs, prefill_inputs
from tokenry.transplant.dynamic_merges import merge_segmented
from tokenry.transplant.dynamic_rows import PieceRows
from tokenry.transplant.dynamic_segments import segment

# Axes: B texts, T pieces, N predicted tokens.

Batches = Callable[[int], dict]
Loss = Callable[[nn.Module, dict], tuple[Tensor, dict]]


def classified_batches(
    vocab: Vocab,
    texts: Sequence[str | tuple[str, str]],
    labels: Sequence[int] | np.ndarray,
    *,
    batch_size: int = 32,
    level: float | str = "uniform",
    boundary: str = "pretokens",
    window: int | None = None,
    seed: int = 0,
) -> Batches:
    """A function from step to a merged batch of texts with their labels, for `classification_loss`.

    Seed and step decide the texts, whatever the level: two trainings that differ in it alone see the same texts.

    Args:
        vocab: the model's tokenizer.
        texts, labels: the task; pairs of texts where it has them.
        batch_size: texts merged together.
        level: of reduction: a share to keep, or "uniform" or "gaussian" to draw one a batch (`draw_reduction`).
        boundary: see `merge_batch`.
        window: draw each batch from so many texts of like length, which saves padding; None from all.
        seed: of texts and levels.

    Raises:
        ValueError: labels that do not fit the texts, or a level that is not known.
    """
    if len(texts) != len(labels) or not len(texts):
        raise ValueError(f"{len(texts)} texts and {len(labels)} labels; need one label a text, and at least one.")
    level_of = _levels(level, seed)
    labels_N = np.asarray(labels, np.int64)
    by_length = np.argsort([len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts])

    def batch(step: int) -> dict:
        rng = np.random.default_rng([seed, 0, step])
        if window is None or window >= len(texts):
            chosen = rng.integers(len(texts), size=batch_size)
        else:
            start = rng.integers(len(texts) - window + 1)
            chosen = by_length[start + rng.integers(window, size=batch_size)]
        source = segment(vocab, [texts[i] for i in chosen], boundary=boundary)
        merged = merge_segmented(vocab, source, boundary=boundary, reduction=level_of(step))
        return {"merged": merged, "labels": torch.from_numpy(labels_N[chosen])}

    return batch


def classification_loss(rows: PieceRows) -> Loss:
    """Cross-entropy of a stock classifier on batches of `classified_batches`; `rows` embeds their pieces."""

    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, dict]:
        logits = model(**model_inputs(batch["merged"], rows)).logits
        labels = batch["labels"].to(logits.device)
        return functional.cross_entropy(logits.float(), labels), {"tokens": len(labels)}

    return loss


def continued_batches(
    lm: LM,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: int = 16,
    level: float | str = "uniform",
    boundary: str = "pretokens",
    seed: int = 0,
) -> Batches:
    """A function from step to merged prompts with their continuations, for `continuation_loss`.

    Args:
        lm: the decoder.
        pairs: prompts and what follows; see `dynamic.prompt_pairs`.
        batch_size, level, boundary, seed: as for `classified_batches`.
    """
    level_of = _levels(level, seed)

    def batch(step: int) -> dict:
        chosen = np.random.default_rng([seed, 0, step]).integers(len(pairs), size=batch_size)
        prompts, tails = zip(*(pairs[i] for i in chosen), strict=True)
        source = segment(lm.vocab, prompts, boundary=boundary, specials=False, first=lm.start)
        merged = merge_segmented(lm.vocab, source, boundary=boundary, reduction=level_of(step))
        return {"merged": merged, "tails": continuation_ids(lm, tails)}

    return batch


def continuation_loss(lm: LM, rows: PieceRows) -> Loss:
    """Next-token loss on continuations, in the model's ordinary tokens, after merged prompts."""

    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, dict]:
        inputs, scored_BT, targets_N = prefill_inputs(batch["merged"], batch["tails"], rows, context=lm.context)
        logits_NV = model(**inputs, use_cache=False).logits[scored_BT]
        return functional.cross_entropy(logits_NV.float(), targets_N), {"tokens": len(targets_N)}

    return loss


def tune(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    steps: int,
    rank: int = 128,
    dropout: float = 0.3,
    rate: float = 1e-4,
    targets: str | Sequence[str] = "all-linear",
    train: Sequence[str] = (),
    seed: int = 0,
) -> FitResult:
    """Train low-rank additions to a model, and add them to its matrices at the end.

    Args:
        model: a stock model; its embedding stays.
        batches, loss: from this module.
        steps: of AdamW.
        rank, dropout: of the additions, the paper's for an encoder; their alpha is twice the rank, the paper's for
            levels drawn uniformly.
        rate: highest learning rate, after a tenth of the steps; it falls linearly to zero.
        targets: modules that get an addition; see `partial.lora`.
        train: shell patterns of parameters that train whole beside them, as a fresh "classifier*" must.
        seed: of the additions and of dropout.

    Raises:
        ValueError: a pattern that matches no parameter, or impossible settings.
    """
    from fnmatch import fnmatchcase

    named = dict(model.named_parameters())
    for pattern in train:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise ValueError(
                f"no parameter matches {pattern!r}; need a pattern over names such as {next(iter(named))!r}."
            )
    whole = [parameter for name, parameter in named.items() if any(fnmatchcase(name, pattern) for pattern in train)]
    config = FitConfig(rate=rate, warmup=max(1, steps // 10), weight_decay=0.01, seed=seed)
    with lora(model, rank=rank, dropout=dropout, targets=targets, seed=seed) as wrapped:
        for parameter in whole:
            parameter.requires_grad_(True)
        found = fit(wrapped, batches, loss, steps=steps, config=config, label="fine-tuning on merged batches")
    model.eval()
    return found


def _levels(level: float | str, seed: int) -> Callable[[int], float]:
    """Step -> reduction."""
    if isinstance(level, str):
        draw_reduction(np.random.default_rng(0), kind=level)  # an unknown kind is told at once
        return lambda step: draw_reduction(np.random.default_rng([seed, 1, step]), kind=level)
    if not 0 <= level <= 1:
        raise ValueError(f"level={level}; need a share from 0 (no merge) to 1 (whole words), 'uniform' or 'gaussian'.")
    return lambda step: float(level)
