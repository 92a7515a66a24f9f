"""Planted pieces of test sets are found with their item, and innocent text is not."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.cli import app
from tokenry.corpora.decontaminate import collect_runs, decontaminate, overlap
from tokenry.corpora.embedded import EmbeddedEngine

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "nrstlm"]


def text(rng, n):
    return " ".join(rng.choice(WORDS, n))


def rows_of(result):
    return {row["id"]: row for part in result.decisions.parts for row in pq.read_table(part).to_pylist()}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_planted_items_are_found_with_their_names_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    items = [{"id": f"q{n}", "text": text(rng, 30)} for n in range(20)]
    docs = [{"id": f"d{n}", "text": text(rng, 300)} for n in range(100)]
    for n in range(20):
        words = docs[n]["text"].split()
        words[50:50] = [word.upper() + "," for word in items[n]["text"].split()]
        docs[n]["text"] = " ".join(words)
    result = decontaminate(
        write(tmp_path / "d.jsonl", docs), tmp_path / "out", engine=EmbeddedEngine(workers=1),
        test_sets={"quiz": write(tmp_path / "q.jsonl", items)},
    )  # fmt: skip
    rows = rows_of(result)
    assert {name: row["decontaminate.item"] for name, row in rows.items() if row["decontaminate.runs"]} == {
        f"d{n}": f"q{n}" for n in range(20)
    }
    assert all(rows[f"d{n}"]["decontaminate.runs"] == 18 for n in range(20))
    assert all(rows[f"d{n}"]["decontaminate.words"] == 30 for n in range(20))
    assert rows["d0"]["decontaminate.share"] == pytest.approx(30 / 330)
    assert result.report.tables["test sets"].to_pylist()[0]["items_found"] == 20


def test_short_items_count_as_a_whole_and_the_shortest_not_at_all():
    items = pa.table({"id": ["nine", "three"], "text": ["a b c d e f g h i", "x y z"]})
    tests = collect_runs({"t": items}, width=13, shortest=8)
    assert tests.widths == [9, 13]
    batch = pa.RecordBatch.from_pydict({"id": ["1", "2"], "text": ["0 a b c d e f g h i 0", "x y z a b c d e f g h"]})
    assert overlap(batch, tests).column("decontaminate.runs").to_pylist() == [1, 0]
    with pytest.raises(ValueError, match="no item of t has 10 words"):
        collect_runs({"t": items}, width=13, shortest=10)
    with pytest.raises(ValueError, match="shortest <= width"):
        collect_runs({"t": items}, width=5, shortest=8)


def test_an_item_of_several_columns_is_their_text_together():
    items = pa.table({"id": ["1"], "question": ["a b c d e"], "answer": ["f g h"]})
    tests = collect_runs({"t": items}, width=8, shortest=8, columns=("question", "answer"))
    batch = pa.RecordBatch.from_pydict({"id": ["1"], "text": ["a b c d e f g h"]})
    assert overlap(batch, tests).column("decontaminate.share").to_pylist() == [1.0]


@given(st.lists(st.sampled_from("abc"), max_size=14), st.lists(st.sampled_from("abc"), min_size=3, max_size=9))
def test_shared_runs_are_those_of_a_plain_search(document, item):
    width = 3
    runs = {tuple(item[at : at + width]) for at in range(len(item) - width + 1)}
    places = [at for at in range(len(document) - width + 1) if tuple(document[at : at + width]) in runs]
    covered = {at + step for at in places for step in range(width)}
    tests = collect_runs({"t": pa.table({"text": [" ".join(item)]})}, width=width, shortest=3)
    batch = pa.RecordBatch.from_pydict({"id": ["1"], "text": [" ".join(document)]})
    (row,) = overlap(batch, tests).to_pylist()
    assert (row["decontaminate.runs"], row["decontaminate.words"]) == (len(places), len(covered))


def test_missing_texts_and_no_rows_are_measured_as_nothing():
    tests = collect_runs({"t": pa.table({"text": ["a b c d e f g h"]})}, shortest=8)
    batch = pa.RecordBatch.from_pydict({"id": ["1"], "text": pa.array([None], pa.string())})
    assert overlap(batch, tests).to_pylist()[0]["decontaminate.share"] is None
    assert overlap(batch.slice(0, 0), tests).num_rows == 0


def test_the_verb_measures_and_says_what_it_found(tmp_path, capsys):
    rng = np.random.default_rng(2)
    quiz = write(tmp_path / "q.jsonl", [{"id": "q", "text": text(rng, 20)}])
    docs = write(
        tmp_path / "d.jsonl", [{"id": "d", "text": json.loads(quiz.read_text())["text"]}, {"id": "e", "text": "x"}]
    )
    app(["corpus", "decontaminate", str(docs), "--test-set", f"quiz={quiz}", "--out", str(tmp_path / "o"),
         "--workers", "1", "--json", "-q"], standalone_mode=False)  # fmt: skip
    assert json.loads(capsys.readouterr().out)["facts"]["with_a_shared_run"] == 1
