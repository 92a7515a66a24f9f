"""Progress speaks on stderr: lines on a pipe, a bar on a terminal, nothing when quiet."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from tokenry.core import progress as module
from tokenry.core.progress import Progress, log, set_quiet


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def _loud():
    yield
    set_quiet(False)


def test_plain_lines_come_at_most_every_ten_seconds_with_rate_and_time_left(clock, capsys):
    with Progress("count words", total=1000) as progress:
        for _ in range(30):
            clock.now += 1
            progress.add(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "count words: 100 of 1,000 docs, 10 docs/s, 1 min 30 s left",
        "count words: 200 of 1,000 docs, 10 docs/s, 1 min 20 s left",
        "count words: 300 of 1,000 docs, 10 docs/s, 1 min 10 s left",
        "count words: 300 of 1,000 docs, 10 docs/s, done after 30.0 s",
    ]


def test_without_a_total_the_time_so_far_is_told_and_a_note_is_added(clock, capsys):
    with Progress("train", unit="steps") as progress:
        clock.now += 3700
        progress.add(37, note="loss 2.31")
    assert "train: 37 steps, 0.01 steps/s, 1 h 01 min, loss 2.31" in capsys.readouterr().err


def test_work_done_by_an_earlier_run_does_not_count_for_the_rate(clock, capsys):
    with Progress("train", total=100, unit="steps", start=50) as progress:
        clock.now += 10
        progress.add(10)
    assert progress.done == 60
    assert "60 of 100 steps, 1 steps/s, 40.0 s left" in capsys.readouterr().err


def test_short_work_says_nothing_and_stopped_work_says_so(clock, capsys):
    with Progress("short") as progress:
        progress.add()
    assert capsys.readouterr().err == ""

    def cut():
        with Progress("cut"):
            clock.now += 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cut()
    assert "stopped after 2.0 s" in capsys.readouterr().err


def test_short_work_inside_other_work_says_nothing_of_its_own(clock, capsys):
    with Progress("resampling", total=2) as outer:
        for seconds in (3, 12):
            with Progress("fitting") as inner:
                clock.now += seconds
                inner.add(1)
            outer.add(1)
    lines = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["fitting", "fitting", "resampling", "resampling"]  # the one of 12 s, at its time and at its end


def test_quiet_silences_lines_and_messages(clock, capsys):
    with Progress("x", quiet=True) as progress:
        clock.now += 60
        progress.add()
    set_quiet(True)
    log("unheard")
    with Progress("y") as progress:
        clock.now += 60
        progress.add()
    assert capsys.readouterr().err == ""
    set_quiet(False)
    log("heard")
    assert capsys.readouterr() == ("", "heard\n")


BARS = """
from tokenry.core.progress import Progress, log
import time
with Progress("outer [bold]", total=2) as outer:
    for _ in range(2):
        with Progress("inner", total=3, unit="steps") as inner:
            for _ in range(3):
                time.sleep(0.11)
                inner.add()
        outer.add()
    log("a message")
with Progress("again", total=1) as again:
    again.add()
"""


def test_on_a_terminal_bars_are_drawn_and_may_be_nested():
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", BARS], stderr=follower, stdout=subprocess.PIPE, env=env)
    os.close(follower)
    shown = io.BytesIO()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the terminal closed with the process
            break
        if not piece:
            break
        shown.write(piece)
    os.close(leader)
    assert process.wait(timeout=10) == 0
    text = shown.getvalue().decode()
    for part in ("outer [bold]", "2 of 2 docs", "3 of 3 steps", "steps/s", "a message", "again"):
        assert part in text
    assert process.stdout.read() == b""
    process.stdout.close()


def test_nothing_heavy_is_imported_before_a_bar_is_drawn():
    code = (
        "import sys, tokenry.core.runs; print([m for m in ('rich', 'pyarrow', 'numpy', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
