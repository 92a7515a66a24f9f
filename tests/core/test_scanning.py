import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_texts import script_texts

from tokenry.core.cutters import SPECIMEN, Cutter
from tokenry.core.patterns import known, split_pretokenizer
from tokenry.core.pretokens import count_pretokens
from tokenry.core.scanning import byte_level_array, byte_level_words, pieces_of

EMPTY = {"type": "BPE", "vocab": {}, "merges": []}
LLAMA2 = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
SPECS = {
    **{
        name: {"pre_tokenizer": split_pretokenizer(known(name)), "model": EMPTY}
        for name in ("gpt2", "cl100k", "qwen2", "qwen35", "o200k", "tekken")
    },
    "qwen2 after NFC": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": split_pretokenizer(known("qwen2")),
        "model": EMPTY,
    },
    "metaspace": {"normalizer": LLAMA2, "model": {"type": "BPE", "vocab": {"▁a": 0}, "merges": []}},
}
CUTTERS = {name: Cutter(spec) for name, spec in SPECS.items()}
# Dense in what the patterns tell apart, so that short texts meet every alternative and every way back.
CHARACTERS = "aAbsSTtmdlLrReEvV''' \t\n\r/.,!?_1234½Ⅷéñ中国あ한ʰǅªЖжΩ٣▁👩\u0301\u0328\u200d\u00a0\u3000\u2028\x0b\x85"
DENSE = st.text(st.sampled_from(CHARACTERS), max_size=24)


def scanned(cutter, texts):
    found = cutter.scan(pa.array(texts, pa.string()))
    return None if found is None else cutter.finish(pieces_of(*found))


@pytest.mark.parametrize("name", SPECS)
def test_the_kernels_cut_real_text_in_many_scripts_as_the_library_does(name):
    cutter = CUTTERS[name]
    assert cutter.scans
    texts = [*script_texts(), SPECIMEN.replace("ſ", "")]
    assert scanned(cutter, texts) == [word for text in texts for word in cutter.by_library(text)]


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=300)
@given(texts=st.lists(DENSE | st.text(max_size=12), min_size=1, max_size=3))
@example(texts=["I'LL'S  \n x", "  \r\n\r\n  ", "aB'sC\u0301d 'Re"])
def test_the_kernels_cut_any_texts_as_the_library_does(name, texts):
    cutter = CUTTERS[name]
    found = scanned(cutter, texts)
    if found is not None:
        assert found == [word for text in texts for word in cutter.by_library(text)]


def test_texts_the_kernels_leave_to_the_library_are_counted_among_the_others():
    texts = ["it's plain", "Wa'ſ", "Grüße 12345", "don't"] * 5
    table = count_pretokens([{"text": text} for text in texts], SPECS["cl100k"], by_source=False)
    library = [word for text in texts for word in CUTTERS["cl100k"].by_library(text)]
    assert dict(zip(table.words, table.total.tolist(), strict=True)) == {w: library.count(w) for w in library}


def test_another_pattern_is_not_scanned():
    for name in ("deepseek3", "falcon", "starcoder"):
        cutter = Cutter({"pre_tokenizer": split_pretokenizer(known(name)), "model": EMPTY})
        assert not cutter.scans
        assert cutter.scan(pa.array(["some text"])) is None


@given(texts=st.lists(st.text(max_size=12), max_size=20), start=st.integers(0, 5))
def test_an_array_in_the_byte_level_alphabet_is_its_strings_in_it(texts, start):
    pieces = pa.array(texts, pa.large_string()).slice(start)
    assert byte_level_array(pieces).to_pylist() == byte_level_words(pieces.to_pylist())


def test_an_array_of_many_long_strings_is_spelled_in_parts():
    texts = [("é" * (i % 7) + f"{i}") * (40_000 if i == 5_000 else 1) for i in range(10_000)]
    assert byte_level_array(pa.array(texts, pa.large_string())).to_pylist() == byte_level_words(texts)
