"""Scoring: same rows and order whatever the batches, versions in the columns, errors before the work, the verbs."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_worlds import TEXTS, batch_of, scored
from typer.testing import CliRunner

from tokenry.corpora import SIGNALS
from tokenry.corpora import signals as module
from tokenry.corpora.families import FLOAT, Family, Settings
from tokenry.corpora.sidecars import read_signals, versions_of
from tokenry.corpora.signals import (
    families_of,
    key_of,
    score,
    score_batch,
    score_corpus,
    signal_columns,
    signals_report,
)

FREE = [name for name in SIGNALS if name not in ("toxicity", "domain", "language")]


def corpus(folder, n=30):
    folder.mkdir()
    for file in range(2):
        rows = [{"id": f"{file}.{row}", "text": f"Row {row} of file {file}. " * (row % 7)} for row in range(n)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_names_of_families_and_columns_do_not_clash():
    columns = signal_columns()
    assert len(columns) == sum(len(family.columns) for family in families_of(list(SIGNALS)))
    assert all(name == name.lower() or name.startswith("rpv2") for name in columns)
    assert [family.name for family in families_of(list(SIGNALS))] == list(SIGNALS)


@settings(max_examples=40)
@given(st.lists(st.one_of(TEXTS, st.none()), max_size=6), st.integers(1, 4))
def test_signals_of_a_document_do_not_depend_on_its_batch(texts, at):
    families = families_of(FREE)
    whole = score_batch(batch_of(texts), families)
    parts = [score_batch(part, families) for part in (batch_of(texts).slice(0, at), batch_of(texts).slice(at))]
    assert whole.schema == parts[0].schema == parts[1].schema
    assert whole.to_pylist() == [*parts[0].to_pylist(), *parts[1].to_pylist()]
    assert whole.column("id") == batch_of(texts).column("id")


def test_long_batches_are_cut_and_joined_without_a_trace(monkeypatch):
    texts = [f"word {n} " * n for n in range(40)]
    whole = score_batch(batch_of(texts), families_of("gopher,pii"))
    monkeypatch.setattr(module, "CHUNK_BYTES", 50)
    assert score_batch(batch_of(texts), families_of("gopher,pii")) == whole


def test_a_sidecar_has_the_rows_of_the_documents_and_the_versions_of_the_definitions(tmp_path):
    source = corpus(tmp_path / "in")
    made = score_corpus(source, "gopher,rpv2.lines", tmp_path / "out", workers=1)
    table = read_signals(tmp_path / "out")
    assert made.n_in == made.n_out == table.num_rows == 60
    assert table.column("id").to_pylist() == [f"{file}.{row}" for file in range(2) for row in range(30)]
    assert set(versions_of(tmp_path / "out").values()) == {"1"}
    assert set(versions_of(tmp_path / "out")) == set(signal_columns("gopher,rpv2.lines"))


@pytest.mark.slow  # two worker processes start, each imports Arrow and loads the kernels
def test_two_workers_write_the_bytes_of_one(tmp_path):
    source = corpus(tmp_path / "in")
    one = score_corpus(source, "gopher,rpv2,pii", tmp_path / "one", workers=1)
    two = score_corpus(source, "gopher,rpv2,pii", tmp_path / "two", workers=2)
    assert [part.read_bytes() for part in one.parts] == [part.read_bytes() for part in two.parts]


@pytest.mark.slow  # starts Daft in a child process
def test_daft_gives_the_signals_of_the_embedded_engine(tmp_path):
    pytest.importorskip("daft")
    source = corpus(tmp_path / "in")
    score_corpus(source, "gopher,rpv2.lines", tmp_path / "one", workers=1)
    score_corpus(source, "gopher,rpv2.lines", tmp_path / "two", engine="daft")
    assert read_signals(tmp_path / "one").equals(read_signals(tmp_path / "two"))


def double(prepared, batch, material):
    return {"own.double": prepared.lengths * 2.0}


OWN = Family("own", 3, {"own.double": FLOAT}, double, "twice the length")


def test_a_family_of_ones_own_is_scored_beside_ours(tmp_path):
    source = corpus(tmp_path / "in", n=3)
    made = score_corpus(source, ["ccnet", OWN], tmp_path / "out", workers=1)
    table = pq.read_table(made.parts[0])
    assert table.column("own.double").to_pylist() == [2.0 * n for n in table.column("ccnet.length").to_pylist()]
    assert versions_of(tmp_path / "out")["own.double"] == "3"


def test_a_key_changes_with_a_definition_a_setting_and_what_a_list_holds(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("one\n")
    first = key_of(families_of("stop_words"), Settings(stop_words=str(words)))
    assert first == key_of(families_of("stop_words"), Settings(stop_words=str(words)))
    words.write_text("two\n")
    keys = {
        first, key_of(families_of("stop_words"), Settings(stop_words=str(words))),
        key_of(families_of("stop_words"), Settings()), key_of(families_of("ccnet"), Settings()),
        key_of([OWN], Settings()), key_of([Family("own", 4, OWN.columns, double, "")], Settings()),
    }  # fmt: skip
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("names", "message"),
    [("gofer", "Did you mean 'gopher'"), ("", "no signals named"),
     (["ccnet", Family("x", 1, {"ccnet.length": FLOAT}, double, "")], "both")],
)  # fmt: skip
def test_unknown_and_clashing_families_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        families_of(names)


def test_a_missing_list_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="--bad-words"):
        score_corpus(tmp_path / "nowhere", "toxicity", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="there is no"):
        score_corpus(corpus(tmp_path / "in"), "stop_words", tmp_path / "out", settings=Settings(stop_words="no.txt"))


def test_documents_stream_with_their_signals():
    batches = list(score(["One text.", "Another one."], "gopher"))
    assert [batch.column("gopher.words").to_pylist() for batch in batches] == [[2, 2]]
    assert batches[0].schema.names[:3] == ["id", "text", "source"]


def test_invalid_bytes_are_refused_and_a_slice_of_a_batch_is_itself():
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(ValueError, match=r"no valid UTF-8.*Convert it"):
        score_batch(pa.record_batch({"id": ["1"], "text": broken}), families_of("ccnet"))
    batch = batch_of(["one", "zwei 😀", None, "three"])
    whole = score_batch(batch, families_of(FREE)).to_pylist()
    assert score_batch(batch.slice(1, 2), families_of(FREE)).to_pylist() == whole[1:3]


def test_very_long_and_odd_texts_are_scored():
    texts = ["x" * 300_000, "\0" * 1000, " " * 1000, "\n" * 1000, "́" * 5000, "a\u0301\u0323" * 3000, "word " * 50_000]
    found = scored(texts, FREE)
    assert found["ccnet.length"] == list(map(len, texts))
    assert found["rpv2.doc_frac_chars_dupe_10grams"][-1] == 1.0
    assert found["gopher.words"][:4] == [1, 0, 0, 0]


def run(*arguments):
    from tokenry.cli import app

    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_verbs_score_mask_and_list(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"id": "1", "text": "mail a@b.example now"}) + "\n")
    made = run("corpus", "score", source, "--signals", "pii,ccnet", "--preset", "fineweb", "--out", tmp_path / "s",
               "--workers", 1, "--json", "-q")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert read_signals(tmp_path / "s").column("pii.count").to_pylist() == [1]
    assert "fineweb.newline_ratio" in made.output
    masked = run("corpus", "mask", source, "--signals", tmp_path / "s", "--replace", "pii.emails=<mail>", "--out",
                 tmp_path / "m", "-q")  # fmt: skip
    assert masked.exit_code == 0, masked.output
    assert pq.read_table(tmp_path / "m" / "part-000000.parquet").column("text").to_pylist() == ["mail <mail> now"]
    assert "repetition" in run("corpus", "signals").output
    assert "gopher.words" in run("corpus", "signals", "gopher").output
    assert "lorem-ipsum" in run("corpus", "presets", "c4").output


def test_the_list_of_families_says_what_each_needs():
    rows = {row["family"]: row for row in signals_report().tables["families"].to_pylist()}
    assert rows["toxicity"]["needs"] == "--bad-words"
    assert rows["rpv2"]["signals"] == 23
