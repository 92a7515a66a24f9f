"""RedPajama-V1's measures of source files against plain counting."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_worlds import TEXTS, batch_of, differences, scored

from tokenry.corpora.signals import families_of, score_batch
from tokenry.corpora.signals_code import extension_of


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_lines_and_letters_are_counted_as_by_hand(texts):
    found = scored(texts, "code")
    for row, text in enumerate(texts):
        lines = text.splitlines()
        tokens = re.findall(r"\w+|[^\w\s]+", text)
        twin = {
            "code.max_line_length": max(map(len, lines), default=0),
            "code.mean_line_length": sum(map(len, lines)) / len(lines) if lines else None,
            "code.alphanumeric_share": sum(map(str.isalnum, text)) / len(text) if text else None,
            "code.letters_per_token": sum(map(str.isalpha, text)) / len(tokens) if tokens else None,
        }
        assert differences(found, row, twin) == {}


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a/b.py", ".py"), ("Makefile", "Makefile"), ("x\\y.C", ".C"), ("a.tar.gz", ".gz"), (".bashrc", ".bashrc"),
     ("", None)],
)  # fmt: skip
def test_endings_are_read_from_names(name, ending):
    assert extension_of(name) == ending


def test_names_come_from_a_column_and_tokens_from_a_tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    tokenizer.save(str(tmp_path / "t.json"))
    batch = batch_of(["ab1", "xy"]).append_column("path", pa.array(["a.py", "b.exe"]))
    made = score_batch(batch, families_of("code"))
    assert made.column("code.known_extension").to_pylist() == [True, False]
    assert scored(["ab1"], "code", tokenizer=str(tmp_path / "t.json"))["code.letters_per_token"] == [2 / 3]
    with pytest.raises(FileNotFoundError, match=r"need a tokenizer\.json"):
        scored(["a"], "code", tokenizer="no.json")
