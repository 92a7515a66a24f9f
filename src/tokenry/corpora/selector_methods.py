"""The selectors that read texts: how each measures what documents are worth, and what its paper keeps by it.

Papers: Data Selection for Language Models via Importance Resampling (arXiv 2302.03169); CCNet (arXiv 1911.00359); When
Less is More (arXiv 2309.04564); Prioritized Training (arXiv 2206.07137); Deep Learning on a Data Diet
(arXiv 2107.07075); DataComp-LM (arXiv 2406.11794); Language Models are Few-Shot Learners (arXiv 2005.14165).
"""

import functools
import heapq
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.corpora.engine import Mapped
from tokenry.corpora.selector_jobs import Job, finished, number, optional, whole
from tokenry.corpora.selectors import Selector
from tokenry.corpora.sidecars import read_signals

# Axes: D documents, C classes.

_TRAINED_ON = 4000  # documents of the corpus a classifier is learnt from


def with_source(batch: pa.RecordBatch, *state: object, function: Callable) -> pa.RecordBatch:
    """What `function` measures, and the source of each document beside it."""
    made = function(batch, *state)
    source = batch.column("source").cast(pa.string())
    fields = [*made.schema, pa.field("source", pa.string())]
    return pa.RecordBatch.from_arrays([*made.columns, source], schema=pa.schema(fields))


# Nearness to a target: DSIR.


def measure_dsir(job: Job) -> Mapped:
    """`dsir.log_weight`, `dsir.log_weight_per_ngram`, `dsir.log_length_ratio`."""
    from tokenry.corpora import dsir

    bag = dsir.Bag(whole(job, "buckets"), whole(job, "ngrams"), str(job.options["words"]))
    dsir.fit(job.source, job.means.targets, job.model, bag=bag, smoothing=number(job, "smoothing"),
             reading=job.reading, engine=job.engine)  # fmt: skip
    return job.map(dsir.score, setup=functools.partial(dsir.Weights.load, str(job.model)))


# Perplexity.


def _ranked(job: Job, function: Callable, setup: Callable, column: str) -> Mapped:
    """A column of bits, and its rank and third among the documents of the same source."""
    from tokenry.corpora.perplexity import PARTS, ranks_within

    hidden = job.hidden("bits")
    made = job.map(functools.partial(with_source, function=function), hidden, setup=setup)
    table = read_signals(hidden)
    values_D = table.column(column).to_numpy()
    cells = table.column("source").combine_chunks().dictionary_encode()
    cells = cells.chunk(0) if isinstance(cells, pa.ChunkedArray) else cells
    ranks_D, parts_D = ranks_within(values_D, cells.indices.fill_null(-1).to_numpy())
    family = column.rpartition(".")[0]
    columns = {
        column: table.column(column),
        f"{family}.rank": pa.array(ranks_D, pa.float64(), from_pandas=True),
        f"{family}.part": pa.array(PARTS, pa.string()).take(pa.array(parts_D, mask=parts_D < 0)),
    }
    return finished(job, made, columns, hidden)


def measure_ngram(job: Job) -> Mapped:
    """`ngram.bits_per_byte` under n-grams of the target, or of the corpus itself where none is given; rank and part."""
    from tokenry.corpora.perplexity import open_ngrams, saved_ngrams, signals

    texts = job.target_texts() if job.means.targets else job.texts()
    saved_ngrams(texts, job.model, order=whole(job, "order"), most_bytes=whole(job, "most_bytes"),
                 targets=job.means.targets)  # fmt: skip
    setup = functools.partial(open_ngrams, {"ngram.bits_per_byte": str(job.model)})
    return _ranked(job, signals, setup, "ngram.bits_per_byte")


