"""The merges of any tokenizer in the order they were learned: the evidence mixture inference reads.

A rank file and a SentencePiece model imply one merge a token. A file that lists several merges for one token (Llama 3,
Gemma and others, converted from ranks or scores) is reduced to the one byte-pair encoding would really have made.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tokenry.core.choosing import suggest
from tokenry.core.hf_json import model_type
from tokenry.core.splitting import script_of
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.validators import lines_of

SENTENCEPIECE_LONGEST = 16
"""Characters of a piece at most, SentencePiece's `max_sentencepiece_length`."""
_MOST_WITHOUT = 0.1
_SPACE_RUN = re.compile(rb" {2,}|\t{2,}|\n{2,}")


@dataclass(frozen=True, eq=False)
class CanonicalMerges:
    """An ordered merge list, one merge a token, with what was put aside on the way."""

    merges: np.ndarray
    """int32 (M, 3): left, right and result id, in the order they were learned."""
    n_listed: int
    """Merges in the file."""
    n_redundant: int
    """Listed merges left out because another one makes the same token."""
    unreachable: np.ndarray
    """bool (M,): a part is made by a later merge or by none, so that the merge is never applied."""
    without_merge: tuple[int, ...]
    """Ids of ordinary tokens of several symbols that no listed merge makes."""

    def __len__(self) -> int:
        return len(self.merges)


def canonical_merges(tokenizer: object) -> CanonicalMerges:
    """The merges of a tokenizer as byte-pair encoding would have learned them.

    Where several merges make one token, the one whose sorted list of ranks used to build it is the smallest is kept
    (among mirror images the longer left part), and the tokens are put in the order of the vocabulary.

    Args:
        tokenizer: what `Vocab.open` takes.

    Raises:
        ValueError: for a tokenizer without merges (Unigram, WordPiece, word lists), or with word-end marks.

    Paper: Data Mixture Inference (arXiv 2407.16607), appendix on redundant merges.
    """
    vocab = Vocab.open(tokenizer)
    _check_has_merges(vocab)
    merges = vocab.merges
    results = np.unique(merges[:, 2])
    kept = merges if len(results) == len(merges) else _one_each(merges, vocab.byte_lengths)
    made = np.zeros(vocab.size, bool)
    made[results] = True
    return CanonicalMerges(
        merges=np.ascontiguousarray(kept, np.int32),
        n_listed=len(merges),
        n_redundant=len(merges) - len(kept),
        unreachable=_unreachable(kept, made),
        without_merge=tuple(i for i in _composite(vocab) if not made[i]),
    )


def check_complete(found: CanonicalMerges, *, n_merges: int | None, name: str) -> None:
    """Refuse a merge list that was cut off, unless the user says how much of it to use.

    Raises:
        ValueError: when over a tenth of the ordinary tokens of several symbols have no merge and `n_merges` is None.
    """
    n_without = len(found.without_merge)
    n_tokens = len(found) + n_without
    if n_merges is None and n_without > _MOST_WITHOUT * n_tokens:
        raise ValueError(
            f"{name}: {n_without:,} of {n_tokens:,} tokens have no merge, so the merge list of the file is incomplete. "
            f"Fetch the file again; or, if the first merges are sound, use these alone with --merges {len(found)} "
            "or fewer."
        )


def skipped_merges(vocab: Vocab, found: CanonicalMerges, rule: str | Path | None = "auto") -> np.ndarray:
    """Merges that were made by hand: to be applied to the text, but no evidence of what was frequent.

    Args:
        rule: "auto": in SentencePiece spelling every run of white space, in any spelling tokens that are reserved or
            special; None: none; else a text file with one merge ("left right", as the tokenizer file spells them) or
            one resulting token a line. Lines that start with "#version" and empty lines are passed over.

    Returns:
        bool (M,).

    Raises:
        FileNotFoundError, ValueError: no such file, or a line that names no merge.
    """
    results = found.merges[:, 2]
    if rule is None:
        return np.zeros(len(found), bool)
    if str(rule) == "auto":
        reserved = vocab.kinds[results] >= Kind.SPECIAL
        added = {token["id"] for token in vocab.spec["added_tokens"]}
        by_hand = np.fromiter((int(i) in added for i in results), bool, len(results))
        if vocab.family == "metaspace":
            runs = (vocab.tokens[int(i)] or b"" for i in results)
            by_hand |= np.fromiter((bool(_SPACE_RUN.fullmatch(run)) for run in runs), bool, len(results))
        return reserved | by_hand
    return _listed_in(Path(rule), vocab, found)


