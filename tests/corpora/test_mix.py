"""A mixture has the shares that were asked for, within a document, and the order of its seed."""

import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.cli import app
from tokenry.core.tables import read
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.mix import Proportions, mix

ENGINE = EmbeddedEngine(workers=1)


@pytest.fixture
def sources(tmp_path):
    made = {}
    for name, n, extra in (("web", 400, {"url": "u"}), ("books", 50, {"isbn": 3})):
        path = tmp_path / f"{name}.jsonl"
        rows = [{"id": f"{name}{k}", "text": "x" * (20 + k % 7), "lang": "en", **extra} for k in range(n)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        made[name] = path
    return made


def shares(table):
    sizes = {"web": 0, "books": 0}
    for row in table.to_pylist():
        sizes[row["source"]] += len(row["text"])
    return {name: size / sum(sizes.values()) for name, size in sizes.items()}


def test_the_shares_are_those_asked_for_within_a_document(sources, tmp_path):
    report = mix(sources, tmp_path / "o", proportions=Proportions(5_000, weights={"web": 3, "books": 1}), engine=ENGINE)
    table = read(tmp_path / "o")
    assert abs(shares(table)["books"] - 0.25) <= 26 / 5_000
    assert 5_000 <= report.facts["bytes.taken"] < 5_000 + 2 * 26
    assert table.schema.names == ["id", "text", "source", "lang"]
    assert report.tables["sources"].to_pylist()[1]["epochs"] > 1


def test_a_bound_on_epochs_is_kept_and_said(sources, tmp_path):
    proportions = Proportions(8_000, weights={"web": 1, "books": 1}, epochs=1)
    report = mix(sources, tmp_path / "o", proportions=proportions, engine=ENGINE)
    books = [row["id"] for row in read(tmp_path / "o").to_pylist() if row["source"] == "books"]
    assert len(books) == len(set(books)) == 50
    assert any("at its bound of 1 epochs" in warning for warning in report.warnings)


def test_a_document_larger_than_the_budget_is_said(sources, tmp_path):
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": "y" * 1_000}) + "\n")
    report = mix({"long": tmp_path / "long.jsonl"}, tmp_path / "o", proportions=Proportions(700), engine=ENGINE)
    assert (report.facts["bytes.asked"], report.facts["bytes.taken"]) == (700, 1_000)
    assert any("documents are not cut" in warning for warning in report.warnings)


def test_all_of_everything_once_when_no_budget_is_given(sources, tmp_path):
    mix(sources, tmp_path / "o", proportions=Proportions(), engine=ENGINE)
    ids = read(tmp_path / "o").column("id").to_pylist()
    assert len(ids) == len(set(ids)) == 450


def test_the_seed_decides_the_order_and_another_seed_gives_another(sources, tmp_path):
    made = []
    for place, seed in enumerate((1, 1, 2)):
        mix(sources, tmp_path / str(place), proportions=Proportions(budget=100, unit="docs"), seed=seed, engine=ENGINE)
        made.append(read(tmp_path / str(place)).column("id").to_pylist())
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert made[0] != sorted(made[0])


def test_copies_of_a_document_do_not_stand_together(sources, tmp_path):
    proportions = Proportions(200, unit="docs", weights={"books": 1})
    mix(sources, tmp_path / "o", proportions=proportions, engine=ENGINE)
    ids = read(tmp_path / "o").column("id").to_pylist()
    assert {ids.count(name) for name in set(ids)} == {4}
    neighbours = sum(a == b for a, b in itertools.pairwise(ids))
    # In a random order a neighbour is a copy with chance 3/199: 3 expected, over 12 with a chance below 1e-4.
    assert neighbours <= 12


def test_the_file_opens_as_plain_parquet_without_our_columns(sources, tmp_path):
    mix(sources, tmp_path / "o", proportions=Proportions(), engine=ENGINE)
    assert pq.read_schema(tmp_path / "o" / "documents.parquet").names == ["id", "text", "source", "lang"]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["documents.parquet", "run.json"]
    assert not list(tmp_path.glob(".o*"))


def test_contradictions_and_strangers_are_refused(sources, tmp_path):
    with pytest.raises(ValueError, match=r"'boks', which is no source.*books"):
        mix(sources, tmp_path / "o", proportions=Proportions(100, weights={"boks": 1}), engine=ENGINE)
    with pytest.raises(ValueError, match="unit='tokens'"):
        Proportions(unit="tokens")
    with pytest.raises(ValueError, match="give one of them"):
        Proportions(weights={"web": 1}, even=True)
    with pytest.raises(ValueError, match="no source"):
        mix({}, tmp_path / "o", proportions=Proportions(), engine=ENGINE)
    assert not list(tmp_path.glob("*.mixing"))
    assert not (tmp_path / "o").exists()


def test_the_verb_mixes_evenly(sources, tmp_path, capsys):
    given = [part for name, path in sources.items() for part in ("--source", f"{name}={path}")]
    app(["corpus", "mix", *given, "--budget", "2k", "--even", "--out", str(tmp_path / "o"), "--workers", "1", "--json",
         "-q"], standalone_mode=False)  # fmt: skip
    rows = json.loads(capsys.readouterr().out)["tables"]["sources"]
    assert pa.table(rows if isinstance(rows, dict) else {"rows": rows}).num_rows
    assert abs(shares(read(tmp_path / "o"))["web"] - 0.5) < 0.03
