"""Masks agree with single answers, and a constraint in the law of the walk leaves speculative decoding exact."""

from collections import Counter

import numpy as np
import pytest
import torch
from exact_chance import drawn_without_replacement, outcomes, random_law

from small_vocabularies import byte_level
from tiny_causal_models import N_TOKENS, tiny
from tokenry.decoding.acceptance import RULES, walk
from tokenry.decoding.constraints import Checked, WordList
from tokenry.decoding.particles import masked
from tokenry.decoding.regexes import Regex
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import NoDrafter, generate
from tokenry.decoding.token_masks import DeadEndError, MaskedLogits, TokenView
from tokenry.decoding.trees import TokenTree, from_paths
from tokenry.models.session import Session


@pytest.fixture(scope="module")
def vocab():
    return byte_level(specials=("<|end|>", "<|start|>", "<|pad|>"))


@pytest.mark.parametrize("constraint", [Regex("(the|there)( [a-z]+)*é?"), WordList(["the house", "there", "thé"]),
                                        Regex("(?s).*")])  # fmt: skip
@pytest.mark.parametrize("before", [b"", b"the", b"there", b"th\xc3"])
def test_a_mask_is_what_every_single_token_answers(vocab, constraint, before):
    end = vocab.specials["eos"]
    view = TokenView(constraint, vocab, [end])
    state = constraint.advance(constraint.begin(), before)
    if state is None:
        pytest.skip("not a beginning of this constraint")
    mask_V = view.mask(state)
    single = TokenView(Checked(constraint.complete_ok, constraint.prefix_ok), vocab, [end])
    assert mask_V.tolist() == [single.allows(before, token) for token in range(vocab.size)]
    assert mask_V.tolist() == single.mask(before).tolist() == [view.allows(state, t) for t in range(vocab.size)]
    assert mask_V[end] == constraint.accepts(state)
    assert not mask_V[[vocab.specials["bos"], vocab.specials["pad"]]].any()
    assert not view.allows(state, vocab.size + 3), "rows that round a matrix up stand for no token"


def test_answers_are_counted_once(vocab):
    view = TokenView(Regex("the .*"), vocab)
    state = view.begin()
    for _ in range(3):
        view.allows(state, 70), view.mask(state)
    assert (view.n_checks, view.n_masks) == (1, 1)


# A toy constraint over the tokens 0..3: never two equal ones in a row, and not 3 first.
def _mask(text):
    return np.array([token != (text[-1] if text else 3) for token in range(4)])


class _NoRepeat:
    ends, n_checks, n_masks = (), 0, 0

    def begin(self):
        return ()

    def mask(self, text):
        return _mask(text)


@pytest.mark.parametrize("rule", ["multi-round", "point-mass"])
@pytest.mark.parametrize("seed", range(3))
def test_the_walk_under_a_mask_has_exactly_the_masked_law(rule, seed):
    """Guesses drawn from a law that knows no mask; every course of chance, in fractions: the first token has the masked
    law, and so has the second where one comes."""
    generator = np.random.default_rng(seed)
    proposal_V = random_law(generator, 4)
    after = {text: random_law(generator, 4) for text in [(), (0,), (1,), (2,), (3,)]}

    def law_of_text(text):
        law_V = np.where(_mask(text), after[text], after[text] * 0)
        return law_V / law_V.sum()

    def act(chance):
        guesses = drawn_without_replacement(proposal_V, 2, chance)
        tree = TokenTree([9, *guesses], [-1, 0, 0])
        found = walk(tree, lambda node: law_of_text(tuple(tree.text(node)[1:])), rule=RULES[rule], chance=chance,
                     laws={0: proposal_V} if rule == "multi-round" else None)  # fmt: skip
        return (*tuple(int(tree.tokens[node]) for node in found.path[1:]), found.bonus)

    first, pairs, longer = Counter(), Counter(), Counter()
    for tokens, chance in outcomes(act).items():
        first[tokens[0]] += chance
        if len(tokens) > 1:
            pairs[tokens] += chance
            longer[tokens[0]] += chance
    assert [first[token] for token in range(4)] == law_of_text(()).tolist()
    assert pairs
    for (a, b), chance in pairs.items():
        assert chance == longer[a] * law_of_text((a,))[b]


def test_the_exact_mask_of_a_particle_is_the_law_of_the_processor():
    law_V = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    processor = MaskedLogits(_NoRepeat(), n_prompt=2)
    logits = processor(torch.tensor([[5, 5]]), law_V.log()[None])[0]
    np.testing.assert_allclose(logits.softmax(-1), [1 / 6, 2 / 6, 3 / 6, 0])
    assert masked(_NoRepeat(), (), law_V.numpy(), chance=_Last()).weight == pytest.approx(0.6)
    assert processor(torch.tensor([[5]]), law_V[None]).tolist() == law_V[None].tolist(), "a draft's context is left"


class _Last:
    def draws(self, weights_V):
        return int(np.flatnonzero(weights_V)[-1])


class _Ids:
    """Token ids as a constraint sees them: a view whose state is the sum modulo 3; a token may not be 2 modulo 3."""

    ends, n_checks, n_masks = (), 0, 0

    def begin(self):
        return 0

    def advance(self, state, token):
        return (state + token) % 3 if self.mask(state)[token] else None

    def mask(self, state):
        return (np.arange(N_TOKENS) + state) % 3 != 2


class Guessing(NoDrafter):
    """The text that will come, with wrong and forbidden turns."""

    def __init__(self, truth, n_prompt):
        self.truth, self.n_prompt = truth, n_prompt

    def propose(self, context, *, budget, depth):
        done = len(context) - self.n_prompt
        right = self.truth[done : done + 4]
        return from_paths(context[-1], [[*right[:2], sum(right[:1]) + 1], right, [59, 58]])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_guesses_under_a_mask_leave_the_text_as_it_is(temperature):
    """Greedy and sampled: with guesses the same text as without, in fewer forward passes, and within the mask."""
    prompt, model = [5, 17, 3, 44], tiny("llama")
    asked = {"max_new_tokens": 24, "temperature": temperature, "seed": 3}
    settings = Settings(**asked, processors=MaskedLogits(_Ids(), len(prompt)))
    truth, plain = generate(Session.open(model), prompt, settings=settings)
    found, stats = generate(Session.open(model), prompt, Guessing(truth, len(prompt)), settings=settings)
    assert found == truth
    assert stats.n_forwards < plain.n_forwards
    assert MaskedLogits(_Ids(), 0).state(truth) is not None
    free, _ = generate(Session.open(model), prompt, settings=Settings(**asked))
    assert MaskedLogits(_Ids(), 0).state(free) is None, "the mask had something to forbid"


def test_a_library_text_under_the_processor_is_the_same():
    from transformers import LogitsProcessorList

    prompt, model = [5, 17, 3, 44], tiny("llama")
    ids = torch.tensor([prompt])
    asked = {"do_sample": False, "max_new_tokens": 16, "pad_token_id": 0}
    masking = LogitsProcessorList([MaskedLogits(_Ids(), 4)])
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), logits_processor=masking, **asked)
    settings = Settings(max_new_tokens=16, processors=MaskedLogits(_Ids(), 4))
    ours, _ = generate(Session.open(model), prompt, settings=settings)
    assert theirs[0, 4:].tolist() == ours


def test_a_mask_that_forbids_everything_is_a_dead_end(vocab):
    processor = MaskedLogits(TokenView(Checked(lambda data: False, lambda data: False), vocab), 0)
    with pytest.raises(DeadEndError, match="allows no token"):
        processor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, vocab.size))
