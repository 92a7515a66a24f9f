"""A plan on disk: the sparse maps, and a manifest with hashes. Nothing in it can run code."""

import hashlib
import json
from pathlib import Path

import numpy as np

import tokenry
from tokenry.core.runs import atomic_write
from tokenry.core.tokenmap import TokenMap
from tokenry.transplant.planning import Plan

FORMAT = "tokenry.plan/1"
FOLDER = "tokenry_plan"
"""name of the plan's folder inside a moved model's folder."""
_FIELDS = ("method", "untie", "old_fingerprint", "new_fingerprint", "info", "random")


def save_plan(plan: Plan, folder: str | Path) -> Path:
    """Write `plan.json`, `input.npz` and, where it differs, `head.npz` into a folder (made if missing).

    Returns:
        The folder. Tens of MB for 70,000 rows of 64 weights; a few KB where most rows are copies.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plan.input.save(folder / "input.npz")
    files = ["input.npz"]
    if plan.head is not plan.input:
        plan.head.save(folder / "head.npz")
        files.append("head.npz")
    manifest = {"format": FORMAT, "tokenry": tokenry.__version__, "shape": list(plan.input.shape)}
    manifest |= {name: getattr(plan, name) for name in _FIELDS}
    manifest |= {"unfilled": plan.unfilled.tolist(), "files": {name: _digest(folder / name) for name in files}}
    atomic_write(folder / "plan.json", json.dumps(manifest, indent=1, default=_plain) + "\n")
    return folder


def load_plan(folder: str | Path) -> Plan:
    """Read a plan that `save_plan` wrote, from its folder or from the folder of a moved model.

    Raises:
        FileNotFoundError: no plan there, or a part of it is missing.
        ValueError: a plan of another format, or a file that is not the one the manifest names.
    """
    folder = plan_folder(folder)
    try:
        manifest = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        files, shape = manifest["files"], tuple(manifest["shape"])
        fields = {name: manifest[name] for name in _FIELDS}
        unfilled = np.array(manifest["unfilled"], dtype=np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: plan.json is not a plan of tokenry ({error}); make the plan again.") from error
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{folder}: plan format {manifest.get('format')!r}; this version reads {FORMAT!r}.")
    for name in files:
        if name not in ("input.npz", "head.npz") or not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: the plan names {name}, which is not there. Copy the whole folder.")
        if _digest(folder / name) != files[name]:
            raise ValueError(f"{folder}: {name} is not the file the manifest was written for. Copy the folder again.")
    input_map = TokenMap.load(folder / "input.npz")
    head_map = TokenMap.load(folder / "head.npz") if "head.npz" in files else input_map
    if not input_map.shape == head_map.shape == shape:
        raise ValueError(f"{folder}: maps of shape {input_map.shape} and {head_map.shape}, the manifest says {shape}.")
    return Plan(input_map, head_map, unfilled=unfilled, **fields)


def plan_folder(folder: str | Path) -> Path:
    """The folder that holds `plan.json`: the one given, or `tokenry_plan` in it.

    Raises:
        FileNotFoundError: neither holds one.
    """
    for place in (Path(folder), Path(folder) / FOLDER):
        if (place / "plan.json").is_file():
            return place
    raise FileNotFoundError(
        f"{folder} holds no plan (no plan.json, no {FOLDER}/plan.json); need a folder that a transplant wrote."
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a plan's info holds a {type(value).__name__}; need plain numbers and text")
