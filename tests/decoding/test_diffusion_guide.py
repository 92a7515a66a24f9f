"""The guide's consent against reading one token at a time, and its two limits: always and never."""

import copy

import pytest
import torch

from small_vocabularies import byte_level
from tiny_causal_models import full_logits, tiny
from tiny_diffusion_models import MASK, SPEC, both_ways
from tokenry.decoding.diffusion import diffuse
from tokenry.decoding.diffusion_cache import Freeze
from tokenry.decoding.diffusion_guide import Guided, among_top, as_likely_as, check_same_vocabulary
from tokenry.decoding.diffusion_unmasking import Counted, Proposal
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM

PROMPT = [5, 17, 3, 44, 21]
SETTINGS = Settings(max_new_tokens=16)


class Guide:
    """What of an LM a guide needs: the model, and how many ids it knows."""

    def __init__(self, kind="llama", size=MASK):
        self.model = tiny(kind)
        self.vocab = type("Vocab", (), {"size": size})


class _Opened(LM):
    def __init__(self, guide):
        self.model, self.vocab = guide.model, guide.vocab


def guided(consent=None, chunk=32, size=MASK) -> Guided:
    return Guided(_Opened(Guide(size=size)), consent or among_top(1), chunk)


def always(logits, tokens):
    return torch.ones_like(tokens, dtype=torch.bool)


def never(logits, tokens):
    return torch.zeros_like(tokens, dtype=torch.bool)


@pytest.mark.parametrize("freeze", [None, Freeze(), Freeze(unit="token")], ids=str)
def test_a_guide_that_always_consents_needs_one_pass_a_block(freeze):
    asked = {"settings": SETTINGS, "block": 4, "freeze": freeze}
    found = diffuse(both_ways(), [PROMPT], SPEC, unmask=guided(always), **asked)
    assert found.cost.n_forwards == 4
    assert found.uncovered_at == [[step for step in range(4) for _ in range(4)]]
    assert found.ids == diffuse(both_ways(), [PROMPT], SPEC, unmask=Counted(4), **asked).ids


@pytest.mark.parametrize("freeze", [None, Freeze(), Freeze(unit="token", refresh=2)], ids=str)
def test_a_guide_that_never_consents_leaves_one_token_a_step_from_the_left(freeze):
    asked = {"settings": SETTINGS, "block": 5, "freeze": freeze}
    found = diffuse(both_ways(), [PROMPT], SPEC, unmask=guided(never), **asked)
    left = diffuse(both_ways(), [PROMPT], SPEC, unmask=Counted(score="left"), **asked)
    assert found.cost.n_forwards == 16
    assert found.uncovered_at == [list(range(16))]
    assert found.ids == left.ids


@pytest.mark.parametrize("consent", [among_top(1), among_top(20), as_likely_as(0.001), as_likely_as(0.02)])
@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_the_run_is_what_reading_one_token_at_a_time_gives(consent, chunk):
    """The brute force: a whole pass of the guide before every token, no cache."""
    generator, guide = torch.Generator().manual_seed(1), guided(consent, chunk)
    for _ in range(5):
        canvas = torch.randint(0, MASK, (1, 12), generator=generator)
        first = int(torch.randint(0, 6, (1,), generator=generator))
        hidden = torch.arange(8)[None] >= first
        hidden[0, first + 1] = False
        draft = torch.randint(0, MASK, (1, 8), generator=generator)
        context = canvas[0, : 4 + first].tolist()
        logits = full_logits(tiny("llama"), context)[-1, :MASK]
        draft[0, first] = int(logits.argmax()) if first % 2 else draft[0, first]
        text, run = context, 0
        for at in range(first, 8):
            token = int(draft[0, at] if hidden[0, at] else canvas[0, 4 + at])
            row = full_logits(tiny("llama"), text)[-1:, :MASK]
            if hidden[0, at] and not bool(consent(row, torch.tensor([token]))):
                break
            text, run = [*text, token], run + 1
        laws = torch.full((1, 8, MASK), 1 / MASK, dtype=torch.float64)
        chosen = guide.choose(Proposal(canvas, 4, 8, hidden, draft, laws, 0, (0,), generator))
        expected = torch.zeros_like(hidden)
        expected[0, first : first + max(1, run)] = True
        assert torch.equal(chosen, expected & hidden)


def test_ids_the_guide_does_not_know_have_no_consent():
    found = diffuse(both_ways(), [PROMPT], SPEC, settings=SETTINGS, unmask=guided(always, size=20), block=8)
    ids = found.ids[0]
    for step in set(found.uncovered_at[0]):
        together = [ids[place] for place, at in enumerate(found.uncovered_at[0]) if at == step]
        assert len(together) == 1 or max(together) < 20
    assert max(ids) >= 20, "the text shows nothing; take another seed"


def test_rows_of_a_batch_have_each_their_own_run():
    prompts = [PROMPT, [7, 9]]
    asked = {"settings": SETTINGS, "block": 8, "freeze": Freeze()}
    consent = as_likely_as(0.002)
    together = diffuse(both_ways(), prompts, SPEC, unmask=guided(consent), **asked)
    alone = [diffuse(both_ways(), [prompt], SPEC, unmask=guided(consent), **asked).ids[0] for prompt in prompts]
    assert together.ids == alone
    assert together.uncovered_at[0] != together.uncovered_at[1]


def test_a_guide_may_serve_one_text_after_another():
    guide = guided(as_likely_as(0.002))
    for prompt in (PROMPT, PROMPT[:3], [9, *PROMPT]):
        fresh = diffuse(both_ways(), [prompt], SPEC, settings=SETTINGS, unmask=guided(as_likely_as(0.002)))
        assert diffuse(both_ways(), [prompt], SPEC, settings=SETTINGS, unmask=guide).ids == fresh.ids


def test_another_vocabulary_is_refused_with_the_way_out():
    vocab = byte_level(specials=("<|end|>", "<s>", "<pad>"))
    check_same_vocabulary(vocab, vocab)
    other = copy.copy(vocab)
    object.__setattr__(other, "tokens", (*vocab.tokens[:200], b"zz", *vocab.tokens[201:]))
    with pytest.raises(ValueError, match=r"id 200 .*tokenry transplant"):
        check_same_vocabulary(vocab, other)
    with pytest.raises(ValueError, match="id "):
        check_same_vocabulary(vocab, byte_level("german", specials=("<|end|>", "<s>", "<pad>")))


@pytest.mark.parametrize("make", [lambda: among_top(0), lambda: as_likely_as(2.0), lambda: guided(chunk=0)])
def test_odd_numbers_are_refused(make):
    with pytest.raises(ValueError, match="need"):
        make()
