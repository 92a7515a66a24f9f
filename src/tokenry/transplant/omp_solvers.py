"""How a matching pursuit is worked out: by residuals (any device), by correlations (numpy), or among near anchors only.

Paper: Training-Free Tokenizer Transplantation via Orthogonal Matching Pursuit (arXiv 2506.06607).
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

# Axes: B targets of a batch, N anchors, D width, K picks.

_NARROW = 2048
"""Up to this many anchors the interpreter costs more than the arithmetic, so a step is taken for a batch at once."""
_TILE = 2**19 // 4
"""Scores made at a time: they stay in the cache until the greatest is found."""
_BLOCK = 64
"""Targets whose first correlations are made in one product."""


def place_of(xp, like) -> dict:
    """Keywords that put a new array where `like` is."""
    return {} if xp is np else {"device": like.device}


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


class GemmSolver:
    """Residual form: a product residual @ anchors.T a step, in tiles; Gram-Schmidt, a second time where it cancels."""

    def __init__(self, xp, anchors_ND, k: int, budget: int) -> None:
        """`budget`: numbers that the work arrays may hold."""
        self.xp, self.anchors = xp, anchors_ND
        n, d = anchors_ND.shape
        on_cpu = xp is np or anchors_ND.device.type == "cpu"
        # A target needs its directions and their triangle, and in passing two copies of its picks and three of itself.
        self.size = max(1, min(256 if on_cpu else 4096, budget // (2 * (k * (d + k) + 4 * d + (0 if on_cpu else n)))))
        self.tile = min(n, max(64, min(_TILE, budget // 4) // self.size)) if on_cpu else n

    def _best(self, residual, picks):
        """The anchor of greatest correlation with each residual, picks aside."""
        xp, b, n = self.xp, len(residual), len(self.anchors)
        place = place_of(xp, residual)
        everyone, top = xp.arange(b, **place), xp.full((b,), -1, dtype=residual.dtype, **place)
        best = xp.zeros((b,), dtype=xp.int64, **place)
        work = xp.empty((b * self.tile,), dtype=residual.dtype, **place)
        for start in range(0, n, self.tile):
            part = self.anchors[start : start + self.tile]
            score = work[: b * len(part)].reshape(b, len(part))
            if xp is np and b < 128 and part.shape[1] >= 512:
                # For few targets the library is a tenth faster with the long matrix first.
                score[:] = (part @ residual.T).T
            else:
                xp.matmul(residual, part.T, out=score)
            xp.abs(score, out=score)
            if len(part) == n:
                score[everyone[:, None], picks] = -1
            else:
                rows, columns = xp.where((picks >= start) & (picks < start + len(part)))
                score[rows, picks[rows, columns] - start] = -1
            own = xp.argmax(score, axis=1)
            value = score[everyone, own]
            better = value > top
            best, top = xp.where(better, own + start, best), xp.where(better, value, top)
        return best

    def __call__(self, targets_BD, k: int, tolerance: float):
        xp, anchors = self.xp, self.anchors
        b, place, dtype = len(targets_BD), place_of(self.xp, targets_BD), targets_BD.dtype
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
            best = self._best(residual, picks[:, :s])
            atom = anchors[best]
            fresh, w = _outside(atom, basis[:, :s])
            delta, length = xp.linalg.norm(fresh, axis=1), xp.linalg.norm(atom, axis=1)
            # One pass leaves rounding of the size of what it takes away: where that is much, a second one.
            again = xp.where(delta**2 < 0.5 * length**2)[0]
            if s and len(again):
                fresh[again], more = _outside(fresh[again], basis[again, :s])
                w[again] += more
                delta = xp.linalg.norm(fresh, axis=1)
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


class NearSolver(GemmSolver):
    """Approximate form: each target picks among the anchors nearest to its residual, chosen anew as the picks double.

    Once at the start would not do: trained rows share a long common part, and the first picks take it away.
    """

    def __init__(self, xp, anchors_ND, k: int, budget: int, *, n_near: int) -> None:
        super().__init__(xp, anchors_ND, k, budget)
        self.n_near, (n, d) = n_near, anchors_ND.shape
        # Beside what the exact form has: all scores with their order, and a copy of the near anchors.
        self.size = max(1, min(self.size, budget // (2 * (4 * n + n_near * d + k * (d + k)))))
        self.tile = n

    def _best(self, residual, picks):
        xp, s = self.xp, picks.shape[1]
        everyone = xp.arange(len(residual), **place_of(xp, residual))
        if s & (s - 1) == 0:  # 0, 1, 2, 4, 8, ...
            score = xp.abs(residual @ self.anchors.T)
            score[everyone[:, None], picks] = -1
            if xp is np:
                near = np.argpartition(score, -self.n_near, axis=1)[:, -self.n_near :]
            else:
                near = score.topk(self.n_near, dim=1).indices
            self.near, self.atoms = near, self.anchors[near]
        score = xp.abs((self.atoms @ residual[:, :, None])[:, :, 0])
        score[(self.near[:, :, None] == picks[:, None, s // 2 :]).any(2)] = -1
        return self.near[everyone, xp.argmax(score, axis=1)]


def _outside(rows_BD, basis_BSD) -> tuple:
    """The part of each row outside the span of its directions, and its coordinates inside."""
    inside = (basis_BSD @ rows_BD[:, :, None])[:, :, 0]
    return rows_BD - (inside[:, None, :] @ basis_BSD)[:, 0], inside


class GramSolver:
    """Correlation form: with V_j = anchors @ q_j kept for each target, a step needs one row of the Gram matrix.

    alpha -= beta V_s replaces the product of residual and anchors: N k^2 / 2 multiply-adds a target instead of N d k.
    """

    def __init__(
        self, anchors_ND: np.ndarray, n_targets: int, k: int, *, budget: int, scratch: Path | None = None
    ) -> None:
        """`budget`: numbers that the work arrays may hold; `scratch`: a folder for rows that find no room in them."""
        n, dtype = len(anchors_ND), anchors_ND.dtype
        self.complete, self.capacity, self.together = gram_shape(n, n_targets, k, budget=budget)
        self.size = max(self.together, min(_BLOCK, n_targets)) if self.complete else self.together
        self.rows = np.empty((self.capacity, n), dtype=dtype)
        self.images = np.empty((self.together, k, n), dtype=dtype)
        self.file, self.on_file = None, np.zeros(n, dtype=bool)
        if scratch is not None and not self.complete:
            self.file = _scratch_file(scratch, n * n * dtype.itemsize)
        self.aim(anchors_ND)

    def aim(self, anchors_ND: np.ndarray) -> None:
        """Take these anchors, as many as before."""
        self.anchors, n = anchors_ND, len(anchors_ND)
        self.squares = np.einsum("nd,nd->n", anchors_ND, anchors_ND)
        self.slot_of = np.full(n, -1, dtype=np.int64)
        self.owner = np.full(self.capacity, -1, dtype=np.int64)
        self.uses = np.zeros(n, dtype=np.int64)
        if self.complete:
            np.matmul(anchors_ND, anchors_ND.T, out=self.rows)
            self.slot_of[:] = self.owner[:] = np.arange(n)

    def _fetch(self, wanted: np.ndarray) -> None:
        """Have the Gram rows of these anchors; those least asked for make room."""
        if self.complete:
            return
        wanted = np.unique(wanted)
        missing = wanted[self.slot_of[wanted] < 0]
        if not missing.size:
            return
        worth = np.where(self.owner < 0, -1, self.uses[self.owner])
        worth[self.slot_of[wanted[self.slot_of[wanted] >= 0]]] = np.iinfo(np.int64).max
        free = np.argpartition(worth, missing.size - 1)[: missing.size]
        gone = self.owner[free]
        self.slot_of[gone[gone >= 0]] = -1
        self.owner[free], self.slot_of[missing] = missing, free
        if self.file is not None:
            missing, free = self._read(missing, free)
        self.rows[free] = made = self.anchors[missing] @ self.anchors.T
        if self.file is not None:
            for anchor, row in zip(missing.tolist(), made, strict=True):
                os.pwrite(self.file.fileno(), row.data, anchor * row.nbytes)
            self.on_file[missing] = True

    def _read(self, missing: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read what lies in the file; the anchors and slots of what does not."""
        there = self.on_file[missing]
        for anchor, slot in zip(missing[there].tolist(), free[there].tolist(), strict=True):
            row = self.rows[slot]
            os.preadv(self.file.fileno(), [row.data], anchor * row.nbytes)
        return missing[~there], free[~there]

    def __call__(self, targets_BD: np.ndarray, k: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        alpha_BN = targets_BD @ self.anchors.T
        parts = [slice(start, start + self.together) for start in range(0, len(targets_BD), self.together)]
        found = [self._pursue(_State(targets_BD[part], alpha_BN[part], k, tolerance)) for part in parts]
        return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))

    def _pursue(self, state: "_State") -> tuple[np.ndarray, np.ndarray]:
        if len(state.picks) > 1 and len(self.anchors) <= _NARROW:
            self._in_step(state)
        else:
            waiting = dict.fromkeys(range(len(state.picks)), -1)
            while waiting:
                stopped = {b: self._advance(state, b) for b in waiting}
                waiting = {b: pick for b, pick in stopped.items() if pick >= 0}
                if waiting:
                    self._fetch(np.array(list(waiting.values())))
        return state.picks, _back_substitute(np, state.lower, state.beta)

    def _advance(self, state: "_State", b: int) -> int:
        """Take one target on until it is done (-1) or needs a Gram row that is not there: the row's number."""
        alpha, lower, beta, picks = state.alpha[b], state.lower[b], state.beta[b], state.picks[b]
        images, k, left, limit = self.images[b], len(picks), float(state.left[b]), float(state.limit[b])
        gemv, scale, add, largest = state.blas
        s = int(state.done[b])
        while s < k and left > limit:
            pick = largest(alpha)
            slot, square = self.slot_of[pick], float(self.squares[pick])
            w = images[:s, pick].astype(np.float64)
            outside = square - float(w @ w)
            if alpha[pick] == 0 or outside <= state.degenerate * square:
                break
            if slot < 0:
                state.done[b], state.left[b] = s, left
                return pick
            self.uses[pick] += 1
            out = images[s]
            out[:] = self.rows[slot]
            if s:
                gemv(-1.0, images[:s].T, w, beta=1.0, y=out, overwrite_y=1)
            delta = outside**0.5
            step = float(alpha[pick]) / delta
            scale(1 / delta, out)
            add(out, alpha, a=-step)
            alpha[pick] = 0
            lower[s, :s], lower[s, s], beta[s], picks[s] = w, delta, step, pick
            left -= step * step
            s += 1
        return -1

    def _in_step(self, state: "_State") -> None:
        """All targets together, a pick of each at a time: array operations instead of a loop in Python."""
        alpha, (b, k) = state.alpha, state.picks.shape
        everyone, work = np.arange(b), np.empty((2, *alpha.shape), dtype=alpha.dtype)
        active = state.left > state.limit
        for s in range(k):
            best = np.abs(alpha, out=work[0]).argmax(axis=1)
            w, square = self.images[everyone, :s, best], self.squares[best]
            outside = square - np.square(w, dtype=np.float64).sum(axis=1)
            active &= (work[0, everyone, best] > 0) & (outside > state.degenerate * square)
            if not active.any():
                break
            self._fetch(best[active])
            self.uses[best[active]] += 1
            delta = np.sqrt(np.where(active, outside, 1))
            # A target that is done goes along, with steps of nothing.
            step = np.where(active, alpha[everyone, best] / delta, 0)
            lower = np.where(active[:, None], w, 0)
            made, less = work
            np.take(self.rows, self.slot_of[best], axis=0, out=made, mode="clip")
            if s:
                np.matmul(lower[:, None, :], self.images[:b, :s], out=less[:, None, :])
                made -= less
            np.multiply(made, (active / delta).astype(alpha.dtype)[:, None], out=self.images[:b, s])
            np.multiply(self.images[:b, s], step.astype(alpha.dtype)[:, None], out=made)
            alpha -= made
            alpha[everyone[active], best[active]] = 0
            state.lower[:, s, :s], state.lower[:, s, s], state.beta[:, s] = lower, delta, step
            state.picks[:, s] = np.where(active, best, -1)
            state.left -= step**2
            active &= state.left > state.limit


