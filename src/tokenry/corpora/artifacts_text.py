"""Free text by people against free text by a model: variety, repetition, novelty, length, style.

Features of a document are compared over documents; features of a corpus (Zipf slope, Heaps exponent, types in so many
words, likeness of documents to each other), which change with the amount of text, are measured on blocks of equally
many words and compared over blocks. Lengths differ nearly always and move nearly everything, so every comparison is
made twice: "raw", and "length-matched", on documents drawn so that both sides have the same lengths (and, where there
are domains, the same domains).

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), section on free text.
"""

import functools
import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.report import Report
from tokenry.core.splitting import sentences, words
from tokenry.corpora.artifacts import Finding, compare_means, report_of
from tokenry.corpora.motifs import Graph, compare_motifs

__all__ = ["Reference", "TextSide", "audit_text", "compare_sides", "match_lengths"]

# Axes: D documents, F features.

Scorer = Callable[[list[str]], Sequence[float]]
WINDOW = 50  # words in which types are counted: the same number for every document
COMMON = 0.9  # share of a reference's words that its common words make up


@dataclass(frozen=True)
class Reference:
    """What human text is expected to say, from human documents that are in neither side.

    Attributes:
        common: the most frequent words that together are `COMMON` of all.
        runs: all runs of 4 words.
    """

    common: frozenset[str]
    runs: frozenset[tuple[str, ...]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Reference":
        """Learn from texts."""
        counts: Counter[str] = Counter()
        runs: set[tuple[str, ...]] = set()
        for text in texts:
            cut = _words(text)
            counts.update(cut)
            runs.update(_runs(cut, 4))
        left, common = COMMON * counts.total(), set()
        for word, n in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
            if left <= 0:
                break
            common.add(word)
            left -= n
        return cls(frozenset(common), frozenset(runs))


@dataclass(eq=False)
class TextSide:
    """Documents of one side, measured once.

    Attributes:
        texts: of the documents.
        reference: what novelty and rare words are measured against; None leaves both out.
        scorers: name -> texts to one number each (style attributes, predictability).
        domains: one a document, None without.
        signals: families of `corpora.signals` whose columns are features too.
    """

    texts: list[str]
    reference: Reference | None = None
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    domains: list[str] | None = None
    signals: tuple[str, ...] = ()

    @functools.cached_property
    def cut(self) -> list[list[str]]:
        """Words of every document."""
        return [_words(text) for text in self.texts]

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Words of every document, how many."""
        return np.array([len(one) for one in self.cut])

    @functools.cached_property
    def features(self) -> dict[str, np.ndarray]:
        """Feature -> value of every document, NaN where it has none."""
        rows = [_features(text, cut, self.reference) for text, cut in zip(self.texts, self.cut, strict=True)]
        made = {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]} if rows else {}
        if self.signals:
            made |= _signals(self.texts, self.signals)
        for name, score in self.scorers.items():
            values = np.asarray(score(self.texts), np.float64)
            if values.shape != (len(self.texts),):
                raise ValueError(f"scorer {name!r} gave {values.shape} for {len(self.texts)} texts; need one for each.")
            made[name] = values
        return made

    def of(self, rows: np.ndarray) -> "TextSide":
        """Some of the documents, without measuring again."""
        domains = None if self.domains is None else [self.domains[row] for row in rows]
        made = TextSide([self.texts[row] for row in rows], self.reference, self.scorers, domains, self.signals)
        made.__dict__["cut"] = [self.cut[row] for row in rows]
        made.__dict__["features"] = {name: values[rows] for name, values in self.features.items()}
        return made

    def blocks(self, size: int, rng: np.random.Generator) -> list[list[list[str]]]:
        """Documents in a random order, in blocks whose first `size` words are what is measured."""
        made, held, n = [], [], 0
        for row in rng.permutation(len(self.cut)):
            held.append(self.cut[row])
            n += len(self.cut[row])
            if n >= size:
                made.append(held)
                held, n = [], 0
        return made


def _words(text: str) -> list[str]:
    return [word.lower() for word in words(text)]


def _runs(cut: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(cut[start:] for start in range(n)), strict=False))


def _features(text: str, cut: list[str], reference: Reference | None) -> dict[str, float]:
    parts = [len(words(one)) for one in sentences(text)]
    parts = [n for n in parts if n]
    runs3, runs4 = _runs(cut, 3), _runs(cut, 4)
    raw = text.encode("utf-8", "replace")
    made = {
        "length.words": float(len(cut)),
        "words.mean_characters": _mean([len(word) for word in cut]),
        "sentences.mean_words": _mean(parts),
        "sentences.deviation_words": float(np.std(parts)) if len(parts) > 1 else math.nan,
        "sentences.entropy_bits": _entropy(Counter(parts)),
        f"variety.types_in_{WINDOW}": len(set(cut[:WINDOW])) / WINDOW if len(cut) >= WINDOW else math.nan,
        "repetition.3_grams": 1 - len(set(runs3)) / len(runs3) if runs3 else math.nan,
        "compression.ratio": len(zlib.compress(raw, 6)) / len(raw) if raw else math.nan,
        "marks.per_word": sum(not c.isalnum() and not c.isspace() for c in text) / len(cut) if cut else math.nan,
    }
    if reference is not None:
        made["novelty.4_grams"] = _mean([run not in reference.runs for run in runs4])
        made["rare.words"] = _mean([word not in reference.common for word in cut])
    return made


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _entropy(counts: Counter) -> float:
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else math.nan


def _signals(texts: list[str], families: tuple[str, ...]) -> dict[str, np.ndarray]:
    import pyarrow as pa

    from tokenry.corpora.signals import families_of, score_batch

    batch = pa.record_batch({"id": [str(n) for n in range(len(texts))], "text": pa.array(texts, pa.string()),
                             "source": [""] * len(texts)})  # fmt: skip
    made = score_batch(batch, families_of(list(families)))
    return {
        name: np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
        for name, column in zip(made.schema.names, made.columns, strict=True)
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    }


def block_features(block: list[list[str]], size: int) -> dict[str, float]:
    """Corpus features of a block: of its first `size` words, and of the likeness of its documents."""
    cut = [word for one in block for word in one][:size]
    counts = Counter(cut)
    ranked = np.sort(np.array(list(counts.values()), np.float64))[::-1]
    half = len(set(cut[: size // 2]))
    top = ranked[: max(10, len(ranked) // 2)]
    ranks = np.log(np.arange(1, len(top) + 1))
    return {
        "zipf.slope": float(np.polyfit(ranks, np.log(top), 1)[0]) if len(top) > 2 else math.nan,
        "heaps.exponent": math.log(len(counts) / half, 2) if half else math.nan,
        f"variety.types_in_{size}": len(counts) / size,
        "variety.once_only": float(np.mean(ranked == 1)),
        "likeness.between_documents": _likeness(block),
    }


def _likeness(block: list[list[str]]) -> float:
    """Mean cosine of word counts between different documents of a block, each cut to the same length."""
    shortest = min((len(one) for one in block if one), default=0)
    rows = [Counter(one[:shortest]) for one in block if one]
    if len(rows) < 2:
        return math.nan
    places = {word: place for place, word in enumerate(sorted(set().union(*rows)))}
    vectors = np.zeros((len(rows), len(places)))
    for row, counts in enumerate(rows):
        vectors[row, [places[word] for word in counts]] = list(counts.values())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    return float((cosines.sum() - len(rows)) / (len(rows) * (len(rows) - 1)))


def match_lengths(
    human: TextSide, synthetic: TextSide, *, bins: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both sides with the same number of documents of every length (and domain)."""
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([human.lengths, synthetic.lengths])
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)[1:-1])) if len(pooled) else np.zeros(0)
    cells = []
    for side in (human, synthetic):
        domains = side.domains or [""] * len(side.texts)
        cells.append(list(zip(np.searchsorted(edges, side.lengths, side="right").tolist(), domains, strict=True)))
    kept: tuple[list[int], list[int]] = ([], [])
    for cell in sorted(set(cells[0]) & set(cells[1])):
        rows = [[row for row, one in enumerate(each) if one == cell] for each in cells]
        n = min(map(len, rows))
        for held, each in zip(kept, rows, strict=True):
            held += [each[place] for place in sorted(rng.permutation(len(each))[:n])]
    return np.array(kept[0], np.int64), np.array(kept[1], np.int64)


