"""The pool as a tokenizer of transformers: batches, words, padding, and rows for an encoder."""

import numpy as np
import pytest
from concept_samples import DISEASES, DRUGS, base_vocab

from tokenry.tokenization.concept_tokenizer import PoolTokenizer
from tokenry.tokenization.concept_vocabularies import Choice, Concepts, build_concepts, mean_rows

pytest.importorskip("transformers")
TEXTS = ["The patient with nephropathy took Rituximab.", "it's fine"]


@pytest.fixture(scope="module")
def concepts() -> Concepts:
    choice = Choice(sizes={"drug": 60, "disease": 60})
    return build_concepts(base_vocab(), {"drug": DRUGS, "disease": DISEASES}, choice=choice, rule="min_tokens")


@pytest.fixture(scope="module")
def tokenizer(concepts) -> PoolTokenizer:
    return PoolTokenizer(concepts.pool)


def test_a_batch_holds_what_the_pool_chose_between_the_special_tokens(tokenizer):
    batch = tokenizer(TEXTS, return_offsets_mapping=True)
    for i, text in enumerate(TEXTS):
        made = tokenizer.pool.encode(text)
        assert batch["input_ids"][i] == [tokenizer.cls_token_id, *made.ids, tokenizer.sep_token_id]
        assert batch["offset_mapping"][i] == [(0, 0), *made.offsets, (0, 0)]
        assert batch.word_ids(i) == [None, *made.word_ids, None]
        assert len(batch["attention_mask"][i]) == len(batch["input_ids"][i])


def test_the_base_everywhere_is_the_plain_tokenizer(concepts):
    from dataclasses import replace

    from tokenry.models.lm import tokenizer_of

    pool = replace(concepts.pool, threshold=0.0)
    plain = tokenizer_of(pool.base)(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
    own = PoolTokenizer(pool)(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
    for i in range(len(TEXTS)):
        assert own["input_ids"][i] == plain["input_ids"][i]
        assert own["offset_mapping"][i] == plain["offset_mapping"][i]
        assert own.word_ids(i) == plain.word_ids(i)


def test_padding_and_tensors_come_as_from_the_library(tokenizer):
    batch = tokenizer(TEXTS, padding=True, return_tensors="np")
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, batch["attention_mask"].sum(1).max())
    assert (batch["input_ids"][batch["attention_mask"] == 0] == tokenizer.pad_token_id).all()
    assert len(batch.word_ids(1)) == batch["input_ids"].shape[1]


def test_given_words_are_numbered_as_given_although_the_pool_cuts_punctuation_off(tokenizer):
    words = ["it's", "nephropathy,", "fine."]
    batch = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
    found = batch.word_ids()
    joined = " ".join(words)
    for number, (start, end) in zip(found[1:-1], batch["offset_mapping"][1:-1], strict=True):
        assert joined[start:end] in words[number]
    assert sorted(set(found[1:-1])) == [0, 1, 2]


def test_truncation_keeps_the_special_tokens(tokenizer):
    short = tokenizer(TEXTS, truncation=True, max_length=5)
    assert all(len(ids) <= 5 and ids[-1] == tokenizer.sep_token_id for ids in short["input_ids"])


def test_a_collator_for_labels_pads_it(tokenizer):
    from transformers import DataCollatorForTokenClassification

    batch = tokenizer(TEXTS)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": [0] * len(ids)}
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    made = DataCollatorForTokenClassification(tokenizer)(rows)
    assert made["input_ids"].shape == made["labels"].shape
    assert (made["labels"][made["attention_mask"] == 0] == -100).all()


def test_something_else_than_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match="need a text or a list of texts"):
        tokenizer([1, 2])


def test_a_plan_of_pieces_makes_the_rows_the_pool_came_with(concepts):
    from tokenry.transplant import new_rows, plan

    pool = concepts.pool
    rows = np.random.default_rng(0).standard_normal((pool.base.size, 8)).astype(np.float32)
    made, _ = new_rows(plan(pool.base, pool.vocab, method="pieces", pieces=concepts.pieces), rows)
    expected = mean_rows(pool.base.size, concepts.pieces).apply(rows)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    np.testing.assert_array_equal(made[: pool.base.size], rows)
