"""OpenAI's rank files by tiktoken's names ("cl100k", "o200k_base"): from its cache, else fetched by it."""

import hashlib
import os
import tempfile
from pathlib import Path

from tokenry.core.hf_json import MAX_BYTES
from tokenry.core.patterns import KNOWN_RANKS

NAMES = ("r50k", "p50k", "cl100k", "o200k")
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}_base.tiktoken"


def is_encoding(name: str) -> bool:
    """Does tiktoken know this name, with or without `_base`?"""
    return name.removesuffix("_base") in NAMES


def encoding_bytes(name: str, *, offline: bool) -> bytes:
    """The rank file of an encoding.

    Args:
        name: one of `NAMES`, with or without `_base`.
        offline: never ask the network.

    Raises:
        FileNotFoundError: it is not in tiktoken's cache, and may not or cannot be fetched.
    """
    address = _ADDRESS.format(name.removesuffix("_base"))
    cached = _cached(address)
    if cached is not None:
        return cached
    where = "set TIKTOKEN_CACHE_DIR to a folder that has it, or pass the path of the .tiktoken file"
    if offline:
        raise FileNotFoundError(f"{name!r} is not in tiktoken's cache and the network is switched off: {where}.")
    try:
        from tiktoken.load import read_file_cached
    except ImportError:
        raise FileNotFoundError(
            f"{name!r} is an encoding of tiktoken, which is not installed: pip install tiktoken, or {where}."
        ) from None
    try:
        return read_file_cached(address)
    except Exception as error:  # whatever its HTTP library raises
        raise FileNotFoundError(f"{name!r} could not be fetched ({error}): {where}.") from None


def _cached(address: str) -> bytes | None:
    """The file in tiktoken's cache, when its content is the known one."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    path = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / hashlib.sha1(address.encode()).hexdigest()
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    data = path.read_bytes()
    return data if hashlib.sha256(data).hexdigest() in KNOWN_RANKS else None
