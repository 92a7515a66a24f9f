"""How a tokenizer treats compounds: which it cuts badly, what they cost, and how well a decompounder does on gold.

A compound is *hard* for a tokenizer when some boundary between its constituents is not a boundary between tokens.

Paper: CompoundPiece: Evaluating and Improving Decompounding Performance of Language Models (arXiv 2305.14214).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval, ratio_interval, wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.boundaries import CutProvider
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, ratio
from tokenry.tokenization.gold_segmentations import token_cuts
from tokenry.tokenization.hyphens import Cuts, cuts_of, parts_of, split_normalised
from tokenry.tokenization.validators import lines_of

# Axes: W words.

_SHOWN = 30


@dataclass(frozen=True)
class CompoundGold:
    """Words with their true cuts; () for a word that is no compound."""

    words: tuple[str, ...]
    cuts: tuple[Cuts, ...]
    skipped: int = 0
    """Lines left out: neither pure compound nor simple by their flags, or whose parts do not fit the word."""
    constituents: tuple[tuple[str, ...], ...] = ()
    """What each word is made of, as the gold writes it ("Arbeit", "Platz"); the word itself for a simple one. Empty
    where only cuts are known."""

    @property
    def is_compound(self) -> np.ndarray:
        """bool (W,)."""
        return np.array([bool(cuts) for cuts in self.cuts])


def read_compounds(path: str | Path) -> CompoundGold:
    """Read gold compounds: one word a line, a tab, its parts joined by "|", spaces or " @@"; no parts: no compound.

    Parts that do not spell the word are taken for normalised constituents and fitted to it
    (`hyphens.split_normalised`). A third column is taken for SIGMORPHON flags: 001 (compounding alone) and 000 (no
    morphology) are kept.

    Raises:
        FileNotFoundError: nothing there. ValueError: no usable line.
    """
    words, cuts, constituents, skipped = [], [], [], 0
    for line in lines_of(path):
        columns = [column.strip() for column in line.split("\t")]
        if not columns[0]:
            continue
        found = _gold_cuts(columns)
        if found is None:
            skipped += 1
            continue
        words.append(columns[0])
        cuts.append(found[0])
        constituents.append(found[1])
    if not words:
        raise ValueError(f"{path} holds no word with parts; need lines of a word, a tab and its parts (Haus|tür).")
    return CompoundGold(tuple(words), tuple(cuts), skipped, tuple(constituents))


def _gold_cuts(columns: list[str]) -> tuple[Cuts, tuple[str, ...]] | None:
    """Cuts and constituents of a line, or None where they are in doubt."""
    word, parts = columns[0], columns[1].replace(" @@", "|").replace(" ", "|") if len(columns) > 1 else ""
    if len(columns) > 2 and columns[2] in ("001", "000"):
        parts = parts if columns[2] == "001" else ""
    elif len(columns) > 2 and columns[2].isdigit():
        return None
    pieces = tuple(part for part in parts.split("|") if part)
    if len(pieces) < 2:
        return (), (word,)
    cuts = cuts_of(pieces) if "".join(pieces) == word else split_normalised(word, pieces)
    return None if cuts is None else (cuts, pieces)


def compounds(counts: Counts, *, seed: int = 0, gold: str | Path | CompoundGold) -> Findings:
    """The lens on compounds: hard ones, tokens each, constituent boundaries inside a token, simple words broken up.

    Args:
        counts: of any text; only the tokenizer is looked at.
        seed: of the bootstrap.
        gold: words with parts, see `read_compounds`.
    """
    gold = gold if isinstance(gold, CompoundGold) else read_compounds(gold)
    return crossings(counts.vocab, gold).findings(seed=seed)


@dataclass(frozen=True)
class Crossings:
    """What a tokenizer does to each gold word."""

    gold: CompoundGold
    tokens_W: np.ndarray
    """int64."""
    crossed_W: np.ndarray
    """int64, constituent boundaries that lie inside a token."""
    comparable_W: np.ndarray
    """bool, False where the tokens do not spell the word (unknown characters, a normaliser that changes it)."""
    pieces: list[list[str]]

    def findings(self, *, seed: int = 0) -> Findings:
        """Facts with intervals over words, a table of the worst."""
        gold, ok = self.gold, self.comparable_W
        is_compound = gold.is_compound & ok
        simple = ~gold.is_compound & ok
        n_inner = np.array([len(cuts) for cuts in gold.cuts])
        facts: dict = {"compounds.n": int(is_compound.sum()), "compounds.simple_words": int(simple.sum())}
        if is_compound.any():
            hard, n = int((self.crossed_W[is_compound] > 0).sum()), int(is_compound.sum())
            tokens = self.tokens_W[is_compound]
            facts |= {
                "compounds.hard_share": wilson_interval(hard, n),
                "compounds.single_token_share": wilson_interval(int((tokens == 1).sum()), n),
                "compounds.tokens_each": ratio_interval(tokens, np.ones(n), seed=seed, unit="tokens/compound"),
                "compounds.leak_rate": ratio_interval(self.crossed_W[is_compound], n_inner[is_compound], seed=seed),
            }
        if simple.any():
            broken = int((self.tokens_W[simple] > 1).sum())
            facts["compounds.simple_words_broken_share"] = wilson_interval(broken, int(simple.sum()))
        found = Findings(facts=facts)
        worst = np.flatnonzero(is_compound & (self.crossed_W > 0))[:_SHOWN].tolist()
        found.tables["hard compounds"] = {
            "word": [gold.words[w] for w in worst],
            "constituents": ["|".join(parts_of(gold.words[w], gold.cuts[w])) for w in worst],
            "tokens": ["|".join(self.pieces[w]) for w in worst],
        }
        found.notes.append(
            "A compound is hard when a boundary between its constituents lies inside a token; the leak rate counts "
            "such boundaries. Words stand behind a space, as in a text; linking elements lie where the gold puts them."
        )
        if not ok.all():
            found.warnings.append(f"{int((~ok).sum())} words are left out: their tokens do not spell them.")
        return found


def crossings(vocab: Vocab, gold: CompoundGold) -> Crossings:
    """Encode each gold word behind a space and compare token boundaries with constituent boundaries."""
    n = len(gold.words)
    tokens, crossed, comparable, pieces = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, bool), []
    for w, placed in enumerate(token_cuts(vocab, gold.words)):
        if placed is None:
            pieces.append([])
            continue
        cuts, ids = placed
        comparable[w], tokens[w], crossed[w] = True, len(ids), len(set(gold.cuts[w]) - set(cuts))
        pieces.append([(vocab.tokens[i] or b"").decode("utf-8", "replace") for i in ids])
    return Crossings(gold, tokens, crossed, comparable, pieces)


def score_decompounders(gold: CompoundGold, providers: Mapping[str, CutProvider]) -> Report:
    """Exact match of one or several decompounders on gold: overall, on compounds, on simple words.

    Accuracy on compounds alone is won by cutting everything, so the simple words stand beside it.

    Args:
        gold: words with their cuts.
        providers: name -> provider of cuts.

    Returns:
        Report of kind "decompounding": facts `<name>.exact`, `.compounds`, `.simple` (Wilson intervals), `.cut_recall`
        and `.cut_precision` (bootstrap over words); the table `decompounders`; the first differences of each.

    Raises:
        ValueError: no provider.
    """
    if not providers:
        raise ValueError("no decompounder to score; need at least one.")
    report = Report(kind="decompounding", title=f"Decompounding of {len(gold.words):,} gold words")
    rows: dict[str, list] = {name: [] for name in ("decompounder", "exact", "compounds", "simple", "cut_recall")}
    series: dict[str, list] = {"compounds": [], "simple words": []}
    for name, provider in providers.items():
        found = provider(gold.words)
        facts = _accuracy(gold, found)
        report.facts |= {f"{name}.{key}": value for key, value in facts.items()}
        rows["decompounder"].append(name)
        for key in ("exact", "compounds", "simple", "cut_recall"):
            rows[key].append(str(facts.get(key, "none")))
        for label, key in (("compounds", "compounds"), ("simple words", "simple")):
            if isinstance(facts.get(key), Interval):
                series[label].append((name, facts[key].value, facts[key].low, facts[key].high))
        wrong = [w for w, cuts in enumerate(found) if tuple(cuts) != gold.cuts[w]][:_SHOWN]
        report.tables[f"mistakes of {name}"] = pa.table(
            {
                "word": [gold.words[w] for w in wrong],
                "gold": ["|".join(parts_of(gold.words[w], gold.cuts[w])) for w in wrong],
                "found": ["|".join(parts_of(gold.words[w], found[w])) for w in wrong],
            },
            schema=pa.schema([(column, pa.string()) for column in ("word", "gold", "found")]),
        )
    report.facts |= {"n_compounds": int(gold.is_compound.sum()), "n_simple": int((~gold.is_compound).sum())}
    report.tables = {"decompounders": pa.table(rows), **report.tables}
    report.figures.append(Figure("interval", "Words cut exactly as the gold", "decompounder", "share exact",
                                 {k: v for k, v in series.items() if v}))  # fmt: skip
    if gold.skipped:
        report.notes.append(f"{gold.skipped:,} gold lines left out (mixed morphology, or parts that do not fit).")
    return report


def _accuracy(gold: CompoundGold, found: Sequence[Cuts]) -> dict:
    exact = np.array([tuple(cuts) == true for cuts, true in zip(found, gold.cuts, strict=True)])
    is_compound = gold.is_compound
    facts: dict = {"exact": wilson_interval(int(exact.sum()), len(exact))}
    for key, chosen in (("compounds", is_compound), ("simple", ~is_compound)):
        if chosen.any():
            facts[key] = wilson_interval(int(exact[chosen].sum()), int(chosen.sum()))
    right_W = np.array([len(set(cuts) & set(true)) for cuts, true in zip(found, gold.cuts, strict=True)])
    for key, cuts in (("cut_recall", gold.cuts), ("cut_precision", found)):
        if any(cuts):  # the cuts of one word hang together, so words are resampled
            facts[key] = ratio(right_W, np.array([len(own) for own in cuts]))
    return facts
