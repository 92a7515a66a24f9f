"""Constrained text: against the enumerated truth, through every door, and where it cannot be."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.decoding import generate
from tokenry.decoding.constrained import Constrained, constrained, sample, view_of
from tokenry.decoding.constraints import Checked, WordList
from tokenry.decoding.regexes import Regex
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import settings_for
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama

TEXTS = "ab*|b[ab]{3}"
"""Masking distorts it: after b, three more letters must come, however unlikely."""


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model())


@pytest.fixture(scope="module")
def small() -> LM:
    """Three tokens (a, b, ab) and an end: every text can be enumerated."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokenizer.add_special_tokens(["<|end|>"])
    vocab = Vocab.from_spec(json.loads(tokenizer.to_str()), {"eos_token": "<|end|>"}, "small")
    return tiny_llama(vocab, width=32, spread=0.45, seed=2)


def enumerated(lm, prompt, most_tokens, constraint, end) -> tuple[dict, dict]:
    """p(x) of every accepted text, and the law of masking one token at a time, by full forward passes."""
    truth, masked, level = {}, {}, {(): (1.0, 1.0)}
    for place in range(most_tokens):
        following = {}
        for text, (p, q) in level.items():
            with torch.inference_mode():
                law_V = lm.model(torch.tensor([[*prompt, *text]])).logits[0, -1].double().softmax(-1).numpy()
            data = lm.vocab.decode_bytes(text)
            ok = [constraint.complete_ok(data) if t == end else place < most_tokens - 1 and
                  constraint.prefix_ok(data + lm.vocab.tokens[t]) for t in range(lm.vocab.size)]  # fmt: skip
            mass = law_V[ok].sum()
            for token in np.flatnonzero(ok).tolist():
                found = (p * law_V[token], q * law_V[token] / mass)
                if token == end:
                    truth[(*text, token)], masked[(*text, token)] = found
                else:
                    following[(*text, token)] = found
        level = following
    return truth, masked


def _kl(truth: dict, other: dict) -> float:
    """KL in nats of the normalised truth from another law; a text the other lacks costs as half a count of 2,000."""
    total = sum(truth.values())
    return sum(p / total * math.log(p / total / max(other.get(text, 0), 1 / 4000)) for text, p in truth.items())


def test_particles_find_the_law_that_masking_misses(small):
    """Effect: KL to the enumerated truth. 30 runs of 64 particles; masking's own KL is exact, no sampling in it.

    1,920 weighted texts over K texts err by about (K - 1) / (2 n), n the effective number: with K = 22 and n of some
    hundreds below .05; masking misses by 1.6.
    """
    prompt, constraint, settings = [1, 0], Regex(TEXTS), Settings(max_new_tokens=6, temperature=1.0)
    end = small.vocab.specials["eos"]
    truth, masked = enumerated(small, prompt, 6, constraint, end)
    sums, evidence = Counter(), []
    for seed in range(30):
        asked = Settings(max_new_tokens=6, temperature=1.0, seed=seed)
        found = sample(small, prompt, constraint, particles=64, settings=asked)
        share = math.exp(found.log_evidence)
        evidence.append(share)
        for ids, weight in zip(found.ids, found.weights_M, strict=True):
            sums[tuple(ids)] += weight * share / 64 / 30
    total = sum(sums.values())
    drawn = {text: weight / total for text, weight in sums.items()}
    assert _kl(truth, masked) > 1
    assert _kl(truth, drawn) < 0.05
    assert abs(np.mean(evidence) - sum(truth.values())) < 4 * np.std(evidence) / np.sqrt(30)
    one = Counter(tuple(sample(small, prompt, constraint, particles=1, sampler="mask", settings=Settings(
        max_new_tokens=6, temperature=1.0, seed=seed)).ids[0]) for seed in range(60))  # fmt: skip
    assert set(one) - set(masked) <= {text for text in one if text[-1] != end}, "masking's own law, dead ends aside"
    assert settings_for(small, settings).ends == (end,)


