"""How numbers are cut, and switching it in a finished tokenizer."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from number_tokenizers import numbers_byte_level, numbers_metaspace
from tokenizers import Regex, pre_tokenizers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.numerals import digit_pattern, groups_of, parse_digits, retrofit, split_digits

_OPTIONS = st.fixed_dictionaries(
    {name: st.booleans() for name in ("ascii_only", "keep_fractions", "keep_years", "keep_identifiers", "join_space")}
)


@pytest.fixture(scope="module")
def switched() -> Vocab:
    return retrofit(numbers_byte_level()).vocab


def test_a_number_is_cut_as_its_mode_says():
    assert split_digits("1234567", "r2l") == ["1", "234", "567"]
    assert split_digits("1234567", "l2r") == ["123", "456", "7"]
    assert split_digits("1234567", "single") == list("1234567")
    assert split_digits("1234567", "r2l", 2) == ["1", "23", "45", "67"]


def test_fractions_are_read_from_the_point_and_grouped_numbers_stay():
    assert split_digits("3.14159") == ["3", ".", "141", "59"]
    assert split_digits("3.14159", keep_fractions=False) == ["3", ".", "14", "159"]
    for text in ("1,234,567", "1\u2009234\u2009567", "1 234 567", "1.234.567"):
        assert [p for p in split_digits(text) if p[0].isdigit()] == ["1", "234", "567"]


def test_years_and_identifiers_are_left_alone_when_asked():
    text = "user12345 in 2024, 12024 and 2024.5"
    assert split_digits(text, keep_years=True, keep_identifiers=True) == [
        "user12345", " in ", "2024", ", ", "12", "024", " and ", "2", "024", ".", "5"]  # fmt: skip
    assert split_digits("in 2024")[1:] == ["2", "024"]


def test_other_scripts_are_cut_unless_only_ascii_is_asked():
    assert split_digits("٣٤٥٦") == ["٣", "٤٥٦"]
    assert split_digits("٣٤٥٦", ascii_only=True) == ["٣٤٥٦"]


@given(digits=st.text("0123456789", min_size=1, max_size=40), mode=st.sampled_from(["single", "l2r", "r2l"]),
       k=st.integers(1, 6))  # fmt: skip
def test_groups_join_to_the_number_and_cost_the_same_from_both_sides(digits, mode, k):
    pieces = split_digits(digits, mode, k)
    assert pieces == groups_of(digits, mode, k)
    assert "".join(pieces) == digits
    assert len(pieces) == -(-len(digits) // (1 if mode == "single" else k))


@given(text=st.text("0123456789 ,.aé_٣²\n", max_size=40), mode=st.sampled_from(["single", "l2r", "r2l"]),
       k=st.integers(1, 4), options=_OPTIONS)  # fmt: skip
def test_the_library_and_the_regex_module_cut_alike(text, mode, k, options):
    pattern = digit_pattern(mode, k, **options)
    library = pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)
    ours = split_digits(text, mode, k, **options)
    assert [piece for piece, _ in library] == ours
    assert "".join(ours) == text


def test_a_very_long_number_takes_linear_time():
    # 2 * 10^5 digits: a pattern that looked ahead at every group would take 10^9 steps.
    assert len(split_digits("1" * 200_000)) == 66_667
    assert regex.fullmatch(digit_pattern("r2l"), "12")


@given(number=st.integers(0, 10**15))
def test_a_digit_of_one_weight_sits_in_the_same_token_from_the_right_whatever_the_length(switched, number):
    pieces = [switched.tokens[int(i)].decode() for i in switched.encode([str(number)])[0]]
    place = {}
    for token, piece in enumerate(reversed(pieces)):
        for digit in reversed(piece):
            place[len(place)] = token
            assert digit == str(number)[-len(place)]
    assert all(token == weight // 3 for weight, token in place.items())


@given(a=st.integers(1, 12), b=st.integers(1, 12))
def test_from_the_left_digits_of_one_weight_align_only_when_lengths_agree_modulo_three(a, b):
    def slots(length: int) -> list[int]:
        """Place within its group of the digit of weight 1, 10, 100, ..."""
        return [i for piece in groups_of("1" * length, "l2r") for i in range(len(piece))][::-1]

    for first, second in zip(slots(a), slots(b), strict=False):
        assert (first == second) == ((a - b) % 3 == 0)


@pytest.mark.parametrize("make", [numbers_byte_level, numbers_metaspace])
def test_the_switch_keeps_entries_and_text_without_digits(make):
    old = make()
    made = retrofit(old)
    assert made.vocab.tokens == old.tokens
    texts = ["the quick (brown) fox, it's a = b", "", "a  b"]
    assert [x.tolist() for x in made.vocab.encode(texts)] == [x.tolist() for x in old.encode(texts)]
    spelled = [made.vocab.tokens[int(i)].decode().strip() for i in made.vocab.encode(["1234567"])[0]]
    assert [piece for piece in spelled if piece] == ["1", "234", "567"]
    assert made.vocab.decode(made.vocab.encode(["a 1234567"])[0]) == old.decode(old.encode(["a 1234567"])[0])


def test_the_report_counts_which_groups_are_tokens():
    report = retrofit(numbers_byte_level()).report
    assert report.tables["coverage"].to_pydict()["entries"] == [10, 100, 1000]
    assert report.facts["scheme.before"] == "groups of 3 from the left"
    assert report.facts["scheme.after"] == "groups of 3 from the right"
    assert report.facts["tokens_per_digit.before"] == report.facts["tokens_per_digit.after"]
    pairs = retrofit(numbers_byte_level(k=2), digits="r2l2")
    assert pairs.report.facts["example.after"] == "1|23|45|67"


def test_groups_that_the_entries_cut_further_are_still_the_scheme():
    # Only strings of three digits below 100 are one token: the tokens alone show no scheme, but the text is cut by it.
    whole = numbers_byte_level()
    model = whole.spec["model"]
    kept = [piece for piece in model["vocab"] if len(piece) != 3 or not piece.isdigit() or piece[0] == "0"]
    merges = [pair for pair in model["merges"] if "".join(pair) in set(kept)]
    fewer = {**model, "vocab": {piece: i for i, piece in enumerate(kept)}, "merges": merges}
    report = retrofit(Vocab.from_spec({**whole.spec, "model": fewer}, whole.config, "fewer")).report
    assert report.facts["scheme.after"] == "groups of 3 from the right"
    assert report.facts["groups_of_one_token.after"] == 0.1
    assert report.facts["tokens_per_digit.after"] > 0.4
    assert any("not every group is one token" in warning for warning in report.warnings)


def test_a_cut_that_is_finer_than_the_entries_is_lifted():
    singles = numbers_byte_level(pattern=r"\p{L}+|\p{N}|[^\p{L}\p{N}]+")
    assert retrofit(singles).report.facts["example.after"] == "1|234|567"
    assert retrofit(numbers_byte_level(), digits="single").report.facts["example.after"] == "1|2|3|4|5|6|7"


def test_a_vocabulary_of_single_digits_is_refused_with_the_way_out(demo_vocab):
    with pytest.raises(ValueError, match=r"no string of 3 digits.*rewrite"):
        retrofit(demo_vocab)
    with pytest.raises(ValueError, match="WordPiece"):
        retrofit(_wordpiece())
    for wrong in ("r2l0", "r3l", "single2", "r2l77"):
        with pytest.raises(ValueError, match="need"):
            parse_digits(wrong)


@pytest.fixture(scope="module")
def demo_vocab() -> Vocab:
    from tokenry.data import demo_model

    return Vocab.open(demo_model())


def _wordpiece() -> Vocab:
    from tokenry.core.hf_json import added_tokens, whole_spec

    entries = ["[UNK]", *(f"{mark}{digit}" for mark in ("", "##") for digit in range(10))]
    model = {"type": "WordPiece", "vocab": {entry: i for i, entry in enumerate(entries)}, "unk_token": "[UNK]",
             "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}  # fmt: skip
    return Vocab.from_spec(whole_spec(model, added_tokens=added_tokens({0: "[UNK]"})))


@pytest.mark.slow  # opens two real vocabularies of 100,000 entries and more
def test_real_vocabularies_hold_what_the_card_counted(shared_data):
    folder = shared_data / "tokenizers"
    # cl100k: all 1,110 strings of 1 to 3 digits; Qwen: the 10 digits alone.
    table = retrofit(folder / "openai" / "cl100k_base.tiktoken.xz").report.tables["coverage"].to_pydict()
    assert table["entries"] == [10, 100, 1000]
    with pytest.raises(ValueError, match="holds the 10 digits and no string of 3"):
        retrofit(folder / "qwen2.5" / "tokenizer.json.xz")


def test_the_verb_writes_a_tokenizer_the_library_opens(tmp_path):
    from tokenizers import Tokenizer

    from tokenry.cli import app

    numbers_byte_level().to_hf(tmp_path / "old")
    app(
        ["tokenizer", "retrofit", str(tmp_path / "old"), "--out", str(tmp_path / "new"), "--json"],
        standalone_mode=False,
    )
    library = Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert library.encode("1234567=").tokens == ["1", "234", "567", "="]
    assert (tmp_path / "new" / "run.json").is_file()
    assert (tmp_path / "new" / "report" / "report.html").is_file()
