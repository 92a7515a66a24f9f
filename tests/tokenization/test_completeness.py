"""Whole words by frequency rank equal a count by hand."""

import pytest
from audited_tokenizers import byte_level

from tokenry.core.intervals import wilson_interval
from tokenry.tokenization.completeness import completeness
from tokenry.tokenization.counting import count


def test_the_share_of_whole_words_is_that_of_the_library():
    vocab = byte_level()
    words = ["the", "fox", "dog", "lazy", "over", "quick", "brown", "zebra", "qqq", "jump", "jumps", "this", "that"]
    words += [f"w{i}x" for i in range(10)]
    text = "\n".join(" ".join(["", *words[: i + 1]]) for i in range(len(words)))
    found = completeness(count(vocab, [(text, "en")], by_source=True))
    whole = sum(len(vocab.encode([f"( {word}"])[0]) == 2 for word in words)
    row = {name: column[0] for name, column in found.tables["completeness"].items()}
    assert (row["source"], row["n"], row["whole"]) == ("en", len(words), whole)
    interval = wilson_interval(whole, len(words))
    assert (row["share"], row["low"], row["high"]) == (interval.value, interval.low, interval.high)


def test_a_source_with_few_words_is_left_out_and_missing_counts_are_named():
    assert not completeness(count(byte_level(), [("one two", "x")], by_source=True)).tables
    with pytest.raises(ValueError, match="by_source"):
        completeness(count(byte_level(), [("one two", "x")]))


def test_a_tokenizer_trained_on_a_language_is_more_complete_for_it():
    words = " ".join(f"the fox jumps over lazy dog again number{i}" for i in range(30))
    documents = [(f" {words}", "s")]
    small, large = (completeness(count(byte_level(n), documents, by_source=True)) for n in (280, 600))
    assert large.tables["completeness"]["share"][0] > small.tables["completeness"]["share"][0]
