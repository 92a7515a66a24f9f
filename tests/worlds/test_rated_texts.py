"""Planted documents: what is planted shows, and only that."""

import itertools
from collections import Counter

from tokenry.worlds.rated_texts import CRITERIA, DOMAINS, rated_texts

ORDER = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]


def test_the_same_seed_gives_the_same_documents_and_their_overall_score_is_the_rounded_mean():
    made = rated_texts(50, seed=3)
    assert made == rated_texts(50, seed=3)
    assert made != rated_texts(50, seed=4)
    for one in made:
        assert len(one.scores) == len(CRITERIA)
        assert one.scores[-1] == int(sum(one.scores[:-1]) / 5 + 0.5)


def test_a_faultless_document_tells_its_steps_in_order_with_words_of_its_domain():
    for one in rated_texts(20, perfect=1.0):
        assert set(one.scores) == {5}
        steps = [step.split() for step in one.text.rstrip(".").split(". ")]
        assert [step[0] for step in steps] == [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
        ]
        assert {step[2] for step in steps} | {step[5] for step in steps} <= set(DOMAINS[one.domain].split())


def test_each_missing_score_of_coherence_is_one_more_pair_of_steps_out_of_order():
    seen = Counter()
    for one in rated_texts(300, seed=1, perfect=0.5):
        _accuracy, coherence, _language, _density, originality, _ = one.scores
        if originality < 5:
            continue
        places = [ORDER.index(word) for word in one.text.replace(".", "").split() if word in ORDER]
        assert places[0] == 0
        assert sum(b < a for a, b in itertools.pairwise(places)) == 5 - coherence
        seen[coherence] += 1
    assert set(seen) == {1, 2, 3, 4, 5}
