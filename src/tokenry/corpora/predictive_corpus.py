"""From a table of losses and benchmark scores to a signal, labels and a light scorer for the whole pool.

The scorer is trained on the strongest and the weakest documents of a sample; it needs no model and scores some 10^4
documents a second on one core.

Papers: Predictive Data Selection (arXiv 2503.00808); Improving Pretraining Data Using Perplexity Correlations
(arXiv 2409.05816).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Figure, Report
from tokenry.corpora.classifier import Trained, train_classifier
from tokenry.corpora.engine import Mapped
from tokenry.corpora.losses import Losses, read_losses
from tokenry.corpora.predictive import (
    Chance,
    Labels,
    capped_projection,
    chance_of,
    domain_correlation,
    label_extremes,
    leave_one_out,
    predictive_strength,
)
from tokenry.corpora.sidecars import write_sidecar
from tokenry.corpora.units import Reading, cut_units, read_unit

__all__ = ["Measured", "Pairs", "measure_strength", "read_benchmark", "train_scorer", "train_sources"]

# Axes: D documents, N models, J domains.

STRENGTH, LABEL = "predictive.strength", "predictive.label"
FEW_MODELS = 5


@dataclass(frozen=True)
class Pairs:
    """How models are compared.

    Attributes:
        weights: "pairs" or "gaps", see `predictive.predictive_strength`.
        least_gap: leave out pairs of models whose benchmarks are nearer than this.
        per: "chars" or "bytes", for domains and the report; strength needs only the order.
        shortest: documents of fewer characters get no strength, their losses are too noisy.
    """

    weights: str = "pairs"
    least_gap: float = 0.0
    per: str = "chars"
    shortest: int = 200


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        sidecar: `predictive.strength` and `predictive.label` (1 strongest, 0 weakest, null the rest).
        labels: what a scorer is trained on.
        report: against chance, by source, without each model.
    """

    sidecar: Mapped
    labels: Labels
    report: Report


def read_benchmark(typed: Sequence[str]) -> dict[str, float]:
    """Scores as typed: NAME=NUMBER, or a .json file of {name: number}.

    Raises:
        ValueError: neither, or a name twice.
    """
    scores: dict[str, float] = {}
    for entry in typed:
        if entry.endswith(".json"):
            try:
                pairs = [
                    (str(name), float(score)) for name, score in json.loads(Path(entry).read_text("utf-8")).items()
                ]
            except (AttributeError, TypeError, ValueError) as error:
                raise ValueError(f'{entry}: {error}. Need {{"name": number, ...}}, a score for each model.') from error
        else:
            name, _, number = entry.partition("=")
            try:
                pairs = [(name.strip(), float(number))]
            except ValueError:
                raise ValueError(f"{entry!r} after --benchmark; need NAME=NUMBER, or a .json file.") from None
        for name, score in pairs:
            if name in scores:
                raise ValueError(f"two benchmark scores for {name!r}; need one for each model.")
            scores[name] = score
    return scores


def train_sources(docs: Sequence[str] | None, train: Path | None) -> list[str]:
    """The documents for a scorer.

    Raises:
        ValueError: a scorer is asked for without them. FileExistsError: it is there already.
    """
    if train is not None and not docs:
        raise ValueError("--train needs the documents that the losses are of: --docs sample.jsonl.")
    if train is not None and train.exists():
        raise FileExistsError(f"{train} exists already. Give another --train.")
    return list(docs or ())


