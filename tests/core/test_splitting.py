import itertools
import json
import lzma
import time
import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.splitting import (
    IncrementalSplitter,
    paragraphs,
    script_counts,
    script_of,
    segments,
    sentences,
    spaced_words,
    split_documents,
    word_spans,
    words,
)

texts = st.text(st.sampled_from("ab Zé1.,'’·?!\n\t 東京ター。ส วั\u0301\u200d👍🏽اللغة") | st.characters(), max_size=60)


def test_words_of_many_scripts():
    assert words("Don't pay 3.14 € for l’été, x-y_z!") == ["Don't", "pay", "3.14", "for", "l’été", "x", "y", "z"]
    assert words("東京タワー has 7 ก็ดี") == [*"東京タワー", "has", "7", "ก็", "ดี"]
    assert words("नमस्ते 한국어 привет") == ["नमस्ते", "한국어", "привет"]
    assert words("a.b 1.b 1.,2 'a' rock'n'roll 👍") == ["a", "b", "1", "b", "1", "2", "a", "rock'n'roll"]
    assert words("") == []


def test_spaced_words_keep_the_space_before():
    assert spaced_words("the dog,  a cat") == ["the", " dog", " a", " cat"]


@given(texts)
def test_words_are_the_word_characters_of_the_text_in_order(text):
    assert [text[a:b] for a, b in word_spans(text)] == words(text)
    assert [word.lstrip(" ") for word in spaced_words(text)] == words(text)
    letters = [c for c in text if regex.match(r"[\p{L}\p{N}]", c)]
    assert [c for c in "".join(words(text)) if regex.match(r"[\p{L}\p{N}]", c)] == letters


@given(texts, st.data())
def test_feeding_any_chunks_gives_the_words_of_the_whole(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    splitter, found = IncrementalSplitter(), []
    for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += splitter.feed(text[a:b])
    assert found + splitter.flush() == words(text)
    assert splitter.flush() == []


def test_a_word_is_returned_as_soon_as_it_cannot_grow():
    splitter = IncrementalSplitter()
    assert [splitter.feed(chunk) for chunk in ("Hel", "lo", " wor", "ld.")] == [[], [], ["Hello"], []]
    assert splitter.feed(" ") == ["world"]


def test_sentences_end_where_a_reader_ends_them():
    text = 'Dr. Smith went. "Really?" he asked. J. R. Tolkien wrote e.g. this. Yes!  No… '
    text += "今日は。「はい。」と。\n\nNew 3.5 one."
    assert [piece.strip() for piece in sentences(text)] == [
        "Dr. Smith went.",
        '"Really?"',
        "he asked.",
        "J. R. Tolkien wrote e.g. this.",
        "Yes!",
        "No…",
        "今日は。",
        "「はい。」",
        "と。",
        "New 3.5 one.",
    ]


def test_paragraphs_end_at_empty_lines():
    assert paragraphs("a\nb\n\nc\n \n\nd") == ["a\nb\n\n", "c\n \n\n", "d"]


@given(texts)
def test_sentences_and_paragraphs_lose_nothing(text):
    assert "".join(sentences(text)) == text
    assert "".join(paragraphs(text)) == text
    assert "" not in sentences(text) + paragraphs(text)


@given(texts, st.integers(4, 40))
def test_segments_are_a_partition_into_pieces_that_fit(text, max_bytes):
    pieces = segments(text, max_bytes)
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode("utf-8", "surrogatepass")) <= max_bytes for piece in pieces)


@given(st.lists(st.text("abcdé", min_size=1, max_size=6), max_size=20), st.integers(13, 30))
def test_no_word_that_fits_is_cut_by_segments(parts, max_bytes):
    pieces = segments(" ".join(parts), max_bytes)
    assert " ".join(pieces).split() == " ".join(parts).split()


def test_segments_prefer_line_ends_then_spaces_then_whole_characters():
    assert segments("aaaa\nbbbb cc", 8) == ["aaaa\n", "bbbb cc"]
    assert segments("one two three", 9) == ["one two", " three"]
    assert segments("東京は高い。そして", 21) == ["東京は高い。", "そして"]
    assert segments("e\u0301" * 4, 7) == ["e\u0301e\u0301", "e\u0301e\u0301"]
    assert segments("", 10) == []
    with pytest.raises(ValueError, match="at least 4"):
        segments("abc", 3)


@pytest.mark.parametrize("wall", [" ", "\n", ".", "!", '."', "\n ", "a", "。", "\u0301", "'", "1,"])
def test_a_wall_of_one_mark_takes_no_quadratic_time(wall):
    text = wall * 20_000
    start = time.process_time()
    for cut in (words, sentences, paragraphs, lambda t: segments(t, 500)):
        cut(text + "x")
    # Linear needs about 0.02 s; quadratic took 10 s and more. One second stands between on a busy machine.
    assert time.process_time() - start < 1


