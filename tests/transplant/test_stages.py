"""Stages are read as written, shrink in proportion, and train what they name."""

import pytest
import torch
from small_models import small_model

from tokenry.transplant.stages import Stage, parse_stages, scaled, training_part


def test_stages_are_read_as_written():
    assert parse_stages("rows:100,lora:200:1e-4,all:0") == (
        Stage("rows", 100), Stage("lora", 200, 1e-4), Stage("all", 0),
    )  # fmt: skip
    assert parse_stages("") == ()


@pytest.mark.parametrize("text", ["rows", "rows:x", "rosw:3", "all:-1", "all:1:2:3"])
def test_what_is_no_stage_is_refused(text):
    with pytest.raises(ValueError, match="NAME:STEPS"):
        parse_stages(text)


def test_compute_scales_stages_in_proportion_to_their_cost():
    found = scaled([Stage("rows", 10), Stage("all", 20)], [1.0, 2.0], 100.0)
    assert [stage.steps for stage in found] == [20, 40]
    assert sum(stage.steps for stage in scaled([Stage("rows", 10), Stage("all", 20)], [1.0, 2.0], 0.1)) == 1


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gpt2"])
@pytest.mark.parametrize("what", ["rows", "lora", "all"])
def test_a_stage_frees_what_it_names_and_puts_all_back(family, what, old):
    model = small_model(family, old).model
    names = [name for name, _ in model.named_parameters()]
    tables = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    with training_part(model, what, rows=None, rank=2, seed=0):
        free = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        assert all(id(p) in tables or "lora_" in n or what == "all" for n, p in free)
        assert tables <= {id(p) for _, p in free}
        assert any("lora_" in n for n, _ in free) == (what == "lora")
    assert [name for name, _ in model.named_parameters()] == names
    assert all(p.requires_grad for p in model.parameters())


def test_known_new_rows_train_alone(old):
    model = small_model("llama", old).model
    before = model.get_input_embeddings().weight.detach().clone()
    ids = torch.arange(20)[None]
    with training_part(model, "lora", rows=[3, 7], rank=2, seed=0):
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    moved = (model.get_input_embeddings().weight != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [3, 7]
