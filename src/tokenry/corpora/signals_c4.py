"""C4's line rules and FineWeb's own rules as signals, with datatrove's reading of both.

C4 drops lines, then judges what is left. `c4.dropped` holds the spans of the lines it would drop, so that a mixture
can cut them out. Sentences are counted by RedPajama's pattern (the original asks NLTK's Punkt).

Papers: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer (arXiv 1910.10683); The
FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale (arXiv 2406.17557).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.corpora import line_kernels as kernels
from tokenry.corpora.characters import CLOSING, classes
from tokenry.corpora.families import FLOAT, SPANS, WHOLE, Family, Material, spans_column
from tokenry.corpora.prepared import Prepared, Spans, share
from tokenry.corpora.signals_gopher import said_before

__all__ = ["C4", "FINEWEB", "characters_of", "chosen_spans"]

_PHRASES = (
    "lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
    "use cookies",
)  # fmt: skip
_SHORT_LINE = 30


def characters_of(text: str) -> np.ndarray:
    """The code points of a string."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _c4(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    lines, tables = prepared.universal_lines, classes()
    trimmed = prepared.strip(lines)
    fates, sentences = kernels.line_fates(
        prepared.codes, trimmed.begins, trimmed.ends, tables.bits, tables.lower, characters_of("".join(_PHRASES)),
        np.cumsum([0, *map(len, _PHRASES)]), characters_of("[edit]"), characters_of("[citation needed]"),
    )  # fmt: skip
    kept = fates == kernels.KEPT
    judged = {
        "no_closing_lines": kernels.NO_CLOSING, "short_lines": kernels.FEW_WORDS, "long_word_lines": kernels.LONG_WORD,
        "javascript_lines": kernels.JAVASCRIPT, "policy_lines": kernels.POLICY,
        "lorem_ipsum_lines": kernels.LOREM_IPSUM, "curly_bracket_lines": kernels.CURLY_BRACKET,
    }  # fmt: skip
    made: dict[str, object] = {f"c4.{name}": lines.sums(fates == fate) for name, fate in judged.items()}
    made["c4.lines"] = lines.counts
    made["c4.sentences"] = lines.sums(sentences)
    made["c4.dropped"] = spans_column(prepared, chosen_spans(_with_ends(prepared, lines), ~kept), 1.0)
    return made


def _with_ends(prepared: Prepared, lines: Spans) -> Spans:
    """Each line up to the beginning of the next one, so that cutting it leaves no empty line."""
    ends = np.append(lines.begins[1:], 0)
    last = lines.offsets[1:][lines.counts > 0] - 1
    ends[last] = prepared.starts[1:][lines.counts > 0]
    return Spans(lines.begins, ends[: len(lines.begins)], lines.offsets)


def chosen_spans(spans: Spans, chosen: np.ndarray) -> Spans:
    offsets = np.concatenate(([0], np.cumsum(spans.sums(chosen))))
    return Spans(spans.begins[chosen], spans.ends[chosen], offsets)


def _fineweb(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    every = prepared.split_lines
    trimmed = prepared.strip(every)
    lines = chosen_spans(every, trimmed.lengths > 0)
    closed = classes().bits[prepared.last(lines)] & CLOSING != 0
    again = said_before(prepared, lines)
    newlines = prepared.count("\n")
    return {
        "fineweb.line_punct_ratio": prepared.shares(lines, closed),
        "fineweb.short_line_ratio": prepared.shares(lines, lines.lengths <= _SHORT_LINE),
        "fineweb.char_dup_ratio": share(lines.sums(np.where(again, lines.lengths, 0)), prepared.lengths - newlines),
        "fineweb.newline_ratio": share(newlines, prepared.words.counts),
    }


C4 = Family(
    "c4",
    1,
    {
        "c4.lines": WHOLE, "c4.sentences": WHOLE, "c4.no_closing_lines": WHOLE, "c4.short_lines": WHOLE,
        "c4.long_word_lines": WHOLE, "c4.javascript_lines": WHOLE, "c4.policy_lines": WHOLE,
        "c4.lorem_ipsum_lines": WHOLE, "c4.curly_bracket_lines": WHOLE, "c4.dropped": SPANS,
    },
    _c4,
    "lines that C4 drops and why, and the sentences that are left",
)  # fmt: skip

FINEWEB = Family(
    "fineweb",
    1,
    {
        "fineweb.line_punct_ratio": FLOAT, "fineweb.short_line_ratio": FLOAT, "fineweb.char_dup_ratio": FLOAT,
        "fineweb.newline_ratio": FLOAT,
    },
    _fineweb,
    "FineWeb's own filters",
)  # fmt: skip
