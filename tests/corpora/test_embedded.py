"""The pool: equal parts with one worker and with two, resume, errors that name the document, nothing half-written."""

import functools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.units import Reading


def lengths(batch):
    texts = batch.column("text").to_pylist()
    n = pa.array([len(text or "") for text in texts], pa.int64())
    return pa.RecordBatch.from_arrays([batch.column("id"), n], names=["id", "n"])


def fails_on(batch, bad):
    if bad in batch.column("id").to_pylist():
        raise ZeroDivisionError("no letters")
    return lengths(batch)


def with_state(batch, state):
    n = pa.array([state] * batch.num_rows, pa.int64())
    return pa.RecordBatch.from_arrays([batch.column("id"), n], names=["id", "n"])


def seven():
    return 7


def corpus(folder, n=50, n_files=2):
    folder.mkdir()
    for file in range(n_files):
        rows = [{"id": f"{file}.{row}", "text": "x" * row} for row in range(n)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def parts(mapped):
    return [part.read_bytes() for part in mapped.parts]


@pytest.mark.slow  # two processes start: each imports Arrow anew
def test_two_workers_give_the_parts_of_one(tmp_path):
    source = corpus(tmp_path / "in", n_files=3)
    one = EmbeddedEngine(workers=1).map(source, lengths, tmp_path / "one", key="k")
    two = EmbeddedEngine(workers=2).map(source, lengths, tmp_path / "two", key="k")
    assert parts(one) == parts(two)
    assert [tally.n_in for tally in two.tallies] == [50, 50, 50]


@pytest.mark.slow  # two processes start
def test_an_error_in_a_worker_names_the_document_and_leaves_what_is_finished(tmp_path):
    source = corpus(tmp_path / "in")
    work = functools.partial(fails_on, bad="1.17")
    with pytest.raises(ValueError, match=r"1\.jsonl, document '1\.17': ZeroDivisionError: no letters"):
        EmbeddedEngine(workers=2).map(source, work, tmp_path / "out", key="k")
    assert not (tmp_path / "out").exists()


def test_unfinished_work_is_gone_on_with_and_only_its_own(tmp_path):
    source = corpus(tmp_path / "in")
    engine = EmbeddedEngine(workers=1)
    with pytest.raises(ValueError, match=r"document '1\.17'"):
        engine.map(source, functools.partial(fails_on, bad="1.17"), tmp_path / "out", key="k")
    unfinished = tmp_path / ".out.unfinished"
    assert (unfinished / "part-000000.parquet").is_file()
    stamp = (unfinished / "part-000000.parquet").stat().st_mtime_ns
    with pytest.raises(ValueError, match="other settings or other inputs"):
        engine.map(source, lengths, tmp_path / "out", key="another")
    mapped = engine.map(source, lengths, tmp_path / "out", key="k")
    assert mapped.parts[0].stat().st_mtime_ns == stamp
    assert parts(mapped) == parts(engine.map(source, lengths, tmp_path / "whole", key="k"))
    assert not unfinished.exists()
    assert sorted(path.name for path in mapped.folder.iterdir()) == [
        "manifest.json", "part-000000.parquet", "part-000001.parquet",
    ]  # fmt: skip


def test_a_changed_input_is_not_mixed_with_unfinished_work(tmp_path):
    source = corpus(tmp_path / "in")
    engine = EmbeddedEngine(workers=1)
    with pytest.raises(ValueError, match="document"):
        engine.map(source, functools.partial(fails_on, bad="1.17"), tmp_path / "out", key="k")
    (source / "0.jsonl").write_text('{"id": "new", "text": "new"}\n')
    with pytest.raises(ValueError, match="other inputs"):
        engine.map(source, lengths, tmp_path / "out", key="k")


def test_documents_that_fail_can_be_set_aside_and_are_listed(tmp_path):
    source = corpus(tmp_path / "in")
    work = functools.partial(fails_on, bad="1.17")
    mapped = EmbeddedEngine(workers=1).map(
        source, work, tmp_path / "out", key="k", reading=Reading(on_error="quarantine")
    )
    assert mapped.quarantined == [("1.17", "ZeroDivisionError: no letters")]
    assert (mapped.n_in, mapped.n_out) == (100, 99)
    assert "1.17" not in pq.read_table(mapped.parts[1]).column("id").to_pylist()
    listed = json.loads((mapped.folder / "manifest.json").read_text())
    assert listed["units"][1]["quarantined"] == [["1.17", "ZeroDivisionError: no letters"]]


def test_broken_rows_are_named_or_counted(tmp_path):
    source = corpus(tmp_path / "in")
    with (source / "1.jsonl").open("a") as file:
        file.write("{broken\n")
    engine = EmbeddedEngine(workers=1)
    with pytest.raises(ValueError, match=r"1\.jsonl, line 51"):
        engine.map(source, lengths, tmp_path / "out", key="k")
    with pytest.warns(UserWarning, match=r"1 bad row passed over; the first: .*1\.jsonl, line 51"):
        mapped = engine.map(source, lengths, tmp_path / "passed", key="k", reading=Reading(skip_bad=True))
    assert (mapped.n_in, mapped.n_bad) == (100, 1)
    assert mapped.losses == {"broken rows": 1}


def test_the_setup_reaches_the_function(tmp_path):
    mapped = EmbeddedEngine(workers=1).map(corpus(tmp_path / "in"), with_state, tmp_path / "out", key="k", setup=seven)
    assert set(pq.read_table(mapped.parts[0]).column("n").to_pylist()) == {7}


def no_model():
    raise FileNotFoundError("no model at nowhere")


def test_what_fails_in_the_setup_of_a_worker_is_told_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at nowhere"):
        EmbeddedEngine(workers=2).map(corpus(tmp_path / "in"), with_state, tmp_path / "out", key="k", setup=no_model)


def test_an_existing_folder_is_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        EmbeddedEngine(workers=1).map(corpus(tmp_path / "in"), lengths, tmp_path / "out", key="k")


def test_columns_with_quotes_and_paths_with_quotes_are_grouped_and_sorted(tmp_path):
    table = pa.table({'a"b': ["x", "y", "x", None], "n": pa.array([1, 2, 3, 4], pa.int32())})
    path = tmp_path / "it's.parquet"
    pq.write_table(table, path)
    engine = EmbeddedEngine(workers=1)
    made = pq.read_table(
        engine.group(path, ['a"b'], tmp_path / "g.parquet", aggregates={"s": ("sum", "n"), "m": ("mean", "n")})
    )
    assert made.schema.field("s").type == pa.int64()
    assert made.to_pylist() == [
        {'a"b': "x", "s": 4, "m": 2.0}, {'a"b': "y", "s": 2, "m": 2.0}, {'a"b': None, "s": 4, "m": 4.0},
    ]  # fmt: skip
    ordered = engine.sort(path, ['a"b', "n"], tmp_path / "s.parquet", descending=True)
    assert pq.read_table(ordered).column("n").to_pylist() == [2, 3, 1, 4]


def test_a_refused_number_of_workers():
    with pytest.raises(ValueError, match="workers=0"):
        EmbeddedEngine(workers=0)
