"""New rows from a donor: each new token as a sparse combination of shared ones, carried over to the base's rows.

Orthogonal matching pursuit in two exact forms: GEMM (correlations from the residual; numpy or torch, any device) and
Gram (recursion on correlations; several times faster on a CPU when the width is much larger than the picks).

Paper: Training-Free Tokenizer Transplantation via Orthogonal Matching Pursuit (arXiv 2506.06607).
"""

import sys
from dataclasses import dataclass

import numpy as np

# Axes: B targets (of a batch), N anchors, D width, K picks.

_PASS = 6.0
"""Time of a multiply-add of the recursion in those of a matrix product: 3.3 (14 against 46 a ns on one core) where the
images of a target stay in the cache, more beyond it."""


def matching_pursuit(
    targets_BD,
    anchors_ND,
    *,
    k: int,
    tolerance: float = 1e-4,
    form: str = "auto",
    normalize: bool = False,
    memory_mb: int = 1024,
    candidates: int | None = None,
):
    """Write each target as a combination of at most `k` anchors (orthogonal matching pursuit).

    Args:
        targets_BD: vectors to approximate: numpy float32 or float64, or a torch tensor on any device.
        anchors_ND: dictionary, of the same library and dtype; rows need not be unit length. Zero rows are never picked.
        k: most anchors a target, 1 <= k <= N.
        tolerance: stop refining a target once its residual norm is below this share of its own norm. The Gram form
            knows the residual only to the square root of the rounding, so there the share is at least
            4 * sqrt(eps): 1.4e-3 in float32. A target also stops when the best anchor lies in the span of its picks.
        form: "gemm", "gram" (numpy only), or "auto": for numpy the one that costs less by width, picks, numbers of
            anchors and targets, and how much of the Gram matrix `memory_mb` holds; for torch "gemm".
        normalize: choose anchors by cosine instead of by inner product; weights still belong to the rows as given.
        memory_mb: bound on the work arrays; decides the batch and how many rows of the Gram matrix are kept.
        candidates: approximate: a target picks only among this many anchors, those of greatest inner product with it
            (numpy only). Tens of thousands of anchors then cost little more than one product with each;
            `restriction_cost` tells what it does to the residual.

    Returns:
        picks_BK: int64 rows of `anchors_ND`, -1 where the pursuit stopped early.
        weights_BK: least-squares weights of the picks, 0 where stopped. Both of the library that came in.

    Raises:
        ValueError: if k is outside 1..N, the widths differ, or a number is not finite.

    Paper: arXiv 2506.06607.
    """
    xp = _library(targets_BD, anchors_ND)
    _check(xp, targets_BD, anchors_ND, k, candidates)
    form = _chosen_form(xp, form, (len(targets_BD), *anchors_ND.shape), k, memory_mb * 2**20 / anchors_ND.itemsize)
    norms_N = xp.concatenate([xp.linalg.norm(part, axis=1) for part in _parts(anchors_ND)])
    # Below this a squared row underflows: such a row is a zero row.
    usable = xp.arange(len(norms_N), **_place(xp, targets_BD))[norms_N > 1e-18]
    if len(usable) < len(anchors_ND):
        anchors_ND, norms_N = anchors_ND[usable], norms_N[usable]
    if normalize:
        anchors_ND = anchors_ND / norms_N[:, None]
    n, width = len(targets_BD), min(k, len(usable))
    picks = xp.full((n, k), -1, dtype=xp.int64, **_place(xp, targets_BD))
    weights = xp.zeros((n, k), dtype=targets_BD.dtype, **_place(xp, targets_BD))
    if not n or not width:
        return picks, weights
    solve = _solver(xp, form, anchors_ND, (n, width), memory_mb=memory_mb, candidates=candidates)
    for start in range(0, n, solve.size):
        stop = min(start + solve.size, n)
        chosen, found = solve(targets_BD[start:stop], width, tolerance)
        taken = chosen >= 0
        picks[start:stop, :width] = xp.where(taken, usable[chosen * taken], -1)
        weights[start:stop, :width] = found / norms_N[chosen * taken] if normalize else found
    return picks, weights


def _solver(xp, form: str, anchors_ND, shape: tuple[int, int], *, memory_mb: int, candidates: int | None):
    n_targets, k = shape
    if candidates is not None and candidates < len(anchors_ND):
        return _NearSolver(anchors_ND, max(candidates, k), memory_mb)
    if form == "gemm":
        return _GemmSolver(xp, anchors_ND, k, memory_mb)
    return _GramSolver(anchors_ND, n_targets, k, memory_mb)


def _library(*arrays):
    torch = sys.modules.get("torch")
    if torch is not None and all(isinstance(a, torch.Tensor) for a in arrays):
        return torch
    if all(isinstance(a, np.ndarray) for a in arrays):
        return np
    kinds = " and ".join(type(a).__name__ for a in arrays)
    raise ValueError(f"Targets and anchors are {kinds}; need two numpy arrays, or two torch tensors on one device.")


