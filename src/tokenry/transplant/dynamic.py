"""Dynamic tokenization: choose token boundaries per batch at run time, so that a model that stays as it is reads less.

    batch = merge_batch(vocab, texts, reduction=0.5)      # half of the way to one token per word
    report = profile("my-model", "pages.jsonl")           # what each level of reduction costs in bits per byte

What merging a batch does to one text depends on the other texts in it. For scores that can be repeated learn a list of
merges once (`learn_merges`) and repeat it, or merge each text by itself.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tokenry.core.vocab import Vocab
from tokenry.transplant.dynamic_merges import Merge, MergedBatch, merge_segmented
from tokenry.transplant.dynamic_segments import segment

if TYPE_CHECKING:
    from tokenry.core.report import Report
    from tokenry.transplant.dynamic_rows import MakeRows

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def merge_batch(
    vocab: Vocab,
    texts: Sequence[str | tuple[str, str]],
    *,
    reduction: float | None = None,
    max_merges: int | None = None,
    boundary: str = "pretokens",
    min_count: int = 1,
    merges: Iterable[Merge] | None = None,
    specials: bool = True,
    rng: np.random.Generator | None = None,
) -> MergedBatch:
    """Cut texts with a model's own tokenizer and join the most frequent neighbours of the batch.

    Args:
        vocab: the model's tokenizer, of any family.
        texts: texts, or pairs of them.
        reduction: stop at this share of the way to one token per pre-token (or word, or sentence; see `boundary`).
        max_merges: stop after so many merges. Without either everything that may be joined is.
        boundary: "pretokens", "word", "word_hyphen" or "sentence"; see `dynamic_segments.segment`.
        min_count: leave pairs alone that occur less often.
        merges: repeat these instead of counting; see `learn_merges`.
        specials: add the tokenizer's special tokens; they are never joined.
        rng: random pairs in place of the most frequent ones: the control.

    Returns:
        MergedBatch: pieces, the span of base tokens of each, and the merges made.

    Raises:
        ValueError: an unknown boundary or an impossible target.

    Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 3.1.
    """
    source = segment(vocab, texts, boundary=boundary, specials=specials)
    target = {"reduction": reduction, "max_merges": max_merges, "min_count": min_count, "merges": merges, "rng": rng}
    return merge_segmented(vocab, source, boundary=boundary, **target)


def learn_merges(
    vocab: Vocab, texts: Sequence[str], *, max_merges: int, boundary: str = "pretokens", min_count: int = 2
) -> tuple[Merge, ...]:
    """A fixed list of merges from a calibration text: give it to `merge_batch(merges=...)` and batches do not matter.

    Args:
        vocab: the model's tokenizer.
        texts: the calibration text.
        max_merges: most merges to learn.
        boundary: as for `merge_batch`; use the same there.
        min_count: a pair must occur so often.
    """
    options = {"boundary": boundary, "min_count": min_count, "specials": False}
    return merge_batch(vocab, texts, max_merges=max_merges, **options).merges


def draw_reduction(
    rng: np.random.Generator, *, kind: str = "uniform", mean: float = 0.5, spread: float = 0.25
) -> float:
    """A level of reduction for one training batch, so that one fine-tuning serves all levels.

    Args:
        rng: the generator.
        kind: "uniform" over 0..1, or "gaussian", clipped to 0..1.
        mean, spread: of "gaussian".

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "uniform":
        return float(rng.uniform())
    if kind == "gaussian":
        return float(np.clip(rng.normal(mean, spread), 0.0, 1.0))
    raise ValueError(f"kind {kind!r} is not known; need 'uniform' or 'gaussian'.")


