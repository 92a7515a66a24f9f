"""Jaccard identities, groups of near copies, core and lone entries; three notions of the same tokenizer."""

import json

import numpy as np
import pytest
from audited_tokenizers import SENTENCES, byte_level, sentencepiece, word_piece
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab
from tokenry.tokenization.families import (
    families,
    grouped_by_similarity,
    jaccard_matrix,
    merge_agreement,
    merge_order,
    pair_rows,
)

_SETS = st.lists(st.frozensets(st.binary(max_size=1), max_size=12), min_size=2, max_size=4)


def permuted(vocab: Vocab) -> Vocab:
    """The same entries and merges with other ids."""
    spec = json.loads(json.dumps(vocab.spec))
    entries = spec["model"]["vocab"]
    plain = [t for t in entries if t != "<|endoftext|>"]
    ids = [entries[t] for t in plain]
    entries.update(zip(plain, ids[::-1], strict=True))
    return Vocab.from_spec(spec, {}, "permuted")


@given(_SETS)
def test_jaccard_identities(sets):
    matrix = jaccard_matrix(sets)
    assert np.array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 1).all()
    union = frozenset().union(*sets)
    if union:
        assert jaccard_matrix([sets[0], union])[0, 1] == len(sets[0]) / len(union)


def test_groups_by_average_linkage():
    similarity = np.array([[1, 0.97, 0.3], [0.97, 1, 0.3], [0.3, 0.3, 1]])
    assert grouped_by_similarity(similarity) == [[0, 1], [2]]
    assert grouped_by_similarity(similarity, alike=0.98) == [[0], [1], [2]]
    assert grouped_by_similarity(similarity, alike=0.3) == [[0, 1, 2]]
    assert grouped_by_similarity(np.eye(1)) == [[0]]
    with pytest.raises(ValueError, match="alike"):
        grouped_by_similarity(similarity, alike=2)


def test_copies_with_other_ids_are_one_group_and_the_rest_stand_alone():
    vocab = byte_level()
    others = [sentencepiece(), word_piece()]
    report = families([vocab, permuted(vocab), *others], names=["a", "b", "c", "d"])
    assert report.facts["n_groups"] == 3
    assert report.tables["groups"].column("members").to_pylist()[0] == ["a", "b"]
    sets = [set(v.index) for v in (vocab, *others)]
    assert report.facts["union_tokens"] == len(set().union(*sets))
    assert report.facts["core_tokens"] == len(set.intersection(*sets))
    entries = {row["tokenizer"]: row for row in report.tables["entries"].to_pylist()}
    assert entries["a"]["only_here"] == entries["b"]["only_here"] == 0
    assert entries["d"]["only_here"] == len(sets[2] - sets[0] - sets[1])


def test_the_tables_of_classes_and_scripts_are_shares_of_each_vocabulary():
    report = families([byte_level(), sentencepiece(), word_piece()], names=["a", "b", "c"])
    table = report.tables["classes"].to_pylist()
    assert [row["tokenizer"] for row in table] == ["a", "b", "c", "union"]
    for row in table:
        assert sum(value for name, value in row.items() if name not in ("tokenizer", "size")) == pytest.approx(1)
    scripts = report.tables["scripts"].to_pydict()
    for name, row in zip(("a", "b", "c", "union"), table, strict=True):
        letters = row["char_alpha"] + row["spaced_alpha"] + row["inner_alpha"]
        assert sum(scripts[name]) == pytest.approx(letters)


def test_three_notions_of_the_same():
    vocab = byte_level()
    [other, longer] = pair_rows([vocab, permuted(vocab)], ["a", "b"], probes=SENTENCES) + pair_rows(
        [vocab, byte_level(300)], ["a", "c"], probes=SENTENCES
    )
    assert (other["same_token_set"], other["same_ids"], other["same_cut"]) == (True, False, True)
    assert other["merge_order"] == 1
    assert (longer["same_token_set"], longer["same_ids"]) == (False, False)
    assert not longer["same_cut"]
    assert longer["same_cut_low"] <= longer["same_cut_share"] <= longer["same_cut_high"]
    [itself] = pair_rows([vocab, vocab], ["a", "b"])
    assert itself["same_ids"]
    assert "same_cut" not in itself


def test_merges_in_reverse_order_disagree():
    order = merge_order(byte_level())
    reverse = {pair: -place for pair, place in order.items()}
    assert merge_agreement(order, reverse) == -1
    assert merge_agreement({}, order) is None


def test_one_tokenizer_and_twice_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two"):
        families([byte_level()])
    with pytest.raises(ValueError, match="different"):
        families([byte_level(), byte_level()], names=["a", "a"])


@pytest.mark.slow  # opens three production vocabularies
def test_gpt2_under_two_names_is_one_group(shared_data):
    """r50k is GPT-2; p50k adds runs of spaces and is practically the same; cl100k is another."""
    folder = shared_data / "tokenizers" / "openai"
    report = families([folder / f"{name}_base.tiktoken.xz" for name in ("r50k", "p50k", "cl100k")])
    assert report.tables["groups"].column("members").to_pylist() == [["r50k", "p50k"], ["cl100k"]]
