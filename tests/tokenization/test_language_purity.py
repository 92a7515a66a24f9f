"""Valid and pure tokens: the card's oracle by hand, the published table's arithmetic, laws, an effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gold_segmentations import GOLD, _splitting

from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.tokenization.counting import count
from tokenry.tokenization.language_purity import (
    correlation,
    judge_tokens,
    language_purity,
    morphology,
    token_class,
)
from tokenry.tokenization.train import train
from tokenry.tokenization.validators import Lexicon

LEXICON = Lexicon(["the", "student", "s", "are", "learn", "ing"])
TEXT = "the students are learning"
PUBLISHED = {
    "gemma-2": (48.63, 37.05, 72.10),
    "llama-3.1": (45.80, 30.91, 70.42),
    "EuroLLM": (47.01, 35.17, 51.29),
    "Qwen2.5": (40.33, 30.15, 61.68),
    "aya-expanse": (50.67, 32.96, 70.66),
    "Mistral-Nemo": (45.27, 36.08, 46.89),
    "Phi-3.5": (43.93, 34.42, 29.37),
    "GPT-4o": (42.14, 28.68, 84.84),
}
"""Table of arXiv 2502.07057: %TR, %Pure (type-level), MMLU-TR of a model with the tokenizer."""


def test_morphemes_as_tokens_score_a_hundred():
    """The oracle of the card."""
    report = language_purity(_splitting(["▁the", "▁student", "s", "▁are", "▁learn", "ing"]), [" " + TEXT], LEXICON)
    for name in ("valid_type", "pure_type", "valid_token", "pure_token"):
        assert report.facts[name].value == 1.0
    assert report.facts["tokens_per_word"].value == 6 / 4


def test_whole_words_are_half_pure_and_as_valid_as_the_list_says():
    whole = _splitting(["▁the", "▁students", "▁are", "▁learning"])
    poor = language_purity(whole, [TEXT], LEXICON)
    assert poor.facts["pure_type"].value == poor.facts["valid_type"].value == 0.5
    rich = Lexicon(["students", "learning"], morphemes=["the", "student", "s", "are", "learn", "ing"])
    assert language_purity(whole, [TEXT], rich).facts["valid_type"].value == 1.0
    assert language_purity(whole, [TEXT], rich).facts["pure_type"].value == 0.5
    assert language_purity(whole, [" " + TEXT], rich).facts["whole_word_share"].value == 1.0


def test_the_published_shares_are_over_types():
    """3,104 of 6,383 unique tokens are Turkish for gemma-2, 2,365 are pure: the table divides by types, not tokens."""
    assert round(100 * 3104 / 6383, 2) == PUBLISHED["gemma-2"][0]
    assert round(100 * 2365 / 6383, 2) == PUBLISHED["gemma-2"][1]


def test_the_published_correlation_holds_for_four_models_only():
    """r = .90 and .68 on the four models of the notebook; .10 and -.51 on all eight."""
    four = [PUBLISHED[name] for name in ("gemma-2", "llama-3.1", "Qwen2.5", "aya-expanse")]
    everyone, others = list(PUBLISHED.values()), [row for name, row in PUBLISHED.items() if name != "GPT-4o"]
    found = [
        [round(correlation([row[i] for row in rows], [row[2] for row in rows]).r.value, 2) for i in (0, 1)]
        for rows in (four, everyone, others)
    ]
    assert found == [[0.90, 0.68], [0.10, -0.51], [0.42, -0.27]]
    small = correlation([row[0] for row in four], [row[2] for row in four])
    assert small.r.low < 0 < small.r.high, "four models tell nothing"
    assert "n = 4" in str(small)
    assert "[-0" in str(small)


def test_a_correlation_is_the_library_s_and_needs_four_pairs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    from scipy.stats import pearsonr

    theirs = pearsonr(x, y)
    interval = theirs.confidence_interval(0.95)
    ours = correlation(x, y).r
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.statistic, interval.low, interval.high), abs=1e-9)
    for bad in ([1, 2, 3], [1, 1, 1, 1]):
        with pytest.raises(ValueError, match="need"):
            correlation(bad, bad)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b" dog", "word-like", "dog"),
        (b"don't", "word-like", "don't"),
        ("ı".encode(), "word-like", "ı"),
        ("e\u0301".encode(), "word-like", "é"),
        (b" of the", "several words", "of the"),
        (b"1,234", "number", "1,234"),
        (b" ...", "punctuation", "..."),
        (b"\n\n", "white space", "\n\n"),
        (b".com", "mixed", ".com"),
        (b"\xc4", "fragment", "\\xc4"),
        (None, "special", ""),
    ],
)
def test_every_token_has_one_class(data, kind, text):
    assert token_class(data) == (kind, text)


@settings(max_examples=40)
@given(st.lists(st.sampled_from([*TEXT.split(), "12", "!", "xyz"]), min_size=1), st.integers(1, 3))
def test_pure_is_valid_and_types_do_not_count_repetitions(words, times):
    vocab = _splitting(["▁the", "▁student", "s", "▁are", "▁learn", "ing", "▁students"])
    once, more = (language_purity(vocab, [" ".join(words)] * n, LEXICON).facts for n in (1, times))
    for name in ("valid_type", "pure_type", "valid_type.all"):
        assert once[name] == more[name]
    judged = judge_tokens(vocab, count(vocab, [(" ".join(words), "")]).tokens_V, LEXICON)
    assert (judged.pure_T <= judged.valid_T).all()
    assert (judged.valid_T <= judged.is_word).all()


def test_turkish_capitals_are_lowered_the_turkish_way():
    lexicon = Lexicon(["ısparta", "izmir"], lang="tr")
    vocab = _splitting(["▁ISPARTA", "▁İZMİR", "▁IZMIR"])
    judged = judge_tokens(vocab, count(vocab, [("ISPARTA İZMİR IZMIR", "")]).tokens_V, lexicon)
    assert dict(zip(judged.texts, judged.valid_T.tolist(), strict=True)) == {
        "ISPARTA": True, "İZMİR": True, "IZMIR": False,
    }  # fmt: skip


def test_letters_score_what_the_list_says_of_letters():
    vocab = train([TEXT], kind="character", size=273, min_count=1)
    facts = language_purity(vocab, [TEXT], LEXICON).facts
    letters = set(TEXT) - {" "}
    assert facts["valid_type"].value == pytest.approx(1 / len(letters)), "only the s"


def test_report_lens_and_token_shares_agree():
    vocab, documents = Vocab.open(demo_model()), ["the student learns", "They are learning things.", "12 cats!"] * 5
    report = language_purity(vocab, documents, LEXICON, gold=GOLD)
    counts = count(vocab, [(text, "") for text in documents])
    found = morphology(counts, analyzer=LEXICON)
    for name in ("valid_type", "pure_type", "valid_type.all", "pure_type.all"):
        assert report.facts[name] == found.facts[name]
    for name in ("valid_token", "pure_token"):
        assert report.facts[name].value == pytest.approx(found.facts[name].value)
    assert sum(found.tables["token_classes"]["tokens"]) == counts.n_tokens
    assert report.facts["gold_words"] == len(GOLD)
    assert Report.from_json(report.to_json()).facts == report.facts
    assert "pure" in str(report)


def test_nothing_to_judge_by_is_named():
    counts = count(Vocab.open(demo_model()), [("a", "")])
    with pytest.raises(ValueError, match="--analyzer zeyrek"):
        morphology(counts)
    silent = language_purity(demo_model(), ["..."], LEXICON)
    assert silent.facts["pure_type"] is None
    assert silent.warnings
