"""Judge a tokenizer on a text: what it costs, what it cannot say, what is dead in it.

Any format, any text, one pass, exact counts with intervals over documents.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989); see `lenses` for the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from tokenry.core.choosing import resolve, suggest
from tokenry.core.report import Report, TokenSample
from tokenry.core.vocab import Vocab
from tokenry.tokenization.comparing import compare
from tokenry.tokenization.counting import Counts, DocumentCounter
from tokenry.tokenization.findings import Findings
from tokenry.tokenization.lenses import BASE, LENSES, MATERIAL, material_for
from tokenry.tokenization.reading import Reading, cut_shown, size_of

__all__ = ["audit", "compare"]

_BY_SOURCE = {"languages", "completeness"}
_BY_WORD = {"words", "compression"}
_BY_ROUND_TRIP = {"round_trip", "compression"}


def audit(
    tokenizer: object,
    source: object,
    *,
    lenses: Sequence[str | Callable[..., Findings]] = BASE,
    material: Mapping[str, object] | None = None,
    seed: int = 0,
    **reading: object,
) -> Report:
    """Judge a tokenizer on a text.

    Args:
        tokenizer: whatever `Vocab.open` takes.
        source: documents, as `core.tables.stream` takes them; or a folder of plain text files, one for each language
            and a document a line (see `reading.Reading`).
        lenses: names of `LENSES`, `"pkg.module:function"`, or functions `lens(counts, *, seed) -> Findings`.
        material: what lenses ask for besides the text, by the names of `lenses.MATERIAL`; those it calls for run
            without being named.
        seed: of the bootstrap and of the probing numbers.
        reading: `text`, `limit`, `skip_bad` and the like, passed to `stream`.

    Returns:
        Report of kind "tokenizer-audit". Facts: n_documents, n_tokens (no bos or eos), n_bytes, bytes_per_token and
        characters_per_token (intervals), tokens_per_word, whole_word_share, round_trip_failures (documents which
        decoding their encoding does not give back exactly), unreachable_tokens, unused_tokens, digit_scheme, ...

    Raises:
        ValueError: an unknown lens or material, a lens without its material, or no text. FileNotFoundError,
            ImportError: from opening any of them.
    """
    material = _checked(material or {})
    chosen = _chosen(lenses, material)
    vocab = Vocab.open(tokenizer)
    names = {name for name, _, _ in chosen}
    counter = _counter(vocab, names, own=not names <= set(LENSES))
    counters = [counter]
    if "reference" in material:
        counters.append(DocumentCounter(Vocab.open(material["reference"]), words=False, round_trip=False))
    read = Reading(source, **reading)
    excerpts = read.feed(counters, label=f"auditing {vocab.name}")
    counts = counter.finish()
    if not counts.n_tokens:
        raise ValueError(
            f"{vocab.name} finds no token in {counts.n_documents} documents; need at least one. Is it text?"
        )
    if len(counters) > 1:
        counts = replace(counts, reference=counters[1].finish())
    report = Report(kind="tokenizer-audit", title=f"{vocab.name} on {size_of(counts)}")
    report.facts["tokenizer"], report.facts["family"] = vocab.name, vocab.family
    for _, lens, keywords in chosen:
        _take_in(report, lens(counts, seed=seed, **keywords))
    report.samples = [TokenSample(title, [(vocab.name, cut_shown(vocab, text))]) for title, text in excerpts]
    report.verdict = _verdict(report, counts)
    return report


def _checked(material: Mapping[str, object]) -> dict[str, object]:
    """The material that is given.

    Raises:
        ValueError: for a name no lens asks for.
    """
    for key in material:
        if key not in MATERIAL:
            known = ", ".join(MATERIAL)
            raise ValueError(f"no lens asks for the material {key!r}.{suggest(key, MATERIAL)} Known: {known}.")
    return {key: value for key, value in material.items() if value is not None}


def _chosen(
    lenses: Sequence[str | Callable[..., Findings]], material: Mapping[str, object]
) -> list[tuple[str, Callable[..., Findings], dict[str, object]]]:
    """Name, function and keywords of every lens to run: those named, then those the material calls for."""
    chosen = []
    for lens in lenses:
        name = lens if isinstance(lens, str) else ""
        function = resolve(lens, LENSES, kind="lens")
        chosen.append((name, function, material_for(function, material, name=name or "given") or {}))
    for name in LENSES:
        if material and name not in {own for own, _, _ in chosen} and name not in BASE:
            function = resolve(name, LENSES, kind="lens")
            if (keywords := material_for(function, material, name="")) is not None:
                chosen.append((name, function, keywords))
    used = {"reference"}.union(*(keywords for _, _, keywords in chosen))
    if idle := sorted(set(material) - used):
        raise ValueError(
            f"nothing uses {', '.join(f'--{key}' for key in idle)} here: no lens that runs asks for it by itself. "
            "Name the lens (--lens), or give what goes with it (--affixes and --lang go with --lexicon)."
        )
    return chosen


def _counter(vocab: Vocab, names: set[str], *, own: bool) -> DocumentCounter:
    return DocumentCounter(
        vocab,
        words=own or bool(names & _BY_WORD),
        round_trip=own or bool(names & _BY_ROUND_TRIP),
        by_source=own or bool(names & _BY_SOURCE),
    )


def _take_in(report: Report, findings: Findings) -> None:
    report.facts |= findings.facts
    report.tables |= {name: pa.table(columns) for name, columns in findings.tables.items()}
    report.figures += findings.figures
    report.warnings += findings.warnings
    report.notes += findings.notes


def _verdict(report: Report, counts: Counts) -> str:
    facts = report.facts
    said = []
    if rate := facts.get("bytes_per_token"):
        said.append(f"{rate} on this text")
    if rate := facts.get("tokens_per_word"):
        said.append(f"{rate.value:.3g} tokens a word")
    if rate := facts.get("normalised_sequence_length"):
        said.append(f"{rate.value:.3g} times the tokens of {facts['reference']}")
    if "round_trip_failures" in facts:
        failures = facts["round_trip_failures"]
        said.append("every document comes back exactly" if not failures else f"{failures:,} documents do not come back")
    if facts.get("unreachable_tokens"):
        said.append(f"{facts['unreachable_tokens']:,} of {counts.vocab.size:,} entries can never occur")
    if premium := facts.get("parity.highest"):
        language, pivot = facts["parity.highest.language"], facts["parity.pivot"]
        said.append(f"{language} needs {premium:.3g} times the tokens of {pivot}")
    return "; ".join(said) + "." if said else ""
