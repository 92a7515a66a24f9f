"""What is typed for a selection is read as it was meant, or refused with what to type."""

import json

import pytest

from tokenry.cli import app
from tokenry.core.tables import read
from tokenry.corpora.choices import amount, choice_of, counts_of, cuts_of, weights_of
from tokenry.corpora.presets import preset


@pytest.mark.parametrize(
    ("text", "value"), [("20000", 2e4), ("5M", 5e6), ("1.5B", 1.5e9), ("1_000", 1e3), ("2k", 2e3), ("1e6", 1e6)]
)
def test_amounts_are_read(text, value):
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "M", "5X", "-5", "0", "five", "1..2"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="amount"):
        amount(text)


def test_weights_are_read_and_mistakes_named():
    assert weights_of("web=2, books=1") == {"web": 2, "books": 1}
    assert weights_of("web=3B,books=1.5k,code=0,wiki=1e-3") == {"web": 3e9, "books": 1500, "code": 0, "wiki": 1e-3}
    for text in ("web", "web=", "=2", "web=x", "web=M", "web=-5M"):
        with pytest.raises(ValueError, match="is no weight"):
            weights_of(text)
    with pytest.raises(ValueError, match="two weights"):
        weights_of("a=1,a=2")


def test_counts_are_whole_and_above_none():
    assert counts_of("64, 32,16") == (64, 32, 16)
    for text in ("", "64,", "8.5", "0", "-1", "a", "1e3"):
        with pytest.raises(ValueError, match="no counts"):
            counts_of(text)


def test_rules_are_their_own_names():
    choice = choice_of(where=["a > 1", "b < 2"], budget="5k", quota="x=1")
    assert choice.rules == {"a > 1": "a > 1", "b < 2": "b < 2"}
    assert (choice.budget, choice.quota) == (5000, {"x": 1.0})


def test_presets_with_reasons_of_one_name_keep_all_their_rules():
    both = choice_of(presets=["gopher-quality", "fineweb"]).rules
    assert len(both) == len(preset("gopher-quality").rules) + len(preset("fineweb").rules)
    again = choice_of(presets=["gopher-quality", "rpv2-gopher"]).rules
    assert set(preset("gopher-quality").rules) & set(preset("rpv2-gopher").rules)
    assert len(again) == len(preset("gopher-quality").rules) + len(preset("rpv2-gopher").rules)


def test_a_preset_brings_its_cuts_and_what_is_typed_wins():
    cut = dict(preset("c4").cut)
    assert cut
    assert cuts_of([], ["c4"]) == cut
    column = next(iter(cut))
    assert cuts_of([f"{column}=X", "pii.emails"], ["c4"]) == cut | {column: "X", "pii.emails": ""}


def test_the_verbs_select_and_describe(tmp_path, capsys):
    rows = [{"id": str(n), "text": "word " * n, "source": "ab"[n % 2]} for n in range(1, 30)]
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [str(docs), "--workers", "1", "--json", "--quiet"]
    app(["corpus", "describe", *common], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["facts"]["documents"] == 29
    out = tmp_path / "kept"
    options = [
        "--where",
        "length(text) > 50",
        "--budget",
        "4",
        "--per",
        "source",
        "--quota",
        "equal",
        "--out",
        str(out),
    ]
    app(["corpus", "select", *common, *options], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["facts"]["kept"] == 4
    assert sorted(read(out).column("source").to_pylist()) == ["a", "a", "b", "b"]
    assert (tmp_path / "kept.decisions" / "report" / "report.json").is_file()
    assert json.loads((out / "run.json").read_text())["verb"] == "corpus select"
