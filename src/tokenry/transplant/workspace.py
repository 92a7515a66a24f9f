"""The resumable state of one long run: a folder beside the output that remembers which stages are finished.

A stage writes its files, then its record; a record without its files cannot exist. The folder goes when the run is
done, stays when it is interrupted, and is refused when it belongs to other arguments.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenry.core.runs import atomic_write, log

_RECORD = "stages.json"


@dataclass
class Workspace:
    """Folder of one run and the results of its finished stages."""

    folder: Path
    key: str
    done: dict[str, dict]

    @classmethod
    def open(cls, out: Path, key: str, *, resume: bool = False) -> "Workspace":
        """Open the state of the run that writes `out`.

        Args:
            out: where the finished result will go; the state lies beside it as `.NAME.unfinished`.
            key: fingerprint of everything that decides the result.
            resume: continue what is there; otherwise an unfinished state is refused, never thrown away.

        Raises:
            FileExistsError: an unfinished run is there and `resume` is off.
            ValueError: the unfinished run had other arguments or other inputs.
        """
        folder = out.parent / f".{out.name}.unfinished"
        record = folder / _RECORD
        if not record.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            space = cls(folder, key, {})
            space._write()
            return space
        if not resume:
            raise FileExistsError(
                f"{folder} holds an unfinished run of the same --out. Add --resume to go on with it, "
                f"or remove that folder to start again."
            )
        state = json.loads(record.read_text())
        if state.get("key") != key:
            raise ValueError(
                f"{folder} was begun with other arguments, inputs or versions than these; need the same ones to go on. "
                "Repeat the first command with --resume, or remove that folder to start again."
            )
        space = cls(folder, key, state["done"])
        log(f"resuming after: {', '.join(space.done) or 'nothing'}")
        return space

    def stage(self, name: str, work: Callable[[], dict]) -> dict:
        """The result of stage `name`: from the record when it is there, else `work()`, which is then recorded.

        `work` returns plain data (what `json` can hold); files go into `path(...)`.
        """
        if name not in self.done:
            self.done[name] = work()
            self._write()
        return self.done[name]

    def path(self, name: str) -> Path:
        """A file or folder of this run."""
        return self.folder / name

    def close(self) -> None:
        """Remove the state: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        atomic_write(self.folder / _RECORD, json.dumps({"key": self.key, "done": self.done}, indent=1))
