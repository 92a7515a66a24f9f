"""Which split patterns the compiled kernels cut, and texts as the kernels take them."""

import re

import numpy as np
import pyarrow as pa

from tokenry.core.patterns import PATTERNS

_SCANNED = ("gpt2", "cl100k", "qwen2", "qwen35", "o200k", "tekken")


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
