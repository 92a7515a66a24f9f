"""Dynamic tokenization as a whole: merging a batch, its report, its verb."""

import json
from itertools import islice

import numpy as np
import pytest
from typer.testing import CliRunner

from small_vocabularies import ENGLISH, byte_level
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.transplant.dynamic import distinct_new, draw_reduction, learn_merges, merge_batch, profile


def test_a_batch_is_merged_to_one_token_a_word():
    vocab = byte_level()
    batch = merge_batch(vocab, ["the cat sat on another mat"])
    every = [*vocab.tokens, *batch.new]
    assert [every[i] for i in batch.pieces[0]] == [b"the", b" cat", b" sat", b" on", b" another", b" mat"]
    assert batch.shorter_by > 0
    assert merge_batch(vocab, ["the cat"], max_merges=0).shorter_by == 0


def test_learned_merges_make_batches_repeatable():
    vocab = byte_level(size=280)
    merges = learn_merges(vocab, ENGLISH, max_merges=25)
    assert len(merges) == 25
    one, two = (merge_batch(vocab, texts, merges=merges) for texts in ([ENGLISH[0]], [ENGLISH[2], ENGLISH[0]]))
    assert one.n_after == len(two.pieces[1])


def test_levels_are_drawn_as_asked():
    rng = np.random.default_rng(0)
    uniform = [draw_reduction(rng) for _ in range(2000)]
    assert abs(np.mean(uniform) - 0.5) < 4 / np.sqrt(12 * 2000)  # 4 standard errors of a uniform mean
    normal = [draw_reduction(rng, kind="gaussian", mean=0.9) for _ in range(500)]
    assert min(normal) >= 0
    assert max(normal) == 1
    with pytest.raises(ValueError, match="uniform"):
        draw_reduction(rng, kind="beta")


def test_wrong_levels_and_rows_are_refused():
    with pytest.raises(ValueError, match="shares from 0"):
        profile(demo_model(), ["a b"], reductions=[1.5])
    with pytest.raises(ValueError, match="maker of rows"):
        profile(demo_model(), ["a b"], rows="means")


def test_rows_may_be_named_by_module_and_function():
    """The named function is the built-in one, so the outcome is that of "pieces"."""
    one, two = (
        profile(demo_model(), demo_text("stories"), rows=rows, reductions=[1.0], limit=3, prompt_bytes=64)
        for rows in ("pieces", "tokenry.transplant.dynamic_rows:mean_of_pieces")
    )
    assert one.facts["bits_per_byte.change.at_1"] == two.facts["bits_per_byte.change.at_1"]


def test_frequent_merges_need_far_fewer_rows_than_random_ones_for_the_same_length():
    """Every distinct piece wants a row. English repeats its words: the counts of real text, not of chance, decide.

    Half the rows is the margin: of 32 stories most words stand in several.
    """
    vocab = Vocab.open(demo_model())
    stories = [text[:400] for text in islice(texts(demo_text("stories")), 32)]
    frequent = merge_batch(vocab, stories, reduction=0.25)
    random = [merge_batch(vocab, stories, reduction=0.25, rng=np.random.default_rng(s)) for s in range(3)]
    assert all(abs(frequent.reduction - other.reduction) < 0.01 for other in random)
    assert len(distinct_new(frequent)) < 0.5 * min(len(distinct_new(other)) for other in random)


def test_the_verb_reports_tokens_and_bits(tmp_path):
    from tokenry.cli import app

    data = ["--data", str(demo_text("stories")), "--limit", "4", "--prompt-bytes", "128", "--reduction", "1"]
    done = CliRunner().invoke(app, ["transplant", "dynamic", str(demo_model()), *data, "--json", "--out",
                                    str(tmp_path / "r")])  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["kind"] == "transplant-dynamic"
    assert report["facts"]["tokens.before"] > report["facts"]["tokens.floor"]
    assert "bits_per_byte.change.at_1" in report["facts"]
    assert (tmp_path / "r" / "report.md").is_file()
