"""How predictable documents are to models: bits per byte of n-grams or of any language model, and differences of two.

What is measured stands in columns; whether the low, the middle or the high part is good is decided later, on the bits
or on the rank among the documents of the same source (`*.rank`, 0 for the most predictable; `*.part` head, middle,
tail).

Papers: CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data (arXiv 1911.00359) for the thirds;
Intelligent Selection of Language Model Training Data (Moore and Lewis, 2010) for the difference of two models;
Prioritized Training on Points that are Learnable, Worth Learning, and Not Yet Learnt (arXiv 2206.07137) for the excess
loss; When Less is More: Investigating Data Pruning for Pretraining LLMs at Scale (arXiv 2309.04564) for the middle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.corpora.families import FLOAT
from tokenry.corpora.ngram_lm import ByteNgrams

__all__ = ["PARTS", "error_norm", "open_models", "open_ngrams", "ranks_within", "signals"]

# Axes: D documents, C classes.

PARTS = ("head", "middle", "tail")
PIECE_BYTES = 1024
"""A language model reads a document in pieces of so many bytes, whatever its tokenizer."""


def signals(
    batch: pa.RecordBatch, models: Mapping[str, object], *, difference: tuple[str, str, str] | None = None
) -> pa.RecordBatch:
    """Bits per byte of each document under each model, null for one without text.

    Args:
        batch: documents, possibly none.
        models: column -> `ByteNgrams`, or a function of texts that gives bits per byte, as `open_models` makes them.
        difference: a column, and the two columns of which it is the first minus the second.
    """
    texts = batch.column("text").cast(pa.string()).to_pylist()
    columns: dict[str, np.ndarray] = {}
    for column, model in models.items():
        columns[column] = model.bits_per_byte(texts)
    if difference is not None:
        made, first, second = difference
        columns[made] = columns[first] - columns[second]
    versions = {column: getattr(model, "fingerprint", "1") for column, model in models.items()}
    fields = [pa.field("id", pa.string())]
    fields += [pa.field(name, FLOAT, metadata={"version": versions.get(name, "1")}) for name in columns]
    arrays = [batch.column("id").cast(pa.string()), *(pa.array(v, FLOAT, from_pandas=True) for v in columns.values())]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def open_ngrams(folders: Mapping[str, str]) -> dict[str, ByteNgrams]:
    """Column -> the model in a folder."""
    return {column: ByteNgrams.load(folder) for column, folder in folders.items()}


class Reader:
    """A causal language model that gives bits per byte of texts.

    Args:
        model: a folder, a hub name, or what `tokenry.models.lm.load` takes.
        piece_bytes: see `PIECE_BYTES`.
        lead_bytes: read only so many bytes of each document; None reads all.
    """

    def __init__(self, model: object, *, piece_bytes: int = PIECE_BYTES, lead_bytes: int | None = None) -> None:
        from tokenry.models.lm import load

        self.lm, self.piece_bytes, self.lead_bytes = load(model), piece_bytes, lead_bytes

    def bits_per_byte(self, texts: Sequence[str | None]) -> np.ndarray:
        """Bits per byte (D,), nan without text."""
        read = [self._lead(text or "") for text in texts]
        given = [text for text in read if text]
        made = np.full(len(read), np.nan)
        if given:
            scores = self.lm.score(given, max_bytes=self.piece_bytes)
            made[[place for place, text in enumerate(read) if text]] = scores.nats / np.log(2) / scores.n_bytes
        return made

    def _lead(self, text: str) -> str:
        if self.lead_bytes is None:
            return text
        return text.encode("utf-8", "replace")[: self.lead_bytes].decode("utf-8", "ignore")


def open_models(
    paths: Mapping[str, object], *, piece_bytes: int = PIECE_BYTES, lead_bytes: int | None = None
) -> dict[str, Reader]:
    """Column -> the language model behind a path; for `engine.map(..., setup=partial(open_models, ...))`."""
    return {column: Reader(path, piece_bytes=piece_bytes, lead_bytes=lead_bytes) for column, path in paths.items()}


def ranks_within(values_D: np.ndarray, cells_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each value among those of its cell, and the third it is in.

    Args:
        values_D: nan has no rank.
        cells_D: int64, the source or language of each.

    Returns:
        ranks_D: the share of its cell below it, and half of those that equal it: inside 0..1, nan where there is no
            value.
        parts_D: int64 place in `PARTS`, -1 where there is no value.
    """
    values_D, cells_D = np.asarray(values_D, np.float64), np.asarray(cells_D, np.int64)
    ranks_D, parts_D = np.full(len(values_D), np.nan), np.full(len(values_D), -1, np.int64)
    for cell in np.unique(cells_D):
        mine = np.flatnonzero((cells_D == cell) & ~np.isnan(values_D))
        if not len(mine):
            continue
        ordered = np.sort(values_D[mine])
        below, up_to = (np.searchsorted(ordered, values_D[mine], side=side) for side in ("left", "right"))
        ranks_D[mine] = (below + up_to) / 2 / len(mine)
    ranked_D = ~np.isnan(ranks_D)
    parts_D[ranked_D] = np.minimum((ranks_D[ranked_D] * 3).astype(np.int64), 2)
    return ranks_D, parts_D


def error_norm(probabilities_DC: np.ndarray, labels_D: np.ndarray) -> np.ndarray:
    """EL2N: the length of the difference between the class probabilities and the right answer, 0 to the root of 2.

    Args:
        probabilities_DC: of a classifier early in its training.
        labels_D: int64 place of the right class; -1 where it is none of them, which gives nan.

    Paper: Deep Learning on a Data Diet (arXiv 2107.07075).
    """
    probabilities_DC, labels_D = np.asarray(probabilities_DC, np.float64), np.asarray(labels_D, np.int64)
    if probabilities_DC.ndim != 2 or labels_D.shape != (len(probabilities_DC),):
        raise ValueError(
            f"{labels_D.shape} labels for probabilities of shape {probabilities_DC.shape}; need one a row."
        )
    if (labels_D >= probabilities_DC.shape[1]).any():
        raise ValueError(f"a label {labels_D.max()} of {probabilities_DC.shape[1]} classes; need 0 and up.")
    truth_DC = np.zeros_like(probabilities_DC)
    known = np.flatnonzero(labels_D >= 0)
    truth_DC[known, labels_D[known]] = 1
    made = np.linalg.norm(probabilities_DC - truth_DC, axis=1)
    return np.where(labels_D >= 0, made, np.nan)


def saved_ngrams(
    texts: object, folder: str | Path, *, order: int, most_bytes: int, targets: Sequence[str] = ()
) -> ByteNgrams:
    """Train on a sample of texts and keep the model in a folder; one that is there is opened."""
    from tokenry.corpora.ngram_lm import sampled

    if Path(folder).exists():
        return ByteNgrams.load(folder)
    model = ByteNgrams.train(sampled(texts, most_bytes=most_bytes), order=order)
    model.save(folder, trained_on=list(targets))
    return model
