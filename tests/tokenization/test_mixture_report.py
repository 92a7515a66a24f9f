"""How an inferred mixture is told."""

from dataclasses import replace

import numpy as np
import pytest
from trained_vocabularies import fiction, script_lines, small

from tokenry.core.report import Report
from tokenry.tokenization.mixture import MixtureOptions, infer
from tokenry.tokenization.mixture_counts import count_categories
from tokenry.tokenization.mixture_merges import canonical_merges
from tokenry.tokenization.mixture_report import _script_of_token, interval_ends, mixture_report


@pytest.fixture(scope="module")
def result():
    vocab = small()
    corpora = {"a": fiction()[:150], "b": script_lines(), "c": [text.upper() for text in fiction()[150:250]]}
    options = MixtureOptions(bootstrap=5, baselines=False, groups={"a or c": ("a", "c")})
    found = canonical_merges(vocab)
    return infer(vocab, found, count_categories(corpora, vocab), options=options, n_merges=200)


def test_a_group_has_the_interval_of_its_sum(result):
    """Closed form: quantiles of the summed draws, not the sum of quantiles."""
    draws = result.draws["bootstrap"]
    summed = interval_ends(result, [0, 2])["bootstrap"][0]
    assert summed == pytest.approx(np.quantile(draws[:, 0] + draws[:, 2], [0.05, 0.95]))
    row = mixture_report(result).tables["groups"].to_pylist()[0]
    assert row["bytes_share"] == pytest.approx(result.bytes_share[[0, 2]].sum())
    assert (row["low"], row["high"]) == tuple(summed)
    assert f"together a or c {row['bytes_share']:.1%} [{row['low']:.1%}, " in mixture_report(result).verdict


def test_the_report_is_strict_json_and_comes_back(result):
    report = mixture_report(result)
    again = Report.from_json(report.to_json())
    assert again.tables["shares"].column_names == ["source", "bytes_share", "pairs_share", "low", "high"]
    assert again.tables["shares"].to_pylist() == report.tables["shares"].to_pylist()
    assert sum(report.tables["shares"]["bytes_share"].to_pylist()) == pytest.approx(1)
    slack = report.tables["slack"].to_pylist()
    assert sum(row["share_of_slack"] for row in slack) == pytest.approx(1)
    assert sum(row["evidence"] for row in slack) == report.facts["n_merges.evidence"]
    assert report.figures[0].kind == "interval"
    assert report.figures[0].unit == "%"
    assert sum(point[1] for point in report.figures[0].series["inferred"]) == pytest.approx(100)


def test_a_correlation_of_a_few_draws_is_not_told(result):
    """Of three draws two shares often correlate by -1: that is noise, and no reason to distrust either."""
    assert "correlations" not in mixture_report(result).tables
    draws = np.random.default_rng(0).normal(size=(8, 3))
    many = replace(result, draws={"bootstrap": result.draws["bootstrap"], "calibrated": draws})
    assert mixture_report(many).tables["correlations"].num_rows == 3
    draws[:, 1] = -draws[:, 0]
    assert any("--groups both=a+b" in text for text in mixture_report(many).warnings)
    draws[:, 1:] = draws[:, [2, 1]]
    assert any("see the group a or c" in text for text in mixture_report(many).warnings)


def test_small_samples_and_an_open_gap_are_warned_of(result):
    report = mixture_report(replace(result, fit=replace(result.fit, lower_bound=0.0, gap=0.5)))
    text = " ".join(report.warnings)
    assert "gap of 0.5" in text
    assert "samples under 1 MB" in text
    assert "too narrow" in text


def test_a_worst_pair_is_in_the_category_that_holds_it(result):
    rows = mixture_report(result).tables["worst_pairs"].to_pylist()
    assert rows
    assert {row["most_in"] for row in rows} <= {"a", "b", "c"}
    upper = [row for row in rows if row["right"].isupper() and row["left"].isupper()]
    assert all(row["most_in"] == "c" for row in upper)


@pytest.mark.parametrize(
    ("token", "script"),
    [(b" the", "Latin"), ("да".encode(), "Cyrillic"), (b"\xd0", "Cyrillic"), (b"\xe3\x81", "Han"), (b"\x80", None)],
)
def test_half_a_character_tells_its_script(token, script):
    assert _script_of_token(token) == (script or "part of a character or space")
