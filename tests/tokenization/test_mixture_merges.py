"""Canonical merges: the order BPE learned them in, whatever the file lists."""

import json
import lzma

import numpy as np
import pytest
from audited_tokenizers import unigram, word_piece
from trained_vocabularies import small

from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture_merges import (
    canonical_merges,
    check_complete,
    excluded_pairs,
    longest_token,
    skipped_merges,
)


def _literals(vocab: Vocab, merges: np.ndarray) -> list[tuple[str, str]]:
    return [(vocab.literal(left), vocab.literal(right)) for left, right, _ in merges.tolist()]


def _with_merges(vocab: Vocab, merges: list[list[str]]) -> Vocab:
    spec = json.loads(json.dumps(vocab.spec))
    spec["model"]["merges"] = merges
    return Vocab.from_spec(spec, name="made")


def _all_splits(vocab: Vocab, *, backwards: bool = False) -> Vocab:
    """The vocabulary as converted from ranks: every split of every token into two known entries."""
    pieces = vocab.spec["model"]["vocab"]
    made = {vocab.literal(i) for i in vocab.merges[:, 2].tolist()}
    rows = []
    for token in sorted(made, key=pieces.get):
        splits = [[token[:k], token[k:]] for k in range(1, len(token)) if token[:k] in pieces and token[k:] in pieces]
        rows += splits[::-1] if backwards else splits
    return _with_merges(vocab, rows)


def test_gpt2_gives_its_published_list_line_for_line(shared_data):
    with lzma.open(shared_data / "tokenizers" / "gpt2" / "vocab.bpe.xz", "rt", encoding="utf-8") as file:
        published = [tuple(line.split(" ")) for line in file.read().split("\n")[1:] if line]
    vocab = Vocab.open(shared_data / "tokenizers" / "gpt2")
    found = canonical_merges(vocab)
    assert _literals(vocab, found.merges) == published
    assert found.n_redundant == 0
    assert not found.unreachable.any()
    assert not found.without_merge
    assert not skipped_merges(vocab, found).any()