def _parts(rows):
    """Blocks of rows, so that what is made of a matrix in passing stays small."""
    return [rows[start : start + 2048] for start in range(0, max(1, len(rows)), 2048)]


def _chosen_form(xp, form: str, shape: tuple[int, int, int], k: int, budget: float) -> str:
    """`shape`: numbers of targets and anchors, width; `budget`: numbers that the work arrays may hold."""
    if form not in ("auto", "gemm", "gram"):
        raise ValueError(f"form={form!r} is unknown; need 'auto', 'gemm' or 'gram'.")
    if form == "gram" and xp is not np:
        raise ValueError("form='gram' works on numpy arrays; for torch tensors use form='gemm', or pass arrays.")
    if form != "auto":
        return form
    return "gram" if xp is np and _gram_share(shape, k, budget) < 1 else "gemm"


def _gram_share(shape: tuple[int, int, int], k: int, budget: float) -> float:
    """Cost of the Gram form as a share of the GEMM form's: rows of the Gram matrix, and the recursion.

    Rows are made once where they all fit. Else a pick finds its row as often as rows are held (picks spread evenly),
    and a target's images must fit too.
    """
    n_targets, n, d = shape
    held = min(n, budget / 2 / n) / n
    if budget / 2 < n * (k + 3) or not n_targets:
        return 1.0
    complete = held == 1.0 and n_targets * k >= n
    rows = n / n_targets if complete else k * (1 - held * (1 - n / max(n, n_targets * k)))
    return (rows * d + k * k / 2 * _PASS) / (d * k)


def _place(xp, like) -> dict:
    return {} if xp is np else {"device": like.device}


def _check(xp, targets_BD, anchors_ND, k: int, candidates: int | None) -> None:
    if candidates is not None and (xp is not np or candidates < 1):
        raise ValueError(
            f"candidates={candidates} with {xp.__name__} arrays; need 1 or more, and numpy arrays. Leave it away: on a "
            "GPU the exact form is fast."
        )
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
    for name, array in (("targets", targets_BD), ("anchors", anchors_ND)):
        # A comparison that NaN fails too; beyond the bound squared lengths overflow float32.
        if not all(bool((xp.abs(part) < 1e15).all()) for part in _parts(array)):
            raise ValueError(f"The {name} hold numbers that are not finite or above 1e15; check the donor's weights.")


def _degenerate(dtype_eps: float) -> float:
    """Share of its squared length that an anchor must have outside the span of the earlier picks."""
    return max(1e-10, 16 * dtype_eps)


def _back_substitute(xp, lower_BKK, beta_BK):
    """Solve L^T c = beta for every target; L is lower triangular with a positive diagonal."""
    out = xp.zeros_like(beta_BK)
    for s in range(beta_BK.shape[1] - 1, -1, -1):
        rest = (lower_BKK[:, s + 1 :, s] * out[:, s + 1 :]).sum(1)
        out[:, s] = (beta_BK[:, s] - rest) / lower_BKK[:, s, s]
    return out


class _GemmSolver:
    """Residual form: one product residual @ anchors.T a step, Gram-Schmidt twice."""

    def __init__(self, xp, anchors_ND, k: int, memory_mb: int) -> None:
        self.xp, self.anchors = xp, anchors_ND
        n, d = anchors_ND.shape
        self.size = max(1, min(512, int(memory_mb * 2**20 / (8 * (k * (d + k) + 3 * n)))))

    def __call__(self, targets_BD, k: int, tolerance: float):
        xp, anchors = self.xp, self.anchors
        b, place, dtype = len(targets_BD), _place(self.xp, targets_BD), targets_BD.dtype
        everyone = xp.arange(b, **place)
        basis = xp.zeros((b, k, anchors.shape[1]), dtype=dtype, **place)
        lower = xp.zeros((b, k, k), dtype=dtype, **place)
        lower[:, range(k), range(k)] = 1
        beta = xp.zeros((b, k), dtype=dtype, **place)
        picks = xp.full((b, k), -1, dtype=xp.int64, **place)
        residual = targets_BD + 0
        limit = tolerance * xp.linalg.norm(targets_BD, axis=1)
        active = xp.linalg.norm(residual, axis=1) > limit
        for s in range(k):
            if not bool(active.any()):
                break
            score = xp.abs(residual @ anchors.T)
            for j in range(s):
                score[everyone, picks[:, j]] = -1
            best = xp.argmax(score, axis=1)
            atom = anchors[best]
            w = (basis[:, :s] @ atom[:, :, None])[:, :, 0]
            fresh = atom - (w[:, None, :] @ basis[:, :s])[:, 0]
            again = (basis[:, :s] @ fresh[:, :, None])[:, :, 0]
            fresh, w = fresh - (again[:, None, :] @ basis[:, :s])[:, 0], w + again
            delta = xp.linalg.norm(fresh, axis=1)
            length = xp.linalg.norm(atom, axis=1)
            active = active & (delta**2 > _degenerate(float(xp.finfo(dtype).eps)) * length**2)
            q = xp.where(active[:, None], fresh / xp.where(active, delta, delta * 0 + 1)[:, None], 0 * fresh)
            basis[:, s] = q
            lower[:, s, :s] = xp.where(active[:, None], w, 0 * w)
            lower[:, s, s] = xp.where(active, delta, delta * 0 + 1)
            beta[:, s] = (q * residual).sum(1)
            residual = residual - beta[:, s, None] * q
            picks[:, s] = xp.where(active, best, best * 0 - 1)
            active = active & (xp.linalg.norm(residual, axis=1) > limit)
        return picks, _back_substitute(xp, lower, beta)


