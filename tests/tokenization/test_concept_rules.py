"""Rules that choose a segmentation for one word."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.concept_rules import (
    RULES,
    Material,
    Word,
    entropy_paper,
    lexicon_match,
    min_tokens,
    unigram_loglik,
)
from tokenry.tokenization.concepts import choose_segmentation

_CANDIDATES = {"base": ("ne", "##ph", "##ro"), "drug": ("neph", "##ro"), "disease": ("nephro",)}


def test_the_fewest_tokens_win_and_ties_go_to_base():
    assert min_tokens(Word("nephro", _CANDIDATES, Material())) == "disease"
    assert min_tokens(Word("x", {"drug": ("x",), "base": ("x",)}, Material())) == "base"


def test_a_lexicon_decides_alone():
    material = Material(lexicons={"drug": frozenset(["nephro"])})
    assert lexicon_match(Word("nephro", _CANDIDATES, material)) == "drug"
    assert lexicon_match(Word("other", _CANDIDATES, material)) == "base"


def test_likelihood_is_summed_over_pieces_with_priors_and_a_margin():
    bits = {"base": ({"ne": 3, "##ph": 3, "##ro": 3}, 10.0), "disease": ({"nephro": 7}, 12.0), "drug": ({}, 12.0)}
    word = lambda **more: Word("nephro", _CANDIDATES, Material(bits=bits, **more))  # noqa: E731
    assert unigram_loglik(word()) == "disease"  # 7 bits against 9 and 24
    assert unigram_loglik(word(margin_bits=2.5)) == "base"
    assert unigram_loglik(word(priors={"disease": -3.0})) == "base"
    assert unigram_loglik(word(need_lexicon="in")) == "base"
    near = {"disease": frozenset(["nephrosis"])}
    assert unigram_loglik(word(need_lexicon="near", lexicons=near)) == "disease"
    assert unigram_loglik(word(need_lexicon="in", lexicons=near)) == "base"


def test_the_published_score_is_kept_as_published():
    # total 100,000: the floor is p = .01. Scores -p log2 p: base p = .02 -> .1129, drug p = .3 -> .521, disease .0004.
    counts = {"ne": 500, "ph": 500, "ro": 1000 - 1, "neph": 29_000, "nephro": 39, "rest": 100_000 - 31_038}
    scores = {"base": 2000 / 100_000, "drug": 30_000 / 100_000, "disease": 40 / 100_000}
    assert sum(counts.values()) == 100_000
    floor = -0.01 * math.log2(0.01)
    expected = {name: -p * math.log2(p) for name, p in scores.items()}
    assert expected["drug"] > floor > expected["disease"]
    assert entropy_paper(Word("nephro", _CANDIDATES, Material(counts=counts))) == min(expected, key=expected.get)
    only = {name: _CANDIDATES[name] for name in ("base", "disease")}
    assert entropy_paper(Word("nephro", only, Material(counts=counts))) == "base"  # every type lies below the floor


@given(word=st.text("abc", min_size=1, max_size=6), rule=st.sampled_from(sorted(RULES)), cut=st.integers(0, 5))
def test_without_types_every_rule_takes_base(word, rule, cut):
    assert choose_segmentation({"base": (word[: cut + 1], *(f"##{c}" for c in word[cut + 1 :]))}, rule) == "base"


def test_rules_are_found_by_name_and_wrong_ones_refused():
    assert choose_segmentation(_CANDIDATES, "min_tokens") == "disease"
    assert choose_segmentation(_CANDIDATES, lambda word: "drug") == "drug"
    with pytest.raises(ValueError, match="Did you mean 'min_tokens'"):
        choose_segmentation(_CANDIDATES, "mintokens")
    with pytest.raises(ValueError, match="one must be 'base'"):
        choose_segmentation({"drug": ("a",)}, "min_tokens")
    with pytest.raises(ValueError, match="need_lexicon"):
        Material(need_lexicon="near?")
