"""`tokenry heal` from folders: every objective, interruption, plain reopening, and two processes as one."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tokenry.cli import main
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM
from tokenry.transplant.heal_verb import new_rows
from tokenry.transplant.undoing import revert

SHORT = ["--limit", "60", "--batch", "2", "--length", "48", "--quiet", "--evaluations", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model moved onto a longer vocabulary, with its plan, beside its original."""
    torch.set_num_threads(1)
    from tokenry.core.tables import texts
    from tokenry.tokenization.extend import extend
    from tokenry.transplant.verbs import transplant_folder

    folder = tmp_path_factory.mktemp("heal")
    shutil.copytree(demo_model(), folder / "stories")
    some = list(texts(demo_text("fiction")))[:200]
    extend(Vocab.open(demo_model()), some, size=700).vocab.to_hf(folder / "longer")
    transplant_folder(str(folder / "stories"), folder / "moved", tokenizer=str(folder / "longer"))
    return folder


def command(place, out, *more):
    moved, data = str(place / "moved"), str(demo_text("fiction"))
    return ["heal", moved, "--data", data, "--out", str(out), *SHORT, *more]


def test_the_plan_says_which_rows_are_new(place):
    assert new_rows(place / "moved", "auto") == list(range(512, 700))
    assert new_rows(place / "moved", "all") is None
    assert new_rows(place / "stories", "auto") is None
    with pytest.raises(FileNotFoundError, match="no plan"):
        new_rows(place / "stories", "new")


@pytest.mark.slow  # trains, writes and reopens a real tiny model
@pytest.mark.parametrize("objective", ["alm", "token-distil", "distil"])
def test_every_objective_heals_through_stages_and_opens_plainly(place, tmp_path, objective, capsys, monkeypatch):
    out = tmp_path / "healed"
    stages = ["--stages", "rows:2,lora:2,all:1", "--objective", objective, "--teacher", str(place / "stories")]
    general = ["--general", str(demo_text("stories")), "--general-share", "0.2"]
    with pytest.raises(SystemExit) as stop:
        main(command(place, out, *stages, *general, "--json"))
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["steps"] == 5
    assert {"bits_per_byte.general.after", "bytes_to_parity", "bits_per_byte.original"} <= set(facts)
    monkeypatch.setitem(sys.modules, "peft", None)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(out)
    assert not any("lora" in name for name, _ in model.named_parameters())
    # The move can be taken back after the training, and its new rows are still known.
    assert new_rows(out, "new") == new_rows(place / "moved", "new")
    back = revert(out, tmp_path / "back")
    assert back.facts["verify.ok"]
    assert back.facts["rows_lost"] > 0


def test_an_objective_without_its_teacher_and_a_share_without_text_are_refused(place, tmp_path, capsys):
    for more in (["--objective", "alm"], ["--general-share", "0.1"]):
        with pytest.raises(SystemExit) as stop:
            main(command(place, tmp_path / f"x{len(more[0])}", *more))
        assert stop.value.code == 2
    assert "--teacher" in capsys.readouterr().err


@pytest.mark.slow  # starts three interpreters that each import torch and transformers
def test_two_processes_heal_as_one_with_twice_the_batch(place, tmp_path):
    env = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    env |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    stages = ["--stages", "rows:2,all:2", "--rate", "1e-3"]

    def start(out, batch, *launch, **more):
        words = command(place, out, *stages, "--device", "cpu")
        words[words.index("--batch") + 1] = batch
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *launch, "-m", "tokenry", *words], env=env | more, **streams)

    port = str(29300 + os.getpid() % 300)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", f"--main_process_port={port}"]
    ranks = ({"RANK": str(n), "LOCAL_RANK": str(n), "WORLD_SIZE": "2"} for n in range(2))
    running = [start(tmp_path / "two", "2", *launch, **one) for one in ranks]
    outputs = [process.communicate(timeout=240) for process in running]
    assert all(process.returncode == 0 for process in running), [err[-2000:] for _, err in outputs]
    assert sum("trained for 4 steps" in out for out, _ in outputs) == 1
    alone = start(tmp_path / "one", "4")
    _, err = alone.communicate(timeout=240)
    assert alone.returncode == 0, err[-2000:]
    two, one = (LM.open(tmp_path / name).model.state_dict() for name in ("two", "one"))
    for name, weight in one.items():
        # Adam divides by the size of a gradient: where that is near nothing, its sign may differ between sums.
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-3)
