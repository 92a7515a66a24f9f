"""Documents come from anywhere in one form, are written whole, and come back the same."""

import json
import lzma
import os
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import json as arrow_json
from pyarrow import parquet

from tokenry.core.tables import BadRows, read, stream, texts, write

COMPRESSED = ["", ".gz", ".zst", ".xz", ".bz2"]
HOLD_COLUMNS = [".jsonl" + suffix for suffix in COMPRESSED] + [".parquet"]
AWKWARD = ["", "a\nb\r\nc\rd", "\u2028\u2029\x85", "𝔸🇩🇪\U0010ffff", '"\\\t\0', "e\u0301", "\ufeff", "נִקּוּד", " "]

texts_strategy = st.lists(st.none() | st.text() | st.sampled_from(AWKWARD), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("suffix", HOLD_COLUMNS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_written_is_read_again(suffix, folder, data):
    values = data.draw(texts_strategy)
    n = len(values)
    numbers = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n))
    floats = data.draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=n, max_size=n))
    lists = data.draw(st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), min_size=n, max_size=n))
    table = pa.table(
        {
            "id": [f"row {row}" for row in range(n)],
            "text": pa.array(values, pa.string()),
            "source": data.draw(st.lists(st.text(max_size=5), min_size=n, max_size=n)),
            "n": numbers,
            "score": floats,
            "words": lists,
        }
    )
    path = folder / f"round{suffix}"
    write(table, path)
    assert read(path).equals(table)
    assert read(path, batch_rows=2).equals(table)


@pytest.mark.parametrize("suffix", COMPRESSED)
@settings(max_examples=25)
@given(text=(st.text(min_size=1) | st.sampled_from(AWKWARD[1:])).filter(lambda text: "\0" not in text))
def test_one_text_is_one_text_file(suffix, folder, text):
    path = folder / f"one.txt{suffix}"
    write(read([text]), path)
    if text.startswith("\ufeff"):  # at the start of a file this is the mark of UTF-8, not text
        text = text[1:]
    if text:
        assert read(path).to_pylist() == [{"id": f"one.txt{suffix}", "text": text, "source": "one"}]


