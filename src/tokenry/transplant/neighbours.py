"""Rows of new tokens from the old tokens that stand near them in another space: who is near, and how much each counts.

Papers: sparsemax (arXiv 1602.02068); its use in FOCUS (arXiv 2305.14481), the softmax of WECHSEL (arXiv 2112.06598).
"""

from collections.abc import Iterator

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.transplant.planning import Gap, Rows

FALLBACKS = ("pieces", "mean", "random")
_FIRST_TRY = 128


def sparsemax(scores_BN: np.ndarray) -> np.ndarray:
    """The point of the simplex nearest to each row: like a softmax, but most weights are exactly zero.

    Args:
        scores_BN: (B, N) or (N,), N >= 1.

    Returns:
        float64 weights of the same shape; each row is non-negative and sums to 1.

    Raises:
        ValueError: no scores, or scores that are not finite.

    Paper: arXiv 1602.02068, Algorithm 1. We sort only the greatest scores, and more of them where those all count.
    """
    scores = np.atleast_2d(np.asarray(scores_BN, dtype=np.float64))
    if not scores.shape[-1] or not np.isfinite(scores).all():
        raise ValueError(f"sparsemax got scores of shape {np.shape(scores_BN)}; need one or more a row, all finite.")
    # Only differences matter; with the greatest at 0 no digits are lost on large scores.
    scores = scores - scores.max(axis=1, keepdims=True)
    taus = np.empty(len(scores))
    rows, n_top = np.arange(len(scores)), min(_FIRST_TRY, scores.shape[1])
    while rows.size:
        top = -np.sort(np.partition(-scores[rows], n_top - 1, axis=1)[:, :n_top], axis=1)
        ranks, sums = np.arange(1, n_top + 1), np.cumsum(top, axis=1)
        support = (1 + ranks * top > sums).sum(axis=1)
        taus[rows] = (sums[np.arange(rows.size), support - 1] - 1) / support
        rows = rows[(support == n_top) & (n_top < scores.shape[1])]
        n_top = min(2 * n_top, scores.shape[1])
    return np.maximum(scores - taus[:, None], 0).reshape(np.shape(scores_BN))


