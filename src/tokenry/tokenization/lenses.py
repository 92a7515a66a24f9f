"""The lenses of an audit: each looks at the counts of one tokenizer on one text and returns what it found.

A lens is `lens(counts, *, seed) -> Findings`. Your own is named on the command line as `pkg.module:function`. One that
needs more than the text asks for it by keyword, from the closed list `MATERIAL`.

Papers: How Good is Your Tokenizer? (arXiv 2012.15613; fertility), Tokenization and the Noiseless Channel (arXiv
2306.16842; Renyi efficiency), Beyond Fertility (arXiv 2510.09947; whole-word share), Getting the most out of your
tokenizer (arXiv 2402.01035; normalised sequence length).
"""

import inspect
from collections.abc import Callable, Mapping

import numpy as np

from tokenry.core.intervals import Interval
from tokenry.core.numerics import renyi_entropy
from tokenry.core.report import Figure
from tokenry.tokenization import entries, probes
from tokenry.tokenization.counting import BROKEN, NORMALISED, SAME, Counts
from tokenry.tokenization.findings import Findings, grouped, ratio, rows_as_columns, share

__all__ = ["BASE", "LENSES", "MATERIAL", "Findings", "grouped", "material_for", "ratio", "renyi_efficiency"]

_RESAMPLES = 200
_HERE, _ROOM = "tokenry.tokenization.lenses", "tokenry.tokenization"
LENSES = {
    "compression": f"{_HERE}:compression",
    "words": f"{_HERE}:words",
    "completeness": f"{_ROOM}.completeness:completeness",
    "round_trip": f"{_HERE}:round_trip",
    "unicode": f"{_ROOM}.unicode_coverage:unicode_coverage",
    "scripts": f"{_ROOM}.vocabulary_lenses:scripts",
    "languages": f"{_ROOM}.language_use:languages",
    "classes": f"{_ROOM}.vocabulary_lenses:classes",
    "reachability": f"{_ROOM}.vocabulary_lenses:reachability",
    "evenness": f"{_HERE}:evenness",
    "numbers": f"{_HERE}:numbers",
    "white_space": f"{_HERE}:white_space",
    "code": f"{_ROOM}.code_use:code",
    "specials": f"{_ROOM}.vocabulary_lenses:specials",
    "parity": f"{_ROOM}.parity:parity",
    "morphology": f"{_ROOM}.language_purity:morphology",
    "undertrained": f"{_ROOM}.undertrained:undertrained",
    "terms": f"{_ROOM}.domain_terms:terms",
    "noise": f"{_ROOM}.noise:noise",
    "compounds": f"{_ROOM}.compound_audit:compounds",
    "effort": f"{_ROOM}.effort:effort",
}
"""Every lens by name."""
_ASKED_FOR = ("parity", "morphology", "undertrained", "terms", "noise", "compounds", "effort")
BASE = tuple(name for name in LENSES if name not in _ASKED_FOR)
"""Those that need nothing but the text; they run unless others are named."""

MATERIAL = {
    "model": "the folder of a model, for its embeddings",
    "parallel": "line-aligned texts: a folder with one file for each language, or a table (language, line, text)",
    "lexicon": "a word list of the language",
    "affixes": "a list of its affixes",
    "analyzer": "a morphological analyser, by name",
    "gold": "words with their gold segmentation",
    "terms": "a list of domain terms",
    "reference": "another tokenizer, to compare with",
    "lang": "the language, as a code",
    "pairs": "clean and noisy texts, tab-separated",
}
"""What a lens may ask for besides the text, by the name of its keyword."""
_SAYS_NOTHING_ALONE = ("lang", "reference", "affixes")
_MOST_SOURCES = 50


def material_for(
    lens: Callable[..., Findings], material: Mapping[str, object], *, name: str
) -> dict[str, object] | None:
    """The part of the material that a lens asks for by keyword.

    Returns:
        The keywords to pass; None where nothing given calls for this lens: it asks for none of it, or needs more.

    Raises:
        ValueError: if `name` is not empty and what the lens needs is not given.
    """
    asked = {p.name: p for p in inspect.signature(lens).parameters.values() if p.kind is p.KEYWORD_ONLY}
    asked = {key: parameter for key, parameter in asked.items() if key in MATERIAL}
    given = {key: material[key] for key in asked if material.get(key) is not None}
    missing = [key for key, parameter in asked.items() if parameter.default is parameter.empty and key not in given]
    if missing and name:
        wanted = "; ".join(f"--{key} ({MATERIAL[key]})" for key in missing)
        raise ValueError(f"the lens {name!r} needs {wanted}. Give it, or leave the lens out.")
    if missing or (not name and not set(given) - set(_SAYS_NOTHING_ALONE)):
        return None
    return given


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
    if (reference := counts.reference) is not None:
        length = ratio(counts.tokens_D, reference.tokens_D, seed=seed)
        found.facts |= {"reference": reference.vocab.name, "normalised_sequence_length": length}
        found.notes.append(
            f"Normalised sequence length: tokens over those of {reference.vocab.name} on the same documents (paired)."
        )
    if counts.n_documents < 10:
        found.warnings.append(f"Intervals rest on {counts.n_documents} document(s); read them as 'at least this wide'.")
    if len(counts.sources) > 1:
        rows = _by_source(counts, seed)
        found.tables["sources"] = rows_as_columns(rows)
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
                "tokens_per_word": share(counts.word_tokens_D[of_D].sum(), words_D.sum()),
                "whole_word_share": share(counts.whole_words_D[of_D].sum(), words_D.sum()),
                "round_trip_failures": int((counts.round_trip_D[of_D] != SAME).sum()),
            }
        )
    return rows


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


