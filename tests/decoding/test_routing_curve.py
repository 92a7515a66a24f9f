"""The curve ends in both models, whole-prompt routing is a choice among their texts, and the verbs run end to end."""

import json

import numpy as np
import pytest
from chain_pair import N_STATES, chain_model, states
from routing_models import tiny_pair

from tokenry.core.report import Report
from tokenry.decoding.routers import EntropyRouter, RandomRouter
from tokenry.decoding.routing_curve import (
    curve_report,
    measure_curve,
    quality_at,
    route_curve,
    same_as_large,
    same_last_number,
    shared_beginning,
    thresholds_for,
)
from tokenry.decoding.sampling import Settings

PROMPTS = [f"s{state}" for state in range(N_STATES)]
SETTINGS = Settings(max_new_tokens=24)


def same_states(prompt: str, text: str, reference: str) -> float:
    """Whether the chain passes the states it should."""
    said = [[word for word in each.split() if word.startswith("s")] for each in (text, reference)]
    return float(said[0] == said[1])


@pytest.fixture(scope="module")
def points():
    routers = {"entropy": EntropyRouter(), "random": RandomRouter(seed=1)}
    small, large = chain_model("small"), chain_model("large")
    return measure_curve(
        small, large, PROMPTS, routers=routers, quality=same_states, shares=(0.1, 0.5), settings=SETTINGS
    )


def test_the_curve_starts_and_ends_in_the_models_themselves(points):
    by_way = {point.way: point for point in points if point.way in ("small", "large")}
    assert by_way["large"].quality.all()
    assert not by_way["small"].quality.any()
    assert (by_way["small"].share.value, by_way["large"].share.value) == (0, 1)
    assert by_way["large"].bits.sum() < by_way["small"].bits.sum()
    assert by_way["small"].cost.large_forwards == 0
    np.testing.assert_array_equal(quality_at(points, "random", 0), by_way["small"].quality)
    np.testing.assert_array_equal(quality_at(points, "random", 1), by_way["large"].quality)
    low, high = (quality_at(points, "random", share).mean() for share in (0.05, 0.8))
    assert low <= high


def test_whole_prompts_are_answered_by_one_model(points):
    """At half of the tokens half of the prompts: all texts are of one length here."""
    half = next(point for point in points if point.way == "prompts" and point.asked == 0.5)
    assert half.quality.sum() == N_STATES / 2
    assert set((half.large_tokens / half.tokens).tolist()) == {0.0, 1.0}


def test_the_report_holds_every_point(points):
    report = curve_report(points, title="chain", quality="states")
    table = report.tables["curve"]
    assert table.num_rows == len(points) == 2 + 3 * 2
    assert report.facts["large_states"].value == 1
    assert set(report.figures[0].series) == {"prompts", "entropy", "random"}
    assert all(line[0][0] == 0 and line[-1][0] == 1 for line in report.figures[0].series.values())


def test_thresholds_give_the_share_they_are_set_to():
    small, _ = tiny_pair()
    texts = [([5, 9, 12], list(range(20, 60))), ([7], list(range(3, 33)))]
    for share, threshold in zip(
        (0.1, 0.5), thresholds_for(EntropyRouter(), small, texts, shares=(0.1, 0.5)), strict=True
    ):
        from tokenry.decoding.routing_curve import _scores

        scores = np.concatenate([_scores(EntropyRouter(), small, *text) for text in texts])
        assert abs((scores >= threshold).mean() - share) <= 1.5 / len(scores)


def test_qualities_compare_with_the_large_model():
    assert same_as_large("", "a  b", "a b") == 1
    assert shared_beginning("", "a b x d", "a b c d") == 0.5
    assert shared_beginning("", "", "") == 0
    assert same_last_number("", "1 so 4 !", "2 thus 4 .") == 1
    with pytest.raises(ValueError, match="shares"):
        route_curve("x", "y", ["a"], routers=["entropy"], shares=[0, 0.5])
    with pytest.raises(ValueError, match="no prompt"):
        measure_curve(*tiny_pair(), [], routers={})


def _run(capsys, *arguments, code=0):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return out, err


def test_the_verbs_label_train_measure_and_write(capsys, tmp_path):
    small, large = (chain_model(size).save(tmp_path / size) for size in ("small", "large"))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in PROMPTS))
    pair = ("--small", small, "--large", large, "--prompts", prompts)
    out, _ = _run(capsys, "route", "label", *pair, "--max-new-tokens", 30, "--out", tmp_path / "labels", "--json", "-q")
    facts = json.loads(out)["facts"]
    assert facts["n_tokens"] == 30 * N_STATES
    out, _ = _run(capsys, "route", "train", tmp_path / "labels", "--out", tmp_path / "router", "--inner", 16,
                  "--blocks", 1, "--rate", 0.01, "--batch", 128, "--epochs", 30, "--json", "-q")  # fmt: skip
    assert json.loads(out)["facts"]["recall"]["value"] == 1
    assert (tmp_path / "router" / "run.json").is_file()
    out, _ = _run(capsys, "route", "curve", *pair, "--router", tmp_path / "router", "--router", "random",
                  "--quality", "same-answer",
                  "--share", 0.1, "--max-new-tokens", 24, "--json", "-q", "--out", tmp_path / "curve")  # fmt: skip
    assert Report.from_json(out).tables["curve"].num_rows == 2 + 3
    assert (tmp_path / "curve" / "report.md").is_file()
    options = ("--strategy", "routed", "--with", f"small={small}", "--max-new-tokens", 24, "--prompt", "s0")
    found = {}
    for name, more in {
        "routed": (f"router={tmp_path / 'router'}",),
        "share": (f"router={tmp_path / 'router'}", "share=.2"),
        "large": ("threshold=0",),
        "small": ("threshold=1",),
    }.items():
        given = [part for option in more for part in ("--with", option)]
        found[name], err = _run(capsys, "generate", large, *options, *given)
        assert "24 tokens in" in err
    alone = [_run(capsys, "generate", lm, "--max-new-tokens", 24, "--prompt", "s0")[0] for lm in (large, small)]
    assert [found["large"], found["small"]] == alone
    said = {name: [word for word in text.split() if word[0] == "s"] for name, text in found.items()}
    assert said["routed"] == said["large"] != said["small"]
    _, err = _run(capsys, "generate", large, "--strategy", "routed", "--prompt", "s0", code=2)
    assert "small=FOLDER" in err
    _, err = _run(capsys, "route", "train", tmp_path / "curve", "--out", tmp_path / "r2", code=2)
    assert "route label" in err
    assert states([0, 1, 3]) == [0, 1]
