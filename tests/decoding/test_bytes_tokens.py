"""Ranges of tokens that begin alike: sums over them are the sums over the tokens."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import byte_level
from tokenry.decoding.bytes_tokens import SortedTokens

PREFIXES = st.sampled_from([b"", b"t", b"th", b"the", b" ", b" th", b"\xc3", b"zz", b" the c"])


@settings(max_examples=15)
@given(prefix=PREFIXES, seed=st.integers(0, 5))
def test_a_node_holds_the_tokens_with_its_prefix_and_masses_add_up(prefix, seed):
    vocab = byte_level("both", 420)
    tokens = SortedTokens(vocab)
    q_S = np.random.default_rng(seed).random(len(tokens))
    want = [i for i, string in enumerate(tokens.strings) if string.startswith(prefix)]
    node = tokens.node(prefix)
    assert (node is None) == (not want)
    if node is None:
        return
    assert list(range(node.low, node.high)) == want
    assert [tokens.strings[i] for i in tokens.whole(node)] == [s for s in tokens.strings if s == prefix]
    out = np.zeros(257)
    tokens.masses(q_S, node, out=out, scale=2.0)
    for byte in range(256):
        longer = prefix + bytes((byte,))
        np.testing.assert_allclose(out[byte], 2 * sum(q_S[i] for i in want if tokens.strings[i].startswith(longer)))
        below = tokens.below(node, byte)
        assert (below is None) == (not any(s.startswith(longer) for s in tokens.strings))
        assert below is None or below == tokens.node(longer)


def test_equal_bytes_keep_their_own_places():
    """Byte pieces of a SentencePiece file repeat ASCII."""
    from tokenry.core.vocab import Vocab
    from tokenry.data import demo_model

    tokens = SortedTokens(Vocab.open(str(demo_model())))
    node = tokens.node(b"a")
    assert len(tokens.whole(node)) == 2
