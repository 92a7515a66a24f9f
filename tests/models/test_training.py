"""The one loop: accumulation is exact, the schedules are their formulas, the count of operations is the library's."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.batches import draw, pack, tokenise
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, default_groups, fit, flops, next_token_loss, rate_at

SENTENCES = [f"Tom and Lily saw {n} big dogs in the park. They ran home and told mom." for n in range(40)]


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    return Vocab.open(demo_model())


def model_of(vocab, **shape):
    return tiny_llama(vocab, width=32, layers=1, **shape).model


def uneven_batches(vocab, n_rows=8):
    """Rows of very different numbers of targets, so that averaging by micro-batch would show."""
    ids = torch.stack([torch.arange(n_rows * 12).reshape(n_rows, 12)])[0] * 7 % vocab.size
    labels = ids.clone()
    for row in range(n_rows):
        labels[row, 1 : 1 + row] = -100
    return [{"input_ids": ids[row : row + 1], "labels": labels[row : row + 1]} for row in range(n_rows)]


def joined(batches):
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


@pytest.mark.parametrize("clip", [None, 0.05])
def test_k_micro_batches_are_one_large_batch(vocab, clip):
    rows = uneven_batches(vocab)
    small, large = model_of(vocab).double(), model_of(vocab).double()
    settings = {"rate": 1e-2, "weight_decay": 0.1, "clip": clip}
    a = fit(small, rows, steps=3, config=FitConfig(accumulate=8, **settings))
    b = fit(large, [joined(rows)], steps=3, config=FitConfig(**settings))
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    for one, other in zip(a.history, b.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-12)
        assert one["tokens"] == other["tokens"]


def test_it_equals_a_plain_loop_with_adamw(vocab):
    batches = [joined(uneven_batches(vocab)[k : k + 4]) for k in (0, 4)]
    ours, theirs = model_of(vocab).double(), model_of(vocab).double()
    config = FitConfig(rate=5e-3, weight_decay=0.3, warmup=2, schedule="cosine", clip=0.5)
    fit(ours, batches, steps=6, config=config)
    decayed = [p for p in theirs.parameters() if p.ndim >= 2]
    plain = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-3, betas=(0.9, 0.95), eps=1e-8)
    for step in range(6):
        batch = batches[step % 2]
        logits = theirs(input_ids=batch["input_ids"]).logits[:, :-1].flatten(0, 1)
        functional.cross_entropy(logits, batch["labels"][:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        share = (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 4))
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * share
        optimizer.step()
        optimizer.zero_grad()
    # The library's norms compute in float32 even here, and a sum and a mean of losses round differently in it.
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_next_token_loss_equals_the_library_on_all_targets(vocab):
    model = model_of(vocab)
    ids = torch.arange(60).reshape(3, 20)
    with torch.no_grad():
        loss, facts = next_token_loss(model, {"input_ids": ids, "labels": ids})
        assert float(loss) == pytest.approx(float(model(input_ids=ids, labels=ids).loss), rel=1e-6)
    assert facts["tokens"] == 57


def test_a_batch_without_targets_moves_nothing_and_does_not_break(vocab):
    model = model_of(vocab)
    before = [p.clone() for p in model.parameters()]
    ids = torch.arange(10)[None]
    fit(model, [{"input_ids": ids, "labels": torch.full_like(ids, -100)}], steps=1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_schedule_rises_and_falls_as_it_says(schedule):
    config = FitConfig(warmup=4, schedule=schedule)
    shares = [rate_at(step, steps=20, config=config) for step in range(20)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(a >= b for a, b in pairwise(shares[3:]))
    assert 0 < shares[-1] <= 1
    assert rate_at(12, steps=20, config=config) == pytest.approx(1.0 if schedule == "constant" else 0.5)


def test_training_lowers_the_loss_and_groups_have_rates_of_their_own(vocab):
    model = model_of(vocab)
    packs = pack(tokenise(vocab, SENTENCES), length=32, bos=1)
    before = [p.clone() for p in model.model.layers.parameters()]

    def groups(model):
        rows = model.get_input_embeddings().weight
        body = [p for p in model.parameters() if p is not rows]
        return [{"params": [rows], "rate": 3e-2}, {"params": body, "rate": 0.0}]

    result = fit(model, draw(packs, batch_size=8), steps=30, config=FitConfig(groups=groups))
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    assert all(torch.equal(p, q) for p, q in zip(model.model.layers.parameters(), before, strict=True))
    assert result.steps == 30
    assert result.tokens == sum(entry["tokens"] for entry in result.history)
    assert result.cpu_seconds > 0
    assert result.history[-1]["cpu_seconds"] == result.cpu_seconds


def test_on_step_sees_every_step_and_may_stop(vocab):
    seen = []
    result = fit(
        model_of(vocab), uneven_batches(vocab), steps=9, on_step=lambda step, entry: seen.append(step) or step == 3
    )
    assert seen == [1, 2, 3]
    assert result.steps == 3


def test_what_a_loss_measures_is_averaged_over_tokens(vocab):
    def loss(model, batch):
        value, facts = next_token_loss(model, batch)
        return value, facts | {"twice": 2 * float(value.detach())}

    result = fit(model_of(vocab), uneven_batches(vocab), loss, steps=1, config=FitConfig(accumulate=8))
    assert result.history[0]["twice"] == pytest.approx(2 * result.history[0]["loss"])


def test_an_iterator_that_ends_too_early_is_told(vocab):
    with pytest.raises(ValueError, match="ended after 8 batches"):
        fit(model_of(vocab), iter(uneven_batches(vocab)), steps=9)


def test_the_training_mode_is_put_back(vocab):
    model = model_of(vocab).eval()
    fit(model, uneven_batches(vocab), steps=1)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"accumulate": 0}, "at least 1"),
        ({"rate": -1}, "at least 0"),
        ({"dtype": "float16"}, "loss scaling"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        FitConfig(**settings)


def test_a_broken_loss_stops_before_it_touches_a_weight(vocab):
    model = model_of(vocab)
    before = [p.clone() for p in model.parameters()]

    def loss(model, batch):
        value, facts = next_token_loss(model, batch)
        return value * float("nan"), facts

    with pytest.raises(ValueError, match="finite loss"):
        fit(model, uneven_batches(vocab), loss, steps=2)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_frozen_model_is_refused(vocab):
    model = model_of(vocab).requires_grad_(False)
    with pytest.raises(ValueError, match="all are frozen"):
        fit(model, uneven_batches(vocab), steps=1)


def test_norms_do_not_decay(vocab):
    decayed, plain = default_groups(model_of(vocab))
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert plain["weight_decay"] == 0
    assert {p.ndim for p in plain["params"]} == {1}


@pytest.mark.parametrize("tied", [True, False])
def test_the_count_of_operations_is_the_librarys(vocab, tied):
    """torch counts each matrix product it runs, and eager attention is matrix products; rotary angles are the rest."""
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny_llama(vocab, width=64, layers=3, tied=tied).model
    model.set_attn_implementation("eager")
    ids = torch.arange(128).reshape(2, 64)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids)
    assert flops(model, 128, length=64, backward=False) == pytest.approx(counter.get_total_flops(), rel=1e-3)
    with FlopCounterMode(display=False) as counter:
        loss, _ = next_token_loss(model, {"input_ids": ids, "labels": ids})
        loss.backward()
    assert flops(model, 128, length=64) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_lm_knows_its_operations_a_token():
    lm = LM.open(demo_model(), device="cpu")
    matrices = 5 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172) + 512 * 64
    assert lm.flops_per_token(length=100) == 6 * matrices + 3 * 5 * 4 * 100 * 64
