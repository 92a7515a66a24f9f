"""Chunks of two segmentations: the same bytes, in order, the shortest possible."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.transplant.alignment import START, align, space_starts, spelt


def cut(data: bytes, places: list[int]) -> list[bytes]:
    stops = sorted({p % (len(data) + 1) for p in places} | {len(data)})
    out, start = [], 0
    for stop in stops:
        if stop > start:
            out.append(data[start:stop])
        start = stop
    return out


def walked(first, second):
    """The brute-force twin: two pointers, a chunk wherever both have spelt equally much."""
    i = j = a = b = 0
    found = []
    while i < len(first) or j < len(second):
        if a <= b and i < len(first):
            a, i = a + len(first[i]), i + 1
        elif j < len(second):
            b, j = b + len(second[j]), j + 1
        else:
            break
        if a == b:
            found.append((i - 1, j - 1))
    return found


places = st.lists(st.integers(0, 40), max_size=12)


@given(st.binary(min_size=1, max_size=30).map(lambda b: bytes(x % 128 for x in b).replace(b" ", b"x")), places, places)
def test_chunks_are_those_of_a_walk_and_spell_the_same_bytes(data, one, other):
    first, second = cut(data, one), cut(data, other)
    chunks = align(first, second)
    assert list(zip(*chunks.ends.tolist(), strict=True)) == walked(first, second)
    assert chunks.same.all()
    assert (np.diff(chunks.ends, axis=1) > 0).all()
    assert (chunks.ends[:, -1] == [len(first) - 1, len(second) - 1]).all()
    i = j = 0
    for a, b in chunks.ends.T:
        assert b"".join(first[i : a + 1]) == b"".join(second[j : b + 1])
        i, j = a + 1, b + 1


def test_equal_segmentations_make_every_token_a_chunk():
    tokens = [START, b"a", b"bc", b" d"]
    assert align(tokens, tokens).ends.tolist() == [[0, 1, 2, 3]] * 2


def test_a_dummy_space_of_one_side_is_credited_to_the_other():
    chunks = align([START, b" he", b"llo"], [START, b"he", b"llo"])
    assert chunks.ends.tolist() == [[0, 1, 2]] * 2
    assert chunks.same.all()


def test_a_chunk_spelt_differently_is_marked_and_the_next_is_not():
    chunks = align([b"ab", b"cd", b"ef"], [b"ab", b"CD", b"ef"])
    assert chunks.same.tolist() == [True, False, True]


def test_special_tokens_are_units_by_role():
    vocab = Vocab.open(demo_model())
    bos = vocab.specials["bos"]
    ids = np.array([*vocab.encode(["ab"])[0], bos, *vocab.encode(["cd"])[0]])
    tokens = spelt(vocab, vocab, ids)
    chunks = align(tokens, tokens)
    assert chunks.special.sum() == 1
    assert len(chunks) == len(ids)


def test_words_end_before_white_space_and_special_tokens():
    vocab = Vocab.open(demo_model())
    found = space_starts(vocab, vocab.size + 3)
    assert not found[vocab.size :].any()
    assert found[vocab.specials["bos"]]
    assert found[vocab.encode([" the"])[0][0]]
    assert found[vocab.index[b"\n"][0]]
