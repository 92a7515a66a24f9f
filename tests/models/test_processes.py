"""Two processes train as one; Ctrl-C waits for the step and never leaves half of one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.processes import holding_interrupts
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit

SCRIPT = textwrap.dedent("""
    import json, os, sys
    import torch
    torch.set_num_threads(1)
    from tokenry.core.vocab import Vocab
    from tokenry.data import demo_model
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    def batch(number):
        ids = (torch.arange(12)[None] * 7 + 31 * number) % 512
        labels = ids.clone()
        labels[:, 1 : 1 + number % 6] = -100
        return {"input_ids": ids, "labels": labels}

    model = tiny_llama(Vocab.open(demo_model()), width=32, layers=1).model.double()
    config = FitConfig(rate=1e-2, accumulate=int(sys.argv[1]), clip=0.1)
    result = fit(model, batch, steps=3, config=config, resume=sys.argv[2])
    if int(os.environ.get("RANK", "0")) == 0:
        sums = [float(p.detach().abs().sum()) for p in model.parameters()]
        print(json.dumps({"sums": sums, "losses": [h["loss"] for h in result.history], "tokens": result.tokens}))
    if torch.distributed.is_initialized():  # a process that ends first makes the other's threads abort
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    """)


@pytest.mark.slow  # starts three interpreters that each import torch and transformers
@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
def test_two_processes_are_one_with_twice_the_micro_batches(tmp_path, launcher):
    """On CPUs `accelerate launch` leaves starting to MPI; here each is started with the rank that MPI would give."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    env = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    env |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    def start(*command, **more):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *command], env=env | more, **streams)

    def result(*processes):
        outputs = [process.communicate(timeout=240) for process in processes]
        assert all(process.returncode == 0 for process in processes), [err[-2000:] for _, err in outputs]
        return json.loads(next(line for out, _ in outputs for line in out.splitlines() if line.startswith("{")))

    port, trained = str(29600 + os.getpid() % 300), (str(script), "2", str(tmp_path / "two"))
    if launcher == "torchrun":
        two = result(start("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", *trained))
    else:
        launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1")
        launch += ("--mixed_precision=no", "--dynamo_backend=no", f"--main_process_port={port}")
        ranks = ({"RANK": str(n), "LOCAL_RANK": str(n), "WORLD_SIZE": "2"} for n in range(2))
        two = result(*[start(*launch, *trained, **rank) for rank in ranks])
    one = result(start(str(script), "4", str(tmp_path / "one")))
    assert two["tokens"] == one["tokens"]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-7)
    assert two["sums"] == pytest.approx(one["sums"], rel=1e-6)
    assert (tmp_path / "two" / "state.json").is_file()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


def test_the_first_ctrl_c_waits_and_the_second_does_not():
    with holding_interrupts() as held:
        os.kill(os.getpid(), signal.SIGINT)
        assert held.asked
        with pytest.raises(KeyboardInterrupt):
            held.raise_if_asked()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_a_real_ctrl_c_saves_the_steps_done_and_comes_through(tmp_path):
    model = tiny_llama(Vocab.open(demo_model()), width=32, layers=1).model

    def batch(number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGINT)
        ids = torch.arange(12)[None]
        return {"input_ids": ids, "labels": ids}

    with pytest.raises(KeyboardInterrupt):
        fit(model, batch, steps=9, config=FitConfig(accumulate=2), resume=tmp_path / "state")
    assert json.loads((tmp_path / "state" / "state.json").read_text())["step"] == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
