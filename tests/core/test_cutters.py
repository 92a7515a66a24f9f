"""Cutting text: the fast path against the tokenizers library, on every known pattern and in many scripts."""

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st
from sample_texts import flores_texts, mixture_texts, script_texts

from tokenry.core import cutters
from tokenry.core.cutters import SPECIMEN, Cutter
from tokenry.core.patterns import PATTERNS, byte_level, known, split_pretokenizer
from tokenry.core.scanning import byte_level_words
from tokenry.core.vocab import Vocab

LLAMA2 = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
GEMMA = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
DIGITS = {"type": "Digits", "individual_digits": True}
BERT = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
TEXT = st.text(
    st.sampled_from("aZé'sſKtTǅЖ北ん한١½3 \t\n\r\u00a0\u3000\u200b\u0301.,-_▁👩") | st.characters(codec="utf-8"),
    max_size=60,
)


def _spec(pre_tokenizer: dict | None, normalizer: dict | None = None, vocab: dict[str, int] | None = None) -> dict:
    model = {"type": "BPE", "vocab": vocab or {"a": 0}, "merges": []}
    return {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": model}


def _metaspace(scheme: str) -> dict:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}


def _sequence(*stages: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": list(stages)}


FAST = {
    **{name: _spec(split_pretokenizer(cuts)) for name, cuts in PATTERNS.items()},
    "gpt2-bytes": _spec(byte_level(use_regex=True)),
    "roberta": _spec({**byte_level(use_regex=True), "add_prefix_space": True}),
    "smollm": _spec(_sequence(DIGITS, byte_level(use_regex=True))),
    "digit-runs": _spec(_sequence({**DIGITS, "individual_digits": False}, byte_level(use_regex=True))),
    "qwen": _spec(split_pretokenizer(known("qwen2")), {"type": "NFC"}),
    "nfkc": _spec(byte_level(use_regex=True), {"type": "NFKC"}),
    "inverted": _spec({"type": "Split", "pattern": {"Regex": r"\w+|[^\w\s]"}, "behavior": "Removed", "invert": True}),
    "gaps": _spec({"type": "Split", "pattern": {"Regex": r"\p{L}+"}, "behavior": "Isolated", "invert": False}),
    **{f"metaspace-{scheme}": _spec(_metaspace(scheme)) for scheme in ("always", "first", "never")},
    "llama2": _spec(None, LLAMA2),
    "gemma": _spec(GEMMA, REPLACED),
}
SLOW = {
    "bert": _spec({"type": "BertPreTokenizer"}, BERT),
    "t5": _spec(_sequence({"type": "WhitespaceSplit"}, _metaspace("first"))),
    "behind": _spec({"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "MergedWithPrevious", "invert": False}),
    "grouped": _spec({"type": "Split", "pattern": {"Regex": r"(a|b)+"}, "behavior": "Isolated", "invert": False}),
}


@pytest.mark.parametrize("name", FAST)
def test_the_fast_path_cuts_texts_in_many_scripts_as_the_library_does(name):
    cutter = Cutter(FAST[name])
    assert cutter.is_fast
    for text in [*script_texts(), SPECIMEN, ""]:
        assert cutter(text) == cutter.by_library(text), text


@pytest.mark.parametrize("name", ["gpt2", "o200k", "deepseek3", "qwen", "roberta", "smollm", "metaspace-first", "gaps"])
@given(text=TEXT)
@example(text="don'ſ IT'K")
def test_the_fast_path_cuts_any_text_as_the_library_does(name, text):
    cutter = _cutter(name)
    assert cutter(text) == cutter.by_library(text)


_CUTTERS: dict[str, Cutter] = {}


def _cutter(name: str) -> Cutter:
    return _CUTTERS.setdefault(name, Cutter(FAST[name]))


@pytest.mark.parametrize("name", SLOW)
def test_what_has_no_fast_path_goes_through_the_library(name):
    cutter = Cutter(SLOW[name])
    assert not cutter.is_fast
    for text in script_texts()[:20]:
        assert cutter(text) == cutter.by_library(text)


def test_a_character_the_engines_see_differently_sends_its_text_through_the_library():
    cutter = Cutter(_spec(split_pretokenizer(known("cl100k"))))
    engines_differ = bool(regex.fullmatch("(?i:[a-z])", "ſ"))
    assert cutter._judge.all_safe(["Grüße, 北京"])
    texts = ["plain", "Wa'ſ", "Grüße"]
    found = list(cutter.raw(texts))
    assert [is_raw for _, is_raw in found] == [True, not (engines_differ and cutter._judge._state[ord("ſ")] == 2), True]
    assert [cutter.finish(pieces) if is_raw else pieces for pieces, is_raw in found] == [
        cutter.by_library(text) for text in texts
    ]


def test_a_pattern_the_engines_run_differently_is_never_fast(monkeypatch):
    monkeypatch.setattr(cutters.Cutter, "by_library", lambda self, text: ["otherwise"])
    assert not Cutter(FAST["gpt2"]).is_fast


def test_metaspace_words_are_cut_before_spaces_only_where_no_entry_crosses():
    plain = Cutter(_spec(None, LLAMA2, {"▁▁": 0, "a": 1}))
    assert plain("a  b c\nd ") == ["▁a", "▁▁b", "▁c\nd", "▁"]
    crossing = Cutter(_spec(None, LLAMA2, {"a▁": 0, "a": 1}))
    assert crossing("a  b") == ["▁a▁▁b"]
    assert plain.fingerprint != crossing.fingerprint


def test_isolated_pieces_of_a_sentencepiece_file_do_not_keep_its_words_from_being_cut():
    isolated = {"type": "Split", "pattern": {"Regex": r"\[DOC_1\]|\[DOC_0\]"}, "behavior": "Isolated", "invert": False}
    cutter = Cutter(_spec(isolated, LLAMA2, {"▁▁": 0, "a": 1, "[DOC_0]": 2, "[DOC_1]": 3}))
    assert cutter.is_fast
    assert cutter("a  b[DOC_0] c[DOC_1]") == ["▁a", "▁▁b", "[DOC_0]", "▁c", "[DOC_1]"]
    assert cutter("a  b[DOC_0] c") == cutter.by_library("a  b[DOC_0] c")
    walls = {"type": "Split", "pattern": {"Regex": r"\p{N}|\n"}, "behavior": "Isolated", "invert": False}
    assert Cutter(_spec(walls, LLAMA2, {"▁": 0, "a": 1}))("a b1") == ["▁a▁b", "1"]  # merges are yet to be learned


def test_mistral_with_and_without_control_pieces_cuts_alike(shared_data):
    folder = shared_data / "tokenizers" / "mistral"
    one, three = (
        Cutter(Vocab.open(folder / name).spec)
        for name in ("tokenizer.model.v1.xz", "mistral_instruct_tokenizer_240323.model.v3.xz")
    )
    for text in [*script_texts(), SPECIMEN]:
        assert one(text) == three(text)


@given(pieces=st.lists(st.text(min_size=1, max_size=6), max_size=8))
def test_byte_level_words_spell_their_bytes(pieces):
    from tokenry.core.alphabets import from_byte_level

    assert [from_byte_level(word) for word in byte_level_words(pieces)] == [piece.encode() for piece in pieces]


@pytest.mark.slow  # 33 long texts and 612 sentences under eleven patterns, also by the library
@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "cl100k",
        "o200k",
        "qwen",
        "tekken",
        "deepseek3",
        "starcoder",
        "llama2",
        "nfkc",
        "metaspace-first",
        "gemma",
    ],
)
def test_the_fast_path_cuts_real_text_in_200_languages_as_the_library_does(name, shared_data):
    cutter = Cutter(FAST[name])
    for text in [*mixture_texts(shared_data), *flores_texts(shared_data)]:
        assert cutter(text) == cutter.by_library(text)
