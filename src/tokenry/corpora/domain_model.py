"""Learn the clusters of a corpus from a sample of it, and find the cluster of every document.

The model is a folder: an embedder (words, or the name of a sentence encoder) and the centroids of k-means.

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161), section 2.1.
"""

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.clustering import LINKAGES, kmeans, nearest
from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.runs import atomic_folder, atomic_write, log
from tokenry.corpora.engine import Engine, Mapped, map_once, open_engine, parts_of, read_mapped
from tokenry.corpora.units import Reading, cut_units, inputs_key

__all__ = ["DomainModel", "Settings", "assign", "learn_clusters"]

# Axes: N documents, C clusters, D width.

ONLY_WORDS = "tfidf"
_BATCHES_FROM = 100_000  # vectors from which k-means goes by mini-batches,
_BATCH = 8192  # of so many
_PER_CLUSTER = 256  # documents of the sample
_EXAMPLE = 120  # characters


@dataclass(frozen=True)
class Settings:
    """How domains are made.

    Attributes:
        encoder: "tfidf" (words, nothing needed), a folder or hub name of a sentence encoder, or a function.
        k: clusters of k-means (the paper's 1000 suits millions of documents).
        prefix: characters of a document that are embedded.
        width: of the vectors of "tfidf".
        sample: documents that the clusters are learned from; None takes 256 a cluster.
        keep: a rule over the means of the signals in a cluster, as in `corpus select`: "quality.score >= 3". None
            keeps all.
        by_document: apply the rule to each document instead of to clusters.
        merge_distance: merge centroids nearer than this. It depends on the encoder; the paper's is 1.5.
        merge_quantile: or nearer than this share of all pairs of centroids.
        n_domains: or until so many are left. The default when none of the three is given is 20 (or all clusters).
        linkage: how near two groups of centroids are; "single" chains.
        seed: of sample and clusters.
    """

    encoder: object = ONLY_WORDS
    k: int = 1000
    prefix: int = 2000
    width: int = 128
    sample: int | None = None
    keep: str | None = None
    by_document: bool = False
    merge_distance: float | None = None
    merge_quantile: float | None = None
    n_domains: int | None = None
    linkage: str = "average"
    seed: int = 0

    def __post_init__(self) -> None:
        merges = [self.merge_distance, self.merge_quantile, self.n_domains]
        if sum(one is not None for one in merges) > 1:
            raise ValueError(f"merge_distance, merge_quantile and n_domains are {merges}; give one of them at most.")
        if min(self.k, self.prefix, self.width, self.sample or 1, self.n_domains or 1) < 1:
            raise ValueError(f"k={self.k}, prefix={self.prefix}, width={self.width}; need 1 at least.")
        if self.merge_quantile is not None and not 0 <= self.merge_quantile <= 1:
            raise ValueError(f"merge_quantile={self.merge_quantile}; need a share from 0 to 1.")
        if self.linkage not in LINKAGES:
            raise ValueError(f"no linkage {self.linkage!r}; need one of {', '.join(LINKAGES)}.")


