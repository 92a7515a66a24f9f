"""From losses with planted truth to a signal, labels and a scorer that finds the documents that predict."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.corpora.classifier import auc
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.losses import sizes_of
from tokenry.corpora.predictive_corpus import Pairs, measure_strength, read_benchmark, train_scorer
from tokenry.corpora.sidecars import read_signals, write_sidecar

BENCHMARK = {"m0": 40.0, "m1": 45.0, "m2": 50.0, "m3": 54.0, "m4": 60.0, "m5": 66.0}


def written(folder, n=600, *, n_models=6, seed=0):
    """Documents of two kinds and losses made for them: on facts better models lose less, on noise any order comes."""
    rng = np.random.default_rng(seed)
    vocabularies = {"facts": [f"fact{k}" for k in range(30)], "noise": [f"noise{k}" for k in range(30)]}
    rows, nats = [], []
    for at in range(n):
        kind = ("facts", "noise")[at % 2]
        words = [str(word) for word in rng.choice([*vocabularies[kind], *["the", "of", "and"] * 20], 60)]
        rows.append({"text": " ".join(words), "source": kind})
        slope = 0.3 if kind == "facts" else 0.0
        nats.append([len(rows[-1]["text"]) * (3 - slope * m + 0.2 * rng.normal()) for m in range(n_models)])
    docs = folder / "docs.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = EmbeddedEngine(workers=1).map(docs, sizes_of, folder / "losses" / "sizes", key="k")
    for m, column in enumerate(np.array(nats).T):
        write_sidecar(sizes, {f"loss.m{m}.nats": pa.array(column)}, folder / "losses" / f"m{m}", key="k", engine="e")
    return docs, [row["source"] for row in rows]


def test_planted_documents_are_found_labelled_and_learnt_by_the_verb(tmp_path):
    docs, kinds = written(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps(BENCHMARK))
    run = CliRunner().invoke(
        app,
        ["corpus", "predictive", "--losses", str(tmp_path / "losses"), "--benchmark", str(tmp_path / "scores.json"),
         "--out", str(tmp_path / "strength"), "--docs", str(docs), "--train", str(tmp_path / "scorer"), "--json", "-q"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    signal = read_signals(tmp_path / "strength")
    strength = signal.column("predictive.strength").to_numpy()
    facts = np.array([kind == "facts" for kind in kinds])
    # Neighbouring models differ by 0.3 with noise of 0.2 sqrt 2 each: pairs are in order with 0.855, 0.983, ... .
    assert strength[facts].mean() > 0.9
    # 300 documents of sd 0.177: the mean is within four standard errors of a half.
    assert abs(strength[~facts].mean() - 0.5) < 4 * 0.177 / np.sqrt(300)
    assert said["facts"]["of strength 1 by chance"] == pytest.approx(600 / 720, abs=0.05)
    assert said["facts"]["of strength 1"] > 50
    scorer = LinearClassifier.load(tmp_path / "scorer")
    texts = [json.loads(line)["text"] for line in docs.read_text().splitlines()]
    assert auc(scorer.probabilities(texts)[:, scorer.place("positive")], facts).value > 0.99
    assert "scorer: AUC on held-out documents" in said["facts"]
    report = json.loads((tmp_path / "strength.report" / "report.json").read_text())
    assert "sources" in json.dumps(report)


def test_sources_are_ranked_and_weighted(tmp_path):
    written(tmp_path, 200)
    made = measure_strength(tmp_path / "losses", BENCHMARK, tmp_path / "out")
    rows = {row["source"]: row for row in made.report.tables["sources"].to_pylist()}
    assert rows["facts"]["gamma"] == pytest.approx(6 * 35 / 6)  # the perfect order: N (N^2 - 1) / 6
    assert rows["facts"]["weight, at most twice its share"] == pytest.approx(min(1, 2 * rows["facts"]["share"]))
    assert rows["facts"]["documents"] == rows["noise"]["documents"] == 100
    assert made.report.tables["models"].column("model").to_pylist() == list(BENCHMARK)


def test_few_models_and_luck_are_warned_of(tmp_path):
    written(tmp_path, 100, n_models=3)
    rng = np.random.default_rng(1)
    benchmark = {f"m{m}": BENCHMARK[f"m{m}"] for m in range(3)}
    made = measure_strength(tmp_path / "losses", benchmark, tmp_path / "out")
    assert "read it as noise" in " ".join(made.report.warnings)
    like = made.sidecar
    for m in range(3):
        path = tmp_path / "noise" / f"m{m}"
        write_sidecar(like, {f"loss.m{m}.nats": pa.array(rng.random(100) * 500)}, path, key="k", engine="e")
    import shutil

    shutil.copytree(tmp_path / "losses" / "sizes", tmp_path / "noise" / "sizes")
    made = measure_strength(tmp_path / "noise", benchmark, tmp_path / "out2")
    assert "mostly luck" in " ".join(made.report.warnings)


def test_short_documents_have_no_strength_and_strangers_are_refused(tmp_path):
    docs, _ = written(tmp_path, 40)
    made = measure_strength(tmp_path / "losses", BENCHMARK, tmp_path / "out", pairs=Pairs(shortest=260))
    found = pq.read_table(made.sidecar.parts[0]).column("predictive.strength")
    lengths = [len(json.loads(line)["text"]) for line in docs.read_text().splitlines()]
    assert [value is None for value in found.to_pylist()] == [length < 260 for length in lengths]
    with pytest.raises(FileExistsError, match="another --out"):
        measure_strength(tmp_path / "losses", BENCHMARK, tmp_path / "out")
    with pytest.raises(ValueError, match="lower --shortest"):
        measure_strength(tmp_path / "losses", BENCHMARK, tmp_path / "out3", pairs=Pairs(shortest=10_000))
    with pytest.raises(ValueError, match="no losses of 'm9'"):
        measure_strength(tmp_path / "losses", {**BENCHMARK, "m9": 1.0}, tmp_path / "out3")
    with pytest.raises(ValueError, match=r"no predictive\.label"):
        train_scorer(docs, tmp_path / "losses" / "sizes")
    docs.write_text(docs.read_text().replace("fact1 ", "fact1  ") + '{"text": "one more", "source": "new"}\n')
    with pytest.raises(ValueError, match="made from other documents"):
        train_scorer(docs, tmp_path / "out")


def test_benchmarks_are_read_or_refused(tmp_path):
    assert read_benchmark(["a=1", "b = -2.5"]) == {"a": 1.0, "b": -2.5}
    (tmp_path / "s.json").write_text('["a"]')
    for typed, said in (
        (["a"], "NAME=NUMBER"),
        (["a=1", "a=2"], "two benchmark"),
        ([str(tmp_path / "s.json")], "Need"),
    ):
        with pytest.raises(ValueError, match=said):
            read_benchmark(typed)