def test_a_long_word_fed_by_character_is_not_scanned_again_each_time():
    splitter = IncrementalSplitter()
    start = time.process_time()
    for _ in range(30_000):
        splitter.feed("a")
    assert splitter.flush() == ["a" * 30_000]
    assert time.process_time() - start < 1


ids = st.lists(st.text("abc", max_size=3), min_size=3, max_size=40)


@given(ids, st.integers(0, 5))
def test_every_document_is_in_one_part_and_copies_stay_together(names, seed):
    parts = {"compose": 0.5, "heal": 0.3, "held out": 0.2}
    if len(set(names)) < 3:
        with pytest.raises(ValueError, match="distinct documents"):
            split_documents(names, parts=parts, seed=seed)
        return
    found = split_documents(names, parts=parts, seed=seed)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(names)))
    assert all(len(rows) for rows in found.values())
    sides = [{names[i] for i in rows} for rows in found.values()]
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])
    mixed = np.random.default_rng(seed).permutation(len(names))
    again = split_documents([names[i] for i in mixed], parts=parts, seed=seed)
    assert [{names[mixed[i]] for i in rows} for rows in again.values()] == sides


def test_parts_get_their_share_of_the_bytes():
    sizes = np.random.default_rng(0).lognormal(7, 1, 3000).astype(int)
    found = split_documents(3000, parts={"a": 0.6, "b": 0.4, "none": 0.0}, seed=1, sizes=sizes)
    # A border is off by at most half of the largest document.
    assert abs(sizes[found["a"]].sum() / sizes.sum() - 0.6) <= sizes.max() / 2 / sizes.sum()
    assert len(found["none"]) == 0
    other = split_documents(3000, parts={"a": 0.6, "b": 0.4}, seed=2, sizes=sizes)
    assert set(found["a"]) != set(other["a"])


def test_the_split_is_the_same_in_every_release():
    found = split_documents(["x", "y", "z", b"w", 5], parts={"a": 0.6, "b": 0.4}, seed=0)
    assert {name: rows.tolist() for name, rows in found.items()} == {"a": [0, 1, 2], "b": [3, 4]}


def test_one_huge_document_leaves_no_part_empty():
    found = split_documents(4, parts={"a": 0.5, "b": 0.25, "c": 0.25}, seed=0, sizes=[10**9, 1, 1, 1])
    assert all(len(rows) for rows in found.values())


@pytest.mark.parametrize("parts", [{"a": 0.5}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_do_not_sum_to_one_are_refused(parts):
    with pytest.raises(ValueError, match="sum to 1"):
        split_documents(5, parts=parts, seed=0)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one finite size"):
        split_documents(3, parts={"a": 1.0}, seed=0, sizes=[1, 2])


def test_scripts_follow_unicode():
    assert [script_of(c) for c in "aя東ーア한ا1!é\u0301"] == [
        *(
            "Latin",
            "Cyrillic",
            "Han",
            "Common",
            "Katakana",
            "Hangul",
            "Arabic",
            "Common",
            "Common",
            "Latin",
            "Inherited",
        )
    ]
    assert script_of("\ud800") == script_of("\U000effff") == "Unknown"
    with pytest.raises(ValueError, match="exactly one"):
        script_of("ab")


@given(st.characters(categories=["Lu", "Ll"]))
def test_script_agrees_with_the_character_names(char):
    first = unicodedata.name(char, "?").split()[0].capitalize()
    if first in ("Latin", "Greek", "Cyrillic", "Armenian", "Cherokee", "Deseret", "Georgian"):
        assert script_of(char) == first


@given(texts)
def test_script_counts_add_up(text):
    found = script_counts(text)
    assert sum(found.values()) == len(text)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_real_text_in_hundreds_of_languages_is_cut_at_white_space_without_loss(shared_data):
    with lzma.open(shared_data / "udhr" / "udhr.jsonl.xz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in itertools.islice(lines, 0, 500, 3)]
    documents = [" ".join(record["title_and_preamble"])[:6000] for record in records]
    assert len(documents) > 100
    for text in documents:
        pieces = segments(text, 512)
        assert "".join(pieces) == "".join(sentences(text)) == text
        for piece, following in itertools.pairwise(pieces):
            at_space = following[0].isspace() or piece[-1].isspace() or piece[-1] in "。！？"
            assert at_space or not any(char.isspace() for char in piece[1:])


@given(st.text())
def test_spaced_words_are_the_words_with_the_one_space_before_them(text):
    from tokenry.core.splitting import spaced_words, word_spans

    expected = [text[start - (text[start - 1 : start] == " ") : end] for start, end in word_spans(text)]
    assert spaced_words(text) == expected
