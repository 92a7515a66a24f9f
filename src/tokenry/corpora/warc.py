"""Read web archives (WARC, WET, each also with .gz or .zst) as documents: text, host, address, date, type.

FastWARC reads the records and resiliparse makes text of HTML (extra `web`). Records are bounded, also those that unpack
to far more than they promise; everything that is left out is counted by its reason.

Paper: DataComp-LM: In search of the next generation of training sets for language models (arXiv 2406.11794), for the
choice of extractor.
"""

import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tokenry.core.choosing import needs
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.corpora.engine import Engine
from tokenry.corpora.html_text import UnreadablePage, decoded, html_text, tidy
from tokenry.corpora.raw_files import Converted, Passed, convert, find_raw
from tokenry.corpora.word_lists import host_of

__all__ = ["SUFFIXES", "WARC", "Extraction", "extract", "extract_report", "read_warc"]

VERSION = 1
SUFFIXES = tuple(f".{kind}{packed}" for kind in ("warc", "wet", "warc.wet") for packed in ("", ".gz", ".zst"))
WARC = pa.schema(
    [
        ("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("url", pa.string()),
        ("date", pa.timestamp("s", tz="UTC")), ("mime", pa.string()), ("title", pa.string()), ("file", pa.string()),
    ]
)  # fmt: skip
"""Columns of the documents; `source` is the host of the address."""
_TAKEN = ("response", "resource", "conversion")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # no text has these, packed bytes do
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Extraction:
    """How records become documents.

    Attributes:
        main: leave out what looks like menus, headers and footers (resiliparse's rules).
        numeric_tables: keep tables of numbers.
        shortest: characters that a text must have.
        most_bytes: of one record, packed or not; longer ones are left out.
    """

    main: bool = True
    numeric_tables: bool = True
    shortest: int = 1
    most_bytes: int = 16 * 2**20


def extract(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    extraction: Extraction = Extraction(),
    engine: str | Engine = "embedded",
) -> Converted:
    """Make documents of web archives, one part for each file.

    Args:
        source: files, folders, globs of WARC or WET files.
        out: the folder of Parquet parts (columns: `WARC`) to make; `passed.tsv` in it says what was left out.
        extraction: how.
        engine: an engine or its name.

    Raises:
        FileNotFoundError: nothing is there. FileExistsError: `out` is. ImportError: the extra `web` is missing.
    """
    needs("web", "fastwarc", "resiliparse")
    files = find_raw(source, SUFFIXES)
    key = fingerprint("warc", VERSION, asdict(extraction))
    return convert(files, out, read=partial(read_warc, extraction=extraction), schema=WARC, key=key, engine=engine,
                   label="archives", run={"verb": "corpus extract", **asdict(extraction)})  # fmt: skip


def read_warc(path: Path, passed: Passed, *, extraction: Extraction = Extraction()) -> Iterator[dict[str, object]]:
    """The documents of one archive as rows with the columns of `WARC`; what is left out goes to `passed`."""
    from fastwarc.warc import ArchiveIterator

    n_before = passed.n_seen
    with path.open("rb") as file:
        stream = _Gunzip(file) if file.read(2) == b"\x1f\x8b" else file
        file.seek(0)
        yield from _records(ArchiveIterator(stream, parse_http=True, auto_decode="none"), path, passed, extraction)
        if isinstance(stream, _Gunzip) and stream.is_cut:
            passed.remark("the file is cut short (the rest is missing)", path.name)
    if passed.n_seen == n_before:
        passed.remark("no record in the file", path.name)


def _records(archive: Iterator, path: Path, passed: Passed, extraction: Extraction) -> Iterator[dict[str, object]]:
    try:
        for record in archive:
            passed.n_seen += 1
            name = (record.record_id or "").removeprefix("<").removesuffix(">").removeprefix("urn:uuid:")
            kind = str(record.record_type)
            if kind not in _TAKEN:
                passed.add(f"a {kind} record", name)
                continue
            row = _row(record, extraction, name, passed)
            if row is not None:
                row["file"] = path.name
                yield row
    except BaseException as error:
        # A failure inside the Rust of the library comes as a PanicException, which is no Exception.
        if (
            not isinstance(error, (OSError, EOFError, ValueError, RuntimeError))
            and type(error).__name__ != "PanicException"
        ):
            raise
        passed.remark(f"the file is damaged ({type(error).__name__}), the rest cannot be read", path.name)


class _Gunzip:
    """The bytes of a .gz file, member after member; FastWARC's own reader does not say that a file ends early.

    Attributes:
        is_cut: the end came inside a member.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._held, self.is_cut = file, b"", False
        self._unpacker = zlib.decompressobj(wbits=31)
        self._is_inside, self._at = False, 0

    def tell(self) -> int:
        """Bytes read so far."""
        return self._at

    def read(self, size: int = 2**16) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        while True:
            if self._unpacker.eof:
                self._held, self._unpacker, self._is_inside = (
                    self._unpacker.unused_data,
                    zlib.decompressobj(wbits=31),
                    False,
                )
            packed = self._unpacker.unconsumed_tail or self._held or self._file.read(2**16)
            self._held = b""
            if not packed:
                self.is_cut |= self._is_inside
                return b""
            self._is_inside = True
            try:
                made = self._unpacker.decompress(packed, size)
            except zlib.error:
                self.is_cut, self._is_inside = True, False
                self._unpacker, self._file = zlib.decompressobj(wbits=31), io.BytesIO()
                return b""
            if made:
                self._at += len(made)
                return made


def _row(record: object, extraction: Extraction, name: str, passed: Passed) -> dict[str, object] | None:
    """A record as a document; None and a count where it is left out."""
    status, mime, charset = _described(record)
    length = record.headers.get("Content-Length", "0") or "0"
    promised = int(length) if length.isdigit() else 0
    if status not in (None, 200):
        passed.add(f"HTTP status {status}", name)
        return None
    if mime not in _HTML and not mime.startswith("text/plain"):
        passed.add(f"type {mime or 'unknown'}"[:60], name)
        return None
    if promised > extraction.most_bytes:
        passed.add("too large", name)
        return None
    promised = record.content_length
    packed = record.reader.read(extraction.most_bytes + 1)
    if len(packed) < promised:
        passed.add("a record that is cut short", name)
        return None
    data = _unpacked(packed, _encoding(record), extraction.most_bytes)
    if data is None:
        passed.add("packed body that is broken, unknown or too large", name)
        return None
    try:
        text, title = decoded(data, charset), ""
        if mime in _HTML:
            page = html_text(text, main=extraction.main, numeric_tables=extraction.numeric_tables)
            text, title = page.text, page.title
        else:
            text = tidy(text.replace("\r\n", "\n"))
    except UnreadablePage as error:
        passed.add(error.reason, name)
        return None
    if len(text) < max(1, extraction.shortest):
        passed.add("nearly empty", name)
        return None
    url = record.headers.get("WARC-Target-URI", "").strip("<>")
    return {"id": name, "text": text, "source": host_of(url) or "", "url": url,
            "date": _instant(record.headers.get("WARC-Date", "")), "mime": mime, "title": title}  # fmt: skip


def _described(record: object) -> tuple[int | None, str, str | None]:
    """HTTP status (None where there was no request), type and character set."""
    http = record.http_headers if record.is_http else None
    headers = http if http is not None else record.headers
    kind, _, rest = (headers.get("Content-Type", "") or "").partition(";")
    charset = rest.partition("charset=")[2].split(";")[0].strip(" \"'") or None
    return (http.status_code if http is not None else None), kind.strip().lower(), charset


def _encoding(record: object) -> tuple[str, ...]:
    http = record.http_headers if record.is_http else None
    if http is None:
        return ()
    named = [http.get("Content-Encoding", "") or "", http.get("Transfer-Encoding", "") or ""]
    return tuple(one.strip().lower() for line in named for one in line.split(",") if one.strip())


def _unpacked(data: bytes, encodings: tuple[str, ...], most: int) -> bytes | None:
    """The body as it was before it was packed; archives often keep the header of what they unpacked themselves.

    None where it is broken, cut short, too large, or packed in a way that is not known (br, zstd).
    """
    if "chunked" in encodings:
        data = _unchunked(data)
    packings = set(encodings) - {"chunked", "identity", "utf-8", "none"}
    if packings & {"gzip", "x-gzip", "deflate"}:
        for wbits in (47, -15):  # gzip or zlib by its header, and the bare stream that some servers call deflate
            unpacker = zlib.decompressobj(wbits=wbits)
            try:
                made = unpacker.decompress(data, most + 1)
            except zlib.error:
                continue
            return made if unpacker.eof and len(made) <= most else None
    if packings and _BINARY.search(data[:4096]):
        return None
    return data if len(data) <= most else None


def _unchunked(data: bytes) -> bytes:
    """The body without the sizes of its chunks; as it is where these are gone already."""
    pieces, at = [], 0
    while True:
        end = data.find(b"\r\n", at, at + 32)
        try:
            size = int(data[at:end].split(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0:
            return b"".join(pieces) if pieces else data
        if size == 0:
            return b"".join(pieces)
        pieces.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.replace(microsecond=0).astimezone(UTC)


def extract_report(converted: Converted) -> Report:
    """Documents and what was left out, by reason."""
    made, passed = converted.documents, converted.passed
    return Report(
        kind="extract",
        title="Web archives",
        facts={"files": len(made.tallies), "records": passed.n_seen, "documents": made.n_out,
               "left_out": passed.n_left_out},
        tables={"left out": passed.table()},
        verdict=f"{made.n_out:,} documents of {passed.n_seen:,} records in {len(made.tallies):,} files.",
    )  # fmt: skip
