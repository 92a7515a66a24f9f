"""Web archives become documents; what is left out is counted by its reason."""

import gzip
import io
import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("fastwarc")
pytest.importorskip("resiliparse")

from tokenry.corpora.raw_files import Passed
from tokenry.corpora.warc import Extraction, read_warc

TEXT = "The museum opens at nine and closes at five on every day of the week but Monday, when it is cleaned."


def record(kind, body, *, n=0, url="http://Example.org:80/a", mime="application/http; msgtype=response"):
    head = (f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:0000-{n}>\r\nWARC-Target-URI: {url}\r\n"
            f"WARC-Date: 2021-05-06T07:08:09Z\r\nContent-Type: {mime}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
    return head.encode() + body + b"\r\n\r\n"


def response(html, *, status=200, mime="text/html; charset=utf-8", headers=""):
    body = html if isinstance(html, bytes) else html.encode()
    return f"HTTP/1.1 {status} X\r\nContent-Type: {mime}\r\n{headers}\r\n".encode() + body


def archive(records, packed=True):
    return b"".join(gzip.compress(one) if packed else one for one in records)


PAGE = f"<html><head><title>Museum</title></head><body><main><p>{TEXT}</p></main></body></html>"
BOMB = zlib.compressobj(9, wbits=31)
BOMB = BOMB.compress(b" " * (20 * 2**20)) + BOMB.flush()


def world():
    return [
        record("warcinfo", b"software: x\r\n", mime="application/warc-fields"),
        record("request", b"GET / HTTP/1.1\r\n\r\n", n=1, mime="application/http; msgtype=request"),
        record("response", response(PAGE), n=2),
        record("response", response(PAGE, status=404), n=3),
        record("response", response(b"\x89PNG", mime="image/png"), n=4),
        record("conversion", TEXT.encode(), n=5, mime="text/plain", url="https://b.net/x"),
        record("response", response(gzip.compress(PAGE.encode()), headers="Content-Encoding: gzip\r\n"), n=6),
        record("response", response(BOMB, headers="Content-Encoding: gzip\r\n"), n=7),
        record("response", response("<b>" * 5000), n=8),
        record("response", response("<p>café</p>".encode("latin-1"), mime="text/html; charset=iso-8859-1"), n=9),
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_records_become_documents_with_host_and_date(tmp_path, packed):
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(archive(world(), packed))
    passed = Passed()
    rows = list(read_warc(path, passed, extraction=Extraction(main=False)))
    assert [(row["id"], row["source"], row["text"]) for row in rows] == [
        ("0000-2", "example.org", TEXT), ("0000-5", "b.net", TEXT), ("0000-6", "example.org", TEXT),
        ("0000-9", "example.org", "café"),
    ]  # fmt: skip
    assert rows[0]["title"] == "Museum"
    assert str(rows[0]["date"]) == "2021-05-06 07:08:09+00:00"
    assert passed.n_seen == 10
    assert dict(passed.counts) == {
        "a warcinfo record": 1,
        "a request record": 1,
        "HTTP status 404": 1,
        "type image/png": 1,
        "packed body that is broken, unknown or too large": 1,
        "too deep": 1,
    }


def test_bodies_are_unpacked_or_counted_never_read_as_they_are_packed(tmp_path):
    page, bare = PAGE.encode(), zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(page), "deflate": zlib.compress(page),
        "deflate, chunked": bare.compress(page) + bare.flush(),
        "identity": page, "br": page,  # archives keep the header of what they unpacked
    }  # fmt: skip
    broken = {"gzip": gzip.compress(page)[:-20], "zstd": pa.compress(page, codec="zstd", asbytes=True),
              "br": bytes(range(40)), "compress": b"\x1f\x9d\x90" + bytes(20)}  # fmt: skip
    records = [
        record("response", response(body, headers=f"Content-Encoding: {kind}\r\n"), n=n)
        for n, (kind, body) in enumerate([*packed.items(), *broken.items()])
    ]
    (tmp_path / "a.warc").write_bytes(archive(records, packed=False))
    passed = Passed()
    rows = list(read_warc(tmp_path / "a.warc", passed, extraction=Extraction(main=False)))
    assert [(row["id"], row["text"]) for row in rows] == [(f"0000-{n}", TEXT) for n in range(len(packed))]
    assert dict(passed.counts) == {"packed body that is broken, unknown or too large": len(broken)}


def test_a_zstd_archive_that_is_cut_is_told(tmp_path):
    data = archive([record("response", response(PAGE), n=n) for n in range(3)], packed=False)
    whole = pa.compress(data, codec="zstd", asbytes=True)
    (tmp_path / "a.warc.zst").write_bytes(whole)
    passed = Passed()
    assert len(list(read_warc(tmp_path / "a.warc.zst", passed))) == 3
    (tmp_path / "a.warc.zst").write_bytes(whole[:-30])
    passed = Passed()
    rows = list(read_warc(tmp_path / "a.warc.zst", passed))
    assert len(rows) < 3
    assert passed.counts


def test_long_records_are_left_out_and_the_next_is_read(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(archive([record("response", response("x" * 5000), n=1), record("response", response(PAGE), n=2)]))
    passed = Passed()
    rows = list(read_warc(path, passed, extraction=Extraction(main=False, most_bytes=4000)))
    assert [row["id"] for row in rows] == ["0000-2"]
    assert passed.counts["too large"] == 1


def test_a_file_cut_short_gives_what_is_there_and_is_counted(tmp_path):
    good = [record("response", response(PAGE), n=n) for n in range(3)]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(archive(good)[:-40])
    passed = Passed()
    rows = list(read_warc(path, passed, extraction=Extraction(main=False)))
    assert [row["id"] for row in rows] == ["0000-0", "0000-1"]
    assert dict(passed.counts) == {"a record that is cut short": 1, "the file is cut short (the rest is missing)": 1}
    (tmp_path / "b.warc.gz").write_bytes(b"not an archive")
    assert not list(read_warc(tmp_path / "b.warc.gz", passed))


def test_the_records_are_those_that_warcio_reads(tmp_path):
    warcio = pytest.importorskip("warcio")
    path = tmp_path / "a.warc.gz"
    path.write_bytes(archive(world()))
    records = warcio.ArchiveIterator(io.BytesIO(path.read_bytes()))
    read = [one for one in records if one.rec_type in ("response", "conversion")]
    theirs = [one.rec_headers.get_header("WARC-Record-ID") for one in read]
    passed = Passed()
    mine = {row["id"] for row in read_warc(path, passed)}
    named = {name for names in passed.examples.values() for name in names}
    assert {one.strip("<>").removeprefix("urn:uuid:") for one in theirs} <= mine | named


def test_the_verb_writes_parts_that_other_verbs_read(tmp_path, capsys):
    from tokenry.cli import main
    from tokenry.core.tables import read

    for name in ("a", "b"):
        (tmp_path / f"{name}.warc.gz").write_bytes(archive(world()))
    with pytest.raises(SystemExit) as end:
        main(
            [
                "corpus",
                "extract",
                str(tmp_path),
                "--out",
                str(tmp_path / "docs"),
                "--whole",
                "--workers",
                "1",
                "--json",
                "-q",
            ]
        )
    assert not end.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert (facts["files"], facts["records"], facts["documents"], facts["left_out"]) == (2, 20, 8, 12)
    table = read(tmp_path / "docs")
    assert table.num_rows == 8
    assert set(table.column("source").to_pylist()) == {"example.org", "b.net"}
    assert pq.read_schema(tmp_path / "docs" / "part-000000.parquet").field("date").type.tz == "UTC"
    assert "type image/png\t2" in (tmp_path / "docs" / "passed.tsv").read_text()
