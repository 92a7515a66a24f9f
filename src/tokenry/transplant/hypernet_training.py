"""Train a hypernetwork for a model: first to give the model's own rows back, then on a new tokenizer every few steps.

The body never trains; the rows reach it in place of its embedding and head. A causal model learns the next token, a
masked one the tokens behind masks.

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
from tokenry.models.scoring import is_masked
from tokenry.models.training import FitConfig, FitResult, fit
from tokenry.transplant.hypernet import Hypernetwork
from tokenry.transplant.masked import Masker, ends, sum_nats
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
    """Mean over tokens of the squared distance between made and true rows, input, head and head bias added up."""
    made_in, made_out, made_bias = network.make(batch["surface"])
    total = (made_in - network.source_in[batch["old"]]).square().sum(1).mean()
    if made_out is not None:
        total = total + (made_out - network.source_out[batch["old"]]).square().sum(1).mean()
    if network.source_bias is not None:
        total = total + (made_bias - network.source_bias[batch["old"]]).square().mean()
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
        return {"old": chosen.to(network.source_in.device), "surface": surface.to(network.source_in.device)}

    how = FitConfig(rate=config.identity_rate, schedule="constant", clip=config.clip,
                    weight_decay=config.weight_decay, seed=config.seed)  # fmt: skip
    return fit(network, batch, identity_loss, steps=config.identity_steps, config=how, resume=resume, label="identity")


def identity_error(network: Hypernetwork, vocab: Vocab, *, language: int | None = None) -> float:
    """Mean squared distance between made and true input rows of all ordinary tokens, over their mean squared norm."""
    ids = torch.from_numpy(_ordinary(vocab))
    surface = torch.full((len(ids), network.config.pieces), PADDING)
    surface[:, 0] = ids
    surface, ids = surface.to(network.source_in.device), ids.to(network.source_in.device)
    with torch.inference_mode():
        return float(auxiliary_loss(network(surface, language=language)[0], network.source_in, ids))


def train_main(
    network: Hypernetwork,
    lm: LM,
    sampler: TokenizerSampler,
    *,
    config: TrainingConfig,
    resume: Path | None = None,
) -> FitResult:
    """Train on the loss of a frozen model over sampled vocabularies: next token, or masked tokens (15 %, of which 80 %
    become the mask token, 10 % another token and 10 % stay).

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
    """The loss of the main stage: the model's own over the rows a network makes, and `weight` times the auxiliary loss.

    Raises:
        ValueError: an embedding with a padding_idx, whose row would get no gradient.
    """
    place = RowPlace.of(body)

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
        if place.bias and network.source_bias is None:
            raise ValueError(
                f"{type(body).__name__} has a bias of its head, the network does not know it; make the network with "
                "source_bias=."
            )
        made_in, made_out, made_bias = network.make(batch["surface"])
        old, is_special = batch["old"], batch["special"]
        learned = torch.where(is_special, -1, old)

        def fixed(made: Tensor, source: Tensor) -> Tensor:
            at = is_special[:, None] if made.ndim == 2 else is_special
            return torch.where(at, source[old.clamp(min=0)], made)

        extra = auxiliary_loss(made_in, network.source_in, learned)
        out = None if made_out is None else fixed(made_out, network.source_out)
        if made_out is not None:
            extra = (extra + auxiliary_loss(made_out, network.source_out, learned)) / 2
        bias = fixed(made_bias, network.source_bias) if place.bias else None
        told, n_targets = place.nats(batch, (fixed(made_in, network.source_in), out, bias))
        facts = {"tokens": n_targets, "lm": float(told.detach()), "auxiliary": float(extra.detach())}
        return told + weight * extra, facts

    return loss


