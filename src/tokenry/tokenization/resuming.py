"""Learn merges in stages that are saved, so that a run which is cut off goes on where it stood, merge for merge.

The state is the merges so far and the words as they are cut then. It is written whole or not at all, every so many new
symbols; an interrupted run loses what came after the last state. A finished run can be made longer in the same way.

Papers: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tokenry.core.runs import Progress, atomic_path
from tokenry.tokenization import replay_kernels
from tokenry.tokenization.merges import MergeTable, Rules, checked_table, needs_rare_pairs, run_learner
from tokenry.tokenization.pair_kernels import joined_mark

STATE = "merges.npz"
EVERY = 4000
_FORMAT = 1


@dataclass(eq=False)
class _State:
    """Where a training stands."""

    merges: MergeTable
    cells: np.ndarray
    offsets: np.ndarray
    exact: bool


def train_resumable(
    symbols: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    *,
    rules: Rules,
    folder: str | Path,
    every: int = EVERY,
) -> MergeTable:
    """Learn merges as `merges.learn_merges` does, saving the state in a folder.

    Args:
        symbols, offsets, counts, rules: as `learn_merges` takes them. A state of the same table and rules in the folder
            is gone on with; `rules.n_merges` may be larger than it was, or smaller.
        folder: where `merges.npz` is kept; made when it is not there.
        every: new symbols between two states.

    Returns:
        The merges of one uninterrupted run.

    Raises:
        ValueError: the folder holds the state of another training, or a guard is given (pairs passed over for it are
            not remembered).
    """
    if rules.guard is not None:
        raise ValueError("a guarded training (protected text) is not resumable. Train it in one go, without a folder.")
    if every < 1:
        raise ValueError(f"every={every}; need at least 1 new symbol between two states.")
    path, key = Path(folder) / STATE, _fingerprint(symbols, offsets, counts, rules)
    state = _load(path, key) if path.is_file() else _fresh(symbols, offsets, counts, rules)
    counts, n_start = np.ascontiguousarray(counts, np.int64), len(rules.names)
    names, sizes, marks = _grown(rules, state.merges)
    with Progress("learning merges", total=rules.n_merges, unit="merges", start=len(names) - n_start) as progress:
        while len(names) - n_start < rules.n_merges:
            n_now = min(every, rules.n_merges - (len(names) - n_start))
            now = replace(rules, names=names, n_merges=n_now, lengths=sizes, marks=marks)
            learned = run_learner(state.cells, state.offsets, counts, rules=now, exact=state.exact)
            merges = MergeTable(
                *(np.concatenate(pair) for pair in zip(_columns(state.merges), _columns(learned), strict=True))
            )
            state = _compact(merges, state)
            n_before = len(names)
            names, sizes, marks = _grown(rules, state.merges)
            _save(path, key, state)
            progress.add(len(names) - n_before)
            if len(names) - n_before < n_now:
                break
    return _shortened(state.merges, n_start, rules.n_merges)


def _fresh(symbols: np.ndarray, offsets: np.ndarray, counts: np.ndarray, rules: Rules) -> _State:
    cells, offsets, _ = checked_table(symbols, offsets, counts, n_symbols=len(rules.names))
    nothing = MergeTable(np.zeros((0, 2), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
    return _State(nothing, cells, offsets, needs_rare_pairs(cells, rules))


def _columns(table: MergeTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return table.pairs, table.results, table.counts


def _grown(rules: Rules, merges: MergeTable) -> tuple[list, np.ndarray | None, np.ndarray | None]:
    """Names, lengths and word marks of all symbols there are after some merges."""
    names = list(rules.names)
    lengths = None if rules.lengths is None else list(rules.lengths)
    marks = None if rules.marks is None else [int(mark) for mark in rules.marks]
    for (left, right), result in zip(merges.pairs.tolist(), merges.results.tolist(), strict=True):
        if result < len(names):
            continue
        names.append(names[left] + names[right])
        if lengths is not None:
            lengths.append(lengths[left] + lengths[right])
        if marks is not None:
            marks.append(joined_mark(marks[left], marks[right]))
    as_array = [None if column is None else np.array(column, np.int64) for column in (lengths, marks)]
    return names, as_array[0], as_array[1]


def _compact(merges: MergeTable, state: _State) -> _State:
    """The words as they are cut now, one cell a token."""
    from tokenry.tokenization.pair_kernels import STAMP

    symbols, offsets = replay_kernels.compact(state.cells, state.offsets, STAMP)
    cells = np.zeros(len(symbols) + 1, np.int32)
    cells[:-1] = symbols
    return _State(merges, cells, offsets, state.exact)


def _shortened(merges: MergeTable, n_start: int, n_merges: int) -> MergeTable:
    """The merges one run would have stopped after: a state may be further than what is asked."""
    last = np.flatnonzero(merges.results == n_start + n_merges - 1)
    n = 0 if n_merges <= 0 else int(last[0]) + 1 if len(last) else len(merges)
    return MergeTable(*(column[:n] for column in _columns(merges)))


def _fingerprint(symbols: np.ndarray, offsets: np.ndarray, counts: np.ndarray, rules: Rules) -> str:
    """Of everything that decides the merges but their number."""
    digest = hashlib.blake2b(digest_size=16)
    for array, kind in ((symbols, np.int32), (offsets, np.int64), (counts, np.int64)):
        array = np.asarray(array)
        digest.update(str(array.shape).encode())
        for start in range(0, len(array), 1 << 20):
            digest.update(np.ascontiguousarray(array[start : start + (1 << 20)], kind).tobytes())
    extras = [None if column is None else np.asarray(column).tolist() for column in (rules.lengths, rules.marks)]
    rest = (list(rules.names), rules.min_count, rules.max_length, rules.max_words, extras, _FORMAT)
    digest.update(repr(rest).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _save(path: Path, key: str, state: _State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs, results, counts = _columns(state.merges)
    with atomic_path(path) as part, open(part, "wb") as file:
        np.savez(file, key=np.array(key), pairs=pairs, results=results, counts=counts, cells=state.cells,
                 offsets=state.offsets, exact=np.array(state.exact))  # fmt: skip


def _load(path: Path, key: str) -> _State:
    try:
        with np.load(path, allow_pickle=False) as held:
            found = {name: held[name] for name in held.files}
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is not a state of training ({error}). Remove it, or give another folder.") from None
    if str(found.get("key")) != key:
        raise ValueError(
            f"{path} is the state of another training: other text, alphabet or rules. Give another folder, or remove "
            "it to start anew."
        )
    merges = MergeTable(found["pairs"], found["results"], found["counts"])
    return _State(merges, found["cells"], found["offsets"], bool(found["exact"]))