class _GramSolver:
    """Correlation form: with V_j = anchors @ q_j kept for each target, a step needs one row of the Gram matrix.

    alpha -= beta V_s replaces the product of residual and anchors: N k^2 / 2 multiply-adds a target instead of N d k.
    """

    def __init__(self, anchors_ND: np.ndarray, n_targets: int, k: int, memory_mb: int) -> None:
        self.anchors = anchors_ND
        n = len(anchors_ND)
        self.squares = np.einsum("nd,nd->n", anchors_ND, anchors_ND)
        row_bytes = n * anchors_ND.itemsize
        budget = memory_mb * 2**20
        self.capacity = int(min(n, max(1, budget // 2 // row_bytes)))
        # All rows at once run at full GEMM speed, and a target then runs through with its images in the cache.
        complete = self.capacity == n and n_targets * k >= n
        # Beside its k images a target needs its correlations, and a moment's two copies: |them|, a new Gram row.
        most = budget // 2 // (row_bytes * (k + 3))
        self.size = int(max(1, min(4 if complete else 64, n_targets, self.capacity, most)))
        self.rows = np.empty((self.capacity, n), dtype=anchors_ND.dtype)
        self.slot_of = np.full(n, -1, dtype=np.int64)
        self.owner = np.full(self.capacity, -1, dtype=np.int64)
        self.hand = 0
        if complete:
            np.matmul(anchors_ND, anchors_ND.T, out=self.rows)
            self.slot_of[:] = self.owner[:] = np.arange(n)
        self.images = np.empty((self.size, k, n), dtype=anchors_ND.dtype)

    def fetch(self, wanted: np.ndarray) -> None:
        """Compute the Gram rows of these anchors in one product; the longest held rows make room."""
        missing = np.unique(wanted)
        missing = missing[self.slot_of[missing] < 0][: self.capacity]
        free = (self.hand + np.arange(missing.size)) % self.capacity
        self.hand = (self.hand + missing.size) % self.capacity
        gone = self.owner[free]
        self.slot_of[gone[gone >= 0]] = -1
        self.rows[free] = self.anchors[missing] @ self.anchors.T
        self.owner[free], self.slot_of[missing] = missing, free

    def __call__(self, targets_BD: np.ndarray, k: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        from tokenry.transplant.omp_kernels import pursue

        b, dtype = len(targets_BD), targets_BD.dtype
        eps = float(np.finfo(dtype).eps)
        alpha = targets_BD @ self.anchors.T
        lower = np.zeros((b, k, k), dtype=dtype)
        lower[:, range(k), range(k)] = 1
        beta = np.zeros((b, k), dtype=dtype)
        picks = np.full((b, k), -1, dtype=np.int64)
        left = np.einsum("bd,bd->b", targets_BD, targets_BD, dtype=np.float64)
        limit = max(tolerance, 4 * eps**0.5) ** 2 * left
        state = (self.images[:b], alpha, lower, beta, picks, left, limit, _degenerate(eps))
        while pursue(self.rows, self.slot_of, self.squares, *state):
            going = (left > limit) & (picks[:, -1] < 0)
            self.fetch(np.abs(alpha[going]).argmax(axis=1))
        return picks, _back_substitute(np, lower, beta)


class _NearSolver:
    """Approximate form: each target pursues by correlations among its own nearest anchors."""

    def __init__(self, anchors_ND: np.ndarray, n_near: int, memory_mb: int) -> None:
        self.anchors, self.n_near, self.memory_mb = anchors_ND, n_near, memory_mb
        self.size = int(max(1, min(256, memory_mb * 2**20 // (4 * anchors_ND.itemsize * len(anchors_ND)))))

    def __call__(self, targets_BD: np.ndarray, k: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        score = np.abs(targets_BD @ self.anchors.T)
        near = np.sort(np.argpartition(score, -self.n_near, axis=1)[:, -self.n_near :], axis=1)
        picks, weights = [], []
        for target, own in zip(targets_BD, near, strict=True):
            solve = _GramSolver(self.anchors[own], 1, k, self.memory_mb)
            chosen, found = solve(target[None], k, tolerance)
            picks.append(np.where(chosen >= 0, own[chosen * (chosen >= 0)], -1))
            weights.append(found)
        return np.concatenate(picks), np.concatenate(weights)


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
