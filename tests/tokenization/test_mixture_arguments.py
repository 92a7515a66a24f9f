"""What is typed after the verb."""

from pathlib import Path

import pytest

from tokenry.tokenization.mixture_arguments import parse_corpora, parse_groups


def test_names_and_paths_are_told_apart(tmp_path):
    odd = tmp_path / "a=b.jsonl"
    odd.write_text("")
    assert parse_corpora(["de=x/de.jsonl", "en=hf://datasets/a/b"]) == [
        ("de", Path("x/de.jsonl")),
        ("en", "hf://datasets/a/b"),
    ]
    assert parse_corpora([str(odd)]) == odd  # a file that exists is a table, whatever its name holds
    with pytest.raises(ValueError, match="has no name"):
        parse_corpora(["de=x", "y.jsonl"])


def test_groups_are_read_and_checked():
    assert parse_groups(["code=c+go", "all=c"]) == {"code": ("c", "go"), "all": ("c",)}
    for wrong in (["code"], ["code="], ["=a"], ["x=a", "x=b"]):
        with pytest.raises(ValueError, match="need name=a\\+b"):
            parse_groups(wrong)
