"""Rows that are numbers: planned, saved, applied, taken back; and rows that leave the range of a number type."""

import numpy as np
import pytest
import torch
from small_models import small_model

from small_vocabularies import rows_for
from tokenry.core.tokenmap import RowKind
from tokenry.models.lm import LM
from tokenry.transplant.manifest import load_plan, save_plan
from tokenry.transplant.planning import Rows, new_rows, plan
from tokenry.transplant.surgery import apply_plan, move, revert


def given(width: int, *, head: bool = False, scale: float = 1.0):
    """A method that gives every second row as numbers and leaves the others to the mean."""

    def numbers(gap) -> Rows:
        rng = np.random.default_rng(3)
        dense = (scale * rng.standard_normal((gap.ids.size, width))).astype(np.float32)
        dense[1::2] = np.nan
        kinds = np.full(gap.ids.size, RowKind.MEAN, dtype=np.uint8)
        return Rows([([], [])] * gap.ids.size, kinds, dense=dense, dense_head=-dense if head else None)

    return numbers


def test_given_rows_are_taken_as_they_are_and_the_others_by_their_kind(old, new):
    made = plan(old, new, method=given(8))
    rows, head = new_rows(made, rows_for(old))
    assert head is None
    assert np.array_equal(rows[made.dense_ids[::2]], made.dense[::2])
    ordinary = rows_for(old)[old.kinds == 0].mean(axis=0)
    np.testing.assert_allclose(rows[made.dense_ids[1::2]], np.tile(ordinary, (len(made.dense) // 2, 1)), atol=1e-6)
    assert made.info["rows"]["given"] == len(made.dense[::2])


@pytest.mark.parametrize(("has_head", "sign"), [(False, 1), (True, -1)])
def test_an_untied_plan_of_one_matrix_takes_the_heads_rows_or_the_same(old, new, has_head, sign):
    made = plan(old, new, method=given(8, head=has_head), untie=True)
    rows, head = new_rows(made, rows_for(old))
    ids = made.dense_ids[::2]
    assert np.array_equal(head[ids], sign * rows[ids])


def test_a_head_of_its_own_without_given_rows_is_made_by_the_map(old, new):
    made = plan(old, new, method=given(8))
    _, head = new_rows(made, rows_for(old), rows_for(old, seed=1))
    mean = rows_for(old, seed=1)[old.kinds == 0].mean(axis=0)
    np.testing.assert_allclose(head[made.dense_ids], np.tile(mean, (len(made.dense), 1)), atol=1e-6)


def test_given_rows_survive_the_disk_bit_for_bit(old, new, tmp_path):
    made = plan(old, new, method=given(8, head=True))
    again = load_plan(save_plan(made, tmp_path))
    assert np.array_equal(again.dense, made.dense, equal_nan=True)
    assert np.array_equal(again.dense_ids, made.dense_ids)
    tables = rows_for(old), rows_for(old, seed=1)
    for first, second in zip(new_rows(made, *tables), new_rows(again, *tables), strict=True):
        assert np.array_equal(first, second)
    content = (tmp_path / "dense.npz").read_bytes()
    (tmp_path / "dense.npz").write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match=r"dense\.npz is not the file"):
        load_plan(tmp_path)


def test_a_relative_gets_the_same_numbers_and_the_old_rows_come_back(old, new, tmp_path):
    relative = small_model("llama-untied", old)
    with torch.no_grad():
        for parameter in relative.model.parameters():
            parameter.mul_(1.5)
    relative.save(tmp_path / "old")
    made = plan(old, new, method=given(16, head=True))
    report = apply_plan(tmp_path / "old", made, new, out=tmp_path / "out")
    assert any("fine-tuned relative gets the same numbers" in note for note in report.notes)
    rows = LM.open(tmp_path / "out").model.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(rows[made.dense_ids[::2]], made.dense[::2])
    assert revert(tmp_path / "out", tmp_path / "back").facts["rows_lost"] == 0


def test_given_rows_of_another_width_or_with_holes_are_refused(old, new):
    made = plan(old, new, method=given(8))
    with pytest.raises(ValueError, match="rows of width 8, this model's have width 4"):
        new_rows(made, rows_for(old, width=4))

    def broken(gap) -> Rows:
        rows = given(8)(gap)
        rows.dense[0, 3] = np.inf
        return rows

    with pytest.raises(ValueError, match="NaN or infinite numbers in part"):
        plan(old, new, method=broken)


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_rows_too_large_for_half_precision_are_refused_before_anything_is_written(old, new, tmp_path, where):
    lm = small_model("llama", old, dtype=torch.float16)
    made = plan(old, new, method=given(16, scale=1e6))
    if where == "memory":
        with pytest.raises(ValueError, match=r"larger than torch.float16 can hold \(65504\)"):
            move(lm, new, plan=made)
        return
    lm.model.save_pretrained(tmp_path / "old")
    lm.tokenizer.save_pretrained(tmp_path / "old")
    with pytest.raises(ValueError, match="Save the model as bfloat16 or float32 first"):
        apply_plan(tmp_path / "old", made, new, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_half_precision_combinations_that_overflow_are_refused(old, new):
    def doubled(gap) -> Rows:
        kinds = np.full(gap.ids.size, RowKind.COMBINE, dtype=np.uint8)
        return Rows([([65, 66], [2.0, 2.0])] * gap.ids.size, kinds)

    rows = np.full((old.size, 4), 30000, dtype=np.float16)
    with pytest.raises(ValueError, match="would become infinite"):
        new_rows(plan(old, new, method=doubled), rows)
