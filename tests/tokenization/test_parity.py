"""A planted premium is found with its interval; parallel text is read from folders and tables, and checked."""

import json
import tarfile

import numpy as np
import pytest
from audited_tokenizers import byte_level
from tokenizers import Tokenizer, models, pre_tokenizers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import count
from tokenry.tokenization.parity import Parallel, line_tokens, parity, premiums, read_line_folder, read_parallel


def _characters() -> Vocab:
    """One token a character of a to z and space."""
    entries = {char: i for i, char in enumerate("Ġabcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.BPE(vocab=entries, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Vocab.open(tokenizer)


def _planted(rng: np.random.Generator, n: int, factor: float) -> Parallel:
    """Lines of one token a character, where the other language needs about `factor` times as many."""
    sizes = rng.integers(20, 60, n)
    lines = [tuple("a" * k for k in sizes), tuple("b" * max(1, round(k * factor + e)) for k, e in
             zip(sizes, rng.normal(0, 4, n), strict=True))]  # fmt: skip
    return Parallel(("eng", "xxx"), tuple(lines))


def test_a_planted_premium_is_found_and_its_paired_interval_covers_it():
    rng = np.random.default_rng(0)
    vocab, n_covered = _characters(), 0
    for trial in range(20):
        given = _planted(rng, 60, 1.7)
        row = premiums(line_tokens(vocab, given), given.names, pivot=0, seed=trial)[0]
        assert row["language"] == "xxx"
        n_covered += row["low"] <= 1.7 <= row["high"]
        # The length of a sentence cancels: the noise is 4 of 40 a line, so the whole width is about 4 * 4/40/sqrt(60).
        assert row["high"] - row["low"] < 0.12
    # 95 % intervals: 20 trials miss more than 4 with probability under .3 %.
    assert n_covered >= 16


def test_premiums_equal_plain_totals_and_the_pivot_pays_one():
    vocab = byte_level()
    given = Parallel(("de", "en", "ru"), (("Die Straße", "ja"), ("the street", "yes"), ("улица", "да")))
    rows = {row["language"]: row for row in premiums(line_tokens(vocab, given), given.names, pivot=given.pivot())}
    totals = {n: sum(map(len, vocab.encode(list(own)))) for n, own in zip(given.names, given.lines, strict=True)}
    assert {n: row["tokens"] for n, row in rows.items()} == totals
    assert rows["en"]["premium"] == rows["en"]["low"] == rows["en"]["high"] == 1
    assert rows["ru"]["premium"] == totals["ru"] / totals["en"]


def test_the_lens_names_the_dearest_language():
    given = Parallel(("eng_Latn", "rus_Cyrl"), (("the dog", "a fox"), ("Съешь же", "ещё этих")))
    found = parity(count(byte_level(), [("x", "")]), parallel=given)
    assert found.facts["parity.pivot"] == "eng_Latn"
    assert found.facts["parity.highest.language"] == "rus_Cyrl"
    assert found.facts["parity.lines"] == 2
    assert found.tables["parity"]["lines"] == [2, 2]


def test_a_folder_of_lines_names_languages_by_what_differs(tmp_path):
    for code, text in (("arb", "أ\nب\n"), ("deu", "eins\nzwei"), ("eng", "one\ntwo\n")):
        (tmp_path / f"newstest-ref.{code}.txt").write_text(text, encoding="utf-8")
    given = read_parallel(tmp_path)
    assert given.names == ("arb", "deu", "eng")
    assert given.lines[2] == ("one", "two")
    assert given.names[given.pivot()] == "eng"
    assert read_line_folder(tmp_path, limit=1).lines[1] == ("eins",)


def test_a_folder_of_documents_is_no_folder_of_lines(tmp_path):
    (tmp_path / "one.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    assert read_line_folder(tmp_path).names == ("one",), "what is no text beside .txt files is left out"
    (tmp_path / "deeper").mkdir()
    assert read_line_folder(tmp_path) is None
    other = tmp_path / "deeper"
    (other / "pages.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    assert read_line_folder(other) is None


def test_a_table_of_lines_is_the_same_as_a_folder(tmp_path):
    rows = [{"language": n, "line": i, "text": f"{n}{i}"} for i in (2, 1) for n in ("en", "de")]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = read_parallel(path)
    assert (given.names, given.lines) == (("en", "de"), (("en2", "en1"), ("de2", "de1")))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("en", 1, "a"), ("de", 2, "b")], "other lines"),
        ([("en", 1, "a"), ("en", 1, "b")], "twice"),
        ([("en", 1, "a")], "one language only"),
    ],
)
def test_a_table_that_is_not_parallel_is_refused(rows, said):
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    with pytest.raises(ValueError, match=said):
        read_parallel(pa.table(dict(zip(("language", "line", "text"), map(list, columns), strict=True))))


def test_files_of_different_length_are_refused_with_their_lengths(tmp_path):
    (tmp_path / "en.devtest").write_text("a\nb\nc\n", encoding="utf-8")
    (tmp_path / "de.devtest").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(ValueError, match="en 3"):
        read_parallel(tmp_path)
    (tmp_path / "fr.devtest").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        read_parallel(tmp_path)


def test_an_unknown_pivot_is_named_beside_those_that_exist():
    with pytest.raises(ValueError, match="de, en"):
        Parallel(("de", "en"), (("a",), ("b",))).pivot("fr")


@pytest.mark.slow  # opens a production vocabulary and encodes five languages of FLORES
def test_flores_totals_equal_tiktoken(shared_data):
    """The recipe of tokenization-fairness on the devtest half: lines joined by one space, encoded at once."""
    tiktoken = pytest.importorskip("tiktoken")
    codes = ("eng_Latn", "deu_Latn", "por_Latn", "tur_Latn", "shn_Mymr")
    with tarfile.open(shared_data / "flores200" / "flores200-devtest.tar.xz") as archive:
        texts = {code: archive.extractfile(f"devtest/{code}.devtest").read().decode().split("\n") for code in codes}
    vocab = Vocab.open(shared_data / "tokenizers" / "openai" / "r50k_base.tiktoken.xz")
    ranks = {data: i for i, data in enumerate(vocab.tokens) if data is not None and vocab.kinds[i] == 0}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    oracle = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    joined = Parallel(codes, tuple((" ".join(lines),) for lines in texts.values()))
    expected = [len(oracle.encode_ordinary(" ".join(lines))) for lines in texts.values()]
    assert line_tokens(vocab, joined)[:, 0].tolist() == expected
    by_line = Parallel(codes, tuple(tuple(lines[:1012]) for lines in texts.values()))
    plain = [sum(len(oracle.encode_ordinary(line)) for line in lines[:1012]) for lines in texts.values()]
    assert line_tokens(vocab, by_line).sum(axis=1).tolist() == plain
