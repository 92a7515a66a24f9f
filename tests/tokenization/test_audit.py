"""An audit's facts equal the library's own encoding of the same documents; two tokenizers stand side by side."""

import json
import lzma
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
from audited_tokenizers import MAKERS, SENTENCES, byte_level, made_documents
from tokenizers import Tokenizer

from tokenry.core.intervals import ratio_interval
from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.tokenization.audit import audit
from tokenry.tokenization.lenses import BASE, Findings

DOCUMENTS = [{"text": text, "source": source} for text, source in made_documents(40)]
TEXTS = [row["text"] for row in DOCUMENTS]


@pytest.mark.parametrize("family", list(MAKERS))
def test_exact_facts_equal_the_library(family):
    vocab = MAKERS[family]()
    facts = audit(vocab, DOCUMENTS).facts
    ids = [e.ids for e in vocab.backend.encode_batch(TEXTS, add_special_tokens=False)]
    back = vocab.backend.decode_batch(ids, skip_special_tokens=False)
    n_bytes = [len(text.encode()) for text in TEXTS]
    assert facts["n_documents"] == len(TEXTS)
    assert facts["n_tokens"] == sum(map(len, ids))
    assert facts["n_bytes"] == sum(n_bytes)
    assert facts["round_trip_failures"] == sum(a != b for a, b in zip(TEXTS, back, strict=True))
    expected = ratio_interval(n_bytes, list(map(len, ids)), seed=0, unit="bytes/token")
    assert facts["bytes_per_token"] == expected


