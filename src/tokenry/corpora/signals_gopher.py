"""Gopher's quality and repetition signals, as datatrove reads them, with words at white space.

Three incompatible definitions of n-gram repetition are in use; thresholds hold for their own. These columns are one of
them; RedPajama's are `rpv2.doc_frac_chars_*`, Dolma's `dolma.gopher.fraction_of_characters_*`.

Papers: Scaling Language Models: Methods, Analysis & Insights from Training Gopher (arXiv 2112.11446); A Survey on Data
Selection for Language Models (arXiv 2402.16827).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.corpora import repeat_kernels as kernels
from tokenry.corpora.characters import ALPHA, SYMBOL
from tokenry.corpora.families import FLOAT, WHOLE, Family, Material
from tokenry.corpora.prepared import Prepared, Spans, hashed, is_among, share

__all__ = ["GOPHER", "REPETITION", "REQUIRED_WORDS"]

REQUIRED_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def _quality(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    words, lines = prepared.words, prepared.universal_lines
    some, every = prepared.bits(words)
    real = every & SYMBOL == 0
    trimmed = prepared.strip(lines)
    bullets = np.isin(prepared.first(trimmed), [ord("•"), ord("-")])
    wanted = is_among(words.hashes, hashed(list(REQUIRED_WORDS)))
    first = words.firsts[0] == np.arange(len(words.hashes))
    return {
        "gopher.words": words.sums(real),
        "gopher.mean_word_length": share(words.sums(np.where(real, words.sizes, 0)), words.sums(real)),
        "gopher.hash_ratio": share(prepared.count("#"), words.counts),
        "gopher.ellipsis_ratio": share(prepared.dots + prepared.count("…"), words.counts),
        "gopher.bullet_lines": prepared.shares(lines, bullets),
        "gopher.ellipsis_lines": prepared.shares(lines, prepared.ends_with(trimmed, "...", "…")),
        "gopher.alphabetic_words": prepared.shares(words, some & ALPHA != 0),
        "gopher.required_words": words.sums(wanted & first),
    }


def _repetition(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    words, made = prepared.words, {}
    for name, spans in (("line", prepared.full_lines), ("paragraph", prepared.paragraphs)):
        again = said_before(prepared, spans)
        made[f"repetition.dup_{name}_share"] = prepared.shares(spans, again)
        made[f"repetition.dup_{name}_characters"] = share(
            spans.sums(np.where(again, spans.lengths, 0)), prepared.lengths
        )
    for n in (2, 3, 4):
        made[f"repetition.top_{n}_gram"] = share(_top(prepared, n), np.where(words.counts >= n, prepared.lengths, 0))
    scanned = kernels.scanned_repeats(words.hashes, words.sizes, words.offsets, 10)
    for n in range(5, 11):
        made[f"repetition.dup_{n}_gram"] = share(scanned[:, n], prepared.lengths)
    return made


def said_before(prepared: Prepared, spans: Spans) -> np.ndarray:
    """Which spans equal an earlier one of their text."""
    firsts, _ = kernels.first_places(prepared.hashes(spans), spans.offsets)
    return firsts != np.arange(len(firsts))


def _top(prepared: Prepared, n: int) -> np.ndarray:
    """Characters, with the spaces between, of the most frequent run of n words: the first one where all differ."""
    words = prepared.words
    count = words.repeats[:, n, kernels.TOP_COUNT]
    sums = np.concatenate(([0], np.cumsum(words.sizes)))
    low = words.offsets[:-1]
    first = sums[np.minimum(low + n, len(sums) - 1)] - sums[low]
    size = np.where(count > 0, words.repeats[:, n, kernels.TOP_CHARACTERS], first)
    return (size + n - 1) * np.maximum(count, 1)


GOPHER = Family(
    "gopher",
    1,
    {
        "gopher.words": WHOLE, "gopher.mean_word_length": FLOAT, "gopher.hash_ratio": FLOAT,
        "gopher.ellipsis_ratio": FLOAT, "gopher.bullet_lines": FLOAT, "gopher.ellipsis_lines": FLOAT,
        "gopher.alphabetic_words": FLOAT, "gopher.required_words": WHOLE,
    },
    _quality,
    "Gopher's quality rules, as datatrove computes them",
)  # fmt: skip

REPETITION = Family(
    "repetition",
    1,
    {
        **{
            f"repetition.dup_{name}_{what}": FLOAT for name in ("line", "paragraph") for what in ("share", "characters")
        },
        **{f"repetition.top_{n}_gram": FLOAT for n in (2, 3, 4)},
        **{f"repetition.dup_{n}_gram": FLOAT for n in range(5, 11)},
    },
    _repetition,
    "Gopher's repetition rules, as datatrove computes them",
)
