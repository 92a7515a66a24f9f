"""C4's and FineWeb's rules and Dolma's C4 attributes against plain twins of the published code."""

import re

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from signal_worlds import TEXTS, A, B, batch_of, differences, scored

from tokenry.corpora.characters import _CLOSING
from tokenry.corpora.families import Material, Settings
from tokenry.corpora.signals import families_of, score_batch
from tokenry.corpora.spans import replace_spans

POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def c4_twin(text):
    fates = []
    sentences = 0
    for line in text.splitlines():
        line = line.strip()
        words = line.split()
        bare = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line)
        low = bare.lower()
        if any(len(word) > 1000 for word in words):
            fates.append("long_word")
        elif not bare.endswith((".", "?", "!", '"', "'")) or bare.endswith("..."):
            fates.append("no_closing")
        elif len(words) < 3:
            fates.append("short")
        elif "lorem ipsum" in low:
            fates.append("lorem_ipsum")
        elif "javascript" in low:
            fates.append("javascript")
        elif "{" in bare:
            fates.append("curly_bracket")
        elif any(phrase in low for phrase in POLICY):
            fates.append("policy")
        else:
            fates.append("kept")
            sentences += len(re.findall(r"\b[^.!?]+[.!?]*", bare))
    names = ("no_closing", "short", "long_word", "javascript", "policy", "lorem_ipsum", "curly_bracket")
    made = {f"c4.{name}_lines": fates.count(name) for name in names}
    return made | {"c4.lines": len(fates), "c4.sentences": sentences}, fates


def fineweb_twin(text):
    lines = [line for line in text.split("\n") if line.strip() != ""]
    seen, characters = set(), 0
    for line in lines:
        characters += len(line) if line in seen else 0
        seen.add(line)
    bare, words = text.replace("\n", ""), text.split()
    return {
        "fineweb.line_punct_ratio": sum(line.endswith(tuple(_CLOSING)) for line in lines) / len(lines)
        if lines
        else None,
        "fineweb.short_line_ratio": sum(len(line) <= 30 for line in lines) / len(lines) if lines else None,
        "fineweb.char_dup_ratio": characters / len(bare) if bare else None,
        "fineweb.newline_ratio": text.count("\n") / len(words) if words else None,
    }


def dolma_twin(text):
    low, start, unclosed, short = text.lower(), 0, [], []
    lines = text.split("\n")
    for number, line in enumerate(lines):
        end = start + len(line) + (number < len(lines) - 1)
        span = {"start": start, "end": end, "score": 1.0}
        if not line.lower().strip().endswith((".", "?", "!", '"')):
            unclosed.append(span)
        if len(line.split()) < 3:
            short.append(span)
        start = end
    return {
        "dolma.c4.lines_with_no_ending_punctuation": unclosed,
        "dolma.c4.lines_with_too_few_words": short,
        "dolma.c4.has_curly_brace": "{" in text,
        "dolma.c4.has_lorem_ipsum": "lorem ipsum" in low,
        "dolma.c4.has_javascript": "javascript" in low,
        "dolma.c4.line_count": len(lines),
        "dolma.length.bytes": len(text.encode()),
        "dolma.length.characters": len(text),
        "dolma.length.characters_stripped": len(text.strip()),
        "dolma.length.whitespace_tokens": len(re.split(r"\w+|[^\w\s]+", text)),
        "dolma.length.paragraphs": sum(bool(line.strip()) for line in lines),
    }


GOOD = "This is a fine line of text. "


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example([A, B, "", "\n", GOOD + "[12]", GOOD.strip() + "[edit]", GOOD + "..[1].", "a b c[citation needed].", "İ\na b"])
@example(
    [GOOD + "Lorem Ipsum here.\n" + GOOD, "We use coo\u212aies here.", GOOD * 3 + "JAVASCRIPT.", "one {two} three."]
)
def test_line_rules_equal_their_plain_twins(texts):
    found = scored(texts, "c4,fineweb,dolma.c4,dolma.length")
    for row, text in enumerate(texts):
        assert differences(found, row, c4_twin(text)[0]) == {}
        assert differences(found, row, fineweb_twin(text)) == {}
        assert differences(found, row, dolma_twin(text)) == {}


@given(st.lists(st.sampled_from([GOOD, "no end", "two words.", "We use javascript daily.", "x y z?"]), min_size=1))
def test_cutting_what_c4_drops_leaves_the_lines_it_keeps(lines):
    text = "\n".join(lines)
    made = score_batch(batch_of([text]), families_of("c4"))
    kept = replace_spans(pa.array([text]), [(made.column("c4.dropped"), "")])[0].as_py()
    fates = c4_twin(text)[1]
    assert kept.splitlines() == [line for line, fate in zip(lines, fates, strict=True) if fate == "kept"]


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(["a nasty thing", "two BAD WORDS", "NASTY!", "nasty", "ΟΔΟΣ nasty", "xbad wordy", "bad\nword", "na", ""])
def test_naughty_words_are_whole_words_and_phrases_stand_anywhere(texts):
    entries = ["nasty", "bad word", "cat", "the cat", "οδος", "x y"]
    material = Material(Settings(bad_words="given"))
    material.bad_strings = {entry for entry in entries if " " not in entry}, [e for e in entries if " " in e]
    made = score_batch(batch_of(texts), families_of("dolma.c4"), material=material)
    lowered = [text.lower() for text in texts]
    assert made.column("dolma.c4.has_naughty_word").to_pylist() == [
        bool(material.bad_strings[0] & set(text.split())) or any(phrase in text for phrase in material.bad_strings[1])
        for text in lowered
    ]
    assert scored(texts, "dolma.c4")["dolma.c4.has_naughty_word"] == [None] * len(texts)
