"""Counts by pieces equal what the library says of whole documents."""

import numpy as np
import pytest
from audited_tokenizers import MAKERS, SENTENCES, byte_level, made_documents, sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.core.splitting import spaced_words
from tokenry.core.vocab import Vocab
from tokenry.tokenization import counting, pieces, word_counting
from tokenry.tokenization.counting import BROKEN, NORMALISED, SAME, AddedLiterals, count, encode_words

DOCUMENTS = made_documents(60)


@pytest.fixture(scope="module", params=list(MAKERS))
def vocab(request) -> Vocab:
    return MAKERS[request.param]()


def _by_library(vocab: Vocab, texts: list[str]) -> list[list[int]]:
    return [e.ids for e in vocab.backend.encode_batch(texts, add_special_tokens=False)]


def test_tokens_of_each_document_and_each_id_equal_the_library(vocab):
    counts = count(vocab, DOCUMENTS)
    ids = _by_library(vocab, [text for text, _ in DOCUMENTS])
    assert counts.tokens_D.tolist() == [len(i) for i in ids]
    assert counts.tokens_V.tolist() == np.bincount(np.concatenate(ids).astype(int), minlength=vocab.size).tolist()
    assert counts.bytes_D.tolist() == [len(text.encode()) for text, _ in DOCUMENTS]
    assert [counts.sources[s] for s in counts.source_D] == [source for _, source in DOCUMENTS]


def test_round_trips_are_those_of_the_library(vocab):
    counts = count(vocab, DOCUMENTS)
    back = vocab.backend.decode_batch(_by_library(vocab, [t for t, _ in DOCUMENTS]), skip_special_tokens=False)
    failed = [text != decoded for (text, _), decoded in zip(DOCUMENTS, back, strict=True)]
    assert (counts.round_trip_D != SAME).tolist() == failed


def test_words_are_counted_and_encoded_as_they_stand(vocab):
    counts = count(vocab, DOCUMENTS)
    for d, (text, _) in enumerate(DOCUMENTS):
        lengths = [len(ids) for ids in encode_words(vocab, spaced_words(text))]
        assert counts.words_D[d] == len(lengths)
        assert counts.word_tokens_D[d] == sum(lengths)
        assert counts.whole_words_D[d] == sum(n == 1 for n in lengths)


def test_small_buffers_and_forgetful_tables_change_nothing(vocab, monkeypatch):
    whole = count(vocab, DOCUMENTS)
    monkeypatch.setattr(counting, "_FLUSH_AT", 7)
    monkeypatch.setattr(word_counting, "_FORGET_AT", 5)
    monkeypatch.setattr(pieces, "_FORGET_AT", 5)
    in_parts = count(vocab, DOCUMENTS)
    for name in ("tokens_D", "words_D", "word_tokens_D", "whole_words_D", "round_trip_D", "whole_D", "tokens_V"):
        assert getattr(in_parts, name).tolist() == getattr(whole, name).tolist(), name
    assert in_parts.script_bytes == whole.script_bytes
    assert in_parts.script_tokens == whole.script_tokens
    assert in_parts.losses == whole.losses


def test_script_totals_are_a_partition_of_the_pieces(vocab):
    counts = count(vocab, DOCUMENTS)
    assert sum(counts.script_tokens.values()) == counts.tokens_D[~counts.whole_D].sum()
    if vocab.family == "byte-level" and vocab.backend.normalizer is None:
        assert sum(counts.script_bytes.values()) == counts.bytes_D[~counts.whole_D].sum()


@settings(max_examples=40)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text_counts_as_the_library_counts_it(texts):
    for vocab in _kept():
        counts = count(vocab, [(text, "") for text in [*texts, "end"]])
        assert counts.tokens_D.tolist() == [len(ids) for ids in _by_library(vocab, [*texts, "end"])]


_KEPT: list[Vocab] = []


def _kept() -> list[Vocab]:
    if not _KEPT:
        _KEPT.extend([byte_level(), sentencepiece()])
    return _KEPT


def test_a_normaliser_is_told_from_a_loss():
    vocab = MAKERS["byte-level NFC"]()
    counts = count(vocab, [("e\u0301", ""), ("é", ""), ("a\u0323\u0301", "")])
    assert counts.round_trip_D.tolist() == [NORMALISED, SAME, NORMALISED]
    cased = count(MAKERS["word-piece"](), [("Hello   World", ""), ("the dog", "")])
    assert cased.round_trip_D[0] == BROKEN
    document, _, text, back = cased.losses[0]
    assert (document, text) == (0, "Hello   World")
    assert text != back


def test_words_keep_their_space_and_get_no_dummy_one():
    vocab = sentencepiece()
    spaced, bare = encode_words(vocab, [" the", "the"])
    assert vocab.decode_bytes(spaced) == b" the"
    assert vocab.decode_bytes(bare) == b"the"


def test_documents_with_the_literal_of_an_added_token_go_through_the_library_whole():
    vocab = byte_level()
    counts = count(vocab, [("a <|endoftext|> b", ""), ("a <|endof b", "")])
    assert counts.whole_D.tolist() == [True, False]
    assert counts.tokens_V[vocab.backend.token_to_id("<|endoftext|>")] == 1


def test_no_literal_of_an_added_token_is_missed():
    for make in MAKERS.values():
        vocab = make()
        literals = AddedLiterals(vocab)
        for token in vocab.spec["added_tokens"]:
            assert literals.may_be_in(f"some {token['content']} text")
        assert not any(literals.may_be_in(text) for text in SENTENCES)


def test_nothing_to_count_is_refused():
    with pytest.raises(ValueError, match="no document"):
        count(byte_level(), [])


def test_what_was_not_asked_for_is_not_counted():
    counts = count(byte_level(), DOCUMENTS, words=False, round_trip=False)
    assert counts.words_D.sum() == counts.word_tokens_D.sum() == counts.round_trip_D.sum() == 0
    assert len(counts.words_D) == len(DOCUMENTS)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("ab</s> \n", max_size=6) | st.sampled_from(["</s>", "<unk>", "a</s>b"]), max_size=300))
def test_texts_without_added_tokens_are_those_that_hold_none(vocab, texts):
    literals = AddedLiterals(vocab)
    assert literals.without(texts) == [text for text in texts if not literals.may_be_in(text)]
