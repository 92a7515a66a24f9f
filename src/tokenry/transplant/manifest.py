"""A plan on disk: the sparse maps, and a manifest with hashes. Nothing in it can run code."""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np

import tokenry
from tokenry.core.runs import atomic_write
from tokenry.core.tokenmap import TokenMap
from tokenry.transplant.planning import Plan

FORMAT = "tokenry.plan/1"
FOLDER = "tokenry_plan"
"""name of the plan's folder inside a moved model's folder."""
LONGEST_PLAN = 256 << 20
"""bytes of plan.json that are read; a real one holds a few MB."""
_PARTS = ("input.npz", "head.npz", "dense.npz")
_DENSE = ("dense", "dense_head", "dense_bias")
_FIELDS = ("method", "untie", "old_fingerprint", "new_fingerprint", "info", "random")


def save_plan(plan: Plan, folder: str | Path) -> Path:
    """Write `plan.json`, `input.npz` and, where they are needed, `head.npz` and `dense.npz` into a folder.

    Returns:
        The folder, made if missing. Tens of MB for 70,000 rows of 64 weights; a few KB where most rows are copies; rows
        that are numbers take their own size.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plan.input.save(folder / "input.npz")
    files = ["input.npz"]
    if plan.head is not plan.input:
        plan.head.save(folder / "head.npz")
        files.append("head.npz")
    if plan.dense_ids is not None:
        _save_dense(plan, folder / "dense.npz")
        files.append("dense.npz")
    manifest = {"format": FORMAT, "tokenry": tokenry.__version__, "shape": list(plan.input.shape)}
    manifest |= {name: getattr(plan, name) for name in _FIELDS}
    manifest |= {"unfilled": plan.unfilled.tolist(), "files": {name: _digest(folder / name) for name in files}}
    atomic_write(folder / "plan.json", json.dumps(manifest, indent=1, default=_plain) + "\n")
    return folder


def load_plan(folder: str | Path) -> Plan:
    """Read a plan that `save_plan` wrote, from its folder or from the folder of a moved model.

    Raises:
        FileNotFoundError: no plan there, or a part of it is missing.
        ValueError: a plan of another format, a file that is not the one the manifest names, a name that leads out of
            the folder, or numbers that claim more room than their file has.
    """
    folder = plan_folder(folder)
    if (n_bytes := (folder / "plan.json").stat().st_size) > LONGEST_PLAN:
        raise ValueError(f"{folder}: plan.json has {n_bytes:,} bytes, at most {LONGEST_PLAN:,} are read; no real plan.")
    try:
        manifest = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        files, shape = manifest["files"], tuple(manifest["shape"])
        fields = {name: manifest[name] for name in _FIELDS}
        unfilled = np.array(manifest["unfilled"], dtype=np.int64)
        _check_fields(fields, files, shape, unfilled)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{folder}: plan.json is not a plan of tokenry ({error}); make the plan again.") from error
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{folder}: plan format {manifest.get('format')!r}; this version reads {FORMAT!r}.")
    for name in files:
        if name not in _PARTS:
            raise ValueError(f"{folder}: the plan names {name!r}; a plan has only {', '.join(_PARTS)}. Do not use it.")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: the plan names {name}, which is not there. Copy the whole folder.")
        if _digest(folder / name) != files[name]:
            raise ValueError(f"{folder}: {name} is not the file the manifest was written for. Copy the folder again.")
        _check_npz(folder / name)
    input_map = TokenMap.load(folder / "input.npz")
    head_map = TokenMap.load(folder / "head.npz") if "head.npz" in files else input_map
    if not input_map.shape == head_map.shape == shape:
        raise ValueError(f"{folder}: maps of shape {input_map.shape} and {head_map.shape}, the manifest says {shape}.")
    if unfilled.size and not 0 <= unfilled.min() <= unfilled.max() < shape[0]:
        raise ValueError(f"{folder}: the plan names unfilled ids outside its {shape[0]} ids. Copy the folder again.")
    dense = _load_dense(folder / "dense.npz", shape[0]) if "dense.npz" in files else {}
    return Plan(input_map, head_map, unfilled=unfilled, **fields, **dense)


def _check_fields(fields: dict, files: object, shape: tuple, unfilled: np.ndarray) -> None:
    texts = ("method", "old_fingerprint", "new_fingerprint")
    if not all(isinstance(fields[name], str) for name in texts) or not isinstance(fields["untie"], bool):
        raise TypeError("a field has another type")
    if not isinstance(fields["info"], dict) or not isinstance(fields["random"], (dict, type(None))):
        raise TypeError("info or random is no object")
    if not isinstance(files, dict) or "input.npz" not in files:
        raise TypeError("no input.npz among its files")
    if unfilled.ndim != 1 or len(shape) != 2 or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise TypeError("its sizes are no numbers of ids")
    classes = fields["info"].get("classes", {})
    lists = [fields["info"].get(name) or [] for name in ("rare_ids", "not_averaged")]
    if not isinstance(classes, dict) or any(not 0 <= int(i) < shape[1] for ids in lists for i in ids):
        raise ValueError("it names old ids outside its vocabulary")


def _save_dense(plan: Plan, path: Path) -> None:
    tables = {"ids": plan.dense_ids, **{name: getattr(plan, name) for name in _DENSE}}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: rows for name, rows in tables.items() if rows is not None})
    atomic_write(path, buffer.getvalue())


def _load_dense(path: Path, n_new: int) -> dict[str, np.ndarray]:
    """Rows as numbers, checked as if they had just been made."""
    with np.load(path, allow_pickle=False) as file:
        tables = {name: file[name] for name in file.files}
    ids = tables.pop("ids", None)
    fits = ids is not None and ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer) and set(tables) <= set(_DENSE)
    if fits and ids.size:
        fits = ids.min() >= 0 and ids.max() < n_new and np.unique(ids).size == ids.size
    for name, rows in tables.items() if fits else ():
        rows = rows[:, None] if name == "dense_bias" and rows.ndim == 1 else rows
        whole = rows.ndim == 2 and rows.dtype == np.float32 and len(rows) == ids.size
        fits = fits and whole and bool((np.isfinite(rows).all(axis=1) | np.isnan(rows).all(axis=1)).all())
    if not fits:
        raise ValueError(f"{path}: its rows do not fit the {n_new} ids of the plan. Copy the folder again.")
    return {**tables, "dense_ids": ids.astype(np.int64)}


def _check_npz(path: Path) -> None:
    """Refuse an archive whose arrays claim more bytes than lie in it: numpy would ask for them before reading."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                    read = np.lib.format.read_array_header_2_0 if version == (2, 0) else read
                    shape, _, dtype = read(file)
                    room = member.file_size - file.tell()
                if member.compress_type != zipfile.ZIP_STORED or math.prod(shape) * dtype.itemsize != room:
                    raise ValueError(f"{member.filename} claims {math.prod(shape)} numbers in {room} bytes")
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a part of a plan ({error}). Make the plan again.") from error


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
