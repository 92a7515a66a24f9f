"""Judge a tokenizer on a text: what it costs, what it cannot say, what is dead in it; or two of them side by side.

Any format, any text, one pass, exact counts with intervals over documents.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989); see `lenses` for the others.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import resolve
from tokenry.core.intervals import Interval, ratio_change_interval
from tokenry.core.report import Figure, Headline, Report, TokenSample
from tokenry.core.runs import Progress
from tokenry.core.tables import stream
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import SAME, Counts, DocumentCounter
from tokenry.tokenization.entries import shown
from tokenry.tokenization.lenses import BASE, LENSES, Findings, grouped, ratio

_SAMPLES, _SAMPLE_CHARACTERS = 4, 160
_COMPARED_SOURCES = 50


def audit(
    tokenizer: object,
    source: object,
    *,
    lenses: Sequence[str | Callable[..., Findings]] = BASE,
    seed: int = 0,
    **reading: object,
) -> Report:
    """Judge a tokenizer on a text.

    Args:
        tokenizer: whatever `Vocab.open` takes.
        source: documents, as `core.tables.stream` takes them.
        lenses: names of `LENSES`, `"pkg.module:function"`, or functions `lens(counts, *, seed) -> Findings`.
        seed: of the bootstrap and of the probing numbers.
        reading: `text`, `limit`, `skip_bad` and the like, passed to `stream`.

    Returns:
        Report of kind "tokenizer-audit". Facts: n_documents, n_tokens (no bos or eos), n_bytes, bytes_per_token and
        characters_per_token (intervals), tokens_per_word, whole_word_share, round_trip_failures (documents which
        decoding their encoding does not give back exactly), unreachable_tokens, unused_tokens, digit_scheme, ...

    Raises:
        ValueError: an unknown lens, or no text. FileNotFoundError, ImportError: from opening either.
    """
    vocab = Vocab.open(tokenizer)
    chosen = [resolve(lens, LENSES, kind="lens") for lens in lenses]
    names = {lens if isinstance(lens, str) else "" for lens in lenses}
    own = not names <= set(LENSES)
    counter = DocumentCounter(
        vocab,
        words=own or bool(names & {"words", "compression"}),
        round_trip=own or bool(names & {"round_trip", "compression"}),
    )
    excerpts = _feed([counter], source, label=f"auditing {vocab.name}", reading=reading)
    counts = counter.finish()
    if not counts.n_tokens:
        raise ValueError(
            f"{vocab.name} finds no token in {counts.n_documents} documents; need at least one. Is it text?"
        )
    report = Report(kind="tokenizer-audit", title=f"{vocab.name} on {_size(counts)}")
    report.facts["tokenizer"], report.facts["family"] = vocab.name, vocab.family
    for lens in chosen:
        _take_in(report, lens(counts, seed=seed))
    report.samples = [TokenSample(title, [(vocab.name, _cut(vocab, text))]) for title, text in excerpts]
    report.verdict = _verdict(report, counts)
    return report


def compare(first: object, second: object, source: object, *, seed: int = 0, **reading: object) -> Report:
    """Two tokenizers on the same text, side by side; their entries are matched by bytes.

    Args:
        first: whatever `Vocab.open` takes; the one to compare with.
        second: the other.
        source: documents, as `core.tables.stream` takes them; read once.
        seed: of the bootstrap.
        reading: passed to `stream`.

    Returns:
        Report of kind "tokenizer-compare". Facts `<name>.first` and `<name>.second` for what `audit` measures on the
        text, `bytes_per_token.change` (paired interval), shared_tokens, same_segmentation (documents cut into the same
        number of tokens), and samples of both cuts.

    Raises:
        As `audit`.
    """
    vocabs = [Vocab.open(first), Vocab.open(second)]
    counters = [DocumentCounter(vocab) for vocab in vocabs]
    excerpts = _feed(counters, source, label="comparing", reading=reading)
    a, b = counts = [counter.finish() for counter in counters]
    if not (a.n_tokens and b.n_tokens):
        raise ValueError(f"no token found in {a.n_documents} documents; need at least one. Is it text?")
    names = _names(*vocabs)
    report = Report(kind="tokenizer-compare", title=f"{names[0]} and {names[1]} on {_size(a)}")
    report.facts |= {"tokenizer.first": names[0], "tokenizer.second": names[1], "n_bytes": a.n_bytes}
    report.facts |= {"n_documents": a.n_documents, "n_characters": int(a.characters_D.sum())}
    _measure_both(report, counts, seed)
    _share_entries(report, vocabs)
    _lay_sources(report, counts, names)
    report.samples = [
        TokenSample(title, [(name, _cut(vocab, text)) for name, vocab in zip(names, vocabs, strict=True)])
        for title, text in excerpts
    ]
    report.verdict = _comparison(report, names)
    return report


def _feed(counters: list[DocumentCounter], source: object, *, label: str, reading: dict) -> list[tuple[str, str]]:
    """Show every document to every counter; returns a few excerpts (title, text) of different sources."""
    excerpts: dict[str, str] = {}
    with Progress(label) as progress:
        for batch in stream(source, **reading):
            for text, origin in _documents(batch):
                for counter in counters:
                    counter.add(text, origin)
                if origin not in excerpts and len(excerpts) < _SAMPLES and text.strip():
                    excerpts[origin] = _excerpt(text)
            progress.add(batch.num_rows)
    return [(origin or "the first document", text) for origin, text in excerpts.items()]


def _documents(batch: pa.RecordBatch) -> Iterator[tuple[str, str]]:
    texts, origins = batch.column("text").to_pylist(), batch.column("source").to_pylist()
    return ((text, origin or "") for text, origin in zip(texts, origins, strict=True) if text is not None)


def _excerpt(text: str) -> str:
    """The beginning of a text, cut at a space where there is one."""
    text = text.strip()
    if len(text) <= _SAMPLE_CHARACTERS:
        return text
    head = text[:_SAMPLE_CHARACTERS]
    return head[: head.rfind(" ")] if " " in head[_SAMPLE_CHARACTERS // 2 :] else head


def _cut(vocab: Vocab, text: str) -> list[str]:
    return [shown(vocab, int(i)) for i in vocab.encode([text])[0]]


def _take_in(report: Report, findings: Findings) -> None:
    report.facts |= findings.facts
    report.tables |= {name: pa.table(columns) for name, columns in findings.tables.items()}
    report.figures += findings.figures
    report.warnings += findings.warnings
    report.notes += findings.notes


def _size(counts: Counts) -> str:
    return f"{counts.n_bytes / 1e6:,.2f} MB in {counts.n_documents:,} documents"


def _verdict(report: Report, counts: Counts) -> str:
    facts = report.facts
    said = []
    if rate := facts.get("bytes_per_token"):
        said.append(f"{rate} on this text")
    if rate := facts.get("tokens_per_word"):
        said.append(f"{rate.value:.3g} tokens a word")
    if "round_trip_failures" in facts:
        failures = facts["round_trip_failures"]
        said.append("every document comes back exactly" if not failures else f"{failures:,} documents do not come back")
    if facts.get("unreachable_tokens"):
        said.append(f"{facts['unreachable_tokens']:,} of {counts.vocab.size:,} entries can never occur")
    return "; ".join(said) + "." if said else ""


def _names(first: Vocab, second: Vocab) -> tuple[str, str]:
    """Their names, told apart where they are the same."""
    if first.name != second.name:
        return first.name, second.name
    return f"{first.name} (first)", f"{second.name} (second)"


def _measure_both(report: Report, counts: list[Counts], seed: int) -> None:
    """Facts of both, the paired change of bytes per token, and the table of measures side by side."""
    measures: dict[str, list] = {"n_tokens": [c.n_tokens for c in counts], "vocab_size": [c.vocab.size for c in counts]}
    for name, part, whole, unit in (
        ("bytes_per_token", "bytes_D", "tokens_D", "bytes/token"),
        ("characters_per_token", "characters_D", "tokens_D", "characters/token"),
        ("tokens_per_word", "word_tokens_D", "words_D", "tokens/word"),
        ("whole_word_share", "whole_words_D", "words_D", ""),
    ):
        measures[name] = [ratio(getattr(c, part), getattr(c, whole), seed=seed, unit=unit) for c in counts]
    measures["round_trip_failures"] = [int((c.round_trip_D != SAME).sum()) for c in counts]
    measures["used_tokens"] = [int((c.tokens_V > 0).sum()) for c in counts]
    for name, pair in measures.items():
        report.facts |= {f"{name}.first": pair[0], f"{name}.second": pair[1]}
    a, b = counts
    both = grouped(a.bytes_D, a.tokens_D, b.tokens_D, seed=seed)
    change = ratio_change_interval((both[0], both[1]), (both[0], both[2]), seed=seed, unit="bytes/token")
    report.facts["bytes_per_token.change"] = change
    report.facts["same_number_of_tokens_share"] = float(np.mean(a.tokens_D == b.tokens_D))
    before, after = measures["bytes_per_token"]
    report.headline.append(Headline("Bytes per token", before, after, "bytes/token", "higher", change))
    report.tables["measures"] = pa.table(
        {
            "measure": list(measures),
            "first": [_written(pair[0]) for pair in measures.values()],
            "second": [_written(pair[1]) for pair in measures.values()],
        }
    )


def _written(value: Interval | float | None) -> str:
    """A measure as text, since one column holds counts, rates and shares."""
    if value is None or isinstance(value, Interval):
        return str(value or "none")
    return f"{value:,}"


def _share_entries(report: Report, vocabs: list[Vocab]) -> None:
    first, second = (set(vocab.index) for vocab in vocabs)
    shared = len(first & second)
    report.facts |= {
        "shared_tokens": shared,
        "only_first": len(first) - shared,
        "only_second": len(second) - shared,
        "jaccard": shared / len(first | second) if first | second else 1.0,
        "same_vocabulary": vocabs[0].tokens == vocabs[1].tokens,
    }
    report.notes.append("Entries are shared when they add the same bytes to a text, whatever their ids and spelling.")


def _lay_sources(report: Report, counts: list[Counts], names: tuple[str, str]) -> None:
    a, b = counts
    if len(a.sources) < 2:
        return
    n = len(a.sources)
    n_bytes, first, second = (
        np.bincount(a.source_D, weights=column_D, minlength=n).astype(np.int64)
        for column_D in (a.bytes_D, a.tokens_D, b.tokens_D)
    )
    order = [int(s) for s in np.argsort(-n_bytes, kind="stable") if first[s] and second[s]][:_COMPARED_SOURCES]
    report.tables["sources"] = pa.table(
        {
            "source": [a.sources[s] for s in order],
            "bytes": n_bytes[order],
            "tokens_first": first[order],
            "tokens_second": second[order],
            "bytes_per_token_first": n_bytes[order] / first[order],
            "bytes_per_token_second": n_bytes[order] / second[order],
            "second_over_first": second[order] / first[order],
        }
    )
    series = {
        name: [(a.sources[s], n_bytes[s] / tokens[s]) for s in order]
        for name, tokens in zip(names, (first, second), strict=True)
    }
    report.figures.append(
        Figure("bar", "Bytes per token by source", "source", "bytes per token", series, "bytes/token")
    )


def _comparison(report: Report, names: tuple[str, str]) -> str:
    before, after = report.facts["n_tokens.first"], report.facts["n_tokens.second"]
    change = report.facts["bytes_per_token.change"]
    said = (
        f"{names[1]} needs {abs(after / before - 1):.1%} {'fewer' if after < before else 'more'} tokens than {names[0]}"
    )
    if before == after:
        said = f"{names[1]} and {names[0]} need equally many tokens"
    if not (change.low > 0 or change.high < 0) and before != after:
        said += ", which other documents of this kind might turn round"
    return f"{said}; {report.facts['shared_tokens']:,} entries are shared."
