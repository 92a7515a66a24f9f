"""Generate text with a large vocabulary: exact logits for the nearest candidates, then the usual ways of choosing.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 4.
"""

import inspect
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from tokenry.models.lm import LM
from tokenry.models.scoring import split_head
from tokenry.transplant.dynamic_head import LargeVocabulary


@dataclass(frozen=True)
class Choosing:
    """How the next token is taken from the candidates.

    Attributes:
        candidates: how many get exact logits.
        temperature: 0 takes the best; else the logits are divided by it.
        top_k: keep the best so many; 0 keeps all candidates.
        min_p: drop what has less than this share of the best one's probability.
        repetition_penalty: divides positive and multiplies negative logits of tokens already there, only of those.
        eos_bias: added to the logit of the end token, which is always a candidate.
    """

    candidates: int = 20
    temperature: float = 1.0
    top_k: int = 10
    min_p: float = 0.1
    repetition_penalty: float = 1.1
    eos_bias: float = 0.0

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.temperature < 0 or not 0 <= self.min_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                f"{self}; need candidates >= 1, temperature >= 0, min_p in 0..1 and a repetition penalty above 0."
            )


def choose(
    ids_K: np.ndarray, logits_K: np.ndarray, *, seen: Collection[int], how: Choosing, rng: np.random.Generator
) -> int:
    """One of the candidates.

    Args:
        ids_K, logits_K: candidates with their logits (eos bias included); ids below 0 are left out.
        seen: tokens of the text so far.
        how: the settings.
        rng: for sampling.
    """
    keep = ids_K >= 0
    ids_K, logits_K = ids_K[keep], logits_K[keep].astype(np.float64)
    was_seen = np.fromiter((int(i) in seen for i in ids_K), bool, len(ids_K))
    penalised = np.where(logits_K > 0, logits_K / how.repetition_penalty, logits_K * how.repetition_penalty)
    logits_K = np.where(was_seen, penalised, logits_K)
    if how.temperature == 0:
        return int(ids_K[np.argmax(logits_K)])
    logits_K = logits_K / how.temperature
    order = np.argsort(-logits_K, kind="stable")[: how.top_k or None]
    ids_K, weights_K = ids_K[order], np.exp(logits_K[order] - logits_K[order[0]])
    weights_K = np.where(weights_K >= how.min_p, weights_K, 0.0)
    return int(rng.choice(ids_K, p=weights_K / weights_K.sum()))


def write(
    lm: LM, large: LargeVocabulary, prompt: str, *, max_new_tokens: int, how: Choosing | None = None, seed: int = 0
) -> tuple[str, list[int]]:
    """Continue a prompt in the large vocabulary, with a key-value cache.

    Args:
        lm: the decoder; its own embedding and head are not used.
        large: vocabulary and rows.
        prompt: its text.
        max_new_tokens: most tokens to add; the end token ends earlier.
        how: the settings; the default is the paper's.
        seed: of the sampling.

    Returns:
        (continuation, its ids in the large vocabulary).

    Raises:
        ValueError: a model that does more between body and head than the head.
    """
    how, rng = how or Choosing(), np.random.default_rng(seed)
    eos = lm.vocab.specials.get("eos")
    ids = large.prefix.encode(prompt)
    ids = ids if ids and lm.bos is None else [lm.start, *ids]
    new: list[int] = []
    with torch.inference_mode():
        parts = split_head(lm.model)
        if parts is None:
            raise ValueError(
                f"{lm.name} changes its logits behind the head (soft caps, scales), which a search for rows cannot "
                "follow. Take a model whose logits are head(hidden)."
            )
        cache, step = None, large.rows_in[ids]
        # transformers 5.2x renamed the argument; the old name goes away with 5.40.
        takes = inspect.signature(parts[0].forward).parameters
        keyword = "cache" if "cache" in takes else "past_key_values"
        while len(new) < max_new_tokens:
            inputs = step[None].to(lm.device, lm.model.dtype)
            out = parts[0](inputs_embeds=inputs, **{keyword: cache}, use_cache=True)
            cache, hidden_1D = out.past_key_values, out.last_hidden_state[0, -1:].float().cpu().numpy()
            found, logits = large.neighbours.search(hidden_1D, k=min(how.candidates, len(large.neighbours)))
            taken = choose(*_with_end(large, hidden_1D[0], (found[0], logits[0]), eos, how), seen={*ids, *new}, how=how,
                           rng=rng)  # fmt: skip
            if taken == eos:
                break
            new.append(taken)
            step = large.rows_in[[taken]]
    return large.prefix.decode(new), new


def _with_end(
    large: LargeVocabulary, hidden_D: np.ndarray, found: tuple[np.ndarray, np.ndarray], eos: int | None, how: Choosing
) -> tuple[np.ndarray, np.ndarray]:
    """The candidates with the end token among them, its bias added."""
    ids_K, logits_K = found
    if eos is None:
        return ids_K, logits_K
    rest = ids_K != eos
    bias = 0.0 if large.neighbours.bias_N is None else large.neighbours.bias_N[eos]
    own = float(large.neighbours.rows_ND[eos] @ hidden_D + bias) + how.eos_bias
    return np.append(ids_K[rest], eos), np.append(logits_K[rest], own)
