"""A selection keeps what its rules and budget say, names the reason for the rest, and can be gone on with."""

import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.core.tables import read
from tokenry.corpora.dedup_paragraphs import dedup_paragraphs
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.select import Choice, decide, select
from tokenry.corpora.units import Reading


def measured(batch):
    n = [len(text) for text in batch.column("text").to_pylist()]
    columns = {
        "id": batch.column("id"),
        "test.length": pa.array(n, pa.int64()),
        "test.parity": pa.array(["odd" if one % 2 else "even" for one in n], pa.string()),
        "test.score": pa.array([None if one == 3 else one / 100 for one in n], pa.float64()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for source, low, high in (("web", 1, 41), ("books", 41, 61)):
        rows = [{"id": f"{source}{n}", "text": "x" * n, "url": f"u{n}"} for n in range(low, high)]
        (folder / f"{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EmbeddedEngine(workers=1)
    return folder, engine.map(folder, measured, tmp_path / "signals", key="k").folder, engine


def run(corpus, tmp_path, name="out", **choice):
    folder, signals, engine = corpus
    return select(folder, tmp_path / name, choice=Choice(**choice), sidecars=[signals], engine=engine)


def kept(selection):
    return read(selection.documents.folder).column("id").to_pylist()


def decisions(selection):
    return [row for part in selection.decisions.parts for row in pq.read_table(part).to_pylist()]


def test_rules_keep_and_the_first_broken_one_is_the_reason(corpus, tmp_path):
    selection = run(corpus, tmp_path, rules={"long": "test.length >= 10", "odd": 'test.parity == "odd"'})
    assert sorted(kept(selection)) == sorted(
        [f"web{n}" for n in range(11, 41, 2)] + [f"books{n}" for n in range(41, 61, 2)]
    )
    reasons = {row["id"]: row["select.reason"] for row in decisions(selection)}
    assert (reasons["web4"], reasons["web5"], reasons["web12"], reasons["web13"]) == ("long", "long", "odd", "kept")
    table = {row["reason"]: row for row in selection.report.tables["reasons"].to_pylist()}
    assert (table["long"]["documents"], table["long"]["broken"], table["long"]["alone"]) == (9, 9, 5)
    assert (table["odd"]["documents"], table["odd"]["broken"], table["odd"]["alone"]) == (26, 30, 26)
    assert table["kept"]["documents"] == 25
    assert read(selection.documents.folder).schema.names == ["id", "text", "source", "url"]


def test_the_best_within_a_budget_of_bytes(corpus, tmp_path):
    selection = run(corpus, tmp_path, score="test.score", budget=119, unit="bytes")
    assert sorted(kept(selection)) == ["books59", "books60"]
    assert selection.report.facts["bytes.kept"] == 119
    # The document of three characters has no score: it was never in the running for the budget.
    assert {row["select.reason"] for row in decisions(selection)} == {"kept", "over the budget", "no score"}
    assert [row["id"] for row in decisions(selection) if row["select.reason"] == "no score"] == ["web3"]
    table = {row["reason"]: row["documents"] for row in selection.report.tables["reasons"].to_pylist()}
    assert table == {"kept": 2, "over the budget": 57, "no score": 1}


def test_a_cap_the_noisy_threshold_and_a_missing_cell_have_reasons_of_their_own(corpus, tmp_path):
    def reasons(name, **choice):
        found = [row["select.reason"] for row in decisions(run(corpus, tmp_path, name, **choice))]
        return {reason: found.count(reason) for reason in set(found)}

    cap = {"score": "test.score", "cap": 5, "per": "source"}
    assert reasons("a", **cap) == {"kept": 10, "over the cap": 49, "no score": 1}
    assert reasons("b", **cap, budget=7) == {"kept": 7, "over the budget": 3, "over the cap": 49, "no score": 1}
    noisy = reasons("c", score="test.score", noisy=9.0)
    assert set(noisy) == {"kept", "not drawn by the noisy threshold", "no score"}
    folder = tmp_path / "cells.jsonl"
    rows = [{"id": str(n), "text": "x", "topic": None if n < 3 else "a"} for n in range(9)]
    folder.write_text("".join(json.dumps(row) + "\n" for row in rows))
    choice = Choice(budget=4, per="topic")
    made = select(folder, tmp_path / "d", choice=choice, engine=EmbeddedEngine(workers=1))
    found = [row["select.reason"] for row in decisions(made)]
    assert found[:3] == ["no value to share the budget by"] * 3
    assert (found.count("kept"), found.count("over the budget")) == (4, 2)


def test_a_document_of_unknown_size_is_not_for_free(corpus, tmp_path):
    made = run(corpus, tmp_path, score="test.length", budget=0.1, unit="test.score")
    reasons = {row["id"]: row["select.reason"] for row in decisions(made)}
    assert reasons["web3"] == "no size"
    assert sorted(reasons.values()).count("kept") == 1
    assert made.report.facts["test.score.kept"] == pytest.approx(0.6)
    free = run(corpus, tmp_path, "free", rules={"a": "test.length < 5"}, unit="test.score")
    assert len(kept(free)) == 4  # no bound, so no size is needed


def test_what_each_rule_removes_and_where_rules_overlap_is_counted(corpus, tmp_path):
    rules = {"long": "test.length >= 10", "even": 'test.parity == "even"', "web": 'source == "web"'}
    made = run(corpus, tmp_path, rules=rules, unit="chars").report
    table = {row["reason"]: row for row in made.tables["reasons"].to_pylist()}
    short, odd, books = set(range(1, 10)), set(range(1, 61, 2)), set(range(41, 61))
    for name, broken in (("long", short), ("even", odd), ("web", books)):
        assert table[name]["broken"] == len(broken)
        assert table[name]["share of chars broken"] == pytest.approx(sum(broken) / sum(range(1, 61)))
    assert table["web"]["alone"] == len(books - odd - short)
    pairs = {(row["rule"], row["other"]): row for row in made.tables["overlap of rules"].to_pylist()}
    assert set(pairs) == {("long", "even"), ("even", "web")}
    assert pairs["long", "even"]["both"] == len(short & odd)
    assert pairs["even", "web"]["overlap"] == pytest.approx(len(odd & books) / len(odd | books))


def test_a_missing_score_is_not_kept(corpus, tmp_path):
    selection = run(corpus, tmp_path, score="-test.score", budget=3)
    assert sorted(kept(selection)) == ["web1", "web2", "web4"]


def test_quotas_share_the_budget_and_repeat_what_is_short(corpus, tmp_path):
    equal = run(corpus, tmp_path, "a", score="test.score", budget=20, per="source", quota="equal")
    table = {row["source"]: row for row in equal.report.tables["sources"].to_pylist()}
    assert (table["web"]["kept"], table["books"]["kept"]) == (10, 10)
    told = run(corpus, tmp_path, "b", budget=50, per="source", quota={"books": 1.0}, repeat=True)
    ids = kept(told)
    assert len(ids) == 50
    assert all(ids.count(f"books{n}") in (2, 3) for n in range(41, 61))
    assert any("repeated up to 3 times" in warning for warning in told.report.warnings)


def test_a_sidecar_column_of_tokens_can_be_the_unit(corpus, tmp_path):
    selection = run(corpus, tmp_path, score="test.score", budget=100, unit="test.length")
    assert selection.report.facts["test.length.kept"] == 119


def test_the_same_seed_draws_the_same_documents_and_another_seed_others(corpus, tmp_path):
    folder, signals, _ = corpus
    choice = Choice(score="test.score", budget=10, temperature=0.1, seed=4)
    one, two = (
        select(folder, tmp_path / f"w{n}", choice=choice, sidecars=[signals], engine=EmbeddedEngine(workers=1))
        for n in (1, 2)
    )
    assert kept(one) == kept(two)
    other = select(
        folder, tmp_path / "w3", choice=Choice(score="test.score", budget=10, temperature=0.1, seed=5),
        sidecars=[signals], engine=EmbeddedEngine(workers=1),
    )  # fmt: skip
    assert kept(other) != kept(one)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "nothing to choose by"),
        ({"score": "test.score"}, "without a bound"),
        ({"rules": {"a": "test.lenght > 1"}}, r"test\.length"),
        ({"score": "test.score", "budget": 1, "share": 0.5}, "a budget and a share"),
        ({"budget": 5, "quota": "equal"}, "without the column"),
        ({"budget": 5, "per": "sourse"}, "source"),
        ({"temperature": 1.0, "budget": 5}, "without a score"),
        ({"share": 2.0}, "share=2.0"),
        ({"score": "test.score", "temperature": 1.0, "noisy": 9.0}, "a temperature and a noisy"),
        ({"per": "source", "cap": 3, "quota": "equal", "budget": 5}, "a cap with a quota"),
    ],
)
def test_contradictions_are_refused_before_any_work(corpus, tmp_path, choice, message):
    with pytest.raises(ValueError, match=message):
        run(corpus, tmp_path, **choice)
    assert not list(tmp_path.glob("*out*"))


