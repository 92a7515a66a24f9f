"""Losses of documents are those of one plain pass, however the documents are batched and cut into windows."""

import functools
import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.corpora.losses import Windows, document_losses, document_nats, losses_of, read_losses
from tokenry.data import demo_model

TEXTS = [
    "Once upon a time there was a dog.",
    "",
    "The dog ran to the tree. " * 6,
    "Lily said hello to the big red ball.",
]


@functools.cache
def tiny(seed=0):
    from tokenry.models.lm import LM
    from tokenry.models.tiny import tiny_llama

    return tiny_llama(LM.open(demo_model()).vocab, width=16, layers=1, heads=2, spread=0.3, seed=seed)


def plain(lm, text):
    """Nats of each token from one pass of the model over the whole text, by the library's own cross-entropy."""
    import torch

    ids = torch.tensor([[lm.start, *lm.vocab.encode([text])[0].tolist()]])
    if ids.shape[1] == 1:
        return np.zeros(0)
    with torch.inference_mode():
        logits = lm.model(input_ids=ids).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").numpy()


def test_a_batch_is_the_plain_pass_of_each():
    lm = tiny()
    nats, tokens = document_nats(lm, TEXTS)
    for text, total, n in zip(TEXTS, nats, tokens, strict=True):
        alone = plain(lm, text)
        assert total == pytest.approx(alone.sum(), rel=1e-5, abs=1e-6)
        assert n == len(alone)


def test_the_library_says_the_same():
    import torch

    lm = tiny()
    ids = torch.tensor([[lm.start, *lm.vocab.encode([TEXTS[0]])[0].tolist()]])
    with torch.inference_mode():
        mean = float(lm.model(input_ids=ids, labels=ids).loss)
    assert document_nats(lm, TEXTS[:1])[0][0] == pytest.approx(mean * (ids.shape[1] - 1), rel=1e-5)


def test_a_stride_of_one_gives_every_token_all_the_context_there_is():
    lm, text, context = tiny(), TEXTS[2], 12
    ids = lm.vocab.encode([text])[0]
    # Each token after the first window is the last of a window of its own.
    expected = sum(
        plain_ids(lm, ids[max(0, at + 1 - (context - 1)) : at + 1])[-1] if at >= context - 1 else plain(lm, text)[at]
        for at in range(len(ids))
    )
    found, n = document_nats(lm, [text], windows=Windows(context=context, stride=1))
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert n[0] == len(ids)


def plain_ids(lm, ids):
    import torch

    rows = torch.tensor([[lm.start, *ids.tolist()]])
    with torch.inference_mode():
        logits = lm.model(input_ids=rows).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, rows[0, 1:], reduction="none").numpy()


@pytest.mark.parametrize("stride", [None, 1, 3, 11, 99])
def test_every_token_is_scored_once_with_the_context_that_was_asked_for(stride):
    from tokenry.models.scoring import windows

    ids, context = np.arange(100), 12
    seen = np.zeros(100, int)
    for window in windows(ids, start=7, context=context, stride=stride):
        assert len(window.ids) <= context
        seen[window.place : window.place + window.n_scored] += 1
        before = len(window.ids) - window.n_scored  # the start token counts
        assert window.place == 0 or before >= context - min(stride or 6, context - 1)
    assert (seen == 1).all()


def test_one_window_is_the_plain_pass_whatever_the_stride():
    lm = tiny()
    whole = document_nats(lm, TEXTS)[0]
    np.testing.assert_allclose(document_nats(lm, TEXTS, windows=Windows(stride=1))[0], whole)
    with pytest.raises(ValueError, match="need 2"):
        document_nats(lm, TEXTS, windows=Windows(context=1))


def test_a_batch_of_none_has_the_same_columns():
    batch = pa.RecordBatch.from_pylist([{"id": "a", "text": "x"}, {"id": "b", "text": None}])
    made = losses_of(batch, tiny(), name="m", windows=Windows())
    assert made.column("loss.m.nats")[1].as_py() is None
    assert losses_of(batch.slice(0, 0), tiny(), name="m", windows=Windows()).schema == made.schema


def test_losses_by_the_verb_go_on_with_another_model(tmp_path):
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"text": text, "source": "s"}) + "\n" for text in [*TEXTS, None]))
    for seed in (0, 1):
        tiny(seed).save(tmp_path / f"m{seed}")
    typed = ["corpus", "losses", str(docs), "--out", str(tmp_path / "losses"), "-q", "--json"]
    run = CliRunner().invoke(app, [*typed, "--model", f"one={tmp_path / 'm0'}"])
    assert run.exit_code == 0, run.output
    run = CliRunner().invoke(app, [*typed, "--model", f"one={tmp_path / 'm0'}", "--model", f"two={tmp_path / 'm1'}"])
    assert run.exit_code == 0, run.output
    made = read_losses(tmp_path / "losses")
    assert made.models == ["one", "two"]
    for place, seed in enumerate((0, 1)):
        np.testing.assert_allclose(made.nats_DN[:4, place], document_nats(tiny(seed), TEXTS)[0], rtol=1e-5)
    assert np.isnan(made.nats_DN[4]).all()
    assert made.chars_D.tolist() == [*map(len, TEXTS), 0]
    assert np.isnan(made.bits()[1]).all()  # no characters
    assert made.bits(shortest=35)[0, 0] != made.bits(shortest=10)[0, 0]
    with pytest.raises(ValueError, match="Did you mean 'two'"):
        read_losses(tmp_path / "losses", ["twe"])
    with pytest.raises(FileNotFoundError, match="corpus losses"):
        read_losses(tmp_path)
    refused = pytest.raises(ValueError, match="other documents, models or settings")
    with refused:
        document_losses(docs, {"one": tmp_path / "m0"}, tmp_path / "losses", windows=Windows(context=8))
    (tmp_path / "m0" / "model.safetensors").write_bytes((tmp_path / "m1" / "model.safetensors").read_bytes())
    with refused:  # a model that was trained further in the same folder
        document_losses(docs, {"one": tmp_path / "m0"}, tmp_path / "losses")
    docs.write_text(docs.read_text().replace("dog", "cat"))
    with refused:  # documents of the same size
        document_losses(docs, {"two": tmp_path / "m1"}, tmp_path / "losses")
    with pytest.raises(ValueError, match="lower case"):
        document_losses(docs, {"One": tmp_path / "m0"}, tmp_path / "x")
