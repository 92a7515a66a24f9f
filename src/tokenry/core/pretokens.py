"""Count the pre-tokens of a text once; every trainer and audit works on the table of distinct words and their counts.

The text is streamed: what stays in memory is one batch and the table.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tokenry.core.cutters import Cutter
from tokenry.core.gigatoken_counts import BLOCK, GigatokenCounter, counter_of
from tokenry.core.hashing import fingerprint
from tokenry.core.progress import Progress
from tokenry.core.scanning import byte_level_array
from tokenry.core.string_counts import StringCounts
from tokenry.core.words import Words

_FORMAT = "1"
MOST_SOURCES = 1000
_ROWS = 1 << 16
_BATCH_ROWS = 16
_MOST_BYTES = 1 << 20
"""Bytes of text that are cut at once, unless one document is longer."""
_GIVE_BACK_EVERY = 16
"""Batches after which freed memory is returned."""
_FLUSH_AT = 50_000
"""Distinct pieces in dictionaries (about 350 bytes each) before they move to the compact table (about 35 each)."""


@dataclass(frozen=True, eq=False)
class Pretokens:
    """Distinct pre-tokens with their counts in each source."""

    words: Sequence[str]
    """As the model sees them, after normaliser and pre-tokeniser: byte-level characters ("Ġthe") or metaspace ("▁the").
    Sorted by total count, largest first, then by code points."""
    counts: np.ndarray
    """int64 (W, S)."""
    sources: tuple[str, ...]
    """The distinct values of the documents' `source`, sorted."""
    n_bytes: np.ndarray
    """int64 (S,), UTF-8 bytes of the raw text."""
    n_docs: np.ndarray
    """int64 (S,)."""
    fingerprint: str = ""
    """Of the normaliser and pre-tokeniser that cut the text."""
    engine: str = "own"
    """What counted: "own", "gigatoken", or both, where some texts had to go through ours."""

    @property
    def total(self) -> np.ndarray:
        """int64 (W,), occurrences over all sources."""
        return self.counts.sum(1)

    def save(self, path: str | Path) -> None:
        """Write a parquet file: columns `word` and `count` (one number per source)."""
        import pyarrow.parquet as pq

        from tokenry.core.runs import atomic_path

        note = {"sources": list(self.sources), "n_bytes": self.n_bytes.tolist(), "n_docs": self.n_docs.tolist(),
                "fingerprint": self.fingerprint, "engine": self.engine, "format": _FORMAT}  # fmt: skip
        count = pa.FixedSizeListArray.from_arrays(pa.array(self.counts.ravel()), max(len(self.sources), 1))
        table = pa.table(
            {"word": Words(self.words).array if not isinstance(self.words, Words) else self.words.array, "count": count}
        )
        with atomic_path(path) as part:
            pq.write_table(table.replace_schema_metadata({"tokenry.pretokens": json.dumps(note)}), part,
                           compression="zstd")  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "Pretokens":
        """Read what `save` wrote.

        Raises:
            ValueError: when the file is something else.
        """
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        note = json.loads((table.schema.metadata or {}).get(b"tokenry.pretokens", b"{}"))
        if note.get("format") != _FORMAT:
            raise ValueError(f"{path} is not a table of pre-tokens of this version; count them again.")
        column = table.column("count").combine_chunks()
        return cls(
            words=Words(table.column("word")),
            counts=column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.int64),
            sources=tuple(note["sources"]),
            n_bytes=np.array(note["n_bytes"], np.int64),
            n_docs=np.array(note["n_docs"], np.int64),
            fingerprint=note["fingerprint"],
            engine=note.get("engine", "own"),
        )


