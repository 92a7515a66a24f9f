"""The main job, end to end on the carried model: what it writes, that it resumes, and what it refuses."""

import errno
import json
import lzma
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from tokenry.cli import main
from tokenry.data import demo_model, demo_text
from tokenry.transplant.adapt import AdaptConfig, adapt
from tokenry.transplant.healing import HealConfig
from tokenry.transplant.workspace import Workspace

QUICK = AdaptConfig(
    size=700, method="pieces", heal=HealConfig(steps=4, batch=2, length=64, evaluations=1),
    probe_steps=1, heldout_bytes=6000, general_bytes=3000, probe_bytes=2000, speed_prompts=2, speed_tokens=6,
)  # fmt: skip
READING = {"limit": 90}


@pytest.fixture(scope="module")
def texts():
    with lzma.open(demo_text("fiction"), "rt") as file:
        return [json.loads(line)["text"] for line in file]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("adapt") / "out"
    return adapt(
        demo_model(), demo_text("fiction"), out, general=demo_text("stories"), config=QUICK, reading=READING,
        prompt="Once upon a time",
    )  # fmt: skip


def test_the_result_opens_with_the_library_alone_and_writes_text(adapted):
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "m, t = M.from_pretrained(sys.argv[1]), T.from_pretrained(sys.argv[1])\n"
        "ids = t('Once upon a time', return_tensors='pt')\n"
        "assert m.get_input_embeddings().weight.shape[0] >= len(t) == 700\n"
        "assert t.decode(t('ß 漢 whale', add_special_tokens=False)['input_ids']).strip() == 'ß 漢 whale'\n"
        "print(t.decode(m.generate(**ids, max_new_tokens=8, do_sample=False)[0], skip_special_tokens=True))\n"
        "assert 'tokenry' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(adapted.folder)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Once upon a time")


def test_every_promised_fact_stands_in_the_report_json(adapted):
    facts = json.loads((adapted.folder / "report" / "report.json").read_text())["facts"]
    for key in ("bytes_per_token.before", "bytes_per_token.after", "bits_per_byte.before", "bits_per_byte.moved",
                "bits_per_byte.healed", "bits_per_byte.control", "bytes_per_second.before", "bytes_per_second.after",
                "bits_per_byte.general.before", "bits_per_byte.general.control"):  # fmt: skip
        assert facts[key]["low"] <= facts[key]["value"] <= facts[key]["high"], key
    assert facts["bytes_per_token.after"]["value"] > facts["bytes_per_token.before"]["value"]
    assert facts["bits_per_byte.healed"]["value"] < facts["bits_per_byte.moved"]["value"]
    assert facts["recommended"] in ("adapted", "control", "original")
    assert adapted.report.verdict


def test_the_control_had_the_compute_of_the_healing(adapted):
    facts = adapted.report.facts
    # The nearest whole number of steps: half a step of the smaller model at most.
    step = facts["control.flops"] / facts["control.steps"]
    assert abs(facts["control.flops"] - facts["heal.flops"] - facts["probe.flops"]) <= 0.5 * step + 1


def test_parts_are_recorded_and_share_nothing(adapted):
    table = adapted.report.tables["parts of your data"].to_pydict()
    rows = dict(zip(table["part"], zip(table["documents"], table["bytes"], strict=True), strict=True))
    assert rows["all"][0] == sum(rows[name][0] for name in ("compose", "heal", "probe", "heldout")) == 90


def test_no_state_is_left_beside_the_result(adapted):
    assert [p.name for p in adapted.folder.parent.iterdir()] == [adapted.folder.name]
    assert {"report", "run.json", "tokenry_plan", "model.safetensors"} <= {p.name for p in adapted.folder.iterdir()}
    page = (adapted.folder / "report" / "report.html").read_text()
    assert len(page) < 1 << 20
    assert not re.search(r"(src|href|url)\W{1,3}https?:", page)


def test_interrupted_after_every_stage_it_ends_as_if_it_had_not_been(adapted, tmp_path, monkeypatch):
    plain = Workspace.stage

    def one_new_stage(space, name, work):
        known = name in space.done
        result = plain(space, name, work)
        if not known:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Workspace, "stage", one_new_stage)
    out, result, stops = tmp_path / "out", None, 0
    while result is None:
        try:
            result = adapt(
                demo_model(), demo_text("fiction"), out, general=demo_text("stories"), config=QUICK, reading=READING,
                prompt="Once upon a time", resume=stops > 0,
            )  # fmt: skip
        except KeyboardInterrupt as stop:
            said, stops = str(stop), stops + 1
            assert not out.exists()
    assert "--resume" in said
    assert stops >= 7
    assert (out / "model.safetensors").read_bytes() == (adapted.folder / "model.safetensors").read_bytes()
    for key in ("bits_per_byte.healed", "bits_per_byte.control", "bits_per_byte.moved"):
        assert result.report.facts[key] == adapted.report.facts[key]