def test_an_output_that_exists_is_refused(corpus, tmp_path):
    run(corpus, tmp_path, share=0.5)
    with pytest.raises(FileExistsError, match="exists already"):
        run(corpus, tmp_path, share=0.25)


def test_a_selection_that_was_cut_off_goes_on(corpus, tmp_path, monkeypatch):
    folder, signals, engine = corpus
    calls = []

    def broken_map(self, source, function, out, **options):
        calls.append(options["label"])
        if options["label"].startswith("writing"):
            raise KeyboardInterrupt
        return original(self, source, function, out, **options)

    original = EmbeddedEngine.map
    monkeypatch.setattr(EmbeddedEngine, "map", broken_map)
    choice = Choice(rules={"long": "test.length > 30"})
    with pytest.raises(KeyboardInterrupt):
        select(folder, tmp_path / "out", choice=choice, sidecars=[signals], engine=engine)
    monkeypatch.setattr(
        EmbeddedEngine,
        "map",
        functools.partialmethod(lambda self, *a, **o: (calls.append(o["label"]), original(self, *a, **o))[1]),
    )
    selection = select(folder, tmp_path / "out", choice=choice, sidecars=[signals], engine=engine)
    assert calls == ["weighing", "writing what is kept", "writing what is kept"]
    assert len(kept(selection)) == 30
    assert not list(tmp_path.glob(".out*"))


