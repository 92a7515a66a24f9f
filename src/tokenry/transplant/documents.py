"""Split a stream of documents into compose, heal, probe and held-out parts, by document, uniformly, of bounded size.

Every document gets a place on a line by the hash of its text; a part is a stretch of that line. So equal documents
never stand on two sides, the order of the input has no say, and a bounded part is a uniform sample of the whole.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tokenry.core.hashing import stable_hash
from tokenry.core.runs import Progress
from tokenry.core.splitting import segments

SHARES = {"compose": 0.40, "heal": 0.40, "probe": 0.05, "heldout": 0.15}
"""Share of the bytes each part may have: learn tokens, train, choose the method, prove."""
LEAST_DOCUMENTS = 8


def split(source: object, folder: Path, *, seed: int, caps: dict[str, int], reading: dict) -> dict[str, dict[str, int]]:
    """Write `folder/PART.parquet` for each part; two passes over `source`, neither holds the text in memory.

    Args:
        source: what `core.tables.stream` takes, and can be read twice.
        folder: where the parquet files go.
        seed: changes which document falls where.
        caps: part -> most bytes it may hold; a part without a cap takes its whole share.
        reading: `text`, `limit`, `skip_bad` for the reader.

    Returns:
        part -> {"documents", "bytes"}, and "distinct" for how many different documents there were.

    Raises:
        ValueError: fewer than 8 different documents.
    """
    hashes, sizes = _measure(source, seed, reading)
    if len(hashes) < LEAST_DOCUMENTS:
        raise ValueError(
            f"the data hold {len(hashes)} different document(s); need at least {LEAST_DOCUMENTS}, because text to "
            "learn from and text to prove on are split by document. Cut the text into documents, one JSON line each."
        )
    stretches = _stretches(hashes, sizes, caps)
    folder.mkdir(parents=True, exist_ok=True)
    counts = _write_parts(source, folder, stretches, seed=seed, reading=reading)
    return {"all": {"documents": len(hashes), "bytes": int(sizes.sum())}, **counts}


def _measure(source: object, seed: int, reading: dict) -> tuple[np.ndarray, np.ndarray]:
    """Hash and size of every different document, sorted by hash."""
    from tokenry.core.tables import stream

    hashes, sizes = [], []
    with Progress("reading", unit="docs") as progress:
        for batch in stream(source, **reading):
            texts = [t for t in batch.column("text").to_pylist() if t and t.strip()]
            hashes.append(np.array([_place(t, seed) for t in texts], dtype=np.uint64))
            sizes.append(np.array([len(t.encode()) for t in texts], dtype=np.int64))
            progress.add(len(batch))
    if not hashes:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    places, first = np.unique(np.concatenate(hashes), return_index=True)
    return places, np.concatenate(sizes)[first]


def _place(text: str, seed: int) -> int:
    return stable_hash(f"{seed}\x00{text}")


def _stretches(hashes: np.ndarray, sizes: np.ndarray, caps: dict[str, int]) -> dict[str, tuple[int, int]]:
    """part -> (first, last) hash, both inside; at least one document a part, the caps kept from the second on."""
    n = len(hashes)
    ends = np.cumsum(sizes) / sizes.sum()
    stretches, start = {}, 0
    edge = 0.0
    names = list(SHARES)
    for k, name in enumerate(names):
        edge += SHARES[name]
        stop = n if k == len(names) - 1 else int(np.searchsorted(ends, edge - 1e-12, side="right")) + 1
        least_left = len(names) - 1 - k
        stop = min(max(stop, start + 1), n - least_left)
        kept = stop
        if name in caps:
            within = int(np.searchsorted(np.cumsum(sizes[start:stop]), caps[name], side="right"))
            kept = start + max(1, within)
        stretches[name] = (int(hashes[start]), int(hashes[kept - 1]))
        start = stop
    return stretches


def _write_parts(
    source: object, folder: Path, stretches: dict[str, tuple[int, int]], *, seed: int, reading: dict
) -> dict[str, dict[str, int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tokenry.core.tables import stream

    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string())])
    counts = {name: {"documents": 0, "bytes": 0} for name in stretches}
    writers = {name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") for name in stretches}
    seen: set[int] = set()
    try:
        for batch in stream(source, **reading):
            rows = {name: [] for name in stretches}
            columns = (batch.column(c).to_pylist() for c in ("id", "text", "source"))
            for key, text, origin in zip(*columns, strict=True):
                place = _place(text, seed) if text and text.strip() else None
                if place is None or place in seen:
                    continue
                name = next((n for n, (low, high) in stretches.items() if low <= place <= high), None)
                if name is not None:
                    seen.add(place)
                    rows[name].append({"id": key, "text": text, "source": origin})
                    counts[name]["documents"] += 1
                    counts[name]["bytes"] += len(text.encode())
            for name, found in rows.items():
                if found:
                    writers[name].write_table(pa.Table.from_pylist(found, schema=schema))
    finally:
        for writer in writers.values():
            writer.close()
    return counts


def part_texts(folder: Path, name: str) -> list[str]:
    """The texts of one part in an order of their own hash, so that any prefix is a uniform sample of the part."""
    import pyarrow.parquet as pq

    texts = pq.read_table(folder / f"{name}.parquet", columns=["text"]).column("text").to_pylist()
    return sorted(texts, key=stable_hash)


def size_of(texts: Iterable[str]) -> int:
    """UTF-8 bytes of texts together."""
    return sum(len(text.encode()) for text in texts)


def general_texts(source: object, scored_bytes: int, replay_bytes: int, *, seed: int) -> tuple[list[str], list[str]]:
    """General text to score, and general text to replay in training; by document, never the same.

    Args:
        source: what `core.tables.stream` takes; read until both are full.
        scored_bytes: most text that is scored.
        replay_bytes: text to replay, gone round as often as needed; 0: everything may be scored.
        seed: changes which document is replayed.

    Raises:
        ValueError: when one side gets no document.
    """
    from tokenry.core.tables import texts

    sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
    filled, limits = [0, 0], (scored_bytes, replay_bytes)
    for text in texts(source):
        side = _place(text, seed) % 2 if replay_bytes else 0
        if filled[side] < limits[side] and text not in sides[side]:
            sides[side][text] = len(text.encode())
            filled[side] += sides[side][text]
        if all(have >= wanted for have, wanted in zip(filled, limits, strict=True)):
            break
    if not sides[0] or (replay_bytes and not sides[1]):
        raise ValueError(
            f"{source} holds {len(sides[0])} document(s) to score and {len(sides[1])} to replay; need one of each at "
            "least. Give more general documents, or leave the replay away."
        )
    replayed = list(sides[1])
    rounds = -(-replay_bytes // filled[1]) if replayed else 0
    return take(list(sides[0]), scored_bytes), take(replayed * rounds, replay_bytes)


def take(texts: list[str], most_bytes: int) -> list[str]:
    """The first texts that together stay within `most_bytes` UTF-8 bytes; the last is cut, at least one is kept."""
    kept, left = [], most_bytes
    for text in texts:
        size = len(text.encode())
        if size > left:
            kept += [segments(text, max(left, 4))[0]] if left >= 64 or not kept else []
            break
        kept.append(text)
        left -= size
    return kept
