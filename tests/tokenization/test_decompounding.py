"""The verbs on compounds, and Less-is-Better through its verb."""

import json

import pytest
from compound_examples import gold_lines, text_with_hyphens
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.vocab import Vocab
from tokenry.data import demo_text
from tokenry.tokenization.decompounding import score_report


def run(*arguments: object) -> dict:
    """The report of a verb that must succeed."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    return json.loads(done.stdout)


def test_a_decompounder_is_trained_used_and_scored(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "text.txt").write_text(text_with_hyphens(), encoding="utf-8")
    (tmp_path / "gold.tsv").write_text(gold_lines(), encoding="utf-8")
    verb = ("tokenizer", "decompound")
    made = run(*verb, "train", "--data", tmp_path / "text.txt", "--out", tmp_path / "m", "--steps", 10,
               "--exclude", tmp_path / "gold.tsv", "--quiet")  # fmt: skip
    assert made["facts"]["from_hyphens"] > 100
    assert {file.name for file in (tmp_path / "m").iterdir()} == {
        "model.safetensors", "decompounder.json", "counts.tsv", "run.json",
    }  # fmt: skip
    used = run(*verb, "apply", "wintergarten", "immer", "--model", tmp_path / "m")
    assert used["facts"]["n_words"] == 2
    counts = f"freq:{tmp_path / 'm' / 'counts.tsv'}"
    assert run(*verb, "apply", "--data", tmp_path / "text.txt", "--model", counts)["facts"]["n_words"] > 100
    scored = run(*verb, "score", tmp_path / "gold.tsv", "--model", tmp_path / "m", "--model", counts)
    assert {"m.exact", "frequency.exact"} <= scored["facts"].keys()


def test_two_lists_of_counts_are_scored_apart(tmp_path):
    (tmp_path / "gold.tsv").write_text("haustür\thaus|tür\nimmer\n", encoding="utf-8")
    for name, more in (("knows", "haus\t9\n"), ("lacks", "")):
        (tmp_path / f"{name}.tsv").write_text(f"tür\t9\nimmer\t9\n{more}", encoding="utf-8")
    models = [f"freq:{tmp_path / name}.tsv" for name in ("knows", "lacks")]
    assert len(score_report(tmp_path / "gold.tsv", models).tables["decompounders"]) == 2


def test_wrong_arguments_are_named(tmp_path):
    (tmp_path / "plain.txt").write_text("ein Text ohne Striche", encoding="utf-8")
    done = CliRunner().invoke(
        app, ["tokenizer", "decompound", "train", "--data", str(tmp_path / "plain.txt"), "--out", str(tmp_path / "m")]
    )
    assert isinstance(done.exception, ValueError)
    assert not (tmp_path / "m").exists()
    done = CliRunner().invoke(app, ["tokenizer", "decompound", "apply", "--model", "x"])
    assert isinstance(done.exception, ValueError)


@pytest.mark.slow  # the verb reads 5,000 documents, about 6 s
def test_least_effort_is_a_kind_of_train(tmp_path):
    report = run("tokenizer", "train", "--data", demo_text("stories"), "--kind", "least-effort", "--size", 600,
                 "--limit", 20, "--out", tmp_path / "lib", "--quiet")  # fmt: skip
    assert report["facts"]["vocab_size"] == 600
    text = "Once upon a time, there was  a dog.\n"
    vocab = Vocab.open(tmp_path / "lib")
    assert vocab.decode(vocab.encode([text])[0]) == text
