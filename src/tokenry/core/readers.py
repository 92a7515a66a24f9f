"""Read one file of documents as a stream of rows or record batches, never more than a batch in memory.

The standard library's JSON parser is used because it alone can name the broken line, keeps text as written (Arrow's
reader turns strings that look like dates into timestamps) and does not mind two types in one column.
"""

import codecs
import contextlib
import json
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from tokenry.core.places import HUB, Place, open_place

OnBad = Callable[[Place, int | None, str], None]

LINE_LIMIT = 256 * 2**20  # bytes in one line, characters in one value of an array
BATCH_BYTES = 32 * 2**20  # a batch is closed early at this size: 1,024 long documents would not fit
CHUNK = 2**20
TEXT_WHOLE = 10**6  # a text file up to this many bytes is one document
TEXT_PIECE = 16_000  # a longer one is cut at the first blank line after this many characters,
TEXT_MOST = 10**6  # or, without a blank line, at the last line end before this many
_BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")
_SPACE = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()
_DAMAGE = (EOFError, lzma.LZMAError, pa.ArrowInvalid, OSError)
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zXZ": ".xz", b"BZh": ".bz2", b"PAR1": ".parquet"}


class Row(NamedTuple):
    """One parsed row: its place in the file from 1 (0: the file is one document), its line, about its size."""

    value: object
    number: int
    line: int
    size: int


class Section(NamedTuple):
    """Lines of a file: first byte, the one after the last, and how many lines stand before."""

    start: int
    end: int
    lines_before: int


class Unreadable(Exception):  # noqa: N818 - never reaches a caller
    """Raised by a reader that cannot go on with its file: line (None when unknown) and reason."""


class Broken(Unreadable):
    """The same for one JSON value: what comes after it may be good."""


@dataclass
class Rows:
    """A batch of parsed rows, columns side by side; see `Row`."""

    values: list[object] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, row: Row) -> None:
        """Append one row."""
        self.values.append(row.value)
        self.numbers.append(row.number)
        self.lines.append(row.line)
        self.size += row.size


