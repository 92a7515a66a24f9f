"""Validators: lists, tables, treebanks; Turkish case; what is refused."""

import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.validators import (
    Lexicon,
    check_validator,
    is_morpheme,
    lower,
    open_validator,
    read_words,
)

ENGLISH = Lexicon(["the", "student", "s", "are", "learn", "ing"], name="small")


def test_turkish_letters_i_are_two_pairs():
    assert lower("ISPARTA İZMİR", "tr") == "ısparta izmir"
    assert lower("ISPARTA", "tur_Latn") == "ısparta"
    assert lower("ISPARTA") == "isparta"
    assert lower("I\u0307", "tr") == "i", "a decomposed İ is composed first"
    assert len(lower("İİ")) == 2, "outside Turkish it stays one character"


def test_a_list_knows_its_words_in_any_case_unless_told_otherwise():
    assert ENGLISH.is_word("The")
    assert not ENGLISH.is_word("students")
    exact = Lexicon(["the"], exact=True)
    assert exact.is_word("the")
    assert not exact.is_word("The")


def test_roots_and_affixes_compose_only_where_asked():
    lists = {"words": ["ev", "kitap"], "affixes": ["ler", "lar", "in", "im", "iz"], "lang": "tr"}
    assert not Lexicon(**lists).is_word("evlerin")
    composed = Lexicon(**lists, compose=True)
    assert composed.analyses("Evlerin") == [("ev", "ler", "in")]
    assert composed.analyses("evimz") == []
    assert is_morpheme(composed, "ler")
    assert is_morpheme(composed, "ev")
    assert not is_morpheme(composed, "evler")
    check_validator(composed, ["evlerin", "EVLERİN", "kitaplar", "x", "ler"])


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6), st.text("abcABC", max_size=9))
def test_a_composing_list_keeps_the_laws_on_any_text(words, text):
    check_validator(Lexicon(words[:3], affixes=words[3:], compose=True), [text])


def test_a_published_list_with_glued_copies_is_cleaned(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("# a comment\nacak\nacakAcak\niyiİyi\nMcDonald\nAnkara\nbonbon\tnoun\n\n", encoding="utf-8")
    assert read_words(file) == ["acak", "acak", "iyi", "McDonald", "Ankara", "bonbon"]


def test_unimorph_gives_forms_lemmas_and_cuts(tmp_path):
    file = tmp_path / "eng"
    file.write_text("walk\twalked\tV;PST\nwalk\twalks\tV\nundo\tundoing\tV\tun|do|ing\ngo\twent\tV;PST\n")
    found = open_validator(analyzer=f"unimorph:{file}")
    assert found.analyses("walked") == [("walk", "ed")]
    assert found.analyses("undoing") == [("un", "do", "ing")]
    assert found.is_word("went")
    assert not is_morpheme(found, "went")
    assert is_morpheme(found, "ed")
    assert is_morpheme(found, "go")
    check_validator(found, ["walked", "Walked", "went", "nothing", "ed"])


def test_sigmorphon_gold_is_a_validator_too(tmp_path):
    file = tmp_path / "gold.tsv"
    file.write_text("abbreviating\tabbreviate @@ing\t100\ndogs\tdog @@s\t100\n")
    found = open_validator(analyzer=f"sigmorphon:{file}")
    assert found.analyses("abbreviating") == [("abbreviat", "ing")]
    assert is_morpheme(found, "abbreviate")
    assert is_morpheme(found, "s")


def test_a_treebank_gives_forms_and_lemmas(tmp_path):
    file = tmp_path / "pud.conllu.xz"
    rows = [("1", "Dogs", "dog"), ("2-3", "cannot", "_"), ("2", "can", "can"), ("4", ".", ".")]
    tail = "\t_" * 7
    text = "# sent_id = 1\n" + "".join(f"{i}\t{form}\t{lemma}{tail}\n" for i, form, lemma in rows)
    file.write_bytes(lzma.compress(text.encode()))
    found = open_validator(analyzer=f"conllu:{file}")
    assert found.analyses("dogs") == [("dog", "s")]
    assert is_morpheme(found, "can")
    assert not found.is_word("cannot")
    assert not found.is_word(".")


def made_validator():
    """Named on the command line as module:function."""
    return ENGLISH


def test_an_analyser_can_be_named_as_a_function():
    assert open_validator(analyzer=f"{__name__}:made_validator") is ENGLISH
    assert open_validator(analyzer=f"{__name__}:ENGLISH") is ENGLISH
    assert open_validator(analyzer=ENGLISH) is ENGLISH


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        open_validator()
    with pytest.raises(ValueError, match="Did you mean 'zeyrek'"):
        open_validator(analyzer="zeyrec")
    with pytest.raises(ValueError, match="without is_word"):
        open_validator(analyzer=object())
    with pytest.raises(FileNotFoundError, match="Check the path"):
        open_validator(lexicon=tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    with pytest.raises(ValueError, match="no word"):
        open_validator(lexicon=tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("Stra\xdfe\n".encode("latin-1"))
    with pytest.raises(ValueError, match="iconv"):
        open_validator(lexicon=tmp_path / "latin.txt")
    (tmp_path / "long.txt").write_text("x" * 20_000)
    with pytest.raises(ValueError, match="too long"):
        read_words(tmp_path / "long.txt")