def count_pretokens(
    source: object,
    vocab: object,
    *,
    cache: str | Path | None = None,
    workers: int = 1,
    by_source: bool = True,
    text: str = "text",
    limit: int | None = None,
    skip_bad: bool = False,
    engine: str = "auto",
) -> Pretokens:
    """Count the pre-tokens of a text as a tokenizer cuts it.

    Special tokens written out in the text are cut like any other text (in training the library does so too).

    Args:
        source: what `core.tables.stream` takes.
        vocab: a Vocab, or the content of a `tokenizer.json`.
        cache: folder to keep the table in; used when `source` is files. The key holds the content of the files, the
            normaliser and the pre-tokeniser.
        by_source: keep one column of counts for each `source`; else one for all, named "".
        workers: processes that cut; the result is the same. 1 cuts in this process.
        text: column of the text. limit: most documents to read. skip_bad: pass over broken lines.
        engine: "own"; "gigatoken" (the optional package, on all cores in this process, for GPT-2's pattern), which
            gives the same counts; or "auto", which is ours as long as it is the faster one.

    Raises:
        ImportError: gigatoken is asked for and not installed.
        ValueError: when there is no text at all, or gigatoken does not know how this tokenizer cuts.
    """
    spec = vocab if isinstance(vocab, dict) else vocab.spec
    cutter = Cutter(spec)
    outside = counter_of(engine, cutter)
    kept = _cache_file(cache, source, cutter, [text, limit, skip_bad, by_source]) if cache else None
    if kept is not None and kept.is_file():
        return Pretokens.load(kept)
    from tokenry.core.tables import stream

    batches = stream(source, text=text, columns=(), batch_rows=_BATCH_ROWS, limit=limit, skip_bad=skip_bad)
    if not by_source:
        batches = (
            batch.set_column(batch.schema.get_field_index("source"), "source", _blank(len(batch))) for batch in batches
        )
    tally = _Tally(outside)
    with Progress("counting words") as progress:
        _count_all(_by_source(batches, tally, progress), cutter, tally, spec=spec, workers=workers)
    if not sum(tally.n_bytes.values()):
        raise ValueError(
            "the data hold no text; need at least one non-empty document. Is the text column right (--text)?"
        )
    pretokens = tally.table(cutter)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        pretokens.save(kept)
    return pretokens


def pretokenize(texts: Iterable[str], vocab: object) -> list[list[str]]:
    """Pre-tokens of each text, in order, in the spelling the model sees."""
    cutter = Cutter(vocab if isinstance(vocab, dict) else vocab.spec)
    return [cutter(text) for text in texts]


def distinct_pretokens(texts: Sequence[str], vocab: object) -> Sequence[str]:
    """The distinct pre-tokens of many short texts, each cut for itself; most frequent first."""
    cutter, tally = Cutter(vocab if isinstance(vocab, dict) else vocab.spec), _Tally()
    for start in range(0, len(texts), _ROWS):
        tally.cut(cutter, "", pa.array(texts[start : start + _ROWS], pa.large_string()))
    tally.n_docs[""] = len(texts)
    return tally.table(cutter).words


def _cache_file(cache: str | Path, source: object, cutter: Cutter, options: list) -> Path | None:
    """Where the table of these files would be; None where the source cannot be known by its content."""
    from tokenry.core.runs import describe_input

    paths = source if isinstance(source, (list, tuple)) else [source]
    if not paths or not all(isinstance(p, (str, Path)) and not str(p).startswith("hf://") for p in paths):
        return None
    if not all(Path(p).exists() for p in paths):  # a glob, or one text in a list
        return None
    described = [(file["bytes"], file["blake2b"]) for p in paths for file in describe_input(p)]
    return Path(cache) / f"pretokens-{fingerprint(cutter.fingerprint, described, options, _FORMAT)}.parquet"


