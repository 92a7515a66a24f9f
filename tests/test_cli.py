"""The door: every verb answers, wrong arguments end with a sentence and code 2, stdout holds results only."""

import json
import subprocess
import sys

import pytest

from tokenry import cli
from tokenry.cli import app, main
from tokenry.data import demo_model, demo_text

MODEL, FICTION = str(demo_model()), str(demo_text("fiction"))


def run(capsys, *arguments, code=0):
    """Run the door in this process; returns (stdout, stderr)."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return out, err


def run_json(capsys, *arguments):
    return json.loads(run(capsys, *arguments, "--json", "--quiet")[0])


def commands(group, prefix=()):
    import typer

    root = typer.main.get_command(group)

    def walk(command, path):
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from walk(inner, (*path, name))
        else:
            yield path, command

    yield from walk(root, prefix)


VERBS = list(commands(app))


@pytest.mark.parametrize("path", [path for path, _ in VERBS], ids=" ".join)
def test_every_verb_has_help_with_an_example(capsys, path):
    out, _ = run(capsys, *path, "--help")
    assert "Example" in out
    assert "tokenry" in out


@pytest.mark.parametrize(("path", "headings"), [((), cli.HEADINGS), (("corpus",), cli.corpus.HEADINGS)])
def test_the_help_has_every_verb_under_a_heading(capsys, path, headings):
    shown = run(capsys, *path, "--help")[0]
    first = {found[0] for found, _ in commands(app) if not path} or {f[1] for f, _ in commands(app) if f[0] == path[0]}
    assert {name for names in headings.values() for name in names} == first
    places = [shown.index(f"─ {heading} ─") for heading in headings]
    assert places == sorted(places)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom tokenry.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'numba', 'scipy', 'pyarrow', 'tokenizers', 'numpy', 'huggingface_hub'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in out


def test_a_wrong_verb_suggests_the_right_one(capsys):
    _, err = run(capsys, "tokenizer", "adit", code=2)
    assert "audit" in err


def test_audit_gives_the_promised_facts_as_json(capsys):
    report = run_json(capsys, "tokenizer", "audit", MODEL, "--text", FICTION, "--limit", "40")
    facts = report["facts"]
    assert facts["round_trip_failures"] == 0
    assert facts["n_bytes"] / facts["n_tokens"] == pytest.approx(facts["bytes_per_token"]["value"])
    assert facts["bytes_per_token"]["low"] < facts["bytes_per_token"]["value"] < facts["bytes_per_token"]["high"]


def test_split_shows_bytes_and_kinds(capsys):
    report = json.loads(run(capsys, "tokenizer", "split", MODEL, "Once upon a time, ß", "--json")[0])
    assert report["facts"]["round_trip"] is True
    assert report["facts"]["n_bytes"] == len("Once upon a time, ß".encode())


def test_extend_then_compare_then_transplant_verify_and_revert(capsys, tmp_path):
    extended, moved, back = tmp_path / "ext", tmp_path / "moved", tmp_path / "back"
    run(capsys, "tokenizer", "extend", MODEL, "--data", FICTION, "--add", "200", "--out", extended, "--quiet")
    facts = run_json(capsys, "tokenizer", "compare", MODEL, extended, "--text", FICTION, "--limit", "30")["facts"]
    assert facts
    run(capsys, "transplant", MODEL, "--tokenizer", extended, "--out", moved)
    assert run_json_verify(capsys, moved)["ok"] is True
    run(capsys, "transplant", "revert", moved, "--out", back)
    assert (back / "model.safetensors").read_bytes() == (demo_model() / "model.safetensors").read_bytes()
    again = tmp_path / "again"
    run(capsys, "transplant", "apply", moved, MODEL, "--out", again)
    assert (again / "model.safetensors").read_bytes() == (moved / "model.safetensors").read_bytes()


def run_json_verify(capsys, folder):
    return json.loads(run(capsys, "transplant", "verify", folder, "--json")[0])["facts"]


def test_train_writes_a_tokenizer_that_opens_without_us(capsys, tmp_path):
    from transformers import AutoTokenizer

    out = tmp_path / "tok"
    run(capsys, "tokenizer", "train", "--data", FICTION, "--limit", "50", "--size", "600", "--out", out, "--quiet")
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert len(tokenizer) == 600
    assert tokenizer.decode(tokenizer("The whale, ß 漢", add_special_tokens=False)["input_ids"]) == "The whale, ß 漢"
    assert json.loads((out / "run.json").read_text())["verb"] == "tokenizer train"


def test_evaluate_and_sample(capsys):
    facts = run_json(capsys, "model", "evaluate", MODEL, "--text", demo_text("stories"), "--limit", "5")["facts"]
    assert 0.6 < facts["bits_per_byte"]["value"] < 1.0
    out, _ = run(capsys, "model", "sample", MODEL, "Once upon a time", "--tokens", "12")
    assert out.startswith("Once upon a time")


def test_heal_writes_a_model_and_its_curve(capsys, tmp_path):
    out = tmp_path / "healed"
    arguments = ("--data", FICTION, "--limit", "60", "--steps", "12", "--batch", "4", "--length", "64")
    report = run_json(capsys, "heal", MODEL, *arguments, "--out", out)
    assert report["facts"]["bits_per_byte.after"] < report["facts"]["bits_per_byte.before"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "run.json"} <= {p.name for p in out.iterdir()}


def test_doctor_and_papers(capsys):
    out, _ = run(capsys, "doctor", "--json")
    assert json.loads(out)["facts"]["tokenry"]
    out, _ = run(capsys, "papers", "26", "--json")
    assert "Orthogonal Matching Pursuit" in out
    _, err = run(capsys, "papers", "99", code=2)
    assert "58" in err


def test_rerun_repeats_a_recorded_run_elsewhere(capsys, tmp_path, monkeypatch):
    out = tmp_path / "tok"
    arguments = ["tokenizer", "train", "--data", FICTION, "--limit", "30", "--size", "400", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["tokenry", *arguments])
    run(capsys, *arguments)
    monkeypatch.setattr(sys, "argv", ["tokenry", "rerun"])
    run(capsys, "rerun", out / "run.json", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenizer", "audit", "no/such", "--text", FICTION], "no/such"),
        (["tokenizer", "audit", MODEL, "--text", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["tokenizer", "extend", MODEL, "--data", FICTION, "--size", "100", "--out", "never"], "100"),
        (["model", "sample", "owner/model", "hi"], "hub"),
        (["transplant", MODEL, "--out", "never"], "--tokenizer"),
        (["transplant", MODEL, "--tokenizer", MODEL, "--method", "omp", "--out", "never"], "--donor"),
        (["rerun", "no-such-run"], "no-such-run"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_code_2(capsys, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, err = run(capsys, *arguments, code=2)
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_out_is_refused_and_kept(capsys, tmp_path):
    out = tmp_path / "tok"
    out.mkdir()
    (out / "mine").write_text("x")
    arguments = ("tokenizer", "train", "--data", FICTION, "--limit", "20", "--size", "400")
    _, err = run(capsys, *arguments, "--out", out, code=2)
    assert "overwrite" in err
    assert (out / "mine").read_text() == "x"
