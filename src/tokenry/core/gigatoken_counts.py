"""Count pre-tokens by the optional package gigatoken: exactly the counts of our own engine, on all cores.

The package knows GPT-2's split pattern only. It carries its own table of Unicode, so each character that turns up is
shown to it and to the tokenizer's library, as `cutters` does for our own kernels; texts with a character they see
differently are left to our own engine. It reports on the process's own streams, which are closed to it meanwhile.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import pre_tokenizers

from tokenry.core.choosing import needs, suggest
from tokenry.core.cutters import Cutter
from tokenry.core.scanning import byte_level_words, end_to_end

ENGINES = ("own", "gigatoken", "auto")
BLOCK = 4 << 20
"""Bytes of text that are counted in one call: it costs a Python object for each distinct piece."""
_BETWEEN = b"\xff"
"""Between two texts; no UTF-8 holds it."""
_SOME_STREAMS = threading.Lock()


def counter_of(engine: str, cutter: Cutter) -> "GigatokenCounter | None":
    """What counts for `engine`, one of `ENGINES`; None for our own.

    "auto" is our own engine: from text to table it needs less processor time (see bench/counting.py).

    Raises:
        ImportError: gigatoken is asked for and not installed.
        ValueError: no such engine; or gigatoken is asked for and does not know how this tokenizer cuts.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}; need one of {', '.join(ENGINES)}.{suggest(engine, ENGINES)}")
    if engine != "gigatoken":
        return None
    needs("fast", "gigatoken")
    if not cutter.cuts_like_gpt2:
        raise ValueError(
            "engine='gigatoken' counts by the split pattern of GPT-2 only, and this tokenizer cuts in another way. "
            "Leave engine away: our own engine knows the pattern."
        )
    return GigatokenCounter(cutter)


class GigatokenCounter:
    """Counts the raw pieces of texts by gigatoken, for a cutter of GPT-2's pattern."""

    def __init__(self, cutter: Cutter) -> None:
        from gigatoken import gigatoken_rs

        self._engine, self._cutter = gigatoken_rs, cutter
        self._library = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        self._alike = np.zeros(0x110000, np.uint8)
        self._different: set[int] = set()

    def __call__(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Distinct raw pieces of texts (no nulls), each text cut for itself.

        Returns:
            uint8, the pieces end to end in UTF-8; int64, where each ends; int64, how often each occurs. None where a
            text holds a character that the package does not see as the library does.
        """
        texts = self._cutter.normalised(texts)
        data, _ = end_to_end(texts)
        if not self._sees_alike(data):
            return None
        with closed_streams():
            found = self._engine.pretokenized_counts(_joined(texts), _BETWEEN)
        pieces = [piece for piece, _ in found]
        sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
        counts = np.fromiter((count for _, count in found), np.int64, len(found))
        return np.frombuffer(b"".join(pieces), np.uint8), np.cumsum(sizes), counts

    def _sees_alike(self, data: np.ndarray) -> bool:
        from tokenry.core.scan_kernels import new_characters

        for point in new_characters(data, self._alike).tolist():
            if point in self._different or not self._cuts_alike(chr(point)):
                self._different.add(point)
                return False
            self._alike[point] = 1
        return True

    def _cuts_alike(self, character: str) -> bool:
        """Is it the same to both: a letter, a number, a space or something else?"""
        probe = f"a{character}a 1{character}1 {character} !{character}!{character}{character} {character}"
        pieces = [piece.decode() for piece in self._engine.pretokenizer(probe.encode())]
        return byte_level_words(pieces) == [word for word, _ in self._library.pre_tokenize_str(probe)]


def _joined(texts: pa.Array) -> bytes:
    """The texts end to end, with a byte between that no text holds."""
    whole = texts.cast(pa.large_binary())
    listed = pa.LargeListArray.from_arrays(pa.array([0, len(whole)], pa.int64()), whole)
    return pc.binary_join(listed, pa.scalar(_BETWEEN, pa.large_binary()))[0].as_buffer().to_pybytes()


@contextmanager
def closed_streams() -> Iterator[None]:
    """Send what is written to the file descriptors 1 and 2 nowhere; afterwards they are what they were, also closed.

    What other threads write there meanwhile is lost too.
    """
    with _SOME_STREAMS:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # none, closed, or not a file
                stream.flush()
        kept = {fd: _copied(fd) for fd in (1, 2)}
        try:
            nowhere = _above(os.open(os.devnull, os.O_WRONLY))
            try:
                for fd in kept:
                    os.dup2(nowhere, fd)
            finally:
                os.close(nowhere)
            yield
        finally:
            for fd, copy in kept.items():
                if copy is None:
                    with suppress(OSError):
                        os.close(fd)
                else:
                    os.dup2(copy, fd, inheritable=True)
                    os.close(copy)


def _copied(fd: int) -> int | None:
    """Another descriptor of the same file, above the three standard ones; None where it is closed."""
    try:
        return _above(os.dup(fd))
    except OSError:
        return None


def _above(fd: int) -> int:
    """The same file under a number above 2: a low one may be free because a standard stream is closed."""
    low = []
    while fd <= 2:
        low.append(fd)
        fd = os.dup(fd)
    for one in low:
        os.close(one)
    return fd
