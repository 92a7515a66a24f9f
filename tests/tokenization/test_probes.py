"""Digit schemes and white space are recognised on tokenizers made to have them."""

import math

import pytest
from audited_tokenizers import byte_level, sentencepiece, word_piece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.probes import SPACES, digit_scheme, space_runs


def _all_groups(pattern: str, longest: int) -> Vocab:
    """Byte-level BPE that knows every number of up to `longest` digits and cuts them by `pattern`."""
    numbers = [f"{n:0{k}d}" for k in range(1, longest + 1) for n in range(10**k)]
    entries = {text: i for i, text in enumerate(["Ġ", "Ċ", *numbers])}
    merges = [(number[:-1], number[-1]) for number in numbers if len(number) > 1]
    tokenizer = Tokenizer(models.BPE(vocab=entries, merges=merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return Vocab.open(tokenizer)


@pytest.mark.parametrize("after_space", [False, True])
@pytest.mark.parametrize(
    ("pattern", "longest", "scheme", "example"),
    [
        (r"\p{N}", 1, "single digits", "1|2|3|4|5|6|7"),
        (r"\p{N}{1,2}", 2, "groups of 2 from the left", "12|34|56|7"),
        (r"\p{N}{1,3}", 3, "groups of 3 from the left", "123|456|7"),
        (r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", 3, "groups of 3 from the right", "1|234|567"),
    ],
)
def test_a_scheme_is_recognised(pattern, longest, scheme, example, after_space):
    found = digit_scheme(_all_groups(pattern, longest), after_space=after_space)
    assert (found.name, found.example) == (scheme, example)
    sizes = [math.ceil(n / longest) / n for n in range(1, 13)]
    assert min(sizes) <= found.tokens_per_digit <= max(sizes)


def test_learned_numbers_are_free():
    assert digit_scheme(byte_level(), after_space=False).name == "free"


def test_sentencepiece_with_split_digits_has_single_digits_and_no_dummy_space_in_them():
    for after_space in (False, True):
        found = digit_scheme(sentencepiece(), after_space=after_space)
        assert (found.name, found.example) == ("single digits", "1|2|3|4|5|6|7")


def test_a_vocabulary_without_digits_is_unknown():
    entries = {"[UNK]": 0, "a": 1}
    vocab = Vocab.open(Tokenizer(models.WordPiece(vocab=entries, unk_token="[UNK]")))
    found = digit_scheme(vocab, after_space=False)
    assert found.name == "unknown"
    assert math.isnan(found.tokens_per_digit)


def test_the_probe_depends_on_the_seed_alone():
    vocab = byte_level()
    assert digit_scheme(vocab, after_space=True, seed=3) == digit_scheme(vocab, after_space=True, seed=3)


def test_runs_of_space_cost_what_the_library_spends():
    runs = space_runs(sentencepiece())
    assert runs["1 space"] == (0, True)
    assert runs["4 spaces"] == (3, True), "no entry for a run: three spaces alone, the fourth joins the letter"
    assert runs["2 line breaks"] == (2, True)
    assert set(runs) == set(SPACES)


def test_lost_space_is_seen():
    runs = space_runs(word_piece())
    assert not runs["2 spaces"][1]
    assert not runs["1 line break"][1]
