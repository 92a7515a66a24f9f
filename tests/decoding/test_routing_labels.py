"""Labels on disk: whole, resumable, and of one making."""

import json

import numpy as np
import pytest
from chain_pair import N_STATES, SAY, chain_model
from routing_models import tiny_pair

from tokenry.decoding import routing_labels
from tokenry.decoding.divergence import KINDS, label_text
from tokenry.decoding.routing_labels import label_prompts, read_labels
from tokenry.decoding.verifiers import same_numbers

PROMPTS = [f"s{state}" for state in range(N_STATES)]
HOW = {"verifier": "same-numbers", "max_new_tokens": 30}


@pytest.fixture(autouse=True)
def _short_shards(monkeypatch):
    monkeypatch.setattr(routing_labels, "SHARD_PROMPTS", 4)


def test_a_folder_holds_what_labelling_each_text_gives(tmp_path):
    small, large = chain_model("small"), chain_model("large")
    report = label_prompts(small, large, PROMPTS, out=tmp_path / "labels", **HOW)
    table = read_labels(tmp_path / "labels")
    assert len(table) == 30 * N_STATES == report.facts["n_tokens"]
    assert table.facts["verifier"] == "same-numbers"
    for number in (0, 7):
        prompt = [3 * number + SAY]
        text = large.model.generate(_tensor(prompt), do_sample=False, max_new_tokens=30, pad_token_id=0)[0, 1:].tolist()
        one = label_text(small, large, prompt, response=text, verifier=same_numbers)
        rows = table.text == number
        np.testing.assert_array_equal(table.kinds[rows], one.kinds)
        np.testing.assert_array_equal(table.tokens[rows], one.small)
        np.testing.assert_allclose(table.hidden_ND[rows], one.hidden_ND, atol=1e-5)
        np.testing.assert_allclose(table.top_NK[rows], one.top_NK, atol=1e-5)
    shares = [report.facts[f"{kind}_share"].value for kind in KINDS]
    assert abs(sum(shares) - 1) < 1e-12
    assert report.facts["divergent_share"].value == table.is_divergent.mean() > 0
    assert {"neutral", "divergent"} == set(report.tables["mismatches"]["kind"].to_pylist())


def test_an_interrupted_labelling_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    small, large = chain_model("small"), chain_model("large")
    label_prompts(small, large, PROMPTS, out=tmp_path / "whole", **HOW)
    calls, real = [], routing_labels._shard

    def breaking(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(routing_labels, "_shard", breaking)
    with pytest.raises(KeyboardInterrupt):
        label_prompts(small, large, PROMPTS, out=tmp_path / "part", **HOW)
    with pytest.raises(ValueError, match=r"1 of 3 shards are missing.*goes on where it stopped"):
        read_labels(tmp_path / "part")
    counted = []
    monkeypatch.setattr(routing_labels, "_shard", lambda *args: counted.append(1) or real(*args))
    label_prompts(small, large, PROMPTS, out=tmp_path / "part", **HOW)
    assert len(counted) == 1
    whole, part = read_labels(tmp_path / "whole"), read_labels(tmp_path / "part")
    np.testing.assert_array_equal(whole.kinds, part.kinds)
    np.testing.assert_array_equal(whole.hidden_ND, part.hidden_ND)


def test_labels_of_another_making_are_not_mixed(tmp_path):
    small, large = chain_model("small"), chain_model("large")
    label_prompts(small, large, PROMPTS[:3], out=tmp_path / "labels", **HOW)
    with pytest.raises(ValueError, match="another verifier"):
        label_prompts(small, large, PROMPTS[:3], out=tmp_path / "labels", **{**HOW, "verifier": "same-text"})
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").write_text("")
    with pytest.raises(FileExistsError, match="something else"):
        label_prompts(small, large, PROMPTS[:3], out=tmp_path / "else", **HOW)
    with pytest.raises(FileNotFoundError, match="route label"):
        read_labels(tmp_path / "else")


def test_odd_prompts_models_and_verifiers_are_refused(tmp_path):
    small, large = chain_model("small"), chain_model("large")
    for prompts in ([], ["s1", ""]):
        with pytest.raises(ValueError, match="no prompt"):
            label_prompts(small, large, prompts, out=tmp_path / "labels")
    with pytest.raises(ValueError, match="transplant"):
        label_prompts(tiny_pair()[0], large, PROMPTS, out=tmp_path / "labels")
    with pytest.raises(ValueError, match="Did you mean 'same-numbers'"):
        label_prompts(small, large, PROMPTS, out=tmp_path / "labels", verifier="same-number")


def test_tokens_the_verifier_cannot_tell_are_dropped(tmp_path):
    small, large = chain_model("small"), chain_model("large")
    report = label_prompts(
        small, large, PROMPTS[:3], out=tmp_path / "labels", verifier=lambda forks: [-1] * len(forks), max_new_tokens=30
    )
    table = read_labels(tmp_path / "labels")
    assert report.facts["dropped_share"].value > 0
    assert len(table) < report.facts["n_tokens"]
    assert not table.kinds.any()
    assert json.loads((tmp_path / "labels" / "labels.json").read_text())["n_prompts"] == 3


def _tensor(prompt):
    import torch

    return torch.tensor([prompt])
