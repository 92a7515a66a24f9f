"""Count a text in random chunks: what stochastic boundaries train on instead of words.

Where a chunk ends is drawn for each document from a seed and the document's own text, so the order of documents, their
number and the batches they come in change nothing.

Papers: TokenAdapt, supertokens (arXiv 2505.09738); KL3M Tokenizers (arXiv 2503.17247), whose random white-space
splitter is the second kind.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenry.core.alphabets import BYTE_TO_CHAR, METASPACE
from tokenry.core.cutters import Cutter
from tokenry.core.hashing import stable_hash
from tokenry.core.hf_json import alphabet_of
from tokenry.core.pretokens import Pretokens, StringCounts, Words
from tokenry.core.progress import Progress

Histogram = tuple[tuple[int, int, float], ...]
HISTOGRAM: Histogram = (
    (4, 5, 0.044), (6, 7, 0.091), (8, 9, 0.146), (10, 11, 0.171), (12, 13, 0.185), (14, 15, 0.171), (16, 17, 0.146),
    (18, 19, 0.091), (20, 21, 0.044), (22, 23, 0.011),
)  # fmt: skip
"""Lengths of chunks in characters (from, to, weight), as the authors ship them: mean 13. Their weights sum to 1.1,
which their own loader refuses; weights are normalised here."""
_FLUSH_AT = 50_000
_ROW = re.compile(r"^[\s{]*[\"']?(\d+)\s*(?:-\s*(\d+))?[\"']?\s*[:\t ]\s*([0-9.eE+-]+)[\s,}]*$")
_SPACES = frozenset(b" \t\n\r\x0b\x0c")


def read_histogram(path: str | Path) -> Histogram:
    """A histogram of chunk lengths from a file of lines `4-5: 0.044` (also as a table or YAML).

    Raises:
        FileNotFoundError: no such file. ValueError: a line that is something else, or weights that say nothing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no histogram at {path}; need a file of lines such as 4-5: 0.044")
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip("{}[] \t") or line.lstrip().startswith("#"):
            continue
        found = _ROW.match(line)
        if found is None:
            raise ValueError(f"{path}:{number}: {line[:60]!r} is no range of lengths with a weight, such as 4-5: 0.044")
        rows.append((int(found[1]), int(found[2] or found[1]), float(found[3])))
    return checked_histogram(rows)


def checked_histogram(rows: Sequence[tuple[int, int, float]]) -> Histogram:
    """The histogram with weights that sum to 1; where they summed to something else, a warning says so.

    Raises:
        ValueError: no row, a length below 1, a range upside down, or weights that are negative or sum to nothing.
    """
    total = sum(weight for _, _, weight in rows)
    for low, high, weight in rows:
        if not (1 <= low <= high < 2**31) or not 0 <= weight < float("inf"):
            raise ValueError(f"histogram row {low}-{high}: {weight}; need 1 <= from <= to and a weight of 0 or more.")
    if not 0 < total < float("inf"):
        raise ValueError(f"the histogram's weights sum to {total}; need at least one positive weight.")
    if abs(total - 1) > 1e-9 and tuple(rows) != HISTOGRAM:
        warnings.warn(f"the histogram's weights sum to {total:g}; they were divided by that.", stacklevel=3)
    return tuple((low, high, weight / total) for low, high, weight in rows)


def chunk_starts(n: int, histogram: Histogram, rng: np.random.Generator) -> np.ndarray:
    """Where chunks start in n characters, 0 left out: a range by its weight, then a length evenly inside it."""
    weights = np.array([weight for _, _, weight in histogram])
    low, high = (np.array([row[side] for row in histogram], np.int64) for side in (0, 1))
    found, end = [], 0
    while end < n:
        n_draws = int((n - end) / float((weights * (low + high)).sum() / 2)) + 8
        rows = rng.choice(len(weights), n_draws, p=weights)
        ends = end + np.cumsum(rng.integers(low[rows], high[rows] + 1))
        found.append(ends)
        end = int(ends[-1])
    starts = np.concatenate(found) if found else np.zeros(0, np.int64)
    return starts[starts < n]


