"""A small fast text classifier for quality, toxicity or domains: hashed word n-grams, one linear layer, softmax.

It is of fastText's class. As there: every run of 1 to n words of a text has a vector, a text is a weighted sum of its
runs' vectors, a softmax over classes is trained by plain stochastic gradient descent whose rate falls to 0. Otherwise:

- No hidden layer. fastText factors the vector of a run as (dim) x (dim, classes); without a bound on rank that is the
  same set of functions for up to `dim` + 1 classes, so for two classes nothing is lost but the file's size (2 MB here).
- A text is the square roots of its runs' shares, a vector of unit length (fastText: the mean), so that one rate fits
  short and long texts.
- Words go into the hash table too (fastText keeps a dictionary of them and hashes only longer runs). The end of a text
  is a feature, as there; there is no other bias.
- One thread, so equal input gives equal weights.

Words are those of `corpora.prepared`; their definition is part of the file, so a text is cut the same way in training
and in use.

Papers: Bag of Tricks for Efficient Text Classification (arXiv 1607.01759); Feature Hashing for Large Scale Multitask
Learning (arXiv 0902.2206); the use of it: Predictive Data Selection (arXiv 2503.00808).
"""

import functools
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.corpora.families import FLOAT
from tokenry.corpora.prepared import Prepared

__all__ = ["WORDS", "Features", "LinearClassifier", "columns_of", "score", "signal_name"]

# Axes: D documents, F features of all of them, K buckets, C classes.

WORDS = ("tokens", "folded", "words")
"""How a text is cut: runs of letters and runs of marks as they stand; RedPajama's normalised words (lower case, no
punctuation); what white space divides (fastText's words)."""
FORMAT = 1
MOST_BUCKETS, MOST_CLASSES, MOST_WEIGHTS = 1 << 26, 10_000, 1 << 28
_CHUNK = 1 << 20  # characters prepared at a time, some 40 bytes of memory for each
_SHORTEST_TABLE = 16
_RECORD, _WEIGHTS = "classifier.json", "weights.npy"


