"""Repeated paragraphs are found where they stand, and taken out without touching the rest."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.hashing import BloomFilter
from tokenry.corpora.dedup_paragraphs import dedup_paragraphs, paragraph_hashes, repeated_spans
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.spans import replace_spans

LINES = st.lists(st.sampled_from(["a b c", "A, b c!", "d e f", "g h i 😀", "x", ""]), max_size=6)


def batch_of(texts):
    ids = [str(n) for n in range(len(texts))]
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(texts, pa.string())], names=["id", "text"])


def found(texts, shortest=3):
    table = pa.Table.from_batches([paragraph_hashes(batch_of(texts), shortest=shortest)])
    return repeated_spans(table, BloomFilter(1000, 1e-9))


@given(st.lists(LINES, min_size=1, max_size=5))
def test_the_spans_are_those_of_a_plain_search(documents):
    texts = ["\n".join(lines) for lines in documents]
    spans, shares = found(texts)
    seen, expected = set(), []
    for lines in documents:
        at, mine = 0, []
        for line in lines:
            key = tuple("".join(c for c in word if c not in ",!") for word in line.lower().split())
            if len(key) >= 3:
                if key in seen:
                    mine.append((at, at + len(line)))
                seen.add(key)
            at += len(line) + 1
        expected.append(mine)
    assert [[(span["start"], span["end"]) for span in one] for one in spans.to_pylist()] == expected
    for text, share, mine in zip(texts, shares, expected, strict=True):
        assert share == pytest.approx(sum(end - start for start, end in mine) / max(1, len(text)))


def test_a_menu_on_every_page_is_found_from_the_second_page_on(tmp_path):
    menu = "Home About Contact Imprint"
    rows = [{"id": str(n), "text": f"{menu}\nPage {n} has its own words {n}\n{menu}"} for n in range(30)]
    docs = tmp_path / "d.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = dedup_paragraphs(docs, tmp_path / "o", engine=EmbeddedEngine(workers=1))
    table = pq.read_table(result.decisions.parts[0])
    counts = [len(spans) for spans in table.column("dedup.paragraphs.spans").to_pylist()]
    assert counts == [1] + [2] * 29
    spans = table.column("dedup.paragraphs.spans").combine_chunks()
    cleaned = replace_spans(pa.array([row["text"] for row in rows]), [(spans, "")]).to_pylist()
    assert cleaned[1] == "Page 1 has its own words 1\n"
    assert result.report.facts["repeated"] == 59
    assert result.report.facts["paragraphs"] == 90


def test_new_paragraphs_are_taken_for_old_as_rarely_as_the_filter_promises():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 10**9, 5)) for _ in range(20_000)]
    table = pa.Table.from_batches([paragraph_hashes(batch_of(texts), shortest=3)])
    spans, _ = repeated_spans(table, BloomFilter(20_000, 1e-2))
    wrong = sum(map(bool, spans.to_pylist()))
    # Below the promised rate even at the end of the filling; 4 standard deviations above 200 of 20,000.
    assert wrong <= 200 + 4 * 200**0.5
