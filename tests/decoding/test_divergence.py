"""Labels are what trying every token out by hand gives."""

import copy

import numpy as np
import pytest
import torch
from chain_pair import HARD, N_STATES, SAY, WORDED, A, B, chain_model, states, token
from routing_models import tiny_pair

from tokenry.decoding.divergence import KINDS, label_text, sentence_ends
from tokenry.decoding.verifiers import same_numbers, same_text


def continued(lm, ids: list[int], marks: set[int], bound: int, sentences: int = 1) -> list[int]:
    """From the last token of `ids` on, one full forward pass a token, until the sentence ends."""
    tokens, n_ends = [ids[-1]], 0
    while True:
        n_ends += tokens[-1] in marks
        if (sentences and n_ends >= sentences) or len(tokens) > bound or len(ids) >= lm.context:
            return tokens
        with torch.inference_mode():
            tokens.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
        ids = [*ids, tokens[-1]]


def greedy_text(lm, prompt: list[int], n: int) -> list[int]:
    return continued(lm, prompt, set(), n)[1:]


@pytest.mark.parametrize("response", ["its own", "another's"])
@pytest.mark.parametrize("sentences", [1, 2])
def test_labels_are_those_of_brute_force(response, sentences):
    small, large = tiny_pair()
    prompt, bound = [5, 9, 12], 9
    marks = frozenset(range(30, 45))
    text = greedy_text(large, prompt, 24) if response == "its own" else greedy_text(small, prompt, 24)
    seen = []

    def verifier(forks):
        seen.extend(forks)
        return same_text(forks)

    found = label_text(
        small, large, prompt, response=text, verifier=verifier, ends=marks, max_new_tokens=bound, sentences=sentences
    )
    assert len(seen) > 8
    for at in range(len(text)):
        before = [*prompt, *text[:at]]
        with torch.inference_mode():
            out = small.model(torch.tensor([before]), output_hidden_states=True)
            theirs = int(large.model(torch.tensor([before])).logits[0, -1].argmax())
        ours = int(out.logits[0, -1].argmax())
        assert (found.small[at], found.large[at]) == (ours, theirs)
        np.testing.assert_allclose(found.hidden_ND[at], out.hidden_states[-1][0, -1].numpy(), atol=1e-4)
        np.testing.assert_allclose(found.top_NK[at], out.logits[0, -1].sort(descending=True).values.numpy(), atol=1e-4)
        if ours == theirs:
            assert KINDS[found.kinds[at]] == "identical"
            assert at not in found.forks
            continue
        sides = [continued(large, [*before, first], marks, bound, sentences) for first in (ours, theirs)]
        spelt = [large.tokenizer.decode([*text[:at], *side]) for side in sides]
        fork = found.forks[at]
        assert spelt[0].endswith(fork.small_token + fork.small_rest)
        assert spelt[1].endswith(fork.large_token + fork.large_rest)
        same = " ".join(spelt[0].split()).casefold() == " ".join(spelt[1].split()).casefold()
        assert KINDS[found.kinds[at]] == ("neutral" if same else "divergent")


def test_labels_of_the_chain_are_the_planted_ones():
    """Neutral where the small model words a state in another way, divergent after a hard state, identical elsewhere."""
    small, large = chain_model("small"), chain_model("large")
    prompt = [token(0, SAY)]
    text = greedy_text(large, prompt, 2 * N_STATES)
    found = label_text(small, large, prompt, response=text, verifier=same_numbers)
    for at, before in enumerate([*prompt, *text[:-1]]):
        state, kind = divmod(before, 3)
        hard = kind in (A, B) and state in HARD
        expected = "divergent" if hard else "neutral" if kind == SAY and state in WORDED else "identical"
        assert KINDS[found.kinds[at]] == expected, (at, state, kind)
    assert states(text)[:3] == [1, 2, 3]


def test_a_model_beside_itself_has_no_mismatch():
    _, large = tiny_pair()
    text = greedy_text(large, [3, 4], 20)
    found = label_text(large, large, [3, 4], response=text, verifier=same_text)
    assert not found.kinds.any()
    assert not found.forks
    assert found.n_forwards == 2  # the prompt, and the text as a tree without branches


def test_all_branches_of_a_text_grow_together():
    """Forward passes: prompt, trunk, and one a layer of the longest continuation, however many mismatches there are."""
    small, large = tiny_pair()
    text = greedy_text(large, [5, 9, 12], 24)
    found = label_text(small, large, [5, 9, 12], response=text, verifier=same_text, ends=frozenset(), max_new_tokens=6)
    assert len(found.forks) > 8
    assert found.n_forwards <= 2 + 6
    assert all(fork.is_cut for fork in found.forks.values())


def test_sentence_ends_are_short_and_close_with_a_mark():
    vocab = chain_model("large").vocab
    assert sentence_ends(vocab) == {token(s, kind) for s in range(N_STATES) for kind in (A, B)}


def test_odd_input_is_refused():
    small, large = tiny_pair()
    with pytest.raises(ValueError, match="at least one token each"):
        label_text(small, large, [], response=[1], verifier=same_text)
    text = greedy_text(large, [5, 9, 12], 12)
    with pytest.raises(ValueError, match="one each"):
        label_text(small, large, [5, 9, 12], response=text, verifier=lambda forks: [])
    with pytest.raises(ValueError, match="verdict 7"):
        label_text(small, large, [5, 9, 12], response=text, verifier=lambda forks: [7] * len(forks))


def test_an_end_written_too_early_is_tried_out_and_shown():
    """The most harmful token of all: nothing follows it, and a verifier sees that."""
    small, large = tiny_pair()
    text = greedy_text(large, [5, 9, 12], 24)
    plain = label_text(small, large, [5, 9, 12], response=text, verifier=same_text, ends=frozenset())
    place = next(at for at in plain.forks if plain.small[at] not in text)
    model = copy.deepcopy(large.model)
    model.generation_config.eos_token_id = int(plain.small[place])
    ending = type(large)(model, large.tokenizer, large.vocab, "ending")
    found = label_text(small, ending, [5, 9, 12], response=text, verifier=same_text, ends=frozenset())
    fork = found.forks[place]
    assert fork.small_rest == ""
    assert fork.small_token.strip() == f"w{plain.small[place]}"
    assert fork.large_rest
    assert KINDS[found.kinds[place]] == "divergent"