def test_a_vocabulary_can_be_replaced_and_the_control_left_out(tmp_path):
    from dataclasses import replace

    config = replace(QUICK, replace=True, size=480, control=False, heal=replace(QUICK.heal, steps=0))
    made = adapt(demo_model(), demo_text("fiction"), tmp_path / "out", config=config, reading=READING)
    facts = made.report.facts
    assert facts["vocab_size.after"] == 480
    assert "bits_per_byte.control" not in facts
    assert facts["bits_per_byte.healed"].value == pytest.approx(facts["bits_per_byte.moved"].value)


def test_auto_chooses_on_text_used_for_nothing_else(tmp_path):
    from dataclasses import replace

    config = replace(QUICK, method="auto", control=False)
    made = adapt(demo_model(), demo_text("fiction"), tmp_path / "out", config=config, reading=READING)
    tried = made.report.tables["probe"].to_pydict()
    best = int(np.argmin(tried["after the probe"]))
    assert made.report.facts["method"] == tried["method"][best]


def test_distilling_and_replay_run_and_are_recorded(tmp_path):
    from dataclasses import replace

    config = replace(QUICK, control=False, replay=0.25, heal=replace(QUICK.heal, steps=2, objective="distil"))
    made = adapt(demo_model(), demo_text("fiction"), tmp_path / "out", general=demo_text("stories"), config=config,
                 reading=READING)  # fmt: skip
    table = made.report.tables["parts of your data"].to_pydict()
    rows = dict(zip(table["part"], zip(table["documents"], table["bytes"], strict=True), strict=True))
    # Rounds of replay are counted once; a quarter of the training text is a third of the domain text.
    assert 0 < rows["replay"][1] <= rows["heal"][1] / 3 + 1
    assert rows["general"][0] > 0
    assert made.report.facts["heal.flops"] > 0


@pytest.mark.parametrize("objective", ["alm", "token-distil"])
def test_healing_can_learn_from_the_originals_likelihoods_or_states(tmp_path, objective):
    from dataclasses import replace

    more = {"next_token": 0.5, "balanced": True} if objective == "alm" else {"rows_first": 1}
    healing = replace(QUICK.heal, steps=2, objective=objective, **more)
    config = replace(QUICK, control=False, heal=healing, heldout_bytes=2000)
    made = adapt(demo_model(), demo_text("fiction"), tmp_path / "out", config=config, reading=READING)
    assert made.report.facts["healing.objective"] == objective
    assert made.report.facts["bits_per_byte.healed"].value != made.report.facts["bits_per_byte.moved"].value


def test_the_verb_hands_the_objective_and_its_terms_to_the_healing(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from tokenry.cli import app

    seen = []

    def stop(*args, config, **more):
        seen.append(config.heal)
        raise ValueError("seen")

    # The front's function has the module's name and hides it.
    monkeypatch.setattr(sys.modules["tokenry.transplant.adapt"], "adapt", stop)
    common = ["adapt", "--demo", "--heal-steps", "5", "--out", str(tmp_path / "out")]
    for more in (["--objective", "alm", "--next-token", "0.5", "--balanced"], ["--objective", "token-distil"], []):
        CliRunner().invoke(app, [*common, *more])
    assert [(h.objective, h.next_token, h.balanced, h.rows_first) for h in seen] == [
        ("alm", 0.5, True, 0), ("token-distil", 0.0, False, 3), ("next-token", 0.0, False, 0),
    ]  # fmt: skip


def test_replay_without_general_text_is_refused(tmp_path):
    from dataclasses import replace

    with pytest.raises(ValueError, match="general text"):
        adapt(demo_model(), demo_text("fiction"), tmp_path / "out", config=replace(QUICK, replay=0.1))


def door(capsys, *arguments, code):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert stop.value.code == code, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", b"", "empty"),
        ("binary.txt", bytes(range(256)) * 50, "binary"),
        ("one.jsonl", b'{"text": "a single document"}\n', "need at least 8"),
        ("broken.jsonl", b'{"text": "good"}\n{"text": \n', "line 2"),
        ("column.jsonl", b'{"body": "no text column"}\n', "body"),
    ],
)
def test_bad_data_end_with_a_sentence_and_leave_nothing(capsys, tmp_path, name, content, words):
    data = tmp_path / "data" / name
    data.parent.mkdir()
    data.write_bytes(content)
    err = door(capsys, "adapt", demo_model(), "--data", data, "--out", tmp_path / "out", "--quiet", code=2)
    assert words in err
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_skip_bad_counts_broken_lines_and_goes_on(capsys, tmp_path, texts):
    data = tmp_path / "data.jsonl"
    lines = [json.dumps({"text": text}) for text in texts[:40]]
    data.write_text("\n".join([*lines[:20], '{"text": ', *lines[20:]]))
    arguments = ("--heal-steps", "1", "--batch", "1", "--length", "32", "--no-control", "--add", "50")
    door(capsys, "adapt", demo_model(), "--data", data, "--out", tmp_path / "a", *arguments, "--quiet", code=2)
    door(capsys, "adapt", demo_model(), "--data", data, "--out", tmp_path / "b", *arguments, "--skip-bad", code=0)
    assert (tmp_path / "b" / "model.safetensors").exists()


