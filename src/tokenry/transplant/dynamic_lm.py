"""Run stock models on merged batches: classify texts and tokens, score and continue prompts, with fewer positions.

Whatever the model predicts stays in its ordinary vocabulary; only what it reads is merged. A prompt is merged by
itself: merges decided with the continuation in sight would tell the model where its words end.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), sections 3 and 4.
"""

import inspect
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.models.batches import NOT_LEARNED
from tokenry.models.lm import LM
from tokenry.models.scoring import LOGITS_AT_ONCE, Scores, split_head
from tokenry.transplant.dynamic_merges import MergedBatch, merge_segmented
from tokenry.transplant.dynamic_rows import PieceRows, padded
from tokenry.transplant.dynamic_segments import Segmented, segment

# Axes: B texts, T pieces, N scored tokens, D width, V vocabulary.


def model_inputs(batch: MergedBatch, rows: PieceRows, *, left: bool = False) -> dict[str, Tensor]:
    """What a stock transformers model takes for a merged batch.

    Args:
        batch: the merged batch.
        rows: embeds its pieces.
        left: pad on the left, as decoders want it that go on writing.

    Returns:
        `inputs_embeds`, `attention_mask`, and, where the model takes them and they say anything, `token_type_ids` and
        `position_ids`.
    """
    inputs = _embedded(batch.pieces, batch.new, rows, left=left)
    types = [batch.types_of(row) for row in range(len(batch.pieces))]
    if any(row.any() for row in types) and "token_type_ids" in inspect.signature(rows.model.forward).parameters:
        inputs["token_type_ids"] = padded(types, left=left)[0].to(inputs["attention_mask"].device)
    return inputs


def _embedded(pieces: Sequence[np.ndarray], new: Sequence[bytes], rows: PieceRows, *, left: bool) -> dict[str, Tensor]:
    device = rows.model.get_input_embeddings().weight.device
    pieces_BT, mask_BT = (matrix.to(device) for matrix in padded(pieces, left=left))
    inputs = {"inputs_embeds": rows.embed(pieces_BT, new), "attention_mask": mask_BT}
    if left and "position_ids" in inspect.signature(rows.model.forward).parameters:
        inputs["position_ids"] = (mask_BT.cumsum(1) - 1).clamp(min=0)
    return inputs


def run_model(batch: MergedBatch, rows: PieceRows, *, left: bool = False, **options: object) -> object:
    """The output of a stock model on a merged batch; `options` (labels, output_hidden_states) go to its forward."""
    return rows.model(**model_inputs(batch, rows, left=left), **options)


def piece_labels(batch: MergedBatch, labels: Sequence[Sequence[int]]) -> Tensor:
    """Labels (B, T) for token classification: each word's label at its first piece, NOT_LEARNED (-100) elsewhere.

    Args:
        batch: merged from `segment_words`, so that no piece holds two words.
        labels: one a word, for each sentence.

    Raises:
        ValueError: another number of labels than words.
    """
    out = []
    for row, own in enumerate(labels):
        words = batch.source.words[row][batch.spans[row][:-1]]
        is_first = (words >= 0) & (words != np.append(-2, words[:-1])[: len(words)])
        if is_first.sum() != len(own):
            raise ValueError(
                f"sentence {row} has {int(is_first.sum())} words and {len(own)} labels; need one label a word. "
                "Give words to segment_words, not a text to segment."
            )
        found = np.full(len(words), NOT_LEARNED, np.int64)
        found[is_first] = own
        out.append(found)
    return padded(out, fill=NOT_LEARNED)[0]


def truncated(batch: MergedBatch) -> MergedBatch:
    """The control: texts cut to their length after merging; the beginning is lost, a leading special token kept."""
    kept = []
    for ids, words, pieces in zip(batch.source.ids, batch.source.words, batch.pieces, strict=True):
        head = int(len(ids) > 0 and words[0] < 0)
        tail = len(pieces) - head
        kept.append(np.concatenate([np.arange(head), np.arange(len(ids) - tail, len(ids))]))
    parts = (batch.source.ids, batch.source.breaks, batch.source.types, batch.source.words)
    source = Segmented(*([row[k] for row, k in zip(part, kept, strict=True)] for part in parts))
    spans = [np.arange(len(ids) + 1) for ids in source.ids]
    return MergedBatch(source.ids, spans, source, (), batch.n_base, (), (), batch.n_words)


@dataclass(frozen=True, eq=False)
class Continued:
    """Continuations scored after prompts.

    Attributes:
        scores: nats, bytes and ordinary tokens of each continuation.
        choices: the likeliest ordinary token at each position of each continuation.
        n_before, n_after: tokens of each prompt before and after merging.
        n_words: floor of the prompts, summed over batches.
        merges: number of merges of each batch.
        seconds: "merging", "rows" and "model", on the clock.
        hit_rate: of the row cache during this run; NaN where nothing was looked up.
    """

    scores: Scores
    choices: list[np.ndarray]
    n_before: np.ndarray
    n_after: np.ndarray
    n_words: int
    merges: list[int]
    seconds: dict[str, float]
    hit_rate: float

    @property
    def reduction(self) -> float:
        """Share of the way to one piece per pre-token."""
        room = self.n_before.sum() - self.n_words
        return float((self.n_before.sum() - self.n_after.sum()) / room) if room else 1.0


