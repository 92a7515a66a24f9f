"""What this machine offers to tokenry: versions, extras, device, threads, hub."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from tokenry.core.report import Report

EXTRAS = {
    "core": ("numpy", "scipy", "pyarrow", "tokenizers", "huggingface-hub", "numba", "regex", "typer", "rich"),
    "models": ("torch", "transformers", "safetensors", "accelerate"),
    "formats": ("sentencepiece", "protobuf", "gguf"),
    "recognised when present": ("datasets", "peft"),
}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _device() -> tuple[str, str]:
    """Name of the device models would run on, and the number of torch threads; empty without torch."""
    if find_spec("torch") is None:
        return "", ""
    import torch

    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return name, str(torch.get_num_threads())


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "switched off (HF_HUB_OFFLINE)"
    import socket

    from huggingface_hub import constants

    host = constants.ENDPOINT.split("//")[-1].split("/")[0]
    try:
        socket.create_connection((host.split(":")[0], 443), timeout=2).close()
    except OSError as problem:
        return f"unreachable ({host}: {problem})"
    return f"reachable ({host})"


def examine() -> Report:
    """A Report of versions, missing extras with the line that installs them, device, threads and hub."""
    import pyarrow as pa

    rows = [(extra, name, _installed(name)) for extra, names in EXTRAS.items() for name in names]
    missing = {extra for extra, _, found in rows if not found and extra in ("models", "formats")}
    device, threads = _device()
    report = Report(
        kind="doctor",
        title="tokenry on this machine",
        facts={
            "tokenry": _tokenry_version(),
            "python": sys.version.split()[0],
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "device": device or "no torch",
            "torch_threads": threads or "no torch",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
            "hub": _hub(),
        },
        tables={
            "packages": pa.table(
                {
                    "extra": [r[0] for r in rows],
                    "package": [r[1] for r in rows],
                    "version": [r[2] or "missing" for r in rows],
                }
            )
        },
    )
    report.warnings += [f"extra '{extra}' is incomplete: pip install 'tokenry[{extra}]'" for extra in sorted(missing)]
    if device == "cpu" and threads not in ("", "1") and "OMP_NUM_THREADS" not in os.environ:
        report.notes.append(
            "On busy cores OpenMP threads spin against each other; OMP_NUM_THREADS=1 can be much faster."
        )
    return report


def _tokenry_version() -> str:
    from tokenry import __version__

    return __version__
