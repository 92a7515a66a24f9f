"""The pipeline through its verbs, on this machine's pool and on a Ray cluster: every file that it leaves is equal."""

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tokenry.cli import app

SOURCE = Path(__file__).resolve().parents[2] / "src"
CLUSTER = """
import ray, sys
found = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(found.address_info["address"])
sys.stdout.flush()
sys.stdin.read()
ray.shutdown()
"""


@contextlib.contextmanager
def ray_cluster(monkeypatch):
    """A cluster of two CPUs on this machine; it ends when its standard input does, and takes its processes along."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # its own, whatever token file this user has
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, sys.path)]),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        ready, _, _ = select.select([process.stdout], [], [], 180)
        address = process.stdout.readline().strip() if ready else ""
        if not address:
            process.kill()
            pytest.skip("Ray could not start a cluster on this machine within three minutes")
        monkeypatch.setenv("RAY_ADDRESS", address)
        yield address
    finally:
        process.stdin.close()
        process.wait(60)


def made_corpus(folder):
    """Three files of 120 documents: short ones, copies of earlier ones, and some that hold a test item."""
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "nrstlm"]
    item = " ".join(words[place * 7 % 150] for place in range(30))
    folder.mkdir()
    (folder.parent / "test.jsonl").write_text(json.dumps({"text": item}) + "\n")
    for file in range(3):
        rows = []
        for row in range(120):
            number = 120 * file + (row if row % 5 else 0)  # every fifth is the first one again
            text = " ".join(words[(number * 13 + place * (number % 11 + 1)) % 150] for place in range(20 + number % 60))
            text += f" {item}" if row % 17 == 3 else ""
            rows.append({"id": f"{file}-{row}", "text": f"{text}.\nA second line, näher bei {number} 🙂.", "n": row})
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run_pipeline(docs, out, engine):
    """Score, find duplicates, find test items, select, mix; each verb as a user types it."""
    out.mkdir()
    at = ["--engine", engine, "--workers", "2", "--json", "-q"]
    rule = "missing(dedup.minhash.duplicate_of) and decontaminate.share < 0.2 and gopher.words >= 30"
    steps = [
        ["score", docs, "--out", out / "scores", "--signals", "gopher,repetition"],
        ["dedup", docs, "--out", out / "dups", "--method", "minhash"],
        ["decontaminate", docs, "--out", out / "tests", "--test-set", f"made={docs.parent / 'test.jsonl'}"],
        ["select", docs, "--out", out / "kept", "--signals", out / "scores", "--signals", out / "dups",
         "--signals", out / "tests", "--where", rule],
        ["mix", "--source", f"kept={out / 'kept'}", "--source", f"all={docs}", "--weights", "kept=3,all=1",
         "--budget", "20000", "--unit", "chars", "--out", out / "mixed"],
    ]  # fmt: skip
    for step in steps:
        app(["corpus", *map(str, step), *at], standalone_mode=False)


def left(folder):
    """Every Parquet file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


@pytest.mark.slow  # starts a Ray cluster, and Daft in a process of its own for each step: a minute
def test_the_pipeline_leaves_equal_bytes_on_one_machine_and_on_a_cluster(tmp_path, monkeypatch, capsys):
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    docs = made_corpus(tmp_path / "in")
    run_pipeline(docs, tmp_path / "embedded", "embedded")
    with ray_cluster(monkeypatch):
        run_pipeline(docs, tmp_path / "ray", "ray")
    capsys.readouterr()
    here, there = left(tmp_path / "embedded"), left(tmp_path / "ray")
    assert {name.split("/")[0] for name in here} == {
        "scores", "dups", "dups.index", "tests", "kept", "kept.decisions", "mixed",
    }  # fmt: skip
    assert list(here) == list(there)
    assert [name for name in here if here[name] != there[name]] == []
    manifest = json.loads((tmp_path / "ray/scores/manifest.json").read_text())
    assert manifest["engine"] == "daft"
    assert manifest["documents"] == 360
