"""Stage 2 of decompounding: rules, the split, the loss, and what gold teaches beyond hyphens."""

import json
import random

import numpy as np
import pytest
from compound_examples import ROOTS, STEMS, text_with_hyphens
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.tokenization.compound_audit import CompoundGold, read_compounds
from tokenry.tokenization.compound_network import batches, build, constituent_loss, gap_loss, numbered
from tokenry.tokenization.compound_tuning import (
    _examples,
    compare_stages,
    joined_gold,
    learned_rules,
    rule_of,
    split_by_type,
    tune_decompounder,
)
from tokenry.tokenization.compounds import CARD, Decompounder, decompound, learn_decompounder
from tokenry.tokenization.hyphens import mine_hyphens, word_counts

torch = pytest.importorskip("torch")


def linked(first: str) -> str:
    """How a stem stands before another one: some drop an e, some take an s, some stay."""
    return first[:-1] if first.endswith("e") else first + "s" * (STEMS.index(first) % 2)


def gold_file(path, *, n: int = 260):
    """Compounds with linking elements and what they are made of, and simple words."""
    draws = random.Random(3)
    pairs = dict.fromkeys(tuple(draws.sample(STEMS, 2)) for _ in range(n))
    lines = [f"{linked(a)}{b}\t{a}|{b}\n" for a, b in pairs] + [f"{word}\t\n" for word in STEMS + ROOTS]
    path.write_text("".join(dict.fromkeys(lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def first() -> Decompounder:
    """Stage 1, from hyphens between bare stems."""
    examples = mine_hyphens(word_counts([text_with_hyphens()]), least_count=1)
    return learn_decompounder(examples, steps=50, batch_size=64, width=16, hidden=24, rate=1e-2)


@pytest.fixture(scope="module")
def gold(tmp_path_factory) -> CompoundGold:
    """The gold as read."""
    return read_compounds(gold_file(tmp_path_factory.mktemp("gold") / "gold.tsv"))


def test_a_rule_is_what_follows_the_common_letters():
    assert rule_of("Arbeits", "Arbeit") == (1, "")
    assert rule_of("schul", "Schule") == (0, "e")
    assert rule_of("häuser", "Haus") == (5, "aus")
    assert rule_of("platz", "Platz") == (0, "")


@given(st.text("aäbeſİß", max_size=8), st.text("aäbeſİß", max_size=8))
def test_a_part_under_its_rule_is_its_constituent(part, constituent):
    drop, add = rule_of(part, constituent)
    assert part.lower() != part or part[: len(part) - drop] + add == "".join(
        c.lower() if len(c.lower()) == 1 else c for c in constituent
    )


def test_gold_is_read_with_its_constituents(tmp_path):
    lines = "Arbeitsplatz\tArbeit|Platz\nHaus\t\nkálium\tkálium\t000\nfőorvos\tfő @@orvos\t001\n"
    (tmp_path / "g.tsv").write_text(lines, encoding="utf-8")
    found = read_compounds(tmp_path / "g.tsv")
    assert found.constituents == (("Arbeit", "Platz"), ("Haus",), ("kálium",), ("fő", "orvos"))
    assert found.cuts == ((7,), (), (), (2,))


def test_rules_are_counted_and_the_one_that_changes_nothing_comes_first(gold):
    rules = learned_rules(gold)
    assert rules[0] == (0, "")
    assert {(1, ""), (0, "e")} <= set(rules)
    assert len(set(rules)) == len(rules)


@given(st.lists(st.text("abAB", min_size=1, max_size=3), min_size=1, max_size=30), st.floats(0.01, 0.99),
       st.integers(0, 99))  # fmt: skip
def test_a_split_shares_no_word_and_loses_none(words, share, seed):
    gold = CompoundGold(tuple(words), ((),) * len(words), constituents=tuple((word,) for word in words))
    types = {word.lower() for word in words}
    if len(types) == 1 or round(share * len(types)) == len(types):
        with pytest.raises(ValueError, match="leaves nothing"):
            split_by_type(gold, share=share, seed=seed)
        return
    learn, kept = split_by_type(gold, share=share, seed=seed)
    sides = [[word.lower() for word in side.words] for side in (learn, kept)]
    assert sorted(sides[0] + sides[1]) == sorted(types)
    assert len(sides[1]) == max(1, round(share * len(types)))
    assert split_by_type(gold, share=share, seed=seed)[1] == kept


def test_the_loss_is_that_of_the_gaps_and_of_the_rules():
    network = build(3, width=4, hidden=4, n_rules=3, dropout=0.0).eval()
    pairs, ends = [("abc", (2,)), ("ab", ())], [[(2, 1), (3, 0)], []]
    batch = batches(pairs, numbered("abc"), size=2, seed=0, ends=ends)(0)
    logits_BT, rules_BGR = (found.detach().numpy() for found in network.both(batch["symbols"]))
    np.testing.assert_array_equal(logits_BT, network(batch["symbols"]).detach().numpy())
    row = int((batch["symbols"] != 0).sum(1).argmax())
    terms = [np.log(np.exp(rules_BGR[row, gap]).sum()) - rules_BGR[row, gap, rule] for gap, rule in ends[0]]
    expected = float(gap_loss(network, batch)[0].detach()) + np.mean(terms)
    assert float(constituent_loss(network, batch)[0].detach()) == pytest.approx(expected, rel=1e-5)
    alone = batches(pairs[1:], numbered("abc"), size=1, seed=0, ends=ends[1:])(0)
    assert float(constituent_loss(network, alone)[0].detach()) == float(gap_loss(network, alone)[0].detach())


def test_balanced_examples_weigh_both_kinds_alike_and_words_with_a_hyphen_teach_nothing():
    words = ("haustür", "coin-op", "haus", "tür", "garten", "lampe", "hund", "katze")
    parts = (("haus", "tür"), ("coin", "op"), *((word,) for word in words[2:]))
    gold = CompoundGold(words, ((4,), (5,), *[()] * 6), constituents=parts)
    rules = learned_rules(gold, least_count=1)
    pairs, ends = _examples(gold, rules, balanced=False)
    assert sorted(word for word, _ in pairs) == sorted(set(words) - {"coin-op", "tür"})  # tür is too short to be cut
    assert dict(zip((word for word, _ in pairs), ends, strict=True))["haustür"] == [(4, 0), (7, 0)]
    pairs, _ = _examples(gold, rules, balanced=True)
    assert sum(bool(cuts) for _, cuts in pairs) == sum(not cuts for _, cuts in pairs) == 5


def test_without_learning_it_cuts_as_the_first_stage_and_leaves_that_alone(first, gold):
    before = first(gold.words)
    still = tune_decompounder(first, gold, steps=1, rate=0.0)
    assert still(gold.words) == before == first(gold.words)
    assert first.rules == ()
    assert first.constituents(["gartenhaus"]) == decompound(["gartenhaus"], first)


def test_gold_teaches_linking_elements_and_constituents_of_words_never_seen(first, gold, tmp_path):
    learn, kept = split_by_type(gold, share=0.3, seed=0)
    tuned = tune_decompounder(first, learn, steps=90, batch_size=64, rate=8e-3)
    report = compare_stages(kept, {"one": first, "two": tuned}, learned=learn)
    facts = report.facts
    # Some 75 compounds kept back. Two thirds of them have a linking element, which stage 1 can neither know nor remove,
    # so it can be right on a third; the margin asked is less than half of what is left.
    assert facts["two.gain.constituents.compounds"].low > 0.3
    assert facts["two.constituents.all"].low > 0.7
    assert facts["one.constituents.compounds"].high < 0.5
    tuned.save(tmp_path)
    opened = Decompounder.open(tmp_path)
    assert opened.rules == tuned.rules
    assert opened.constituents(kept.words) == tuned.constituents(kept.words)
    for word, parts in zip(kept.words, tuned.constituents(kept.words), strict=True):
        assert tuned.constituents([word]) == [parts]
        assert all(parts)


def test_words_learned_from_are_not_scored_on(first, gold):
    learn, kept = split_by_type(gold, share=0.3, seed=0)
    with pytest.raises(ValueError, match="learned from and scored on"):
        compare_stages(joined_gold([kept, gold]), {"one": first}, learned=learn)
    with pytest.raises(ValueError, match="at least one"):
        compare_stages(kept, {})


def test_what_cannot_be_tuned_on_is_refused(first, gold, tmp_path):
    with pytest.raises(ValueError, match="not of what they are made"):
        tune_decompounder(first, CompoundGold(("haustür",), ((4,),)))
    with pytest.raises(ValueError, match="compound of letters"):
        tune_decompounder(first, CompoundGold(("haus",), ((),), constituents=(("haus",),)))
    first.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    for wrong in ([[-1, ""]], [["x", ""]], [[1]], 7):
        (tmp_path / CARD).write_text(json.dumps({**card, "rules": wrong}), encoding="utf-8")
        with pytest.raises(ValueError, match="train it again"):
            Decompounder.open(tmp_path)


def test_the_verb_tunes_measures_and_names_constituents(first, tmp_path):
    first.save(tmp_path / "one")
    gold = gold_file(tmp_path / "gold.tsv")

    def run(*arguments: object):
        return CliRunner().invoke(app, ["tokenizer", "decompound", *map(str, arguments), "--json"])

    done = run("tune", "--model", tmp_path / "one", "--gold", gold, "--out", tmp_path / "two", "--steps", 20, "--quiet")
    assert done.exit_code == 0, done.output + str(done.exception)
    facts = json.loads(done.stdout)["facts"]
    assert {"stage 1.constituents.compounds", "stage 2.gain.constituents.all", "n_learned"} <= facts.keys()
    assert (tmp_path / "two" / "run.json").is_file()
    used = run("apply", "gartenstür", "--model", tmp_path / "two", "--constituents")
    assert "constituents" in json.dumps(json.loads(used.stdout)["tables"]["words"])
    refused = run("apply", "gartenstür", "--model", tmp_path / "one", "--constituents")
    assert "knows no constituents" in str(refused.exception)
