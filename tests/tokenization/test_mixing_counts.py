"""Weights of sources: exact against repeated text, and the text itself in natural proportions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines, small

from tokenry.core.pretokens import count_pretokens
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.mixing_counts import scaled_down, weigh
from tokenry.tokenization.train import train


def rows(**texts):
    return [{"text": text, "source": source} for source, many in texts.items() for text in many]


def two():
    """Two sources with as many bytes each."""
    a, b = "\n".join(fiction(60)).encode(), "\n".join(script_lines()).encode()
    size = min(len(a), len(b))
    texts = [data[:size].decode(errors="ignore") for data in (a, b)]
    pad = [size - len(text.encode()) for text in texts]
    return [text + "." * n for text, n in zip(texts, pad, strict=True)]


def test_natural_proportions_are_plain_training_bit_for_bit():
    docs = rows(a=fiction(50), b=script_lines())
    table = count_pretokens(docs, small())
    mix = dict(zip(table.sources, table.n_bytes.tolist(), strict=True))
    weighed = weigh(table, mix)
    assert weighed.multipliers == (1, 1)
    assert weighed.repeats == (1, 1)
    assert compose(docs, Recipe(size=600, mix=mix)).vocab.fingerprint == train(docs, size=600).fingerprint


def test_two_to_one_is_the_text_with_one_source_twice():
    a, b = two()
    mixed = compose(rows(a=[a], b=[b]), Recipe(size=600, mix={"a": 2, "b": 1}, min_count=1)).vocab
    assert mixed.fingerprint == train([a, a, b], size=600, min_count=1).fingerprint


def test_a_mixture_leans_towards_its_source():
    a, b = two()
    docs = rows(a=[a], b=[b])
    cost = [len(compose(docs, Recipe(size=600, mix={"a": w, "b": 1 - w})).vocab.encode([a])[0]) for w in (0.95, 0.05)]
    # A vocabulary of 440 merges can hold little of both: what it learns goes to the heavier source.
    assert cost[0] < 0.95 * cost[1]


@settings(max_examples=30)
@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=2))
def test_shares_are_as_asked_and_counts_stay_whole(weights):
    table = count_pretokens(rows(a=["one two two"], b=["three four five six seven"]), small())
    weighed = weigh(table, dict(zip("ab", weights, strict=True)))
    asked = [weight / sum(weights) for weight in weights]
    assert all(abs(x - y) < 1e-6 for x, y in zip(weighed.shares, asked, strict=True))
    assert weighed.pretokens.total.min() > 0
    assert weighed.pretokens.total.sum() < 2**62


def test_a_source_read_more_than_once_is_named():
    a, b = two()
    table = count_pretokens(rows(a=[a], b=[b]), small())
    weighed = weigh(table, {"a": 3, "b": 1})
    assert weighed.repeats == (1.5, 0.5)
    down = scaled_down(weighed)
    assert abs(down.total.sum() / table.total.sum() - 1) < 0.5


def test_a_source_not_named_is_left_out_with_a_warning():
    with pytest.warns(UserWarning, match="'b'"):
        made = compose(rows(a=fiction(20), b=["zzzz zzzz zzzz"] * 30), Recipe(size=400, mix={"a": 1}))
    assert not any(token and b"zz" in token for token in made.vocab.tokens)
    assert made.weighed.shares == (1.0, 0.0)


@pytest.mark.parametrize("kind", [pytest.param("unigram", marks=pytest.mark.slow), "wordpiece"])  # a second
def test_every_trainer_takes_a_mix(kind):
    a, b = two()
    made = compose(rows(a=[a], b=[b]), Recipe(size=400, kind=kind, mix={"a": 1, "b": 0}))
    assert not any(token and "العربية".encode() in token for token in made.vocab.tokens)


@pytest.mark.parametrize(
    ("mix", "sentence"), [({"aa": 1}, "Did you mean 'a'"), ({"a": -1}, "from 0 on"), ({"a": 0}, "leaves no text")]
)
def test_a_mix_that_cannot_be_is_refused(mix, sentence):
    with pytest.raises(ValueError, match=sentence):
        compose(rows(a=fiction(5)), Recipe(size=400, mix=mix))
