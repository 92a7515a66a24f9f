"""Every selector measures and decides through one door, within the budget, and says what it lacks."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.tables import read
from tokenry.corpora import SELECTORS
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.presets import PRESETS
from tokenry.corpora.select import Choice
from tokenry.corpora.selector_report import selectors_report
from tokenry.corpora.selectors import (
    GROUPS,
    Job,
    Means,
    Selector,
    choice_by,
    measure,
    open_selector,
    select_by,
)
from tokenry.corpora.sidecars import columns_of, read_signals

ENGINE = EmbeddedEngine(workers=1)
NEEDS_TORCH = ("lm", "lm-middle", "rho")
RNG = np.random.default_rng(0)
VOCABULARY = {"sea": ["wave", "ship", "sail", "harbour", "tide", "anchor", "mast", "crew"],
              "code": ["loop", "value", "return", "class", "index", "array", "string", "error"]}  # fmt: skip


def sentence(kind, n=30):
    return " ".join(RNG.choice(VOCABULARY[kind], n))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """80 documents, every fourth of the target's kind, and five copied."""
    folder = tmp_path_factory.mktemp("world")
    rows = [{"id": f"d{n}", "kind": "code" if n % 4 == 0 else "sea"} for n in range(80)]
    rows = [{**row, "text": sentence(row["kind"])} for row in rows]
    rows += [{"id": f"c{n}", "kind": rows[n]["kind"], "text": rows[n]["text"]} for n in range(1, 6)]
    (folder / "in").mkdir()
    write(folder / "in/a.jsonl", rows[:50])
    write(folder / "in/b.jsonl", rows[50:])
    write(folder / "target.jsonl", [{"text": sentence("code")} for _ in range(20)])
    return folder


def means(world, selector):
    encoder = "words" if "encoder" in selector.needs else None
    return Means(targets=(str(world / "target.jsonl"),), encoder=encoder, label="kind")


@pytest.mark.parametrize("name", [name for name in SELECTORS if name not in NEEDS_TORCH])
def test_every_selector_measures_and_keeps_within_its_budget(name, world, tmp_path):
    selector = open_selector(name)
    cap = 3.0 if name == "density-cap" else None
    made = select_by(world / "in", tmp_path / "out", method=name, means=means(world, selector), engine=ENGINE,
                     choice=Choice(budget=10, cap=cap))  # fmt: skip
    kept = read_signals(made.documents.folder, []).column("id").to_pylist()
    everything = read(world / "in").column("id").to_pylist()
    assert set(kept) <= set(everything)
    assert kept == [one for one in everything if one in set(kept)]
    # A noisy draw or a cap may leave less than the budget, never more.
    assert len(kept) == 10 or (name in ("classifier-noisy", "density-cap") and len(kept) < 10)
    assert made.report.facts["method"] == name
    if selector.measure is not None:
        utility = read_signals(tmp_path / "out.utility")
        assert utility.column("id").to_pylist() == everything
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert hidden == []


@pytest.mark.parametrize("name", ["dsir", "dsir-length", "moore-lewis", "ngram", "classifier"])
def test_selectors_with_a_target_find_its_kind(name, world, tmp_path):
    asked = means(world, open_selector(name))
    made = select_by(world / "in", tmp_path / "out", method=name, means=asked, engine=ENGINE, choice=Choice(budget=15))
    kinds = read(made.documents.folder).column("kind").to_pylist()
    # No word is in both kinds, and 21 documents are of the target's: all 15 should be. Chance has 4 (sd 1.7).
    assert kinds.count("code") >= 14


def test_copies_go_under_all_three_ways_to_find_duplicates(world, tmp_path):
    for name in ("exact", "minhash", "semdedup"):
        selector = open_selector(name)
        options = {"epsilon": 1e-6} if name == "semdedup" else {}
        asked = Means(encoder="words" if "encoder" in selector.needs else None, options=options)
        made = select_by(world / "in", tmp_path / name, method=name, means=asked, engine=ENGINE)
        assert read(made.documents.folder).num_rows == 80


