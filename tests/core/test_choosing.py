"""Names become methods, and wrong names become sentences."""

import sys

import pytest

from tokenry.core.choosing import needs, resolve, suggest

METHODS = {"join": "os.path:join", "fraction": "fractions:Fraction", "from_float": "fractions:Fraction.from_float"}


def test_a_known_name_gives_the_function_behind_it():
    import os

    assert resolve("join", METHODS, kind="method") is os.path.join


def test_a_dotted_attribute_is_followed():
    assert resolve("from_float", METHODS, kind="method")(0.5) == 0.5


def test_a_name_of_a_module_and_function_needs_no_row():
    import json

    assert resolve("json:dumps", METHODS, kind="method") is json.dumps


def test_a_function_is_returned_as_it_is():
    assert resolve(len, METHODS, kind="method") is len


def test_a_function_in_a_file_is_found_and_the_file_runs_once(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Plan:\n    n: int = 3\ndef make(): return Plan()\n"
    )
    make = resolve(f"{file}:make", METHODS, kind="method")
    assert make().n == 3
    assert resolve(f"{file}:make", METHODS, kind="method") is make


def test_a_file_that_fails_leaves_no_half_module(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("raise RuntimeError('inside')")
    before = set(sys.modules)
    with pytest.raises(RuntimeError, match="inside"):
        resolve(f"{file}:make", METHODS, kind="method")
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jion", "method 'jion' is not known. Did you mean 'join'?"),
        ("zzzz", "Known: fraction, from_float, join"),
        ("no_such_pkg.mod:fn", "no module 'no_such_pkg.mod'"),
        ("json:dump_s", "Did you mean 'dumps'?"),
        ("json:", "half a name"),
        ("./no_such_file.py:fn", "no file ./no_such_file.py"),
        (3, "method is a int"),
    ],
)
def test_a_wrong_name_is_answered_with_what_to_do(name, words):
    with pytest.raises(ValueError, match="method") as caught:
        resolve(name, METHODS, kind="method")
    assert words in str(caught.value)


def test_a_missing_import_inside_a_module_keeps_its_own_words(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_library_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        resolve("needs_more:fn", METHODS, kind="method")


def test_suggestions_ignore_case_and_may_be_empty():
    assert suggest("OMP", ["omp", "mean"]) == " Did you mean 'omp'?"
    assert suggest("quite different", ["omp", "mean"]) == ""
    assert suggest("x", []) == ""


def test_needs_names_what_is_missing_and_the_line_that_installs_it(monkeypatch):
    needs("models", "json", "os.path")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"torch and no_such\.thing are not installed") as caught:
        needs("models", "torch", "json", "no_such.thing")
    assert "pip install 'tokenry[models]'" in str(caught.value)
