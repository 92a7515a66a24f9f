"""Models on merged batches: nothing merged changes nothing, nor does padding; labels fall where they belong."""

import numpy as np
import pytest
import torch
from small_models import small_model

from small_vocabularies import ENGLISH, byte_level
from tokenry.transplant.dynamic import merge_batch, prompt_pairs
from tokenry.transplant.dynamic_lm import (
    continue_prompt,
    model_inputs,
    piece_labels,
    run_model,
    score_continuations,
    truncated,
)
from tokenry.transplant.dynamic_merges import merge_segmented
from tokenry.transplant.dynamic_rows import PieceRows
from tokenry.transplant.dynamic_segments import segment_words

TEXTS = [ENGLISH[0][:40], "sea", ENGLISH[3][:25]]


def encoder(kind: str = "bert"):
    import transformers as tf

    vocab = byte_level()
    torch.manual_seed(0)
    shape = {"vocab_size": vocab.size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 32, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.5}
    config, model = {
        "bert": (tf.BertConfig, tf.BertForSequenceClassification),
        "roberta": (tf.RobertaConfig, tf.RobertaForSequenceClassification),
        "tagger": (tf.BertConfig, tf.BertForTokenClassification),
    }[kind]
    return model(config(**shape, num_labels=3)).eval(), vocab


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neox", "phi", "gemma"])
def test_without_merges_a_decoder_is_the_ordinary_model(family):
    lm = small_model(family, byte_level())
    batch = merge_batch(lm.vocab, TEXTS, reduction=0.0)
    with torch.inference_mode():
        for left in (False, True):
            out = run_model(batch, PieceRows(lm.model, lm.vocab), left=left).logits
            for row, ids in enumerate(batch.source.ids):
                plain = lm.model(input_ids=torch.from_numpy(ids)[None]).logits[0]
                place = slice(-len(ids), None) if left else slice(0, len(ids))
                torch.testing.assert_close(out[row, place], plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_without_merges_an_encoder_is_the_ordinary_model(kind):
    model, vocab = encoder(kind)
    batch = merge_batch(vocab, [TEXTS[0]], max_merges=0)
    with torch.inference_mode():
        ours = run_model(batch, PieceRows(model, vocab)).logits
        torch.testing.assert_close(ours, model(input_ids=torch.from_numpy(batch.source.ids[0])[None]).logits)


def test_padding_and_company_do_not_change_a_text_that_is_merged_alike():
    model, vocab = encoder()
    rows = PieceRows(model, vocab)
    whole = merge_batch(vocab, TEXTS)
    with torch.inference_mode():
        together = run_model(whole, rows).logits
        for row, text in enumerate(TEXTS):  # everything merged: no text depends on the others
            alone = run_model(merge_batch(vocab, [text]), rows).logits[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


def test_the_label_of_a_word_stands_at_its_first_piece():
    model, vocab = encoder("tagger")
    sentences, labels = [["the", "unseenwordxyz", "cat"], ["shells"]], [[0, 1, 2], [1]]
    for reduction in (0.0, 0.5, 1.0):
        batch = merge_segmented(vocab, segment_words(vocab, sentences), reduction=reduction)
        found = piece_labels(batch, labels)
        assert [row[row >= 0].tolist() for row in found] == labels
        assert found.shape == (2, max(map(len, batch.pieces)))
        out = run_model(batch, PieceRows(model, vocab), labels=found)
        assert torch.isfinite(out.loss)
    assert found.tolist() == [[0, 1, 2], [1, -100, -100]]
    with pytest.raises(ValueError, match="one label a word"):
        piece_labels(batch, [[0], [1]])


def test_unmerged_prompts_score_as_the_model_scores_the_text():
    lm = small_model("llama", byte_level())
    pairs = [("the cat sat", " on the mat"), ("she sells", " sea"), ("a", " b")]
    run = score_continuations(lm, pairs, batch_size=2)
    for (prompt, tail), nats in zip(pairs, run.scores.nats, strict=True):
        n_tail = len(lm.vocab.encode([tail])[0])
        assert nats == pytest.approx(lm.nll([prompt + tail])[0][-n_tail:].sum(), rel=1e-4)
    assert run.reduction == 0
    assert run.scores.n_bytes.tolist() == [11, 4, 2]
    assert [len(row) for row in run.choices] == run.scores.n_tokens.tolist()


def test_merging_touches_the_prompt_alone_and_counts_its_tokens():
    lm = small_model("llama", byte_level())
    pairs = [(ENGLISH[3][:40], ENGLISH[3][40:50]), (ENGLISH[0][:30], " dogs")]
    plain, merged = (score_continuations(lm, pairs, reduction=r) for r in (0.0, 1.0))
    assert merged.reduction == 1
    assert (merged.n_after < plain.n_after).all()
    assert (merged.scores.n_tokens == plain.scores.n_tokens).all()
    assert not np.allclose(merged.scores.nats, plain.scores.nats)
    fixed = score_continuations(lm, pairs, merges=[])
    np.testing.assert_allclose(fixed.scores.nats, plain.scores.nats, rtol=1e-5)
    with pytest.raises(ValueError, match="control"):
        score_continuations(lm, pairs, control="half")
    with pytest.raises(ValueError, match="positions"):
        score_continuations(lm, [("the cat " * 40, " dog")])


def test_a_truncated_prompt_has_the_length_of_the_merged_one():
    lm = small_model("llama", byte_level("english", 340, ("<|end|>",)))
    batch = merge_batch(lm.vocab, TEXTS, reduction=0.6)
    cut = truncated(batch)
    assert [len(ids) for ids in cut.pieces] == [len(ids) for ids in batch.pieces]
    for ids, whole in zip(cut.pieces, batch.source.ids, strict=True):
        assert ids.tolist() == whole[len(whole) - len(ids) :].tolist()
    assert model_inputs(cut, PieceRows(lm.model, lm.vocab))["inputs_embeds"].shape[1] == max(map(len, cut.pieces))


def test_a_prompt_read_unmerged_is_continued_as_by_the_library():
    lm = small_model("llama", byte_level())
    whole = lm.generate("the cat", max_new_tokens=6)
    assert "the cat" + continue_prompt(lm, "the cat", max_new_tokens=6, reduction=0.0) == whole
    assert isinstance(continue_prompt(lm, ENGLISH[0][:40], max_new_tokens=3, temperature=1.0), str)
    with pytest.raises(ValueError, match="at least 1"):
        continue_prompt(lm, "a", max_new_tokens=0)


def test_prompts_and_continuations_are_the_document_cut_at_white_space():
    documents = ["once upon a time there was a girl " * 5, "", "word", "two words"]
    pairs = prompt_pairs(documents, 60)
    assert len(pairs) == 2
    for (prompt, tail), document in zip(pairs, (documents[0], documents[3]), strict=True):
        assert document.startswith(prompt + tail)
        assert tail[0].isspace()
        assert len(prompt.encode()) <= 60
    with pytest.raises(ValueError, match="long enough"):
        prompt_pairs(["word"], 60)
