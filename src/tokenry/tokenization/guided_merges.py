"""Learn merges by rules of your own: which pair next, which pairs never, which tokens to take back.

Three plain functions steer the loop, and with the defaults the merges are those of `merges.train_merges`. Every step
scans the words once, so this is for tables up to some million symbols (a minute for 5,000 merges there), where
`train_merges` is the fast way for the one rule it has.

Papers: BPE Gets Picky (arXiv 2409.04599); Parity-Aware Byte-Pair Encoding (arXiv 2508.04796); Neural Machine
Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tokenry.tokenization.merges import MergeTable

Score = Callable[[np.ndarray, "MergingState"], np.ndarray]
"""(counts of all pairs (P, S), state) -> score of each pair (P,): the highest above 0 is merged next."""
Allow = Callable[[bytes | str, bytes | str], bool]
"""(left name, right name) -> may they be merged? Asked when the pair's turn comes; a no is for good."""
After = Callable[["MergingState"], Iterable[int]]
"""state after a merge -> symbols to take out of the vocabulary; what is left of them is split into their parts."""


@dataclass(eq=False)
class MergingState:
    """What a rule may look at; nothing in it may be changed."""

    names: list
    """Of all symbols made so far."""
    n_start: int
    """Start symbols."""
    symbol_counts: np.ndarray
    """int64 (V, S), occurrences of each symbol as the words are cut now, by source."""
    last: tuple[int, int, int] = (-1, -1, -1)
    """Left, right and result of the last merge."""
    last_counts: tuple[int, int, int] = (0, 0, 0)
    """How often the pair, its left and its right symbol occurred before that merge."""
    n_merged: int = 0
    """Merges done."""
    removed: set[int] = field(default_factory=set)
    """Symbols that are out of the vocabulary now."""

    @property
    def n_tokens(self) -> np.ndarray:
        """int64 (S,), tokens of each source as the words are cut now."""
        return self.symbol_counts[: len(self.names)].sum(0)


@dataclass(frozen=True, eq=False)
class GuidedMerges:
    """What was learned, in the order it happened."""

    events: np.ndarray
    """int32 (E, 3): left, right, result of a merge; or symbol, -1, -1 where a symbol was taken out."""
    names: list
    """Spelling of every symbol, start symbols first."""
    n_start: int
    """Start symbols."""
    removed: frozenset[int]
    """Symbols that are not in the vocabulary at the end."""
    counts: np.ndarray
    """int64 (E,), how often the pair occurred when it was merged, or the symbol when it was taken out."""

    @property
    def vocabulary(self) -> list[int]:
        """The symbols that are in, start symbols included."""
        return [i for i in range(len(self.names)) if i not in self.removed]

    @property
    def table(self) -> MergeTable:
        """As a plain merge list, which a tokenizer file can hold.

        Raises:
            ValueError: where symbols were taken out; a plain list of merges has no such step (see `encode_guided`).
        """
        if (self.events[:, 1] < 0).any():
            n = int((self.events[:, 1] < 0).sum())
            raise ValueError(
                f"{n} symbols were taken out while learning, which a plain merge list cannot say. Encode with "
                "encode_guided, or learn without removals."
            )
        return MergeTable(self.events[:, :2].copy(), self.events[:, 2].copy(), self.counts)


