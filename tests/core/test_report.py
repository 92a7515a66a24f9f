import dataclasses
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Headline, Report, TokenSample, compare_reports

text = st.text(st.characters(), max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False)
intervals = st.builds(Interval, number, number, number, st.integers(0, 99), text)
facts = st.dictionaries(text, st.none() | st.booleans() | st.integers() | number | text | intervals, max_size=5)
points = st.tuples(number | text, number) | st.tuples(number, number, number, number)
figures = st.builds(
    Figure,
    st.sampled_from(["line", "bar", "interval", "histogram"]),
    text,
    text,
    text,
    st.dictionaries(text, st.lists(points, max_size=4), max_size=3),
    text,
    st.booleans(),
)
samples = st.builds(TokenSample, text, st.lists(st.tuples(text, st.lists(text, max_size=4)), max_size=2))
headlines = st.builds(
    Headline,
    text,
    number | intervals,
    number | intervals,
    text,
    st.sampled_from(["higher", "lower"]),
    st.none() | intervals,
)
plain_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
columns = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.none() | number, max_size=4).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | plain_text, max_size=4).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.none() | st.lists(st.integers(0, 9)), max_size=4).map(lambda v: pa.array(v, pa.list_(pa.int32()))),
    st.lists(st.none() | st.booleans(), max_size=4).map(lambda v: pa.array(v, pa.bool_())),
)
tables = st.dictionaries(text, st.tuples(plain_text, columns).map(lambda c: pa.table({c[0]: c[1]})), max_size=2)
lines = st.lists(text, max_size=3)
reports = st.builds(
    Report,
    text,
    text,
    facts,
    tables,
    st.lists(figures, max_size=2),
    text,
    lines,
    lines,
    text,
    st.lists(samples, max_size=2),
    st.lists(headlines, max_size=2),
)


def _no_constant(name):
    raise AssertionError(f"{name} is not JSON")


@settings(max_examples=40)
@given(reports)
def test_every_report_survives_json(report):
    written = report.to_json()
    written.encode()
    json.loads(written, parse_constant=_no_constant)
    back = Report.from_json(written)
    assert back == report
    assert back.to_json() == written


def test_numbers_that_are_not_finite_become_null_and_read_back_as_nan_or_none():
    report = Report(
        kind="k",
        title="t",
        facts={"nan": math.nan, "inf": math.inf, "one document": Interval(2.0, math.nan, math.nan, 1)},
        tables={"t": pa.table({"x": [1.0, math.nan, -math.inf]})},
        figures=[Figure("line", "f", "x", "y", {"a": [(1, math.nan), (2, 3.0)]})],
        headline=[Headline("h", math.nan, 1.0)],
    )
    written = report.to_json()
    json.loads(written, parse_constant=_no_constant)
    back = Report.from_json(written)
    assert back.facts["nan"] is back.facts["inf"] is None
    assert math.isnan(back.facts["one document"].low)
    assert back.facts["one document"].value == 2.0
    assert back.tables["t"]["x"].to_pylist() == [1.0, None, None]
    assert math.isnan(back.figures[0].series["a"][0][1])
    assert math.isnan(back.headline[0].before)
    assert back.to_json() == written


def test_an_interval_is_written_with_its_ends_for_machines():
    written = Report("k", "t", {"bits_per_byte.before": Interval(1.5, 1.4, 1.6, 7, "bits/byte")}).to_json()
    expected = {"value": 1.5, "low": 1.4, "high": 1.6, "n": 7, "unit": "bits/byte"}
    assert json.loads(written)["facts"]["bits_per_byte.before"] == expected


def test_numpy_values_are_written_as_plain_numbers():
    report = Report("k", "t", {"n": np.int64(3), "x": np.float32(0.5), "ok": np.bool_(True)})
    report.figures.append(Figure("line", "f", "x", "y", {"a": [(np.int64(1), np.float32(2))]}))
    assert Report.from_json(report.to_json()).facts == {"n": 3, "x": 0.5, "ok": True}


def test_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(ValueError, match="fact 'f' is a list"):
        Report("k", "t", {"f": [1]}).to_json()
    with pytest.raises(ValueError, match=r"'t\.b' is of type binary"):
        Report("k", "t", tables={"t": pa.table({"b": [b"x"]})}).to_json()
    with pytest.raises(ValueError, match="two columns"):
        Report("k", "t", tables={"t": pa.table([[1], [2]], names=["a", "a"])}).to_json()
    with pytest.raises(ValueError, match="schema"):
        Report.from_json('{"kind": "k"}')
    with pytest.raises(ValueError, match="schema"):
        Report.from_json("[]")


