"""Give every sentence a number: by a word list, a linear classifier, a signal, a classifier of transformers, or yours.

A scorer is any function from a list of strings to as many numbers. What is scored, and by which version, is recorded:
scores of two versions of one classifier do not compare.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import needs, resolve, suggest
from tokenry.core.hashing import fingerprint
from tokenry.corpora.word_lists import read_list

__all__ = ["Scorer", "open_scorer"]

LONGEST = 18_000
"""Characters of one piece: longer sentences are cut to pieces whose scores are averaged, as the paper does."""


@dataclass(frozen=True)
class Scorer:
    """A function with the name it is recorded by.

    Attributes:
        name: what it is, with a version or fingerprint where it has one.
        function: list of strings -> numbers.
    """

    name: str
    function: Callable[[list[str]], Sequence[float]]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Scores (n,), float64.

        Raises:
            ValueError: the function gives another number of values, or one that is not finite.
        """
        pieces = [text[at : at + LONGEST] for text in texts for at in range(0, max(1, len(text)), LONGEST)]
        if not pieces:
            return np.empty(0)
        scores = np.asarray(self.function(pieces), np.float64)
        if scores.shape != (len(pieces),) or not np.isfinite(scores).all():
            raise ValueError(
                f"the scorer {self.name} gave {scores.shape} values for {len(pieces)} texts, or some that are not "
                "finite; need one finite number for each."
            )
        sizes = np.array([max(1, -(-len(text) // LONGEST)) for text in texts])
        return np.add.reduceat(scores, np.r_[0, np.cumsum(sizes)[:-1]]) / sizes


def open_scorer(spec: str | Callable | Scorer) -> Scorer:
    """The scorer a user named.

    Args:
        spec: `words:FILE` (1 where a word or phrase of the list stands in it, else 0); `linear:FOLDER` or
            `linear:FOLDER:CLASS` (probability by `corpora.linear`); `signal:NAME` (a column of a family of signals);
            `hf:FOLDER` or `hf:FOLDER:LABEL` (sequence classification of transformers); `pkg.module:function` or
            `./file.py:function`; a function.

    Raises:
        ValueError: no such kind, class, label or signal. FileNotFoundError: no such list or folder.
    """
    if isinstance(spec, Scorer):
        return spec
    if callable(spec):
        return Scorer(getattr(spec, "__qualname__", type(spec).__name__), spec)
    kind, _, rest = str(spec).partition(":")
    if kind in _KINDS and rest:
        return _KINDS[kind](rest)
    if ":" in str(spec):
        return Scorer(str(spec), resolve(spec, {}, kind="scorer"))
    raise ValueError(f"no scorer {spec!r}.{suggest(kind, _KINDS)} Need one of words:FILE, linear:FOLDER, signal:NAME, "
                     "hf:FOLDER, or pkg.module:function.")  # fmt: skip


def _words(path: str) -> Scorer:
    entries = read_list(path)
    return Scorer(
        f"words:{Path(path).name}:{fingerprint(entries)}", functools.partial(_word_scores, entries=tuple(entries))
    )


def _word_scores(texts: list[str], *, entries: tuple[str, ...]) -> np.ndarray:
    from tokenry.corpora.prepared import Prepared

    phrases = _phrases(entries)
    prepared = Prepared(pa.array(texts, pa.string()))
    _, _, offsets = phrases.find(prepared.folded)
    return (np.diff(offsets) > 0).astype(np.float64)


@functools.lru_cache(maxsize=4)
def _phrases(entries: tuple[str, ...]) -> object:
    from tokenry.corpora.word_lists import Phrases

    return Phrases.of(entries)


def _linear(rest: str) -> Scorer:
    from tokenry.corpora.linear import LinearClassifier

    folder, _, name = rest.rpartition(":") if not Path(rest).is_dir() and ":" in rest else (rest, "", "")
    classifier = LinearClassifier.load(folder)
    positive = name or classifier.record.get("positive") or classifier.classes[-1]
    place = classifier.place(str(positive))
    return Scorer(f"linear:{Path(folder).name}:{positive}:{classifier.fingerprint}",
                  lambda texts: classifier.probabilities(texts)[:, place])  # fmt: skip


def _signal(name: str) -> Scorer:
    from tokenry.corpora import SIGNALS
    from tokenry.corpora.signals import families_of, score_batch, signal_columns

    owner = next((family for family in SIGNALS if name in signal_columns([family])), None)
    if owner is None:
        raise ValueError(f"no signal {name!r}.{suggest(name, signal_columns())} See: tokenry corpus score --list.")
    families = families_of([owner])

    def score(texts: list[str]) -> list[float]:
        ids = [str(number) for number in range(len(texts))]
        batch = pa.RecordBatch.from_pydict({"id": ids, "text": texts, "source": [""] * len(texts)})
        return score_batch(batch, families).column(name).cast(pa.float64()).to_pylist()

    return Scorer(f"signal:{name}:{families[0].version}", score)


def _hf(rest: str) -> Scorer:
    needs("models", "torch", "transformers")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, _, label = rest.rpartition(":") if not Path(rest).is_dir() and ":" in rest else (rest, "", "")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    labels = {str(name).lower(): int(place) for place, name in model.config.id2label.items()}
    if label and label.lower() not in labels:
        raise ValueError(f"{folder} has no label {label!r}; it has {', '.join(labels)}.")
    named = label.lower() or next((name for name in ("toxic", "toxicity") if name in labels), "")
    if not named and len(labels) > 1:
        raise ValueError(f"{folder} has the labels {', '.join(labels)}; say whose score you mean: hf:{folder}:LABEL.")
    place = labels[named] if named else 0
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 514) - 2)
    several = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1

    def score(texts: list[str]) -> list[float]:
        import torch

        made: list[float] = []
        for start in range(0, len(texts), 32):
            # What is longer than the model reads is cut to windows, whose scores are averaged, never cut off.
            batch = tokenizer(texts[start : start + 32], return_tensors="pt", padding=True, truncation=True,
                              max_length=longest, return_overflowing_tokens=True)  # fmt: skip
            owner = batch.pop("overflow_to_sample_mapping").numpy()
            with torch.no_grad():
                logits = model(**batch.to(model.device)).logits.double()
            scores = (torch.sigmoid(logits) if several else torch.softmax(logits, -1))[:, place].cpu().numpy()
            made += (np.bincount(owner, weights=scores) / np.bincount(owner)).tolist()
        return made

    return Scorer(f"hf:{folder}:{model.config.id2label[place]}", score)


_KINDS = {"words": _words, "linear": _linear, "signal": _signal, "hf": _hf}