def renyi_efficiency(counts_V: np.ndarray, alpha: float = 2.5, *, n_types: int | None = None) -> float | None:
    """Renyi entropy of a token distribution over that of `n_types` types in equal use.

    Args:
        counts_V: how often each token occurs; zeros are left out.
        alpha: order; 2.5 in the paper, 3.0 by default in its package `tokenization-scorer`. 1 is Shannon's.
        n_types: size of the vocabulary to compare with; None takes the types that occur, as the package does.

    Returns:
        The efficiency; None for fewer than two types.

    Paper: Tokenization and the Noiseless Channel (arXiv 2306.16842), section 4.
    """
    used = np.asarray(counts_V)[np.asarray(counts_V) > 0]
    n_types = len(used) if n_types is None else n_types
    return float(renyi_entropy(used, alpha) / np.log(n_types)) if n_types > 1 and len(used) else None


def evenness(counts: Counts, *, seed: int = 0, alpha: float = 2.5) -> Findings:
    """Renyi efficiency: entropy of order 2.5 of the tokens, over that of as many types in equal use.

    Never an aim by itself: random splitting raises it and makes models worse (arXiv 2402.14614).
    """
    used = counts.tokens_V[counts.tokens_V > 0]
    value = _renyi_interval(counts, alpha, seed)
    order = np.argsort(-counts.tokens_V, kind="stable")[:20].tolist()
    order = [i for i in order if counts.tokens_V[i]]
    table = {
        "token": [entries.shown(counts.vocab, i) for i in order],
        "count": [int(counts.tokens_V[i]) for i in order],
        "share": [share(counts.tokens_V[i], counts.n_tokens) for i in order],
    }
    return Findings(facts={"renyi_efficiency": value, "used_tokens": len(used)}, tables={"frequent": table})


def _renyi_interval(counts: Counts, alpha: float, seed: int) -> Interval:
    """Renyi efficiency of all tokens, with an interval from resampled documents.

    Tokens are kept in sum only; so up to 1,000 documents drawn at random are encoded again, and what resampling them
    changes is scaled to the number of documents there are.
    """
    value, n_docs = renyi_efficiency(counts.tokens_V, alpha), len(counts.tokens_D)
    encoded = [ids for ids in counts.vocab.encode([text for _, text in counts.sample]) if len(ids)]
    if n_docs < 2 or len(encoded) < 2:
        return Interval(value, float("nan"), float("nan"), n_docs)
    used, flat = np.unique(np.concatenate(encoded), return_inverse=True)
    owner = np.repeat(np.arange(len(encoded)), [len(ids) for ids in encoded])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(encoded), np.full(len(encoded), 1 / len(encoded)), _RESAMPLES)
    found = [renyi_efficiency(np.bincount(flat, weights=w[owner], minlength=len(used)), alpha) for w in draws]
    drawn = np.array([one for one in found if one is not None])
    if value is None or len(drawn) < _RESAMPLES:  # too few kinds of tokens for an entropy of their use
        return Interval(float("nan") if value is None else value, float("nan"), float("nan"), n_docs)
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]) - drawn.mean())
    scale = (len(encoded) / n_docs) ** 0.5
    return Interval(value, value + scale * low, value + scale * high, n_docs)


def numbers(counts: Counts, *, seed: int = 0) -> Findings:
    """How numbers are cut, alone and behind a space."""
    alone = probes.digit_scheme(counts.vocab, after_space=False, seed=seed)
    spaced = probes.digit_scheme(counts.vocab, after_space=True, seed=seed)
    strings = probes.digit_strings(counts.vocab)
    found = Findings(
        facts={
            "digit_scheme": alone.name,
            "digit_scheme.after_space": spaced.name,
            "digit_strings": sum(n for n, _ in strings.values()),
            "digit_strings.of": sum(10**size for size in strings),
        },
        tables={
            "digit_strings": {
                "digits": list(strings),
                "strings": [10**size for size in strings],
                "entries": [n for n, _ in strings.values()],
                "entries_after_space": [n for _, n in strings.values()],
            },
            "numbers": {
                "number": ["alone", "after a space"],
                "scheme": [alone.name, spaced.name],
                "tokens_per_digit": [alone.tokens_per_digit, spaced.tokens_per_digit],
                "1234567": [alone.example, spaced.example],
            },
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
        facts={"white_space_token_share": share(counts.tokens_V[is_space_V].sum(), counts.n_tokens)},
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
