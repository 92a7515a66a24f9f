"""Signals stand beside their documents row by row, and strangers are refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.sidecars import columns_of, describe_sidecar, read_signals, versions_of
from tokenry.corpora.units import Reading


def lengths(batch):
    n = pa.array([len(text) for text in batch.column("text").to_pylist()], pa.int64())
    fields = [pa.field("id", pa.string()), pa.field("test.length", pa.int64(), metadata={"version": "1"})]
    return pa.RecordBatch.from_arrays([batch.column("id"), n], schema=pa.schema(fields))


def initials(batch):
    first = pa.array([text[:1] for text in batch.column("text").to_pylist()], pa.string())
    return pa.RecordBatch.from_arrays([batch.column("id"), first], names=["id", "test.first"])


def as_it_comes(batch):
    return batch


def corpus(folder, n=(30, 0, 25)):
    folder.mkdir(parents=True)
    for file, rows in enumerate(n):
        lines = [{"id": f"{file}.{row}", "text": "abc"[row % 3] * (row + 1)} for row in range(rows)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def run(function, source, out, **reading):
    return EmbeddedEngine(workers=1).map(source, function, out, key="k", reading=Reading(**reading))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(0, 12), min_size=1, max_size=3).filter(any))
def test_signals_belong_to_their_documents_whatever_the_batches(tmp_path_factory, one, other, n):
    folder = tmp_path_factory.mktemp("s")
    source = corpus(folder / "in", n)
    made = run(lengths, source, folder / "a", batch_rows=one).folder, run(initials, source, folder / "b").folder
    mapped = run(as_it_comes, source, folder / "out", batch_rows=other, sidecars=tuple(map(str, made)))
    rows = [row for part in mapped.parts for row in pq.read_table(part).to_pylist()]
    assert len(rows) == sum(n)
    assert all(row["test.length"] == len(row["text"]) and row["test.first"] == row["text"][0] for row in rows)


def test_only_the_signals_asked_for_are_read(tmp_path):
    source = corpus(tmp_path / "in")
    one, two = run(lengths, source, tmp_path / "a").folder, run(initials, source, tmp_path / "b").folder
    mapped = run(as_it_comes, source, tmp_path / "c", sidecars=(str(one), str(two)), signals=("test.first",))
    assert pq.read_schema(mapped.parts[1]).names == ["id", "text", "source", "test.first"]


def test_documents_that_changed_since_are_refused(tmp_path):
    source = corpus(tmp_path / "in")
    made = (str(run(lengths, source, tmp_path / "a").folder),)
    text = (source / "2.jsonl").read_text()
    (source / "2.jsonl").write_text(text.replace('"2.7"', '"other"'))
    with pytest.raises(ValueError, match=r"has the id '2\.7' where the document 'other' comes.*Score them again"):
        run(as_it_comes, source, tmp_path / "b", sidecars=made)
    (source / "2.jsonl").write_text(text + '{"id": "more", "text": "m"}\n')
    with pytest.raises(ValueError, match="ends before the document 'more'"):
        run(as_it_comes, source, tmp_path / "c", sidecars=made)
    (source / "2.jsonl").write_text("".join(text.splitlines(True)[:-1]))
    with pytest.raises(ValueError, match="more rows than there are documents"):
        run(as_it_comes, source, tmp_path / "d", sidecars=made)
    (source / "3.jsonl").write_text('{"id": "new", "text": "m"}\n')
    (source / "2.jsonl").write_text(text)
    with pytest.raises(ValueError, match="has no part 3"):
        run(as_it_comes, source, tmp_path / "e", sidecars=made)


def test_two_columns_of_one_name_are_refused(tmp_path):
    source = corpus(tmp_path / "in")
    one, two = run(lengths, source, tmp_path / "a").folder, run(lengths, source, tmp_path / "b").folder
    with pytest.raises(ValueError, match=r"both .*a and .*b have the column 'test\.length'"):
        columns_of([one, two])
    with pytest.raises(ValueError, match=r"column 'test\.length' of .* is in the documents"):
        run(as_it_comes, source, tmp_path / "c", sidecars=(str(one), str(two)))


def test_a_sidecar_tells_its_columns_and_versions(tmp_path):
    folder = run(lengths, corpus(tmp_path / "in"), tmp_path / "a").folder
    assert versions_of(folder) == {"test.length": "1"}
    assert describe_sidecar(folder)["columns"] == {"test.length": "int64"}
    assert read_signals(folder).num_rows == 55
    with pytest.raises(ValueError, match=r"no signal 'test\.lenght'.*test\.length"):
        read_signals(folder, ["test.lenght"])