def test_dictionary_columns_are_written_as_their_values():
    report = Report("k", "t", tables={"t": pa.table({"c": pa.array(["x", "y", "x"]).dictionary_encode()})})
    assert Report.from_json(report.to_json()).tables["t"]["c"].to_pylist() == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("before", "after", "better", "change", "outcome"),
    [
        (1, 2, "higher", None, "better"),
        (1, 2, "lower", None, "worse"),
        (2, 2, "lower", None, "unclear"),
        (math.nan, 2, "lower", None, "unclear"),
        (Interval(1, 0.9, 1.1, 5), Interval(2, 1.9, 2.1, 5), "lower", None, "worse"),
        (Interval(1, 0.5, 1.5, 5), Interval(1.4, 1.2, 2.1, 5), "higher", None, "unclear"),
        (Interval(1, 0.5, 1.5, 5), Interval(1.4, 1.2, 2.1, 5), "higher", Interval(0.4, 0.3, 0.5, 5), "better"),
        (Interval(1, 0.9, 1.1, 5), Interval(2, 1.9, 2.1, 5), "higher", Interval(1, -0.1, 2, 5), "unclear"),
        (Interval(1, math.nan, math.nan, 1), Interval(2, math.nan, math.nan, 1), "higher", None, "unclear"),
    ],
)
def test_a_headline_says_better_or_worse_only_where_the_intervals_allow_it(before, after, better, change, outcome):
    assert Headline("h", before, after, "", better, change).outcome == outcome


def test_wrong_directions_and_kinds_are_refused():
    with pytest.raises(ValueError, match="'higher' or 'lower'"):
        Headline("h", 1, 2, better="up")
    with pytest.raises(ValueError, match="need one of line"):
        Figure("pie", "t", "x", "y", {})
    with pytest.raises(ValueError, match="a point of 3 values"):
        Figure("line", "t", "x", "y", {"a": [(1, 2, 3)]})


def test_a_histogram_of_values_counts_every_finite_value_once():
    values = {"old": np.array([1, 2, 2, math.nan, 9.0]), "new": np.array([3.0, math.inf])}
    figure = Figure.of_values("t", "bytes", values, bins=4)
    assert {name: sum(y for _, y in series) for name, series in figure.series.items()} == {"old": 4, "new": 1}
    assert [x for x, _ in figure.series["old"]] == [x for x, _ in figure.series["new"]] == [1, 3, 5, 7]


def test_saving_writes_three_files_that_agree(tmp_path):
    report = Report("k", "A title", {"n": 3}, verdict="Take it.", command="tokenry x")
    page = report.save(tmp_path / "deep" / "report")
    assert page.name == "report.html"
    assert sorted(file.name for file in page.parent.iterdir()) == ["report.html", "report.json", "report.md"]
    assert Report.from_json((page.parent / "report.json").read_text(encoding="utf-8")) == report
    for name in ("report.html", "report.md"):
        content = (page.parent / name).read_text(encoding="utf-8")
        assert "A title" in content
        assert "Take it." in content


def test_saving_survives_half_characters(tmp_path):
    broken = Report("k", "a\ud800b", samples=[TokenSample("s", [("l", ["\udfff", "x"])])])
    page = broken.save(tmp_path)
    page.read_text(encoding="utf-8")
    assert Report.from_json((tmp_path / "report.json").read_text(encoding="utf-8")) == broken


def test_two_reports_of_one_kind_stand_side_by_side():
    curve = Figure("line", "loss", "step", "bits", {"x": [(0, 1), (1, 0.5)]})
    a = Report("audit", "GPT-2", {"n": 10, "rate": Interval(4.0, 3.9, 4.1, 5), "name": "x"}, figures=[curve])
    b = Report("audit", "Ours", {"n": 12, "rate": Interval(5.0, 4.9, 5.1, 5), "extra": None}, figures=[curve])
    both = compare_reports(a, b, names=("old", "new"))
    assert both.kind == "audit-comparison"
    assert both.facts["rate.new"] == b.facts["rate"]
    table = both.tables["side by side"]
    assert table.column_names == ["fact", "old", "new", "change"]
    assert table["fact"].to_pylist() == ["n", "rate", "name", "extra"]
    assert table["change"].to_pylist() == [2.0, 1.0, None, None]
    assert list(both.figures[0].series) == ["old: x", "new: x"]
    assert Report.from_json(both.to_json()) == both
    with pytest.raises(ValueError, match="same kind"):
        compare_reports(a, dataclasses.replace(b, kind="adapt"))
    with pytest.raises(ValueError, match="different names"):
        compare_reports(a, b, names=("x", "x"))
