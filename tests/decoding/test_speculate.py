"""The loop writes what the model alone would: greedy as the library's generate, sampled with the model's own law."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tiny_causal_models import KINDS, N_TOKENS, tiny
from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.lookup import PromptLookup
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Draft, NoDrafter, StepCost, generate
from tokenry.decoding.trees import TokenTree, chain, from_paths
from tokenry.models.session import Session

PROMPT = [5, 17, 3, 44, 5, 17, 3, 44, 21, 60, 5, 17]


def library(model, prompt, n_new, **settings) -> list[int]:
    """The library's own greedy (or otherwise set) generation."""
    ids = torch.tensor([prompt])
    full = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n_new,
                          pad_token_id=0, **settings)  # fmt: skip
    return full[0, len(prompt) :].tolist()


class Guessing(NoDrafter):
    """Random trees with the right continuation hidden in some of them."""

    def __init__(self, truth: list[int], n_prompt: int, seed: int = 0, right: float = 0.7) -> None:
        self.truth, self.n_prompt, self.right = truth, n_prompt, right
        self.generator = np.random.default_rng(seed)
        self.seen = []

    def propose(self, context, *, budget, depth):
        done = len(context) - self.n_prompt
        ahead = self.truth[done : done + int(self.generator.integers(1, 7))]
        paths = [self.generator.integers(0, N_TOKENS, int(self.generator.integers(1, 5))).tolist() for _ in range(3)]
        if self.generator.random() < self.right:
            cut = int(self.generator.integers(0, len(ahead) + 1))
            paths.insert(int(self.generator.integers(0, 4)), [*ahead[:cut], int(self.generator.integers(N_TOKENS))])
        return from_paths(context[-1], [path for path in paths if path])

    def update(self, step):
        self.seen.append(step)


class SampledTree(NoDrafter):
    """A tree drawn without replacement from a draft model, grown layer by layer in its own session: as DySpec will."""

    def __init__(self, model, counts=(2, 1), seed=0) -> None:
        self.model, self.counts, self.chance = model, counts, Seeded(seed)

    def begin(self, prompt, session, settings):
        self.session, self.settings = Session.open(self.model), settings

    def propose(self, context, *, budget, depth):
        if len(context) - 1 > len(self.session):
            self.session.extend(context[len(self.session) : -1])
        tokens, parents, laws, level, known = [context[-1]], [-1], {}, [0], 0
        for count in self.counts[:depth]:
            logits = self.session.verify(TokenTree(tokens, parents), known=known)
            known, below = len(tokens), []
            for node, logits_V in zip(level, logits, strict=True):
                laws[node] = self.settings.law(logits_V)
                rest = laws[node].clone()
                for _ in range(count):
                    if float(rest.sum()) <= 0:
                        break
                    token = self.chance.draws(rest)
                    rest[token] = 0
                    below.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
            level = below
        self.n_run = known
        return Draft(TokenTree(tokens, parents), laws)

    def update(self, step):
        if len(step.draft.tree) > 1:
            self.session.accept([node for node in step.path if node < self.n_run])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_greedy_text_is_that_of_the_library(kind, implementation):
    model = tiny(kind, implementation)
    truth = library(model, PROMPT, 40)
    for drafter in (None, PromptLookup(), Guessing(truth, len(PROMPT))):
        session = Session.open(model)
        new, stats = generate(session, PROMPT, drafter, settings=Settings(max_new_tokens=40))
        assert new == truth
        assert session.tokens == [*PROMPT, *new[:-1]]
        assert stats.n_forwards == stats.n_steps + 1 == session.n_forwards
        assert stats.n_new == 40 == 1 + stats.n_steps + stats.n_accepted
        assert sum(stats.accepted_at) == stats.n_accepted


def test_processors_see_the_path_of_each_node():
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    model = tiny()
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(3)])
    truth = library(model, PROMPT, 40, repetition_penalty=1.3, no_repeat_ngram_size=3)
    settings = Settings(max_new_tokens=40, processors=processors)
    assert truth != library(model, PROMPT, 40)
    for drafter in (None, Guessing(truth, len(PROMPT))):
        assert generate(Session.open(model), PROMPT, drafter, settings=settings)[0] == truth


