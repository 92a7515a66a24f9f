"""A draft model stays in step with the text, and one with other tokens is refused with the way out."""

import copy
from types import SimpleNamespace

import pytest
import torch

from tiny_causal_models import full_logits, tiny
from tokenry.data import demo_model
from tokenry.decoding.draft_models import DraftModel, check_same_tokens, opened
from tokenry.decoding.expansion import Growth
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM
from tokenry.models.session import Session

PROMPT = [5, 17, 3, 44, 5, 17]


def test_laws_after_nodes_are_those_of_a_full_pass_and_the_cache_follows():
    model = tiny("qwen3")
    draft = DraftModel(model)
    draft.begin(Session.open(tiny()), Settings(temperature=0.7, top_k=20))
    assert draft.start(PROMPT, 9) == 9
    growth = Growth([PROMPT[-1]])
    laws = draft.laws_after(growth, [0])
    one, other = growth.add(0, 8, 0.5, value=0.5), growth.add(0, 9, 0.5, value=0.5)
    below = growth.add(one, 10, 0.5, value=0.5)
    laws += draft.laws_after(growth, [other])
    laws += draft.laws_after(growth, [one])  # asked in another order than made
    laws += draft.laws_after(growth, [below])
    texts = [[], [9], [8], [8, 10]]
    for law, text in zip(laws, texts, strict=True):
        expected = Settings(temperature=0.7, top_k=20).law(full_logits(model, [*PROMPT, *text])[-1])
        torch.testing.assert_close(torch.from_numpy(law), expected, atol=1e-5, rtol=1e-4)
    draft.settle([0, one])
    assert draft._session.tokens == [*PROMPT, 8]
    context = [*PROMPT, 8, 11, 12]  # 11 was not run by the draft: it goes in front of the next tree
    n_calls = draft.n_calls
    draft.start(context, 9)
    growth = Growth([12])
    (law,) = draft.laws_after(growth, [0])
    assert draft.n_calls == n_calls + 1
    expected = Settings(temperature=0.7, top_k=20).law(full_logits(model, context)[-1])
    torch.testing.assert_close(torch.from_numpy(law), expected, atol=1e-5, rtol=1e-4)
    draft.settle([0])
    assert draft._session.tokens == context


def test_a_full_draft_context_means_no_guess():
    model = tiny("gpt2")
    draft = DraftModel(model)
    draft.begin(Session.open(tiny()), Settings())
    assert draft.start([1] * 127, 9) == 1
    assert draft.start([1] * 128, 9) == 0


def test_processors_see_the_text_of_a_node():
    seen = []

    def processor(ids, logits):
        seen.append(ids[0].tolist())
        return logits

    draft = DraftModel(tiny())
    draft.begin(Session.open(tiny()), Settings(temperature=1.0, processors=processor))
    draft.start(PROMPT, 9)
    growth = Growth([PROMPT[-1]])
    draft.laws_after(growth, [0])
    draft.laws_after(growth, [growth.add(0, 8, 0.5, value=0.5)])
    assert seen == [PROMPT, [*PROMPT, 8]]


def test_another_vocabulary_is_refused_with_the_way_out():
    lm = LM.open(demo_model())
    tokens = list(lm.vocab.tokens)
    longer, other = (SimpleNamespace(name="DRAFT", vocab=SimpleNamespace(tokens=changed))
                     for changed in ([*tokens, b"more"], [*tokens[:300], b"other", *tokens[301:]]))  # fmt: skip
    with pytest.raises(ValueError, match=r"a draft of \d+ tokens.*tokenry transplant DRAFT --donor"):
        check_same_tokens(lm, longer)
    with pytest.raises(ValueError, match=r"token 300 is .* to the target and b'other'"):
        check_same_tokens(lm, other)
    check_same_tokens(lm, lm)
    with pytest.raises(ValueError, match=r"61 token ids for a target.*tokenry transplant"):
        DraftModel(tiny()).begin(Session.open(lm), Settings())
    with pytest.raises(ValueError, match="draft=FOLDER"):
        opened(None)


def test_rows_that_only_round_the_matrix_up_do_not_matter():
    small = tiny()
    wide = copy.deepcopy(small)
    wide.resize_token_embeddings(64)
    for target, draft in ((small, wide), (wide, small)):
        model = DraftModel(draft)
        model.begin(Session.open(target), Settings(n_tokens=61))
        model.start(PROMPT, 4)
        assert model.laws_after(Growth([PROMPT[-1]]), [0])[0].shape == (61,)
