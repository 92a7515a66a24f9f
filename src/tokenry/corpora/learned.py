"""Families of signals that a trained model gives, typed with the model's folder: `linear:quality/`, `ngram:wiki/`.

A classifier judges documents (`linear`) or every sentence (`linear.sentences`), as Dolma's taggers of toxic text do.
The learned signals of RedPajama-V2 go by their published names and formulas, over models of your own (its classifiers
are fastText files; its hash tables hold for one Python process only):

- `rpv2.doc_ml_{wikiref,palm,wikipedia}_score:DIR`: probability of the class that is not "cc" (Common Crawl).
- `rpv2.doc_{books,openwebtext,wikipedia}_importance:DIR`: log p_target - log p_corpus, summed over words and pairs of
  words as they stand; and the same with the log ratio of Poisson lengths added. The official code takes the mean
  number of words there, but the length in characters; here both are words.

Papers: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372); Data Selection for Language
Models via Importance Resampling (arXiv 2302.03169); Dolma (arXiv 2402.00159) for classifiers as taggers.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import resolve
from tokenry.core.splitting import sentences
from tokenry.corpora import LEARNED
from tokenry.corpora.dsir import Bag, Weights, log_weights
from tokenry.corpora.families import FLOAT, SPANS, Family, Material, spans_column
from tokenry.corpora.linear import LinearClassifier, columns_of, signal_name
from tokenry.corpora.ngram_lm import ByteNgrams
from tokenry.corpora.prepared import Prepared, Spans

__all__ = ["dsir_family", "importance_family", "learned_family", "linear_family", "ml_family",
           "ngram_family", "sentence_family"]  # fmt: skip

# Axes: D documents, S sentences.

_SMOOTHING = 1e-8


def learned_family(typed: str) -> Family:
    """The family of `KIND:DIR`.

    Raises:
        ValueError: no folder is named, or its model does not fit. FileNotFoundError: there is none.
    """
    kind, _, folder = typed.partition(":")
    if not folder:
        raise ValueError(f"the signals {kind!r} come from a trained model; name its folder: {kind}:DIR.")
    return resolve(kind, LEARNED, kind="family of signals")(folder, kind)


def linear_family(folder: str | Path, kind: str = "linear", *, name: str | None = None, positive: str | None = None
                  ) -> Family:  # fmt: skip
    """A saved classifier: `quality.NAME`, or a column for each of several classes.

    Args:
        folder: of the classifier.
        kind: what was typed before its folder.
        name: of the signal; the folder's own name by default.
        positive: see `linear.columns_of`.
    """
    classifier = LinearClassifier.load(folder)
    columns = columns_of(classifier, name or signal_name(folder), positive=positive)
    return _family(kind, folder, classifier, functools.partial(_probabilities, places=columns), columns)


def ml_family(folder: str | Path, kind: str) -> Family:
    """A published classifier signal: the probability of the class that is not the crawl.

    Raises:
        ValueError: it does not say which of its classes is meant.
    """
    classifier = LinearClassifier.load(folder)
    columns = {kind: _main_class(classifier, kind, folder)}
    return _family(kind, folder, classifier, functools.partial(_probabilities, places=columns), columns)


def sentence_family(folder: str | Path, kind: str = "linear.sentences") -> Family:
    """A saved classifier over every sentence: the spans `quality.NAME.sentences`, to count or to mask.

    Raises:
        ValueError: it does not say which of its classes is meant.
    """
    classifier, column = LinearClassifier.load(folder), f"quality.{signal_name(folder)}.sentences"
    score = functools.partial(_sentences, column=column, place=_main_class(classifier, kind, folder))
    return _family(kind, folder, classifier, score, [column], SPANS)


def _main_class(classifier: LinearClassifier, kind: str, folder: str | Path) -> int:
    positive = classifier.record.get("positive")
    if positive is None and len(classifier.classes) == 2 and "cc" in classifier.classes:
        return 1 - classifier.place("cc")
    if positive is None:
        raise ValueError(
            f"{folder} has the classes {', '.join(classifier.classes)}; {kind} needs one trained with --positive and "
            "--negative, or two classes of which one is 'cc'. Train it so: tokenry corpus train-classifier."
        )
    return classifier.place(str(positive))


def dsir_family(folder: str | Path, kind: str = "dsir") -> Family:
    """Importance weights: `dsir.NAME.log_weight`, `.log_weight_per_ngram`, `.log_length_ratio`."""
    prefix = f"dsir.{signal_name(folder)}"
    columns = [f"{prefix}.{name}" for name in ("log_weight", "log_weight_per_ngram", "log_length_ratio")]
    return _family(kind, folder, Weights.load(folder), functools.partial(_weights, columns=tuple(columns)), columns)


def importance_family(folder: str | Path, kind: str) -> Family:
    """A published importance weight, and the same corrected for the length.

    Raises:
        ValueError: the words were counted in another way than the published ones.
    """
    weights, published = Weights.load(folder), Bag(words="tokens")
    if weights.bag != published or weights.smoothing != _SMOOTHING:
        raise ValueError(
            f"{folder} counts {weights.bag}; {kind} is defined by {published} and smoothing {_SMOOTHING:g}. Count "
            "again: tokenry corpus utility CORPUS --method dsir --target BOOKS --set words=tokens --out OUT, then name "
            "OUT.model."
        )
    columns = (kind, f"{kind}_length_correction")
    return _family(kind, folder, weights, functools.partial(_importance, columns=columns), columns)


def ngram_family(folder: str | Path, kind: str = "ngram") -> Family:
    """Bits per byte under byte n-grams: `ngram.NAME.bits_per_byte`."""
    column = f"ngram.{signal_name(folder)}.bits_per_byte"
    return _family(kind, folder, ByteNgrams.load(folder), functools.partial(_bits, column=column), [column])


def _family(
    kind: str,
    folder: str | Path,
    model: LinearClassifier | Weights | ByteNgrams,
    score: Callable[..., Mapping[str, object]],
    columns: Iterable[str],
    of: pa.DataType = FLOAT,
) -> Family:
    path = str(Path(folder).resolve())
    return Family(
        kind,
        model.fingerprint,
        dict.fromkeys(columns, of),
        functools.partial(_scored, folder=path, model=type(model), fingerprint=model.fingerprint, score=score),
        f"{kind} of the model in {folder}",
    )


def _scored(
    prepared: Prepared, batch: pa.RecordBatch, material: Material, *, folder: str, model: type, fingerprint: str,
    score: Callable[..., Mapping[str, np.ndarray]],
) -> Mapping[str, np.ndarray]:  # fmt: skip
    return score(_opened(model, folder, fingerprint), prepared)


@functools.lru_cache(maxsize=16)
def _opened(model: type, folder: str, fingerprint: str) -> object:
    """The model of a worker; the fingerprint is that of the model the columns are to be named after."""
    opened = model.load(folder)
    if opened.fingerprint != fingerprint:
        raise ValueError(f"the model in {folder} has changed since the command began. Run it again.")
    return opened


def _probabilities(classifier: LinearClassifier, prepared: Prepared, *, places: Mapping[str, int]
                   ) -> dict[str, np.ndarray]:  # fmt: skip
    found_DC = classifier.probabilities(prepared)
    return {column: found_DC[:, place] for column, place in places.items()}


def _sentences(classifier: LinearClassifier, prepared: Prepared, *, column: str, place: int) -> dict[str, object]:
    pieces = [sentences(text) for text in prepared.strings]
    flat = [sentence for text in pieces for sentence in text]
    ends_S = np.cumsum([len(sentence) for sentence in flat], dtype=np.int64)  # they fill the texts without a gap
    begins_S = np.concatenate([np.zeros(1, np.int64), ends_S[:-1]])[: len(flat)]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(text) for text in pieces], dtype=np.int64)])
    scores_S = classifier.probabilities(flat)[:, place]
    return {column: spans_column(prepared, Spans(begins_S, ends_S, offsets), scores_S)}


def _weights(weights: Weights, prepared: Prepared, *, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    return dict(zip(columns, log_weights(prepared, weights), strict=True))


def _importance(weights: Weights, prepared: Prepared, *, columns: tuple[str, str]) -> dict[str, np.ndarray]:
    sums_D, _, _ = weights.of(prepared)
    n_words_D = prepared.tokens.counts.astype(np.float64)
    target_D, corpus_D = (_log_poisson(n_words_D, one.mean_words) for one in (weights.target, weights.raw))
    return dict(zip(columns, (sums_D, sums_D + target_D - corpus_D), strict=True))


def _log_poisson(counts_D: np.ndarray, mean: float) -> np.ndarray:
    """log(Poisson(count; mean) + 1e-8)."""
    from scipy.special import gammaln, xlogy

    return np.log(np.exp(xlogy(counts_D, mean) - mean - gammaln(counts_D + 1)) + _SMOOTHING)


def _bits(model: ByteNgrams, prepared: Prepared, *, column: str) -> dict[str, np.ndarray]:
    return {column: model.bits_per_byte(prepared.strings)}
