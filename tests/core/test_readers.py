"""Files are read in pieces, exactly, and what is broken in them is named with its line."""

import json
import lzma
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core import readers
from tokenry.core.tables import BadRows, read, stream, texts, write

PLAIN = b'{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n'


@pytest.fixture(params=[1, 2, 3, 7, 1 << 20])
def chunk(request, monkeypatch) -> int:
    """How many bytes are read at once: at 1 every boundary falls inside something."""
    monkeypatch.setattr(readers, "CHUNK", request.param)
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("readers")


def made(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_lines_are_cut_at_line_feeds_wherever_a_read_ends(chunk, tmp_path):
    lines = ["a\u2028b", "", "𝔸" * 5, "end"]
    content = "\ufeff" + "\r\n".join(json.dumps({"text": line}, ensure_ascii=False) for line in lines)
    assert list(texts(made(tmp_path, "x.jsonl", content))) == lines
    assert list(texts(made(tmp_path, "x.jsonl", content + "\n"))) == lines


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a"}, {"text": "b"}]',
        ' [\n{"text": "a"}\n,\n{"text": "b"}\n]\n ',
        '["a", "b"]',
        '{"text": "a"}\n{"text": "b"}\n',
        '{\n  "text": "a"\n}\n{\n  "text": "b"\n}',
        '\ufeff["a","b"]',
    ],
)
def test_a_json_file_is_an_array_or_values_one_after_the_other(content, chunk, tmp_path):
    table = read(made(tmp_path, "x.json", content))
    assert table["text"].to_pylist() == ["a", "b"]
    assert table["id"].to_pylist() == ["x.json:1", "x.json:2"]


