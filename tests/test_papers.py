"""papers.toml promises only what is there: every name of a row that is not merely planned resolves."""

import ast
import re
from pathlib import Path

import pytest

from tokenry.cli import papers_table
from tokenry.core.choosing import resolve

ROOT = Path(__file__).resolve().parents[1]
PAPERS = papers_table.load()
WORKING = [paper for paper in PAPERS if paper.state != "planned"]


def _verbs(command, prefix: str = "") -> set[str]:
    """Every verb of the command line by its full name, as in "tokenizer audit"."""
    found = set()
    for name, child in getattr(command, "commands", {}).items():
        found |= {prefix + name} | _verbs(child, f"{prefix}{name} ")
    return found


@pytest.fixture(scope="module")
def verbs() -> set[str]:
    import typer

    from tokenry.cli import app

    return _verbs(typer.main.get_command(app))


def _tests_in(file: Path) -> set[str]:
    """The tests pytest would collect from a file: top functions, and methods as Class::name."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found |= {f"{node.name}::{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
    return found


def test_all_fifty_eight_papers_have_one_row_each_in_order():
    assert [paper.nn for paper in PAPERS] == [f"{number:02d}" for number in range(1, 59)]
    assert len({paper.name for paper in PAPERS}) == 58


def test_planned_rows_claim_no_figure_of_ours_and_nothing_missing():
    for paper in PAPERS:
        if paper.state == "planned":
            assert not paper.ours, f"{paper.nn} is planned and yet gives a figure of ours"
        assert bool(paper.missing) == (paper.state == "part"), f"{paper.nn}: 'missing' goes with state 'part', only"


def test_every_row_is_complete_and_well_formed():
    for paper in PAPERS:
        assert paper.title, paper.nn
        assert paper.published, paper.nn
        assert re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv), paper.arxiv
        for function in paper.functions:
            assert re.fullmatch(r"tokenry(\.\w+)+:\w+", function), function
        assert paper.test.startswith("tests/"), paper.test


@pytest.mark.parametrize("paper", WORKING, ids=lambda paper: f"{paper.nn}-{paper.name}")
def test_what_a_row_names_is_there(paper, verbs):
    for function in paper.functions:
        resolved = resolve(function, {}, kind="function of papers.toml")
        assert callable(resolved), f"{function} is not callable"
    assert paper.verb in verbs, f"{paper.nn}: tokenry has no verb {paper.verb!r}"
    file, _, name = paper.test.partition("::")
    assert (ROOT / file).is_file(), f"{paper.nn}: no file {file}"
    assert name in _tests_in(ROOT / file), f"{paper.nn}: {file} collects no test {name!r}"


def test_a_function_that_works_cites_its_paper():
    for paper in WORKING:
        module = paper.function.partition(":")[0]
        source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
        assert paper.arxiv in source, f"{module} does not cite arXiv {paper.arxiv} of row {paper.nn}"


def test_every_method_of_every_room_resolves():
    import importlib

    rooms = [folder for folder in (ROOT / "src" / "tokenry").iterdir() if (folder / "__init__.py").is_file()]
    for room in rooms:
        methods = getattr(importlib.import_module(f"tokenry.{room.name}"), "METHODS", {})
        for name in methods:
            assert callable(resolve(name, methods, kind=f"method of {room.name}")), name


def test_the_page_of_papers_is_up_to_date():
    page = (ROOT / "docs" / "PAPERS.md").read_text(encoding="utf-8")
    assert page == papers_table.markdown(), "run: python -m tokenry.cli.papers_table > docs/PAPERS.md"


def test_the_table_in_the_readme_is_up_to_date():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    if papers_table.BEGIN not in page:
        pytest.skip("README.md carries no papers table (no marks)")
    assert page == papers_table.update(page), "run: python -m tokenry.cli.papers_table --update README.md"


def test_a_paper_is_found_by_number_and_by_name():
    assert papers_table.find("8").name == papers_table.find("08").name == "tokenadapt"
    assert papers_table.find("omp-transplant").nn == "26"
    with pytest.raises(ValueError, match="number from 1 to 58"):
        papers_table.find("59")
    with pytest.raises(ValueError, match="omp-transplant"):
        papers_table.find("omp-transplants")


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="no marks"):
        papers_table.update("# A page\n")


def test_one_paper_and_all_of_them_are_reports():
    one = papers_table.report("26")
    assert one.facts["paper"].startswith("Training-Free Tokenizer Transplantation")
    assert "2506.06607" in one.facts["paper"]
    every = papers_table.report()
    assert every.facts["n_papers"] == every.tables["papers"].num_rows == 58
    assert sum(every.facts[f"n_{state}"] for state in papers_table.STATES) == 58


def test_updating_a_page_twice_changes_nothing_and_keeps_the_rest():
    page = f"# A\n\n{papers_table.BEGIN}\nold\n{papers_table.END}\n\nrest\n"
    once = papers_table.update(page)
    assert papers_table.update(once) == once
    assert once.startswith("# A\n")
    assert once.endswith("\n\nrest\n")
    assert "old" not in once
    assert once.count("https://arxiv.org/abs/") == 58
