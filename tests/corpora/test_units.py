"""Units cover a corpus once and in order; a part is what the function made, whatever the size of batches."""

import codecs
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.core.columns import BadRows
from tokenry.core.tables import read, write
from tokenry.corpora.units import Reading, cut_units, first_schema, read_unit, run_unit

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.integers(1, 7), st.integers(1, 9))
def test_units_of_a_parquet_file_are_its_rows_in_order(tmp_path_factory, texts, rows, batch_rows):
    path = tmp_path_factory.mktemp("p") / "a.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=rows)
    units = cut_units(str(path), unit_bytes=1)
    assert len(units) == -(-len(texts) // rows)
    reading = Reading(schema=first_schema(units, Reading()), batch_rows=batch_rows)
    made = pa.Table.from_batches(
        [batch for unit in units for batch in read_unit(unit, reading, BadRows())], reading.schema
    )
    assert made.equals(read(str(path)))


def test_a_large_file_is_cut_and_small_groups_are_taken_together(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 100] * 100}), path, row_group_size=10, compression="none")
    size = pq.ParquetFile(path).metadata.row_group(0).total_byte_size
    assert [unit.groups for unit in cut_units(str(path), unit_bytes=3 * size)] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert [unit.first for unit in cut_units(str(path), unit_bytes=3 * size)] == [1, 31, 61, 91]


LINES = st.lists(
    st.sampled_from(['{"text": "a"}', '{"text": "bé\\n🙂"}', "", "  ", '{"text": 3}', '{"n": 1}', "broken"]),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(1, 80), st.booleans(), st.booleans())
def test_units_of_a_file_of_lines_are_its_rows_in_order(tmp_path_factory, lines, unit_bytes, ended, marked):
    """Also ids and line numbers of what is broken, with a byte order mark, blank lines, and no line feed at the end."""
    path = tmp_path_factory.mktemp("l") / "a.jsonl"
    content = ("\n".join(['{"text": "first"}', *lines]) + "\n" * ended).encode()
    path.write_bytes(codecs.BOM_UTF8 * marked + content)
    units = cut_units(str(path), unit_bytes=unit_bytes)
    reading = Reading(schema=first_schema(units, Reading(skip_bad=True)), skip_bad=True)
    found, bad = [], BadRows(keep=99)
    for unit in units:
        found += [row for batch in read_unit(unit, reading, bad) for row in batch.to_pylist()]
    whole, all_bad = cut_units(str(path), unit_bytes=2**30), BadRows(keep=99)
    assert found == [row for batch in read_unit(whole[0], reading, all_bad) for row in batch.to_pylist()]
    assert sorted(bad.examples) == sorted(all_bad.examples)
    assert all(unit.n_bytes >= min(unit_bytes, path.stat().st_size) for unit in units[:-1])
    assert [
        (a.section.end, b.section.start) for a, b in itertools.pairwise(units) if a.section.end != b.section.start
    ] == []


def test_a_line_longer_than_a_unit_and_than_a_chunk_stays_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = ["x" * 10, "y" * 3_000_000, "z" * 10, "w" * 2_000_000]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    units = cut_units(str(path), unit_bytes=1000)
    assert [unit.section.lines_before for unit in units] == [0, 2]
    reading = Reading(schema=first_schema(units, Reading()))
    made = [row["text"] for unit in units for batch in read_unit(unit, reading, BadRows()) for row in batch.to_pylist()]
    assert made == texts


def test_long_documents_come_in_small_batches(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [chr(97 + n) * 2**22 for n in range(24)]}), path, use_dictionary=False)
    (unit,) = cut_units(str(path))
    reading = Reading(schema=first_schema([unit], Reading()))
    sizes = [batch.num_rows for batch in read_unit(unit, reading, BadRows())]
    assert sum(sizes) == 24
    assert max(sizes) <= 32 / 4


def test_schemas_that_change_are_refused(tmp_path):
    write(pa.table({"id": ["a", "b"], "text": ["1", "x"]}), tmp_path / "a.jsonl")

    def unsteady(batch):
        numeric = [text.isdigit() for text in batch.column("text").to_pylist()]
        kind = pa.int64() if all(numeric) else pa.string()
        return pa.RecordBatch.from_arrays([pa.array([None] * batch.num_rows, kind)], names=["n"])

    units = cut_units(str(tmp_path / "a.jsonl"))
    reading = Reading(schema=first_schema(units, Reading()), batch_rows=1)
    with pytest.raises(ValueError, match="need one schema"):
        run_unit(units[0], unsteady, tmp_path, reading=reading)
    assert not list(tmp_path.glob("part-*"))


def test_an_empty_file_makes_an_empty_part_of_the_right_schema(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    (tmp_path / "b.jsonl").write_text("")
    units = cut_units(str(tmp_path))
    reading = Reading(schema=first_schema(units, Reading()))
    for unit in units:
        run_unit(unit, lambda batch: batch, tmp_path, reading=reading)
    one, none = (pq.read_table(tmp_path / f"part-00000{number}.parquet") for number in (0, 1))
    assert none.num_rows == 0
    assert none.schema == one.schema


def test_a_corpus_without_documents_is_refused(tmp_path):
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(ValueError, match="hold no documents"):
        first_schema(cut_units(str(tmp_path)), Reading())


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "b.parquet").write_text("not")
    with pytest.raises(ValueError, match=r"b\.parquet is no readable Parquet file"):
        cut_units(str(tmp_path))
