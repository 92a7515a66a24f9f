"""Under-trained tokens: those a model never saw rank lowest; rows read without torch; broken files."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.report import Report
from tokenry.core.tables import texts
from tokenry.core.vocab import Kind, Vocab
from tokenry.data import demo_model, demo_text
from tokenry.tokenization.counting import count
from tokenry.tokenization.undertrained import (
    auroc,
    indicators,
    known_unused,
    repeat_chances,
    undertrained,
    undertrained_report,
)
from tokenry.tokenization.weight_rows import embedding_rows


@pytest.fixture(scope="module")
def stories():
    vocab = Vocab.open(demo_model())
    return count(vocab, [(text, "") for text in texts(demo_text("stories"))])


def test_tokens_the_demo_model_never_saw_rank_lowest(stories):
    """stories260K learned English stories; its pieces for other scripts never occurred. Not all of the tokens that the
    sampled text lacks were unseen, so the bound is not 1."""
    vocab = stories.vocab
    found = indicators(vocab, demo_model())
    rest = np.setdiff1d(np.flatnonzero(vocab.kinds <= Kind.BYTE), found.unused)
    unseen, seen = rest[stories.tokens_V[rest] == 0], rest[stories.tokens_V[rest] > 0]
    assert len(unseen) > 100 < len(seen)
    assert auroc(found.values["head_distance"][unseen], found.values["head_distance"][seen]) > 0.98
    # Most of this vocabulary is unused, so its direction is the one that is taken out: the cosine is the worse guide.
    assert 0.7 < auroc(found.values["head_cosine"][unseen], found.values["head_cosine"][seen]) < 0.95


def test_the_lens_lists_candidates_that_the_text_never_uses(stories):
    found = undertrained(stories, model=str(demo_model()))
    assert found.facts["tied_rows"]
    assert found.facts["known_unused"] > 50
    assert found.facts["indicator_auroc"] > 0.85
    assert set(found.tables["undertrained"]["count"]) == {0}
    with pytest.raises(ValueError, match="--model"):
        undertrained(stories)


def test_rows_and_ids_known_to_be_unused_are_found():
    vocab = Vocab.open(demo_model())
    unused = set(known_unused(vocab, vocab.size + 3).tolist())
    assert {vocab.size, vocab.size + 1, vocab.size + 2} < unused
    literals = {vocab.literal(i) for i in unused if i < vocab.size}
    assert {"<0xC0>", "<0xFF>", "<0x41>"} <= literals, "never in UTF-8, and A which is an entry"
    assert "<0xC4>" not in literals


def _model(folder, inputs, head=None, *, dtype="F32"):
    """A checkpoint of one or two matrices."""
    from safetensors.numpy import save_file

    tensors = {"model.embed_tokens.weight": inputs} | ({} if head is None else {"lm_head.weight": head})
    if dtype == "BF16":
        return _bfloat(folder, tensors)
    save_file({name: matrix.astype(np.float32) for name, matrix in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": head is None}))
    return folder


def _bfloat(folder, tensors):
    header, data = {}, b""
    for name, matrix in tensors.items():
        cut = (matrix.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(matrix.shape), "data_offsets": [len(data), len(data) + len(cut)]}
        data += cut
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    return folder


def _planted(seed, *, shrink):
    """Rows of a vocabulary with 30 planted untrained ids: all near one point of usual length, short in the input."""
    rng = np.random.default_rng(seed)
    vocab = Vocab.open(demo_model())
    usual = np.setdiff1d(np.flatnonzero(vocab.kinds <= Kind.BYTE), known_unused(vocab, vocab.size))
    planted = rng.choice(usual, 30, replace=False)
    constant = rng.normal(size=24) * 3
    rows = rng.normal(size=(vocab.size, 24)) + constant
    still = constant + rng.normal(size=24)
    low = np.concatenate([planted, known_unused(vocab, vocab.size)])
    rows[low] = still + rng.normal(size=(len(low), 24)) * 0.01
    inputs = rng.normal(size=(vocab.size, 24))
    inputs[low] *= shrink
    return vocab, rows, inputs, planted, np.setdiff1d(usual, planted)


@pytest.mark.parametrize("seed", range(3))
def test_planted_tokens_come_first_in_tied_and_in_untied_models(tmp_path, seed):
    vocab, rows, inputs, planted, others = _planted(seed, shrink=0.01)
    tied, untied = tmp_path / "tied", tmp_path / "untied"
    tied.mkdir()
    untied.mkdir()
    of_tied = indicators(vocab, _model(tied, rows))
    of_untied = indicators(vocab, _model(untied, inputs, rows))
    for name in ("head_distance", "head_cosine"):
        assert auroc(of_tied.values[name][planted], of_tied.values[name][others]) == 1.0
    assert of_untied.aurocs["input_norm"] > 0.95, "the planted are among the others here"
    assert of_untied.aurocs[of_untied.main] == pytest.approx(max(of_untied.aurocs.values()), abs=0.01)
    assert auroc(of_untied.values["input_norm"][planted], of_untied.values["input_norm"][others]) > 0.999
    # The naive guess: the planted rows of the tied model have the length of any other row, so their rank is anywhere.
    assert auroc(of_tied.values["input_norm"][planted], of_tied.values["input_norm"][others]) < 0.99
    report = undertrained_report(untied, tokenizer=vocab)
    assert set(report.tables["undertrained"]["id"].to_pylist()) <= set(planted.tolist())


def test_one_matrix_without_a_known_unused_id_names_no_candidate(tmp_path):
    """On SmolLM2 the shortest rows are " John" and " Michael": the length alone would accuse the best trained."""
    from tokenry.tokenization.train import train

    vocab = train(
        ["once upon a time there was a little girl"], size=287, specials=["<r1>", "<r2>", "<r3>"], min_count=1
    )
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(vocab.size, 8))
    rows[:3] = rng.normal(size=8) + rng.normal(size=(3, 8)) * 0.01
    none = known_unused(vocab, vocab.size).tolist()
    kept = [i for i in range(vocab.size) if i not in none]
    blind = Vocab.from_spec(_without(vocab.spec, none))
    report = undertrained_report(_model(tmp_path, rows[kept]), tokenizer=blind)
    assert report.facts["undertrained_candidates"] == 0
    assert "--unused" in report.warnings[0]
    told = undertrained_report(tmp_path, tokenizer=blind, unused=[0, 1])
    assert told.facts["known_unused"] == 2
    assert told.facts["undertrained_candidates"] > 0
    with pytest.raises(ValueError, match="outside the model's"):
        undertrained_report(tmp_path, tokenizer=blind, unused=[10**6])


def _without(spec, ids):
    """The tokenizer without some entries, the others moved up."""
    entries = [piece for piece, i in sorted(spec["model"]["vocab"].items(), key=lambda item: item[1]) if i not in ids]
    vocab = {piece: i for i, piece in enumerate(entries)}
    merges = [pair for pair in spec["model"]["merges"] if all(part in vocab for part in (*pair, "".join(pair)))]
    return {**spec, "model": {**spec["model"], "vocab": vocab, "merges": merges}}


def test_bfloat_rows_are_read_as_they_are(tmp_path):
    rows = np.array([[1.0, -2.5, 0.0], [3.0, 0.15625, -1024.0]], np.float32)
    read, head = embedding_rows(_model(tmp_path, rows, dtype="BF16"))
    assert head is None
    assert (read[slice(0, 2)] == rows).all()
    assert sum(block.stop - block.start for block in read.blocks()) == 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_auroc_counts_pairs(low, high):
    pairs = [(a < b) + (a == b) / 2 for a in low for b in high]
    assert auroc(np.array(low), np.array(high)) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.slow  # trains a tiny model: 8 s
def test_a_trained_model_shows_and_cannot_say_what_it_never_saw(tmp_path):
    """Twenty words are kept out of the text of a tiny model; they rank lowest, and cannot be repeated."""
    torch = pytest.importorskip("torch")
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train

    torch.set_num_threads(1)
    some = list(texts(demo_text("fiction"), limit=40))
    vocab = train(some, size=600)
    used = count(vocab, [(text, "") for text in some]).tokens_V
    words = [i for i in np.flatnonzero(used > 8).tolist() if vocab.tokens[i] and vocab.tokens[i].strip().isalpha()]
    kept_out = [i for i in words if len(vocab.tokens[i]) > 3][-20:]
    lines = [line for text in some for line in text.split(". ")]
    lines = [
        line for line, ids in zip(lines, vocab.encode(lines), strict=True) if not set(ids.tolist()) & set(kept_out)
    ]
    lm = trained_tiny(lines, vocab, steps=60, length=40, batch_size=8, seed=0)
    lm.save(tmp_path / "model")
    found = indicators(vocab, tmp_path / "model")
    others = np.setdiff1d(np.array(words), kept_out)
    best = max(found.values, key=lambda name: auroc(found.values[name][kept_out], found.values[name][others]))
    assert auroc(found.values[best][kept_out], found.values[best][others]) > 0.9
    never, often = repeat_chances(tmp_path / "model", kept_out), repeat_chances(tmp_path / "model", words[:20])
    assert np.mean(never) < np.mean(often)


def test_broken_models_are_named(tmp_path):
    vocab = Vocab.open(demo_model())
    with pytest.raises(FileNotFoundError, match="no folder"):
        indicators(vocab, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no safetensors"):
        indicators(vocab, tmp_path)
    with pytest.raises(ValueError, match="rows for a tokenizer"):
        indicators(vocab, _model(tmp_path, np.ones((10, 4))))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match="cut short"):
        indicators(vocab, tmp_path)
    (tmp_path / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"nope")
    with pytest.raises(ValueError, match="no JSON"):
        indicators(vocab, tmp_path)


def test_the_verb_lists_candidates(capsys):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["tokenizer", "undertrained", str(demo_model()), "--json"])
    assert not stopped.value.code
    report = Report.from_json(capsys.readouterr().out)
    assert report.tables["undertrained"].num_rows == report.facts["undertrained_candidates"] > 3
