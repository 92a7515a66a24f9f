"""Approximate likelihood matching against closed forms, finite differences and brute force."""

import copy
import json
import lzma
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from small_vocabularies import byte_level
from tokenry.core import numerics
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.transplant.alignment import space_starts
from tokenry.transplant.likelihood import (
    Matching,
    TeacherScores,
    balance,
    channel_distance,
    chunk_sums,
    likelihood_distance,
    likelihood_loss,
    log1mexp,
    merge_chunks,
    token_scores,
)
from tokenry.transplant.pairing import collate_pairs, draw_pairs, pair

PLAIN = Matching(threshold=0.0, append_space=False)


@pytest.fixture(scope="module")
def texts():
    torch.set_num_threads(1)
    with lzma.open(demo_text("fiction"), "rt") as file:
        return [json.loads(next(file))["text"][:400] for _ in range(6)]


def small(size, seed=0):
    return tiny_llama(byte_level("english", size), width=16, layers=1, heads=2, spread=0.2, seed=seed)


def spaces(*models):
    return tuple(torch.from_numpy(np.flatnonzero(space_starts(lm.vocab, lm.vocab.size))) for lm in models)


def batch_of(student, teacher, texts, row_bytes=200):
    pairs = pair(student, teacher, texts, row_bytes=row_bytes, longest=(500, 500))
    return collate_pairs(pairs), pairs


def scored(lm, ids):
    with torch.no_grad():
        return token_scores(lm.model(input_ids=ids).logits, ids, spaces(lm)[0])


@given(st.floats(-60, -1e-6))
def test_the_log_of_the_complement_is_exact_with_a_finite_gradient(value):
    x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    found = log1mexp(x)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(numerics.log1mexp(value)), rel=1e-12)
    assert torch.isfinite(x.grad)


@given(st.floats(-80, -0.01), st.floats(-80, -0.01))
def test_the_distance_is_least_and_the_entropy_of_the_teacher_at_equality(student, teacher):
    s, t = (torch.tensor(v, dtype=torch.float64) for v in (student, teacher))
    p = math.exp(teacher / 100 - 1e-6)
    entropy = -(p * math.log(p) + (1 - p) * math.log1p(-p))
    assert float(likelihood_distance(t, t)) == pytest.approx(entropy, rel=1e-9)
    assert float(likelihood_distance(s, t)) >= entropy - 1e-12


def test_the_gradient_is_zero_at_equality_and_that_of_finite_differences_elsewhere():
    t = torch.tensor([-0.3, -4.0, -50.0], dtype=torch.float64)
    s = t.clone().requires_grad_()
    likelihood_distance(s, t).sum().backward()
    assert s.grad.abs().max() < 1e-12
    moved = (t - 1.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: likelihood_distance(x, t), moved)


def test_a_great_temperature_tends_to_the_closed_form():
    s, t = torch.tensor([-3.0, -9.0], dtype=torch.float64), torch.tensor([-5.0, -2.0], dtype=torch.float64)
    tau = 1e4  # far below 1 / epsilon, which would add to every log-probability
    found = tau * (likelihood_distance(s, t, temperature=tau) - likelihood_distance(t, t, temperature=tau))
    limit = (t - s) + t * torch.log(s / t)
    assert torch.allclose(found, limit, rtol=5e-3)
    assert torch.allclose(likelihood_distance(s, t, temperature=math.inf), limit, rtol=1e-5)


def test_the_same_tokenizer_makes_every_token_a_chunk_and_an_equal_student_learns_nothing(texts):
    teacher = small(340)
    student = LM(copy.deepcopy(teacher.model), teacher.tokenizer, teacher.vocab, "twin")
    batch, pairs = batch_of(student, teacher, texts)
    assert all(len(one.chunks) == len(one.ids[0]) for one in pairs)
    value, facts = likelihood_loss(teacher.model, spaces(student, teacher), how=PLAIN)(student.model, batch)
    value.backward()
    assert facts["gap_nats"] == 0
    assert max(float(p.grad.abs().max()) for p in student.model.parameters() if p.grad is not None) < 1e-7


def test_chunk_log_probabilities_sum_to_that_of_the_sequence_less_what_is_dropped(texts):
    student, teacher = small(340), small(300, 1)
    batch, pairs = batch_of(student, teacher, texts)
    log_p, _ = scored(student, batch["input_ids"])
    parts = chunk_sums(log_p, batch["ends"][0])
    for row, one in enumerate(pairs):
        last = int(one.chunks.ends[0, -1])
        assert float(parts[row].sum()) == pytest.approx(float(log_p[row, : last + 1].sum()), rel=1e-5)


def test_chunks_of_a_byte_level_student_are_the_tokens_of_the_teacher(texts):
    teacher, student = small(340), small(257)
    assert student.vocab.byte_lengths.max() == 1
    _, pairs = batch_of(student, teacher, texts)
    assert all((one.chunks.ends[1] == np.arange(len(one.ids[1]))).all() for one in pairs)


