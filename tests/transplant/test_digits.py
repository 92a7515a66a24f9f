"""Digit schemes are told apart before a move; rows for numbers are made of the old digit pieces, all others stay."""

import numpy as np
import pytest

from small_vocabularies import byte_level, byte_level_of, rows_for
from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Vocab
from tokenry.tokenization.numerals import retrofit
from tokenry.transplant.digits import compare_digits, digit_warnings, repair_digits
from tokenry.transplant.planning import new_rows, plan


def number_vocab(digits: str, groups: int = 1, size: int = 300) -> Vocab:
    """English byte-level BPE; with `groups` of 2 or 3 it also holds every string of so many digits."""
    plain = byte_level_of(["the cat sat on the mat"] * 4, size)
    model = plain.spec["model"]
    vocab, merges = dict(model["vocab"]), list(model["merges"])
    for n in range(2, groups + 1):
        for number in range(10**n):
            vocab[f"{number:0{n}d}"] = max(vocab.values()) + 1
            merges.append([f"{number:0{n}d}"[:-1], f"{number:0{n}d}"[-1]])
    spec = {**plain.spec, "model": {**model, "vocab": vocab, "merges": merges, "ignore_merges": True}}
    made = Vocab.from_spec(spec, plain.config, f"{digits}-{groups}")
    return retrofit(made, digits=digits).vocab


@pytest.fixture(scope="module")
def single() -> Vocab:
    return number_vocab("single")


@pytest.fixture(scope="module")
def triples() -> Vocab:
    return number_vocab("l2r3", 3)


@pytest.mark.parametrize(
    ("digits", "groups", "name"),
    [
        ("single", 1, "single digits"),
        ("l2r3", 3, "groups of 3 from the left"),
        ("r2l3", 3, "groups of 3 from the right"),
        ("r2l2", 2, "groups of 2 from the right"),
    ],
)
def test_every_scheme_is_named_and_agrees_with_itself(digits, groups, name):
    vocab = number_vocab(digits, groups)
    change = compare_digits(vocab, vocab)
    assert change.before.name == change.after_spaced.name == name
    assert not change.differs
    assert digit_warnings(vocab, vocab) == []


def test_free_digits_are_named_free():
    free = byte_level_of(["10 137 20481 1000000 99 1999 2024 2025"] * 8, 300)
    assert compare_digits(free, free).before.name == "free"


def test_numbers_cut_otherwise_are_counted_exactly(single, triples):
    change = compare_digits(single, triples)
    # All but the ten single digits, with and without a space.
    assert (change.n_numbers, change.n_different) == (2002, 2002 - 20)
    assert (change.n_made, change.n_idle) == (1100, 0)
    sentence = " ".join(change.sentences())
    assert "single digits (1|2|3|4|5|6|7) before, groups of 3 from the left (123|456|7) after" in sentence
    assert "1,100 new tokens of several digits" in sentence
    # From the left or from the right only the longest number tells.
    other = number_vocab("r2l3", 3)
    assert compare_digits(triples, other).n_different == 2


def test_an_entry_that_the_old_cut_never_makes_is_called_idle():
    # The vocabulary holds all pairs, but its pre-tokeniser cuts single digits: their rows were never trained.
    idle = retrofit(number_vocab("r2l2", 2), digits="single").vocab
    pairs = number_vocab("r2l2", 2)
    change = compare_digits(idle, pairs)
    assert (change.n_made, change.n_idle) == (0, 100)
    made = repair_digits(plan(idle, pairs), idle, pairs, input="last", head="first")
    i = pairs.index[b"47"][0]
    assert made.input.row(i)[0].tolist() == idle.index[b"7"]
    assert made.head.row(i)[0].tolist() == idle.index[b"4"]


