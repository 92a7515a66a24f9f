"""Hunspell dictionaries by our reader: rules by hand, a peer on the same files, broken files."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.hunspell import Hunspell
from tokenry.tokenization.validators import check_validator, open_validator

AFF = """SET UTF-8
NEEDAFFIX Z
FORBIDDENWORD F
ONLYINCOMPOUND C
PFX U Y 1
PFX U 0 un .
PFX N N 1
PFX N 0 non .
SFX D Y 3
SFX D 0 ed [^ey]
SFX D 0 d e
SFX D y ied [^aeiou]y
SFX G Y 2
SFX G e ing e
SFX G 0 ing [^e]
SFX A Y 1
SFX A 0 able/S .
SFX S Y 1
SFX S 0 s .
"""
DIC = """9
do/UGS
try/DGS
like/UDGA
walk/DGAN
went
Ankara/S
bound/ZS
bad/F
part/C
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hunspell")
    (folder / "en.aff").write_text(AFF, encoding="utf-8")
    (folder / "en.dic").write_text(DIC, encoding="utf-8")
    return folder / "en.dic"


def test_words_are_cut_by_their_rules(small):
    found = open_validator(lexicon=small)
    assert found.analyses("undoing") == [("un", "do", "ing")]
    assert found.analyses("liking") == [("lik", "ing")]
    assert found.analyses("tried") == [("tr", "ied")]
    assert found.analyses("walkables") == [("walk", "able", "s")]
    assert found.analyses("Walked") == [("walk", "ed")]
    assert found.analyses("went") == [("went",)]
    assert found.analyses("ANKARA") == [("Ankara",)]
    assert found.analyses("ed") == [("ed",)]
    for wrong in ("tryed", "walkd", "wents", "bound", "bad", "part", "unwent", "nonwalked", "ankara", "gone"):
        assert not found.is_word(wrong), wrong
    assert found.is_word("nonwalk")
    assert found.is_word("bounds")
    check_validator(found, ["undoing", "Liking", "WALKED", "zzz", "s", ""])


@given(st.lists(st.sampled_from(["un", "non", "do", "like", "walk", "try", "ed", "ing", "able", "s", "d", "ied"])))
def test_the_laws_hold_for_whatever_is_put_together(small, parts):
    check_validator(Hunspell(small), ["".join(parts)[:40]])


def test_a_peer_knows_the_same_words(small):
    """Without the forbidden word: the peer forbids it in lower case only."""
    peer = pytest.importorskip("spylls.hunspell", reason="the peer is an optional package")
    theirs, ours = peer.Dictionary.from_files(str(small.with_suffix(""))), Hunspell(small, affixes=())
    stems = ["do", "try", "like", "lik", "walk", "went", "Ankara", "bound", "part", "tr"]
    heads, tails = ["", "un", "non"], ["", "s", "ed", "d", "ied", "ing", "able", "ables"]
    words = ["".join(parts) for parts in itertools.product(heads, stems, tails)]
    words += [word.capitalize() for word in words] + [word.upper() for word in words]
    assert {word: ours.is_word(word) for word in words} == {word: theirs.lookup(word) for word in words}


def test_numbered_and_long_flags_and_aliases_are_read(tmp_path):
    (tmp_path / "n.aff").write_text("SET UTF-8\nFLAG num\nLANG tr_TR\nSFX 12 Y 1\nSFX 12 0 lar .\n", "utf-8")
    (tmp_path / "n.dic").write_text("1\nkız/7,12\n", "utf-8")
    assert Hunspell(tmp_path / "n.dic").analyses("KIZLAR") == [("kız", "lar")], "LANG decides the case of I"
    (tmp_path / "l.aff").write_text("FLAG long\nSFX Xy Y 1\nSFX Xy 0 s .\n")
    (tmp_path / "l.dic").write_text("1\ndog/AbXy\n")
    assert Hunspell(tmp_path / "l.dic").is_word("dogs")
    (tmp_path / "a.aff").write_text("AF 2\nAF A\nAF AB\nSFX B Y 1\nSFX B 0 s .\n")
    (tmp_path / "a.dic").write_text("2\ndog/2\ncat/1\n")
    aliased = Hunspell(tmp_path / "a.dic")
    assert aliased.is_word("dogs")
    assert not aliased.is_word("cats")


def test_broken_dictionaries_are_named(tmp_path):
    (tmp_path / "x.dic").write_text("1\nword\n")
    with pytest.raises(FileNotFoundError, match="beside it"):
        Hunspell(tmp_path / "x.dic")
    (tmp_path / "x.aff").write_text("SET KLINGON\n")
    with pytest.raises(ValueError, match="KLINGON"):
        Hunspell(tmp_path / "x.dic")
    (tmp_path / "x.aff").write_text("SFX A Y 1\nSFX A\nSFX\nAF\n")
    (tmp_path / "x.dic").write_text("no number\nword\n")
    with pytest.raises(ValueError, match="first line"):
        Hunspell(tmp_path / "x.dic")
    (tmp_path / "x.dic").write_text("0\n")
    with pytest.raises(ValueError, match="no word"):
        Hunspell(tmp_path / "x.dic")