def longest_token(vocab: Vocab, found: CanonicalMerges, given: int | None = None) -> int:
    """Most characters of a token, in the stored spelling, that the trainer allowed; 0 = no limit.

    Args:
        given: what the user says; None: SentencePiece's 16 in its spelling unless a merge of the file is longer (those
            made by hand aside), else no limit.
    """
    if given is not None or vocab.family != "metaspace":
        return given or 0
    learned = found.merges[~skipped_merges(vocab, found, "auto"), 2]
    longest = max((len(vocab.literal(int(i))) for i in learned), default=0)
    return 0 if longest > SENTENCEPIECE_LONGEST else SENTENCEPIECE_LONGEST


def excluded_pairs(vocab: Vocab, found: CanonicalMerges, pairs: np.ndarray, *, longest: int = 0) -> np.ndarray:
    """Pairs the trainer could never have merged, which therefore say nothing when they are frequent.

    In every spelling: pairs with a special or unused part, and pairs over the longest token. In SentencePiece spelling
    also byte pieces, line ends and digits where no token joins them, and pairs that join two scripts which no token of
    the vocabulary joins.

    Args:
        pairs: int (P, 2), ids.
        longest: see `longest_token`.

    Returns:
        bool (P,).
    """
    out = barred(vocab)[pairs].any(1)
    sizes = np.fromiter((len(vocab.literal(i)) for i in range(vocab.size)), np.int64, vocab.size)
    if longest:
        out |= sizes[pairs].sum(1) > longest
    if vocab.family == "metaspace":
        out |= _strange_joins(vocab, found.merges[:, :2], pairs)
    return out


def barred(vocab: Vocab) -> np.ndarray:
    """bool (V,): symbols no merge touches."""
    from tokenry.tokenization.word_tables import never_merged

    return never_merged(vocab) if vocab.family == "metaspace" else vocab.kinds >= Kind.SPECIAL


def _check_has_merges(vocab: Vocab) -> None:
    kind, model = model_type(vocab.spec), vocab.spec["model"]
    if not len(vocab.merges):
        reason = "has no merges" if kind == "BPE" else f"is a {kind} tokenizer, which keeps no order of merges"
        raise ValueError(
            f"{vocab.name} {reason}: mixture inference reads what was most frequent at each merge. Need a BPE "
            "tokenizer; what this one fits can be seen with: tokenry tokenizer audit TOKENIZER --text DIR."
        )
    for mark in ("end_of_word_suffix", "continuing_subword_prefix"):
        if model.get(mark):
            raise ValueError(
                f"{vocab.name} marks words by {mark}={model[mark]!r}; merges of this form are not replayed. Need "
                "byte-level or SentencePiece spelling."
            )


def _composite(vocab: Vocab) -> list[int]:
    """Ordinary tokens of several start symbols: bytes in byte-level spelling, characters elsewhere."""
    pieces = vocab.spec["model"]["vocab"].values()
    in_model = np.zeros(vocab.size, bool)
    in_model[list(pieces)] = True
    usable = in_model & (vocab.kinds == Kind.NORMAL)
    added = [token["id"] for token in vocab.spec["added_tokens"]]
    usable[added] = False
    return [i for i in np.flatnonzero(usable).tolist() if len(vocab.literal(i)) > 1]


