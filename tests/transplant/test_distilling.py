"""The hidden-state objective and the alignment of new tokens with the old ones they are made of."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tokenry.transplant.distilling import Teacher, distilled_loss, expand_ids, hidden_state_loss

N_OLD = 11
PIECES = [[1, 2], [3, 4, 5], [11 - 1, 0]]


def tiny(seed=0, vocab=N_OLD):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.25, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@given(st.lists(st.integers(0, N_OLD + len(PIECES) - 1), min_size=1, max_size=12))
def test_expanding_equals_writing_the_pieces_one_after_another(ids):
    old, ends = expand_ids(np.array([ids]), PIECES, N_OLD)
    written, stops = [], []
    for i in ids:
        written += [i] if i < N_OLD else PIECES[i - N_OLD]
        stops.append(len(written) - 1)
    assert old[0].tolist() == written
    assert ends[0].tolist() == stops


def test_rows_of_unequal_length_are_padded_behind_their_end():
    old, ends = expand_ids(np.array([[0, 1], [12, 12]]), PIECES, N_OLD)
    assert old.tolist() == [[0, 1, 0, 0, 0, 0], [3, 4, 5, 3, 4, 5]]
    assert ends.tolist() == [[0, 1], [2, 5]]


def test_hidden_state_loss_is_the_share_of_power_by_hand():
    student = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[9.0, 9.0], [1.0, 3.0], [2.0, 0.0]]])
    ends = torch.tensor([[1, 2]])
    # distances: ((1-1)^2 + (1-3)^2)/2 = 2 and (4+0)/2 = 2; power: (1+9+4+0)/4 = 3.5
    loss = hidden_state_loss(student, teacher, ends, torch.tensor([[True, True]]))
    assert float(loss) == pytest.approx(2 / 3.5)
    first = hidden_state_loss(student, teacher, ends, torch.tensor([[True, False]]))
    assert float(first) == pytest.approx(2 / 5)


def test_a_student_that_is_its_teacher_has_no_distance_and_plain_cross_entropy():
    model = tiny()
    ids = torch.randint(0, N_OLD, (2, 9), generator=torch.Generator().manual_seed(1))
    loss = distilled_loss(Teacher(copy.deepcopy(model), PIECES, N_OLD), weight=3.0)
    value, metrics = loss(model, {"input_ids": ids, "labels": ids})
    plain = nn.functional.cross_entropy(model(input_ids=ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert metrics == {"tokens": 16, "hidden": pytest.approx(0.0, abs=1e-9)}
    torch.testing.assert_close(value, plain)


def test_the_teacher_is_not_trained_and_the_student_comes_nearer():
    teacher, student = tiny(0), tiny(1, N_OLD + len(PIECES))
    frozen = copy.deepcopy(teacher.state_dict())
    loss = distilled_loss(Teacher(teacher, PIECES, N_OLD), weight=10.0)
    rng = torch.Generator().manual_seed(2)
    batch_ids = torch.randint(0, N_OLD + len(PIECES), (8, 8), generator=rng)
    batch = {"input_ids": batch_ids, "labels": batch_ids}
    optimiser = torch.optim.Adam(student.parameters(), 3e-3)
    near = []
    for _ in range(60):
        value, metrics = loss(student, batch)
        near.append(metrics["hidden"])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert near[-1] < 0.5 * near[0]
    assert all(torch.equal(frozen[k], v) for k, v in teacher.state_dict().items())
