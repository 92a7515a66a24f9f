"""Snippets are real places of new tokens; distilled rows predict better than the mean of pieces."""

import copy
import json
import lzma

import numpy as np
import pytest
import torch

from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM
from tokenry.tokenization.extend import extend
from tokenry.transplant.healing import HealConfig, heal
from tokenry.transplant.planning import plan
from tokenry.transplant.scoring import measure
from tokenry.transplant.snippets import draw_snippets, find_snippets, token_distillation_loss
from tokenry.transplant.stages import Stage
from tokenry.transplant.surgery import move


@pytest.fixture(scope="module")
def moved():
    torch.set_num_threads(1)
    with lzma.open(demo_text("fiction"), "rt") as file:
        texts = [json.loads(line)["text"] for line in file][:220]
    old = LM.open(demo_model())
    longer = extend(old.vocab, texts[:200], size=old.vocab.size + 200)
    made = plan(old.vocab, longer.vocab, method="pieces", pieces=longer.pieces)
    return old, move(old, longer.vocab, plan=made).lm, texts


def new_ids(old, lm):
    return list(range(old.vocab.size, lm.vocab.size))


def test_both_sides_of_a_snippet_spell_the_same_and_differ_in_one_token(moved):
    old, lm, texts = moved
    found = find_snippets(lm, old, texts[:60], rows=new_ids(old, lm), per_token=3, length=30)
    tokens = [int(one.student[one.at]) for one in found]
    assert max(np.bincount(tokens)) <= 3
    assert min(tokens) >= old.vocab.size
    for one in found:
        assert lm.vocab.decode_bytes(one.student) == old.vocab.decode_bytes(one.teacher)
        rest = len(one.student) - one.at - 1
        assert (one.student[: one.at] == one.teacher[: one.at]).all()
        assert rest == 0 or (one.student[-rest:] == one.teacher[-rest:]).all()
        assert len(one.teacher) <= 31


def test_positions_are_matched_from_the_new_token_on(moved):
    old, lm, texts = moved
    found = find_snippets(lm, old, texts[:20], rows=new_ids(old, lm), per_token=2, length=20)
    batch = draw_snippets(found, batch_size=4)(0)
    for row in range(4):
        own = batch["near"][row].nonzero()[:, 0]
        theirs = batch["teacher_at"][row, own]
        assert (batch["input_ids"][row, own[1:]] == batch["teacher_ids"][row, theirs[1:]]).all()
        assert int(batch["input_ids"][row, own[0]]) >= old.vocab.size


def test_a_model_that_reads_the_pieces_itself_is_at_no_distance(moved):
    old, lm, texts = moved
    found = find_snippets(lm, old, texts[:20], rows=new_ids(old, lm), per_token=1, length=20)
    batch = draw_snippets(found, batch_size=4)(0)
    batch["input_ids"] = batch["teacher_ids"]
    batch["teacher_at"] = torch.arange(batch["teacher_ids"].shape[1]).expand(4, -1)
    batch["near"] = torch.ones_like(batch["teacher_ids"], dtype=torch.bool)
    value, facts = token_distillation_loss(old.model, next_token=False)(old.model, batch)
    assert float(value.detach()) == 0
    assert facts["tokens"] == batch["near"].sum()


def test_text_without_a_new_token_is_refused(moved):
    old, lm, _ = moved
    with pytest.raises(ValueError, match="none of the new tokens"):
        find_snippets(lm, old, ["zz"], rows=new_ids(old, lm))


@pytest.mark.slow  # trains and scores a real tiny model
def test_distilled_rows_beat_the_mean_of_pieces_and_nothing_else_moves(moved):
    """Effect: the same model, only its new rows trained, on text that is held out."""
    old, lm, texts = moved
    twin = LM(copy.deepcopy(lm.model), lm.tokenizer, lm.vocab, "twin")
    config = HealConfig(stages=(Stage("rows", 25, 3e-4),), batch=16, objective="token-distil")
    heal(twin, texts[:200], config=config, teacher=old, rows=new_ids(old, lm))
    before, after = (measure(model, texts[200:], segment_bytes=512) for model in (lm, twin))
    assert after.change_from(before).high < 0
    for name, weight in lm.model.state_dict().items():
        rest = slice(0, old.vocab.size) if "embed_tokens" in name or "lm_head" in name else slice(None)
        assert torch.equal(weight[rest], twin.model.state_dict()[name][rest]), name
