"""The battery: exact on cases worked by hand, equal to the peers, silent where nothing differs, loud where it does."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.corpora.artifacts import Finding, artifact_battery, compare_means, compare_resampled, table_of
from tokenry.corpora.artifacts_answers import train_on_labels, train_on_preferences
from tokenry.corpora.artifacts_dialogues import Rules, faults
from tokenry.corpora.artifacts_instructions import lcs_length, rouge_l
from tokenry.corpora.artifacts_labels import kappa, label_counts, majority_sets, minority_sets, wasserstein
from tokenry.corpora.artifacts_preferences import lexical_gap, read_style, signs_of
from tokenry.corpora.artifacts_text import Reference, TextSide, compare_sides, match_lengths
from tokenry.corpora.artifacts_training import second_order
from tokenry.data import demo_text


def _rows(report, metric, group=None):
    table = report.tables["differences"].to_pylist()
    return [row for row in table if row["metric"] == metric and group in (None, row["group"])]


@pytest.mark.parametrize(
    ("labels", "majority", "minority"),
    [
        ([1, 1, 2], {1}, {2}),
        ([1, 2, 3], set(), set()),
        ([1, 1, 2, 2, 3], {1, 2}, {3}),
        ([1, 1, 1], {1}, set()),
        ([1, -1, -1], set(), set()),
        ([2, -1, 2], {2}, set()),
        ([1, 1, 2, 2], {1, 2}, set()),
        ([-1, -1, -1], set(), set()),
    ],
)
def test_majority_and_minority_are_those_of_the_paper(labels, majority, minority):
    counts = label_counts([labels], [1, 2, 3])
    assert {one + 1 for one in np.flatnonzero(majority_sets(counts)[0])} == majority
    assert {one + 1 for one in np.flatnonzero(minority_sets(counts)[0])} == minority


@given(st.lists(st.integers(0, 20), min_size=5, max_size=5), st.lists(st.integers(0, 20), min_size=5, max_size=5))
def test_the_distance_is_scipys_on_values_with_weights(first, second):
    values = np.arange(1, 6)
    if not sum(first) or not sum(second):
        assert math.isnan(wasserstein(values, first, second))
        return
    ours = wasserstein(values, first, second)
    assert ours == pytest.approx(wasserstein_distance(values, values, first, second))
    assert ours == pytest.approx(wasserstein(values, second, first))
    assert wasserstein(values, first, first) == pytest.approx(0)


def test_mass_one_step_away_is_one_step_far_and_two_steps_are_two():
    """The published code takes weights for samples and would say 0 for both."""
    values = np.arange(1, 6)
    assert wasserstein(values, [9, 0, 0, 0, 0], [0, 9, 0, 0, 0]) == pytest.approx(1)
    assert wasserstein(values, [9, 0, 0, 0, 0], [0, 0, 9, 0, 0]) == pytest.approx(2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_kappa_is_that_of_scikit_learn(pairs):
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*pairs, strict=True)
    if len({*first, *second}) == 1:
        assert math.isnan(kappa(first, second))
    else:
        assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), nan_ok=True)


def _simulated(n: int, seed: int, *, shrink: float) -> tuple[np.ndarray, np.ndarray]:
    """People who disagree on half of the items (30 % say 3 where the others say 1) and models that rarely do."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.5
    human = np.where(hard[:, None] & (rng.random((n, 6)) < 0.3), 3, 1)
    models = np.where(hard[:, None] & (rng.random((n, 6)) < 0.3 * shrink), 3, 1)
    return human, models


def test_a_minority_that_models_leave_out_is_found():
    """The planted share of label 3 is .15 for people and .0375 for models: a difference of -.1125."""
    human, models = _simulated(400, 0, shrink=0.25)
    report = artifact_battery("labels", human, models, resamples=200)
    share = _rows(report, "class_share", "3")[0]
    assert share["low"] < -0.1125 < share["high"]
    assert share["p_adjusted"] < 0.001
    assert _rows(report, "minority_opinion.share")[0]["high"] < 0
    assert _rows(report, "variation.standard_deviation", "people disagree")[0]["high"] < 0
    assert _rows(report, "variation.top_share", "all")[0]["low"] > 0
    flips = report.tables["flips"].to_pylist()
    assert sum(flips[0][name] for name in flips[0] if name != "people say") > 0


