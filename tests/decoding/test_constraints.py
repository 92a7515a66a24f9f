"""Word lists, functions and several constraints at once obey one protocol over bytes."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.constraint_options import constraint_from
from tokenry.decoding.constraints import AllOf, Checked, Constraint, WithoutFirstSpace, WordList, check_constraint
from tokenry.decoding.regexes import Regex

WORDS = ["red", "reddish", "green", "", "größer", "groß"]


@given(words=st.lists(st.text("abé", max_size=4), min_size=1, max_size=6), text=st.text("abé", max_size=5))
@examples(max_examples=50)
def test_a_word_list_accepts_its_words_and_their_beginnings(words, text):
    constraint, data = WordList(words), text.encode()
    check_constraint(constraint, data)
    assert constraint.complete_ok(data) == (text in words)
    assert constraint.prefix_ok(data) == (data == b"" or any(word.encode().startswith(data) for word in words))


@pytest.mark.parametrize(
    "constraint",
    [
        Checked(lambda data: data == b"abc"),
        Checked(lambda data: data.isdigit(), lambda data: data.isdigit(), most_bytes=3),
        AllOf(Regex("[a-c]*"), WordList(["abc", "abd", "ab"])),
        WithoutFirstSpace(Regex("abc")),
        WithoutFirstSpace(AllOf(Regex(" ?abc"), WordList(WORDS))),
    ],
)
@pytest.mark.parametrize("data", [b"abc", b"  abc", b"12", b"1234", b""])
def test_every_constraint_obeys_the_laws(constraint, data):
    check_constraint(constraint, data)


def test_what_each_accepts():
    both = AllOf(Regex("re.*"), WordList(WORDS))
    assert both.complete_ok(b"reddish")
    assert not both.prefix_ok(b"g")
    assert both.is_final(both.advance(both.begin(), b"reddish"))
    spaced = WithoutFirstSpace(Regex("a b|  c"))
    assert all(map(spaced.complete_ok, (b"a b", b" a b", b"   c")))
    assert not spaced.complete_ok(b"  a b")
    short = Checked(lambda data: True, most_bytes=2)
    assert [short.prefix_ok(data) for data in (b"ab", b"abc")] == [True, False]


class EvenLength:
    def complete_ok(self, data):
        return len(data) % 2 == 0

    def prefix_ok(self, data):
        return len(data) < 5


def test_constraints_are_named_on_a_command_line(tmp_path):
    (tmp_path / "words.txt").write_text("cat\ndog\n\n")
    (tmp_path / "mine.py").write_text("def short(data):\n    return len(data) < 3\n")
    assert constraint_from(regex=42).complete_ok(b"42")
    assert constraint_from(regex=True).complete_ok(b"true")
    assert constraint_from(words="cat,dog").complete_ok(b"dog")
    assert not constraint_from(words=f"@{tmp_path / 'words.txt'}").complete_ok(b"")
    assert constraint_from(words=["a,b"]).complete_ok(b"a,b")
    assert constraint_from(check=f"{tmp_path / 'mine.py'}:short").complete_ok(b"ab")
    both = constraint_from(regex="a*", check=EvenLength())
    assert (both.complete_ok(b"aa"), both.complete_ok(b"aaa"), both.prefix_ok(b"aaaaa")) == (True, False, False)
    own: Constraint = WordList(["a"])
    assert constraint_from(check=own) is own


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "no constraint"),
        ({"words": []}, "empty word list"),
        ({"schema": "{"}, "no JSON"),
        ({"regex": "a", "engine": "llguidance"}, "without a schema"),
        ({"schema": {"type": "integer"}, "engine": "llguidence"}, "Did you mean 'llguidance'"),
        ({"check": "nowhere.at_all:f"}, "no module"),
        ({"check": 3}, "need a function"),
    ],
)
def test_what_is_no_constraint_is_said(asked, told):
    with pytest.raises(ValueError, match=told):
        constraint_from(**asked)


def test_one_string_is_no_list_and_nothing_is_no_conjunction():
    with pytest.raises(ValueError, match="in brackets"):
        WordList("cat")
    with pytest.raises(ValueError, match="at least one"):
        AllOf()
