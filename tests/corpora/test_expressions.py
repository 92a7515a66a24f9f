"""Rules mean what they say, unknown is not true, and nothing in a rule is ever run."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.expressions import parse

BATCH = pa.RecordBatch.from_pydict(
    {
        "text": ["Lorem ipsum", "one two", None, "x"],
        "gopher.words": pa.array([2, 60, None, 1], pa.int64()),
        "lid.label": ["la", "en", None, "de"],
        "ok": [True, False, None, True],
        "spans": pa.array(
            [[{"start": 0, "end": 1, "score": 0.5}, {"start": 1, "end": 2, "score": None}], [], None,
             [{"start": 0, "end": 1, "score": 1.0}, {"start": 1, "end": 2, "score": 2.0}]],
            pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())])),
        ),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("gopher.words >= 50", [False, True, False, False]),
        ("not gopher.words >= 50", [True, False, False, True]),
        ("1 < gopher.words < 60", [True, False, False, False]),
        ('lid.label in ["en", "de"]', [False, True, False, True]),
        ('lid.label not in ["en", "de"]', [True, False, False, False]),
        ('contains(lower(text), "lorem ipsum") or gopher.words == 1', [True, False, False, True]),
        ("missing(text)", [False, False, True, False]),
        ("default(gopher.words, 0) < 50", [True, False, True, True]),
        ("ok and gopher.words < 2", [False, False, False, True]),
        ("length(text) / gopher.words > 5", [True, False, False, False]),
        ("mean(spans) >= .5", [True, False, False, True]),
        ("sum(spans) == 0", [False, True, False, False]),
        ("count(spans) == 2", [True, False, False, True]),
        ("-gopher.words < -50", [False, True, False, False]),
        ("True", [True, True, True, True]),
    ],
)
def test_a_rule_means_what_it_says(rule, expected):
    assert parse(rule).holds(BATCH).to_pylist() == expected


def test_the_columns_of_a_rule_are_known_before_it_is_used():
    assert parse("gopher.words > 1 and lid.score > gopher.words").columns == ("gopher.words", "lid.score")


def test_a_column_that_is_not_there_is_an_error_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"gopher\.word'.*gopher\.words"):
        parse("gopher.word > 1").holds(BATCH)


@pytest.mark.parametrize(
    "rule",
    [
        "__import__('os').system('x')", "text.__class__()", "[x for x in y]", "lambda: 1", "a if b else c", "f'{a}'",
        "open('x')", "a[0]", "a ** 9999", "(a := 1)", "a is None", "x in y", "", "a >", "contains(text)", "b'x' == a",
        "a" * 30_000, "(" * 500 + "a" + ")" * 500, "length(*a)", "length(text=a)",
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(rule):
    with pytest.raises(ValueError, match=r"."):
        parse(rule)


def test_a_rule_without_yes_or_no_is_refused():
    with pytest.raises(ValueError, match="not yes or no"):
        parse("gopher.words + 1").holds(BATCH)


def test_a_rule_that_does_not_fit_its_columns_names_them():
    with pytest.raises(ValueError, match=r"lid\.label is string"):
        parse("lid.label > 3").holds(BATCH)


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=9), st.integers(-5, 5), st.integers(-5, 5))
def test_rules_agree_with_python_where_values_are_known(values, low, high):
    batch = pa.RecordBatch.from_pydict({"a": pa.array(values, pa.int64())})
    made = parse(f"{low} <= a <= {high} or a * 2 > {high}").holds(batch).to_pylist()
    assert made == [value is not None and (low <= value <= high or value * 2 > high) for value in values]


def test_an_empty_batch_has_no_answers():
    assert parse("gopher.words > 1").holds(BATCH.slice(0, 0)).to_pylist() == []
