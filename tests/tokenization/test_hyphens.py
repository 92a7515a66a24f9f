"""Mining compounds from hyphens, and fitting normalised constituents to a word."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.hyphens import HyphenExamples, cuts_of, mine_hyphens, parts_of, split_normalised, word_counts


def levenshtein(a: str, b: str) -> int:
    """Edit distance as its definition reads."""
    if not a or not b:
        return len(a) + len(b)
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


def test_words_that_say_nothing_are_not_counted():
    text = '"Web-Server", (Haustür) foo.bar x@y a--b v2 camelCase NATO Über-Mut. a{x}b http://a -- „Wort“ \u2010'
    assert dict(word_counts([text, "Haustür!"])) == {"Web-Server": 1, "Haustür": 2, "Über-Mut": 1, "Wort": 1}
    assert not word_counts(["x" * 65])


def test_hyphens_become_cuts_and_frequent_words_negatives():
    counts = {
        "Web-Server": 3,
        "web\u2010server": 1,
        "Haus-Tür": 2,
        "a-b": 9,
        "die": 50,
        "Haus": 20,
        "und": 40,
        "ein": 1,
    }
    examples = mine_hyphens(counts)
    assert examples.positives == {"webserver": (3,), "haustür": (4,)}
    assert examples.negatives == ("die", "und")
    assert mine_hyphens(counts, excluded=["Webserver"]).positives == {"haustür": (4,)}
    assert len(mine_hyphens(counts, most=1).positives) == 1


def test_a_hyphen_much_rarer_than_the_closed_word_is_a_line_break():
    # e^6 = 403.4: 2 against 806 passes, against 807 it does not.
    assert mine_hyphens({"ar-beit": 2, "arbeit": 806, "ab-haus": 2}).positives.keys() == {"arbeit", "abhaus"}
    assert mine_hyphens({"ar-beit": 2, "arbeit": 807, "ab-haus": 2}).positives.keys() == {"abhaus"}


def test_of_several_variants_the_most_frequent_is_kept():
    assert mine_hyphens({"rat-haus-platz": 2, "rathaus-platz": 5}).positives == {"rathausplatz": (7,)}


def test_text_without_hyphens_is_refused():
    with pytest.raises(ValueError, match="hyphens are what is learned from"):
        mine_hyphens(word_counts(["der Hund und die Katze"]))


@pytest.mark.parametrize(
    ("word", "constituents", "parts"),
    [
        ("bridesmaid", ["bride", "maid"], "brides|maid"),  # bride|smaid has distance 1 too; the larger shift wins
        ("Arbeitsplatz", ["Arbeit", "Platz"], "Arbeits|platz"),
        ("Haustür", ["Haus", "Tür"], "Haus|tür"),
        ("Donaudampfschifffahrt", ["Donau", "Dampf", "Schiff", "Fahrt"], "Donau|dampf|schiff|fahrt"),
        ("Schulbuch", ["Schule", "Buch"], "Schul|buch"),
        ("İstanbul", ["İstan", "bul"], "İstan|bul"),
    ],
)
def test_constituents_are_fitted_to_the_word(word, constituents, parts):
    assert "|".join(parts_of(word, split_normalised(word, constituents))) == parts


def test_a_part_is_never_empty():
    assert split_normalised("ab", ["a", "b", "c"]) is None
    assert split_normalised("abc", []) is None
    assert split_normalised("abc", ["xyz"]) == ()


@given(st.text("ab", min_size=1, max_size=7), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3))
def test_the_fit_is_the_best_by_exhaustion_with_the_stated_ties(word, constituents):
    n = len(constituents)
    found = split_normalised(word, constituents)
    ways = []
    for cuts in combinations(range(1, len(word)), n - 1):
        parts = parts_of(word, cuts)
        distance = sum(map(levenshtein, parts, constituents))
        shift = sum(abs(len(p) - len(c)) for p, c in zip(parts[:-1], constituents[:-1], strict=True))
        ways.append((distance, -shift, tuple(-cut for cut in cuts)))
    assert found == (tuple(-cut for cut in min(ways)[2]) if ways else None)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5))
def test_parts_and_cuts_are_inverse(parts):
    word = "".join(parts)
    assert parts_of(word, cuts_of(parts)) == parts
    assert HyphenExamples({word: cuts_of(parts)}, ("x",)).pairs == [(word, cuts_of(parts)), ("x", ())]
