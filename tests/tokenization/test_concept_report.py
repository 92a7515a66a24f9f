"""What a pool does on a text, and the verbs that build and look."""

import json

import pytest
from concept_samples import DISEASES, DRUGS, base_vocab

from tokenry.tokenization.concept_report import concept_report, parse_lexicons, parse_sizes
from tokenry.tokenization.concept_vocabularies import Choice, build_concepts

TEXTS = ["The patient took penicillin.", "Nephropathy was given. And the pen.", "for the patient"]


def test_words_are_counted_by_route_and_tokens_before_and_after():
    choice = Choice(sizes={"drug": 40, "disease": 40})
    pool = build_concepts(base_vocab(), {"drug": DRUGS, "disease": DISEASES}, choice=choice, rule="min_tokens").pool
    report = concept_report(pool, TEXTS)
    rows = {row["route"]: row for row in report.tables["routes"].to_pylist()}
    assert rows["drug"]["words"] == rows["disease"]["words"] == 1
    n_words = sum(row["words"] for row in rows.values())
    assert n_words == report.facts["words"]
    base = sum(len(pool.base.backend.encode(t, add_special_tokens=False).ids) for t in TEXTS)
    made = sum(len(pool.encode(text).ids) for text in TEXTS)
    assert report.facts["tokens_per_word.base"].value == pytest.approx(base / n_words)
    assert report.facts["tokens_per_word.pool"].value == pytest.approx(made / n_words)
    assert made < base
    json.loads(report.to_json())
    with pytest.raises(ValueError, match="no word"):
        concept_report(pool, [""])


def test_lexicons_and_sizes_are_read_as_typed(tmp_path):
    (tmp_path / "a.txt").write_text("aspirin\n")
    (tmp_path / "b.txt").write_text("ibuprofen\n")
    assert parse_lexicons([f"{tmp_path}/a.txt:drug", f"{tmp_path}/b.txt:drug"]) == {"drug": ["aspirin", "ibuprofen"]}
    assert parse_sizes("drug=10,disease=3") == {"drug": 10, "disease": 3}
    for wrong in ("drug", "drug=x"):
        with pytest.raises(ValueError, match="TYPE=NUMBER"):
            parse_sizes(wrong)
    with pytest.raises(ValueError, match="FILE:TYPE"):
        parse_lexicons([f"{tmp_path}/a.txt"])


def test_the_verbs_build_a_pool_cut_a_text_and_report(tmp_path, capsys):
    from tokenizers import Tokenizer

    from tokenry.cli import app
    from tokenry.core.tokenmap import TokenMap

    base_vocab().to_hf(tmp_path / "bert")
    (tmp_path / "drugs.txt").write_text("\n".join(DRUGS))
    (tmp_path / "diseases.csv").write_text("id,name\n" + "\n".join(f"{i},{name}" for i, name in enumerate(DISEASES)))
    (tmp_path / "general.txt").write_text("the patient was given the pen and the card for the patient\n")
    (tmp_path / "notes.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    lexicons = ["--lexicon", f"{tmp_path}/drugs.txt:drug", "--lexicon", f"{tmp_path}/diseases.csv:disease"]
    verb = ["tokenizer", "concepts"]
    app([*verb, "build", str(tmp_path / "bert"), *lexicons, "--vocab", "drug=30,disease=30", "--general",
         str(tmp_path / "general.txt"), "--out", str(tmp_path / "pool"), "--json"], standalone_mode=False)  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    facts = told["facts"]
    assert f"{facts['new_ids']} pieces added" in told["verdict"]
    assert [("new ids for the 30 pieces asked" in w) for w in told["warnings"]] == [True] * sum(
        facts[f"new_ids.{name}"] < 30 for name in ("drug", "disease")
    )
    assert facts["new_ids"] == facts["new_ids.drug"] + facts["new_ids.disease"] > 0
    assert TokenMap.load(tmp_path / "pool" / "rows.npz").shape == (facts["vocab_size"], base_vocab().size)
    assert (tmp_path / "pool" / "run.json").is_file()
    assert Tokenizer.from_file(str(tmp_path / "pool" / "tokenizer.json")).get_vocab_size() == facts["vocab_size"]
    app([*verb, "encode", str(tmp_path / "pool"), TEXTS[0], "--rule", "min_tokens", "--json"], standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert shown["facts"]["words"] == 5
    app(
        [*verb, "report", str(tmp_path / "pool"), "--text", str(tmp_path / "notes.jsonl"), "--json"],
        standalone_mode=False,
    )
    assert json.loads(capsys.readouterr().out)["facts"]["documents"] == 3
