"""What the system refuses is told with the path and the way out; what nobody can mend stays an error of its own."""

import errno
import os

import pytest

from tokenry.core.runs import atomic_folder, atomic_path, atomic_write, check_folder
from tokenry.core.system_errors import INTACT, check_names, mendable

MENDABLE = ("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "EISDIR", "ENOTDIR", "ENAMETOOLONG", "ELOOP")


def system_error(name: str, path: str = "some/file") -> OSError:
    code = getattr(errno, name)
    return OSError(code, os.strerror(code), path)


@pytest.mark.parametrize("name", MENDABLE)
def test_each_error_that_can_be_mended_names_the_path_and_the_way_out(name):
    said = mendable(system_error(name))
    assert "some/file" in said
    assert "Errno" not in said
    assert said.endswith(".")
    assert any(word in said for word in ("give", "free some", "remove", "raise the limit"))


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EROFS"])
def test_a_write_that_failed_says_that_the_old_output_is_intact(name):
    assert INTACT in mendable(system_error(name))


@pytest.mark.parametrize("name", MENDABLE)
def test_a_refusal_while_writing_keeps_its_errno_and_leaves_the_old_file(name, tmp_path):
    out = tmp_path / "report.json"
    out.write_text("old")

    def write():
        with atomic_path(out) as part:
            part.write_text("half of the new")
            raise system_error(name, str(part))

    with pytest.raises(OSError, match=r"report\.json") as caught:
        write()
    assert caught.value.errno == getattr(errno, name)
    assert mendable(caught.value) == str(caught.value)
    assert isinstance(caught.value, type(system_error(name)))
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("problem", [OSError(errno.EIO, "Input/output error", "x"), OSError("odd"), ValueError("odd")])
def test_a_broken_disk_and_other_errors_are_not_called_mendable(problem):
    assert mendable(problem) is None


def test_the_cause_decides_and_the_outer_words_are_kept():
    told = OSError("no room; finished stages are kept: add --resume")
    assert mendable(told) is None
    told.__cause__ = system_error("ENOSPC")
    assert mendable(told) == str(told)


def test_another_library_s_words_for_a_full_disk_are_known():
    said = mendable(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert "no room left" in said
    assert "free some space" in said


@pytest.mark.parametrize("path", ["a" * 300, f"not-there/{'a' * 300}", "ö" * 200, "/".join(["a" * 200] * 30)])
def test_a_name_that_is_too_long_is_refused_before_the_work(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for ask in (check_names, check_folder, lambda path: atomic_write(path, "x")):
        with pytest.raises(OSError, match="too long") as caught:
            ask(path)
        assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(OSError, match="too long"), atomic_folder(path):
        pytest.fail("the block must not run")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 255, "語" * 85, "😀" * 63])
def test_the_longest_name_the_file_system_takes_can_be_written(name, tmp_path):
    """The hidden name beside it is shorter: bounded in bytes, as the file system counts."""
    atomic_write(tmp_path / name, "x")
    with atomic_folder(tmp_path / name[:-1]) as part:
        (part / "file").write_text("x")
    assert sorted(os.listdir(tmp_path)) == sorted([name, name[:-1]])
