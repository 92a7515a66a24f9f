"""Training with a schedule: the loss is that of the layers that will run, and the model remembers its schedule."""

import copy

import numpy as np
import pytest
import torch
from shorter_models import shorter
from small_records import END, N_TEXT, N_WORDS, START, record, records_batch

from tiny_causal_models import tiny
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_by
from tokenry.decoding.early_exit import schedule_of, skip_generate
from tokenry.decoding.exit_training import (
    exits_loss,
    finetune,
    fit_schedule,
    prompted,
    scheduled_loss,
    scheduled_nats,
    steps_of,
)
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM
from tokenry.models.training import FitConfig, fit, next_token_loss

IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 35, 8], [1, 2, 3, 4, 5, 6, 7, 8]])
LABELS = torch.tensor([[-100, -100, -100, 9, 26, 5, 35, 8], [-100, 2, 3, 4, 5, 6, -100, -100]])
BATCH = {"input_ids": IDS, "labels": LABELS}


def gradients(loss, model, batch) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    value, metrics = loss(model, batch)
    value.backward()
    assert metrics["tokens"] == 10
    return float(value.detach()), [p.grad for p in model.parameters()]


def test_steps_are_counted_from_the_first_learned_token():
    assert steps_of(LABELS).tolist() == [[t - 3 for t in range(8)], [t - 1 for t in range(8)]]
    assert (steps_of(torch.full((1, 4), -100)) < 0).all()


def test_at_full_depth_it_is_the_ordinary_loss_with_its_gradients():
    model = copy.deepcopy(tiny())
    value, found = gradients(scheduled_loss(LayerSchedule.full(3)), model, BATCH)
    assert (value, len(found)) == (gradients(next_token_loss, model, BATCH)[0], len(found))
    _, truth = gradients(next_token_loss, model, BATCH)
    assert all(torch.equal(a, b) for a, b in zip(found, truth, strict=True) if a is not None)


def test_one_depth_from_the_first_token_on_is_the_shorter_model():
    model, batch = copy.deepcopy(tiny("gpt2")), {**BATCH, "steps": torch.zeros_like(IDS)}
    schedule = LayerSchedule(3, ((0, 2),))
    value, found = gradients(scheduled_loss(schedule), model, batch)
    cut = shorter(model, (0, 2))
    truth, expected = gradients(next_token_loss, cut, BATCH)
    assert value == pytest.approx(truth, rel=1e-6)
    named = dict(zip((name for name, _ in model.named_parameters()), found, strict=True))
    for (name, _), gradient in zip(cut.named_parameters(), expected, strict=True):
        torch.testing.assert_close(named[name.replace("h.1.", "h.2.")], gradient)
    assert all(g is None or not g.any() for name, g in named.items() if "h.1." in name), "a layer that never runs"


def test_the_loss_over_exits_is_the_weighted_sum_of_shorter_models():
    model = tiny()
    value, metrics = exits_loss((1, 2), share=0.4)(model, BATCH)
    parts = [next_token_loss(m, BATCH)[0].item() for m in (model, shorter(model, (0,)), shorter(model, (0, 1)))]
    assert [metrics["whole"], metrics["exit 1"], metrics["exit 2"]] == pytest.approx(parts, rel=1e-5)
    assert value.item() == pytest.approx(0.6 * parts[0] + 0.2 * parts[1] + 0.2 * parts[2], rel=1e-5)


def test_random_prompts_are_fixed_by_the_number_of_the_batch():
    take = prompted(lambda number: BATCH, shortest=2, longest=5, seed=3)
    assert torch.equal(take(4)["steps"], take(4)["steps"])
    first = torch.stack([-take(n)["steps"][:, 0] for n in range(50)])
    assert (first.min(), first.max()) == (2, 5)
    assert torch.equal(take(0)["labels"], LABELS)


def test_the_schedule_of_least_loss_is_chosen():
    model = copy.deepcopy(tiny())
    best, tried = fit_schedule(model, [BATCH], n_steps=4, speedup=1.5, warmups=(1, 2, 3), spreads=(0.0, 1.0))
    assert {row["warmup"] for row in tried} == {1, 2}, "three warm-up layers cannot be 1.5 times faster"
    assert float(scheduled_nats(model, [BATCH], best)[0]) == min(row["nats"] for row in tried)
    assert all(row["layers"] <= 2 for row in tried)