def score_continuations(
    lm: LM,
    pairs: Sequence[tuple[str, str]],
    *,
    rows: PieceRows | None = None,
    reduction: float | None = 0.0,
    boundary: str = "pretokens",
    batch_size: int = 16,
    control: str | None = None,
    seed: int = 0,
    merges: Iterable[tuple[bytes, bytes]] | None = None,
) -> Continued:
    """Score continuations in the ordinary vocabulary after prompts that were merged.

    Args:
        lm: a decoder.
        pairs: (prompt, continuation); best cut at white space, which stays with the continuation.
        rows: embeds new pieces; None means the mean of their tokens.
        reduction: of each batch; 0 is the ordinary model, None merges all that may be merged.
        boundary: see `segment`.
        batch_size: prompts that are merged together, in order. The outcome depends on it.
        control: "truncated" cuts the prompts to the length merging would give; "random" merges random pairs instead
            of the most frequent, to the same reduction.
        seed: of "random".
        merges: a fixed list to repeat instead of counting each batch; `reduction` is then left aside.

    Raises:
        ValueError: an unknown control, an empty continuation, or more positions than the model has.
    """
    if control not in (None, "truncated", "random"):
        raise ValueError(f"control {control!r} is not known; need 'truncated' or 'random'. Leave it out for none.")
    rows = rows or PieceRows(lm.model, lm.vocab)
    rng = np.random.default_rng(seed) if control == "random" else None
    fixed = None if merges is None else list(merges)
    target = {"merges": fixed} if fixed is not None else {"reduction": reduction, "rng": rng}
    out = _Collected(rows)
    was_training = lm.model.training
    lm.model.eval()
    try:
        with torch.inference_mode():
            parts = split_head(lm.model)
            for start in range(0, len(pairs), batch_size):
                chunk = pairs[start : start + batch_size]
                began = time.perf_counter()
                source = segment(lm.vocab, [p for p, _ in chunk], boundary=boundary, specials=False, first=lm.start)
                batch = merge_segmented(lm.vocab, source, boundary=boundary, **target)
                out.add(batch, continuation_ids(lm, [tail for _, tail in chunk]), time.perf_counter() - began)
                out.run(parts, truncated(batch) if control == "truncated" else batch, context=lm.context)
    finally:
        lm.model.train(was_training)
    return out.result(pairs)


