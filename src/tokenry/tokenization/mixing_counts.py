"""Weigh the sources of a training text by whole-number multiples of their counts: no sampling, no noise.

A mixture gives each source a share of the bytes. On the table of words that is one multiplier a source, so the result
is exact, the same on every run, and the mixture in natural proportions is the text itself.

Paper: KL3M Tokenizers (rates by source on the command line; arXiv 2503.17247).
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tokenry.core.choosing import suggest
from tokenry.core.pretokens import Pretokens

_MOST_BYTES = 2**56
"""Weighted bytes at most, so that pair counts stay inside 64 bits."""


@dataclass(frozen=True)
class Weighed:
    """A table with weighted counts, and what was done to each source."""

    pretokens: Pretokens
    """One column of counts, weighted."""
    sources: tuple[str, ...]
    n_bytes: tuple[int, ...]
    """Bytes as read."""
    shares: tuple[float, ...]
    """Share of the bytes trained on; 0 for a source left out."""
    multipliers: tuple[int, ...]
    """What the counts were multiplied with."""
    unit: float
    """Weighted occurrences that stand for one: `min_count` is to be multiplied with it."""

    @property
    def repeats(self) -> tuple[float, ...]:
        """How often each source is read if the mixture has as many bytes as the text: above 1 it is repeated."""
        return tuple(m / self.unit for m in self.multipliers)


def weigh(pretokens: Pretokens, mix: Mapping[str, float]) -> Weighed:
    """Weigh the sources of a table.

    Args:
        pretokens: counted by source.
        mix: source -> weight, a share of the bytes; weights are relative. Sources not named are left out, with a
            warning.

    Raises:
        ValueError: an unknown source, a negative weight, or nothing left.
    """
    sources, n_bytes = pretokens.sources, [int(n) for n in pretokens.n_bytes]
    for name, weight in mix.items():
        if name not in sources:
            raise ValueError(
                f"mix names the source {name!r}; the data have {', '.join(map(repr, sources[:20]))}."
                f"{suggest(name, sources)} A source is the column `source`, or the file's name without its suffixes."
            )
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"mix gives {name!r} the weight {weight}; need a number from 0 on.")
    weights = [
        Fraction(str(mix.get(source, 0))) if n else Fraction(0) for source, n in zip(sources, n_bytes, strict=True)
    ]
    if not sum(weights):
        raise ValueError("mix leaves no text: every weight is 0, or its source is empty.")
    absent = [source for source in sources if source not in mix]
    if absent:
        warnings.warn(f"mix does not name {', '.join(map(repr, absent[:10]))}: left out of training.", stacklevel=3)
    multipliers = _whole([w / n if n else Fraction(0) for w, n in zip(weights, n_bytes, strict=True)], n_bytes)
    counts = pretokens.counts @ np.array(multipliers, np.int64)
    order = _by_count_then_word(pretokens, counts, np.flatnonzero(counts))
    weighted = [m * n for m, n in zip(multipliers, n_bytes, strict=True)]
    table = replace(
        pretokens,
        words=_taken(pretokens.words, order),
        counts=counts[order][:, None],
        sources=("",),
        n_bytes=np.array([sum(n_bytes)], np.int64),
        n_docs=np.array([pretokens.n_docs.sum()], np.int64),
    )
    return Weighed(
        table, sources, tuple(n_bytes), tuple(w / sum(weighted) for w in weighted), tuple(multipliers),
        sum(weighted) / sum(n_bytes),
    )  # fmt: skip


def _whole(ratios: list[Fraction], n_bytes: list[int]) -> list[int]:
    """Whole numbers in these ratios, exactly where they are small enough, else to about nine digits."""
    exact = math.lcm(*(ratio.denominator for ratio in ratios))
    whole = [int(ratio * exact) for ratio in ratios]
    divisor = math.gcd(*whole)
    whole = [number // divisor for number in whole]
    total = sum(number * n for number, n in zip(whole, n_bytes, strict=True))
    if total <= _MOST_BYTES:
        return whole
    return [max(1, number * _MOST_BYTES // total) if number else 0 for number in whole]


def _by_count_then_word(pretokens: Pretokens, counts: np.ndarray, kept: np.ndarray) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table({"word": _taken(pretokens.words, kept).array, "count": counts[kept]})
    return kept[pc.sort_indices(keys, [("count", "descending"), ("word", "ascending")]).to_numpy()]


def _taken(words: object, order: np.ndarray) -> object:
    import pyarrow as pa

    from tokenry.core.pretokens import Words

    words = words if isinstance(words, Words) else Words(list(words))
    return Words(words.array.take(pa.array(order)))


def scaled_down(weighed: Weighed) -> Pretokens:
    """The weighted table with counts as large as the text's own, rounded, for a trainer that reads words one by one."""
    table = weighed.pretokens
    counts = np.maximum(1, np.rint(table.counts / weighed.unit).astype(np.int64))
    return replace(table, counts=counts)
