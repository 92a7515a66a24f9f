"""Cut compounds by counting: the parts are words that are frequent for themselves. No torch, no training.

Papers: Empirical Methods for Compound Splitting (EACL 2003; geometric mean of part frequencies); CompoundPiece (arXiv
2305.14214) has such splitters as baselines.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenry.tokenization.hyphens import Cuts, HyphenExamples, word_counts
from tokenry.tokenization.validators import lines_of

LINKS = ("", "s", "es", "n", "en", "e", "er")
"""What may stand between two parts in German, Dutch and the Nordic languages; it stays with the part before it."""


@dataclass(eq=False)
class FrequencySplitter:
    """Cuts a word where the geometric mean of its parts' counts is largest, the whole word being one candidate."""

    counts: Mapping[str, int]
    """Lower-case words."""
    shortest: int = 4
    """Least length of a part, linking element not included."""
    most_parts: int = 4
    links: Sequence[str] = LINKS
    _known: dict[str, Cuts] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, counts: Mapping[str, int], **options: object) -> "FrequencySplitter":
        """From words in any case and their counts; options as the fields."""
        folded: Counter = Counter()
        for word, n in counts.items():
            if word.isalpha():
                folded[word.lower()] += n
        return cls(folded, **options)

    def __call__(self, words: Sequence[str]) -> list[Cuts]:
        """Inner offsets of each word."""
        for word in words:
            if word not in self._known:
                self._known[word] = self._split(word)
        return [self._known[word] for word in words]

    def _split(self, word: str) -> Cuts:
        lower = word.lower()
        if len(lower) != len(word) or not word.isalpha() or not 2 * self.shortest <= len(word) <= 64:
            return ()
        # best[n][end]: (sum of logs, cuts) of n parts on lower[:end].
        best: list[dict[int, tuple[float, Cuts]]] = [{0: (0.0, ())}]
        for _ in range(self.most_parts):
            reached: dict[int, tuple[float, Cuts]] = {}
            for start, (total, cuts) in best[-1].items():
                for end in range(start + self.shortest, len(lower) + 1):
                    log = self._log_count(lower[start:end], is_last=end == len(lower))
                    if log is None or (end < len(lower) and len(lower) - end < self.shortest):
                        continue
                    state = (total + log, cuts if end == len(lower) else (*cuts, end))
                    if end not in reached or state > reached[end]:
                        reached[end] = state
            best.append(reached)
        whole = self.counts.get(lower, 0)
        ways = [(math.log(whole) if whole else -math.inf, 0, ())]
        ways += [(b[len(lower)][0] / n, -n, b[len(lower)][1]) for n, b in enumerate(best) if n > 1 and len(lower) in b]
        return max(ways)[2]

    def _log_count(self, part: str, *, is_last: bool) -> float | None:
        found = 0
        for link in ("",) if is_last else self.links:
            stem = part.removesuffix(link) if link and part.endswith(link) else part if not link else ""
            if len(stem) >= self.shortest:
                found = max(found, self.counts.get(stem, 0))
        return math.log(found) if found else None


def with_frequent_splits(
    examples: HyphenExamples,
    splitter: FrequencySplitter,
    *,
    least_count: int = 2,
    most: int = 30_000,
    excluded: Iterable[str] = (),
) -> HyphenExamples:
    """Add what counting knows to what hyphens show: self-supervision still, for texts of a few megabytes.

    Words of the splitter's table which it cuts become positives, negatives which it would cut are dropped, and its
    frequent words which it leaves whole fill the negatives up to the number of positives again. The
    paper takes hyphens alone, from hundreds of gigabytes; in a few megabytes the frequent words without hyphen are full
    of compounds, and hyphens stand mostly in rare and foreign ones.

    Args:
        examples: from `mine_hyphens`.
        splitter: over the same text's counts, or over a frequency list of the language.
        least_count: words seen less often are not added.
        most: words at most that are added, the most frequent ones.
        excluded: words kept out, those of an evaluation for example.
    """
    barred = {word.lower() for word in excluded} | set(examples.positives)
    counts = splitter.counts
    words = [w for w, n in counts.items() if n >= least_count and len(w) >= 8 and w not in barred]
    words.sort(key=lambda word: (-counts[word], word))
    added: dict[str, Cuts] = {}
    for word in words:
        if len(added) == most:
            break
        if cuts := splitter([word])[0]:
            added[word] = cuts
    kept = [word for word, cuts in zip(examples.negatives, splitter(examples.negatives), strict=True) if not cuts]
    known = {*kept, *barred, *added}
    others = [w for w, n in counts.items() if n >= least_count and len(w) >= 2 * splitter.shortest and w not in known]
    others.sort(key=lambda word: (-counts[word], word))
    for word in others:
        if len(kept) >= len(examples.positives) + len(added):
            break
        if not splitter([word])[0]:
            kept.append(word)
    return HyphenExamples({**examples.positives, **added}, tuple(kept))


def read_counts(path: str | Path) -> Counter:
    """Words and counts from a TSV file (word, tab, count), else from a text in any format the reader knows.

    Raises:
        FileNotFoundError, ValueError: nothing there, or a line that is not a word and a count.
    """
    file = Path(path).expanduser()
    if file.suffix not in (".tsv", ".freq"):
        from tokenry.core.tables import texts

        return word_counts(texts(file))
    counts: Counter = Counter()
    for number, line in enumerate(lines_of(file), 1):
        word, _, count = line.partition("\t")
        if word and not count.strip().isdigit():
            raise ValueError(f"{file}:{number}: {line.strip()[:60]!r}; need a word, a tab and a whole number.")
        if word:
            counts[word] += int(count)
    return counts


def write_counts(counts: Mapping[str, int], path: str | Path) -> None:
    """Write words and counts as `read_counts` takes them, the most frequent first."""
    from tokenry.core.runs import atomic_write

    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    atomic_write(path, "".join(f"{word}\t{counts[word]}\n" for word in ranked if word.strip() == word and word))
