"""New rows from a donor: each new token as a sparse combination of shared ones, carried over to the base's rows.

Orthogonal matching pursuit in two exact forms: GEMM (correlations from the residual; numpy or torch, any device) and
Gram (recursion on correlations; several times faster on a CPU when the width is much larger than the picks).

Paper: Training-Free Tokenizer Transplantation via Orthogonal Matching Pursuit (arXiv 2506.06607).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.transplant.omp_solvers import GemmSolver, GramSolver, NearSolver, gram_shape, place_of

# Axes: B targets (of a batch), N anchors, D width, K picks.

_PRODUCT, _LOOK, _READ, _MERGE, _ROW = 0.0175, 0.45, 0.24, 0.027, 1.3
"""Nanoseconds on one core (AMD EPYC with AVX-512): a multiply-add of a product, the look at a score, a number of the
directions in Gram-Schmidt; a multiply-add of the recursion, and what else a step does to an anchor's correlation."""
_CALLS_GEMM, _CALLS_GRAM = 2400.0, 4000.0
"""Nanoseconds that the calls of a step take whatever the sizes."""
_FEW = 1.5
"""Rows of the Gram matrix that are made as they are asked for, a few at a time, cost this much more than in one product
(1.2 to 2.9 times at 20,000 and more anchors, where the form without sharing was never the faster one)."""
_LEAST_MB = 320
"""Work arrays that are always allowed: less than PyTorch takes to load, which the Gram form does without."""


def matching_pursuit(
    targets_BD,
    anchors_ND,
    *,
    k: int,
    tolerance: float = 1e-4,
    form: str = "auto",
    normalize: bool = False,
    memory_mb: int | None = None,
    candidates: int | None = None,
    scratch: str | Path | None = None,
):
    """Write each target as a combination of at most `k` anchors (orthogonal matching pursuit).

    Args:
        targets_BD: vectors to approximate: numpy float32 or float64, or a torch tensor on any device.
        anchors_ND: dictionary, of the same library and dtype; rows need not be unit length. Zero rows are never picked.
        k: most anchors a target, 1 <= k <= N.
        tolerance: stop a target at this share of its norm (in the Gram form, which knows the residual to the root of
            the rounding, at 4 * sqrt(eps) or more), and when the best anchor lies in the span of its picks.
        form: "gemm", "gram" (numpy only), or "auto": the one that costs less; for torch "gemm".
        normalize: choose anchors by cosine instead of by inner product; weights still belong to the rows as given.
        memory_mb: bound on the work arrays: batch, Gram rows kept (4 N^2 bytes hold all). None: what the reference tool
            takes for these shapes, at least 320.
        candidates: approximate: pick only among this many anchors, those of greatest inner product with the residual,
            chosen anew at 1, 2, 4, 8, ... picks. `restriction_cost` tells what it does to the residual.
        scratch: a folder on a disk: Gram rows that memory does not hold lie in a file there and are not made again.

    Returns:
        picks_BK: int64 rows of `anchors_ND`, -1 where the pursuit stopped early.
        weights_BK: least-squares weights of the picks, 0 where stopped. Both of the library that came in.

    Raises:
        ValueError: if k is outside 1..N, the widths differ, or a number is not finite.

    Paper: arXiv 2506.06607.
    """
    xp = _library(targets_BD, anchors_ND)
    norms_N = _check(xp, targets_BD, anchors_ND, k, candidates)
    sizes = (len(targets_BD), *anchors_ND.shape)
    budget = _budget(sizes, k, memory_mb, anchors_ND.itemsize)
    form = _chosen_form(xp, form, sizes, k, budget, scratch is not None)
    # Below this a squared row underflows: such a row is a zero row.
    usable = xp.arange(len(norms_N), **place_of(xp, targets_BD))[norms_N > 1e-18]
    if len(usable) < len(anchors_ND):
        anchors_ND, norms_N = anchors_ND[usable], norms_N[usable]
    if normalize:
        anchors_ND = anchors_ND / norms_N[:, None]
    n, width, place = len(targets_BD), min(k, len(usable)), place_of(xp, targets_BD)
    picks, weights = xp.full((n, k), -1, dtype=xp.int64, **place), xp.zeros((n, k), dtype=targets_BD.dtype, **place)
    if not n or not width:
        return picks, weights
    solve = _solver(xp, form, anchors_ND, shape=(n, width, budget), candidates=candidates, scratch=scratch)
    for start in range(0, n, solve.size):
        stop = min(start + solve.size, n)
        chosen, found = solve(targets_BD[start:stop], width, tolerance)
        taken = chosen >= 0
        picks[start:stop, :width] = xp.where(taken, usable[chosen * taken], -1)
        weights[start:stop, :width] = found / norms_N[chosen * taken] if normalize else found
    return picks, weights


