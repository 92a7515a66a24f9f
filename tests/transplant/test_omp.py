"""Matching pursuit: against scikit-learn, its two forms against each other, and its laws."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp

from tokenry.transplant import omp, omp_solvers
from tokenry.transplant.omp import combine, held_out_anchors, matching_pursuit

FORMS = ("gemm", "gram")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def dense(picks, weights, n):
    out = np.zeros((len(picks), n))
    for row, ids, values in zip(out, picks, weights, strict=True):
        row[ids[ids >= 0]] = values[ids >= 0]
    return out


def world(seed, n_targets=12, n_anchors=40, width=16):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_targets, width)), rng.standard_normal((n_anchors, width))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_scikit_learn_on_unit_atoms(form, seed):
    targets, anchors = world(seed, n_targets=30, n_anchors=200, width=48)
    anchors = unit(anchors)
    picks, weights = matching_pursuit(targets, anchors, k=9, form=form)
    peer = orthogonal_mp(anchors.T, targets.T, n_nonzero_coefs=9).T
    assert np.array_equal(np.sort(picks, axis=1), np.array([np.flatnonzero(row) for row in peer]))
    np.testing.assert_allclose(dense(picks, weights, 200), peer, atol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 8), st.booleans())
def test_both_forms_pick_the_same_atoms_and_weights(seed, k, normalize):
    targets, anchors = world(seed)
    first = matching_pursuit(targets, anchors, k=k, form="gemm", normalize=normalize)
    second = matching_pursuit(targets, anchors, k=k, form="gram", normalize=normalize)
    assert np.array_equal(first[0], second[0])
    np.testing.assert_allclose(first[1], second[1], atol=1e-9)


@given(st.integers(0, 10_000), st.sampled_from(FORMS))
def test_the_residual_never_grows_and_is_orthogonal_to_every_pick(seed, form):
    targets, anchors = world(seed)
    before = np.linalg.norm(targets, axis=1)
    for k in range(1, 9):
        picks, weights = matching_pursuit(targets, anchors, k=k, form=form)
        residual = targets - combine(picks, weights, anchors)
        after = np.linalg.norm(residual, axis=1)
        assert (after <= before + 1e-9).all()
        for row, ids in zip(residual, picks, strict=True):
            assert np.abs(anchors[ids[ids >= 0]] @ row).max() < 1e-9
        before = after


@pytest.mark.parametrize("form", FORMS)
def test_planted_sparse_weights_are_recovered(form):
    # In width 256 the 100 atoms have coherence near 0.2: three of them are found exactly.
    rng = np.random.default_rng(0)
    anchors = unit(rng.standard_normal((100, 256)))
    truth = np.zeros((20, 100))
    for row in truth:
        row[rng.choice(100, 3, replace=False)] = rng.choice([-1, 1], 3) * rng.uniform(1, 2, 3)
    picks, weights = matching_pursuit(truth @ anchors, anchors, k=10, form=form)
    np.testing.assert_allclose(dense(picks, weights, 100), truth, atol=1e-12)
    assert ((picks >= 0).sum(axis=1) == 3).all()


@pytest.mark.parametrize("form", FORMS)
def test_as_many_picks_as_the_rank_leave_no_residual(form):
    targets, anchors = world(5, n_anchors=30, width=6)
    picks, weights = matching_pursuit(targets, anchors, k=20, form=form, tolerance=0)
    np.testing.assert_allclose(combine(picks, weights, anchors), targets, atol=1e-9)
    assert (picks[:, 6:] == -1).all()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("form", FORMS)
def test_an_anchor_in_the_span_of_the_picks_stops_the_pursuit(form):
    # The third anchor is the sum of the first two; what is left of the target is orthogonal to all.
    anchors = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])
    picks, weights = matching_pursuit(np.array([[2.0, -1.0, 5.0]]), anchors, k=3, form=form)
    assert (picks[0] >= 0).sum() == 2
    np.testing.assert_allclose(combine(picks, weights, anchors), [[2, -1, 0]], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalize", [False, True])
def test_zero_rows_are_never_picked_and_zero_targets_pick_nothing(form, normalize):
    targets, anchors = world(2)
    targets[3] = 0
    anchors[[0, 7, 39]] = 0
    picks, weights = matching_pursuit(targets, anchors, k=40, form=form, normalize=normalize)
    assert not np.isin(picks, [0, 7, 39]).any()
    assert (picks[3] == -1).all()
    assert not weights[3].any()
    assert picks.dtype == np.int64
    assert picks.shape == weights.shape == (12, 40)


def test_all_anchors_zero_gives_nothing_rather_than_an_error():
    picks, weights = matching_pursuit(np.ones((2, 3)), np.zeros((4, 3)), k=2)
    assert (picks == -1).all()
    assert not weights.any()


@pytest.mark.parametrize("form", FORMS)
def test_normalising_changes_the_choice_but_not_the_meaning_of_weights(form):
    anchors = np.array([[100.0, 0.0], [1.0, 1.0]])
    target = np.array([[1.0, 0.9]])
    assert matching_pursuit(target, anchors, k=1, form=form)[0][0, 0] == 0
    picks, weights = matching_pursuit(target, anchors, k=1, form=form, normalize=True)
    assert picks[0, 0] == 1
    np.testing.assert_allclose(weights[0, 0], 0.95)


def test_a_linear_map_of_the_anchors_maps_what_is_rebuilt():
    # With zero residual the base row is the donor row times the map, whatever the map.
    targets, anchors = world(4, width=6)
    other = np.random.default_rng(9).standard_normal((6, 11))
    picks, weights = matching_pursuit(targets, anchors, k=6, tolerance=0)
    np.testing.assert_allclose(combine(picks, weights, anchors @ other), targets @ other, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_a_scale_of_the_donor_changes_neither_picks_nor_weights(form):
    targets, anchors = world(6)
    plain = matching_pursuit(targets, anchors, k=5, form=form)
    scaled = matching_pursuit(targets * 1e-4, anchors * 1e-4, k=5, form=form)
    assert np.array_equal(plain[0], scaled[0])
    np.testing.assert_allclose(plain[1], scaled[1], rtol=1e-8)


def test_float32_agrees_between_forms_on_a_realistic_shape():
    rng = np.random.default_rng(1)
    anchors = rng.standard_normal((500, 256), dtype=np.float32)
    targets = rng.standard_normal((40, 256), dtype=np.float32)
    first, second = (matching_pursuit(targets, anchors, k=24, form=form) for form in FORMS)
    assert np.array_equal(first[0], second[0])
    np.testing.assert_allclose(first[1], second[1], atol=2e-6)
    assert first[1].dtype == second[1].dtype == np.float32


@pytest.mark.parametrize("memory_mb", [1, 4])
def test_a_small_memory_bound_evicts_gram_rows_and_changes_nothing(memory_mb):
    # 1 MB keeps 32 of the 2,000 rows in float64: far fewer than the targets pick together.
    targets, anchors = world(8, n_targets=50, n_anchors=2000, width=48)
    wide = matching_pursuit(targets, anchors, k=12, form="gemm")
    tight = matching_pursuit(targets, anchors, k=12, form="gram", memory_mb=memory_mb)
    assert np.array_equal(wide[0], tight[0])
    np.testing.assert_allclose(wide[1], tight[1], atol=1e-9)


def test_batches_do_not_change_the_result(monkeypatch):
    targets, anchors = world(3, n_targets=33)
    whole = matching_pursuit(targets, anchors, k=5, form="gemm")
    parts = [matching_pursuit(row[None], anchors, k=5, form="gemm") for row in targets]
    assert np.array_equal(whole[0], np.concatenate([p for p, _ in parts]))
    tiny = matching_pursuit(targets, anchors, k=5, form="gemm", memory_mb=0)
    assert np.array_equal(whole[0], tiny[0])


@pytest.mark.parametrize("form", FORMS)
def test_tiles_and_steps_taken_together_change_nothing(form, monkeypatch):
    targets, anchors = world(11, n_targets=70, n_anchors=300, width=40)
    expected = matching_pursuit(targets, anchors, k=12, form=form)
    monkeypatch.setattr(omp_solvers, "_TILE", 64)
    monkeypatch.setattr(omp_solvers, "_NARROW", 0)
    found = matching_pursuit(targets, anchors, k=12, form=form)
    assert np.array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_targets_that_stop_at_different_steps_do_not_disturb_each_other(form):
    rng = np.random.default_rng(4)
    anchors = unit(rng.standard_normal((80, 200)))
    sizes = rng.integers(0, 9, 40)
    targets = np.array([rng.standard_normal(size) @ anchors[rng.permutation(80)[:size]] for size in sizes])
    picks, weights = matching_pursuit(targets, anchors, k=16, form=form)
    for row, target in enumerate(targets):
        alone = matching_pursuit(target[None], anchors, k=16, form=form)
        assert np.array_equal(picks[row], alone[0][0])
        np.testing.assert_allclose(weights[row], alone[1][0], atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_near_parallel_anchors_keep_single_precision_picks_orthogonal(form):
    # Anchors that differ from one another by 3 %: most of each new one lies in the span of the earlier picks.
    rng = np.random.default_rng(5)
    anchors = (rng.standard_normal((1, 64)) + 0.03 * rng.standard_normal((200, 64))).astype(np.float32)
    targets = (anchors[:20] * 0.5 + anchors[20:40] + 0.01 * rng.standard_normal((20, 64))).astype(np.float32)
    picks, weights = matching_pursuit(targets, anchors, k=6, form=form)
    left = targets.astype(float) - combine(picks, weights.astype(float), anchors.astype(float))
    for row, ids, target in zip(left, picks, targets, strict=True):
        chosen = anchors[ids[ids >= 0]].astype(float)
        # Single precision, 1.2e-7, times the condition of the picks (about 2 / 0.03, squared where correlations serve).
        bound = 1.2e-7 * (2 / 0.03) ** 2 * np.linalg.norm(chosen, axis=1).max() * np.linalg.norm(target)
        assert np.abs(chosen @ row).max() < bound


@pytest.mark.parametrize("n_anchors", [400, 2500])
def test_rows_that_find_no_room_lie_in_a_file_and_change_nothing(n_anchors, tmp_path, monkeypatch):
    made = []
    plain = omp_solvers.GramSolver._read

    def watched(self, missing, free):
        rest = plain(self, missing, free)
        made.append((len(missing), len(rest[0])))
        return rest

    monkeypatch.setattr(omp_solvers.GramSolver, "_read", watched)
    targets, anchors = world(9, n_targets=60, n_anchors=n_anchors, width=48)
    wide = matching_pursuit(targets, anchors, k=12, form="gemm")
    tight = matching_pursuit(targets, anchors, k=12, form="gram", memory_mb=1, scratch=tmp_path)
    assert np.array_equal(wide[0], tight[0])
    np.testing.assert_allclose(wide[1], tight[1], atol=1e-9)
    asked, computed = np.sum(made, axis=0)
    assert computed <= n_anchors
    assert computed < asked
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_without_room_or_existence_is_refused(tmp_path, monkeypatch):
    import shutil
    from types import SimpleNamespace

    targets, anchors = world(9, n_anchors=2000)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        matching_pursuit(targets, anchors, k=12, form="gram", memory_mb=1, scratch=tmp_path / "none")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match="Give another folder"):
        matching_pursuit(targets, anchors, k=12, form="gram", memory_mb=1, scratch=tmp_path)


def test_torch_tensors_give_what_numpy_gives():
    torch = pytest.importorskip("torch")
    targets, anchors = world(7)
    picks, weights = matching_pursuit(torch.from_numpy(targets), torch.from_numpy(anchors), k=6)
    expected = matching_pursuit(targets, anchors, k=6, form="gemm")
    assert picks.dtype == torch.int64
    assert np.array_equal(picks.numpy(), expected[0])
    np.testing.assert_allclose(weights.numpy(), expected[1], atol=1e-12)
    if torch.cuda.is_available():
        on_gpu = matching_pursuit(torch.from_numpy(targets).cuda(), torch.from_numpy(anchors).cuda(), k=6)
        assert np.array_equal(on_gpu[0].cpu().numpy(), expected[0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"k": 41}, "need 1 <= k <= 40"),
        ({"k": 0}, "need 1 <= k"),
        ({"form": "fast"}, "'auto', 'gemm' or 'gram'"),
        ({"targets_BD": np.ones((2, 3))}, "do not fit"),
        ({"targets_BD": np.ones((2, 16), dtype=np.float32)}, "both float32 or both float64"),
        ({"targets_BD": np.full((2, 16), np.nan)}, "not finite"),
        ({"anchors_ND": np.full((40, 16), np.inf)}, "not finite"),
        ({"targets_BD": [[1.0]]}, "two numpy arrays"),
        ({"candidates": 0}, "need 1 or more"),
    ],
)
def test_what_cannot_be_pursued_is_refused(change, sentence):
    targets, anchors = world(0)
    arguments = {"targets_BD": targets, "anchors_ND": anchors, "k": 3, **change}
    with pytest.raises(ValueError, match=sentence):
        matching_pursuit(arguments.pop("targets_BD"), arguments.pop("anchors_ND"), **arguments)


def test_single_precision_in_torch_on_the_processor_picks_what_numpy_picks():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    anchors = rng.standard_normal((500, 256), dtype=np.float32)
    targets = rng.standard_normal((40, 256), dtype=np.float32)
    expected = matching_pursuit(targets, anchors, k=24)
    moved = (torch.from_numpy(rows).to("cpu") for rows in (targets, anchors))
    picks, weights = matching_pursuit(*moved, k=24)
    assert np.array_equal(picks.numpy(), expected[0])
    np.testing.assert_allclose(weights.numpy(), expected[1], atol=2e-6)
    assert weights.dtype == torch.float32


def test_held_out_anchors_are_rebuilt_where_the_two_spaces_are_one_map_apart():
    rng = np.random.default_rng(0)
    # Rows near a 12-dimensional space, as trained embeddings are; the base is a rotation of the donor plus noise.
    donor = rng.standard_normal((400, 12)) @ rng.standard_normal((12, 32)) + 0.05 * rng.standard_normal((400, 32))
    base = donor @ rng.standard_normal((32, 24)) + 0.05 * rng.standard_normal((400, 24)) + 0.5
    found = held_out_anchors(donor, base, k=16)
    assert found.n == 64
    assert found.pursuit > 0.95
    assert found.pursuit > found.mean + 0.5
    assert abs(found.random) < 0.5
    with pytest.raises(ValueError, match="same two or more"):
        held_out_anchors(donor[:3], base[:4], k=2)


def test_as_many_candidates_as_anchors_change_nothing_and_few_cost_residual():
    targets, anchors = world(3, n_targets=30, n_anchors=300, width=64)
    exact = matching_pursuit(targets, anchors, k=8)
    for number in (300, 299):
        near = matching_pursuit(targets, anchors, k=8, candidates=number)
        assert np.array_equal(near[0], exact[0])
        np.testing.assert_allclose(near[1], exact[1], atol=1e-10)
    few = matching_pursuit(targets, anchors, k=8, candidates=20)
    # Candidates are chosen anew before each of the first three picks, and the best anchor is always one of them.
    assert np.array_equal(few[0][:, :3], exact[0][:, :3])
    assert all(np.unique(row).size == 8 for row in few[0])
    cost = omp.restriction_cost(targets, anchors, k=8, candidates=8)
    assert cost["residual_exact"] < cost["residual_restricted"] < 1
    assert omp.restriction_cost(targets, anchors, k=8, candidates=300)["residual_restricted"] == cost["residual_exact"]


def test_few_candidates_serve_where_all_rows_share_a_large_common_part():
    # As trained rows do: those nearest to a target at the start are only those with most of the common part.
    rng = np.random.default_rng(0)
    # 16 picks turn a residual in 128 dimensions little, so those near to it at one pick are near at the next few.
    rows = rng.standard_normal((2050, 128)) + 3 * rng.standard_normal(128)
    targets, anchors = rows[:50], rows[50:]
    cost = omp.restriction_cost(targets, anchors, k=16, candidates=64, n=50)
    score = np.abs(targets @ anchors.T)
    rebuilt = []
    for target, own in zip(targets, np.argsort(-score, axis=1)[:, :64], strict=True):
        rebuilt.append(combine(*matching_pursuit(target[None], anchors[own], k=16), anchors[own])[0])
    at_once = np.median(np.linalg.norm(targets - rebuilt, axis=1) / np.linalg.norm(targets, axis=1))
    assert cost["residual_restricted"] < 1.1 * cost["residual_exact"]
    assert at_once > 1.2 * cost["residual_exact"]


def test_candidates_in_torch_are_those_of_numpy():
    torch = pytest.importorskip("torch")
    targets, anchors = world(3, n_targets=30, n_anchors=300, width=64)
    expected = matching_pursuit(targets, anchors, k=8, candidates=20)
    picks, weights = matching_pursuit(torch.from_numpy(targets), torch.from_numpy(anchors), k=8, candidates=20)
    assert np.array_equal(picks.numpy(), expected[0])
    np.testing.assert_allclose(weights.numpy(), expected[1], atol=1e-10)


def test_the_form_is_chosen_by_what_it_costs():
    def chosen(n_targets, n, d, k, memory_mb):
        return omp._chosen_form(np, "auto", (n_targets, n, d), k, memory_mb * 2**20 // 4)

    assert chosen(1024, 8000, 2048, 64, 1024) == "gram"
    assert chosen(30_000, 20_000, 2048, 64, 4096) == "gram"
    # A narrow space, few targets for many anchors, a Gram matrix of which little fits: residuals are cheaper.
    assert chosen(1024, 8000, 64, 64, 1024) == "gemm"
    assert chosen(1024, 8000, 256, 64, 1024) == "gram"
    assert chosen(16, 20_000, 2048, 64, 1024) == "gemm"
    assert chosen(30_000, 60_000, 2048, 64, 1024) == "gemm"


@pytest.mark.parametrize("options", [{"form": "gram"}, {"form": "gemm"}, {"candidates": 200}])
def test_the_work_arrays_stay_within_the_memory_that_was_allowed(options):
    import tracemalloc

    targets, anchors = world(0, n_targets=600, n_anchors=6000, width=64)
    targets, anchors = targets.astype(np.float32), anchors.astype(np.float32)
    matching_pursuit(targets[:2], anchors[:300], k=8, **options)
    tracemalloc.start()
    matching_pursuit(targets, anchors, k=8, memory_mb=12, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside them stand the result (600 x 8 x 12 bytes) and what is made of the anchors in passing.
    assert peak < (12 + 2) * 2**20


@pytest.mark.parametrize("options", [{"form": "gram"}, {"form": "gemm"}, {"candidates": 256}])
def test_the_memory_of_the_whole_process_stays_under_the_bound(options):
    import json
    import subprocess
    import sys

    # 8,000 anchors: the Gram matrix alone would take 244 MB, all scores of a batch of 256 another 8.
    code = f"""
import re, numpy as np
from tokenry.transplant.omp import matching_pursuit
held = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
rows = np.random.default_rng(0).standard_normal((8100, 64), dtype=np.float32)
targets, anchors = rows[:100], rows[100:]
matching_pursuit(targets[:3], anchors[:300], k=8, memory_mb=1, **{options!r})
before = held()
matching_pursuit(targets, anchors, k=8, memory_mb=24, **{options!r})
print(held() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    grown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    # Beside the work arrays stand the result and what is made of the anchors in passing (2 MB).
    assert json.loads(grown.stdout) < 24 + 4


def test_importing_the_module_needs_neither_torch_nor_numba():
    import subprocess
    import sys

    code = "import sys, tokenry.transplant.omp; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert omp.__name__ == "tokenry.transplant.omp"
