"""Weights of sources by DoReMi and DoGE, on small proxies; what bench/selection.py hands on as quotas.

Papers: DoReMi (arXiv 2305.10429), algorithm 1; DoGE (arXiv 2310.15393), algorithm 1, towards a target.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from tokenry.corpora.reweighting import MeanWeights, doge_step, doremi_step, excess_losses
from tokenry.models.batches import collate, draw_rows, pack, tokenise
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit

# Axes: S sources, B sequences of one source in a step, N tokens.

EACH = 2
"""Sequences of every source in a step, so that each has a loss and a gradient in it."""


def stepped(texts: dict[str, list[str]], vocab: object, *, length: int, seed: int, each: int = EACH) -> Callable:
    """A function from step to a batch of `each` sequences of every source, in order."""
    packs = [pack(tokenise(vocab, texts[name]), length=length) for name in sorted(texts)]
    rows = [draw_rows(len(one), batch_size=each, seed=seed) for one in packs]

    def batch(step: int) -> dict[str, torch.Tensor]:
        parts = [collate(one, mine(step)) for one, mine in zip(packs, rows, strict=True)]
        return {key: torch.cat([part[key] for part in parts]) for key in ("input_ids", "labels")}

    return batch


def token_losses(model: object, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Loss of every token but the first of each sequence, 0 where it is not learned."""
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
    return functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")


def source_losses(model: object, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Mean loss of each source of a batch of `stepped`."""
    return [token_losses(model, {key: one[at : at + EACH] for key, one in batch.items()}).mean()
            for at in range(0, len(batch["input_ids"]), EACH)]  # fmt: skip


def doremi(
    texts: dict[str, list[str]], vocab: object, *, steps: int, rate: float, seed: int, length: int, shape: dict
) -> np.ndarray:
    """Mean weights of a proxy under group DRO, against a reference trained on all sources alike."""
    batches = stepped(texts, vocab, length=length, seed=seed)
    config = FitConfig(rate=rate, warmup=max(1, steps // 10), seed=seed)
    reference, proxy = (tiny_llama(vocab, seed=seed, **shape).model for _ in range(2))
    fit(reference, batches, steps=steps, config=config, label="DoReMi reference")
    n = len(texts)
    weights, mean = np.full(n, 1 / n), MeanWeights()
    source_N = np.repeat(np.arange(n), EACH * (length - 1))

    def loss(model: object, batch: dict) -> tuple[torch.Tensor, dict]:
        nonlocal weights
        mine = token_losses(model, batch)
        with torch.no_grad():
            theirs = token_losses(reference, batch)
        excess, _ = excess_losses(mine.detach().numpy().ravel(), theirs.numpy().ravel(), source_N, n_domains=n)
        weights = doremi_step(weights, excess)
        mean.add(weights)
        means = mine.reshape(n, -1).mean(dim=1)
        return (torch.tensor(weights, dtype=means.dtype) * means).sum(), {"tokens": mine.numel()}

    reference.eval()
    fit(proxy, batches, loss, steps=steps, config=config, label="DoReMi proxy")
    return mean.mean


def doge(
    texts: dict[str, list[str]],
    target: list[str],
    vocab: object,
    *,
    steps: int,
    rate: float,
    seed: int,
    length: int,
    shape: dict,
) -> np.ndarray:
    """Mean weights by the product of each source's gradient with the target's."""
    batches = stepped(texts, vocab, length=length, seed=seed)
    targets = stepped({"target": target}, vocab, length=length, seed=seed, each=2 * EACH)
    n = len(texts)
    weights, mean, step = np.full(n, 1 / n), MeanWeights(), 0

    def flat(value: torch.Tensor, model: object) -> torch.Tensor:
        grads = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
        return torch.cat([one.ravel() for one in grads])

    def loss(model: object, batch: dict) -> tuple[torch.Tensor, dict]:
        nonlocal weights, step
        losses = source_losses(model, batch)
        wanted = flat(token_losses(model, targets(step)).mean(), model)
        scores = np.array([float(flat(one, model) @ wanted) for one in losses])
        weights = doge_step(weights, scores, rate=rate, strength=0.05)
        mean.add(weights)
        step += 1
        total = sum(float(a) * one for a, one in zip(weights, losses, strict=True))
        return total, {"tokens": batch["input_ids"].numel()}

    config = FitConfig(rate=rate, warmup=max(1, steps // 10), seed=seed)
    fit(tiny_llama(vocab, seed=seed, **shape).model, batches, loss, steps=steps, config=config, label="DoGE proxy")
    return mean.mean