class _Tally:
    """Counts of raw pieces, and of words that went through the library, by source: keys are (is raw, source)."""

    def __init__(self, outside: GigatokenCounter | None = None) -> None:
        self.outside = outside
        self.engines: set[str] = set()
        self.fresh: dict[tuple[bool, str], Counter] = {}
        self.compact: dict[tuple[bool, str], StringCounts] = {}
        self.n_docs: Counter = Counter()
        self.n_bytes: Counter = Counter()

    def cut(self, cutter: Cutter, origin: str, texts: pa.Array) -> None:
        """Count the pieces of some texts (no nulls)."""
        if self.outside is not None and (counted := self.outside(texts)) is not None:
            self.compact.setdefault((True, origin), StringCounts()).add_data(*counted)
            self.engines.add("gigatoken")
            return
        # Large: the kernels' scratch is several times as large. Not counted outside: one of them cannot be.
        if len(texts) > 1 and (self.outside is not None or texts.nbytes > _MOST_BYTES):
            self.cut(cutter, origin, texts.slice(0, len(texts) // 2))
            self.cut(cutter, origin, texts.slice(len(texts) // 2))
            return
        self.engines.add("own")
        scanned = cutter.scan(texts)
        if scanned is not None:
            self.compact.setdefault((True, origin), StringCounts()).add_pieces(*scanned)
            return
        if cutter.scans and len(texts) > 1:  # one of them holds a character the kernels leave to the library
            self.cut(cutter, origin, texts.slice(0, len(texts) // 2))
            self.cut(cutter, origin, texts.slice(len(texts) // 2))
            return
        for pieces, is_raw in cutter.raw(texts.to_pylist()):
            self.fresh.setdefault((is_raw, origin), Counter()).update(pieces)
        if sum(map(len, self.fresh.values())) > _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Move the dictionaries' counts to the flat arrays."""
        for key, tally in self.fresh.items():
            words = list(tally)
            self.take(key, words, np.fromiter(tally.values(), np.int64, len(words)))
        self.fresh.clear()

    def take(self, key: tuple[bool, str], words: Sequence[str], counts: np.ndarray) -> None:
        """Add counts, here or from a worker."""
        self.compact.setdefault(key, StringCounts()).add(words, counts)

    def table(self, cutter: Cutter) -> Pretokens:
        """Finish the raw pieces and lay all counts out as arrays; the tally is emptied."""
        self.flush()
        give_back_memory()  # of the batches
        sources = tuple(sorted(self.n_docs))
        parts = []
        for place, source in enumerate(sources):
            by_library = self.compact.pop((False, source), None)
            found = [_finished(cutter, self.compact.pop((True, source), None)), by_library and by_library.arrays()]
            parts += [(*part, place) for part in found if part is not None]
        give_back_memory()  # of the raw pieces
        words, counts = _laid_out(parts, len(sources))
        parts.clear()
        give_back_memory()
        return Pretokens(
            words=words,
            counts=counts,
            sources=sources,
            n_bytes=np.array([self.n_bytes[s] for s in sources], np.int64),
            n_docs=np.array([self.n_docs[s] for s in sources], np.int64),
            fingerprint=cutter.fingerprint,
            engine=" and ".join(sorted(self.engines)) or "own",
        )


def _finished(cutter: Cutter, raw: StringCounts | None) -> tuple[pa.Array, np.ndarray] | None:
    """Distinct finished words and their counts, from raw pieces."""
    if raw is None or cutter.finishes_nothing:
        return raw and raw.arrays()
    array, counts = raw.arrays()
    del raw  # its hash table
    if cutter.spells_bytes:
        return byte_level_array(array), counts
    done, parts = StringCounts(), []
    for start in range(0, len(array), _ROWS):
        pieces = array.slice(start, _ROWS).to_pylist()
        if cutter.finishes_one_to_one:
            parts.append(pa.array(cutter.finish(pieces), pa.large_string()))
            continue
        cut = [cutter.finish([piece]) for piece in pieces]
        weights = np.repeat(counts[start : start + len(pieces)], [len(words) for words in cut])
        done.add([word for words in cut for word in words], weights)
    return (pa.concat_arrays(parts), counts.copy()) if parts else done.arrays()


def give_back_memory() -> None:
    """Return freed memory to the system: the allocators keep what counting took, and training would come on top."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _laid_out(parts: list[tuple[pa.Array, np.ndarray, int]], n_sources: int) -> tuple[Words, np.ndarray]:
    """Words and counts (W, S) of parts (words, counts, column), in the order `Pretokens` promises."""
    if len(parts) == 1:
        words, counts = parts[0][0], np.zeros((len(parts[0][0]), n_sources), np.int64)
        counts[:, parts[0][2]] = parts[0][1]
    else:
        coded = pa.concat_arrays([part[0] for part in parts] or [pa.array([], pa.large_string())]).dictionary_encode()
        words, counts = coded.dictionary, np.zeros((len(coded.dictionary), n_sources), np.int64)
        columns = np.repeat([part[2] for part in parts], [len(part[0]) for part in parts])
        found = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
        np.add.at(counts, (coded.indices.to_numpy(), columns.astype(np.int64)), found)
    keys = pa.table({"word": words, "count": counts.sum(1)})
    # The system's pool: the default one keeps much of what it was given once.
    pool = pa.system_memory_pool()
    by = pc.SortOptions([("count", "descending"), ("word", "ascending")])
    order = pc.call_function("sort_indices", [keys], by, pool)
    del keys
    return Words(pc.take(words, order, memory_pool=pool)), counts[order.to_numpy()]


def _blank(n: int) -> pa.Array:
    return pa.array([""], pa.string()).take(pa.array(np.zeros(n, np.int64)))


def _by_source(batches: Iterator[pa.RecordBatch], tally: _Tally, progress: Progress) -> Iterator[tuple[str, pa.Array]]:
    """(source, texts) of each batch; documents and bytes are added to the tally."""
    for batch in batches:
        progress.add(len(batch))
        texts, origins = batch.column("text"), batch.column("source")
        if texts.null_count:
            batch = batch.filter(pc.is_valid(texts))
            texts, origins = batch.column("text"), batch.column("source")
        encoded = pc.dictionary_encode(pc.fill_null(origins, ""))
        for k, origin in enumerate(encoded.dictionary.to_pylist()):
            part = texts if len(encoded.dictionary) == 1 else texts.filter(pc.equal(encoded.indices, k))
            tally.n_docs[origin] += len(part)
            if len(tally.n_docs) > MOST_SOURCES:
                raise ValueError(
                    f"over {MOST_SOURCES} different values of `source`; the table has a column for each. Count with "
                    "by_source=False, or give the documents coarser sources."
                )
            tally.n_bytes[origin] += pc.sum(pc.binary_length(part)).as_py() or 0
            yield origin, part


def _count_all(
    tasks: Iterator[tuple[str, pa.Array]], cutter: Cutter, tally: _Tally, *, spec: dict, workers: int
) -> None:
    """Count the texts of all tasks, by whatever the tally counts with."""
    if tally.outside is not None:
        tasks = _in_blocks(tasks)
    elif workers > 1:
        _count_in_pool(tasks, spec, workers, tally)
        return
    for number, (origin, texts) in enumerate(tasks, 1):
        tally.cut(cutter, origin, texts)
        if number % _GIVE_BACK_EVERY == 0:
            give_back_memory()


def _in_blocks(tasks: Iterator[tuple[str, pa.Array]]) -> Iterator[tuple[str, pa.Array]]:
    """Tasks of one source after the other put together, to `BLOCK` bytes each."""
    origin, held = "", []
    for new, texts in tasks:
        if held and (new != origin or sum(part.nbytes for part in held) >= BLOCK):
            yield origin, pa.concat_arrays(held)
            held = []
        origin = new
        held.append(texts.cast(pa.large_string()))
    if held:
        yield origin, pa.concat_arrays(held)


def _count_in_pool(tasks: Iterator[tuple[str, pa.Array]], spec: dict, workers: int, tally: _Tally) -> None:
    """Cut in several processes; at most two tasks a worker are in flight, so the text is not piled up."""
    from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
    from multiprocessing import get_context

    needed = {key: spec.get(key) for key in ("normalizer", "pre_tokenizer", "added_tokens", "model")}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(needed,)) as pool:
        pending: set = set()
        for task in tasks:
            if len(pending) >= 2 * workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    _take_all(tally, future.result())
            pending.add(pool.submit(_cut_task, *task))
        for future in pending:
            _take_all(tally, future.result())


def _start(spec: dict) -> None:
    _start.cutter = Cutter(spec)


def _cut_task(origin: str, texts: pa.Array) -> list[tuple[tuple[bool, str], pa.Array, np.ndarray]]:
    tally = _Tally()
    tally.cut(_start.cutter, origin, texts)
    tally.flush()
    return [(key, *counts.arrays()) for key, counts in tally.compact.items()]


def _take_all(tally: _Tally, found: list[tuple[tuple[bool, str], pa.Array, np.ndarray]]) -> None:
    for key, words, counts in found:
        tally.compact.setdefault(key, StringCounts()).add_arrays(words, counts)
