"""Hashes that are the same in every process and on every machine: stable hash, fingerprint, MinHash, Bloom filter.

Papers: On the resemblance and containment of documents (Broder, 1997); Min-wise independent linear permutations
(Bohman, Cooper, Frieze, 2000); Space/time trade-offs in hash coding with allowable errors (Bloom, 1970).
"""

import hashlib
import math
import struct
import warnings
from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np

# Axes: N hashed items, D documents, K hash functions.

_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # the odd constant of the splitmix64 generator
_ONES = np.array([byte.bit_count() for byte in range(256)], np.uint8)
_BLOCK = 1 << 15  # items hashed at once: 256 kB of uint64 stays in the second-level cache


def stable_hash(value: bytes | str) -> int:
    """A 64-bit hash (blake2b), equal in every process; a `str` hashes as its UTF-8 bytes."""
    return int.from_bytes(hashlib.blake2b(_bytes(value), digest_size=8).digest(), "little")


def fingerprint(*parts: object) -> str:
    """16 hexadecimal digits that change when any part, its type or its place changes.

    Parts may be None, bool, int, float, str, bytes, paths, numpy arrays and scalars, and lists, tuples, sets or
    dicts of those. The order of a set's or a dict's members does not count; a list and a tuple of the same members
    are the same part.

    Raises:
        TypeError: for a part whose content cannot be known.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def mix(values_N: np.ndarray) -> np.ndarray:
    """Scramble uint64 values one to one (the finaliser of splitmix64): neighbours become unrelated."""
    x_N = np.asarray(values_N, np.uint64)
    x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x_N ^ (x_N >> np.uint64(31))


def shingle_hashes(items: Sequence[bytes | str], *, width: int = 5) -> np.ndarray:
    """Hash every run of `width` neighbouring items (words, lines, ...): the set MinHash compares.

    Returns:
        uint64 (len(items) - width + 1,), in order, repeats kept. Fewer items than `width` make one shingle of all
        of them; no items make none.
    """
    if width < 1:
        raise ValueError(f"width={width} items per shingle; need at least 1.")
    if not items:
        return np.empty(0, np.uint64)
    known = {item: stable_hash(item) for item in set(items)}
    hashes_N = np.fromiter((known[item] for item in items), np.uint64, len(items))
    width = min(width, len(items))
    n = len(items) - width + 1
    result_N = np.zeros(n, np.uint64)
    for place in range(width):
        result_N = mix(result_N + _GAMMA + hashes_N[place : place + n])
    return result_N


class MinHash:
    """Signatures whose share of equal values estimates the Jaccard similarity of two sets.

    Permutation k is h_k(x) = (a_k x + b_k) mod 2^64 with a_k odd, so it is one to one on 64-bit hashes; the a_k and
    b_k are scrambles of the seed and of k, the same with every version of numpy. Value k of a signature is the upper
    half of the smallest h_k(x) over the set. Two values are equal with probability J (the Jaccard similarity), so by
    Hoeffding the estimate is within t of J except with probability 2 exp(-2 K t^2): K = 128 gives 0.12 at 95 %.

    Attributes:
        n_permutations: K.
        seed: signatures compare only when K and the seed are the same.
    """

    EMPTY = np.uint32(0xFFFFFFFF)

    def __init__(self, n_permutations: int = 128, *, seed: int = 0) -> None:
        if n_permutations < 1:
            raise ValueError(f"n_permutations={n_permutations}; need at least 1 (128 is usual).")
        steps = np.arange(1, 2 * n_permutations + 1, dtype=np.uint64).reshape(2, n_permutations)
        draw = mix(np.uint64(stable_hash(f"minhash {seed}")) + steps * _GAMMA)
        self.n_permutations = n_permutations
        self.seed = seed
        self._a_K = draw[0] | np.uint64(1)
        self._b_K = draw[1]

    @property
    def multipliers(self) -> tuple[np.ndarray, np.ndarray]:
        """The a_k and b_k, uint64 (K,) each, for kernels."""
        return self._a_K, self._b_K

    def signature(self, hashes_N: np.ndarray) -> np.ndarray:
        """Signature of one set.

        Args:
            hashes_N: uint64 hashes of the members, as `shingle_hashes` gives; repeats do not matter.

        Returns:
            uint32 (K,); all `EMPTY` for the empty set.
        """
        hashes_N = _hashes(hashes_N)
        return self.signatures(hashes_N, np.array([0, len(hashes_N)], np.int64))[0]

    def signatures(self, hashes_N: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Signatures of many sets at once.

        Args:
            hashes_N: uint64 hashes of all sets, one set after the other.
            offsets: int64 (D + 1,); set d is `hashes_N[offsets[d]:offsets[d + 1]]`.

        Returns:
            uint32 (D, K); a row of `EMPTY` for an empty set.
        """
        hashes_N, offsets = _hashes(hashes_N), np.asarray(offsets, np.int64)
        if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(hashes_N):
            ends = f"{offsets[:1]} to {offsets[-1:]}"
            raise ValueError(f"offsets run from {ends} over {len(hashes_N)} hashes; need 0 to that number.")
        if (np.diff(offsets) < 0).any():
            raise ValueError("offsets go down somewhere; need one set after the other.")
        smallest_DK = np.full((len(offsets) - 1, self.n_permutations), self.EMPTY)
        for start in range(0, len(hashes_N), _BLOCK):
            block_N = hashes_N[start : start + _BLOCK]
            first = np.searchsorted(offsets, start, side="right") - 1
            last = np.searchsorted(offsets, start + len(block_N), side="left")
            cuts = np.clip(offsets[first : last + 1] - start, 0, len(block_N))
            filled = np.flatnonzero(np.diff(cuts))  # reduceat has no answer for an empty set
            starts, rows = cuts[filled], first + filled
            for k in range(self.n_permutations):
                minima = np.minimum.reduceat(block_N * self._a_K[k] + self._b_K[k], starts) >> np.uint64(32)
                smallest_DK[rows, k] = np.minimum(smallest_DK[rows, k], minima.astype(np.uint32))
        return smallest_DK

    @staticmethod
    def similarity(one_K: np.ndarray, other_K: np.ndarray) -> np.ndarray | float:
        """Estimated Jaccard similarity: the share of equal values along the last axis (broadcasts)."""
        share = np.mean(np.asarray(one_K) == np.asarray(other_K), axis=-1)
        return float(share) if np.ndim(share) == 0 else share


