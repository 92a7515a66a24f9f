"""Word vectors: read as written, refused when damaged, turned exactly, and tokens placed as WECHSEL places them."""

import gzip
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from small_vocabularies import ENGLISH, byte_level
from tokenry.core.vocab import Kind
from tokenry.transplant.word_vectors import (
    WordVectors,
    dictionary_pairs,
    embedded_tokens,
    open_vectors,
    orthogonal_map,
    read_dictionary,
    token_vectors,
    word_vectors,
)

WORDS = ["the", "cat", "house", "Katze", "ünd"]


def made(width=4, seed=0):
    rng = np.random.default_rng(seed)
    return WordVectors(WORDS, rng.standard_normal((5, width)).astype(np.float32), np.array([50.0, 9, 7, 2, 1]))


def test_vectors_come_back_from_their_file(tmp_path):
    vectors = made()
    path = vectors.save(tmp_path / "v.vec")
    assert path.read_text(encoding="utf-8").startswith("5 4\nthe ")
    back = open_vectors(path)
    assert back.words == WORDS
    np.testing.assert_allclose(back.matrix, vectors.matrix, rtol=1e-5)
    assert back.counts.tolist() == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert open_vectors(path, max_words=2).words == ["the", "cat"]


def test_a_file_without_a_first_line_and_a_gzipped_one_are_read(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4.5\n")
    with gzip.open(tmp_path / "v.vec.gz", "wt") as file:
        file.write("2 2\na 1 2\nb 3 4.5\n")
    for name in ("v.txt", "v.vec.gz"):
        assert open_vectors(tmp_path / name).matrix.tolist() == [[1, 2], [3, 4.5]]


def test_a_dict_is_taken_in_its_order():
    assert open_vectors({"b": [1, 2], "a": np.array([3, 4])}).words == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a 1 2\nb 3\n", "v.txt:2: 'b 3' is not a word and 2 numbers"),
        ("a 1 two\n", "is not a word"),
        ("", "holds no vector"),
        ("a nan 1\n", "NaN"),
        ("a " + "1" * 200_001, "200,000 characters"),
        (b"\x80\x04\x95pickle\x00", "is not a word"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, content, said):
    path = tmp_path / "v.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said):
        open_vectors(path)


@pytest.mark.parametrize("name", ["a.vec.gz", "b.vec.gz", "c.vec.xz", "d.vec.xz"])
def test_a_damaged_archive_is_refused_with_its_name(tmp_path, name):
    path = tmp_path / name
    pack = gzip.compress if name.endswith(".gz") else lzma.compress
    whole = pack("".join(f"w{i} {i} 0.5\n" for i in range(500)).encode())
    path.write_bytes(b"no archive" if name[0] in "ac" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{name} is no complete .*fetch it again"):
        open_vectors(path)


def test_what_holds_no_vectors_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_vectors(tmp_path / "none.vec")
    with pytest.raises(ValueError, match="one width"):
        open_vectors({"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="Got int"):
        open_vectors(3)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_planted_rotation_is_recovered_and_scipy_agrees(width, seed):
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((width + 5, width))
    turn, _ = np.linalg.qr(rng.standard_normal((width, width)))
    np.testing.assert_allclose(orthogonal_map(source, source @ turn), turn, atol=1e-8)
    noisy = source @ turn + 0.3 * rng.standard_normal(source.shape)
    np.testing.assert_allclose(orthogonal_map(source, noisy), orthogonal_procrustes(source, noisy)[0], atol=1e-8)


def test_a_token_lies_at_the_mean_of_its_words_by_frequency(old):
    vectors = made()
    rows = token_vectors(old, vectors)
    for i in range(old.size):
        # The reference: every word alone and behind a space, each form counted once for each token in it.
        holding = [
            n for n, word in enumerate(WORDS) for form in (word, " " + word) if i in old.encode([form])[0].tolist()
        ]
        weights = vectors.counts[holding]
        wanted = weights @ vectors.matrix[holding] / weights.sum() if holding else np.zeros(4)
        np.testing.assert_allclose(rows[i], wanted, atol=1e-5)
    alike = token_vectors(old, vectors, by_frequency=False)
    assert not np.allclose(alike, rows)


def test_with_title_case_a_capital_form_places_its_tokens_too():
    vocab = byte_level("german", 400)
    vectors = WordVectors(["katze"], np.ones((1, 2), np.float32), np.ones(1))
    capital = vocab.encode([" Katze"])[0].tolist()
    assert not token_vectors(vocab, vectors)[capital[:1]].any()
    assert token_vectors(vocab, vectors, title_case=True)[capital].all()


def test_a_function_that_knows_parts_of_words_places_every_spelled_token(old):
    asked = []

    def embed(words):
        asked.extend(words)
        return np.array([[len(word), 1] for word in words])

    rows = embedded_tokens(old, embed)
    assert all(word == word.strip() and word for word in asked)
    i = next(i for i in range(old.size) if old.tokens[i] == b" the")
    assert rows[i].tolist() == [3, 1]
    assert not rows[[i for i in range(old.size) if old.kinds[i] == Kind.SPECIAL]].any()
    with pytest.raises(ValueError, match="one row each"):
        embedded_tokens(old, lambda words: np.zeros(3))


def test_a_dictionary_is_read_and_spread_over_case(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("House\tHaus\nthe die\n")
    assert read_dictionary(path) == [("House", "Haus"), ("the", "die")]
    assert ("house", "Haus") in dictionary_pairs([("House", "Haus")])
    assert dictionary_pairs([("a", "b")]) == [("a", "b"), ("a", "B"), ("A", "b"), ("A", "B")]
    path.write_text("one two three\n")
    with pytest.raises(ValueError, match=r"d\.tsv:1"):
        read_dictionary(path)
    with pytest.raises(ValueError, match="no pair"):
        read_dictionary([])


def test_vectors_counted_on_text_put_words_of_like_use_together():
    rng = np.random.default_rng(0)
    # Two classes of words; each sentence alternates between words of one class and markers of that class.
    lines = []
    for _ in range(600):
        kind = int(rng.integers(2))
        lines.append(
            " ".join(f"{'ab'[kind]}{chr(97 + rng.integers(5))} {'xy'[kind]}{'pq'[rng.integers(2)]}" for _ in range(6))
        )
    vectors = word_vectors(lines, width=8, min_count=5)
    names = [f"{c}{chr(97 + n)}" for c in "ab" for n in range(5)]
    rows = vectors.matrix[[vectors.index[name] for name in names]].astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    within = (cosines[:5, :5].sum() - 5 + cosines[5:, 5:].sum() - 5) / 40
    assert within > cosines[:5, 5:].mean() + 0.5
    assert vectors.counts.tolist() == sorted(vectors.counts.tolist(), reverse=True)


def test_too_little_text_is_refused():
    with pytest.raises(ValueError, match="Give more text"):
        word_vectors(ENGLISH[:1], min_count=50)


def test_the_verb_writes_vectors_that_wechsel_reads(tmp_path, capsys):
    import json

    from tokenry.cli import main
    from tokenry.data import demo_text

    out = tmp_path / "stories.vec"
    arguments = ["transplant", "word-vectors", "--data", str(demo_text("stories")), "--limit", "60", "--width", "16"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(out), "--json", "--quiet"])
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    vectors = open_vectors(out)
    assert facts["words"] == len(vectors.words) > 100
    assert vectors.matrix.shape[1] == facts["width"] == 16
    assert 0.5 < facts["share_of_words_covered"] < 1
