"""Train a classifier of documents on labelled files, say how good it is on held-out ones, and score a corpus with it.

Toxicity, quality and PreSelect's "data that predicts" are the same job with other files: documents that are so, and
documents that are not.

Papers: Predictive Data Selection (arXiv 2503.00808) for classifier and thresholds; Dolma (arXiv 2402.00159), which
filters toxic text with classifiers of this kind.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import stable_hash
from tokenry.core.intervals import Interval
from tokenry.core.report import Report
from tokenry.corpora.engine import Engine, Mapped
from tokenry.corpora.learned import linear_family
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.prepared import Prepared
from tokenry.corpora.signals import score_corpus
from tokenry.corpora.units import Reading

__all__ = ["Trained", "auc", "classify", "contributions", "explain", "train_classifier", "weight_of_words"]

END = "(end of the text)"
# Axes: D documents, P documents of the class, Q the others.


@dataclass(frozen=True)
class Trained:
    """A classifier and how good it is.

    Attributes:
        classifier: trained on what was not held out.
        report: sizes, AUC and accuracy on the held-out documents, words that speak for each class.
    """

    classifier: LinearClassifier
    report: Report


def train_classifier(
    classes: Mapping[str, object],
    out: str | Path | None = None,
    *,
    positive: str | None = None,
    held_out: float = 0.1,
    limit: int | None = None,
    overwrite: bool = False,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    seed: int = 0,
    **settings: object,
) -> Trained:
    """Train on a source of documents for each class.

    Args:
        classes: name -> documents (what `core.tables.stream` reads).
        out: folder to save it in; None saves nothing.
        positive: the class whose probability is the signal.
        held_out: share of the documents for the test, chosen by a hash of the text: copies stay together.
        limit: a sample of so many documents of each class, those of the lowest hash; the whole source is read.
        overwrite: replace what is at `out`.
        reading: the text column, and what happens to broken rows.
        seed: of the training.
        settings: of `LinearClassifier.train`.

    Raises:
        ValueError: a class without documents, or nothing left to train on; `positive` is no class.
        FileExistsError: `out` is there.
    """
    if out is not None and Path(out).exists() and not overwrite:
        raise FileExistsError(f"{out} exists already. Give another --out, or --overwrite.")
    if positive is not None and positive not in classes:
        raise ValueError(f"positive={positive!r} is none of the classes {', '.join(classes)}.")
    texts, labels = _labelled(classes, limit, reading)
    keys = np.array([stable_hash(text) for text in texts], np.uint64) >> np.uint64(11)
    for_test = keys < np.uint64(held_out * 2**53)
    taught = [(text, label) for text, label, out_of in zip(texts, labels, for_test, strict=True) if not out_of]
    if len({label for _, label in taught}) < len(classes):
        raise ValueError(f"with --held-out {held_out} a class has nothing left to train on. Give more documents.")
    classifier = LinearClassifier.train(
        [text for text, _ in taught], [label for _, label in taught], seed=seed, **settings
    ).named(positive=positive, sources={name: _described(source) for name, source in classes.items()})
    tested = [(text, label) for text, label, out_of in zip(texts, labels, for_test, strict=True) if out_of]
    report = _report(classifier, taught, tested, positive)
    owners: dict[int, set[str]] = {}
    for key, label in zip(keys.tolist(), labels, strict=True):
        owners.setdefault(key, set()).add(label)
    if n_both := sum(len(one) > 1 for one in owners.values()):
        report.warnings.append(f"{n_both:,} texts stand in more than one class. Take them out of one.")
    if out is not None:
        classifier.save(out, overwrite=overwrite)
        report.facts["folder"] = str(out)
    return Trained(classifier, report)


def classes_of(
    positive: Sequence[str], negative: Sequence[str], labelled: Sequence[str]
) -> tuple[dict[str, object], str | None]:
    """The classes as typed, and which is the signal's: documents that are so and not so, or NAME=DOCUMENTS each.

    Raises:
        ValueError: neither is whole, or both are given.
    """
    from tokenry.corpora.choices import named_paths

    if labelled and not (positive or negative):
        found = named_paths(labelled, "--class")
        return {name: str(source) for name, source in found.items()}, None
    if positive and negative and not labelled:
        return {"negative": list(negative), "positive": list(positive)}, "positive"
    raise ValueError("need --positive and --negative documents, or --class NAME=DOCUMENTS for each of several classes.")


def span_of(typed: str) -> tuple[int, int]:
    """Shortest and longest of `3-5`; (0, 0) of nothing."""
    if not typed:
        return 0, 0
    low, _, high = typed.partition("-")
    if not low.isdecimal() or not (high or low).isdecimal():
        raise ValueError(f"--characters {typed}; need two numbers, as 3-5.")
    return int(low), int(high or low)


def _labelled(classes: Mapping[str, object], limit: int | None, reading: Reading) -> tuple[list[str], list[str]]:
    from tokenry.core.tables import stream

    texts, labels = [], []
    for name, source in classes.items():
        batches = stream(source, text=reading.text, columns=(), skip_bad=reading.skip_bad)
        found = _sample((text for batch in batches for text in batch.column("text").to_pylist() if text), limit)
        if not found:
            raise ValueError(f"no documents with a text for the class {name!r} ({_described(source)}).")
        texts += found
        labels += [name] * len(found)
    return texts, labels


def _sample(texts: Iterable[str], limit: int | None) -> list[str]:
    """Those of the lowest hash (not the one that holds out), in their order; all without a limit."""
    if limit is None:
        return list(texts)
    lowest = heapq.nsmallest(limit, ((stable_hash(f"sample {text}"), place, text) for place, text in enumerate(texts)))
    return [text for _, _, text in sorted(lowest, key=lambda one: one[1])]


def _described(source: object) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, Sequence) and all(isinstance(one, (str, Path)) and len(str(one)) < 300 for one in source):
        return ", ".join(map(str, source[:5]))
    return type(source).__name__


def auc(scores_D: Sequence[float] | np.ndarray, labels_D: Sequence[int] | np.ndarray) -> Interval:
    """Area under the ROC curve: the chance that a document of the class scores above one that is not (ties half).

    Args:
        scores_D: higher means of the class.
        labels_D: 1 for documents of the class, 0 for the others.

    Returns:
        The area with its 95 % interval: DeLong's variance, or where that is 0 (no pair is out of order) the score
        interval of Newcombe (2006, method 5). NaN ends for fewer than two of a kind.

    Raises:
        ValueError: documents of one kind only, or other numbers of scores and labels.
    """
    from scipy.stats import norm, rankdata

    scores_D, labels_D = np.asarray(scores_D, np.float64), np.asarray(labels_D).astype(bool)
    n_p, n_q = int(labels_D.sum()), int((~labels_D).sum())
    if scores_D.shape != labels_D.shape or not n_p or not n_q:
        raise ValueError(f"{len(scores_D)} scores, {n_p} of the class and {n_q} not; need both kinds, one score each.")
    ranks_D = rankdata(scores_D)
    above_P = (ranks_D[labels_D] - rankdata(scores_D[labels_D])) / n_q
    below_Q = 1 - (ranks_D[~labels_D] - rankdata(scores_D[~labels_D])) / n_p
    value = float(above_P.mean())
    if min(n_p, n_q) < 2:
        return Interval(value, float("nan"), float("nan"), n_p + n_q)
    half = norm.ppf(0.975) * np.sqrt(above_P.var(ddof=1) / n_p + below_Q.var(ddof=1) / n_q)
    if half == 0:
        return Interval(value, *_score_ends(value, n_p, n_q), n_p + n_q)
    return Interval(value, max(0.0, value - half), min(1.0, value + half), n_p + n_q)


def _score_ends(value: float, n_p: int, n_q: int) -> tuple[float, float]:
    """The areas that lie as far from the value as their own variance allows (Hanley and McNeil's, n as the mean)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    def beyond(area: float) -> float:
        shape = 1 + ((n_p + n_q) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        return (value - area) ** 2 - norm.ppf(0.975) ** 2 * area * (1 - area) * shape / (n_p * n_q)

    low = 0.0 if value == 0 else brentq(beyond, 0.0, value - 1e-9)
    high = 1.0 if value == 1 else brentq(beyond, value + 1e-9, 1.0)
    return low, high


def classify(
    source: object,
    folder: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    positive: str | None = None,
    engine: str | Engine = "embedded",
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> Mapped:
    """Score a corpus with a saved classifier: a sidecar with the column `quality.NAME`.

    Args:
        source: documents.
        folder: of the classifier.
        out: the folder to make.
        name: of the signal; the folder's own by default.
        positive: the class whose probability it is.
        engine: an engine or its name.
        reading: how the documents are read.
    """
    family = linear_family(folder, name=name, positive=positive)
    return score_corpus(source, [family], out, engine=engine, reading=reading)


def contributions(classifier: LinearClassifier, text: str) -> tuple[list[tuple[int, int]], np.ndarray]:
    """What each run of words adds to the logits of each class.

    Returns:
        Spans (first character and the one after the last) of every run of words and, last and empty, of the end of
        the text; and (runs, classes), whose sum over runs is the logits. Runs that share a bucket share its weight by
        how often each stands there.

    Raises:
        ValueError: the classifier looks at characters too, which are no spans of words.
    """
    from tokenry.corpora.linear_kernels import word_buckets

    if classifier.features.characters[1]:
        raise ValueError("this classifier looks at runs of characters; only one of words alone can be explained.")
    prepared = Prepared(pa.array([text], pa.string()))
    words = getattr(prepared, classifier.features.words)
    n_words, n_most = len(words.hashes), classifier.features.ngrams
    buckets = word_buckets(words.hashes, classifier.features.buckets, n_most)
    ends = [(at, at + size - 1) for at in range(n_words) for size in range(1, min(n_most, n_words - at) + 1)]
    spans = [(int(words.begins[first]), int(words.ends[last])) for first, last in ends] + [(len(text), len(text))]
    _, inverse, counts = np.unique(buckets, return_inverse=True, return_counts=True)
    each = 1 / np.sqrt(counts[inverse] * len(buckets))
    return spans, classifier.weights_KC[buckets] * each[:, None]


def explain(classifier: LinearClassifier, texts: Sequence[str], *, place: int = 1, n: int = 20) -> list[dict]:
    """The runs of words that move these texts most towards a class and away from it.

    Args:
        classifier: of words alone.
        texts: to explain; contributions are means over them.
        place: the class. For two classes the logit difference to the other one is split up, for more the logit less
            the mean of the others.
        n: so many of each sign.

    Returns:
        Rows `words`, `contribution`, `documents`, the strongest first.
    """
    total: dict[str, float] = {}
    seen: dict[str, int] = {}
    for text in texts:
        spans, moved = contributions(classifier, text)
        others = np.delete(moved, place, axis=1).mean(axis=1)
        own = set()
        for (begin, end), value in zip(spans, moved[:, place] - others, strict=True):
            run = " ".join(text[begin:end].split())
            run = (run.lower() if classifier.features.words == "folded" else run) or END
            total[run] = total.get(run, 0.0) + float(value)
            own.add(run)
        for run in own:
            seen[run] = seen.get(run, 0) + 1
    ranked = sorted(total, key=lambda run: (-total[run], run))
    chosen = ranked if len(ranked) <= 2 * n else ranked[:n] + ranked[-n:]
    return [{"words": run, "contribution": total[run] / len(texts), "documents": seen[run]} for run in chosen]


def weight_of_words(classifier: LinearClassifier, words: Sequence[str], *, place: int = 1) -> np.ndarray:
    """Weight of each string (a word or a run of words) for a class less that of the mean of the others."""
    made = np.zeros(len(words))
    for at, run in enumerate(words):
        prepared = getattr(Prepared(pa.array([run])), classifier.features.words)
        if 1 <= len(prepared.hashes) <= classifier.features.ngrams:
            from tokenry.corpora.linear_kernels import word_buckets

            bucket = word_buckets(prepared.hashes, classifier.features.buckets, len(prepared.hashes))
            row = classifier.weights_KC[bucket[len(prepared.hashes) - 1]]
            made[at] = row[place] - np.delete(row, place).mean()
    return made


def _report(
    classifier: LinearClassifier, taught: list[tuple[str, str]], tested: list[tuple[str, str]], positive: str | None
) -> Report:
    place = classifier.place(positive) if positive else len(classifier.classes) - 1
    report = Report("corpus train-classifier", "a linear classifier of documents")
    report.facts |= {"trained on": len(taught), "tested on": len(tested), "signal": classifier.classes[place]}
    report.facts["loss of the last pass"] = round(classifier.record["loss_nats"][-1], 4)
    labels = [label == classifier.classes[place] for _, label in tested]
    if any(labels) and not all(labels):
        found_DC = classifier.probabilities([text for text, _ in tested])
        report.facts["AUC on held-out documents"] = auc(found_DC[:, place], labels)
        hit = [classifier.classes[row] == label for row, (_, label) in zip(found_DC.argmax(1), tested, strict=True)]
        from tokenry.core.intervals import wilson_interval

        report.facts["accuracy"] = wilson_interval(sum(hit), len(hit))
    else:
        report.notes.append("Nothing was held out of both kinds, so how good it is is not known.")
    if not classifier.features.characters[1]:
        sample = [text for text, _ in (tested or taught)[:: max(1, len(tested or taught) // 200)]]
        report.tables["words"] = pa.Table.from_pylist(explain(classifier, sample, place=place, n=10))
    return report
