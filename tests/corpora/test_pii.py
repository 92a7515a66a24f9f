"""Personal data and keys: what is found, what is left alone, and that no text makes the search slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_worlds import TEXTS, scored

from tokenry.corpora.pii import KINDS, find


def found(text):
    return {kind.removeprefix("pii."): [text[a:b] for a, b in spans] for kind, spans in find(text).items() if spans}


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("Write to jane.doe+news@mail.example.org.", "emails", "jane.doe+news@mail.example.org"),
        ("(a_b%c@example.co.uk)", "emails", "a_b%c@example.co.uk"),
        ("Schreib an jürgen@bücher.example!", "emails", "jürgen@bücher.example"),
        ("😀😀 x@y.example 😀", "emails", "x@y.example"),
        ("Call (212) 555-0142 now", "phones", "(212) 555-0142"),
        ("212-555-0142.", "phones", "212-555-0142"),
        ("Tel. 1 212.555.0142", "phones", "1 212.555.0142"),
        ("+49 30 901820", "phones", "+49 30 901820"),
        ("ring +44 (0)20 7946 0958 today", "phones", "+44 (0)20 7946 0958"),
        ("from 192.168.17.4, port 22", "ips", "192.168.17.4"),
        ("at 10.0.0.1.", "ips", "10.0.0.1"),
        ("2001:db8::8a2e:370:7334 answers", "ips", "2001:db8::8a2e:370:7334"),
        ("id AKIAIOSFODNN7EXAMPLE", "keys", "AKIAIOSFODNN7EXAMPLE"),
        ("token=ghp_" + "a1B2" * 9, "keys", "ghp_" + "a1B2" * 9),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "keys",
         "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
    ],
)  # fmt: skip
def test_what_is_personal_is_found_whole(text, kind, what):
    assert found(text) == {kind: [what]}


@pytest.mark.parametrize(
    "text",
    [
        "user@localhost", "@media (a)", "a@b", "see @name", "on 2024-11-25 10:33:12", "ISBN 978-316-1484100",
        "ISBN: 316-148-4100", "version 1.2.3.4", "1.2.3.4.5", "300.1.1.1", "std::vector::at", "12:34:56", "::",
        "10.1000/182-555-0142", "1234567890", "3.14159265358979", "task-oriented-dialogue-systems", "a 1 2 3 4 5 6 7 8",
        "100-200-300", "skipped",
    ],
)  # fmt: skip
def test_what_is_not_personal_is_left_alone(text):
    assert found(text) == {}


@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from(["mail a.b@c.example ok", "call 212-555-0142 ok"]))
def test_planted_data_is_found_wherever_it_stands_and_spans_lie_in_the_text(texts, planted):
    texts = [*texts, f"{texts[0]}\n{planted}\n{texts[-1]}"]
    made = scored(texts, "pii")
    for row, text in enumerate(texts):
        spans = [span for kind in KINDS for span in made[kind][row]]
        assert all(0 <= span["start"] < span["end"] <= len(text) for span in spans)
        assert made["pii.count"][row] == len(spans)
        assert len({place for span in spans for place in range(span["start"], span["end"])}) == round(
            made["pii.share"][row] * len(text)
        )
    at = len(texts[0]) + 1
    assert any(at < span["start"] < at + 6 for kind in KINDS for span in made[kind][-1])


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000 + "@x", "a@" * 150_000, "a." * 150_000 + "@", "1 " * 150_000, "1-" * 150_000, "+1" * 150_000,
     "1.1." * 75_000, "::" * 150_000, "a:" * 150_000, "-----BEGIN " * 30_000, "eyJ" * 100_000, "sk-" * 100_000,
     "@" * 300_000, "((((" * 75_000, "-----BEGIN PRIVATE KEY-----" * 11_000, "1(" * 150_000],
)  # fmt: skip
def test_a_hostile_text_costs_no_more_than_a_long_one(text):
    """300,000 characters: well under a second each; what is quadratic in them takes minutes."""
    started = time.process_time()
    find(text)
    assert time.process_time() - started < 5
