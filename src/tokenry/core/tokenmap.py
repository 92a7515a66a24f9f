"""A sparse linear map from one set of tokens to another: rows of new tokens written in rows of old ones.

A vocabulary move, a merge of positions and a pruning are all `new = M @ old` with few entries a row.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class RowKind:
    """How a row of a TokenMap came about (stored as uint8).

    A row of MEAN, ZERO or RANDOM is normally empty: whoever applies the map to real vectors fills it by its kind. A row
    of GIVEN is no combination of old rows: its numbers lie beside the map.
    """

    COPY = 0
    SPECIAL = 1
    COMBINE = 2
    MEAN = 3
    ZERO = 4
    RANDOM = 5
    GIVEN = 6
    NAMES = ("copy", "special", "combine", "mean", "zero", "random", "given")


@dataclass(frozen=True, eq=False)
class TokenMap:
    """A sparse matrix of shape (n_new, n_cols) in compressed rows: one row a new token, one column an old one."""

    indptr: np.ndarray
    """int64 (n_new + 1,): row i holds the entries indptr[i] up to indptr[i + 1]."""
    cols: np.ndarray
    """int32 (nnz,): old tokens, each below n_cols."""
    weights: np.ndarray
    """float32 or float64 (nnz,)."""
    n_cols: int
    """number of old tokens."""
    kinds: np.ndarray
    """uint8 (n_new,): values of RowKind."""

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights)
        if weights.dtype not in (np.float32, np.float64):
            weights = weights.astype(np.float32)
        object.__setattr__(self, "indptr", np.ascontiguousarray(self.indptr, dtype=np.int64))
        object.__setattr__(self, "cols", np.ascontiguousarray(self.cols, dtype=np.int32))
        object.__setattr__(self, "weights", np.ascontiguousarray(weights))
        object.__setattr__(self, "kinds", np.ascontiguousarray(self.kinds, dtype=np.uint8))
        object.__setattr__(self, "n_cols", int(self.n_cols))
        self._check()

    def _check(self) -> None:
        indptr, cols, weights = self.indptr, self.cols, self.weights
        if indptr.ndim != 1 or indptr.size < 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
            raise ValueError("indptr of a TokenMap must be one row of offsets that starts at 0 and never falls.")
        if not (indptr[-1] == cols.size == weights.size) or self.kinds.size != indptr.size - 1:
            raise ValueError(
                f"A TokenMap with {indptr.size - 1} rows and {indptr[-1]} entries got {cols.size} columns, "
                f"{weights.size} weights and {self.kinds.size} row kinds; they must agree. Use TokenMap.from_rows."
            )
        if cols.size and (cols.min() < 0 or cols.max() >= self.n_cols):
            raise ValueError(
                f"TokenMap columns run from {cols.min()} to {cols.max()}; need 0 .. {self.n_cols - 1}. "
                "An old id lies outside the old vocabulary: was the map made for another tokenizer?"
            )
        if not np.isfinite(weights).all():
            bad = int(np.searchsorted(indptr, np.flatnonzero(~np.isfinite(weights))[0], side="right") - 1)
            raise ValueError(
                f"TokenMap row {bad} holds a weight that is not finite; check the vectors it was made from."
            )
        if self.kinds.size and self.kinds.max() >= len(RowKind.NAMES):
            raise ValueError(f"TokenMap row kind {self.kinds.max()} is unknown; need 0 .. {len(RowKind.NAMES) - 1}.")

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[tuple[Sequence[int], Sequence[float]]],
        n_cols: int,
        kinds: Sequence[int] | np.ndarray | None = None,
        *,
        dtype: type = np.float32,
    ) -> "TokenMap":
        """Build a map from one (old ids, weights) pair a row; without `kinds` every row is COMBINE.

        An old id named twice in a row counts twice: its weights are added when the map is applied.
        """
        lengths = np.array([len(ids) for ids, _ in rows], dtype=np.int64)
        for i, (ids, weights) in enumerate(rows):
            if len(ids) != len(weights):
                raise ValueError(f"Row {i} has {len(ids)} ids and {len(weights)} weights; need one weight an id.")
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        cols = np.empty(int(indptr[-1]), dtype=np.int64)
        values = np.empty(int(indptr[-1]), dtype=dtype)
        for (ids, weights), start, stop in zip(rows, indptr[:-1], indptr[1:], strict=True):
            cols[start:stop], values[start:stop] = ids, weights
        if cols.size and (cols.min() < 0 or cols.max() >= n_cols):
            raise ValueError(f"TokenMap rows name old ids {cols.min()} .. {cols.max()}; need 0 .. {n_cols - 1}.")
        kinds = np.full(len(rows), RowKind.COMBINE) if kinds is None else np.asarray(kinds)
        return cls(indptr, cols, values, n_cols, kinds)

    @classmethod
    def identity(cls, n: int) -> "TokenMap":
        """The map that copies each of `n` tokens."""
        return cls.one_hot(np.arange(n), n)

    @classmethod
    def one_hot(cls, cols: Sequence[int] | np.ndarray, n_cols: int, kinds: np.ndarray | None = None) -> "TokenMap":
        """The map whose row i copies old token cols[i]; -1 leaves the row empty (kind ZERO unless told)."""
        cols = np.asarray(cols, dtype=np.int64)
        if cols.size and cols.min() < -1:
            raise ValueError(f"one_hot got column {cols.min()}; need -1 (empty row) or an old id.")
        filled = cols >= 0
        if kinds is None:
            kinds = np.where(filled, RowKind.COPY, RowKind.ZERO)
        indptr = np.concatenate([[0], np.cumsum(filled)])
        return cls(indptr, cols[filled], np.ones(int(filled.sum()), dtype=np.float32), n_cols, kinds)

    @property
    def shape(self) -> tuple[int, int]:
        """(number of new tokens, number of old tokens)."""
        return self.indptr.size - 1, self.n_cols

    @property
    def copies(self) -> np.ndarray:
        """bool (n_new,): rows that are exactly one old token with weight 1."""
        single = np.diff(self.indptr) == 1
        single[single] = self.weights[self.indptr[:-1][single]] == 1.0
        return single

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The old ids (int32) and weights of row `i`."""
        start, stop = self.indptr[i], self.indptr[i + 1]
        return self.cols[start:stop], self.weights[start:stop]

    def apply(self, matrix: np.ndarray) -> np.ndarray:
        """Return M @ matrix: (n_cols, d) or (n_cols,) to (n_new, d) or (n_new,), in the dtype that came in.

        The work is done in float32, in float64 when the matrix is float64, and cast once. Rows that copy one token
        are copied bit for bit (a sparse product would turn -0.0 into 0.0). Empty rows are zero.

        Raises:
            ValueError: if the matrix does not have n_cols rows or does not hold real numbers.
        """
        matrix = np.asarray(matrix)
        if matrix.ndim not in (1, 2) or matrix.shape[0] != self.n_cols:
            raise ValueError(
                f"A TokenMap over {self.n_cols} old tokens got a matrix of shape {matrix.shape}; "
                f"need ({self.n_cols}, width). Cut padding rows off first, or use the map made for this model."
            )
        if not np.issubdtype(matrix.dtype, np.floating):
            raise ValueError(
                f"A TokenMap is applied to floating numbers, not to {matrix.dtype}; convert the rows first."
            )
        out = np.zeros((self.shape[0], *matrix.shape[1:]), dtype=matrix.dtype)
        copies = self.copies
        out[copies] = matrix[self.cols[self.indptr[:-1][copies]]]
        mixed = np.flatnonzero(~copies & (np.diff(self.indptr) > 0))
        work = np.float64 if matrix.dtype == np.float64 else np.float32
        # Blocks bound the work copy of half-precision rows and the product.
        for block in np.array_split(mixed, max(1, mixed.size // 8192)):
            if block.size:
                sub = self._csr(block, work)
                used = np.unique(sub.indices)
                out[block] = (sub[:, used] @ matrix[used].astype(work, copy=False)).astype(matrix.dtype)
        return out

    def compose(self, other: "TokenMap") -> "TokenMap":
        """This map after `other`: (a, b) after (b, c) gives (a, c).

        A row that copies token j takes the kind of row j of `other`; any other row keeps its own kind.
        """
        if self.n_cols != other.shape[0]:
            raise ValueError(
                f"Cannot apply a map of shape {self.shape} after one of shape {other.shape}: "
                "the first must read as many tokens as the second makes."
            )
        dtype = np.result_type(self.weights, other.weights)
        product = self._csr(slice(None), dtype) @ other._csr(slice(None), dtype)
        product.sort_indices()
        copies, kinds = self.copies, self.kinds.copy()
        inner = other.kinds[self.cols[self.indptr[:-1][copies]]]
        kinds[copies] = np.where(inner == RowKind.COPY, kinds[copies], inner)
        return TokenMap(product.indptr, product.indices, product.data, other.n_cols, kinds)

    def row_sums(self) -> np.ndarray:
        """float64 (n_new,): sum of the weights of every row; 1 for every mean, 0 for an empty row."""
        total = np.concatenate([[0.0], np.cumsum(self.weights, dtype=np.float64)])
        exact = total[self.indptr[1:]] - total[self.indptr[:-1]]
        # A difference of running sums loses digits when large weights cancel: redo those rows by themselves.
        if self.weights.size and np.abs(total).max() > 1e6:
            bounds = zip(self.indptr[:-1], self.indptr[1:], strict=True)
            exact = np.array([self.weights[a:b].sum(dtype=np.float64) for a, b in bounds])
        return exact

    def dense(self) -> np.ndarray:
        """The full (n_new, n_cols) matrix; for small maps and tests."""
        return self._csr(slice(None), self.weights.dtype).toarray()

    def counts(self) -> dict[str, int]:
        """Number of rows of each kind that occurs, by name."""
        number = np.bincount(self.kinds, minlength=len(RowKind.NAMES))
        return {name: int(n) for name, n in zip(RowKind.NAMES, number, strict=True) if n}

    def save(self, path: str | Path) -> Path:
        """Write the map as an .npz file (no pickle), whole or not at all."""
        from tokenry.core.runs import atomic_write

        buffer = io.BytesIO()
        np.savez(buffer, indptr=self.indptr, cols=self.cols, weights=self.weights, n_cols=self.n_cols, kinds=self.kinds)
        path = Path(path)
        atomic_write(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "TokenMap":
        """Read what `save` wrote; the content is checked as if it had just been made."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; need a map that TokenMap.save wrote.")
        try:
            with np.load(path, allow_pickle=False) as file:
                fields = {name: file[name] for name in ("indptr", "cols", "weights", "n_cols", "kinds")}
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(
                f"{path}: not a TokenMap ({error}); need the .npz file that TokenMap.save wrote."
            ) from error
        return cls(**fields)

    def _csr(self, rows: np.ndarray | slice, dtype: np.dtype):
        from scipy.sparse import csr_array

        full = csr_array((self.weights.astype(dtype, copy=False), self.cols, self.indptr), shape=self.shape)
        return full if isinstance(rows, slice) else full[rows]


def check_tokenmap(tokens: TokenMap, rng: np.random.Generator) -> None:
    """The laws of a TokenMap: applying is a dense product, composing is associative, COPY rows copy bit for bit."""
    n_new, n_old = tokens.shape
    matrix = rng.standard_normal((n_old, 3))
    dense = tokens.dense().astype(np.float64)
    scale = 1e-6 * (1 + np.abs(dense).sum(axis=1, keepdims=True))
    assert (np.abs(tokens.apply(matrix) - dense @ matrix) <= scale).all()
    assert np.allclose(tokens.row_sums(), dense.sum(axis=1), atol=1e-6 * (1 + np.abs(dense).sum()))
    after = TokenMap.one_hot(rng.integers(-1, n_new, size=4) if n_new else np.full(4, -1), n_new)
    before = TokenMap.one_hot(rng.integers(-1, 5, size=n_old), 5)
    left, right = after.compose(tokens).compose(before), after.compose(tokens.compose(before))
    assert np.allclose(left.dense(), right.dense(), atol=1e-5)
    assert (left.kinds == right.kinds).all()
    same = TokenMap.identity(n_new).compose(tokens)
    assert np.array_equal(same.dense(), tokens.dense())
    assert (same.kinds == tokens.kinds).all()
    copied = np.flatnonzero(tokens.kinds == RowKind.COPY)
    assert tokens.copies[copied].all()
    source = tokens.cols[tokens.indptr[:-1][copied]]
    assert tokens.apply(matrix)[copied].tobytes() == matrix[source].tobytes()