def test_what_was_measured_is_taken_again_and_not_under_another_setting(world, tmp_path):
    target = Means(targets=(str(world / "target.jsonl"),))
    made = measure(world / "in", "dsir", tmp_path / "u", means=target, engine=ENGINE)
    stamp = made.parts[0].stat().st_mtime_ns
    again = measure(world / "in", "dsir", tmp_path / "u", means=target, engine=ENGINE)
    assert again.parts[0].stat().st_mtime_ns == stamp
    other = Means(targets=target.targets, options={"buckets": 500})
    with pytest.raises(FileExistsError, match="measured with other settings"):
        measure(world / "in", "dsir", tmp_path / "u", means=other, engine=ENGINE)


def test_documents_that_changed_are_not_measured_by_what_stands_there(world, tmp_path):
    copy = write(tmp_path / "docs.jsonl", [{"text": sentence("sea")} for _ in range(5)])
    measure(copy, "ngram", tmp_path / "u", engine=ENGINE)
    write(copy, [{"text": sentence("code")} for _ in range(6)])
    with pytest.raises(FileExistsError, match="on other documents"):
        measure(copy, "ngram", tmp_path / "u", engine=ENGINE)


@pytest.mark.parametrize("name", ["dsir", "moore-lewis", "ngram", "classifier"])
def test_a_run_cut_off_after_learning_leaves_nothing_to_another_target(name, world, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    sea = write(tmp_path / "sea.jsonl", [{"text": sentence("sea")} for _ in range(20)])
    with monkeypatch.context() as patched:
        patched.setattr(Job, "map", cut)
        with pytest.raises(KeyboardInterrupt):
            measure(world / "in", name, tmp_path / "u", means=Means(targets=(str(sea),)), engine=ENGINE)
    assert not (tmp_path / "u").exists()
    assert not (tmp_path / "u.model").exists()
    asked = Means(targets=(str(world / "target.jsonl"),))
    for out in ("u", "fresh"):
        measure(world / "in", name, tmp_path / out, means=asked, engine=ENGINE)
    assert read_signals(tmp_path / "u").equals(read_signals(tmp_path / "fresh"))
    assert (tmp_path / "u.model").exists()


def test_what_cannot_be_chosen_is_refused_before_anything_is_measured(world, tmp_path):
    asked = Means(targets=(str(world / "target.jsonl"),))
    for choice, message in ((Choice(budget=5, rules={"a": "x >"}), "x >"), (Choice(budget=5, share=0.1), "a share")):
        with pytest.raises(ValueError, match=message):
            select_by(world / "in", tmp_path / "out", method="dsir", means=asked, choice=choice, engine=ENGINE)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        select_by(world / "in", tmp_path / "there", method="dsir", means=asked, choice=Choice(budget=5), engine=ENGINE)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_budget_that_is_not_reached_is_told(world, tmp_path):
    asked = Means(encoder="words", options={"picks": 5})
    made = select_by(world / "in", tmp_path / "out", method="k-center", means=asked, choice=Choice(budget=20),
                     engine=ENGINE)  # fmt: skip
    assert read(made.documents.folder).num_rows == 5
    assert made.report.warnings == ["only 5 of the 20 docs asked for are kept. The reasons say why."]


def test_classes_that_are_numbers_are_classes_and_those_that_are_missing_have_no_error(tmp_path):
    rows = [{"text": sentence(kind), "year": year} for kind, year in (("sea", 1), ("code", 2), ("sea", None)) * 20]
    measure(write(tmp_path / "in.jsonl", rows), "el2n", tmp_path / "u", means=Means(label="year"), engine=ENGINE)
    errors = read_signals(tmp_path / "u").column("el2n.error").to_pylist()
    assert [error is None for error in errors] == [row["year"] is None for row in rows]
    # Two classes without a word in common: the mean error is below that of a coin, the root of 2 times 1/2.
    assert np.mean([error for error in errors if error is not None]) < 0.5**0.5


def test_a_small_target_does_not_make_a_noisy_draw_keep_nothing(tmp_path):
    rows = [{"text": sentence("code" if n % 4 == 0 else "sea")} for n in range(400)]
    target = write(tmp_path / "target.jsonl", [{"text": sentence("code")} for _ in range(10)])
    asked = Means(targets=(str(target),))
    pool = write(tmp_path / "in.jsonl", rows)
    made = select_by(pool, tmp_path / "out", method="classifier-noisy", means=asked, engine=ENGINE)
    found = read_signals(tmp_path / "out.utility").column("quality.classifier").to_numpy()
    counts = json.loads((tmp_path / "out.utility.model" / "classifier.json").read_text())["record"]["texts"]
    assert counts == {"corpus": 400, "target": 10}
    model = LinearClassifier.load(tmp_path / "out.utility.model")
    p = model.probabilities([row["text"] for row in rows])[:, model.place("target")]
    np.testing.assert_allclose(found, p / 10 / (p / 10 + (1 - p) / 400))
    # All of the target and a quarter of the pool are of one kind: by Bayes 1 / (1 + 1/4) = 0.8, which passes with
    # 1.2 ** -9 = 0.19: 19 of 100 (standard deviation 4). By the counts it was 10 / 110, and 0.3 of 100 passed.
    assert read(made.documents.folder).num_rows >= 7


def test_a_preset_of_rules_is_a_selector_too(world, tmp_path):
    made = select_by(world / "in", tmp_path / "out", method="gopher-quality", engine=ENGINE)
    rows = [row for part in made.decisions.parts for row in pq.read_table(part).to_pylist()]
    assert {row["select.reason"] for row in rows} == {"too-short"}  # 30 words; the rule wants 50
    assert "gopher.words" in columns_of([tmp_path / "out.utility"])


def test_a_score_of_the_user_replaces_score_and_mechanism_and_rules_add_up():
    dsir = open_selector("dsir")
    assert choice_by(dsir, Choice(budget=5)).temperature == 1.0
    own = choice_by(dsir, Choice(budget=5, score="dsir.log_weight + 1", rules={"a": "x > 1"}))
    assert (own.score, own.temperature, own.rules) == ("dsir.log_weight + 1", None, {"a": "x > 1"})
    d4 = choice_by(open_selector("d4"), Choice(budget=5, rules={"a": "x > 1"}))
    assert list(d4.rules) == ["duplicate in meaning", "a"]
    assert d4.score == "-d4.prototype"
    with pytest.raises(ValueError, match="how much to keep"):
        choice_by(dsir, Choice())
    with pytest.raises(ValueError, match="how much to keep"):
        choice_by(open_selector("random"), Choice())
    with pytest.raises(ValueError, match="--cap"):
        choice_by(open_selector("density-cap"), Choice(budget=5))
    assert choice_by(dsir, Choice(budget=5, temperature=2.0)).temperature == 2.0
    noisy = choice_by(open_selector("classifier"), Choice(budget=5, noisy=9.0))
    assert (noisy.noisy, noisy.temperature, noisy.score) == (9.0, None, "quality.classifier")


def test_every_registered_selector_has_a_group_of_the_survey_and_a_row_in_the_list():
    report = selectors_report()
    rows = {row["method"]: row for row in report.tables["selectors"].to_pylist()}
    assert sorted(rows) == sorted(SELECTORS)
    assert {row["group"] for row in rows.values()} <= set(GROUPS)
    assert all(row["cost"] and row["says"] for row in rows.values())
    assert report.tables["presets"].num_rows == len(PRESETS)


def test_what_is_missing_or_unknown_is_named(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'dsir'"):
        open_selector("dsri")
    with pytest.raises(ValueError, match="needs --target"):
        open_selector("dsir").check(Means())
    with pytest.raises(ValueError, match="needs --classifier or --target"):
        open_selector("classifier").check(Means())
    with pytest.raises(ValueError, match="Did you mean 'buckets'"):
        open_selector("dsir").check(Means(targets=("a",), options={"bucket": 3}))
    docs = str(write(tmp_path / "docs.jsonl", [{"text": "a b c"}] * 3))
    with pytest.raises(ValueError, match="smoothing=much; need a number"):
        measure(docs, "dsir", tmp_path / "u", means=Means(targets=(docs,), options={"smoothing": "much"}))
    with pytest.raises(ValueError, match=r"picks=1\.5; need a whole number"):
        measure(docs, "k-center", tmp_path / "u", means=Means(encoder="words", options={"picks": 1.5}), engine=ENGINE)
    with pytest.raises(ValueError, match="need a tokenry"):
        open_selector("json:dumps")


OWN = Selector("own", "baseline", "none", "an outsider's", "", "none", None, {"score": "length(text)"})


def test_your_own_selector_is_named_by_its_module(world, tmp_path):
    made = select_by(world / "in", tmp_path / "out", method=OWN, choice=Choice(budget=3), engine=ENGINE)
    lengths = [len(text) for text in read(world / "in").column("text").to_pylist()]
    kept = [len(text) for text in read(made.documents.folder).column("text").to_pylist()]
    assert sorted(kept) == sorted(lengths)[-3:]


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_verbs_list_measure_and_select(world, tmp_path):
    listed = run("corpus", "select", "--method", "list", "--json")
    assert listed.exit_code == 0
    assert {row["method"] for row in _rows(listed, "selectors")} == set(SELECTORS)
    asked = ("--target", world / "target.jsonl", "--workers", 1, "-q", "--json", "--set", "buckets=2k")
    made = run("corpus", "utility", world / "in", "--method", "dsir", "--out", tmp_path / "u", *asked)
    assert made.exit_code == 0, made.output
    facts = json.loads(made.stdout)["facts"]
    assert facts["keeps"] == "best dsir.log_weight; temperature=1.0"
    assert facts["documents"] == 85
    kept = run("corpus", "select", world / "in", "--method", "dsir", "--budget", 12, "--out", tmp_path / "k", *asked)
    assert kept.exit_code == 0, kept.output
    assert read(tmp_path / "k").num_rows == 12
    later = run("corpus", "select", world / "in", "--signals", tmp_path / "u", "--score", "dsir.log_weight_per_ngram",
                "--budget", 12, "--out", tmp_path / "k2", "--workers", 1, "-q")  # fmt: skip
    assert later.exit_code == 0
    assert set(read(tmp_path / "k2").column("kind").to_pylist()) == {"code"}


def _rows(result, table):
    """The rows of a table of a report printed as JSON."""
    found = json.loads(result.stdout)["tables"][table]
    if isinstance(found, list):
        return found
    columns = found.get("columns", found)
    if isinstance(columns, dict):
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in found["rows"]]


def test_the_verbs_refuse_what_they_cannot_do(world, tmp_path):
    none = run("corpus", "select", "--out", tmp_path / "k", "--method", "random", "--budget", 2)
    assert none.exit_code != 0
    assert "no DOCS" in str(none.exception)
    typed = run("corpus", "utility", world / "in", "--method", "dsir", "--out", tmp_path / "u", "--set", "buckets")
    assert typed.exit_code != 0
    assert "NAME=VALUE" in str(typed.exception)
    nothing = run("corpus", "utility", world / "in", "--method", "random", "--out", tmp_path / "u")
    assert nothing.exit_code != 0
    assert "nothing to measure" in str(nothing.exception)


@pytest.mark.slow  # trains two small language models, about 15 s
def test_excess_loss_under_two_small_models_finds_what_the_reference_knows(world, tmp_path):
    pytest.importorskip("torch")
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train

    texts = read(world / "in").column("text").to_pylist()
    vocab = train(texts, size=300)
    target = read(world / "target.jsonl").column("text").to_pylist()
    for name, seen in (("current", texts), ("reference", target)):
        trained_tiny(seen, vocab, steps=30, length=64, batch_size=8, width=32, layers=1).save(tmp_path / name)
    asked = Means(model=str(tmp_path / "current"), reference=str(tmp_path / "reference"))
    made = select_by(world / "in", tmp_path / "out", method="rho", means=asked, choice=Choice(budget=15), engine=ENGINE)
    assert read(made.documents.folder).column("kind").to_pylist().count("code") >= 14
    low = select_by(world / "in", tmp_path / "lm", method="lm", means=Means(model=str(tmp_path / "reference")),
                    choice=Choice(budget=15), engine=ENGINE)  # fmt: skip
    table = read_signals(tmp_path / "lm.utility")
    order = np.argsort(table.column("lm.bits_per_byte").to_numpy())
    ids = table.column("id").to_pylist()
    lowest = {ids[place] for place in order[:15]}
    # Copies have equal bits, and any of two may be the last one in.
    assert len(lowest & set(read(low.documents.folder).column("id").to_pylist())) >= 14
    assert {"lm.rank", "lm.part"} <= set(columns_of([tmp_path / "lm.utility"]))