def compare_sides(
    human: TextSide, synthetic: TextSide, *, group: str, block_words: int | None = None, seed: int = 0
) -> list[Finding]:
    """All features of two sides.

    Args:
        human: measured documents.
        synthetic: the same.
        group: how to call the comparison.
        block_words: words of a block; chosen so that the smaller side has some 12 blocks when not given.
        seed: of the order of documents in blocks.
    """
    made = [
        compare_means(values, synthetic.features[name], metric=name, group=group)
        for name, values in human.features.items()
    ]
    total = int(min(human.lengths.sum(), synthetic.lengths.sum()))
    size = block_words or min(5000, max(100, total // 12))
    rng = np.random.default_rng(seed)
    blocks = [[block_features(one, size) for one in side.blocks(size, rng)] for side in (human, synthetic)]
    if min(map(len, blocks)) >= 2:
        made += [
            compare_means([one[name] for one in blocks[0]], [one[name] for one in blocks[1]], metric=name, group=group)
            for name in blocks[0][0]
        ]
    return made


def audit_text(
    human: Sequence[str] | TextSide,
    synthetic: Sequence[str] | TextSide,
    *,
    reference: Sequence[str] | None = None,
    scorers: Mapping[str, Scorer] | None = None,
    flips: Mapping[str, Scorer | tuple[Scorer, float]] | None = None,
    graphs: tuple[Sequence[Graph], Sequence[Graph]] | None = None,
    domains: tuple[Sequence[str], Sequence[str]] | None = None,
    signals: Sequence[str] = (),
    seed: int = 0,
) -> Report:
    """Compare texts.

    Args:
        human: texts by people. Without a `reference`, a random third of them becomes it and is not compared.
        synthetic: texts by a model.
        reference: other human texts of the same kind.
        scorers: name -> texts to one number each: style, bits per byte of any language model, ...
        flips: name -> texts to a probability: how often is the attribute (0.5 or more) on one side only? Or name ->
            (texts to a share, gap): how often is one side's larger by more (the paper: .15 of metaphoric words)? The
            sides must be versions of the same contents in the same order, and a `reference` given.
        graphs: of the texts of both sides, in their order: motifs of 3 nodes are compared (`motifs`).
        domains: of the texts of both sides; matched, and compared one by one.
        signals: families of `corpora.signals` to compare as well ("repetition", "gopher").
        seed: of everything random.

    Raises:
        ValueError: fewer than 3 texts on a side; flips on sides of different lengths, or graphs that do not fit.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    rng = np.random.default_rng(seed)
    texts = [list(human), list(synthetic)]
    if min(map(len, texts)) < 3:
        raise ValueError(f"{len(texts[0])} human and {len(texts[1])} synthetic texts; need at least 3 of each.")
    if graphs is not None and (sizes := [len(one) for one in graphs]) != [len(one) for one in texts]:
        raise ValueError(f"{sizes} graphs, {[len(one) for one in texts]} texts; need one each.")
    named = [None, None] if domains is None else [list(one) for one in domains]
    notes = ["'length-matched' compares documents drawn so that both sides have the same lengths."]
    if reference is None:
        if flips:
            raise ValueError("flips compare versions of the same contents; give the reference too, so all are kept.")
        order = rng.permutation(len(texts[0]))
        third, rest = order[: len(order) // 3], np.sort(order[len(order) // 3 :])
        reference, texts[0] = [texts[0][row] for row in third], [texts[0][row] for row in rest]
        named[0] = None if named[0] is None else [named[0][row] for row in rest]
        notes.append(f"{len(third)} human texts are the reference of novelty and rare words and are not compared.")
    shared = (Reference.of(reference), scorers or {})
    sides = [TextSide(each, *shared, domain, tuple(signals)) for each, domain in zip(texts, named, strict=True)]
    findings = compare_sides(*sides, group="raw", seed=seed)
    more, warnings = _matched(sides, seed)
    findings += more
    if domains is not None:
        findings += _by_domain(sides, seed)
    if graphs is not None:
        findings += compare_motifs(*graphs)
    if flips:
        findings += [one for name, score in flips.items() for one in _flips(name, score, texts)]
    return report_of("text", findings, cautions=warnings, notes=notes)


def _matched(sides: list[TextSide], seed: int) -> tuple[list[Finding], list[str]]:
    """The comparison of documents of the same lengths, and what a reader should be warned of."""
    findings, warnings = [], []
    rows = match_lengths(*sides, seed=seed)
    if sides[0].domains is None:
        warnings.append("no domains given: a difference of subject or prompt looks like one of writers "
                        "(--domain-column).")  # fmt: skip
    if len(rows[0]) >= 3:
        matched = [side.of(each) for side, each in zip(sides, rows, strict=True)]
        findings = compare_sides(*matched, group="length-matched", seed=seed)
    share = len(rows[0]) / min(len(side.texts) for side in sides)
    if share < 0.3:
        warnings.append(f"only {share:.0%} of the smaller side has texts of its length on the other: raw figures are "
                        "mostly about length.")  # fmt: skip
    return findings, warnings


def _by_domain(sides: list[TextSide], seed: int) -> list[Finding]:
    made = []
    for name in sorted(set(sides[0].domains) & set(sides[1].domains)):
        rows = [np.array([row for row, one in enumerate(side.domains) if one == name]) for side in sides]
        if min(map(len, rows)) >= 3:
            parts = [side.of(each) for side, each in zip(sides, rows, strict=True)]
            made += [
                compare_means(values, parts[1].features[feature], metric=feature, group=f"domain={name}")
                for feature, values in parts[0].features.items()
            ]
    return made


def _flips(name: str, score: Scorer | tuple[Scorer, float], texts: list[list[str]]) -> list[Finding]:
    """An attribute of the same contents on each side, and how often it is on one side only (exact McNemar)."""
    from scipy.stats import binomtest

    n = len(texts[0])
    if n != len(texts[1]):
        raise ValueError(f"{n} and {len(texts[1])} texts; flips need versions of the same contents.")
    if isinstance(score, tuple):
        values = [np.asarray(score[0](each), np.float64) for each in texts]
        more = [first - second > score[1] for first, second in (values, values[::-1])]
    else:
        values = [np.asarray(score(each), np.float64) >= 0.5 for each in texts]
        more = [first & ~second for first, second in (values, values[::-1])]
    one = compare_means(*values, metric=f"style.{name}", group="same contents", paired=True)
    gap = compare_means(*more, metric=f"style.{name}.flipped", group="same contents", paired=True)
    only = [int(side.sum()) for side in more]
    p = binomtest(only[1], sum(only)).pvalue if sum(only) else math.nan
    return [one, replace(gap, test="McNemar exact" if sum(only) else "", p=p)]
