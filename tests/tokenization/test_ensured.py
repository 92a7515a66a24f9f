"""Guaranteed terms: one token alone and as a whole pre-token, whatever way they are guaranteed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from trained_vocabularies import fiction

from tokenry.core.vocab import check_vocab
from tokenry.tokenization import plans
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.ensured import HOWS, Ensured, Terms, forms, settle
from tokenry.tokenization.train import plan_of, train
from tokenry.tokenization.training import Limits, assemble, learn

# The library's Unigram trainer takes a second or two on a busy core.
UNIGRAM = pytest.param({"kind": "unigram"}, marks=pytest.mark.slow)
TERMS = ("certiorari", "habeas", "Übergröße", "affidavit", "fi", "whale")


def learned(style="byte-level", pattern="gpt2"):
    recipe = Recipe(size=900, style=style, pattern=pattern)
    return learn(plan_of(recipe), fiction(100), size=900, limits=Limits(), reading={}, required="Üßö")


LEARNED = {}


def once(style):
    if style not in LEARNED:
        LEARNED[style] = learned(style, "gpt2" if style == "byte-level" else "words")
    return LEARNED[style]


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
@given(words=st.lists(st.text("abcehrtÜß", min_size=1, max_size=9), min_size=1, max_size=8))
@settings(max_examples=15)
def test_every_term_is_one_token_alone_and_as_a_whole_word(style, words):
    base = once(style)
    terms = Terms(tuple(words))
    vocab, ensured = assemble(base, size=900, terms=forms(terms, base.plan.spec))
    assert not ensured.missed
    assert vocab.size == 900
    for word in terms.items:
        assert len(vocab.encode([word])[0]) == 1
        inside = [vocab.tokens[i] for i in vocab.encode([f"so {word} it"])[0]]
        assert f" {word}".encode() in inside
    for text in [*words, "a whale ", "".join(words), *fiction(3)]:
        assert vocab.decode(vocab.encode([text])[0]) == text


def test_learned_merges_stay_those_of_plain_training_and_their_order():
    plain = train(fiction(100), size=900, pattern="gpt2")
    made = compose(fiction(100), Recipe(size=900, pattern="gpt2", terms=Terms(TERMS)))
    n = 900 - made.terms.n_new - 4 - 256
    assert made.vocab.spec["model"]["merges"][:n] == plain.spec["model"]["merges"][:n]
    assert made.vocab.size == 900
    assert sorted(made.vocab.spec["model"]["vocab"].values()) == list(range(900))
    check_vocab(made.vocab, fiction(10))


@pytest.mark.parametrize("how", HOWS)
def test_no_terms_are_plain_training_bit_for_bit(how):
    plain = train(fiction(50), size=500)
    assert compose(fiction(50), Recipe(size=500, terms=Terms((), how))).vocab.fingerprint == plain.fingerprint


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("options", [{"pattern": "gpt2"}, {"style": "metaspace"}, UNIGRAM,
                                     {"kind": "wordpiece"}])  # fmt: skip
def test_each_way_and_each_trainer_keeps_the_guarantee_and_the_size(how, options, recwarn):
    terms = Terms(("certiorari", "habeas", "whale", "New York"), how)
    made = compose(fiction(100), Recipe(size=700, terms=terms, **options))
    assert made.vocab.size == 700
    kept = [row.text for row in made.terms.rows if row.outcome != "not ensured"]
    assert ("New York" in kept) == (how in ("added", "both"))
    for text in kept:
        assert len(made.vocab.encode([text])[0]) == 1
    assert len(recwarn) == (how not in ("added", "both"))


def test_our_replay_of_merges_is_the_librarys():
    base = once("byte-level")
    vocab = assemble(base, size=900)[0]
    library = Tokenizer.from_str(json.dumps(vocab.spec))
    merges = base.merges
    for word in ["Ġwhaling", "Ġcertiorari", "unbelievable", "Ã¼ber", "Ġthe", "aaaaaaa", "Ġmorning"]:
        ours = merges.encode(merges.spelled(word), merges.n_rows(len(base.births)), {})
        assert ours == [token.value for token in library.model.tokenize(word)]


def test_a_whole_word_never_fires_inside_a_longer_word():
    made = compose(fiction(100), Recipe(size=900, pattern="gpt2", terms=Terms(TERMS, "whole-words")))
    plain = assemble(once("byte-level"), size=900 - made.terms.n_new)[0]
    others = ["fiction", "fidelity", "whaler", "narwhale", "certioraris", "affidavits"]
    for word in others:
        cut = [[vocab.tokens[i] for i in vocab.encode([word])[0]] for vocab in (made.vocab, plain)]
        assert cut[0] == cut[1]
    # One entry a form: 6 terms, each alone and after a space, at most.
    assert made.terms.n_new <= 12


def test_whole_words_cost_one_entry_a_form_and_merges_several():
    costs = {
        how: compose(fiction(100), Recipe(size=900, pattern="gpt2", terms=Terms(TERMS, how))).terms.n_new
        for how in ("whole-words", "merges", "merges-first")
    }
    assert costs["whole-words"] == 12  # six words, alone and after a space; none of them is learned at this size
    assert min(costs["merges"], costs["merges-first"]) > 24


def test_added_terms_match_whole_words_only_and_what_would_not_decode_is_refused():
    terms = Terms(("art", "New York", "(a)", "Größe"), "added")
    with pytest.warns(UserWarning, match="Größe"):
        made = compose(fiction(50), Recipe(size=600, terms=terms))
    assert made.terms.missed == ["Größe"]
    tokens = [made.vocab.literal(int(i)) for i in made.vocab.encode(["art party New York New Yorker x(a)y"])[0]]
    assert tokens.count("art") == 1
    assert tokens.count("New York") == 1
    assert tokens.count("(a)") == 1


def test_a_special_token_is_no_term():
    with pytest.warns(UserWarning, match="not single"):
        made = compose(["<s> a"] * 20, Recipe(size=300, pattern=r"\S+|\s+", terms=Terms(("<s>",))))
    assert made.terms.missed == ["<s>"]


def test_a_guaranteed_term_of_a_unigram_tokenizer_is_one_piece():
    made = compose(fiction(40), Recipe(size=400, kind="unigram", terms=Terms(("certiorari", "whale"))))
    assert made.vocab.size == 400
    assert [len(ids) for ids in made.vocab.encode(["certiorari", "whale", "a certiorari"])][:2] == [1, 1]


def test_bad_terms_are_refused():
    with pytest.raises(ValueError, match="merges-first"):
        Terms(("a",), "merge")
    with pytest.raises(ValueError, match="1 to"):
        Terms(("",))
    words = tuple(f"term{c}{d}" for c in "abcdefgh" for d in "abcdefgh")
    with pytest.raises(ValueError, match="terms take"):
        compose(fiction(20), Recipe(size=290, terms=Terms(words)))


def test_settling_finds_the_most_entries_that_leave_room():
    assert settle(10, lambda n: Ensured(entries=("x",) * (3 if n > 7 else 2)))[0] == 7
    assert settle(5, lambda n: Ensured())[0] == 5


def test_terms_are_spelled_as_the_normaliser_leaves_them():
    plan = plans.with_normalizer(plan_of(Recipe(size=300)), lowercase=True)
    assert [form.word for form in forms(Terms(("Habeas",)), plan.spec)] == ["habeas", "Ġhabeas"]