def _one_each(merges: np.ndarray, byte_lengths: np.ndarray) -> np.ndarray:
    """One merge a result: the smallest sorted list of ranks; a token's rank is its place in the vocabulary."""
    order = np.argsort(merges[:, 2], kind="stable")
    starts = np.flatnonzero(np.diff(merges[order, 2], prepend=-1))
    groups = {int(merges[order[a], 2]): order[a:b] for a, b in zip(starts, [*starts[1:], len(order)], strict=True)}
    ranks: dict[int, tuple[int, ...]] = {}
    kept = []
    # Parts are shorter than what they make, so by length every part is settled before it is needed.
    for result in sorted(groups, key=lambda i: (int(byte_lengths[i]), i)):
        best = None
        for row in groups[result]:
            left, right = int(merges[row, 0]), int(merges[row, 1])
            built = tuple(sorted((*ranks.get(left, ()), *ranks.get(right, ()), result)))
            key = (built, -int(byte_lengths[left]))
            if best is None or key < best[0]:
                best = (key, row)
        ranks[result] = best[0][0]
        kept.append(best[1])
    rows = merges[kept]
    return rows[np.argsort(rows[:, 2], kind="stable")]


def _unreachable(merges: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Merges with a part that is neither a start symbol nor made before."""
    place = np.full(len(made), len(merges), np.int64)
    place[~made] = -1
    place[merges[::-1, 2]] = np.arange(len(merges))[::-1]
    return (place[merges[:, :2]] >= np.arange(len(merges))[:, None]).any(1)


def _listed_in(file: Path, vocab: Vocab, found: CanonicalMerges) -> np.ndarray:
    if not file.is_file():
        raise FileNotFoundError(f"no file {file} of merges to skip; give a text file with one merge a line, or auto.")
    literals = [(vocab.literal(int(a)), vocab.literal(int(b)), vocab.literal(int(c))) for a, b, c in found.merges]
    by_pair = {f"{a} {b}": row for row, (a, b, _) in enumerate(literals)}
    by_token = {c: row for row, (_, _, c) in enumerate(literals)}
    skipped = np.zeros(len(found), bool)
    for number, name in enumerate(lines_of(file), 1):
        if not name or name.startswith("#version"):
            continue
        row = by_pair.get(name, by_token.get(name))
        if row is None:
            raise ValueError(
                f"{file}, line {number}: {name[:60]!r} is no merge of {vocab.name}; need 'left right' or the token it "
                f"makes, spelled as in the tokenizer file.{suggest(name, list(by_token)[:5000])}"
            )
        skipped[row] = True
    return skipped


def _strange_joins(vocab: Vocab, merged: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pairs whose meeting characters are of two scripts that no merge of the vocabulary ever joined."""
    names: dict[str, int] = {}
    first, last = np.zeros(vocab.size, np.int64), np.zeros(vocab.size, np.int64)
    for i in range(vocab.size):
        if literal := vocab.literal(i):
            first[i] = names.setdefault(script_class(literal[0]), len(names))
            last[i] = names.setdefault(script_class(literal[-1]), len(names))
    n = max(len(names), 1)
    free = names.get("space", -1)
    known = np.zeros((n, n), bool)
    known[last[merged[:, 0]], first[merged[:, 1]]] = True
    known[np.arange(n), np.arange(n)] = True  # a script that was never merged at all is evidence, not a rule
    if free >= 0:
        known[free] = True
    return ~known[last[pairs[:, 0]], first[pairs[:, 1]]]


_SCRIPTS = ("Latin", "Cyrillic", "Greek", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Hebrew", "Devanagari",
            "Tamil", "Thai", "Bengali", "Georgian", "Armenian")  # fmt: skip


@lru_cache(maxsize=1 << 16)
def script_class(character: str) -> str:
    """The script or class of a character: "Latin", "Han" (kana too, as SentencePiece has it), "digit", "sign", ..."""
    import regex

    if character in "▁ ":
        return "space"
    if character.isdigit():
        return "digit"
    if (script := script_of(character)) in _SCRIPTS:
        return "Han" if script in ("Hiragana", "Katakana") else script  # SentencePiece takes the three for one
    return "letter" if character.isalpha() else "mark" if regex.match(r"\p{M}", character) else "sign"
