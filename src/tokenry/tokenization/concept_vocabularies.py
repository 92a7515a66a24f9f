"""Pieces of the terms of a field: read ontologies and lists, learn pieces, choose how many, add them to a vocabulary.

`build_concepts` gives a `TokenizerPool` and the rows of the new ids as a `TokenMap` over the old ones (mean of the base
pieces a new one is made of), which `transplant` takes.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.choosing import suggest
from tokenry.core.splitting import words as words_of
from tokenry.core.tokenmap import RowKind, TokenMap
from tokenry.core.vocab import Vocab
from tokenry.tokenization.concept_rules import BASE, Material, Rule
from tokenry.tokenization.concepts import TokenizerPool

HOW = ("terms", "continued")
ORDERS = ("count", "alphabetical")
_MARK = "##"
_LONGEST = 5
_ITERATIONS = 20
_SYLLABLE = r"[^aeiouy]*[aeiouy]+(?:[^aeiouy]+$|[^aeiouy](?=[^aeiouy]))?"


def ngram_counts(words: Mapping[str, int], *, longest: int = _LONGEST) -> Counter[str]:
    """How often each string of 1 to `longest` characters stands in the words, weighted by their counts."""
    found: Counter[str] = Counter()
    for word, count in words.items():
        for size in range(1, min(longest, len(word)) + 1):
            for start in range(len(word) - size + 1):
                found[word[start : start + size]] += count
    return found


def word_pieces(
    word: str,
    counts: Mapping[str, int],
    *,
    longest: int = _LONGEST,
    iterations: int = _ITERATIONS,
    syllables: bool = True,
) -> list[str]:
    """The pieces of one term word: merges of its characters, the most counted neighbour string first.

    Args:
        word: folded.
        counts: of character strings over the term list; an unseen one counts 1.
        longest: a piece has at most so many characters.
        iterations: merges made at most.
        syllables: cut a first piece of four characters or more into syllables, as the paper does.

    Returns:
        Pieces, "##" before those that do not begin the word (told by their place, not by their first letter).

    Paper: K-Tokeniser (arXiv 2406.14312).
    """
    symbols, merged = list(word), set()
    for _ in range(iterations):
        pairs = [(symbols[i] + symbols[i + 1], i) for i in range(len(symbols) - 1)]
        if not pairs:
            break
        best, _ = max(pairs, key=lambda pair: (counts.get(pair[0], 1), -pair[1]))
        merged.add(best)
        symbols = _join(symbols, best)
    pieces, start = [], 0
    while start < len(word):
        end = next(
            (e for e in range(min(len(word), start + longest), start + 1, -1) if word[start:e] in merged), start + 1
        )
        pieces.append(word[start:end])
        start = end
    if syllables and pieces and len(pieces[0]) >= 4:
        pieces = [*_syllables(pieces[0]), *pieces[1:]]
    return [piece if i == 0 else _MARK + piece for i, piece in enumerate(pieces)]


def _join(symbols: list[str], best: str) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if i + 1 < len(symbols) and symbols[i] + symbols[i + 1] == best:
            out.append(best)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def _syllables(piece: str) -> list[str]:
    import regex

    found = regex.findall(_SYLLABLE, piece, flags=regex.IGNORECASE)
    rest = len(piece) - sum(map(len, found))
    if not found:
        return [piece]
    return [*found[:-1], found[-1] + (piece[-rest:] if rest else "")]


def term_pieces(words: Mapping[str, int], counts: Mapping[str, int] | None = None, **options: object) -> Counter[str]:
    """All pieces of a list of term words -> how often they come out of it; options as for `word_pieces`."""
    counts = ngram_counts(words) if counts is None else counts
    found: Counter[str] = Counter()
    for word, count in words.items():
        for piece in word_pieces(word, counts, **options):
            found[piece] += count
    return found


def continued_pieces(base: Vocab, words: Mapping[str, int], n: int, *, min_count: int = 2) -> list[str]:
    """Pieces learned by going on from the base's own cut: neighbours that stand together most are joined, n times.

    Raises:
        ValueError: no word the base can spell.
    """
    from tokenry.tokenization.merges import train_merges

    entries = {i: piece for piece, i in base.spec["model"]["vocab"].items()}
    known = sorted(words)
    rows = [base.decompose(b" " + word.encode()) for word in known]
    kept = [(row, words[word]) for row, word in zip(rows, known, strict=True) if row]
    if not kept:
        raise ValueError(f"{base.name} can spell none of the {len(words)} words; need terms in its script.")
    names = [entries.get(i) for i in range(base.size)]
    joined = [name and (name.replace(_MARK, "\0", 1) if name.startswith(_MARK) else name) for name in names]
    table = np.array([i for row, _ in kept for i in row], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row, _ in kept])]).astype(np.int64)
    counts = np.array([count for _, count in kept], np.int64)
    learned = train_merges([table], offsets, counts, n_symbols=base.size, n_merges=n, names=joined, min_count=min_count)
    for (left, right), result in zip(learned.pairs.tolist(), learned.results.tolist(), strict=True):
        if result == len(joined):
            joined.append(joined[left] + joined[right])
    found = (name[:1].replace("\0", _MARK) + name[1:].replace("\0", "") for name in joined[base.size :])
    return list(dict.fromkeys(piece for piece in found if piece not in base.spec["model"]["vocab"]))


def random_pieces(base: Vocab, words: Mapping[str, int], n: int, *, rng: np.random.Generator) -> list[str]:
    """The control: `n` pieces cut at random places (2 to 5 characters) out of the same words, none of them in the base.

    Raises:
        ValueError: the words do not hold so many.
    """
    known, shares = sorted(words), np.array([words[word] for word in sorted(words)], np.float64)
    drawn: dict[str, None] = {}
    entries = base.spec["model"]["vocab"]
    for _ in range(200 * n + 1000):
        if len(drawn) >= n:
            break
        word = known[int(rng.choice(len(known), p=shares / shares.sum()))]
        start, size = int(rng.integers(0, max(1, len(word) - 1))), int(rng.integers(2, _LONGEST + 1))
        piece = (_MARK if start else "") + word[start : start + size]
        bare = piece.removeprefix(_MARK)
        if piece not in entries and base.decompose((bare if start else " " + piece).encode()):
            drawn[piece] = None
    if len(drawn) < n:
        raise ValueError(f"{len(drawn)} different random pieces of {n} asked could be drawn; give more terms.")
    return list(drawn)


def forced_pieces(morphemes: Iterable[str]) -> list[str]:
    """Entries of morphemes as they are written in books: "cardio-" begins a word, "-itis" does not, "mab" may do both.

    Raises:
        ValueError: an empty morpheme, or one with a space.
    """
    found = []
    for morpheme in morphemes:
        bare = morpheme.strip().strip("-").lower()
        if not bare or len(bare.split()) != 1:
            raise ValueError(
                f"morpheme {morpheme!r}; need letters, with a hyphen where the word goes on: cardio-, -itis."
            )
        if not morpheme.strip().startswith("-"):
            found.append(bare)
        if not morpheme.strip().endswith("-"):
            found.append(_MARK + bare)
    return list(dict.fromkeys(found))


def delta_sufficient(probabilities: Iterable[float], delta: float) -> int:
    """Size of the smallest set of outcomes whose probability is at least 1 - delta (MacKay).

    Raises:
        ValueError: a negative or non-finite share, a sum of 0, or a delta outside 0 to 1.
    """
    shares = np.sort(np.fromiter(probabilities, np.float64))[::-1]
    total = shares.sum() if shares.size else 0.0
    if not 0 <= delta < 1 or not np.isfinite(total) or total <= 0 or shares[-1] < 0:
        raise ValueError(
            f"delta={delta} over {shares.size} shares that sum to {total}; need 0 <= delta < 1, shares >= 0."
        )
    # Shares of 0 add nothing and are never needed; the slack is rounding.
    reached = np.cumsum(shares)
    return int(np.searchsorted(reached, total * (1 - delta) * (1 - 1e-12))) + 1


def choose_pieces(
    scores: Mapping[str, int], n: int | None = None, *, delta: float | None = None, order: str = "count"
) -> list[str]:
    """The pieces to keep: the `n` most counted, or a delta-sufficient set.

    Args:
        scores: piece -> count.
        n: how many; None takes all, or what `delta` says.
        delta: keep the smallest set with a share of 1 - delta of all counts.
        order: "count"; "alphabetical" takes the first by name, as the published vocabulary was (by mistake): it is
            there to be compared with.

    Raises:
        ValueError: both or an unknown order.
    """
    if order not in ORDERS or (n is not None and delta is not None):
        raise ValueError(
            f"order={order!r}, n={n}, delta={delta}; need count or alphabetical, n or delta.{suggest(order, ORDERS)}"
        )
    if delta is not None:
        n = delta_sufficient(scores.values(), delta) if scores else 0
    ranked = sorted(scores) if order == "alphabetical" else sorted(scores, key=lambda piece: (-scores[piece], piece))
    return ranked[:n]


@dataclass(frozen=True, eq=False)
class Concepts:
    """What building gives.

    Attributes:
        pool: the segmenters over the extended vocabulary.
        pieces: for each new id, in order, the base ids it is made of.
        rows: the same as a map over the old rows: copies, and means of pieces.
        added: type -> number of ids it added (shared ones count for the first).
    """

    pool: TokenizerPool
    pieces: list[list[int]]
    rows: TokenMap
    added: dict[str, int]


@dataclass(frozen=True)
class Choice:
    """How pieces are learned and chosen.

    Attributes:
        how: "terms" (word by word, the paper's) or "continued" (merges that go on from the base's cut).
        sizes: type -> number of pieces, None for all; a type not named takes what `delta` says, or all.
        delta: share of the counts that may be left out.
        order: see `choose_pieces`.
        syllables: see `word_pieces`.
        forced: type -> morphemes that are entries whatever their count.
    """

    how: str = "terms"
    sizes: Mapping[str, int | None] | None = None
    delta: float | None = None
    order: str = "count"
    syllables: bool = True
    forced: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"how={self.how!r}; need one of {', '.join(HOW)}.{suggest(self.how, HOW)}")


def build_concepts(
    base: object,
    terms: Mapping[str, Sequence[str]],
    *,
    choice: Choice | None = None,
    rule: str | Rule = "unigram_loglik",
    threshold: float | None = 1.0,
    margin_bits: float = 0.0,
    need_lexicon: str = "",
    general: Mapping[str, int] | None = None,
) -> Concepts:
    """Add the pieces of several term lists to a WordPiece vocabulary.

    Args:
        base: the tokenizer to add to.
        terms: type -> its terms, see `concept_readers.read_terms`.
        choice: how pieces are learned and how many are kept.
        rule, threshold: of the pool. The paper's rule is "entropy_paper"; the default is a proper likelihood.
        margin_bits, need_lexicon: of `Material`.
        general: words of general text with counts, for the base's own unigram model; without, base pieces are all
            equally likely, which favours the types.

    Raises:
        ValueError: a base that is no WordPiece, a type without a term, a size for a type that is not there.

    Paper: K-Tokeniser (arXiv 2406.14312).
    """
    base, choice = Vocab.open(base), choice or Choice()
    if base.family != "wordpiece":
        raise ValueError(f"{base.name} is {base.family}; pieces of concepts are added to a WordPiece tokenizer.")
    sizes = dict(choice.sizes or {})
    unknown = next((name for name in [*sizes, *(choice.forced or {})] if name not in terms), None)
    if unknown is not None or not terms:
        raise ValueError(
            f"type {unknown!r} has no terms; given are {', '.join(terms) or 'none'}. Give --lexicon FILE:TYPE."
        )
    lists = {name: term_words(found, name) for name, found in terms.items()}
    chosen = {name: _chosen(base, name, words, choice, sizes) for name, words in lists.items()}
    vocab, types, added = extended(base, chosen)
    draft = TokenizerPool(vocab, base, types, "base", None)
    material = _material(draft, lists, general or {}, margin_bits=margin_bits, need_lexicon=need_lexicon)
    pieces = [base.decompose(vocab.tokens[i]) for i in range(base.size, vocab.size)]
    pool = TokenizerPool(vocab, base, types, rule, threshold, material)
    return Concepts(pool, pieces, mean_rows(base.size, pieces), added)


def _material(draft: TokenizerPool, lists: Mapping, general: Mapping[str, int], **how: object) -> Material:
    """What rules look at: counts of pieces over all lists, a unigram model a type and one of base, the lexicons."""
    base, merged = draft.base, Counter()
    for words in lists.values():
        merged.update(ngram_counts(words))
    known = {piece.removeprefix(_MARK) for piece in draft.vocab.spec["model"]["vocab"]}
    counts = {piece: merged[piece] for piece in sorted(known) if piece in merged}
    bits = {
        name: _unigram(lambda word, name=name: [i for i, _, _ in draft.cut(word, name)], words, draft.vocab)
        for name, words in lists.items()
    }
    bits[BASE] = _unigram(lambda word: base.decompose(b" " + word.encode()), general, base)
    return Material(counts, bits, {name: frozenset(words) for name, words in lists.items()}, {}, **how)


def term_words(terms: Iterable[str], name: str = "terms") -> Counter[str]:
    """The words of terms, folded, with counts; numbers and single letters are left out.

    Raises:
        ValueError: no word.
    """
    found = Counter(word for term in terms for word in words_of(term.lower()) if len(word) > 1 and word.isalpha())
    if not found:
        raise ValueError(f"type {name!r} has no word; need terms of letters.")
    return found


def _chosen(base: Vocab, name: str, words: Counter[str], choice: Choice, sizes: dict) -> list[str]:
    n = sizes.get(name)
    if choice.how == "continued":
        found = continued_pieces(base, words, n if n is not None else 1000)
    else:
        scores = term_pieces(words, syllables=choice.syllables)
        delta = choice.delta if n is None else None
        found = choose_pieces(scores, n, delta=delta, order=choice.order)
    return list(dict.fromkeys([*forced_pieces((choice.forced or {}).get(name, ())), *found]))


def extended(
    base: Vocab, chosen: Mapping[str, Sequence[str]]
) -> tuple[Vocab, dict[str, frozenset[int]], dict[str, int]]:
    """The vocabulary with new entries behind all old ids, the ids of each type, and how many each added.

    A piece with a character the base does not know is left out: no row could be made for it.
    """
    entries = dict(base.spec["model"]["vocab"])
    types, added, size = {}, {}, base.size
    for name, pieces in chosen.items():
        ids, before = [], size
        for piece in pieces:
            if piece not in entries:
                bare = piece.removeprefix(_MARK)
                if not base.decompose((bare if piece.startswith(_MARK) else " " + piece).encode()):
                    continue
                entries[piece], size = size, size + 1
            ids.append(entries[piece])
        types[name], added[name] = frozenset(ids), size - before
    spec = {**base.spec, "model": {**base.spec["model"], "vocab": entries}}
    return Vocab.from_spec(spec, base.config, base.name), types, added


def mean_rows(n_base: int, pieces: Sequence[Sequence[int]]) -> TokenMap:
    """Rows of an extended vocabulary: the old ones as they are, each new one the mean of its pieces."""
    rows = [([i], [1.0]) for i in range(n_base)]
    rows += [(list(ids), [1 / len(ids)] * len(ids)) if ids else ([], []) for ids in pieces]
    kinds = [RowKind.COPY] * n_base + [RowKind.COMBINE if ids else RowKind.MEAN for ids in pieces]
    return TokenMap.from_rows(rows, n_base, kinds)


def _unigram(cut: Callable[[str], list[int]], words: Mapping[str, int], vocab: Vocab) -> tuple[dict[str, float], float]:
    """-log2 of the share of each piece over words, every entry counted once more; and that of an unseen one."""
    counts: Counter[int] = Counter()
    for word, count in words.items():
        for i in cut(word):
            counts[int(i)] += count
    total = sum(counts.values()) + vocab.size
    return {vocab.literal(i): -math.log2((n + 1) / total) for i, n in counts.items()}, math.log2(total)
