import lzma
import re

import pytest
from hostile_files import NAMES, contents, open_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab

PLACES = st.floats(0, 1)
WRONG_VALUES = st.sampled_from(
    [b"null", b"-1", b"1e9", b"1000000000", b"[]", b"{}", b'"x"', b"true", b"1.5", b'""', b'"\\ud800"', b"NaN"]
)
EDITS = st.one_of(
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("cut off"), PLACES, st.just(b"")),
    st.tuples(st.just("delete"), PLACES, st.binary(min_size=1, max_size=200)),
    st.tuples(st.just("replace a value"), PLACES, WRONG_VALUES),
)
_VALUE = re.compile(rb'null|true|false|"[^"]{0,30}"|-?\d+(?:\.\d+)?|\[\]|\{\}')


def edited(content, edits):
    for kind, place, data in edits:
        at = int(place * len(content))
        if kind == "insert":
            content = content[:at] + data + content[at:]
        elif kind == "cut off":
            content = content[:at]
        elif kind == "delete":
            content = content[:at] + content[at + len(data) :]
        elif found := [*_VALUE.finditer(content)]:
            value = found[min(int(place * len(found)), len(found) - 1)]
            content = content[: value.start()] + data + content[value.end() :]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def test_the_files_that_are_damaged_below_open_undamaged(folder):
    assert [open_file(name, content, folder) for name, content in zip(NAMES, contents(), strict=True)] == ["Vocab"] * 8


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, len(NAMES) - 1), edits=st.lists(EDITS, min_size=1, max_size=6), inside=st.booleans())
def test_a_damaged_file_of_any_format_opens_or_is_refused_in_a_sentence(folder, which, edits, inside):
    content = contents()[which]
    if NAMES[which].endswith(".xz") and inside:
        content = lzma.compress(edited(lzma.decompress(content), edits), preset=0)
    else:
        content = edited(content, edits)
    assert open_file(NAMES[which], content, folder) in ("Vocab", "ValueError")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}, "the id 0 to 'a', 'b'; need one entry"),
        ({"type": "BPE", "vocab": {"a": 0, "b": 2**23}, "merges": []}, "holes are no vocabulary"),
        ({"type": "BPE", "vocab": {"a": 10**9}, "merges": []}, "the id 1000000000; need whole numbers"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "\0"]]}, "merge 0 is"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": 7}, "does not hold what its format promises"),
        ({"type": "Unigram", "vocab": [[1, 2]], "unk_id": 0}, "does not hold what its format promises"),
        ({"type": ["BPE"], "vocab": {"a": 0}, "merges": []}, "has a model of type"),
    ],
)
def test_a_hostile_model_is_refused_by_name(model, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Vocab.from_spec({"model": model}, name="hostile.json")
    assert "hostile.json" in str(caught.value) or "merge 0" in sentence


def test_nul_bytes_and_lone_surrogates_in_entries_are_only_entries():
    vocab = Vocab.from_spec({"model": {"type": "BPE", "vocab": {"a": 0, "a\0b": 1, "\ud800": 2}, "merges": []}})
    assert vocab.tokens == (b"a", b"a\0b", b"\xed\xa0\x80")


def test_a_small_file_that_unpacks_to_much_is_not_unpacked(tmp_path, monkeypatch):
    bomb = lzma.compress(bytes(3 * 10**8), preset=0)
    assert len(bomb) < 100_000
    (tmp_path / "tokenizer.json.xz").write_bytes(bomb)
    with pytest.raises(ValueError, match="holds over 268,435,456 bytes"):
        Vocab.open(tmp_path / "tokenizer.json.xz")