def _solver(xp, form: str, anchors_ND, *, shape: tuple[int, int, int], candidates: int | None, scratch):
    """`shape`: targets, picks, and numbers that the work arrays may hold."""
    n_targets, k, budget = shape
    if candidates is not None and candidates < len(anchors_ND):
        return NearSolver(xp, anchors_ND, k, budget, n_near=max(candidates, k))
    if form == "gemm":
        return GemmSolver(xp, anchors_ND, k, budget)
    return GramSolver(anchors_ND, n_targets, k, budget=budget, scratch=None if scratch is None else Path(scratch))


def _library(*arrays):
    torch = sys.modules.get("torch")
    if torch is not None and all(isinstance(a, torch.Tensor) for a in arrays):
        return torch
    if all(isinstance(a, np.ndarray) for a in arrays):
        return np
    kinds = " and ".join(type(a).__name__ for a in arrays)
    raise ValueError(f"Targets and anchors are {kinds}; need two numpy arrays, or two torch tensors on one device.")


def _budget(shape: tuple[int, int, int], k: int, memory_mb: int | None, itemsize: int) -> int:
    """Numbers that the work arrays may hold."""
    if memory_mb is not None:
        return memory_mb * 2**20 // itemsize
    n_targets, n, d = shape
    return max(_LEAST_MB * 2**20 // itemsize, min(512, n_targets) * (k * d + 2 * n))


def _chosen_form(xp, form: str, shape: tuple[int, int, int], k: int, budget: int, spills: bool = False) -> str:
    """`shape`: numbers of targets and anchors, width; `budget`: numbers that the work arrays may hold."""
    if form not in ("auto", "gemm", "gram"):
        raise ValueError(f"form={form!r} is unknown; need 'auto', 'gemm' or 'gram'.")
    if form == "gram" and xp is not np:
        raise ValueError("form='gram' works on numpy arrays; for torch tensors use form='gemm', or pass arrays.")
    if form != "auto":
        return form
    return "gram" if xp is np and _gram_share(shape, k, budget, spills) < 1 else "gemm"


def _gram_share(shape: tuple[int, int, int], k: int, budget: int, spills: bool) -> float:
    """Time of the Gram form as a share of the GEMM form's: rows of the Gram matrix, and the recursion.

    Rows are made once where they all fit, or lie on disk. Else a pick finds its row as often as rows are held (picks
    spread evenly; real ones do not, and find it more often), and a target's images must fit too.
    """
    n_targets, n, d = shape
    if not n_targets or (budget < 2 * n * (k + 3) and n_targets > 1):
        return 1.0
    complete, held, _ = gram_shape(n, n_targets, k, budget=budget)
    once = min(k, n / n_targets)
    # A product of a matrix with itself costs half.
    rows = once / 2 if complete else _FEW * (once if spills else max(once, k * (1 - held / n)))
    gram = (1 + rows) * d * _PRODUCT + k * (_ROW + _CALLS_GRAM / n) + k * k / 2 * _MERGE
    return gram / (k * (d * _PRODUCT + _LOOK + _CALLS_GEMM / n) + k * k * d / n * _READ)


def _check(xp, targets_BD, anchors_ND, k: int, candidates: int | None):
    """Norms of the anchors, where all is well."""
    if candidates is not None and candidates < 1:
        raise ValueError(f"candidates={candidates}; need 1 or more (256 is a good start), or None for the exact form.")
    if targets_BD.ndim != 2 or anchors_ND.ndim != 2 or targets_BD.shape[1] != anchors_ND.shape[1]:
        raise ValueError(
            f"Targets of shape {tuple(targets_BD.shape)} and anchors of shape {tuple(anchors_ND.shape)} do not fit; "
            "need (B, D) and (N, D). Both must come from the same (donor) matrix."
        )
    if targets_BD.dtype != anchors_ND.dtype or targets_BD.dtype not in (xp.float32, xp.float64):
        raise ValueError(
            f"Targets are {targets_BD.dtype} and anchors {anchors_ND.dtype}; need both float32 or both float64: "
            "half precision loses the small weights. Convert first."
        )
    n_anchors = len(anchors_ND)
    if not 1 <= k <= n_anchors:
        raise ValueError(
            f"k={k} picks asked from {n_anchors} shared tokens; need 1 <= k <= {n_anchors}. "
            "Lower --k, or look at the overlap first: tokenry tokenizer compare A B."
        )
    lengths = [_lengths(xp, array) for array in (targets_BD, anchors_ND)]
    for name, own in zip(("targets", "anchors"), lengths, strict=True):
        # A comparison that NaN fails too; beyond the bound squared lengths overflow float32.
        if not bool((own < 1e18).all()):
            raise ValueError(f"The {name} hold numbers that are not finite, or too large; check the donor's weights.")
    return lengths[1]


def _lengths(xp, rows):
    """Norms, in blocks, so that nothing of the size of the matrix is made in passing."""
    parts = [rows[start : start + 2048] for start in range(0, max(1, len(rows)), 2048)]
    return xp.concatenate([xp.einsum("nd,nd->n", part, part) for part in parts]) ** 0.5


def restriction_cost(
    targets_BD: np.ndarray, anchors_ND: np.ndarray, *, k: int, candidates: int, n: int = 64, seed: int = 0, **options
) -> dict[str, float]:
    """Median residual, as a share of a target's norm, of the exact pursuit and of the restricted one.

    Args:
        targets_BD, anchors_ND, k, candidates, options: as for matching_pursuit.
        n: targets tried. seed: of their choice.
    """
    some = targets_BD[np.random.default_rng(seed).permutation(len(targets_BD))[:n]]
    size = np.maximum(np.linalg.norm(some, axis=1), 1e-30)
    found = {}
    for name, most in (("residual_exact", None), ("residual_restricted", candidates)):
        picks, weights = matching_pursuit(some, anchors_ND, k=k, candidates=most, **options)
        left = np.linalg.norm(some - combine(picks, weights, anchors_ND), axis=1)
        found[name] = float(np.median(left / size)) if len(some) else 0.0
    return found


@dataclass(frozen=True)
class HeldOut:
    """Cosine of rebuilt rows of held-out shared tokens with their true base rows: medians over the tokens."""

    pursuit: float
    """rebuilt by matching pursuit from the remaining shared tokens."""
    mean: float
    """the mean of the remaining base rows."""
    random: float
    """a random row with the mean and spread of the remaining base rows."""
    n: int
    """number of held-out tokens."""


def held_out_anchors(
    donor_ND: np.ndarray, base_NE: np.ndarray, *, k: int, share: float = 0.05, most: int = 256, seed: int = 0, **options
) -> HeldOut:
    """Take some shared tokens away, rebuild their base rows from their donor rows, and compare with the truth.

    Args:
        donor_ND: donor rows of the shared tokens; base_NE: base rows of the same tokens in the same order.
        k: picks.
        share: share of the tokens held out, but at least 64 or a fifth of them, and at most `most`.
        seed: of the choice. options: of matching_pursuit.

    Raises:
        ValueError: fewer than two shared tokens, or the two matrices hold different numbers of rows.
    """
    n = len(donor_ND)
    if n != len(base_NE) or n < 2:
        raise ValueError(f"{n} donor rows and {len(base_NE)} base rows; need the same two or more shared tokens.")
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    n_out = max(1, min(most, max(round(share * n), min(64, n // 5))))
    out, rest = order[:n_out], np.sort(order[n_out:])
    donor, base = floats(donor_ND), floats(base_NE)
    picks, weights = matching_pursuit(donor[out], donor[rest], k=min(k, len(rest)), **options)
    rebuilt = combine(picks, weights, base[rest])
    mean, std = base[rest].mean(axis=0), base[rest].std(axis=0)
    noise = mean + std * rng.standard_normal((n_out, base.shape[1]), dtype=np.float32)
    truth = base[out]
    median = [float(np.median(_cosine(rows, truth))) for rows in (rebuilt, np.broadcast_to(mean, truth.shape), noise)]
    return HeldOut(*median, n=n_out)


def combine(picks_BK: np.ndarray, weights_BK: np.ndarray, rows_ND: np.ndarray) -> np.ndarray:
    """The combination of rows that a pursuit found: (B, D); picks of -1 add nothing."""
    out = np.zeros((len(picks_BK), rows_ND.shape[1]), dtype=np.result_type(weights_BK, rows_ND))
    for s in range(picks_BK.shape[1]):
        taken = picks_BK[:, s] >= 0
        out[taken] += weights_BK[taken, s, None] * rows_ND[picks_BK[taken, s]]
    return out


def floats(array: np.ndarray) -> np.ndarray:
    """The array as float32, float64 where it is that already: what a pursuit works in."""
    return np.asarray(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(scale, 1e-30)