def read_place(
    place: Place,
    *,
    batch_rows: int,
    on_bad: OnBad,
    needed: Sequence[str] | None = None,
    section: "Section | None" = None,
) -> Iterator[Rows | pa.RecordBatch]:
    """Stream one file, batch by batch.

    Args:
        place: the file.
        batch_rows: rows in a batch at most; a batch of JSON or text is closed early at 32 MB.
        on_bad: called as `on_bad(place, line, reason)` for what cannot be read; it raises, or returns to go on
            after a bad line. A damaged file, and a broken value in a JSON array, end the file.
        needed: columns of a Parquet file to read, None for all; all are read where one of these is missing, so that
            the message can name those that exist.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_place(place))
        except PermissionError as error:
            raise PermissionError(f"{place.path}: may not read it. Change its mode, or leave it out.") from error
        try:
            if place.format == "parquet":
                yield from _read_parquet(file, place, batch_rows, needed)
            else:
                yield from _read_rows(file if section is None else _Part(file, section), place, batch_rows, on_bad)
        except Unreadable as error:
            on_bad(place, *error.args)


def _read_parquet(
    file: BinaryIO, place: Place, batch_rows: int, needed: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file if place.path.startswith(HUB) else place.path)
        names = opened.schema_arrow.names
        if needed is not None and set(needed) - {"id", "source"} <= set(names):
            names = [name for name in names if name in needed]
        yield from opened.iter_batches(batch_size=batch_rows, columns=names)
    except _DAMAGE as error:
        raise Unreadable(None, _damage(error)) from error


def _read_rows(file: BinaryIO, place: Place, batch_rows: int, on_bad: OnBad) -> Iterator[Rows]:
    reader = {"jsonl": _json_lines, "json": _json_values, "txt": _text_pieces}[place.format]
    batch, problem = Rows(), None
    try:
        for row in reader(file, place, on_bad):
            batch.add(row)
            if len(batch.values) >= batch_rows or batch.size >= BATCH_BYTES:
                yield batch
                batch = Rows()
    except Unreadable as error:
        problem = error
    except _DAMAGE as error:
        problem = Unreadable(None, _damage(error))
    # What came before the damage is good: where bad rows are passed over it must not be lost with the rest.
    if batch.values:
        yield batch
    if problem:
        raise problem


def _damage(error: Exception) -> str:
    return f"the file is damaged or cut short ({error}); the rest of it cannot be read"


def _json_lines(file: BinaryIO, place: Place, on_bad: OnBad) -> Iterator[Row]:
    for number, line in _lines(file, place, on_bad):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        line = line.strip()
        if not line:
            continue
        try:
            # Half the time of json.loads, which looks for white space on both sides with regular expressions.
            text = str(line, "utf-8")
            value, end = _JSON.raw_decode(text)
            if end < len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except (ValueError, RecursionError) as error:
            on_bad(place, number, _why_broken(line, error, is_first=number == 1))
            continue
        yield Row(value, number, number, len(line))


class _Part:
    """A section of a file, as a file."""

    def __init__(self, file: BinaryIO, section: Section) -> None:
        file.seek(section.start)
        self._file, self._left, self.lines_before = file, section.end - section.start, section.lines_before

    def read(self, n: int) -> bytes:
        chunk = self._file.read(min(n, self._left))
        self._left -= len(chunk)
        return chunk


def sections(path: str, about: int) -> list[Section]:
    """Cut a file of lines into sections of whole lines, each of `about` bytes and what its last line takes more."""
    made, start, n_start, at, n_lines = [], 0, 0, 0, 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            end = at + len(chunk)
            while end - start >= about:
                cut = chunk.find(b"\n", max(0, start + about - 1 - at)) + 1
                if not cut:
                    break
                n_here = n_lines + chunk.count(b"\n", 0, cut)
                made.append(Section(start, at + cut, n_start))
                start, n_start = at + cut, n_here
            n_lines, at = n_lines + chunk.count(b"\n"), end
    return [*made, Section(start, at, n_start)] if at > start or not made else made


def _lines(file: BinaryIO, place: Place, on_bad: OnBad) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, cut at line feeds only: U+2028 and its like may stand inside a JSON string."""
    number, parts, n_bytes = (
        getattr(file, "lines_before", 0),
        [],
        0,
    )  # the line that has not ended yet; of one that is too long only the size is kept
    while chunk := file.read(CHUNK):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            number += 1
            if n_bytes + len(piece) > LINE_LIMIT:
                on_bad(place, number, f"the line is over {LINE_LIMIT >> 20} MB")
            else:
                yield number, b"".join([*parts, piece]) if parts else piece
            parts, n_bytes = [], 0
        parts.append(rest)
        n_bytes += len(rest)
        if n_bytes > LINE_LIMIT:
            parts = []
    if n_bytes > LINE_LIMIT:
        on_bad(place, number + 1, f"the line is over {LINE_LIMIT >> 20} MB")
    elif n_bytes:
        yield number + 1, b"".join(parts)


def _why_broken(line: bytes, error: Exception, *, is_first: bool) -> str:
    if kind := _why_binary(line, is_first=is_first):
        return kind
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1} of the line)"
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({error.msg} at character {error.pos + 1})"
    return "JSON nested too deeply" if isinstance(error, RecursionError) else f"broken JSON ({error})"


def _why_binary(piece: bytes, *, is_first: bool) -> str:
    """What a piece of a file is that could not be read as text; empty when that cannot be told."""
    if is_first:
        for magic, suffix in _MAGIC.items():
            if piece.startswith(magic):
                return f"a {suffix} file by its content; give it the suffix {suffix}"
        if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "UTF-16, not UTF-8; convert the file"
    return "binary content (a NUL byte)" if b"\0" in piece else ""


