"""Batches of any origin get one schema: id, text, source and the columns of the first batch."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from tokenry.core import columns
from tokenry.core.tables import BadRows, read, stream, texts, write


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_columns_of_the_first_batch_are_kept_with_their_types(tmp_path):
    path = lines(
        tmp_path / "x.jsonl",
        [
            {"n": 1, "text": "a", "score": 0.5, "meta": {"url": "u", "n": 2}, "tags": ["x"], "ok": True},
            {"text": "b", "late": 1},
            {"text": "c", "meta": {"url": "v", "other": 3}, "n": 3},
        ],
    )
    table = read(path, batch_rows=1)
    assert table.schema.names == ["id", "text", "source", "n", "score", "meta", "tags", "ok"]
    assert table["n"].to_pylist() == [1, None, 3]
    assert table["meta"].to_pylist() == [{"url": "u", "n": 2}, None, {"url": "v", "n": None}]
    assert all(batch.schema == table.schema for batch in stream(path, batch_rows=1))


def test_a_column_of_several_types_is_left_out_with_one_warning(tmp_path):
    path = lines(tmp_path / "x.jsonl", [{"text": "a", "n": 1}, {"text": "b", "n": "one"}, {"text": "c", "n": [1]}])
    with pytest.warns(UserWarning, match="the column 'n' is of several types and is left out") as told:
        assert read(path).schema.names == ["id", "text", "source"]
    assert len(told) == 1


def test_a_later_value_of_another_type_becomes_null_with_one_warning(tmp_path):
    rows = [{"text": "a", "n": 1}, {"text": "b", "n": "one"}, {"text": "c", "n": 3}, {"text": "d", "n": [4]}]
    path = lines(tmp_path / "x.jsonl", [*rows[:1] * 2, *rows])
    with pytest.warns(UserWarning, match="becomes null where a value is no int64") as told:
        assert read(path, batch_rows=2)["n"].to_pylist() == [1, 1, 1, None, 3, None]
    assert len(told) == 1


def test_columns_without_content_are_left_out(tmp_path):
    path = lines(tmp_path / "x.jsonl", [{"text": "a", "none": None, "empty": {}, "deep": [{"x": {}}], "list": []}])
    table = read(path)
    assert table.schema.names == ["id", "text", "source", "list"]
    write(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").num_rows == 1


def test_columns_may_be_chosen(tmp_path):
    path = lines(tmp_path / "x.jsonl", [{"text": "a", "n": 1, "m": 2}])
    assert read(path, columns=()).schema.names == ["id", "text", "source"]
    assert read(path, columns=["m", "text"]).schema.names == ["id", "text", "source", "m"]
    with pytest.raises(ValueError, match="no column 'k' to keep; there are: n, m"):
        read(path, columns=["k"])
    write(read(path), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", columns=["m"]).equals(read(path, columns=["m"]))
    with pytest.raises(ValueError, match="no column 'k' to keep; there are: n, m"):
        read(tmp_path / "x.parquet", columns=["k"])
    with pytest.raises(ValueError, match="no column 'body'; its columns are: id, text, source, n, m"):
        read(tmp_path / "x.parquet", columns=(), text="body")


def test_two_columns_of_one_name_are_told():
    table = pa.table([["a"], ["b"], [1]], names=["text", "x", "x"])
    with pytest.raises(ValueError, match="two columns of one name among: text, x, x"):
        read(table)


def test_another_column_takes_the_name_text(tmp_path):
    path = lines(tmp_path / "x.jsonl", [{"text": "title", "body": "long", "n": 1}])
    assert read(path, text="body").to_pylist() == [{"id": "x.jsonl:1", "text": "long", "source": "x", "n": 1}]
    write(read(path, text="body"), tmp_path / "x.parquet")
    parquet.write_table(pa.table({"text": ["title"], "body": ["long"]}), tmp_path / "y.parquet")
    assert list(texts(tmp_path / "y.parquet", text="body")) == ["long"]


def test_ids_and_sources_are_made_where_they_are_missing(tmp_path):
    rows = [{"text": "a", "id": "x", "source": "web"}, {"text": "b", "id": 7, "source": 3}, {"text": "c", "id": None}]
    rows.append({"text": "d", "id": {"a": 1}, "source": ["x"]})
    path = lines(tmp_path / "x.jsonl", rows)
    table = read(path)
    assert table["id"].to_pylist() == ["x", "7", "x.jsonl:3", "x.jsonl:4"]
    assert table["source"].to_pylist() == ["web", "3", "x", "x"]
    write(pa.table({"text": ["a", "b"], "id": [None, 5], "source": pa.array([None, "s"])}), tmp_path / "y.parquet")
    assert read(tmp_path / "y.parquet").to_pylist() == [
        {"id": "y.parquet:1", "text": "a", "source": "y"},
        {"id": "5", "text": "b", "source": "s"},
    ]


def test_row_numbers_go_on_across_batches_and_start_again_with_each_file(tmp_path):
    for name in ("a", "b"):
        parquet.write_table(pa.table({"text": list("wxyz")}), tmp_path / f"{name}.parquet")
    want = [f"{name}.parquet:{row}" for name in "ab" for row in range(1, 5)]
    assert read(tmp_path, batch_rows=3)["id"].to_pylist() == want


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.string()]
)
def test_every_spelling_of_strings_is_read(kind):
    values = pa.array(["a", None, "ß"]).cast(kind) if not pa.types.is_dictionary(kind) else None
    values = pa.array(["a", None, "ß"]).dictionary_encode() if values is None else values
    table = read(pa.table({"text": values, "id": values}))
    assert table["text"].to_pylist() == ["a", None, "ß"]
    assert table["id"].to_pylist() == ["a", "2", "ß"]
    assert table.schema.field("text").type == pa.string()


def test_texts_in_parquet_that_are_not_utf8_are_named_or_passed_over(tmp_path):
    binary = pa.array([b"good", b"\xff\xfe", b"also good"])
    broken = pa.StringArray.from_buffers(3, binary.buffers()[1], binary.buffers()[2])
    parquet.write_table(pa.table({"text": broken, "n": [1, 2, 3]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet, row 2: the text is not UTF-8"):
        read(tmp_path / "x.parquet")
    bad = BadRows()
    assert read(tmp_path / "x.parquet", skip_bad=True, bad=bad)["n"].to_pylist() == [1, 3]
    assert bad.examples == [(str(tmp_path / "x.parquet"), 2, "the text is not UTF-8")]


def test_big_batches_are_passed_on_in_slices(monkeypatch):
    monkeypatch.setattr(columns, "_SLICE_BYTES", 100)
    table = pa.table({"text": ["x" * 30] * 10})
    parts = list(stream(table))
    assert len(parts) > 2
    assert pa.Table.from_batches(parts)["id"].to_pylist() == [str(n) for n in range(1, 11)]


def test_half_a_surrogate_pair_in_an_id_is_replaced_and_in_another_column_left_out(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "id": "\\ud800", "x": "\\ud800"}\n')
    with pytest.warns(UserWarning, match="'x' is of several types"):
        table = read(tmp_path / "x.jsonl")
    assert table.to_pylist() == [{"id": "?", "text": "a", "source": "x"}]


def test_files_of_several_formats_share_the_schema_of_the_first(tmp_path):
    lines(tmp_path / "a.jsonl", [{"text": "a", "n": 1}])
    parquet.write_table(pa.table({"text": ["b"], "n": pa.array([2], pa.int8()), "m": [3]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("c")
    table = read(tmp_path)
    assert table["n"].to_pylist() == [1, 2, None]
    assert pc.all(pc.equal(table["source"], pa.array(["a", "b", "c"]))).as_py()


def test_each_file_must_have_the_text_column(tmp_path):
    lines(tmp_path / "a.jsonl", [{"text": "a"}])
    lines(tmp_path / "b.jsonl", [{"body": "b"}])
    with pytest.raises(ValueError, match=r"b\.jsonl has no column 'text'; its columns are: body"):
        read(tmp_path)
