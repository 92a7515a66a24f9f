"""Filings in the container format come out as exact text with dates and types; what is left out is counted."""

import gzip
import json
from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from filing_worlds import container, document, html_page, paragraph, plain_page, thirty, uuencoded

pytest.importorskip("resiliparse")

from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.filing_corpus import filing_corpus
from tokenry.corpora.filings import Wanted, filings_report, read_filing, read_filings
from tokenry.corpora.raw_files import Passed

ENGINE = EmbeddedEngine(workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("edgar")
    for one in thirty():
        (made / one.name).write_bytes(one.data)
    return made


def test_thirty_filings_come_out_as_the_exact_text(folder, tmp_path):
    made = read_filings(folder, tmp_path / "docs", per_part=7, engine=ENGINE)
    rows = [row for part in made.documents.parts for row in pq.read_table(part).to_pylist()]
    found = {name: [(r["filename"], r["type"], r["text"]) for r in rows if r["file"] == name] for name in
             sorted(one.name for one in thirty())}  # fmt: skip
    assert found == {one.name: one.rows for one in sorted(thirty(), key=lambda one: one.name)}
    assert made.documents.n_out == len(rows)
    assert len(made.documents.parts) == 5
    counts = made.passed.counts
    assert (counts["image"], counts["xbrl"], counts["pdf"]) == (10, 10, 6)
    assert (counts["no filing"], counts["nearly empty"], counts["cut short (what is there is kept)"]) == (1, 1, 1)
    assert "no filing\t1\td5.txt" in (tmp_path / "docs" / "passed.tsv").read_text()


def test_a_row_says_when_and_by_whom_it_was_filed(folder):
    row = next(read_filing(folder / "a3.txt", Passed()))
    assert row["id"] == "0000000001-20-000003/main.htm"
    assert row["source"] == row["form"] == "10-K"
    # Half past five in Washington, in winter, is half past ten in Greenwich.
    assert row["accepted"] == datetime(2020, 3, 1, 22, 5, 30, tzinfo=UTC)
    assert (row["filed"], row["period"], row["year"]) == (date(2020, 3, 1), date(2019, 12, 31), 2020)
    assert (row["company"], row["cik"], row["sic"]) == ("Example Corp", "0000123456", "7372")
    assert row["n_tables"] == 1
    assert row["is_whole"]
    items = {one["item"]: row["text"][one["start"] : one["end"]] for one in row["items"]}
    assert items["1"].startswith("Item 1. Business\n\n" + paragraph(9)[:20])
    assert "SIGNATURES" not in items["7"]


def test_only_what_is_wanted_is_read(folder):
    def ids(**wanted):
        passed, rows = Passed(), []
        for file in sorted(folder.iterdir()):
            rows += list(read_filing(file, passed, wanted=Wanted(**wanted)))
        return [row["file"] for row in rows], passed

    names, passed = ids(forms=("8-K",), exhibits=False)
    assert names == [f"c{n}.txt" for n in range(6)]
    assert passed.counts["other form"] == 23
    assert passed.counts["exhibit"] == 6
    names, _ = ids(first=date(2020, 6, 1))
    assert {name[0] for name in names} == {"c"}
    names, _ = ids(forms=("10-K",), last=date(1999, 1, 1), by_item=True, items=("7",))
    assert names == [f"b{n}.txt" for n in range(8)]
    with pytest.raises(ValueError, match="no day lies between"):
        Wanted(first=date(2020, 1, 1), last=date(2019, 1, 1))


def test_a_packed_file_that_ends_early_gives_what_is_there(tmp_path):
    whole = gzip.compress(
        container([document(html_page(1)[0]), document(paragraph(2, 200), type="EX-1", filename="e.txt")])
    )
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(whole[: len(whole) - 60])
    passed = Passed()
    rows = list(read_filing(path, passed))
    assert rows[0]["text"] == html_page(1)[1]
    assert rows[0]["is_whole"]
    assert not rows[-1]["is_whole"]
    assert passed.counts["cut short (what is there is kept)"] == 1


def test_work_that_was_cut_off_goes_on(folder, tmp_path, monkeypatch):
    from tokenry.corpora import filings

    def fails(path, passed, *, wanted):
        if path.name == "c3.txt":
            raise OSError("pulled out")
        return original(path, passed, wanted=wanted)

    original = filings.read_filing
    monkeypatch.setattr(filings, "read_filing", fails)
    with pytest.raises(ValueError, match="pulled out"):
        read_filings(folder, tmp_path / "docs", per_part=5, engine=ENGINE)
    assert not (tmp_path / "docs").exists()
    monkeypatch.setattr(filings, "read_filing", original)
    read_filings(folder, tmp_path / "docs", per_part=5, engine=ENGINE)
    read_filings(folder, tmp_path / "other", per_part=5, engine=ENGINE)
    for part in sorted((tmp_path / "docs").glob("*.parquet")):
        assert pq.read_table(part).equals(pq.read_table(tmp_path / "other" / part.name))


def test_the_verb_removes_duplicates_and_counts_by_form_and_year(tmp_path, capsys):
    from tokenry.cli import main

    legal = "This report holds forward looking statements that are subject to risks which we cannot foresee today."
    for n in range(6):
        html = f"<html><body><p>{legal}</p><p>{paragraph(200 + min(n, 4), 6)}</p></body></html>"
        data = container([document(html)], accession=f"e-{n}", filed=f"20{15 + n % 3}0301")
        (tmp_path / f"{n}.txt").write_bytes(data)
    with pytest.raises(SystemExit) as end:
        main(["corpus", "filings", str(tmp_path), "--forms", "10-K", "--from", "2015-01-01", "--out",
              str(tmp_path / "docs"),
              "--dedup", "exact", "--boilerplate", "--workers", "1", "--json", "-q"])  # fmt: skip
    assert not end.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["documents"] == 6
    assert facts["documents_kept"] == 5
    assert facts["paragraphs_repeated"] == 6
    rows = [row for part in sorted((tmp_path / "docs").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [legal in row["text"] for row in rows] == [True, False, False, False, False]
    assert all(paragraph(200 + n, 6) in row["text"] for n, row in enumerate(rows))


def test_the_report_adds_up(folder, tmp_path):
    made = read_filings(folder, tmp_path / "docs", engine=ENGINE)
    report = filings_report(made)
    rows = report.tables["by form and year"].to_pylist()
    assert [(r["form"], r["year"], r["filings"], r["documents"]) for r in rows] == [
        ("10-K", 1996, 8, 8), ("10-K", 2020, 14, 15), ("8-K", 2021, 6, 12)
    ]  # fmt: skip
    assert sum(r["words"] for r in rows) == sum(len(text.split()) for one in thirty() for _, _, text in one.rows)
    with pytest.raises(ValueError, match="exact or minhash"):
        filing_corpus(folder, tmp_path / "x", method="fuzzy")


def test_a_binary_part_without_a_name_is_known_by_its_lines(tmp_path):
    (tmp_path / "x.txt").write_bytes(container([document(uuencoded(bytes(300)), type="COVER", filename="")]))
    passed = Passed()
    assert not list(read_filing(tmp_path / "x.txt", passed))
    assert passed.counts["uuencoded"] == 1


def test_old_pages_are_the_same_with_any_width(tmp_path):
    body, text = plain_page(7)
    (tmp_path / "x.txt").write_bytes(container([document(body, filename="")]))
    row = next(read_filing(tmp_path / "x.txt", Passed()))
    assert row["text"] == text
    assert row["n_tables"] == 2
    assert row["n_furniture"] == 2
