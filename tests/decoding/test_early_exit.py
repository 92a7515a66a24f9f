"""Early exit by position: exact at full depth, its cost as foretold, a batch as each row alone."""

import copy
import functools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tiny_causal_models import KINDS, tiny
from tokenry.core.report import Report
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_by
from tokenry.decoding.early_exit import early_exit, skip_generate, skipped
from tokenry.decoding.exit_training import active_by_position
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM
from tokenry.models.session import Session

PROMPT = [3, 14, 15, 9, 26, 5]


class Recorded:
    """A processor that changes nothing and keeps the logits it saw."""

    def __init__(self) -> None:
        self.logits: list[torch.Tensor] = []

    def __call__(self, ids, logits):
        self.logits.append(logits[0].clone())
        return logits


@functools.cache
def deeper(n_layers: int = 6) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(tiny().config)
    config.num_hidden_layers = n_layers
    config.layer_types = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return deeper()


def sequential(model, schedule, *, n_new: int, prompt: list[int] = PROMPT) -> tuple[list[int], torch.Tensor]:
    recorded = Recorded()
    done = skip_generate(model, [prompt], schedule, settings=Settings(max_new_tokens=n_new, processors=recorded))
    return done.ids[0], torch.stack(recorded.logits)


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_layers_it_is_ordinary_generation_bit_for_bit(kind):
    model, n_new = tiny(kind), 12
    ids, logits_TV = sequential(model, LayerSchedule.full(3), n_new=n_new)
    library = model.generate(torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
                             max_new_tokens=n_new, do_sample=False, pad_token_id=0)  # fmt: skip
    assert ids == library[0, len(PROMPT) :].tolist()
    session = Session.open(model)
    plain = [session.extend(PROMPT), *(session.extend([token]) for token in ids[:-1])]
    assert torch.equal(logits_TV, torch.stack(plain))


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=9), place=st.sampled_from(["top", "bottom"]))
@examples(max_examples=10, deadline=None)
def test_one_pass_with_choice_by_position_equals_step_by_step(counts, place):
    model = deeper()
    schedule = LayerSchedule.from_counts(6, sorted(counts, reverse=True), place=place)
    n_new = len(counts) + 3
    ids, logits_TV = sequential(model, schedule, n_new=n_new)
    text = torch.tensor([[*PROMPT, *ids[:-1]]])
    steps_BT = torch.arange(text.shape[1])[None] - len(PROMPT)
    with LayerSwitch(model) as switch, torch.inference_mode():
        switch.run_by_position(active_by_position(schedule, steps_BT))
        parallel_TV = model(input_ids=text, use_cache=False).logits[0, len(PROMPT) - 1 :]
    assert (parallel_TV - logits_TV).abs().max() < 1e-4 * float(logits_TV.abs().max())


def test_a_rising_depth_would_go_wrong_in_silence_and_is_refused(model):
    rising = [(0, 5), (0, 4, 5), (0, 3, 4, 5)]
    with pytest.raises(ValueError, match="never rise"):
        LayerSchedule(6, tuple(rising))
    forced = LayerSchedule.full(6)
    object.__setattr__(forced, "sets", tuple(rising))
    ids, logits_TV = sequential(model, forced, n_new=6)
    text = torch.tensor([[*PROMPT, *ids[:-1]]])
    with LayerSwitch(model) as switch, torch.inference_mode():
        switch.run_by_position(active_by_position(forced, torch.arange(text.shape[1])[None] - len(PROMPT)))
        parallel_TV = model(input_ids=text, use_cache=False).logits[0, len(PROMPT) - 1 :]
    assert (parallel_TV - logits_TV).abs().max() > 1e-2 * float(logits_TV.abs().max())


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=6), n_new=st.integers(1, 10), extra=st.integers(0, 4))
@examples(max_examples=10, deadline=None)
def test_cost_and_cache_are_as_foretold(counts, n_new, extra):
    model = deeper()
    schedule, prompt = LayerSchedule.from_counts(6, sorted(counts, reverse=True)), [*PROMPT, *range(extra)]
    done = skip_generate(model, [prompt], schedule, settings=Settings(max_new_tokens=n_new))
    assert done.token_layers == schedule.cost(len(prompt), n_new)
    ran = [sum(layer in schedule.layers(step) for step in range(n_new - 1)) for layer in range(6)]
    assert done.cached.tolist() == [len(prompt) + n for n in ran]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gemma3"])
def test_a_batch_writes_what_each_row_writes_alone(kind, temperature):
    """Rows of different lengths, some of which end early and leave the batch."""
    model = tiny(kind)
    rows = [PROMPT, [1, 2], [9, 8, 7, 6, 5, 4, 3, 2, 40, 41, 42], [50]]
    schedule = LayerSchedule.from_counts(3, [2, 2, 1, 1, 1, 0])
    free = Settings(max_new_tokens=14, temperature=temperature, seed=4)
    ends = tuple({skip_generate(model, [row], schedule, settings=free).ids[0][5 + n] for n, row in enumerate(rows[:2])})
    settings = Settings(max_new_tokens=14, temperature=temperature, seed=4, ends=ends)
    alone = [skip_generate(model, [row], schedule, settings=settings) for row in rows]
    together = skip_generate(model, rows, schedule, settings=settings)
    assert together.ids == [one.ids[0] for one in alone]
    assert len({len(ids) for ids in together.ids}) > 1
    for one, stats in zip(alone, together.statistics, strict=True):
        assert (stats.n_new, stats.n_steps, stats.ended_by) == (
            one.statistics[0].n_new,
            one.statistics[0].n_steps,
            one.statistics[0].ended_by,
        )
        assert stats.n_forwards == stats.n_new == stats.n_steps + 1


