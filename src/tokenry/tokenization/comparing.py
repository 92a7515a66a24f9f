"""Any number of tokenizers on the same text, side by side: paired intervals, languages, parity, shared entries.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989), Language Model Tokenizers Introduce Unfairness Between Languages (arXiv 2305.15425).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval, ratio_change_interval
from tokenry.core.report import Figure, Headline, Report, TokenSample
from tokenry.core.report_text import format_range, format_value
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import SAME, Counts, DocumentCounter
from tokenry.tokenization.families import check_names, lay_relations, pair_rows
from tokenry.tokenization.findings import grouped, ratio, rows_as_columns
from tokenry.tokenization.lenses import renyi_efficiency
from tokenry.tokenization.naming import short_names
from tokenry.tokenization.parity import Parallel, line_tokens, premiums, read_parallel
from tokenry.tokenization.reading import Reading, cut_shown, size_of

# Axes: T tokenizers, D documents, S sources.

_MOST_SOURCES, _MOST_BARS = 300, 24
_PROBES = 200
_RATES = (
    ("bytes_per_token", "bytes_D", "tokens_D", "bytes/token", "higher"),
    ("characters_per_token", "characters_D", "tokens_D", "characters/token", "higher"),
    ("words_per_token", "words_D", "tokens_D", "words/token", "higher"),
    ("tokens_per_word", "word_tokens_D", "words_D", "tokens/word", "lower"),
    ("whole_word_share", "whole_words_D", "words_D", "", "higher"),
)


def compare(
    tokenizers: Sequence[object],
    source: object,
    *,
    names: Sequence[str] | None = None,
    reference: object | None = None,
    parallel: object | None = None,
    n_samples: int = 24,
    seed: int = 0,
    **reading: object,
) -> Report:
    """Lay tokenizers side by side on one text, read once.

    Args:
        tokenizers: two or more, each whatever `Vocab.open` takes.
        source: documents, as for `audit`. A folder of line-aligned languages also gives the parity table.
        names: what to call them; None takes short names from their files.
        reference: the one the others are measured against: an entry of `names`, or a tokenizer more, which comes
            first; None takes the first.
        parallel: line-aligned texts for parity, where `source` is none such; see `parity.read_parallel`.
        n_samples: texts shown cut by every tokenizer.
        seed: of the bootstrap.
        reading: passed to `stream`.

    Returns:
        Report of kind "tokenizer-compare". Facts `<measure>.<name>`, `normalised_sequence_length.<name>` and
        `bytes_per_token.change.<name>` against the reference (paired intervals). Tables: measures and rates (all
        measures with intervals), sources, pairs, similarity, groups, entries; premiums and parity with parallel text.

    Raises:
        ValueError: fewer than two tokenizers, an unknown reference, or no text. Else as `audit`.
    """
    vocabs, names, first = _opened(tokenizers, names, reference)
    read = Reading(source, **reading)
    counters = [DocumentCounter(vocab) for vocab in vocabs]
    excerpts = read.feed(counters, label=f"comparing {len(vocabs)} tokenizers", n_excerpts=n_samples)
    counts = [counter.finish() for counter in counters]
    if not all(own.n_tokens for own in counts):
        raise ValueError(f"no token found in {counts[0].n_documents} documents; need at least one. Is it text?")
    report = Report(kind="tokenizer-compare", title=f"{_listed(names)} on {size_of(counts[0], read.parallel)}")
    report.facts |= {"reference": names[first], "n_tokenizers": len(names), "n_documents": counts[0].n_documents}
    report.facts["n_bytes"], report.facts["n_characters"] = counts[0].n_bytes, int(counts[0].characters_D.sum())
    _measure(report, counts, names, first=first, seed=seed)
    _lay_sources(report, counts, names)
    aligned = read.parallel if parallel is None else read_parallel(parallel)
    if aligned is not None:
        known = counts if parallel is None else None
        _lay_parity(report, vocabs, names, parallel=aligned, counts=known, seed=seed)
    lay_relations(report, names, [frozenset(vocab.index) for vocab in vocabs])
    probes = [text for _, text in counts[0].sample[:_PROBES]]
    report.tables["pairs"] = pa.table(rows_as_columns(pair_rows(vocabs, names, probes=probes)))
    report.samples = [
        TokenSample(title, [(name, cut_shown(vocab, text)) for name, vocab in zip(names, vocabs, strict=True)])
        for title, text in excerpts
    ]
    report.verdict = _verdict(report, names, first)
    report.notes += _notes(names[first], len(probes))
    return report


def _opened(
    tokenizers: Sequence[object], names: Sequence[str] | None, reference: object | None
) -> tuple[list[Vocab], list[str], int]:
    """The tokenizers, their names, and which of them is the reference."""
    given = list(tokenizers)
    known = isinstance(reference, str) and (names is not None and reference in names)
    if reference is not None and not known and reference not in given:
        given.insert(0, reference)
        names = None if names is None else ["reference", *names]
    if len(given) < 2:
        raise ValueError(f"{len(given)} tokenizer to compare; need at least two.")
    vocabs = [Vocab.open(tokenizer) for tokenizer in given]
    names = short_names(vocabs, given) if names is None else check_names(names, len(vocabs))
    return vocabs, names, 0 if reference is None else names.index(reference) if known else given.index(reference)


def _notes(reference: str, n_probes: int) -> list[str]:
    return [
        f"Changes and ratios are against {reference}, paired over the same documents; 95 % intervals.",
        f"Pairs: the same token set, the same id for each token and the same cut of {n_probes:,} sampled texts are "
        "three different things; merge_order is Kendall's tau of the order of the shared merges.",
    ]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= 6 else f"{len(names)} tokenizers"


def _measure(report: Report, counts: list[Counts], names: list[str], *, first: int, seed: int) -> None:
    """Facts, the table of measures side by side, and all rates with their intervals."""
    measures: dict[str, list] = {}
    for name, part, whole, unit, _ in _RATES:
        measures[name] = [ratio(getattr(c, part), getattr(c, whole), seed=seed, unit=unit) for c in counts]
    base = counts[first]
    measures["normalised_sequence_length"] = [ratio(c.tokens_D, base.tokens_D, seed=seed) for c in counts]
    measures["renyi_efficiency"] = [renyi_efficiency(c.tokens_V) for c in counts]
    measures["round_trip_failures"] = [int((c.round_trip_D != SAME).sum()) for c in counts]
    measures["n_tokens"] = [c.n_tokens for c in counts]
    measures["vocab_size"] = [c.vocab.size for c in counts]
    measures["used_tokens"] = [int((c.tokens_V > 0).sum()) for c in counts]
    for name, values in measures.items():
        report.facts |= {f"{name}.{own}": value for own, value in zip(names, values, strict=True)}
    for i, (own, count) in enumerate(zip(names, counts, strict=True)):
        if i == first:
            continue
        both = grouped(base.bytes_D, base.tokens_D, count.tokens_D, seed=seed)
        change = ratio_change_interval((both[0], both[1]), (both[0], both[2]), seed=seed, unit="bytes/token")
        report.facts[f"bytes_per_token.change.{own}"] = change
        report.facts[f"same_number_of_tokens_share.{own}"] = float(np.mean(base.tokens_D == count.tokens_D))
        if len(names) == 2:  # of more, none is the one before
            before, after = measures["bytes_per_token"][first], measures["bytes_per_token"][i]
            report.headline.append(Headline("Bytes per token", before, after, "bytes/token", "higher", change))
    report.tables["measures"] = pa.table(
        {"measure": list(measures)}
        | {own: [_written(values[i]) for values in measures.values()] for i, own in enumerate(names)}
    )
    rows = [
        {"measure": name, "tokenizer": own, "value": v.value, "low": v.low, "high": v.high, "n": v.n}
        for name, values in measures.items()
        for own, v in zip(names, values, strict=True)
        if isinstance(v, Interval)
    ]
    report.tables["rates"] = pa.table(rows_as_columns(rows))


def _written(value: Interval | float | None) -> str:
    """A measure as text, since one column holds counts, rates and shares."""
    if isinstance(value, Interval):
        return f"{format_value(value)} {format_range(value).replace(' ', chr(0xA0))}".strip()
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _lay_sources(report: Report, counts: list[Counts], names: list[str]) -> None:
    sources = counts[0].sources
    if len(sources) < 2:
        return
    source_D, n = counts[0].source_D, len(sources)
    bytes_S = np.bincount(source_D, weights=counts[0].bytes_D, minlength=n).astype(np.int64)
    tokens_TS = np.stack([np.bincount(source_D, weights=c.tokens_D, minlength=n).astype(np.int64) for c in counts])
    order = [int(s) for s in np.argsort(-bytes_S, kind="stable") if tokens_TS[:, s].all()][:_MOST_SOURCES]
    columns: dict[str, list] = {"source": [sources[s] for s in order], "bytes": bytes_S[order].tolist()}
    columns |= {f"bytes/token {name}": (bytes_S / np.maximum(tokens_TS[t], 1))[order] for t, name in enumerate(names)}
    columns |= {f"tokens {name}": tokens_TS[t, order].tolist() for t, name in enumerate(names)}
    report.tables["sources"] = pa.table(columns)
    shown = order[:_MOST_BARS]
    series = {name: [(sources[s], bytes_S[s] / tokens_TS[t, s]) for s in shown] for t, name in enumerate(names[:8])}
    title = "Bytes per token by source"
    report.figures.append(Figure("bar", title, "source", "bytes per token", series, "bytes/token"))


def _lay_parity(
    report: Report,
    vocabs: list[Vocab],
    names: list[str],
    *,
    parallel: Parallel,
    counts: list[Counts] | None,
    seed: int,
) -> None:
    """The premium of every language with every tokenizer; the tokens are those already counted where they are."""
    pivot, rows = parallel.pivot(), []
    for t, (vocab, name) in enumerate(zip(vocabs, names, strict=True)):
        known_D = None if counts is None else counts[t].tokens_D
        tokens_LD = line_tokens(vocab, parallel) if known_D is None else known_D.reshape(len(parallel.names), -1)
        rows += [{"tokenizer": name} | row for row in premiums(tokens_LD, parallel.names, pivot=pivot, seed=seed)]
    report.tables["premiums"] = pa.table(rows_as_columns(rows))
    premium = {(row["tokenizer"], row["language"]): row["premium"] for row in rows}
    languages = sorted(parallel.names, key=lambda language: -premium[names[0], language])
    report.tables["parity"] = pa.table(
        {"language": languages}
        | {name: [premium[name, language] for language in languages] for name in names}
        | {"lines": [len(parallel.lines[0])] * len(languages)}
    )
    report.facts["parity.pivot"] = parallel.names[pivot]
    for name in names:
        values = [v for (own, language), v in premium.items() if own == name and language != parallel.names[pivot]]
        report.facts |= {f"parity.highest.{name}": max(values), f"parity.median.{name}": float(np.median(values))}
    report.notes.append(
        f"Parity: tokens of a language over tokens of {parallel.names[pivot]} on the same {len(parallel.lines[0]):,} "
        "lines; the table of premiums has intervals over lines, paired. The median leaves that language out."
    )


def _verdict(report: Report, names: list[str], first: int) -> str:
    facts = report.facts
    tokens = {name: facts[f"n_tokens.{name}"] for name in names}
    best = min(names, key=lambda name: (tokens[name], name != names[first]))
    if len(names) > 2:
        worst = max(names, key=tokens.get)
        times = f"{tokens[worst] / tokens[best]:.2f} times as many"
        said = f"{best} needs the fewest tokens for this text, {worst} the most ({times})"
        if "parity.pivot" in facts:
            fair = min(names, key=lambda name: facts[f"parity.median.{name}"])
            said += f"; {fair} is the most even over languages (median premium {facts[f'parity.median.{fair}']:.2f})"
        return f"{said}; {facts['core_tokens']:,} entries are in all {len(names)}."
    other = names[1 - first]
    before, after = tokens[names[first]], tokens[other]
    change = facts[f"bytes_per_token.change.{other}"]
    if before == after:
        said = f"{other} and {names[first]} need equally many tokens"
    else:
        direction = "fewer" if after < before else "more"
        said = f"{other} needs {abs(after / before - 1):.1%} {direction} tokens than {names[first]}"
        if not (change.low > 0 or change.high < 0):
            said += ", which other documents of this kind might turn round"
    return f"{said}; {facts['core_tokens']:,} entries are shared."
