"""Open packed files and tar archives of raw documents one file at a time, in memory: nothing is unpacked to the disk.

What is cut short gives what stands before the cut; what unpacks to more than a bound is left out and counted.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827), whose
source hands out a day's filings as one .tar.gz.
"""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tokenry.corpora.raw_files import Passed

__all__ = ["PACKED", "contents"]

PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, pa.ArrowInvalid, OSError)
_PIECE = 2**20


def contents(path: Path, passed: Passed, *, most_bytes: int) -> Iterator[tuple[str, bytes, bool]]:
    """The file, or the members of a tar archive: name, bytes, and whether those are all.

    Args:
        path: also packed (`PACKED`).
        passed: where what is left out is counted: too large, no file (a link, a device), unreadable.
        most_bytes: of one file, unpacked.
    """
    try:
        with _opened(path) as stream:
            if _is_tar(path):
                yield from _members(stream, path, passed, most_bytes)
                return
            data, is_whole = _read(stream, most_bytes)
    except OSError as error:
        passed.n_seen += 1
        passed.add(f"cannot be read ({type(error).__name__})", path.name)
        return
    if data is None:
        passed.n_seen += 1
        passed.add("too large", path.name)
        return
    yield path.name, data, is_whole


def _opened(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    opener = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix, open)
    return opener(path, "rb")


def _is_tar(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith((".tgz", *(f".tar{packed}" for packed in PACKED)))


def _read(stream: BinaryIO, most_bytes: int) -> tuple[bytes | None, bool]:
    """All bytes of a stream and whether its end was there; None where there are too many."""
    read = getattr(stream, "read1", stream.read)  # what stands before the damage comes too
    pieces, size = [], 0
    try:
        while piece := read(_PIECE):
            size += len(piece)
            if size > most_bytes:
                return None, False
            pieces.append(piece)
    except _DAMAGE:
        return b"".join(pieces), False
    return b"".join(pieces), True


def _members(stream: BinaryIO, path: Path, passed: Passed, most_bytes: int) -> Iterator[tuple[str, bytes, bool]]:
    try:
        archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - closed with the stream
        for member in archive:
            archive.members = []  # else it remembers all of them
            name = f"{path.name}/{member.name}"
            if member.isdir():
                continue
            if not member.isreg() or member.size > most_bytes:
                passed.n_seen += 1
                passed.add("too large" if member.isreg() else "no file (a link or device)", name)
                continue
            data, _ = _read(archive.extractfile(member), most_bytes)
            yield name, data, len(data) == member.size
    except _DAMAGE as error:
        passed.remark(f"the archive is damaged ({type(error).__name__}), the rest cannot be read", path.name)
