"""Scoring a model from a name: bits per byte by source, and the last word of a passage."""

import numpy as np
import pytest
import torch

from tokenry.data import demo_model, demo_text
from tokenry.models.evaluation import evaluate, last_word_accuracy, sample
from tokenry.models.lm import LM


@pytest.fixture(scope="module")
def lm():
    torch.set_num_threads(1)
    return LM.open(demo_model())


def test_facts_equal_the_scores_of_the_model(lm):
    documents = [{"text": "Once upon a time, there was a dog.", "source": "a"}, {"text": "The whale!", "source": "b"}]
    report = evaluate(lm, documents, segment_bytes=256)
    scores = lm.score([d["text"] for d in documents], max_bytes=256)
    assert report.facts["bits_per_byte"].value == pytest.approx(scores.bits_per_byte().value)
    assert report.facts["n_bytes"] == sum(len(d["text"].encode()) for d in documents)
    rows = report.tables["by source"].to_pydict()
    assert rows["source"] == ["a", "b"]
    np.testing.assert_allclose(rows["bits per byte"], scores.nats / np.log(2) / scores.n_bytes)


def test_a_text_without_words_is_refused(lm):
    with pytest.raises(ValueError, match="at least one"):
        evaluate(lm, [{"text": None, "source": "a"}])


def test_a_last_word_counts_when_the_model_would_write_it(lm):
    # The greedy continuation of this opening, which the model was trained to give.
    story = lm.generate("Once upon a time, there was a little", max_new_tokens=3)
    assert story.endswith(" girl")
    assert last_word_accuracy(lm, ["Once upon a time, there was a little girl"]).value == 1
    assert last_word_accuracy(lm, ["Once upon a time, there was a little harpoon"]).value == 0
    both = last_word_accuracy(lm, ["Once upon a time, there was a little girl", "Once upon a time, there was a whale"])
    assert (both.value, both.n) == (0.5, 2)


def test_a_sample_is_reproducible_and_starts_with_its_prompt():
    first = sample(demo_model(), "Tom had", max_new_tokens=8, temperature=1.0, seed=3).facts["text"]
    again = sample(demo_model(), "Tom had", max_new_tokens=8, temperature=1.0, seed=3).facts["text"]
    assert first == again
    assert first.startswith("Tom had")


def test_carried_stories_are_easier_than_carried_fiction(lm):
    easy, hard = (
        evaluate(lm, demo_text(t), reading={"limit": 4}).facts["bits_per_byte"] for t in ("stories", "fiction")
    )
    assert easy.high < hard.low
