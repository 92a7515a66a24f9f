"""Group vectors: k-means for millions of them, greedy leaders for labels of unknown number, agglomeration for hundreds.

Papers: k-means++: The Advantages of Careful Seeding (Arthur and Vassilvitskii, 2007); Web-scale k-means clustering
(Sculley, 2010); Least squares quantization in PCM (Lloyd, 1982).
"""

import numpy as np

__all__ = ["LINKAGES", "agglomerate", "greedy_leaders", "kmeans", "nearest"]

# Axes: N vectors, D width, K centroids, L leaders, B vectors in a block.

LINKAGES = ("average", "complete", "single", "ward")
_BLOCK = 1 << 22  # distances held in memory at one time
_SEEDING = 64  # points a centroid among which the first centroids are drawn
_MOST_AGGLOMERATED = 20_000  # vectors: their distances are 1.6 GB
_SETTLED = 1e-4  # share by which a pass over mini-batches must bring the vectors nearer to go on


def kmeans(
    vectors_ND: np.ndarray,
    k: int,
    *,
    seed: int = 0,
    n_iter: int = 50,
    batch: int | None = None,
    init_KD: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find `k` centroids such that the vectors lie near them (squared Euclidean distance).

    The first centroids are drawn as k-means++ does, the best of 2 + log(k) draws each time, among at most 64 k vectors.
    A centroid that loses all its vectors is moved onto the vector that lies farthest from its own.

    Args:
        vectors_ND: float32 or float64; whole numbers are taken as float64.
        k: number of centroids, 1 <= k <= N. Fewer different vectors than `k` leave centroids on one spot.
        seed: of the draws.
        n_iter: passes over the vectors at most.
        batch: vectors looked at before the centroids move (Sculley's mini-batches); None looks at all.
        init_KD: centroids to begin with, instead of drawn ones.

    Returns:
        centroids_KD: in the type of the vectors.
        labels_N: int64, the nearest centroid of each vector.

    Raises:
        ValueError: `k` out of range, numbers that are not finite, a start of another shape.

    Paper: k-means++ (Arthur and Vassilvitskii, 2007); Web-scale k-means clustering (Sculley, 2010).
    """
    vectors_ND = _matrix(vectors_ND)
    if not 1 <= k <= len(vectors_ND):
        raise ValueError(f"k={k} centroids for {len(vectors_ND):,} vectors; need 1 <= k <= {len(vectors_ND):,}.")
    if n_iter < 1 or (batch is not None and batch < 1):
        raise ValueError(f"n_iter={n_iter}, batch={batch}; need at least 1.")
    rng = np.random.default_rng(seed)
    if init_KD is None:
        centroids_KD = _seeded(vectors_ND, k, rng)
    else:
        centroids_KD = np.array(init_KD, vectors_ND.dtype)
        if centroids_KD.shape != (k, vectors_ND.shape[1]):
            raise ValueError(f"a start of shape {centroids_KD.shape}; need {(k, vectors_ND.shape[1])}.")
    if batch is not None and batch < len(vectors_ND):
        centroids_KD = _by_batches(vectors_ND, centroids_KD, (n_iter, batch), rng)
        return centroids_KD, nearest(vectors_ND, centroids_KD)
    labels_N, squares_N = _assigned(vectors_ND, centroids_KD)
    for _ in range(n_iter):
        centroids_KD = _moved(vectors_ND, labels_N, squares_N, centroids_KD)
        before_N = labels_N
        labels_N, squares_N = _assigned(vectors_ND, centroids_KD)
        if np.array_equal(before_N, labels_N):
            break
    return centroids_KD, labels_N


def nearest(vectors_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """The nearest centroid of each vector (Euclidean), the first one where several are as near.

    Returns:
        labels_N: int64.
    """
    vectors_ND, centroids_KD = _matrix(vectors_ND), _matrix(centroids_KD)
    if vectors_ND.shape[1] != centroids_KD.shape[1] or not len(centroids_KD):
        raise ValueError(
            f"vectors of width {vectors_ND.shape[1]} and {len(centroids_KD)} centroids of width "
            f"{centroids_KD.shape[1]}; need one width and at least one centroid. Use the embedder they were made with."
        )
    return _assigned(vectors_ND, centroids_KD)[0]


def greedy_leaders(vectors_ND: np.ndarray, weights_N: np.ndarray, *, threshold: float) -> np.ndarray:
    """Let every vector, the heaviest first, join the first leader it is similar to, or else become one.

    Args:
        vectors_ND: of any length; a vector of zeros is similar to none.
        weights_N: ties go by the row.
        threshold: cosine that must be exceeded, -1..1.

    Returns:
        leader_N: int64 row of the leader of each vector; a leader's is its own.
    """
    vectors_ND, weights_N = _matrix(vectors_ND), np.asarray(weights_N, np.float64)
    if weights_N.shape != (len(vectors_ND),) or not -1 <= threshold <= 1:
        raise ValueError(
            f"{weights_N.shape} weights for {len(vectors_ND):,} vectors, threshold={threshold}; need one weight each "
            "and a cosine from -1 to 1."
        )
    lengths_N = np.linalg.norm(vectors_ND, axis=1)
    filled_N = lengths_N > 0
    units_ND = vectors_ND / np.where(filled_N, lengths_N, 1)[:, None]
    leader_N = np.arange(len(vectors_ND))
    order = np.argsort(-weights_N, kind="stable")
    order = order[filled_N[order]]
    leaders = np.empty(len(order), np.int64)
    n_leaders = 0
    # Blocks grow with the leaders: a product a block, a row at a time only for those that no earlier leader takes.
    start = 0
    while start < len(order):
        rows = order[start : start + max(64, min(1024, _BLOCK // max(1, n_leaders)))]
        start += len(rows)
        similar_BL = units_ND[rows] @ units_ND[leaders[:n_leaders]].T > threshold
        joined_B = similar_BL.any(axis=1) if n_leaders else np.zeros(len(rows), bool)
        if n_leaders:
            leader_N[rows[joined_B]] = leaders[similar_BL[joined_B].argmax(axis=1)]
        left = rows[~joined_B]
        similar_BB = units_ND[left] @ units_ND[left].T > threshold
        taken_B = np.zeros(len(left), bool)
        for place, row in enumerate(left):
            if taken_B[place]:
                continue
            leaders[n_leaders], n_leaders = row, n_leaders + 1
            mine_B = similar_BB[place] & ~taken_B
            mine_B[: place + 1] = False
            leader_N[left[mine_B]] = row
            taken_B |= mine_B
    return leader_N


def agglomerate(
    vectors_ND: np.ndarray, *, distance: float | None = None, n_clusters: int | None = None, linkage: str = "average"
) -> np.ndarray:
    """Merge the two nearest clusters again and again (Euclidean), until they are `distance` apart or few enough.

    Args:
        vectors_ND: at most 20,000; all their distances are held.
        distance: merge clusters nearer than this.
        n_clusters: or merge until so many are left. Give one of the two.
        linkage: how near two clusters are: "average", "complete" (their farthest pair), "single" (their nearest pair:
            it chains), "ward" (growth of the variance).

    Returns:
        labels_N: int64 from 0, numbered by their first vector.

    Raises:
        ValueError: not exactly one of `distance` and `n_clusters`, too many vectors, no such linkage.
    """
    from scipy.cluster.hierarchy import linkage as scipy_linkage

    vectors_ND = _matrix(vectors_ND).astype(np.float64)
    n = len(vectors_ND)
    if (distance is None) == (n_clusters is None):
        raise ValueError(f"distance={distance}, n_clusters={n_clusters}; give exactly one of them.")
    if linkage not in LINKAGES:
        raise ValueError(f"no linkage {linkage!r}; need one of {', '.join(LINKAGES)}.")
    if n_clusters is not None and not 1 <= n_clusters <= max(1, n):
        raise ValueError(f"n_clusters={n_clusters} of {n:,} vectors; need 1 to {n:,}.")
    if n > _MOST_AGGLOMERATED:
        raise ValueError(
            f"{n:,} vectors to merge; need at most {_MOST_AGGLOMERATED:,}, since all their distances are held. "
            "Make fewer centroids first (kmeans)."
        )
    if n < 2:
        return np.zeros(n, np.int64)
    tree = scipy_linkage(vectors_ND, method=linkage)
    n_merges = n - n_clusters if n_clusters is not None else int((tree[:, 2] < distance).sum())
    members = {row: [row] for row in range(n)}
    for merge in range(n_merges):
        left, right = int(tree[merge, 0]), int(tree[merge, 1])
        members[n + merge] = members.pop(left) + members.pop(right)
    labels_N = np.empty(n, np.int64)
    for label, rows in enumerate(sorted(members.values(), key=min)):
        labels_N[rows] = label
    return labels_N


def _matrix(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors)
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float32 if vectors.dtype == np.float16 else np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"vectors of shape {vectors.shape}; need one a row.")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors with numbers that are not finite; look at what the embedder gives for empty texts.")
    return vectors


def _blocks(n: int, width: int) -> list[slice]:
    rows = max(1, _BLOCK // max(1, width))
    return [slice(start, min(n, start + rows)) for start in range(0, n, rows)]


def _assigned(vectors_ND: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each vector and the squared distance from it."""
    # Distances from shifted points: far from the origin, squares of float32 leave nothing of a difference.
    shift_D = centroids_KD.mean(axis=0, dtype=np.float64).astype(centroids_KD.dtype)
    around_KD = centroids_KD - shift_D
    norms_K = np.square(around_KD).sum(axis=1)
    labels_N, squares_N = np.empty(len(vectors_ND), np.int64), np.empty(len(vectors_ND), np.float64)
    for part in _blocks(len(vectors_ND), len(centroids_KD)):
        block_BD = vectors_ND[part] - shift_D
        scores_BK = norms_K - 2 * (block_BD @ around_KD.T)
        labels_N[part] = scores_BK.argmin(axis=1)
        best_B = np.take_along_axis(scores_BK, labels_N[part, None], axis=1)[:, 0]
        squares_N[part] = np.maximum(0, best_B + np.square(block_BD).sum(axis=1))
    return labels_N, squares_N


def _sums(vectors_ND: np.ndarray, labels_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum (float64) and number of the vectors of each label."""
    from scipy.sparse import csr_array

    sums_KD, n = np.zeros((k, vectors_ND.shape[1])), len(labels_N)
    for part in _blocks(n, vectors_ND.shape[1]):
        size = part.stop - part.start
        members_KB = csr_array((np.ones(size), (labels_N[part], np.arange(size))), shape=(k, size))
        sums_KD += members_KB @ vectors_ND[part].astype(np.float64)
    return sums_KD, np.bincount(labels_N, minlength=k)


def _moved(vectors_ND: np.ndarray, labels_N: np.ndarray, squares_N: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """Each centroid in the middle of its vectors; those without any onto the vectors farthest from theirs."""
    sums_KD, counts_K = _sums(vectors_ND, labels_N, len(centroids_KD))
    empty = np.flatnonzero(counts_K == 0)
    if len(empty):
        far = np.argsort(-squares_N, kind="stable")[: len(empty)]
        np.subtract.at(sums_KD, labels_N[far], vectors_ND[far].astype(np.float64))
        np.subtract.at(counts_K, labels_N[far], 1)
        sums_KD[empty], counts_K[empty] = vectors_ND[far], 1
    kept_K = counts_K > 0
    moved_KD = centroids_KD.copy()
    moved_KD[kept_K] = sums_KD[kept_K] / counts_K[kept_K, None]
    return moved_KD


def _seeded(vectors_ND: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Centroids drawn by k-means++: each new one with probability proportional to the squared distance so far."""
    if len(vectors_ND) > _SEEDING * k:
        vectors_ND = vectors_ND[np.sort(rng.choice(len(vectors_ND), _SEEDING * k, replace=False))]
    n_trials = 2 + int(np.log(k))
    chosen = [int(rng.integers(len(vectors_ND)))]
    closest_N = _assigned(vectors_ND, vectors_ND[chosen])[1]
    norms_N = np.square(vectors_ND).sum(axis=1, dtype=np.float64)
    for _ in range(1, k):
        total = closest_N.sum()
        if total <= 0:  # every vector is a centroid already
            chosen += [chosen[-1]] * (k - len(chosen))
            break
        drawn = np.searchsorted(np.cumsum(closest_N), rng.random(n_trials) * total, side="right")
        drawn = np.minimum(drawn, len(vectors_ND) - 1)
        products_TN = (vectors_ND[drawn] @ vectors_ND.T).astype(np.float64)
        squares_TN = np.maximum(0, norms_N - 2 * products_TN + norms_N[drawn, None])
        squares_TN[np.arange(n_trials), drawn] = 0
        np.minimum(squares_TN, closest_N, out=squares_TN)
        best = int(squares_TN.sum(axis=1).argmin())
        closest_N = squares_TN[best]
        chosen.append(int(drawn[best]))
    return vectors_ND[chosen].copy()


def _by_batches(
    vectors_ND: np.ndarray, centroids_KD: np.ndarray, passes_and_batch: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Move the centroids after each batch, by a rate of one over what each of them has seen."""
    n_passes, batch = passes_and_batch
    means_KD, seen_K = centroids_KD.astype(np.float64), np.zeros(len(centroids_KD))
    best = np.inf
    for _ in range(n_passes):
        order, total, met_K = rng.permutation(len(vectors_ND)), 0.0, np.zeros(len(means_KD), bool)
        for start in range(0, len(order), batch):
            block_BD = vectors_ND[order[start : start + batch]]
            labels_B, squares_B = _assigned(block_BD, means_KD.astype(vectors_ND.dtype))
            total += float(squares_B.sum())
            sums_KD, counts_K = _sums(block_BD, labels_B, len(means_KD))
            seen_K += counts_K
            met_K |= counts_K > 0
            moving_K = counts_K > 0
            means_KD[moving_K] += (sums_KD - counts_K[:, None] * means_KD)[moving_K] / seen_K[moving_K, None]
        lost = np.flatnonzero(~met_K)[: len(block_BD)]
        if len(lost):
            far = np.argsort(-squares_B, kind="stable")[: len(lost)]
            means_KD[lost], seen_K[lost] = block_BD[far], 1
        elif total > best * (1 - _SETTLED):
            break
        best = min(best, total)
    return means_KD.astype(vectors_ND.dtype)
