"""The noise lens: shortest edit scripts, boundaries carried over, and the character family that holds still."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.report import Report
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.tokenization.counting import count
from tokenry.tokenization.noise import (
    Block,
    edit_blocks,
    noise,
    noisy_pairs,
    ocr_channel,
    read_pairs,
    stability,
    write_pairs,
)
from tokenry.tokenization.train import train

WORDS = st.text("abcé ", max_size=12)


def _distance(a: str, b: str) -> int:
    table = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        before, table[0] = table[0], i
        for j, other in enumerate(b, 1):
            before, table[j] = table[j], min(table[j] + 1, table[j - 1] + 1, before + (char != other))
    return table[-1]


@given(WORDS, WORDS)
def test_blocks_turn_one_text_into_the_other_by_a_shortest_script(clean, noisy):
    blocks = edit_blocks(clean, noisy)
    made, at, cost = "", 0, 0
    for block in blocks:
        assert block.a > at or not made, "blocks are apart"
        made += clean[at : block.a] + noisy[block.c : block.d]
        assert clean[at : block.a] == noisy[block.c - (block.a - at) : block.c]
        at = block.b
        cost += max(block.b - block.a, block.d - block.c)
    assert made + clean[at:] == noisy
    assert cost <= _distance(clean, noisy), "a block of n and m characters takes at least max(n, m) edits"


def test_blocks_by_hand():
    assert edit_blocks("the", "the") == []
    assert edit_blocks("the", "thc") == [Block(2, 3, 2, 3)]
    assert edit_blocks("modern", "modem") == [Block(4, 6, 4, 5)]
    assert edit_blocks("", "ab") == [Block(0, 0, 0, 2)]


def _characters() -> Vocab:
    return train(["abcdefghij klmnopqrstuvwxyz"], kind="character", size=287)


def test_a_character_tokenizer_keeps_every_boundary_and_loses_one_token_an_edit():
    """Each substituted letter is one token; nothing else can change."""
    found = stability(_characters(), [("the cat sat", "thc cat szt"), ("abc", "abxc")])
    assert found.edits.tolist() == [2, 1]
    assert found.gone.tolist() == [2, 0]
    assert found.new.tolist() == [2, 1]
    assert found.recut.tolist() == [2, 0]
    assert (found.kept == found.clean).all()
    assert (found.kept == found.noisy).all()
    assert (found.untouched == found.untouched_kept).all()


def test_boundaries_and_tokens_by_hand():
    """Tokens of two letters: "ab|cd|ef"; a letter put in shifts the rest: "ab|xc|de|f"."""
    vocab = _pairs_of_letters()
    found = stability(vocab, [("abcdef", "abxcdef"), ("abcdef", "abcdxf")])
    assert found.clean.tolist() == [2, 2]
    assert found.noisy.tolist() == [3, 2]
    assert found.kept.tolist() == [1, 2], "the boundary at the edit is at one of its edges"
    assert found.gone.tolist() == [2, 1]
    assert found.new.tolist() == [3, 1]
    assert found.recut.tolist() == [4, 2]
    assert found.untouched.tolist() == [3, 2]
    assert found.untouched_kept.tolist() == [1, 2]


def _pairs_of_letters() -> Vocab:
    letters = "abcdefxy"
    entries = {piece: i for i, piece in enumerate([*letters, *(a + b for a in letters for b in letters)])}
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ".."}, "behavior": "Isolated", "invert": False},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": entries, "merges": [[a, b] for a in letters for b in letters]},
    }  # fmt: skip
    return Vocab.from_spec(spec)


@given(st.text("abcdefxy", min_size=1, max_size=14), st.text("abcdefxy", min_size=1, max_size=14))
def test_the_measure_is_bounded_and_perfect_without_noise(clean, noisy):
    found = stability(_pairs_of_letters(), [(clean, noisy), (clean, clean)])
    assert (found.kept <= np.minimum(found.clean, found.noisy)).all()
    assert (found.untouched_kept <= found.untouched).all()
    assert found.edits[1] == found.gone[1] == found.new[1] == 0
    assert found.kept[1] == found.clean[1] == found.noisy[1]


def test_the_channel_errs_at_its_rate_and_the_same_for_one_seed():
    text = "modern clients all deliver " * 400
    rate = 0.05
    noisy = ocr_channel(text, np.random.default_rng(1), rate=rate)
    assert noisy == ocr_channel(text, np.random.default_rng(1), rate=rate)
    n_edits = len(edit_blocks(text[:3000], ocr_channel(text[:3000], np.random.default_rng(1), rate=rate)))
    # 3,000 characters, each spoilt with chance .05; neighbouring errors are one stretch: 150 +- 5 standard deviations
    # of 12, less at most 10 % that meet.
    assert 150 * 0.9 - 60 < n_edits < 150 + 60
    assert ocr_channel(text, np.random.default_rng(1), rate=0.0) == text
    with pytest.raises(ValueError, match="need the chance"):
        ocr_channel(text, np.random.default_rng(1), rate=2)


def test_short_pieces_hold_still_where_long_ones_break():
    """The KL3M claim: pieces of at most three bytes lose fewer tokens an edit, and keep more boundaries."""
    some = list(texts(demo_text("fiction"), limit=60))
    pairs = noisy_pairs(some[:10], rate=0.02)
    big = train(some, size=2500)
    small = train(some, size=1000, max_length=3)
    facts = [noise(count(vocab, [("x", "")]), pairs=pairs).facts for vocab in (big, small)]
    # Paired on the same edits; the intervals themselves are apart.
    assert facts[1]["noise_characters_recut_per_edit"].high < facts[0]["noise_characters_recut_per_edit"].low
    assert facts[1]["noise_tokens_changed_per_edit"].high < facts[0]["noise_tokens_changed_per_edit"].low
    assert facts[1]["noise_boundary_f1"].low > facts[0]["noise_boundary_f1"].high
    assert facts[0]["noise_edits"] == facts[1]["noise_edits"] > 100


def test_pairs_are_written_and_read_and_bad_ones_refused(tmp_path):
    file = tmp_path / "pairs.tsv"
    write_pairs(file, [("clean", "c1ean"), ("same", "same")])
    assert read_pairs(file) == [("clean", "c1ean")]
    (tmp_path / "bad.tsv").write_text("no tab here\n")
    with pytest.raises(ValueError, match="spoil"):
        read_pairs(tmp_path / "bad.tsv")
    with pytest.raises(ValueError, match="--pairs"):
        noise(count(Vocab.open(demo_model()), [("x", "")]))


def test_the_verb_spoils_a_text(tmp_path, capsys):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["tokenizer", "spoil", "--text", str(demo_text("fiction")), "--limit", "3",
              "--out", str(tmp_path / "pairs.tsv"), "--json"])  # fmt: skip
    assert not stopped.value.code
    facts = Report.from_json(capsys.readouterr().out).facts
    assert facts["pairs"] == len(read_pairs(tmp_path / "pairs.tsv"))
    assert facts["edits"] >= facts["pairs"]
