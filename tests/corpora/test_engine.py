"""Engines keep their laws, whatever the corpus, and name what is wrong."""

import functools
import json
import os
import sys
from pathlib import Path

import pytest

from tokenry.corpora.engine import check_engine, grouped_schema, open_engine, parts_of, read_mapped
from tokenry.corpora.units import Reading


def corpus(folder, n_files=3, n=200):
    folder.mkdir()
    for file in range(n_files):
        rows = [{"id": f"{file}-{row}", "text": "ab " * ((file * 37 + row) % 41)} for row in range(n)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "empty.jsonl").write_text("")
    return folder


def test_the_embedded_engine_keeps_the_laws(tmp_path):
    check_engine(open_engine("embedded", workers=1), corpus(tmp_path / "in"), tmp_path / "out")


@pytest.mark.slow  # starts Daft, in four child processes
def test_the_daft_engine_keeps_the_laws(tmp_path):
    pytest.importorskip("daft")
    check_engine(open_engine("daft"), corpus(tmp_path / "in"), tmp_path / "out")


def test_an_unknown_engine_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"embeded.*embedded"):
        open_engine("embeded")


def test_a_cluster_that_does_not_answer_is_refused_at_once():
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"nothing answers at 127\.0\.0\.1:1"):
        open_engine("ray://127.0.0.1:1")


def test_a_cluster_that_has_died_is_refused_at_once(monkeypatch):
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"nothing answers at 127\.0\.0\.1:1.*ray start --head"):
        open_engine("ray")


def test_an_engine_object_is_passed_through():
    engine = open_engine("embedded", workers=1)
    assert open_engine(engine) is engine


def test_parts_are_found_in_order_and_their_absence_is_said(tmp_path):
    engine = open_engine("embedded", workers=1)
    from tokenry.corpora.engine import _lengths

    mapped = engine.map(corpus(tmp_path / "in"), _lengths, tmp_path / "out", key="k", reading=Reading(batch_rows=7))
    assert parts_of(tmp_path / "out") == [str(part) for part in mapped.parts]
    assert read_mapped(tmp_path / "out") == mapped
    with pytest.raises(FileNotFoundError, match="no Parquet parts"):
        parts_of(tmp_path / "in")
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        read_mapped(tmp_path / "in")
    mapped.parts[1].unlink()
    with pytest.raises(ValueError, match="lacks 1 of its parts"):
        read_mapped(tmp_path / "out")


def test_wrong_columns_and_aggregates_are_named(tmp_path):
    engine = open_engine("embedded", workers=1)
    from tokenry.corpora.engine import _lengths

    mapped = engine.map(corpus(tmp_path / "in"), _lengths, tmp_path / "out", key="k")
    files = parts_of(mapped.folder)
    with pytest.raises(ValueError, match="no column 'm'"):
        grouped_schema(files, ["m"], {})
    with pytest.raises(ValueError, match="no aggregate 'median' of 'n'"):
        grouped_schema(files, ["odd"], {"x": ("median", "n")})
    with pytest.raises(ValueError, match="need inner, left, semi or anti"):
        engine.join(files, files, tmp_path / "j.parquet", on="id", how="outer")
    with pytest.raises(ValueError, match="no column 'm' in"):
        engine.join(files, files, tmp_path / "j.parquet", on="m")


def fails_without(batch, marker):
    from tokenry.corpora.engine import _lengths

    if not marker.exists():
        raise ConnectionError("the store is away")
    return _lengths(batch)


@pytest.mark.slow  # starts Daft twice
def test_daft_goes_on_after_a_failure(tmp_path, monkeypatch):
    pytest.importorskip("daft")
    here = [str(Path(__file__).parent), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(here))  # its workers must find `fails_without`
    marker = tmp_path / "up"
    work = functools.partial(fails_without, marker=marker)
    source, engine = corpus(tmp_path / "in"), open_engine("daft", workers=1)
    with pytest.raises(RuntimeError, match="the store is away"):
        engine.map(source, work, tmp_path / "out", key="k")
    marker.touch()
    assert engine.map(source, work, tmp_path / "out", key="k").n_out == 600


def test_a_module_that_workers_lack_is_named_however_often_it_was_quoted():
    from tokenry.corpora.engine_daft import _sentence

    error = RuntimeError("['(\\\"No module named \\\\\\'seen.here\\\\\\'\\\")']")
    assert _sentence(error, None).startswith("the workers have no module 'seen.here'. Install it")
