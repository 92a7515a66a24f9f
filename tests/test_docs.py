"""What the documentation shows works: every python and bash fence of a page runs, in order, in an empty folder.

`sh` fences are shown only (an installation, a job of minutes); `python` and `bash` fences are promises.
"""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _fences(page: Path) -> list[tuple[str, str, int]]:
    """(language, content, line) of each fence."""
    text = page.read_text(encoding="utf-8")
    return [(m[1], m[2], text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)]


def _run_commands(script: str, where: str) -> None:
    from tokenry.cli import main

    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "tokenry", f"{where}: a bash fence holds only tokenry commands, got {words[0]!r}"
        with pytest.raises(SystemExit) as stop:
            main(words[1:])
        assert stop.value.code in (0, None), f"{where}: {line} ended with exit code {stop.value.code}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "docs"], ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs(page, tmp_path, monkeypatch):
    fences = [fence for fence in _fences(page) if fence[0] in ("python", "bash")]
    if not fences:
        pytest.skip(f"{page.name} shows nothing to run")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    for language, content, line in fences:
        where = f"{page.name}:{line}"
        if language == "bash":
            _run_commands(content, where)
        else:
            exec(compile(content, where, "exec"), names)


def test_every_fence_names_its_language():
    unnamed = [f"{page.name}:{line}" for page in PAGES for language, _, line in _fences(page) if not language]
    assert not unnamed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_inside_the_project_leads_somewhere(page):
    targets = [t for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_every_room_that_exists_has_a_page():
    rooms = {f.parent.name for f in (ROOT / "src" / "tokenry").glob("*/__init__.py")} - {"cli", "data", "worlds"}
    assert not [room for room in sorted(rooms) if not (ROOT / "docs" / f"{room}.md").is_file()]
