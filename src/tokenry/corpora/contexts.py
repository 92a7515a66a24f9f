"""Compare how two corpora speak of the same things: toxicity where groups are named, or any score in any context.

For every descriptor of a lexicon the sentences that speak of it are found in both corpora, equally many different ones
are drawn, a scorer gives each a number, and Welch's test asks whether the means differ. A corpus that names a group
more often makes no difference by that alone, for samples are equal and rows are joined by the descriptor.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import functools
import math
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.intervals import wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.corpora.context_lexicon import PRONOUNS, Lexicon, hits, open_lexicon, pronouns
from tokenry.corpora.context_scorers import Scorer, open_scorer
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.units import Reading

__all__ = ["Side", "Welch", "benjamini_hochberg", "context_batch", "contexts", "drawn", "relative_change", "welch"]

_SENTENCES = pa.list_(pa.struct([("axis", pa.string()), ("descriptor", pa.string()), ("sentence", pa.string())]))
_NAMES = pa.list_(pa.string())
_SCHEMA = pa.schema([("id", pa.string()), ("sentences", _SENTENCES), ("axes", _NAMES), ("pronouns", _NAMES)])


@dataclass(frozen=True)
class Welch:
    """The difference of two means.

    Attributes:
        difference: first minus second.
        low: lower end of its 95 % interval; NaN where nothing varies.
        high: upper end.
        t: Welch's statistic.
        df: degrees of freedom (Welch-Satterthwaite).
        p: two-sided.
    """

    difference: float
    low: float
    high: float
    t: float
    df: float
    p: float


@dataclass(frozen=True)
class Side:
    """What one corpus gave.

    Attributes:
        samples: (axis, descriptor) -> sentences, ordered by the draw, different from one another.
        n_found: (axis, descriptor) -> different sentences there are in all.
        axes: axis -> documents that name a descriptor of it.
        pronouns: class -> documents with one.
        n_documents: in all.
    """

    samples: Mapping[tuple[str, str], list[str]]
    n_found: Mapping[tuple[str, str], int]
    axes: Mapping[str, int]
    pronouns: Mapping[str, int]
    n_documents: int


def contexts(
    corpus: object,
    reference: object,
    *,
    lexicon: str | Path | Mapping | Lexicon = "identities",
    scorer: str | Callable | Scorer,
    per_descriptor: int = 1000,
    per_document: int | None = None,
    least: int = 10,
    seed: int = 0,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Report:
    """Audit a corpus against a reference.

    Args:
        corpus: documents, as `core.tables.stream` reads them.
        reference: the documents it is compared with.
        lexicon: see `open_lexicon`.
        scorer: see `open_scorer`.
        per_descriptor: sentences drawn from each corpus for a descriptor, at most; of both the same number, without
            replacement (the paper draws again where a corpus is short, which makes equal sentences look like evidence).
        per_document: at most so many sentences of one document for a descriptor; None for all. Sentences of one
            document are alike: with few long documents set it to 1, or p-values are too small.
        least: descriptors with fewer in either corpus are listed, not tested.
        seed: of the draw, which is by hash: the order of documents and the number of workers do not matter.
        reading: how both are read.
        engine: an engine or its name. What is found lies in the folder for temporary files while it runs: on a cluster
            set TMPDIR to one that all workers see.

    Raises:
        ValueError: `per_descriptor` or `least` is too small.

    Paper: BeanCounter (arXiv 2409.17827), section 4; joined by descriptor, with Benjamini-Hochberg.
    """
    if per_descriptor < 2 or least < 2 or (per_document is not None and per_document < 1):
        raise ValueError(
            f"{per_descriptor} a descriptor, at least {least}, {per_document} a document; need 2, 2 and 1."
        )
    lexicon, scorer, engine = open_lexicon(lexicon), open_scorer(scorer), open_engine(engine)
    limits = (per_descriptor, per_document, seed)
    ours = _side(corpus, lexicon, limits, reading, engine)
    theirs = _side(reference, lexicon, limits, reading, engine)
    rows = []
    for axis, descriptor in lexicon.descriptors:
        first, second = (side.samples.get((axis, descriptor), []) for side in (ours, theirs))
        n = min(len(first), len(second))
        row: dict[str, object] = {"axis": axis, "descriptor": descriptor, "n": n,
                                  "found_a": ours.n_found.get((axis, descriptor), 0),
                                  "found_b": theirs.n_found.get((axis, descriptor), 0)}  # fmt: skip
        if n >= least:
            row |= _compared(scorer(first[:n]), scorer(second[:n]))
            row["examples"] = (first[0], second[0])
        rows.append(row)
    tested = [row for row in rows if "p" in row]
    for row, p in zip(tested, benjamini_hochberg([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = p
    facts = {"lexicon": lexicon.name, "scorer": scorer.name, "per_descriptor": per_descriptor, "seed": seed,
             "per_document": per_document, "least": least}  # fmt: skip
    return _report(rows, tested, (ours, theirs), facts)


def context_batch(batch: pa.RecordBatch, *, lexicon: Lexicon) -> pa.RecordBatch:
    """The sentences of each document that speak of the lexicon, its axes, its classes of pronouns; the same rows."""
    found, axes, classes = [], [], []
    for text in batch.column("text").to_pylist():
        named = hits(text or "", lexicon)
        found.append([{"axis": o.axis, "descriptor": o.descriptor, "sentence": o.sentence} for o in named])
        axes.append(sorted(lexicon.axes(text or "")))
        classes.append(pronouns(text or ""))
    ids = batch.column("id").cast(pa.string())
    return pa.RecordBatch.from_arrays(
        [ids, pa.array(found, _SENTENCES), pa.array(axes, _NAMES), pa.array(classes, _NAMES)], schema=_SCHEMA
    )


def drawn(mapped: Mapped, *, per_descriptor: int, per_document: int | None = None, seed: int = 0) -> Side:
    """Draw sentences from what `context_batch` left: those whose hash with the seed is smallest, each once.

    Memory holds `per_descriptor` sentences of each descriptor, and eight bytes for every different sentence.
    """
    import pyarrow.parquet as pq

    held: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    seen: dict[tuple[str, str], _Distinct] = defaultdict(_Distinct)
    axes, classes, n_documents = Counter(), Counter(), 0
    for part in mapped.parts:
        for batch in pq.ParquetFile(part).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                n_documents += 1
                classes.update(row["pronouns"])
                axes.update(row["axes"])
                for key, ranked in _ranked(row["sentences"], seed, per_document).items():
                    seen[key].update(rank for rank, _ in ranked)
                    held[key].update((sentence, rank) for rank, sentence in ranked)
                    if len(held[key]) > 4 * per_descriptor:
                        held[key] = dict(sorted(held[key].items(), key=lambda one: one[1])[:per_descriptor])
    samples = {
        key: [sentence for sentence, _ in sorted(found.items(), key=lambda one: one[1])[:per_descriptor]]
        for key, found in held.items()
    }
    return Side(samples, {key: found.count() for key, found in seen.items()}, axes, classes, n_documents)


class _Distinct:
    """Counts different hashes: a set of Python's integers takes ten times the memory."""

    def __init__(self) -> None:
        self._sorted, self._new = np.empty(0, np.uint64), array("Q")

    def update(self, hashes: Iterable[int]) -> None:
        """Add some."""
        self._new.extend(hashes)
        if len(self._new) > 1024 + len(self._sorted):
            self.count()

    def count(self) -> int:
        """How many different ones there were."""
        self._sorted = np.union1d(self._sorted, np.frombuffer(self._new, np.uint64))
        self._new = array("Q")
        return len(self._sorted)


