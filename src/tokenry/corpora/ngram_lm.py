"""How predictable a text is, without a neural model: byte n-grams with interpolated modified Kneser-Ney smoothing.

It reads bytes, so it needs no tokenizer, knows every script, and its bits per byte compare across languages and with
those of any language model. Counts are exact (a string of up to 7 bytes is its own number), probabilities sum to 1.

Papers: CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data (arXiv 1911.00359), whose 5-gram models
of word pieces this stands for; An empirical study of smoothing techniques for language modeling (Chen and Goodman,
1999).
"""

import functools
import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.runs import atomic_folder, atomic_write

__all__ = ["MOST_BYTES", "ByteNgrams", "sampled"]

# Axes: D texts, N strings, S slots.

FORMAT = 1
MOST_BYTES = 16 * 2**20
"""Text a model is trained on at most, if nothing else is asked for: about 1 GB of memory while it counts."""
_ORDERS = range(1, 8)
_FALL_BACK = (0.5, 1.0, 1.5)  # discounts where the counts are too few to say (as in KenLM)
_ARRAYS = ("keys", "own", "rest")


@dataclass(frozen=True, eq=False)
class ByteNgrams:
    """A trained model.

    Attributes:
        order: bytes of the longest string: a byte is predicted from `order - 1` before it.
        keys_S: uint64, packed strings in an open hash table, 0 where free.
        own_S: float32, the discounted probability of a string's last byte after the others.
        rest_S: float32, what a string, as a context, leaves to shorter contexts.
        floor: probability of any byte under the shortest context.
        record: provenance.
    """

    order: int
    keys_S: np.ndarray
    own_S: np.ndarray
    rest_S: np.ndarray
    floor: float
    record: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def train(cls, texts: Iterable[str], *, order: int = 6) -> "ByteNgrams":
        """Count texts and estimate.

        Args:
            texts: held in memory; see `sampled` for those of a large corpus.
            order: 1 to 7; 6 is about as sharp as 5-grams of word pieces on some megabytes.

        Raises:
            ValueError: another order, or no text.
        """
        from tokenry.corpora.ngram_kernels import filled

        if order not in _ORDERS:
            raise ValueError(f"order={order}; need 1 to 7 bytes. 6 is usual.")
        data, starts = _joined(texts)
        if len(data) == len(starts) - 1:
            raise ValueError("no text to learn from; need at least one byte.")
        counted = _adjusted(data, starts, order)
        floor, made = _estimated(counted)
        keys_N, own_N, rest_N = made
        n_slots = 1 << int(1.6 * len(keys_N)).bit_length()
        arrays = filled(keys_N, own_N, rest_N, n_slots)
        record = {"texts": len(starts) - 1, "bytes": len(data) - len(starts) + 1, "strings": len(keys_N)}
        return cls(order, *arrays, floor, record)

    def bits(self, texts: Iterable[str | None]) -> np.ndarray:
        """Bits (D,) of texts; a null counts as the empty text, which has none."""
        from tokenry.corpora.ngram_kernels import text_bits

        data, starts = _joined(texts)
        return text_bits(data, starts, self.keys_S, self.own_S, self.rest_S, self.order, self.floor)

    def bits_per_byte(self, texts: Iterable[str | None]) -> np.ndarray:
        """Bits per byte (D,) of texts, nan for an empty one."""
        texts = list(texts)
        sizes_D = np.array([len(_bytes(text)) for text in texts], np.float64)
        return np.divide(self.bits(texts), sizes_D, out=np.full(len(texts), np.nan), where=sizes_D > 0)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with anything that decides a probability."""
        return fingerprint("ngram_lm", FORMAT, self.order, self.floor, self.keys_S, self.own_S, self.rest_S)

    def save(self, folder: str | Path, **facts: object) -> Path:
        """Write the model into a folder that appears whole; `facts` go into its record."""
        with atomic_folder(folder) as part:
            for name in _ARRAYS:
                np.save(part / f"{name}.npy", getattr(self, f"{name}_S"))
            record = {"format": FORMAT, "order": self.order, "floor": self.floor, "record": {**self.record, **facts}}
            atomic_write(part / "ngrams.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "ByteNgrams":
        """Open what `save` wrote.

        Raises:
            FileNotFoundError: it is not there. ValueError: it is none of ours, or cut.
        """
        folder = Path(folder)
        if not (folder / "ngrams.json").is_file():
            raise FileNotFoundError(
                f"no ngrams.json in {folder}. Need the OUT.model that `tokenry corpus utility --method ngram --out "
                "OUT` left."
            )
        record = json.loads((folder / "ngrams.json").read_text(encoding="utf-8"))
        keys_S, own_S, rest_S = (np.load(folder / f"{name}.npy", allow_pickle=False, mmap_mode="r") for name in _ARRAYS)
        n = len(keys_S)
        kinds = (keys_S.dtype, own_S.dtype, rest_S.dtype)
        if kinds != (np.uint64, np.float32, np.float32) or {own_S.shape, rest_S.shape} != {(n,)} or n & (n - 1):
            raise ValueError(f"{folder}: tables of {kinds}, {n:,} slots; cut, or no model of ours. Train it again.")
        if record.get("format") != FORMAT or record.get("order") not in _ORDERS or not (keys_S == 0).any():
            raise ValueError(f"{folder / 'ngrams.json'} is no model of format {FORMAT}. Train it again.")
        arrays = (np.ascontiguousarray(one) for one in (keys_S, own_S, rest_S))
        return cls(record["order"], *arrays, float(record["floor"]), record["record"])


def sampled(texts: Iterable[str | None], *, most_bytes: int = MOST_BYTES) -> list[str]:
    """Of a stream those texts whose hashes are lowest, together `most_bytes` at most: the same in any order.

    Args:
        texts: as they come; nulls and empty ones are left out.
        most_bytes: of UTF-8. Of one text no more than a sixteenth of it is read (all, of a text below 64 KiB), so
            that no long document is the sample.
    """
    lead = min(most_bytes, max(most_bytes // 16, 1 << 16))
    held: list[tuple[int, int, str]] = []
    total, bound = 0, 1 << 64
    for place, text in enumerate(texts):
        key = stable_hash(text) if text else bound
        if key >= bound:
            continue
        if len(_bytes(text)) > lead:
            text = _bytes(text)[:lead].decode(errors="ignore")
        heapq.heappush(held, (-key, place, text))
        total += len(_bytes(text))
        while total > most_bytes:
            key, _, text = heapq.heappop(held)
            total -= len(_bytes(text))
            bound = -key  # nothing at or above what was left out comes in later, whatever the order
    return [text for _, _, text in sorted(held, key=lambda one: one[1])]


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "replace")


def _joined(texts: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """All texts, each after a START byte, and the place of each START and the end."""
    from tokenry.corpora.ngram_kernels import START

    # The mark itself may not stand in a text: it would look like a beginning.
    pieces = [bytes([START]) + _bytes(text).replace(bytes([START]), b" ") for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return np.frombuffer(b"".join(pieces), np.uint8), starts


def _adjusted(data: np.ndarray, starts: np.ndarray, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each length the strings and their counts: how often, for the longest and for those at a text's beginning;
    else how many different bytes stand before it (Kneser and Ney)."""
    from tokenry.corpora.ngram_kernels import START, packed

    found: list[tuple[np.ndarray, np.ndarray]] = []
    longer_N = None
    order = min(order, int(np.diff(starts).max()))  # no text has a longer string
    for size in range(order, 0, -1):
        mark = np.uint64(1) << np.uint64(8 * size)
        codes_P = packed(data, starts, size)
        if size == order:
            keys_N, counts_N = np.unique(codes_P, return_counts=True)
        else:
            first = np.uint64(0xFF) << np.uint64(8 * (size - 1))
            at_start_P = (codes_P & first) == np.uint64(START) << np.uint64(8 * (size - 1))
            begins_N, often_N = np.unique(codes_P[at_start_P], return_counts=True)
            inner_N, kinds_N = np.unique((longer_N & (mark - np.uint64(1))) | mark, return_counts=True)
            keys_N, counts_N = np.concatenate([begins_N, inner_N]), np.concatenate([often_N, kinds_N])
            order_N = np.argsort(keys_N, kind="stable")
            keys_N, counts_N = keys_N[order_N], counts_N[order_N]
        longer_N = keys_N
        found.append((keys_N, counts_N.astype(np.float64)))
    return found[::-1]


