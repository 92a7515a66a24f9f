"""Bits per byte over all ways to write a text, and the table of the next bytes."""

import json

import numpy as np
import pytest

from small_vocabularies import ENGLISH
from tokenry.cli import main
from tokenry.data import demo_model
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_scoring import byte_scores, next_bytes_report
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.tokenization.train import train

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside."


def test_scores_are_the_byte_models_own_and_close_to_the_tokens_on_a_trained_model():
    lm = LM.open(demo_model())
    found = byte_scores(lm, [TEXT, "The dog ran."], max_bytes=256)
    assert found.nats[1] == pytest.approx(-ByteLM(lm).log_prob("The dog ran."))
    assert found.n_bytes.tolist() == [len(TEXT), 12]
    by_tokens = lm.score([TEXT, "The dog ran."], max_bytes=256)
    np.testing.assert_array_equal(found.n_tokens, by_tokens.n_tokens)
    assert (found.nats <= by_tokens.nats + 1e-3).all()  # what the model wastes is left out, so never more bits


@pytest.mark.filterwarnings("ignore:.*entries instead of")
def test_a_character_without_a_token_is_named():
    lm = tiny_llama(train(ENGLISH, size=300, kind="unigram"), spread=0.25, width=32)
    with pytest.raises(ValueError, match="lacks a character"):
        byte_scores(lm, ["the 漢 cat"], max_bytes=64)


def test_the_table_of_next_bytes_sums_up():
    report = next_bytes_report([demo_model()], "Once upon a ti", top=300)
    table = report.tables["next bytes"].to_pydict()
    assert table["reads"][0] == "'m'"
    assert sum(table["probability"]) == pytest.approx(1.0)
    assert report.facts["n_possible"] >= 10
    assert report.tables["cover"]["beyond the text"][0].as_py() == "me"


def run(arguments: list[str], capsys) -> dict:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    return json.loads(capsys.readouterr().out)


def test_the_verbs_score_and_show_next_bytes(tmp_path, capsys):
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"text": TEXT}) + "\n")
    model = str(demo_model())
    report = run(["model", "evaluate", model, "--text", str(data), "--exact", "canonical", "--json", "--quiet"], capsys)
    assert 0 < report["facts"]["bits_per_byte"]["value"] < 1
    shown = run(["model", "next-bytes", model, "Once upon a ti", "--with", model, "--json"], capsys)
    assert shown["tables"]["next bytes"]["data"] if "data" in shown["tables"]["next bytes"] else shown["tables"]
