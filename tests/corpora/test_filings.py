"""Filings in the container format come out as exact text with dates and types; what is left out is counted."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from datetime import UTC, date, datetime

import pyarrow as pa
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
    assert "no filing\t1\tTrue\td5.txt" in (tmp_path / "docs" / "passed.tsv").read_text()


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
        data = container([document(html)], accession=f"e-{n}", filed=f"20{15 + (5 - n) % 3}0301")
        (tmp_path / f"{n}.txt").write_bytes(data)
    with pytest.raises(SystemExit) as end:
        main(["corpus", "filings", str(tmp_path), "--forms", "10-K", "--from", "2015-01-01", "--out",
              str(tmp_path / "docs"),
              "--dedup", "exact", "--boilerplate", "--workers", "1", "--json", "-q"])  # fmt: skip
    assert not end.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["documents"] == 6
    assert facts["documents_kept"] == 5
    assert facts["paragraphs_repeated"] == 4
    assert facts["documents_of_boilerplate_only"] == 0
    rows = [row for part in sorted((tmp_path / "docs").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [legal in row["text"] for row in rows] == [True, False, False, False, False]
    assert all(paragraph(200 + n, 6) in row["text"] for n, row in enumerate(rows))
    # Of the two equal ones the file that was accepted first stays, not the one whose name comes first.
    assert [row["accession"] for row in rows] == ["e-0", "e-1", "e-2", "e-3", "e-5"]


def test_boilerplate_goes_alone_too_and_the_work_goes_on_from_the_clean_documents(tmp_path, monkeypatch):
    legal = "This report holds forward looking statements that are subject to risks which we cannot foresee today."
    edgar = tmp_path / "edgar"
    edgar.mkdir()
    for n in range(3):
        own = paragraph(300 + n, 6) if n < 2 else ""
        body = f"<html><body><p>Item 1. Business</p><p>{legal} {legal}</p><p>{own}</p></body></html>"
        (edgar / f"{n}.txt").write_bytes(container([document(body)], accession=f"f-{n}"))

    def fails(*_, **__):
        raise OSError("pulled out")

    with monkeypatch.context() as patched:
        patched.setattr("tokenry.corpora.dedup_paragraphs.dedup_paragraphs", fails)
        with pytest.raises(OSError, match="pulled out"):
            filing_corpus(edgar, tmp_path / "docs", boilerplate=True, engine=ENGINE)
    made_at = (tmp_path / "docs.steps" / "clean" / "manifest.json").stat().st_mtime_ns
    report = filing_corpus(edgar, tmp_path / "docs", boilerplate=True, engine=ENGINE)
    assert (tmp_path / "docs.steps" / "clean" / "manifest.json").stat().st_mtime_ns == made_at
    assert report.facts["paragraphs_repeated"] == 4  # two of the legal ones; two headings, which stay all the same
    assert report.facts["documents_kept"] == 3
    rows = [row for part in sorted((tmp_path / "docs").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [legal in row["text"] for row in rows] == [True, False, False]
    # The spans of the Items are those of the text as it is now.
    assert [(one["item"], row["text"][one["start"] : one["end"]]) for row in rows for one in row["items"]] == [
        ("1", row["text"]) for row in rows
    ]
    (edgar / "3.txt").write_bytes(container([document(paragraph(5, 9))]))
    (tmp_path / "docs.steps").rename(tmp_path / "other.steps")
    with pytest.raises(FileExistsError, match="clean exists already"):  # other files: not taken for the same work
        filing_corpus(edgar, tmp_path / "other", boilerplate=True, engine=ENGINE)


def tarred(members):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data or b""))
    return held.getvalue()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"])
def test_a_days_archive_is_read_member_by_member(suffix, tmp_path, monkeypatch):
    pack = {".tar": bytes, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.compress(
        data, codec="zstd", asbytes=True)}.get(suffix.replace(".tar.", "."), gzip.compress)  # fmt: skip
    one, two = (container([document(paragraph(n, 40))], accession=f"t-{n}") for n in (1, 2))
    monkeypatch.setattr("tokenry.corpora.filings.MOST_BYTES", 10**6)
    plain = tarred([("../../one.nc", one), ("/etc/link", None), ("bomb.nc", b" " * 10**6 + b"x"),
                    ("note.txt", b"hello"), ("two.nc", two)])  # fmt: skip
    (tmp_path / f"day{suffix}").write_bytes(pack(plain))
    passed = Passed()
    rows = list(read_filing(tmp_path / f"day{suffix}", passed))
    assert [(row["id"], row["file"]) for row in rows] == [
        ("t-1/main.htm", f"day{suffix}/../../one.nc"), ("t-2/main.htm", f"day{suffix}/two.nc")
    ]  # fmt: skip
    assert dict(passed.counts) == {"no file (a link or device)": 1, "too large": 1, "no filing": 1}
    assert passed.n_seen == len(rows) + passed.n_left_out
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"day{suffix}"]
    # Cut inside the last member: what stands before it is read, and the damage is told.
    (tmp_path / f"day{suffix}").write_bytes(plain[: plain.index(two) + 100] if suffix == ".tar" else pack(plain)[:-40])
    passed = Passed()
    found = [row["id"] for row in read_filing(tmp_path / f"day{suffix}", passed)]
    assert found[:1] == ["t-1/main.htm"] or suffix == ".tar.bz2"  # bzip2 gives nothing of a block that is cut
    assert passed.kept


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
def test_packed_files_that_end_early_or_never_are_told(suffix, tmp_path, monkeypatch):
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
            ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True)}[suffix]  # fmt: skip
    data = container([document(paragraph(1, 40))])
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(data))
    passed = Passed()
    assert [row["is_whole"] for row in read_filing(tmp_path / f"a.txt{suffix}", passed)] == [True]
    assert not passed.counts
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(data)[:-12])
    passed = Passed()
    rows = list(read_filing(tmp_path / f"a.txt{suffix}", passed))
    assert not any(row["is_whole"] for row in rows)
    assert sum(passed.counts.values()) >= 1
    monkeypatch.setattr("tokenry.corpora.filings.MOST_BYTES", 10**5)
    (tmp_path / f"b.txt{suffix}").write_bytes(pack(b" " * 10**7))
    passed = Passed()
    assert not list(read_filing(tmp_path / f"b.txt{suffix}", passed))
    assert dict(passed.counts) == {"too large": 1}


def test_hostile_bytes_are_counted_or_cleaned(tmp_path):
    broken = b"\xff\xfe\xc3(" + paragraph(3, 40).encode()
    for name, data in {"empty": b"", "zip": b"PK\x03\x04" + bytes(50), "nul": container([document("a\0" * 500)]),
                       "spaces": container([document("x")]).replace(b"COUNT:", b"COUNT:x" + b" " * 500_000),
                       "broken": container([document(broken)])}.items():  # fmt: skip
        passed = Passed()
        (tmp_path / f"{name}.txt").write_bytes(data)
        rows = list(read_filing(tmp_path / f"{name}.txt", passed))
        assert passed.n_seen == len(rows) + passed.n_left_out == 1, name


def test_items_that_are_not_there_are_counted(folder):
    passed = Passed()
    wanted = Wanted(by_item=True, items=("9B",))
    assert not list(read_filing(folder / "a0.txt", passed, wanted=wanted))
    assert passed.counts["none of the Items that are asked for"] == 1


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


def test_a_table_without_an_end_does_not_take_the_rest_of_the_filing(tmp_path):
    rows = "Sales   1,234   1,100\nCosts     999     870\nTotal   2,233   1,970\n"
    tables = [f"<TABLE>\n{rows}", f"<TABLE>\n{rows}</TABLE>", f"<TABLE>\n{rows * 40}"]
    body = "\n\n".join(f"{paragraph(n)}\n\n{table}" for n, table in enumerate(tables)) + f"\n{paragraph(3)}\n"
    (tmp_path / "x.txt").write_bytes(container([document(body, filename="")]))
    row = next(read_filing(tmp_path / "x.txt", Passed()))
    assert all(paragraph(n) in row["text"] for n in range(4))
    assert "1,100" not in row["text"]
