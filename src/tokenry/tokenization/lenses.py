"""The base lenses of an audit: each looks at the counts of one tokenizer on one text and returns what it found.

A lens is `lens(counts, *, seed) -> Findings`. Your own is named on the command line as `pkg.module:function`.

Papers: How Good is Your Tokenizer? (arXiv 2012.15613; fertility), Tokenization and the Noiseless Channel (arXiv
2306.16842; Renyi efficiency), Beyond Fertility (arXiv 2510.09947; whole-word share), Qtok (arXiv 2410.12989; classes).
"""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.intervals import Interval, ratio_interval
from tokenry.core.report import FactValue, Figure
from tokenry.core.vocab import Kind
from tokenry.tokenization import entries, probes
from tokenry.tokenization.counting import BROKEN, NORMALISED, SAME, Counts

# Axes: D documents, V vocabulary ids.

LENSES = {
    name: f"tokenry.tokenization.lenses:{name}"
    for name in (
        "compression",
        "words",
        "round_trip",
        "scripts",
        "classes",
        "reachability",
        "evenness",
        "numbers",
        "white_space",
        "specials",
    )
}
BASE = tuple(LENSES)

_MOST_GROUPS = 5_000
_MOST_SOURCES = 50
_MOST_ROWS = 200


@dataclass
class Findings:
    """What a lens adds to the report: facts, tables (column name -> values), figures, warnings and notes."""

    facts: dict[str, FactValue] = field(default_factory=dict)
    tables: dict[str, dict[str, list]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def grouped(*columns_D: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Columns over documents, summed over random groups of them when there are more than 5,000.

    Resampling groups gives the same interval as resampling documents, for a fraction of the work.
    """
    n = len(columns_D[0])
    if n <= _MOST_GROUPS:
        return list(columns_D)
    group_D = np.random.default_rng(seed).permutation(n) % _MOST_GROUPS
    return [np.bincount(group_D, weights=column_D) for column_D in columns_D]


def ratio(numerators_D: np.ndarray, denominators_D: np.ndarray, *, seed: int = 0, unit: str = "") -> Interval | None:
    """Ratio of sums with its interval over documents; None where the denominators sum to 0."""
    if not denominators_D.sum():
        return None
    interval = ratio_interval(*grouped(numerators_D, denominators_D, seed=seed), seed=seed, unit=unit)
    return replace(interval, n=len(denominators_D))


def compression(counts: Counts, *, seed: int = 0) -> Findings:
    """Tokens, bytes, bytes and characters a token; by source."""
    found = Findings(
        facts={
            "n_documents": counts.n_documents,
            "n_tokens": counts.n_tokens,
            "n_bytes": counts.n_bytes,
            "n_characters": int(counts.characters_D.sum()),
            "bytes_per_token": ratio(counts.bytes_D, counts.tokens_D, seed=seed, unit="bytes/token"),
            "characters_per_token": ratio(counts.characters_D, counts.tokens_D, seed=seed, unit="characters/token"),
        },
        notes=["Tokens are counted without bos, eos and the like. Intervals are over documents, 95 %."],
    )
    if counts.n_documents < 10:
        found.warnings.append(f"Intervals rest on {counts.n_documents} document(s); read them as 'at least this wide'.")
    if len(counts.sources) > 1:
        rows = _by_source(counts, seed)
        found.tables["sources"] = {name: [row[name] for row in rows] for name in rows[0]}
        points = [(r["source"], r["bytes_per_token"], r["low"], r["high"]) for r in rows if r["tokens"]]
        title = "Bytes per token by source"
        found.figures.append(
            Figure("interval", title, "source", "bytes per token", {"sources": points[:_MOST_SOURCES]})
        )
    if len(counts.sources) > _MOST_SOURCES:
        found.notes.append(f"The {_MOST_SOURCES} largest of {len(counts.sources)} sources are listed.")
    return found


def _by_source(counts: Counts, seed: int) -> list[dict]:
    sizes = np.bincount(counts.source_D, weights=counts.bytes_D, minlength=len(counts.sources))
    rows = []
    for s in np.argsort(-sizes, kind="stable")[:_MOST_SOURCES].tolist():
        of_D = counts.source_D == s
        tokens_D, words_D = counts.tokens_D[of_D], counts.words_D[of_D]
        rate = ratio(counts.bytes_D[of_D], tokens_D, seed=seed)
        rows.append(
            {
                "source": counts.sources[s],
                "documents": int(of_D.sum()),
                "bytes": int(counts.bytes_D[of_D].sum()),
                "tokens": int(tokens_D.sum()),
                "bytes_per_token": rate.value if rate else None,
                "low": rate.low if rate else None,
                "high": rate.high if rate else None,
                "tokens_per_word": _share(counts.word_tokens_D[of_D].sum(), words_D.sum()),
                "whole_word_share": _share(counts.whole_words_D[of_D].sum(), words_D.sum()),
                "round_trip_failures": int((counts.round_trip_D[of_D] != SAME).sum()),
            }
        )
    return rows


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def words(counts: Counts, *, seed: int = 0) -> Findings:
    """Fertility and whole-word share; a word is encoded with the space before it, as it stands in the text."""
    found = Findings(
        facts={
            "n_words": int(counts.words_D.sum()),
            "tokens_per_word": ratio(counts.word_tokens_D, counts.words_D, seed=seed, unit="tokens/word"),
            "whole_word_share": ratio(counts.whole_words_D, counts.words_D, seed=seed),
        },
        notes=[
            "Words are runs of letters, marks and digits; in scripts written without spaces each character is one. "
            "Compare tokens per word within a language, bytes per token across languages."
        ],
    )
    if not found.facts["n_words"]:
        found.warnings.append("The text holds no word, so there is no fertility.")
    return found


def round_trip(counts: Counts, *, seed: int = 0) -> Findings:
    """Documents that decoding their encoding does not give back."""
    outcomes = np.bincount(counts.round_trip_D, minlength=3)
    normalised, broken = int(outcomes[NORMALISED]), int(outcomes[BROKEN])
    found = Findings(
        facts={
            "round_trip_failures": normalised + broken,
            "round_trip_failures.normalised": normalised,
            "round_trip_failures.lost": broken,
        }
    )
    if broken:
        found.warnings.append(
            f"{broken:,} of {counts.n_documents:,} documents do not come back from their tokens; see 'losses'."
        )
    if normalised:
        found.notes.append(f"{normalised:,} documents come back only as the normaliser leaves them.")
    if counts.losses:
        columns = ("document", "source", "text", "comes_back")
        found.tables["losses"] = dict(zip(columns, map(list, zip(*counts.losses, strict=True)), strict=True))
    return found


def scripts(counts: Counts, *, seed: int = 0) -> Findings:
    """Share of each script in the vocabulary and in the text, and what the text pays for it."""
    in_vocabulary = Counter(entries.entry_scripts(counts.vocab))
    total, size = sum(counts.script_bytes.values()), counts.vocab.size
    names = sorted(
        {*in_vocabulary, *counts.script_bytes}, key=lambda s: (-counts.script_bytes.get(s, 0), -in_vocabulary[s])
    )
    pairs = [(counts.script_bytes.get(name, 0), counts.script_tokens.get(name, 0)) for name in names]
    table = {
        "script": names,
        "entries": [in_vocabulary[name] for name in names],
        "share_of_entries": [in_vocabulary[name] / size for name in names],
        "bytes": [n_bytes for n_bytes, _ in pairs],
        "share_of_text": [_share(n_bytes, total) for n_bytes, _ in pairs],
        "tokens": [n_tokens for _, n_tokens in pairs],
        "bytes_per_token": [_share(n_bytes, n_tokens) for n_bytes, n_tokens in pairs],
    }
    found = Findings(tables={"scripts": {name: column[:_MOST_ROWS] for name, column in table.items()}})
    found.notes.append(
        "A piece of text belongs to the script of most of its letters; Common holds digits, punctuation and spaces."
    )
    if n_whole := int(counts.whole_D.sum()):
        found.notes.append(
            f"{n_whole:,} documents hold the literal of an added token and are left out of the scripts' text."
        )
    return found


def classes(counts: Counts, *, seed: int = 0) -> Findings:
    """Composition of the vocabulary, and how much of the text each class of entries covers."""
    of_V = np.array([entries.CLASSES.index(name) for name in entries.entry_classes(counts.vocab)])
    size_of = np.bincount(of_V, minlength=len(entries.CLASSES))
    used_of = np.bincount(of_V, weights=counts.tokens_V, minlength=len(entries.CLASSES)).astype(np.int64)
    n_tokens = counts.n_tokens
    pieces = np.isin(of_V, [entries.CLASSES.index("byte"), entries.CLASSES.index("fragment")])
    unknown = counts.vocab.specials.get("unk")
    n_unknown = int(counts.tokens_V[unknown]) if unknown is not None else 0
    found = Findings(
        facts={
            "vocab_size": counts.vocab.size,
            "unknown_tokens": n_unknown,
            "byte_fallback_share": _share(counts.tokens_V[counts.vocab.kinds == Kind.BYTE].sum(), n_tokens),
            "broken_character_share": _share(counts.tokens_V[pieces].sum(), n_tokens),
        },
        tables={
            "classes": {
                "class": list(entries.CLASSES),
                "entries": size_of.tolist(),
                "share_of_entries": (size_of / counts.vocab.size).tolist(),
                "share_of_tokens": [_share(n, n_tokens) for n in used_of.tolist()],
            }
        },
        notes=[
            "Byte and fragment entries are parts of characters; many of them in a text make it long and hard to learn."
        ],
    )
    if n_unknown:
        found.warnings.append(f"{n_unknown:,} tokens are the unknown token: what stood there is lost.")
    return found


def reachability(counts: Counts, *, seed: int = 0) -> Findings:
    """Entries no text can produce, and entries this text does not use."""
    vocab = counts.vocab
    unreachable = entries.unreachable_entries(vocab)
    plain_V = (vocab.kinds == Kind.NORMAL) | (vocab.kinds == Kind.BYTE)
    unused = int(((counts.tokens_V == 0) & plain_V).sum())
    reasons = Counter(unreachable.values())
    found = Findings(
        facts={
            "unreachable_tokens": len(unreachable),
            "unreachable_tokens.merges": reasons["merges"],
            "unreachable_tokens.cut": reasons["cut"],
            "unused_tokens": unused,
            "unused_share": _share(unused, int(plain_V.sum())),
        }
    )
    if unreachable:
        some = sorted(unreachable)[:_MOST_ROWS]
        found.tables["unreachable"] = {
            "id": some,
            "token": [entries.shown(vocab, i) for i in some],
            "reason": [unreachable[i] for i in some],
        }
        found.warnings.append(
            f"{len(unreachable):,} entries can never be produced ({reasons['merges']:,} by the merges, "
            f"{reasons['cut']:,} because text is always cut or normalised there): their embedding rows learn nothing."
        )
    return found


def evenness(counts: Counts, *, seed: int = 0, alpha: float = 2.5) -> Findings:
    """Renyi efficiency: entropy of order 2.5 of the tokens, over that of as many types in equal use.

    Never an aim by itself: random splitting raises it and makes models worse (arXiv 2402.14614).
    """
    from tokenry.core.numerics import renyi_entropy

    used = counts.tokens_V[counts.tokens_V > 0]
    value = float(renyi_entropy(used, alpha) / np.log(len(used))) if len(used) > 1 else None
    order = np.argsort(-counts.tokens_V, kind="stable")[:20].tolist()
    order = [i for i in order if counts.tokens_V[i]]
    table = {
        "token": [entries.shown(counts.vocab, i) for i in order],
        "count": [int(counts.tokens_V[i]) for i in order],
        "share": [_share(counts.tokens_V[i], counts.n_tokens) for i in order],
    }
    return Findings(facts={"renyi_efficiency": value, "used_tokens": len(used)}, tables={"frequent": table})


def numbers(counts: Counts, *, seed: int = 0) -> Findings:
    """How numbers are cut, alone and behind a space."""
    alone = probes.digit_scheme(counts.vocab, after_space=False, seed=seed)
    spaced = probes.digit_scheme(counts.vocab, after_space=True, seed=seed)
    found = Findings(
        facts={"digit_scheme": alone.name, "digit_scheme.after_space": spaced.name},
        tables={
            "numbers": {
                "number": ["alone", "after a space"],
                "scheme": [alone.name, spaced.name],
                "tokens_per_digit": [alone.tokens_per_digit, spaced.tokens_per_digit],
                "1234567": [alone.example, spaced.example],
            }
        },
    )
    if "left" in alone.name:
        found.notes.append(
            "Digits grouped from the left put different places into one token; arithmetic suffers from it."
        )
    return found


def white_space(counts: Counts, *, seed: int = 0) -> Findings:
    """What runs of white space cost, and whether they survive."""
    runs = probes.space_runs(counts.vocab)
    is_space_V = np.array([entries.is_space(data) for data in counts.vocab.tokens], bool)
    lost = [name for name, (_, kept) in runs.items() if not kept]
    found = Findings(
        facts={"white_space_token_share": _share(counts.tokens_V[is_space_V].sum(), counts.n_tokens)},
        tables={
            "white_space": {
                "run": list(runs),
                "tokens": [n_tokens for n_tokens, _ in runs.values()],
                "survives": [kept for _, kept in runs.values()],
            }
        },
    )
    if lost:
        found.warnings.append(f"White space is not kept: {', '.join(lost)}.")
    return found


def specials(counts: Counts, *, seed: int = 0) -> Findings:
    """Special tokens by role."""
    vocab = counts.vocab
    roles = vocab.specials
    table = {"role": list(roles), "id": list(roles.values()), "token": [vocab.literal(i) for i in roles.values()]}
    in_text = int(counts.tokens_V[sorted(vocab.special_ids - {roles.get("unk", -1)})].sum()) if vocab.special_ids else 0
    found = Findings(facts={"special_tokens": len(vocab.special_ids)}, tables={"specials": table})
    if in_text:
        found.warnings.append(f"The text spells special tokens out {in_text:,} times; they are matched as such.")
    return found
