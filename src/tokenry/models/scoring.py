"""Negative log-likelihood of texts in batches: exact, padded safely, without holding a vocabulary-wide logits cube.

Axes: B sequences, T positions, N scored positions, D width, V vocabulary rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.core.intervals import Interval, ratio_change_interval, ratio_interval

LOGITS_AT_ONCE = 1 << 24
"""Logits held at one time when the head is applied in slices (float32: 64 MB)."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model says about documents, one entry a document.

    Attributes:
        nats: float64 (D,), negative log-likelihood.
        n_bytes: int64 (D,), UTF-8 bytes of the raw text.
        n_tokens: int64 (D,), tokens scored, the start token not counted.
    """

    nats: np.ndarray
    n_bytes: np.ndarray
    n_tokens: np.ndarray

    def bits_per_byte(self, *, seed: int = 0) -> Interval:
        """Bits per byte with a bootstrap interval over documents: the loss that compares across tokenizers."""
        return ratio_interval(self.nats / np.log(2), self.n_bytes, seed=seed, unit="bits/byte")

    def bytes_per_token(self, *, seed: int = 0) -> Interval:
        """Bytes per token with a bootstrap interval over documents."""
        return ratio_interval(self.n_bytes, self.n_tokens, seed=seed, unit="bytes/token")

    def change_from(self, other: "Scores", *, seed: int = 0) -> Interval:
        """Bits per byte here minus there, on the same documents (paired bootstrap): what to quote for "better"."""
        before, after = (other.nats / np.log(2), other.n_bytes), (self.nats / np.log(2), self.n_bytes)
        return ratio_change_interval(before, after, seed=seed, unit="bits/byte")

    def to_record(self) -> dict[str, list]:
        """Plain lists, for JSON."""
        return {"nats": self.nats.tolist(), "n_bytes": self.n_bytes.tolist(), "n_tokens": self.n_tokens.tolist()}

    @classmethod
    def from_record(cls, record: dict[str, list]) -> "Scores":
        """What `to_record` gave."""
        nats, n_bytes, n_tokens = record["nats"], record["n_bytes"], record["n_tokens"]
        return cls(np.asarray(nats, np.float64), np.asarray(n_bytes, np.int64), np.asarray(n_tokens, np.int64))


@dataclass(frozen=True, eq=False)
class Window:
    """One sequence for the model: `ids` (T,) of which the last `n_scored` are scored, for text `owner` from `place`."""

    ids: np.ndarray
    n_scored: int
    owner: int
    place: int


def windows(ids: np.ndarray, *, start: int, context: int, owner: int = 0, stride: int | None = None) -> list[Window]:
    """Cut a text into sequences of at most `context` positions, each opened by the start token.

    Every id is scored once. A text that fits is one window; in a longer one each window after the first scores `stride`
    new ids, so that each still sees at least context - stride before it; half a context when no stride is given.
    """
    if len(ids) == 0:
        return []
    head = np.array([start], dtype=np.int64)
    ids = ids.astype(np.int64)
    room = context - 1
    kept = room // 2 if stride is None else room - min(max(1, stride), room)
    found, done = [], 0
    while done < len(ids):
        begin = max(0, done - kept) if done else 0
        stop = min(len(ids), begin + room)
        found.append(Window(np.concatenate([head, ids[begin:stop]]), stop - done, owner, done))
        done = stop
    return found


def grouped(sizes: Sequence[int], batch_tokens: int) -> Iterator[np.ndarray]:
    """Indices of sequences in groups of similar length whose padded size stays within `batch_tokens`, longest first."""
    order = np.argsort(-np.asarray(sizes, dtype=np.int64), kind="stable")
    at = 0
    while at < len(order):
        rows = max(1, batch_tokens // int(sizes[order[at]]))
        yield order[at : at + rows]
        at += rows


def is_masked(model: nn.Module) -> bool:
    """Whether a model predicts masked tokens in place, by the library's own list (encoder-decoders left out)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as KNOWN

    known = {name for names in KNOWN.values() for name in ([names] if isinstance(names, str) else names)}
    return type(model).__name__ in known and not getattr(model.config, "is_encoder_decoder", False)


def check_causal(model: nn.Module) -> None:
    """Refuse a masked model by its class: training and scoring the next token would give numbers that mean nothing.

    Raises:
        ValueError: a class that fills gaps.
    """
    if is_masked(model):
        raise ValueError(
            f"{type(model).__name__} fills gaps and sees the text on both sides of them; need a causal model, which "
            "gives the next token, to score text or to train on it. The model can still be moved, saved and verified."
        )


