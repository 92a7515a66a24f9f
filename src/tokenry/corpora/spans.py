"""Take spans out of texts, or put a mark in their place: repeated paragraphs, addresses, toxic sentences.

Paper: Dolma (arXiv 2402.00159), the mixer's span replacement.
"""

from collections.abc import Sequence

import pyarrow as pa

__all__ = ["SPANS", "replace_spans"]

SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())]))
"""The type of a column of spans: characters from `start` to before `end`, and how sure or how bad."""


def replace_spans(
    texts: pa.StringArray, cuts: Sequence[tuple[pa.ListArray, str]], *, least: float = 0.0
) -> pa.StringArray:
    """The texts with their spans replaced, all at once: every span counts in characters of the text as it was.

    Args:
        texts: nulls stay null.
        cuts: for each kind of span, the spans of every text (type `SPANS`; they may overlap, the one that begins first
            wins) and what stands in their place. Where that is empty, a line that is nothing but a span goes with its
            newline.
        least: spans of a lower score are left alone.
    """
    columns = [(spans.to_pylist(), by) for spans, by in cuts]
    made = []
    for row, text in enumerate(texts.to_pylist()):
        chosen = sorted(
            (span["start"], span["end"], by)
            for spans, by in columns
            for span in spans[row] or ()
            if span["score"] is not None and span["score"] >= least
        )
        made.append(text if text is None or not chosen else _replaced(text, chosen))
    return pa.array(made, pa.string())


def _replaced(text: str, chosen: list[tuple[int, int, str]]) -> str:
    pieces, at = [], 0
    for start, end, by in chosen:
        if start < at:
            at = max(at, end)
            continue
        pieces += [text[at:start], by]
        at = end
        if not by and (start == 0 or text[start - 1] == "\n") and text[end : end + 1] == "\n":
            at += 1
    return "".join([*pieces, text[at:]])
