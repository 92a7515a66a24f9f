"""Any number of tokenizers on one text: each side equals its audit, changes are paired, languages lie side by side."""

import json

import pytest
from audited_tokenizers import SENTENCES, byte_level, made_documents, sentencepiece, word_piece
from test_families import permuted

from tokenry.core.report import Report
from tokenry.tokenization.audit import audit
from tokenry.tokenization.comparing import compare

DOCUMENTS = [{"text": text, "source": source} for text, source in made_documents(40)]


def test_a_tokenizer_trained_on_a_text_fits_it_better_and_compare_says_so():
    rows = [{"text": " ".join(SENTENCES[:2]), "source": "s"}] * 30
    report = compare([byte_level(300), byte_level(600)], rows, names=["small", "large"])
    assert report.facts["bytes_per_token.large"].value > report.facts["bytes_per_token.small"].value
    assert report.facts["bytes_per_token.change.large"].low > 0
    assert "large needs" in report.verdict
    assert "fewer tokens than small" in report.verdict
    assert report.headline[0].outcome == "better"


def test_every_side_equals_its_own_audit():
    vocabs = {"a": byte_level(), "b": sentencepiece(), "c": word_piece()}
    report = compare(list(vocabs.values()), iter(DOCUMENTS), names=list(vocabs))
    for name, vocab in vocabs.items():
        alone = audit(vocab, DOCUMENTS, lenses=["compression", "words", "round_trip", "evenness"]).facts
        for fact in ("n_tokens", "bytes_per_token", "tokens_per_word", "round_trip_failures", "renyi_efficiency"):
            one = alone[fact].value if fact == "renyi_efficiency" else alone[fact]
            assert report.facts[f"{fact}.{name}"] == one, (name, fact)
    assert not report.headline  # of three, none is the one before
    assert [row["tokenizer"] for row in report.tables["entries"].to_pylist()] == ["a", "b", "c"]
    assert report.tables["pairs"].num_rows == 3
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_sources_add_up_to_the_whole():
    report = compare([byte_level(), sentencepiece()], DOCUMENTS, names=["a", "b"])
    table = report.tables["sources"].to_pydict()
    assert sum(table["bytes"]) == report.facts["n_bytes"]
    assert sum(table["tokens a"]) == report.facts["n_tokens.a"]


def test_the_reference_may_be_any_of_them_or_one_more():
    vocabs = [byte_level(), sentencepiece(), word_piece()]
    last = compare(vocabs, DOCUMENTS, names=["a", "b", "c"], reference="c")
    assert last.facts["reference"] == "c"
    assert last.facts["normalised_sequence_length.c"].value == 1
    ratio = last.facts["n_tokens.a"] / last.facts["n_tokens.c"]
    assert last.facts["normalised_sequence_length.a"].value == pytest.approx(ratio)
    more = compare(vocabs[:1], DOCUMENTS, names=["a"], reference=vocabs[1])
    assert more.facts["reference"] == "reference"
    assert more.facts["n_tokenizers"] == 2


def test_permuted_ids_are_one_token_set_and_one_cut_and_not_one_vocabulary():
    vocab = byte_level()
    report = compare([vocab, permuted(vocab)], DOCUMENTS)
    [pair] = report.tables["pairs"].to_pylist()
    assert (pair["jaccard"], pair["same_token_set"], pair["same_ids"], pair["same_cut"]) == (1, True, False, True)
    assert report.facts["n_groups"] == 1
    assert "equally many" in report.verdict


def test_line_aligned_languages_give_the_parity_table(tmp_path):
    lines = {"eng_Latn": SENTENCES[0], "deu_Latn": SENTENCES[1], "rus_Cyrl": SENTENCES[2]}
    for code, sentence in lines.items():
        words = sentence.split(" ")
        text = "\n".join(" ".join(words[: i % len(words) + 1]) for i in range(12))
        (tmp_path / f"{code}.devtest").write_text(text + "\n", encoding="utf-8")
    vocabs = [byte_level(300), byte_level(600)]
    report = compare(vocabs, tmp_path, names=["small", "large"])
    assert report.facts["n_documents"] == 36
    assert report.facts["parity.pivot"] == "eng_Latn"
    premium = {(r["tokenizer"], r["language"]): r for r in report.tables["premiums"].to_pylist()}
    alone = audit(vocabs[0], tmp_path, lenses=["parity"], material={"parallel": tmp_path}).tables["parity"].to_pylist()
    for row in alone:
        assert premium["small", row["language"]] == {"tokenizer": "small"} | row
    # The first letters of a text cut by bytes: Cyrillic takes two bytes a letter, and the small one learned less of it.
    assert premium["small", "rus_Cyrl"]["premium"] > premium["large", "rus_Cyrl"]["premium"] > 0.5
    assert len({len(sample.rows) for sample in report.samples}) == 1
    with_given = compare(vocabs, DOCUMENTS, names=["small", "large"], parallel=tmp_path)
    assert with_given.tables["premiums"].equals(report.tables["premiums"])


def test_fewer_than_two_and_no_text_are_refused():
    with pytest.raises(ValueError, match="two"):
        compare([byte_level()], DOCUMENTS)
    with pytest.raises(ValueError, match="no token"):
        compare([byte_level(), byte_level()], ["", ""])
    with pytest.raises(ValueError, match="names"):
        compare([byte_level(), byte_level()], DOCUMENTS, names=["a"])


def test_the_verb_compares_three_and_writes_the_page(tmp_path, capsys):
    from tokenry.cli import main
    from tokenry.data import demo_model

    for name, size in (("small", 300), ("large", 600)):
        byte_level(size).to_hf(tmp_path / name)
    text = tmp_path / "pages.jsonl"
    text.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS), encoding="utf-8")
    command = ["tokenizer", "compare", *(str(tmp_path / n) for n in ("small", "large")), str(demo_model())]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--text", str(text), "--json", "--out", str(tmp_path / "page")])
    assert not stop.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["reference"] == "small"
    assert facts["normalised_sequence_length.large"]["value"] < 1
    assert {path.name for path in (tmp_path / "page").iterdir()} >= {"index.html", "report.html", "report.json"}


def test_the_verb_lays_vocabularies_side_by_side_without_text(tmp_path, capsys):
    from tokenry.cli import main

    for name, size in (("small", 300), ("large", 600)):
        byte_level(size).to_hf(tmp_path / name)
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "families", str(tmp_path / "small"), str(tmp_path / "large"), "--json"])
    assert not stop.value.code
    assert json.loads(capsys.readouterr().out)["facts"]["n_groups"] == 2
