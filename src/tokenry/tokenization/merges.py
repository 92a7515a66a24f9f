"""The merge engine: learn, continue and replay byte-pair merges on a table of counted words.

A table is three arrays: `symbols` (all words end to end), `offsets` (W+1, where each word starts) and `counts` (W, how
often each word occurs). Learning gives the merge list of the HF `tokenizers` trainer, rule for rule:

- the pair with the largest count wins; among equals the smallest (left id, right id);
- a pair is counted once per position, so "aaa" holds the pair (a, a) twice;
- two merges that spell the same string share one symbol.

Counts are 64-bit (the library's pair counts are 32-bit and overflow on large corpora).

Papers: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from tokenry.core.pretokens import give_back_memory
from tokenry.tokenization import learn_kernels, replay_kernels
from tokenry.tokenization.pair_kernels import STAMP

_CHUNK = 1 << 20
LEAST_LISTED = 1 << 18
"""Positions listed at once, at least: more make learning faster and larger."""


@dataclass(frozen=True, eq=False)
class MergeTable:
    """A learned merge list, in the order it was learned."""

    pairs: np.ndarray
    """int32 (M, 2): left and right symbol of each merge."""
    results: np.ndarray
    """int32 (M,): the symbol each merge makes; an older symbol where the string was known already."""
    counts: np.ndarray
    """int64 (M,): how often the pair occurred when it was chosen."""

    def __len__(self) -> int:
        return len(self.results)

    @property
    def triples(self) -> np.ndarray:
        """int32 (M, 3): left, right, result; the layout of `Vocab.merges`."""
        return np.column_stack([self.pairs, self.results]).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Rules:
    """What may be merged, and how often."""

    names: Sequence[bytes | str | None]
    """What each start symbol spells (bytes or text, one kind for all); a symbol named None is never merged."""
    n_merges: int
    """Stop when so many new symbols are made. A merge that spells a known name reuses its symbol and is listed, but
    does not count."""
    min_count: int = 1
    """Stop below this pair count (at least 1)."""
    max_length: int = 0
    """Longest name a merge may make, in units of `lengths` (inclusive); 0 = no limit. The library's `max_token_length`
    is exclusive, so its n is our n - 1 (n >= 3)."""
    lengths: np.ndarray | None = None
    """int (n_symbols,), >= 0, length of each name; `len(name)` when not given."""
    max_words: int = 0
    """Most words a merged name may hold (runs of anything but white space), by `marks`; 0 = no limit."""
    marks: np.ndarray | None = None
    """int64 (n_symbols,), as `word_marks` gives them; needed for `max_words`."""
    guard: tuple[np.ndarray, int] | None = None
    """(second count of each word, limit): how often the words occur in a text which should not change. A pair that
    occurs there more often than the limit when its turn comes is passed over for good."""


def word_marks(tokens: Sequence[bytes | None]) -> np.ndarray:
    """int64 (V,), for `Rules.marks`: the words of each token and whether white space stands at its ends.

    Args:
        tokens: the bytes of each symbol; white space is the ASCII one.
    """
    found = ((data or b"") for data in tokens)
    return np.fromiter(
        (len(data.split()) << 2 | data[:1].isspace() << 1 | data[-1:].isspace() for data in found),
        np.int64,
        len(tokens),
    )


def train_merges(
    symbols: np.ndarray | list[np.ndarray],
    offsets: np.ndarray,
    counts: np.ndarray,
    *,
    n_symbols: int,
    n_merges: int,
    names: Sequence[bytes | str | None],
    max_length: int = 0,
    min_count: int = 1,
    lengths: np.ndarray | None = None,
    guard: tuple[np.ndarray, int] | None = None,
) -> MergeTable:
    """Learn merges on a table of counted words.

    To continue a known list, replay it with `encode_words` and train on what comes out, with the names of all ids.

    Args:
        symbols: int (N,), start symbols of all words, each in 0..n_symbols-1. Not changed. Inside a list of one, the
            array is taken out of it, so that its memory is free while learning.
        offsets: int (W+1,), word w is `symbols[offsets[w]:offsets[w+1]]`.
        counts: int (W,), occurrences of each word, >= 0.
        n_symbols: number of start symbols; the first new symbol gets this id.
        n_merges, names, max_length, min_count, lengths, guard: see `Rules`; `learn_merges` takes all of them.

    Returns:
        The merges, fewer than asked where the words are used up.

    Raises:
        ValueError: if the arrays do not fit each other or a symbol is out of range.

    Paper: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
    """
    if len(names) != n_symbols:
        raise ValueError(f"{len(names)} names for {n_symbols} symbols; give one name (or None) for each start symbol.")
    rules = Rules(names, n_merges, min_count=min_count, max_length=max_length, lengths=lengths, guard=guard)
    return learn_merges(symbols, offsets, counts, rules=rules)


def learn_merges(
    symbols: np.ndarray | list[np.ndarray], offsets: np.ndarray, counts: np.ndarray, *, rules: Rules
) -> MergeTable:
    """Learn merges on a table of counted words, as `train_merges`, by rules which are given as one object.

    Raises:
        ValueError: as `train_merges`; or `max_words` without `marks`.
    """
    symbols = symbols.pop() if isinstance(symbols, list) else symbols
    cells, offsets, counts = checked_table(symbols, offsets, counts, n_symbols=len(rules.names))
    del symbols
    give_back_memory()
    return run_learner(cells, offsets, counts, rules=rules, exact=needs_rare_pairs(cells, rules))


def run_learner(cells: np.ndarray, offsets: np.ndarray, counts: np.ndarray, *, rules: Rules, exact: bool) -> MergeTable:
    """Learn merges on cells, which afterwards hold the words as they are cut then; for `learn_merges` and `resuming`.

    Args:
        cells, offsets, counts: from `checked_table`, or left by an earlier call.
        rules: with the names of all symbols that exist by now.
        exact: from `needs_rare_pairs` at the very start.

    Raises:
        ValueError: if lengths, marks or guard do not fit the names and words.
    """
    n_symbols, (second, limit) = len(rules.names), rules.guard or (np.zeros(0), 0)
    if rules.guard is not None and len(second) != len(counts):
        raise ValueError(f"guard holds {len(second)} counts for {len(counts)} words; give one per word.")
    for what, given in (("lengths", rules.lengths), ("marks", rules.marks)):
        if given is not None and len(given) != n_symbols:
            raise ValueError(f"{len(given)} {what} for {n_symbols} symbols; give one for each start symbol.")
    if rules.max_words and rules.marks is None:
        raise ValueError(f"max_words={rules.max_words} without marks; give marks=word_marks(tokens) too.")
    spelled = [_data(name) for name in rules.names]
    marks = rules.marks if rules.max_words else np.zeros(0)
    limits = (rules.n_merges, rules.max_length, rules.max_words, max(rules.min_count, 1), limit,
              max(len(cells) // 12, LEAST_LISTED))  # fmt: skip
    learned = learn_kernels.learn(
        cells, offsets, counts, np.ascontiguousarray(second, np.int64),
        np.frombuffer(b"".join(spelled), np.uint8),
        np.concatenate([[0], np.cumsum([len(s) for s in spelled])]).astype(np.int64),
        _sizes(rules), np.ascontiguousarray(marks, np.int64), np.array(limits, np.int64), exact, STAMP,
    )  # fmt: skip
    return MergeTable(*learned)


def encode_words(symbols: np.ndarray, offsets: np.ndarray, merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replay a known merge list on words: in each word the earliest merge of the list first, leftmost first.

    This is how the HF library encodes. A pair listed twice has its last rank, as there. Cost is n log n in the length
    of a word, so one very long word is no trap.

    Args:
        symbols: int (N,), start symbols of all words end to end.
        offsets: int (W+1,), where each word starts.
        merges: int (M, 3), left, right, result in priority order.

    Returns:
        ids: int32, the words' symbols after merging, end to end.
        offsets: int64 (W+1,), where each word starts in `ids`.
    """
    cells = np.array(symbols, np.int32)
    offsets = np.ascontiguousarray(offsets, np.int64)
    merges = np.ascontiguousarray(merges, np.int32).reshape(-1, 3)
    keys, ranks = replay_kernels.rank_table(merges, STAMP)
    lengths = replay_kernels.replay(cells, offsets, keys, ranks, np.ascontiguousarray(merges[:, 2]), STAMP)
    ends = np.zeros(len(offsets), np.int64)
    np.cumsum(lengths, out=ends[1:])
    return replay_kernels.gather(cells, offsets, ends), ends


