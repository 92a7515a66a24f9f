"""Documents that say the same, and those that cover the rest: duplicates by meaning, prototypes, density, k-centers.

All go by vectors of documents, from any sentence encoder or from word statistics (`embed`), kept in a sidecar with the
column `embedding`. The decisions are made over the whole matrix in memory: 4 bytes a number, 1.5 GB for a million
documents of 384 numbers.

Papers: SemDeDup: Data-efficient learning at web-scale through semantic deduplication (arXiv 2303.09540); D4: Improving
LLM Pretraining via Document De-Duplication and Diversification (arXiv 2308.12284); Active Learning for Convolutional
Neural Networks: A Core-Set Approach (arXiv 1708.00489) for k-center greedy.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest

__all__ = ["ORDERS", "Twins", "density", "embedded", "k_centers", "prototypicality", "read_vectors", "twins"]

# Axes: N documents, D width, K centroids, M documents of a cluster.

ORDERS = ("hard", "easy", "first")
_PER_CLUSTER = 1000
_ROUNDING = 1e-12
_AT_ONCE = 1 << 23  # cosines in memory at one time


@dataclass(frozen=True, eq=False)
class Twins:
    """Duplicates by meaning.

    Attributes:
        kept_N: int64, the document that is kept for each; its own place where it is kept.
        similarity_N: the highest cosine with an earlier document of its cluster, nan for the first one.
        labels_N: int64, the cluster; -1 without a vector.
    """

    kept_N: np.ndarray
    similarity_N: np.ndarray
    labels_N: np.ndarray


def embedded(batch: pa.RecordBatch, encode: object) -> pa.RecordBatch:
    """The column `embedding` of a batch: float32 numbers for each document, null for one without text.

    For `engine.map(..., setup=...)`, where the setup gives a function from strings to rows.
    """
    texts = batch.column("text").to_pylist()
    places = [place for place, text in enumerate(texts) if text and text.strip()]
    made: list[np.ndarray | None] = [None] * len(texts)
    if places:
        found_ND = np.asarray(encode([texts[place] for place in places]), np.float32)
        if found_ND.ndim != 2 or len(found_ND) != len(places) or not np.isfinite(found_ND).all():
            raise ValueError(
                f"the encoder gave shape {found_ND.shape} for {len(places)} texts; need finite rows, one each."
            )
        for place, row in zip(places, found_ND, strict=True):
            made[place] = row
    kind = pa.list_(pa.float32())
    return pa.RecordBatch.from_arrays(
        [batch.column("id").cast(pa.string()), pa.array(made, kind)], names=["id", "embedding"]
    )


def read_vectors(folder: str | Path, column: str = "embedding") -> tuple[np.ndarray, np.ndarray]:
    """The vectors of a sidecar as float32 (N, D), rows of zeros where there is none, and which are there (N,).

    Raises:
        ValueError: no such column, or rows of different widths.
    """
    from tokenry.corpora.sidecars import read_signals

    whole = read_signals(folder, [column]).column(column)
    there_N = np.concatenate([np.asarray(chunk.is_valid()) for chunk in whole.chunks] or [np.zeros(0, bool)])
    flat = np.concatenate([chunk.drop_null().flatten().to_numpy() for chunk in whole.chunks] or [np.zeros(0)])
    n_there = int(there_N.sum())
    width = len(flat) // n_there if n_there else 1
    if n_there and len(flat) != n_there * width:
        raise ValueError(f"{folder}: vectors of different widths in {column!r}. Embed again with one encoder.")
    vectors_ND = np.zeros((len(there_N), width), np.float32)
    vectors_ND[there_N] = flat.reshape(n_there, width)
    return vectors_ND, there_N


def twins(
    vectors_ND: np.ndarray,
    *,
    epsilon: float = 0.05,
    clusters: int | None = None,
    order: str = "hard",
    seed: int = 0,
    labels_N: np.ndarray | None = None,
) -> Twins:
    """Find documents whose vectors nearly agree with an earlier one of their cluster (SemDeDup).

    A document is dropped when its cosine with one that comes before it in its cluster, dropped or not, exceeds
    1 - epsilon; so with the same clusters a larger epsilon drops all that a smaller one drops.

    Args:
        vectors_ND: a row of zeros has no vector and is kept.
        epsilon: 0 drops only equal directions.
        clusters: of k-means; None takes one for a thousand documents, at most the root of their number (2303.09540 has
            50,000 for 440 million): duplicates in two clusters are not found, so no more than time asks for.
        order: which come first and are kept: "hard" the farthest from the centroid, "easy" the nearest, "first" in the
            order of the corpus.
        seed: of k-means.
        labels_N: clusters that are known already (-1 for none), instead of k-means.

    Raises:
        ValueError: epsilon outside 0..2, an unknown order.

    Paper: SemDeDup (arXiv 2303.09540), section 3; order and comparison as its code has them.
    """
    if not 0 <= epsilon <= 2:
        raise ValueError(f"epsilon={epsilon}; need a number from 0 (equal only) to 2. 0.05 is usual.")
    if order not in ORDERS:
        raise ValueError(f"no order {order!r}.{suggest(order, ORDERS)} Need {', '.join(ORDERS)}.")
    units_ND, there_N = _units(vectors_ND)
    if labels_N is None:
        n = int(there_N.sum())
        few = max(1, min(round(n / _PER_CLUSTER), round(n**0.5))) if clusters is None else clusters
        labels_N, _ = _clustered(units_ND, there_N, few, seed)
    kept_N, similarity_N = np.arange(len(units_ND)), np.full(len(units_ND), np.nan)
    for members in _members(labels_N):
        mine_MD = units_ND[members].astype(np.float64)
        mine_MD /= np.linalg.norm(mine_MD, axis=1, keepdims=True)
        if order == "first":
            ranked = np.arange(len(members))
        else:
            centroid_D = mine_MD.mean(axis=0)
            nearness_M = mine_MD @ centroid_D
            ranked = np.argsort(nearness_M if order == "hard" else -nearness_M, kind="stable")
        best_M, earlier_M = _best_earlier(mine_MD[ranked])
        places = members[ranked]
        similarity_N[places[1:]] = best_M[1:]
        for rank in np.flatnonzero(best_M > 1 - epsilon - _ROUNDING):
            kept_N[places[rank]] = kept_N[places[earlier_M[rank]]]
    return Twins(kept_N, similarity_N, labels_N)


def prototypicality(
    vectors_ND: np.ndarray, *, clusters: int | None = None, seed: int = 0, among_N: np.ndarray | None = None
) -> np.ndarray:
    """Cosine of each document with the centroid of its cluster: D4 drops the highest.

    Args:
        clusters: of k-means; None takes the root of the number of documents.
        among_N: bool, the documents that are clustered (what SemDeDup left); others get nan.
    """
    units_ND, there_N = _units(vectors_ND)
    there_N &= True if among_N is None else np.asarray(among_N, bool)
    labels_N, centroids_KD = _clustered(units_ND, there_N, clusters, seed)
    made_N = np.full(len(units_ND), np.nan)
    chosen = np.flatnonzero(labels_N >= 0)
    centroids_KD = centroids_KD / np.maximum(np.linalg.norm(centroids_KD, axis=1, keepdims=True), 1e-30)
    made_N[chosen] = np.einsum("nd,nd->n", units_ND[chosen], centroids_KD[labels_N[chosen]])
    return made_N


def density(vectors_ND: np.ndarray, *, clusters: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each document and how many are in it; -1 and 0 without a vector.

    `clusters` is as for `prototypicality`.
    """
    units_ND, there_N = _units(vectors_ND)
    labels_N, centroids_KD = _clustered(units_ND, there_N, clusters, seed)
    sizes_K = np.bincount(labels_N[labels_N >= 0], minlength=max(1, len(centroids_KD)))
    return labels_N, np.where(labels_N >= 0, sizes_K[np.maximum(labels_N, 0)], 0)


