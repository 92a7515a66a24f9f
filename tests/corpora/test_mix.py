"""A mixture has the shares that were asked for, within a document, and the order of its seed."""

import functools
import itertools
import json
import subprocess
import sys

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


def interrupted(engine_class, monkeypatch, *, at):
    """Whatever the engine does for the `at`-th time (a part, or the sort) is cut off like a Ctrl-C, once."""
    import tokenry.corpora.embedded as embedded

    calls = []

    def cut(function):
        @functools.wraps(function)
        def run(*arguments, **options):
            calls.append(function.__name__)
            if len(calls) == at:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return run

    monkeypatch.setattr(embedded, "run_unit", cut(embedded.run_unit))
    monkeypatch.setattr(engine_class, "query", cut(engine_class.query))
    return calls


def in_parts(sources, tmp_path):
    """The same sources in several files, so that a pass has parts."""
    made = {}
    for name, path in sources.items():
        lines = path.read_text().splitlines(keepends=True)
        made[name] = tmp_path / f"{name}.parts"
        made[name].mkdir()
        for part in range(3):
            (made[name] / f"{part}.jsonl").write_text("".join(lines[part::3]))
    return made


# Two sources of three parts are measured, then drawn from (12 parts in all), then sorted.
@pytest.mark.parametrize("at", [2, 5, 8, 12, 13])
def test_a_mixture_that_was_cut_off_goes_on_with_the_same_command(sources, tmp_path, monkeypatch, at):
    parts, proportions = in_parts(sources, tmp_path), Proportions(5_000, weights={"web": 3, "books": 1})
    mix(parts, tmp_path / "whole", proportions=proportions, seed=3, engine=ENGINE)
    with monkeypatch.context() as patch:
        interrupted(EmbeddedEngine, patch, at=at)
        with pytest.raises(KeyboardInterrupt):
            mix(parts, tmp_path / "o", proportions=proportions, seed=3, engine=ENGINE)
    assert not (tmp_path / "o").exists()
    with monkeypatch.context() as patch:
        calls = interrupted(EmbeddedEngine, patch, at=0)
        mix(parts, tmp_path / "o", proportions=proportions, seed=3, engine=ENGINE)
    assert len(calls) == 13 - (at - 1)  # nothing that was finished is done again
    made, whole = (tmp_path / name / "documents.parquet" for name in ("o", "whole"))
    assert made.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_after_an_interruption_other_settings_draw_anew(sources, tmp_path, monkeypatch):
    parts = in_parts(sources, tmp_path)
    with monkeypatch.context() as patch:
        interrupted(EmbeddedEngine, patch, at=8)
        with pytest.raises(KeyboardInterrupt):
            mix(parts, tmp_path / "o", proportions=Proportions(5_000), seed=3, engine=ENGINE)
    mix(parts, tmp_path / "o", proportions=Proportions(3_000), seed=4, engine=ENGINE)
    mix(parts, tmp_path / "whole", proportions=Proportions(3_000), seed=4, engine=ENGINE)
    made, whole = (tmp_path / name / "documents.parquet" for name in ("o", "whole"))
    assert made.read_bytes() == whole.read_bytes()


@pytest.mark.slow  # starts two processes that import Arrow and DuckDB, and kills the first
def test_a_killed_mix_goes_on_by_the_verb(sources, tmp_path):
    parts = in_parts(sources, tmp_path)
    given = [part for name, path in parts.items() for part in ("--source", f"{name}={path}")]
    typed = ["corpus", "mix", *given, "--budget", "5k", "--workers", "1", "-q", "--out"]
    killer = (
        "import os, signal, sys, tokenry.corpora.embedded as embedded\n"
        "run, calls = embedded.run_unit, []\n"
        "def killed(*arguments, **options):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 9:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return run(*arguments, **options)\n"
        "embedded.run_unit = killed\n"
        "from tokenry.cli import app\n"
        "app(sys.argv[1:])\n"
    )
    ended = subprocess.run([sys.executable, "-c", killer, *typed, str(tmp_path / "o")], capture_output=True)
    assert ended.returncode == -9
    assert not (tmp_path / "o").exists()
    for out in ("o", "whole"):
        subprocess.run([sys.executable, "-m", "tokenry", *typed, str(tmp_path / out)], check=True, capture_output=True)
    made, whole = (tmp_path / name / "documents.parquet" for name in ("o", "whole"))
    assert made.read_bytes() == whole.read_bytes()
