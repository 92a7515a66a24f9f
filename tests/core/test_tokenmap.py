"""TokenMap against dense matrices, and its laws over random maps."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.tokenmap import RowKind, TokenMap, check_tokenmap


def random_map(rng, n_new, n_old, dtype=np.float32):
    rows, kinds = [], []
    for _ in range(n_new):
        kind = int(rng.integers(0, len(RowKind.NAMES)))
        if kind in (RowKind.COPY, RowKind.SPECIAL) and n_old:
            rows.append(([int(rng.integers(n_old))], [1.0]))
        elif kind == RowKind.COMBINE and n_old:
            size = int(rng.integers(1, n_old + 1))
            rows.append((rng.integers(0, n_old, size=size), rng.standard_normal(size)))
        else:
            rows.append(([], []))
            kind = max(kind, RowKind.MEAN)
        kinds.append(kind)
    return TokenMap.from_rows(rows, n_old, kinds, dtype=dtype)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12), st.sampled_from([np.float32, np.float64]))
def test_the_laws_hold_for_random_maps(seed, n_new, n_old, dtype):
    rng = np.random.default_rng(seed)
    check_tokenmap(random_map(rng, n_new, n_old, dtype), rng)


def test_apply_is_the_dense_product_written_by_hand():
    tokens = TokenMap.from_rows([([0, 2], [0.5, 0.5]), ([1], [1.0]), ([], []), ([2, 2], [1.0, 1.0])], 3)
    matrix = np.array([[2.0, 4.0], [1.0, -1.0], [6.0, 0.0]])
    assert np.array_equal(tokens.apply(matrix), [[4.0, 2.0], [1.0, -1.0], [0.0, 0.0], [12.0, 0.0]])
    assert np.array_equal(tokens.apply(matrix[:, 0]), [4.0, 1.0, 0.0, 12.0])
    assert np.array_equal(tokens.dense(), [[0.5, 0, 0.5], [0, 1, 0], [0, 0, 0], [0, 0, 2]])
    assert np.array_equal(tokens.row_sums(), [1.0, 1.0, 0.0, 2.0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_copied_rows_keep_every_bit_and_the_dtype(dtype):
    matrix = np.array([[-0.0, 1e-7], [np.inf, 3.1], [2.0, np.nan]], dtype=dtype)
    out = TokenMap.one_hot([2, 0, -1, 1], 3).apply(matrix)
    assert out.dtype == dtype
    assert out[[0, 1, 3]].tobytes() == matrix[[2, 0, 1]].tobytes()
    assert not out[2].any()


def test_half_precision_rows_are_summed_in_float32():
    # 2,048 ones: a float16 running sum sticks at 2,048 when it steps by less than its spacing.
    n = 4096
    tokens = TokenMap.from_rows([(np.arange(n), np.full(n, 1.0))], n)
    assert tokens.apply(np.ones((n, 1), dtype=np.float16))[0, 0] == n


def test_a_row_that_reads_nothing_broken_is_not_broken_by_it():
    tokens = TokenMap.from_rows([([0, 1], [0.5, 0.5])], 3)
    matrix = np.array([[1.0], [3.0], [np.nan]], dtype=np.float32)
    assert tokens.apply(matrix)[0, 0] == 2.0


def test_composing_two_maps_is_the_product_and_kinds_follow_copies():
    first = TokenMap.from_rows([([0, 1], [0.5, 0.5]), ([2], [1.0]), ([], [])], 3, [2, 1, 4])
    then = TokenMap.one_hot([1, 0, 2, -1], 3)
    both = then.compose(first)
    assert np.allclose(both.dense(), then.dense() @ first.dense())
    assert both.kinds.tolist() == [RowKind.SPECIAL, RowKind.COMBINE, RowKind.ZERO, RowKind.ZERO]
    with pytest.raises(ValueError, match="must read as many tokens"):
        first.compose(TokenMap.identity(5))


def test_row_sums_survive_large_weights_that_cancel():
    tokens = TokenMap.from_rows([([0, 1], [1e9, -1e9]), ([0], [0.25])], 2, dtype=np.float64)
    assert np.array_equal(tokens.row_sums(), [0.0, 0.25])


def test_saving_and_loading_gives_the_same_map_and_refuses_other_files(tmp_path):
    tokens = random_map(np.random.default_rng(1), 7, 5, np.float64)
    again = TokenMap.load(tokens.save(tmp_path / "map.npz"))
    assert again.shape == tokens.shape
    for name in ("indptr", "cols", "weights", "kinds"):
        assert np.array_equal(getattr(again, name), getattr(tokens, name))
        assert getattr(again, name).dtype == getattr(tokens, name).dtype
    with pytest.raises(FileNotFoundError, match=r"TokenMap\.save"):
        TokenMap.load(tmp_path / "absent.npz")
    (tmp_path / "junk.npz").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not a TokenMap"):
        TokenMap.load(tmp_path / "junk.npz")
    np.savez(tmp_path / "pickled.npz", indptr=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a TokenMap"):
        TokenMap.load(tmp_path / "pickled.npz")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TokenMap.from_rows([([3], [1.0])], 3), "need 0 .. 2"),
        (lambda: TokenMap.from_rows([([0], [1.0, 2.0])], 3), "one weight an id"),
        (lambda: TokenMap.from_rows([([0], [np.nan])], 3), "not finite"),
        (lambda: TokenMap.one_hot([-2], 3), "need -1"),
        (lambda: TokenMap(np.array([0, 2]), np.array([0]), np.array([1.0]), 3, np.array([0])), "must agree"),
        (lambda: TokenMap.identity(3).apply(np.zeros((4, 2))), "need \\(3, width\\)"),
        (lambda: TokenMap.identity(3).apply(np.zeros((3, 2), dtype=np.int64)), "floating"),
        (lambda: TokenMap.one_hot([0], 3, np.array([9])), "unknown"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_large_identity_costs_neither_minutes_nor_a_dense_matrix():
    tokens = TokenMap.identity(200_000)
    matrix = np.random.default_rng(0).standard_normal((200_000, 8), dtype=np.float32)
    assert tokens.apply(matrix).tobytes() == matrix.tobytes()
    assert tokens.counts() == {"copy": 200_000}


def test_importing_the_map_needs_no_scipy():
    code = "import sys, tokenry.core.tokenmap; sys.exit('scipy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
