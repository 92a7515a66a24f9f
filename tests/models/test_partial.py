"""What is frozen stays bit for bit under any optimiser; what was changed on the model is undone."""

import pytest
import torch

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.partial import freeze, lora, train_rows
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit

ROWS_IN, ROWS_OUT = [3, 300, 511], [5, 300]


def build(**shape):
    return tiny_llama(Vocab.open(demo_model()), width=32, layers=1, **shape).model


def batch(number):
    ids = (torch.arange(4 * 64).reshape(4, 64) * 3 + number) % 512
    return {"input_ids": ids, "labels": ids}


def snapshot(model) -> dict:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved_rows(before, after) -> set[int]:
    return set((before != after).any(dim=1).nonzero()[:, 0].tolist())


def test_only_the_chosen_rows_move_in_spite_of_weight_decay():
    model = build(tied=False)
    before = snapshot(model)
    with train_rows(model, ROWS_IN, ROWS_OUT):
        fit(model, batch, steps=4, config=FitConfig(rate=1e-2, weight_decay=0.5))
    after = snapshot(model)
    assert moved_rows(before.pop("model.embed_tokens.weight"), after.pop("model.embed_tokens.weight")) == set(ROWS_IN)
    assert moved_rows(before.pop("lm_head.weight"), after.pop("lm_head.weight")) == set(ROWS_OUT)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_chosen_rows_move_exactly_as_if_all_moved():
    """One step of SGD: each chosen row goes where full training would take it."""
    masked, full = build(tied=False), build(tied=False)
    for model in (masked, full):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        with train_rows(model, ROWS_IN, ROWS_OUT) if model is masked else freeze(model, but=["*"]):
            model(**batch(0)).loss.backward()
            optimizer.step()
    ours, theirs = masked.get_input_embeddings().weight, full.get_input_embeddings().weight
    torch.testing.assert_close(ours[ROWS_IN], theirs[ROWS_IN], rtol=0, atol=0)


def test_momentum_from_before_does_not_move_a_frozen_row():
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(**batch(0)).loss.backward()
    optimizer.step()
    before = snapshot(model)["model.embed_tokens.weight"]
    with train_rows(model, [7]):
        optimizer.zero_grad(set_to_none=False)
        model(**batch(1)).loss.backward()
        optimizer.step()
    assert moved_rows(before, model.get_input_embeddings().weight) == {7}


def test_a_tied_matrix_trains_the_rows_of_both_lists():
    model = build()
    before = snapshot(model)["model.embed_tokens.weight"]
    with train_rows(model, ROWS_IN, ROWS_OUT):
        fit(model, batch, steps=2, config=FitConfig(rate=1e-2))
    assert moved_rows(before, model.get_input_embeddings().weight) == {*ROWS_IN, *ROWS_OUT}


def test_the_body_may_train_along():
    model = build()
    before = snapshot(model)
    with train_rows(model, [4], freeze_rest=False):
        fit(model, batch, steps=2)
    assert moved_rows(before["model.embed_tokens.weight"], model.get_input_embeddings().weight) == {4}
    assert not torch.equal(before["model.norm.weight"], model.model.norm.weight)


def test_afterwards_everything_trains_again_and_no_hook_is_left():
    model = build()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match="stop"), train_rows(model, [1]):
        raise RuntimeError("stop")
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    before = snapshot(model)["model.embed_tokens.weight"]
    fit(model, batch, steps=1, config=FitConfig(weight_decay=0.1))
    assert len(moved_rows(before, model.get_input_embeddings().weight)) == 512


@pytest.mark.parametrize("rows", [[512], [-1]])
def test_rows_outside_the_matrix_are_refused(rows):
    with pytest.raises(ValueError, match="matrix with 512 rows"), train_rows(build(), rows):
        pass


def test_freeze_keeps_what_is_named_and_undoes_itself():
    model = build()
    model.model.norm.weight.requires_grad_(False)
    with freeze(model, but=["*norm*", "*.q_proj.*"]) as kept:
        assert kept == [name for name, p in model.named_parameters() if p.requires_grad]
        assert all("norm" in name or "q_proj" in name for name in kept)
        assert model.model.norm.weight.requires_grad
    assert not model.model.norm.weight.requires_grad
    assert model.get_input_embeddings().weight.requires_grad


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="matches 'lora_A'"), freeze(build(), but=["lora_A"]):
        pass


def test_adapters_learn_and_are_merged_into_plain_matrices():
    pytest.importorskip("peft", reason="low-rank adapters need peft")
    model = build()
    before, names = snapshot(model), [name for name, _ in model.named_parameters()]
    flags = [p.requires_grad for p in model.parameters()]
    with lora(model, rank=4) as wrapped:
        result = fit(wrapped, batch, steps=12, config=FitConfig(rate=1e-2))
        with torch.no_grad():
            inside = wrapped(**batch(0)).logits
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [name for name, _ in model.named_parameters()] == names
    assert [p.requires_grad for p in model.parameters()] == flags
    after = snapshot(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    with torch.no_grad():
        torch.testing.assert_close(model(**batch(0)).logits, inside, atol=1e-5, rtol=1e-5)


def test_adapters_can_be_dropped():
    pytest.importorskip("peft", reason="low-rank adapters need peft")
    model = build()
    before = snapshot(model)
    with lora(model, rank=4, merge=False) as wrapped:
        fit(wrapped, batch, steps=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in snapshot(model).items())


def test_without_peft_the_additions_are_ours_and_compute_what_those_of_peft_do(monkeypatch):
    """From the same weights of the additions: the same losses, the same merged matrices."""
    import sys

    pytest.importorskip("peft", reason="peft is the oracle")
    with_peft, without = build(), build()
    losses = []
    for model in (with_peft, without):
        if model is without:
            monkeypatch.setitem(sys.modules, "peft", None)
        with lora(model, rank=4):
            added = [p for name, p in model.named_parameters() if "lora_" in name]
            generator = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for parameter in added:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            losses.append([h["loss"] for h in fit(model, batch, steps=5, config=FitConfig(rate=1e-3)).history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, tensor in with_peft.state_dict().items():
        torch.testing.assert_close(tensor, without.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_our_additions_take_gpt2_matrices_and_leave_no_trace(monkeypatch):
    import sys

    from transformers import GPT2Config, GPT2LMHeadModel

    monkeypatch.setitem(sys.modules, "peft", None)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=16, n_layer=1, n_head=2, n_positions=64)).eval()
    before, names = snapshot(model), [name for name, _ in model.named_parameters()]
    with lora(model, rank=2, seed=0), torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        inside = model(**batch(0)).logits
    assert [name for name, _ in model.named_parameters()] == names
    torch.testing.assert_close(model(**batch(0)).logits, inside, atol=1e-5, rtol=1e-5)
    assert any(not torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_a_name_that_no_matrix_has_is_refused():
    with pytest.raises(ValueError, match="no matrix named"), lora(build(), targets=["q_prog"]):
        pass
