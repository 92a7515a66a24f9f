"""Inside the library's own generate a drafter changes the number of passes and nothing else."""

import pytest
import torch

from tiny_causal_models import KINDS, tiny
from tokenry.decoding.custom_generate import drafted
from tokenry.decoding.lookup import PromptLookup

PROMPT = torch.tensor([[5, 17, 3, 44, 5, 17, 3, 44, 21]])


def both(model, ids, **settings):
    """The library's text, ours, and what ours cost."""
    mine = drafted(PromptLookup())
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 40, "pad_token_id": 0, **settings}
    return model.generate(ids, **settings), model.generate(ids, custom_generate=mine, **settings), mine.stats


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_the_librarys(kind):
    theirs, ours, stats = both(tiny(kind), PROMPT, do_sample=False)
    assert torch.equal(theirs, ours)
    assert stats.n_forwards <= 40


def test_penalties_and_end_tokens_are_the_librarys():
    model = tiny()
    theirs, _, _ = both(model, PROMPT, do_sample=False, repetition_penalty=1.2)
    end = int(theirs[0, 20])
    theirs, ours, _ = both(model, PROMPT, do_sample=False, repetition_penalty=1.2, eos_token_id=end)
    assert torch.equal(theirs, ours)
    assert int(ours[0, -1]) == end


def test_rows_of_different_ends_are_padded_as_the_library_does():
    model = tiny()
    ids = torch.cat([PROMPT, PROMPT.flip(1)])
    full, _, _ = both(model, ids, do_sample=False)
    end = int(full[0, 15])
    theirs, ours, _ = both(model, ids, do_sample=False, eos_token_id=end)
    assert torch.equal(theirs, ours)


def test_a_seed_repeats_a_sampled_text():
    texts = []
    for _ in range(2):
        torch.manual_seed(4)
        texts.append(both(tiny(), PROMPT, do_sample=True, temperature=0.7, top_p=0.9)[1])
    assert torch.equal(*texts)


def test_padded_rows_are_refused():
    with pytest.raises(ValueError, match="padded"):
        both(tiny(), PROMPT, attention_mask=torch.tensor([[0] + [1] * 8]))