def nearest_softmax(scores_BN: np.ndarray, *, k: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The `k` greatest scores of each row and softmax(score / temperature) over them.

    Returns:
        picks (B, min(k, N)) int64, greatest first and the lower column first among equals; weights float64 of that
        shape, each row summing to 1.

    Raises:
        ValueError: k below 1, or a temperature that is not above 0.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k={k} and temperature={temperature}; need k >= 1 and a temperature above 0.")
    scores = np.asarray(scores_BN, dtype=np.float64)
    k = min(k, scores.shape[1])
    picks = np.argsort(-scores, axis=1, kind="stable")[:, :k] if scores.shape[1] <= 4 * k else _greatest(scores, k)
    top = np.take_along_axis(scores, picks, axis=1) / temperature
    weights = np.exp(top - top.max(axis=1, keepdims=True))
    return picks, weights / weights.sum(axis=1, keepdims=True)


def cosine_blocks(
    vectors_AH: np.ndarray, others_NH: np.ndarray, *, memory_mb: int = 256
) -> Iterator[tuple[int, np.ndarray]]:
    """Cosines of every vector with every other one, a few rows at a time: (first row, cosines float64 (b, N)).

    A vector of zeros has cosine 0 with everything.
    """
    others = unit_rows(others_NH).T
    step = max(1, memory_mb * 2**20 // (32 * max(1, others.shape[1])))
    for start in range(0, len(vectors_AH), step):
        yield start, unit_rows(vectors_AH[start : start + step]) @ others


def unit_rows(vectors_NH: np.ndarray) -> np.ndarray:
    """Each row divided by its length, float64; rows of zeros stay."""
    vectors = np.asarray(vectors_NH, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def near_rows(
    vectors_GH: np.ndarray,
    others_NH: np.ndarray,
    other_ids: np.ndarray,
    *,
    k: int | None,
    temperature: float = 0.1,
    memory_mb: int = 256,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each vector the ids of its neighbours and their weights.

    Args:
        vectors_GH: vectors of the tokens to make.
        others_NH: vectors of the tokens that may be mixed, in the same space; `other_ids` are their ids.
        k: that many neighbours by softmax(cosine / temperature); None takes sparsemax of the cosines over all of them.
    """
    rows = []
    for _, cosines in cosine_blocks(vectors_GH, others_NH, memory_mb=memory_mb):
        if k is None:
            for weights in sparsemax(cosines):
                used = np.flatnonzero(weights)
                rows.append((other_ids[used], weights[used]))
        else:
            picks, weights = nearest_softmax(cosines, k=k, temperature=temperature)
            rows += list(zip(other_ids[picks], weights, strict=True))
    return rows


def with_fallback(gap: Gap, known: dict[int, tuple], fallback: str, *, info: dict) -> Rows:
    """Rows for the whole gap: `known` by position in `gap.ids`, the others by `fallback`.

    Args:
        fallback: "pieces": the mean of the old pieces (the mean row where there are none), "mean", or "random": drawn
            with the mean and spread of the old rows, as most of the papers do.
    """
    check_fallback(fallback)
    rows, kinds = [], []
    for n, pieces in enumerate(gap.pieces):
        if n in known:
            rows.append(known[n])
            kinds.append(RowKind.COMBINE)
        elif fallback == "pieces" and pieces:
            rows.append((pieces, np.full(len(pieces), 1 / len(pieces))))
            kinds.append(RowKind.COMBINE)
        else:
            rows.append(([], []))
            kinds.append(RowKind.RANDOM if fallback == "random" else RowKind.MEAN)
    sizes = [len(known[n][0]) for n in known]
    told = {
        "placed_rows": len(known),
        "fallback_rows": len(rows) - len(known),
        "neighbours_median": float(np.median(sizes)) if sizes else 0.0,
    }
    return Rows(rows, np.array(kinds, dtype=np.uint8), info={**told, **info})


def check_fallback(fallback: str) -> None:
    """Raise ValueError for a fallback that is not one of FALLBACKS."""
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback={fallback!r} is unknown; need one of {', '.join(FALLBACKS)}.")


def loose_match(gap: Gap, *, ignore_space: bool) -> dict[int, int]:
    """Old ids of the gap's tokens that differ from an old token in case only (or also in the space before them).

    Of several old tokens the one written in lower case is taken, then the lowest id. By position in `gap.ids`.
    """
    from tokenry.core.vocab import Kind

    def key(token: bytes) -> str | None:
        try:
            text = token.decode("utf-8").lower()
        except UnicodeDecodeError:
            return None
        return text.strip() if ignore_space else text

    known: dict[str, int] = {}
    ordinary = np.flatnonzero(gap.old.kinds == Kind.NORMAL).tolist()
    # Lower-case tokens come first, so that setdefault keeps them.
    for i in sorted(
        ordinary, key=lambda i: (gap.old.tokens[i].decode("utf-8", "replace").lower().encode() != gap.old.tokens[i], i)
    ):
        name = key(gap.old.tokens[i])
        if name:
            known.setdefault(name, i)
    found = {}
    for n, i in enumerate(gap.ids.tolist()):
        name = key(gap.new.tokens[i] or b"")
        if name and name in known:
            found[n] = known[name]
    return found


def _greatest(scores: np.ndarray, k: int) -> np.ndarray:
    picks = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    # By column first, so that the stable sort by score leaves equals in the order of their columns.
    picks = np.sort(picks, axis=1)
    top = np.take_along_axis(scores, picks, axis=1)
    picks = np.take_along_axis(picks, np.argsort(-top, axis=1, kind="stable"), axis=1)
    least = top.min(axis=1, keepdims=True)
    # A partition picks any of the scores that are equal to the last one.
    tied = np.flatnonzero((scores == least).sum(axis=1) > (top == least).sum(axis=1))
    picks[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    return picks