def usable_merges(table: MergeTable, literals: Sequence[str | None], blocked: Set[str]) -> tuple[np.ndarray, list[str]]:
    """The merges a tokenizer file can hold, and the strings of the new entries.

    Left out, with everything built on them: merges that would spell a blocked string (a special token, a byte piece),
    because a file holds each string once. A pair listed twice keeps its first place.

    Args:
        table: learned merges.
        literals: stored string of each start symbol.
        blocked: strings no merge may make or use.

    Returns:
        merges int32 (M, 3) with new ids counted from `len(literals)` without gaps, and their strings in order.
    """
    strings = list(literals)
    place = np.arange(len(literals) + len(table), dtype=np.int64)
    taken = {string for string in literals if string is not None} | set(blocked)
    new: list[str] = []
    rows: list[tuple[int, int, int]] = []
    pairs: set[tuple[int, int]] = set()
    for (left, right), result in zip(table.pairs.tolist(), table.results.tolist(), strict=True):
        is_new = result == len(strings)
        string = None if None in (strings[left], strings[right]) else strings[left] + strings[right]
        if is_new:
            usable = string is not None and string not in taken
            strings.append(string if usable else None)
            if usable:
                taken.add(string)
                place[result] = len(literals) + len(new)
                new.append(string)
        if strings[result] is None or string is None or string in blocked or (left, right) in pairs:
            continue
        pairs.add((left, right))
        rows.append((place[left], place[right], place[result]))
    return np.array(rows, np.int32).reshape(-1, 3), new