def test_a_noisy_draw_stays_within_the_budget_and_takes_any_of_what_passes():
    score, size, cell = np.full(4000, 0.9), np.ones(4000), np.full(4000, -1)
    passed = decide(score, size, cell, choice=Choice(score="s", noisy=9.0)) > 0
    # P(keep) = 1.1 ** -9 = 0.4241, standard deviation of the share 0.0078; five of them.
    assert abs(passed.mean() - 1.1**-9) < 0.04
    kept = decide(score, size, cell, choice=Choice(score="s", noisy=9.0, budget=500)) > 0
    assert kept.sum() == 500
    assert not (kept & ~passed).any()
    # Half of the passed lie in the first half; 500 of them by chance have a standard deviation of 11 at most.
    assert abs(kept[:2000].sum() - 500 * passed[:2000].sum() / passed.sum()) < 56


def test_only_deciding_writes_no_documents(corpus, tmp_path):
    folder, signals, engine = corpus
    selection = select(
        folder, tmp_path / "out", choice=Choice(share=0.5), sidecars=[signals], engine=engine, write=False
    )
    assert selection.documents is None
    assert not (tmp_path / "out").exists()
    assert selection.report.facts["kept"] == 30


def test_documents_without_signals_are_chosen_by_their_own_columns(corpus, tmp_path):
    folder, _, engine = corpus
    selection = select(
        folder, tmp_path / "out", choice=Choice(rules={"x": 'url in ["u7", "u50"]'}), engine=engine, reading=Reading()
    )
    assert sorted(kept(selection)) == ["books50", "web7"]


def test_spans_are_cut_out_of_what_is_kept(tmp_path):
    menu = "Home About Contact Imprint"
    rows = [{"id": str(n), "text": f"{menu}\nPage {n} has its own words {n}"} for n in range(4)]
    docs = tmp_path / "d.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EmbeddedEngine(workers=1)
    signals = dedup_paragraphs(docs, tmp_path / "s", engine=engine).decisions.folder
    spans = "dedup.paragraphs.spans"
    selection = select(
        docs, tmp_path / "out", choice=Choice(rules={"a": "length(text) > 0"}), sidecars=[signals], engine=engine,
        cut={spans: ""},
    )  # fmt: skip
    made = read(selection.documents.folder)
    assert made.column("text").to_pylist()[1:] == [f"Page {n} has its own words {n}" for n in (1, 2, 3)]
    assert made.schema.names == ["id", "text", "source"]
    with pytest.raises(ValueError, match=r"no column of spans 'dedup\.paragraphs\.span'"):
        select(docs, tmp_path / "x", choice=Choice(share=1.0), sidecars=[signals], engine=engine, cut={spans[:-1]: ""})
