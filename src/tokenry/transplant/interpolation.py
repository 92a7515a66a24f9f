"""New rows from the shared tokens nearest in a donor's space: weights by distance, barycentric or by least squares.

`solve_weights` is the one place where weights on chosen tokens are found; the pursuit of `donors` uses it too.

Paper: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607), whose tool has these as alternatives.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from tokenry.transplant.neighbours import cosine_blocks
from tokenry.transplant.planning import Gap, Rows

# Axes: B targets, N anchors, D width, K neighbours.

WEIGHTS = ("distance", "barycentric", "least-squares")
DISTANCES = ("euclidean", "cosine")
_NEAREST = 1e-6
"""Distances below this count as this: an anchor on the spot takes all the weight, without a division by zero."""


def common_interpolation(
    gap: Gap,
    *,
    k: int = 64,
    weights: str = "distance",
    distance: str = "euclidean",
    untrained_quantile: float = 0.01,
    max_anchors: int | None = None,
    memory_mb: int = 256,
) -> Rows:
    """Mix each new token from its `k` nearest shared tokens in the donor's space; the same weights make its base row.

    A token whose donor row is untrained goes back to the mean of its pieces, one without pieces to the mean row.

    Args:
        k: neighbours a token; at most as many as there are shared tokens.
        weights: "distance": inverse distance (with cosine distance the cosines themselves, which may be negative),
            summing to 1; "barycentric": least squares with weights that sum to 1; "least-squares": without that.
        distance: "euclidean" or "cosine"; who is near.
        untrained_quantile, max_anchors: as in donors.omp.
        memory_mb: bound on the block of distances.

    Raises:
        ValueError: without donor rows, an unknown choice, k below 1, or no shared token.

    Paper: arXiv 2506.06607; formulas of mergekit 0.1.5 (`common_interpolation`).
    """
    from tokenry.transplant.donors import pursued_rows, trained_anchors

    if gap.donor is None:
        raise ValueError(
            "Method 'common-interpolation' needs donor rows over the new vocabulary: pass donor=rows of a model with "
            "this tokenizer (--donor). Without one, use method 'pieces'."
        )
    _check_choices(k, weights, distance)
    new_ids, old_ids = trained_anchors(gap, untrained_quantile, max_anchors)
    k = _bearable(k, new_ids.size)

    def nearest_mix(targets: np.ndarray, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picks, found = [], []
        for start, far in _distances(targets, atoms, distance, memory_mb):
            near = nearest(far, k)
            picks.append(near)
            block = targets[start : start + len(far)], atoms, near
            found.append(_weights(*block, np.take_along_axis(far, near, axis=1), weights, distance))
        shape = (0, k)
        return np.concatenate([np.zeros(shape, np.int64), *picks]), np.concatenate([np.zeros(shape), *found])

    parts = {"anchors": (new_ids, old_ids), "solve": nearest_mix, "quantile": untrained_quantile}
    rows, kinds, info = pursued_rows(gap, gap.donor, **parts)
    head = None
    if gap.donor_head is not None:
        head, _, made = pursued_rows(gap, gap.donor_head, **parts)
        info |= {f"head_{name}": value for name, value in made.items()}
    return Rows(rows, kinds, head, info={"anchors": int(new_ids.size), "k": int(k), **info})


def _bearable(k: int, shared: int) -> int:
    """As many neighbours as were asked for, or as there are; told aloud where that is fewer."""
    if k > shared:
        warnings.warn(
            f"k={k} lowered to {shared}: the vocabularies share so many tokens that the donor learned, and each new "
            "row mixes all of them. Take a donor that shares more tokens, or method 'pieces'.",
            stacklevel=4,
        )
    return min(k, shared)


def nearest(far_BN: np.ndarray, k: int) -> np.ndarray:
    """Columns (B, k) of the least numbers of each row, least first, the lower column first among equals."""
    if far_BN.shape[1] > 4 * k:
        last = np.partition(far_BN, k - 1, axis=1)[:, k - 1 : k]
        below, level = far_BN < last, far_BN == last
        room = k - below.sum(axis=1, keepdims=True)
        picks = np.nonzero(below | (level & (np.cumsum(level, axis=1) <= room)))[1].reshape(-1, k)
        order = np.argsort(np.take_along_axis(far_BN, picks, axis=1), axis=1, kind="stable")
        return np.take_along_axis(picks, order, axis=1)
    return np.argsort(far_BN, axis=1, kind="stable")[:, :k]


def solve_weights(
    targets_BD: np.ndarray,
    anchors_ND: np.ndarray,
    picks_BK: np.ndarray,
    *,
    ridge: float = 0.0,
    sum_to_one: bool = False,
) -> np.ndarray:
    """Least-squares weights of given anchors for each target, in float64.

    Minimises |x - sum_i w_i a_i|^2 + ridge * s * |w|^2, where s is the mean squared length of the target's anchors,
    optionally with sum w = 1. Where anchors depend on each other the shortest solution is taken.

    Args:
        picks_BK: rows of `anchors_ND`; -1 for none, whose weight is 0. With `sum_to_one` a target without picks keeps
            weights of 0.
        ridge: 0 for plain least squares; 1e-3 pulls weights that cancel together.
        sum_to_one: the combination then does not depend on where the origin of either space lies.

    Returns:
        (B, K) weights.

    Raises:
        ValueError: a negative ridge.
    """
    if ridge < 0:
        raise ValueError(f"ridge={ridge}; need 0 or more.")
    out = np.zeros(picks_BK.shape)
    step = max(1, 2**26 // (8 * max(1, picks_BK.shape[1] * targets_BD.shape[1])))
    for start in range(0, len(picks_BK), step):
        picks = picks_BK[start : start + step]
        taken_BK = picks >= 0
        x_BD = np.asarray(targets_BD[start : start + step], dtype=np.float64)
        atoms_BKD = np.asarray(anchors_ND[np.maximum(picks, 0)], dtype=np.float64) * taken_BK[:, :, None]
        gram_BKK = atoms_BKD @ atoms_BKD.transpose(0, 2, 1)
        right_BK = np.einsum("bkd,bd->bk", atoms_BKD, x_BD)
        scale_B = np.trace(gram_BKK, axis1=1, axis2=2) / np.maximum(taken_BK.sum(axis=1), 1)
        gram_BKK[:, range(picks.shape[1]), range(picks.shape[1])] += ridge * scale_B[:, None]
        out[start : start + step] = _solved(gram_BKK, right_BK, taken_BK if sum_to_one else None)
    return out


def _solved(gram_BKK: np.ndarray, right_BK: np.ndarray, constrained_BK: np.ndarray | None) -> np.ndarray:
    """Shortest solutions of the normal equations, with a row and column for the constraint where it is asked."""
    k = right_BK.shape[1]
    if constrained_BK is not None:
        # The border has the size of the anchors, so that the cut on small singular values treats both alike.
        size_B = np.sqrt(np.maximum(np.trace(gram_BKK, axis1=1, axis2=2) / max(1, k), 1e-300))
        border_BK = constrained_BK * size_B[:, None]
        whole = np.zeros((len(gram_BKK), k + 1, k + 1))
        whole[:, :k, :k], whole[:, :k, k], whole[:, k, :k] = gram_BKK, border_BK, border_BK
        gram_BKK = whole
        right_BK = np.concatenate([right_BK, size_B[:, None] * constrained_BK.any(axis=1)[:, None]], axis=1)
    solved = np.linalg.pinv(gram_BKK, rcond=1e-13, hermitian=True) @ right_BK[:, :, None]
    return solved[:, :k, 0]


def _check_choices(k: int, weights: str, distance: str) -> None:
    if k < 1:
        raise ValueError(f"k={k} neighbours; need 1 or more.")
    for value, known in ((weights, WEIGHTS), (distance, DISTANCES)):
        if value not in known:
            raise ValueError(f"{value!r} is unknown; need one of {', '.join(known)}.")


def _distances(targets: np.ndarray, atoms: np.ndarray, distance: str, memory_mb: int) -> Iterator[tuple]:
    """Blocks of distances: first row, float64 (b, N)."""
    if distance == "cosine":
        for start, cosines in cosine_blocks(targets, atoms, memory_mb=memory_mb):
            yield start, 1 - cosines
        return
    atoms = atoms.astype(np.float64)
    squares = np.square(atoms).sum(axis=1)
    step = max(1, memory_mb * 2**20 // (32 * max(1, len(atoms))))
    for start in range(0, len(targets), step):
        part = targets[start : start + step].astype(np.float64)
        square = np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ atoms.T
        yield start, np.sqrt(np.maximum(square, 0))


def _weights(targets, atoms, near, far, weights: str, distance: str) -> np.ndarray:
    if weights != "distance":
        return solve_weights(targets, atoms, near, sum_to_one=weights == "barycentric")
    found = 1 - far if distance == "cosine" else 1 / np.maximum(far, _NEAREST)
    return found / np.maximum(found.sum(axis=1, keepdims=True), _NEAREST)