@given(seed=st.integers(0, 10_000), n_new=st.integers(1, 30), budget=st.integers(0, 8))
@examples(max_examples=20)
def test_whatever_is_guessed_the_greedy_text_is_the_same(seed, n_new, budget):
    model = tiny("mistral")
    truth, _ = generate(Session.open(model), PROMPT, settings=Settings(max_new_tokens=n_new))
    drafter = Guessing(truth, len(PROMPT), seed=seed)
    assert (
        generate(Session.open(model), PROMPT, drafter, settings=Settings(max_new_tokens=n_new), sizing=budget)[0]
        == truth
    )


@pytest.mark.parametrize("seed", range(4))
def test_guesses_made_without_chance_leave_the_sampled_text_as_it_is(seed):
    """One random number a token, whatever was guessed: the same seed writes the same text."""
    model, settings = tiny("qwen3"), Settings(max_new_tokens=30, temperature=0.8, top_p=0.9, top_k=20, seed=seed)
    truth, _ = generate(Session.open(model), PROMPT, settings=settings)
    new, stats = generate(Session.open(model), PROMPT, Guessing(truth, len(PROMPT), seed), settings=settings)
    assert new == truth
    assert stats.n_accepted > 0


def test_text_sampled_through_a_drawn_tree_follows_the_models_law():
    """Three tokens, the last two through the tree, 100 texts: chi-square against the exact law, 99.99% point."""
    from scipy.stats import chi2

    model, draft = tiny("llama"), copy.deepcopy(tiny("llama"))
    with torch.no_grad():
        for number, weight in enumerate(draft.parameters()):
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    asked = Settings(max_new_tokens=3, temperature=3.0, top_k=2)
    prompt = Session.open(model)
    prompt.extend(PROMPT[:-1])
    law = {(): 1.0}
    for _ in range(3):
        after = {text: asked.law(prompt.fork().extend([PROMPT[-1], *text])) for text in law}
        law = {(*text, token): p * float(after[text][token])
               for text, p in law.items() for token in after[text].nonzero().flatten().tolist()}  # fmt: skip
    drafter, counts, n_accepted, n_texts = SampledTree(draft, counts=(2,), seed=11), Counter(), 0, 100
    for seed in range(n_texts):
        new, stats = generate(prompt.fork(), PROMPT, drafter, settings=replace(asked, seed=seed))
        counts[tuple(new)] += 1
        n_accepted += stats.n_accepted
    assert 20 < n_accepted < 180, "some guesses stand, some do not"
    assert set(counts) <= set(law)
    statistic = sum((counts[text] - n_texts * p) ** 2 / (n_texts * p) for text, p in law.items())
    assert statistic < chi2.ppf(0.9999, len(law) - 1)


def test_a_draft_that_is_the_model_itself_is_taken_whole():
    model = tiny()
    settings = Settings(max_new_tokens=31, temperature=1.0, seed=5)
    _, stats = generate(Session.open(model), PROMPT, SampledTree(model, counts=(1, 1), seed=1), settings=settings)
    assert stats.tokens_per_step == 3.0
    assert stats.accepted_per_step == 2.0
    assert stats.accepted_at == [10, 10] == stats.guessed_at


def test_end_tokens_and_stops_inside_an_accepted_run_cut_it():
    model = tiny()
    truth = library(model, PROMPT, 40)
    oracle = Guessing(truth, len(PROMPT), right=1.0)
    oracle.propose = lambda context, budget, depth: chain([context[-1], *truth[len(context) - len(PROMPT) :][:6]])
    end = truth[9]
    cut = truth.index(end) + 1
    session = Session.open(model)
    new, stats = generate(session, PROMPT, oracle, settings=Settings(max_new_tokens=40, ends=(end,)))
    assert (new, stats.ended_by) == (truth[:cut], "end")
    assert session.tokens == [*PROMPT, *new[:-1]]
    new, stats = generate(Session.open(model), PROMPT, oracle,
                          settings=Settings(max_new_tokens=40, stop=lambda ids: len(ids) == 11))  # fmt: skip
    assert (new, stats.ended_by) == (truth[:11], "stop")
    told = []
    generate(Session.open(model), PROMPT, oracle, settings=Settings(max_new_tokens=20), on_token=told.append)
    assert told == truth[:20]