def measure_moore_lewis(job: Job) -> Mapped:
    """`moore_lewis.target`, `moore_lewis.corpus` (bits per byte) and `moore_lewis.difference`."""
    from tokenry.corpora.perplexity import open_ngrams, saved_ngrams, signals

    folders = {side: job.model / side for side in ("target", "corpus")}
    options = {name: whole(job, name) for name in ("order", "most_bytes")}
    job.model.mkdir(exist_ok=True)
    saved_ngrams(job.target_texts(), folders["target"], targets=job.means.targets, **options)
    saved_ngrams(job.texts(), folders["corpus"], **options)
    columns = [f"moore_lewis.{side}" for side in folders]
    function = functools.partial(signals, difference=("moore_lewis.difference", *columns))
    setup = functools.partial(open_ngrams, dict(zip(columns, map(str, folders.values()), strict=True)))
    return job.map(function, setup=setup)


def _reading_of(job: Job) -> dict[str, int | None]:
    return {"piece_bytes": whole(job, "piece_bytes", 4), "lead_bytes": optional(job, "lead_bytes")}


def measure_lm(job: Job) -> Mapped:
    """`lm.bits_per_byte`, rank and part."""
    from tokenry.corpora.perplexity import open_models, signals

    setup = functools.partial(open_models, {"lm.bits_per_byte": job.means.model}, **_reading_of(job))
    return _ranked(job, signals, setup, "lm.bits_per_byte")


def measure_rho(job: Job) -> Mapped:
    """`rho.current`, `rho.reference` (bits per byte) and `rho.excess`."""
    from tokenry.corpora.perplexity import open_models, signals

    paths = {"rho.current": job.means.model, "rho.reference": job.means.reference}
    function = functools.partial(signals, difference=("rho.excess", *paths))
    return job.map(function, setup=functools.partial(open_models, paths, **_reading_of(job)))


# Classifiers.


def _classifier_folder(job: Job) -> str:
    """The classifier that is given, or one of target against corpus, trained now."""
    from tokenry.corpora.linear import LinearClassifier
    from tokenry.corpora.ngram_lm import sampled

    if job.means.classifier:
        return str(job.means.classifier)
    if not job.model.exists():
        most = whole(job, "most_bytes")
        good, plain = (sampled(texts, most_bytes=most) for texts in (job.target_texts(), job.texts()))
        labels = ["target"] * len(good) + ["corpus"] * len(plain)
        made = LinearClassifier.train([*good, *plain], labels, epochs=whole(job, "epochs"),
                                      seed=job.means.seed)  # fmt: skip
        made.save(job.model)
    return str(job.model)


def measure_classifier(job: Job) -> Mapped:
    """`quality.classifier`: the probability of the good class (of the target, where one is trained now)."""
    from tokenry.corpora.linear import LinearClassifier, score

    folder = _classifier_folder(job)
    function = functools.partial(score, name="classifier") if job.means.classifier else of_the_target
    return job.map(function, setup=functools.partial(LinearClassifier.load, folder))


def of_the_target(batch: pa.RecordBatch, classifier: object) -> pa.RecordBatch:
    """`quality.classifier`: how likely a document is of the target, were there as much of it as of the corpus.

    A classifier learns how many of each it saw, and a target is small: by its own probabilities a noisy draw would keep
    next to nothing of either. Bayes' rule takes the counts out; the order of the documents stays.
    """
    from tokenry.corpora.families import FLOAT
    from tokenry.corpora.linear import score

    made = score(batch, classifier, name="classifier", positive="target")
    place = made.schema.get_field_index("quality.classifier")
    n = classifier.record["texts"]
    p_D = made.column(place).to_numpy(zero_copy_only=False)
    target_D, corpus_D = p_D / n["target"], (1 - p_D) / n["corpus"]
    even = pa.array(target_D / (target_D + corpus_D), FLOAT, from_pandas=True)
    return made.set_column(place, made.schema.field(place), even)


