"""The decompounder: learned from hyphens, kept as files, and used as a boundary that costs nothing afterwards."""

import json
import random

import numpy as np
import pytest
from compound_examples import STEMS, compound, gold_lines, text_with_hyphens
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.tokenization.compound_audit import crossings, read_compounds, score_decompounders
from tokenry.tokenization.compound_frequency import FrequencySplitter
from tokenry.tokenization.compound_network import batches, build, gap_loss, numbered
from tokenry.tokenization.compounds import (
    CARD,
    WEIGHTS,
    Decompounder,
    _chosen,
    compound_cuts,
    decompound,
    learn_decompounder,
)
from tokenry.tokenization.hyphens import mine_hyphens, parts_of, word_counts
from tokenry.tokenization.train import train

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model() -> Decompounder:
    """A small decompounder of the made language."""
    examples = mine_hyphens(word_counts([text_with_hyphens()]), least_count=1)
    return learn_decompounder(examples, steps=70, batch_size=64, width=16, hidden=24, rate=1e-2)


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Gold words; the compounds are other ones than those with a hyphen in the text, mostly."""
    path = tmp_path_factory.mktemp("gold") / "gold.tsv"
    path.write_text(gold_lines(), encoding="utf-8")
    return read_compounds(path)


def test_it_cuts_unseen_compounds_and_leaves_simple_words_whole(model, gold):
    facts = score_decompounders(gold, {"learned": model, "never": lambda words: [()] * len(words)}).facts
    # 60 compounds of 36 stems in new pairings: nothing but the stems can tell. Never cutting is right on no compound.
    assert facts["never.compounds"].value == 0
    assert facts["learned.compounds"].low > 0.6
    assert facts["learned.simple"].low > 0.6


def test_hyphenation_is_not_decompounding(model, gold):
    pyphen = pytest.importorskip("pyphen")
    dictionary = pyphen.Pyphen(lang="de_DE")
    hyphenation = lambda words: [tuple(dictionary.positions(word)) for word in words]  # noqa: E731
    facts = score_decompounders(gold, {"hyphenation": hyphenation, "learned": model}).facts
    assert facts["hyphenation.simple"].high < facts["learned.simple"].low


@pytest.mark.slow  # importing its 39 MB of n-grams, written as Python, takes a minute
def test_a_german_splitter_from_outside_agrees_on_an_easy_word():
    splitter = pytest.importorskip("compound_split.char_split")
    ours = FrequencySplitter({"haus": 9, "tür": 9}, shortest=3)(["Haustür"])[0]
    assert [part.lower() for part in splitter.split_compound("Haustür")[0][1:]] == ["haus", "tür"]
    assert ours == (4,)


@settings(max_examples=20)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_cuts_rise_inside_the_word_and_depend_on_the_word_alone(words):
    model = _untrained()
    together = model(words)
    for word, cuts in zip(words, together, strict=True):
        assert "".join(parts_of(word, cuts)) == word
        assert list(cuts) == sorted(set(cuts))
        assert all(2 <= cut <= len(word) - 2 for cut in cuts)
        assert _untrained()([word]) == [cuts]


def _untrained() -> Decompounder:
    network = build(3, width=4, hidden=4).eval()
    return Decompounder(network, ("a", "b", "c"), {"width": 4, "hidden": 4}, threshold=0.45)


def test_batching_and_padding_change_no_score(model):
    words = ["haustür", "kartoffel", "arbeitplatzlampe"]
    for word, together in zip(words, model._scores(words), strict=True):
        np.testing.assert_allclose(model._scores([word])[0], together, atol=1e-6)


def test_the_likeliest_cuts_come_first_and_parts_keep_two_characters():
    assert _chosen([0, 0.9, 0.6, 0.8, 0.7, 0.9], 0.5) == (3,)  # 1 and 5 are too near an end, 2 and 4 to 3
    assert _chosen([0, 0, 0.6, 0, 0.7, 0, 0], 0.5) == (2, 4)
    assert _chosen([0, 0, 0.4, 0, 0], 0.5) == ()


def test_the_loss_is_the_cross_entropy_of_the_gaps():
    network = build(3, width=4, hidden=4, dropout=0.0)
    pairs = [("abc", (2,)), ("ab", ())]
    batch = batches(pairs, numbered("abc"), size=2, seed=0)(0)
    loss, metrics = gap_loss(network, batch)
    loss = loss.detach()
    logits = network(batch["symbols"]).detach().numpy()
    terms = []
    for row, (symbols, cuts) in enumerate(zip(batch["symbols"].tolist(), batch["cuts"].tolist(), strict=True)):
        for at in range(1, sum(s != 0 for s in symbols)):
            p = 1 / (1 + np.exp(-logits[row, at]))
            terms.append(-np.log(p if cuts[at] else 1 - p))
    assert metrics["tokens"] == 3
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)


def test_it_comes_back_from_its_folder(model, tmp_path):
    model.save(tmp_path)
    opened = Decompounder.open(tmp_path)
    words = ["haustür", "Gartenschule", "kartoffel", "Haus-Tür", "x1y2", "ß" * 100]
    assert opened(words) == model(words)
    assert decompound(words, tmp_path) == decompound(words, model)
    assert opened(["Haus-Tür", "x1y2", "ß" * 100, "", "Gartenschule."]) == [()] * 5
    assert opened(["HAUSTÜR"]) == opened(["haustür"])


def test_training_is_repeatable():
    examples = mine_hyphens(word_counts([text_with_hyphens(n=60)]), least_count=1)
    first, second = (learn_decompounder(examples, steps=5, width=8, hidden=8, seed=3) for _ in range(2))
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_folders_that_are_no_decompounder_are_refused(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="decompound train"):
        Decompounder.open(tmp_path)
    model.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    for wrong in (
        "[]", "not json", json.dumps({**card, "format": 9}),
        json.dumps({**card, "sizes": {"width": 10**9, "hidden": 1}}),
        json.dumps({**card, "alphabet": ["ab"]}), json.dumps({**card, "threshold": "x"}),
    ):  # fmt: skip
        (tmp_path / CARD).write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match="train it again"):
            Decompounder.open(tmp_path)
    (tmp_path / CARD).write_text(json.dumps(card), encoding="utf-8")
    (tmp_path / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n")  # a pickle is not opened
    with pytest.raises(ValueError, match="does not fit"):
        Decompounder.open(tmp_path)


def _compound_text(n: int = 600) -> list[str]:
    """Compounds written as one, in Zipf order, so that the frequent ones get tokens of their own."""
    draws = random.Random(5)
    compounds = sorted({"".join(compound(draws)) for _ in range(60)})
    weights = [1 / (i + 1) for i in range(len(compounds))]
    return [" ".join(draws.choices(compounds, weights, k=12) + draws.choices(STEMS, k=4)) for _ in range(n)]


@pytest.mark.parametrize(("kind", "size"), [("bpe", 440), ("wordpiece", 260)])
@pytest.mark.filterwarnings("ignore:.*nothing more to learn")
def test_a_tokenizer_trained_with_the_boundary_breaks_several_times_fewer_compounds(kind, size, model, tmp_path):
    text = _compound_text()
    found = sorted({word for line in text for word in line.split()} - set(STEMS))
    parts = [next(f"{a}|{w[len(a) :]}" for a in STEMS if w.startswith(a) and w[len(a) :] in STEMS) for w in found]
    (tmp_path / "gold.tsv").write_text(
        "".join(f"{w}\t{p}\n" for w, p in zip(found, parts, strict=True)), encoding="utf-8"
    )
    gold = read_compounds(tmp_path / "gold.tsv")
    model.save(tmp_path / "model")
    plain = train(text, size=size, kind=kind)
    aware = train(text, size=size, kind=kind, boundary=f"compounds:{tmp_path / 'model'}")
    hard = [(crossings(vocab, gold).crossed_W > 0).sum() for vocab in (plain, aware)]
    # The plain one has tokens for whole compounds; the other one crosses what the decompounder missed.
    assert hard[0] > len(found) // 4
    assert hard[1] * 3 <= hard[0]
    assert aware.size <= plain.size


def test_the_frequency_splitter_is_a_boundary_too(tmp_path):
    (tmp_path / "counts.tsv").write_text("haus\t90\ntür\t80\ngarten\t70\n", encoding="utf-8")
    assert compound_cuts(f"freq:{tmp_path / 'counts.tsv'}")(["Gartenhaus"]) == [(6,)]
