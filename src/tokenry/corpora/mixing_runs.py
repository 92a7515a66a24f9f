"""The record of a mixture search: one line for every proxy that was trained, so that a search can be gone on with.

Papers: CLIMB (arXiv 2504.13161).
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

__all__ = ["Run", "RunsFile"]

FORMAT = 1
_MOST_BYTES = 2**30
_HEADER = b'{"format": 1, "search": "'


@dataclass(frozen=True)
class Run:
    """One proxy.

    Attributes:
        number: its place in the search, from 0; the candidates are drawn before any is measured, so it decides them.
        round: from 1; 0 for those that measured the result and the best proxy again.
        candidate: row of the pool.
        seed: given to the training function.
        weights: domain -> share.
        score: what the function returned; None when that was no finite number.
        seconds: it took.
    """

    number: int
    round: int
    candidate: int
    seed: int
    weights: dict[str, float]
    score: float | None
    seconds: float = 0.0


class RunsFile:
    """Runs on disk, one JSON object a line after a header; each is written whole before the next.

    Args:
        path: the file, made when it is not there; None keeps the runs in memory only.
        key: of all that decides the candidates. A file of another key is refused.

    Raises:
        ValueError: the file is of another search, or a line in the middle of it is broken.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.known = path, {}
        self._lock = threading.Lock()
        if path is None:
            return
        if path.exists():
            self._read(key)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"format": FORMAT, "search": key})

    def add(self, run: Run) -> None:
        """Keep a run."""
        with self._lock:
            self.known[run.number] = run
            if self.path is not None:
                self._append(asdict(run))

    def find(self, number: int, weights: Mapping[str, float]) -> Run | None:
        """The run of this number if it was made with these weights.

        Raises:
            ValueError: it was made with others (the training function gave other scores before it).
        """
        run = self.known.get(number)
        if run is None:
            return None
        near = run.weights.keys() == weights.keys() and all(
            np.isclose(run.weights[name], share, rtol=1e-9, atol=1e-12) for name, share in weights.items()
        )
        if not near:
            raise ValueError(
                f"run {number} in {self.path} was made with other weights than this search draws now: a line before it "
                "was changed, or versions differ. Give another --out."
            )
        return run

    def _append(self, record: dict) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, key: str) -> None:
        if self.path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{self.path} is over 1 GB; no record of a search is. Give another --out.")
        lines = self.path.read_bytes().split(b"\n")
        torn = lines.pop()  # what stands after the last line end was not written whole
        if torn and not lines and not _HEADER.startswith(torn[: len(_HEADER)]):
            raise ValueError(f"{self.path} is no record of a mixture search. Give another --out.")
        for number, line in enumerate(lines):
            try:
                record = json.loads(line)
                if number == 0:
                    theirs = record["search"]
                    continue
                run = Run(**record)
                numbers = [*run.weights.values(), run.seconds, *([] if run.score is None else [run.score])]
                whole = isinstance(run.number, int) and isinstance(run.candidate, int)
                if not (whole and np.isfinite(np.array(numbers, np.float64)).all()):
                    raise ValueError("a field is of the wrong kind")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{self.path}, line {number + 1}, is no run of a mixture search ({error}). Remove that line, or "
                    "give another --out."
                ) from error
            self.known[run.number] = run
        if lines and theirs != key:
            raise ValueError(
                f"{self.path} is the record of another search (other domains, sizes, rounds, predictor, seed or "
                "training function). Give another --out, or the same settings to go on with it."
            )
        if torn:  # only now: a file that is not ours is left as it is
            with open(self.path, "r+b") as file:
                file.truncate(self.path.stat().st_size - len(torn))
        if not lines:
            self._append({"format": FORMAT, "search": key})
