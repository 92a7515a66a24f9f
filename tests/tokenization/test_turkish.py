"""Turkish by zeyrek: suffix forms by vowel harmony, analyses, abbreviations."""

import pytest

from tokenry.tokenization.turkish import Zeyrek, suffix_forms
from tokenry.tokenization.validators import check_validator, is_morpheme


@pytest.mark.parametrize(
    ("template", "forms"),
    [
        ("lAr", {"lar", "ler"}),
        (">dI", {"dı", "di", "du", "dü", "tı", "ti", "tu", "tü"}),
        ("lArI", {"ları", "leri"}),
        ("ImIz", {"ımız", "imiz", "umuz", "ümüz"}),
        ("+yA", {"a", "e", "ya", "ye"}),
        ("mA~k", {"mak", "mek", "mağ", "meğ"}),
        ("Iyor", {"ıyor", "iyor", "uyor", "üyor"}),
    ],
)
def test_suffix_forms_follow_vowel_harmony_and_hardening(template, forms):
    assert suffix_forms(template) == forms


@pytest.fixture(scope="module")
def zeyrek():
    pytest.importorskip("zeyrek", reason="the Turkish analyser is an optional package")
    return Zeyrek()


@pytest.mark.slow  # loads a dictionary of 60,000 roots: 3 s
def test_words_are_cut_into_surface_morphemes(zeyrek):
    assert ("kitap", "lar", "ımız", "dan") in zeyrek.analyses("kitaplarımızdan")
    assert ("ışık",) in zeyrek.analyses("IŞIK"), "capital I is the dotless one"
    assert zeyrek.analyses("ışk") == []
    assert is_morpheme(zeyrek, "lar")
    assert is_morpheme(zeyrek, "göz")
    assert not is_morpheme(zeyrek, "evlerinizden")
    assert zeyrek.is_word("evlerinizden")
    assert len(zeyrek.roots) > 50_000
    check_validator(zeyrek, ["kitaplarımızdan", "IŞIK", "KİTAP", "o", "qxw", "", "12", "kitâp", "TBMM"])


@pytest.mark.slow  # shares the dictionary loaded above
def test_abbreviations_are_words_in_capitals_only(zeyrek):
    assert not zeyrek.is_word("s")
    assert not zeyrek.is_word("the")
    assert zeyrek.is_word("o"), "a pronoun"
    assert zeyrek.is_word("TBMM")
    assert not zeyrek.is_word("tbmm")
