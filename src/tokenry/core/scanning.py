"""Which split patterns the compiled kernels cut; texts as the kernels take them; pieces in the byte-level alphabet."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.alphabets import BYTE_TO_CHAR
from tokenry.core.patterns import PATTERNS

_SCANNED = ("gpt2", "cl100k", "qwen2", "qwen35", "o200k", "tekken")

_ROWS, _PART = 1 << 12, 1 << 16
_POINTS = np.array([ord(c) for c in BYTE_TO_CHAR], "<u2")
_N_BYTES = np.array([len(c.encode()) for c in BYTE_TO_CHAR], np.uint8)
_BYTES = np.array([list(c.encode().ljust(2)) for c in BYTE_TO_CHAR], np.uint8)
"""The one or two bytes of each character of the byte-level alphabet, in UTF-8."""


def end_to_end(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 of an array's strings and where each ends, without a copy."""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    starts = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if not len(texts) or data is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts), np.int64)
    return np.frombuffer(data, np.uint8)[starts[0] : starts[-1]], starts[1:] - starts[0]


def pieces_of(data: np.ndarray, ends: np.ndarray) -> list[str]:
    """The strings of pieces that lie end to end."""
    whole = data.tobytes()
    return [whole[start:end].decode() for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)]


def byte_level_words(pieces: Sequence[str]) -> list[str]:
    """Spell each piece in the byte-level alphabet, all at once."""
    data = "".join(pieces).encode("utf-8")
    spelled = _POINTS[np.frombuffer(data, np.uint8)].tobytes().decode("utf-16-le")
    if len(data) == sum(map(len, pieces)):  # ASCII only
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    else:
        lengths = np.fromiter((len(p) if p.isascii() else len(p.encode()) for p in pieces), np.int64, len(pieces))
    ends = np.cumsum(lengths).tolist()
    return [spelled[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def byte_level_array(pieces: pa.Array) -> pa.Array:
    """Spell each string of a large_string array in the byte-level alphabet, without a Python string for each."""
    _, offsets, data = pieces.buffers()
    bounds = np.frombuffer(offsets, np.int64)[pieces.offset : pieces.offset + len(pieces) + 1]
    data = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    # In parts, here and below: numpy widens an index array to 64 bits.
    n_bytes = sum(int(_N_BYTES[data[start : start + _PART]].sum()) for start in range(0, len(data), _PART))
    spelled, starts, at = np.empty(n_bytes, np.uint8), np.zeros(len(pieces) + 1, np.int64), 0
    for row in range(0, len(pieces), _ROWS):
        ends = bounds[row : row + _ROWS + 1] - bounds[0]
        part = data[ends[0] : ends[-1]]
        reach = np.concatenate([[0], np.cumsum(_N_BYTES[part], dtype=np.int64)])
        starts[row + 1 : row + len(ends)] = at + reach[ends[1:] - ends[0]]
        kept = np.column_stack([np.ones(len(part), bool), _N_BYTES[part] == 2])
        spelled[at : at + reach[-1]] = _BYTES[part][kept]
        at += int(reach[-1])
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(spelled)]
    return pa.Array.from_buffers(pa.large_string(), len(pieces), buffers)


def scanned_family(stages: list[dict], *, cuts_at_spaces: bool) -> int | None:
    """The family of `scan_kernels` that cuts like these stages, None when there is none."""
    from tokenry.core import scan_kernels as kernels

    if not stages:
        return kernels.METASPACE_RUNS if cuts_at_spaces else None
    first = stages[0]
    if first["type"] == "ByteLevel" and first["use_regex"] and not first["add_prefix_space"] and len(stages) == 1:
        return kernels.GPT2
    if first["type"] != "Split" or len(stages) > 2 or "Regex" not in first["pattern"]:
        return None
    name = next((name for name in _SCANNED if PATTERNS[name] == (first["pattern"]["Regex"],)), None)
    return getattr(kernels, name.upper()) if name else None


def isolates(stage: dict, known: set[str]) -> bool:
    """Does this split only set entries of the vocabulary apart?"""
    pattern = stage["pattern"].get("Regex", "")
    parts = [re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in re.split(r"(?<!\\)\|", pattern)]
    return stage["behavior"] == "Isolated" and not stage["invert"] and all(part in known for part in parts)
