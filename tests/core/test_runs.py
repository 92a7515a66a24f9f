"""Outputs appear whole or not at all, and every run leaves a record of what it read and how it was made."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tokenry.core import runs
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, atomic_path, atomic_write, check_folder, read_run, write_run


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_and_with_the_usual_mode(tmp_path):
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as part:
        (part / "a.txt").write_text("a")
        assert not out.exists()
        assert part.parent == out.parent
    assert listing(out) == ["a.txt"]
    assert listing(out.parent) == ["out"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert out.stat().st_mode == plain.stat().st_mode


def run_in(context: AbstractContextManager[Path], block: Callable[[Path], object]) -> None:
    with context as part:
        block(part)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_after_a_failure_nothing_new_is_left_and_the_old_stands(tmp_path, error, overwrite):
    out = tmp_path / "out"
    if overwrite:
        out.mkdir()
        (out / "old").write_text("old")

    def fail(part):
        (part / "new").write_text("new")
        raise error

    with pytest.raises(type(error)):
        run_in(atomic_folder(out, overwrite=overwrite), fail)
    assert listing(tmp_path) == (["out"] if overwrite else [])
    if overwrite:
        assert listing(out) == ["old"]


def test_a_real_interrupt_leaves_nothing(tmp_path):
    code = (
        "import sys, time\nfrom tokenry.core.runs import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as part:\n"
        "    (part / 'half').write_text('half')\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"ready\n"
    assert len(listing(tmp_path)) == 1
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    process.stdout.close()
    assert listing(tmp_path) == []


def test_an_existing_folder_is_refused_unless_overwritten(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(FileExistsError, match=r"exists already.*--overwrite"), atomic_folder(out):
        pytest.fail("the block must not run")
    with atomic_folder(out, overwrite=True) as part:
        (part / "new").write_text("new")
        assert listing(out) == ["old"]
    assert listing(out) == ["new"]
    assert listing(tmp_path) == ["out"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link", overwrite=True) as part:
        (part / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert listing(tmp_path / "real") == ["new"]


def test_the_working_folder_and_what_holds_it_are_never_replaced(tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    for out in (".", tmp_path):
        with pytest.raises(ValueError, match="would remove"), atomic_folder(out, overwrite=True):
            pytest.fail("the block must not run")
    assert inner.is_dir()


def test_a_result_is_kept_when_another_run_took_the_name_meanwhile(tmp_path):
    out = tmp_path / "out"

    def fill(part):
        (part / "mine").write_text("mine")
        out.mkdir()

    with pytest.raises(FileExistsError, match=r"meanwhile\. This result lies in"):
        run_in(atomic_folder(out), fill)
    [spare] = [path for path in tmp_path.iterdir() if path != out]
    assert listing(spare) == ["mine"]
    assert listing(out) == []


def test_a_full_disk_is_told_with_the_folder_and_the_bytes_free(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, the device that is always full")
    out = tmp_path / "out"

    def fill(part):
        (part / "big").symlink_to("/dev/full")
        (part / "big").write_text("x")

    with pytest.raises(OSError, match="no room left") as caught:
        run_in(atomic_folder(out), fill)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value).startswith(f"no room left while writing {out}: ")
    assert "bytes are free" in str(caught.value)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
        "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534",  # torch.save
    ],
)
def test_a_full_disk_is_known_also_in_the_words_of_other_libraries(words, tmp_path):
    with pytest.raises(OSError, match=r"no room left while writing .*m\.bin"), atomic_path(tmp_path / "m.bin"):
        raise RuntimeError(words)


def refusing_place(tmp_path: Path) -> Path:
    """A place where nobody may write, the superuser included where /sys is mounted."""
    if os.geteuid() != 0:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        return folder / "out"
    if not os.path.ismount("/sys"):
        pytest.skip("the superuser may write everywhere here")
    return Path("/sys/tokenry-test-out")


def test_a_place_that_may_not_be_written_is_told(tmp_path):
    out = refusing_place(tmp_path)
    with pytest.raises(PermissionError, match=r"may not write .*Give a place you may write"), atomic_folder(out):
        pytest.fail("the block must not run")
    with pytest.raises(PermissionError, match="may not write"):
        atomic_write(out / "file", "x")


def test_a_refused_read_inside_the_block_keeps_its_own_words(tmp_path):
    with pytest.raises(PermissionError, match="secret"), atomic_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", "secret.txt")


def test_files_where_folders_are_needed_are_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"), atomic_folder(tmp_path / "file", overwrite=True):
        pytest.fail("the block must not run")
    with (
        pytest.raises(NotADirectoryError, match="a part of its path is a file"),
        atomic_folder(tmp_path / "file" / "x"),
    ):
        pytest.fail("the block must not run")
    with pytest.raises(NotADirectoryError, match="a part of its path is a file"):
        atomic_write(tmp_path / "file" / "x", "y")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        atomic_write(tmp_path, "y")


def test_a_file_appears_whole_or_the_old_one_stays(tmp_path):
    path = tmp_path / "a.json"
    atomic_write(path, "one\r\n\u2028")
    assert path.read_bytes() == "one\r\n\u2028".encode()
    atomic_write(path, b"two")

    def fail(part):
        part.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_in(atomic_path(path), fail)
    assert path.read_bytes() == b"two"
    assert listing(tmp_path) == ["a.json"]


def test_long_names_leave_room_for_the_name_beside(tmp_path):
    path = tmp_path / ("n" * 250)
    atomic_write(path, "x")
    assert path.read_text() == "x"


def test_a_run_record_holds_what_is_needed_to_run_again(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("hello")
    arguments = {
        "path": data,
        "sizes": (1, 2),
        "model": object(),
        "rate": 0.1,
        "kinds": {"b", "a"},
        "nested": {1: None},
    }
    started = time.time() - 5
    out = tmp_path / "out"
    out.mkdir()
    path = write_run(
        out, verb="adapt", arguments=arguments, seed=7, inputs=[data, "owner/name", object()], started=started
    )
    record = read_run(out)
    assert runs.describe_input(str(data / "*.txt")) == record["inputs"][:1]
    assert path == out / "run.json"
    assert record == read_run(path)
    assert record["verb"] == "adapt"
    assert record["seed"] == 7
    assert record["arguments"] == {
        "path": str(data),
        "sizes": [1, 2],
        "model": "<object>",
        "rate": 0.1,
        "kinds": ["a", "b"],
        "nested": {"1": None},
    }
    file, name, thing = record["inputs"]
    # printf hello | b2sum -l 128
    assert file == {
        "path": str(data / "a.txt"),
        "bytes": 5,
        "blake2b": "46fb7408d4f285228f4af516ea25851b",
        "whole": True,
    }
    assert name == {"name": "owner/name"}
    assert thing == {"object": "object"}
    assert 5 <= record["seconds"] < 60
    assert record["versions"]["tokenry"]
    assert {"numpy", "pyarrow", "python"} <= record["versions"].keys()
    assert record["machine"]["cores"] >= 1
    assert record["started"] < record["ended"]


def test_numbers_json_has_no_words_for_are_kept_as_text(tmp_path):
    write_run(tmp_path, verb="x", arguments={"limit": float("inf")}, seed=None, inputs=[])
    text = (tmp_path / "run.json").read_text()
    assert "Infinity" not in text
    assert json.loads(text)["arguments"]["limit"] == "inf"


def test_long_files_are_known_by_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_WHOLE_FILE", 1000)
    monkeypatch.setattr(runs, "_ENDS", 100)
    path = tmp_path / "long"
    path.write_bytes(bytes(2000))
    [before] = runs.describe_input(path)
    assert not before["whole"]
    path.write_bytes(bytes(1999) + b"x")
    assert runs.describe_input(path)[0]["blake2b"] != before["blake2b"]
    path.write_bytes(b"x" + bytes(1999))
    assert runs.describe_input(path)[0]["blake2b"] != before["blake2b"]
    path.write_bytes(bytes(2001))
    assert runs.describe_input(path)[0]["blake2b"] != before["blake2b"]


def test_a_missing_or_broken_record_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run record"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="not a run record"):
        read_run(tmp_path)


def test_a_place_where_no_folder_can_be_is_refused_beforehand(tmp_path):
    (tmp_path / "file").write_text("x")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(NotADirectoryError, match="is a file, not a folder"):
            check_folder(wrong)
        with pytest.raises(NotADirectoryError, match="is a file, not a folder"):
            Report(kind="x", title="x").save(wrong)
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "one")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
