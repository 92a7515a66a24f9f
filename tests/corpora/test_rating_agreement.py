"""Agreement of raters against a peer (scikit-learn) and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.rating_agreement import agreement_report, bag_of_words, cohen_kappa, confusion

PAIRS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(1, 6, (2, 40)))


@given(PAIRS)
def test_kappa_and_confusion_are_those_of_the_peer(pair):
    metrics = pytest.importorskip("sklearn.metrics")
    true, said = pair
    counts = confusion(true, said, range(1, 6))
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(true, said, labels=range(1, 6)))
    for weights, theirs in (("none", None), ("quadratic", "quadratic")):
        expected = metrics.cohen_kappa_score(true, said, labels=range(1, 6), weights=theirs)
        assert cohen_kappa(counts, weights=weights) == pytest.approx(expected)


def test_kappa_of_the_textbook_table():
    # 50 grants, two readers: both yes 20, both no 15, 5 and 10 apart; agreement 0.7, chance 0.5 (Cohen's example form).
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert np.isnan(cohen_kappa(np.array([[9, 0], [0, 0]])))


def test_a_report_stands_beside_the_commonest_score_and_counts_the_unrated_as_wrong():
    true = np.array([[1], [2], [2], [3]])
    report = agreement_report(true, {"mine": np.array([[1], [2], [-1], [2]])}, criteria=["c"], levels=[1, 2, 3])
    rows = {row["rater"]: row for row in report.tables["agreement"].to_pylist()}
    assert rows["mine"]["accuracy"] == rows["always the commonest"]["accuracy"] == 0.5
    assert rows["mine"]["unrated"] == 1
    assert rows["always the commonest"]["kappa"] == 0
    assert rows["always the commonest"]["spearman"] is None
    assert report.tables["confusion.mine.c"].column("said 2").to_pylist() == [0, 1, 1]
    with pytest.raises(ValueError, match="is none of"):
        confusion([1], [9], [1, 2])


def test_a_bag_of_words_learns_words():
    texts = [f"{'good' if place % 2 else 'bad'} thing number {place % 7}" for place in range(80)]
    scores = [5 if place % 2 else 1 for place in range(80)]
    likely, fine = bag_of_words(texts, scores, ["a good one", "a bad one"])
    assert likely.tolist() == [5, 1]
    assert fine[0] > fine[1]
    assert bag_of_words(texts, [3] * 80, ["x"])[0].tolist() == [3]
