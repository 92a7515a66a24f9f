"""Broken, hostile and empty input to the verbs of the room is named, or counted and passed over, never lost."""

import bz2
import gzip
import itertools
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.cli import main

GOOD = [{"id": f"g{n}", "text": f"The fox number {n} jumps over the lazy dog and runs away."} for n in range(3)]
NUMBERS = itertools.count()
VERBS = {
    "score": ("score", "DOCS", "--signals", "gopher", "--out", "out"),
    "dedup": ("dedup", "DOCS", "--method", "exact", "--out", "out"),
    "select": ("select", "DOCS", "--where", "length(text) > 5", "--out", "out"),
    "mix": ("mix", "--source", "a=DOCS", "--budget", "1k", "--out", "out"),
    "describe": ("describe", "DOCS"),
}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def long_file():
    """Rows that do not pack well, so that half of the packed bytes end inside a row."""
    draw = random.Random(0)
    return lines([{"id": str(n), "text": " ".join(str(draw.random()) for _ in range(30))} for n in range(300)])


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


def half(data):
    return data[: len(data) // 2]


def parquet(tmp_path):
    pq.write_table(pa.table({"text": [row["text"] for row in GOOD]}), tmp_path / "whole.parquet")
    return (tmp_path / "whole.parquet").read_bytes()


DEEP = b'{"text": "x", "y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
BROKEN = {
    "cut.jsonl.gz": lambda _: half(gzip.compress(long_file())),
    "cut.jsonl.zst": lambda _: half(zstd(long_file())),
    "cut.jsonl.xz": lambda _: half(lzma.compress(long_file())),
    "cut.jsonl.bz2": lambda _: half(bz2.compress(long_file())),
    "cut.parquet": lambda tmp_path: half(parquet(tmp_path)),
    "latin.jsonl": lambda _: b'{"text": "caf\xe9"}\n',
    "nul.jsonl": lambda _: b'{"text": "a\0b"}\n',
    "nul.txt": lambda _: b"one \0 two\n",
    "deep.jsonl": lambda _: DEEP,
    "number.jsonl": lambda _: b'{"text": 7}\n',
    "list.jsonl": lambda _: b"[1]\n",
    "surrogate.jsonl": lambda _: b'{"text": "a \\ud800 b"}\n',
    "packed.jsonl": lambda _: gzip.compress(b"{}"),  # the suffix lies
}


def run(verb, capsys, *more):
    number = next(NUMBERS)
    words = [{"DOCS": "docs", "out": f"out{number}"}.get(word, word) for word in VERBS[verb]]
    words = [word.replace("=DOCS", "=docs") for word in words]
    with pytest.raises(SystemExit) as end:
        main(["corpus", *words, "--workers", "1", "--json", "-q", *more])
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err, number


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "good.jsonl").write_bytes(lines(GOOD))
    return tmp_path / "docs"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_the_way_out(name, docs, tmp_path, capsys):
    (docs / name).write_bytes(BROKEN[name](tmp_path))
    code, _, said, _ = run("describe", capsys)
    assert code == 2
    assert name in said
    assert "--skip-bad" in said


@pytest.mark.filterwarnings("ignore:.*passed over")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_counts_all_that_is_broken_and_reads_the_rest(verb, docs, tmp_path, capsys):
    for name, make in BROKEN.items():
        (docs / name).write_bytes(make(tmp_path))
    code, _, _, number = run(verb, capsys)
    assert code == 2
    assert not (tmp_path / f"out{number}").exists()
    code, report, _, _ = run(verb, capsys, "--skip-bad")
    facts = json.loads(report)["facts"]
    assert code == 0
    # Each file is one broken row, or breaks off once; what stands before the break of the cut ones may come too.
    assert facts["broken rows"] == len(BROKEN)
    assert facts.get("documents", 3) >= 3


def test_broken_rows_are_told_in_a_warning_also_in_python(docs, tmp_path):
    from tokenry.corpora.dedup import Settings, dedup
    from tokenry.corpora.embedded import EmbeddedEngine
    from tokenry.corpora.units import Reading

    (docs / "latin.jsonl").write_bytes(BROKEN["latin.jsonl"](None))
    with pytest.warns(UserWarning, match=r"1 bad row passed over; the first: .*latin\.jsonl, line 1"):
        dedup(str(docs), tmp_path / "out", settings=Settings("exact"), reading=Reading(skip_bad=True),
              engine=EmbeddedEngine(workers=1))  # fmt: skip


def test_empty_sources_are_refused_and_empty_files_beside_full_ones_pass(docs, capsys):
    (docs / "empty.jsonl").write_bytes(b"")
    (docs / "blank.txt").write_bytes(b"")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), docs / "none.parquet")
    for verb in VERBS:
        code, report, _, _ = run(verb, capsys)
        assert code == 0, verb
        assert verb == "mix" or json.loads(report)["facts"]["documents"] == 3, verb
    (docs / "good.jsonl").write_bytes(b"")
    for verb in VERBS:
        code, _, said, _ = run(verb, capsys)
        assert code == 2, verb
        assert "no documents" in said, verb


def test_a_missing_column_is_named_with_those_that_exist(docs, capsys):
    (docs / "good.jsonl").write_bytes(b'{"id": "x", "body": "no text"}\n')
    for verb in VERBS:
        code, _, said, _ = run(verb, capsys, "--skip-bad")
        assert code == 2, verb
        assert "'text'" in said, verb
        assert "body" in said, verb


@pytest.mark.filterwarnings("ignore:.*several types", "ignore:.*column 'more'")
def test_files_of_other_schemas_keep_their_documents(docs, capsys):
    (docs / "a.jsonl").write_bytes(lines([{"text": "First of all the words.", "score": 1}]))
    (docs / "b.jsonl").write_bytes(lines([{"text": "Another file has another type.", "score": "high", "more": [1]}]))
    pq.write_table(pa.table({"text": ["A third file has other columns."], "n": [1]}), docs / "c.parquet")
    for verb in ("select", "mix", "describe"):
        code, report, _, _ = run(verb, capsys)
        assert code == 0, verb
        assert verb == "mix" or json.loads(report)["facts"]["documents"] == 6, verb


def test_a_line_of_megabytes_is_one_document(docs, capsys):
    (docs / "long.jsonl").write_bytes(lines([{"text": "word " * 400_000}, {"text": "w" * 2_000_000}]))
    for verb in ("score", "dedup"):
        code, report, _, _ = run(verb, capsys)
        assert code == 0, verb
        assert json.loads(report)["facts"]["documents"] == 5, verb


@pytest.mark.filterwarnings("ignore:.*passed over")
def test_a_line_that_unpacks_without_end_is_counted(docs, capsys, monkeypatch):
    monkeypatch.setattr("tokenry.core.readers.LINE_LIMIT", 2**20)
    (docs / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * 2**23))
    code, report, _, _ = run("describe", capsys, "--skip-bad")
    facts = json.loads(report)["facts"]
    assert (code, facts["documents"], facts["broken rows"]) == (0, 3, 1)
