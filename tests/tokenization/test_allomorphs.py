"""Suffix forms with one id: harmony by hand, exact decoding as a law, what it saves where the truth is known."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.vocab import Vocab
from tokenry.tokenization.allomorphs import FILE, Allomorphs, allomorph_report, resolved, skeleton
from tokenry.tokenization.hybrid import train_hybrid
from tokenry.tokenization.turkish import suffix_forms
from tokenry.tokenization.validators import Lexicon

ROOTS = ["kitap", "ev", "göz", "okul", "kız", "gül", "ağaç", "süt", "yol", "iş", "at", "saat"]
SHAPES = ["lAr", "DA", "DAn", "lIK", "sIz"]
AFFIXES = sorted(
    {form for t in ("lAr", ">dA", ">dAn", "lI~k", "sIz") for form in suffix_forms(t)} - {"lıg", "lig", "lug", "lüg"}
)


def last_of(word: str) -> tuple[str, str]:
    """Last vowel and last letter."""
    return next((c for c in reversed(word) if c in "aeıioöuü"), ""), word[-1:]


def inflected(root: str, shapes: list[str]) -> str:
    """A word by the rules, letter by letter, softening left out (no shape here begins with a vowel)."""
    for shape in shapes:
        root += resolved(shape, *last_of(root), before_vowel=False)
    return root


@pytest.fixture(scope="module")
def made() -> tuple[Allomorphs, list[str]]:
    """A tokenizer of roots and suffix forms, and text by the rules with some exceptions (saatler)."""
    draws = random.Random(0)
    words = [inflected(draws.choice(ROOTS[:-1]), draws.sample(SHAPES, draws.randint(0, 2))) for _ in range(4000)]
    words += ["saatler", "saatlerde", "saatsiz"] * 40
    draws.shuffle(words)
    text = [" ".join(words[i : i + 20]) for i in range(0, len(words), 20)]
    hybrid = train_hybrid(text, Lexicon(ROOTS, affixes=AFFIXES, compose=True, lang="tr"), size=400)
    return Allomorphs.of(hybrid.vocab, AFFIXES), text


@pytest.mark.parametrize(("form", "shape"), [("lar", "lAr"), ("ler", "lAr"), ("dığ", "DIK"), ("tük", "DIK"),
                                             ("ıyor", "Iyor"), ("acak", "AcAK"), ("k", "G"), ("", "")])  # fmt: skip
def test_forms_of_one_suffix_have_one_skeleton(form, shape):
    assert skeleton(form) == shape


@pytest.mark.parametrize(("word", "shape", "form"), [
    ("kitap", "lAr", "lar"), ("ev", "lAr", "ler"), ("kitap", "DA", "ta"), ("ev", "DA", "de"), ("göz", "lIK", "lük"),
    ("okul", "DAn", "dan"), ("süt", "CI", "çü"), ("yol", "CI", "cu"), ("kız", "sIz", "sız"), ("gel", "Iyor", "iyor"),
    ("", "lAr", "lar"),
])  # fmt: skip
def test_the_form_follows_the_last_vowel_and_consonant(word, shape, form):
    assert resolved(shape, *last_of(word), before_vowel=False) == form


def test_the_last_consonant_softens_before_a_vowel():
    assert resolved("AcAK", "e", "l", before_vowel=True) == "eceğ"
    assert resolved("AcAK", "e", "l", before_vowel=False) == "ecek"


@pytest.mark.parametrize("template", ["lAr", ">dA", ">dAn", "sIz", ">cI", "yAcA~k"])
def test_the_analysers_own_forms_are_found_again(template):
    # Every form the grammar can make of a template is what the skeleton resolves to behind some word.
    words = [v + c for v in "aeıioöuü" for c in "tz"]
    for form in suffix_forms(template) - {"yacag", "yeceg"}:
        behind = {resolved(skeleton(form), *last_of(word), before_vowel=b) for word in words for b in (True, False)}
        assert form in behind


TEXTS = st.lists(
    st.one_of(st.sampled_from([*ROOTS, *AFFIXES, " ", "İ", "I", ".", "saatler", "EVLER"]), st.text(max_size=4)),
    max_size=12,
).map("".join)


@given(TEXTS)
@example("saatlerde kitapler evlar")
@example("lar")
def test_every_text_comes_back_as_from_the_tokenizer_below(made, text):
    allomorphs, _ = made
    text = text.encode("utf-8", "ignore").decode()
    below = allomorphs.vocab.encode([text])[0].tolist()
    assert allomorphs.unfold(allomorphs.encode(text)) == below
    assert allomorphs.decode(allomorphs.encode(text)) == allomorphs.vocab.decode(below)


@given(st.data())
def test_any_ids_come_back_and_any_own_ids_decode(made, data):
    allomorphs, _ = made
    ids = data.draw(st.lists(st.integers(0, allomorphs.vocab.size - 1), max_size=20))
    folded = allomorphs.fold(ids)
    assert allomorphs.unfold(folded) == ids
    assert all(0 <= i < allomorphs.size for i in folded)
    written = data.draw(st.lists(st.integers(0, allomorphs.size - 1), max_size=20))
    assert len(allomorphs.unfold(written)) == sum(i < allomorphs.size - allomorphs.n_marks for i in written)


def test_forms_that_harmonise_share_one_id_and_others_carry_a_mark(made):
    allomorphs, _ = made
    n = allomorphs.size - allomorphs.n_marks
    one, other, odd = (allomorphs.encode(word) for word in ("kitaplar", "evler", "saatler"))
    assert allomorphs.encode("ev'ler")[-1] == one[-1]  # behind a name
    assert all(i < n for i in allomorphs.encode("ev'ler"))
    assert one[-1] == other[-1]
    assert all(i < n for i in one + other)
    assert odd[-1] == one[-1]
    assert odd[-2] >= n


def test_it_saves_entries_and_marks_only_the_exceptions(made):
    allomorphs, text = made
    facts = allomorph_report(allomorphs, text).facts
    assert facts["size_below"] - facts["size"] == facts["forms"] - facts["suffixes"] - allomorphs.n_marks > 0
    # The truth: 120 of the words are exceptions; -ler and -siz behind saat break harmony, -de behind -ler does not.
    below = allomorphs.vocab
    n_suffixes = sum(i in allomorphs._class_of for line in text for i in below.encode([line])[0].tolist())
    assert facts["expected_share"].value == pytest.approx(1 - 120 / n_suffixes, abs=1e-9)


def test_it_comes_back_from_its_folder_and_foreign_files_are_refused(made, tmp_path):
    allomorphs, text = made
    with pytest.raises(FileNotFoundError, match="allomorphs"):
        Allomorphs.open(tmp_path)
    allomorphs.vocab.to_hf(tmp_path)
    allomorphs.save(tmp_path)
    opened = Allomorphs.open(tmp_path)
    assert opened.encode(text[0]) == allomorphs.encode(text[0])
    good = (tmp_path / FILE).read_text(encoding="utf-8")
    another = good.replace(allomorphs.vocab.fingerprint, "0")
    for wrong in ("[]", "no json", good.replace('"format": 1', '"format": 2'), '{"format": 1}', another,
                  good.replace('"classes": [', '"classes": [[0, 0], ')):  # fmt: skip
        (tmp_path / FILE).write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match="make it again"):
            Allomorphs.open(tmp_path)
    with pytest.raises(ValueError, match="another tokenizer"):
        allomorphs.unfold([10**6])
    with pytest.raises(ValueError, match="no two"):
        Allomorphs.of(allomorphs.vocab, ["xyz"])


def test_the_verb_writes_them_beside_the_tokenizer(made, tmp_path):
    _, text = made
    (tmp_path / "t.txt").write_text("\n".join(text), encoding="utf-8")
    done = CliRunner().invoke(
        app, ["tokenizer", "hybrid", "--text", str(tmp_path / "t.txt"), "--analyzer", f"{__name__}:validator", "--size",
              "400", "--allomorphs", "--out", str(tmp_path / "h"), "--json", "--quiet"]
    )  # fmt: skip
    assert done.exit_code == 0, done.output + str(done.exception)
    assert Allomorphs.open(tmp_path / "h").decode(Allomorphs.open(tmp_path / "h").encode(text[0])) == text[0]
    assert Vocab.open(tmp_path / "h").size > Allomorphs.open(tmp_path / "h").size


def validator() -> Lexicon:
    """The made language, as a user's own analyser."""
    return Lexicon(ROOTS, affixes=AFFIXES, compose=True, lang="tr")
