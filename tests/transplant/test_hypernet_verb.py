"""The verbs of hypernetworks: train one, train on after the move, convert a published one."""

import json

import pytest
import torch

from tokenry.cli import main
from tokenry.data import demo_model, demo_text
from tokenry.transplant.surface_forms import surface_forms


def command(out, *more):
    return ["hypernet", "train", str(demo_model()), "--data", str(demo_text("stories")), "--limit", "120",
            "--vocab", "600",
            "--steps", "4", "--layers", "1", "--batch", "2", "--length", "48", "--negatives", "100", "--pool", "40",
            "--out", str(out), "--quiet", *more]  # fmt: skip


@pytest.mark.slow  # trains a network twice, ten scored models, and a move through the door: 15 s
def test_the_verb_trains_a_network_that_moves_the_model(tmp_path, capsys):
    net, moved = tmp_path / "net", tmp_path / "moved"
    with pytest.raises(SystemExit) as stop:
        main(command(net, "--json"))
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert {"original", "hypernet", "pieces", "focus", "mean", "random", "hypernet.change from pieces"} <= set(facts)
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
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["hypernet", "nshot", str(demo_model()), "--tokenizer", str(tmp_path / "tok"), "--hypernet", str(net),
              "--data", str(demo_text("fiction")), "--limit", "60", "--steps", "3", "--batch", "2", "--length", "48",
              "--rate", "1e-3", "--out", str(tmp_path / "on"), "--quiet", "--json"])  # fmt: skip
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["trained.change from moved"]["value"] < 0
    assert "trained.change from pieces trained" in facts
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "on").get_input_embeddings().weight.shape[0] >= 572


def test_an_existing_folder_is_refused_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "net").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(command(tmp_path / "net"))
    assert stop.value.code == 2
    assert "exists; need a new folder" in capsys.readouterr().err


@pytest.mark.slow  # trains and scores a masked model's network: 6 s
def test_a_masked_model_gets_a_network_of_its_own(tmp_path, capsys):
    from tokenry.core.tables import texts
    from tokenry.models.tiny import tiny_bert
    from tokenry.tokenization.train import train

    roles = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    vocab = train(list(texts(demo_text("stories")))[:120], size=500, specials=roles)
    lm = tiny_bert(vocab, width=16, layers=1, heads=2)
    for part in (lm.model, lm.tokenizer):
        part.save_pretrained(tmp_path / "bert")
    words = command(tmp_path / "net", "--json")
    words[2] = str(tmp_path / "bert")
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert "hidden words" in report["verdict"]
    shape = json.loads((tmp_path / "net" / "hypernet.json").read_text())["config"]
    assert shape["bias"]
    with pytest.raises(SystemExit) as stop:
        main(["transplant", str(tmp_path / "bert"), "--tokenizer", str(tmp_path / "bert"), "--method", "hypernet",
              "--hypernet", str(tmp_path / "net"), "--out", str(tmp_path / "moved")])  # fmt: skip
    assert stop.value.code == 0


def test_a_published_network_is_converted_and_moves_its_base(tmp_path, capsys):
    from test_hypernet_files import NEW, OLD, Peer

    from small_vocabularies import rows_for
    from tokenry.models.tiny import tiny_llama

    peer = Peer(tied=True, languages=3)
    peer.write(tmp_path / "zett")
    lm = tiny_llama(OLD, width=16, layers=1, heads=2)
    lm.model.get_input_embeddings().weight.data.copy_(torch.from_numpy(rows_for(OLD, 16)))
    lm.save(tmp_path / "base")
    NEW.to_hf(tmp_path / "new")
    with pytest.raises(SystemExit) as stop:
        main(["hypernet", "convert", str(tmp_path / "zett"), "--base", str(tmp_path / "base"), "--out",
              str(tmp_path / "net"), "--json"])  # fmt: skip
    assert stop.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert any("en, de, fr" in note for note in report["notes"])
    assert any("hardly made for this base" in warning for warning in report["warnings"])
    with pytest.raises(SystemExit) as stop:
        main(["transplant", str(tmp_path / "base"), "--tokenizer", str(tmp_path / "new"), "--method", "hypernet",
              "--hypernet", str(tmp_path / "net"), "--option", "language=de",
              "--out", str(tmp_path / "moved")])  # fmt: skip
    assert stop.value.code == 0
    from transformers import AutoModelForCausalLM

    rows = AutoModelForCausalLM.from_pretrained(tmp_path / "moved").get_input_embeddings().weight.detach()
    token = next(i for i, token in enumerate(NEW.tokens) if token and token not in OLD.index)
    surface = torch.from_numpy(surface_forms(OLD, [NEW.tokens[token]])[0])
    torch.testing.assert_close(rows[token], peer.rows(surface, 1)[0][0], rtol=1e-4, atol=1e-4)
