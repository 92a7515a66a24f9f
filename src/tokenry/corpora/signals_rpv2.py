"""The quality signals of RedPajama-V2, each by its published definition, but computed for a whole batch at once.

Names are those of the data set without their `rps_`; values are not rounded (the data set rounds to 8 decimals). The
signals of the ccnet record and those of trained models have families of their own.

Paper: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.corpora import repeat_kernels as kernels
from tokenry.corpora import word_kernels
from tokenry.corpora.characters import BULLET, LATIN, LOWER, UPPER
from tokenry.corpora.families import FLOAT, SPANS, WHOLE, Family, Material, spans_column
from tokenry.corpora.prepared import Prepared, Spans, hashed, is_among, share

__all__ = ["RPV2", "RPV2_LINES"]

_TOP, _DUPLICATES = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def _document_signals(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    raw, norm, lines = prepared.tokens, prepared.folded, prepared.lines
    n_raw, n_norm = raw.counts, norm.counts
    some, _ = prepared.bits(raw)
    distinct, entropy = kernels.spread_of(*norm.firsts, norm.offsets)
    letters = norm.sums(norm.sizes)
    symbols = prepared.count("#") + prepared.dots + prepared.count("…")
    ellipsis = prepared.ends_with(prepared.strip(lines), "...", "…")
    capitals = (some & UPPER != 0) & (some & LOWER == 0)
    made = {
        "doc_num_sentences": prepared.sentences,
        "doc_word_count": n_norm,
        "doc_mean_word_length": share(letters, n_norm),
        "doc_symbol_to_word_ratio": share(symbols, n_raw),
        "doc_frac_lines_end_with_ellipsis": share(lines.sums(ellipsis), lines.counts),
        "doc_frac_no_alph_words": 1.0 - share(raw.sums(some & LATIN != 0), n_raw),
        "doc_frac_unique_words": share(distinct, n_norm),
        "doc_unigram_entropy": entropy,
        "doc_frac_all_caps_words": share(raw.sums(capitals), n_raw),
        "doc_curly_bracket": share(prepared.count("{") + prepared.count("}"), prepared.lengths, empty=0.0),
        "doc_lorem_ipsum": _lorem_ipsum(prepared),
        "doc_stop_word_fraction": _stop_words(prepared, material),
        "doc_ldnoobw_words": _bad_words(prepared, material),
        "doc_ut1_blacklist": _ut1(prepared, batch, material),
    }
    repeats = norm.repeats
    for n in _TOP:
        top = repeats[:, n, kernels.TOP_COUNT] * repeats[:, n, kernels.TOP_CHARACTERS]
        made[f"doc_frac_chars_top_{n}gram"] = share(top, letters, empty=0.0)
    for n in _DUPLICATES:
        made[f"doc_frac_chars_dupe_{n}grams"] = share(repeats[:, n, kernels.COVERED], letters, empty=0.0)
    return {f"rpv2.{name}": values for name, values in made.items()}


def _lorem_ipsum(prepared: Prepared) -> np.ndarray:
    norm = prepared.folded
    pairs = np.zeros(len(norm.tags), bool)
    pairs[:-1] = (norm.tags[:-1] & word_kernels.ENDS_LOREM != 0) & (norm.tags[1:] & word_kernels.BEGINS_IPSUM != 0)
    last = norm.offsets[1:][norm.counts > 0] - 1
    pairs[last] = False  # the next word is of another document
    characters = norm.sums(norm.sizes) + np.maximum(norm.counts - 1, 0)
    return share(norm.sums(pairs), characters, empty=0.0)


def _stop_words(prepared: Prepared, material: Material) -> np.ndarray:
    raw = prepared.tokens
    found = share(raw.sums(is_among(raw.hashes, material.stop_words)), raw.counts, empty=0.0)
    return np.where(prepared.folded.counts > 0, found, 0.0)


def _bad_words(prepared: Prepared, material: Material) -> object:
    if material.bad_words is None:
        return pa.nulls(len(prepared), WHOLE)
    _, _, offsets = material.bad_words.find(prepared.folded)
    return np.diff(offsets)


def _ut1(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> object:
    if material.domains is None or material.settings.url not in batch.schema.names:
        return pa.nulls(len(prepared), WHOLE)
    return material.domains.set_numbers(batch.column(material.settings.url).to_pylist())


def _line_signals(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    lines, norm = prepared.lines, prepared.folded
    inner = prepared.within(norm, lines)
    n_words = inner.counts
    trimmed = prepared.strip(lines)
    characters = inner.sums(norm.sizes) + np.maximum(n_words - 1, 0)
    bullets = np.isin(prepared.first(trimmed), _bullets())
    scores = {
        "lines_ending_with_terminal_punctution_mark": prepared.ends_with(trimmed, ".", "!", "?", "”"),
        "lines_javascript_counts": inner.sums(norm.hashes == hashed(["javascript"])[0]),
        "lines_num_words": n_words,
        "lines_numerical_chars_fraction": share(inner.sums(norm.numeric), characters, empty=0.0),
        "lines_uppercase_letter_fraction": share(prepared.counted(lines, UPPER), lines.lengths, empty=0.0),
    }
    made = {f"rpv2.{name}": spans_column(prepared, lines, values) for name, values in scores.items()}
    made["rpv2.lines_start_with_bulletpoint"] = _or_one_null(prepared, lines, bullets)
    return made


def _bullets() -> np.ndarray:
    from tokenry.corpora.characters import classes

    return np.flatnonzero(classes().bits & BULLET)


def _or_one_null(prepared: Prepared, lines: Spans, scores: np.ndarray) -> pa.ListArray:
    """The spans; for a document without lines one span over all of it (nothing) without a score."""
    counts = lines.counts
    empty = np.flatnonzero(counts == 0)
    offsets = np.concatenate(([0], np.cumsum(np.maximum(counts, 1))))
    begins, ends = (
        np.insert(edge, lines.offsets[empty], prepared.starts[empty]) for edge in (lines.begins, lines.ends)
    )
    values = np.insert(scores.astype(np.float64), lines.offsets[empty], np.nan)
    return spans_column(prepared, Spans(begins, ends, offsets), values)


RPV2 = Family(
    "rpv2",
    1,
    {
        **{
            f"rpv2.{name}": kind
            for name, kind in {
                "doc_num_sentences": WHOLE, "doc_word_count": WHOLE, "doc_mean_word_length": FLOAT,
                "doc_symbol_to_word_ratio": FLOAT, "doc_frac_lines_end_with_ellipsis": FLOAT,
                "doc_frac_no_alph_words": FLOAT, "doc_frac_unique_words": FLOAT, "doc_unigram_entropy": FLOAT,
                "doc_frac_all_caps_words": FLOAT, "doc_curly_bracket": FLOAT, "doc_lorem_ipsum": FLOAT,
                "doc_stop_word_fraction": FLOAT, "doc_ldnoobw_words": WHOLE, "doc_ut1_blacklist": WHOLE,
            }.items()
        },
        **{f"rpv2.doc_frac_chars_top_{n}gram": FLOAT for n in _TOP},
        **{f"rpv2.doc_frac_chars_dupe_{n}grams": FLOAT for n in _DUPLICATES},
    },
    _document_signals,
    "the document signals of RedPajama-V2",
)  # fmt: skip

RPV2_LINES = Family(
    "rpv2.lines",
    1,
    {
        f"rpv2.{name}": SPANS
        for name in (
            "lines_ending_with_terminal_punctution_mark", "lines_javascript_counts", "lines_num_words",
            "lines_numerical_chars_fraction", "lines_uppercase_letter_fraction", "lines_start_with_bulletpoint",
        )
    },
    _line_signals,
    "the line signals of RedPajama-V2",
)  # fmt: skip