def _ranked(
    found: list[dict[str, str]], seed: int, per_document: int | None
) -> dict[tuple[str, str], list[tuple[int, str]]]:
    made: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for one in found:
        rank = stable_hash(f"{seed}\0{one['sentence']}")
        made[one["axis"], one["descriptor"]].append((rank, one["sentence"]))
    if per_document is not None:
        return {key: sorted(set(ranked))[:per_document] for key, ranked in made.items()}
    return made


def _side(
    source: object, lexicon: Lexicon, limits: tuple[int, int | None, int], reading: Reading, engine: Engine
) -> Side:
    with tempfile.TemporaryDirectory(prefix=".contexts-") as scratch:
        key = fingerprint("contexts", 2, lexicon.name, {form: list(owner) for form, owner in lexicon.owners.items()})
        mapped = engine.map(source, functools.partial(context_batch, lexicon=lexicon), Path(scratch) / "found", key=key,
                            reading=reading, label="contexts")  # fmt: skip
        return drawn(mapped, per_descriptor=limits[0], per_document=limits[1], seed=limits[2])


def welch(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Welch:
    """Welch's t-test of two samples with unequal variances, two-sided, and the interval of the difference.

    Where neither sample varies, p is 1 for equal means and 0 for others, and there is no interval.

    Raises:
        ValueError: a sample has fewer than two values.
    """
    from scipy.special import stdtr, stdtrit

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} values; need two in each sample.")
    a, b = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    difference, error = float(first.mean() - second.mean()), math.sqrt(a + b)
    if error == 0:
        t = math.copysign(math.inf, difference) if difference else 0.0
        return Welch(difference, math.nan, math.nan, t, math.nan, 0.0 if difference else 1.0)
    share = a / (a + b)  # squares of very small variances would be 0
    df = 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(second) - 1))
    t = difference / error
    half = float(stdtrit(df, (1 + level) / 2)) * error
    return Welch(difference, difference - half, difference + half, t, df, float(2 * stdtr(df, -abs(t))))


