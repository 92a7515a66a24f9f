"""Gopher's signals: three definitions told apart, and plain twins of datatrove's and Dolma's."""

import re
from collections import Counter
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from signal_worlds import TEXTS, A, B, differences, scored

from tokenry.corpora.characters import _SYMBOLS


def test_three_definitions_of_repetition_are_told_apart():
    """The table of the survey's card, from running the three tools on this text."""
    found = scored([A], "rpv2,dolma.gopher,repetition")
    rows = {
        "rpv2": [f"rpv2.doc_frac_chars_top_{n}gram" for n in (2, 3, 4)]
        + [f"rpv2.doc_frac_chars_dupe_{n}grams" for n in range(5, 11)],
        "dolma": [f"dolma.gopher.fraction_of_characters_in_most_common_{n}grams" for n in (2, 3, 4)]
        + [f"dolma.gopher.fraction_of_characters_in_duplicate_{n}grams" for n in range(5, 11)],
        "datatrove": [f"repetition.top_{n}_gram" for n in (2, 3, 4)]
        + [f"repetition.dup_{n}_gram" for n in range(5, 11)],
    }
    assert {name: [round(found[column][0], 5) for column in columns] for name, columns in rows.items()} == {
        "rpv2": [0.10084, 0.15126, 0.18487, 0.28571, 0.28571, 0, 0, 0, 0],
        "dolma": [0.09449, 0.14173, 0.17323, 0.10741, 0.05769, 0, 0, 0, 0],
        "datatrove": [0.08917, 0.14013, 0.17834, 0.08917, 0.11465, 0, 0, 0, 0],
    }


def test_dolma_attributes_are_those_of_the_official_tagger():
    found = scored([A], "dolma.gopher")
    golden = {
        "word_count": 31, "median_word_length": 4.0, "fraction_of_characters_in_most_common_2grams": 0.0944882,
        "fraction_of_characters_in_most_common_3grams": 0.1417323,
        "fraction_of_characters_in_most_common_4grams": 0.1732283,
        "fraction_of_characters_in_duplicate_5grams": 0.1074074,
        "fraction_of_characters_in_duplicate_6grams": 0.0576923,
        "fraction_of_words_with_alpha_character": 0.9354839, "required_word_count": 3, "symbol_to_word_ratio": 0,
    }  # fmt: skip
    assert {name: round(found[f"dolma.gopher.{name}"][0], 7) for name in golden} == golden


REQUIRED = {"the", "be", "to", "of", "and", "that", "have", "with"}


def ratio(part, whole):
    return part / whole if whole else None


def quality_twin(text):
    words, lines = text.split(), text.splitlines()
    real = [word for word in words if any(character not in _SYMBOLS for character in word)]
    return {
        "gopher.words": len(real),
        "gopher.mean_word_length": ratio(sum(map(len, real)), len(real)),
        "gopher.hash_ratio": ratio(text.count("#"), len(words)),
        "gopher.ellipsis_ratio": ratio(text.count("...") + text.count("…"), len(words)),
        "gopher.bullet_lines": ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "gopher.ellipsis_lines": ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "gopher.alphabetic_words": ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "gopher.required_words": len(REQUIRED & set(words)),
    }


def again(elements):
    seen, n, characters = set(), 0, 0
    for element in elements:
        if element in seen:
            n, characters = n + 1, characters + len(element)
        seen.add(element)
    return n, characters


def scanned(words, n):
    seen, characters, at = set(), 0, 0
    while at < len(words) - n + 1:
        gram = "".join(words[at : at + n])
        if gram in seen:
            characters += len(gram)
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def repetition_twin(text):
    made, words = {}, text.split()
    pieces = {"line": re.split(r"\n+", text), "paragraph": re.split(r"\n{2,}", text.strip())}
    for name, elements in pieces.items():
        n, characters = again(elements)
        made[f"repetition.dup_{name}_share"] = n / len(elements)
        made[f"repetition.dup_{name}_characters"] = ratio(characters, len(text))
    for n in (2, 3, 4):
        counts = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1)).most_common(1)
        made[f"repetition.top_{n}_gram"] = len(counts[0][0]) * counts[0][1] / len(text) if counts else None
    return made | {f"repetition.dup_{n}_gram": ratio(scanned(words, n), len(text)) for n in range(5, 11)}


def lines_twin(prefix, lines, n_letters, text):
    counts = Counter(lines)
    repeated = {line: n for line, n in counts.items() if n > 1}
    made = {
        "fraction_of_lines_starting_with_bullet_point": sum(line.startswith(("*", "-")) for line in lines) / len(lines),
        "fraction_of_lines_ending_with_ellipsis": sum(line.endswith("…") for line in lines) / len(lines),
        "fraction_of_duplicate_lines": sum(repeated.values()) / len(lines),
        "fraction_of_characters_in_duplicate_lines": sum(len(line) * n for line, n in repeated.items())
        / max(n_letters, 1),
    }
    return {f"{prefix}.{name}": value if text else 0.0 for name, value in made.items()}


def dolma_twin(text):
    words = text.split()
    letters, n_words = sum(map(len, words)), max(len(words), 1)
    made = {
        "character_count": len(text),
        "word_count": len(words),
        "median_word_length": float(median(map(len, words))) if words else 0.0,
        "symbol_to_word_ratio": sum("#" in word or "…" in word for word in words) / n_words,
        "fraction_of_words_with_alpha_character": sum(any(map(str.isalpha, word)) for word in words) / n_words,
        "required_word_count": sum(word in REQUIRED for word in words),
    }
    for n in range(2, 11):
        counts = Counter(zip(*[words[i:] for i in range(n)], strict=False))
        sizes = {gram: n_times * sum(map(len, gram)) for gram, n_times in counts.items()}
        if n < 5:
            name = f"fraction_of_characters_in_most_common_{n}grams"
            made[name] = sizes[counts.most_common(1)[0][0]] / letters if counts else None
        else:
            name = f"fraction_of_characters_in_duplicate_{n}grams"
            repeated = sum(size for gram, size in sizes.items() if counts[gram] > 1)
            made[name] = repeated / sum(sizes.values()) if counts else None
    made = {f"dolma.gopher.{name}": value for name, value in made.items()}
    made |= lines_twin("dolma.gopher", text.split("\n"), letters, text)
    return made | lines_twin("dolma.gopher_v2", re.split(r"\n+", text), letters, text)


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example([A, B, "", "\n\n\n", "...", "ab c d e f a bc d e f", "the " * 30, " \n- a\n- a\n\n- a"])
def test_datatrove_and_dolma_signals_equal_their_plain_twins(texts):
    found = scored(texts, "gopher,repetition,dolma.gopher,dolma.gopher_v2")
    for row, text in enumerate(texts):
        for twin in (quality_twin, repetition_twin, dolma_twin):
            assert differences(found, row, twin(text)) == {}


@pytest.mark.parametrize("family", ["gopher", "repetition", "dolma.gopher"])
def test_a_missing_text_has_no_signals(family):
    found = scored([None, "a b"], family)
    assert {found[name][0] for name in found if name != "id"} == {None}
