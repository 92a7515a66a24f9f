"""Replay a merge list on words once, and keep how each merge changes the count of every pair.

The merges of a list, applied in order, act on each word on its own: of the pairs present take the one of the smallest
rank greater than the last used, and merge all its occurrences from left to right. What that does to the pairs of one
occurrence of a word is kept as a sparse matrix, events x words, so the counts in any text over these words, or in any
reweighting of its documents, are one sparse product: nothing is replayed again.

    trajectories = replay_merges(symbols, offsets, merges)
    changes = trajectories.changes(counts_WC)

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import Progress, atomic_folder, atomic_path, atomic_write

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Axes: T steps, W words, C columns (category, or category x shard), E events (distinct (step, pair)), P pairs.

LONGEST_WORD = 16_384
"""Symbols of a word, at most: its changes are kept in 16 bits."""
_BLOCK = 1 << 18
"""Symbols replayed at once: the working memory of a thread is about 100 bytes for each."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Changes:
    """How the count of each pair changes in each column, step by step."""

    event_step: np.ndarray
    """int32 (E,), rising: 0 = first counts, s = changed by merge s - 1."""
    event_pair: np.ndarray
    """int32 (E,), a pair at most once at a step."""
    counts: "csr_matrix"
    """int64 (E, C)."""
    n_pairs: int
    """P, pairs that `event_pair` counts from."""

    def pick(self, weights_Cn: "np.ndarray | csr_matrix") -> "Changes":
        """The same with columns added up by weight, (C, n)."""
        from scipy import sparse

        return replace(self, counts=sparse.csr_matrix(self.counts @ sparse.csr_matrix(weights_Cn)))


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What each merge does to the pairs of each word."""

    merges: np.ndarray
    """int32 (T, 3): left, right, result, in the order applied."""
    pairs: np.ndarray
    """int32 (P, 2), every pair that some word holds at some step, sorted."""
    merged_pair: np.ndarray
    """int32 (T,), row of `pairs` of each step's merge, -1 where no word ever holds it."""
    event_step: np.ndarray
    """int32 (E,), rising. The counts before merge s is chosen are the sums of the events with step <= s."""
    event_pair: np.ndarray
    """int32 (E,)."""
    events: "csr_matrix"
    """int16 (E, W), changes per occurrence of the word."""
    first_step: int = 0
    """Merges before it were applied silently: the first counts are those after them, at this step."""

    @property
    def n_words(self) -> int:
        return self.events.shape[1]

    def changes(self, counts_WC: "np.ndarray | csr_matrix") -> Changes:
        """Changes of the pairs' counts in texts over the words.

        Args:
            counts_WC: int, dense or sparse: occurrences of each word in each column.

        Raises:
            ValueError: for another number of words.
        """
        from scipy import sparse

        if counts_WC.shape[0] != self.n_words:
            raise ValueError(
                f"counts of {counts_WC.shape[0]:,} words for a replay of {self.n_words:,}; give one row for each word, "
                "in the order replayed."
            )
        found = (self.events @ sparse.csr_matrix(counts_WC).astype(np.int64)).tocsr()
        found.eliminate_zeros()
        held = np.flatnonzero(np.diff(found.indptr))
        return Changes(self.event_step[held], self.event_pair[held], found[held], len(self.pairs))

    def save(self, folder: str | Path) -> None:
        """Write a folder of plain arrays, whole or not at all; an older one is replaced."""
        with atomic_folder(folder, overwrite=True) as part:
            for name, array in self._arrays().items():
                np.save(part / f"{name}.npy", array, allow_pickle=False)
            note = {"format": _FORMAT, "n_words": self.n_words, "first_step": self.first_step}
            atomic_write(part / "trajectories.json", json.dumps(note) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Trajectories":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: it is not there, of another version, or damaged.
        """
        folder = Path(folder)
        note = _read_note(folder / "trajectories.json")
        names = ("merges", "pairs", "merged_pair", "event_step", "event_pair", "indptr", "words", "data")
        try:
            found = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}
            trajectories = cls(
                *(found[name] for name in names[:5]),
                events=_csr(found["data"], found["words"], found["indptr"], int(note["n_words"])),
                first_step=int(note["first_step"]),
            )
            trajectories._check()
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ValueError(f"{folder} does not hold a whole replay ({error}); replay the merges again.") from error
        return trajectories

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "merges": self.merges, "pairs": self.pairs, "merged_pair": self.merged_pair,
            "event_step": self.event_step, "event_pair": self.event_pair,
            "indptr": self.events.indptr, "words": self.events.indices, "data": self.events.data,
        }  # fmt: skip

    def _check(self) -> None:
        """What a damaged file would break; the kernels read without bounds."""
        n_events, n_pairs = len(self.event_step), len(self.pairs)
        self.events.check_format(full_check=True)
        fits = (
            self.merges.ndim == self.pairs.ndim == 2 and self.merges.shape[1] == 3 and self.pairs.shape[1] == 2
            and len(self.merged_pair) == len(self.merges) and len(self.event_pair) == n_events == self.events.shape[0]
            and _within(self.event_pair, 0, n_pairs) and _within(self.merged_pair, -1, n_pairs)
            and _within(self.event_step, 0, len(self.merges) + 1) and bool((np.diff(self.event_step) >= 0).all())
        )  # fmt: skip
        if not fits:
            raise ValueError("its arrays do not fit each other")


def replay_merges(
    symbols: np.ndarray,
    offsets: np.ndarray,
    merges: np.ndarray,
    *,
    first_step: int = 0,
    last: int | None = None,
    workers: int = 1,
    folder: str | Path | None = None,
) -> Trajectories:
    """Apply a merge list to each word once, and keep what every merge changes.

    Args:
        symbols: int (N,), start symbols of all words, end to end.
        offsets: int (W+1,), word w is `symbols[offsets[w]:offsets[w+1]]`, at most `LONGEST_WORD` long.
        merges: int (T, 3), left, right and result of each merge, in the order it was learned. A pair may stand twice.
        first_step: merges before it are applied without being told: only the counts from this step on are right.
        last: use the first so many merges; None: all.
        workers: threads.
        folder: keep each finished block of words there, and go on where an earlier run stopped.

    Raises:
        ValueError: arrays that do not fit each other, a word that is too long, or a folder with parts of another job.

    Paper: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
    """
    symbols, offsets, merges = _checked(symbols, offsets, merges[:last], first_step)
    parts = _Parts(folder, fingerprint(symbols, offsets, merges, first_step, _FORMAT))
    blocks = _blocks(offsets)
    with Progress("replaying merges", total=len(offsets) - 1, unit="words") as progress:
        done = list(_replayed(symbols, offsets, merges, first_step=first_step, blocks=blocks, parts=parts,
                              workers=workers, progress=progress))  # fmt: skip
    return _joined(done, merges, first_step)


def add_words(
    trajectories: Trajectories, symbols: np.ndarray, offsets: np.ndarray, *, workers: int = 1,
    folder: str | Path | None = None,
) -> Trajectories:  # fmt: skip
    """Replay more words, and put them behind those of a finished replay.

    Args:
        trajectories: what is known; none of its words is replayed again.
        symbols, offsets, workers, folder: the new words, as in `replay_merges`.
    """
    new = replay_merges(
        symbols, offsets, trajectories.merges, first_step=trajectories.first_step, workers=workers, folder=folder
    )
    parts = [_Part(t.event_step, _packed(t.pairs[t.event_pair]), t.events) for t in (trajectories, new)]
    return _joined(parts, trajectories.merges, trajectories.first_step)


@dataclass(frozen=True, eq=False)
class _Part:
    """The replay of some words: events (step, packed pair) x words."""

    step: np.ndarray
    pair: np.ndarray
    events: "csr_matrix"


class _Parts:
    """Finished blocks in a folder, where there is one."""

    def __init__(self, folder: str | Path | None, job: str) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is None:
            return
        note = self._folder / "replay.json"
        if note.is_file() and _read_note(note).get("job") != job:
            raise ValueError(
                f"{folder} holds parts of another replay (other words or merges). Give another folder, or remove it."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(note, json.dumps({"format": _FORMAT, "job": job}) + "\n")

    def find(self, block: int) -> _Part | None:
        file = None if self._folder is None else self._file(block)
        if file is None or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as held:
                events = _csr(held["data"], held["words"], held["indptr"], int(held["n_words"]))
                events.check_format(full_check=True)
                return _Part(held["step"], held["pair"], events)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{file} is damaged ({error}); remove it, and its words are replayed again.") from error

    def keep(self, block: int, part: _Part) -> None:
        if self._folder is not None:
            with atomic_path(self._file(block)) as file, open(file, "wb") as stream:
                np.savez(stream, step=part.step, pair=part.pair, data=part.events.data, words=part.events.indices,
                         indptr=part.events.indptr, n_words=part.events.shape[1])  # fmt: skip

    def _file(self, block: int) -> Path:
        return self._folder / f"part-{block:06d}.npz"


def _replayed(
    symbols: np.ndarray, offsets: np.ndarray, merges: np.ndarray, *, first_step: int, blocks: list[tuple[int, int]],
    parts: _Parts, workers: int, progress: Progress,
) -> Iterator[_Part]:  # fmt: skip
    """The parts of all blocks in order, a few of them in flight."""
    from tokenry.tokenization.mixture_kernels import rank_chains
    from tokenry.tokenization.pair_kernels import STAMP

    chains, results = rank_chains(merges, STAMP), merges[:, 2].astype(np.int32)

    def work(number: int) -> _Part:
        part = parts.find(number)
        if part is None:
            low, high = blocks[number]
            span = symbols[offsets[low] : offsets[high]], offsets[low : high + 1] - offsets[low]
            part = _replay_block(*span, (chains, results, first_step))
            parts.keep(number, part)
        return part

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        pending = deque()
        try:
            for number in range(len(blocks)):
                pending.append(pool.submit(work, number))
                if len(pending) > workers:
                    yield from _take(pending, progress)
            while pending:
                yield from _take(pending, progress)
        finally:
            for future in pending:
                future.cancel()


def _take(pending: deque, progress: Progress) -> Iterator[_Part]:
    part = pending.popleft().result()
    progress.add(part.events.shape[1])
    yield part


def _replay_block(symbols: np.ndarray, offsets: np.ndarray, how: tuple) -> _Part:
    from scipy import sparse

    from tokenry.tokenization.mixture_kernels import replay_block
    from tokenry.tokenization.pair_kernels import STAMP

    chains, results, first_step = how
    event, word, change, step, pair = replay_block(symbols, offsets, chains, results, first_step, STAMP)
    shape = (len(step), len(offsets) - 1)
    events = sparse.coo_matrix((change, (event, word)), shape=shape).tocsr()
    events.eliminate_zeros()
    order = np.lexsort((pair, step))
    order = order[np.diff(events.indptr)[order] > 0]
    return _Part(step[order], pair[order], events[order])


def _joined(parts: list[_Part], merges: np.ndarray, first_step: int) -> Trajectories:
    """The parts side by side, in one order of events. Takes the parts out of their list, to free them."""
    from tokenry.tokenization.mixture_kernels import place_rows

    pairs = np.unique(np.concatenate([np.zeros(0, np.int64)] + [np.unique(part.pair) for part in parts]))
    n_pairs = max(len(pairs), 1)
    keys = [part.step.astype(np.int64) * n_pairs + np.searchsorted(pairs, part.pair) for part in parts]
    union = np.unique(np.concatenate([np.zeros(0, np.int64), *keys]))
    rows = [np.searchsorted(union, key) for key in keys]
    sizes = np.zeros(len(union) + 1, np.int64)
    for row, part in zip(rows, parts, strict=True):
        sizes[row + 1] += np.diff(part.events.indptr)
    indptr = np.cumsum(sizes)
    words, data = np.empty(int(indptr[-1]), np.int32), np.empty(int(indptr[-1]), np.int16)
    fill, n_words = indptr[:-1].copy(), 0
    for k, row in enumerate(rows):
        events, parts[k] = parts[k].events, None
        flat = (events.indptr.astype(np.int64), events.indices.astype(np.int32), events.data)
        place_rows(flat, row, n_words, fill, words, data)
        n_words += events.shape[1]
    step, pair = np.divmod(union, n_pairs)
    merged = _packed(merges[:, :2])
    place = np.searchsorted(pairs, merged)
    known = pairs[np.minimum(place, n_pairs - 1)] == merged if len(pairs) else np.zeros(len(merged), bool)
    return Trajectories(
        merges=merges,
        pairs=np.column_stack([pairs >> 32, pairs & 0xFFFFFFFF]).astype(np.int32),
        merged_pair=np.where(known, place, -1).astype(np.int32),
        event_step=step.astype(np.int32),
        event_pair=pair.astype(np.int32),
        events=_csr(data, words, indptr, n_words),
        first_step=first_step,
    )


def _csr(data: np.ndarray, words: np.ndarray, indptr: np.ndarray, n_words: int) -> "csr_matrix":
    from scipy import sparse

    return sparse.csr_matrix((data, words, indptr), shape=(len(indptr) - 1, n_words), copy=False)


def _packed(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1].astype(np.int64)


def _within(values: np.ndarray, low: int, high: int) -> bool:
    return values.ndim == 1 and (len(values) == 0 or (int(values.min()) >= low and int(values.max()) < high))


def _blocks(offsets: np.ndarray) -> list[tuple[int, int]]:
    """(first word, end) of runs of words with about `_BLOCK` symbols."""
    blocks, low = [], 0
    while low < len(offsets) - 1:
        high = max(int(np.searchsorted(offsets, offsets[low] + _BLOCK, side="right")) - 1, low + 1)
        blocks.append((low, high))
        low = high
    return blocks


def _checked(
    symbols: np.ndarray, offsets: np.ndarray, merges: np.ndarray, first_step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    symbols, offsets = np.asarray(symbols), np.asarray(offsets, np.int64)
    merges = np.asarray(merges).reshape(-1, 3)
    sizes = np.diff(offsets)
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(symbols) or (sizes < 0).any():
        raise ValueError(
            f"offsets do not cut {len(symbols):,} symbols into words; need rising offsets from 0 to their number."
        )
    if sizes.max(initial=0) > LONGEST_WORD:
        raise ValueError(
            f"a word of {sizes.max():,} symbols; need at most {LONGEST_WORD:,}. Cut long words before replaying."
        )
    least = min(symbols.min(initial=0), merges.min(initial=0))
    most = max(symbols.max(initial=0), merges.max(initial=0))
    if least < 0 or most >= 2**31:
        raise ValueError(f"symbols from {least} to {most}; need ids from 0 to {2**31 - 1}.")
    if not 0 <= first_step <= len(merges):
        raise ValueError(f"first_step={first_step} with {len(merges):,} merges; need 0 to {len(merges):,}.")
    return symbols.astype(np.int32), offsets, np.ascontiguousarray(merges, np.int32)


def _read_note(file: Path) -> dict:
    if not file.is_file():
        raise FileNotFoundError(f"no {file.name} in {file.parent}; give a folder that a replay was saved to.")
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}); replay the merges again.") from error
    if not isinstance(note, dict) or note.get("format") != _FORMAT:
        raise ValueError(f"{file} is of another version; replay the merges again.")
    return note