class BloomFilter:
    """A set in a fixed number of bits: never forgets a member, takes a stranger for one at a known small rate.

    m = ceil(-capacity ln(error_rate) / ln(2)^2) bits and round(m / capacity ln 2) probes, each an independent
    scramble of the 64-bit hash.

    Attributes:
        capacity: members it is made for; `add` warns once beyond it, where the error rate starts to grow.
        error_rate: share of strangers taken for members when `capacity` members are in it.
        n_added: members added so far (repeats found as such are not counted).
        bits: uint8 (ceil(m / 8),), the filter itself.
    """

    def __init__(self, capacity: int, error_rate: float = 0.01, *, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}; need at least 1: how many different items will come?")
        if not 0 < error_rate < 1:
            raise ValueError(f"error_rate={error_rate}; need a share between 0 and 1, such as 0.01.")
        self.capacity = capacity
        self.error_rate = error_rate
        self.seed = seed
        self.n_added = 0
        self.n_bits = max(8, math.ceil(-capacity * math.log(error_rate) / math.log(2) ** 2))
        self.n_probes = max(1, round(self.n_bits / capacity * math.log(2)))
        self.bits = np.zeros((self.n_bits + 7) // 8, np.uint8)
        self._salt = np.uint64(stable_hash(f"bloom {seed}"))

    def add(self, items: np.ndarray | Iterable[bytes | str]) -> np.ndarray:
        """Add items, and say which were there before.

        Args:
            items: uint64 hashes (N,), or strings or bytes to hash.

        Returns:
            bool (N,): True where the item was in the filter already, or came earlier in this same call.
        """
        hashes_N = _hashes(items)
        unique, first_N, inverse_N = np.unique(hashes_N, return_index=True, return_inverse=True)
        known = self.contains(unique)
        for places, masks in self._probes(unique[~known]):
            np.bitwise_or.at(self.bits, places, masks)
        before = self.n_added
        self.n_added += int((~known).sum())
        if before <= self.capacity < self.n_added:
            warnings.warn(
                f"a Bloom filter made for {self.capacity:,} items now holds {self.n_added:,}: it takes more strangers "
                f"for members than {self.error_rate:g}. Make it with a larger capacity.",
                stacklevel=2,
            )
        seen_N = known[inverse_N]
        seen_N |= first_N[inverse_N] != np.arange(len(hashes_N))
        return seen_N

    def contains(self, items: np.ndarray | Iterable[bytes | str]) -> np.ndarray:
        """bool (N,): False is certain, True is wrong for a stranger at the error rate."""
        hashes_N = _hashes(items)
        found_N = np.ones(len(hashes_N), bool)
        for places, masks in self._probes(hashes_N):
            found_N &= (self.bits[places] & masks) != 0
        return found_N

    def expected_error(self) -> float:
        """Error rate at the present filling: (share of bits that are set) ** probes."""
        n_set = int(_ONES[self.bits].sum(dtype=np.int64))
        return (n_set / self.n_bits) ** self.n_probes

    def _probes(self, hashes_N: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for probe in range(self.n_probes):
            step = np.uint64((probe + 1) * int(_GAMMA) & 0xFFFFFFFFFFFFFFFF)
            bit_N = mix((hashes_N ^ self._salt) + step) % np.uint64(self.n_bits)
            yield (bit_N >> np.uint64(3)).astype(np.int64), np.uint8(1) << (bit_N & np.uint64(7)).astype(np.uint8)


def check_minhash(minhash: MinHash, hashes_N: np.ndarray) -> None:
    """The laws of MinHash: order and repeats do not matter, a union's signature is the minimum, alike sets agree."""
    signature_K = minhash.signature(hashes_N)
    assert signature_K.shape == (minhash.n_permutations,)
    assert (minhash.signature(np.concatenate([hashes_N[::-1], hashes_N])) == signature_K).all()
    half = len(hashes_N) // 2
    parts = minhash.signature(hashes_N[:half]), minhash.signature(hashes_N[half:])
    assert (np.minimum(*parts) == signature_K).all()
    assert minhash.similarity(signature_K, signature_K) == 1.0


def check_bloom(bloom: BloomFilter, hashes_N: np.ndarray) -> None:
    """The laws of a Bloom filter: what was added is found, and adding it again says so and changes nothing."""
    bloom.add(hashes_N)
    assert bloom.contains(hashes_N).all()
    bits = bloom.bits.copy()
    assert bloom.add(hashes_N).all()
    assert (bloom.bits == bits).all()


def _bytes(value: bytes | str) -> bytes:
    # surrogatepass: half a pair from broken JSON still hashes, and differently from its replacement.
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)


def _hashes(items: np.ndarray | Iterable[bytes | str]) -> np.ndarray:
    if isinstance(items, np.ndarray):
        if items.dtype != np.uint64 or items.ndim != 1:
            raise ValueError(f"hashes are {items.dtype} of shape {items.shape}; need uint64 (N,), or strings to hash.")
        return items
    if isinstance(items, (str, bytes)):
        raise ValueError("one string is not a set of items; need a list of strings, or uint64 hashes.")
    return np.array([stable_hash(item) for item in items], np.uint64)


def _feed(digest: "hashlib._Hash", part: object) -> None:
    """Add a type letter, a length and the content, so that no two different parts look alike."""
    if isinstance(part, np.generic):
        part = part.item()
    if part is None or isinstance(part, (bool, int)):
        kind, content = type(part).__name__[0].encode(), repr(part).encode()
    elif isinstance(part, float):
        kind, content = b"f", struct.pack("<d", part)
    elif isinstance(part, (str, PurePath)):
        kind, content = b"s", _bytes(str(part))
    elif isinstance(part, (bytes, bytearray, memoryview)):
        kind, content = b"y", bytes(part)
    elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
        kind, content = b"a", f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
    elif isinstance(part, (list, tuple)):
        kind, content = b"l", b"".join(fingerprint(member).encode() for member in part)
    elif isinstance(part, (set, frozenset)):
        kind, content = b"e", b"".join(sorted(fingerprint(member).encode() for member in part))
    elif isinstance(part, dict):
        kind, content = b"d", b"".join(sorted(fingerprint(*pair).encode() for pair in part.items()))
    else:
        raise TypeError(f"no fingerprint for a {type(part).__name__}; give its text, bytes, numbers or arrays.")
    digest.update(kind + len(content).to_bytes(8, "little") + content)
