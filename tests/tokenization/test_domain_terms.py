"""Terms: published segmentations, costs by hand, groups, files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.tokenization.counting import count
from tokenry.tokenization.domain_terms import read_terms, term_costs, terms
from tokenry.tokenization.train import train


@pytest.mark.slow  # opens a vocabulary of 200,000
def test_published_costs_of_legal_terms_with_gpt_4o(shared_data):
    """arXiv 2503.17247: "certiorari" is 3 tokens for GPT-4o, "42 U.S.C. § 1983" is 9."""
    vocab = Vocab.open(next((shared_data / "tokenizers" / "openai").glob("o200k*")))
    costs = term_costs(vocab, [("certiorari", "legal"), ("42 U.S.C. § 1983", "legal")])
    assert [len(ids) for ids in costs.bare] == [3, 9]


def test_published_ratios_have_a_base():
    """US Code: 14.4 % fewer tokens a character than GPT-4o, "17 %" only relative to their own; 8.1 % in all."""
    assert round(1 - 0.3181 / 0.3716, 3) == 0.144
    assert round(0.3716 / 0.3181 - 1, 2) == 0.17
    assert round(1 - 642_954 / 699_305, 3) == 0.081


def test_terms_are_counted_alone_and_behind_a_space_without_special_tokens():
    vocab = train(["habeas corpus " * 50, "x habeas"], size=272)
    costs = term_costs(vocab, [("habeas", "a"), ("habeas corpus", "a"), ("zq", "b")])
    encode = vocab.backend.encode
    assert [list(ids) for ids in costs.spaced] == [
        encode(" " + term, add_special_tokens=False).ids for term in costs.terms
    ]
    assert [list(ids) for ids in costs.bare] == [encode(term, add_special_tokens=False).ids for term in costs.terms]
    assert costs.mean(group="b").value == len(costs.spaced[2])
    assert costs.mean(spaced=False).n == 3
    assert costs.single_share(group="a").value == sum(len(ids) == 1 for ids in costs.spaced[:2]) / 2


def test_the_lens_gives_groups_terms_and_tokens_a_character(tmp_path):
    file = tmp_path / "terms.tsv"
    file.write_text("# domain\nonce upon\tstory\nlittle girl\tstory\ncertiorari\tlegal\ncertiorari\tlegal\nplain\n")
    assert read_terms(file)[-1] == ("plain", "terms")
    counts = count(Vocab.open(demo_model()), [("Once upon a time.", ""), ("A little girl.", "")])
    found = terms(counts, terms=str(file))
    assert found.facts["n_terms"] == 4
    assert found.facts["tokens_per_character"].value == pytest.approx(counts.n_tokens / counts.characters_D.sum())
    rows = dict(zip(found.tables["term_groups"]["group"], found.tables["term_groups"]["tokens_per_term"], strict=True))
    assert rows["legal"] > rows["story"], "a model of stories knows no law"
    assert found.tables["terms"]["term"][0] == "certiorari"
    assert found.warnings


def test_terms_that_were_trained_on_cost_less():
    """Effect: the same sizes, one text with the terms and one without."""
    some = ["certiorari", "habeas corpus", "estoppel", "mens rea", "voir dire"]
    law, other = (
        [(" ".join(words) + " ") * 40] for words in (some, ["zebra", "window", "orange", "butter", "marmalade"])
    )
    costs = [term_costs(train(text, size=290), [(t, "") for t in some]).mean().value for text in (law, other)]
    assert costs[0] * 2 < costs[1]


SMALL = train(["abba baab ab. §"], size=262, min_count=1)


@given(st.lists(st.text("ab §.", min_size=1, max_size=9), min_size=1, max_size=5))
def test_no_term_costs_less_than_one_token_or_more_than_its_bytes(some):
    costs = term_costs(SMALL, [(term, "") for term in some])
    for term, bare, spaced in zip(some, costs.bare, costs.spaced, strict=True):
        assert 1 <= len(bare) <= len(term.encode())
        assert 1 <= len(spaced) <= len(term.encode()) + 1


def test_bad_lists_are_named(tmp_path):
    file = tmp_path / "terms.txt"
    file.write_text("\n# none\n")
    with pytest.raises(ValueError, match="no term"):
        read_terms(file)
    file.write_text("x" * 400)
    with pytest.raises(ValueError, match="400 characters"):
        read_terms(file)
    with pytest.raises(ValueError, match="--terms"):
        terms(count(Vocab.open(demo_model()), [("a", "")]))


def test_the_audit_takes_the_lenses_with_their_material(tmp_path, capsys):
    from tokenry.cli import main

    (tmp_path / "terms.tsv").write_text("little girl\tstory\ncertiorari\tlegal\n")
    (tmp_path / "pairs.tsv").write_text("once upon a time\tonce up0n a time\n")
    (tmp_path / "words.txt").write_text("once\nupon\ntime\ngirl\n")
    (tmp_path / "gold.tsv").write_text("girls\tgirl|s\nplayed\tplay|ed\n")
    (tmp_path / "text.txt").write_text("Once upon a time a little girl played.\n")
    material = ["--terms", "terms.tsv", "--pairs", "pairs.tsv", "--lexicon", "words.txt", "--gold", "gold.tsv"]
    given = [str(tmp_path / one) if "." in one else one for one in material]
    lenses = [part for name in ("terms", "noise", "morphology", "undertrained") for part in ("--lens", name)]
    with pytest.raises(SystemExit) as stopped:
        main(["tokenizer", "audit", str(demo_model()), "--text", str(tmp_path / "text.txt"), *lenses, *given,
              "--model", str(demo_model()), "--json"])  # fmt: skip
    assert not stopped.value.code
    facts = Report.from_json(capsys.readouterr().out).facts
    assert facts["n_terms"] == 2
    assert facts["noise_edits"] == 1
    assert facts["gold_words"] == 2
    assert facts["valid_type"].n == facts["word_types"]
    assert facts["known_unused"] > 50