def split_head(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """(backbone, head) with head(backbone(ids)) == logits, tried on a probe; None for models which do more than that.

    Raises:
        ValueError: if the model looks ahead: then its "likelihood" is none.
    """
    check_causal(model)
    device = model.get_input_embeddings().weight.device
    n_rows = model.get_input_embeddings().weight.shape[0]
    probe_BT = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]], device=device) % n_rows
    logits_BTV = model(input_ids=probe_BT, use_cache=False).logits.double()
    tolerance = 1e-3 if model.dtype in (torch.float32, torch.float64) else 3e-2
    scale = float(logits_BTV.abs().amax()) + 1e-6
    if (logits_BTV[0, :4] - logits_BTV[1, :4]).abs().amax() > tolerance * scale:
        raise ValueError(
            f"{type(model).__name__} looks at later tokens (its output changed with a token that follows); need a "
            "causal model. Load it as a decoder (is_decoder=True)."
        )
    backbone, head = model.base_model, model.get_output_embeddings()
    if backbone is model:
        return None
    hidden = getattr(backbone(input_ids=probe_BT, use_cache=False), "last_hidden_state", None)
    if hidden is None or hidden.shape[-1] != head.weight.shape[-1]:
        return None
    apart = (head(hidden).double() - logits_BTV).abs().amax()
    return (backbone, head) if apart <= 0.1 * tolerance * scale else None


def window_nats(model: nn.Module, parts: tuple | None, batch: Sequence[Window]) -> list[np.ndarray]:
    """Score one batch of windows: per window a float64 array of `n_scored` negative log-likelihoods in nats.

    Sequences are padded on the right: a causal model cannot see the padding, so positions need no shift.
    """
    device = model.get_input_embeddings().weight.device
    longest = max(len(window.ids) for window in batch)
    ids_BT = np.zeros((len(batch), longest), dtype=np.int64)
    mask_BT = np.zeros((len(batch), longest), dtype=np.int64)
    scored_BT = np.zeros((len(batch), longest - 1), dtype=bool)
    for row, window in enumerate(batch):
        size = len(window.ids)
        ids_BT[row, :size], mask_BT[row, :size] = window.ids, 1
        scored_BT[row, size - 1 - window.n_scored : size - 1] = True
    inputs = {"input_ids": torch.from_numpy(ids_BT).to(device), "use_cache": False}
    if not mask_BT.all():
        inputs["attention_mask"] = torch.from_numpy(mask_BT).to(device)
    chosen_BT = torch.from_numpy(scored_BT).to(device)
    targets_N = inputs["input_ids"][:, 1:][chosen_BT]
    if parts is None:
        logits_NV = model(**inputs).logits[:, :-1][chosen_BT]
        nats_N = _nats(lambda rows: logits_NV[rows], targets_N, logits_NV.shape[-1])
    else:
        backbone, head = parts
        hidden_ND = backbone(**inputs).last_hidden_state[:, :-1][chosen_BT]
        nats_N = _nats(lambda rows: head(hidden_ND[rows]), targets_N, head.weight.shape[0])
    return np.split(nats_N, np.cumsum([window.n_scored for window in batch])[:-1])


def _nats(logits_of: Callable[[slice], Tensor], targets_N: Tensor, n_rows: int) -> np.ndarray:
    """-log p of the targets, the logits made and reduced a slice at a time, in float32 or better."""
    step = max(1, LOGITS_AT_ONCE // n_rows)
    found = []
    for first in range(0, len(targets_N), step):
        logits = logits_of(slice(first, first + step))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        picked = logits.gather(1, targets_N[first : first + step, None])[:, 0]
        found.append((logits.logsumexp(dim=1) - picked).double())
    return torch.cat(found).cpu().numpy()


def text_nats(
    model: nn.Module,
    texts_ids: Sequence[np.ndarray],
    *,
    start: int,
    context: int,
    batch_tokens: int,
    stride: int | None = None,
    on_batch: Callable[[list[Window]], None] | None = None,
) -> list[np.ndarray]:
    """Negative log-likelihood of each id of each text after the start token.

    Args:
        texts_ids: ids of each text, without the start token; any order and length.
        start: the id in front of every text.
        context: most positions of a sequence, start token included; at least 2.
        batch_tokens: padded tokens in one forward pass (a longer sequence goes alone).
        stride: new ids in each window of a text that does not fit into one; None for half a context.
        on_batch: called with the windows of each finished batch.

    Returns:
        Per text a float64 array as long as its ids.
    """
    cut = {"start": start, "context": context, "stride": stride}
    plan = [window for owner, ids in enumerate(texts_ids) for window in windows(ids, owner=owner, **cut)]
    nats = [np.zeros(len(ids)) for ids in texts_ids]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = split_head(model)
            if parts is None:
                n_rows = model.get_output_embeddings().weight.shape[0]
                batch_tokens = max(1, min(batch_tokens, 8 * LOGITS_AT_ONCE // n_rows))
            for group in grouped([len(window.ids) for window in plan], batch_tokens):
                batch = [plan[index] for index in group]
                for window, values in zip(batch, window_nats(model, parts, batch), strict=True):
                    nats[window.owner][window.place : window.place + window.n_scored] = values
                if on_batch:
                    on_batch(batch)
    finally:
        model.train(was_training)
    return nats