@dataclass(frozen=True)
class Features:
    """What of a text is looked at; it travels in the file.

    Attributes:
        buckets: of the hash table, shared by all n-grams.
        ngrams: longest run of words.
        characters: shortest and longest run of characters within a word whose ends are marked, (0, 0) for none.
        words: one of `WORDS`.
    """

    buckets: int = 1 << 18
    ngrams: int = 2
    characters: tuple[int, int] = (0, 0)
    words: str = "tokens"

    def __post_init__(self) -> None:
        object.__setattr__(self, "characters", tuple(self.characters))
        if self.words not in WORDS:
            raise ValueError(f"words={self.words!r}.{suggest(str(self.words), WORDS)} Need one of {', '.join(WORDS)}.")
        if not _SHORTEST_TABLE <= self.buckets <= MOST_BUCKETS:
            raise ValueError(f"{self.buckets} buckets; need {_SHORTEST_TABLE} to {MOST_BUCKETS:,}. 262144 is usual.")
        if not 1 <= self.ngrams <= 8:
            raise ValueError(f"runs of {self.ngrams} words; need 1 to 8. 2 is usual.")
        shortest, longest = self.characters
        if not (shortest == longest == 0 or 1 <= shortest <= longest <= 12):
            raise ValueError(f"runs of {shortest} to {longest} characters; need 1 to 12, or 0 and 0 for none.")

    def of(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Buckets (F,), values (F,) and where each document's begin (D + 1,)."""
        from tokenry.corpora.characters import classes
        from tokenry.corpora.linear_kernels import features

        words = getattr(prepared, self.words)
        return features(
            words.hashes, words.begins, words.ends, words.offsets, prepared.codes, classes().lower,
            self.buckets, self.ngrams, *self.characters,
        )  # fmt: skip

    def of_texts(self, texts: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for texts, a piece at a time."""
        made = [self.of(prepared) for prepared in _pieces(texts)]
        if not made:
            return np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(1, np.int64)
        sizes = np.concatenate([np.diff(rows) for _, _, rows in made])
        rows = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return np.concatenate([one[0] for one in made]), np.concatenate([one[1] for one in made]), rows


def _pieces(texts: Iterable[str | None]) -> Iterator[Prepared]:
    held, size = [], 0
    for text in texts:
        held.append(text)
        size += len(text or "")
        if size >= _CHUNK:
            yield Prepared(_strings(held))
            held, size = [], 0
    if held:
        yield Prepared(_strings(held))


def _strings(texts: list[str | None]) -> pa.StringArray:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # half a surrogate pair, from broken JSON
        return pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """A trained classifier.

    Attributes:
        classes: names, in the order of the columns of `probabilities`.
        features: what of a text it looks at.
        weights_KC: float32 (buckets, classes).
        record: provenance: how it was trained, on how much, under which Unicode.
    """

    classes: list[str]
    features: Features
    weights_KC: np.ndarray
    record: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        labels: Sequence[object],
        *,
        buckets: int = 1 << 18,
        ngrams: int = 2,
        characters: tuple[int, int] = (0, 0),
        words: str = "tokens",
        epochs: int = 3,
        rate: float = 0.5,
        decays: bool = True,
        seed: int = 0,
    ) -> "LinearClassifier":
        """Train on labelled texts.

        Args:
            texts: their features are held in memory: about twice the bytes of the text.
            labels: one a text; their strings, sorted, are the classes.
            buckets, ngrams, characters, words: see `Features`.
            epochs: passes over all texts, each in an order of its own.
            rate: of the descent; falls in a line to 0 (unless `decays` is off). fastText's usual 0.1 is for means, not
                for vectors of unit length.
            seed: of the orders.

        Raises:
            ValueError: no text, another number of labels, fewer than two classes, a rate or epochs not above 0.

        Paper: Bag of Tricks for Efficient Text Classification (arXiv 1607.01759); epochs and n-grams as in
            Predictive Data Selection (arXiv 2503.00808).
        """
        from tokenry.corpora.linear_kernels import descend

        shape = Features(buckets, ngrams, characters, words)
        names = [str(label) for label in labels]
        classes = sorted(set(names))
        _check_table(shape, classes)
        if epochs < 1 or not rate > 0 or not np.isfinite(rate):
            raise ValueError(f"epochs={epochs}, rate={rate}; need at least one pass and a rate above 0.")
        found_F, values_F, rows = shape.of_texts(texts)
        if len(rows) - 1 != len(names):
            raise ValueError(f"{len(rows) - 1:,} texts and {len(names):,} labels; need one label for each text.")
        places = {name: place for place, name in enumerate(classes)}
        labels_D = np.array([places[name] for name in names], np.int64)
        weights_KC = np.zeros((buckets, len(classes)), np.float32)
        rng, losses, n = np.random.default_rng(seed), [], len(names)
        for epoch in range(epochs):
            losses.append(
                descend(found_F, values_F, rows, labels_D, rng.permutation(n), weights_KC, rate, epoch * n,
                        epochs * n, decays)
            )  # fmt: skip
        counts = np.bincount(labels_D, minlength=len(classes)).tolist()
        record = {"texts": dict(zip(classes, counts, strict=True)), "epochs": epochs, "rate": rate, "decays": decays,
                  "seed": seed, "loss_nats": losses, "unicode": unicodedata.unidata_version}  # fmt: skip
        return cls(classes, shape, weights_KC, record)

    def logits(self, texts: Iterable[str | None] | Prepared) -> np.ndarray:
        """Logits (D, C) of texts; a null counts as the empty text, which has its end alone."""
        from tokenry.corpora.linear_kernels import logits

        pieces = [texts] if isinstance(texts, Prepared) else _pieces(texts)
        made = [logits(*self.features.of(one), self.weights_KC) for one in pieces]
        return np.concatenate(made) if made else np.empty((0, len(self.classes)))

    def probabilities(self, texts: Iterable[str | None] | Prepared) -> np.ndarray:
        """Probabilities (D, C) of the classes, in their order."""
        logits_DC = self.logits(texts)
        odds_DC = np.exp(logits_DC - logits_DC.max(axis=1, keepdims=True, initial=-np.inf))
        return odds_DC / odds_DC.sum(axis=1, keepdims=True)

    def predict(self, texts: Iterable[str | None]) -> list[str]:
        """The likeliest class of each text."""
        return [self.classes[place] for place in self.logits(texts).argmax(axis=1)]

    def place(self, name: str) -> int:
        """The column of a class.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self.classes:
            raise ValueError(f"no class {name!r}.{suggest(name, self.classes)} There are: {', '.join(self.classes)}.")
        return self.classes.index(name)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with anything that changes a score."""
        return fingerprint(self.classes, list(asdict(self.features).values()), self.weights_KC)

    def named(self, **facts: object) -> "LinearClassifier":
        """The same with more provenance."""
        return replace(self, record={**self.record, **facts})

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `classifier.json` (classes, what it looks at, provenance) and `weights.npy`.

        Raises:
            FileExistsError: the folder is there.
        """
        from tokenry.core.runs import atomic_folder, atomic_write

        record = {"format": FORMAT, "classes": self.classes, "features": asdict(self.features),
                  "record": dict(self.record)}  # fmt: skip
        with atomic_folder(Path(folder), overwrite=overwrite) as part:
            np.save(part / _WEIGHTS, np.ascontiguousarray(self.weights_KC, np.float32), allow_pickle=False)
            atomic_write(part / _RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "LinearClassifier":
        """Open what `save` wrote; nothing in it is executed, and its weights stay on disk until they are read.

        Raises:
            FileNotFoundError: there is no classifier. ValueError: it is none of ours, damaged, or too large.
        """
        path = Path(folder) / _RECORD
        if not path.is_file():
            raise FileNotFoundError(f"no {_RECORD} in {folder}. Train one: tokenry corpus train-classifier.")
        if path.stat().st_size > 1 << 24:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a classifier of ours has far fewer.")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise ValueError(f"format {said['format']}, we read {FORMAT}")
            features = Features(**said["features"])
            classes, record = [str(name) for name in said["classes"]], dict(said["record"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no classifier of ours ({error}). Train one again.") from error
        _check_table(features, classes)
        weights_KC = _read_weights(Path(folder) / _WEIGHTS, (features.buckets, len(classes)))
        return cls(classes, features, weights_KC, record)


def _check_table(features: Features, classes: list[str]) -> None:
    if not 2 <= len(classes) <= MOST_CLASSES or len(set(classes)) < len(classes):
        raise ValueError(f"{len(classes)} classes ({', '.join(classes[:3])}); need 2 to {MOST_CLASSES:,}, each once.")
    if features.buckets * len(classes) > MOST_WEIGHTS:
        raise ValueError(
            f"{features.buckets:,} buckets x {len(classes):,} classes; need at most {MOST_WEIGHTS:,} weights. Take "
            "fewer buckets."
        )


def _read_weights(path: Path, shape: tuple[int, int]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: the folder is not whole. Train the classifier again.")
    wanted = shape[0] * shape[1] * 4
    if not wanted < path.stat().st_size < wanted + 4096:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; need about {wanted:,}. It is cut short.")
    try:
        weights = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(
            f"{path} is no array of numbers, or cut short ({error}). Train the classifier again."
        ) from error
    if weights.shape != shape or weights.dtype != np.float32 or not weights.flags.c_contiguous:
        raise ValueError(f"{path}: {weights.dtype} {weights.shape}; need float32 {shape}. Train the classifier again.")
    if not np.isfinite(weights).all():
        raise ValueError(f"{path} holds numbers that are not finite. Train the classifier again, at a lower rate.")
    # A plain view: kernels compiled for arrays do not take a memory map as such.
    return np.frombuffer(weights, np.float32).reshape(shape)


def columns_of(classifier: LinearClassifier, name: str, *, positive: str | None = None) -> dict[str, int]:
    """Signal -> class: `quality.NAME` for the positive class of two, else `quality.NAME.CLASS` for every class.

    Args:
        classifier: it may name its positive class itself (`record["positive"]`).
        name: of the signal.
        positive: the class whose probability is the signal.
    """
    positive = positive or classifier.record.get("positive")
    if positive is not None:
        return {f"quality.{name}": classifier.place(str(positive))}
    if len(classifier.classes) == 2:
        return {f"quality.{name}": 1}
    return {f"quality.{name}.{one}": place for place, one in enumerate(classifier.classes)}


def score(
    batch: pa.RecordBatch, classifier: LinearClassifier, *, name: str = "linear", positive: str | None = None
) -> pa.RecordBatch:
    """The signal of a batch: `id` and `quality.NAME`, the probability of the positive class.

    For `engine.map(source, partial(score, name=...), out, key=classifier.fingerprint,
    setup=partial(LinearClassifier.load, folder))`.

    Args:
        batch: documents (`id`, `text`), possibly none. A document without a text gets null.
        classifier: what `setup` loaded.
        name, positive: see `columns_of`.
    """
    texts = batch.column("text").to_pylist()
    found_DC, missing_D = classifier.probabilities(texts), np.array([text is None for text in texts], bool)
    arrays, fields = [batch.column("id").cast(pa.string())], [pa.field("id", pa.string())]
    for column, place in columns_of(classifier, name, positive=positive).items():
        arrays.append(pa.array(found_DC[:, place], FLOAT, mask=missing_D))
        fields.append(pa.field(column, FLOAT, metadata={"version": classifier.fingerprint}))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def signal_name(folder: str | Path) -> str:
    """The name of a folder as part of a signal's name: lower case, letters, digits, dots and underscores."""
    kept = [letter if letter.isalnum() or letter in "._" else "_" for letter in Path(folder).resolve().name.lower()]
    return "".join(kept).strip("._") or "linear"
