"""The splitter by counts: worked cases, exhaustion, files."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.compound_frequency import FrequencySplitter, read_counts, with_frequent_splits, write_counts
from tokenry.tokenization.hyphens import HyphenExamples, parts_of

COUNTS = {"Haus": 100, "Tür": 60, "tür": 40, "Schlüssel": 50, "Haustür": 3, "Arbeit": 80, "Platz": 70, "Garten": 90}


def test_parts_more_frequent_than_the_word_cut_it():
    splitter = FrequencySplitter.of(COUNTS, shortest=3)
    # sqrt(100 x 100) = 100 against 3.
    assert splitter(["Haustür", "Haustürschlüssel", "Arbeitsplatz", "Garten", "unbekannt"]) == [
        (4,), (4, 7), (7,), (), (),
    ]  # fmt: skip
    assert FrequencySplitter.of(COUNTS, shortest=3, links=("",))(["Arbeitsplatz"]) == [()]


def test_a_word_more_frequent_than_its_parts_stays_whole():
    assert FrequencySplitter.of({**COUNTS, "Haustür": 1000}, shortest=3)(["Haustür"]) == [()]
    # 100 against sqrt(100 x 100): the whole word wins a draw.
    assert FrequencySplitter.of({**COUNTS, "Haustür": 100}, shortest=3)(["Haustür"]) == [()]


@given(
    st.dictionaries(st.text("ab", min_size=1, max_size=5), st.integers(1, 50), max_size=12),
    st.text("ab", min_size=2, max_size=9),
)
def test_the_best_split_is_found_by_exhaustion(counts, word):
    splitter = FrequencySplitter(counts, shortest=1, most_parts=3, links=("",))
    ways = [math.log(counts[word]) if word in counts else -math.inf]
    for n in (1, 2):
        for cuts in combinations(range(1, len(word)), n):
            parts = parts_of(word, cuts)
            if all(part in counts for part in parts):
                ways.append(sum(math.log(counts[part]) for part in parts) / len(parts))
    found = parts_of(word, splitter([word])[0])
    reached = (
        sum(math.log(counts.get(part, 0) or 1e-300) for part in found) / len(found) if max(ways) > -math.inf else None
    )
    if reached is None:
        assert found == [word]
    else:
        assert reached == pytest.approx(max(ways))


def test_odd_words_are_left_alone():
    assert FrequencySplitter.of(COUNTS, shortest=3)(["", "Haus-Tür", "x" * 5000, "Haus7tür", "İ"]) == [()] * 5


def test_counts_come_back_from_their_file(tmp_path):
    write_counts({"Haus": 3, "tür": 5, " ": 9}, tmp_path / "c.tsv")
    assert read_counts(tmp_path / "c.tsv") == {"tür": 5, "Haus": 3}
    (tmp_path / "t.txt").write_text("Haus tür, tür", encoding="utf-8")
    assert read_counts(tmp_path / "t.txt") == {"Haus": 1, "tür": 2}
    (tmp_path / "bad.tsv").write_text("Haus\tviele\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.tsv:1"):
        read_counts(tmp_path / "bad.tsv")
    with pytest.raises(FileNotFoundError):
        read_counts(tmp_path / "none.tsv")


def test_frequent_splits_add_positives_and_drop_negatives():
    splitter = FrequencySplitter.of({**COUNTS, "Arbeitsplatz": 4, "Gartenhaus": 2}, shortest=3)
    examples = with_frequent_splits(
        HyphenExamples({"webserver": (3,)}, ("haustür", "garten")), splitter, excluded=["Gartenhaus"]
    )
    assert examples.positives == {"webserver": (3,), "arbeitsplatz": (7,)}
    assert examples.negatives == ("garten", "arbeit")  # filled up to two, with the most frequent word left whole