class _State:
    """What a batch of pursuits by correlations knows."""

    def __init__(self, targets_BD: np.ndarray, alpha_BN: np.ndarray, k: int, tolerance: float) -> None:
        from scipy.linalg import blas

        b, dtype = len(targets_BD), targets_BD.dtype
        letter, eps = "s" if dtype == np.float32 else "d", float(np.finfo(dtype).eps)
        # On single rows the library's kernels work in place, without a compiler to load.
        self.blas = tuple(getattr(blas, f.format(letter)) for f in ("{}gemv", "{}scal", "{}axpy", "i{}amax"))
        self.alpha, self.degenerate = alpha_BN, _degenerate(eps)
        self.lower = np.zeros((b, k, k), dtype=dtype)
        self.lower[:, range(k), range(k)] = 1
        self.beta = np.zeros((b, k), dtype=dtype)
        self.picks = np.full((b, k), -1, dtype=np.int64)
        self.left = np.einsum("bd,bd->b", targets_BD, targets_BD, dtype=np.float64)
        self.limit = max(tolerance, 4 * eps**0.5) ** 2 * self.left
        self.done = np.zeros(b, dtype=np.int64)


def gram_shape(n: int, n_targets: int, k: int, *, budget: int) -> tuple[bool, int, int]:
    """Whether all rows of the Gram matrix are made, how many are held, and targets in a batch."""
    a_target, block = n * (k + 3), n * min(_BLOCK, n_targets)
    if n_targets * k >= n and n * n + a_target + block <= budget:
        # Few images: they stay in the cache.
        return True, n, int(max(1, min(64, n_targets, 2**20 // a_target, (budget - n * n - block) // a_target)))
    held = int(max(1, min(n, n_targets * k, budget // 2 // n)))
    return False, held, int(max(1, min(64, n_targets, held, budget // 2 // a_target)))


def _scratch_file(folder: Path, n_bytes: int):
    """A file without a name, gone when the solver is."""
    if not folder.is_dir():
        raise FileNotFoundError(f"scratch={folder}: no such folder; need one on a disk with room for {n_bytes} bytes.")
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise ValueError(
            f"{folder} has {free / 2**30:.1f} GB free and the Gram matrix takes {n_bytes / 2**30:.1f} GB. Give another "
            "folder, fewer anchors (max_anchors), or none: the pursuit then works without it."
        )
    return tempfile.TemporaryFile(dir=folder)
