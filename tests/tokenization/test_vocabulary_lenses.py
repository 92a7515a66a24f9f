"""Dead, doubled and broken entries are those that an exhaustive search finds; tables of the vocabulary add up."""

from itertools import pairwise, product

import pytest
from audited_tokenizers import byte_level, made_documents, sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import count
from tokenry.tokenization.entries import unreachable_entries
from tokenry.tokenization.vocabulary_lenses import classes, dead_merges, doubled_entries, reachability, scripts


def _made(entries: list[str], merges: list[tuple[str, str]]) -> Vocab:
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(entries)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return Vocab.open(tokenizer)


def _merges_that_happen(vocab: Vocab, texts: list[str]) -> set[tuple[int, int]]:
    """Every merge that a plain BPE performs on any of the texts."""
    rank = {(left, right): (i, result) for i, (left, right, result) in enumerate(vocab.merges.tolist())}
    happened = set()
    for text in texts:
        ids = [vocab.index[char.encode()][0] for char in text]
        while True:
            known = [(rank[pair][0], i) for i, pair in enumerate(pairwise(ids)) if pair in rank]
            if not known:
                break
            _, i = min(known)
            happened.add((ids[i], ids[i + 1]))
            ids[i : i + 2] = [rank[ids[i], ids[i + 1]][1]]
    return happened


@pytest.mark.parametrize(
    "merges",
    [
        [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("abc", "a"), ("ab", "ca"), ("c", "a")],
        [("b", "c"), ("a", "b"), ("ab", "c"), ("c", "a"), ("ca", "b"), ("b", "b"), ("a", "bc"), ("c", "ab")],
        [("a", "a"), ("aa", "a"), ("a", "aa"), ("aa", "aa"), ("aaa", "a")],
    ],
)
def test_dead_merges_equal_an_exhaustive_search(merges):
    entries = ["a", "b", "c", *dict.fromkeys(left + right for left, right in merges)]
    vocab = _made(entries, merges)
    texts = ["".join(letters) for n in range(1, 8) for letters in product("abc", repeat=n)]
    happened = _merges_that_happen(vocab, texts)
    assert dead_merges(vocab, unreachable_entries(vocab)) == len(merges) - len(happened)


def test_doubled_entries_have_the_same_bytes_and_byte_pieces_are_none():
    assert not doubled_entries(sentencepiece()), "a byte piece <0x41> beside the letter is how fallback works"
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "Ġa": 1, " a": 2, "[UNK]": 3}, unk_token="[UNK]"))
    vocab = Vocab.open(tokenizer)
    groups = doubled_entries(vocab)
    assert all(len({vocab.tokens[i] for i in ids}) == 1 for ids in groups)


def test_broken_entries_are_counted():
    vocab = _made(["a", "ÐŁÐ", "Ãa", "Ð"], [])
    facts = reachability(count(vocab, [("a", "")])).facts
    assert facts["undecodable_tokens"] == 2
    assert facts["impossible_tokens"] == 1, "a lead byte and a letter fit into no text"


def test_places_are_shares_of_the_vocabulary_and_cjk_is_also_given_together():
    vocab = byte_level()
    table = scripts(count(vocab, made_documents(20))).tables["places"]
    rows = {name: [table[c][i] for c in ("word_start", "inner", "character")] for i, name in enumerate(table["script"])}
    plain = [name for name in rows if name != "CJK together"]
    assert sum(table["entries"][table["script"].index(name)] for name in plain) == pytest.approx(
        sum(sum(rows[name]) for name in plain) * vocab.size
    )


def test_fragments_table_sums_to_the_pieces_that_do_not_decode():
    vocab = byte_level()
    found = classes(count(vocab, made_documents(20)))
    table = found.tables["classes"]
    broken = sum(n for name, n in zip(table["class"], table["entries"], strict=True) if name in ("byte", "fragment"))
    assert sum(found.tables["fragments"]["entries"]) == broken