def guided_merges(
    symbols: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    *,
    names: Sequence[bytes | str | None],
    n_merges: int,
    score: Score | None = None,
    allow: Allow | None = None,
    after: After | None = None,
    min_count: int = 1,
) -> GuidedMerges:
    """Learn merges on a table of counted words under rules of your own.

    Args:
        symbols: int (N,), start symbols of all words end to end.
        offsets: int (W+1,), where each word starts.
        counts: int (W,) or (W, S), occurrences of each word (by source), >= 0.
        names: what each start symbol spells; a symbol named None is never merged.
        n_merges: stop when the vocabulary has grown by so many symbols (removed ones do not count).
        score: which pair next; the most frequent over all sources when not given. Among equals the smallest
            (left id, right id).
        allow: which pairs may be merged.
        after: which symbols to take out after a merge. A start symbol cannot be.
        min_count: a pair must occur so often over all sources.

    Returns:
        The events; fewer merges than asked where no pair is left.

    Raises:
        ValueError: if the arrays do not fit each other, or a rule answers with something else than promised.

    Papers: BPE Gets Picky (arXiv 2409.04599); Parity-Aware Byte-Pair Encoding (arXiv 2508.04796).
    """
    run = _Run(symbols, offsets, counts, names)
    banned = np.zeros(1024, bool)
    while len(run.state.names) - run.state.n_start - len(run.state.removed) < n_merges:
        n_pairs = run.table[4]
        counts_PS = run.table[3][:n_pairs]
        banned = np.concatenate([banned, np.zeros(n_pairs, bool)]) if n_pairs > len(banned) else banned
        totals = counts_PS.sum(1)
        scores = np.asarray(totals if score is None else score(counts_PS, run.state))
        if scores.shape != (n_pairs,):
            raise ValueError(f"score gave {scores.shape} for {n_pairs} pairs; need one number for each pair.")
        scores = np.where((totals >= max(min_count, 1)) & ~banned[:n_pairs], scores, 0)
        best = scores.max(initial=0)
        if not best > 0:
            break
        rows = np.flatnonzero(scores == best)
        row = int(rows[np.argmin(run.table[2][rows])])
        left, right = (int(run.table[2][row]) >> 32, int(run.table[2][row]) & 0xFFFFFFFF)
        if not run.may_join(left, right) or (
            allow is not None and not allow(run.state.names[left], run.state.names[right])
        ):
            banned[row] = True
            continue
        run.merge(left, right, int(totals[row]))
        for symbol in dict.fromkeys(after(run.state) if after is not None else ()):
            run.remove(int(symbol))
    return run.result()


class _Run:
    """The words and counts while merges are learned."""

    def __init__(
        self, symbols: np.ndarray, offsets: np.ndarray, counts: np.ndarray, names: Sequence[bytes | str | None]
    ) -> None:
        from tokenry.tokenization import guided_kernels
        from tokenry.tokenization.merges import checked_table
        from tokenry.tokenization.pair_kernels import STAMP

        counts = np.asarray(counts, np.int64)
        counts = np.ascontiguousarray(counts.reshape(len(counts), -1))
        cells, offsets, _ = checked_table(symbols, offsets, counts.min(1, initial=0), n_symbols=len(names))
        self._rewrite = guided_kernels.rewrite
        self.words = (cells[:-1], offsets, np.diff(offsets), counts)
        held = np.zeros((max(2 * len(names), 64), counts.shape[1]), np.int64)
        self.table = guided_kernels.count_all(self.words, guided_kernels.empty_table(counts.shape[1]), held, STAMP)
        self.state = MergingState(list(names), len(names), held)
        self.parts: dict[int, tuple[int, int]] = {}
        self.known = {name: i for i, name in reversed(list(enumerate(names))) if name is not None}
        self.events: list[tuple[int, int, int, int]] = []

    def may_join(self, left: int, right: int) -> bool:
        return self.state.names[left] is not None and self.state.names[right] is not None

    def merge(self, left: int, right: int, count: int) -> None:
        state = self.state
        name = state.names[left] + state.names[right]
        new = self.known.setdefault(name, len(state.names))
        if new == len(state.names):
            state.names.append(name)
            if new == len(state.symbol_counts):
                state.symbol_counts = np.concatenate([state.symbol_counts, np.zeros_like(state.symbol_counts)])
        if new >= state.n_start:
            self.parts[new] = (left, right)
        state.removed.discard(new)
        before = tuple(int(state.symbol_counts[part].sum()) for part in (left, right))
        self._replace([left, right], [new])
        state.last, state.last_counts = (left, right, new), (count, *before)
        state.n_merged += 1
        self.events.append((left, right, new, count))

    def remove(self, symbol: int) -> None:
        state = self.state
        if not state.n_start <= symbol < len(state.names):
            raise ValueError(
                f"after() asked to take out symbol {symbol}; need one that was merged: {state.n_start} and up."
            )
        if symbol in state.removed:
            return
        count = int(state.symbol_counts[symbol].sum())
        state.removed.add(symbol)
        self.events.append((symbol, -1, -1, count))
        self._replace([symbol], self._live_parts(symbol))

    def _live_parts(self, symbol: int) -> list[int]:
        """The symbols of the vocabulary that a removed one falls into."""
        return [
            live
            for part in self.parts[symbol]
            for live in (self._live_parts(part) if part in self.state.removed else [part])
        ]

    def _replace(self, wanted: list[int], put: list[int]) -> None:
        self.table = self._rewrite(
            self.words, self.table, self.state.symbol_counts, np.array(wanted, np.int32), np.array(put, np.int32)
        )

    def result(self) -> GuidedMerges:
        events = np.array(self.events, np.int64).reshape(-1, 4)
        state = self.state
        return GuidedMerges(
            events[:, :3].astype(np.int32), state.names, state.n_start, frozenset(state.removed), events[:, 3]
        )


