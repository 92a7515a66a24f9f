"""The resumable state of a run."""

import pytest

from tokenry.transplant.workspace import Workspace


def test_a_finished_stage_is_not_done_again(tmp_path):
    out = tmp_path / "out"
    space = Workspace.open(out, "key")
    assert space.stage("one", lambda: {"n": 1}) == {"n": 1}
    again = Workspace.open(out, "key", resume=True)
    assert again.stage("one", lambda: pytest.fail("done twice")) == {"n": 1}


def test_a_stage_that_fails_leaves_no_record(tmp_path):
    space = Workspace.open(tmp_path / "out", "key")
    with pytest.raises(ZeroDivisionError):
        space.stage("one", lambda: {"n": 1 / 0})
    assert Workspace.open(tmp_path / "out", "key", resume=True).done == {}


def test_an_unfinished_run_is_never_thrown_away_unasked(tmp_path):
    space = Workspace.open(tmp_path / "out", "key")
    space.stage("one", lambda: {})
    with pytest.raises(FileExistsError, match="--resume"):
        Workspace.open(tmp_path / "out", "key")
    assert space.folder.exists()


def test_another_run_is_not_continued(tmp_path):
    Workspace.open(tmp_path / "out", "key")
    with pytest.raises(ValueError, match="other arguments"):
        Workspace.open(tmp_path / "out", "another", resume=True)


def test_closing_removes_the_state(tmp_path):
    space = Workspace.open(tmp_path / "out", "key")
    space.close()
    assert not space.folder.exists()
    assert Workspace.open(tmp_path / "out", "another").done == {}