def test_merging_equals_a_walk_in_python(texts):
    student, teacher = small(340), small(300, 1)
    batch, _ = batch_of(student, teacher, texts)
    batch["usable"][0, 3] = False
    own, theirs = scored(student, batch["input_ids"]), scored(teacher, batch["teacher_ids"])
    threshold = float(theirs[1].exp().median())
    groups = merge_chunks(own, theirs, batch, how=Matching(threshold=threshold))
    for row in range(len(batch["ends"][0])):
        expected, total, usable, start = [], [0.0, 0.0], True, [0, 0]
        for c, (i, j) in enumerate(batch["ends"][:, row].T.tolist()):
            if i < 0:
                break
            for side, (stop, (log_p, _)) in enumerate(zip((i, j), (own, theirs), strict=True)):
                total[side] += float(log_p[row, start[side] : stop + 1].sum())
                start[side] = stop + 1
            usable &= bool(batch["usable"][row, c])
            if bool(batch["closed"][row, c]) or float(theirs[1][row, j]) > math.log(threshold):
                sums = [total[0] + float(own[1][row, i]), total[1] + float(theirs[1][row, j])]
                expected.append((sums, usable))
                total, usable = [0.0, 0.0], True
        n = len(expected)
        assert groups.valid_BC[row].tolist()[:n] == [good for _, good in expected]
        assert not groups.valid_BC[row, n:].any()
        for side in (0, 1):
            want = torch.tensor([sums[side] for sums, _ in expected])
            torch.testing.assert_close(groups.log_p[side][row, :n], want, rtol=1e-4, atol=1e-3)


def test_what_the_teacher_said_once_is_what_it_says_again(texts):
    student, teacher = small(340), small(300, 1)
    draw = draw_pairs(pair(student, teacher, texts, row_bytes=120, longest=(500, 500)), batch_size=3)
    kept = TeacherScores()
    remembered = likelihood_loss(teacher.model, spaces(student, teacher), scores=kept)
    anew = likelihood_loss(teacher.model, spaces(student, teacher))
    for step in range(12):
        one, other = remembered(student.model, draw(step))[0], anew(student.model, draw(step))[0]
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_hidden_state_term_is_nothing_between_equals(texts):
    teacher = small(340)
    batch, _ = batch_of(teacher, teacher, texts)
    how = Matching(hidden=2.0)
    _, facts = likelihood_loss(teacher.model, spaces(teacher, teacher), how=how)(teacher.model, batch)
    assert facts["hidden"] == 0
    near = channel_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 4.0]]))
    assert float(near) == pytest.approx((1 / 4 + 16 / 16) / 2)


def test_balanced_losses_pull_equally_hard():
    at = torch.tensor([1.0, 2.0], requires_grad=True)
    parts = [(at**2).sum(), 1000 * at.sum()]
    whole = balance(parts, at)
    (pull,) = torch.autograd.grad(whole, at, retain_graph=True)
    first = 2 * at.detach()
    second = torch.ones(2) / math.sqrt(2) * first.norm()
    torch.testing.assert_close(pull, first + second)
    with pytest.raises(ValueError, match="does not depend"):
        balance([torch.tensor(1.0, requires_grad=True) * 2], at)


def test_the_next_token_beside_it_is_the_librarys_cross_entropy(texts):
    student, teacher = small(340), small(300, 1)
    batch, _ = batch_of(student, teacher, texts)
    sides = spaces(student, teacher)
    alone, _ = likelihood_loss(teacher.model, sides)(student.model, batch)
    both, facts = likelihood_loss(teacher.model, sides, how=Matching(next_token=0.5))(student.model, batch)
    logits = student.model(input_ids=batch["input_ids"]).logits[:, :-1].flatten(0, 1)
    plain = torch.nn.functional.cross_entropy(logits, batch["labels"][:, 1:].flatten(), ignore_index=-100)
    assert facts["next_token"] == pytest.approx(float(plain), rel=1e-5)
    assert float(both - alone) == pytest.approx(0.5 * float(plain), rel=1e-4)


def test_balanced_the_weights_say_how_hard_each_term_pulls(texts):
    student, teacher = small(340), small(300, 1)
    batch, _ = batch_of(student, teacher, texts)
    head = student.model.get_output_embeddings()

    def pull(**how) -> torch.Tensor:
        """Gradient at what the head reads, where the norms are taken."""
        states: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
        loss = likelihood_loss(teacher.model, spaces(student, teacher), how=Matching(**how))
        (gradient,) = torch.autograd.grad(loss(student.model, batch)[0], states[0])
        hook.remove()
        return gradient

    alone = pull()
    beside = [pull(next_token=w, balanced=True) - alone for w in (1.0, 3.0)]
    assert float(beside[0].norm()) == pytest.approx(float(alone.norm()), rel=1e-3)
    assert float(beside[1].norm()) == pytest.approx(3 * float(alone.norm()), rel=1e-3)
    # Unbalanced the likelihoods, at temperature 100, are drowned.
    assert (pull(next_token=1.0) - alone).norm() > 10 * alone.norm()


def test_matching_brings_a_strange_student_nearer_to_the_teacher(texts):
    """Effect: after a few steps the likelihoods of chunks are nearer, by more than half of the gap."""
    teacher = LM.open(demo_model())
    student = tiny_llama(byte_level("english", 340), width=32, layers=1)
    draw = draw_pairs(pair(student, teacher, texts, row_bytes=150, longest=(300, 300)), batch_size=4)
    loss = likelihood_loss(teacher.model, spaces(student, teacher), scores=TeacherScores())
    optimiser = torch.optim.Adam(student.model.parameters(), 1e-2)
    gaps = []
    for step in range(40):
        value, facts = loss(student.model, draw(step))
        gaps.append(facts["gap_nats"])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert np.mean(gaps[-5:]) < 0.5 * gaps[0]