def broken_model(folder, change):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(demo_model(), folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_models_that_cannot_be_adapted_are_refused(capsys, tmp_path):
    import shutil

    def nan(tensors):
        tensors["model.embed_tokens.weight"][3, 3] = float("nan")

    no_tokenizer = tmp_path / "no-tokenizer"
    shutil.copytree(demo_model(), no_tokenizer)
    (no_tokenizer / "tokenizer.json").unlink()
    (no_tokenizer / "tokenizer_config.json").unlink()
    encoder = tmp_path / "encoder"
    shutil.copytree(demo_model(), encoder)
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "model_type": "t5", "architectures": ["T5Model"]}))
    cases = {
        "no_such/model": "hub",
        tmp_path / "no-folder": "no such folder",
        no_tokenizer: "tokenizer",
        broken_model(tmp_path / "nan", nan): "NaN",
        encoder: "causal",
    }
    for model, words in cases.items():
        err = door(capsys, "adapt", model, "--data", demo_text("fiction"), "--out", tmp_path / "out", code=2)
        assert words in err, model
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out*"))


def test_sizes_and_arguments_that_make_no_sense_are_refused(capsys, tmp_path):
    base = ("adapt", demo_model(), "--data", demo_text("fiction"), "--limit", "40", "--quiet", "--out", tmp_path / "o")
    assert "--replace" in door(capsys, *base, "--size", "100", code=2)
    assert "both" in door(capsys, *base[:-1], tmp_path / "p", "--size", "600", "--add", "10", code=2)
    assert "Did you mean" in door(capsys, *base[:-1], tmp_path / "q", "--method", "peices", code=2)
    assert "--demo" in door(capsys, "adapt", demo_model(), "--demo", "--out", tmp_path / "r", code=2)
    assert "--out" in door(capsys, "adapt", "--demo", code=2)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_out_is_kept_unless_overwritten(capsys, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    err = door(capsys, "adapt", "--demo", "--out", out, code=2)
    assert "--overwrite" in err
    assert (out / "mine").read_text() == "x"


@pytest.mark.slow  # a process of its own that is interrupted in the middle of training, about 15 CPU seconds
def test_ctrl_c_in_training_says_how_to_go_on_and_going_on_works(tmp_path):
    import signal
    import time

    out = tmp_path / "out"
    quick = ("--limit", "60", "--add", "100", "--method", "pieces", "--heal-steps", "60", "--no-control")
    command = [sys.executable, "-m", "tokenry", "adapt", str(demo_model()), "--data", str(demo_text("fiction")), *quick]
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen([*command, "--out", str(out)], stderr=file, stdout=subprocess.DEVNULL)
        state = tmp_path / ".out.unfinished" / "healed-curve.json"
        for _ in range(600):
            # The second point of the curve is scored in the middle of training.
            if state.exists() and len(json.loads(state.read_text())) >= 2:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1, errors.read_text()
    assert "--resume" in errors.read_text()
    assert "Traceback" not in errors.read_text()
    assert not out.exists()
    done = subprocess.run([*command, "--out", str(out), "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").exists()
    assert not (tmp_path / ".out.unfinished").exists()


def test_a_full_disk_loses_nothing_that_was_trained(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    quick = ("--limit", "40", "--add", "50", "--heal-steps", "1", "--batch", "1", "--length", "32", "--no-control")
    arguments = ("adapt", demo_model(), "--data", demo_text("fiction"), "--out", out, *quick, "--quiet")
    with monkeypatch.context() as patched:
        patched.setattr("tokenry.models.lm.LM.save", full)
        err = door(capsys, *arguments, code=2)
    assert "space" in err
    assert "--resume" in err
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished"]
    door(capsys, *arguments, "--resume", code=0)
    assert (out / "model.safetensors").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_out_is_a_sentence(capsys, tmp_path):
    tmp_path.chmod(0o500)
    assert "write" in door(capsys, "adapt", "--demo", "--out", tmp_path / "out", code=2)
