"""The made texts hold the truth they promise."""

from collections import Counter

import numpy as np
import pytest

from tokenry.worlds.texts import ALPHABETS, copy_numbers, invent_language, mix, plant_merges


@pytest.mark.parametrize("script", list(ALPHABETS))
def test_a_language_holds_its_words_and_nothing_else(script):
    language = invent_language(n_words=50, script=script, seed=4)
    assert len(set(language.words)) == 50
    text = " ".join(language.documents(n=20, seed=1))
    assert {word.rstrip(".") for word in text.split()} <= set(language.words)
    letters = set("".join(ALPHABETS[script]))
    assert set(text) <= letters | {" ", "."}


def test_words_come_by_their_shares():
    """Binomial counts: 4.5 standard deviations for each of 30 words."""
    language = invent_language(n_words=30)
    words = [word.rstrip(".") for text in language.documents(n=200, n_words=50) for word in text.split()]
    counts, n = Counter(words), len(words)
    for word, share in zip(language.words, language.shares, strict=True):
        assert abs(counts[word] - n * share) < 4.5 * np.sqrt(n * share * (1 - share))
    assert sum(language.shares) == pytest.approx(1)
    assert list(language.shares) == sorted(language.shares, reverse=True)


def test_entropy_is_that_of_the_words():
    assert invent_language(n_words=1).entropy_bits == 0
    language = invent_language(n_words=4)
    shares = np.array([1, 1 / 2, 1 / 3, 1 / 4]) / (25 / 12)
    assert language.entropy_bits == pytest.approx(-(shares * np.log2(shares)).sum())


def test_seeds_and_scripts_give_different_languages():
    assert invent_language(seed=1) == invent_language(seed=1)
    assert set(invent_language(seed=1).words) != set(invent_language(seed=2).words)
    assert not set(invent_language(script="greek").words) & set(invent_language(script="cyrillic").words)


def test_a_mixture_says_which_language_each_document_is():
    languages = [invent_language(script="latin"), invent_language(script="greek")]
    rows = mix(languages, [0.7, 0.3], n=400)
    for row in rows:
        words = set(languages[int(row["source"][-1])].words)
        assert {word.rstrip(".") for word in row["text"].split()} <= words
    share = np.mean([row["source"] == "language-0" for row in rows])
    assert abs(share - 0.7) < 4.5 * np.sqrt(0.21 / 400)
    assert len({row["id"] for row in rows}) == 400


@pytest.mark.parametrize("n_merges", [1, 2, 5, 13])
def test_planted_merges_are_what_byte_pair_encoding_finds(n_merges):
    """The oracle is the stock trainer: as many merges as were planted, in the same order."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    documents, planted = plant_merges(n_merges=n_merges)
    letters = {char for document in documents for char in document if char != " "}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    size = len(letters) + len(planted)
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    learned = [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])][len(letters) :]
    assert learned == planted


def test_planted_counts_leave_no_tie():
    documents, planted = plant_merges(n_merges=13)
    text = " ".join(documents)
    counts = [text.count(pair) for pair in planted]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)


def test_numbers_are_written_twice():
    lines = copy_numbers(n=50, digits=5, seed=1)
    for line in lines:
        first, second = line.removeprefix("copy ").split(": ")
        assert first == second
        assert len(first) == 5
        assert first[0] != "0"
    assert len(set(lines)) > 45


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: invent_language(script="latn"), "Did you mean 'latin'"),
        (lambda: invent_language(n_words=0), "need 1 to"),
        (lambda: mix([invent_language()], [0.5], n=3), "sum 1"),
        (lambda: plant_merges(n_merges=14), "1 to 13"),
        (lambda: plant_merges(n_merges=4, top=8), "at least 16"),
        (lambda: copy_numbers(n=1, digits=0), "at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
