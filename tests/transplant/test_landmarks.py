"""Maps of the whole space: a rotated donor gives the rows back exactly, and a real map beats the mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from test_donors import world

from tokenry.core.vocab import Kind
from tokenry.transplant.landmarks import affine, by_sparse_basis, turn
from tokenry.transplant.matching import match
from tokenry.transplant.planning import new_rows, plan


def rotation(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_rotated_and_shifted_donor_is_recovered_exactly(seed, scale):
    rng = np.random.default_rng(seed)
    donor, targets = rng.standard_normal((40, 6)) * np.arange(1, 7), rng.standard_normal((5, 6))
    turned, shift = rotation(rng, 6), rng.standard_normal(6)
    size = 2.5 if scale else 1.0
    got = turn(targets, donor, size * donor @ turned + shift, scale=scale)
    np.testing.assert_allclose(got, size * targets @ turned + shift, atol=1e-8)


def test_the_rotation_is_not_its_transpose():
    # mergekit 0.1.5 applies the transpose, which is right for reflections and wrong for any other rotation.
    rng = np.random.default_rng(0)
    # All directions alike: the principal axes of both clouds are arbitrary, so the rotation between them is too.
    donor = rng.standard_normal((200, 5))
    base = (donor - donor.mean(0)) @ rotation(rng, 5) + 0.5 * rng.standard_normal((200, 5))
    a, b = donor - donor.mean(0), base - base.mean(0)
    axes_a, axes_b = (np.linalg.svd(m, full_matrices=False)[2].T for m in (a, b))
    best, _ = orthogonal_procrustes(a @ axes_a, b @ axes_b)
    mine = turn(donor, donor, base, scale=False)
    np.testing.assert_allclose(mine, base.mean(0) + a @ axes_a @ best @ axes_b.T, atol=1e-9)
    theirs = base.mean(0) + a @ axes_a @ best.T @ axes_b.T
    assert np.square(mine - base).sum() < 0.7 * np.square(theirs - base).sum()


@given(st.integers(0, 2**32 - 1))
def test_an_affine_map_is_recovered_exactly_between_any_widths(seed):
    rng = np.random.default_rng(seed)
    donor, targets, matrix = rng.standard_normal((30, 4)), rng.standard_normal((3, 4)), rng.standard_normal((4, 7))
    got = affine(targets, donor, donor @ matrix + 3, ridge=0)
    np.testing.assert_allclose(got, targets @ matrix + 3, atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([(4, 4), (4, 7)]))
def test_a_linear_map_is_recovered_from_a_basis_of_any_sparsity(seed, k, widths):
    # The same mixes are the basis on both sides, so a linear map carries basis and points over alike, even with one
    # token a basis vector; only a basis that does not span (two axes with the same token) loses something.
    rng = np.random.default_rng(seed)
    donor = rng.standard_normal((43, 4))
    base = donor @ rng.standard_normal(widths) - 1
    carried = by_sparse_basis(donor, donor[:40], base[:40], k=k)
    if np.linalg.matrix_rank(carried - base[:40].mean(axis=0)) == 4:
        np.testing.assert_allclose(carried, base, atol=1e-6 * np.abs(base).max())


def naive_sparse_basis(target, donor, base, k):
    """The formula one axis and one pick at a time."""
    a, b = donor - donor.mean(0), base - base.mean(0)
    narrow = a if a.shape[1] < b.shape[1] else b
    sides = []
    for axis in np.linalg.svd(narrow, full_matrices=False)[2]:
        picks = []
        residual = axis
        for _ in range(k):
            picks.append(int(np.argmax(np.abs(narrow @ residual))))
            weights = np.linalg.lstsq(narrow[picks].T, axis, rcond=None)[0]
            residual = axis - weights @ narrow[picks]
        sides.append((weights @ a[picks], weights @ b[picks]))
    first, second = (np.array(side) for side in zip(*sides, strict=True))
    return base.mean(0) + np.linalg.lstsq(first.T, target - donor.mean(0), rcond=None)[0] @ second


@pytest.mark.parametrize("widths", [(5, 5), (5, 8), (8, 5)])
def test_the_sparse_basis_is_that_of_the_formula_written_out(widths):
    rng = np.random.default_rng(3)
    donor, base = (rng.standard_normal((60, width)) * np.linspace(1, 2, width) for width in widths)
    targets = rng.standard_normal((4, widths[0]))
    got = by_sparse_basis(targets, donor, base, k=3)
    np.testing.assert_allclose(got, [naive_sparse_basis(x, donor, base, 3) for x in targets], atol=1e-8)


@pytest.mark.parametrize(
    ("method", "options"), [("landmark-pca", {}), ("stb", {"k": 2}), ("sava", {}), ("sava", {"map": "affine"})]
)
def test_a_plan_carries_the_mapped_rows_and_copies_the_shared_ones(old, new, method, options):
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((new.size, 12)).astype(np.float32)
    found = match(old, new)
    base = np.zeros((old.size, 12), np.float32)
    shared = np.flatnonzero(found.new_to_old >= 0)
    base[found.new_to_old[shared]] = truth[shared]
    # Only shifted and scaled for "procrustes" of SAVA, whose spaces have spread 1; turned for the others.
    donor = truth * 2 + 1 if method == "sava" and not options else truth @ rotation(rng, 12).astype(np.float32) + 1
    # New tokens that were learned from the German text have no old row; with 100 anchors nothing is left open.
    made = plan(old, new, method=method, donor=donor, base=base, untrained_quantile=0, **options)
    rows, _ = new_rows(made, base)
    gap = np.flatnonzero((found.new_to_old < 0) & (new.kinds == Kind.NORMAL))
    np.testing.assert_allclose(rows[gap], truth[gap], atol=0.02)
    assert rows[shared].tobytes() == truth[shared].tobytes()
    assert made.info["landmarks_unexplained"] < 1e-3
    assert made.info["mapped_rows"] >= gap.size


def test_a_head_gets_a_map_of_its_own(old, new):
    donor, base, _ = world(old, new)
    head_donor, head_base, head_truth = world(old, new, seed=7)
    made = plan(
        old, new, method="sava", map="affine", ridge=1e-9, untrained_quantile=0,
        donor=donor, donor_head=head_donor, base=base, base_head=head_base,
    )  # fmt: skip
    _, head = new_rows(made, base, head_base)
    gap = np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))
    np.testing.assert_allclose(head[gap], head_truth[gap], atol=2e-3 * np.abs(head_truth).max())


def test_maps_beat_mean_and_random_rows_under_noise(old, new):
    donor, base, truth = world(old, new, noise=0.3)
    gap = np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))
    error = {}
    for name, method, options in (
        ("landmark-pca", "landmark-pca", {}), ("affine", "sava", {"map": "affine", "ridge": 0.1}),
        ("stb", "stb", {"k": 64}),
        ("mean", "mean", {}), ("random", "random", {}),
    ):  # fmt: skip
        given_rows = {"donor": donor} if name not in ("mean", "random") else {}
        made, _ = new_rows(plan(old, new, method=method, base=base, **given_rows, **options), base)
        error[name] = np.square(made[gap] - truth[gap]).mean()
    # Of the variance 0.09 is noise no map can know: the affine map comes near to it. The views of the world are no
    # rotations, so a rotation explains a part only.
    assert error["affine"] < 0.4 * error["mean"]
    # A basis of few tokens carries their noise into every row: worse than the affine map of all, better than the mean.
    assert error["affine"] < error["stb"] < error["mean"]
    assert error["landmark-pca"] < 0.9 * error["mean"]
    assert error["mean"] < error["random"]


def test_untrained_donor_rows_fall_back_to_pieces(old, new):
    donor, base, _ = world(old, new)
    gap = np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))
    donor[gap[0]] = 0
    made, _ = new_rows(plan(old, new, method="landmark-pca", donor=donor, base=base), base)
    np.testing.assert_allclose(made[gap[0]], base[old.decompose(new.tokens[gap[0]])].mean(axis=0), atol=1e-5)


def test_what_cannot_work_is_refused(old, new):
    donor, base, _ = world(old, new)
    for method, options, message in (
        ("landmark-pca", {"donor": donor}, "rows of the model"),
        ("landmark-pca", {"base": base}, "needs donor rows"),
        ("stb", {"base": base}, "needs donor rows"),
        ("stb", {"donor": donor, "base": base, "k": 0}, "k=0"),
        ("landmark-pca", {"donor": donor, "base": base, "scale": "big"}, "scale='big'"),
        ("sava", {"donor": donor, "base": base, "map": "neural"}, "map='neural'"),
        ("sava", {"donor": np.zeros_like(donor), "base": base}, "Use method 'pieces'"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(old, new, method=method, **options)


@pytest.mark.parametrize("method", ["landmark-pca", "sava", "common-interpolation", "omp"])
def test_the_verb_moves_a_model_with_a_donor(old, new, tmp_path, method):
    from small_models import small_model
    from typer.testing import CliRunner

    from tokenry.cli import app
    from tokenry.models.lm import LM

    small_model("llama-untied", old).save(tmp_path / "base")
    small_model("llama", new).save(tmp_path / "donor")
    arguments = ["transplant", str(tmp_path / "base"), "--donor", str(tmp_path / "donor"), "--method", method]
    found = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "moved")])
    assert found.exit_code == 0, found.output
    moved = LM.open(tmp_path / "moved")
    assert moved.vocab.size == new.size
    assert np.isfinite(moved.nll(["the sea and the Haus"])[0]).all()