class _Text:
    """The decoded text of a file, read as far as it is needed.

    Attributes:
        text: what has been read and not been dropped yet.
        at: where reading goes on in `text`.
        has_ended: nothing more comes.
        n_bytes: bytes read so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.text, self.at, self.has_ended, self.n_bytes = "", 0, False, 0
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._line, self._counted = 1, 0

    def line(self, ahead: int = 0) -> int:
        """The line of the character `ahead` of `at`, from 1."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line + self.text.count("\n", self.at, self.at + ahead)

    def more(self) -> None:
        """Drop what was read before `at`, and read as much again as is left: long values stay linear in time."""
        line = self.line()
        rest = self.text[self.at :]
        chunk = self._file.read(max(CHUNK, len(rest)))
        is_first = self.n_bytes == 0
        if b"\0" in chunk:
            line += rest.count("\n") + chunk.count(b"\n", 0, chunk.index(b"\0"))
            raise Unreadable(line, _why_binary(chunk, is_first=is_first))
        try:
            piece = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += rest.count("\n") + error.object.count(b"\n", 0, error.start)
            kind = _why_binary(chunk, is_first=is_first) or f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
            raise Unreadable(line, kind) from None
        self.n_bytes += len(chunk)
        self.has_ended = not chunk
        self.text, self.at, self._counted = rest + piece, 0, 0

    def peek(self) -> str:
        """The next character that is no JSON white space, with `at` on it; empty at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text) or self.has_ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def value(self) -> tuple[object, int]:
        """The JSON value at `at`, which moves behind it, and its length in characters; else Broken, and `at` stays."""
        while True:
            try:
                value, end = _JSON.raw_decode(self.text, self.at)
                if end < len(self.text) or self.has_ended:
                    size, self.at = end - self.at, end
                    return value, size
            except json.JSONDecodeError as error:
                # Near the end of what was read a value may only be unfinished, and so may an open string.
                unfinished = error.pos >= len(self.text) - 16 or error.msg.startswith("Unterminated string")
                if self.has_ended or not unfinished:
                    raise Broken(self.line(error.pos - self.at), f"broken JSON ({error.msg})") from None
            except (ValueError, RecursionError) as error:
                raise Broken(self.line(), f"broken JSON ({error})") from None
            if len(self.text) - self.at > LINE_LIMIT:
                raise Broken(self.line(), f"a value of over {LINE_LIMIT >> 20} MB")
            self.more()

    def skip(self) -> None:
        """Move on to the next line that begins with an object."""
        while (found := self.text.find("\n{", self.at)) < 0 and not self.has_ended:
            self.at = max(self.at, len(self.text) - 1)
            self.more()
        self.at = len(self.text) if found < 0 else found + 1


def _json_values(file: BinaryIO, place: Place, on_bad: OnBad) -> Iterator[Row]:
    """The members of one array, or values one after the other (JSON lines under the name `.json`)."""
    text, number = _Text(file), 0
    is_array = text.peek() == "["
    text.at += is_array
    while (char := text.peek()) and not (is_array and char == "]"):
        if is_array and number:
            if char != ",":
                raise Unreadable(text.line(), "broken JSON (need a comma between the members of the array)")
            text.at += 1
            text.peek()
        line, number = text.line(), number + 1
        try:
            value, size = text.value()
        except Broken as error:
            if is_array:
                raise
            on_bad(place, *error.args)
            text.skip()
            continue
        yield Row(value, number, line, size)
    if is_array:
        if not char:
            raise Unreadable(text.line(), "broken JSON (the array has no end; is the file cut short?)")
        text.at += 1
        if text.peek():
            raise Unreadable(text.line(), "broken JSON (something stands after the end of the array)")


def _text_pieces(file: BinaryIO, place: Place, on_bad: OnBad) -> Iterator[Row]:
    """The whole file as one document, or a long one in pieces that join to the whole again."""
    text = _Text(file)
    while not text.has_ended and text.n_bytes <= TEXT_WHOLE:
        text.more()
    if text.n_bytes <= TEXT_WHOLE:
        if text.text:
            yield Row(text.text, 0, 1, text.n_bytes)
        return
    number = 0
    while text.at < len(text.text) or not text.has_ended:
        left = len(text.text) - text.at
        found = _BLANK_LINES.search(text.text, text.at + TEXT_PIECE, text.at + TEXT_MOST)
        if found and (found.end() < len(text.text) or text.has_ended):
            end = found.end()
        elif not text.has_ended and left < TEXT_MOST + TEXT_PIECE:
            text.more()
            continue
        elif left > TEXT_MOST:
            end = text.text.rfind("\n", text.at, text.at + TEXT_MOST) + 1 or text.at + TEXT_MOST
        else:
            end = len(text.text)
        number += 1
        yield Row(text.text[text.at : end], number, text.line(), end - text.at)
        text.at = end