def _sizes(rules: Rules) -> np.ndarray:
    """int64, length of each name; -1 for a symbol without name, which bars it."""
    plain = np.fromiter((len(name or "") for name in rules.names), np.int64, len(rules.names))
    return np.where(plain > 0, plain if rules.lengths is None else rules.lengths, -1).astype(np.int64)


def _data(name: bytes | str | None) -> bytes:
    return name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name or b""


def checked_table(
    symbols: np.ndarray, offsets: np.ndarray, counts: np.ndarray, *, n_symbols: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table as the kernels take it: cells (one more than symbols), offsets and counts.

    Raises:
        ValueError: if the arrays do not fit each other or a symbol is out of range.
    """
    offsets = np.ascontiguousarray(offsets, np.int64)
    counts = np.ascontiguousarray(counts, np.int64)
    if (
        len(offsets) != len(counts) + 1
        or offsets[0] != 0
        or offsets[-1] != len(symbols)
        or (np.diff(offsets) < 0).any()
    ):
        raise ValueError(
            f"{len(offsets)} offsets for {len(counts)} counts and {len(symbols)} symbols; need W+1 rising offsets from "
            "0 to the number of symbols."
        )
    if len(symbols) >= 2**31 - 1:
        raise ValueError(
            f"{len(symbols)} symbols in the unique words; the engine takes less than 2^31. Train on a sample, or raise "
            "the smallest word count."
        )
    if len(symbols) and (symbols.min() < 0 or symbols.max() >= n_symbols):
        raise ValueError(f"symbols reach from {symbols.min()} to {symbols.max()}; need 0..{n_symbols - 1} (n_symbols).")
    if len(counts) and counts.min() < 0:
        raise ValueError(f"a word has the count {counts.min()}; counts must be 0 or more.")
    cells = np.zeros(len(symbols) + 1, np.int32)  # one cell more, so that looking right is always allowed
    cells[:-1] = symbols
    return cells, offsets, counts


def needs_rare_pairs(cells: np.ndarray, rules: Rules) -> bool:
    """Can a merge spell the name of a symbol which no word holds, e.g. a special token written out in the text?

    Then a pair's count can rise again after it was first seen, and rare pairs must be remembered. Only asked where
    every word starts from one-character symbols; a false alarm costs memory only.
    """
    lengths = np.fromiter((len(name or "") for name in rules.names), np.int64, len(rules.names))
    used = np.zeros(len(lengths), bool)
    for start in range(0, len(cells) - 1, _CHUNK):  # an index array is widened to 64 bits
        used[cells[:-1][start : start + _CHUNK]] = True
    if len(cells) == 1 or (lengths[used] != 1).any():
        return False
    spelled = [_data(name) for name in rules.names]
    single = {name: i for i, name in enumerate(spelled) if lengths[i] == 1}
    for i in np.flatnonzero(~used & (lengths > 1)):
        parts = _spell(spelled[i], single)
        if parts and replay_kernels.contains(cells[:-1], np.array(parts, np.int32)):
            return True
    return False


def _spell(name: bytes, single: dict[bytes, int]) -> list[int] | None:
    """A name as one-character (text) or one-byte symbols, or None where one of them has no symbol."""
    readings = [[bytes([b]) for b in name]]
    with suppress(UnicodeDecodeError):
        readings.append([c.encode() for c in name.decode()])
    for characters in readings:
        if all(c in single for c in characters):
            return [single[c] for c in characters]
    return None