def profile(
    model: object,
    data: object,
    *,
    reductions: Sequence[float] = LEVELS,
    rows: "str | MakeRows" = "pieces",
    hypernet: str | None = None,
    boundary: str = "pretokens",
    batch_size: int = 16,
    prompt_bytes: int = 512,
    limit: int | None = 200,
    seed: int = 0,
) -> "Report":
    """What merging the prompts of a decoder saves and costs, by level of reduction, beside two controls.

    Each document gives a prompt and what follows it. The prompt is merged; what follows is predicted in the model's
    ordinary tokens, so that its bits per byte compare at every level. The controls have as many positions: the prompt
    cut to the same length, and random merges.

    Args:
        model: what `tokenry.load` takes.
        data: what `core.tables.stream` takes; documents shorter than a prompt are cut in the middle.
        reductions: levels to measure, each from 0 to 1; 0 is always measured.
        rows: "pieces" (mean of the rows of the tokens), "hypernet", a maker (`dynamic_rows.MakeRows`), or the name
            "package.module:function" (or "file.py:function") of a function of (model, vocab) that gives a maker.
        hypernet: folder of the trained network, for "hypernet".
        boundary: see `merge_batch`.
        batch_size: prompts merged together.
        prompt_bytes: longest prompt; the continuation is half as long.
        limit: most documents.
        seed: of the random control and the bootstrap.

    Raises:
        ValueError: no usable document, a level outside 0..1, or rows that are not known.
    """
    from itertools import islice

    from tokenry.core.choosing import resolve
    from tokenry.core.tables import texts
    from tokenry.models.lm import LM
    from tokenry.transplant.dynamic_report import profile_report
    from tokenry.transplant.dynamic_rows import PieceRows

    levels = sorted({0.0, *(float(r) for r in reductions)})
    if levels[0] < 0 or levels[-1] > 1:
        raise ValueError(f"reductions={list(reductions)}; need shares from 0 (no merge) to 1 (whole words).")
    lm = LM.open(model)
    if (rows == "hypernet") != (hypernet is not None):
        raise ValueError(f"rows={rows!r} and hypernet={hypernet!r}; need rows='hypernet' with the folder of a network.")
    if rows == "hypernet":
        from tokenry.transplant.hypernet import Hypernetwork, piece_rows

        rows = piece_rows(Hypernetwork.load(hypernet, vocab=lm.vocab), lm.vocab)
    elif isinstance(rows, str) and rows != "pieces":
        rows = resolve(rows, {}, kind="maker of rows")(lm.model, lm.vocab)
    pairs = prompt_pairs(islice(texts(data, limit=limit), limit), prompt_bytes)
    setting = {"boundary": boundary, "batch_size": batch_size, "seed": seed}
    return profile_report(lm, pairs, PieceRows(lm.model, lm.vocab, rows), levels=levels, setting=setting)


def prompt_pairs(documents: Iterable[str], prompt_bytes: int) -> list[tuple[str, str]]:
    """(prompt, continuation) from the head of each document, cut at white space, which the continuation keeps.

    The prompt has at most `prompt_bytes` bytes and two thirds of what is used of the document.

    Raises:
        ValueError: no document has two words, or prompts below 8 bytes are asked for.
    """
    from tokenry.core.splitting import segments

    if prompt_bytes < 8:
        raise ValueError(f"prompt_bytes={prompt_bytes}; need at least 8 to hold a word. Take 512.")
    pairs = []
    for document in documents:
        document = document.strip()
        if not document:
            continue
        whole = segments(document, prompt_bytes + prompt_bytes // 2)[0]
        room = min(prompt_bytes, max(4, len(whole.encode()) * 2 // 3))
        prompt = segments(whole, room)[0]
        cut = len(prompt.rstrip())
        tail = whole[cut:].rstrip()
        if prompt.strip() and tail.strip():
            pairs.append((whole[:cut], tail))
    if not pairs:
        raise ValueError("no document is long enough for a prompt and what follows it. Give longer documents.")
    return pairs


def distinct_new(batch: MergedBatch) -> Counter[bytes]:
    """The pieces of a batch that the vocabulary does not have, with how often each stands there."""
    numbers = np.concatenate(batch.pieces) if batch.pieces else np.zeros(0, np.int64)
    found, counts = np.unique(numbers[numbers >= batch.n_base] - batch.n_base, return_counts=True)
    return Counter({batch.new[i]: n for i, n in zip(found.tolist(), counts.tolist(), strict=True)})
