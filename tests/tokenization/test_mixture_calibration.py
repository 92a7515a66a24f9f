"""Training at a known mixture, and the interval from its errors."""

import numpy as np
import pytest
from trained_vocabularies import fiction, script_lines, small

from tokenry.tokenization.mixture_calibration import (
    calibrated_interval,
    halves,
    learn_merges,
    sampled_weights,
    weights_for,
)
from tokenry.tokenization.mixture_counts import count_categories, spell_words


def test_merges_learned_on_weighted_words_are_the_trainer_s():
    """Oracle: the trainer of `tokenizer train`, which is held to the library's."""
    vocab = small()
    categories = count_categories({"a": fiction()}, vocab)
    learned = learn_merges(
        vocab, spell_words(vocab, categories.words), categories.counts.sum(1), n_merges=len(vocab.merges)
    )
    names = {}
    for left, right, made in learned.tolist():
        names[made] = (names.get(left) or vocab.literal(left)) + (names.get(right) or vocab.literal(right))
    ours = [names[i] for i in learned[:, 2].tolist()]
    theirs = [vocab.literal(i) for i in vocab.merges[:, 2].tolist()]
    assert ours == theirs


def test_inherited_merges_come_first_and_stay():
    vocab = small()
    categories = count_categories({"a": script_lines()}, vocab)
    spelled = spell_words(vocab, categories.words)
    kept = vocab.merges[:50]
    learned = learn_merges(vocab, spelled, categories.counts.sum(1), n_merges=30, inherited=kept)
    assert (learned[:50] == kept).all()
    assert len(learned) == 80


def test_weights_give_the_bytes_their_shares():
    vocab = small()
    categories = count_categories({"a": fiction(), "b": script_lines(), "c": fiction(40)}, vocab)
    shares = np.array([0.2, 0.7, 0.1])
    assert weights_for(shares, categories.bytes_by_category) @ categories.bytes_by_category == pytest.approx(1)
    rng = np.random.default_rng(0)
    half, rest = halves(categories, rng)
    assert not (half & rest).any()
    assert ((half | rest) == (categories.n_bytes > 0)).all()
    for size in (None, 2000.0, 1e9):
        weights = sampled_weights(categories, half, shares, n_bytes=size, rng=rng)
        got = (weights * categories.n_bytes).reshape(3, -1).sum(1)
        assert got == pytest.approx(shares)
        assert not weights[~half].any()
    few = sampled_weights(categories, half, shares, n_bytes=2000.0, rng=rng)
    assert (few > 0).sum() < half.sum()


def test_a_single_document_cannot_be_halved():
    categories = count_categories({"a": fiction(), "b": ["one document"]}, small())
    with pytest.raises(ValueError, match="'b' has 1 documents"):
        halves(categories, np.random.default_rng(0))


def test_the_interval_of_normal_errors_covers_what_it_says():
    """R rounds of a centred normal error and one more, the estimate's own: Student's t with R degrees is exact.

    4,000 intervals; the share covered has standard error sqrt(0.9 * 0.1 / 4000) = 0.0047; four of them are allowed.
    """
    rng = np.random.default_rng(0)
    n = 4000
    estimate = 0.5 + 0.01 * rng.standard_normal(n)
    ends = calibrated_interval(estimate, 0.01 * rng.standard_normal((6, n)), level=0.9)
    covered = ((ends[:, 0] <= 0.5) & (ends[:, 1] >= 0.5)).mean()
    assert abs(covered - 0.9) < 4 * 0.0047


def test_the_interval_stays_inside_the_simplex_and_widens_with_bias():
    ends = calibrated_interval(np.array([0.01, 0.99]), np.full((5, 2), 0.05), level=0.9)
    assert ends.min() == 0
    assert ends.max() == 1
    assert calibrated_interval(np.array([0.5]), np.zeros((5, 1)), level=0.9).tolist() == [[0.5, 0.5]]
