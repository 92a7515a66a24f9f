"""The selectors that go by vectors of documents: none that say the same, the unusual, the far apart, all regions alike.

Papers: SemDeDup (arXiv 2303.09540); D4 (arXiv 2308.12284); A Core-Set Approach (arXiv 1708.00489); Demystifying CLIP
Data (arXiv 2309.16671) for caps on dense regions.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.corpora.engine import Mapped, read_mapped
from tokenry.corpora.selector_jobs import Job, finished, number, optional, whole
from tokenry.corpora.selectors import Selector
from tokenry.corpora.sidecars import read_signals

# Axes: N documents, D width.

_LEARNT_FROM = 4_000_000  # bytes of the corpus that word statistics are learnt from
_UNIQUE = "missing(dedup.semantic.duplicate_of)"


def open_vectors(encoder: str, folder: str) -> Callable[[list[str]], np.ndarray]:
    """The encoder behind a path, or the word statistics kept in a folder."""
    if encoder == "words":
        from tokenry.corpora.embedding_features import WordVectors

        return WordVectors.load(Path(folder) / "words.npz")
    from tokenry.models.encoders import open_encoder

    return open_encoder(encoder)[0]


def _vectors(job: Job) -> tuple[Mapped, np.ndarray]:
    """The embeddings of the corpus: a sidecar (kept as OUT.embedding for other selectors), and the matrix."""
    from tokenry.corpora.embedding_features import fit
    from tokenry.corpora.ngram_lm import sampled
    from tokenry.corpora.semantic import embedded, read_vectors

    encoder, folder = str(job.means.encoder), job.embedding
    if encoder == "words" and not (job.model / "words.npz").exists():
        texts = sampled(job.texts(), most_bytes=_LEARNT_FROM)
        job.model.mkdir(parents=True, exist_ok=True)
        fit(texts, dim=whole(job, "width"), seed=job.means.seed).save(job.model / "words.npz")
    if Path(encoder, "manifest.json").is_file():
        folder, made = Path(encoder), read_mapped(encoder)  # embedded before
    else:
        made = job.map(embedded, folder, setup=functools.partial(open_vectors, encoder, str(job.model)))
    return made, read_vectors(folder)[0]


def _ids(made: Mapped) -> pa.Array:
    ids = read_signals(made.folder, []).column("id").combine_chunks()
    return pa.concat_arrays(ids.chunks) if isinstance(ids, pa.ChunkedArray) else ids


def _twin_columns(job: Job, made: Mapped, vectors_ND: np.ndarray) -> tuple[dict[str, pa.Array], np.ndarray]:
    from tokenry.corpora.semantic import twins

    found = twins(
        vectors_ND, epsilon=number(job, "epsilon"), clusters=optional(job, "clusters"),
        order=str(job.options.get("order", "hard")), seed=job.means.seed,
    )  # fmt: skip
    dropped_N = found.kept_N != np.arange(len(found.kept_N))
    columns = {
        "dedup.semantic.duplicate_of": _ids(made).take(pa.array(found.kept_N, mask=~dropped_N)),
        "dedup.semantic.similarity": pa.array(found.similarity_N, pa.float64(), from_pandas=True),
        "dedup.semantic.cluster": pa.array(found.labels_N, pa.int64()),
    }
    return columns, dropped_N


def measure_semdedup(job: Job) -> Mapped:
    """`dedup.semantic.duplicate_of`, `.similarity`, `.cluster`."""
    made, vectors_ND = _vectors(job)
    return finished(job, made, _twin_columns(job, made, vectors_ND)[0])


def measure_d4(job: Job) -> Mapped:
    """The columns of SemDeDup, and `d4.prototype`: cosine with the centroid among what SemDeDup left."""
    from tokenry.corpora.semantic import prototypicality

    made, vectors_ND = _vectors(job)
    columns, dropped_N = _twin_columns(job, made, vectors_ND)
    clusters = optional(job, "clusters")
    near_N = prototypicality(vectors_ND, clusters=clusters, seed=job.means.seed + 1, among_N=~dropped_N)
    return finished(job, made, {**columns, "d4.prototype": pa.array(near_N, pa.float64(), from_pandas=True)})


def measure_k_center(job: Job) -> Mapped:
    """`kcenter.rank` and `kcenter.distance`, null for what was not picked."""
    from tokenry.corpora.semantic import k_centers

    made, vectors_ND = _vectors(job)
    rank_N, distance_N = k_centers(vectors_ND, picks=whole(job, "picks"), seed=job.means.seed)
    columns = {
        "kcenter.rank": pa.array(rank_N, pa.int64(), mask=rank_N < 0),
        "kcenter.distance": pa.array(distance_N, pa.float64(), from_pandas=True),
    }
    return finished(job, made, columns)


def measure_density(job: Job) -> Mapped:
    """`density.cluster`, `density.size` and `density.log_inverse` (minus the log of the size)."""
    from tokenry.corpora.semantic import density

    made, vectors_ND = _vectors(job)
    labels_N, sizes_N = density(vectors_ND, clusters=optional(job, "clusters"), seed=job.means.seed)
    log_N = np.where(sizes_N > 0, -np.log(np.maximum(sizes_N, 1)), np.nan)
    columns = {
        "density.cluster": pa.array(labels_N, pa.int64(), mask=labels_N < 0),
        "density.size": pa.array(sizes_N, pa.int64()),
        "density.log_inverse": pa.array(log_N, pa.float64(), from_pandas=True),
    }
    return finished(job, made, columns)


_TWINS = {"epsilon": 0.05, "clusters": None, "order": "hard", "width": 128}
_CLUSTERS = {"clusters": None, "width": 128}
SEMDEDUP = Selector(
    "semdedup", "deduplication", "diversification", "one of each set of documents whose vectors nearly agree",
    "arXiv 2303.09540", "an encoder's pass", measure_semdedup,
    {"rules": {"duplicate in meaning": _UNIQUE}}, ("encoder",), _TWINS,
)  # fmt: skip
D4 = Selector(
    "d4", "diversification", "diversification", "semdedup, then the least prototypical of each new cluster first",
    "arXiv 2308.12284", "an encoder's pass", measure_d4,
    {"rules": {"duplicate in meaning": _UNIQUE}, "score": "-d4.prototype"}, ("encoder",), _TWINS,
)  # fmt: skip
K_CENTER = Selector(
    "k-center", "diversification", "diversification", "each document the farthest from all chosen before",
    "arXiv 1708.00489", "an encoder's pass, and one over the vectors for each pick", measure_k_center,
    {"score": "-kcenter.rank"}, ("encoder",), {"picks": 10_000, "width": 128},
)  # fmt: skip
DENSITY = Selector(
    "density", "diversification", "diversification", "samples clusters alike: p is one over the size of the cluster",
    "arXiv 2309.16671", "an encoder's pass", measure_density, {"score": "density.log_inverse", "temperature": 1.0},
    ("encoder",), _CLUSTERS,
)  # fmt: skip
DENSITY_CAP = Selector(
    "density-cap", "diversification", "diversification", "at most --cap of each cluster, any of them",
    "arXiv 2309.16671", "an encoder's pass", measure_density, {"per": "density.cluster"}, ("encoder",), _CLUSTERS,
)  # fmt: skip