@dataclass(frozen=True, eq=False)
class RowPlace:
    """Where a model keeps the rows of its vocabulary, so that other rows can stand there for one pass."""

    body: nn.Module
    input: str
    head: str | None
    """None where embedding and head are one matrix."""
    bias: str | None
    predicts_own: bool
    """a masked model: each label is told at its own place, not by the place before."""

    @classmethod
    def of(cls, body: nn.Module) -> "RowPlace":
        """By the library's accessors.

        Raises:
            ValueError: as for `frozen_body_loss`.
        """
        embedding, head = body.get_input_embeddings(), body.get_output_embeddings()
        if getattr(embedding, "padding_idx", None) is not None and not is_masked(body):
            raise ValueError(
                f"{type(body).__name__} has an embedding with padding_idx, whose row gets no gradient; need one "
                "without. Clear it first: model.get_input_embeddings().padding_idx = None."
            )
        names = {id(parameter): name for name, parameter in body.named_parameters()}
        name_in, name_out = names[id(embedding.weight)], names[id(head.weight)]
        bias = getattr(head, "bias", None)
        is_own = name_out != name_in
        return cls(body, name_in, name_out if is_own else None, names.get(id(bias)), is_masked(body))

    def nats(self, batch: Batch, made: tuple[Tensor, Tensor | None, Tensor | None]) -> tuple[Tensor, int]:
        """Mean nats of a target and number of targets, with these rows, head rows and biases in place of its own."""
        rows_in, rows_out, bias = made
        rows = {self.input: rows_in}
        rows |= {} if self.head is None else {self.head: rows_out}
        rows |= {} if self.bias is None else {self.bias: bias}
        inputs: dict = {"input_ids": batch["input_ids"], "use_cache": False}
        if self.predicts_own:
            # Vectors, not ids: RoBERTa counts its positions by comparing ids with that of its padding.
            inputs = {"inputs_embeds": functional.embedding(batch["input_ids"], rows_in)}
        logits = torch.func.functional_call(self.body, rows, kwargs=inputs).logits
        labels = batch["labels"]
        if not self.predicts_own:
            labels = functional.pad(labels[:, 1:], (0, 1), value=NOT_LEARNED)
        total, n_targets = sum_nats(logits, labels)
        return total / max(1, n_targets), n_targets


def sampled_batches(
    network: Hypernetwork, lm: LM, sampler: TokenizerSampler, *, config: TrainingConfig
) -> Callable[[int], Batch]:
    """A function from step to batch; seed and step decide it, so a resumed run sees what it would have seen."""
    held: dict[int, tuple] = {}
    masks = is_masked(lm.model)

    def prepared(number: int) -> tuple:
        if number not in held:
            held.clear()
            vocab = sampler.sample(number)
            start, after = ends(lm, vocab) if masks else (_place(vocab, lm.vocab.literal(lm.start)), None)
            packs = pack(vocab.encode(sampler.pool(number)), length=config.length, bos=start, eos=after)
            surface, _ = surface_forms(lm.vocab, vocab.tokens, pieces=network.config.pieces)
            special = np.isin(np.arange(vocab.size), sorted(vocab.special_ids))
            parts = tuple(torch.from_numpy(a) for a in (surface, old_ids(lm.vocab, vocab), special))
            drawn = draw(packs, batch_size=config.batch, seed=config.seed + number)
            held[number] = (drawn, Masker.of(vocab) if masks else None, *parts)
        return held[number]

    def batch(number: int) -> Batch:
        drawn, masker, surface, old, special = prepared(number // config.steps_per_tokenizer)
        found = dict(drawn(number % config.steps_per_tokenizer))
        if masker:
            found = masker(found, np.random.default_rng([config.seed, 3, number]))
        kept = torch.arange(len(old))
        if config.negatives is not None:
            rng = np.random.default_rng([config.seed, 2, number])
            others = rng.choice(len(old), min(len(old), config.negatives), replace=False)
            labels = found["labels"]
            kept = torch.cat([found["input_ids"].flatten(), labels[labels >= 0], torch.from_numpy(others)]).unique()
            found["input_ids"] = torch.searchsorted(kept, found["input_ids"])
            found["labels"] = torch.where(labels < 0, labels, torch.searchsorted(kept, labels.clamp(min=0)))
        found |= {"surface": surface[kept], "old": old[kept], "special": special[kept]}
        return {key: value.to(lm.device) for key, value in found.items()}

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
