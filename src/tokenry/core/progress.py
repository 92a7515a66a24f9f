"""Progress and messages on stderr: a live bar on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
import time
from typing import ClassVar


def log(message: str) -> None:
    """Say one line on stderr, unless the program is quiet."""
    if not _State.quiet:
        print(message, file=sys.stderr, flush=True)


def set_quiet(quiet: bool) -> None:
    """Silence (or restore) `log` and every `Progress` of this process."""
    _State.quiet = quiet


class Progress:
    """Progress on stderr: count, rate and time left, as a live bar on a terminal, else a plain line every 10 s.

        with Progress("count pre-tokens", total=n_documents) as progress:
            for batch in batches:
                progress.add(batch.num_rows)

    Bars may be nested: a finished one goes away when the next opens inside the same work. A plain run that took under a
    second says nothing, nor does one inside another that took under `EVERY`.

    Args:
        label: what is being done.
        total: units in all, when known: it gives the time left.
        unit: what is counted, in the plural.
        quiet: say nothing.
        start: units done by an earlier run that this one resumes; they do not count for the rate.

    Attributes:
        done: how much has been added.
    """

    EVERY = 10.0  # seconds between plain lines

    def __init__(
        self, label: str, total: float | None = None, unit: str = "docs", quiet: bool = False, *, start: float = 0
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = self._start = start
        self._quiet = quiet
        self._note = ""
        self._task = None
        self._started = self._spoken = time.monotonic()

    def __enter__(self) -> "Progress":
        self._started = self._spoken = time.monotonic()
        self._quiet = self._quiet or _State.quiet
        self._inside, _State.n_entered = _State.n_entered > 0, _State.n_entered + 1
        if not self._quiet and sys.stderr.isatty():
            self._task = _State.open_bar(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ended = "done" if kind is None else "stopped"
        _State.n_entered -= 1
        if self._task is not None:
            _State.close_bar(self._task, self.done, self._line(ended=ended, with_label=False))
        elif not self._quiet and time.monotonic() - self._started >= (self.EVERY if self._inside else 1):
            log(self._line(ended=ended))

    def add(self, n: float = 1, *, note: str | None = None) -> None:
        """Count `n` more units; `note` is a word on the present state, such as `"loss 2.31"`."""
        self.done += n
        if note is not None:
            self._note = note
        if self._quiet:
            return
        now = time.monotonic()
        if self._task is not None:
            if now - self._spoken >= 0.1:
                self._spoken = now
                _State.move_bar(self._task, self.done, self._line(with_label=False))
        elif now - self._spoken >= self.EVERY:
            self._spoken = now
            log(self._line())

    def _line(self, *, ended: str = "", with_label: bool = True) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._start) / seconds
        parts = [f"{_count(self.done)}{f' of {_count(self.total)}' if self.total else ''} {self.unit}"]
        parts.append(f"{_count(rate)} {self.unit}/s")
        if ended:
            parts.append(f"{ended} after {_duration(seconds)}")
        elif self.total and rate > 0:
            parts.append(f"{_duration(max(self.total - self.done, 0) / rate)} left")
        else:
            parts.append(_duration(seconds))
        if self._note:
            parts.append(self._note)
        return (f"{self.label}: " if with_label else "") + ", ".join(parts)


class _State:
    """What all of one process share: the quiet switch and the one live display (rich allows no second)."""

    quiet = False
    display = None
    finished: ClassVar[list[int]] = []
    n_entered = 0
    n_open = 0

    @classmethod
    def open_bar(cls, progress: Progress) -> int:
        if cls.display is None:
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Display

            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24))
            text = TextColumn("{task.fields[line]}", markup=False)
            cls.display = Display(*columns, text, console=Console(stderr=True))
            cls.display.start()
        cls.n_open += 1
        while cls.finished:  # of twenty fits inside a bootstrap only the last stays in view
            cls.display.remove_task(cls.finished.pop())
        return cls.display.add_task(progress.label, total=progress.total, line="")

    @classmethod
    def move_bar(cls, task: int, done: float, line: str) -> None:
        cls.display.update(task, completed=done, line=line)

    @classmethod
    def close_bar(cls, task: int, done: float, line: str) -> None:
        cls.n_open -= 1
        cls.display.update(task, completed=done, line=line)
        cls.finished.append(task)
        if cls.n_open == 0:
            cls.display.stop()
            cls.display, cls.finished = None, []


def _count(number: float) -> str:
    if number >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
