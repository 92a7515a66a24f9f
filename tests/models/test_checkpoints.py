"""An interrupted run goes on as if it had never stopped, to the bit; its state is no pickle."""

import json

import pytest
import torch

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.batches import draw, pack, tokenise
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit

SENTENCES = [f"Tom and Lily saw {n} big dogs in the park. They ran home and told mom." for n in range(30)]
STEPS = 10


class CrashError(Exception):
    pass


@pytest.fixture(scope="module")
def parts():
    vocab = Vocab.open(demo_model())
    packs = pack(tokenise(vocab, SENTENCES), length=24, bos=1)

    def build():
        model = tiny_llama(vocab, width=32, layers=1).model
        model.config.attention_dropout = 0.1  # so that the random generator matters
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.1
        return model

    return build, draw(packs, batch_size=4, seed=1)


def config(**changes) -> FitConfig:
    return FitConfig(rate=5e-3, weight_decay=0.1, warmup=3, accumulate=2, seed=4, save_every=3, **changes)


def same(one, other) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture(scope="module")
def whole(parts):
    build, batches = parts
    model = build()
    result = fit(model, batches, steps=STEPS, config=config())
    return model, [entry["loss"] for entry in result.history]


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_a_killed_run_resumes_to_the_same_weights(parts, whole, tmp_path, step):
    """Killed without a chance to save: what was saved every third step is all there is."""
    build, batches = parts

    def kill(done, entry):
        if done == step:
            raise CrashError

    with pytest.raises(CrashError):
        fit(build(), batches, steps=STEPS, config=config(), on_step=kill, resume=tmp_path / "state")
    assert (tmp_path / "state").exists() == (step > 3)
    torch.manual_seed(99)  # a new process starts from another random state
    model, redone = build(), []
    result = fit(
        model, batches, steps=STEPS, config=config(), resume=tmp_path / "state", on_step=lambda s, e: redone.append(s)
    )
    assert redone[0] == 1 + 3 * ((step - 1) // 3)
    assert same(model, whole[0])
    assert [entry["loss"] for entry in result.history] == whole[1]


@pytest.mark.parametrize("micro", [6, 7])
def test_ctrl_c_inside_a_step_leaves_a_state_that_resumes_to_the_same_weights(parts, whole, tmp_path, micro):
    build, batches = parts

    def interrupted(number):
        if number == micro:
            raise KeyboardInterrupt
        return batches(number)

    with pytest.raises(KeyboardInterrupt):
        fit(build(), interrupted, steps=STEPS, config=config(), resume=tmp_path / "state")
    assert json.loads((tmp_path / "state" / "state.json").read_text())["step"] == 3
    model = build()
    result = fit(model, batches, steps=STEPS, config=config(), resume=tmp_path / "state")
    assert same(model, whole[0])
    assert [entry["step"] for entry in result.history] == list(range(1, STEPS + 1))


def test_an_on_step_that_draws_random_numbers_does_not_spoil_resuming(parts, tmp_path):
    build, batches = parts
    models = build(), build(), build()
    fit(models[0], batches, steps=STEPS, config=config(), on_step=lambda step, entry: torch.rand(step) is None)

    def draw_and_stop(step, entry):
        torch.rand(step)
        return step == 4

    fit(models[1], batches, steps=STEPS, config=config(), on_step=draw_and_stop, resume=tmp_path / "state")
    later = {"on_step": lambda step, entry: torch.rand(step) is None, "resume": tmp_path / "state"}
    fit(models[2], batches, steps=STEPS, config=config(), **later)
    assert same(models[0], models[2])


def test_an_iterator_is_wound_forward_on_resuming(parts, whole, tmp_path):
    build, batches = parts

    def stream():
        number = 0
        while True:
            yield batches(number)
            number += 1

    fit(build(), stream(), steps=STEPS, config=config(), on_step=lambda step, _: step == 4, resume=tmp_path / "state")
    model = build()
    fit(model, stream(), steps=STEPS, config=config(), resume=tmp_path / "state")
    assert same(model, whole[0])


def test_a_finished_run_is_not_run_again(parts, whole, tmp_path):
    build, batches = parts
    fit(build(), batches, steps=STEPS, config=config(), resume=tmp_path / "state")
    model = build()

    def never(number):
        raise AssertionError("a finished run asked for data")

    result = fit(model, never, steps=STEPS, config=config(), resume=tmp_path / "state")
    assert same(model, whole[0])
    assert result.steps == STEPS


def test_other_settings_or_another_model_do_not_resume(parts, tmp_path):
    build, batches = parts
    fit(build(), batches, steps=2, config=config(), resume=tmp_path / "state")
    with pytest.raises(ValueError, match="steps was 2 and is 3"):
        fit(build(), batches, steps=3, config=config(), resume=tmp_path / "state")
    other = tiny_llama(Vocab.open(demo_model()), width=16, layers=1).model
    with pytest.raises(ValueError, match="another model"):
        fit(other, batches, steps=2, config=config(), resume=tmp_path / "state")


def test_the_state_is_safetensors_and_json_and_leaves_no_crumbs(parts, tmp_path):
    build, batches = parts
    fit(build(), batches, steps=4, config=config(), resume=tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"state.safetensors", "state.json"}
    json.loads((tmp_path / "state" / "state.json").read_text())


def test_frozen_weights_are_not_stored(parts, tmp_path):
    from safetensors import safe_open

    build, batches = parts
    model = build()
    model.model.layers.requires_grad_(False)
    fit(model, batches, steps=2, config=config(), resume=tmp_path / "state")
    with safe_open(tmp_path / "state" / "state.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "layers" in name]  # noqa: SIM118
