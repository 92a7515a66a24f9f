"""Rules that choose, word by word, among several ways to segment it: fewest tokens, likelihood, lexicon, the paper's.

A rule is a function of a `Word`; it returns the name of a candidate, and `base` is always one. Any of your own is named
as `pkg.module:function`.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

BASE = "base"
RULES = {
    "min_tokens": "tokenry.tokenization.concept_rules:min_tokens",
    "unigram_loglik": "tokenry.tokenization.concept_rules:unigram_loglik",
    "lexicon_match": "tokenry.tokenization.concept_rules:lexicon_match",
    "entropy_paper": "tokenry.tokenization.concept_rules:entropy_paper",
    "base": "tokenry.tokenization.concept_rules:always_base",
}
_PAPER_FLOOR = 1000
_NEAR = 5


@dataclass(frozen=True)
class Material:
    """What rules may look at beside the word.

    Attributes:
        counts: piece without its mark -> how often it stands in the term lists, all types together (the paper's G).
        bits: candidate -> (piece with its mark -> -log2 of its unigram probability, the bits of an unseen piece).
        lexicons: type -> the words of its terms, folded.
        priors: candidate -> log2 of its prior probability; absent means 0.
        margin_bits: what a type must be better by than base.
        need_lexicon: "", "in" or "near": whether a type needs the word in its lexicon, or a word that begins alike.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    bits: Mapping[str, tuple[Mapping[str, float], float]] = field(default_factory=dict)
    lexicons: Mapping[str, frozenset[str]] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)
    margin_bits: float = 0.0
    need_lexicon: str = ""

    def __post_init__(self) -> None:
        if self.need_lexicon not in ("", "in", "near"):
            raise ValueError(f"need_lexicon={self.need_lexicon!r}; need '', 'in' or 'near'.")
        near = {
            name: frozenset(
                word[: max(_NEAR, len(word) - cut)] for word in words if len(word) >= _NEAR for cut in range(4)
            )
            for name, words in self.lexicons.items()
        }
        object.__setattr__(self, "_near", near if self.need_lexicon == "near" else {})

    def known(self, name: str, word: str) -> bool:
        """Whether a type may take the word, as `need_lexicon` says."""
        if not self.need_lexicon:
            return True
        if word in self.lexicons.get(name, frozenset()):
            return True
        begun = {word[: max(_NEAR, len(word) - cut)] for cut in range(4)} if len(word) >= _NEAR else set()
        return self.need_lexicon == "near" and not begun.isdisjoint(self._near.get(name, frozenset()))


@dataclass(frozen=True)
class Word:
    """One word and the ways it can be segmented.

    Attributes:
        text: as the tokenizer sees it, folded where the types are.
        candidates: name -> its pieces, "##" before those that do not begin the word; "base" is one.
        material: see `Material`.
    """

    text: str
    candidates: Mapping[str, tuple[str, ...]]
    material: Material


Rule = Callable[[Word], str]


def always_base(word: Word) -> str:
    """The base tokenizer, always."""
    return BASE


def min_tokens(word: Word) -> str:
    """The fewest tokens; ties go to base, then to the first type."""
    return min(word.candidates, key=lambda name: (len(word.candidates[name]), name != BASE))


def lexicon_match(word: Word) -> str:
    """The first type whose lexicon holds the word; else base."""
    found = (name for name in word.candidates if word.text in word.material.lexicons.get(name, frozenset()))
    return next(found, BASE)


def unigram_loglik(word: Word) -> str:
    """The likeliest under one unigram model a type, with priors: a type must beat base by `margin_bits`.

    Every candidate is scored by the sum of the -log2 probabilities of its pieces under its own model (base under a
    model of general text), so more pieces never look likelier by themselves.
    """
    material = word.material

    def bits(name: str) -> float:
        known, unseen = material.bits.get(name, ({}, math.inf))
        return sum(known.get(piece, unseen) for piece in word.candidates[name]) - material.priors.get(name, 0.0)

    types = [name for name in word.candidates if name != BASE and material.known(name, word.text)]
    best = min(types, key=bits, default=BASE)
    return best if best != BASE and bits(BASE) - bits(best) > material.margin_bits else BASE


def entropy_paper(word: Word) -> str:
    """The published score, for comparison only: -p log2 p, where p is the share of all piece counts.

    It sums counts over pieces, so more pieces look more probable, and -p log2 p rises and falls: it is not the entropy
    of a segmentation. If every type scores below the floor (a count of 1,000), base; else the lowest of all.
    """
    counts = word.material.counts
    total = max(2, sum(counts.values()))

    def score(count: float) -> float:
        p = min(1.0, count / total)
        return -p * math.log2(p) if p > 0 else 0.0

    scores = {
        name: score(sum(counts.get(piece.removeprefix("##"), 0) for piece in pieces) + 1)
        for name, pieces in word.candidates.items()
    }
    types = [name for name in scores if name != BASE]
    if not types or all(scores[name] < score(_PAPER_FLOOR) for name in types):
        return BASE
    return min(scores, key=lambda name: (scores[name], name != BASE))