def measure_strength(
    folder: str | Path,
    benchmark: Mapping[str, float],
    out: str | Path,
    *,
    pairs: Pairs = Pairs(),
    most: int | None = None,
    seed: int = 0,
) -> Measured:
    """Measure the predictive strength of every document of a table of losses, and label the extremes.

    Args:
        folder: the `out` of `losses.document_losses`.
        benchmark: model -> downstream score, higher is better.
        out: the sidecar to make.
        pairs: how models are compared.
        most: positives (and negatives) labelled at most.
        seed: of the choice among equals.

    Raises:
        ValueError: a model without losses, too few models, too few documents. FileExistsError: `out` is there.
    """
    if Path(out).exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    models = sorted(benchmark, key=lambda name: (benchmark[name], name))
    losses = read_losses(folder, models)
    scores_N = np.array([benchmark[name] for name in models], np.float64)
    bits_DN = losses.bits(pairs.per, shortest=pairs.shortest)
    options = {"weights": pairs.weights, "least_gap": pairs.least_gap}
    strength_D = predictive_strength(bits_DN, scores_N, **options)
    if (n_known := int((~np.isnan(strength_D)).sum())) < 2:
        raise ValueError(
            f"{n_known} of {len(strength_D)} documents have {pairs.shortest} characters and every loss; need at least "
            "two. Give more documents, or a lower --shortest."
        )
    labels = label_extremes(strength_D, most=most, seed=seed)
    chance = chance_of(scores_N, **options)
    known_D = labels.labels_D >= 0
    columns = {STRENGTH: pa.array(strength_D, from_pandas=True), LABEL: pa.array(labels.labels_D, mask=~known_D)}
    key = fingerprint("predictive", 1, losses.sizes.key, models, scores_N, [*options.values(), pairs.shortest], seed)
    sidecar = write_sidecar(losses.sizes, columns, Path(out), key=key, engine="embedded")
    report = _report(losses, scores_N, strength_D, labels, chance)
    _add_models(report, bits_DN, scores_N, models, strength_D, options)
    _add_domains(report, losses, scores_N, pairs, strength_D)
    return Measured(sidecar, labels, report)


def _report(losses: Losses, scores_N: np.ndarray, strength_D: np.ndarray, labels: Labels, chance: Chance) -> Report:
    known_D = strength_D[~np.isnan(strength_D)]
    report = Report("corpus predictive", "how well single documents rank the models")
    report.facts |= {
        "documents": len(losses.ids),
        "too short, or without a loss": len(losses.ids) - len(known_D),
        "models": len(losses.models),
        "pairs of models": chance.pairs,
        "mean strength": round(float(known_D.mean()), 4),
        "standard deviation": round(float(known_D.std()), 4),
        "standard deviation by chance": round(chance.sd, 4),
        "of strength 1": labels.perfect,
        "labelled of each kind": int((labels.labels_D == 1).sum()),
        "least of the positives": round(labels.least_positive, 4),
        "most of the negatives": round(labels.most_negative, 4),
    }
    if chance.perfect is not None:
        report.facts["of strength 1 by chance"] = round(chance.perfect * len(known_D), 1)
        if labels.perfect < 3 * chance.perfect * len(known_D):
            report.warnings.append(
                "Documents of strength 1 are no more than three times as many as chance gives: the positives are "
                "mostly luck. Take more models, models further apart, or --weights gaps."
            )
    if len(scores_N) < FEW_MODELS:
        report.warnings.append(
            f"With {len(scores_N)} models strength has {chance.values} values and a chance spread of "
            f"{chance.sd:.2f}: read it as noise unless many documents agree. The paper takes 6."
        )
    if labels.least_positive <= labels.most_negative:
        report.warnings.append(
            f"Positives and negatives meet at the strength {labels.least_positive:.3g}: a scorer would learn luck. "
            "Take documents or models that differ more."
        )
    if labels.fallback:
        report.notes.append("Too few documents have strength 1, so the strongest fifth are the positives.")
    edges = np.linspace(0, 1, min(chance.values, 21) + 1)
    counts, _ = np.histogram(known_D, edges)
    bins = list(zip(edges[:-1].tolist(), counts.tolist(), strict=True))
    report.figures.append(
        Figure("histogram", "Strength of the documents", "strength", "documents", {"documents": bins})
    )
    return report


