"""Small masked-diffusion models: make a causal one look both ways, draw masks at random rates, and the loss of it.

`fit(model, masked_draw(packs, mask=...), diffusion_loss, ...)` trains one; what it saves opens as any causal folder.

Papers: LLaDA (arXiv 2502.09992), section 2.1 and equation 3; the even spread of rates over a batch follows Variational
Diffusion Models (arXiv 2107.00630), appendix I.1.
"""

# Axes: B sequences of a batch, T positions, V rows of the vocabulary.

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.core.vocab import Vocab
from tokenry.decoding.diffusion_cache import sees_later_tokens
from tokenry.models.batches import NOT_LEARNED, Batch, Packs, draw_rows, pack, tokenise
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit


def look_both_ways(model: nn.Module, *, mask: int) -> nn.Module:
    """Make a causal model of the library bidirectional, in place, and note its mask id in the configuration.

    `config.is_causal = False` is what the library builds its masks from; both notes are saved with the model.

    Raises:
        ValueError: the mask has no row in the embedding, or later tokens still do not reach earlier ones.
    """
    n_rows = model.get_input_embeddings().weight.shape[0]
    if not 0 <= mask < n_rows:
        raise ValueError(f"mask id {mask} for an embedding of {n_rows} rows; need a row of its own. Add one row.")
    model.config.is_causal = False
    model.config.mask_token_id = mask
    if not sees_later_tokens(model):
        raise ValueError(
            f"{type(model).__name__} does not look at later tokens although its configuration says so; need a model "
            "whose mask the library makes from config.is_causal (Llama, Qwen3, GPT-2)."
        )
    return model


def masked_draw(
    packs: Packs,
    *,
    mask: int,
    batch_size: int,
    shift: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Callable[[int], Batch]:
    """A function from step to batch: whole sequences, each with its own rate t of masks, t spread evenly over (0, 1].

    Only places that `packs.learned` marks are masked, so prompts stay as they are; padded sequences are left out.

    Args:
        packs: sequences of one length.
        mask: id that hides a token.
        batch_size: B.
        shift: labels stand one place before their token, as a model made from a causal one keeps them (Dream); the
            first place is then never hidden.
        seed: of order, rates and masks; a batch is fixed by seed and step.
        device: where the tensors go.

    Returns:
        Batches with `input_ids` and `labels` (B, T), labels NOT_LEARNED where nothing is hidden, `rates` (B,) and
        `n_places` (B,), the places that might have been.

    Raises:
        ValueError: without whole sequences, or batch_size under 1.
    """
    whole = np.flatnonzero((packs.documents >= 0).all(1) & packs.learned.any(1))
    rows_of = draw_rows(len(whole), batch_size=batch_size, seed=seed)

    def batch(step: int) -> Batch:
        rows = whole[rows_of(step)]
        ids_BT, open_BT = packs.ids[rows].astype(np.int64), packs.learned[rows].copy()
        open_BT[:, 0] &= not shift
        generator = np.random.default_rng([seed, step, 1])
        rates_B = 1 - (generator.random() + np.arange(batch_size) / batch_size) % 1
        hidden_BT = open_BT & (generator.random(ids_BT.shape) < rates_B[:, None])
        labels_BT = np.where(hidden_BT, ids_BT, NOT_LEARNED)
        found = {
            "input_ids": torch.from_numpy(np.where(hidden_BT, mask, ids_BT)),
            "labels": torch.from_numpy(np.roll(labels_BT, -1, axis=1) if shift else labels_BT),
            "rates": torch.from_numpy(rates_B),
            "n_places": torch.from_numpy(open_BT.sum(1)),
        }
        return {key: tensor.to(device, non_blocking=True) for key, tensor in found.items()}

    return batch


def diffusion_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
    """Cross-entropy of the hidden tokens, each weighted by 1 / t of its sequence, per place that might be hidden.

    Its mean over t is an upper bound of the negative log-likelihood in nats a token (equation 3 of LLaDA).

    Returns:
        (scalar, {"tokens": places, "masked_nats": plain mean over the hidden tokens}).
    """
    logits_BTV = model(input_ids=batch["input_ids"]).logits
    logits_BTV = logits_BTV.to(torch.promote_types(logits_BTV.dtype, torch.float32))
    labels_BT = batch["labels"]
    nats_BT = functional.cross_entropy(
        logits_BTV.transpose(1, 2), labels_BT, ignore_index=NOT_LEARNED, reduction="none"
    )
    n_places = int(batch["n_places"].sum())
    total = (nats_BT.sum(1) / batch["rates"].to(nats_BT.dtype)).sum()
    n_hidden = int((labels_BT != NOT_LEARNED).sum())
    plain = float(nats_BT.detach().sum()) / max(1, n_hidden)
    return total / max(1, n_places), {"tokens": n_places, "masked_nats": plain}


def tiny_diffusion(vocab: Vocab, **shape: object) -> LM:
    """`models.tiny.tiny_llama` that looks both ways; its mask is the vocabulary's, or one more row behind all ids."""
    mask = vocab.specials.get("mask", vocab.size)
    lm = tiny_llama(vocab, rows=max(vocab.size, mask + 1), **shape)
    look_both_ways(lm.model, mask=mask)
    return lm


def trained_diffusion(
    texts: Iterable[str],
    vocab: Vocab,
    *,
    steps: int = 300,
    length: int = 64,
    batch_size: int = 32,
    rate: float = 3e-3,
    seed: int = 0,
    **shape: object,
) -> LM:
    """`tiny_diffusion` trained on texts laid end to end; arguments as for `models.tiny.trained_tiny`."""
    lm = tiny_diffusion(vocab, seed=seed, **shape)
    packs = pack(tokenise(vocab, texts), length=length, bos=lm.bos, eos=vocab.specials.get("eos"))
    drawn = masked_draw(packs, mask=lm.model.config.mask_token_id, batch_size=batch_size, seed=seed)
    config = FitConfig(rate=rate, warmup=max(1, steps // 10), seed=seed)
    fit(lm.model, drawn, diffusion_loss, steps=steps, config=config, label="masked diffusion")
    return lm