def continue_prompt(
    lm: LM,
    prompt: str,
    *,
    max_new_tokens: int,
    rows: PieceRows | None = None,
    reduction: float | None = 1.0,
    boundary: str = "pretokens",
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """Continue a prompt that is read merged; returns the continuation, written in the ordinary vocabulary.

    Args:
        lm: a decoder.
        prompt: its text.
        max_new_tokens: most tokens to add.
        rows, reduction, boundary: as for `score_continuations`.
        temperature: 0 takes the likeliest token.
        seed: of the sampling.
    """
    if max_new_tokens < 1 or temperature < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens}, temperature={temperature}; need at least 1, and 0 or more.")
    from transformers import GenerationConfig

    from tokenry.models.opening import quiet_library

    rows = rows or PieceRows(lm.model, lm.vocab)
    first = lm.bos if prompt else lm.start
    source = segment(lm.vocab, [prompt], boundary=boundary, specials=False, first=first)
    batch = merge_segmented(lm.vocab, source, boundary=boundary, reduction=reduction)
    eos = lm.vocab.specials.get("eos")
    settings = {"do_sample": temperature > 0, "max_new_tokens": max_new_tokens, "eos_token_id": eos}
    settings |= {"temperature": temperature, "top_k": 0} if temperature > 0 else {}
    n_rows = lm.model.get_output_embeddings().weight.shape[0]
    if n_rows > lm.vocab.size:
        settings["suppress_tokens"] = list(range(lm.vocab.size, n_rows))
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), quiet_library(), torch.inference_mode():
        torch.manual_seed(seed)
        inputs = model_inputs(batch, rows, left=True)
        inputs.pop("position_ids", None)  # one row without padding: the library counts positions itself
        ids_BT = lm.model.generate(**inputs, generation_config=GenerationConfig(pad_token_id=eos, **settings))
    return lm.tokenizer.decode(ids_BT[0].tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def continuation_ids(lm: LM, continuations: Sequence[str]) -> list[np.ndarray]:
    """Ordinary ids of what follows the prompts. A tokenizer that adds a space of its own gets them without their first.

    Raises:
        ValueError: an empty continuation.
    """
    texts = [tail[1:] if lm.adds_space and tail.startswith(" ") and len(tail) > 1 else tail for tail in continuations]
    found = [ids.astype(np.int64) for ids in lm.vocab.encode(texts)]
    if not all(map(len, found)):
        raise ValueError("a continuation is empty; need text to score after every prompt. Leave those pairs out.")
    return found


def prefill_inputs(
    batch: MergedBatch, tails: Sequence[np.ndarray], rows: PieceRows, *, context: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Merged prompts with their unmerged continuations behind them, padded on the left.

    Args:
        batch: the merged prompts.
        tails: ordinary ids of each continuation; see `continuation_ids`.
        rows: embeds the pieces.
        context: positions the model has.

    Returns:
        What the model takes; a mask (B, T) of the positions that predict a token of a continuation; those tokens (N,).

    Raises:
        ValueError: more positions than the model has.
    """
    whole = [np.concatenate([pieces, tail]) for pieces, tail in zip(batch.pieces, tails, strict=True)]
    longest = max(map(len, whole))
    if longest > context:
        raise ValueError(
            f"prompt and continuation take {longest} positions and the model has {context}. Give shorter prompts."
        )
    inputs = _embedded(whole, batch.new, rows, left=True)
    scored_BT = torch.zeros_like(inputs["attention_mask"], dtype=torch.bool)
    for row, tail in enumerate(tails):
        scored_BT[row, longest - len(tail) - 1 : longest - 1] = True
    return inputs, scored_BT, torch.from_numpy(np.concatenate(tails)).to(scored_BT.device)


class _Collected:
    """What `score_continuations` gathers batch by batch."""

    def __init__(self, rows: PieceRows) -> None:
        self.rows, self.cache = rows, rows.cache
        self.before = self.cache.hits, self.cache.misses, self.cache.seconds
        self.nats, self.choices, self.sizes = [], [], []
        self.n_before, self.n_after, self.merges, self.n_words = [], [], [], 0
        self.seconds = {"merging": 0.0, "rows": 0.0, "model": 0.0}

    def add(self, batch: MergedBatch, tails: list[np.ndarray], seconds: float) -> None:
        self.tails = tails
        self.n_before += [len(ids) for ids in batch.source.ids]
        self.n_after += [len(pieces) for pieces in batch.pieces]
        self.merges.append(len(batch.merges))
        self.n_words += batch.n_words
        self.seconds["merging"] += seconds

    def run(self, parts: tuple | None, batch: MergedBatch, *, context: int) -> None:
        """One forward pass over prompts and continuations, padded on the left."""
        began, made = time.perf_counter(), self.cache.seconds
        inputs, scored_BT, targets_N = prefill_inputs(batch, self.tails, self.rows, context=context)
        nats_N, choices_N = _read(self.rows.model, parts, inputs, (scored_BT, targets_N))
        cuts = np.cumsum([len(tail) for tail in self.tails])[:-1]
        self.nats += [float(part.sum()) for part in np.split(nats_N, cuts)]
        self.choices += np.split(choices_N, cuts)
        self.sizes += [len(tail) for tail in self.tails]
        self.seconds["model"] += time.perf_counter() - began - (self.cache.seconds - made)

    def result(self, pairs: Sequence[tuple[str, str]]) -> Continued:
        hits, misses, seconds = self.before
        looked = self.cache.hits + self.cache.misses - hits - misses
        self.seconds["rows"] = self.cache.seconds - seconds
        n_bytes = np.array([len(tail.encode()) for _, tail in pairs], np.int64)
        scores = Scores(np.array(self.nats), n_bytes, np.array(self.sizes, np.int64))
        return Continued(
            scores, self.choices, np.array(self.n_before), np.array(self.n_after), self.n_words, self.merges,
            self.seconds, (self.cache.hits - hits) / looked if looked else float("nan"),
        )  # fmt: skip


def _read(
    model: nn.Module, parts: tuple | None, inputs: dict[str, Tensor], wanted: tuple[Tensor, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """-log p of the targets and the likeliest ids, at the chosen positions."""
    chosen_BT, targets_N = wanted
    if parts is None:
        rows_ND, head = model(**inputs, use_cache=False).logits[chosen_BT], lambda logits: logits
        n_rows = rows_ND.shape[-1]
    else:
        backbone, head = parts
        rows_ND = backbone(**inputs, use_cache=False).last_hidden_state[chosen_BT]
        n_rows = head.weight.shape[0]
    step = max(1, LOGITS_AT_ONCE // n_rows)
    nats, choices = [], []
    for first in range(0, len(targets_N), step):
        logits = head(rows_ND[first : first + step])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        picked = logits.gather(1, targets_N[first : first + step, None])[:, 0]
        nats.append((logits.logsumexp(dim=1) - picked).double())
        choices.append(logits.argmax(dim=1))
    return torch.cat(nats).cpu().numpy(), torch.cat(choices).cpu().numpy()
