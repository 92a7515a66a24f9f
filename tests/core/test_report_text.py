import io
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.intervals import Interval
from tokenry.core.report import Headline, Report, TokenSample, print_report
from tokenry.core.report_text import (
    format_change,
    format_fact,
    format_number,
    format_pair,
    table_cells,
    to_markdown,
    to_terminal,
    visible,
    visible_token,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.0, "0"),
        (1234.5678, "1,235"),
        (3.14159, "3.142"),
        (-0.5, "−0.5"),
        (0.000123456, "0.000123"),
        (1.5e-7, "1.5e−07"),
        (math.nan, "–"),
        (-math.inf, "−∞"),
        (np.float32(0.25), "0.25"),
        (2e15, "2e+15"),
    ],
)
def test_numbers_are_written_for_readers(value, shown):
    assert format_number(value) == shown


@given(st.floats(-1e300, 1e300))
def test_a_written_number_is_close_to_the_number(value):
    back = float(format_number(value).replace(",", "").replace("−", "-"))
    assert back == pytest.approx(value, rel=6e-3, abs=0)


def test_facts_of_every_kind_are_one_line():
    assert format_fact(None) == "–"
    assert [format_fact(v) for v in (True, np.bool_(False), "x", 7)] == ["yes", "no", "x", "7"]
    assert format_fact(Interval(1.4823, 1.4612, 1.5034, 9, "bits/byte")) == "1.482 [1.461, 1.503] bits/byte"
    assert format_fact(Interval(1.5, math.nan, math.nan, 1, "x")) == "1.5 x"


def test_both_sides_of_a_headline_have_the_same_decimals():
    line = Headline("speed", Interval(412.04, 403, 421, 5), Interval(603.2, 580, 625, 5))
    assert format_pair(line) == ("412", "[403, 421]", "603", "[580, 625]")
    close = Headline("x", Interval(0.5012, 0.5010, 0.5014, 5), Interval(0.5041, 0.49, 0.52, 5))
    assert format_pair(close)[0] != format_pair(close)[2]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (2.0, 3.0, "+50.0 %"),
        (2.0, 2.0, "+0.0 %"),
        (3.0, 2.98, "−0.67 %"),
        (1, 5, "+400 %"),
        (0.0, 2.5, "+2.5"),
        (-1.0, -2.0, "−1"),
        (1e-6, 9.0, "+9"),
        (math.nan, 1.0, "not measured"),
    ],
)
def test_a_change_always_carries_its_sign(before, after, shown):
    assert format_change(Headline("h", before, after)) == shown


def test_columns_of_numbers_share_their_decimals_unless_sizes_differ_too_much():
    table = pa.table({"a": [1.5, 0.25, None], "b": [1.0, 2.0, 3.0], "c": [1000.5, 0.0001, 2.0], "d": ["x", "y", None]})
    rows, numeric = table_cells(table, 9)
    assert [row[0] for row in rows] == ["1.50", "0.25", "–"]
    assert [row[1] for row in rows] == ["1", "2", "3"]
    assert [row[2] for row in rows] == ["1,000", "0.0001", "2"]
    assert numeric == [True, True, True, False]


def test_tokens_show_what_cannot_be_seen():
    assert visible_token(" a\tb\n") == "·a⇥b↵"
    assert visible_token("\u200b\u202e\x1b\x7f") == "‹ZWSP›‹U+202E›␛␡"
    assert visible_token("👩\u200d👧") == "👩\u200d👧"
    assert visible_token("\u200d") == "‹ZWJ›"
    rows, _ = table_cells(pa.table({"token": [" a"], "other": [" a"]}), 5)
    assert rows == [["·a", " a"]]


@given(st.text())
def test_nothing_shown_can_steer_a_terminal(text):
    for shown in (visible(text), visible_token(text)):
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in shown)


def _report() -> Report:
    return Report(
        kind="adapt",
        title="A [red]title[/red]\x1b[31m",
        verdict="Keep the old one.",
        facts={"bits_per_byte.before": Interval(1.5, 1.4, 1.6, 7, "bits/byte"), "n": 3},
        tables={"rows": pa.table({"name": ["a|b", "<img>"], "n": [1, 20_000]}), "long": pa.table({"i": range(500)})},
        warnings=["Few documents."],
        notes=["A note."],
        command="tokenry adapt x --out y",
        samples=[TokenSample("German", [("old", [" der", "``` x"]), ("new", [f"t{i}" for i in range(500)])])],
        headline=[
            Headline("bits per byte", Interval(1.5, 1.4, 1.6, 7), Interval(1.1, 1.0, 1.2, 7), "bits/byte", "lower"),
            Headline("general text", 1.0, 1.1, "bits/byte", "lower"),
        ],
    )


def test_the_terminal_shows_verdict_headline_warnings_tables_and_command():
    buffer = io.StringIO()
    print_report(_report(), file=buffer)
    shown = buffer.getvalue()
    for part in (
        "A [red]title[/red]␛[31m",
        "Keep the old one.",
        "Warning: Few documents.",
        "−26.7 %",
        "worse",
        "20,000",
        "… 480 more rows",
        "·der",
        "… and 420",
        "tokenry adapt x --out y",
    ):
        assert part in shown
    assert "\x1b" not in shown
    assert shown.index("better") < shown.index("worse") < shown.index("Warning")
    assert str(_report()) == shown


def test_a_terminal_names_the_columns_facts_and_texts_it_has_no_room_for():
    wide = pa.table({f"bytes_per_token_{i}": [1234.5678] for i in range(12)})
    samples = [TokenSample(f"text{i}", [("ours", ["a"])]) for i in range(6)]
    facts = {f"fact_{i}": i for i in range(50)}
    shown = to_terminal(Report("x", "x", facts=facts, tables={"wide": wide}, samples=samples), width=100)
    assert "bytes_per_token_4" in shown
    assert "7 more columns: bytes_per_token_5, " in shown
    assert "fact_47" in shown
    assert "fact_48" not in shown
    assert "2 more facts" in shown
    assert "text3" in shown
    assert "text4" not in shown
    assert "2 more texts" in shown


def test_a_terminal_gets_colour_and_the_untrusted_escape_does_not_pass(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    buffer = io.StringIO()
    print_report(_report(), file=buffer)
    assert "\x1b[" in buffer.getvalue()
    assert "title[/red]\x1b[31m" not in buffer.getvalue()


def test_markdown_holds_every_part_and_escapes_what_is_not_ours():
    shown = to_markdown(_report())
    assert shown.startswith("# A \\[red\\]title")
    for part in (
        "**Keep the old one.**",
        "> **Warning:** Few documents.",
        "| a\\|b | 1 |",
        "\\<img\\>",
        "300 more rows",
        "`bits_per_byte.before`",
        "1.50 [1.40, 1.60] bits/byte",
        "````\n·der | ```·x\n````",
        "```\ntokenry adapt x --out y\n```",
        "- A note.",
    ):
        assert part in shown
    header, rule = shown.split("## rows\n\n")[1].splitlines()[:2]
    assert header == "| name | n |"
    assert rule == "| --- | ---: |"


def test_an_empty_report_prints_its_title():
    assert str(Report("k", "Nothing yet")).strip() == "Nothing yet"
    assert to_markdown(Report("k", "Nothing yet")) == "# Nothing yet\n\n*k*\n"


def test_a_stream_without_these_letters_loses_letters_but_not_the_report():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(_report(), file=stream)
    stream.flush()
    assert b"Keep the old one." in raw.getvalue()
    assert b"?26.7 %" in raw.getvalue()