@given(
    values=st.lists(st.text(max_size=30), min_size=1, max_size=5),
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(1),
)
def test_any_array_is_read_whatever_the_size_of_the_reads(values, chunk, indent, folder):
    rows = [{"text": value, "n": n, "x": [n * 1e5, True, None]} for n, value in enumerate(values)]
    path = made(folder, "any.json", json.dumps(rows, ensure_ascii=False, indent=indent))
    before, readers.CHUNK = readers.CHUNK, chunk
    try:
        table = read(path)
    finally:
        readers.CHUNK = before
    assert table["text"].to_pylist() == values
    assert table["n"].to_pylist() == list(range(len(values)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": }\n', r"line 2: broken JSON \(Expecting value at character 10\)"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b"}{}\n', r"line 2: broken JSON \(Extra data"),
        ("x.jsonl", b'{"text": "a"}\n\n{"text": "\xe4"}\n', r"line 3: not UTF-8 \(byte 0xe4 at position 11"),
        ("x.jsonl", b'{"text": "a"}\n{"te\0xt": "b"}\n', r"line 2: binary content \(a NUL byte\)"),
        ("x.jsonl", '{"text": "ä"}\n'.encode("utf-16"), "line 1: UTF-16, not UTF-8; convert the file"),
        ("x.jsonl", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "a .gz file by its content; give it the suffix .gz"),
        ("x.jsonl", b"[" * 100_000 + b"\n", "line 1: JSON nested too deeply"),
        ("x.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", "line 1: broken JSON"),
        ("x.json", b'[{"text": "a"},\n{"text": }]', r"line 2: broken JSON \(Expecting value\)"),
        ("x.json", b'[{"text": "a"}\n{"text": "b"}]', "line 2: broken JSON .need a comma"),
        ("x.json", b'[{"text": "a"},\n\n', r"line 3: broken JSON .Expecting value|the array has no end"),
        ("x.json", b'[{"text": "a"}\n', "the array has no end; is the file cut short"),
        ("x.json", b'[{"text": "a"}]\n\n[]', "line 3: broken JSON .something stands after"),
        ("x.json", b'[\n"a\xff"]', "line 2: not UTF-8 .byte 0xff"),
        ("x.json", b"[" * 100_000, "broken JSON"),
        ("x.json", b'["a", \n"b', "line 2: broken JSON .Unterminated string"),
        ("x.txt", b"one\ntwo\0\n", r"x\.txt, line 2: binary content"),
        ("x.txt", b"one\ntwo\nthr\xffee", r"x\.txt, line 3: not UTF-8 .byte 0xff"),
        ("x.txt", b"cut \xe2\x82", "line 1: not UTF-8"),
        ("x.txt", b"\x89PNG\r\n\x1a\n\0\0", "line 3: binary content|line 1: not UTF-8"),
        ("x.txt", b"\x28\xb5\x2f\xfd\x20\0", "a .zst file by its content"),
        ("x.jsonl.gz", b"no gzip at all", "x.jsonl.gz: the file is damaged or cut short"),
        ("x.jsonl.zst", b"no zstd at all", "damaged or cut short"),
        ("x.jsonl.xz", b"no xz at all", "damaged or cut short"),
        ("x.jsonl.bz2", b"no bz2 at all", "damaged or cut short"),
        ("x.parquet", b"no parquet at all", "damaged or cut short"),
        ("x.parquet", b"", "damaged or cut short"),
    ],
)
def test_what_is_broken_is_named_with_file_and_line(name, content, words, tmp_path):
    path = made(tmp_path, name, content)
    with pytest.raises(ValueError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_texts_that_begin_like_other_formats_are_texts(tmp_path):
    for start in ("BZh is how bzip2 files begin", "PAR1 is for parquet"):
        assert list(texts(made(tmp_path, "x.txt", start))) == [start]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("form", [".jsonl", ".json"])
def test_the_good_start_of_a_damaged_file_is_kept_when_bad_rows_are_passed_over(suffix, form, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK", 4096)
    path = tmp_path / f"x.jsonl{suffix}"
    # Numbers that do not compress away, so that half of the file is about half of the rows.
    n_rows = 8000 if suffix == ".bz2" else 1500  # bzip2 gives nothing out before the end of a block of 900 kB
    rows = [random.Random(row).randbytes(200).hex() for row in range(n_rows)]
    write(read(rows), path)
    whole = path.read_bytes()
    path = made(tmp_path, f"x{form}{suffix}", whole[: len(whole) // 2])
    bad = BadRows()
    found = read(path, skip_bad=True, bad=bad)["text"].to_pylist()
    assert found == rows[: len(found)]
    assert bad.n == 1
    assert "damaged or cut short" in bad.examples[0][2]
    assert len(found) > n_rows // 10


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz", "bz2"])
def test_files_joined_of_several_compressed_parts_are_whole(suffix, tmp_path):
    for name, text in (("a", "one"), ("b", "two")):
        write(read([text]), tmp_path / f"{name}.jsonl.{suffix}")
    joined = b"".join((tmp_path / f"{name}.jsonl.{suffix}").read_bytes() for name in "ab")
    assert list(texts(made(tmp_path, f"c.jsonl.{suffix}", joined))) == ["one", "two"]


def test_the_rest_of_a_broken_array_counts_as_one_bad_row(tmp_path):
    bad = BadRows()
    path = made(tmp_path, "x.json", '["a",\n"b",\n{,\n"c"]')
    assert list(texts(path, skip_bad=True, bad=bad)) == ["a", "b"]
    assert bad.examples[0][:2] == (str(path), 3)
    assert bad.n == 1


def test_lines_under_the_name_of_json_are_passed_over_one_by_one(chunk, tmp_path):
    bad = BadRows()
    path = made(tmp_path, "x.json", '{"text": "a"}\n{"text": "b"\n{"text": "c"}\n{"text": }\n\n{"text": "d"}\n{"te')
    assert list(texts(path, skip_bad=True, bad=bad)) == ["a", "c", "d"]
    assert [line for _, line, _ in bad.examples] == [3, 4, 7]


def test_lines_over_the_limit_are_told_and_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LINE_LIMIT", 1 << 20)
    monkeypatch.setattr(readers, "CHUNK", 1 << 16)
    long = json.dumps({"text": "x" * (3 << 20)})
    path = made(tmp_path, "x.jsonl", f'{{"text": "a"}}\n{long}\n{{"text": "b"}}\n{long}')
    with pytest.raises(ValueError, match="line 2: the line is over 1 MB"):
        read(path)
    bad = BadRows()
    assert list(texts(path, skip_bad=True, bad=bad)) == ["a", "b"]
    assert [line for _, line, _ in bad.examples] == [2, 4]
    with pytest.raises(ValueError, match="line 1: a value of over 1 MB"):
        read(made(tmp_path, "x.json", f"[{long}]"))


def test_a_long_text_file_is_cut_at_blank_lines_and_joins_to_itself(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "TEXT_WHOLE", 2000)
    monkeypatch.setattr(readers, "TEXT_PIECE", 100)
    monkeypatch.setattr(readers, "TEXT_MOST", 400)
    paragraphs = ["Grüße\n" * (1 + n % 30) for n in range(60)]
    whole = "\n\n \t\r\n".join(paragraphs)
    pieces = list(texts(made(tmp_path, "x.txt", whole)))
    assert "".join(pieces) == whole
    assert all(100 <= len(piece) <= 400 for piece in pieces[:-1])
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert read(tmp_path / "x.txt")["id"].to_pylist()[:2] == ["x.txt:1", "x.txt:2"]
    assert len(list(texts(made(tmp_path, "x.txt", whole[:1000])))) == 1


@given(
    text=st.text(alphabet="ab \n\r\tä𝔸", min_size=30, max_size=300),
    chunk=st.integers(1, 40),
)
def test_the_pieces_of_any_text_join_to_it(text, chunk, folder):
    path = made(folder, "pieces.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("CHUNK", chunk), ("TEXT_WHOLE", 20), ("TEXT_PIECE", 10), ("TEXT_MOST", 30)):
            patch.setattr(readers, name, value)
        pieces = list(texts(path))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 30 for piece in pieces)


def test_a_text_without_line_ends_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "TEXT_WHOLE", 1000)
    monkeypatch.setattr(readers, "TEXT_MOST", 300)
    monkeypatch.setattr(readers, "TEXT_PIECE", 50)
    whole = "𝔸é" * 1000
    pieces = list(texts(made(tmp_path, "x.txt", whole)))
    assert "".join(pieces) == whole
    assert max(map(len, pieces)) == 300


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".jsonl.xz", ".json", ".txt"])
def test_memory_does_not_grow_with_the_file(suffix, tmp_path):
    row = json.dumps({"text": "words and more words " * 50})
    content = {".json": f"[{','.join([row] * 12_000)}]", ".txt": "a line of text\n\n" * 800_000}.get(suffix)
    path = tmp_path / f"x{suffix}"
    if content:
        path.write_text(content)
    else:
        write(read([json.loads(row)] * 12_000), path)
    del content
    tracemalloc.start()
    for _ in stream(path, batch_rows=256):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 12 MB of text. A batch is 0.3 MB (4 MB for the pieces of text), the reads are of 1 MB: a few copies of those;
    # xz itself keeps a window of 8 MB.
    assert peak < 8e6 + {".txt": 8e6, ".jsonl.xz": 8.5e6}.get(suffix, 0)


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = made(tmp_path, "x.jsonl", PLAIN)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("the superuser reads everything")
    with pytest.raises(PermissionError, match="may not read it"):
        read(path)


def test_xz_made_elsewhere_is_read(tmp_path):
    path = made(tmp_path, "x.jsonl.xz", lzma.compress(PLAIN, preset=9))
    assert list(texts(path)) == ["one", "two", "three"]
