"""How many words of a language are single tokens, by frequency rank: the most frequent 100, 1,000, 10,000.

Papers: Beyond Fertility: Analyzing STRR as a Metric for Multilingual Tokenization Evaluation (arXiv 2510.09947).
"""

import numpy as np

from tokenry.core.intervals import wilson_interval
from tokenry.core.report import Figure
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, rows_as_columns

RANKS = (100, 1_000, 10_000)
_MOST_SOURCES, _MOST_LINES = 300, 6
_LEAST_WORDS = 20


def completeness(counts: Counts, *, seed: int = 0) -> Findings:
    """Share of each source's most frequent words that are one token behind a space.

    The words are those of the text read, ranked by their counts in it; the intervals are Wilson's over word types.
    """
    tally = counts.by_source
    if tally is None:
        raise ValueError("completeness needs the words of each source; count with by_source=True.")
    rows, series = [], {}
    for s in _largest(counts)[:_MOST_SOURCES]:
        words, _, lengths = tally.words(s)
        if len(words) < _LEAST_WORDS:
            continue
        name = counts.sources[s] or "all"
        for rank in RANKS:
            n = min(rank, len(words))
            interval = wilson_interval(int((lengths[:n] == 1).sum()), n)
            rows.append({"source": name, "words": f"first {rank:,}", "n": n, "whole": int((lengths[:n] == 1).sum())})
            rows[-1] |= {"share": interval.value, "low": interval.low, "high": interval.high}
            if n < rank:
                break
        if len(series) < _MOST_LINES:
            series[name] = _curve(lengths)
    found = Findings(tables={"completeness": rows_as_columns(rows)} if rows else {})
    if rows:
        first = [row for row in rows if row["words"] == "first 1,000"]
        if first:
            worst = min(first, key=lambda row: row["share"])
            found.facts |= {"completeness.lowest": worst["share"], "completeness.lowest.source": worst["source"]}
        found.figures.append(
            Figure("line", "Frequent words that are one token", "rank", "share", series, "", log_x=True)
        )
    if not tally.is_exact:
        found.notes.append("A source has over 200,000 distinct words; the counts of its rare ones are approximate.")
    return found


def _largest(counts: Counts) -> list[int]:
    sizes = np.bincount(counts.source_D, weights=counts.bytes_D, minlength=len(counts.sources))
    return np.argsort(-sizes, kind="stable").tolist()


def _curve(lengths: np.ndarray) -> list[tuple[float, float]]:
    """Share of whole words up to each of some ranks, evenly spaced on a logarithmic axis."""
    n = len(lengths)
    ranks = sorted({min(n, max(1, round(10 ** (k / 8)))) for k in range(8, 1 + int(8 * np.log10(max(n, 10))))})
    running = np.cumsum(lengths == 1)
    return [(rank, float(running[rank - 1] / rank)) for rank in ranks]