def test_texts_are_written_with_a_blank_line_between_and_nulls_left_out(tmp_path):
    write(read([{"text": "a"}, {"text": None}, {"text": "b\n"}]), tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_bytes() == b"a\n\nb\n"


@pytest.mark.parametrize("suffix", [*HOLD_COLUMNS, ".txt", ".txt.gz"])
def test_the_same_documents_give_the_same_bytes(suffix, tmp_path):
    for name in ("a", "b"):
        write(stream(["x", "y"] * 50), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_stream_may_be_written_over_its_own_source(tmp_path):
    path = tmp_path / "x.jsonl"
    write(read([str(n) for n in range(5000)]), path)
    write(stream(path), path)
    assert list(texts(path)) == [str(n) for n in range(5000)]
    assert os.listdir(tmp_path) == ["x.jsonl"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".jsonl.xz", ".jsonl.gz", ".parquet", ".txt"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(suffix, error, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")

    def failing():
        yield from stream(["a"] * 3000)
        raise error

    with pytest.raises(error):
        write(failing(), path)
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 1


def test_what_json_cannot_hold_is_written_as_null_or_told(tmp_path):
    table = pa.table({"text": ["a"], "x": [float("nan")], "y": [[1.0, float("inf")]], "t": [datetime(2020, 1, 2)]})
    write(table, tmp_path / "x.jsonl")
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {
        "text": "a",
        "x": None,
        "y": [1.0, None],
        "t": "2020-01-02T00:00:00",
    }
    with pytest.raises(ValueError, match="JSON lines cannot hold a bytes"):
        write(pa.table({"text": ["a"], "x": [b"b"]}), tmp_path / "y.jsonl")
    assert os.listdir(tmp_path) == ["x.jsonl"]


@pytest.mark.parametrize("name", ["x.csv", "x", "x.json", "x.parquet.gz"])
def test_an_unknown_suffix_is_not_written(name, tmp_path):
    with pytest.raises(ValueError, match=r"Need \.jsonl, \.txt or \.parquet"):
        write(read(["a"]), tmp_path / name)


def test_only_batches_are_written(tmp_path):
    with pytest.raises(ValueError, match="a dict among record batches"):
        write([{"text": "a"}], tmp_path / "x.jsonl")


def test_nothing_is_written_as_an_empty_file_that_opens(tmp_path):
    write(iter([]), tmp_path / "x.jsonl")
    write(iter([]), tmp_path / "x.parquet")
    assert (tmp_path / "x.jsonl").read_bytes() == b""
    assert parquet.read_table(tmp_path / "x.parquet").schema.names == ["id", "text", "source"]


@pytest.mark.slow  # imports the data set library: two seconds
def test_the_ecosystem_opens_what_is_written(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the data set library to open the files with")
    table = read([{"id": str(n), "text": text, "n": n} for n, text in enumerate(AWKWARD)])
    for name, builder in (("x.jsonl.gz", "json"), ("x.jsonl.zst", "json"), ("x.parquet", "parquet")):
        write(table, tmp_path / name)
        found = datasets.load_dataset(
            builder, data_files=str(tmp_path / name), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert found["text"][:] == AWKWARD


@pytest.mark.slow  # imports the data set library: two seconds
def test_data_sets_are_read_without_importing_their_library(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the data set library to make one")
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "n": [1, 2, 3], "id": [7, 8, 9]})
    chosen = data.select([2, 0])
    assert read(chosen).to_pylist() == [
        {"id": "9", "text": "c", "source": "", "n": 3},
        {"id": "7", "text": "a", "source": "", "n": 1},
    ]
    assert list(texts(data.to_iterable_dataset())) == ["a", "b", "c"]
    made = datasets.IterableDataset.from_generator(lambda: iter([{"body": "x"}, {"body": "y"}]))
    assert list(texts(made, text="body", batch_rows=1)) == ["x", "y"]
    with pytest.raises(ValueError, match="a DatasetDict with the keys train; choose one of them"):
        stream(datasets.DatasetDict({"train": data}))
    code = "import sys, tokenry.core.tables; print([m for m in ('datasets', 'torch', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_frames_and_other_givers_of_arrow_are_read():
    pandas = pytest.importorskip("pandas", reason="needs pandas to make a frame")
    frame = pandas.DataFrame({"text": ["a", "b"], "n": [1, 2]})
    assert read(frame).to_pylist() == [
        {"id": "1", "text": "a", "source": "", "n": 1},
        {"id": "2", "text": "b", "source": "", "n": 2},
    ]


def test_tables_batches_and_streams_of_them_are_read():
    table = pa.table({"text": pa.chunked_array([["a"], ["b", "c"]])})
    want = ["a", "b", "c"]
    assert list(texts(table)) == want
    assert list(texts(table, batch_rows=1)) == want
    assert list(texts(table.to_batches())) == want
    assert list(texts(iter([table]))) == want
    assert list(texts(table.combine_chunks().to_batches()[0])) == want
    assert list(texts(table.to_reader())) == want
    assert read(table)["id"].to_pylist() == ["1", "2", "3"]
    assert list(texts(stream(table))) == want


def test_strings_and_mappings_are_read():
    assert read(["a", {"text": "b", "id": 5, "source": "s"}]).to_pylist() == [
        {"id": "1", "text": "a", "source": ""},
        {"id": "5", "text": "b", "source": "s"},
    ]
    assert list(texts(word for word in ("a", "b"))) == ["a", "b"]
    assert list(texts([{"body": "x"}], text="body")) == ["x"]


def test_a_stream_takes_no_more_than_it_needs():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield "a text"

    assert sum(batch.num_rows for batch in stream(endless(), limit=10)) == 10
    assert len(taken) == 10
    batches = stream(endless(), batch_rows=7)
    assert next(batches).num_rows == 7
    assert len(taken) == 17


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 100])
def test_the_limit_counts_documents(limit, tmp_path):
    for name in ("a", "b"):
        write(read(["x"] * 3), tmp_path / f"{name}.parquet")
    assert read(tmp_path, limit=limit, batch_rows=2).num_rows == min(limit, 6)


def test_long_documents_make_small_batches(tmp_path):
    path = tmp_path / "x.jsonl"
    write(read(["x" * 2**20] * 40), path)
    sizes = [batch.num_rows for batch in stream(path)]
    assert sum(sizes) == 40
    assert max(sizes) <= 32


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "the given list holds no documents"),
        (iter([]), "holds no documents"),
        (pa.table({"text": pa.array([], pa.string())}), "the given Table holds no documents"),
        (None, "a NoneType is no source of documents"),
        (3, "a int is no source"),
        (b"bytes", "a bytes is no source"),
        ({"text": "x"}, "a dict with the keys text; choose one"),
        ([3], "row 1: a int where an object with a text is needed"),
        ([{"text": "a"}, {"text": ["b"]}], "the given rows, row 2: 'text' is a list; need a string"),
        (["half \ud800 pair"], r"half a surrogate pair in 'text' \(\\ud800\)"),
        ([{"body": "a", "n": 1}], "has no column 'text'; its columns are: body, n"),
        ([{}], "its columns are: none"),
        (pa.table({"body": ["a"]}), "has no column 'text'; its columns are: body"),
        (pa.table({"text": [1]}), "the column 'text' is of type int64; need strings"),
        (pa.table({"text": [b"a"]}), "is of type binary"),
    ],
)
def test_what_is_no_source_of_documents_is_told(source, words):
    with pytest.raises(ValueError, match=words):
        read(source)


