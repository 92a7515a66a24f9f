"""A healed prompt goes on as if it had not been cut: against enumeration, and against its baselines."""

import functools
import itertools
import json

import numpy as np
import pytest

from small_vocabularies import byte_level
from tokenry.data import demo_model
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_healing import exact_heal, heal, infill_ids
from tokenry.decoding.strategies import generate
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big dog. The dog wanted to play with her. Lily was very happy and they played together all day."
)


@functools.cache
def demo() -> LM:
    return LM.open(demo_model())


@functools.cache
def exact() -> ByteLM:
    return ByteLM(demo())


def test_shares_of_the_cover_are_probabilities_and_the_bytes_fit():
    state = exact().after("Lily wanted to p")
    cover = state.cover()
    assert sum(member.p for member in cover) == pytest.approx(1.0)
    assert all(a.p >= b.p for a, b in itertools.pairwise(cover))
    for member in cover:
        assert demo().vocab.decode_bytes(member.ids) == b" Lily wanted to p" + member.beyond


def test_covers_are_drawn_with_their_shares():
    """Chi-square over the four heaviest and the rest: 400 draws, 4 degrees of freedom, bound at 1e-4 is 23.5."""
    state, rng = exact().after("The dog w"), np.random.default_rng(0)
    shares = [member.p for member in state.cover(4)]
    names = [member.beyond for member in state.cover(4)]
    counts = np.zeros(5)
    for _ in range(400):
        drawn = state.sample_cover(rng).beyond
        counts[names.index(drawn) if drawn in names else 4] += 1
    expected = 400 * np.array([*shares, 1 - sum(shares)])
    kept = expected > 1
    assert ((counts - expected)[kept] ** 2 / expected[kept]).sum() < 23.5


def test_healing_beats_raw_continuation_and_trimming_on_prompts_cut_inside_words():
    """Mean log-loss of the true next 6 bytes over cuts inside words. The story is what the model was trained to write,
    so the truth is likely once the cut is healed, and impossible-looking raw: the margin is one nat on both models'
    mean; trimming one token heals only cuts inside the last token, so it may not be better."""
    every = ByteLM(demo(), target="all", beam=16)
    lm, losses = demo(), {"exact": [], "raw": [], "trim": []}
    for cut in (7, 14, 27, 34, 50, 74, 91, 104):
        prompt, truth = STORY[:cut], STORY[cut : cut + 6].encode()
        ids = [lm.bos, *lm.vocab.encode([prompt])[0].tolist()]
        last = lm.vocab.tokens[ids[-1]]
        state = exact().after(prompt)
        losses["exact"].append(state.log_p - state.advance(truth).log_p)
        losses["raw"].append(-every.start(ids, spaced=False).advance(truth).log_p)
        trimmed = every.start(ids[:-1], spaced=False).advance(last)
        losses["trim"].append(trimmed.log_p - trimmed.advance(truth).log_p)
    means = {name: np.mean(values) for name, values in losses.items()}
    assert means["exact"] < means["raw"] - 1.0
    assert means["exact"] <= means["trim"] + 1e-3


def test_the_strategy_heals_and_goes_on_as_plain_generation_does():
    prompt = "Once upon a ti"
    ids = exact_heal(demo(), prompt)
    assert demo().vocab.decode_bytes(ids) == b" Once upon a time"
    found = generate(demo(), prompt, strategy="bytes", max_new_tokens=8)
    plain = generate(demo(), ids, strategy="plain", max_new_tokens=7)
    assert [*found.prompt_ids, *found.ids] == [*ids, *plain.ids]
    assert len(found.ids) == 8
    assert found.text.startswith("Once upon a time,")
    assert found.notes["healed_bytes"] == 2
    drawn = generate(demo(), prompt, strategy="bytes", max_new_tokens=3, temperature=1.0, seed=1)
    assert drawn.text.startswith(prompt)


def test_special_tokens_in_a_prompt_stay_and_an_empty_prompt_starts_the_text():
    lm = demo()
    found = generate(lm, [lm.bos, *lm.vocab.encode(["The do"])[0].tolist()], strategy="bytes", max_new_tokens=3)
    assert found.prompt_ids[0] == lm.bos
    assert "The do" in found.text
    empty = generate(lm, "", strategy="bytes", max_new_tokens=4)
    assert empty.ids == generate(lm, "", strategy="plain", max_new_tokens=4).ids
    with pytest.raises(ValueError, match="need at least one byte"):
        heal(lm, "")


def test_a_prompt_no_tokens_spell_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="Take target 'all'"):
        heal(exact(), b"Once \xff")


@functools.cache
def infilling() -> LM:
    marks = ("<|end|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    return tiny_llama(byte_level("english", 340, marks), spread=0.25, width=32)


@pytest.mark.parametrize("order", ["spm", "psm"])
def test_a_gap_is_filled_in_both_orders(order):
    lm = infilling()
    before, text = infill_ids(lm, "the ca", " sat on", order=order)
    literals = [lm.vocab.literal(i) for i in before]
    assert "<fim_prefix>" in literals
    assert literals[-1] == "<fim_middle>"
    assert text == ("the ca" if order == "spm" else "")
    found = generate(lm, "the ca", strategy="bytes", suffix=" sat on", order=order, max_new_tokens=4)
    assert found.prompt_ids[: len(before)] == before
    assert len(found.ids) == 4
    if order == "spm":  # exactly the conditional law of bytes after the suffix
        state = ByteLM(lm).start(before).advance(b"the ca")
        assert state.cover(1)[0].ids == [*found.prompt_ids, *found.ids][: len(state.cover(1)[0].ids)]


def test_marks_and_orders_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="no marks to fill in"):
        infill_ids(demo(), "a", "b")
    with pytest.raises(ValueError, match="order='pms'"):
        infill_ids(infilling(), "a", "b", order="pms")


def test_generate_from_the_command_line(capsys):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as done:
        main(["generate", str(demo_model()), "--prompt", "Once upon a ti", "--strategy", "bytes", "--max-new-tokens",
              "4", "--json", "--quiet"])  # fmt: skip
    assert not done.value.code
    report = json.loads(capsys.readouterr().out)
    assert report["facts"]["strategy"] == "bytes"
