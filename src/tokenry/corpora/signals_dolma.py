"""The attributes that the Dolma toolkit's gopher, c4 and length taggers write, under the taggers' own names.

Where the toolkit writes nothing (a document of fewer than n words has no n-gram attribute) the signal is null. Spans of
lines are counted in the text as it stands (c4_v2 counts in its lower case, which differs behind a dotted capital I).

Paper: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.corpora import line_kernels, text_kernels
from tokenry.corpora import repeat_kernels as kernels
from tokenry.corpora.characters import ALPHA, SIGN, classes
from tokenry.corpora.families import BOOL, FLOAT, SPANS, WHOLE, Family, Material, spans_column
from tokenry.corpora.prepared import Prepared, Spans, hashed, is_among, share
from tokenry.corpora.signals_c4 import characters_of, chosen_spans
from tokenry.corpora.signals_gopher import REQUIRED_WORDS
from tokenry.corpora.word_lists import hashes_of

__all__ = ["DOLMA_C4", "DOLMA_GOPHER", "DOLMA_GOPHER_V2", "DOLMA_LENGTH"]

_TOP, _DUPLICATES = (2, 3, 4), (5, 6, 7, 8, 9, 10)
_LINES = (
    "fraction_of_lines_starting_with_bullet_point", "fraction_of_lines_ending_with_ellipsis",
    "fraction_of_duplicate_lines", "fraction_of_characters_in_duplicate_lines",
)  # fmt: skip


def _gopher(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    words = prepared.words
    some, _ = prepared.bits(words)
    letters = words.sums(words.sizes)
    made = {
        "character_count": prepared.lengths,
        "word_count": words.counts,
        "median_word_length": _medians(words.sizes, words.offsets),
        "symbol_to_word_ratio": _zero(prepared.shares(words, some & SIGN != 0)),
        "fraction_of_words_with_alpha_character": _zero(prepared.shares(words, some & ALPHA != 0)),
        "required_word_count": words.sums(is_among(words.hashes, hashed(list(REQUIRED_WORDS)))),
        **_lines(prepared, prepared.split_lines),
    }
    sums = np.concatenate(([0], np.cumsum(words.sizes)))
    for n in _TOP:
        count = words.repeats[:, n, kernels.TOP_COUNT]
        first = sums[np.minimum(words.offsets[:-1] + n, len(sums) - 1)] - sums[words.offsets[:-1]]
        top = np.where(count > 0, count * words.repeats[:, n, kernels.TOP_CHARACTERS], first)
        made[f"fraction_of_characters_in_most_common_{n}grams"] = share(top, np.where(words.counts >= n, letters, 0))
    for n in _DUPLICATES:
        repeated, every = (words.repeats[:, n, what] for what in (kernels.REPEATED, kernels.ALL))
        made[f"fraction_of_characters_in_duplicate_{n}grams"] = share(repeated, every)
    return {f"dolma.gopher.{name}": values for name, values in made.items()}


def _gopher_v2(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    return {f"dolma.gopher_v2.{name}": values for name, values in _lines(prepared, prepared.full_lines).items()}


def _lines(prepared: Prepared, lines: Spans) -> dict[str, np.ndarray]:
    firsts, counts = kernels.first_places(prepared.hashes(lines), lines.offsets)
    repeated = counts[firsts] > 1
    letters = prepared.words.sums(prepared.words.sizes)
    bullets = np.isin(prepared.first(lines), [ord("*"), ord("-")])
    values = (
        prepared.shares(lines, bullets),
        prepared.shares(lines, prepared.ends_with(lines, "…")),
        prepared.shares(lines, repeated),
        lines.sums(np.where(repeated, lines.lengths, 0)) / np.maximum(letters, 1),
    )
    # An empty text has attributes of 0, though it splits into one empty line.
    return {name: np.where(prepared.lengths > 0, one, 0.0) for name, one in zip(_LINES, values, strict=True)}


def _zero(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=0.0)


def _medians(sizes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Median of each document's sizes, 0 without any."""
    counts = np.diff(offsets)
    owners = np.repeat(np.arange(len(counts)), counts)
    ordered = np.sort(owners * (1 << 40) + sizes) & ((1 << 40) - 1)
    if not len(ordered):
        return np.zeros(len(counts))
    last = len(ordered) - 1
    low = np.minimum(offsets[:-1] + np.maximum(counts - 1, 0) // 2, last)
    high = np.minimum(offsets[:-1] + counts // 2, last)
    return np.where(counts > 0, (ordered[low] + ordered[high]) / 2, 0.0)


def _c4(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    lines, lower = prepared.split_lines, classes().lower
    whole, trimmed = prepared.whole, prepared.strip(prepared.split_lines)

    def anywhere(phrase: str) -> np.ndarray:
        return line_kernels.holds(prepared.codes, whole.begins, whole.ends, lower, characters_of(phrase))

    inner = np.searchsorted(prepared.words.begins, np.stack((lines.begins, lines.ends)))
    with_newline = Spans(lines.begins, np.minimum(lines.ends + 1, np.repeat(whole.ends, lines.counts)), lines.offsets)
    open_ended = ~prepared.ends_with(trimmed, ".", "?", "!", '"')
    return {
        "dolma.c4.lines_with_no_ending_punctuation": spans_column(
            prepared, chosen_spans(with_newline, open_ended), 1.0
        ),
        "dolma.c4.lines_with_too_few_words": spans_column(
            prepared, chosen_spans(with_newline, inner[1] - inner[0] < 3), 1.0
        ),
        "dolma.c4.has_curly_brace": prepared.count("{") > 0,
        "dolma.c4.has_lorem_ipsum": anywhere("lorem ipsum"),
        "dolma.c4.has_javascript": anywhere("javascript"),
        "dolma.c4.has_naughty_word": _naughty(prepared, material),
        "dolma.c4.line_count": lines.counts,
    }


def _naughty(prepared: Prepared, material: Material) -> object:
    """Whether a word (cut at white space) or a phrase (anywhere) of the list stands in the lower-case text."""
    if material.settings.bad_words is None:
        return pa.nulls(len(prepared), BOOL)
    names, phrases = material.bad_strings
    words, whole, lower = prepared.words, prepared.whole, classes().lower
    hashes = text_kernels.span_hashes(lower[prepared.codes], words.begins, words.ends)
    found = words.sums(is_among(hashes, hashes_of(sorted(names)))) > 0
    long = [phrase for phrase in phrases if len(phrase) > 2]
    bounds = np.cumsum([0, *map(len, long)])
    letters = characters_of("".join(long))
    found |= line_kernels.holds_any(prepared.codes, whole.begins, whole.ends, lower, letters, bounds)
    # The lower case of these is no single character, or depends on its neighbours: such texts are left to Python.
    special = np.flatnonzero(np.isin(prepared.codes, [ord("İ"), ord("Σ")]))
    for row in np.unique(np.searchsorted(prepared.starts, special, side="right") - 1):
        text = prepared.strings[row].lower()
        found[row] = not names.isdisjoint(text.split()) or any(phrase in text for phrase in phrases)
    return found


def _length(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    whole = prepared.whole
    return {
        "dolma.length.bytes": prepared.n_bytes,
        "dolma.length.characters": prepared.lengths,
        "dolma.length.characters_stripped": prepared.strip(whole).lengths,
        "dolma.length.whitespace_tokens": prepared.tokens.counts + 1,
        "dolma.length.paragraphs": prepared.lines.sums(prepared.strip(prepared.lines).lengths > 0),
    }


DOLMA_GOPHER = Family(
    "dolma.gopher",
    1,
    {
        **{f"dolma.gopher.{name}": WHOLE for name in ("character_count", "word_count", "required_word_count")},
        **{
            f"dolma.gopher.{name}": FLOAT
            for name in (
                "median_word_length", "symbol_to_word_ratio", "fraction_of_words_with_alpha_character", *_LINES,
                *(f"fraction_of_characters_in_most_common_{n}grams" for n in _TOP),
                *(f"fraction_of_characters_in_duplicate_{n}grams" for n in _DUPLICATES),
            )
        },
    },
    _gopher,
    "Dolma's gopher_v1",
)  # fmt: skip

DOLMA_GOPHER_V2 = Family(
    "dolma.gopher_v2",
    1,
    {f"dolma.gopher_v2.{name}": FLOAT for name in _LINES},
    _gopher_v2,
    "the line attributes of Dolma's gopher_v2, which passes over empty lines (its others are those of gopher_v1)",
)

DOLMA_C4 = Family(
    "dolma.c4",
    1,
    {
        "dolma.c4.lines_with_no_ending_punctuation": SPANS, "dolma.c4.lines_with_too_few_words": SPANS,
        "dolma.c4.has_curly_brace": BOOL, "dolma.c4.has_lorem_ipsum": BOOL, "dolma.c4.has_javascript": BOOL,
        "dolma.c4.has_naughty_word": BOOL, "dolma.c4.line_count": WHOLE,
    },
    _c4,
    "Dolma's c4_v2",
)  # fmt: skip

DOLMA_LENGTH = Family(
    "dolma.length",
    1,
    {
        f"dolma.length.{name}": WHOLE
        for name in ("bytes", "characters", "characters_stripped", "whitespace_tokens", "paragraphs")
    },
    _length,
    "Dolma's length taggers: bytes, characters, words and marks + 1, paragraphs with text",
)