def test_a_tuned_model_remembers_its_schedule(tmp_path):
    lm = LM.open(demo_model())
    n_layers = lm.model.config.num_hidden_layers
    schedule = LayerSchedule.falling(n_layers, n_steps=6, speedup=1.6)
    ids = torch.from_numpy(lm.encode(["Once upon a time there was a dog"])[0].astype(np.int64))[None]
    finetune(lm, [{"input_ids": ids, "labels": ids}], schedule, steps=1, config=FitConfig(rate=1e-4))
    again = LM.open(lm.save(tmp_path / "tuned"))
    assert schedule_of(again.model) == schedule
    told = generate_by(again, "Once upon", strategy="early-exit", max_new_tokens=7)
    assert told.notes["layers a token"] == schedule.average(6)
    assert generate_by(again, "Once upon", strategy="early-exit", speedup=1, max_new_tokens=7).notes[
        "layers a token"
    ] == pytest.approx(n_layers)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda m: exits_loss(())(m, BATCH), "need layers"),
        (lambda m: exits_loss((3,))(m, BATCH), "fewer than all"),
        (lambda m: exits_loss((1,), share=2), "share=2"),
        (lambda m: finetune(m, [BATCH], LayerSchedule.full(4), steps=1), "4 layers on a model of 3"),
        (lambda m: fit_schedule(m, [BATCH], n_steps=3, speedup=3.5), "ask for less"),
        (lambda m: prompted(lambda n: BATCH, shortest=0, longest=2), "shortest"),
    ],
)
def test_what_cannot_be_trained_is_said(act, told):
    with pytest.raises(ValueError, match=told):
        act(tiny())


def _answers(model: torch.nn.Module, schedule: LayerSchedule, *, early: bool) -> int:
    """How many of 100 unseen records are told exactly right."""
    generator = np.random.default_rng(99)
    pairs = [record(generator, early=early) for _ in range(100)]
    settings = Settings(max_new_tokens=N_TEXT, ends=(END,))
    done = skip_generate(model, [prompt for prompt, _ in pairs], schedule, settings=settings)
    return sum(ids == text for ids, (_, text) in zip(done.ids, pairs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("early", [True, False])
def test_a_falling_depth_wins_where_the_hard_word_comes_early_and_loses_where_it_comes_late(early):
    """Slow: trains a model of 4 layers and tunes two copies.

    To name what stands by a key takes two layers (one to mark a name with the key before it, one to look it up); one
    layer knows the four names and not which: 25 of 100, at most 25 + 4 standard deviations of 4.33 = 42. At 2 layers
    early and 1 late, 1.25 on average, against 1 throughout (early), or against 2 throughout (late), equally tuned.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=N_WORDS, hidden_size=48, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=True, initializer_range=0.1,
        pad_token_id=0, bos_token_id=START, eos_token_id=END,
    )  # fmt: skip
    torch.manual_seed(0)
    base = LlamaForCausalLM(config)
    fit(base, lambda n: records_batch(0, n, early=early), steps=300, config=FitConfig(rate=5e-3, warmup=20))
    assert _answers(base.eval(), LayerSchedule.full(4), early=early) >= 95
    n_steps, found = N_TEXT - 1, {}
    constant = LayerSchedule.falling(4, n_steps=n_steps, speedup=4 if early else 2, spread=0, place="bottom")
    falling = LayerSchedule.falling(4, n_steps=n_steps, speedup=3, spread=1)
    assert falling.depths().tolist() == [2, 2, 1, 1, 1, 1, 1, 1]
    assert set(constant.depths()) == {1 if early else 2}
    for name, schedule in (("falling", falling), ("constant", constant)):
        tuned = copy.deepcopy(base)
        tuning = FitConfig(rate=3e-3, warmup=5)
        finetune(tuned, lambda n: records_batch(1, n, early=early), schedule, steps=60, config=tuning)
        found[name] = _answers(tuned.eval(), schedule, early=early)
    better, worse = ("falling", "constant") if early else ("constant", "falling")
    assert found[better] >= 95
    assert found[worse] <= 42
