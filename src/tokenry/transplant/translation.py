"""New rows from parallel text: a token becomes a mix of the old tokens it translates.

Papers: Trans-Tokenization (arXiv 2408.04303); The Mathematics of Statistical Machine Translation (Brown et al. 1993).
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.neighbours import check_fallback, with_fallback
from tokenry.transplant.planning import Gap, Rows

MOST_LINES, LINE_TOKENS, LONGEST_TOKEN = 20_000_000, 300, 128
"""Bounds on parallel text: lines read; tokens of a line that are aligned; bytes of a token looked into."""

Counts = dict[int, dict[int, float]]


@dataclass(frozen=True, eq=False)
class Translations:
    """What IBM model 1 learned from parallel lines."""

    indptr: np.ndarray
    """int64 (n_old + 1,): row of each old word; old word 0 is the empty word."""
    new_words: np.ndarray
    """int32 (nnz,)."""
    probabilities: np.ndarray
    """float64 (nnz,): of the new word, given the old one."""
    counts: np.ndarray
    """float64 (nnz,): expected number of times the old word made the new one, in the last round."""
    log_likelihoods: list[float]
    """natural log-likelihood of the new lines before each round; it never falls."""


def trans_tokenizer(
    gap: Gap,
    *,
    parallel: object = None,
    min_count: float = 10,
    rounds: int = 7,
    keep_shared: bool = False,
    fallback: str = "pieces",
) -> Rows:
    """Mix each new token from the old tokens it is a translation of, by counts from aligned parallel text.

    Both sides are cut by their tokenizers, pieces of a word are joined, and the words are aligned (IBM model 1 with an
    empty word, as fast_align does unless told otherwise). A word pair's count goes half to all pairs of its pieces and
    half to pairs by position. A token without counts borrows those of the tokens it begins and of the longest tokens
    inside it. The weights are the counts' shares; they make input and head.

    Args:
        parallel: file of `old line<TAB>new line` lines (`.gz`, `.xz`), or (old, new) pairs: sentences, not words.
        min_count: word pairs of lower expected count are left out as noise. Lower it for a small corpus.
        rounds: rounds of expectation and maximisation.
        keep_shared: shared tokens keep their row. The paper makes them anew: they count once for themselves.
        fallback: for tokens that no rule reaches: "pieces", "mean" or "random" (the paper: the row of unk).

    Raises:
        ValueError: without parallel text, or when no word pair reaches `min_count`.

    Paper: arXiv 2408.04303, section 3 and its code. Differs: counts are not rounded down; tokens are found by bytes, so
        the double weight of word starts holds for byte-level tokenizers too; borrowed counts come from aligned tokens
        only, whatever the order of the ids; vowel signs and accents join a word's pieces.
    """
    check_fallback(fallback)
    if parallel is None:
        raise ValueError(
            "Method 'trans-tokenizer' needs parallel text: give --parallel with `old line<TAB>new line` on each line "
            "(parallel= in Python). Without, use method 'wechsel' with a dictionary, 'focus' with text, or 'pieces'."
        )
    pairs = read_parallel(parallel)
    old_lines, new_lines = ([pair[side] for pair in pairs] for side in (0, 1))
    old_units, old_ids = _units(gap.old, old_lines)
    new_units, new_ids = _units(gap.new, new_lines)
    learned = ibm1(old_ids, new_ids, n_old=len(old_units), n_new=len(new_units), rounds=rounds)
    counts, n_pairs = _spread(learned, old_units, new_units, min_count)
    if not n_pairs:
        raise ValueError(
            f"No word pair of the {len(pairs):,} parallel lines has an expected count of {min_count}; give more lines, "
            "or lower min_count."
        )
    aligned = len(counts)
    _add_numbers(gap, counts)
    _add_themselves(gap, counts)
    borrowed = _borrow(gap, counts)
    known = {}
    for n, i in enumerate(gap.ids.tolist()):
        found = counts.get(i) or borrowed.get(i)
        if found and gap.new.kinds[i] == Kind.NORMAL:
            weights = np.array(list(found.values()))
            known[n] = (np.array(list(found)), weights / weights.sum())
    lent = sum(int(gap.ids[n]) in borrowed for n in known)
    info = {"parallel_lines": len(pairs), "word_pairs": n_pairs, "aligned_tokens": aligned, "rows_by_borrowed": lent}
    return with_fallback(gap, known, fallback, info=info)


def read_parallel(source: object) -> list[tuple[str, str]]:
    """Line pairs from a file of `old line<TAB>new line`, or a list of pairs; pairs with an empty side are dropped.

    Raises:
        FileNotFoundError: no such file. ValueError: a line without exactly one tab, or no pair at all.
    """
    from tokenry.transplant.word_vectors import text_lines

    if isinstance(source, str | Path):
        pairs = []
        for number, line in enumerate(text_lines(Path(source)), start=1):
            parts = line.split("\t")
            if len(parts) != 2:
                raise ValueError(
                    f"{source}:{number}: {len(parts) - 1} tabs in {line[:60]!r}; need `old line<TAB>new line`."
                )
            pairs.append((parts[0].strip(), parts[1].strip()))
            if len(pairs) >= MOST_LINES:
                break
    else:
        pairs = [(str(old).strip(), str(new).strip()) for old, new in source]
    pairs = [pair for pair in pairs if pair[0] and pair[1]]
    if not pairs:
        raise ValueError("The parallel text holds no pair of lines; need `old line<TAB>new line` on each line.")
    return pairs


def ibm1(
    old_lines: Sequence[np.ndarray], new_lines: Sequence[np.ndarray], *, n_old: int, n_new: int, rounds: int = 7
) -> Translations:
    """Learn which old word makes which new one (IBM model 1), from lines of word numbers.

    Args:
        old_lines: word numbers 1..n_old - 1; number 0 is the empty word, which every line has.
        new_lines: word numbers 0..n_new - 1; as many lines.
        rounds: of expectation and maximisation, from equal probabilities.

    Raises:
        ValueError: lines that do not pair up, or rounds below 1.
    """
    from tokenry.transplant.translation_kernels import expected_counts, pair_keys

    if len(old_lines) != len(new_lines) or not old_lines or rounds < 1:
        raise ValueError(
            f"{len(old_lines)} old and {len(new_lines)} new lines, {rounds} rounds; need as many lines, one or more."
        )
    flat = []
    for lines in (old_lines, new_lines):
        starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
        flat += [np.concatenate([np.asarray(line, dtype=np.int32) for line in lines]), starts]
    keys = np.zeros(0, dtype=np.int64)
    for first in range(0, len(old_lines), 2000):
        keys = np.union1d(keys, pair_keys(*flat, first, min(first + 2000, len(old_lines)), n_new))
    cols, owner = (keys % n_new).astype(np.int32), keys // n_new
    indptr = np.searchsorted(owner, np.arange(n_old + 1)).astype(np.int64)
    probabilities, told = np.full(keys.size, 1 / n_new), []
    for _ in range(rounds):
        counts = np.zeros(keys.size)
        told.append(expected_counts(*flat, indptr, cols, probabilities, counts))
        sums = np.bincount(owner, weights=counts, minlength=n_old)
        probabilities = counts / np.where(sums > 0, sums, 1)[owner]
    return Translations(indptr, cols, probabilities, counts, told)


def _units(vocab: Vocab, lines: list[str]) -> tuple[list[tuple[int, ...]], list[np.ndarray]]:
    """The words of lines as tuples of token ids, and each line as numbers of words; number 0 is the empty word."""
    starts, ends = _letter_edges(vocab)
    number: dict[tuple[int, ...], int] = {(): 0}
    out = []
    for ids in vocab.encode(lines):
        ids = ids[:LINE_TOKENS].astype(np.int64)
        joined = starts[ids[1:]] & ends[ids[:-1]]
        cuts = np.flatnonzero(~joined) + 1
        words = [tuple(part.tolist()) for part in np.split(ids, cuts)] if ids.size else []
        out.append(np.array([number.setdefault(word, len(number)) for word in words], dtype=np.int32))
    return list(number), out


def _letter_edges(vocab: Vocab) -> tuple[np.ndarray, np.ndarray]:
    """bool (V,) twice: whether a token begins and whether it ends inside a word: with a letter, mark or part of one."""
    import unicodedata

    def inside(char: str) -> bool:
        return char == "�" or unicodedata.category(char)[0] in "LM"

    edges = np.zeros((2, vocab.size), dtype=bool)
    for i, token in enumerate(vocab.tokens):
        if token and vocab.kinds[i] in (Kind.NORMAL, Kind.BYTE):
            text = token.decode("utf-8", "replace")
            edges[:, i] = inside(text[0]), inside(text[-1])
    return edges[0], edges[1]


def _spread(learned: Translations, old_units: list, new_units: list, min_count: float) -> tuple[Counts, int]:
    """Counts of token pairs from those of word pairs, and the number of word pairs that were frequent enough."""
    counts: Counts = defaultdict(lambda: defaultdict(float))
    kept = np.flatnonzero(learned.counts >= min_count)
    owner = np.searchsorted(learned.indptr, kept, side="right") - 1
    kept, owner = kept[owner > 0], owner[owner > 0]
    for n, old in zip(kept.tolist(), owner.tolist(), strict=True):
        for old_id, new_id, share in piece_shares(old_units[old], new_units[learned.new_words[n]]):
            counts[new_id][old_id] += share * learned.counts[n]
    return counts, int(kept.size)


def piece_shares(old: Sequence[int], new: Sequence[int]) -> Iterable[tuple[int, int, float]]:
    """How one count of a word pair falls on pairs of their pieces: (old id, new id, share); each new piece gets 1.

    Half goes to every pair alike, half by position: both sides repeat their pieces to a common length and pair up.
    """
    for b in new:
        for a in old:
            yield a, b, 0.5 / len(old)
    divisor = math.gcd(len(old), len(new))
    times_old, times_new = len(new) // divisor, len(old) // divisor
    for n in range(len(old) * times_old):
        yield old[n // times_old], new[n // times_new], 0.5 / times_new


def _add_numbers(gap: Gap, counts: Counts) -> None:
    """A number that is one new token counts once for the first old piece of it."""
    numbers = [str(i) for i in range(9999)] + [f"0{i}" for i in range(99)]
    for text in [*numbers, *(" " + number for number in numbers)]:
        pieces = gap.old.decompose(text.encode())
        for i in gap.new.index.get(text.encode(), [])[:1] if pieces else []:
            counts[i][pieces[0]] += 1


def _add_themselves(gap: Gap, counts: Counts) -> None:
    for new_id, old_id in zip(*(ids.tolist() for ids in gap.match.anchors(gap.old, gap.new)), strict=True):
        counts[new_id][old_id] += 1


def _borrow(gap: Gap, counts: Counts) -> Counts:
    """Counts for tokens of the gap that have none: those of the tokens they begin, and of the longest tokens inside."""
    spelled = sorted((gap.new.tokens[i], i) for i in counts if gap.new.tokens[i])
    index = dict(spelled)
    names = [token for token, _ in spelled]
    starts_word = np.array([bool(token) and token[:1] == b" " for token in gap.old.tokens])
    out: Counts = {}
    for i in gap.ids.tolist():
        token = gap.new.tokens[i]
        if i in counts or not token or gap.new.kinds[i] != Kind.NORMAL:
            continue
        lenders = [index[name] for name in _extensions(names, token)]
        lenders += [index[part] for part in _longest_inside(index, token[:LONGEST_TOKEN])]
        mixed: dict[int, float] = defaultdict(float)
        for lender in lenders:
            total = sum(counts[lender].values())
            for old_id, count in counts[lender].items():
                mixed[old_id] += (2000 if starts_word[old_id] else 1000) * count / total
        if mixed:
            out[i] = mixed
    return out


def _extensions(names: list[bytes], start: bytes) -> list[bytes]:
    """Of sorted names, those that begin with `start`."""
    at, found = bisect_left(names, start), []
    while at < len(names) and names[at].startswith(start):
        found.append(names[at])
        at += 1
    return found


def _longest_inside(index: dict[bytes, int], token: bytes) -> list[bytes]:
    """Tokens inside `token` that are not inside another such token."""
    n = len(token)
    inside = {token[a:b] for a in range(n) for b in range(a + 1, n + 1) if b - a < n and token[a:b] in index}
    kept: list[bytes] = []
    for part in sorted(inside, key=lambda part: (-len(part), token.index(part))):
        if not any(part in longer for longer in kept):
            kept.append(part)
    return kept
