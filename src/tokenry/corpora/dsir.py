"""How much more a document looks like a target than like the corpus it lies in: DSIR's importance weights.

A document is a bag of hashed words and pairs of words. Two multinomials are estimated, one on the target, one on the
corpus; the log weight of a document is the sum over its words and pairs of how much likelier the target makes them.
Sampling with p ~ weight (`mechanisms.softened`, `tokenry corpus select --temperature 1`) gives a corpus whose words are
spread as in the target; the report says how much nearer it came (KL reduction).

Paper: Data Selection for Language Models via Importance Resampling (arXiv 2302.03169).
"""

import functools
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import atomic_folder, atomic_write
from tokenry.corpora.engine import Engine, open_engine
from tokenry.corpora.families import FLOAT
from tokenry.corpora.linear import Features
from tokenry.corpora.prepared import Prepared
from tokenry.corpora.units import Reading

__all__ = ["Bag", "Weights", "count", "kl_divergence", "kl_reduction", "score"]

# Axes: D documents, K buckets, L classes of length.

VERSION = 1
_MOST_BUCKETS = 1 << 22
_AT_ONCE = 1 << 22  # counts in memory at one time
_LENGTHS = 64  # classes of length, each a quarter of an octave of words wide: 1 to 60,000 words


@dataclass(frozen=True)
class Bag:
    """How a text becomes a bag.

    Attributes:
        buckets: of the hash table.
        ngrams: longest run of words.
        words: as `linear.WORDS`; with "lowered" runs of letters and runs of marks in lower case, as the paper's code.
    """

    buckets: int = 10_000
    ngrams: int = 2
    words: str = "lowered"

    def __post_init__(self) -> None:
        if not 16 <= self.buckets <= _MOST_BUCKETS or not 1 <= self.ngrams <= 8:
            raise ValueError(
                f"buckets={self.buckets}, ngrams={self.ngrams}; need 16 to {_MOST_BUCKETS:,} and 1 to 8. The paper has "
                "10,000 and 2."
            )
        if self.words != "lowered":
            Features(words=self.words)

    def of(self, texts: pa.Array | Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hashes of the words of all texts, where each text's begin (D + 1,), and which texts are given (D,)."""
        import pyarrow.compute as pc

        if self.words == "lowered":
            texts = texts.texts if isinstance(texts, Prepared) else texts.cast(pa.string())
            prepared = Prepared(pc.utf8_lower(texts))
            words = prepared.tokens
        else:
            prepared = texts if isinstance(texts, Prepared) else Prepared(texts.cast(pa.string()))
            words = getattr(prepared, self.words)
        return words.hashes, words.offsets, prepared.given


@dataclass(frozen=True, eq=False)
class Counts:
    """What stands in a set of documents.

    Attributes:
        buckets_K: int64, occurrences of each bucket.
        lengths_L: int64, documents of each class of length.
    """

    buckets_K: np.ndarray
    lengths_L: np.ndarray

    @property
    def n(self) -> int:
        """Words and runs of words in all."""
        return int(self.buckets_K.sum())

    @property
    def mean_words(self) -> float:
        """Words of a document, where words and pairs were counted: n words have n - 1 pairs."""
        n_documents, n_empty = int(self.lengths_L.sum()), int(self.lengths_L[0])
        return (self.n + n_documents - n_empty) / 2 / n_documents


@dataclass(frozen=True, eq=False)
class Weights:
    """The two estimates of DSIR, and what follows from them.

    Attributes:
        bag: how texts are read.
        target, raw: counts of the target and of the corpus.
        smoothing: added to every probability (1e-8 in the paper's code).
    """

    bag: Bag
    target: Counts
    raw: Counts
    smoothing: float = 1e-8

    def __post_init__(self) -> None:
        if not self.target.n or not self.raw.n:
            empty = "target" if not self.target.n else "corpus"
            raise ValueError(f"the {empty} has no words. Need documents with text on both sides.")
        if not self.smoothing > 0:
            raise ValueError(
                f"smoothing={self.smoothing}; need a number above 0, or unseen words weigh minus infinity."
            )

    @functools.cached_property
    def log_ratios(self) -> np.ndarray:
        """log p_target - log p_raw of each bucket, float64."""
        target_K, raw_K = (one.buckets_K / one.n for one in (self.target, self.raw))
        return np.log(target_K + self.smoothing) - np.log(raw_K + self.smoothing)

    @functools.cached_property
    def log_lengths(self) -> np.ndarray:
        """log p_target - log p_raw of each class of length, one document added to each class."""
        target_L, raw_L = (one.lengths_L + 1.0 for one in (self.target, self.raw))
        return np.log(target_L / target_L.sum()) - np.log(raw_L / raw_L.sum())

    def of(self, texts: pa.Array | Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log weight, number of words and runs, and log ratio of the length of each text (D,); nan without a text."""
        from tokenry.corpora.dsir_kernels import bag_sums

        hashes, offsets, given = self.bag.of(texts)
        sums_D, n_D = bag_sums(hashes, offsets, self.log_ratios, self.bag.ngrams)
        lengths_D = self.log_lengths[length_class(np.diff(offsets))]
        return np.where(given, sums_D, np.nan), n_D, np.where(given, lengths_D, np.nan)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with anything that decides a weight."""
        counts = [self.target.buckets_K, self.target.lengths_L, self.raw.buckets_K, self.raw.lengths_L]
        return fingerprint("dsir", VERSION, asdict(self.bag), self.smoothing, counts)

    def save(self, folder: str | Path) -> Path:
        """Write the estimates into a folder that appears whole."""
        with atomic_folder(folder) as part:
            counts = np.concatenate(
                [self.target.buckets_K, self.raw.buckets_K, self.target.lengths_L, self.raw.lengths_L]
            )
            np.save(part / "counts.npy", counts)
            record = {"format": 1, "bag": asdict(self.bag), "smoothing": self.smoothing}
            atomic_write(part / "dsir.json", json.dumps(record, indent=1) + "\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Weights":
        """Open what `save` wrote.

        Raises:
            FileNotFoundError: it is not there. ValueError: it is none of ours.
        """
        folder = Path(folder)
        if not (folder / "dsir.json").is_file():
            raise FileNotFoundError(
                f"no dsir.json in {folder}. Need the OUT.model that `tokenry corpus utility --method dsir --out OUT` "
                "left."
            )
        record = json.loads((folder / "dsir.json").read_text(encoding="utf-8"))
        bag = Bag(**record["bag"])
        counts = np.load(folder / "counts.npy", allow_pickle=False)
        if counts.dtype != np.int64 or counts.shape != (2 * (bag.buckets + _LENGTHS),):
            raise ValueError(
                f"{folder / 'counts.npy'} has shape {counts.shape}; it is cut or of another run. Fit again."
            )
        target_K, raw_K, target_L, raw_L = np.split(counts, np.cumsum([bag.buckets, bag.buckets, _LENGTHS]))
        return cls(bag, Counts(target_K, target_L), Counts(raw_K, raw_L), record["smoothing"])


def length_class(n_words_D: np.ndarray) -> np.ndarray:
    """The class of a length in words: quarters of an octave, the last one open."""
    return np.minimum((4 * np.log2(np.asarray(n_words_D, np.float64) + 1)).astype(np.int64), _LENGTHS - 1)


def counts_of(texts: pa.Array, bag: Bag) -> Counts:
    """What stands in some texts."""
    from tokenry.corpora.dsir_kernels import bag_counts

    hashes, offsets, given = bag.of(texts)
    lengths_L = np.bincount(length_class(np.diff(offsets))[given], minlength=_LENGTHS)
    return Counts(bag_counts(hashes, offsets, bag.buckets, bag.ngrams), lengths_L)


def added(counts: Iterable[Counts], bag: Bag) -> Counts:
    """The sum of counts."""
    buckets_K, lengths_L = np.zeros(bag.buckets, np.int64), np.zeros(_LENGTHS, np.int64)
    for one in counts:
        buckets_K += one.buckets_K
        lengths_L += one.lengths_L
    return Counts(buckets_K, lengths_L)


def count(
    source: object,
    beside: str | Path,
    *,
    bag: Bag = Bag(),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
    label: str = "counting words",
) -> Counts:
    """Count the bags of a corpus, a pass over it on any engine.

    Args:
        source: documents, as `core.tables.stream` reads them.
        beside: a path that does not exist yet, for the counts of the parts while the pass lasts.
        bag: how texts are read.
        reading, engine: as everywhere.
        label: what progress calls it.
    """
    folder = Path(beside)
    made = open_engine(engine).map(
        source, functools.partial(counted, bag=bag), folder, key=fingerprint("dsir.count", VERSION, asdict(bag)),
        reading=reading, label=label,
    )  # fmt: skip
    try:
        return added((_counts_in(part, bag) for part in made.parts), bag)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def counted(batch: pa.RecordBatch, *, bag: Bag) -> pa.RecordBatch:
    """The counts of a batch as one row."""
    counts = counts_of(batch.column("text"), bag)
    columns = {"buckets": counts.buckets_K, "lengths": counts.lengths_L}
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(values, pa.int64()), len(values)) for values in columns.values()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _counts_in(part: Path, bag: Bag) -> Counts:
    import pyarrow.parquet as pq

    found = []
    for batch in pq.ParquetFile(part).iter_batches(batch_size=max(1, _AT_ONCE // bag.buckets)):
        rows = {
            name: batch.column(name).flatten().to_numpy().reshape(batch.num_rows, -1) for name in batch.schema.names
        }
        found.append(Counts(rows["buckets"].sum(axis=0), rows["lengths"].sum(axis=0)))
    return added(found, bag)


def score(batch: pa.RecordBatch, weights: Weights) -> pa.RecordBatch:
    """The signals of a batch.

    `dsir.log_weight` is the paper's; it grows with the length of the document. `dsir.log_weight_per_ngram` is the same
    for each word and pair, which a length does not enter. `dsir.log_length_ratio` says how much likelier a document of
    so many words is in the target than in the corpus: added to the log weight, lengths are matched too.
    """
    names = ("dsir.log_weight", "dsir.log_weight_per_ngram", "dsir.log_length_ratio")
    columns = dict(zip(names, log_weights(batch.column("text"), weights), strict=True))
    version = {"version": weights.fingerprint}
    arrays = [batch.column("id").cast(pa.string()), *(pa.array(v, FLOAT, from_pandas=True) for v in columns.values())]
    fields = [pa.field("id", pa.string()), *(pa.field(name, FLOAT, metadata=version) for name in columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def log_weights(texts: pa.Array | Prepared, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log weight, log weight a word or pair, and log ratio of the length of each text (D,); nan where there is none."""
    sums_D, n_D, lengths_D = weights.of(texts)
    return sums_D, np.divide(sums_D, n_D, out=np.full(len(sums_D), np.nan), where=n_D > 0), lengths_D


def kl_divergence(counts_K: np.ndarray, other_K: np.ndarray, *, smoothing: float = 1e-8) -> float:
    """KL(counts || other) of two estimates, in nats; `smoothing` is added to every probability."""
    p_K, q_K = (np.asarray(one, np.float64) / max(1, np.sum(one)) + smoothing for one in (counts_K, other_K))
    p_K, q_K = p_K / p_K.sum(), q_K / q_K.sum()
    return float(np.sum(p_K * np.log(p_K / q_K)))


def kl_reduction(
    target: Counts | np.ndarray, chosen: Counts | np.ndarray, random: Counts | np.ndarray, *, smoothing: float = 1e-8
) -> float:
    """KL(target || random) - KL(target || chosen), in nats: how much nearer to the target choosing came than chance.

    Paper: Data Selection for Language Models via Importance Resampling (arXiv 2302.03169), section 4.
    """
    target_K, chosen_K, random_K = (
        one.buckets_K if isinstance(one, Counts) else one for one in (target, chosen, random)
    )
    return kl_divergence(target_K, random_K, smoothing=smoothing) - kl_divergence(
        target_K, chosen_K, smoothing=smoothing
    )


def fit(
    source: object,
    targets: Sequence[str | Path],
    folder: str | Path,
    *,
    bag: Bag = Bag(),
    smoothing: float = 1e-8,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Weights:
    """Estimate both sides and keep them in a folder; a finished one is opened.

    Args:
        source: the corpus.
        targets: documents of the target.
        folder: of the estimates, see `Weights.load`.
        bag, smoothing: see there.
        reading, engine: as everywhere.
    """
    folder = Path(folder)
    if folder.exists():
        return Weights.load(folder)
    hidden = folder.parent / f".{folder.name}"
    plain = Reading(text=reading.text, columns=(), skip_bad=reading.skip_bad)
    target = count([str(one) for one in targets], Path(f"{hidden}.target"), bag=bag, reading=plain, engine=engine,
                   label="counting the target")  # fmt: skip
    raw = count(source, Path(f"{hidden}.raw"), bag=bag, reading=plain, engine=engine, label="counting the corpus")
    weights = Weights(bag, target, raw, smoothing)
    weights.save(folder)
    return weights