def relative_change(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """mean(first) / mean(second) - 1 with an interval (delta method on the logarithm; the ends swap with the samples).

    NaN where a mean is not above 0.
    """
    from scipy.special import ndtri

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = float(first.mean()), float(second.mean())
    if not (a > 0 and b > 0):
        return (-1.0 if a == 0 and b > 0 else math.nan), math.nan, math.nan
    error = math.sqrt(first.var(ddof=1) / len(first) / a**2 + second.var(ddof=1) / len(second) / b**2)
    half = float(ndtri((1 + level) / 2)) * error
    return a / b - 1, a / b * math.exp(-half) - 1, a / b * math.exp(half) - 1


def benjamini_hochberg(p: list[float]) -> list[float]:
    """Adjusted p-values: a rule `adjusted <= q` finds at most a share q of false ones (independent tests)."""
    values = np.asarray(p, np.float64)
    if not len(values):
        return []
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(values[order] * len(values) / ranks))
    return adjusted.tolist()


def _compared(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    test = welch(first, second)
    change, low, high = relative_change(first, second)
    return {"mean_a": float(first.mean()), "mean_b": float(second.mean()), "difference": test.difference,
            "difference_low": test.low, "difference_high": test.high, "relative_change": change, "change_low": low,
            "change_high": high, "t": test.t, "df": test.df, "p": test.p}  # fmt: skip


def _report(rows: list[dict], tested: list[dict], sides: tuple[Side, Side], facts: dict[str, object]) -> Report:
    ours, theirs = sides
    kinds = {"axis": pa.string(), "descriptor": pa.string(), "n": pa.int64()}
    found = {"found_a": pa.int64(), "found_b": pa.int64()}
    first = ["mean_a", "mean_b", "difference", "difference_low", "difference_high", "p_adjusted"]
    last = ["p", "t", "df", "relative_change", "change_low", "change_high"]
    floats = dict.fromkeys([*first, *last], pa.float64())
    schema = pa.schema((kinds | floats | found).items())
    axes = dict.fromkeys(row["axis"] for row in rows)
    n_found = sum(row["p_adjusted"] <= 0.05 for row in tested)
    lower = sum(row["p_adjusted"] <= 0.05 and row["difference"] < 0 for row in tested)
    facts |= {"documents_a": ours.n_documents, "documents_b": theirs.n_documents, "descriptors": len(rows),
              "tested": len(tested), "differ": n_found, "lower": lower}  # fmt: skip
    if tested:
        facts["mean_difference"] = float(np.mean([row["difference"] for row in tested]))
    points = [(row["descriptor"], row["difference"], row["difference_low"], row["difference_high"]) for row in tested]
    untested = [row for row in rows if "p" not in row]
    few = len(untested)
    return Report(
        kind="contexts",
        title="Contexts",
        facts=facts,
        tables={
            "descriptors": pa.Table.from_pylist(sorted(tested, key=lambda row: row["difference"]), schema),
            "prevalence of axes": _prevalence(axes, ours.axes, theirs.axes, sides, "axis"),
            "prevalence of pronouns": _prevalence(PRONOUNS, ours.pronouns, theirs.pronouns, sides, "pronouns"),
            "sentences": _examples(tested),
            "too few to test": pa.Table.from_pylist(untested, pa.schema((kinds | found).items())),
        },
        figures=[Figure("interval", "Difference of means", "descriptor", "corpus minus reference", {"95 %": points})]
        if points else [],
        verdict=f"{n_found} of {len(tested)} descriptors differ (Benjamini-Hochberg at 5 %), {lower} of them lower in "
        "the corpus than in the reference.",
        warnings=[f"{few} descriptors have too few sentences in one corpus to be tested."] if few else [],
        notes=[
            "Equal numbers of different sentences of each descriptor, drawn by hash; a sentence counts for its longest "
            "descriptor. A low score is no proof of fairness: formal text can hide what it means.",
            "Sentences of one document are not independent; where documents are few and long, draw one of each.",
        ],
    )  # fmt: skip


def _examples(tested: list[dict]) -> pa.Table:
    """The first of the sentences drawn: whether a descriptor is meant as one ("American" in firms' names) is seen."""
    rows = [{"descriptor": row["descriptor"], "corpus": row["examples"][0][:200], "reference": row["examples"][1][:200]}
            for row in tested]  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema(dict.fromkeys(("descriptor", "corpus", "reference"), pa.string())))


def _prevalence(
    names: Mapping, ours: Mapping[str, int], theirs: Mapping[str, int], sides: tuple[Side, Side], label: str
) -> pa.Table:
    rows = []
    for name in names:
        row: dict[str, object] = {label: name}
        for side, counts, mark in ((sides[0], ours, "a"), (sides[1], theirs, "b")):
            found = wilson_interval(counts.get(name, 0), max(1, side.n_documents))
            row |= {f"share_{mark}": found.value, f"low_{mark}": found.low, f"high_{mark}": found.high}
        rows.append(row)
    return pa.Table.from_pylist(rows)
