"""Gold segmentations: cuts placed in the written word, boundary scores by hand, laws, real data."""

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab
from tokenry.tokenization.gold_segmentations import (
    GoldWord,
    boundary_scores,
    read_gold,
    surface_cuts,
    token_cuts,
)
from tokenry.tokenization.train import train

CASES = {
    "dogs": ("dog s", (3,)),
    "abbreviating": ("abbreviate ing", (9,)),
    "subsidised": ("subside y ise ed", None),
    "tried": ("try ed", (3,)),
    "undoing": ("un do ing", (2, 4)),
    "world": ("world", ()),
    "running": ("run ing", None),
    "happiness": ("happy ness", (5,)),
    "went": ("go ed", None),
    "világháborúban": ("világ háború ban", (5, 11)),
}


@pytest.mark.parametrize("word", CASES)
def test_morphemes_are_placed_in_the_written_word(word):
    """ "running" has a second n that belongs to neither part: its boundary is in doubt, and so it is left out."""
    morphemes, cuts = CASES[word]
    assert surface_cuts(word, morphemes.split()) == cuts


@given(st.lists(st.text("abé", min_size=1, max_size=4), min_size=1, max_size=4))
def test_morphemes_that_spell_the_word_are_cut_where_they_meet(parts):
    cuts = surface_cuts("".join(parts), parts)
    assert GoldWord("".join(parts), tuple(parts), cuts).parts == tuple(parts)


def _splitting(pieces: list[str]) -> Vocab:
    """A Unigram tokenizer of these pieces and the letters; fewer pieces are better."""
    letters = sorted({c for piece in pieces for c in piece} | {"▁"})
    entries = [["<unk>", 0.0], *([piece, -1.0] for piece in pieces), *([c, -9.0] for c in letters if c not in pieces)]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": space, "post_processor": None, "decoder": space,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": entries, "byte_fallback": False}}  # fmt: skip
    return Vocab.from_spec(spec)


GOLD = [GoldWord("dogs", ("dog", "s"), (3,)), GoldWord("dogged", ("dog", "ed"), (4,)),
        GoldWord("undoing", ("un", "do", "ing"), (2, 4)), GoldWord("cat", ("cat",), ())]  # fmt: skip


def test_boundary_scores_by_hand():
    """Made cuts: dog|s, dog|ged, undo|ing, cat: 3 made, 4 gold, 2 right."""
    vocab = _splitting(["▁dog", "s", "ged", "▁undo", "ing", "▁cat"])
    assert [cuts for cuts, _ in token_cuts(vocab, [word.text for word in GOLD])] == [(3,), (3,), (4,), ()]
    scores = boundary_scores(vocab, GOLD)
    assert scores.precision.value == pytest.approx(2 / 3)
    assert scores.recall.value == pytest.approx(2 / 4)
    assert scores.f1.value == pytest.approx(2 * 2 / 7)
    assert (scores.morphscore.value, scores.morphscore.n) == (1 / 2, 2), "dogs right, dogged wrong, two-cut words out"
    assert scores.words_whole.value == 1 / 4
    assert scores.tokens_per_word == 7 / 4
    assert (scores.stem_kept.value, scores.stem_kept.n) == (0.0, 1), "dogged is not cut at the end of its stem"
    better = boundary_scores(_splitting(["▁dog", "s", "▁dogg", "ed", "▁un", "do", "ing", "▁cat"]), GOLD)
    assert better.f1.value == better.morphscore.value == 1.0


def test_a_stem_is_kept_when_all_its_forms_begin_with_it():
    gold = [GoldWord("dogs", ("dog", "s"), (3,)), GoldWord("doghouse", ("dog", "house"), (3,))]
    assert boundary_scores(_splitting(["▁dog", "s", "house"]), gold).stem_kept.value == 1.0
    assert boundary_scores(_splitting(["▁dog", "▁do", "g", "s", "▁doghouse"]), gold).stem_kept.value == 0.0


def test_letters_alone_recall_everything_and_whole_words_nothing():
    letters = train(["dogs dogged undoing cat"], kind="character", size=272, min_count=1)
    scores = boundary_scores(letters, GOLD)
    assert scores.recall.value == 1.0
    n_inner = sum(len(word.text) - 1 for word in GOLD)
    assert scores.precision.value == pytest.approx(4 / n_inner)
    whole = boundary_scores(_splitting([f"▁{word.text}" for word in GOLD]), GOLD)
    assert whole.recall.value == 0.0
    assert whole.precision is None


def test_gold_files_of_three_kinds_are_read(tmp_path):
    file = tmp_path / "gold.tsv"
    file.write_text("dogs\tdog @@s\t100\nundoing\tun|do|ing\ntried\ttry ed\ndogs\tdo gs\nrunning\trun @@ing\nbad\n")
    assert [word.parts for word in read_gold(file)] == [("dog", "s"), ("un", "do", "ing"), ("tri", "ed")]
    (tmp_path / "none.tsv").write_text("only words\n")
    with pytest.raises(ValueError, match="undoing"):
        read_gold(tmp_path / "none.tsv")


def test_nearly_all_real_gold_words_can_be_placed(shared_data, tmp_path):
    with tarfile.open(shared_data / "morphology-sigmorphon2022" / "segmentation.tar.xz") as archive:
        archive.extract("data/hun.word.test.gold.tsv", tmp_path, filter="data")
    lines = (tmp_path / "data/hun.word.test.gold.tsv").read_text(encoding="utf-8").splitlines()[:3000]
    file = tmp_path / "hun.tsv"
    file.write_text("\n".join(lines), encoding="utf-8")
    gold = read_gold(file)
    assert len(gold) > 0.8 * len(lines)
    assert all("".join(word.parts) == word.text for word in gold)
