"""Examples of compounds from hyphens in plain text, with no gold: "Web-Server" says where "Webserver" is cut.

Also the way from normalised constituents (bride, maid) to surface parts of a word (brides|maid).

Paper: CompoundPiece: Evaluating and Improving Decompounding Performance of Language Models (arXiv 2305.14214).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenry.tokenization.edit_distances import edit_distances

HYPHENS = "-\u2010"
LEAST_RATIO = math.exp(-6)
"""A hyphenated word must be at least so frequent, against the same letters written as one: else the hyphen is a line
break or a slip."""
_LONGEST_BYTES = 64
_OUTER = re.compile(r"^[^\w]+|[^\w]+$")
_BANNED = re.compile(r"[.@{}\[\]()<>/\\|\d_]|[-\u2010]{2}")
_CAMEL = re.compile(r"[^\W\d_A-ZÀ-ÖØ-Þ][A-ZÀ-ÖØ-Þ]")

Cuts = tuple[int, ...]


@dataclass(frozen=True)
class HyphenExamples:
    """What a decompounder learns from: words without their hyphens, lower case, and where the hyphens were."""

    positives: dict[str, Cuts]
    """Word -> inner offsets, rising."""
    negatives: tuple[str, ...]
    """As many of the most frequent words without hyphen."""

    @property
    def pairs(self) -> list[tuple[str, Cuts]]:
        """All of them as (word, cuts)."""
        return [*self.positives.items(), *((word, ()) for word in self.negatives)]


def word_counts(texts: Iterable[str]) -> Counter:
    """Count the words of texts as the mining wants them.

    Words are runs between white space with outer punctuation stripped. Left out: over 64 bytes, with digits, full
    stops, @, brackets, slashes or a double hyphen, with an upper-case letter right behind a lower-case one, or all in
    upper case.
    """
    raw: Counter = Counter()
    for text in texts:
        raw.update(text.split())
    counts: Counter = Counter()
    for word, n in raw.items():
        stripped = _OUTER.sub("", word)
        if stripped and _is_word(stripped):
            counts[stripped] += n
    return counts


def _is_word(word: str) -> bool:
    if len(word.encode("utf-8", "surrogatepass")) > _LONGEST_BYTES or _BANNED.search(word) or _CAMEL.search(word):
        return False
    return not (word.isupper() and len(word) > 1)


def mine_hyphens(
    counts: Mapping[str, int],
    *,
    least_count: int = 2,
    least_ratio: float = LEAST_RATIO,
    excluded: Iterable[str] = (),
    most: int | None = None,
) -> HyphenExamples:
    """Find examples in a table of words and counts.

    A hyphenated word is a positive when each part has two characters or more and it is frequent enough against the same
    letters written as one. Of several variants of one word the most frequent is kept.

    Args:
        counts: as `word_counts` gives them.
        least_count: words seen less often are not looked at.
        least_ratio: see `LEAST_RATIO`.
        excluded: words (without hyphen, any case) kept out, those of an evaluation for example.
        most: positives at most, the most frequent ones.

    Raises:
        ValueError: no hyphenated word passes.
    """
    barred = {word.lower() for word in excluded}
    closed: Counter = Counter()
    hyphenated: dict[str, Counter] = {}
    for word, n in counts.items():
        if n < least_count:
            continue
        lower = word.lower().replace("\u2010", "-")
        if "-" in lower:
            hyphenated.setdefault(lower.replace("-", ""), Counter())[lower] += n
        else:
            closed[lower] += n
    found: list[tuple[int, str, Cuts]] = []
    for word, variants in hyphenated.items():
        best, n = max(variants.items(), key=lambda item: (item[1], item[0]))
        parts = best.split("-")
        if word in barred or min(map(len, parts)) < 2 or not all(map(str.isalpha, parts)):
            continue
        if n >= least_ratio * closed[word]:
            found.append((n, word, cuts_of(parts)))
    if not found:
        raise ValueError(
            f"none of {len(counts):,} words is a hyphenated word seen {least_count} times; the hyphens are what is "
            "learned from. Give more text, or lower --min-count."
        )
    found.sort(key=lambda item: (-item[0], item[1]))
    positives = {word: cuts for _, word, cuts in found[:most]}
    frequent = sorted(closed, key=lambda word: (-closed[word], word))
    negatives = [w for w in frequent if w not in barred and w not in positives and len(w) > 1 and w.isalpha()]
    return HyphenExamples(positives, tuple(negatives[: len(positives)]))


def cuts_of(parts: Sequence[str]) -> Cuts:
    """The inner offsets of parts laid end to end."""
    offsets, at = [], 0
    for part in parts[:-1]:
        at += len(part)
        offsets.append(at)
    return tuple(offsets)


def parts_of(word: str, cuts: Sequence[int]) -> list[str]:
    """A word cut at its inner offsets."""
    ends = [0, *cuts, len(word)]
    return [word[a:b] for a, b in pairwise(ends)]


def split_normalised(word: str, constituents: Sequence[str]) -> Cuts | None:
    """Where to cut a word so that its parts are nearest to normalised constituents.

    The sum of edit distances between parts and constituents is smallest, upper and lower case alike. Ties: the largest
    total shift (differences between the lengths of parts and of constituents, the last one left out), then the
    rightmost cuts. So a linking element goes to the part before it: "bridesmaid" from bride, maid is brides|maid.

    Returns:
        Inner offsets; () for one constituent; None where a part would be empty.
    """
    n, folded = len(constituents), word.lower()
    if len(folded) != len(word):
        folded = word  # a letter whose lower case is two characters
    if n == 0 or len(word) < n:
        return None
    # best[end]: (distance, -shift, negated cuts) of the constituents so far on word[:end].
    best: dict[int, tuple[int, int, Cuts]] = {0: (0, 0, ())}
    for number, constituent in enumerate(constituents):
        last, reached = number == n - 1, {}
        for start, (distance, shift, cuts) in best.items():
            costs = edit_distances(constituent.lower(), folded[start:])[-1]
            for end in (len(word),) if last else range(start + 1, len(word) - (n - number - 2)):
                if end <= start:
                    continue
                moved = 0 if last else abs(end - start - len(constituent))
                state = (distance + costs[end - start], shift - moved, cuts if last else (*cuts, -end))
                if end not in reached or state < reached[end]:
                    reached[end] = state
        best = reached
    return tuple(-cut for cut in best[len(word)][2]) if len(word) in best else None
