"""Plans and the rows made from them, against loops written by hand on small matrices."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_vocabularies import byte_level, permuted, rows_for
from tokenry.core.tokenmap import RowKind, check_tokenmap
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.matching import match
from tokenry.transplant.planning import Rows, new_bias, new_rows, plan, rarest_ids

# The methods that need no material of their own; the others hold these laws in their own tests.
WITHOUT_DONOR = ["zero", "random", "mean", "pieces", "weighted-pieces", "asymmetric"]


def holed(vocab: Vocab, n: int) -> Vocab:
    """The vocabulary with a special token `n` ids behind its end: a hole of n ids without a token."""
    spec = copy.deepcopy(vocab.spec)
    last = {"id": vocab.size + n, "content": "<last>", "special": True, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False}  # fmt: skip
    spec["added_tokens"].append(last)
    made = Vocab.from_spec(spec, vocab.config, "holed")
    assert (made.kinds[vocab.size : vocab.size + n] == Kind.UNUSED).all()
    return made


@pytest.mark.parametrize("method", WITHOUT_DONOR)
def test_every_method_gives_a_lawful_map_with_copies_one_hot(method, old, new):
    made = plan(old, new, method=method)
    found = match(old, new)
    shared = np.flatnonzero(found.new_to_old >= 0)
    for tokens, to_old in ((made.input, found.new_to_old), (made.head, found.head_to_old)):
        check_tokenmap(tokens, np.random.default_rng(0))
        assert tokens.shape == (new.size, old.size)
        assert tokens.copies[shared].all()
        assert np.array_equal(tokens.cols[tokens.indptr[:-1][shared]], to_old[shared])
        assert set(tokens.kinds[shared]) <= {RowKind.COPY, RowKind.SPECIAL}


@pytest.mark.parametrize("method", WITHOUT_DONOR)
def test_a_permuted_vocabulary_gives_exactly_the_permuted_matrix(method, old):
    order = np.random.default_rng(1).permutation(old.size)
    rows = rows_for(old)
    made, _ = new_rows(plan(old, permuted(old, order), method=method), rows)
    assert made.tobytes() == rows[order].tobytes()


@pytest.mark.parametrize("method", ["pieces", "weighted-pieces", "asymmetric"])
def test_combinations_of_pieces_are_convex(method, old, new):
    made = plan(old, new, method=method)
    rows = rows_for(old)
    longest = np.linalg.norm(rows, axis=1).max()
    for tokens in (made.input, made.head):
        combined = tokens.kinds == RowKind.COMBINE
        assert combined.sum() > 50
        assert (tokens.weights > 0).all()
        np.testing.assert_allclose(tokens.row_sums()[combined], 1, atol=1e-6)
    for matrix in new_rows(made, rows, rows):
        assert np.linalg.norm(matrix, axis=1).max() <= longest * (1 + 1e-6)


@given(st.integers(0, 10_000))
def test_pieces_equal_a_loop_over_ten_tokens(seed):
    old, new = byte_level("english", 340), byte_level("both", 420, ("<|end|>", "<|start|>"))
    rows = rows_for(old, width=3, seed=seed)
    made, _ = new_rows(plan(old, new), rows)
    rng = np.random.default_rng(seed)
    for i in rng.integers(0, new.size, size=10):
        token = new.tokens[i]
        if token is None:
            continue
        ids = old.index.get(token, [None])[:1]
        expected = rows[ids[0]] if ids[0] is not None else np.mean([rows[p] for p in old.decompose(token)], axis=0)
        np.testing.assert_allclose(made[i], expected, rtol=1e-5, atol=1e-6)


def test_a_leading_space_is_part_of_what_is_cut(old, new):
    # A new " Hund" must not get the row of "Hund": its pieces start with a space.
    i = next(i for i, t in enumerate(new.tokens) if t and t.startswith(b" ") and t not in old.index and len(t) > 3)
    ids, _ = plan(old, new).input.row(i)
    assert old.tokens[ids[0]].startswith(b" ")
    assert b"".join(old.tokens[p] for p in ids) == new.tokens[i]


def test_zero_mean_and_random_rows_are_what_they_say(old, new):
    rows = rows_for(old, width=400) * 3 + 7
    gap = np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))
    zero, _ = new_rows(plan(old, new, method="zero"), rows)
    assert not zero[gap].any()
    mean, _ = new_rows(plan(old, new, method="mean"), rows)
    ordinary = rows[old.kinds == Kind.NORMAL]
    np.testing.assert_allclose(mean[gap], np.tile(ordinary.mean(axis=0), (gap.size, 1)), rtol=1e-5)
    drawn, _ = new_rows(plan(old, new, method="random", seed=5), rows)
    # 400 numbers a row: the mean of all has a standard error of 3 / sqrt(400 n); five of them.
    assert abs(drawn[gap].mean() - rows.mean()) < 15 / np.sqrt(400 * gap.size)
    assert 0.9 < drawn[gap].std() / rows.std() < 1.1
    again, _ = new_rows(plan(old, new, method="random", seed=5), rows)
    other, _ = new_rows(plan(old, new, method="random", seed=6), rows)
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn[gap], other[gap])


def test_random_rows_of_input_and_head_are_drawn_apart(old, new):
    rows = rows_for(old)
    made, head = new_rows(plan(old, new, method="random"), rows, rows)
    gap = np.flatnonzero(match(old, new).new_to_old < 0)
    assert not np.allclose(made[gap], head[gap])


def test_known_pieces_of_appended_tokens_are_used_as_given(old):
    spec = copy.deepcopy(old.spec)
    spec["model"]["vocab"]["ĠthecatX"] = old.size
    longer = Vocab.from_spec(spec, old.config, "longer")
    made = plan(old, longer, pieces=[[5, 6, 7]])
    ids, weights = made.input.row(old.size)
    assert ids.tolist() == [5, 6, 7]
    np.testing.assert_allclose(weights, 1 / 3)
    assert np.array_equal(made.input.cols[: old.size], np.arange(old.size))
    with pytest.raises(ValueError, match="1 ids more than the old one"):
        plan(old, longer, pieces=[[5], [6]])


def test_unfilled_ids_get_the_mean_as_input_and_the_rarest_mean_as_head(old):
    new = holed(byte_level("both", 400), 3)
    made = plan(old, new)
    assert made.unfilled.tolist() == [400, 401, 402]
    rows, head_rows = rows_for(old, seed=1), rows_for(old, seed=2)
    table, head = new_rows(made, rows, head_rows)
    np.testing.assert_allclose(
        table[made.unfilled], np.tile(rows[old.kinds == Kind.NORMAL].mean(axis=0), (3, 1)), atol=1e-6
    )
    rare = rarest_ids(old)
    np.testing.assert_allclose(head[made.unfilled], np.tile(head_rows[rare].mean(axis=0), (3, 1)), atol=1e-6)
    # Never likelier than the rare tokens' geometric mean, whatever the hidden state (Jensen).
    hidden = np.random.default_rng(0).standard_normal(8)
    assert head[400] @ hidden <= np.log(np.exp(head_rows[rare] @ hidden).mean()) + 1e-5
    shared, none = new_rows(made, rows)
    assert none is None
    np.testing.assert_allclose(shared[400], rows[rare].mean(axis=0), atol=1e-6)


def test_a_hole_at_the_same_place_keeps_its_row(old):
    first, second = holed(byte_level("both", 400), 3), holed(byte_level("both", 400), 5)
    rows = rows_for(first)
    made = plan(first, second)
    assert made.unfilled.tolist() == [403, 404]
    assert new_rows(made, rows)[0][400:403].tobytes() == rows[400:403].tobytes()


def test_padding_copies_old_padding_first(old, new):
    rows = rows_for(old, extra=2)
    made, _ = new_rows(plan(old, new), rows, n_rows=new.size + 4)
    assert np.array_equal(made[new.size : new.size + 2], rows[old.size :])
    np.testing.assert_allclose(made[new.size + 2], rows[rarest_ids(old)].mean(axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="at least one row an id"):
        new_rows(plan(old, new), rows, n_rows=new.size - 1)


def test_the_bias_of_an_unfilled_id_is_far_below_all_others(old):
    new = holed(byte_level("both", 400), 2)
    bias = np.random.default_rng(0).standard_normal(old.size).astype(np.float32)
    made = new_bias(plan(old, new), bias, n_rows=410)
    assert made.dtype == np.float32
    assert (np.delete(made[400:], 2) == bias.min() - 20).all()
    assert made[:400].min() >= bias.min()
    zero = new_bias(plan(old, new, method="zero"), bias)
    gap = np.flatnonzero(match(old, new).new_to_old[:400] < 0)
    np.testing.assert_allclose(zero[gap], bias[old.kinds == Kind.NORMAL].mean(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_keep_their_number_type(dtype, old, new):
    rows = rows_for(old).astype(dtype)
    for method in WITHOUT_DONOR:
        made, head = new_rows(plan(old, new, method=method), rows, rows)
        assert made.dtype == head.dtype == dtype
        assert np.isfinite(made).all()


def test_a_function_of_the_user_is_a_method(old, new):
    def first_id(gap, *, number=0):
        return Rows([([number], [1.0])] * gap.ids.size, np.full(gap.ids.size, RowKind.COMBINE, dtype=np.uint8))

    made = plan(old, new, method=first_id, number=9)
    gap = np.flatnonzero(match(old, new).new_to_old < 0)
    assert all(made.input.row(i)[0].tolist() == [9] for i in gap)
    assert made.method.endswith(":test_a_function_of_the_user_is_a_method.<locals>.first_id")
    with pytest.raises(ValueError, match=r"returned list; need transplant\.Rows"):
        plan(old, new, method=lambda gap: [])
    with pytest.raises(ValueError, match="need one for each"):
        plan(old, new, method=lambda gap: Rows([], np.zeros(0, dtype=np.uint8)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "piecs"}, "Did you mean 'pieces'"),
        ({"method": "pieces", "nrom": "match"}, "Did you mean 'norm'"),
        ({"method": "asymmetric", "input": "middle"}, "first, last, mean, weighted"),
        ({"method": "asymmetric", "untie": False}, "untie=False was asked"),
        ({"method": "pieces", "norm": "match"}, "base=rows"),
        ({"method": "pieces", "norm": "l2"}, "'none' or 'match'"),
        ({"method": "omp"}, "donor_rows_from_text"),
        ({"method": "omp", "donor": np.ones((3, 4))}, "one row for each id"),
        ({"method": "omp", "donor": np.full((420, 4), np.nan)}, "NaN or infinite"),
    ],
)
def test_bad_requests_are_refused_with_the_next_step(options, sentence, old, new):
    with pytest.raises(ValueError, match=sentence):
        plan(old, new, **options)


def test_rows_that_do_not_fit_are_refused(old, new):
    made = plan(old, new)
    with pytest.raises(ValueError, match="needs a row for each"):
        new_rows(made, np.zeros((old.size - 1, 4)))
    rows = rows_for(old)
    rows[11, 2] = np.inf
    with pytest.raises(ValueError, match="first in row 11"):
        new_rows(made, rows_for(old), rows)
    with pytest.raises(ValueError, match="needs a row for each"):
        new_bias(made, np.zeros(3))
