"""Packed documents come apart into the ids that the tokenizer gives, whatever the order, the rows and the workers."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.shards import read_shard
from tokenry.core.vocab import Vocab
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.packing import Packing, pack_corpus, unpack
from tokenry.corpora.units import Reading
from tokenry.data import demo_model

ONE = EmbeddedEngine(workers=1)
TEXTS = ["Once upon a time.", None, "the end", "", "a </s> b", "über 漢字 \U0001f600", "x" * 300, "the end"]


@pytest.fixture(scope="module")
def vocab():
    return Vocab.open(demo_model())


def documents(folder, texts, *, files=2):
    folder.mkdir(exist_ok=True)
    for part in range(files):
        rows = [json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(texts) if n % files == part]
        (folder / f"{part}.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return folder


def files_of(folder):
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*")
            if one.is_file() and one.name != "run.json"}  # fmt: skip


@settings(max_examples=6)
@given(
    st.lists(st.text(max_size=20), min_size=1, max_size=7),
    st.sampled_from(["eos", "bos", "none"]),
    st.booleans(),
    st.integers(1, 40),
    st.none() | st.integers(2, 9),
)
def test_unpacking_gives_the_ids_of_every_document(tmp_path_factory, vocab, texts, ends, shuffled, size, length):
    folder = tmp_path_factory.mktemp("pack")
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    packing = Packing(ends if ends in vocab.specials else "none", shuffled, size, length)
    pack_corpus(documents(folder / "docs", texts), folder / "out", tokenizer=vocab, packing=packing, engine=ONE)
    expected = [
        (f"d{n}", ids.tolist()) for n, ids in enumerate(vocab.encode(texts, plain=True)) if texts[n] and len(ids)
    ]
    found = [(name, ids.tolist()) for name, ids in unpack(folder / "out")]
    assert sorted(found) == sorted(expected)


def test_the_arrays_are_what_the_library_reads_and_the_manifest_says_whose_they_are(tmp_path, vocab):
    report = pack_corpus(documents(tmp_path / "docs", TEXTS), tmp_path / "out", tokenizer=vocab, engine=ONE)
    assert (report.facts["documents"], report.facts["without a text"]) == (6, 2)
    assert report.warnings == ["2 documents without a text are left out."]
    ids = np.load(tmp_path / "out" / "shard-00000" / "ids.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    eos = vocab.specials["eos"]
    assert (ids == eos).sum() == 6  # no document writes its own end, though one says </s>
    record = json.loads((tmp_path / "out" / "packed.json").read_text())
    assert record["tokens"] == len(ids) == report.facts["tokens"]
    assert (record["eos"], record["bos"], record["vocabulary"]["fingerprint"]) == (eos, None, vocab.fingerprint)
    assert Vocab.open(str(tmp_path / "out" / "tokenizer")).encode(["the end"])[0].tolist() == (
        vocab.encode(["the end"])[0].tolist()
    )
    names = pq.read_table(tmp_path / "out" / "shard-00000" / "documents.parquet").to_pylist()
    assert {row["id"] for row in names} == {"d0", "d2", "d4", "d5", "d6", "d7"}
    assert {row["source"] for row in names} == {"0", "1"}
    matched = Packing(special=True)
    pack_corpus(documents(tmp_path / "docs", TEXTS), tmp_path / "two", tokenizer=vocab, packing=matched, engine=ONE)
    assert (np.load(tmp_path / "two" / "shard-00000" / "ids.npy") == eos).sum() == 7


def test_the_order_is_that_of_the_corpus_or_of_the_seed(tmp_path, vocab):
    docs = documents(tmp_path / "docs", [f"number {n}" for n in range(40)], files=1)
    orders = {}
    for name, packing in {"plain": Packing(shuffled=False), "one": Packing(seed=1), "two": Packing(seed=2)}.items():
        pack_corpus(docs, tmp_path / name, tokenizer=vocab, packing=packing, engine=ONE)
        orders[name] = [one for one, _ in unpack(tmp_path / name)]
    assert orders["plain"] == [f"d{n}" for n in range(40)]
    assert sorted(orders["one"]) == sorted(orders["two"]) == sorted(orders["plain"])
    assert len({tuple(order) for order in orders.values()}) == 3


@pytest.mark.slow  # starts two processes
def test_two_workers_write_the_same_bytes(tmp_path, vocab):
    docs = documents(tmp_path / "docs", TEXTS * 5, files=3)
    for name, engine in {"one": ONE, "two": EmbeddedEngine(workers=2)}.items():
        pack_corpus(docs, tmp_path / name, tokenizer=vocab, packing=Packing(shard_tokens=100), engine=engine)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(files_of(tmp_path / "one")) > 6


def test_a_run_that_was_cut_off_goes_on_and_leaves_no_scratch(tmp_path, vocab, monkeypatch):
    docs = documents(tmp_path / "docs", TEXTS)
    pack_corpus(docs, tmp_path / "whole", tokenizer=vocab, engine=ONE)

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tokenry.corpora.packing._write_shards", broken)
    with pytest.raises(KeyboardInterrupt):
        pack_corpus(docs, tmp_path / "cut", tokenizer=vocab, engine=ONE)
    assert not (tmp_path / "cut").exists()
    monkeypatch.undo()
    monkeypatch.setattr("tokenry.corpora.packing.encode_batch", broken)  # what is encoded stays encoded
    pack_corpus(docs, tmp_path / "cut", tokenizer=vocab, engine=ONE)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "cut")
    assert not list(tmp_path.glob(".*packing"))


def test_training_draws_from_the_shards_what_it_draws_from_memory(tmp_path, vocab):
    from tokenry.models.batches import PackedShards, draw, pack

    texts = [f"Story {n}. " + "the cat sat on the mat " * (n % 4) for n in range(30)]
    for ends, length in (("eos", 16), ("both", 7)):
        out = tmp_path / ends
        packing = Packing(ends, shuffled=False, length=length)
        pack_corpus(documents(tmp_path / "docs", texts, files=1), out, tokenizer=vocab, packing=packing, engine=ONE)
        shards = PackedShards(out)
        bos = vocab.specials["bos"] if ends == "both" else None
        packs = pack(vocab.encode(texts), length=length, bos=bos, eos=vocab.specials["eos"])
        assert len(shards) == len(packs)
        for isolate in (False, True):
            one, other = (draw(held, batch_size=5, seed=3, isolate=isolate) for held in (shards, packs))
            for step in range(8):
                ours, theirs = one(step), other(step)
                assert ours.keys() == theirs.keys()
                assert all((ours[name] == theirs[name]).all() for name in ours)
    pack_corpus(tmp_path / "docs", tmp_path / "many", tokenizer=vocab, packing=Packing(shard_tokens=60), engine=ONE)
    many = PackedShards(tmp_path / "many", length=16)
    taken = many.take(np.arange(len(many)))
    whole = np.concatenate([read_shard(one)[0] for one in sorted((tmp_path / "many").glob("shard-*"))])
    np.testing.assert_array_equal(taken.ids[taken.learned], whole)
    owners = taken.documents[taken.learned]
    assert (np.diff(owners) >= 0).all()
    assert owners[-1] == 29
    with pytest.raises(ValueError, match="no sequence length"):
        PackedShards(tmp_path / "many")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"ends": "eso"}, "need one of eos"), ({"length": 1}, "rows of at least"), ({"shard_tokens": 0}, "at least 1")],
)
def test_a_packing_that_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Packing(**settings)


def test_a_vocabulary_without_such_an_end_is_told_before_the_work(tmp_path):
    from tokenizers import Tokenizer, models

    bare = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match=r"has no eos token .*--ends"):
        pack_corpus(documents(tmp_path / "docs", ["a"]), tmp_path / "out", tokenizer=bare, engine=ONE)
    assert not list(tmp_path.glob("*out*"))


def test_broken_rows_are_counted(tmp_path, vocab):
    docs = documents(tmp_path / "docs", TEXTS)
    with (docs / "0.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(ValueError, match=r"0\.jsonl"):
        pack_corpus(docs, tmp_path / "out", tokenizer=vocab, engine=ONE)
    report = pack_corpus(docs, tmp_path / "out", tokenizer=vocab, reading=Reading(skip_bad=True), engine=ONE)
    assert report.facts["broken rows"] == 1


def test_the_verb_packs_and_says_how_much(tmp_path):
    docs = documents(tmp_path / "docs", TEXTS)
    typed = ["corpus", "pack", str(docs), "--tokenizer", str(demo_model()), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*typed, "--length", "32", "--shard-tokens", "1k", "--workers", "1"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)["facts"]
    assert facts["documents"] == 6
    assert np.load(tmp_path / "out" / "shard-00000" / "ids.npy").shape[1] == 32
    assert sum(len(ids) + 1 for _, ids in unpack(tmp_path / "out")) == facts["tokens"]