@pytest.mark.parametrize("how", ["first", "last", "mean", "weighted", "early", "late"])
def test_repaired_rows_are_the_digit_pieces_and_all_others_stay(single, triples, how):
    plain = plan(single, triples)
    made = repair_digits(plain, single, triples, input=how, head="mean")
    i = triples.index[b"472"][0]
    digits = [single.index[d.encode()][0] for d in "472"]
    expected = {
        "first": (digits[:1], [1]), "last": (digits[-1:], [1]), "mean": (digits, [1 / 3] * 3),
        "weighted": (digits, [1 / 3] * 3), "early": (digits, [4 / 7, 2 / 7, 1 / 7]),
        "late": (digits, [1 / 7, 2 / 7, 4 / 7]),
    }[how]  # fmt: skip
    ids, weights = made.input.row(i)
    assert ids.tolist() == expected[0]
    np.testing.assert_allclose(weights, expected[1], rtol=1e-6)
    assert made.input.kinds[i] == RowKind.COMBINE
    assert made.info["digits_repaired"] == 1100
    assert made.untie == (how != "mean")
    numbers = [j for j, t in enumerate(triples.tokens) if t and len(t) > 1 and t.isdigit()]
    rows = rows_for(single)
    before, after = (new_rows(p, rows)[0] for p in (plain, made))
    others = np.setdiff1d(np.arange(triples.size), numbers)
    assert before[others].tobytes() == after[others].tobytes()


def test_late_and_early_keep_all_numbers_apart_where_last_and_mean_do_not(single):
    pairs = number_vocab("r2l2", 2)
    rows = rows_for(single, width=6)
    ids = [pairs.index[f"{n:02d}".encode()][0] for n in range(100)]

    def distinct(how):
        made, _ = new_rows(repair_digits(plan(single, pairs), single, pairs, input=how, head=how), rows)
        return len(np.unique(made[ids].round(4), axis=0))

    assert distinct("late") == distinct("early") == 100
    assert distinct("last") == distinct("first") == 10
    assert distinct("mean") == 55


def test_the_wrapper_goes_around_rows_that_are_given_as_numbers_too(single, triples):
    rng = np.random.default_rng(0)
    rows, donor = rows_for(single), rng.standard_normal((triples.size, 8)).astype(np.float32)
    plain = plan(single, triples, method="landmark-pca", donor=donor, base=rows)
    made = repair_digits(plain, single, triples, input="last", head="last")
    i = triples.index[b"472"][0]
    assert not np.allclose(new_rows(plain, rows)[0][i], rows[single.index[b"2"][0]])
    np.testing.assert_array_equal(new_rows(made, rows)[0][i], rows[single.index[b"2"][0]])


def test_a_move_of_a_tied_model_unties_unless_both_rows_are_one(single, triples):
    plain = plan(single, triples)
    assert repair_digits(plain, single, triples).untie
    assert not repair_digits(plain, single, triples, untie=False).untie
    assert not repair_digits(plain, single, triples, input="mean", head="mean").untie


def test_nothing_changes_where_the_schemes_agree(single):
    plain = plan(single, single)
    made = repair_digits(plain, single, single)
    assert made.info["digits_repaired"] == 0
    assert not made.untie
    rows = rows_for(single)
    assert new_rows(made, rows)[0].tobytes() == rows.tobytes()


def test_what_cannot_work_is_refused(single, triples):
    with pytest.raises(ValueError, match="'middle' is no way"):
        repair_digits(plan(single, triples), single, triples, input="middle")
    with pytest.raises(ValueError, match="give the two vocabularies the plan was made for"):
        repair_digits(plan(single, triples), single, byte_level("english", 340))


def test_the_report_of_a_move_warns(single, triples):
    from tokenry.transplant.move_report import move_report

    made = plan(single, triples)
    rows = rows_for(single)
    report = move_report(made, single, triples, before=rows, after=new_rows(made, rows)[0], lost=[], template=[])
    assert any("cut numbers differently" in warning for warning in report.warnings)


def test_the_verb_repairs_numbers_and_says_what_changed(single, tmp_path):
    from small_models import small_model
    from typer.testing import CliRunner

    from tokenry.cli import app
    from tokenry.transplant.manifest import load_plan, plan_folder

    small_model("llama-untied", single).save(tmp_path / "base")
    number_vocab("r2l2", 2).to_hf(tmp_path / "pairs")
    arguments = ["transplant", str(tmp_path / "base"), "--tokenizer", str(tmp_path / "pairs")]
    found = CliRunner().invoke(app, [*arguments, "--digits", "decompose", "--out", str(tmp_path / "moved")])
    assert found.exit_code == 0, found.output
    assert "cut numbers differently" in found.output
    assert load_plan(plan_folder(tmp_path / "moved")).info["digits_repaired"] == 100
