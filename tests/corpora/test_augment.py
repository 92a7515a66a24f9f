"""New texts are sentences of their class, know what they came from, and a split never hides where they came from."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core import tables
from tokenry.corpora.augment import Constraints, Parsed, SubtreePool, augment, key_of, margin_of, undo
from tokenry.corpora.augment_splits import STRATEGIES, Example, leaks, split
from tokenry.corpora.dependency_trees import read_conllu
from tokenry.corpora.parse_trees import read_trees
from tokenry.corpora.parsers import conllu_of, open_parser
from tokenry.worlds.treebanks import CLASSES, accepts, sentences_of


def _documents(n: int = 10, seed: int = 0) -> list[Parsed]:
    return [
        Parsed(f"d{place}", label, tuple(read_trees(brackets)))
        for place, (label, brackets) in enumerate(sentences_of(n, seed=seed))
    ]


@pytest.fixture(scope="module")
def pool():
    return SubtreePool.from_trees(_documents())


@given(st.integers(0, 1000), st.sampled_from(CLASSES), st.sampled_from([0.0, 0.3]))
def test_every_text_is_derivable_parsed_and_can_be_undone(seed, label, fill):
    pool = SubtreePool.from_trees(_documents(6))
    originals = {one.id: one for one in pool.documents[label]}
    rules = Constraints(fill=fill, margin=None)
    for new in augment(pool, 3, np.random.default_rng(seed), label=label, constraints=rules):
        grammar = pool.grammars[label]
        assert all(grammar.knows(tree) for tree in new.trees)
        assert all(grammar.parse(tree.words) is not None for tree in new.trees)
        assert math.isfinite(new.log_p)
        assert undo(new) == originals[new.base].trees
        assert set(new.sources) <= set(originals)
        assert 0 <= new.distance <= 1
        for change, (begin, end) in zip(new.changes, new.spans, strict=True):
            if change.kind == "phrase" and not fill:
                assert new.text[begin:end].lower() == " ".join(change.after.words).lower()


def test_the_true_grammar_accepts_what_phrases_make_and_not_what_random_swaps_make(pool):
    """The effect: exchanged phrases stay sentences of their class; swapped words hardly ever do."""
    rng = np.random.default_rng(0)
    ours, swapped = [], []
    for label in CLASSES:
        new = augment(pool, 50, rng, label=label)
        assert len({one.text for one in new}) == 50
        ours += [accepts(label, one.text) for one in new]
        for document in pool.documents[label]:
            words = document.text.split()
            one, other = rng.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
            swapped.append(accepts(label, " ".join(words)))
    assert np.mean(ours) == 1
    assert np.mean(swapped) < 0.5


def test_the_same_seed_gives_the_same_texts_whatever_the_order_of_classes():
    documents = _documents(5)
    made = [
        [one.text for one in augment(SubtreePool.from_trees(held), 10, np.random.default_rng(3), label="praise")]
        for held in (documents, sorted(documents, key=lambda one: (one.label != "praise", int(one.id[1:]))))
    ]
    assert made[0] == made[1]


def test_phrases_agree_in_number_and_relation():
    trees = read_trees(
        "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))(S (NP (DT the) (NNS dogs)) (VP (VBP bark)))"
        "(S (NP (NP (NN cat)) (CC and) (NP (NN dog))) (VP (VBP bark)))"
    )
    keys = [key_of(tree, 0) for tree in trees]
    assert keys[0] != keys[1]
    assert keys[1] == keys[2]  # two of them are many
    assert key_of(trees[0], 1)[2:] == ("head", "S")


_GERMAN = """1\tDer\tder\tDET\tART\tCase=Nom|Number=Sing\t2\tdet\t_\t_
2\tHund\tHund\tNOUN\tNN\tCase=Nom|Gender=Masc|Number=Sing\t3\tnsubj\t_\t_
3\tsah\tsehen\tVERB\tVVFIN\tNumber=Sing|Person=3|Tense=Past|VerbForm=Fin\t0\troot\t_\t_
4\tKatzen\tKatze\tNOUN\tNN\tCase=Acc|Number=Plur\t3\tobj\t_\t_
5\tund\tund\tCCONJ\tKON\t_\t6\tcc\t_\t_
6\tBäume\tBaum\tNOUN\tNN\tCase=Acc|Number=Plur\t4\tconj\t_\t_
"""


def test_a_treebank_of_another_language_agrees_in_its_features_and_keeps_relations():
    tree = next(read_conllu(_GERMAN)).tree
    assert str(tree).startswith("(S (NP (DET.Nom.Sing Der) (NOUN.Nom.Sing Hund)) (VERB.Sing.3.Past.Fin sah)")
    assert key_of(tree, 0) == ("NP", "NOUN.Nom.Sing", "before", "nsubj")
    assert key_of(tree, 2) == ("NP", "N.many", "behind", "obj")


def test_a_negator_that_a_treebank_marks_stays():
    row = "{}\t{}\t_\t{}\t_\t{}\t{}\t{}\t_\t_"
    texts = []
    for noun, adverb, polarity in (("Hund", "nicht", "Polarity=Neg"), ("Kater", "oft", "Polarity=Pos")):
        rows = [(1, noun, "NOUN", "Number=Sing", 2, "nsubj"), (2, "bellt", "VERB", "Tense=Pres", 0, "root"),
                (3, adverb, "ADV", polarity, 2, "conj")]  # fmt: skip
        texts.append("\n".join(row.format(*one) for one in rows) + "\n")
    documents = [Parsed(str(n), "a", tuple(one.tree for one in read_conllu(text))) for n, text in enumerate(texts)]
    pool = SubtreePool.from_trees(documents)
    made = augment(pool, 9, np.random.default_rng(0), label="a", constraints=Constraints(fill=0.5))
    made = {one.text for one in made}
    assert made == {"Kater bellt nicht", "Hund bellt oft"}


def test_no_text_of_a_class_is_an_original_of_another():
    rows = [("a", "dog", "ran"), ("a", "cat", "sat"), ("b", "dog", "sat"), ("b", "cow", "lay")]
    documents = [Parsed(str(n), label, tuple(read_trees(f"(S (NP (NN {one})) (VP (VBD {did})))")))
                 for n, (label, one, did) in enumerate(rows)]  # fmt: skip
    new = augment(SubtreePool.from_trees(documents), 5, np.random.default_rng(0), label="a",
                  constraints=Constraints(margin=None))  # fmt: skip
    assert [one.text for one in new] == ["Cat ran"]


def test_negators_stay_and_nothing_replaces_them():
    brackets = [
        "(S (NP (PRP I)) (VP (VBP do) (RB not) (VP (VB like) (NP (DT the) (NN film)))))",
        "(S (NP (PRP we)) (VP (VBP do) (RB so) (VP (VB love) (NP (DT the) (NN play)))))",
        "(S (NP (PRP we)) (VP (VBP say) (NP (DT no) (NN word))))",
    ]
    pool = SubtreePool.from_trees([Parsed(str(n), "a", tuple(read_trees(one))) for n, one in enumerate(brackets)])
    new = augment(pool, 20, np.random.default_rng(0), label="a", constraints=Constraints(fill=0.5, margin=None))
    assert new
    assert all(("not" in one.text.split()) == (one.base == "0") for one in new)
    assert all("no word" not in one.text for one in new if one.base != "2")


def test_a_text_that_another_class_explains_better_is_dropped():
    shared = "(S (NP (DT the) (NN {})) (VP (VBD {})))"
    rows = [("a", "dog", "ran"), ("a", "dog", "sat"), ("a", "cat", "ran")]
    rows += [("b", "cat", "slept"), ("b", "cow", "sat"), ("b", "cat", "lay"), ("b", "hen", "sat")]
    documents = [Parsed(str(n), label, tuple(read_trees(shared.format(*w)))) for n, (label, *w) in enumerate(rows)]
    pool = SubtreePool.from_trees(documents)
    rng = np.random.default_rng(0)
    free = augment(pool, 5, rng, label="a", constraints=Constraints(margin=None))
    assert [one.text for one in free] == ["The cat sat"]
    assert free[0].margin < 0
    assert augment(pool, 5, rng, label="a") == []


def test_synonyms_come_from_the_plug_in_and_say_so(pool):
    rules = Constraints(swaps=0, synonym=1.0, margin=None)
    same = {"soup": ["broth"]}
    new = augment(pool, 5, np.random.default_rng(0), label="complaint", constraints=rules,
                  synonyms=lambda word, tag: same.get(word, []))  # fmt: skip
    assert new
    assert all(change.kind == "synonym" and change.after.word == "broth" for one in new for change in one.changes)
    with pytest.raises(ValueError, match="plug-in"):
        augment(pool, 1, np.random.default_rng(0), label="complaint", constraints=rules)


def _examples() -> tuple[list[Example], callable]:
    originals = [Example(f"text {n}", "ab"[n % 2], (str(n),)) for n in range(12)]

    def make(chosen):
        return [Example(f"{one.text} again {k}", one.label, one.sources) for one in chosen for k in range(4)]

    return originals, make


def test_validation_of_augtrain_train_is_the_originals_exactly():
    originals, make = _examples()
    parts = split(originals, make, strategy="augtrain-train")
    assert parts.validation == originals
    assert set(parts.train) == {*originals, *make(originals)}
    assert "not to claim accuracy" in parts.says


@given(st.integers(0, 100), st.sampled_from(STRATEGIES))
def test_nothing_is_lost_and_only_train_val_is_free_of_leaks(seed, strategy):
    originals, make = _examples()
    parts = split(originals, make, strategy=strategy, seed=seed)
    assert {one.text for one in originals} <= {one.text for one in [*parts.train, *parts.validation]}
    assert (leaks(parts) == 0) == (strategy == "train-val")
    assert {one.label for one in parts.validation} == {"a", "b"}


def test_an_augmentation_that_uses_what_was_held_back_is_refused():
    originals, make = _examples()
    with pytest.raises(ValueError, match="only its own"):
        split(originals, lambda chosen: make(originals), strategy="train-val")
    with pytest.raises(ValueError, match="Did you mean"):
        split(originals, make, strategy="trainval")
    with pytest.raises(ValueError, match="needs two"):
        split(originals[:1], make, strategy="train-val")


def _write_docs(path, n=6):
    rows = []
    for place, (label, brackets) in enumerate(sentences_of(n)):
        rows.append({"id": f"d{place}", "text": " ".join(read_trees(brackets)[0].words), "label": label,
                     "tree": brackets})  # fmt: skip
    rows[0]["text"] = "something else"
    rows.append({"id": "broken", "text": "x", "label": "praise", "tree": "(S (NN"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_verb_writes_texts_with_their_provenance(tmp_path):
    _write_docs(tmp_path / "few.jsonl")
    arguments = ["corpus", "augment", str(tmp_path / "few.jsonl"), "--per-class", "20", "--out", str(tmp_path / "more")]
    done = CliRunner().invoke(app, [*arguments, "--json", "-q"], catch_exceptions=False)
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [warning for warning in report["warnings"] if "documents" in warning] == [
        "1 documents whose tree is not readable",
        "1 documents whose trees have other words than the text",
    ]
    assert any("broken: bracketed tree, line 1" in warning for warning in report["warnings"])
    train = tables.read(tmp_path / "more" / "train.jsonl").to_pylist()
    validation = tables.read(tmp_path / "more" / "validation.jsonl").to_pylist()
    assert [row["id"] for row in validation] == [*(f"d{n}" for n in range(18)), "broken"]
    made = [row for row in train if row["source"] == "augmented"]
    assert len(made) == 3 * 20 - 19
    assert all(accepts(row["label"], row["text"]) for row in made)
    for row in made:
        assert row["augment.base"] in row["augment.sources"]
        for change in row["augment.changes"]:
            assert row["text"][change["start"] : change["end"]].lower() == change["after"].lower()
    assert (tmp_path / "more" / "run.json").is_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--label", "lable"], "no column 'lable'"),
        (["--parser", "column:tre"], "Did you mean 'tree'"),
        (["--parser", "column"], "half a name"),
        (["--parser", "colum:tree"], "Did you mean 'column'"),
        (["--margin", "much"], "need a number of nats"),
        (["--share", "1.5"], "more than 0 and less than 1"),
        (["--strategy", "train-vall"], "Did you mean 'train-val'"),
    ],
)
def test_wrong_wishes_are_told(tmp_path, options, says):
    _write_docs(tmp_path / "few.jsonl")
    done = CliRunner().invoke(
        app, ["corpus", "augment", str(tmp_path / "few.jsonl"), "--out", str(tmp_path / "o"), "-q", *options]
    )
    assert says in str(done.exception)
    assert not (tmp_path / "o").exists()


def test_a_function_may_be_the_parser():
    parse = open_parser(lambda text: f"(S (NN {text}))")
    assert parse({"text": "dog"})[0].words == ["dog"]
    assert margin_of("none") is None
    with pytest.raises(ValueError, match="gave NoneType"):
        open_parser(lambda text: None)({"text": "dog"})


def test_what_spacy_parsed_becomes_trees_without_its_white_space():
    """Tokens as spaCy has them: "Dogs bark  now ." with white space, on which "now" wrongly hangs."""
    words = [("Dogs", "NOUN", "NNS", 1, "nsubj"), ("bark", "VERB", "VBP", 1, "ROOT"), (" ", "SPACE", "_SP", 1, "dep"),
             ("now", "ADV", "RB", 2, "advmod"), (".", "PUNCT", ".", 1, "punct")]  # fmt: skip
    tokens = [SimpleNamespace(i=i, text=text, pos_=pos, tag_=tag, morph="", dep_=dep)
              for i, (text, pos, tag, _, dep) in enumerate(words)]  # fmt: skip
    for token, (*_, head, _) in zip(tokens, words, strict=True):
        token.head = tokens[head]
    tree = next(read_conllu(conllu_of([tokens]))).tree
    assert str(tree) == "(S (NP (NNS Dogs)) (VBP bark) (RB now) (. .))"
