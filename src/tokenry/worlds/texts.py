"""Made text with known truth: invented languages, merges planted in a known order, numbers to copy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHABETS = {
    "latin": ("bdfgklmnprstvz", "aeiou"),
    "cyrillic": ("бвгдклмнпрст", "аеиоу"),
    "greek": ("βγδκλμνπρστ", "αειου"),
    "kana": ("カキクサシスタチツナニヌ", "ァィゥー"),
}
"""Consonants and vowels by script."""


@dataclass(frozen=True)
class Language:
    """An invented language: words by falling frequency, and nothing but them.

    Attributes:
        words: all its words, the most frequent first.
        shares: probability of each word; they sum to 1 (Zipf with exponent 1).
    """

    words: tuple[str, ...]
    shares: tuple[float, ...]

    def text(self, rng: np.random.Generator, *, n_words: int) -> str:
        """Words drawn independently, single spaces between, a full stop after every ten or so."""
        picks = rng.choice(len(self.words), size=n_words, p=self.shares)
        ends = rng.random(n_words) < 0.1
        return " ".join(self.words[pick] + ("." if end else "") for pick, end in zip(picks, ends, strict=True))

    def documents(self, *, n: int, n_words: int = 60, seed: int = 0) -> list[str]:
        """`n` texts of `n_words` words each."""
        rng = np.random.default_rng(seed)
        return [self.text(rng, n_words=n_words) for _ in range(n)]

    @property
    def entropy_bits(self) -> float:
        """Entropy of one word in bits: no model can need fewer for a word of `text`, its full stops aside."""
        shares = np.array(self.shares)
        return float(-(shares * np.log2(shares)).sum())


def invent_language(*, n_words: int = 200, script: str = "latin", seed: int = 0) -> Language:
    """An invented language of `n_words` different words of two to four syllables.

    Raises:
        ValueError: an unknown script, or more words than the alphabet gives (a third of all three-syllable words).
    """
    from tokenry.core.choosing import suggest

    if script not in ALPHABETS:
        raise ValueError(f"No alphabet {script!r}.{suggest(script, ALPHABETS)} Known: {', '.join(ALPHABETS)}.")
    consonants, vowels = ALPHABETS[script]
    most = (len(consonants) * len(vowels)) ** 3 // 3
    if not 1 <= n_words <= most:
        raise ValueError(f"n_words={n_words} in the script {script!r}; need 1 to {most}. Ask for fewer words.")
    rng = np.random.default_rng([seed, *script.encode()])
    words: dict[str, None] = {}
    while len(words) < n_words:
        syllables = int(rng.integers(2, 5))
        picks = zip(
            rng.integers(len(consonants), size=syllables), rng.integers(len(vowels), size=syllables), strict=True
        )
        words["".join(consonants[c] + vowels[v] for c, v in picks)] = None
    weights = 1 / np.arange(1, n_words + 1)
    return Language(tuple(words), tuple((weights / weights.sum()).tolist()))


def mix(
    languages: Sequence[Language], shares: Sequence[float], *, n: int, n_words: int = 60, seed: int = 0
) -> list[dict]:
    """Documents of several languages: rows with id, text and source ("language-0", ...), drawn by `shares`.

    Raises:
        ValueError: shares that are negative, do not sum to 1, or are not one a language.
    """
    weights = np.asarray(shares, dtype=np.float64)
    if len(weights) != len(languages) or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(
            f"shares {list(shares)} for {len(languages)} languages; need one share a language, none negative, sum 1. "
            "Divide them by their sum."
        )
    rng = np.random.default_rng(seed)
    rows = []
    for number, pick in enumerate(rng.choice(len(languages), size=n, p=weights)):
        text = languages[pick].text(rng, n_words=n_words)
        rows.append({"id": f"made-{number}", "text": text, "source": f"language-{pick}"})
    return rows


def plant_merges(*, n_merges: int = 12, top: int = 0) -> tuple[list[str], list[str]]:
    """A text whose byte-pair merges are known beforehand, and those merges in order.

    Words are chains "ab", "cd", ... in pairs of letters that occur nowhere else, with counts falling by one from merge
    to merge, so pair k is the k-th merge whatever the trainer; every third word is doubled ("cdcd"), which plants the
    merge of two merges behind all pairs.

    Args:
        n_merges: pairs planted, 1 to 13 (two letters of a-z each).
        top: count of the most frequent word; 0 means 4 x n_merges.

    Returns:
        (documents, one a word repeated with spaces between; the joined strings in the order they must be learned).

    Raises:
        ValueError: n_merges outside 1..13, or a top that lets counts of pairs and doubled pairs meet.
    """
    if not 1 <= n_merges <= 13:
        raise ValueError(f"n_merges={n_merges}; the letters a-z give 1 to 13 pairs. Ask for fewer.")
    top = top or 4 * n_merges
    if top < 4 * n_merges:
        raise ValueError(f"top={top} for {n_merges} merges; need at least {4 * n_merges}, so that counts stay apart.")
    pairs = [chr(97 + 2 * k) + chr(98 + 2 * k) for k in range(n_merges)]
    doubled = [pair for k, pair in enumerate(pairs) if k % 3 == 0]
    documents = []
    for k, pair in enumerate(pairs):
        count = top - k
        if pair in doubled:
            # A third of the pair's occurrences come in doubled words, so "abab" (top - k) // 3 times.
            twice = count // 3
            documents.append(" ".join([pair + pair] * twice + [pair] * (count - 2 * twice)))
        else:
            documents.append(" ".join([pair] * count))
    return documents, pairs + [pair + pair for pair in doubled]


def copy_numbers(*, n: int, digits: int = 4, seed: int = 0) -> list[str]:
    """`n` lines "copy 4711: 4711": what a model must carry over unchanged, and a tokenizer may cut apart."""
    if digits < 1:
        raise ValueError(f"digits={digits}; need at least 1. Ask for longer numbers.")
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 10, size=(n, digits))
    numbers[:, 0] = np.maximum(numbers[:, 0], 1)
    return [f"copy {word}: {word}" for word in ("".join(map(str, row)) for row in numbers.tolist())]