def el2n(batch: pa.RecordBatch, classifier: object, *, label: str) -> pa.RecordBatch:
    """`el2n.error` of a batch, under a classifier of the column `label`."""
    from tokenry.corpora.families import FLOAT, need_column
    from tokenry.corpora.perplexity import error_norm

    labels = need_column(batch, label, "classes").to_pylist()
    places = {name: place for place, name in enumerate(classifier.classes)}
    labels_D = np.array([-1 if one is None else places.get(str(one), -1) for one in labels], np.int64)
    probabilities_DC = classifier.probabilities(batch.column("text").cast(pa.string()).to_pylist())
    values = pa.array(error_norm(probabilities_DC, labels_D), FLOAT, from_pandas=True)
    return pa.RecordBatch.from_arrays([batch.column("id").cast(pa.string()), values], names=["id", "el2n.error"])


def measure_el2n(job: Job) -> Mapped:
    """`el2n.error`: how wrong a classifier of the column `label` is after one epoch over some of the corpus."""
    from tokenry.corpora.linear import LinearClassifier

    label = job.means.label
    if not job.model.exists():
        # Those with the lowest hashes: a sample of the corpus that no order changes, and no more of it in memory.
        chosen = heapq.nsmallest(whole(job, "documents", 2), _labelled(job))
        LinearClassifier.train([one[2] for one in chosen], [one[3] for one in chosen], epochs=whole(job, "epochs"),
                               seed=job.means.seed).save(job.model)  # fmt: skip
    setup = functools.partial(LinearClassifier.load, str(job.model))
    extra = () if label in ("id", "text", "source") else (label,)
    return job.map(functools.partial(el2n, label=label), setup=setup, columns=extra)


def _labelled(job: Job) -> Iterator[tuple[int, int, str, str]]:
    """Hash, place, text and class of the documents that have both."""
    from tokenry.core.hashing import stable_hash
    from tokenry.core.tables import stream
    from tokenry.corpora.families import need_column

    place = 0
    for batch in stream(job.source, text=job.reading.text, skip_bad=job.reading.skip_bad):
        labels = need_column(batch, job.means.label, "classes").to_pylist()
        for text, label in zip(batch.column("text").to_pylist(), labels, strict=True):
            place += 1
            if text and label is not None:
                yield stable_hash(f"{job.means.seed} {text}"), place, text, str(label)


def measure_duplicates(job: Job, *, method: str) -> Mapped:
    """`dedup.METHOD.duplicate_of` and `.cluster_size`."""
    from tokenry.corpora.dedup import Settings, dedup

    hidden = job.hidden("dedup")
    made = dedup(job.source, hidden, settings=Settings(method=method), reading=job.reading,
                 engine=job.engine).decisions  # fmt: skip
    table = read_signals(hidden)
    columns = {name: table.column(name) for name in table.column_names if name != "id"}
    return finished(job, made, columns, hidden, Path(f"{hidden}.index"), Path(f"{hidden}.report"))


_NGRAMS = {"order": 6, "most_bytes": 16 * 2**20}
_LM = {"piece_bytes": 1024, "lead_bytes": None}
_UNIQUE = "missing(dedup.{}.duplicate_of)"

RANDOM = Selector(
    "random", "baseline", "none", "any documents, the control that every selector must beat", "", "none")  # fmt: skip
