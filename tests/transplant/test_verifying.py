"""A model that is whole verifies; each way of being broken is named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import small_model

from small_vocabularies import byte_level
from tokenry.models.lm import tokenizer_of
from tokenry.transplant.verifying import verify


@pytest.fixture
def lm(old):
    return small_model("llama", old)


def problems(report) -> str:
    assert not report.facts["ok"]
    return "; ".join(report.tables["problems"].column("problem").to_pylist())


def test_a_whole_model_has_no_problem(lm, tmp_path):
    lm.save(tmp_path / "whole")
    for source in (lm, tmp_path / "whole"):
        report = verify(source)
        assert report.facts["ok"]
        assert report.facts["n_problems"] == 0
        assert report.facts["tied"]
        assert report.tables["problems"].num_rows == 0
        assert "llama.cpp" in report.notes[0]


def test_ids_outside_the_vocabulary_are_named(lm, old):
    lm.model.config.pad_token_id = old.size
    lm.model.generation_config.suppress_tokens = [10_000]
    found = problems(verify(lm))
    assert f"pad_token_id {old.size} is outside" in found
    assert "suppress_tokens names ids outside" in found


def test_a_generation_that_does_not_stop_at_eos_is_named(lm):
    lm.model.generation_config.eos_token_id = 5
    assert "does not stop at the tokenizer's eos" in problems(verify(lm))


def test_a_chat_template_that_breaks_is_named(lm):
    lm.tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert "does not render" in problems(verify(lm))


def test_a_tokenizer_other_than_the_vocabulary_is_named(lm):
    lm.tokenizer = tokenizer_of(byte_level("german", 330))
    assert "cut 'The quick" in problems(verify(lm))


def test_a_wrong_size_in_the_configuration_is_named(lm):
    lm.model.config.vocab_size += 1
    assert "vocab_size" in problems(verify(lm))


def test_a_folder_with_broken_weights_is_a_problem_and_a_missing_one_an_error(lm, tmp_path):
    lm.save(tmp_path / "broken")
    tensors = load_file(tmp_path / "broken/model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, tmp_path / "broken/model.safetensors", metadata={"format": "pt"})
    assert "NaN" in problems(verify(tmp_path / "broken"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        verify(tmp_path / "absent")


def test_too_few_rows_for_the_tokenizer_are_a_problem(lm, tmp_path):
    lm.save(tmp_path / "few")
    byte_level("both", 420, ("<|end|>", "<|start|>")).to_hf(tmp_path / "few")
    assert "every id needs a row" in problems(verify(tmp_path / "few"))


def test_own_texts_are_checked(lm):
    assert verify(lm, texts=["the cat"]).facts["texts"] == 1
    assert json.loads(verify(lm, texts=[]).to_json())