class Chopper:
    """Cuts texts into chunks, in the spelling the model sees; no chunk crosses a cut of the pre-tokeniser.

    Args:
        spec: content of the `tokenizer.json`: normaliser and pre-tokeniser.
        histogram: of chunk lengths; or
        p: cut before a run of white space with this probability. One of the two.
        seed: of the draws.
        draws: how often each text is cut afresh; all its chunks count.
    """

    def __init__(
        self, spec: dict, *, histogram: Histogram | None = None, p: float | None = None, seed: int = 0, draws: int = 1
    ) -> None:
        if (histogram is None) == (p is None):
            raise ValueError("give a histogram of chunk lengths or a probability, one of the two.")
        self.cutter = Cutter(spec)
        self._bytes = alphabet_of(spec) == "byte-level"
        self._histogram, self._p, self._seed, self._draws = histogram, p, seed, draws

    def __call__(self, text: str) -> list[str]:
        """The chunks of one text (`draws` times)."""
        segments = self.cutter(text)
        spelled = "".join(segments)
        if not spelled:
            return []
        starts, is_space = _characters(spelled, byte_level=self._bytes)
        walls = np.cumsum([len(segment) for segment in segments])
        rng = np.random.default_rng([self._seed, stable_hash(text)])
        out: list[str] = []
        for _ in range(self._draws):
            ends = np.union1d(walls, starts[self._cuts(len(starts), is_space, rng)])
            out += [spelled[a:b] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]
        return out

    def _cuts(self, n: int, is_space: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Characters before which this draw cuts."""
        if self._histogram is not None:
            return chunk_starts(n, self._histogram, rng)
        runs = np.flatnonzero(is_space[1:] & ~is_space[:-1]) + 1
        return runs[rng.random(len(runs)) < self._p]


def _characters(spelled: str, *, byte_level: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where each character of the text starts in its spelling, and whether it is white space."""
    points = np.frombuffer(spelled.encode("utf-32-le"), np.uint32)
    if byte_level:
        starts = np.flatnonzero((_BYTES[points] & 0xC0) != 0x80)
        return starts, _IS_SPACE[_BYTES[points[starts]]]
    space = (points == ord(METASPACE)) | np.isin(points, list(_SPACES))
    return np.arange(len(points)), space


_BYTES = np.zeros(0x200, np.uint8)
_BYTES[[ord(c) for c in BYTE_TO_CHAR]] = np.arange(256)
_IS_SPACE = np.array([byte in _SPACES for byte in range(256)])


def count_chunks(source: object, chopper: Chopper, reading: dict) -> Pretokens:
    """Count the chunks of a text, as `core.pretokens.count_pretokens` counts words.

    Args:
        source: what `core.tables.stream` takes.
        chopper: says where texts are cut.
        reading: `text`, `limit`, `skip_bad`; `cache` and `workers` are not used.

    Raises:
        ValueError: no text at all, or `source` is a table of words, in which nothing runs across words any more.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from tokenry.core.tables import stream

    if isinstance(source, Pretokens):
        raise ValueError("a table of counted words cannot give tokens of several words; give the text itself.")
    options = {key: value for key, value in reading.items() if key in ("text", "limit", "skip_bad")}
    fresh, held, n_bytes, n_docs = Counter(), StringCounts(), 0, 0
    with Progress("counting chunks") as progress:
        for batch in stream(source, columns=(), batch_rows=16, **options):
            for text in batch.column("text").to_pylist():
                n_bytes += len((text or "").encode("utf-8", "surrogatepass"))
                fresh.update(chopper(text or ""))
            n_docs += len(batch)
            progress.add(len(batch))
            if len(fresh) > _FLUSH_AT:
                _flush(fresh, held)
    _flush(fresh, held)
    if not n_bytes:
        raise ValueError(
            "the data hold no text; need at least one non-empty document. Is the text column right (--text)?"
        )
    words, counts = held.arrays()
    keys = pa.table({"word": words, "count": counts})
    order = pc.sort_indices(keys, [("count", "descending"), ("word", "ascending")])
    return Pretokens(
        words=Words(words.take(order)), counts=counts[order.to_numpy()].reshape(-1, 1), sources=("",),
        n_bytes=np.array([n_bytes]), n_docs=np.array([n_docs]), fingerprint=chopper.cutter.fingerprint,
    )  # fmt: skip


def _flush(fresh: Counter, held: StringCounts) -> None:
    if fresh:
        words = list(fresh)
        held.add(words, np.fromiter(fresh.values(), np.int64, len(words)))
        fresh.clear()
