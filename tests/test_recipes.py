"""Every recipe runs to its end on the carried model (`--tiny`), as a user would start it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def start(recipe: str, *arguments: str, **settings) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **settings}
    command = [sys.executable, str(ROOT / "recipes" / recipe), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow  # a whole adaptation with its control in a process of its own, about 20 CPU seconds
@pytest.mark.usefixtures("shared_data")
def test_the_smollm2_recipe_runs_and_reports_what_it_promises(tmp_path):
    done = start("adapt_smollm2.py", "de", "--tiny", "--add", "200", "--out", str(tmp_path / "out"), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report" / "report.md").read_text()
    for words in ("lambada_accuracy", "bits_per_byte.control", "peak_memory_bytes", "adapt_smollm2.py de"):
        assert words in page
    assert (tmp_path / "out" / "control" / "model.safetensors").exists()
