"""Classes and places are a partition, equal to a plain reading character by character; broken bytes are told apart."""

import unicodedata

import numpy as np
import pytest
from audited_tokenizers import MAKERS
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.splitting import script_of
from tokenry.tokenization.composition import CLASSES, PLACES, QTOK_NAMES, compose, composition, flanks, impossible

_NEUTRAL = {"Common", "Inherited", "Unknown"}


def _slowly(data: bytes) -> tuple[str, str]:
    """Class and script of one entry, by the definition."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ("byte" if len(data) == 1 else "fragment"), "Fragment"
    scripts = {script_of(char) for char in text} - _NEUTRAL
    script = "Mixed" if len(scripts) > 1 else next(iter(scripts), "Common")
    spaced = text.startswith(" ") and len(text) > 1
    body = text[1:] if spaced else text
    place = "word start" if spaced else "character" if len(text) == 1 else "inner"
    if body and len(scripts) == 1 and all(unicodedata.category(char)[0] in "LM" for char in body):
        kind = "letter" if place == "character" else "letters"
    elif any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") for char in text):
        kind = "unnamed"
    else:
        kind = "other"
    return f"{place}, {kind}", script


@given(st.lists(st.one_of(st.text(max_size=5).map(str.encode), st.binary(min_size=1, max_size=4)), min_size=1))
def test_all_at_once_equals_one_by_one(tokens):
    made = compose(tokens)
    assert list(zip(made.class_names, made.script_names, strict=True)) == [_slowly(data) for data in tokens]


@pytest.mark.parametrize("family", list(MAKERS))
def test_classes_are_a_partition_and_places_count_the_letters(family):
    vocab = MAKERS[family]()
    made = composition(vocab)
    assert sum(made.class_counts().values()) == vocab.size == len(made.script_V)
    letters = [name for name in CLASSES if "letter" in name]
    assert sum(made.places().values()) == sum(made.class_counts()[name] for name in letters)
    assert {place for _, place in made.places()} <= set(PLACES)
    assert set(QTOK_NAMES) == set(CLASSES)


def test_letters_common_to_scripts_take_their_neighbours_script():
    made = compose(["データ".encode(), "ー".encode(), "e\u0301a".encode()])
    assert made.class_names == ["inner, letters", "character, other", "inner, letters"]
    assert made.script_names == ["Katakana", "Common", "Latin"]


def test_fragments_are_listed_by_the_character_they_begin():
    tokens = ["д".encode()[:1] + b"", b"\xd0\xb4\xd0", b"\xb4\xd0", b"\xe4\xb8", b"\x80\x80", b"ok", None]
    found = flanks(tokens)
    assert {key: n for key, (n, _) in found.items()} == {"D0": 3, "E4": 1, "tail": 1}
    assert found["D0"][1] == "Cyrillic"
    assert found["E4"][1] == "Han"


@given(st.text(min_size=1, max_size=4), st.data())
def test_a_slice_of_valid_text_is_never_impossible(text, data):
    raw = text.encode("utf-8", "ignore")
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    assert not impossible(raw[start:end])


@pytest.mark.parametrize(
    "data", [b"\xc0", b"\xff", b"a\x80", b"\xe4a", b"\x80\x80\x80\x80", b"\xed\xa0\x80", b"\xe0\x80"]
)
def test_bytes_that_fit_nowhere_are_impossible(data):
    assert impossible(data)


def test_token_text_is_data_and_never_code():
    """Qtok evaluates `<0x...>`-like strings; here hostile ones are classed like any other text."""
    hostile = [b'<0x__import__("os").system("false")>', b"\x1b[2J", b"\x00", b"<script>", b"x" * 1_000_000, b""]
    made = compose(hostile)
    assert made.class_names == [
        "inner, other",
        "inner, unnamed",
        "character, unnamed",
        "inner, other",
        "inner, letters",
        "inner, other",
    ]


def test_a_vocabulary_of_256_thousand_entries_is_read_in_under_two_seconds():
    """The limit of the issue; 0.15 s of CPU on one core when this was written."""
    import time

    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefgжзикαβγ漢字あ한1-"))
    words = ["".join(row) for row in letters[rng.integers(0, len(letters), (256_000, 6))].tolist()]
    tokens = [(" " * (i % 2) + word).encode() for i, word in enumerate(words)]
    start = time.process_time()
    made = compose(tokens)
    assert time.process_time() - start < 2
    assert len(made.class_V) == 256_000


@pytest.mark.parametrize(
    ("file", "spaced", "inner"),
    [("openai/r50k_base.tiktoken.xz", 63.85, 29.48), ("claude/tokenizer.json.xz", 43.33, 41.96)],
)
def test_latin_entries_of_real_vocabularies_are_those_that_qtok_counts(shared_data, file, spaced, inner):
    """Per cent of GPT-2's and Claude's vocabularies by the code of PyPI qtok 0.11.0, on their byte-level files."""
    from tokenry.core.vocab import Vocab

    vocab = Vocab.open(shared_data / "tokenizers" / file)
    places = composition(vocab).places()
    ours = [round(100 * places["Latin", place] / vocab.size, 2) for place in ("word start", "inner")]
    assert ours == [spaced, inner]
