"""Train a hypernetwork for a model: first to give the model's own rows back, then on a new tokenizer every few steps.

The body never trains; the rows reach it in place of its embedding and head.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.core.vocab import Vocab
from tokenry.models.batches import NOT_LEARNED, Batch, draw, pack
from tokenry.models.lm import LM
from tokenry.models.partial import freeze
from tokenry.models.training import FitConfig, FitResult, fit
from tokenry.transplant.hypernet import Hypernetwork
from tokenry.transplant.surface_forms import PADDING, surface_forms
from tokenry.transplant.tokenizer_sampling import TokenizerSampler

# Axes: N tokens of a vocabulary, M pieces, D width, B sequences, T positions, V rows.


@dataclass(frozen=True)
class TrainingConfig:
    """How a hypernetwork is trained; the defaults are the paper's, its batches apart.

    Attributes:
        identity_steps, identity_tokens, identity_rate: of the first stage, on the model's own vocabulary.
        steps, rate, warmup: of the main stage; the rate falls by a cosine to a tenth.
        steps_per_tokenizer: optimiser steps before the next tokenizer is drawn.
        batch, length: sequences of a step, and tokens of one.
        auxiliary: weight of the distance to the true rows of tokens the model has.
        negatives: compute only the rows of the tokens of a batch and of this many others; None computes all.
        clip, weight_decay: of AdamW.
        seed: of batches, negatives and identity tokens.
    """

    identity_steps: int = 10_000
    identity_tokens: int = 16_384
    identity_rate: float = 3e-4
    steps: int = 200_000
    rate: float = 6e-5
    warmup: int = 10_000
    steps_per_tokenizer: int = 16
    batch: int = 128
    length: int = 128
    auxiliary: float = 0.5
    negatives: int | None = None
    clip: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


def identity_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
    """Mean over tokens of the squared distance between made and true rows, input and head added up."""
    made_in, made_out = network(batch["surface"])
    total = (made_in - network.source_in[batch["old"]]).square().sum(1).mean()
    if made_out is not None:
        total = total + (made_out - network.source_out[batch["old"]]).square().sum(1).mean()
    return total, {"tokens": len(batch["old"])}


def auxiliary_loss(made: Tensor, true: Tensor, old: Tensor) -> Tensor:
    """Mean squared distance of rows to the true ones, over the mean squared norm of those; 0 without a shared token.

    Args:
        made: (N, D). true: (V_old, D). old: int64 (N,), the old id of each token, -1 for tokens the model lacks.
    """
    shared = old >= 0
    if not shared.any():
        return made.sum() * 0
    rows = true[old[shared]]
    return (made[shared] - rows).square().sum(1).mean() / rows.square().sum(1).mean()


def train_identity(
    network: Hypernetwork, vocab: Vocab, *, config: TrainingConfig, resume: Path | None = None
) -> FitResult:
    """Teach a network to give back the rows of the model's own tokens, each of which is its own single piece."""
    ids = _ordinary(vocab)

    def batch(number: int) -> Batch:
        rng = np.random.default_rng([config.seed, 1, number])
        chosen = torch.from_numpy(rng.choice(ids, min(len(ids), config.identity_tokens), replace=False))
        surface = torch.full((len(chosen), network.config.pieces), PADDING)
        surface[:, 0] = chosen
        return {"old": chosen, "surface": surface}

    how = FitConfig(rate=config.identity_rate, schedule="constant", clip=config.clip,
                    weight_decay=config.weight_decay, seed=config.seed)  # fmt: skip
    return fit(network, batch, identity_loss, steps=config.identity_steps, config=how, resume=resume, label="identity")


def identity_error(network: Hypernetwork, vocab: Vocab) -> float:
    """Mean squared distance between made and true input rows of all ordinary tokens, over their mean squared norm."""
    ids = torch.from_numpy(_ordinary(vocab))
    surface = torch.full((len(ids), network.config.pieces), PADDING)
    surface[:, 0] = ids
    with torch.inference_mode():
        return float(auxiliary_loss(network(surface)[0], network.source_in, ids))


def train_main(
    network: Hypernetwork,
    lm: LM,
    sampler: TokenizerSampler,
    *,
    config: TrainingConfig,
    resume: Path | None = None,
) -> FitResult:
    """Train on the next-token loss of a frozen causal model over sampled vocabularies.

    Returns:
        The run; each step of its history has "lm" (nats a token) and "auxiliary" beside the loss.
    """
    how = FitConfig(rate=config.rate, schedule="cosine", warmup=config.warmup, floor=0.1, clip=config.clip,
                    weight_decay=config.weight_decay, seed=config.seed)  # fmt: skip
    was_training = lm.model.training
    lm.model.eval()
    try:
        with freeze(lm.model):
            loss = frozen_body_loss(lm.model, config.auxiliary)
            batches = sampled_batches(network, lm, sampler, config=config)
            return fit(network, batches, loss, steps=config.steps, config=how, resume=resume, label="hypernetwork")
    finally:
        lm.model.train(was_training)


