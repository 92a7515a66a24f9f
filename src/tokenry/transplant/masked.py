"""Masked models (BERT, RoBERTa): draw masks as they were trained with, and the loss of the tokens behind them.

Papers: BERT (arXiv 1810.04805), section 3.1; Zero-Shot Tokenizer Transfer (arXiv 2405.07883) trains its
hypernetwork for an encoder on this loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.core.vocab import Kind, Vocab
from tokenry.models.batches import NOT_LEARNED, Batch, draw, pack
from tokenry.models.lm import LM

# Axes: B sequences, T positions, N tokens, V rows.

SHARE, KEPT_AS_MASK, KEPT_AS_RANDOM = 0.15, 0.8, 0.1
"""Tokens that are predicted; of those, what share becomes the mask token and what share another token. The rest stays
as it is, so that the model cannot trust a token it sees."""


def open_model(source: str | Path, *, device: str | None = None) -> LM:
    """Open a causal or a masked model with its tokenizer; `scoring.is_masked(lm.model)` tells which.

    Raises:
        FileNotFoundError, ValueError: as for `LM.open`, or a masked model whose tokenizer has no mask token.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM

    from tokenry.models.files import auto_class
    from tokenry.models.opening import load_folder

    folder = Path(source)
    if not (folder / "config.json").is_file():
        return LM.open(source, device=device)
    try:
        auto = auto_class(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (ValueError, KeyError, OSError):
        auto = None  # `LM.open` says what is wrong with it
    if auto is not AutoModelForMaskedLM:
        return LM.open(source, device=device)
    lm = LM.open(load_folder(folder), device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
    lm.name = str(source)
    mask_id(lm.vocab)
    return lm


def mask_id(vocab: Vocab) -> int:
    """The id of the mask token.

    Raises:
        ValueError: there is none.
    """
    if "mask" not in vocab.specials:
        raise ValueError(
            f"{vocab.name or 'The tokenizer'} has no mask token, and a masked model is trained and scored behind one. "
            "Declare it: tokenizer.mask_token = '<mask>'."
        )
    return vocab.specials["mask"]


def ends(lm: LM, vocab: Vocab | None = None) -> tuple[int, int | None]:
    """What stands before and behind a text: `lm.start`, and the separator where the tokenizer has one.

    Args:
        vocab: give the ids of this vocabulary, which has the same special tokens.
    """
    found = [lm.start, lm.vocab.specials.get("sep")]
    if vocab is None:
        return tuple(found)
    place = {vocab.literal(i): i for i in vocab.special_ids}
    return tuple(None if i is None else place[lm.vocab.literal(i)] for i in found)


@dataclass(frozen=True, eq=False)
class Masker:
    """Draws masks over sequences of one vocabulary.

    Attributes:
        mask: id of the mask token.
        ordinary: int64 (N,), ids that a masked token may be replaced by.
        is_special: bool (V,); special tokens are never masked.
        share: of the tokens is predicted.
    """

    mask: int
    ordinary: np.ndarray
    is_special: np.ndarray
    share: float = SHARE

    @classmethod
    def of(cls, vocab: Vocab, *, share: float = SHARE) -> "Masker":
        """For a vocabulary. Raises ValueError without a mask token, or for a share outside 0..1."""
        if not 0 < share <= 1:
            raise ValueError(f"share={share} of masked tokens; need more than 0 and at most 1, 0.15 as a rule.")
        return cls(mask_id(vocab), np.flatnonzero(vocab.kinds < Kind.SPECIAL), vocab.kinds >= Kind.SPECIAL, share)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """A batch with masks in it; `labels` stand at the places that are predicted, of all others -100."""
        ids_BT = batch["input_ids"].cpu().numpy()
        may_BT = ~self.is_special[ids_BT] & (batch["labels"].cpu().numpy() != NOT_LEARNED)
        chance_BT, fate_BT = rng.random(ids_BT.shape), rng.random(ids_BT.shape)
        is_picked_BT = may_BT & (chance_BT < self.share)
        if may_BT.any() and not is_picked_BT.any():  # a small batch must teach something
            is_picked_BT.flat[np.argmin(np.where(may_BT, chance_BT, np.inf))] = True
        other_BT = self.ordinary[rng.integers(len(self.ordinary), size=ids_BT.shape)]
        seen_BT = np.where(is_picked_BT & (fate_BT < KEPT_AS_MASK), self.mask, ids_BT)
        is_other_BT = is_picked_BT & (fate_BT >= KEPT_AS_MASK) & (fate_BT < KEPT_AS_MASK + KEPT_AS_RANDOM)
        seen_BT = np.where(is_other_BT, other_BT, seen_BT)
        device = batch["input_ids"].device
        labels_BT = np.where(is_picked_BT, ids_BT, NOT_LEARNED)
        return batch | {
            "input_ids": torch.from_numpy(seen_BT).to(device),
            "labels": torch.from_numpy(labels_BT).to(device),
        }


def masked_batches(
    lm: LM, texts: list[str], *, length: int, batch: int, share: float = SHARE, seed: int = 0
) -> Callable[[int], Batch]:
    """Packed texts with new masks in every step, for `models.training.fit`; step and seed decide everything."""
    before, after = ends(lm)
    packs = pack(lm.vocab.encode(list(texts)), length=length, bos=before, eos=after)
    drawn, masker = draw(packs, batch_size=batch, seed=seed, device=lm.device), Masker.of(lm.vocab, share=share)
    return lambda step: masker(drawn(step), np.random.default_rng([seed, 3, step]))


def masked_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
    """Mean cross-entropy in nats of the masked tokens; a loss for `models.training.fit`."""
    logits_BTV = model(input_ids=batch["input_ids"]).logits
    total, n_targets = sum_nats(logits_BTV, batch["labels"])
    return total / max(1, n_targets), {"tokens": n_targets}


def sum_nats(logits_BTV: Tensor, labels_BT: Tensor) -> tuple[Tensor, int]:
    """Nats of the labelled tokens, each at its own place, and how many there are."""
    learned_BT = labels_BT != NOT_LEARNED
    logits_NV = logits_BTV[learned_BT]
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    total = functional.cross_entropy(logits_NV, labels_BT[learned_BT], reduction="sum")
    return total, len(logits_NV)
