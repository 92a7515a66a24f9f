"""Asking a model sums: against the library's own greedy decoding, and through the verb."""

import json

import pytest
from number_tokenizers import numbers_byte_level

from tokenry.tokenization.arithmetic import (
    Setting,
    controlled_problems,
    length_triples,
    parse_setting,
    problems,
    prompt,
)
from tokenry.tokenization.arithmetic_probe import ask, probe
from tokenry.tokenization.arithmetic_scores import read_rows, score

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model():
    """Random weights, spread so that no two logits are nearly equal."""
    from tokenry.models.tiny import tiny_llama

    return tiny_llama(numbers_byte_level(), width=32, layers=1, heads=2, spread=0.3, seed=1)


def test_replies_are_the_librarys_greedy_ones(model):
    asked = problems([(3, 4), (7, 7)], 4)
    setting = Setting("comma_r2l", "comma_r2l", shots=2)
    for row, problem in zip(ask(model, asked, [setting], seed=5), asked, strict=True):
        text = prompt(problem, setting, seed=5)
        whole = model.generate(text, max_new_tokens=row["completion_tokens"] or 1)
        if row["completion_tokens"]:
            assert whole == text + row["response"]
        assert row["problem_msg"] == text.splitlines()[-1]
        assert "\n" not in row["response"]


def test_certainty_is_that_of_the_model(model):
    import torch

    asked = problems([(3, 3)], 2)
    setting = Setting(shots=1)
    for row, problem in zip(ask(model, asked, [setting]), asked, strict=True):
        ids = [int(i) for i in model.vocab.encode([prompt(problem, setting)])[0]]
        for token in json.loads(row["logprobs_json"]):
            with torch.inference_mode():
                log_p_V = model.model(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            ids.append(int(log_p_V.argmax()))
            assert model.vocab.tokens[ids[-1]].decode("utf-8", "replace") == token["token"]
            assert abs(float(log_p_V.max()) - token["logprob"]) < 1e-4
            assert abs(float(-(log_p_V.exp() * log_p_V).sum()) / 0.6931471805599453 - token["entropy_bits"]) < 1e-3


def test_every_problem_is_asked_in_every_setting_and_flipped_when_asked(model):
    asked = controlled_problems(length_triples(2, 3), 2)
    settings = [parse_setting(name, shots=1) for name in ("nosep", "comma_r2l>nosep")]
    rows = ask(model, asked, settings, flip=True)
    assert len(rows) == len(asked) * 4
    assert len({(one.setting, one.index) for one in score(rows)}) == len(rows)
    first, flipped = rows[0], rows[len(asked)]
    assert (first["num1"], first["num2"]) == (flipped["num2"], flipped["num1"])


def test_numbers_are_cut_otherwise_when_asked(model):
    asked = problems([(7, 7)], 1)
    left, right = (ask(model, asked, [Setting(shots=0)], digits=digits)[0] for digits in (None, "r2l3"))
    assert [len(piece) for piece in left["problem_cut"].split("+")[0].split("|") if piece] == [3, 3, 1]
    assert [len(piece) for piece in right["problem_cut"].split("+")[0].split("|") if piece] == [1, 3, 3]
    assert right["model"].endswith("r2l3")


def test_what_cannot_be_asked_is_refused(model):
    with pytest.raises(ValueError, match="chat template"):
        ask(model, problems([(2, 2)], 1), [Setting(shots=0)], chat=True)
    with pytest.raises(ValueError, match="do not fit its context"):
        ask(model, problems([(90, 90)], 1), [Setting(shots=8)])
    with pytest.raises(ValueError, match="only additions"):
        probe(model, controlled=True, op="mul")


def test_the_verb_asks_keeps_every_response_and_scores_them_again(model, tmp_path, capsys):
    from tokenry.cli import app

    model.save(tmp_path / "model")
    common = ["--formats", "nosep,comma_r2l", "--lengths", "2-3", "--shots", "0,2", "--n", "2", "--json", "--quiet"]
    app(
        ["model", "arithmetic", str(tmp_path / "model"), *common, "--out", str(tmp_path / "sums")],
        standalone_mode=False,
    )
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["responses"] == 2 * 2 * 4 * 2
    assert len(read_rows(tmp_path / "sums" / "responses.csv")) == facts["responses"]
    assert (tmp_path / "sums" / "run.json").is_file()
    assert (tmp_path / "sums" / "report.html").is_file()
    app(["model", "arithmetic", "--rescore", str(tmp_path / "sums"), "--json"], standalone_mode=False)
    again = json.loads(capsys.readouterr().out)["facts"]
    assert {k: v for k, v in again.items() if k.startswith("accuracy")} == {
        k: v for k, v in facts.items() if k.startswith("accuracy")}  # fmt: skip
