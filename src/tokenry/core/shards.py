"""Ids of documents on disk: one array a shard, mapped from there, and where each document begins.

`ids.npy` is uint16, or uint32 for vocabularies over 65,536; `offsets.npy` is int64 (D + 1). Document d is
`ids.reshape(-1)[offsets[d]:offsets[d + 1]]`. With a length, `ids.npy` has rows of so many tokens (N, T), and only its
end is padding.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tokenry.core.runs import atomic_folder

__all__ = ["ShardWriter", "kind_of", "read_manifest", "read_shard", "shard_documents", "write_shard"]

MANIFEST = "packed.json"
"""Beside the shards of one corpus: their names and sizes, the vocabulary, the ids around documents."""
# Axes: D documents, N rows, T positions.

_HEADER = 128  # bytes before the numbers, whatever the shape: it is written last


def kind_of(vocab_size: int) -> np.dtype:
    """The type of the ids of a vocabulary on disk, little-endian."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class ShardWriter:
    """Writes one shard into a folder that is there; ids go to disk as they come, so it may be larger than memory.

    Args:
        folder: where.
        vocab_size: ids from here on are refused.
        length: T of the rows; None writes a flat array.
        pad: fills the last row.

    Attributes:
        n_documents, n_tokens: written so far.
    """

    def __init__(self, folder: Path, *, vocab_size: int, length: int | None = None, pad: int = 0) -> None:
        self.folder, self.vocab_size, self.length, self.pad = folder, vocab_size, length, pad
        self.kind, self.n_documents, self.n_tokens = kind_of(vocab_size), 0, 0
        self._offsets = [np.zeros(1, np.int64)]
        self._file = (folder / "ids.npy").open("wb")
        self._file.write(bytes(_HEADER))

    def add(self, ids: np.ndarray, sizes_D: np.ndarray) -> None:
        """Write documents that stand one after the other in `ids`.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        if len(ids) and int(ids.max()) >= self.vocab_size:
            ends_D = np.cumsum(sizes_D)
            place = int(np.argmax(ids >= self.vocab_size))
            number = self.n_documents + int(np.searchsorted(ends_D, place, side="right"))
            raise ValueError(
                f"Document {number} holds id {int(ids[place])}, the vocabulary ends at {self.vocab_size - 1}. Encode "
                "it with this vocabulary."
            )
        np.ascontiguousarray(ids, dtype=self.kind).tofile(self._file)
        self._offsets.append(self.n_tokens + np.cumsum(sizes_D, dtype=np.int64))
        self.n_documents += len(sizes_D)
        self.n_tokens += len(ids)

    def close(self) -> None:
        """Put the arrays in place."""
        if self.length:
            missing = -self.n_tokens % self.length
            np.full(missing, self.pad, self.kind).tofile(self._file)
            shape = ((self.n_tokens + missing) // self.length, self.length)
        else:
            shape = (self.n_tokens,)
        self._file.seek(0)
        self._file.write(_npy_header(self.kind, shape))
        self._file.close()
        np.save(self.folder / "offsets.npy", np.concatenate(self._offsets), allow_pickle=False)


def write_shard(
    folder: str | Path, documents: Iterable[np.ndarray], *, vocab_size: int, length: int | None = None, pad: int = 0
) -> int:
    """Write ids of documents as one shard in a new folder.

    Returns:
        Number of documents written.

    Raises:
        FileExistsError: the folder exists.
        ValueError: an id outside the vocabulary.
    """
    with atomic_folder(Path(folder)) as beside:
        writer = ShardWriter(beside, vocab_size=vocab_size, length=length, pad=pad)
        for ids in documents:
            writer.add(np.asarray(ids), np.array([len(ids)]))
        writer.close()
    return writer.n_documents


def read_shard(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """(ids, offsets) of a shard, mapped from disk: document d is `ids[offsets[d]:offsets[d + 1]]`, padding comes last.

    Raises:
        FileNotFoundError: the folder holds no shard.
        ValueError: the two files do not belong together.
    """
    folder = Path(folder)
    if not (folder / "ids.npy").is_file() or not (folder / "offsets.npy").is_file():
        raise FileNotFoundError(f"{folder} is not a shard of ids; need ids.npy and offsets.npy. Make it: write_shard.")
    try:
        offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
        mode = "r" if len(offsets) and offsets[-1] else None  # nothing cannot be mapped
        ids = np.load(folder / "ids.npy", mmap_mode=mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{folder} holds no arrays that can be read ({error}). Write the shard again.") from error
    room = ids.shape[1] if ids.ndim == 2 else 1
    ids = ids.reshape(-1)
    if (not len(offsets) or offsets[0] != 0 or not 0 <= len(ids) - offsets[-1] < room
            or (np.diff(offsets) < 0).any()):  # fmt: skip
        raise ValueError(f"{folder}: offsets.npy does not fit ids.npy ({len(ids)} ids). Write the shard again.")
    return ids, offsets


def read_manifest(folder: str | Path) -> dict:
    """What a packed corpus is: `shards`, `vocabulary`, `bos`, `eos`, `pad`, `length`.

    Raises:
        FileNotFoundError: the folder is no packed corpus. ValueError: its manifest is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}. Make a packed corpus: tokenry corpus pack DOCS.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = [shard["name"] for shard in record["shards"]]
        if record["format"] != 1 or any(Path(name).name != name for name in names):
            raise ValueError(f"format {record['format']}, shards {names[:3]}")
        if missing := {"vocabulary", "bos", "eos", "pad", "length"} - set(record):
            raise ValueError(f"without {', '.join(sorted(missing))}")
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no manifest of a packed corpus ({error}). Pack it again.") from error


def shard_documents(ids: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    """The documents of a shard in order, each a view (T,)."""
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield ids[first:last]


def _npy_header(kind: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of the .npy format, padded to `_HEADER` bytes."""
    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    magic = np.lib.format.magic(1, 0)
    room = _HEADER - len(magic) - 2
    return magic + room.to_bytes(2, "little") + repr(described).encode().ljust(room - 1) + b"\n"
