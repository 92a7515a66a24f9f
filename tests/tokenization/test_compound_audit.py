"""Hard and easy compounds, and scores on gold, worked out by hand."""

import json

import pytest
from trained_vocabularies import fiction, small

from tokenry.core.vocab import Vocab
from tokenry.tokenization.audit import audit
from tokenry.tokenization.compound_audit import compounds, crossings, read_compounds, score_decompounders
from tokenry.tokenization.counting import count
from tokenry.tokenization.train import train

GOLD = "Haustür\tHaus|tür\nArbeitsplatz\tArbeits platz\nBlume\t\nGarten\n"


@pytest.fixture
def gold(tmp_path):
    """Two compounds, two simple words."""
    path = tmp_path / "gold.tsv"
    path.write_text(GOLD, encoding="utf-8")
    return path


def test_gold_is_read_in_its_several_forms(tmp_path):
    path = tmp_path / "gold.tsv"
    path.write_text(
        "Haustür\tHaus|tür\nbridesmaid\tbride @@maid\t001\nundo\tun @@do\t010\ncat\tcat\t000\nab\ta|b|c\t001\n\n",
        encoding="utf-8",
    )
    gold = read_compounds(path)
    assert gold.words == ("Haustür", "bridesmaid", "cat")
    assert gold.cuts == ((4,), (6,), ())
    assert gold.skipped == 2
    (tmp_path / "empty.tsv").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no word"):
        read_compounds(tmp_path / "empty.tsv")
    with pytest.raises(FileNotFoundError):
        read_compounds(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes("Haustür\tHaus|tür".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_compounds(tmp_path / "latin.tsv")


@pytest.mark.filterwarnings("ignore:.*nothing more to learn")
def test_a_compound_is_hard_when_a_boundary_lies_inside_a_token(gold):
    text = ["in Haustür Arbeitsplatz Blume Garten"] * 50
    whole = train(text, size=400)  # every word becomes one token
    letters = train(text, size=300, kind="character")
    met = crossings(whole, read_compounds(gold))
    assert met.tokens_W.tolist() == [1, 1, 1, 1]
    assert met.crossed_W.tolist() == [1, 1, 0, 0]
    facts = met.findings().facts
    assert facts["compounds.hard_share"].value == 1.0
    assert facts["compounds.single_token_share"].value == 1.0
    assert facts["compounds.simple_words_broken_share"].value == 0.0
    assert facts["compounds.leak_rate"].value == 1.0
    facts = crossings(letters, read_compounds(gold)).findings().facts
    assert facts["compounds.hard_share"].value == 0.0
    assert facts["compounds.simple_words_broken_share"].value == 1.0
    assert facts["compounds.tokens_each"].value == pytest.approx((len("▁Haustür") + len("▁Arbeitsplatz")) / 2)


@pytest.mark.filterwarnings("ignore:.*nothing more to learn")
def test_words_a_tokenizer_cannot_spell_are_left_out_loudly(gold):
    uncased = train(["haus garten blume"] * 20, size=60, kind="wordpiece")
    findings = crossings(uncased, read_compounds(gold)).findings()
    assert findings.facts["compounds.n"] == 0
    assert "left out" in findings.warnings[0]


def test_the_audit_takes_the_lens_with_its_gold(gold):
    report = audit(
        small(), fiction(5), lenses=["tokenry.tokenization.compound_audit:compounds"], material={"gold": gold}
    )
    assert report.facts["compounds.n"] == 2
    counted = count(small(), [(text, "") for text in fiction(5)])
    assert compounds(counted, gold=gold).facts == compounds(counted, gold=read_compounds(gold)).facts


def test_scores_on_gold_are_those_of_the_definition(gold):
    cut_all = lambda words: [tuple(range(2, len(word), 2)) for word in words]  # noqa: E731
    report = score_decompounders(
        read_compounds(gold), {"right": lambda _: [(4,), (7,), (), ()], "never": lambda words: [()] * 4, "all": cut_all}
    )
    facts = report.facts
    assert [facts[f"{name}.exact"].value for name in ("right", "never", "all")] == [1.0, 0.5, 0.0]
    assert [facts[f"{name}.compounds"].value for name in ("right", "never", "all")] == [1.0, 0.0, 0.0]
    assert [facts[f"{name}.simple"].value for name in ("right", "never", "all")] == [1.0, 1.0, 0.0]
    assert facts["all.cut_recall"].value == 0.5  # Haus|tür at 4; Arbeits|platz at 7 is odd
    assert facts["all.cut_recall"].n == 4  # over words, whose cuts hang together
    assert json.loads(report.to_json())["tables"]
    with pytest.raises(ValueError, match="no decompounder"):
        score_decompounders(read_compounds(gold), {})


def test_a_vocabulary_opened_from_a_folder_is_judged_alike(gold, tmp_path):
    small().to_hf(tmp_path / "t")
    first, second = (crossings(v, read_compounds(gold)) for v in (small(), Vocab.open(tmp_path / "t")))
    assert first.crossed_W.tolist() == second.crossed_W.tolist()
