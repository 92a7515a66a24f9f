"""The suffix automaton finds what a slow scan finds, and its guesses spare forward passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_causal_models import tiny
from tokenry.core.tables import write
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_text
from tokenry.decoding.custom_generate import drafted
from tokenry.decoding.recycling import Recycling
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import generate
from tokenry.decoding.strategies import make
from tokenry.decoding.suffix_automaton import SuffixAutomaton, SuffixMatch
from tokenry.models.session import Session


def by_scanning(text: list[int]) -> tuple[int, int]:
    """Longest suffix that ends earlier too, and the newest such end."""
    for size in range(len(text) - 1, 0, -1):
        for end in range(len(text) - 1, size - 1, -1):
            if text[end - size : end] == text[-size:]:
                return size, end
    return 0, 0


@given(text=st.lists(st.integers(0, 2), max_size=40))
def test_the_longest_suffix_is_the_one_a_scan_finds(text):
    automaton = SuffixAutomaton()
    for stop, token in enumerate(text, start=1):
        automaton.append(token)
        assert automaton.longest() == by_scanning(text[:stop])


@given(
    documents=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4),
    text=st.lists(st.integers(0, 3), max_size=20),
)
def test_a_corpus_is_matched_by_its_longest_substring(documents, text):
    drafter = SuffixMatch(corpus=documents)
    drafter.begin(text, None, None)
    for stop in range(1, len(text) + 1):
        drafter._read(text[:stop])
        held = [
            size for size in range(stop + 1) for document in documents if _stands(text[stop - size : stop], document)
        ]
        assert drafter._length == max(held)
        end, size = drafter._corpus.end(drafter._state), drafter._length
        assert drafter._corpus.text[end - size : end] == text[stop - size : stop]


def _stands(part: list[int], document: list[int]) -> bool:
    return any(document[i : i + len(part)] == part for i in range(len(document) - len(part) + 1))


def test_a_text_of_one_token_costs_no_more_than_it_is_long():
    automaton = SuffixAutomaton([7] * 5000)
    length, end = automaton.longest()
    assert length == 4999
    assert automaton.text[end] == 7


def guesses(context, **options) -> list[int] | None:
    drafter = SuffixMatch(**options)
    drafter.begin(context, None, None)
    tree = drafter.propose(context, budget=100, depth=100)
    return None if tree is None else tree.tokens[1:].tolist()


def test_what_followed_is_copied_on():
    assert guesses([1, 2, 3, 9, 1, 2, 3], n_guesses=6) == [9, 1, 2, 3, 9, 1]
    assert guesses([1, 2, 3]) is None
    assert guesses([1, 2, 1], shortest=2) is None


def test_the_corpus_is_asked_when_it_matches_longer_and_its_documents_stay_apart():
    corpus = [[5, 6, 7, 8], [9, 9]]
    assert guesses([5, 6, 7], corpus=corpus, bias=0) == [8]
    assert guesses([5, 6, 7], corpus=corpus, bias=3) is None
    assert guesses([7, 1, 7], corpus=corpus, bias=2) == [1, 7] * 8
    assert guesses([6, 7, 8], corpus=corpus, bias=0) is None, "nothing follows the end of a document"


def test_a_short_match_leaves_it_to_the_fallback():
    other = Recycling()
    drafter = SuffixMatch(shortest=4, fallback=other)
    new, _ = generate(Session.open(tiny()), [3, 1, 4, 1, 5], drafter, settings=Settings(max_new_tokens=30))
    assert new == generate(Session.open(tiny()), [3, 1, 4, 1, 5], settings=Settings(max_new_tokens=30))[0]
    assert (other.table_VK[:, 0] >= 0).any()
    assert drafter.notes["from fallback"] > 0


def test_a_text_that_repeats_is_written_in_a_third_of_the_passes_a_plain_one_needs():
    """Once the text is in its cycle each pass adds 17 tokens; the way there is at most a quarter of 150 tokens."""
    settings = Settings(max_new_tokens=150)
    model, prompt = tiny("gpt-neox"), [3, 14, 15]
    truth, plain = generate(Session.open(model), prompt, settings=settings)
    new, stats = generate(Session.open(model), prompt, SuffixMatch(), settings=settings)
    assert new == truth
    assert stats.n_forwards < plain.n_forwards / 2


def test_inside_the_librarys_generate_the_text_is_the_librarys():
    import torch

    ids = torch.tensor([[5, 17, 3, 44, 5, 17, 3]])
    asked = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 40, "pad_token_id": 0}
    mine = drafted(SuffixMatch())
    assert torch.equal(tiny().generate(ids, custom_generate=mine, **asked), tiny().generate(ids, **asked))


def test_a_file_of_texts_is_a_corpus(tmp_path):
    import pyarrow as pa

    text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    write(pa.table({"text": [text]}), tmp_path / "corpus.jsonl")
    run = make("suffix", corpus=str(tmp_path / "corpus.jsonl"), bias=0, size=8)
    from tokenry.models.lm import LM

    lm = LM.open(demo_model())
    found = generate_text(lm, text[:60], strategy=run, max_new_tokens=20)
    assert found.text == lm.generate(text[:60], max_new_tokens=20)
    assert found.notes["from corpus"] > 0


@pytest.mark.parametrize("wrong", [{"n_guesses": 0}, {"shortest": 0}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        SuffixMatch(**wrong)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_text_does_not_depend_on_the_guesses(seed):
    settings = Settings(max_new_tokens=30, temperature=0.7, seed=seed)
    prompt = np.random.default_rng(seed).integers(0, 5, 20).tolist()
    texts = [generate(Session.open(tiny()), prompt, drafter, settings=settings)[0] for drafter in (None, SuffixMatch())]
    assert texts[0] == texts[1]
