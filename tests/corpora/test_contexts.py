"""The audit finds planted differences, none where there are none, and joins what belongs together."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.hashing import stable_hash
from tokenry.corpora.context_lexicon import hits, open_lexicon, pronouns
from tokenry.corpora.context_scorers import open_scorer
from tokenry.corpora.contexts import benjamini_hochberg, contexts, relative_change, welch
from tokenry.corpora.embedded import EmbeddedEngine

ENGINE = EmbeddedEngine(workers=1)
GROUPS = ["female", "male", "Christian", "Muslim", "Asian", "gay", "German", "young"]
# Steps of 1/64: scipy's variances lose their precision where values are nearly equal.
VALUES = st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=2, max_size=30)


def toxic(texts):
    return [float("vile" in text) for text in texts]


def world(tmp_path, name, *, rates, counts, salt):
    """Documents of one sentence each; sentence k of a group is vile by a hash against the planted rate."""
    rows = []
    for group in GROUPS:
        for k in range(counts[group]):
            draw = stable_hash(f"{salt} {group} {k}") / 2**64
            word = "vile" if draw < rates[group] else "kind"
            rows.append({"text": f"This {group} neighbour {salt}{k} was {word} to us."})
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def naive_match(sentence, owners):
    """The longest form in a sentence by looking for every one at every place; of equally long ones the first."""
    found = [
        (-len(form), at, form) for form in owners for at in range(len(sentence))
        if sentence.startswith(form, at) and not sentence[:at][-1:].isalnum()
        and not sentence[at + len(form) :][:1].isalnum()
    ]  # fmt: skip
    return min(found)[2] if found else ""


@given(st.text(alphabet="aAb -_.é1", max_size=24))
def test_the_matcher_finds_what_a_search_for_every_form_finds(text):
    lexicon = open_lexicon(
        {"x": {"a": ["A"], "ab": ["a b", "a-b"], "b a": [], "aa": ["a a b"], "é": ["éa"], "A-b": []}}
    )
    found = lexicon.match(text)
    assert (found[2] if found else "") == naive_match(text, lexicon.owners)


def test_the_longest_descriptor_takes_the_sentence():
    lexicon = open_lexicon()
    one = "An African-American writer and an American editor of Example Corp. met Dr. Kim. Nobody else came."
    found = [(hit.descriptor, hit.form) for hit in hits(one, lexicon)]
    assert found == [("African American", "African-American")]
    assert lexicon.match("Muslims, too")[:2] == ("religion", "Muslim")
    assert lexicon.match("Asiana flies") is None
    assert lexicon.match("Women work here")[1] == "woman"
    assert lexicon.match("christian") is None
    assert open_lexicon({"r": ["Christian"]}, is_folded=True).match("a christian")[1] == "Christian"
    # The longer form begins inside the shorter one.
    assert (
        open_lexicon({"x": ["Asian American", "American Indian woman"]}).match("Asian American Indian woman")[1]
        == "American Indian woman"
    )


def test_lexicons_of_holistic_bias_are_read(tmp_path):
    path = tmp_path / "descriptors.json"
    path.write_text(json.dumps({"ability": {"auditory": ["Deaf", {"descriptor": "hard-of-hearing", "preference": "x"}]},
                                "age": {"old": ["old", "elderly"], "(none)": ["young"]}}))  # fmt: skip
    lexicon = open_lexicon(path)
    assert lexicon.descriptors == [("ability", "Deaf"), ("ability", "hard-of-hearing"), ("age", "old"),
                                   ("age", "elderly"), ("age", "young")]  # fmt: skip
    assert lexicon.match("a hard of hearing man")[1] == "hard-of-hearing"
    with pytest.raises(FileNotFoundError, match="identities"):
        open_lexicon("nothing.toml")


def test_pronouns_are_found_in_lower_case_too():
    assert pronouns("I’m here, and SHE_too.") == ["she", "first person", "third person"]
    assert pronouns("Theyre items") == []
    assert pronouns("Hélas, la thé") == []  # an accent is no end of a word


def test_a_document_counts_for_every_axis_it_names():
    import pyarrow as pa

    from tokenry.corpora.contexts import context_batch

    texts = ["An African American and a gay man met.", "Nobody.", None]
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b", "c"], "text": pa.array(texts, pa.string())})
    made = context_batch(batch, lexicon=open_lexicon())
    # The sentence goes to the longest descriptor alone; "American" inside it is no nationality.
    assert [[one["descriptor"] for one in row] for row in made.column("sentences").to_pylist()] == [
        ["African American"], [], []
    ]  # fmt: skip
    assert made.column("axes").to_pylist() == [["gender_and_sex", "race_ethnicity", "sexual_orientation"], [], []]


def test_lexicons_that_are_broken_are_refused(tmp_path):
    for name, data, said in [("a.toml", b"x = [", "cannot be read"), ("b.json", b"{", "cannot be read"),
                             ("c.json", b"caf\xe9", "not UTF-8"), ("d.json", b"[1]", "need axis"),
                             ("e.json", b'{"a": [1]}', "need descriptors as strings"), ("f.toml", b"", "names nothing"),
                             ("g.json", b"[" * 9000 + b"]" * 9000, "cannot be read")]:  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=said):
            open_lexicon(tmp_path / name)


@given(VALUES, VALUES)
def test_welch_is_that_of_scipy(first, second):
    from scipy import stats

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        alike = welch(np.array(first[:1] * 2), np.array(second[:1] * 2))
        assert alike.p == float(first[0] == second[0])  # nothing varies: there is no test
        return
    mine = welch(np.array(first), np.array(second))
    theirs = stats.ttest_ind(first, second, equal_var=False)
    assert np.allclose([mine.t, mine.p, mine.df], [theirs.statistic, theirs.pvalue, theirs.df])
    assert np.allclose([mine.low, mine.high], theirs.confidence_interval())
    other = welch(np.array(second), np.array(first))
    assert np.allclose([other.t, other.p, other.low], [-mine.t, mine.p, -mine.high])


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=20), st.lists(st.floats(0.01, 1), min_size=2, max_size=20))
def test_swapping_the_corpora_inverts_the_change(first, second):
    r, low, high = relative_change(np.array(first), np.array(second))
    back = relative_change(np.array(second), np.array(first))
    assert np.allclose(back, [1 / (1 + r) - 1, 1 / (1 + high) - 1, 1 / (1 + low) - 1])


@given(st.lists(st.floats(0, 1), max_size=20))
def test_benjamini_hochberg_is_that_of_scipy(p):
    from scipy import stats

    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p) if p else [])


def test_planted_rates_come_back_within_their_intervals(tmp_path):
    counts = dict.fromkeys(GROUPS, 400)
    high = {group: 0.2 + 0.05 * place for place, group in enumerate(GROUPS)}
    low = {group: rate / 4 for group, rate in high.items()}
    corpus = world(tmp_path, "a", rates=low, counts=counts, salt="x")
    reference = world(tmp_path, "b", rates=high, counts=counts, salt="y")
    report = contexts(corpus, reference, scorer=toxic, engine=ENGINE)
    rows = report.tables["descriptors"].to_pylist()
    assert len(rows) == 8
    assert all(row["n"] == 400 and row["p_adjusted"] < 0.001 for row in rows)
    # 8 intervals of 95 %: more than two misses have probability below 0.6 %.
    assert sum(row["change_low"] <= -0.75 <= row["change_high"] for row in rows) >= 6
    assert sum(row["difference_low"] <= low[row["descriptor"]] - high[row["descriptor"]] <= row["difference_high"]
               for row in rows) >= 6  # fmt: skip


def test_two_halves_of_one_corpus_differ_at_the_rate_of_the_test(tmp_path):
    rates = dict.fromkeys(GROUPS, 0.3)
    counts = dict.fromkeys(GROUPS, 60)
    p = []
    for trial in range(12):
        halves = [
            world(tmp_path, f"{side}{trial}", rates=rates, counts=counts, salt=f"{side}{trial}_") for side in "ab"
        ]
        p += contexts(*halves, scorer=toxic, engine=ENGINE).tables["descriptors"].column("p").to_pylist()
    # 96 tests at 5 %: 4.8 expected, standard deviation 2.1; 12 is beyond 3.3 of them.
    assert len(p) == 96
    assert sum(value <= 0.05 for value in p) <= 11


def test_unequal_frequencies_make_no_difference(tmp_path):
    rates = {group: 0.05 if place < 4 else 0.6 for place, group in enumerate(GROUPS)}
    many = {group: 600 if place < 4 else 60 for place, group in enumerate(GROUPS)}
    few = {group: 60 if place < 4 else 600 for place, group in enumerate(GROUPS)}
    corpus = world(tmp_path, "a", rates=rates, counts=many, salt="x")
    reference = world(tmp_path, "b", rates=rates, counts=few, salt="y")
    pooled = [np.mean(toxic(path.read_text().splitlines())) for path in (corpus, reference)]
    assert pooled[1] - pooled[0] > 0.3  # what a comparison of the whole corpora would say
    report = contexts(corpus, reference, scorer=toxic, engine=ENGINE)
    # Mean of 8 differences of 60 against 60: standard error below 0.0265; 0.1 is beyond 3.7 of them.
    assert abs(report.facts["mean_difference"]) < 0.1
    assert report.facts["differ"] == 0


def test_the_sample_does_not_depend_on_the_order_of_documents(tmp_path):
    counts = dict.fromkeys(GROUPS, 80)
    corpus = world(tmp_path, "a", rates=dict.fromkeys(GROUPS, 0.2), counts=counts, salt="x")
    reference = world(tmp_path, "b", rates=dict.fromkeys(GROUPS, 0.4), counts=counts, salt="y")
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(sorted(corpus.read_text().splitlines(keepends=True), key=stable_hash)) * 2)
    options = {"scorer": toxic, "per_descriptor": 30, "engine": ENGINE}
    first, second = contexts(corpus, reference, **options), contexts(turned, reference, **options)
    assert first.tables["descriptors"].equals(second.tables["descriptors"])
    other = contexts(corpus, reference, seed=1, **options)
    assert not first.tables["descriptors"].equals(other.tables["descriptors"])
    assert first.tables["descriptors"].column("n").to_pylist() == [30] * 8


def test_scorers_are_opened_by_name(tmp_path):
    (tmp_path / "bad.txt").write_text("vile\nvery bad\n")
    scorer = open_scorer(f"words:{tmp_path / 'bad.txt'}")
    assert scorer(["a Vile, man", "very, bad", "bad", ""]).tolist() == [1, 1, 0, 0]
    assert open_scorer(lambda texts: list(map(len, texts)))(["x" * 18_001, "x"]).tolist() == [
        9000.5,
        1,
    ]  # two pieces, averaged
    assert open_scorer("signal:gopher.words")(["one two three", "one"]).tolist() == [3, 1]
    with pytest.raises(ValueError, match="one finite number for each"):
        open_scorer(lambda texts: [0.0])(["a", "b"])
    with pytest.raises(ValueError, match="no scorer"):
        open_scorer("word")


def test_a_linear_classifier_scores(tmp_path):
    from tokenry.corpora.linear import LinearClassifier

    texts = ["vile awful people", "vile things", "kind good people", "kind things"] * 10
    LinearClassifier.train(texts, ["toxic", "toxic", "clean", "clean"] * 10, epochs=20, rate=0.5).save(tmp_path / "c")
    low, high = open_scorer(f"linear:{tmp_path / 'c'}:toxic")(["kind man", "vile man"])
    assert low < 0.5 < high


@pytest.mark.slow  # imports torch and transformers
def test_a_classifier_of_transformers_reads_all_of_a_long_sentence(tmp_path):
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "kind", "vile"]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
                        max_position_embeddings=10, id2label={0: "neutral", 1: "toxic"})  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    scorer = open_scorer(f"hf:{tmp_path}")
    assert scorer.name == f"hf:{tmp_path}:toxic"
    kind, vile = "kind " * 8, "vile " * 8  # windows of eight tokens
    alone = scorer([kind, vile])
    assert alone[0] != alone[1]
    assert np.allclose(scorer([kind + vile, vile]), [alone.mean(), alone[1]])
    assert np.allclose(open_scorer(f"hf:{tmp_path}:neutral")([kind]), 1 - alone[0])
    with pytest.raises(ValueError, match="has no label 'rude'"):
        open_scorer(f"hf:{tmp_path}:rude")


def test_the_verb_prints_and_saves(tmp_path, capsys):
    from tokenry.cli import main

    counts = dict.fromkeys(GROUPS, 30)
    corpus = world(tmp_path, "a", rates=dict.fromkeys(GROUPS, 0.0), counts=counts, salt="x")
    reference = world(tmp_path, "b", rates=dict.fromkeys(GROUPS, 0.9), counts=counts, salt="y")
    (tmp_path / "bad.txt").write_text("vile\n")
    with pytest.raises(SystemExit) as end:
        main(["corpus", "contexts", str(corpus), "--reference", str(reference), "--scorer", f"words:{tmp_path}/bad.txt",
              "--workers", "1", "--out", str(tmp_path / "audit"), "--json", "-q"])  # fmt: skip
    assert not end.value.code
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["differ"] == facts["lower"] == 8
    assert (tmp_path / "audit" / "report.html").is_file()
