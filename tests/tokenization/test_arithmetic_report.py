"""The tables about answers to sums: nothing pooled over settings, every share with its interval."""

import json

import pytest

from tokenry.core.intervals import wilson_interval
from tokenry.tokenization.arithmetic import controlled_problems, format_number, length_triples
from tokenry.tokenization.arithmetic_report import arithmetic_report, rescore
from tokenry.tokenization.arithmetic_scores import score


def _rows() -> list[dict]:
    """The paper's finding, planted: from the left every mismatch problem is wrong, from the right none is."""
    rows = []
    for problem in controlled_problems(length_triples(7, 9), 10):
        for form in ("nosep", "comma_r2l"):
            said = problem.answer
            if form == "nosep" and not problem.length_match:
                digits = list(str(said))
                digits[3] = str((int(digits[3]) + 1) % 10)
                said = int("".join(digits))
            rows.append({
                "problem_index": problem.index, "num1": problem.a, "num2": problem.b, "model": "planted",
                "problem_number_format": form, "answer_number_format": form, "num_shots": 8,
                "response": format_number(said, form),
            })  # fmt: skip
    return rows


def test_a_planted_pattern_is_reported_as_it_is():
    report = arithmetic_report(score(_rows()))
    by_length = report.tables["by length match"].to_pylist()
    found = {(row["setting"], row["length"]): (row["right"], row["n"]) for row in by_length}
    assert found == {("planted nosep 8 shots", "match"): (90, 90), ("planted nosep 8 shots", "mismatch"): (0, 40),
                     ("planted comma_r2l 8 shots", "match"): (90, 90),
                     ("planted comma_r2l 8 shots", "mismatch"): (40, 40)}  # fmt: skip
    pair = report.tables["paired"].to_pylist()[0]
    assert (pair["only first right"], pair["only second right"]) == (0, 40)
    positions = {(r["what"], r["position from the left"]): r["wrong"] for r in report.tables["positions"].to_pylist()}
    assert positions == {("digit", 4): 40, ("token", 2): 40}
    row = report.tables["accuracy"].to_pylist()[0]
    expected = wilson_interval(90, 130)
    assert (row["low"], row["high"]) == (expected.low, expected.high)
    assert "p = " in report.verdict
    json.loads(report.to_json())


def test_stored_responses_are_scored_anew(tmp_path):
    import csv

    rows = _rows()
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = rescore(tmp_path)
    assert report.facts["responses"] == 260
    assert report.facts["files"] == 1
    assert report.facts["accuracy.planted comma_r2l 8 shots"].value == 1.0


def test_nothing_to_report_is_said():
    with pytest.raises(ValueError, match="no response"):
        arithmetic_report([])
