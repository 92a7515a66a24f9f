"""Verdict and evidence: which model a user should take, from scores with known answers."""

import numpy as np
import pytest

from tokenry.core.intervals import Interval
from tokenry.models.scoring import Scores
from tokenry.transplant.proof import Evidence, evidence_report, relation, verdict

RNG = np.random.default_rng(0)
SIZES = RNG.integers(500, 1500, 40)
HARDNESS = RNG.normal(1.0, 0.15, 40)


def scores(bits, *, tokens=3.0, noise=0.0, seed=1):
    """Documents of unequal hardness under a model of `bits` bits per byte."""
    wobble = 1 + noise * np.random.default_rng(seed).standard_normal(40)
    return Scores(bits * HARDNESS * wobble * SIZES * np.log(2), SIZES, (SIZES / tokens).astype(int))


def evidence(before, healed, control=None, *, speed=1.5, context=1.5, general=None):
    domain = {"before": scores(before, tokens=2), "moved": scores(3.0), "healed": scores(healed)}
    if control is not None:
        domain["control"] = scores(control, tokens=2)
    speeds = {"before": Interval(100.0, 90, 110, 8), "after": Interval(100.0 * speed, 90 * speed, 110 * speed, 8)}
    return Evidence(domain, general or {}, speeds, speed, {"before": 1000, "after": round(1000 * context)})


@pytest.mark.parametrize(
    ("given", "choice", "words"),
    [
        (evidence(2.0, 1.5, 1.7), "adapted", "better than the fine-tuned original"),
        (evidence(2.0, 1.7, 1.7), "adapted", "as well as the fine-tuned original"),
        (evidence(2.0, 1.7, 1.5), "control", "at equal compute it predicts your text better than the adapted"),
        (evidence(2.0, 1.7, 1.7, speed=1.0, context=1.0), "control", "as well as the adapted"),
        (evidence(1.0, 1.3, 1.1), "original", "Keep the old model"),
        (evidence(2.0, 1.5), "adapted", "better than the original"),
        (evidence(1.0, 1.3), "original", "Keep the old model"),
    ],
)
def test_the_verdict_follows_the_scores(given, choice, words):
    found, sentence = verdict(given)
    assert found == choice
    assert words in sentence


def test_a_dear_loss_on_general_text_stands_in_the_verdict():
    def general(healed):
        return {"before": scores(1.0, tokens=2), "healed": scores(healed)}

    assert "general text costs it 30% more bits" in verdict(evidence(2.0, 1.5, 1.7, general=general(1.3)))[1]
    assert "general" not in verdict(evidence(2.0, 1.5, 1.7, general=general(1.02)))[1]


def test_a_difference_below_one_per_cent_or_inside_its_interval_is_level():
    assert relation(scores(1.005), scores(1.0)) == "level"
    assert relation(scores(1.02, noise=0.3), scores(1.0, noise=0.3, seed=2)) == "level"
    assert relation(scores(1.02), scores(1.0)) == "worse"


def test_every_promised_fact_is_there_with_its_interval():
    general = {"before": scores(1.0, tokens=2), "healed": scores(1.2), "control": scores(1.1, tokens=2)}
    report = evidence_report(evidence(2.0, 1.5, 1.7, general=general), title="t", curves={"healed": []})
    for key in (
        "bytes_per_token.before", "bytes_per_token.after", "bits_per_byte.before", "bits_per_byte.moved",
        "bits_per_byte.healed", "bits_per_byte.control", "bytes_per_second.before", "bytes_per_second.after",
        "bits_per_byte.general.before", "bits_per_byte.general.healed",
    ):  # fmt: skip
        fact = report.facts[key]
        assert fact.low <= fact.value <= fact.high, key
    assert report.facts["bits_per_byte.healed"].value == pytest.approx(1.5 * (HARDNESS * SIZES).sum() / SIZES.sum())


def test_what_got_worse_is_said_in_the_warnings():
    general = {"before": scores(1.0, tokens=2), "healed": scores(1.3), "control": scores(1.1, tokens=2)}
    report = evidence_report(evidence(1.0, 1.4, 1.1, speed=0.7, general=general), title="t", curves={})
    text = " ".join(report.warnings)
    assert "forgot" in text
    assert "+30%" in text
    assert "worse than the original by 0.4" in text
    assert "fewer bytes per second" in text
    outcomes = {headline.label: headline.outcome for headline in report.headline}
    assert outcomes["Bits per byte on your text"] == "worse"
    assert outcomes["Bytes per token on your text"] == "better"
