"""What may follow in canonical text: all that encodings hold, nothing that no continuation brings about."""

import random

import numpy as np
import pytest

from small_vocabularies import ENGLISH, GERMAN
from tokenry.core.vocab import Kind
from tokenry.decoding.bytes_cuts import characters_from, classes_of, readable
from tokenry.decoding.bytes_viability import Viability
from tokenry.tokenization.train import train

PARTS = ["the", "cat", "l", "'s", "'", "'ll", " ", "  ", "   ", "\n", "\n\n", "1", "8", "23", "456", "é", "ü", "×", "-",
         ". ", "a", "\t", "漢", "It", "'re", "s", "t", " cat", "    "]  # fmt: skip
PROBES = ("", "a", "1", "\n", "'", " ", ".", "漢", "é", "s", "ll", "l", "e", " a", "  b", "12", "\n\n", "'s", "/")
KINDS = {
    "gpt2": {"size": 560, "pattern": "gpt2"},
    "llama3": {"size": 560, "pattern": "llama3"},
    "metaspace": {"size": 520, "style": "metaspace"},
    "unigram": {"size": 360, "kind": "unigram"},
}


def made_texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choice(PARTS) for _ in range(rng.randint(1, 8))) for _ in range(n)]


@pytest.fixture(scope="module", params=list(KINDS))
def viability(request) -> Viability:
    return Viability(train(ENGLISH + GERMAN + made_texts(200, 99), **KINDS[request.param]))


def context_of(viability: Viability, tokens: list[int]) -> tuple[int, ...]:
    tail = ()
    for token in tokens:
        tail = viability.step(tail, token)
    return tail


def test_every_beginning_of_an_encoding_is_viable_and_may_end_where_the_text_does(viability):
    vocab = viability.vocab
    for ids in vocab.encode(made_texts(25, 1)):
        ids = ids.tolist()
        if any(vocab.kinds[i] >= Kind.SPECIAL for i in ids):
            continue
        tail = ()
        for token in ids:
            assert viability.mask(tail)[0][token], [vocab.literal(i) for i in ids]
            tail = viability.step(tail, token)
        assert viability.mask(tail)[1]


def test_what_may_follow_is_brought_about_by_some_continuation(viability):
    """Every allowed token of a sample is found in the encoding of context + token + some probe."""
    vocab, rng = viability.vocab, random.Random(2)
    for ids in vocab.encode(made_texts(14, 3)):
        context = ids.tolist()[: rng.randint(1, len(ids))]
        if any(vocab.kinds[i] >= Kind.SPECIAL for i in context):
            continue
        allowed = np.flatnonzero(viability.mask(context_of(viability, context))[0]).tolist()
        for token in rng.sample(allowed, min(12, len(allowed))):
            text, unfinished = readable(vocab.decode_bytes([*context, token]))
            ends = PROBES if not unfinished else [c + e for c in characters_from(unfinished) for e in ("", "a", " ")]
            texts = [text + end for end in ends]
            if vocab.family != "byte-level":  # their own space is put in front by the tokenizer
                texts = [shown for one in texts for shown in (one, one[1:])]
            found = vocab.encode(texts)
            assert any(one[: len(context) + 1].tolist() == [*context, token] for one in found) or unfinished, (
                [vocab.literal(i) for i in context],
                vocab.literal(token),
            )


def test_look_ahead_makes_several_left_encodings_viable():
    """Two spaces are one token before a blank, and two before a word: "  8" and "   " both begin with them."""
    viability = Viability(train(ENGLISH + ["a    b    c"] * 30, size=400, pattern="gpt2"))
    vocab = viability.vocab
    double, single = (vocab.index[data][0] for data in (b"  ", b" "))
    assert viability.mask(())[0][double]
    row_V, _ = viability.mask((single,))
    assert row_V[vocab.index[b" the"][0]]  # "  the" is " " + " the"
    assert not row_V[double]  # three spaces never begin with one
    assert not viability.mask((single, single))[1]  # a text of two spaces is the double


def test_long_runs_keep_their_ends():
    classes, places = classes_of("a" + " " * 9 + "bbbbbb")
    assert classes == "l" + " " * 4 + "lll"
    assert places == [0, 1, 7, 8, 9, 10, 14, 15]


@pytest.mark.parametrize(
    ("data", "want"), [(b"a\xc3", ("a", b"\xc3")), (b"a\xff", None), (b"\x80", None), (b"", ("", b""))]
)
def test_unfinished_characters_are_told_from_invalid_ones(data, want):
    assert readable(data) == want


def test_characters_from_bytes_begin_with_them():
    for data in (b"\xc3", b"\xe6", b"\xe6\xbc", b"\xf0\x9f"):
        found = characters_from(data)
        assert found
        assert all(character.encode().startswith(data) for character in found)


def test_wordpiece_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="spaces and unknown words are lost"):
        Viability(train(ENGLISH, size=120, kind="wordpiece"))