def test_rejection_and_the_whole_mask_agree_on_the_evidence(small):
    prompt, constraint = [1, 0], Regex(TEXTS)
    truth, _ = enumerated(small, prompt, 6, constraint, small.vocab.specials["eos"])
    for sampler, particles in (("reject", 8), ("mask", 16)):
        found = [sample(small, prompt, constraint, sampler=sampler, particles=particles, settings=Settings(
            max_new_tokens=6, seed=seed)) for seed in range(12)]  # fmt: skip
        shares = [math.exp(one.log_evidence) for one in found]
        assert abs(np.mean(shares) - sum(truth.values())) < 4.5 * np.std(shares, ddof=1) / np.sqrt(12)
        assert all(tuple(ids) in truth for one in found for ids, w in zip(one.ids, one.weights_M, strict=True) if w)


PROMPT = "Once upon a time, there was a"
PATTERN = r" (little|big) (dog|cat|bird)\. [A-Z][a-z]+ was [a-z]+\."


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "awrs"},
        {"sampler": "awrs", "particles": 1},
        {"sampler": "mask", "particles": 1},
        {"sampler": "mask", "particles": 1, "drafter": "lookup"},
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_way_writes_what_was_asked(lm, options, temperature):
    strategy = constrained(regex=PATTERN, **options)
    found = generate(lm, PROMPT, strategy=strategy, max_new_tokens=40, temperature=temperature, seed=1)
    assert found.stats.ended_by == "end"
    assert re.fullmatch(PATTERN, found.text.removeprefix(PROMPT))
    assert found.notes["finished"] >= 1
    assert found.stats.n_new == len(found.ids)


def test_greedy_ways_agree_token_by_token(lm):
    """At temperature 0 one particle, by mask, by few checks and through the tree, writes the same text."""
    ways = [{"sampler": "mask"}, {"sampler": "awrs"}, {"sampler": "mask", "drafter": "lookup"}]
    found = [generate(lm, PROMPT, strategy=constrained(regex=PATTERN, particles=1, **way), max_new_tokens=40)
             for way in ways]  # fmt: skip
    assert found[0].ids == found[1].ids == found[2].ids
    assert found[1].notes["masks"] == 0
    assert found[1].notes["checks"] < 0.1 * lm.vocab.size * len(found[1].ids)


def test_the_space_of_the_tokenizer_is_no_part_of_a_text(lm):
    for regex in ("Once upon a time", "The (cat|dog)"):
        found = generate(lm, "", strategy=constrained(regex=regex), max_new_tokens=8)
        assert re.fullmatch(regex, found.text)
    view = view_of(Regex("Once"), lm, prompt=[lm.start])
    assert view.mask(view.begin()).tolist() == [view.allows(view.begin(), token) for token in range(lm.vocab.size)]


@pytest.mark.parametrize("options", [{}, {"sampler": "mask", "particles": 1}, {"sampler": "reject", "most_rejects": 9},
                                     {"sampler": "mask", "particles": 1, "drafter": "lookup"}], ids=str)  # fmt: skip
def test_a_constraint_that_cannot_be_met_gives_a_dead_end(lm, options):
    """It promises a beginning that has no end: nothing loops, the result says so."""
    impossible = Checked(lambda data: False, lambda data: b" zzzz".startswith(data) or data == b" z")
    with pytest.warns(UserWarning, match="dead end: no text was found"):
        found = generate(lm, PROMPT, strategy=constrained(check=impossible, **options), max_new_tokens=500)
    assert found.stats.ended_by == "dead end"
    assert found.notes["finished"] == 0
    assert len(found.ids) <= 5


def test_a_text_that_does_not_fit_is_told_apart(lm):
    with pytest.warns(UserWarning, match="length: no text was found"):
        found = generate(lm, PROMPT, strategy=constrained(regex="[a-z ]{200}"), max_new_tokens=5)
    assert found.stats.ended_by == "length"
    assert found.notes["log evidence"] == -math.inf


@pytest.mark.parametrize("drafter", [None, "lookup"])
def test_a_model_without_an_end_token_stops_where_nothing_can_follow(lm, drafter, monkeypatch):
    monkeypatch.setattr("tokenry.decoding.strategies.end_ids", lambda lm: ())
    strategy = constrained(words=[" little girl", " big dog"], sampler="mask", particles=1, drafter=drafter)
    found = generate(lm, PROMPT, strategy=strategy, max_new_tokens=30)
    assert found.stats.ended_by == "complete"
    assert found.text.removeprefix(PROMPT) in (" little girl", " big dog")


