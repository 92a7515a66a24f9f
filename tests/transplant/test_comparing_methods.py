"""Comparing row methods: ranks after equal training, controls, what is skipped, and going on after an interruption."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.tables import texts as read_texts
from tokenry.data import demo_model, demo_text
from tokenry.models.scoring import Scores
from tokenry.transplant import comparing_methods as comparing
from tokenry.transplant.compare_orders import order_correlation, rank_correlation, ranks, turned_pairs
from tokenry.transplant.compare_report import compare_report
from tokenry.transplant.comparing_methods import (
    TRAINED,
    UNTOUCHED,
    CompareConfig,
    Texts,
    Trial,
    compare_methods,
    method_names,
)
from tokenry.transplant.healing import HealConfig

SHORT = CompareConfig(("pieces", "random", "wechsel"), HealConfig(steps=2, batch=2, length=48), heldout_bytes=3000)


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    """Twenty stories, and the demonstration vocabulary with 60 tokens learned from them."""
    from tokenry.core.vocab import Vocab
    from tokenry.tokenization.extend import extend

    folder = tmp_path_factory.mktemp("compare")
    found = [text[:600] for text in read_texts(demo_text("stories"), limit=40)]
    data = folder / "stories.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in found), encoding="utf-8")
    extend(Vocab.open(demo_model()), found, add=60).vocab.to_hf(folder / "longer")
    return data, folder / "longer"


def made_trial(method, seed, before, after, *, n=30):
    """Documents of 100 bytes whose bits per byte lie around the two numbers, alike for all methods."""
    noise = 0.05 * np.random.default_rng(1).standard_normal(n)

    def scores(bits):
        return Scores((bits + noise) * 100 * np.log(2), np.full(n, 100), np.full(n, 40))

    curve = [{"flops": 0.0, "bits_per_byte": before}, {"flops": 9.0, "bits_per_byte": after + 0.01 * seed}]
    return Trial(method, seed, {"de": scores(before)}, {"de": scores(after)}, curve, 9.0, 0.1)


def test_ranks_are_those_after_training_whatever_step_zero_says():
    trials = [
        made_trial(UNTOUCHED, 0, 2.0, 2.0), made_trial("a", 0, 2.5, 2.4), made_trial("b", 0, 3.5, 1.9),
        made_trial("c", 0, 3.0, 2.2), made_trial(TRAINED, 0, 2.0, 1.8),
    ]  # fmt: skip
    report = compare_report(trials, {"d": "no vectors"}, config=CompareConfig(), name="m", target="t")
    rows = report.tables["methods"].to_pylist()
    assert [row["method"] for row in rows] == ["b", "c", "a", TRAINED, UNTOUCHED]
    assert report.facts["best"] == "b"
    assert report.facts["level_with_best"] == ""
    tau = report.facts["rank_correlation.step_0_and_after"]
    assert (tau.value, tau.low, tau.n) == (-1, -1, 30)
    assert "a scored best" in report.verdict
    assert "does not pay" in report.verdict
    assert "must not rank" in report.warnings[0]
    # The same noise in every document: the paired difference is exact.
    assert rows[2]["worse than best by"] == pytest.approx(0.5)
    assert rows[2]["worse than best by, low"] == pytest.approx(0.5)
    assert report.tables["skipped"].to_pylist() == [{"method": "d", "why": "no vectors"}]


def test_seeds_are_averaged_and_their_spread_is_told():
    trials = [made_trial(UNTOUCHED, 0, 2.0, 2.0)]
    for seed, shift in ((0, 0.0), (1, 0.2)):
        trials += [made_trial("a", seed, 3.0, 2.0 + shift), made_trial(TRAINED, seed, 2.0, 1.9)]
    report = compare_report(trials, {}, config=CompareConfig(seeds=2), name="m", target="t")
    first = report.tables["methods"].to_pylist()[0]
    assert first["after"] == pytest.approx(2.1, abs=0.02)
    assert first["seeds, low"] < first["after"] < first["seeds, high"]
    assert report.figures[0].series["a"][1][2:] == (2.0, 2.21)


def test_the_order_at_step_zero_is_compared_by_the_librarys_tau_and_resampled_documents():
    from scipy.stats import kendalltau

    rng = np.random.default_rng(3)
    bits = rng.uniform(1, 3, (2, 7))
    sides = [[made_trial(str(i), 0, b, b).before["de"] for i, b in enumerate(side)] for side in bits]
    found = order_correlation(*sides)
    assert found.value == pytest.approx(kendalltau(*bits).statistic)
    # The documents' noise is the same for every method, so no resample changes an order.
    assert (found.low, found.high, found.n) == (found.value, found.value, 30)
    assert order_correlation(sides[0][:1], sides[1][:1]) is None
    assert ranks([3.0, 1.0, 2.0]) == [3, 1, 2]


def test_pairs_count_as_turned_only_where_documents_tell_them_apart_at_both_times():
    def scores(bits, noise=0.0, seed=0):
        drawn = bits + noise * np.random.default_rng(seed).standard_normal(30)
        return Scores(drawn * 100 * np.log(2), np.full(30, 100), np.full(30, 40))

    before = [scores(2.0), scores(3.0), scores(2.5, 5.0, 1)]
    after = [scores(2.0), scores(1.0), scores(1.5)]
    found = turned_pairs(before, after)
    # a and b turn round; b before c and a behind c after training, but nothing was known of c at step 0.
    assert (found.total, found.told_apart, found.kept, found.reversed) == (3, 3, 0, 1)


def test_differences_to_the_reference_are_paired_over_documents_and_over_orders_of_the_text():
    trials = [made_trial(UNTOUCHED, 0, 2.0, 2.0)]
    for seed, shift in ((0, 0.0), (1, 0.2), (2, 0.4)):
        trials += [made_trial("pieces", seed, 3.0, 2.0 + shift), made_trial("b", seed, 2.9, 2.1 + shift)]
        trials.append(made_trial(TRAINED, seed, 2.0, 1.9))
    rows = {row["method"]: row for row in compare_report(
        trials, {}, config=CompareConfig(seeds=3), name="m", target="t").tables["methods"].to_pylist()}  # fmt: skip
    # Orders differ by 0.4, b is 0.1 worse in each of them: pairing leaves nothing of the spread.
    assert rows["b"]["from pieces"] == pytest.approx(0.1)
    assert rows["b"]["from pieces at step 0"] == pytest.approx(-0.1)
    assert rows["b"]["from pieces, seeds, low"] == pytest.approx(0.1)
    assert rows["b"]["seeds, high"] - rows["b"]["seeds, low"] > 0.3
    assert (rows["pieces"]["rank"], rows["pieces"]["rank at step 0"]) == (1, 2)
    assert rows[TRAINED]["rank"] is None


def test_a_model_that_gives_no_next_token_is_refused_and_leaves_nothing(stories, tmp_path):
    from tokenry.core.vocab import Vocab
    from tokenry.models.tiny import tiny_bert

    data, longer = stories
    tiny_bert(Vocab.open(demo_model()), width=16, layers=1, heads=2).save(tmp_path / "bert")
    for options in (["compare", "--data", str(data), "--methods", "pieces"], ["move", "--eval", str(data)]):
        command = ["transplant", options[0], str(tmp_path / "bert"), *options[1:], "--tokenizer", str(longer)]
        ran = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "-q"])
        assert isinstance(ran.exception, ValueError)  # the door makes it a sentence and exit code 2
        assert "BertForMaskedLM is not a causal language model" in str(ran.exception)
        assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_the_rank_correlation_of_too_few_is_nothing():
    assert rank_correlation([1.0], [2.0]) is None
    assert rank_correlation([1.0, 1.0], [2.0, 3.0]) is None
    assert rank_correlation([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]) == 1.0


def test_a_trial_is_the_same_after_its_record():
    trial = made_trial("a", 1, 3.0, 2.0)
    again = Trial.from_record(json.loads(json.dumps(trial.to_record())))
    assert np.array_equal(again.after["de"].nats, trial.after["de"].nats)
    assert again.curve == trial.curve
    assert (again.method, again.seed, again.flops) == ("a", 1, 9.0)


def test_unknown_methods_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="Did you mean 'pieces'"):
        method_names(("piecess",))
    with pytest.raises(ValueError, match=r"no method was named"):
        method_names(())


# Slow: two whole comparisons, one of them begun twice.
@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_gives_the_same_report(stories, tmp_path, monkeypatch):
    data, longer = stories
    texts = Texts({"stories": data})
    config = replace(SHORT, methods=("pieces", "random"))
    options = {"tokenizer": str(longer), "config": config}
    whole = compare_methods(str(demo_model()), texts, **options)
    plain, calls = comparing.heal, []

    def stops(*args, **more):
        calls.append(more["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*args, **more)

    monkeypatch.setattr(comparing, "heal", stops)
    with pytest.raises(KeyboardInterrupt):
        compare_methods(str(demo_model()), texts, out=tmp_path / "cmp", **options)
    assert not (tmp_path / "cmp").exists()
    again = compare_methods(str(demo_model()), texts, out=tmp_path / "cmp", resume=True, **options)
    assert calls == ["training: pieces", "training: random", "training: random", f"training: {TRAINED}"]
    kept = [[row["method"], row["after"]] for row in whole.tables["methods"].to_pylist()]
    assert kept == [[row["method"], row["after"]] for row in again.tables["methods"].to_pylist()]
    assert (tmp_path / "cmp" / "report.html").exists()


def test_the_verb_compares_scores_by_domain_and_skips_with_a_reason(stories, tmp_path):
    data, longer = stories
    command = ["transplant", "compare", str(demo_model()), "--tokenizer", str(longer), "--data", f"tales={data}",
               "--general", f"old={data}", "--methods", "pieces,wechsel", "--steps", "2", "--batch", "2", "--length",
               "48", "--heldout-bytes", "3000", "--out", str(tmp_path / "cmp"), "--json", "-q"]  # fmt: skip
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    report = json.loads((tmp_path / "cmp" / "report.json").read_text())
    assert report["facts"]["best"] == "pieces"
    tables = json.dumps(report["tables"])
    assert "old (general)" in tables
    assert {"Latin", "rank at step 0", "tau with the end"} <= set(re.findall(r'"([^"]+)"', tables))
    assert "--dictionary" in tables
    assert json.loads((tmp_path / "cmp" / "run.json").read_text())["verb"] == "transplant compare"


def test_no_usable_method_is_an_error_that_says_why(stories):
    data, longer = stories
    config = replace(SHORT, methods=("wechsel",))
    with pytest.raises(ValueError, match=r"no method could be used: wechsel: .*--vectors"):
        compare_methods(str(demo_model()), Texts({"stories": data}), tokenizer=str(longer), config=config)


# Slow: six short trainings; the order is only sure after some steps.
@pytest.mark.slow
def test_pieces_rank_above_random_rows_on_a_trained_model(stories):
    data, longer = stories
    config = CompareConfig(("random", "pieces"), HealConfig(steps=10, batch=4, length=64), seeds=2, heldout_bytes=8000)
    report = compare_methods(str(demo_model()), Texts({"stories": data}), tokenizer=str(longer), config=config)
    first, second = report.tables["methods"].to_pylist()[:2]
    assert (first["method"], second["method"]) == ("pieces", "random")
    # 60 new tokens of the most frequent words: random rows cost whole bits at each; the paired interval excludes 0.
    assert second["worse than best by, low"] > 0.05
