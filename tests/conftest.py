"""Test settings that must hold before any library is imported, and the fixtures many rooms share."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("tokenry", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenry")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests on it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data of ../shared/data, which is not beside this checkout")
    return SHARED
