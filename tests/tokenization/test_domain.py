"""Groups of terms, files of terms, and selection by the tokens they save."""

import json
import re

import pytest
from trained_vocabularies import fiction, small

from tokenry.core.vocab import Vocab
from tokenry.tokenization import domain
from tokenry.tokenization.domain import frequent_phrases, group, groups, select_terms
from tokenry.tokenization.ensured import added_term


def test_groups_hold_what_the_paper_lists():
    assert len(group("years:1776-2049")) == 274
    assert len(group("numbers:10-999")) == 990
    assert len(group("whitespace")) == 29
    listed = group("enumerators")
    assert {"(a)", "(z)", "(1)", "(99)", "(ii)", "(ix)"} <= set(listed)
    assert len(listed) == 26 + 99 + 7  # (v) is a letter too
    assert {"<div", "</DIV>", " class="} <= set(group("html"))
    assert {"######", "**", "https://", "~~~~~~~~"} <= set(group("markdown"))
    assert {'":', "]]>"} <= set(group("json"))
    assert groups("years,numbers") == [*group("years"), *group("numbers")]
    assert all(len(term) > 1 for name in domain.GROUPS if name != "legal" for term in group(name))


def test_legal_abbreviations_come_from_the_reporters_database():
    pytest.importorskip("reporters_db")
    assert {"F.2d", "U.S.", "L.", "Rev."} <= set(group("legal"))


@pytest.mark.parametrize("name", ["html5", "years:2049-1776", "html:1-2", "numbers:1-900000", "years:x"])
def test_an_unknown_group_is_refused(name):
    with pytest.raises(ValueError, match=r"group|range"):
        group(name)


def with_added(vocab: Vocab, terms: list[str]) -> Vocab:
    held = vocab.spec["model"]["vocab"]
    new = [term for term in terms if term not in held]
    tokens = [added_term(term) | {"id": held.get(term, vocab.size + (new.index(term) if term in new else 0))}
              for term in terms]  # fmt: skip
    return Vocab.from_spec({**vocab.spec, "added_tokens": [*vocab.spec["added_tokens"], *tokens]}, vocab.config)


def n_tokens(vocab, texts):
    return sum(map(len, vocab.encode(texts)))


def test_picks_save_exactly_what_they_say_when_they_are_added():
    """The text is words and spaces, so every occurrence is whole tokens and nothing is estimated."""
    texts = [re.sub(r"[^A-Za-z ]", "", text) for text in fiction(60)]
    vocab = small(pattern="gpt2")
    picks = select_terms(frequent_phrases(texts), texts, vocab, budget=40)
    assert len(picks) == 40
    before = n_tokens(vocab, texts)
    # The library matches added tokens leftmost-longest, our picks best-first: they agree where picks do not overlap.
    apart = [
        pick for pick in picks if not any(set(pick.term.split()) & set(o.term.split()) for o in picks if o != pick)
    ]
    assert len(apart) > 5
    alone = select_terms([pick.term for pick in apart], texts, vocab, budget=40)
    assert n_tokens(with_added(vocab, [pick.term for pick in alone]), texts) == before - sum(p.saved for p in alone)
    assert n_tokens(with_added(vocab, [pick.term for pick in picks]), texts) < before


def slow_twin(candidates, texts, vocab, budget):
    """Greedy without a queue: everything is scored anew for every pick."""
    ends, places = domain._occurrences(candidates, texts, vocab, joins_space=False)
    picked = []
    while len(picked) < budget:
        gains = [(-domain._gain(ends, spans)[0], term) for term, spans in places.items()]
        best = min(gains, default=(0, ""))
        if best[0] >= 0:
            break
        for start, end, split in domain._gain(ends, places[best[1]])[1]:
            ends[start + 1 : end] = bytes(end - start - 1)
            ends[start + 1] |= split
        picked.append((best[1], -best[0]))
    return picked


def test_the_lazy_queue_picks_what_scoring_everything_anew_picks():
    texts, vocab = fiction(30), small()
    candidates = frequent_phrases(texts, min_count=2)[:300]
    picks = select_terms(candidates, texts, vocab, budget=25)
    assert [(pick.term, pick.saved) for pick in picks] == slow_twin(candidates, texts, vocab, 25)


def test_what_does_not_occur_or_saves_nothing_is_not_picked():
    vocab = small()
    assert select_terms(["certiorari", "the", ""], fiction(20), vocab, budget=5) == []


def test_selected_terms_save_more_on_other_text_than_the_most_frequent_phrases():
    """Effect: the budget goes to terms by what they save, not by how often they occur; measured on other text."""
    train_texts, other, vocab = fiction(150), fiction(300)[150:], small()
    phrases = frequent_phrases(train_texts, limit=3000)
    picked = [pick.term for pick in select_terms(phrases, train_texts, vocab, budget=40)]
    before = n_tokens(vocab, other)
    saved = [before - n_tokens(with_added(vocab, terms), other) for terms in (picked, phrases[:40])]
    # The most frequent words are single tokens already and, as added tokens, lose their space.
    assert saved[0] > 0
    assert saved[0] > 2 * saved[1]


def test_selection_reads_text_of_any_kind():
    texts = ["Übergröße Übergröße naïve", "\u0000 x", "", "日本語 日本語"]
    picks = select_terms(["Übergröße", "日本語"], texts, small(), budget=5, joins_space=True)
    assert {pick.term for pick in picks} == {"Übergröße", "日本語"}
    assert json.dumps([pick.saved for pick in picks])