def test_the_plain_library_on_the_carried_model_and_text():
    """No class of ours on the expected side: tokenizer.json and JSON lines, as a user has them."""
    with lzma.open(demo_text("fiction"), "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 200)]
    library = Tokenizer.from_file(str(demo_model() / "tokenizer.json"))
    ids = [e.ids for e in library.encode_batch(texts, add_special_tokens=False)]
    facts = audit(demo_model(), demo_text("fiction"), limit=200).facts
    assert facts["n_tokens"] == sum(map(len, ids))
    assert facts["n_bytes"] == sum(len(text.encode()) for text in texts)
    assert facts["round_trip_failures"] == sum(
        library.decode(i, skip_special_tokens=False) != text for i, text in zip(ids, texts, strict=True)
    )


def test_a_report_survives_json_and_has_a_verdict_and_samples():
    report = audit(byte_level(), DOCUMENTS)
    again = Report.from_json(report.to_json())
    assert again.facts["bytes_per_token"] == report.facts["bytes_per_token"]
    assert again.to_json() == report.to_json()
    assert "bytes/token" in report.verdict
    assert report.samples


def test_samples_spell_the_text():
    report = audit(byte_level(), SENTENCES[:1])
    assert "".join(report.samples[0].rows[0][1]) == SENTENCES[0]


def test_the_same_seed_gives_the_same_report():
    assert audit(byte_level(), DOCUMENTS, seed=5).to_json() == audit(byte_level(), DOCUMENTS, seed=5).to_json()


def test_lenses_are_chosen_by_name_and_taken_from_outside():
    report = audit(byte_level(), DOCUMENTS, lenses=["compression"])
    assert "n_tokens" in report.facts
    assert "unreachable_tokens" not in report.facts

    def longest(counts, *, seed):
        return Findings(facts={"longest_document": int(counts.tokens_D.max()), "n_words": int(counts.words_D.sum())})

    own = audit(byte_level(), DOCUMENTS, lenses=[longest])
    assert own.facts["longest_document"] > 0
    assert own.facts["n_words"] > 0
    with pytest.raises(ValueError, match="compression"):
        audit(byte_level(), DOCUMENTS, lenses=["compresion"])


def test_every_base_lens_leaves_something():
    for lens in BASE:
        report = audit(byte_level(), DOCUMENTS, lenses=[lens])
        assert len(report.facts) > 2 or report.tables, lens


def test_no_text_is_refused():
    with pytest.raises(ValueError, match=r"no document|no text|hold"):
        audit(byte_level(), pa.table({"text": pa.array([], pa.string())}))
    with pytest.raises(ValueError, match="no token"):
        audit(byte_level(), ["", ""])


def test_a_limit_and_a_text_column_are_passed_on():
    rows = [{"body": text} for text in SENTENCES]
    assert audit(byte_level(), rows, text="body", limit=3).facts["n_documents"] == 3


def test_null_texts_are_left_out():
    table = pa.table({"text": ["one", None, "two"]})
    assert audit(byte_level(), table).facts["n_documents"] == 2


def test_material_calls_its_lens_and_is_refused_where_nothing_uses_it(tmp_path):
    for code, text in (("en", "the dog\na fox"), ("ru", "ещё\nчаю")):
        (tmp_path / f"{code}.devtest").write_text(text, encoding="utf-8")
    report = audit(byte_level(), DOCUMENTS, material={"parallel": tmp_path})
    assert report.facts["parity.pivot"] == "en"
    assert "parity" in report.tables
    with pytest.raises(ValueError, match="--parallel"):
        audit(byte_level(), DOCUMENTS, lenses=["parity"])
    with pytest.raises(ValueError, match="--affixes"):
        audit(byte_level(), DOCUMENTS, material={"affixes": "a.txt"})
    with pytest.raises(ValueError, match="parallel"):
        audit(byte_level(), DOCUMENTS, material={"paralel": tmp_path})


def test_a_reference_gives_the_normalised_sequence_length():
    small = byte_level(300)
    report = audit(byte_level(), DOCUMENTS, lenses=["compression"], material={"reference": small})
    n = audit(small, DOCUMENTS, lenses=["compression"]).facts["n_tokens"]
    length = report.facts["normalised_sequence_length"]
    assert length.value == pytest.approx(report.facts["n_tokens"] / n)
    assert length.low < length.value < length.high


def test_the_verb_takes_lenses_and_material(tmp_path, capsys):
    from tokenry.cli import main

    text = tmp_path / "pages.txt"
    text.write_text("\n\n".join(SENTENCES), encoding="utf-8")
    command = ["tokenizer", "audit", str(demo_model()), "--text", str(text), "--json"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--lens", "compression", "--reference", str(demo_model())])
    assert not stop.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["normalised_sequence_length"]["value"] == 1
    assert "unreachable_tokens" not in facts
    with pytest.raises(SystemExit) as stop:
        main([*command, "--lens", "parity"])
    assert stop.value.code == 2
    assert "--parallel" in capsys.readouterr().err


def _lines(archive, member) -> list[str]:
    return archive.extractfile(member).read().decode().split("\n")


@pytest.mark.slow  # a production tokenizer of 100,277 entries, opened by us and by tiktoken
def test_production_counts_equal_tiktoken_on_flores(shared_data):
    import tarfile

    tiktoken = pytest.importorskip("tiktoken")
    with tarfile.open(shared_data / "flores200" / "flores200-devtest.tar.xz") as archive:
        members = [
            m for m in archive if any(code in m.name for code in ("eng_Latn", "deu_Latn", "tha_Thai", "shn_Mymr"))
        ]
        texts = {m.name.split("/")[-1]: "\n".join(_lines(archive, m)[:250]) for m in members}
    assert len(texts) == 4
    vocab = Vocab.open(shared_data / "tokenizers" / "openai" / "cl100k_base.tiktoken.xz")
    ranks = {data: i for i, data in enumerate(vocab.tokens) if data is not None and vocab.kinds[i] == 0}
    pattern = vocab.spec["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    oracle = tiktoken.Encoding("cl100k", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    rows = [{"text": line, "source": name} for name, text in texts.items() for line in text.split("\n")]
    report = audit(vocab, rows, lenses=["compression"])
    table = report.tables["sources"].to_pydict()
    for name, n_tokens in zip(table["source"], table["tokens"], strict=True):
        assert n_tokens == sum(len(oracle.encode_ordinary(line)) for line in texts[name].split("\n")), name
    assert np.sum(table["tokens"]) == report.facts["n_tokens"]


def test_the_verb_prints_the_facts_as_json_and_keeps_the_page(tmp_path, capsys):
    from tokenry.cli import main

    text = tmp_path / "pages.jsonl"
    text.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS), encoding="utf-8")
    command = [
        "tokenizer",
        "audit",
        str(demo_model()),
        "--text",
        str(text),
        "--json",
        "--out",
        str(tmp_path / "report"),
    ]
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert not stop.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    expected = audit(demo_model(), DOCUMENTS).facts
    for name in ("n_tokens", "n_bytes", "round_trip_failures"):
        assert facts[name] == expected[name]
    assert facts["bytes_per_token"]["value"] == expected["bytes_per_token"].value
    assert (tmp_path / "report" / "report.html").is_file()
