"""Join neighbouring tokens of a batch, the most frequent pair first: byte-pair merging decided per batch, at run time.

The pairs of the batch are counted once and kept up to date, so that the whole run costs O((tokens + merges) log tokens)
instead of a recount after every merge.

What is counted: adjacencies, so "aaa" holds the pair (a, a) twice. The pair with the highest count is merged, among
equals the one that occurs first in the batch; it is merged from left to right wherever it stands ("aaa" -> "aa", "a").

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553).
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.dynamic_segments import Segmented, may_join

Merge = tuple[bytes, bytes]


@dataclass(frozen=True, eq=False)
class MergedBatch:
    """A batch after its merges.

    Attributes:
        pieces: int64 (t,) of each text; below `n_base` an id of the vocabulary, from there on an entry of `new`.
        spans: int64 (t + 1,) of each text: the base token at which each piece begins, and the end.
        source: the base tokens.
        new: bytes of the pieces the vocabulary does not have.
        n_base: ids of the vocabulary.
        merges: (left, right) as bytes, in the order they were made; `merge_segmented(merges=...)` repeats them.
        counts: how many times each of them was made.
        n_words: length of the batch with everything joined that may be joined; the floor.
    """

    pieces: list[np.ndarray]
    spans: list[np.ndarray]
    source: Segmented
    new: tuple[bytes, ...]
    n_base: int
    merges: tuple[Merge, ...] = field(repr=False)
    counts: tuple[int, ...] = field(repr=False)
    n_words: int

    @property
    def n_before(self) -> int:
        """Tokens of the batch as the tokenizer cuts it, special tokens included."""
        return sum(map(len, self.source.ids))

    @property
    def n_after(self) -> int:
        """Pieces of the batch."""
        return sum(map(len, self.pieces))

    @property
    def reduction(self) -> float:
        """Share of the way to the floor: 0 unmerged, 1 everything joined (1 too where nothing can be)."""
        room = self.n_before - self.n_words
        return (self.n_before - self.n_after) / room if room else 1.0

    @property
    def shorter_by(self) -> float:
        """Share of the tokens that merging saved: the share of positions a model does not have to compute."""
        return 1 - self.n_after / self.n_before if self.n_before else 0.0

    def types_of(self, row: int) -> np.ndarray:
        """Token types of the pieces of a text."""
        return self.source.types[row][self.spans[row][:-1]]


def merge_segmented(
    vocab: Vocab,
    source: Segmented,
    *,
    boundary: str = "pretokens",
    reduction: float | None = None,
    max_merges: int | None = None,
    min_count: int = 1,
    merges: Iterable[Merge] | None = None,
    rng: np.random.Generator | None = None,
) -> MergedBatch:
    """Join the most frequent neighbours of a segmented batch until a target is met.

    Args:
        vocab: the tokenizer of `source`.
        source: from `segment` or `segment_words`, with the same boundary.
        boundary: as given to `segment`.
        reduction: stop once this share of the way to the floor (`MergedBatch.n_words`) is gone; 0 merges nothing.
        max_merges: stop after so many merges. Without either all that may be joined is.
        min_count: a pair that occurs fewer times is left alone (2 saves rows that serve one position).
        merges: repeat exactly these merges, in this order, instead of counting: the batch no longer matters.
        rng: take a random pair each time in place of the most frequent: the control.

    Raises:
        ValueError: a reduction outside 0..1, a negative number of merges, a count below 1, or `merges` together with
            a target.
    """
    _check_target(reduction, max_merges, min_count, merges)
    joinable: dict[tuple[bytes, bytes], bool] = {}

    def allowed(left: bytes, right: bytes) -> bool:
        known = joinable.get((left, right))
        if known is None:
            known = joinable[left, right] = may_join(left, right, boundary=boundary)
        return known

    state = _State(vocab, source, allowed)
    if merges is not None:
        floor = _floor(vocab, source, boundary, allowed)
        for left, right in merges:
            state.merge_bytes(left, right)
        return state.result(floor)
    floor = _floor(vocab, source, boundary, allowed) if reduction is not None else None
    least = 0 if floor is None else state.n_now - reduction * (state.n_now - floor)
    # A reduction asked for as a fraction of whole tokens must not ask for one merge more by a rounding error.
    while (max_merges is None or len(state.merges) < max_merges) and state.n_now > least + 1e-9:
        pair = state.best() if rng is None else state.any(rng)
        if pair is None or state.counts[pair] < min_count:
            break
        state.merge(pair)
    return state.result(floor if floor is not None else _floor(vocab, source, boundary, allowed))


class _State:
    """The batch as linked lists, with the pairs of neighbours counted and located.

    Every text lies in one row of nodes; a node is dead once it was joined to the one before it. `places` holds for
    each pair the nodes where it (once) began: a pair only ever leaves a place, as pieces grow, so stale entries are
    told by looking. The heap may hold stale keys too, but never only keys worse than the true one.
    """

    def __init__(self, vocab: Vocab, source: Segmented, allowed: Callable[[bytes, bytes], bool]) -> None:
        self.source, self.n_base, self.allowed = source, vocab.size, allowed
        self.data: list[bytes | None] = list(vocab.tokens)
        self.vocab = vocab
        self.known: dict[bytes, int] = {}
        ids = np.concatenate(source.ids) if source.ids else np.zeros(0, np.int64)
        breaks = np.concatenate(source.breaks) if source.breaks else np.zeros(0, bool)
        n = self.n_now = len(ids)
        places = np.arange(n)
        self.piece: list[int] = ids.tolist()
        self.before: list[int] = np.where(breaks, -1, places - 1).tolist()
        self.after: list[int] = np.where(np.append(breaks[1:], True)[:n], -1, places + 1).tolist()
        self.counts: dict[tuple[int, int], int] = {}
        self.places: dict[tuple[int, int], list[int]] = {}
        self.is_valid: dict[tuple[int, int], bool] = {}
        self.merges: list[Merge] = []
        self.made: list[int] = []
        for node in np.flatnonzero(~breaks).tolist():
            self._add((self.piece[node - 1], self.piece[node]), node - 1)
        self.heap = [(-count, self.places[pair][0], pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def best(self) -> tuple[int, int] | None:
        """The most frequent pair, among equals the one that stands first; None when no pair is left."""
        while self.heap:
            key = self.heap[0]
            pair = key[2]
            count = self.counts.get(pair, 0)
            if not count:
                heapq.heappop(self.heap)
                continue
            now = (-count, self._first(pair), pair)
            if now == key:
                return pair
            heapq.heapreplace(self.heap, now)
        return None

    def any(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """A random pair, each distinct pair as likely as the next."""
        pairs = list(self.counts)
        return pairs[int(rng.integers(len(pairs)))] if pairs else None

    def merge(self, pair: tuple[int, int]) -> None:
        """Join this pair wherever it stands, from left to right."""
        a, b = pair
        joined = self._number(self.data[a] + self.data[b])
        piece, before, after = self.piece, self.before, self.after
        fresh: set[tuple[int, int]] = set()
        n_made = 0
        for node in sorted(self.places[pair]):
            follower = after[node]
            if piece[node] != a or follower < 0 or piece[follower] != b:
                continue
            left, right = before[node], after[follower]
            if left >= 0:
                self._drop((piece[left], a))
            if right >= 0:
                self._drop((b, piece[right]))
                before[right] = node
            piece[node], piece[follower], after[node] = joined, -1, right
            if left >= 0 and self._add((piece[left], joined), left):
                fresh.add((piece[left], joined))
            if right >= 0 and self._add((joined, piece[right]), node):
                fresh.add((joined, piece[right]))
            n_made += 1
        self.counts.pop(pair, None)
        self.places.pop(pair, None)
        for new in fresh:
            if new in self.counts:
                heapq.heappush(self.heap, (-self.counts[new], self._first(new), new))
        self.n_now -= n_made
        self.merges.append((self.data[a], self.data[b]))
        self.made.append(n_made)

    def merge_bytes(self, left: bytes, right: bytes) -> None:
        """Join every pair of pieces with these bytes, where there is one; two ids may spell the same bytes."""
        for pair in [p for p in self.counts if self.data[p[0]] == left and self.data[p[1]] == right]:
            if pair in self.counts:
                self.merge(pair)

    def result(self, floor: int) -> MergedBatch:
        """The batch as it stands."""
        pieces, spans, start = [], [], 0
        flat = np.array(self.piece, np.int64)
        for ids in self.source.ids:
            row = flat[start : start + len(ids)]
            alive = np.flatnonzero(row >= 0)
            pieces.append(row[alive])
            spans.append(np.append(alive, len(ids)))
            start += len(ids)
        new = tuple(self.data[self.n_base :])
        return MergedBatch(pieces, spans, self.source, new, self.n_base, tuple(self.merges), tuple(self.made), floor)

    def _number(self, data: bytes) -> int:
        """The id of these bytes: the vocabulary's own where it has them."""
        number = self.known.get(data)
        if number is None:
            same = self.vocab.index.get(data)
            is_entry = bool(same) and self.vocab.kinds[same[0]] == Kind.NORMAL
            number = self.known[data] = same[0] if is_entry else len(self.data)
            if not is_entry:
                self.data.append(data)
        return number

    def _add(self, pair: tuple[int, int], node: int) -> bool:
        valid = self.is_valid.get(pair)
        if valid is None:
            valid = self.is_valid[pair] = self.allowed(self.data[pair[0]], self.data[pair[1]])
        if valid:
            self.counts[pair] = self.counts.get(pair, 0) + 1
            heapq.heappush(self.places.setdefault(pair, []), node)
        return valid

    def _drop(self, pair: tuple[int, int]) -> None:
        count = self.counts.get(pair, 0)
        if count > 1:
            self.counts[pair] = count - 1
        elif count:
            del self.counts[pair]

    def _first(self, pair: tuple[int, int]) -> int:
        places, (a, b) = self.places[pair], pair
        while self.piece[places[0]] != a or (follower := self.after[places[0]]) < 0 or self.piece[follower] != b:
            heapq.heappop(places)
        return places[0]


def _floor(vocab: Vocab, source: Segmented, boundary: str, allowed: Callable[[bytes, bytes], bool]) -> int:
    """Length with everything joined. Between two breaks of "pretokens" or "sentence" that is one piece."""
    if boundary in ("pretokens", "sentence"):
        return sum(int(breaks.sum()) for breaks in source.breaks)
    state = _State(vocab, source, allowed)
    while (pair := state.best()) is not None:
        state.merge(pair)
    return state.n_now


def _check_target(
    reduction: float | None, max_merges: int | None, min_count: int, merges: Iterable[Merge] | None
) -> None:
    if reduction is not None and not 0 <= reduction <= 1:
        raise ValueError(f"reduction={reduction}; need a share from 0 (no merge) to 1 (whole words).")
    if max_merges is not None and max_merges < 0:
        raise ValueError(f"max_merges={max_merges}; need 0 or more. Leave it out to merge all that may be merged.")
    if min_count < 1:
        raise ValueError(f"min_count={min_count}; need at least 1, since a pair that never occurs cannot be merged.")
    if merges is not None and (reduction is not None or max_merges is not None):
        raise ValueError("merges are given and a target too; repeated merges have no target. Leave one of them out.")