def frozen_body_loss(body: nn.Module, weight: float) -> Callable[[nn.Module, Batch], tuple[Tensor, dict]]:
    """The loss of the main stage: next token over the rows a network makes, and `weight` times the auxiliary loss."""
    embedding, head = body.get_input_embeddings(), body.get_output_embeddings()
    names = {id(parameter): name for name, parameter in body.named_parameters()}
    name_in, name_out = names[id(embedding.weight)], names[id(head.weight)]
    if getattr(head, "bias", None) is not None or getattr(embedding, "padding_idx", None) is not None:
        raise ValueError(
            f"{type(body).__name__} has a head bias or an embedding with padding_idx; need a model without. Clear "
            "padding_idx first; a bias over the vocabulary is not trained for."
        )

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        made_in, made_out = network(batch["surface"])
        old, fixed = batch["old"], batch["special"][:, None]
        rows_in = torch.where(fixed, network.source_in[old.clamp(min=0)], made_in)
        rows = {name_in: rows_in}
        learned = torch.where(batch["special"], -1, old)
        extra = auxiliary_loss(made_in, network.source_in, learned)
        if made_out is not None:
            rows[name_out] = torch.where(fixed, network.source_out[old.clamp(min=0)], made_out)
            extra = (extra + auxiliary_loss(made_out, network.source_out, learned)) / 2
        inputs = {"input_ids": batch["input_ids"], "use_cache": False}
        logits_NV = torch.func.functional_call(body, rows, kwargs=inputs).logits.float().flatten(0, 1)
        targets_N = functional.pad(batch["labels"][:, 1:], (0, 1), value=NOT_LEARNED).flatten()
        n_targets = int((targets_N != NOT_LEARNED).sum())
        told = functional.cross_entropy(logits_NV, targets_N, ignore_index=NOT_LEARNED, reduction="sum")
        told = told / max(1, n_targets)
        facts = {"tokens": n_targets, "lm": float(told.detach()), "auxiliary": float(extra.detach())}
        return told + weight * extra, facts

    return loss


def sampled_batches(
    network: Hypernetwork, lm: LM, sampler: TokenizerSampler, *, config: TrainingConfig
) -> Callable[[int], Batch]:
    """A function from step to batch; seed and step decide it, so a resumed run sees what it would have seen."""
    held: dict[int, tuple] = {}

    def prepared(number: int) -> tuple:
        if number not in held:
            held.clear()
            vocab = sampler.sample(number)
            bos = lm.start
            start = _place(vocab, lm.vocab.literal(bos))
            packs = pack(vocab.encode(sampler.pool(number)), length=config.length, bos=start)
            surface, _ = surface_forms(lm.vocab, vocab.tokens, pieces=network.config.pieces)
            special = np.isin(np.arange(vocab.size), sorted(vocab.special_ids))
            parts = tuple(torch.from_numpy(a) for a in (surface, old_ids(lm.vocab, vocab), special))
            held[number] = (draw(packs, batch_size=config.batch, seed=config.seed + number), *parts)
        return held[number]

    def batch(number: int) -> Batch:
        drawn, surface, old, special = prepared(number // config.steps_per_tokenizer)
        found = dict(drawn(number % config.steps_per_tokenizer))
        kept = torch.arange(len(old))
        if config.negatives is not None:
            rng = np.random.default_rng([config.seed, 2, number])
            others = rng.choice(len(old), min(len(old), config.negatives), replace=False)
            kept = torch.cat([found["input_ids"].flatten(), torch.from_numpy(others)]).unique()
            found["input_ids"] = torch.searchsorted(kept, found["input_ids"])
            labels = found["labels"]
            found["labels"] = torch.where(labels < 0, labels, torch.searchsorted(kept, labels.clamp(min=0)))
        return found | {"surface": surface[kept], "old": old[kept], "special": special[kept]}

    return batch


def old_ids(old: Vocab, new: Vocab) -> np.ndarray:
    """int64 (V_new,): the old id of each new token, by bytes or, for specials, by text; -1 where there is none."""
    specials = {old.literal(i): i for i in old.special_ids}
    found = [specials.get(new.literal(i), -1) if token is None else old.index.get(token, [-1])[0]
             for i, token in enumerate(new.tokens)]  # fmt: skip
    return np.array(found, dtype=np.int64)


def _place(vocab: Vocab, literal: str) -> int:
    return next(i for i in vocab.special_ids if vocab.literal(i) == literal)


def _ordinary(vocab: Vocab) -> np.ndarray:
    return np.array([i for i, token in enumerate(vocab.tokens) if token], dtype=np.int64)