def test_models_who_label_as_people_do_are_not_told_apart():
    """Also where one side has more annotators. Corrected at 5 %, a report tells something in 1 run of 20: in 8 runs at
    most 3 do (binomial: 4 or more 5 in 10,000)."""
    told = []
    for seed in range(4):
        human, models = _simulated(300, seed, shrink=1.0)
        for some in (models, models[:, :3]):
            told.append(artifact_battery("labels", human, some, resamples=100, seed=seed).facts["differ"] > 0)
    assert sum(told) <= 3


def test_benjamini_hochberg_is_the_textbook_one():
    """p = .01, .02, .03, .5 of four: .04, .04, .04, .5; one without p stays without."""
    made = [Finding("m", "g", 0, 0, 0, 0, 0, 1, "t", p) for p in (0.01, 0.5, math.nan, 0.03, 0.02)]
    adjusted = table_of(made)["p_adjusted"].to_pylist()
    assert adjusted[:2] == pytest.approx([0.04, 0.5])
    assert math.isnan(adjusted[2])
    assert adjusted[3:] == pytest.approx([0.04, 0.04])


def test_intervals_cover_as_promised():
    """95 % of 400: binomial deviation .011, so within 4 of them: .906 to .994."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        one = compare_means(rng.normal(0, 1, 12), rng.normal(0.5, 3, 20), metric="m")
        inside.append(one.low <= 0.5 <= one.high)
    assert 0.906 < np.mean(inside) < 0.994


def test_what_does_not_vary_has_no_interval():
    one = compare_means([1, 1, 1], [1, 1, math.nan], metric="m")
    assert one.difference == 0
    assert math.isnan(one.low)
    assert one.test == ""
    assert compare_means([], [1.0], metric="m").n == 1
    assert compare_resampled(lambda rows: (0.0, 0.0), 0, metric="m").n == 0
    assert table_of([]).num_rows == 0


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_the_common_subsequence_is_that_of_the_table(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert lcs_length(first, second) == table[-1, -1]


_TEXT = st.text(alphabet="ab cdé.-1 ", max_size=40)


@given(_TEXT, _TEXT)
def test_rouge_l_is_that_of_the_rouge_score_package(text, reference):
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="needs rouge-score")
    theirs = scorer.RougeScorer(["rougeL"]).score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(theirs)


def test_rouge_l_is_the_published_example():
    """Lin (2004), section 3.1: the first candidate has 3 words of 4 in order, the second 2 of 4."""
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(2 / 4)
    assert rouge_l("", reference) == 0


def test_words_decide_for_models_and_not_for_people(tmp_path):
    """Planted: models choose by words in 9 of 10 pairs, people by chance: correlations near .8 and 0."""
    rng = np.random.default_rng(0)
    (tmp_path / "joy.tsv").write_text("# word\tvalue\nhappy\t0.9\nglad\t0.5\n")
    (tmp_path / "anger.tsv").write_text("hate\t0.8\n")
    styles = {name: read_style(tmp_path / f"{name}.tsv") for name in ("joy", "anger")}
    good, bad = "I am happy.", "I hate it."
    pairs = [(good, bad) if rng.random() < 0.5 else (bad, good) for _ in range(200)]
    by_words = np.array([float(a == good) for a, _ in pairs])
    models = np.where(rng.random(200) < 0.9, by_words, 1 - by_words)
    people = (rng.random(200) < 0.5).astype(float)
    report = artifact_battery("preferences", people, models, pairs=pairs, styles=styles, resamples=200)
    row = _rows(report, "lexical.correlation")[0]
    assert row["low"] > 0.4
    assert abs(row["human"]) < 0.25
    assert row["synthetic"] > 0.65
    assert report.tables["deciles"]["synthetic prefers first"][0].as_py() < 0.3
    assert lexical_gap((good, bad), styles, signs_of(styles)) == 1


def test_entailment_prefers_the_text_that_follows_from_the_reference():
    def entails(parts, reference):
        return [float(part.strip(" .") in reference) for part in parts]

    pairs = [("It rains. Go.", "It snows."), ("No.", "It rains.")] * 10
    report = artifact_battery("preferences", [1, 0] * 10, [0, 1] * 10, pairs=pairs, entails=entails,
                              references=["It rains today"] * 20, resamples=50)  # fmt: skip
    row = _rows(report, "entailment.correlation")[0]
    assert row["human"] == pytest.approx(1)
    assert row["synthetic"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("content", "says"),
    [("happy 0.9\n", "line 1"), ("happy\tmuch\n", "need word, tab, number"), ("happy\tnan\n", "no number")],
)
def test_a_broken_list_of_styles_is_told(tmp_path, content, says):
    (tmp_path / "joy.tsv").write_text(content)
    with pytest.raises(ValueError, match=says):
        read_style(tmp_path / "joy.tsv")
    with pytest.raises(ValueError, match=r"\+funny or -funny"):
        signs_of({"funny": {}})


def test_answers_are_compared_within_prompts():
    human = [{"id": n, "text": f"the answer is {n}", "prompt": "say a number", "reference": f"the answer is {n}",
              "task": "ab"[n % 2]} for n in range(20)]  # fmt: skip
    synthetic = [{**row, "text": f"certainly here it is the answer {row['id']} you asked for"} for row in human]
    report = artifact_battery("instructions", human, synthetic, encode=lambda texts: np.ones((len(texts), 2)),
                              bits_per_byte=lambda texts: [len(text) / 10 for text in texts])  # fmt: skip
    row = _rows(report, "rouge_l.reference", "all")[0]
    assert row["human"] == 1
    # 4 words against 10, 3 in common: 2 * 3 / 14.
    assert row["synthetic"] == pytest.approx(6 / 14)
    assert row["n"] == 20
    assert {one["group"] for one in _rows(report, "length.words")} == {"all", "task=a", "task=b"}
    assert _rows(report, "cosine.prompt", "all")[0]["human"] == pytest.approx(1)


def test_faults_of_a_dialogue_are_those_of_the_rules():
    dialogue = [
        {"role": "user", "content": "Instruction: add"},
        {"role": "assistant", "content": "Solution: 4"},
        {"role": "assistant", "content": "Instruction: now you"},
        {"role": "user", "content": "hm"},
        {"role": "user", "content": "<CAMEL_TASK_DONE>"},
        {"role": "assistant", "content": "bye"},
    ]
    found = faults(dialogue, Rules(digression=["now you"]))
    assert found["role_flip"].tolist() == [False, False, True, False, False, False]
    assert found["interruption"].tolist() == [False, False, True, True, False, False]
    assert found["digression"].tolist() == [False, False, True, False, False, False]
    assert not faults(dialogue, Rules(first=4))["interruption"].any()
    with pytest.raises(ValueError, match="role and content"):
        faults([{"role": "user"}])
    with pytest.raises(ValueError, match="need lists of strings"):
        Rules(forbidden={"user": "Solution:"})
    with pytest.raises(ValueError, match="need lists of strings"):
        Rules(expected=["Solution:"])
    with pytest.raises(ValueError, match="number of a turn"):
        Rules(first=-1)
    with pytest.raises(ValueError, match="no pattern"):
        artifact_battery("dialogues", [{"messages": dialogue}], [{"messages": dialogue}], rules=Rules(digression=["("]))


def test_more_flips_of_the_synthetic_side_are_found():
    good = [{"role": "user", "content": "Instruction: x"}, {"role": "assistant", "content": "Solution: y"}]
    flipped = [good[0], {"role": "assistant", "content": "Instruction: z"}]
    human = [{"messages": flipped if n < 2 else good, "success": n >= 2} for n in range(40)]
    synthetic = [{"messages": flipped if n < 20 else good, "success": n >= 20} for n in range(40)]
    report = artifact_battery("dialogues", human, synthetic)
    row = _rows(report, "role_flip.dialogues")[0]
    assert row["difference"] == pytest.approx(0.45)
    assert row["low"] > 0.2
    table = [one for one in report.tables["success"].to_pylist() if one["fault"] == "role_flip"]
    assert [one["pearson"] for one in table] == pytest.approx([-1, -1])


def _zipf_texts(n: int, seed: int, *, power: float, words: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    weights = np.arange(1, 2001) ** -power
    drawn = rng.choice(2000, size=(n, words), p=weights / weights.sum())
    return [" ".join(f"w{word}" for word in row) + "." for row in drawn]


def test_a_tail_that_was_cut_is_found_in_variety_novelty_and_slope():
    report = artifact_battery("text", _zipf_texts(120, 0, power=1.0), _zipf_texts(80, 1, power=1.4))
    for metric in ("variety.types_in_50", "rare.words", "variety.once_only", "zipf.slope", "compression.ratio"):
        for group in ("raw", "length-matched"):
            row = _rows(report, metric, group)[0]
            assert row["high"] < 0, (metric, group)
    assert _rows(report, "repetition.3_grams", "raw")[0]["low"] > 0


def test_two_halves_of_human_text_are_not_told_apart():
    """Of some 16 features in 12 splits about 95 % of intervals hold 0; features of one text move together, so the
    share is held to .95 - 4 sqrt(.95 x .05 x 16 / 192) = .69 as if all features of a split were one."""
    texts = list(_zipf_texts(240, 2, power=1.0))
    known = Reference.of(texts[:60])
    whole = TextSide(texts[60:], known)
    rng = np.random.default_rng(0)
    inside = []
    for split in range(12):
        order = rng.permutation(180)
        found = compare_sides(whole.of(order[:90]), whole.of(order[90:]), group="null", seed=split)
        inside += [one.low <= 0 <= one.high for one in found if math.isfinite(one.low)]
    assert np.mean(inside) > 0.69
    assert len(inside) > 100


def test_matched_documents_have_the_same_lengths_and_domains():
    rng = np.random.default_rng(0)
    sides = []
    for mean in (20, 40):
        texts = ["w " * int(n) for n in rng.integers(mean - 15, mean + 15, 80)]
        sides.append(TextSide(texts, domains=[("a", "b")[n % 2] for n in range(80)]))
    rows = match_lengths(*sides)
    kept = [side.of(each) for side, each in zip(sides, rows, strict=True)]
    assert len(kept[0].texts) == len(kept[1].texts) > 10
    assert sorted(kept[0].domains) == sorted(kept[1].domains)
    assert abs(kept[0].lengths.mean() - kept[1].lengths.mean()) < 3 < sides[1].lengths.mean() - sides[0].lengths.mean()


def test_flips_of_style_are_counted_by_pairs():
    human, synthetic = ["a!", "b!", "c", "d"] * 5, ["a", "b", "c", "d!"] * 5
    report = artifact_battery("text", human, synthetic, reference=["a b"],
                              flips={"loud": lambda texts: ["!" in text for text in texts]})  # fmt: skip
    row = _rows(report, "style.loud.flipped")[0]
    assert (row["human"], row["synthetic"]) == (0.5, 0.25)
    assert row["p"] == pytest.approx(0.3018, abs=1e-3)  # exact binomial, 5 of 15
    shares = {"a!": 0.3, "b!": 0.1, "c": 0.0, "d": 0.5, "a": 0.1, "b": 0.0, "d!": 0.8}
    report = artifact_battery("text", human, synthetic, reference=["a b"],
                              flips={"metaphor": (lambda texts: [shares[text] for text in texts], 0.15)})  # fmt: skip
    row = _rows(report, "style.metaphor.flipped")[0]
    assert (row["human"], row["synthetic"]) == (0.25, 0.25)  # a! by .2, d! by .3; b! by .1 is none


def _opinions(n: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """A word of a text says what most people (4 of 5) answer; models never answer 2, which is right for "rare"."""
    rng = np.random.default_rng(seed)
    right = rng.choice(3, size=n, p=[0.4, 0.4, 0.2])
    texts = [f"{['good', 'bad', 'rare'][one]} thing {rng.integers(9)}" for one in right]
    human = np.stack([np.where(np.arange(5) < 4, one, (one + 1) % 3) for one in right])
    return texts, human, np.where(human == 2, 0, human)


def test_what_models_never_say_a_classifier_trained_on_them_cannot_say():
    texts, human, models = _opinions(120, 0)
    report = train_on_labels(human, models, texts=texts)
    share = _rows(report, "trained.class_share", "2")[0]
    assert share["synthetic"] == 0
    assert share["high"] < -0.05
    # People's own labels teach each of the three answers; the models' miss the fifth of items with "rare".
    row = _rows(report, "trained.says_majority")[0]
    assert row["human"] == 1
    assert row["synthetic"] == pytest.approx(1 - share["human"])
    with pytest.raises(ValueError, match="need a text and"):
        train_on_labels(human, models, texts=texts[:3])


def test_a_reward_model_of_reversed_choices_prefers_what_people_do_not():
    rng = np.random.default_rng(0)
    firsts = rng.random(60) < 0.5
    pairs = [(f"nice {n}", f"nasty {n}") if first else (f"nasty {n}", f"nice {n}") for n, first in enumerate(firsts)]
    report = train_on_preferences(firsts.astype(float), 1.0 - firsts, pairs=pairs)
    row = _rows(report, "trained.prefers_what_people_prefer")[0]
    assert (row["human"], row["synthetic"]) == (1, 0)
    with pytest.raises(ValueError, match="that share no text"):
        train_on_preferences([1.0, 0.0] * 5, [1.0, 0.0] * 5, pairs=[("same", str(n)) for n in range(10)])


def test_training_on_text_without_a_tail_costs_most_on_rare_words():
    pytest.importorskip("tokenry.corpora.ngram_lm", reason="needs the n-gram model")
    human, synthetic = _zipf_texts(150, 0, power=1.0), _zipf_texts(150, 1, power=1.6)
    report = second_order(human, synthetic, _zipf_texts(60, 2, power=1.0), ratios=(0.5, 1.0), repeats=3)
    table = report.tables["differences"].to_pylist()
    cost = {row["group"]: row for row in table if row["metric"] == "loss"}
    assert cost["100% synthetic, all"]["low"] > 0
    assert cost["100% synthetic, rare words"]["difference"] > cost["100% synthetic, common words"]["difference"]
    assert cost["50% synthetic, all"]["difference"] < cost["100% synthetic, all"]["difference"]
    with pytest.raises(ValueError, match="in training too"):
        second_order(human, synthetic, human[:3])


def test_unknown_kinds_and_thin_sides_are_told():
    with pytest.raises(ValueError, match="Did you mean 'labels'"):
        artifact_battery("label", [], [])
    with pytest.raises(ValueError, match="need at least 3"):
        artifact_battery("text", ["a"], ["b"])
    with pytest.raises(ValueError, match="same items"):
        artifact_battery("labels", [[1, 2]], [[1], [2]])


def _run(*arguments: str) -> dict:
    done = CliRunner().invoke(app, ["corpus", "artifacts", *arguments, "--json", "-q"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_the_verb_compares_carried_texts(tmp_path):
    report = _run("--human", str(demo_text("fiction")), "--synthetic", str(demo_text("stories")), "--limit", "60",
                  "--out", str(tmp_path / "page"))  # fmt: skip
    assert report["facts"]["differ"] > 5
    assert (tmp_path / "page" / "report.html").is_file()


def test_the_verb_reads_every_kind(tmp_path):
    def put(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    human, models = _simulated(40, 0, shrink=0.2)
    sides = [put(f"l{n}", [{"id": str(k), "labels": row.tolist()} for k, row in enumerate(labels)])
             for n, labels in enumerate((human, models))]  # fmt: skip
    sides = [str((tmp_path / side).rename(f"{side}.jsonl")) for side in sides]
    assert _run("--human", sides[0], "--synthetic", sides[1], "--kind", "labels")["facts"]["tested"] > 5
    (tmp_path / "joy.tsv").write_text("happy\t1\n")
    rows = [{"id": str(n), "a": "happy", "b": "sad man", "choice": "ab"[n % 2]} for n in range(20)]
    choices = put("c.jsonl", rows)
    others = put("d.jsonl", [{**row, "choice": "a"} for row in rows])
    made = _run("--human", choices, "--synthetic", others, "--kind", "preferences", "--style",
                f"joy={tmp_path / 'joy.tsv'}")  # fmt: skip
    assert made["kind"] == "corpus-artifacts-preferences"
    answers = put("i.jsonl", [{"id": str(n), "text": f"it is {n}", "prompt": "what"} for n in range(9)])
    assert _run("--human", answers, "--synthetic", answers, "--kind", "instructions")["facts"]["differ"] == 0
    turns = [{"role": "user", "content": "Instruction: x"}, {"role": "assistant", "content": "Solution: y"}]
    talks = put("t.jsonl", [{"id": str(n), "messages": turns} for n in range(5)])
    (tmp_path / "rules.json").write_text('{"first": 1}')
    made = _run("--human", talks, "--synthetic", talks, "--kind", "dialogues", "--rules", str(tmp_path / "rules.json"))
    assert made["facts"]["differ"] == 0


def test_the_verb_trains_on_answers_and_counts_motifs_and_flips(tmp_path):
    def put(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    texts, human, models = _opinions(30, 0)
    sides = [put(f"{name}.jsonl", [{"id": str(n), "text": text, "labels": row.tolist()}
                                   for n, (text, row) in enumerate(zip(texts, labels, strict=True))])
             for name, labels in (("human", human), ("models", models))]  # fmt: skip
    made = _run("--human", sides[0], "--synthetic", sides[1], "--kind", "labels", "--train")
    assert made["kind"] == "corpus-artifacts-training"

    def chain(n):
        return [{"from": k, "to": k + 1, "label": "next"} for k in range(n % 4 + 2)]

    docs = put(
        "docs.jsonl",
        [
            {
                "id": str(n),
                "text": f"w{n} is loud! " * 5,
                "rst": chain(n),
                "tree": "(S (NP (NN dog)) (VP (VBZ barks) (ADVP (RB loudly))))",
            }
            for n in range(6)
        ],
    )
    (tmp_path / "loud.py").write_text("def score(texts):\n    return ['!' in text for text in texts]\n")
    for where, motif in (("edges:rst", "0-next>1"), ("column:tree", "NP")):
        made = _run("--human", docs, "--synthetic", docs, "--graphs", where, "--flip", f"loud={tmp_path}/loud.py:score",
                    "--reference", docs)  # fmt: skip
        names = made["tables"]["differences"]["columns"]["metric"] if "columns" in made["tables"]["differences"] else [
            row["metric"] for row in made["tables"]["differences"]]  # fmt: skip
        assert any(name.startswith("motif3.") and motif in name for name in names)
        assert "style.loud.flipped" in names
    twice = put("twice.jsonl", [{"id": "1", "labels": [1]}] * 2)
    done = CliRunner().invoke(app, ["corpus", "artifacts", "--human", twice, "--synthetic", twice, "--kind", "labels"])
    assert "twice" in str(done.exception)


def test_the_table_has_the_columns_of_the_card():
    report = artifact_battery("text", _zipf_texts(9, 0, power=1.0), _zipf_texts(9, 1, power=1.0))
    names = ["metric", "group", "human", "synthetic", "difference", "low", "high", "n", "test", "p", "p_adjusted"]
    assert report.tables["differences"].schema.names == names
    assert isinstance(report.tables["differences"], pa.Table)