def _add_models(
    report: Report,
    bits_DN: np.ndarray,
    scores_N: np.ndarray,
    models: list[str],
    strength_D: np.ndarray,
    options: Mapping[str, object],
) -> None:
    rows = [{"model": name, "benchmark": float(score), "mean bits": float(np.nanmean(bits_DN[:, place]))}
            for place, (name, score) in enumerate(zip(models, scores_N, strict=True))]  # fmt: skip
    if len(models) > 2:
        known_D = ~np.isnan(strength_D)
        for row, without_D in zip(rows, leave_one_out(bits_DN[known_D], scores_N, **options), strict=True):
            row["mean strength without it"] = float(without_D.mean())
            row["mean change of strength"] = float(np.abs(without_D - strength_D[known_D]).mean())
    report.tables["models"] = pa.Table.from_pylist(rows)


def _add_domains(report: Report, losses: Losses, scores_N: np.ndarray, pairs: Pairs, strength_D: np.ndarray) -> None:
    sources, owner_D = np.unique(np.array(losses.sources, dtype=object).astype(str), return_inverse=True)
    known_D = ~np.isnan(strength_D)
    size_D = (losses.chars_D if pairs.per == "chars" else losses.bytes_D) * known_D
    sizes_J = np.bincount(owner_D, size_D, len(sources))
    bits_JN = np.full((len(sources), len(scores_N)), np.nan)
    for place in range(len(scores_N)):
        nats_D = np.where(known_D, losses.nats_DN[:, place], 0.0)
        sums_J = np.bincount(owner_D, nats_D, len(sources))
        np.divide(sums_J, np.log(2) * sizes_J, out=bits_JN[:, place], where=sizes_J > 0)
    gamma_J = domain_correlation(bits_JN, scores_N)
    n_J = np.bincount(owner_D, known_D, len(sources))
    strength_J = np.bincount(owner_D, np.where(known_D, strength_D, 0), len(sources)) / np.maximum(n_J, 1)
    share_J = sizes_J / sizes_J.sum()
    projected_J = capped_projection(gamma_J, 2 * share_J)
    order = np.argsort(-np.where(n_J > 0, strength_J, -1), kind="stable")
    report.tables["sources"] = pa.table({
        "source": sources[order].tolist(), "documents": n_J[order].astype(np.int64),
        "mean strength": strength_J[order], "gamma": gamma_J[order], "share": share_J[order],
        "weight, at most twice its share": projected_J[order],
    })  # fmt: skip


def train_scorer(
    source: object,
    sidecar: str | Path,
    out: str | Path | None = None,
    *,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    seed: int = 0,
    **settings: object,
) -> Trained:
    """Train the linear classifier to tell the strongest documents from the weakest.

    Args:
        source: the documents that the losses are of.
        sidecar: the `out` of `measure_strength`.
        out: folder of the classifier; None saves nothing.
        reading: as they were read for the losses.
        seed: of the training.
        settings: of `classifier.train_classifier`.

    Raises:
        ValueError: the sidecar belongs to other documents, or has no labels.
    """
    from tokenry.core.columns import BadRows
    from tokenry.corpora.sidecars import columns_of

    if LABEL not in (known := columns_of([sidecar])):
        raise ValueError(f"no {LABEL} in {sidecar}.{suggest(LABEL, known)} Need an --out of tokenry corpus predictive.")
    reading = replace(reading, columns=(), schema=None, sidecars=(str(sidecar),), signals=(LABEL,))
    texts: dict[str, list[str]] = {"negative": [], "positive": []}
    for unit in cut_units(source):
        for batch in read_unit(unit, reading, BadRows()):
            labels = batch.column(LABEL).to_pylist()
            for text, label in zip(batch.column("text").to_pylist(), labels, strict=True):
                if label is not None and text:
                    texts["positive" if label else "negative"].append(text)
    classes = {name: pa.table({"text": pa.array(found, pa.string())}) for name, found in texts.items()}
    return train_classifier(classes, out, positive="positive", seed=seed, **settings)
