"""Attributes of the real Dolma toolkit become a sidecar, ours become its attributes, and back."""

import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.corpora.dolma_layout import attribute_name, read_attributes, write_attributes, write_documents
from tokenry.corpora.families import BOOL, SPANS
from tokenry.corpora.sidecars import read_signals
from tokenry.corpora.signals import score_corpus

TAGGED = Path(__file__).with_name("dolma_tagged")  # how it was made stands in its README


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_attributes_of_the_real_tagger_are_read_and_equal_our_signals(tmp_path):
    documents = TAGGED / "documents"
    flags = {f"c4_v2.has_{name}": BOOL for name in ("curly_brace", "javascript", "lorem_ipsum")}
    read_attributes(TAGGED / "attributes" / "exp", documents, tmp_path / "theirs", types=flags)
    score_corpus(documents, "dolma.gopher,dolma.c4,pii", tmp_path / "ours", workers=1)
    theirs, ours = read_signals(tmp_path / "theirs"), read_signals(tmp_path / "ours")
    assert theirs.column("id").to_pylist() == ours.column("id").to_pylist() == ["d0", "d1", "d2", "d3"]
    compared = 0
    for tagger, family in {"gopher_v1": "dolma.gopher", "c4_v2": "dolma.c4"}.items():
        for name in theirs.column_names:
            if not name.startswith(tagger):
                continue
            mine = ours.column(name.replace(tagger, family)).to_pylist()
            # The toolkit writes five decimals.
            assert theirs.column(name).to_pylist() == [round(v, 5) if isinstance(v, float) else v for v in mine], name
            compared += 1
    assert compared == 19 + 6
    assert theirs.schema.field("pii_regex_with_counts_fast_v2.EMAIL_ADDRESS").type == SPANS
    found = theirs.column("pii_regex_with_counts_fast_v2.doc_count").to_pylist()
    assert found == [float(n) for n in ours.column("pii.count").to_pylist()]


def corpus(folder):
    (folder / "in" / "deep").mkdir(parents=True)
    rows = [
        {"id": "1", "text": "Tränen 😀 lügen.\nzwei\n" * 3, "source": "web", "stars": 4},
        {"id": "2", "text": None, "source": "web", "stars": None},
        {"id": "3", "text": "", "source": "web", "stars": 1},
    ]
    (folder / "in" / "deep" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "in" / "b.jsonl").write_text(
        json.dumps({"id": "4", "text": "vier Worte stehen hier", "source": "b", "stars": 2})
    )
    return folder / "in"


def test_signals_written_as_attributes_are_read_back(tmp_path):
    source = corpus(tmp_path)
    score_corpus(source, "gopher,c4,dolma.c4", tmp_path / "signals", workers=1)
    root = tmp_path / "root"
    written = write_documents(source, root)
    attributes = write_attributes(source, [tmp_path / "signals"], root, experiment="e")
    assert [path.relative_to(root / "documents") for path in written] == [
        path.relative_to(root / "attributes" / "e") for path in attributes
    ]
    first = lines(root / "documents" / "deep" / "a.jsonl.gz")[0]
    assert first == {"id": "1", "text": "Tränen 😀 lügen.\nzwei\n" * 3, "source": "web", "metadata": {"stars": 4}}
    row = lines(root / "attributes" / "e" / "deep" / "a.jsonl.gz")[0]
    assert row["attributes"]["e__gopher__words"] == [[0, len(first["text"]), 12]]

    before = read_signals(tmp_path / "signals")
    types = {
        column.name.replace("dolma.c4", "dolma_c4"): column.type
        for column in before.schema
        if column.name != "id" and before.column(column.name).null_count < before.num_rows
    }
    flags = [name for name, kind in types.items() if kind == BOOL]
    for name in flags:
        del types[name]  # one that is off everywhere is not written at all
    read_attributes(root / "attributes" / "e", root / "documents", tmp_path / "back", types=types)
    after = read_signals(tmp_path / "back")
    assert after.column("id").to_pylist() == before.column("id").to_pylist() == ["4", "1", "2", "3"]
    for name in types:
        expected = before.column(name.replace("dolma_c4", "dolma.c4")).to_pylist()
        if types[name] == SPANS:
            expected = [[] if value is None else value for value in expected]
        assert after.column(name).to_pylist() == expected, name


def test_columns_get_the_names_the_toolkit_would_give():
    assert attribute_name("dolma.gopher.word_count", "e") == "e__dolma_gopher__word_count"
    assert attribute_name("rpv2.doc_word_count", "run1") == "run1__rpv2__doc_word_count"


def test_attributes_of_other_documents_are_refused(tmp_path):
    shutil.copytree(TAGGED, tmp_path / "root")
    file = tmp_path / "root" / "attributes" / "exp" / "y.jsonl.gz"
    rows = lines(file)
    for change, message in (
        ([{**rows[0], "id": "other"}], "'other' where the document 'd3'"),
        ([], "the end of the file"),
        (rows * 2, "more rows than its documents"),
        ([{"id": "d3"}], "no attributes of Dolma"),
        ([{"id": "d3", "attributes": {"exp__a__b": [[5, 2, 1]]}}], "no attributes of Dolma"),
    ):
        with gzip.open(file, "wt") as out:
            out.writelines(json.dumps(row) + "\n" for row in change)
        with pytest.raises(ValueError, match=message):
            read_attributes(file.parent, tmp_path / "root" / "documents", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no attributes for y\.jsonl\.gz"):
        read_attributes(file.parent, tmp_path / "root" / "documents", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="need ROOT/attributes/EXPERIMENT"):
        read_attributes(tmp_path / "nowhere", tmp_path / "root" / "documents", tmp_path / "out")


def test_a_sidecar_made_of_attributes_keeps_the_types_of_a_sidecar(tmp_path):
    made = read_attributes(TAGGED / "attributes" / "exp", TAGGED / "documents", tmp_path / "out")
    schema = pq.read_schema(made.parts[0])
    assert schema.field("id").type == pa.string()
    assert schema.field("gopher_v1.word_count").metadata == {b"version": b"dolma"}
    assert made.n_out == 4