DSIR = Selector(
    "dsir", "domain-specific", "distribution matching",
    "samples by how much likelier a target makes a document's words and pairs of words",
    "arXiv 2302.03169", "two passes, no model", measure_dsir, {"score": "dsir.log_weight", "temperature": 1.0},
    ("targets",), {"buckets": 10_000, "ngrams": 2, "words": "lowered", "smoothing": 1e-8},
)  # fmt: skip
DSIR_LENGTH = Selector(
    "dsir-length", "domain-specific", "distribution matching",
    "as dsir, per word and pair, so that a document's length does not decide; best first",
    "arXiv 2302.03169", "two passes, no model", measure_dsir, {"score": "dsir.log_weight_per_ngram"}, ("targets",),
    {"buckets": 10_000, "ngrams": 2, "words": "lowered", "smoothing": 1e-8},
)  # fmt: skip
MOORE_LEWIS = Selector(
    "moore-lewis", "domain-specific", "distribution matching",
    "bits per byte under n-grams of the target minus those under n-grams of the corpus, lowest first",
    "Moore and Lewis 2010", "two trainings and a pass, no model", measure_moore_lewis,
    {"score": "-moore_lewis.difference"}, ("targets",), _NGRAMS,
)  # fmt: skip
NGRAM = Selector(
    "ngram", "data quality", "quality", "bits per byte under n-grams of a target (or of the corpus), lowest first",
    "arXiv 1911.00359", "a training and a pass, no model", measure_ngram, {"score": "-ngram.bits_per_byte"}, (),
    _NGRAMS,
)  # fmt: skip
NGRAM_MIDDLE = Selector(
    "ngram-middle", "data quality", "quality", "as ngram, but the middle of each source first",
    "arXiv 2309.04564", "a training and a pass, no model", measure_ngram, {"score": "-abs(ngram.rank - 0.5)"}, (),
    _NGRAMS,
)  # fmt: skip
LM = Selector(
    "lm", "data quality", "quality", "bits per byte under any language model, lowest first", "arXiv 1911.00359",
    "a model's pass", measure_lm, {"score": "-lm.bits_per_byte"}, ("model",), _LM,
)  # fmt: skip
LM_MIDDLE = Selector(
    "lm-middle", "data quality", "quality", "as lm, but the middle of each source first", "arXiv 2309.04564",
    "a model's pass", measure_lm, {"score": "-abs(lm.rank - 0.5)"}, ("model",), _LM,
)  # fmt: skip
CLASSIFIER = Selector(
    "classifier", "data quality", "quality",
    "probability of being good under a linear classifier (given, or of target against corpus), best first",
    "arXiv 2406.11794", "a training and a pass, no model", measure_classifier, {"score": "quality.classifier"},
    ("classifier|targets",), {"epochs": 3, "most_bytes": 16 * 2**20},
)  # fmt: skip
CLASSIFIER_NOISY = Selector(
    "classifier-noisy", "data quality", "quality", "as classifier, kept when a Pareto draw exceeds 1 - probability",
    "arXiv 2005.14165", "a training and a pass, no model", measure_classifier,
    {"score": "quality.classifier", "noisy": 9.0}, ("classifier|targets",), {"epochs": 3, "most_bytes": 16 * 2**20},
)  # fmt: skip
EXACT = Selector(
    "exact", "deduplication", "diversification", "one of each set of documents with the same words",
    "arXiv 2411.12372", "one pass, no model", functools.partial(measure_duplicates, method="exact"),
    {"rules": {"duplicate": _UNIQUE.format("exact")}},
)  # fmt: skip
MINHASH = Selector(
    "minhash", "deduplication", "diversification", "one of each set of near duplicates (MinHash-LSH, 14 bands of 8)",
    "arXiv 2411.12372", "one pass, no model", functools.partial(measure_duplicates, method="minhash"),
    {"rules": {"near duplicate": _UNIQUE.format("minhash")}},
)  # fmt: skip
RHO = Selector(
    "rho", "training signal", "distribution matching",
    "bits per byte under the model in training minus those under a reference of the target, highest first",
    "arXiv 2206.07137", "two models' passes", measure_rho, {"score": "rho.excess"}, ("model", "reference"), _LM,
)  # fmt: skip
EL2N = Selector(
    "el2n", "training signal", "diversification", "how wrong an early classifier of --label is, the hardest first",
    "arXiv 2107.07075", "a training and a pass, no model", measure_el2n, {"score": "el2n.error"}, ("label",),
    {"epochs": 1, "documents": _TRAINED_ON},
)  # fmt: skip