def test_ranks_of_gpt2_give_the_same_list(shared_data):
    by_list = Vocab.open(shared_data / "tokenizers" / "gpt2")
    by_rank = Vocab.open(shared_data / "tokenizers" / "openai" / "r50k_base.tiktoken.xz")
    lists = [_literals(v, canonical_merges(v).merges) for v in (by_list, by_rank)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_list_of_all_splits_is_reduced_to_the_merges_that_were_learned(style, backwards):
    vocab = small(style)
    listed = _all_splits(vocab, backwards=backwards)
    found = canonical_merges(listed)
    assert found.n_redundant > 0.2 * len(vocab.merges)
    assert _literals(listed, found.merges) == _literals(vocab, vocab.merges)


def test_of_mirror_images_the_longer_left_part_is_kept():
    pieces = {"a": 0, "aa": 1, "aaa": 2}
    spec = json.loads(json.dumps(small().spec))
    spec["model"] |= {"vocab": pieces, "merges": [["a", "a"], ["a", "aa"], ["aa", "a"]]}
    spec["added_tokens"], spec["post_processor"] = [], None
    vocab = Vocab.from_spec(spec)
    assert _literals(vocab, canonical_merges(vocab).merges) == [("a", "a"), ("aa", "a")]


def test_a_rank_file_with_every_split_agrees_with_encoding_by_rank(shared_data):
    """The rule of the smallest rank list and the last step of encoding by rank are two definitions of one thing."""
    vocab = Vocab.open(shared_data / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    found = canonical_merges(_all_splits(vocab))
    by_token = {made: (left, right) for left, right, made in vocab.merges.tolist()}
    same = [by_token[made] == (left, right) for left, right, made in found.merges.tolist()]
    # Its hand-made runs of spaces stand in the file from the longest to the shortest; there the two may differ.
    assert len(found) == len(vocab.merges)
    assert np.mean(same) > 0.999


def test_a_merge_listed_before_its_part_is_named_unreachable():
    vocab = small()
    pairs = [list(pair) for pair in _literals(vocab, vocab.merges)]
    late = next(row for row, (left, _) in enumerate(pairs) if len(left) > 1)
    moved = _with_merges(vocab, [pairs[late], *pairs[:late], *pairs[late + 1 :]])
    found = canonical_merges(moved)
    assert found.unreachable.tolist() == [True] + [False] * (len(pairs) - 1)


@pytest.mark.parametrize("make", [unigram, word_piece])
def test_kinds_without_merges_are_refused_with_a_way_out(make):
    with pytest.raises(ValueError, match=r"no order of merges.*tokenizer audit"):
        canonical_merges(make())


def test_a_cut_off_list_is_refused_unless_told_how_much_to_use():
    vocab = small()
    half = _with_merges(vocab, [list(pair) for pair in _literals(vocab, vocab.merges)[:200]])
    found = canonical_merges(half)
    with pytest.raises(ValueError, match=r"incomplete.*--merges 200"):
        check_complete(found, n_merges=None, name="made")
    check_complete(found, n_merges=200, name="made")
    assert len(found.without_merge) == len(vocab.merges) - 200


def test_two_tokens_of_one_id_are_refused():
    spec = json.loads(json.dumps(small().spec))
    spec["model"]["vocab"]["@@@"] = 300
    with pytest.raises(ValueError, match="need one entry for an id"):
        canonical_merges(Vocab.from_spec(spec, name="made"))


def test_a_file_of_merges_to_skip_takes_pairs_and_tokens(tmp_path):
    vocab = small()
    found = canonical_merges(vocab)
    pairs = _literals(vocab, found.merges)
    listed = tmp_path / "skip.txt"
    listed.write_text(f"#version: 0.2\n{' '.join(pairs[3])}\n{''.join(pairs[7])}\n", encoding="utf-8")
    assert np.flatnonzero(skipped_merges(vocab, found, listed)).tolist() == [3, 7]
    listed.write_text("no such merge\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        skipped_merges(vocab, found, listed)
    with pytest.raises(FileNotFoundError):
        skipped_merges(vocab, found, tmp_path / "none.txt")
    assert not skipped_merges(vocab, found, None).any()


def test_runs_of_spaces_in_a_sentencepiece_model_are_skipped(shared_data):
    vocab = Vocab.open(shared_data / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    found = canonical_merges(vocab)
    skipped = {vocab.literal(i) for i in found.merges[skipped_merges(vocab, found), 2].tolist()}
    assert {"▁▁", "▁▁▁▁", "▁" * 16} <= skipped
    assert all(set(token) <= {"▁", "\n", "\t"} for token in skipped)


def test_pairs_a_sentencepiece_trainer_never_joins_are_excluded(shared_data):
    vocab = Vocab.open(shared_data / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    found = canonical_merges(vocab)
    ids = vocab.spec["model"]["vocab"]
    assert longest_token(vocab, found) == 16

    barred = [("1", "2"), ("a", "и"), ("<0xE2>", "<0x96>")]  # digits stand alone; two scripts; byte pieces
    open_ = [("▁", "t"), ("t", "h"), ("▁", "и")]
    pairs = np.array([[ids[left], ids[right]] for left, right in barred + open_])
    assert excluded_pairs(vocab, found, pairs, longest=16).tolist() == [True] * 3 + [False] * 3
    assert excluded_pairs(vocab, found, found.merges[:, :2], longest=16).mean() < 0.001


def test_byte_level_pairs_are_excluded_by_length_alone():
    vocab = small()
    found = canonical_merges(vocab)
    assert longest_token(vocab, found) == 0
    assert longest_token(vocab, found, 5) == 5
    assert not excluded_pairs(vocab, found, found.merges[:, :2]).any()
    sizes = np.array([len(vocab.literal(i)) for i in found.merges[:, 2].tolist()])
    assert (excluded_pairs(vocab, found, found.merges[:, :2], longest=4) == (sizes > 4)).all()
