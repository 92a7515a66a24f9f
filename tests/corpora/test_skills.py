"""Scores are the quadratic form they are said to be, explained to the last part, and find planted combinations."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from tokenry.cli import app
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.sidecars import read_signals
from tokenry.corpora.skill_graph import SkillGraph, open_embedder
from tokenry.corpora.skill_reports import coverage_report, explain_report, look, scores_report
from tokenry.corpora.skills import (
    AGGREGATIONS,
    COLUMNS,
    Scorer,
    Scoring,
    background_of,
    calibrate,
    score_batch,
    score_by_skills,
)
from tokenry.worlds.operations import KINDS, Operations

NAMES = "abcdef"
PROBLEMS = [["a", "b"], ["a", "b"], ["a", "c"], ["b", "c", "d"], ["e"], ["f", "a"]]


def axes(strings):
    """Skill number k points along axis k; a text is the sum of the skills it names, by letters."""
    return np.array([[text.split().count(name) for name in NAMES] for text in strings], np.float32)


def made_graph(problems=PROBLEMS):
    return SkillGraph.build(problems, axes)


def at(graph, name):
    return graph.index(name)


def test_one_skill_gives_its_diagonal_and_two_give_their_pair_too():
    graph = made_graph()
    matrix, scorer = graph.adjacency().toarray(), Scorer(graph, Scoring(top_m=None))
    a, b, e = (at(graph, name) for name in "abe")
    assert scorer.score(["a"])[0] == pytest.approx(matrix[a, a])
    # The text "a b" is a unit vector: s_a = s_b = 1 / sqrt(2), so each product is a half.
    assert scorer.score(["a b"])[0] == pytest.approx((matrix[a, a] + matrix[b, b] + 2 * matrix[a, b]) / 2, rel=1e-6)
    assert scorer.score(["a e"])[0] == pytest.approx((matrix[a, a] + matrix[e, e]) / 2, rel=1e-6)


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), st.floats(0, 0.5), st.booleans())
def test_the_score_is_the_quadratic_form_over_what_is_above_tau(values, tau, idf):
    graph = made_graph()
    scorer = Scorer(graph, Scoring(tau=tau, idf=idf, top_m=None))
    similar = scorer.similarities(np.array([values], np.float32) @ graph.vectors_KD[:6])
    dense = similar.toarray()[0]
    numbers, _ = scorer._scored(np.array([values], np.float32) @ graph.vectors_KD[:6])
    matrix = graph.adjacency(idf=idf).toarray()
    assert numbers[0, 0] == pytest.approx(dense @ matrix @ dense, abs=1e-12)
    assert numbers[0, 1] == pytest.approx((dense**2) @ matrix.diagonal(), abs=1e-12)
    assert numbers[0, 1] + numbers[0, 2] == pytest.approx(numbers[0, 0], abs=1e-12)


def random_graph(rng, n=12, width=8):
    problems = [[f"s{one}" for one in rng.choice(n, rng.integers(1, 5), replace=False)] for _ in range(40)]
    vectors = {f"s{one}": rng.normal(size=width) for one in range(n)}
    texts = {f"t{one}": rng.normal(size=width) for one in range(20)}
    known = vectors | texts
    return SkillGraph.build(problems, lambda strings: np.array([known[one] for one in strings])), list(texts), problems


def test_the_linear_score_is_one_direction_and_equals_the_sum_of_a_times_s():
    graph, texts, _ = random_graph(np.random.default_rng(0))
    similar = graph.embedder.units(texts) @ graph.vectors_KD.T
    matrix = graph.adjacency().toarray()
    expected = (similar.astype(np.float64) @ matrix).sum(axis=1)
    np.testing.assert_allclose(Scorer(graph, Scoring("linear")).score(texts), expected, atol=1e-6)
    np.testing.assert_allclose(Scorer(graph, Scoring("similarity-only")).score(texts), similar.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_all_skills_among_the_largest_m_is_the_dense_score(aggregation):
    graph, texts, _ = random_graph(np.random.default_rng(1))
    dense = Scorer(graph, Scoring(aggregation, top_m=None)).measure(texts)
    topped = Scorer(graph, Scoring(aggregation, top_m=len(graph.skills))).measure(texts)
    np.testing.assert_array_equal(dense["skills.score"], topped["skills.score"])
    assert dense["skills.top"] == topped["skills.top"]


@pytest.mark.parametrize("top_m", [None, 3])
def test_the_order_of_the_skills_does_not_matter(top_m):
    rng = np.random.default_rng(2)
    graph, texts, _ = random_graph(rng)
    order = rng.permutation(len(graph.skills))
    place = np.argsort(order)
    moved = SkillGraph(
        [graph.skills[one] for one in order], graph.counts_K[order], np.sort(place[graph.edges_E2], axis=1),
        graph.together_E, graph.vectors_KD[order], [graph.members[one] for one in order], graph.n_problems,
        graph.threshold, graph.embedder,
    )  # fmt: skip
    a, b = (Scorer(one, Scoring(top_m=top_m)).measure(texts) for one in (graph, moved))
    np.testing.assert_allclose(a["skills.score"], b["skills.score"], rtol=1e-5)
    assert a["skills.top"] == b["skills.top"]


def test_only_the_largest_m_count():
    graph, texts, _ = random_graph(np.random.default_rng(3))
    similar = Scorer(graph, Scoring(top_m=2)).similarities(graph.embedder.units(texts)).toarray()
    cosines = np.maximum(graph.embedder.units(texts) @ graph.vectors_KD.T, 0)
    assert ((similar > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(similar.max(axis=1), cosines.max(axis=1), rtol=1e-6)


def test_contributions_sum_to_the_score():
    graph, texts, _ = random_graph(np.random.default_rng(4))
    scorer = Scorer(graph, Scoring(top_m=5))
    for text in texts:
        found = scorer.explain(text, n=1000)
        given_all = sum(part[-1] for part in found.skills) + sum(part[-1] for part in found.pairs)
        assert given_all == pytest.approx(found.score) == pytest.approx(scorer.score([text])[0])


def test_a_long_document_has_the_mean_and_the_best_of_its_pieces():
    scorer = Scorer(made_graph(), Scoring(chunk_bytes=64))
    long = "a b " * 16 + "zz " * 21
    pieces, counts = scorer.chunks([long])
    each = scorer.score(pieces)
    made = scorer.measure([long, None, "  ", "a b"])
    assert counts.tolist() == [len(pieces)]
    assert len(pieces) > 1
    assert made["skills.score"][0] == pytest.approx(each.mean())
    assert made["skills.score_max"][0] == pytest.approx(each.max())
    assert made["skills.chunks"].tolist() == [len(pieces), 0, 0, 1]
    assert np.isnan(made["skills.score"][1:3]).all()
    assert made["skills.top"][1] is None
    assert made["skills.score"][3] == pytest.approx(each.max())


def test_scores_do_not_depend_on_what_else_is_in_the_batch():
    graph, texts, _ = random_graph(np.random.default_rng(5))
    scorer = Scorer(graph, Scoring(top_m=4))
    together = scorer.measure(texts)["skills.score"]
    np.testing.assert_allclose(together, [scorer.score([text])[0] for text in texts], rtol=1e-5)


def test_a_batch_has_typed_columns_with_a_version_also_without_rows():
    scorer = Scorer(made_graph())
    for texts in ([], ["a", None]):
        batch = pa.record_batch(
            {"id": pa.array(["x", "y"][: len(texts)], pa.string()), "text": pa.array(texts, pa.string())}
        )
        made = score_batch(batch, scorer)
        assert made.schema.names == ["id", *COLUMNS]
        assert made.num_rows == len(texts)
        assert [made.schema.field(name).type for name in COLUMNS] == list(COLUMNS.values())
        assert made.schema.field("skills.score").metadata == {b"version": b"1"}


def test_calibration_leaves_what_the_background_rarely_reaches():
    graph, texts, _ = random_graph(np.random.default_rng(6))
    cosines = graph.embedder.units(texts) @ graph.vectors_KD.T
    taus = calibrate(graph, texts, quantile=0.75)
    np.testing.assert_allclose(taus, np.quantile(cosines, 0.75, axis=0), rtol=1e-5)
    assert calibrate(graph, texts, quantile=0.5, per_skill=False) == pytest.approx(np.quantile(cosines, 0.5))
    assert (Scorer(graph, Scoring(tau=taus, top_m=None)).similarities(graph.embedder.units(texts)) > 0).mean() <= 0.26
    with pytest.raises(ValueError, match="3 taus for 12 skills"):
        Scorer(graph, Scoring(tau=(0.1, 0.2, 0.3)))
    with pytest.raises(ValueError, match="no text in the background"):
        calibrate(graph, [" "])


def test_a_background_is_the_same_sample_in_any_order():
    texts = [f"document {n}" for n in range(200)]
    found = background_of(texts, n=20, seed=3)
    assert len(set(found)) == 20
    assert found == background_of(texts[::-1], n=20, seed=3)
    assert found != background_of(texts, n=20, seed=4)
    assert sorted(background_of(texts[:5], n=20)) == sorted(texts[:5])


def test_coverage_counts_the_mass_of_what_is_met_and_lists_the_gaps():
    graph = made_graph()
    report = coverage_report([{"id": "1", "text": "a b"}, {"id": "2", "text": "c"}], Scorer(graph), above=0.5)
    covered = sum(graph.counts_K[at(graph, name)] for name in "abc")
    assert report.facts["share of the needs covered"] == pytest.approx(covered / graph.counts_K.sum(), abs=1e-4)
    assert report.tables["gaps"].column("skill").to_pylist() == ["d", "e", "f"]
    # Of the pairs ab (2), ac, bc, bd, cd, af only ab is in one document.
    assert report.facts["share of the pairs' needs covered"] == pytest.approx(2 / 7, abs=1e-4)


def test_an_explanation_names_documents_or_says_they_are_not_there():
    docs = [{"id": "1", "text": "a b"}, {"id": "2", "text": "zz"}]
    rows = explain_report(docs, Scorer(made_graph()), ids=["1"]).tables["contributions"].to_pylist()
    assert {(row["skill"], row["with"]) for row in rows} == {("a", ""), ("b", ""), ("a", "b")}
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert explain_report(docs, Scorer(made_graph()), ids=["2"]).tables["contributions"].num_rows == 0
    with pytest.raises(ValueError, match="no document '9'"):
        explain_report(docs, Scorer(made_graph()), ids=["9"])


def auc(scores, is_wanted):
    """Share of (wanted, other) in which the wanted one scores higher; ties count half."""
    return mannwhitneyu(scores[is_wanted], scores[~is_wanted]).statistic / (is_wanted.sum() * (~is_wanted).sum())


def scored_world(seed, n=60):
    world = Operations(seed)
    reference, problems = world.reference(300)
    documents, kinds = world.documents(n)
    embedder = open_embedder("words", texts=[*reference, *documents], dim=40, seed=seed)
    graph = SkillGraph.build(problems, embedder, threshold=0.9)
    return graph, documents, kinds


def test_pairs_are_found_by_the_quadratic_score_and_not_by_skills_alone():
    """The world is made so that only the pairs tell "pair" from "crossed" and "single"; skills alone must not."""
    quadratic, nodes, crossed = [], [], []
    for seed in (10, 11, 12):
        graph, documents, kinds = scored_world(seed, n=150)
        made = Scorer(graph).measure(documents)
        for found, name in ((quadratic, "skills.score"), (nodes, "skills.nodes")):
            found.append(auc(made[name], kinds == "pair"))
        both = np.isin(kinds, ["pair", "crossed"])
        crossed.append(auc(made["skills.edges"][both], kinds[both] == "pair"))
    # An AUC of 150 against 600 without effect has sd .026 (Mann-Whitney, sqrt((n+m+1)/(12nm))), the mean of three .015.
    # The difference of two has at most sqrt(2) of that if they are not opposed: three of them are .065.
    assert np.mean(quadratic) - np.mean(nodes) > 0.065
    # 150 against 150: sd .033, of the mean .019.
    assert np.mean(crossed) > 0.5 + 3 * 0.019
    assert set(KINDS) == set(kinds)


@pytest.fixture
def corpus(tmp_path):
    world = Operations(7)
    reference, problems = world.reference(80)
    documents, kinds = world.documents(12)
    rows = [
        {"id": f"r{n}", "text": text, "tags": tags}
        for n, (text, tags) in enumerate(zip(reference, problems, strict=True))
    ]
    (tmp_path / "reference.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"id": f"{kind}{n}", "text": text} for n, (text, kind) in enumerate(zip(documents, kinds, strict=True))]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def texts_of(corpus):
    return [json.loads(line)["text"] for line in (corpus / "docs.jsonl").read_text().splitlines()]


def run(arguments):
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.output


def test_the_verbs_go_from_a_reference_to_a_capped_selection(corpus):
    skills, docs, graph = corpus / "skills.parquet", corpus / "docs.jsonl", corpus / "graph"
    verb = ["corpus", "skills"]
    run([*verb, "extract", corpus / "reference.jsonl", "--way", "tags", "--out", skills, "-q"])
    run([*verb, "graph", skills, "--sample", docs, "--out", graph, "--graphml", corpus / "g.graphml", "-q"])
    run([*verb, "score", docs, "--graph", graph, "--out", corpus / "s", "--background", docs, "--quantile", "0.5",
         "--workers", 1, "-q"])  # fmt: skip
    signals = read_signals(corpus / "s")
    assert signals.column("id").to_pylist()[0] == "pair0"
    assert signals.num_rows == 60
    run(["corpus", "select", docs, "--signals", corpus / "s", "--score", "skills.score", "--budget", 30, "--per",
         "skills.top", "--cap", 2, "--out", corpus / "kept", "--workers", 1, "-q"])  # fmt: skip
    decided = read_signals(f"{corpus / 'kept'}.decisions")
    kept = np.array(decided.column("select.copies").to_pylist()) > 0
    top = np.array(signals.column("skills.top").fill_null("-").to_pylist())[kept]
    assert 0 < kept.sum() <= 30
    assert max(np.unique(top, return_counts=True)[1]) <= 2
    assert (corpus / "g.graphml").is_file()
    for folder in (graph, corpus / "s"):
        assert json.loads((folder / "run.json").read_text())["verb"].startswith("corpus skills")
    assert pq.read_table(skills).num_rows == 80
    shown = json.loads(run([*verb, "show", graph, "--docs", docs, "--above", "0.3", "--json"]))
    assert shown["facts"]["documents"] == 60
    shown = json.loads(run([*verb, "show", graph, "--docs", docs, "--explain", "pair0", "--json"]))
    assert "score.pair0" in shown["facts"]
    assert "neighbours" in run([*verb, "show", graph, "--skill", signals.column("skills.top")[0].as_py()])


def test_a_sidecar_holds_what_the_scorer_gives(corpus):
    embedder = open_embedder("words", texts=texts_of(corpus), dim=16)
    world = Operations(7)
    SkillGraph.build(world.reference(80)[1], embedder).save(corpus / "graph")
    settings = Scoring(tau=0.1, top_m=4)
    made = score_by_skills(
        corpus / "docs.jsonl", corpus / "graph", corpus / "a", scoring=settings, engine=EmbeddedEngine(workers=1)
    )
    report = scores_report(made, settings)
    assert report.facts["documents"] == 60
    assert report.tables["spread"].num_rows == 7
    scorer = Scorer(SkillGraph.load(corpus / "graph"), settings)
    texts = texts_of(corpus)
    np.testing.assert_allclose(
        read_signals(corpus / "a").column("skills.score").to_numpy(), scorer.score(texts), rtol=1e-6
    )


def test_wrong_settings_say_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'node-only'"):
        Scoring("nodes-only")
    with pytest.raises(ValueError, match="top_m=0"):
        Scoring(top_m=0)
    made_graph().save(tmp_path / "graph")
    with pytest.raises(ValueError, match="without documents"):
        look(tmp_path / "graph", explain=["a"], embedder=axes)
    with pytest.raises(FileNotFoundError, match="skills graph"):
        score_by_skills([tmp_path / "none.jsonl"], tmp_path / "absent", tmp_path / "out")
