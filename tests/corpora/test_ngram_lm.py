"""The byte n-gram model is Kneser and Ney's to the letter, its probabilities sum to 1, broken text is less likely."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.corpora.ngram_lm import ByteNgrams, sampled

START = b"\x03"
texts_of = st.lists(st.text(alphabet="abé \n", min_size=1, max_size=12), min_size=1, max_size=6)


class Slow:
    """Interpolated modified Kneser-Ney over dictionaries of byte strings."""

    def __init__(self, texts, order):
        marked = [START + text.encode() for text in texts]
        raw = collections.Counter(
            text[at : at + size]
            for text in marked
            for size in range(1, order + 1)
            for at in range(len(text) - size + 1)
        )
        self.order, self.counts = order, [{} for _ in range(order + 1)]
        for size in range(1, order + 1):
            for gram in (gram for gram in raw if len(gram) == size):
                if size == order or gram.startswith(START):
                    self.counts[size][gram] = raw[gram]
                else:
                    self.counts[size][gram] = len(
                        {long[0] for long in raw if len(long) == size + 1 and long[1:] == gram}
                    )
        self.counts[1][START] = 0
        self.discounts = [self._discounts(list(counts.values())) for counts in self.counts]

    @staticmethod
    def _discounts(counts):
        n = [counts.count(k) for k in range(5)]
        if min(n[1:]) > 0:
            y = n[1] / (n[1] + 2 * n[2])
            made = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
            if all(0 < one < k for k, one in enumerate(made, 1)):
                return [0, *made]
        return [0, 0.5, 1.0, 1.5]

    def p(self, byte, context):
        context = context[len(context) - min(len(context), self.order - 1) :]
        lower = 1 / 256 if not context else self.p(byte, context[1:])
        if not context:
            followers = self.counts[1]
        else:
            followers = {g: c for g, c in self.counts[len(context) + 1].items() if g[:-1] == context}
        total = sum(followers.values())
        if not total:
            return lower
        taken = {g: self.discounts[len(g)][min(c, 3)] for g, c in followers.items()}
        own = context + bytes([byte])
        return max(0, followers.get(own, 0) - taken.get(own, 0)) / total + sum(taken.values()) / total * lower

    def bits(self, text):
        data = START + text.encode()
        return -sum(np.log2(self.p(data[at], data[:at])) for at in range(1, len(data)))


@settings(max_examples=40)
@given(texts_of, st.text(alphabet="abéz ", max_size=10), st.integers(1, 5))
def test_bits_are_those_of_a_slow_model_over_dictionaries(texts, asked, order):
    model, slow = ByteNgrams.train(texts, order=order), Slow(texts, order)
    np.testing.assert_allclose(model.bits([asked]), [slow.bits(asked)], rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(texts_of, st.text(alphabet="abz\n", max_size=6), st.integers(1, 7))
def test_the_probabilities_of_all_bytes_after_any_context_sum_to_one(texts, context, order):
    from tokenry.corpora.ngram_kernels import text_bits

    model = ByteNgrams.train(texts, order=order)
    data = np.frombuffer(b"".join(START + context.encode() + bytes([byte]) for byte in range(256)), np.uint8)
    starts = np.arange(257) * (len(context.encode()) + 2)
    bits = text_bits(data, starts, model.keys_S, model.own_S, model.rest_S, model.order, model.floor)
    assert abs(np.exp2(model.bits([context])[0] - bits).sum() - 1) < 1e-5


def test_a_text_is_scored_by_itself_whatever_stands_before_it():
    model = ByteNgrams.train(["the cat sat", "on the mat"], order=5)
    alone = [model.bits([text])[0] for text in ("the mat", "", "zz", "the mat")]
    assert model.bits(["the mat", None, "zz", "the mat"]).tolist() == alone
    assert alone[1] == 0


def test_shuffled_words_and_other_languages_take_more_bits():
    from tokenry.core.tables import texts
    from tokenry.data import demo_text

    text = " ".join(texts(demo_text("fiction")))[:60_000]
    lines = [text[at : at + 400] for at in range(0, len(text), 400)]
    model = ByteNgrams.train(lines[::2])
    held = lines[1::2]
    rng = np.random.default_rng(0)
    broken = [" ".join(rng.permutation(line.split())) for line in held]
    other = ["Das Haus steht am Ende der Straße, und niemand weiß, wer darin wohnt."]
    plain, mixed = model.bits_per_byte(held), model.bits_per_byte(broken)
    # A sign test over the documents: by chance, all but 5 % fall one way with probability far below 1e-6 from 100 on.
    assert len(held) >= 20
    assert (mixed > plain).mean() > 0.95
    assert model.bits_per_byte(other)[0] > mixed.mean()


def test_a_sample_is_within_its_size_and_the_same_in_any_order():
    texts = [f"text {n} " * 5 for n in range(50)]
    first, second = sampled(texts, most_bytes=1000), sampled(texts[::-1], most_bytes=1000)
    assert sorted(first) == sorted(second)
    assert 900 < sum(map(len, first)) <= 1000
    assert sampled(texts, most_bytes=10**6) == texts
    assert sampled(["é" * 100], most_bytes=21) == ["é" * 10]


def test_one_long_text_does_not_become_the_sample():
    texts = [f"text {n} " * 50 for n in range(4000)]  # 1.8 MB
    long = [f"long {n} " * 10**5 for n in range(8)]  # 7 MB, whichever of them are taken
    found = sampled([*texts, *long], most_bytes=2**20)
    assert max(map(len, found)) <= 2**16
    assert len(found) > 1000
    assert 2**20 - 2**16 < sum(map(len, found)) <= 2**20


def test_a_model_comes_back_from_its_folder_and_damage_is_named(tmp_path):
    model = ByteNgrams.train(["the cat"], order=3)
    model.save(tmp_path / "m", trained_on=["x"])
    again = ByteNgrams.load(tmp_path / "m")
    assert again.fingerprint == model.fingerprint
    assert again.record["trained_on"] == ["x"]
    assert again.bits(["a cat"]) == model.bits(["a cat"])
    np.save(tmp_path / "m/own.npy", np.zeros(3))
    with pytest.raises(ValueError, match="cut, or no model of ours"):
        ByteNgrams.load(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="no ngrams"):
        ByteNgrams.load(tmp_path)


def test_impossible_orders_and_empty_texts_are_refused():
    with pytest.raises(ValueError, match="order=8"):
        ByteNgrams.train(["a"], order=8)
    with pytest.raises(ValueError, match="no text"):
        ByteNgrams.train(["", ""])