def test_the_context_is_the_limit_where_it_is_nearer(small):
    prompt = [0, 1] * ((small.context - 4) // 2)
    found = sample(small, prompt, Regex("[ab]*"), particles=2, settings=Settings(max_new_tokens=50))
    assert all(len(ids) <= 5 for ids in found.ids)
    with pytest.raises(ValueError, match="need at least one, and room"):
        sample(small, [0, 1] * (small.context // 2 + 1), Regex("a"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sampler": "awsr"}, "Did you mean 'awrs'"),
        ({"particles": 0}, "at least 1 particle"),
        ({"drafter": "lookup"}, "sampler=mask and"),
        ({"sampler": "mask", "particles": 1, "drafter": "constrained"}, "no constraint"),
    ],
)
def test_what_does_not_go_together_is_said(options, told):
    with pytest.raises(ValueError, match=told):
        constrained(regex="a", **options)


def test_a_strategy_that_does_not_guess_is_no_drafter():
    with pytest.raises(ValueError, match="does not guess"):
        Constrained(WordList(["a"]), "mask", 1, drafter=lambda lm, prompt, settings: None)


def test_the_verb_takes_constraints(capsys, tmp_path):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["generate", str(demo_model()), "--prompt", PROMPT, "--strategy", "constrained", "--with",
              f"regex={PATTERN}", "--with", "particles=4", "--with", "sampler=awrs", "--max-new-tokens", "40",
              "--json", "--quiet", "--out", str(tmp_path / "report")])  # fmt: skip
    assert stop.value.code == 0
    row = {
        key: values[0]
        for key, values in json.loads(capsys.readouterr().out)["tables"]["continuations"]["columns"].items()
    }
    assert re.fullmatch(PATTERN, row["text"].removeprefix(PROMPT))
    assert row["ended by"] == "end"
    assert -60 < row["log evidence"] < 0
    assert row["checks per token"] < 30
    assert (tmp_path / "report" / "report.md").is_file()


def test_numbers_that_are_none_stop_the_text(small):
    import copy

    broken = LM(copy.deepcopy(small.model), small.tokenizer, small.vocab, small.name)
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[:] = torch.nan
    for sampler in ("awrs", "mask", "reject"):
        with pytest.raises(ValueError, match="NaN"):
            sample(broken, [1], Regex("a"), sampler=sampler)


def test_the_peer_library_finds_the_same_evidence(small):
    """genlm-control's AWRS particles on the same model and the same function: both within 4.5 errors of the truth."""
    control = pytest.importorskip("genlm.control", reason="compares with genlm-control")
    import asyncio

    prompt, constraint, end = [1, 0], Regex(TEXTS), small.vocab.specials["eos"]
    truth = sum(enumerated(small, prompt, 6, constraint, end)[0].values())

    class Judge(control.Potential):
        async def complete(self, context):
            return 0.0 if constraint.complete_ok(bytes(context)) else -np.inf

        async def prefix(self, context):
            return 0.0 if constraint.prefix_ok(bytes(context)) else -np.inf

    class Same(control.Potential):
        """The same model, over the bytes of its tokens."""

        def law(self, context):
            ids = [small.vocab.index[data][0] for data in context]
            with torch.inference_mode():
                return small.model(torch.tensor([[*prompt, *ids]])).logits[0].double().log_softmax(-1).numpy()

        async def prefix(self, context):
            laws_TV = self.law(context)
            return sum(laws_TV[1 + i, small.vocab.index[data][0]] for i, data in enumerate(context))

        async def complete(self, context):
            return await self.prefix(context) + self.law(context)[-1, end]

        async def logw_next(self, context):
            law_V = self.law(context)[-1]
            return self.make_lazy_weights(law_V[[small.vocab.index[data][0] for data in self.vocab] + [end]])

    async def theirs(n_runs):
        llm = Same([b"a", b"b", b"ab"])
        judge = Judge(list(range(256))).coerce(llm, f=b"".join)
        runs = [await control.SMC(control.AWRS(llm, judge, seed=seed))(n_particles=16, ess_threshold=0.5, max_tokens=6)
                for seed in range(n_runs)]  # fmt: skip
        return [math.exp(run.log_ml) for run in runs]

    ours = [math.exp(sample(small, prompt, constraint, particles=16, settings=Settings(
        max_new_tokens=6, seed=seed)).log_evidence) for seed in range(20)]  # fmt: skip
    for shares in (ours, asyncio.run(theirs(20))):
        assert abs(np.mean(shares) - truth) < 4.5 * np.std(shares, ddof=1) / np.sqrt(20)
