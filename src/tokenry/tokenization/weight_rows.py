"""The embedding rows of a model, read from its safetensors files in blocks, without torch.

Papers: Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language Models (arXiv 2405.05417).
"""

import json
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Axes: R rows of a matrix, D width.

_INPUT = ("embed_tokens.weight", "wte.weight", "tok_embeddings.weight", "embed_in.weight", "word_embeddings.weight",
          "embedding.weight", "shared.weight")  # fmt: skip
_HEAD = ("lm_head.weight", "embed_out.weight", "output.weight")
_TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": np.uint16}
_CHUNK_BYTES = 1 << 26
_LONGEST_HEADER = 100_000_000


class Rows:
    """A matrix of a safetensors file, read in blocks of rows as float32.

    Attributes:
        shape: (R, D).
    """

    def __init__(self, path: Path, name: str) -> None:
        header, start = _header(path)
        facts = header[name]
        if facts["dtype"] not in _TYPES or len(facts["shape"]) != 2:
            raise ValueError(
                f"{path}: {name} is {facts['dtype']} of shape {facts['shape']}; need a matrix of plain numbers. "
                "Give the unquantised model."
            )
        self.shape = tuple(facts["shape"])
        self._is_bfloat = facts["dtype"] == "BF16"
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        n = self.shape[0] * self.shape[1]
        at = start + facts["data_offsets"][0]
        self._data = np.frombuffer(data, _TYPES[facts["dtype"]], n, at).reshape(self.shape)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        block = self._data[rows]
        if self._is_bfloat:
            return (block.astype(np.uint32) << 16).view(np.float32)
        return block.astype(np.float32)

    def blocks(self) -> Sequence[slice]:
        """Slices that cover the rows, each of some 64 MB."""
        step = max(1, _CHUNK_BYTES // (4 * self.shape[1]))
        return [slice(start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step)]


def embedding_rows(folder: Path) -> tuple[Rows, Rows | None]:
    """Input matrix and head of a checkpoint; the head is None where both are one.

    Raises:
        FileNotFoundError: no weights there. ValueError: the embedding is not found under a name we know.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; need a model saved with transformers. Check the path.")
    names = {}
    for path in sorted(folder.glob("*.safetensors")):
        names |= dict.fromkeys((name for name in _header(path)[0] if name != "__metadata__"), path)
    if not names:
        raise FileNotFoundError(
            f"{folder} holds no safetensors weights. Save the model with transformers, unquantised."
        )
    table = _named(names, _INPUT, sole="weight")
    if table is None:
        from tokenry.models.files import embedding_names

        table = embedding_names(folder).input
    head = _named(names, _HEAD)
    config = folder / "config.json"
    tied = config.is_file() and _is_tied(json.loads(config.read_text(encoding="utf-8")))
    has_head = head is not None and head != table and not tied
    return Rows(names[table], table), Rows(names[head], head) if has_head else None


def _is_tied(config: dict) -> bool:
    """As written; a family whose configuration is silent on it is told by whether a head is stored."""
    return bool(config.get("tie_word_embeddings") or (config.get("text_config") or {}).get("tie_word_embeddings"))


def _named(names: dict, endings: tuple[str, ...], sole: str = "") -> str | None:
    for ending in endings:
        found = [name for name in names if name == ending or name.endswith("." + ending)]
        if len(found) == 1:
            return found[0]
    return sole if sole in names else None


def _header(path: Path) -> tuple[dict, int]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= min(_LONGEST_HEADER, path.stat().st_size):
            raise ValueError(f"{path} is not a safetensors file, or it is cut short. Copy it again.")
        try:
            header = json.loads(file.read(size))
        except ValueError:
            raise ValueError(f"{path} is not a safetensors file: its header is no JSON. Copy it again.") from None
    ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
    if 8 + size + max(ends, default=0) > path.stat().st_size:
        raise ValueError(f"{path} is shorter than its header says. Copy it again.")
    return header, 8 + size
