import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tokenry.cli import main
from tokenry.core.tables import texts
from tokenry.core.vocab import Kind, Vocab
from tokenry.data import demo_text
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.unicode_vocabulary import FIRST_BYTE, N_GROUPS, group_ids, train_unicode

TEXTS = ["the cat sat on the mat and the other cat", "кот и другой кот", "猫と猫 🐈 the"] * 20


@cache
def small() -> Vocab:
    return train_unicode([{"text": text} for text in TEXTS])


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    return small()


def test_the_id_of_a_character_is_its_code_point(vocab):
    for character in "aé 中ж\n\u0301€\ufffd":
        assert vocab.backend.token_to_id(character) == ord(character)
        assert vocab.tokens[ord(character)] == character.encode()


def test_holes_of_the_plane_hold_specials_bytes_and_groups(vocab):
    assert vocab.size == FIRST_BYTE + 256 or vocab.size == 0x10000
    assert (vocab.kinds[FIRST_BYTE : FIRST_BYTE + 256] == Kind.BYTE).all()
    groups = [i for i in group_ids(65_536) if i < vocab.size and vocab.tokens[i]]
    assert groups == [*group_ids(65_536)][: len(groups)]  # given out without gaps
    assert groups
    assert all(2 <= len(vocab.tokens[i].decode()) <= 5 for i in groups)
    assert N_GROUPS == {65_536: 2048 + 5888, 131_072: 2048 + 5888 + 65_536}


def test_every_group_can_be_reached_and_saves_tokens(vocab):
    groups = [i for i in group_ids(65_536) if i < vocab.size and vocab.tokens[i]]
    assert all(vocab.decompose(vocab.tokens[i]) == [i] for i in groups)
    assert len(vocab.encode([TEXTS[0]])[0]) < len(TEXTS[0]) / 2


@given(st.text())
def test_any_text_comes_back_planes_above_the_first_and_private_use_too(text):
    assert small().decode(small().encode([text])[0]) == text


def test_a_text_without_groups_is_its_code_points(vocab):
    text = "Ωβ¿ÿ\u2603"
    assert vocab.encode([text])[0].tolist() == [ord(c) for c in text]


def test_the_written_folder_encodes_the_same(vocab, tmp_path):
    vocab.to_hf(tmp_path)
    library = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TEXTS[:3], "🐈 \ue123 mixed"]:
        assert library.encode(text).ids == vocab.encode([text])[0].tolist()
        assert library.decode(library.encode(text).ids) == text


def test_groups_of_english_are_worth_about_what_the_paper_says():
    """The paper's larger vocabulary takes 2.27 characters of English a token; BPE without code points takes over 4."""
    fiction = demo_text("fiction")
    vocab = train_unicode(fiction, limit=300, max_length=5)
    held = [*texts(fiction, limit=400)][300:]
    rate = sum(map(len, held)) / sum(len(ids) for ids in vocab.encode(held))
    plain = train_unicode([{"text": "a"}])
    assert 1.9 < rate < 4
    assert np.isclose(sum(map(len, held)) / sum(len(ids) for ids in plain.encode(held)), 1, atol=0.01)


def test_other_sizes_and_lengths_are_refused():
    with pytest.raises(ValueError, match="65,536 or 131,072"):
        train_unicode(TEXTS, size=32_768)
    with pytest.raises(ValueError, match="at least 2"):
        train_unicode(TEXTS, max_length=1)
    with pytest.raises(ValueError, match="room for 256"):
        train_unicode(TEXTS, specials={f"t{i}": f"<{i}>" for i in range(300)})


def test_the_least_count_of_a_recipe_reaches_the_trainer():
    texts = [{"text": "ab ab ab cd cd"}]
    made = compose(texts, Recipe(size=65_536, kind="unicode", min_count=3)).vocab
    assert made.spec["model"]["merges"] == train_unicode(texts, min_count=3).spec["model"]["merges"]
    assert len(made.merges) < len(train_unicode(texts).merges)


@pytest.mark.slow  # writes and reopens a vocabulary of 131,072 ids through the verb
def test_the_verb_writes_one(tmp_path, capsys):
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    out = tmp_path / "out"
    main_arguments = ["tokenizer", "train", "--data", str(tmp_path / "text.jsonl"), "--kind", "unicode"]
    with pytest.raises(SystemExit) as end:
        main([*main_arguments, "--size", "131072", "--out", str(out), "--json"])
    assert end.value.code == 0
    capsys.readouterr()
    assert Vocab.open(out).backend.token_to_id("é") == ord("é")