def encode_guided(symbols: np.ndarray, offsets: np.ndarray, learned: GuidedMerges) -> tuple[np.ndarray, np.ndarray]:
    """Cut words as the learned events do, one after the other: (ids int32, offsets int64) as `merges.encode_words`.

    Costs one scan of the words an event. Ids are numbers of `learned.names`.

    Paper: BPE Gets Picky (arXiv 2409.04599), section 3.3.
    """
    run = _Run(symbols, offsets, np.ones(len(offsets) - 1, np.int64), learned.names[: learned.n_start])
    for left, right, _ in learned.events.tolist():
        if right < 0:
            run.remove(left)
        else:
            run.merge(left, right, 0)
    cells, starts, lengths, _ = run.words
    ends = np.concatenate([[0], np.cumsum(lengths)])
    inner = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths) + np.repeat(starts[:-1], lengths)
    return cells[inner], ends


def picky(threshold: float = 0.9) -> After:
    """Take out a part of the last merge which hardly occurs outside of it: PickyBPE's rule, for `after`.

    Args:
        threshold: a part goes when at least this share of its occurrences was in the merged pair. Above 1 none goes.

    Paper: BPE Gets Picky (arXiv 2409.04599), equation 1; the paper's thresholds are 0.6 to 0.9.
    """

    def after(state: MergingState) -> list[int]:
        pair, *parts = state.last_counts
        return [
            symbol
            for symbol, count in zip(state.last[:2], parts, strict=True)
            if symbol >= state.n_start and symbol != state.last[2] and pair >= threshold * count
        ]

    return after


def parity(units_S: np.ndarray, *, first: int = 0) -> Score:
    """Merge what is most frequent in the source that is compressed worst now: parity-aware selection, for `score`.

    Args:
        units_S: the size of each source in the unit compression is measured in: bytes, characters, or for aligned texts
            the same number for all.
        first: merges by the count over all sources before (the paper's hybrid).

    Paper: Parity-Aware Byte-Pair Encoding (arXiv 2508.04796), algorithm 1. There compression is measured on a parallel
    development set; here on the words themselves, so give aligned texts, or bytes.
    """
    units_S = np.asarray(units_S, np.float64)

    def score(counts_PS: np.ndarray, state: MergingState) -> np.ndarray:
        if counts_PS.shape[1] != len(units_S):
            raise ValueError(f"{len(units_S)} units for {counts_PS.shape[1]} sources; give one for each source.")
        if state.n_merged < first:
            return counts_PS.sum(1)
        for source in np.argsort(units_S / np.maximum(state.n_tokens, 1), kind="stable"):
            if counts_PS[:, source].max(initial=0) > 0:
                return counts_PS[:, source]
        return counts_PS.sum(1)

    return score