def test_text_ends_where_the_context_does():
    model = tiny("gpt2")  # learnt positions: one token more would fail inside the model
    truth, stats = generate(Session.open(model), PROMPT, settings=Settings(max_new_tokens=500))
    assert (len(truth), stats.ended_by) == (128 - len(PROMPT) + 1, "context")
    guessed, _ = generate(
        Session.open(model), PROMPT, Guessing(truth, len(PROMPT)), settings=Settings(max_new_tokens=500)
    )
    assert guessed == truth


def test_a_drafter_learns_of_every_node():
    model = tiny()
    truth = library(model, PROMPT, 20)
    drafter = Guessing(truth, len(PROMPT))
    generate(Session.open(model), PROMPT, drafter, settings=Settings(max_new_tokens=20))
    assert [token for step in drafter.seen for token in step.tokens] == truth[1:]
    for step in drafter.seen:
        assert step.logits_NV.shape == (len(step.draft.tree), N_TOKENS)
        assert step.path[0] == 0


def test_a_beginning_that_is_cached_is_not_run_again():
    model = tiny()
    session = Session.open(model)
    session.extend(PROMPT[:8])
    new, _ = generate(session, PROMPT, settings=Settings(max_new_tokens=5))
    assert new == library(model, PROMPT, 5)
    session.rollback(4)  # a chat goes on from what is held
    again, _ = generate(session, [*PROMPT, 1, 2], settings=Settings(max_new_tokens=5))
    assert again == library(model, [*PROMPT, 1, 2], 5)


def test_sizing_is_asked_before_and_told_after_every_step():
    class Alternating:
        def __init__(self):
            self.told: list[StepCost] = []

        def budget(self):
            return 3 * (len(self.told) % 2)

        def observe(self, step):
            self.told.append(step)

    model, sizing = tiny(), Alternating()
    asked = []

    class Noting(PromptLookup):
        def propose(self, context, *, budget, depth):
            asked.append(budget)
            return super().propose(context, budget=budget, depth=depth)

    _, stats = generate(
        Session.open(model), PROMPT, Noting(longest=1), settings=Settings(max_new_tokens=20), sizing=sizing
    )
    assert set(asked) == {3}
    assert sum(step.n_tokens for step in sizing.told) == stats.n_new - 1
    assert all(step.n_nodes == 1 for step in sizing.told[::2])


@pytest.mark.parametrize(
    ("prompt", "drafter", "settings", "told"),
    [
        ([], None, {}, "empty prompt"),
        (list(range(60)) * 3, None, {}, "holds 128"),
        (PROMPT, "wrong root", {}, "newest token"),
        (PROMPT, "no law", {"temperature": 1.0, "rule": "multi-round"}, "point-mass"),
    ],
)
def test_what_cannot_be_continued_is_said(prompt, drafter, settings, told):
    made = NoDrafter()
    made.propose = lambda context, budget, depth: chain([context[-1] + (drafter == "wrong root"), 1, 2])
    rule = settings.pop("rule", None)
    with pytest.raises(ValueError, match=told):
        generate(Session.open(tiny()), prompt, made if drafter else None, settings=Settings(**settings), rule=rule)


def test_numbers_that_are_none_stop_the_text():
    model = copy.deepcopy(tiny())
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = torch.nan
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match="NaN"):
            generate(Session.open(model), PROMPT, settings=Settings(temperature=temperature))


def test_a_session_that_holds_another_text_is_refused():
    session = Session.open(tiny())
    session.extend([1, 2, 3])
    with pytest.raises(ValueError, match="no proper beginning"):
        generate(session, PROMPT)
