"""The door of a move: material reaches the method, text is scored before and after, numbers can be repaired."""

import json

import pytest
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.cli.transplant import domains
from tokenry.core.tables import texts as read_texts
from tokenry.data import demo_model, demo_text


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Text, and the demonstration vocabulary with 40 tokens learned from it."""
    from tokenry.core.vocab import Vocab
    from tokenry.tokenization.extend import extend

    folder = tmp_path_factory.mktemp("verbs")
    found = [text[:400] for text in read_texts(demo_text("stories"), limit=30)]
    data = folder / "stories.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in found), encoding="utf-8")
    extend(Vocab.open(demo_model()), found, add=40).vocab.to_hf(folder / "longer")
    return data, folder / "longer"


def move(*more):
    return CliRunner().invoke(app, ["transplant", str(demo_model()), *map(str, more), "--json", "-q"])


def test_text_and_options_reach_the_method_and_bits_per_byte_are_told_by_domain(pair, tmp_path):
    data, longer = pair
    ran = move("--tokenizer", longer, "--method", "focus", "--data", data, "--option", "width=8",
               "--option", "min_count=2", "--digits", "decompose",
               "--eval", f"tales={data}", "--out", tmp_path / "moved")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    facts = json.loads(ran.stdout)["facts"]
    assert facts["made.placed_rows"] > 20
    assert "made.digits_repaired" in facts
    change = facts["bits_per_byte.tales.change"]
    assert change["low"] <= change["value"] <= change["high"]
    assert "do not rank" in ran.stdout
    run = json.loads((tmp_path / "moved" / "run.json").read_text())
    assert run["arguments"]["own"] == {"width": 8, "min_count": 2}


def test_the_list_of_methods_needs_neither_model_nor_output():
    ran = CliRunner().invoke(app, ["transplant", "--method", "list"])
    assert ran.exit_code == 0
    assert "trans-tokenizer" in ran.stdout
    assert "--parallel" in ran.stdout
    assert "more rows" not in ran.stdout


def test_a_donor_with_other_tokens_than_the_tokenizer_is_refused(pair, tmp_path):
    ran = move("--tokenizer", pair[1], "--donor", demo_model(), "--method", "omp", "--out", tmp_path / "never")
    assert isinstance(ran.exception, ValueError)
    assert "does not have the tokens" in str(ran.exception)
    assert not (tmp_path / "never").exists()


def test_material_the_method_does_not_take_is_refused_before_anything_is_written(pair, tmp_path):
    ran = move("--tokenizer", pair[1], "--dictionary", "d.tsv", "--out", tmp_path / "never")
    assert "does not take --dictionary" in str(ran.exception)
    assert not (tmp_path / "never").exists()


def test_domains_are_named_by_hand_or_by_their_file(tmp_path):
    odd = tmp_path / "a=b.jsonl"
    odd.touch()
    found = domains(["de=pages.jsonl", "more/tr.jsonl.xz", str(odd)])
    assert list(found) == ["de", "tr", "a=b"]
    with pytest.raises(ValueError, match="there already"):
        domains(["de=a.txt", "de=b.txt"])
    with pytest.raises(ValueError, match="empty name"):
        domains(["de="])


def test_tokens_the_base_never_learned_are_not_copied_when_asked(pair, tmp_path, monkeypatch):
    from tokenry.core.vocab import Vocab
    from tokenry.transplant import load_plan
    from tokenry.transplant.matching import match

    old, new = Vocab.open(demo_model()), Vocab.open(pair[1])
    found = match(old, new).without([], [])
    poor = [int(i) for i in found.new_to_old[(found.new_to_old >= 0) & found.is_long]][-3:]
    # The carried model has one matrix and no unused id, so that nothing in it can be told to be untrained.
    monkeypatch.setattr("tokenry.transplant.untrained.untrained_ids", lambda *_, **__: poor)
    ran = move("--tokenizer", pair[1], "--untrained", "--out", tmp_path / "moved")
    assert ran.exit_code == 0, ran.output
    made = load_plan(tmp_path / "moved" / "tokenry_plan")
    assert made.info["untrained_old"] == 3
    assert not any(made.becomes(i) for i in poor)
    assert json.loads((tmp_path / "moved" / "run.json").read_text())["arguments"]["untrained"] is True


def test_model_code_is_refused_by_default_and_the_permission_reaches_the_library(pair, tmp_path, monkeypatch):
    import shutil

    base = shutil.copytree(demo_model(), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    named = {"model_type": "their-own", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (base / "config.json").write_text(json.dumps(config | named))
    asked = ["transplant", str(base), "--tokenizer", str(pair[1]), "--out", str(tmp_path / "moved"), "-q"]
    ran = CliRunner().invoke(app, asked)
    assert "--allow-own-code" in str(ran.exception)
    seen = []

    def stop(*_, trust_remote_code, **__):
        seen.append(trust_remote_code)
        raise ValueError("no code is run in tests")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", stop)
    ran = CliRunner().invoke(app, [*asked, "--allow-own-code"])
    assert "no code is run in tests" in str(ran.exception)
    assert seen == [True]