def k_centers(vectors_ND: np.ndarray, *, picks: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Choose documents one by one, each the farthest from all chosen before: no document is far from the choice.

    Args:
        vectors_ND: compared as directions; a row of zeros is never chosen.
        picks: how many are ranked, at a pass over the vectors each.
        seed: of the first one.

    Returns:
        rank_N: int64, 0 for the first pick, -1 for those not picked.
        distance_N: Euclidean distance of each picked document from those before it, nan for the first and the others.

    Paper: A Core-Set Approach (arXiv 1708.00489), algorithm 1: at most twice the best radius.
    """
    if picks < 1:
        raise ValueError(f"picks={picks}; need at least 1.")
    units_ND, there_N = _units(vectors_ND)
    rank_N, distance_N = np.full(len(units_ND), -1, np.int64), np.full(len(units_ND), np.nan)
    places = np.flatnonzero(there_N)
    if not len(places):
        return rank_N, distance_N
    units_ND = units_ND[places]
    nearest_N = np.full(len(places), -np.inf)
    pick, far = int(np.random.default_rng(seed).integers(len(places))), np.nan
    for number in range(min(picks, len(places))):
        rank_N[places[pick]], distance_N[places[pick]] = number, far
        np.maximum(nearest_N, units_ND @ units_ND[pick], out=nearest_N)
        nearest_N[pick] = np.inf
        pick = int(np.argmin(nearest_N))
        far = float(np.sqrt(max(0.0, 2 - 2 * nearest_N[pick])))
    return rank_N, distance_N


def _units(vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors_ND = np.asarray(vectors_ND)
    if vectors_ND.ndim != 2 or not np.isfinite(vectors_ND).all():
        raise ValueError(f"vectors of shape {vectors_ND.shape}; need finite rows, one a document.")
    lengths_N = np.linalg.norm(vectors_ND, axis=1)
    there_N = lengths_N > 0
    return vectors_ND / np.where(there_N, lengths_N, 1)[:, None], there_N


def _clustered(
    units_ND: np.ndarray, there_N: np.ndarray, clusters: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    from tokenry.core.clustering import kmeans

    places = np.flatnonzero(there_N)
    labels_N = np.full(len(units_ND), -1, np.int64)
    if not len(places):
        return labels_N, np.zeros((0, units_ND.shape[1]), units_ND.dtype)
    k = round(len(places) ** 0.5) if clusters is None else clusters
    batch = 65_536 if len(places) > 200_000 else None
    centroids_KD, labels_N[places] = kmeans(units_ND[places], k, seed=seed, batch=batch)
    return labels_N, centroids_KD


def _members(labels_N: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels_N, kind="stable")
    labels = labels_N[order]
    cuts = np.flatnonzero(np.diff(labels)) + 1
    return [part for part in np.split(order, cuts) if len(part) and labels_N[part[0]] >= 0]


def _best_earlier(mine_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row the highest cosine with a row before it, and that row; -inf for the first."""
    best_M, earlier_M = np.full(len(mine_MD), -np.inf), np.full(len(mine_MD), -1, np.int64)
    n_rows = max(1, _AT_ONCE // max(1, len(mine_MD)))
    for start in range(0, len(mine_MD), n_rows):
        block = mine_MD[start : start + n_rows]
        cosines = block @ mine_MD[: start + len(block)].T
        later = np.arange(cosines.shape[1])[None, :] >= start + np.arange(len(block))[:, None]
        cosines[later] = -np.inf
        earlier_M[start : start + len(block)] = cosines.argmax(axis=1)
        best_M[start : start + len(block)] = cosines.max(axis=1)
    return best_M, earlier_M
