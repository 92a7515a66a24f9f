"""The verb that teaches a decoder to read merged prompts."""

import json
from itertools import islice

import pytest
from typer.testing import CliRunner

from tokenry.core.tables import texts
from tokenry.data import demo_model, demo_text
from tokenry.transplant.dynamic_tuning_verb import share_or_kind, tune_decoder


def test_the_verb_writes_a_stock_model_and_says_what_it_was_worth(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tokenry.cli import app

    data = tmp_path / "stories.jsonl"
    data.write_text("".join(json.dumps({"text": t}) + "\n" for t in islice(texts(demo_text("stories")), 12)))
    how = ["--steps", "2", "--batch", "2", "--rank", "2", "--prompt-bytes", "48", "--rate", "0.01"]
    how += ["--data", str(data), "--out", str(tmp_path / "m")]
    done = CliRunner().invoke(app, ["transplant", "dynamic-tune", str(demo_model()), *how, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["kind"] == "transplant-dynamic-tune"
    assert report["facts"]["prompts"] + report["facts"]["trained.on"] == 12
    assert "bits_per_byte.merged_minus_unmerged.at_1" in report["facts"]
    written, base = (AutoModelForCausalLM.from_pretrained(place) for place in (tmp_path / "m", demo_model()))
    assert written.state_dict().keys() == base.state_dict().keys()
    assert (written.get_input_embeddings().weight == base.get_input_embeddings().weight).all()
    assert AutoTokenizer.from_pretrained(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "run.json").read_text())["verb"] == "transplant dynamic-tune"
    assert (tmp_path / "m" / "report" / "report.md").is_file()


def test_too_few_documents_and_existing_folders_are_refused(tmp_path):
    with pytest.raises(FileExistsError, match="--overwrite"):
        tune_decoder(str(demo_model()), ["a b"], tmp_path)
    with pytest.raises(ValueError, match="at least 10"):
        tune_decoder(str(demo_model()), ["a b c", "d e f"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_level_may_be_a_number_or_a_kind():
    assert share_or_kind("0.25") == 0.25
    assert share_or_kind("gaussian") == "gaussian"