@dataclass(frozen=True)
class DomainModel:
    """What finds the cluster of a text: the embedder and the centroids.

    Attributes:
        encoder: "tfidf", a path or hub name, or a function.
        prefix: characters that are read.
        centroids_CD: of the clusters.
        examples: beginning of the text nearest to each centroid.
        key: of the content.
        words: the embedder of "tfidf".
    """

    encoder: object
    prefix: int
    centroids_CD: np.ndarray
    examples: list[str]
    key: str
    words: Callable | None = None

    @functools.cached_property
    def _encode(self) -> Callable[[list[str]], np.ndarray]:
        if self.words is not None:
            return self.words
        from tokenry.models.encoders import open_encoder

        return open_encoder(self.encoder)[0]

    def embed(self, texts: Sequence[str | None]) -> np.ndarray:
        """Vectors of the beginnings of texts."""
        return _vectors(self._encode, texts, self.prefix)

    def clusters(self, texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """The nearest cluster of each text, and the distance from its centroid."""
        if not len(texts):
            return np.empty(0, np.int64), np.empty(0)
        vectors_ND = self.embed(texts)
        labels_N = nearest(vectors_ND, self.centroids_CD)
        return labels_N, np.linalg.norm(vectors_ND.astype(np.float64) - self.centroids_CD[labels_N], axis=1)

    def save(self, folder: Path) -> None:
        """Write `model.json`, `centroids.npy` and, for "tfidf", `words.npz`."""
        encoder = str(self.encoder) if isinstance(self.encoder, (str, Path)) else None
        record = {"format": 1, "encoder": encoder, "prefix": self.prefix, "key": self.key, "examples": self.examples}
        atomic_write(folder / "model.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        np.save(folder / "centroids.npy", self.centroids_CD, allow_pickle=False)
        if self.words is not None:
            self.words.save(folder / "words.npz")

    @classmethod
    def load(cls, folder: str | Path, encoder: object = None) -> "DomainModel":
        """Open what `save` wrote.

        Args:
            encoder: the function, where the model was made with one: a function is not stored.

        Raises:
            FileNotFoundError: no model there. ValueError: it is none of ours, or needs `encoder`.
        """
        from tokenry.corpora.embedding_features import WordVectors

        path = Path(folder)
        if not (path / "model.json").is_file():
            raise FileNotFoundError(
                f"no model of domains in {folder}. Give the OUT.model of tokenry corpus domains build."
            )
        try:
            record = json.loads((path / "model.json").read_text(encoding="utf-8"))
            centroids_CD = np.load(path / "centroids.npy", allow_pickle=False)
            made = cls(
                encoder or record["encoder"], int(record["prefix"]), centroids_CD, record["examples"], record["key"]
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{folder} is no model of domains ({error}). Make it again.") from error
        if made.encoder is None:
            raise ValueError(f"the model {folder} was made with a function as encoder; give that function again.")
        if centroids_CD.ndim != 2 or len(made.examples) != len(centroids_CD):
            raise ValueError(f"{folder} holds {centroids_CD.shape} centroids for {len(made.examples)}. Make it again.")
        return replace(made, words=WordVectors.load(path / "words.npz")) if made.encoder == ONLY_WORDS else made


def assign(
    source: object,
    out: str | Path,
    model: DomainModel,
    *,
    folder: Path | None = None,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Mapped:
    """Find the cluster of every document, in one pass: `domains.cluster`, `domains.distance` and `domains.bytes`.

    Args:
        out: the folder to make; one that is there from the same model and documents is used.
        model: of `build_domains`.
        folder: where it lies, so that each worker opens it by itself; without it the model travels to them.

    Raises:
        ValueError: `out` is there from another model or other documents.
    """
    key = fingerprint("domains.cluster", 2, model.key, inputs_key(cut_units(source)), reading.text)
    if Path(out).exists():
        found = read_mapped(out)
        if found.key != key:
            raise ValueError(
                f"{out} was made with another model, or from other documents. Remove it, or give another --out."
            )
        log(f"the clusters in {out} are there already")
        return found
    by_path = folder is not None and isinstance(model.encoder, (str, Path))
    setup = functools.partial(DomainModel.load, folder) if by_path else functools.partial(_itself, model)
    return open_engine(engine).map(
        source, clustered, out, key=key, setup=setup, reading=reading, label="finding clusters"
    )  # fmt: skip


def clustered(batch: pa.RecordBatch, model: DomainModel) -> pa.RecordBatch:
    """Cluster, distance from its centroid and bytes of each document."""
    import pyarrow.compute as pc

    labels_N, distances_N = model.clusters(batch.column("text").to_pylist())
    sizes = pc.fill_null(pc.binary_length(batch.column("text")), 0).cast(pa.int64())
    columns = {"id": batch.column("id"), "domains.cluster": pa.array(labels_N, pa.int64()),
               "domains.distance": pa.array(distances_N, pa.float64()), "domains.bytes": sizes}  # fmt: skip
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def sampled(batch: pa.RecordBatch, *, share: float, prefix: int, seed: int) -> pa.RecordBatch:
    """The beginnings of a random share of the documents; which ones depends on their ids alone."""
    import pyarrow.compute as pc

    given = batch.filter(pc.fill_null(pc.greater(pc.utf8_length(batch.column("text")), 0), False))
    if share < 1:
        drawn = [stable_hash(f"domains {seed} {one}") < share * 2**64 for one in given.column("id").to_pylist()]
        given = given.filter(pa.array(drawn, pa.bool_()))
    texts = pc.utf8_slice_codeunits(given.column("text"), 0, prefix)
    return pa.RecordBatch.from_arrays([given.column("id"), texts], names=["id", "text"])


def counted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The ids alone."""
    return batch.select(["id"])


def vectorised(batch: pa.RecordBatch, encode: Callable, *, prefix: int) -> pa.RecordBatch:
    """The vector of each document."""
    texts = batch.column("text").to_pylist()
    found_ND = _vectors(encode, texts, prefix) if texts else np.empty((0, 1), np.float32)
    offsets = pa.array(np.arange(len(texts) + 1) * found_ND.shape[1], pa.int32())
    vectors = pa.ListArray.from_arrays(offsets, pa.array(found_ND.ravel()))
    return pa.RecordBatch.from_arrays([batch.column("id"), vectors], names=["id", "vector"])


def learn_clusters(
    source: object, folder: Path, settings: Settings, *, reading: Reading, engine: Engine
) -> DomainModel:
    """The model in `folder`, or one learned from a sample and written there.

    Args:
        source: documents.
        folder: of the model; the sample and its vectors stay beside it until the model is there.
        settings: `encoder`, `k`, `prefix`, `width`, `sample` and `seed` decide it.
        reading: without sidecars.
        engine: embeds the sample where an encoder does.

    Raises:
        ValueError: the model in `folder` is of other settings or documents; fewer than two texts in the sample.
    """
    import pyarrow.parquet as pq

    wanted = (settings.k, settings.prefix, settings.width, settings.sample, settings.seed, _name(settings.encoder))
    key = fingerprint("domain model", 2, *wanted, inputs_key(cut_units(source)), reading.text)
    function = None if isinstance(settings.encoder, (str, Path)) else settings.encoder
    if folder.exists():
        found = DomainModel.load(folder, function)
        if not found.key.startswith(key):
            raise ValueError(
                f"{folder} was made with other settings, or from other documents. Remove it, or give another --out."
            )
        log(f"the model in {folder} is there already")
        return found
    scratch = folder.with_name(f".{folder.name}.learning")
    if not (scratch / key).is_file():
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        (scratch / key).touch()
    drawn, texts = _sample(source, scratch, settings, reading=reading, engine=engine)
    words, vectors_ND = None, None
    if settings.encoder == ONLY_WORDS:
        from tokenry.corpora.embedding_features import fit

        words = fit(texts, settings.width, settings.seed)
        vectors_ND = _vectors(words, texts, settings.prefix)
    else:
        embed = functools.partial(vectorised, prefix=settings.prefix)
        setup = functools.partial(_encoder, settings.encoder)
        made = map_once(
            engine, parts_of(drawn.folder), embed, out=scratch / "vectors", key=key, setup=setup, label="embedding"
        )
        columns = [pq.read_table(part).column("vector").combine_chunks() for part in made.parts]
        vectors_ND = np.concatenate([one.flatten().to_numpy() for one in columns]).reshape(len(texts), -1)
    batch = _BATCH if len(texts) > _BATCHES_FROM else None
    centroids_CD, labels_N = kmeans(vectors_ND, min(settings.k, len(texts)), seed=settings.seed, batch=batch)
    examples = _examples(texts, vectors_ND, centroids_CD, labels_N)
    model = DomainModel(
        settings.encoder, settings.prefix, centroids_CD, examples, f"{key}-{fingerprint(centroids_CD)}", words
    )
    with atomic_folder(folder) as part:
        model.save(part)
    shutil.rmtree(scratch, ignore_errors=True)
    return model


def _sample(
    source: object, scratch: Path, settings: Settings, *, reading: Reading, engine: Engine
) -> tuple[Mapped, list[str]]:
    """The beginnings of the documents that the clusters are learned from."""
    import pyarrow.parquet as pq

    key = fingerprint("domain sample", 1)
    n = map_once(engine, source, counted, out=scratch / "ids", key=key, reading=reading, label="counting").n_out
    share = min(1.0, (settings.sample or _PER_CLUSTER * settings.k) / max(1, n))
    draw = functools.partial(sampled, share=share, prefix=settings.prefix, seed=settings.seed)
    drawn = map_once(engine, source, draw, out=scratch / "sample", key=key, reading=reading, label="sampling")
    texts = [t for part in drawn.parts for t in pq.read_table(part).column("text").to_pylist()]
    if len(texts) < 2:
        raise ValueError(f"{len(texts)} documents with text in the sample; need two. Raise --sample, or give more.")
    return drawn, texts


def _examples(texts: list[str], vectors_ND: np.ndarray, centroids_CD: np.ndarray, labels_N: np.ndarray) -> list[str]:
    """The beginning of the text nearest to each centroid."""
    squares_N = np.square(vectors_ND - centroids_CD[labels_N]).sum(axis=1)
    examples = [""] * len(centroids_CD)
    for row in np.argsort(-squares_N, kind="stable"):  # the nearest comes last and stays
        examples[labels_N[row]] = " ".join(texts[row][:_EXAMPLE].split())
    return examples


def _vectors(encode: Callable, texts: Sequence[str | None], prefix: int) -> np.ndarray:
    found_ND = np.asarray(encode([(text or "")[:prefix] for text in texts]), np.float32)
    if found_ND.ndim != 2 or len(found_ND) != len(texts) or not np.isfinite(found_ND).all():
        raise ValueError(
            f"the encoder gave shape {found_ND.shape} for {len(texts)} texts; need one row of finite numbers each."
        )
    return found_ND


def _name(encoder: object) -> str:
    """The same in the next process: a function by where it is defined."""
    if isinstance(encoder, (str, Path)):
        return str(encoder)
    return f"{getattr(encoder, '__module__', '')}:{getattr(encoder, '__qualname__', type(encoder).__name__)}"


def _encoder(encoder: object) -> Callable:
    from tokenry.models.encoders import open_encoder

    return open_encoder(encoder)[0]


def _itself(model: DomainModel) -> DomainModel:
    return model
