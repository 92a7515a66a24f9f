"""Edit distances of all beginnings: against the bit-parallel script of `noise`, and by hand."""

from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.edit_distances import edit_distances
from tokenry.tokenization.noise import edit_blocks


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_every_cell_is_the_size_of_the_shortest_script(a, b):
    def size(a, b):
        return sum(max(block.b - block.a, block.d - block.c) for block in edit_blocks(a, b))

    rows = edit_distances(a, b)
    assert rows == [[size(a[:i], b[:j]) for j in range(len(b) + 1)] for i in range(len(a) + 1)]


def test_a_word_and_its_parts_by_hand():
    assert edit_distances("ab", "b") == [[0, 1], [1, 1], [2, 1]]
