"""gigatoken counts exactly what our own engine counts, keeps quiet, and is asked only for what it knows."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_texts import script_texts

from tokenry.core.cutters import SPECIMEN, Cutter
from tokenry.core.gigatoken_counts import GigatokenCounter
from tokenry.core.patterns import byte_level, known, split_pretokenizer
from tokenry.core.pretokens import Pretokens, count_pretokens
from tokenry.core.scanning import byte_level_words, pieces_of
from tokenry.core.tables import texts as read_texts
from tokenry.data import demo_text

EMPTY = {"type": "BPE", "vocab": {}, "merges": []}
GPT2 = {"pre_tokenizer": split_pretokenizer(known("gpt2")), "model": EMPTY}
OWN_REGEX = {"pre_tokenizer": byte_level(use_regex=True), "model": EMPTY}
AFTER_NFC = {**GPT2, "normalizer": {"type": "NFC"}}
SPECS = {"gpt2": GPT2, "ByteLevel with its own regex": OWN_REGEX, "after NFC": AFTER_NFC}
LIBRARY = Cutter(GPT2)
CHARACTERS = "aAsStTmdlreEvV''' \t\n\r.,!?_1234½Ⅷéñ中国あ한ʰǅªЖжΩ٣▁👩\u0301\u0328\u200d\u00a0\u3000\u2028\x0b\x85\0"
TEXTS = st.lists(st.text(st.sampled_from(CHARACTERS), max_size=24) | st.text(max_size=12), min_size=1, max_size=4)


def _same(ours: Pretokens, theirs: Pretokens) -> bool:
    arrays = all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("counts", "n_bytes", "n_docs"))
    return arrays and ours.words == theirs.words and ours.sources == theirs.sources


@pytest.mark.parametrize("name", SPECS)
def test_gigatoken_counts_real_text_in_many_scripts_as_our_engine_does(name):
    pytest.importorskip("gigatoken")
    texts = [*script_texts(), SPECIMEN, *read_texts(demo_text("fiction"), limit=40)]
    ours = count_pretokens(texts, SPECS[name], engine="own")
    theirs = count_pretokens(texts, SPECS[name], engine="gigatoken")
    assert _same(ours, theirs)
    assert (ours.engine, "gigatoken" in theirs.engine) == ("own", True)


@pytest.fixture(scope="module")
def counter():
    pytest.importorskip("gigatoken")
    return GigatokenCounter(Cutter(GPT2))


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS)
@example(texts=["a \n", "  ", "", "b"])
@example(texts=["I'LL'S  \n x", "it's 'em we've'", "\u2028 \u2028x"])
def test_gigatoken_counts_any_texts_as_the_library_does(counter, texts):
    found = counter(pa.array(texts, pa.large_string()))
    if found is not None:
        data, ends, counts = found
        words = byte_level_words(pieces_of(data, ends))
        assert len(words) == len(set(words))
        assert dict(zip(words, counts.tolist(), strict=True)) == Counter(
            w for t in texts for w in LIBRARY.by_library(t)
        )


@pytest.mark.slow  # all of Unicode, one probe a character: two seconds
def test_every_character_is_counted_alike_by_both():
    """All of Unicode: the tables of the engines are of different years, and both must end at the library's cuts."""
    pytest.importorskip("gigatoken")
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(f"a{c}b {c} 1{c}" for c in points[start : start + 97]) for start in range(0, len(points), 97 * 40)]
    ours, theirs = (count_pretokens(texts, GPT2, engine=engine) for engine in ("own", "gigatoken"))
    assert _same(ours, theirs)


def test_a_character_it_sees_differently_sends_the_text_to_our_engine(monkeypatch):
    pytest.importorskip("gigatoken")
    honest = GigatokenCounter._cuts_alike
    monkeypatch.setattr(GigatokenCounter, "_cuts_alike", lambda self, c: c != "ж" and honest(self, c))
    texts = ["one жук two", "three four", "five"]
    theirs = count_pretokens(texts, GPT2, engine="gigatoken")
    assert theirs.engine == "gigatoken and own"
    assert _same(count_pretokens(texts, GPT2, engine="own"), theirs)


def test_the_engine_is_kept_with_the_table(tmp_path):
    pytest.importorskip("gigatoken")
    count_pretokens(["one two"], GPT2, engine="gigatoken").save(tmp_path / "words.parquet")
    assert Pretokens.load(tmp_path / "words.parquet").engine == "gigatoken"


def test_it_prints_nothing(capfd):
    pytest.importorskip("gigatoken")
    print("before", end="")
    count_pretokens(["one two two"], GPT2, engine="gigatoken")
    print("after", end="")
    assert capfd.readouterr() == ("beforeafter", "")


def test_the_streams_are_afterwards_what_they_were_also_where_they_were_closed():
    """In a process of its own, which closes its standard streams; what it finds comes back as its status."""
    script = """
import os, sys
from tokenry.core.gigatoken_counts import closed_streams

def files():
    return [(os.fstat(fd).st_dev, os.fstat(fd).st_ino) if is_open(fd) else None for fd in (0, 1, 2)]

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

kept = [os.dup(fd) for fd in (0, 1, 2)]
for closed in ([], [1], [2], [0], [1, 2], [0, 1, 2]):
    for fd in closed:
        os.close(fd)
    before = files()
    with closed_streams():
        os.write(1, b"lost")
        os.write(2, b"lost")
    good = files() == before
    for fd, copy in enumerate(kept):
        os.dup2(copy, fd)
    if not good:
        sys.exit(f"differs where {closed} were closed")
print("end", end="")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end", "")


def test_without_the_package_our_engine_counts_and_asking_for_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    texts = ["one two two"]
    assert count_pretokens(texts, GPT2).engine == "own"
    assert count_pretokens(texts, GPT2, engine="auto").engine == "own"
    with pytest.raises(ImportError, match=r"pip install 'tokenry\[fast\]'"):
        count_pretokens(texts, GPT2, engine="gigatoken")


def test_another_pattern_or_engine_is_refused_with_the_way_out():
    pytest.importorskip("gigatoken")
    with pytest.raises(ValueError, match="GPT-2 only"):
        count_pretokens(["one"], {**GPT2, "pre_tokenizer": split_pretokenizer(known("cl100k"))}, engine="gigatoken")
    with pytest.raises(ValueError, match="gigatoken"):
        count_pretokens(["one"], GPT2, engine="gigatokens")


def test_what_counts_like_gpt2_is_exactly_that_pattern():
    assert all(Cutter(spec).cuts_like_gpt2 for spec in SPECS.values())
    for name in ("cl100k", "o200k", "qwen2", "tekken", "falcon", "starcoder"):
        assert not Cutter({"pre_tokenizer": split_pretokenizer(known(name)), "model": EMPTY}).cuts_like_gpt2
