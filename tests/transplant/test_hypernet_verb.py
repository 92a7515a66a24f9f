"""The verb that trains a hypernetwork, and a move with what it wrote."""

import json

import pytest

from tokenry.cli import main
from tokenry.data import demo_model, demo_text


def command(out, *more):
    return ["hypernet", "train", str(demo_model()), "--data", str(demo_text("stories")), "--limit", "120",
            "--vocab", "600",
            "--steps", "4", "--layers", "1", "--batch", "2", "--length", "48", "--negatives", "100", "--pool", "40",
            "--out", str(out), "--quiet", *more]  # fmt: skip


@pytest.mark.slow  # trains a network, five scored moves, and a move through the door: 12 s
def test_the_verb_trains_a_network_that_moves_the_model(tmp_path, capsys):
    net, moved = tmp_path / "net", tmp_path / "moved"
    with pytest.raises(SystemExit) as stop:
        main(command(net, "--json"))
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert {"original", "hypernet", "pieces", "mean", "random", "hypernet.change from pieces"} <= set(facts)
    # Four steps from the mean of pieces change little, and rows that know nothing lie far above.
    assert facts["hypernet"]["value"] < facts["mean"]["value"] - 0.2
    assert facts["hypernet"]["value"] < facts["random"]["value"] - 0.2
    assert (net / "report" / "report.json").is_file()
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "extend", str(demo_model()), "--data", str(demo_text("fiction")), "--limit", "60", "--add",
              "60", "--out", str(tmp_path / "tok"), "--quiet"])  # fmt: skip
    assert stop.value.code == 0
    with pytest.raises(SystemExit) as stop:
        main(["transplant", str(demo_model()), "--tokenizer", str(tmp_path / "tok"), "--method", "hypernet",
              "--hypernet", str(net), "--out", str(moved)])  # fmt: skip
    assert stop.value.code == 0
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(moved).get_input_embeddings().weight.shape[0] >= 572


def test_an_existing_folder_is_refused_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "net").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(command(tmp_path / "net"))
    assert stop.value.code == 2
    assert "exists; need a new folder" in capsys.readouterr().err
