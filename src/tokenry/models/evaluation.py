"""Score or sample a model from a name or folder, as a Report."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tokenry.core.intervals import Interval
from tokenry.core.report import Report
from tokenry.models.lm import LM


def evaluate(
    model: object,
    source: object,
    *,
    segment_bytes: int = 1024,
    device: str | None = None,
    dtype: str | None = None,
    reading: dict | None = None,
    score: Callable | None = None,
) -> Report:
    """Bits per byte of a model on documents, by source where there are several.

    Args:
        model: what `LM.open` takes.
        source: what `core.tables.stream` takes.
        segment_bytes: documents are cut into segments of this many bytes, each scored on its own after BOS; keep it
            equal when you compare models.
        device, dtype: as for `LM.open`.
        reading: `text`, `limit`, `skip_bad` of the reader.
        score: what scores in place of `LM.score`: (lm, texts, max_bytes=, progress=) -> Scores, as
            `decoding.bytes_scoring.byte_scores` does over all ways to write a text.

    Returns:
        Report of kind "model-evaluate": facts bits_per_byte, bytes_per_token (Intervals over documents), n_documents,
        n_bytes, n_tokens; a table by source.
    """
    import pyarrow as pa

    from tokenry.core.runs import Progress
    from tokenry.core.tables import read
    from tokenry.models.scoring import Scores

    table = read(source, **(reading or {}))
    texts, origins = [], []
    for text, origin in zip(table.column("text").to_pylist(), table.column("source").to_pylist(), strict=True):
        if text:
            texts.append(text)
            origins.append(origin or "")
    if not texts:
        raise ValueError(f"{source}: no document with text in it; need at least one. Look at the text column's name.")
    lm = LM.open(model, device=device, dtype=dtype)
    with Progress("scoring", total=sum(len(t.encode()) for t in texts), unit="bytes") as progress:
        scores = (score or LM.score)(lm, texts, max_bytes=segment_bytes, progress=progress)
    report = Report(kind="model-evaluate", title=f"{lm.name} on {len(texts):,} documents", facts=_facts(scores))
    names = sorted(set(origins))
    if len(names) > 1:
        rows = []
        for name in names:
            own = np.array([origin == name for origin in origins])
            part = Scores(scores.nats[own], scores.n_bytes[own], scores.n_tokens[own])
            bits = part.bits_per_byte()
            rows.append((name, int(own.sum()), bits.value, bits.low, bits.high, part.bytes_per_token().value))
        columns = ("source", "documents", "bits per byte", "low", "high", "bytes per token")
        report.tables["by source"] = pa.table({c: [row[i] for row in rows] for i, c in enumerate(columns)})
    report.facts["segment_bytes"] = segment_bytes
    return report


def _facts(scores: object) -> dict:
    return {
        "bits_per_byte": scores.bits_per_byte(),
        "bytes_per_token": scores.bytes_per_token(),
        "n_documents": len(scores.nats),
        "n_bytes": int(scores.n_bytes.sum()),
        "n_tokens": int(scores.n_tokens.sum()),
    }


def sample(
    model: str | Path | LM,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
) -> Report:
    """A continuation of `prompt` as a Report with the fact `text`."""
    lm = LM.open(model, device=device, dtype=dtype)
    text = lm.generate(prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    facts = {"prompt": prompt, "text": text, "seed": seed, "temperature": temperature}
    return Report(kind="model-sample", title=f"{lm.name} continues a text", facts=facts)


def last_word_accuracy(lm: LM, passages: list[str]) -> Interval:
    """Share of passages whose last word the model would write greedily (the LAMBADA task).

    A passage counts when every token of its last word, with the space before it, is the likeliest one; the end of the
    word is not asked for. Comparable across tokenizers, because it asks for the same word.

    Args:
        passages: texts of at least two words.

    Returns:
        Wilson interval over passages.

    Paper: The LAMBADA dataset (arXiv 1606.06031).
    """
    import torch

    from tokenry.core.intervals import wilson_interval

    right = 0
    for passage in passages:
        context, _, word = passage.rstrip().rpartition(" ")
        start = np.array([lm.start], dtype=np.int64)
        head = np.concatenate([start, lm.vocab.encode([context])[0].astype(np.int64)])
        # Cut at the space: a token never spans context and answer, for any tokenizer.
        tail = np.asarray(lm.vocab.decompose(f" {word}".encode()), dtype=np.int64)
        ids = torch.from_numpy(np.concatenate([head, tail])[-lm.context :])[None].to(lm.device)
        with torch.inference_mode():
            logits_TV = lm.model(input_ids=ids, use_cache=False).logits[0, -len(tail) - 1 : -1]
        right += bool((logits_TV.argmax(-1).cpu().numpy() == tail).all())
    return wilson_interval(right, len(passages))
