"""Rewriting numbers in groups: exact both ways, on any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.rewriting import SEPARATORS, group, rewrite, ungroup

_TEXTS = st.text(alphabet="0123456789,,. a_$#'\u0664\u2009", max_size=60)


def test_the_examples_of_the_paper_are_written_so():
    assert rewrite("1234567+89=").text == "1,234,567+89="
    assert rewrite("1234567", direction="l2r").text == "123,456,7"
    assert rewrite("1234567", separator="#").text == "1#234#567"
    assert ungroup("The answer is 1,234,567.") == "The answer is 1234567."


def test_grouped_numbers_fractions_years_and_identifiers_stay():
    text = "1,234,567 and 3.14159 in 1999 by user12345"
    assert rewrite(text, keep_years=True).text == text
    assert rewrite(text).text == text.replace("1999", "1,999")
    assert rewrite("3.14159", keep_fractions=False).text == "3.14,159"
    assert rewrite("user12345", keep_identifiers=False).text == "user12,345"


@given(text=_TEXTS, separator=st.sampled_from([*SEPARATORS.values(), "foo", ",,"]), k=st.integers(1, 4),
       direction=st.sampled_from(["r2l", "l2r"]), least=st.integers(1, 6), keep=st.booleans())  # fmt: skip
def test_the_way_back_is_exact_with_the_record_and_from_the_text_alone(text, separator, k, direction, least, keep):
    options = {"separator": separator, "k": k, "direction": direction, "least": least, "keep_fractions": keep}
    made = rewrite(text, **options)
    assert made.undo() == text
    assert ungroup(group(text, **options), separator=separator) == text
    assert made.original_offset(len(made.text)) == len(text)


@given(text=_TEXTS)
def test_rewriting_twice_changes_nothing_more(text):
    once = rewrite(text, keep_fractions=False).text
    assert rewrite(once, keep_fractions=False).text == once


def test_offsets_are_mapped_back_to_the_same_digits():
    text = "x 1234567 y 10000"
    made = rewrite(text)
    kept = [i for i, character in enumerate(made.text) if character != ","]
    assert [text[made.original_offset(i)] for i in kept] == [made.text[i] for i in kept]


@pytest.mark.parametrize("wrong", [{"separator": ""}, {"separator": "1"}, {"k": 0}, {"direction": "up"}])
def test_what_cannot_be_undone_is_refused(wrong):
    with pytest.raises(ValueError, match="need"):
        rewrite("1234567", **wrong)
