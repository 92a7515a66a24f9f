"""A hypernetwork learns the rows of a frozen model: its own tokens first, then those of sampled tokenizers."""

import math

import pytest
import torch

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, rate_at
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_training import (
    TrainingConfig,
    auxiliary_loss,
    identity_error,
    sampled_batches,
    train_identity,
    train_main,
)
from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler

VOCAB = byte_level("english", 340, ("<|end|>", "<|start|>", "<|pad|>"))
SMALL = TrainingConfig(identity_steps=1, steps=4, warmup=1, batch=2, length=16, steps_per_tokenizer=2, rate=1e-3)


def made(tied: bool = True):
    lm = tiny_llama(VOCAB, width=16, layers=1, heads=2, tied=tied)
    lm.model.get_input_embeddings().padding_idx = None
    head = None if tied else lm.model.get_output_embeddings().weight.detach().clone()
    rows = lm.model.get_input_embeddings().weight.detach().clone()
    network = Hypernetwork(rows, head, HypernetConfig(width=16, hidden=16), excluded=sorted(VOCAB.special_ids))
    return lm, network


def drawn(texts=ENGLISH + GERMAN):
    return TokenizerSampler(VOCAB, texts, config=SamplerConfig(size=400, pool=8))


def test_the_auxiliary_loss_of_a_look_up_is_zero_and_of_zero_rows_one():
    true, old = torch.randn(9, 4), torch.tensor([3, -1, 8, 0])
    assert auxiliary_loss(torch.where(old[:, None] >= 0, true[old.clamp(min=0)], 7.0), true, old) == 0
    torch.testing.assert_close(auxiliary_loss(torch.zeros(4, 4), true, old), torch.tensor(1.0))
    assert auxiliary_loss(torch.ones(2, 4), true, torch.tensor([-1, -1])) == 0


@pytest.mark.parametrize("tied", [True, False])
def test_training_leaves_the_body_untouched_and_moves_the_network(tied):
    lm, network = made(tied)
    body = {name: value.clone() for name, value in lm.model.state_dict().items()}
    before = [p.detach().clone() for p in network.parameters()]
    result = train_main(network, lm, drawn(), config=SMALL)
    assert result.steps == 4
    assert {"lm", "auxiliary"} <= result.history[0].keys()
    assert all(torch.equal(value, body[name]) for name, value in lm.model.state_dict().items())
    assert all(p.requires_grad for p in lm.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_fewer_rows_spell_the_same_batch():
    lm, network = made()
    whole = sampled_batches(network, lm, drawn(), config=SMALL)(3)
    few = sampled_batches(network, lm, drawn(), config=TrainingConfig(**{**vars(SMALL), "negatives": 20}))(3)
    assert len(few["old"]) < len(whole["old"])
    for key in ("surface", "old", "special"):
        assert torch.equal(few[key][few["input_ids"]], whole[key][whole["input_ids"]])
    learned = few["labels"] >= 0
    assert torch.equal(learned, whole["labels"] >= 0)
    assert torch.equal(few["labels"][learned], few["input_ids"][learned])


def test_an_interrupted_main_stage_goes_on_bit_for_bit(tmp_path):
    lm, straight = made()
    _, halved = made()
    train_main(straight, lm, drawn(), config=SMALL)

    import tokenry.transplant.hypernet_training as module

    original = module.fit

    def stopping(*args, **options):
        return original(*args, **options, on_step=lambda step, entry: step == 2)

    module.fit = stopping
    try:
        train_main(halved, lm, drawn(), config=SMALL, resume=tmp_path / "state")
    finally:
        module.fit = original
    _, resumed = made()
    train_main(resumed, lm, drawn(), config=SMALL, resume=tmp_path / "state")
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_the_identity_stage_takes_most_of_the_error_away():
    _, network = made()
    before = identity_error(network, VOCAB)
    config = TrainingConfig(identity_steps=300, identity_rate=5e-3, identity_tokens=512, clip=1.0)
    train_identity(network, VOCAB, config=config)
    assert identity_error(network, VOCAB) < 0.5 * before


@pytest.mark.parametrize("stage", ["identity", "main"])
def test_a_stage_ended_by_ctrl_c_goes_on_bit_for_bit(stage, tmp_path, monkeypatch):
    """A real SIGINT in the middle of a step: the step is dropped, the state saved, and the second run ends the same."""
    import os
    import signal

    import tokenry.transplant.hypernet_training as module

    name = "identity_loss" if stage == "identity" else "auxiliary_loss"
    config = TrainingConfig(**{**vars(SMALL), "identity_steps": 4})

    def run(network, lm, resume=None):
        if stage == "identity":
            return train_identity(network, VOCAB, config=config, resume=resume)
        return train_main(network, lm, drawn(), config=config, resume=resume)

    lm, straight = made()
    run(straight, lm)
    original, calls = getattr(module, name), []

    def interrupting(*args):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(module, name, interrupting)
    _, broken = made()
    with pytest.raises(KeyboardInterrupt):
        run(broken, lm, tmp_path / "state")
    assert len(calls) == 3
    monkeypatch.setattr(module, name, original)
    _, resumed = made()
    result = run(resumed, lm, tmp_path / "state")
    assert [entry["step"] for entry in result.history] == [1, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_the_rate_of_the_main_stage_falls_by_a_cosine_to_a_tenth():
    lm, network = made()
    result = train_main(network, lm, drawn(), config=TrainingConfig(**{**vars(SMALL), "steps": 6}))
    rates = [entry["rate"] for entry in result.history]
    # Step 0 warms up; after it the share is .1 + .9 (1 + cos(pi t)) / 2 with t = 0, 1/5, ..., 4/5.
    wanted = [1e-3, *(1e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * n / 5))) for n in range(5))]
    assert rates == pytest.approx(wanted)
    how = FitConfig(schedule="linear", floor=0.25)
    assert [rate_at(step, steps=4, config=how) for step in (0, 2, 4)] == [1.0, 0.625, 0.25]
    assert rate_at(4, steps=4, config=FitConfig(schedule="cosine")) == pytest.approx(0.0)
