import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.trie import ByteTrie, check_trie

TOKENS = st.lists(st.none() | st.binary(max_size=4).map(lambda data: bytes(byte % 3 for byte in data)), max_size=20)


def covers_slowly(tokens, data, start):
    first = {}
    for i, token in enumerate(tokens):
        if token:
            first.setdefault(token, i)
    return [
        (first[data[start:end]], end - start) for end in range(start + 1, len(data) + 1) if data[start:end] in first
    ]


def fewest_slowly(tokens, data):
    best = {len(data): 0}
    for start in range(len(data) - 1, -1, -1):
        costs = [best[start + n] + 1 for _, n in covers_slowly(tokens, data, start) if start + n in best]
        if costs:
            best[start] = min(costs)
    return best.get(0)


@given(TOKENS, st.binary(max_size=8).map(lambda data: bytes(byte % 3 for byte in data)))
def test_the_laws_hold_on_random_strings(tokens, data):
    trie = ByteTrie.build(tokens)
    check_trie(trie, tokens, data)
    for start in range(len(data)):
        assert trie.covers(data, start) == covers_slowly(tokens, data, start)
    fewest = fewest_slowly(tokens, data)
    assert len(trie.segment(data)) == (fewest or 0)


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=12), st.binary(max_size=12))
def test_the_laws_hold_on_all_byte_values(tokens, data):
    check_trie(ByteTrie.build(tokens), tokens, data)


def test_an_empty_trie_finds_nothing():
    trie = ByteTrie.build([None, b""])
    assert len(trie) == 0
    assert trie.longest_match(b"abc") == (-1, 0)
    assert trie.segment(b"abc") == []
    assert trie.prefix_range(b"").tolist() == []


def test_equal_strings_are_found_by_preference_and_all_listed_under_their_prefix():
    tokens = [b"a", b"ab", b"ab", b"b"]
    assert ByteTrie.build(tokens).longest_match(b"abc") == (1, 2)
    trie = ByteTrie.build(tokens, preference=[0, 1, 0, 0])
    assert trie.longest_match(b"abc") == (2, 2)
    assert sorted(trie.prefix_range(b"ab").tolist()) == [1, 2]


def test_a_prefix_of_the_last_byte_value_ends_at_the_end():
    trie = ByteTrie.build([b"\xff", b"\xff\xff", b"\xfe"])
    assert sorted(trie.prefix_range(b"\xff").tolist()) == [0, 1]


def test_the_fewest_pieces_beat_the_greedy_cut():
    trie = ByteTrie.build([b"a", b"ab", b"abc", b"cde", b"d", b"e"])
    assert trie.segment(b"abcde", greedy=True) == [2, 4, 5]
    assert trie.segment(b"abcde") == [1, 3]


def test_a_start_outside_the_data_is_refused():
    with pytest.raises(ValueError, match="start=4 is outside"):
        ByteTrie.build([b"a"]).covers(b"abc", 4)
