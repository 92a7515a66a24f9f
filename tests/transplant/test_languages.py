"""Teaching a language: arms at equal text and equal compute, forgetting, and the verb."""

import json
import lzma

import pytest
import torch
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.report import Report
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM
from tokenry.tokenization.extend import extend
from tokenry.transplant.healing import HealConfig
from tokenry.transplant.languages import (
    EXTENDED,
    SAME_COMPUTE,
    SAME_TEXT,
    UNTOUCHED,
    LanguageConfig,
    adapt_language,
    bytes_per_token,
    language_report,
    run_arms,
)

CONFIG = LanguageConfig(add=300, heal=HealConfig(steps=12, batch=2, length=64, evaluations=1), heldout_bytes=8000)


def read(name: str) -> list[str]:
    with lzma.open(demo_text(name), "rt") as file:
        return [json.loads(line)["text"] for line in file]


@pytest.fixture(scope="module")
def arms():
    torch.set_num_threads(1)
    fiction, stories = read("fiction"), read("stories")
    lm = LM.open(demo_model())
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    texts = {"train": fiction[:200], "probe": fiction[300:302], "language": fiction[310:318], "general": stories[:6]}
    made = run_arms(lm, extend(lm.vocab, fiction[:200], add=300), texts, config=CONFIG)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    return {arm.name: arm for arm in made}, texts


def test_the_old_tokens_are_trained_on_as_many_bytes_and_with_as_much_computation(arms):
    found, _ = arms
    extended = found[f"{EXTENDED}pieces"].healed
    read, spent = extended.curve[-1]["bytes"], extended.flops
    same_text, same_compute = found[SAME_TEXT].healed, found[SAME_COMPUTE].healed
    # A step is the least that can be added: one step of 12 is the distance allowed.
    assert same_text.curve[-1]["bytes"] == pytest.approx(read, rel=1 / 12)
    assert same_compute.flops == pytest.approx(spent, rel=1 / 12)
    assert same_text.steps > extended.steps


def test_only_the_arm_that_is_written_keeps_its_weights(arms):
    found, _ = arms
    assert [name for name, arm in found.items() if arm.lm is not None] == [f"{EXTENDED}{CONFIG.methods[0]}"]
    assert all(arm.healed is None or arm.healed.lm is None for arm in found.values())


def test_pieces_begin_better_than_drawn_rows(arms):
    found, _ = arms
    change = found[f"{EXTENDED}pieces"].language.change_from(found[f"{EXTENDED}random"].language)
    assert change.high < 0


def test_the_report_says_what_was_measured(arms):
    found, _ = arms
    report = language_report(list(found.values()), name="demo")
    rows = {row["arm"]: row for row in report.tables["arms"].to_pylist()}
    assert rows[UNTOUCHED]["general_change"] == 0
    assert report.facts["tokens_saved"] == pytest.approx(
        1 - report.facts["bytes_per_token.before"].value / report.facts["bytes_per_token.after"].value
    )
    assert report.facts["operations_per_byte.ratio"] < 1
    assert "old tokens on the same text" in report.verdict
    assert len(report.figures) == 2


def test_bytes_per_token_is_bytes_over_tokens():
    vocab = LM.open(demo_model()).vocab
    text = "one two three"
    assert bytes_per_token(vocab, [text]) == len(text) / len(vocab.encode([text])[0])


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"replay": 1.0}, "share"),
        ({"methods": ()}, "at least one"),
        ({"add": 0}, "at least one"),
        ({"seeds": 0}, "one"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_read(tmp_path, change, needs):
    from dataclasses import replace

    with pytest.raises(ValueError, match=needs):
        adapt_language("nowhere", "nothing", tmp_path / "out", config=replace(CONFIG, **change))


@pytest.mark.slow  # five short trainings through the verb, 8 s
def test_the_verb_writes_a_model_that_opens_and_its_report(tmp_path):
    out = tmp_path / "out"
    arguments = ["transplant", "language", str(demo_model()), "--data", str(demo_text("fiction")), "--general",
                 str(demo_text("stories")), "--out", str(out), "--add", "200", "--steps", "4", "--batch", "2",
                 "--length", "64", "--limit", "80", "--json"]  # fmt: skip
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    text = (out / "report" / "report.json").read_text()
    assert {row["arm"] for row in Report.from_json(text).tables["arms"].to_pylist()} == {
        UNTOUCHED, f"{EXTENDED}pieces", f"{EXTENDED}random", SAME_TEXT, SAME_COMPUTE
    }  # fmt: skip
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer) > 512
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, FileExistsError)