def _estimated(counted: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, tuple[np.ndarray, ...]]:
    """The floor, and of all strings key, own probability and what it leaves as a context."""
    from tokenry.corpora.ngram_kernels import START

    rests = [np.ones(len(keys_N), np.float64) for keys_N, _ in counted]
    owns, floor = [], 1.0
    for place, (keys_N, counts_N) in enumerate(counted):
        counts_N = counts_N.copy()
        if place == 0:
            counts_N[keys_N == np.uint64(256 | START)] = 0  # it stands before a text and is never predicted
        discounts_N = _discounts(counts_N)
        # Strings are sorted, so those after one context are neighbours.
        contexts_N = keys_N >> np.uint64(8)
        begins = np.flatnonzero(np.concatenate([[True], contexts_N[1:] != contexts_N[:-1]]))
        total_C = np.add.reduceat(counts_N, begins)
        owner_N = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(keys_N))))
        owns.append((counts_N - discounts_N) / total_C[owner_N])
        left_C = np.add.reduceat(discounts_N, begins) / total_C
        if place == 0:
            floor = float(left_C[0]) / 256
        else:
            rests[place - 1][np.searchsorted(counted[place - 1][0], contexts_N[begins])] = left_C
    keys = np.concatenate([keys_N for keys_N, _ in counted])
    return floor, (keys, np.concatenate(owns).astype(np.float32), np.concatenate(rests).astype(np.float32))


def _discounts(counts_N: np.ndarray) -> np.ndarray:
    """Modified Kneser-Ney: what is taken from a count of 1, of 2, and of 3 and more."""
    n1, n2, n3, n4 = (float((counts_N == k).sum()) for k in (1, 2, 3, 4))
    taken = _FALL_BACK
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        made = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < one < k for k, one in enumerate(made, 1)):
            taken = made
    return np.array([0.0, *taken])[np.minimum(counts_N, 3).astype(np.int64)]
