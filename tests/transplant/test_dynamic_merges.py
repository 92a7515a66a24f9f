"""Batch-level merging: equal to a naive recount, and the laws of its result."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from small_vocabularies import ENGLISH, GERMAN, byte_level, spec_of
from tokenry.core.pretokens import pretokenize
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.dynamic_merges import MergedBatch, merge_segmented
from tokenry.transplant.dynamic_segments import BOUNDARIES, may_join, segment, segment_words

LETTERS = st.text(alphabet="abé中 -.\n", max_size=14)


def bare() -> Vocab:
    """Bytes only, so that everything is left to merge."""
    return byte_level(size=257)


def llama_like() -> Vocab:
    """Metaspace BPE without a pre-tokeniser, as Llama 2: the pre-tokens are runs after spaces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    cutting = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    tokenizer.pre_tokenizer = cutting
    tokenizer.train_from_iterator(ENGLISH, trainer)
    spec = spec_of(tokenizer)
    return Vocab.from_spec({**spec, "pre_tokenizer": None}, {}, "llama-like")


def wordpiece() -> Vocab:
    """As BERT, with [CLS] and [SEP] around one text and between two."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        ENGLISH, trainers.WordPieceTrainer(vocab_size=90, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return Vocab.from_spec(spec_of(tokenizer), {}, "wordpiece")


def unigram() -> Vocab:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        ENGLISH,
        trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False),
    )
    return Vocab.from_spec(spec_of(tokenizer), {}, "unigram")


MADE = {"byte-level": byte_level, "metaspace": llama_like, "wordpiece": wordpiece, "unigram": unigram}


def naive(vocab: Vocab, source, *, boundary: str, steps: int) -> tuple[list[list[bytes]], list[tuple[bytes, bytes]]]:
    """Recount after each merge: rows of (bytes, may join the one before), highest count, then first occurrence."""
    rows = [
        [[vocab.tokens[i], bool(b)] for i, b in zip(ids.tolist(), breaks.tolist(), strict=True)]
        for ids, breaks in zip(source.ids, source.breaks, strict=True)
    ]
    merges = []
    for _ in range(steps):
        pairs = Counter()
        for row in rows:
            for (left, _), (right, is_break) in pairwise(row):
                if not is_break and may_join(left, right, boundary=boundary):
                    pairs[left, right] += 1
        if not pairs:
            break
        best = max(pairs, key=pairs.get)  # among equals the first that was met, as a dict keeps its order
        merges.append(best)
        for place, row in enumerate(rows):
            out = []
            for data, is_break in row:
                if out and not is_break and not out[-1][2] and (out[-1][0], data) == best:
                    out[-1] = [out[-1][0] + data, out[-1][1], True]
                else:
                    out.append([data, is_break, False])
            rows[place] = [[data, is_break] for data, is_break, _ in out]
    return [[data for data, _ in row] for row in rows], merges


def data_of(vocab: Vocab, batch: MergedBatch) -> list[list[bytes]]:
    every = [*vocab.tokens, *batch.new]
    return [[every[i] for i in row.tolist()] for row in batch.pieces]


@settings(max_examples=150)
@given(st.lists(LETTERS, min_size=1, max_size=4), st.integers(0, 12), st.sampled_from(BOUNDARIES))
def test_incremental_merging_is_a_recount_after_every_merge(texts, steps, boundary):
    vocab = bare()
    source = segment(vocab, texts, boundary=boundary)
    batch = merge_segmented(vocab, source, boundary=boundary, max_merges=steps)
    rows, merges = naive(vocab, source, boundary=boundary, steps=steps)
    assert list(batch.merges) == merges
    assert data_of(vocab, batch) == rows


@settings(max_examples=60)
@given(st.lists(LETTERS, min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1), st.sampled_from(BOUNDARIES))
def test_merging_keeps_the_bytes_and_more_reduction_never_means_more_tokens(texts, one, other, boundary):
    vocab = byte_level(size=300)
    source = segment(vocab, texts, boundary=boundary)
    low, high = sorted((one, other))
    few, many = (merge_segmented(vocab, source, boundary=boundary, reduction=r) for r in (low, high))
    assert few.merges == many.merges[: len(few.merges)]
    assert many.n_words <= many.n_after <= few.n_after <= few.n_before
    for batch, wanted in ((few, low), (many, high)):
        assert batch.reduction >= wanted - 1e-9
        assert [b"".join(row).decode() for row in data_of(vocab, batch)] == texts
        for row, spans in zip(batch.pieces, batch.spans, strict=True):
            assert len(spans) == len(row) + 1
            assert (np.diff(spans) > 0).all()


@pytest.mark.parametrize("kind", MADE)
def test_all_merges_leave_one_token_per_pretoken(kind):
    vocab = MADE[kind]()
    texts = [ENGLISH[0], GERMAN[2] if kind == "byte-level" else ENGLISH[2], "shells she sells"]
    batch = merge_segmented(vocab, segment(vocab, texts, specials=False))
    assert [len(row) for row in batch.pieces] == [len(row) for row in pretokenize(texts, vocab)]
    assert batch.reduction == 1
    assert batch.n_after == batch.n_words


@pytest.mark.slow  # opens real vocabularies of 32,000 to 151,000 entries
@pytest.mark.parametrize("name", ["claude", "qwen2.5", "mistral/tokenizer.model.v1.xz"])
def test_real_tokenizers_reach_one_token_per_pretoken_too(name, shared_data):
    place = shared_data / "tokenizers" / name
    vocab = Vocab.open(next(place.glob("*tokenizer.json*")) if place.is_dir() else place)
    texts = ["Привет,  мир! It's 12345", "東京は日本の首都です。", "def f(x):\n    return x  + 1\n\n\nप्रधानमंत्री 👩‍👩‍👧"]
    batch = merge_segmented(vocab, segment(vocab, texts, specials=False))
    assert [len(row) for row in batch.pieces] == [len(row) for row in pretokenize(texts, vocab)]
    assert [b"".join(row).decode() for row in data_of(vocab, batch)] == [
        vocab.decode_bytes(ids).decode() for ids in vocab.encode(texts)
    ]


def test_without_cuts_a_text_of_one_sentence_becomes_one_token():
    vocab = byte_level()
    batch = merge_segmented(vocab, segment(vocab, ["it is 5 o'clock - or  so", "One. Two."], boundary="sentence"),
                            boundary="sentence")  # fmt: skip
    assert [len(row) for row in batch.pieces] == [1, 2]


def test_merging_one_text_learns_what_the_library_learns():
    """The library breaks ties otherwise, so what is compared is the length after as many merges, give or take one."""
    text = " ".join(ENGLISH)
    vocab = bare()
    batch = merge_segmented(vocab, segment(vocab, [text]), max_merges=12)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 12, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    theirs = len(tokenizer.encode(text).ids)
    assert batch.n_before - sum(batch.counts) == batch.n_after
    assert abs(theirs - batch.n_after) <= 1


def test_special_tokens_and_pairs_of_texts_are_never_joined_across():
    vocab = byte_level("english", 340, ("<|end|>",))
    batch = merge_segmented(vocab, segment(vocab, ["the cat<|end|>the cat"]))
    rows = data_of(vocab, batch)[0]
    assert rows == [b"the", b" cat", None, b"the", b" cat"]
    wp = wordpiece()
    pairs = segment(wp, [("the cat", "the dog")])
    joined = merge_segmented(wp, pairs)
    assert sum(vocab is None for vocab in data_of(wp, joined)[0]) == sum(
        wp.kinds[i] == Kind.SPECIAL for i in pairs.ids[0]
    )


def test_repeated_merges_do_not_depend_on_the_batch():
    vocab = byte_level(size=280)
    learned = merge_segmented(vocab, segment(vocab, ENGLISH[:3]), max_merges=30).merges
    alone = merge_segmented(vocab, segment(vocab, [ENGLISH[1]]), merges=learned)
    among = merge_segmented(vocab, segment(vocab, [ENGLISH[4], ENGLISH[1], GERMAN[0]]), merges=learned)
    assert data_of(vocab, alone)[0] == data_of(vocab, among)[1]
    again = merge_segmented(vocab, segment(vocab, ENGLISH[:3]), merges=learned)
    assert again.merges == learned


def test_frequent_pairs_save_more_than_random_pairs_at_equal_merges():
    """With counts n1 >= n2 >= ..., 20 merges of the most frequent pair each save at least the mean over pairs.

    The text is the same 4 times over, so every count is at least 4; random merges mostly hit those minimal counts.
    A factor of 1.5 is far below what the skew of letter pairs gives (English: the commonest pair is over ten times
    the median one), and far above the spread of ten random draws.
    """
    vocab = bare()
    source = segment(vocab, ENGLISH)
    ours = merge_segmented(vocab, source, max_merges=20)
    saved = ours.n_before - ours.n_after
    random = [merge_segmented(vocab, source, max_merges=20, rng=np.random.default_rng(s)) for s in range(10)]
    assert saved > 1.5 * max(b.n_before - b.n_after for b in random)


def test_words_that_are_given_are_never_joined():
    vocab = byte_level(size=280)
    source = segment_words(vocab, [["shells", "sea", "shells-on", "x."]])
    batch = merge_segmented(vocab, source)
    assert data_of(vocab, batch)[0] == [b" shells", b" sea", b" shells-on", b" x."]
    assert source.words[0][batch.spans[0][:-1]].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="empty word"):
        segment_words(vocab, [["a", ""]])


def test_boundaries_differ_as_they_say():
    vocab = bare()
    text = "well-known don't  stop.\n\nNow"
    cut = {
        b: data_of(vocab, merge_segmented(vocab, segment(vocab, [text], boundary=b), boundary=b))[0] for b in BOUNDARIES
    }
    assert b" don't" in cut["word"]
    assert b"well-known" in cut["word_hyphen"]
    assert b" don't" not in cut["word_hyphen"]
    assert b"known" in cut["pretokens"]
    assert all(b"\n\n" not in row for row in (cut["word"], cut["word_hyphen"]))


@pytest.mark.parametrize("bad", [{"reduction": 1.2}, {"max_merges": -1}, {"min_count": 0},
                                 {"merges": [], "reduction": 0.5}])  # fmt: skip
def test_impossible_targets_are_refused(bad):
    vocab = byte_level()
    with pytest.raises(ValueError, match=r"need|Leave"):
        merge_segmented(vocab, segment(vocab, ["a b"]), **bad)
    with pytest.raises(ValueError, match="pretokens"):
        segment(vocab, ["a"], boundary="pretoken")
    with pytest.raises(ValueError, match="list"):
        segment(vocab, "a")


def test_an_empty_batch_and_an_empty_text_are_fine():
    vocab = byte_level()
    assert merge_segmented(vocab, segment(vocab, [])).n_after == 0
    batch = merge_segmented(vocab, segment(vocab, ["", "a"]), reduction=0.5)
    assert [len(row) for row in batch.pieces] == [0, 1]
    assert batch.reduction == 1
