"""Hashes are stable, MinHash estimates the Jaccard similarity within its bound, a Bloom filter errs at its rate."""

import itertools
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.hashing import (
    BloomFilter,
    MinHash,
    check_bloom,
    check_minhash,
    fingerprint,
    mix,
    shingle_hashes,
    stable_hash,
)

MASK = 2**64 - 1
hashes = st.lists(st.integers(0, MASK), max_size=40).map(lambda values: np.array(values, np.uint64))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def random_hashes(n: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def test_the_hash_is_that_of_the_b2sum_program():
    # printf token | b2sum -l 64
    assert stable_hash("token") == int.from_bytes(bytes.fromhex("3f01c29a866b9b74"), "little")
    assert stable_hash("ß\u2028𝔸") == stable_hash("ß\u2028𝔸".encode())
    assert 0 <= stable_hash("\ud800") != stable_hash("?")


def test_hashes_and_fingerprints_are_the_same_in_another_process():
    code = (
        "from tokenry.core.hashing import *; print(stable_hash('a'), fingerprint({'b', 'a', 'c'}, {'x': 1, 'y': 2.5}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(stable_hash("a")), fingerprint({"c", "a", "b"}, {"y": 2.5, "x": 1})]


def test_fingerprints_tell_types_and_places_apart():
    parts = [None, True, 1, 1.0, "1", b"1", "", b"", [], {}, [1], ["1"], [[1]], {"1": 1}, np.array([1]), "True", "None"]
    assert len({fingerprint(part) for part in parts}) == len(parts)
    assert len({fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint(["a", "bc"])}) == 4
    assert fingerprint(np.zeros((2, 3))) != fingerprint(np.zeros((3, 2)))
    assert fingerprint(np.zeros(2, np.float32)) != fingerprint(np.zeros(4, np.int16))
    assert fingerprint(Path("a/b")) == fingerprint("a/b")
    assert fingerprint(np.float64(0.5), np.int64(3)) == fingerprint(0.5, 3)


@given(plain, plain)
def test_equal_parts_have_equal_fingerprints_and_others_do_not(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (repr(one) == repr(other) or _same(one, other))


def _same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down; the order of keys does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other and not (isinstance(one, float) and math.copysign(1, one) != math.copysign(1, other))


def test_what_cannot_be_known_has_no_fingerprint():
    with pytest.raises(TypeError, match="no fingerprint for a object"):
        fingerprint(object())


def test_mixing_is_one_to_one():
    values = np.arange(100_000, dtype=np.uint64)
    assert len(np.unique(mix(values))) == len(values)


def test_shingles_are_the_runs_of_neighbours():
    words = ["a", "b", "c", "a", "b", "c"]
    shingles = shingle_hashes(words, width=3)
    assert len(shingles) == 4
    assert shingles[0] == shingles[3]
    assert len(set(shingles.tolist())) == 3
    assert (shingle_hashes(words[1:], width=3) == shingles[1:]).all()
    assert shingle_hashes(["b", "a"], width=2) != shingle_hashes(["a", "b"], width=2)
    assert len(shingle_hashes(["a"], width=5)) == 1
    assert len(shingle_hashes([], width=5)) == 0
    with pytest.raises(ValueError, match="width=0"):
        shingle_hashes(words, width=0)


def slow_signature(minhash: MinHash, values: np.ndarray) -> list[int]:
    """The definition, in Python's integers."""
    signature = []
    for a, b in zip(minhash._a_K.tolist(), minhash._b_K.tolist(), strict=True):
        signature.append(min(((a * x + b & MASK) >> 32 for x in values.tolist()), default=0xFFFFFFFF))
    return signature


@given(st.lists(hashes, max_size=5), st.integers(1, 5))
def test_signatures_equal_the_definition_for_empty_and_other_sets(sets, seed):
    minhash = MinHash(7, seed=seed)
    offsets = np.cumsum([0, *map(len, sets)])
    signatures = minhash.signatures(np.concatenate([np.empty(0, np.uint64), *sets]), offsets)
    assert signatures.dtype == np.uint32
    assert signatures.tolist() == [slow_signature(minhash, one) for one in sets]


def test_sets_longer_than_a_block_and_across_blocks_are_whole():
    values = random_hashes(150_000, seed=1)
    offsets = np.array([0, 10, 100_000, 100_000, 140_000, 150_000])
    signatures = MinHash(3).signatures(values, offsets)
    for row, (start, end) in enumerate(itertools.pairwise(offsets)):
        assert signatures[row].tolist() == slow_signature(MinHash(3), values[start:end])


@given(hashes.filter(len))
def test_the_laws_of_minhash_hold(values):
    check_minhash(MinHash(16), values)


@pytest.mark.parametrize("similarity", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_estimate_is_within_the_hoeffding_bound_of_the_jaccard_similarity(similarity):
    # 20 pairs each, K = 512: |estimate - J| > t with probability 2 exp(-2 K t^2). With t = 0.144 that is 1.2e-9 a pair.
    n, n_permutations = 2_000, 512
    bound = math.sqrt(math.log(2 / 1.2e-9) / (2 * n_permutations))
    shared = round(n * similarity)
    errors = []
    for seed in range(20):
        minhash = MinHash(n_permutations, seed=seed)
        values = random_hashes(2 * n, seed=seed)
        one, other = values[:n], values[n - shared : 2 * n - shared]
        jaccard = shared / (2 * n - shared)
        errors.append(minhash.similarity(minhash.signature(one), minhash.signature(other)) - jaccard)
    assert max(map(abs, errors)) < bound
    # No bias: the mean over 20 independent pairs is 20 K draws, so the same bound holds divided by sqrt(20).
    assert abs(np.mean(errors)) < bound / math.sqrt(20)


def test_similarity_broadcasts_over_rows():
    minhash = MinHash(8)
    rows = minhash.signatures(random_hashes(20, seed=0), np.array([0, 10, 20]))
    assert minhash.similarity(rows, rows[0]).tolist()[0] == 1.0
    assert isinstance(minhash.similarity(rows[0], rows[1]), float)


def test_wrong_arguments_of_minhash_are_named():
    with pytest.raises(ValueError, match="n_permutations=0"):
        MinHash(0)
    with pytest.raises(ValueError, match="need uint64"):
        MinHash().signature(np.arange(3))
    with pytest.raises(ValueError, match="need 0 to that number"):
        MinHash().signatures(random_hashes(3, seed=0), np.array([0, 2]))
    with pytest.raises(ValueError, match="go down"):
        MinHash().signatures(random_hashes(3, seed=0), np.array([0, 4, 3]))


@given(hashes)
def test_the_laws_of_the_bloom_filter_hold(values):
    check_bloom(BloomFilter(100), values)


@pytest.mark.parametrize("error_rate", [0.1, 0.01, 0.001])
def test_a_full_bloom_filter_errs_at_its_rate(error_rate):
    capacity, n_strangers = 20_000, 200_000
    values = random_hashes(capacity + n_strangers, seed=3)
    bloom = BloomFilter(capacity, error_rate)
    bloom.add(values[:capacity])
    found = bloom.contains(values[capacity:]).mean()
    # The share of bits set is about 1/2, so the rate is that filling to the power of the probes; six standard errors of
    # a binomial (2e-9), and 5 % for rounding the number of probes.
    spread = 6 * math.sqrt(error_rate / n_strangers)
    assert abs(found - bloom.expected_error()) < spread
    assert abs(bloom.expected_error() - error_rate) < 0.05 * error_rate


def test_adding_says_what_was_there_before_also_within_one_call():
    bloom = BloomFilter(100)
    assert bloom.add(["a", "b", "a", "c", "b"]).tolist() == [False, False, True, False, True]
    assert bloom.add(["c", "d"]).tolist() == [True, False]
    assert bloom.n_added == 4
    assert bloom.contains(["d", "e"]).tolist() == [True, False]


def test_an_overfull_bloom_filter_warns_once():
    bloom = BloomFilter(10)
    with pytest.warns(UserWarning, match="made for 10 items now holds 20"):
        bloom.add(random_hashes(20, seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bloom.add(random_hashes(20, seed=1))


def test_wrong_arguments_of_the_bloom_filter_are_named():
    with pytest.raises(ValueError, match="capacity=0"):
        BloomFilter(0)
    with pytest.raises(ValueError, match="error_rate=1"):
        BloomFilter(10, 1)
    with pytest.raises(ValueError, match="one string is not a set"):
        BloomFilter(10).add("abc")
