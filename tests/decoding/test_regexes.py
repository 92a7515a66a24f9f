"""A regex decides texts as `re` does, and beginnings by whether some text goes on from there."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding import regexes
from tokenry.decoding.constraints import check_constraint
from tokenry.decoding.regexes import Regex

ALPHABET = "abB1 é€\n"
_atoms = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "é", "[à-ÿ1]", "€", "", "(?i:b)", r"[\x00-b]", r"\n"])
PATTERNS = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@given(pattern=PATTERNS, texts=st.lists(st.text(ALPHABET, max_size=6), min_size=1, max_size=8))
@examples(max_examples=80)
def test_texts_are_decided_as_re_decides_them(pattern, texts):
    ours, theirs = Regex(pattern), re.compile(pattern)
    for text in texts:
        assert ours.complete_ok(text.encode()) == bool(theirs.fullmatch(text))


@given(pattern=PATTERNS, text=st.text(ALPHABET, max_size=4))
@examples(max_examples=40)
def test_states_obey_the_laws_of_constraints(pattern, text):
    check_constraint(Regex(pattern), text.encode())


@given(pattern=PATTERNS, text=st.text(ALPHABET, max_size=4))
@examples(max_examples=40)
def test_every_allowed_beginning_has_an_end(pattern, text):
    """From any allowed beginning a breadth-first search over the automaton's own steps meets an accepted text."""
    regex = Regex(pattern)
    data = text.encode()
    state = next(s for cut in range(len(data), -1, -1) if (s := regex.advance(regex.begin(), data[:cut])) is not None)
    seen, level = {state}, [state]
    while level and not any(map(regex.accepts, level)):
        found = {s for state in level for s in regex.steps(np.full(256, state), np.arange(256)).tolist() if s >= 0}
        level = sorted(found - seen)
        seen |= found
    assert level, "a state from which nothing is accepted"


@pytest.mark.parametrize("pattern", [r"\d+", r"\w+\s\W", r"(?a:\w)+é", r"(?i)straße|k", r"[^\W\d]{2}"])
def test_classes_are_those_of_re(pattern):
    texts = ["1", "٣", "é ,", "aé", "STRASSE", "straSSe", "STRAßE", "K", "K", "k", "ab", "a1", "漢字", " "]
    for text in texts:
        assert Regex(pattern).complete_ok(text.encode()) == bool(re.fullmatch(pattern, text)), text


def test_bytes_that_are_no_text_are_refused():
    regex = Regex("(?s).*")
    assert regex.prefix_ok("é".encode()[:1])
    assert not regex.complete_ok("é".encode()[:1])
    for data in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
        assert not regex.prefix_ok(data)
    assert regex.complete_ok("\x00\U0010ffff".encode())


@pytest.mark.parametrize("pattern", ["^ab$", r"\Aab\Z", "^(a|b)$", "^a$|^b$", "(?m)^a$"])
def test_anchors_at_the_ends_change_nothing(pattern):
    for text in ("ab", "a", "b", "aa", "a\n"):
        assert Regex(pattern).complete_ok(text.encode()) == bool(re.fullmatch(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(", "cannot be read"),
        (r"(a)\1", "back reference"),
        ("a(?=b)", "look-around"),
        (r"\bx", "boundary"),
        ("x++", "possessive"),
        ("a^b", "anchors"),
        (r"[^\s\S]", "matches no text"),
        ("(?:[à-ÿ]{500}){500}", "more than 3,000 nodes"),
    ],
)
def test_what_no_automaton_can_do_is_said(pattern, told, monkeypatch):
    monkeypatch.setattr(regexes, "MAX_NODES", 3000)
    with pytest.raises(ValueError, match=told):
        Regex(pattern)


def test_a_regex_that_blows_up_is_stopped(monkeypatch):
    monkeypatch.setattr(regexes, "MAX_SETS", 300)
    regex = Regex("[ab]*a[ab]{30}")
    text = bytes(np.random.default_rng(0).choice([97, 98], 10_000).tolist())
    with pytest.raises(ValueError, match="needs more than 300 states"):
        regex.prefix_ok(text)
    assert regex.n_states == 300


def test_a_regex_of_exponential_size_is_cheap_where_texts_do_not_go():
    regex = Regex("x[ab]*a[ab]{30}")
    assert regex.complete_ok(b"xa" + b"b" * 30)
    assert regex.n_states < 100


def test_the_end_is_known_where_nothing_can_follow():
    regex = Regex("ab?|c*")
    ends = {text: regex.is_final(regex.advance(0, text)) for text in (b"", b"a", b"ab", b"c")}
    assert ends == {b"": False, b"a": False, b"ab": True, b"c": False}
