"""Strategies side by side: what is counted, compared and judged is what happened."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as of_tests
from hypothesis import strategies as st

from tiny_causal_models import full_logits
from tokenry.cli import main
from tokenry.data import demo_model
from tokenry.decoding.benchmark import Run, measure
from tokenry.decoding.benchmark_figures import figures_of
from tokenry.decoding.benchmark_judging import first_difference, judged, logits_after, near_tie
from tokenry.decoding.benchmark_prompts import beginning, prompts_of
from tokenry.decoding.benchmark_report import bench, makers_of
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, make, plain, settings_for
from tokenry.models.lm import LM

SHORT = Settings(max_new_tokens=6)


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model())


class WrongAt:
    """Plain decoding that writes another token at one place of one prompt."""

    def __init__(self, place: int, word: str) -> None:
        self.place, self.word = place, word

    def __call__(self, lm, prompt, settings):
        one = plain()(lm, prompt, settings)
        if isinstance(prompt, str) and self.word in prompt:
            ids = list(one.ids)
            ids[self.place] = (ids[self.place] + 7) % lm.vocab.size
            return replace(one, ids=ids)
        return one


class Failing:
    """Cannot do some prompts."""

    def __call__(self, lm, prompt, settings):
        if isinstance(prompt, str) and "dog" in prompt:
            raise ValueError("no dogs here")
        return plain()(lm, prompt, settings)


PROMPTS = ["Once upon a time", "The dog ran", "Tom had a red"]


@pytest.fixture(scope="module")
def report(lm):
    """One benchmark that most tests look at: a right, a wrong, a failing strategy, one that cannot be made."""

    def hopeless():
        raise ValueError("needs a draft: --with draft=FOLDER")

    strategies = {
        "plain": plain,
        "lookup": lambda: make("lookup"),
        "wrong": lambda: WrongAt(3, "Tom"),
        "failing": Failing,
        "hopeless": hopeless,
        "transformers:prompt-lookup": lambda: make("transformers:prompt-lookup"),
    }
    return bench(lm, PROMPTS, strategies=strategies, settings=SHORT, passes=1)


def _rows(report, table):
    return {row["strategy"]: row for row in report.tables[table].to_pylist()}


def test_a_wrong_strategy_is_caught_with_its_place(lm, report):
    texts = _rows(report, "text and passes")
    assert texts["wrong"]["same text"] == "2/3"
    assert texts["lookup"]["same text"] == texts["transformers:prompt-lookup"]["same text"] == "3/3"
    [there] = [row for row in report.tables["where texts part"].to_pylist() if row["strategy"] == "wrong"]
    assert there["prompt"] == 2
    assert there["position"] == 3
    assert not there["near tie"]
    # The gap is what a full pass over the shared text says.
    one = plain()(lm, PROMPTS[2], settings_for(lm, SHORT))
    logits_V = full_logits(lm.model, [*one.prompt_ids, *one.ids[:3]])[-1]
    expected, written = one.ids[3], (one.ids[3] + 7) % lm.vocab.size
    assert there["logit gap"] == pytest.approx(float(logits_V[expected] - logits_V[written]), abs=1e-4)
    assert any("wrong wrote another text" in text and "new token 3" in text for text in report.warnings)


def test_failures_are_counted_and_told_and_the_others_go_on(report):
    texts = _rows(report, "text and passes")
    assert [texts[name]["failed"] for name in ("plain", "failing", "hopeless")] == [0, 1, 3]
    reasons = {row["strategy"]: (row["prompts"], row["reason"]) for row in report.tables["failures"].to_pylist()}
    assert reasons == {"failing": (1, "no dogs here"), "hopeless": (3, "needs a draft: --with hopeless.draft=FOLDER")}
    assert texts["failing"]["same text"] == "2/2"


def test_quality_is_the_full_models_own(lm, report):
    """The closed form: minus log2 of the probabilities of a full pass, over the bytes of the tokens."""
    bits, n_bytes = 0.0, 0
    for prompt in PROMPTS:
        one = plain()(lm, prompt, settings_for(lm, SHORT))
        logp_TV = full_logits(lm.model, [*one.prompt_ids, *one.ids]).double().log_softmax(-1)
        start = len(one.prompt_ids)
        bits -= sum(float(logp_TV[start + n - 1, token]) for n, token in enumerate(one.ids)) / np.log(2)
        n_bytes += int(lm.vocab.byte_lengths[one.ids].sum())
    texts = _rows(report, "text and passes")
    assert texts["plain"]["bits/byte"] == pytest.approx(bits / n_bytes, rel=1e-4)
    assert texts["plain"]["greedy"] == 1.0
    assert texts["wrong"]["bits/byte"] > texts["plain"]["bits/byte"]
    assert texts["wrong"]["greedy"] < 1.0  # one token of 18 at least is not the first choice


def test_the_report_names_machine_seed_and_sizes_and_reopens(report):
    facts = report.facts
    assert facts["n_prompts"] == 3
    assert facts["seed"] == 0
    assert "cpu" in facts["machine"]
    assert facts["lookup.speed"].n == 3
    assert [figure.kind for figure in report.figures] == ["interval", "bar"]
    assert type(report).from_json(report.to_json()).facts["n_prompts"] == 3
    assert any("3 prompts" in text for text in report.warnings)


# --- what the clock says -------------------------------------------------------------------------------------------


class Scripted:
    """Writes fixed ids in a fixed time on a clock of its own, which runs slower and slower."""

    def __init__(self, clock, seconds, n_forwards, n_accepted=0):
        self.clock, self.seconds, self.n_forwards, self.n_accepted = clock, seconds, n_forwards, n_accepted

    def __call__(self, lm, prompt, settings):
        self.clock.work(self.seconds)
        new = [5] * 12
        stats = Statistics(
            n_new=12, n_forwards=self.n_forwards, n_steps=self.n_forwards - 1, n_accepted=self.n_accepted
        )
        return Continuation([1, 2], new, "", stats)


class Drifting:
    """A machine that loses speed all the time: at the end a second of work takes ten."""

    def __init__(self, growth):
        self.now, self.growth = 0.0, growth

    def work(self, seconds):
        self.now += seconds * (1 + self.growth * self.now)

    def __call__(self):
        return self.now, self.now / 2


def _figures(lm, growth, *, prompts=12, passes=3, **how):
    clock = Drifting(growth)
    makers = {"plain": lambda: Scripted(clock, 1.2, 12), "fast": lambda: Scripted(clock, 0.6, 4, 8)}
    runs = measure(lm, [[1, 2]] * prompts, makers, settings=SHORT, passes=passes, clock=clock)
    return runs, figures_of(runs, baseline="plain", compare=lambda a, b: None, **how)


def test_on_a_steady_clock_every_figure_is_the_closed_form(lm):
    runs, found = _figures(lm, 0.0)
    fast = found["fast"]
    assert fast.speed.value == pytest.approx(2.0)
    assert fast.break_even.value == pytest.approx((0.6 / 4) / (1.2 / 12))
    assert fast.per_forward.value == pytest.approx(11 / 3)
    assert fast.accepted_per_forward.value == pytest.approx(8 / 3)
    assert fast.tokens_per_second.value == pytest.approx(20.0)
    assert fast.speed.value == pytest.approx(fast.tokens_per_pass / found["plain"].tokens_per_pass / 1.5)
    assert fast.n_forwards == 48
    assert fast.n_same == 12
    assert figures_of(runs, baseline="plain", compare=lambda a, b: None, clock="cpu")["fast"].tokens_per_second.value \
        == pytest.approx(40.0)  # fmt: skip


def test_a_machine_that_slows_down_does_not_decide(lm):
    """The effect: pairs within a pass against one strategy after the other, on a clock with known drift.

    With growth g a second of work at time t takes 1 + g t: in sequence, the second strategy's 48 runs come after the
    first's and its true factor of 2 is lost; in pairs of one prompt the factor is at most one pair's drift off, and
    the drawn order makes it fall on both sides.
    """
    growth = 0.02
    _, found = _figures(lm, growth)
    assert found["fast"].speed.value == pytest.approx(2.0, rel=0.05)
    clock, seconds = Drifting(growth), {}
    for name, each in (("plain", 1.2), ("fast", 0.6)):
        before = clock.now
        for _ in range(48):
            clock.work(each)
        seconds[name] = clock.now - before
    assert seconds["plain"] / seconds["fast"] < 1.2


@of_tests(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10), st.integers(2, 9)), min_size=2, max_size=6))
def test_speed_is_tokens_a_pass_over_break_even(rows):
    """Law, prompt by prompt and so for geometric means of equal forwards: speed = tokens per pass / break-even."""
    n_forwards = rows[0][2]
    runs = []
    for prompt, (ours, theirs, _) in enumerate(rows):
        for number in (0, 1):
            for name, seconds, forwards in (("plain", theirs, 9), ("x", ours, n_forwards)):
                written = Continuation([1], [3] * 9, "", Statistics(n_new=9, n_forwards=forwards))
                runs.append(Run(name, prompt, number, written, seconds, seconds, forwards))
    found = figures_of(runs, baseline="plain", compare=lambda a, b: None)["x"]
    assert found.speed.value == pytest.approx(9 / n_forwards / found.break_even.value)
    assert found.speed.low <= found.speed.value * (1 + 1e-9)


def test_each_pass_starts_with_a_new_strategy_and_keeps_it_over_the_prompts(lm):
    made = []

    class Learns:
        def __init__(self):
            self.seen = 0
            made.append(self)

        def __call__(self, lm, prompt, settings):
            self.seen += prompt != [lm.start]
            return Continuation(list(prompt), [self.seen], "", Statistics(n_forwards=1))

    runs = measure(lm, [[1, 2], [1, 3]], {"learns": Learns}, settings=SHORT, passes=2)
    assert len(made) == 3
    assert [run.written.ids for run in runs] == [[1], [2]] * 3


def test_passes_of_every_model_are_counted_whatever_a_strategy_says(lm):
    class Silent:
        """Runs the model three times, says one."""

        def __call__(self, lm, prompt, settings):
            with torch.inference_mode():
                for _ in range(3):
                    lm.model(input_ids=torch.tensor([[1, 2]]))
            return Continuation([1], [2], "", Statistics(n_new=1, n_forwards=1))

    runs = measure(lm, [[1, 2]], {"silent": Silent, "plain": plain}, settings=SHORT, passes=1)
    assert {(run.strategy, run.forwards, run.other_forwards) for run in runs if run.number == 0} == {
        ("silent", 1, 2), ("plain", 6, 0)}  # fmt: skip


# --- judging -------------------------------------------------------------------------------------------------------


def test_first_difference_of_ends_and_prompts(lm):
    def text(prompt, ids):
        return Continuation(prompt, ids, "", Statistics())

    expected = text([1, 5, 9], [7, 8, 9])
    assert first_difference(lm, expected, text([1, 5, 9], [7, 8, 9])) is None
    assert first_difference(lm, expected, text([1, 5], [9, 7, 8, 9])) is None  # cut anew, the same tokens
    short = first_difference(lm, expected, text([1, 5, 9], [7, 8]))
    assert (short.position, short.expected, short.written, short.is_near_tie) == (2, 9, None, False)
    assert first_difference(lm, expected, text([1, 4, 9], [7])).position == -2


def test_near_ties_are_within_rounding_and_no_more():
    logits_V = torch.tensor([10.0, 9.999, 3.0])
    assert near_tie(0.001, logits_V, torch.float32)  # sqrt(1.2e-7) x 10 = 0.0035
    assert not near_tie(0.01, logits_V, torch.float32)
    assert near_tie(0.5, logits_V, torch.bfloat16)
    assert not near_tie(1.0, logits_V, torch.bfloat16)


def test_logits_after_are_those_of_a_full_pass(lm):
    ids = [1, 40, 70, 9, 33]
    for n in (1, 3, 5):
        torch.testing.assert_close(logits_after(lm, ids, n), full_logits(lm.model, ids)[-n:], atol=1e-4, rtol=1e-4)


def test_a_text_without_bytes_has_no_bits_per_byte_and_does_not_divide_by_zero(lm):
    quality = judged(lm, Continuation([1, 40], [lm.vocab.specials["eos"]], "", Statistics()))
    assert quality.n_bytes == 0
    assert quality.n_tokens == 1


# --- what a user types ---------------------------------------------------------------------------------------------


def test_labels_and_options_reach_their_strategy():
    made = makers_of(["a=lookup", "b=lookup"], ["b.n_guesses=4", "a.longest=2"])
    assert list(made) == ["plain", "a", "b"]
    assert (made["a"]().drafter.longest, made["b"]().drafter.n_guesses) == (2, 4)
    assert makers_of(["transformers:prompt-lookup"], ["transformers:prompt-lookup.n_guesses=3"])[
        "transformers:prompt-lookup"]().options["prompt_lookup_num_tokens"] == 3  # fmt: skip


@pytest.mark.parametrize(
    ("strategies", "options", "told"),
    [
        (["lokup"], [], "Did you mean 'lookup'"),
        (["lookup", "lookup"], [], "twice"),
        (["lookup"], ["lookup.n_gueses=3"], "n_guesses"),
        (["lookup"], ["lokup.n_guesses=3"], "Did you mean 'lookup'"),
        (["lookup"], ["n_guesses=3"], "STRATEGY.name=value"),
        (["a="], [], "label=name"),
    ],
)
def test_what_is_mistyped_is_told_before_anything_runs(strategies, options, told):
    with pytest.raises(ValueError, match=told):
        makers_of(strategies, options)


def test_a_baseline_that_fails_everywhere_stops_with_its_reason(lm):
    with pytest.raises(ValueError, match=r"plain failed on every prompt.*--against"):
        bench(lm, [[1] * 600], strategies=["plain"], settings=SHORT, passes=1)
    with pytest.raises(ValueError, match="no prompt"):
        bench(lm, [], strategies=["plain"])
    with pytest.raises(ValueError, match="clock"):
        bench(lm, PROMPTS, clock="sun")


def test_prompts_are_beginnings_cut_before_a_space():
    assert beginning("one two three", 9) == "one two"
    assert beginning("short", 9) == "short"
    assert beginning("äöü", 3) == "ä"
    assert len(prompts_of()) == 8
    assert all(len(text.encode()) <= 200 for text in prompts_of())


def test_the_verb_runs_on_the_carried_model_without_a_file(tmp_path, capsys):
    command = "bench --strategies plain,few=lookup --with few.n_guesses=2 --limit 2 --passes 1 --max-new-tokens 4"
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--clock", "cpu", "--json", "--out", str(tmp_path / "out"), "-q"])
    assert stop.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["facts"]["n_prompts"] == 2
    assert told["facts"]["clock"] == "cpu"
    assert (tmp_path / "out" / "report.html").is_file()


# --- other temperatures, other models -------------------------------------------------------------------------------


def test_when_drawing_other_texts_are_no_warning(lm):
    """Guesses judged by the point-mass rule draw what plain sampling draws with one seed; the library draws anew."""
    drawn = replace(SHORT, temperature=0.8)
    report = bench(lm, PROMPTS[:2], strategies=["plain", "lookup", "transformers:greedy"], settings=drawn, passes=1)
    texts = _rows(report, "text and passes")
    assert texts["lookup"]["same text"] == "2/2"
    assert not any("another text" in text for text in report.warnings)


def test_a_model_that_fills_gaps_is_compared_with_itself_and_has_no_judge():
    """Its strategy opens it; plain decoding cannot be the baseline, and next-token quality would mean nothing."""
    from small_vocabularies import byte_level
    from tokenry.decoding.diffusion_training import tiny_diffusion

    model = tiny_diffusion(byte_level(specials=("<|end|>", "<s>", "<pad>")), spread=0.25)
    strategies = ["diffusion", "two=diffusion", "lookup"]
    report = bench(model, ["the cat", "a dog"], strategies=strategies, options=["two.unmask=confidence:2"],
                   against="diffusion", settings=SHORT, passes=1)  # fmt: skip
    speed, texts = _rows(report, "speed"), _rows(report, "text and passes")
    assert texts["diffusion"]["forwards"] == 12
    assert texts["two"]["forwards"] == 6
    assert speed["two"]["per forward"] == pytest.approx(2 * 5 / 4)  # 5 tokens after the first in 2 passes, twice
    assert texts["two"]["bits/byte"] is None
    assert texts["lookup"]["failed"] == 2
    assert any("No judge of quality" in note for note in report.notes)