@pytest.mark.parametrize(("options", "words"), [({"batch_rows": 0}, "batch_rows=0"), ({"limit": 0}, "limit=0")])
def test_wrong_numbers_are_told_at_the_call(options, words):
    with pytest.raises(ValueError, match=words):
        stream(["a"], **options)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".txt", ".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".jsonl.bz2"])
def test_an_empty_file_is_told(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"x.*holds no documents|damaged or cut short"):
        read(path)


def test_empty_files_among_others_are_no_matter(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n\n \n{"text": "y"}')
    assert read(tmp_path)["id"].to_pylist() == ["b.jsonl:1", "b.jsonl:4"]


def test_a_missing_text_column_names_those_that_exist(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"body": "a", "n": 1}\n{"title": "b"}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl has no column 'text'; its columns are: body, n, title"):
        read(tmp_path / "x.jsonl", skip_bad=True)
    assert read(tmp_path / "x.jsonl", text="body")["text"].to_pylist() == ["a", None]


def test_bad_rows_are_counted_with_their_places_and_told_once(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'{"text": "a"}\n{"text": "b"\n[]\n{"text": 3}\n{"text": "\xff"}\n{"text": "\\ud800"}\n{"text": "c"}\n'
    )
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2: broken JSON .*--skip-bad"):
        read(path)
    bad = BadRows(keep=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read(path, skip_bad=True, bad=bad)
    assert table["text"].to_pylist() == ["a", "c"]
    assert table["id"].to_pylist() == ["x.jsonl:1", "x.jsonl:7"]
    assert bad.n == 5
    # The parser meets lines 2 and 5 before the batch is looked at as a whole.
    assert [(name, line) for name, line, _ in bad.examples] == [(str(path), 2), (str(path), 5), (str(path), 3)]
    with pytest.warns(UserWarning, match="5 bad rows passed over; the first: .*line 2: broken JSON") as told:
        read(path, skip_bad=True)
    assert len(told) == 1


def test_all_rows_bad_is_no_documents(tmp_path):
    (tmp_path / "x.jsonl").write_text("[1]\n{\n")
    with pytest.raises(ValueError, match=r"holds no documents \(2 bad rows passed over"):
        read(tmp_path / "x.jsonl", skip_bad=True, bad=BadRows())


def test_real_text_is_read_the_same_by_arrows_own_reader(shared_data):
    path = shared_data / "mixture" / "ja.jsonl.xz"
    with lzma.open(path) as file:
        want = arrow_json.read_json(file)
    table = read(path)
    assert table["text"].to_pylist() == want["text"].to_pylist()
    assert table.num_rows > 100
    assert read(shared_data / "mixture", limit=10).num_rows == 10
