"""Labelled sentences with their trees, from a small grammar written by hand: few-shot classification with known truth.

Three classes (praise, complaint, question) share most words; what tells them apart stands in certain places: the
adjective of the object, the verb, the phrase behind. Many of the words that tell are rare, so a few examples do not
show them all in company. `accepts` says whether a sentence is one of the grammar's.
"""

import re

import numpy as np

__all__ = ["CLASSES", "accepts", "bracketed", "sentences_of"]

CLASSES = ("complaint", "praise", "question")
_PLACES = ["kitchen", "station", "market", "harbour", "library", "theatre", "hospital", "garden", "bakery", "museum"]
_PEOPLE = ["waiter", "clerk", "driver", "nurse", "cook", "guide", "teacher", "porter"]
_THINGS = ["soup", "ticket", "map", "room", "book", "seat", "meal", "letter", "lamp", "table", "coat", "bicycle"]
_TIMES = ["today", "yesterday", "again", "twice", "later", "early"]
_WORDS = {
    "complaint": {
        "V": ["ruined", "lost", "forgot", "spoiled", "broke", "delayed", "refused", "spilled"],
        "J": ["cold", "late", "dirty", "noisy", "stale", "broken", "rude", "wrong", "torn", "damp"],
        "I": ["without", "against", "despite"],
    },
    "praise": {
        "V": ["loved", "enjoyed", "praised", "admired", "polished", "served", "brought", "saved"],
        "J": ["warm", "fresh", "bright", "gentle", "tidy", "lovely", "perfect", "quick", "soft", "kind"],
        "I": ["with", "beside", "for"],
    },
    "question": {
        "V": ["find", "carry", "open", "show", "rent", "borrow", "mend", "change"],
        "J": ["cheap", "small", "open", "nearest", "spare", "old", "second", "early", "large", "quiet"],
        "I": ["near", "behind", "inside"],
    },
}


def bracketed(label: str, rng: np.random.Generator) -> str:
    """One sentence of a class as Penn brackets.

    Args:
        label: one of `CLASSES`.
        rng: the randomness.
    """
    own = _WORDS[label]

    def pick(words: list[str]) -> str:
        # Zipf-like: the first words are common, the last ones rare.
        weights = 1 / np.arange(1, len(words) + 1)
        return words[int(rng.choice(len(words), p=weights / weights.sum()))]

    def noun(words: list[str], adjective: float) -> str:
        middle = f"(JJ {pick(own['J'])}) " if rng.random() < adjective else ""
        return f"(NP (DT the) {middle}(NN {pick(words)}))"

    def behind() -> str:
        return f"(PP (IN {pick(own['I'])}) {noun(_PLACES, 0.3)})"

    tail = f" {behind()}" if rng.random() < 0.6 else ""
    tail += f" (ADVP (RB {pick(_TIMES)}))" if rng.random() < 0.3 else ""
    if label == "question":
        return f"(SQ (MD can) {noun(_PEOPLE, 0.2)} (VP (VB {pick(own['V'])}) {noun(_THINGS, 0.5)}{tail}) (. ?))"
    return f"(S {noun(_PEOPLE, 0.2)} (VP (VBD {pick(own['V'])}) {noun(_THINGS, 0.5)}{tail}) (. .))"


def sentences_of(n: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """(class, bracketed tree) of `n` sentences of every class."""
    rng = np.random.default_rng(seed)
    return [(label, bracketed(label, rng)) for label in CLASSES for _ in range(n)]


def accepts(label: str, text: str) -> bool:
    """Whether a text, capitals and spacing aside, is a sentence that the grammar of a class makes."""
    return _pattern(label).fullmatch(re.sub(r"\s+", " ", text.strip().lower())) is not None


def _pattern(label: str) -> re.Pattern:
    own = _WORDS[label]

    def noun(words: list[str]) -> str:
        return f"the (?:(?:{'|'.join(own['J'])}) )?(?:{'|'.join(words)})"

    tail = f"(?: (?:{'|'.join(own['I'])}) {noun(_PLACES)})?(?: (?:{'|'.join(_TIMES)}))?"
    core = f"(?:{'|'.join(own['V'])}) {noun(_THINGS)}{tail}"
    if label == "question":
        return re.compile(rf"can {noun(_PEOPLE)} {core} ?\?")
    return re.compile(rf"{noun(_PEOPLE)} {core} ?\.")