def test_text_ends_where_the_context_does():
    model = tiny("gpt2")
    done = skip_generate(model, [PROMPT], LayerSchedule.from_counts(3, [1]), settings=Settings(max_new_tokens=500))
    assert (len(done.ids[0]), done.statistics[0].ended_by) == (128 - len(PROMPT) + 1, "context")


def test_the_strategy_makes_its_schedule_for_what_is_asked():
    lm = LM.open(demo_model())
    n_layers = len(decoder_layers(lm.model))
    prompts = ["Once upon a time", "The dog and the cat", "Tom"]
    found = generate_by(lm, prompts, strategy="early-exit", k_max=n_layers - 1, k_min=n_layers - 1, max_new_tokens=12)
    assert [one.text for one in found] == [lm.generate(prompt, max_new_tokens=12) for prompt in prompts]
    assert all(one.notes == {"layers a token": n_layers, "share of operations": 1.0} for one in found)
    quick = generate_by(lm, prompts[0], strategy="early-exit", speedup=1.5, max_new_tokens=12)
    assert quick.notes["layers a token"] <= n_layers / 1.5
    assert quick.notes["layers a token"] / n_layers < quick.notes["share of operations"] < 1


@pytest.mark.parametrize("sampled", [False, True])
def test_inside_the_librarys_generate(model, sampled):
    ids = torch.tensor([[1, 2, 3, 14, 15], [9, 26, 5, 35, 8]])
    schedule = LayerSchedule.from_counts(6, [4, 3, 1, 0])
    asked = {"max_new_tokens": 9, "do_sample": sampled, "repetition_penalty": 1.3, "pad_token_id": 0}

    def run(rows: torch.Tensor, how: object) -> torch.Tensor:
        torch.manual_seed(5)
        return model.generate(rows, attention_mask=torch.ones_like(rows), custom_generate=how, **asked)

    found = run(ids, skipped(schedule))
    assert found.shape == (2, 14)
    assert all(torch.equal(found[row], run(ids[row : row + 1], skipped(schedule))[0]) for row in (0, 1))
    if not sampled:
        assert torch.equal(run(ids, skipped(LayerSchedule.full(6))), run(ids, None))


def test_a_cache_that_holds_text_and_padding_are_refused(model):
    from transformers import DynamicCache

    ids, decode = torch.tensor([PROMPT]), skipped(LayerSchedule.full(6))
    cache = DynamicCache()
    model(ids[:, :3], cache=cache)
    with pytest.raises(ValueError, match="holds 3 tokens"):
        model.generate(ids, custom_generate=decode, cache=cache, max_new_tokens=2)
    with pytest.raises(ValueError, match="padded rows"):
        decode(model, ids, attention_mask=torch.tensor([[1, 1, 1, 1, 1, 0]]))


def test_from_the_command_line(capsys, tmp_path):
    from tokenry.cli import main

    file = tmp_path / "schedule.json"
    file.write_text(json.dumps(LayerSchedule.from_counts(5, [3, 2, 1]).to_record()))
    with pytest.raises(SystemExit) as stop:
        main(["generate", str(demo_model()), "--prompt", "Once upon", "--prompt", "Tom", "--strategy", "early-exit",
              "--with", f"schedule={file}", "--max-new-tokens", "6", "--json"])  # fmt: skip
    assert stop.value.code in (0, None)
    table = Report.from_json(capsys.readouterr().out).tables["continuations"]
    assert table.column("layers a token").to_pylist() == [pytest.approx((4 + 3 + 2 + 2 + 2) / 5)] * 2


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda m: skip_generate(m, [PROMPT], LayerSchedule.full(4)), "4 layers on LlamaForCausalLM with 6"),
        (lambda m: skip_generate(m, [], LayerSchedule.full(6)), "none at all"),
        (lambda m: skip_generate(m, [PROMPT, []], LayerSchedule.full(6)), "empty one"),
        (lambda m: skip_generate(m, [PROMPT * 30], LayerSchedule.full(6)), "holds 128"),
        (lambda m: early_exit(schedule=LayerSchedule.full(6), speedup=2), "one or the other"),
        (lambda m: early_exit(batch=0), "at least 1"),
    ],
)
def test_what_cannot_be_continued_is_said(model, act, told):
    with pytest.raises(ValueError, match=told):
        act(model)


def test_a_schedule_file_that_is_no_json_is_said(tmp_path):
    file = tmp_path / "schedule.json"
    file.write_text("layers: 3")
    with pytest.raises(ValueError, match="no JSON"):
        early_exit(schedule=str(file))
