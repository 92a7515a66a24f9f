"""New rows by one map for the whole space: donor rows of shared tokens are the landmarks by which it is turned.

These rows are no combination of old rows: the plan holds them as numbers. A relative of the base gets the same numbers.

Papers: landmark PCA and the sparse token basis of Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607)
and its tool; SAVA (arXiv 2504.17025).
"""

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.transplant.planning import Gap, Rows
from tokenry.transplant.word_vectors import orthogonal_map

# Axes: N shared tokens, B targets, D donor width, E base width, R rank.

SCALES = ("none", "least-squares")
MAPS = ("procrustes", "affine")


def landmark_pca(
    gap: Gap, *, scale: str = "least-squares", untrained_quantile: float = 0.01, max_anchors: int | None = None
) -> Rows:
    """Turn the donor's space onto the base's: both are centred, brought to their principal axes, and rotated.

    Args:
        scale: "least-squares": the rotation times the number that fits best, so that models with embeddings of other
            lengths meet, and rows draw in to the mean where the spaces agree little; "none": the rotation alone.
        untrained_quantile, max_anchors: as in donors.omp; tokens with an untrained donor row are made of their pieces.

    Raises:
        ValueError: without donor rows or rows of the model, fewer than two shared tokens, or an unknown scale.

    Paper: arXiv 2506.06607. Differs from mergekit 0.1.5, which applies the transposed rotation (with U S V^T =
        svd(A^T B), the R that makes A R nearest to B is U V^T), and by the scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r} is unknown; need one of {', '.join(SCALES)}.")

    def turned(targets, donor, base):
        return turn(targets, donor, base, scale=scale == "least-squares")

    return _mapped(gap, "landmark-pca", turned, untrained_quantile, max_anchors)


def sava(
    gap: Gap,
    *,
    map: str = "procrustes",
    ridge: float = 1e-3,
    untrained_quantile: float = 0.01,
    max_anchors: int | None = None,
) -> Rows:
    """Learn a map from the donor's space to the base's on the shared tokens, and send the new tokens through it.

    Args:
        map: "procrustes": each dimension of both spaces centred and scaled to spread 1, the narrower one widened by
            zeros, then the best rotation, and back; "affine": the least-squares matrix and offset.
        ridge: of "affine", as a share of the donor's mean squared deviation; 0 for none.
        untrained_quantile, max_anchors: as in donors.omp; tokens with an untrained donor row are made of their pieces.

    Raises:
        ValueError: without donor rows or rows of the model, fewer than two shared tokens, or an unknown map.

    Paper: arXiv 2504.17025 (SAVA). Rows are not scaled to length 1 first: that cannot be undone for a new token.
    """
    if map not in MAPS or ridge < 0:
        raise ValueError(f"map={map!r} with ridge={ridge}; need one of {', '.join(MAPS)}, and a ridge of 0 or more.")

    def sent(targets, donor, base):
        if map == "affine":
            return affine(targets, donor, base, ridge=ridge)
        return _standardised(targets, donor, base)

    return _mapped(gap, "sava", sent, untrained_quantile, max_anchors)


def sparse_basis(
    gap: Gap, *, k: int = 64, untrained_quantile: float = 0.01, max_anchors: int | None = None, memory_mb: int = 1024
) -> Rows:
    """Carry new tokens over by a basis that both spaces share: mixes of few shared tokens, near the principal axes.

    Args:
        k: shared tokens a basis vector is made of, at most.
        untrained_quantile, max_anchors: as in donors.omp; tokens with an untrained donor row are made of their pieces.
        memory_mb: bound on the work arrays of the pursuit.

    Raises:
        ValueError: without donor rows or rows of the model, fewer than two shared tokens, or k below 1.

    Paper: arXiv 2506.06607, whose tool calls it sparse token basis (`stb`). Differs from mergekit 0.1.5: the basis is
        made of centred rows on both sides, as the target is (there of plain ones, so a common offset comes in twice).
    """
    if k < 1:
        raise ValueError(f"k={k} tokens a basis vector; need 1 or more.")

    def carried(targets, donor, base):
        return by_sparse_basis(targets, donor, base, k=k, memory_mb=memory_mb)

    return _mapped(gap, "stb", carried, untrained_quantile, max_anchors)


def by_sparse_basis(
    targets_BD: np.ndarray, donor_ND: np.ndarray, base_NE: np.ndarray, *, k: int = 64, memory_mb: int = 1024
) -> np.ndarray:
    """Carry points over by coordinates on a basis that is the same mix of landmarks in both spaces.

    Of the narrower space each principal axis is written as a mix of at most `k` centred landmarks (matching pursuit);
    the same mixes are the basis of the other space. A point's coordinates are least squares on the donor's basis.

    Returns:
        (B, E) float64: mean of the base's landmarks + coordinates times the base's basis.

    Paper: arXiv 2506.06607 (its tool's `stb`).
    """
    from tokenry.transplant.omp import matching_pursuit

    donor, base = donor_ND.astype(np.float64), base_NE.astype(np.float64)
    donor_mean, base_mean = donor.mean(axis=0), base.mean(axis=0)
    donor, base = donor - donor_mean, base - base_mean
    narrow = donor if donor.shape[1] < base.shape[1] else base
    axes_RW = np.ascontiguousarray(_axes(narrow, narrow.shape[1]).T)
    picks_RK, weights_RK = matching_pursuit(axes_RW, narrow, k=min(k, len(narrow)), tolerance=1e-8, memory_mb=memory_mb)
    bases = []
    for rows in (donor, base):
        basis = np.zeros((len(axes_RW), rows.shape[1]))
        for n, (picks, weights) in enumerate(zip(picks_RK, weights_RK, strict=True)):
            basis[n] = weights[picks >= 0] @ rows[picks[picks >= 0]]
        bases.append(basis)
    coordinates_BR = np.linalg.lstsq(bases[0].T, (targets_BD.astype(np.float64) - donor_mean).T, rcond=None)[0].T
    return base_mean + coordinates_BR @ bases[1]


def turn(targets_BD: np.ndarray, donor_ND: np.ndarray, base_NE: np.ndarray, *, scale: bool = True) -> np.ndarray:
    """Carry points of one space over to another by the principal axes and the rotation of landmarks known in both.

    Returns:
        (B, E) float64: mean of the base's landmarks + (target - mean of the donor's) V_D R V_E^T, times the scale.

    Paper: arXiv 2506.06607.
    """
    donor, base = donor_ND.astype(np.float64), base_NE.astype(np.float64)
    donor_mean, base_mean = donor.mean(axis=0), base.mean(axis=0)
    donor, base = donor - donor_mean, base - base_mean
    rank = min(donor.shape[1], base.shape[1])
    donor_axes_DR, base_axes_ER = _axes(donor, rank), _axes(base, rank)
    donor_NR, base_NR = donor @ donor_axes_DR, base @ base_axes_ER
    rotation_RR = orthogonal_map(donor_NR, base_NR)
    spread = np.square(donor_NR).sum()
    size = ((donor_NR @ rotation_RR) * base_NR).sum() / spread if scale and spread > 0 else 1.0
    return (
        base_mean + size * ((targets_BD.astype(np.float64) - donor_mean) @ donor_axes_DR @ rotation_RR) @ base_axes_ER.T
    )


def affine(targets_BD: np.ndarray, donor_ND: np.ndarray, base_NE: np.ndarray, *, ridge: float = 1e-3) -> np.ndarray:
    """Carry points over by the least-squares matrix and offset of the landmarks (ridge as a share of their spread)."""
    donor, base = donor_ND.astype(np.float64), base_NE.astype(np.float64)
    donor_mean, base_mean = donor.mean(axis=0), base.mean(axis=0)
    donor = donor - donor_mean
    gram = donor.T @ donor
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    matrix = np.linalg.pinv(gram, hermitian=True) @ (donor.T @ (base - base_mean))
    return base_mean + (targets_BD.astype(np.float64) - donor_mean) @ matrix


def _standardised(targets, donor, base) -> np.ndarray:
    donor, base = donor.astype(np.float64), base.astype(np.float64)
    width = max(donor.shape[1], base.shape[1])
    (donor_mean, donor_std), (base_mean, base_std) = (_moments(rows) for rows in (donor, base))
    rotation = orthogonal_map(
        _widened((donor - donor_mean) / donor_std, width), _widened((base - base_mean) / base_std, width)
    )
    sent = _widened((targets.astype(np.float64) - donor_mean) / donor_std, width) @ rotation
    return base_mean + base_std * sent[:, : base.shape[1]]


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = rows.std(axis=0)
    return rows.mean(axis=0), np.where(spread > 0, spread, 1.0)


def _widened(rows: np.ndarray, width: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _axes(rows: np.ndarray, rank: int) -> np.ndarray:
    """The leading directions (D, rank) of centred rows."""
    _, directions = np.linalg.eigh(rows.T @ rows)
    return directions[:, ::-1][:, :rank]


def _mapped(gap: Gap, name: str, carry, quantile: float, most: int | None) -> Rows:
    """Rows by a map of the whole space, pieces where the donor row is untrained; the head by a map of its own."""
    from tokenry.transplant.donors import trained_anchors, trained_targets

    if gap.donor is None or gap.base is None:
        raise ValueError(
            f"Method {name!r} needs donor rows over the new vocabulary and the rows of the model that is moved: pass "
            "donor=rows and base=rows (--donor M). Without a donor, use method 'pieces'."
        )
    new_ids, old_ids = trained_anchors(gap, quantile, most)
    if new_ids.size < 2:
        raise ValueError(
            f"{new_ids.size} shared token with a trained donor row; need two or more landmarks. Use method 'pieces'."
        )
    rows = [(ids, np.full(len(ids), 1 / len(ids))) if ids else ([], []) for ids in gap.pieces]
    kinds = np.array([RowKind.COMBINE if ids else RowKind.MEAN for ids in gap.pieces], dtype=np.uint8)

    def given(donor, base) -> np.ndarray:
        dense = np.full((gap.ids.size, base.shape[1]), np.nan, dtype=np.float32)
        tried = trained_targets(gap, donor, quantile)
        dense[tried] = carry(donor[gap.ids[tried]], donor[new_ids], base[old_ids])
        return dense

    dense = given(gap.donor, gap.base)
    head = None
    if gap.base_head is not None:
        head = given(gap.donor if gap.donor_head is None else gap.donor_head, gap.base_head)
    made = ~np.isnan(dense[:, 0]) if dense.size else np.zeros(0, dtype=bool)
    residual = carry(gap.donor[new_ids], gap.donor[new_ids], gap.base[old_ids]) - gap.base[old_ids]
    centred = gap.base[old_ids] - gap.base[old_ids].mean(axis=0)
    info = {
        "anchors": int(new_ids.size),
        "mapped_rows": int(made.sum()),
        "landmarks_unexplained": float(np.square(residual).sum() / max(float(np.square(centred).sum()), 1e-30)),
    }
    return Rows(rows, kinds, info=info, dense=dense, dense_head=head)
