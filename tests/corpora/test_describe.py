"""A description counts what is there."""

import json

import pyarrow as pa
import pytest

from tokenry.corpora.describe import describe
from tokenry.corpora.embedded import EmbeddedEngine


def measured(batch):
    n = [len(text or "") for text in batch.column("text").to_pylist()]
    spans = pa.array(
        [[{"start": 0, "end": 1, "score": float(one)}] * 2 for one in n],
        pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())])),
    )
    columns = {
        "id": batch.column("id"),
        "test.length": pa.array([one or None for one in n], pa.int64()),
        "test.parity": pa.array(["odd" if one % 2 else "even" for one in n], pa.string()),
        "test.spans": spans,
    }  # fmt: skip
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for source, text, n in (("web", "é", 40), ("books", "xy", 20)):
        rows = [{"id": f"{source}{k}", "text": text * (k + 1)} for k in range(n)] + [{"id": source, "text": None}]
        (folder / f"{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_sources_are_counted_in_documents_and_bytes(corpus):
    report = describe(corpus, engine=EmbeddedEngine(workers=1))
    assert report.facts["documents"] == 62
    assert report.facts["without_text"] == 2
    rows = {row["source"]: row for row in report.tables["sources"].to_pylist()}
    assert rows["web"]["bytes"] == 2 * sum(range(1, 41))
    assert rows["web"]["bytes_per_char"] == 2
    assert rows["books"]["documents"] == 21
    assert rows["web"]["share_of_bytes"] + rows["books"]["share_of_bytes"] == pytest.approx(1)
    assert "web, has 79.6%" in report.verdict


def test_every_signal_is_spread_out_whatever_its_kind(corpus, tmp_path):
    engine = EmbeddedEngine(workers=1)
    signals = engine.map(corpus, measured, tmp_path / "s", key="k").folder
    report = describe(corpus, sidecars=[signals], engine=engine)
    rows = {row["signal"]: row for row in report.tables["signals"].to_pylist()}
    assert rows["test.length"]["missing"] == 2
    assert rows["test.length"]["q50"] == 20.5
    assert rows["test.spans"]["mean"] == pytest.approx(rows["test.length"]["mean"] * 60 / 62)
    values = {row["value"]: row["documents"] for row in report.tables["values"].to_pylist()}
    assert values == {"even": 42, "odd": 20}
    assert [figure.title for figure in report.figures] == ["Length of documents", "test.length"]
    assert report.to_json()
