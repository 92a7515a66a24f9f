"""Front functions are found lazily and survive the import of a submodule of the same name."""

import subprocess
import sys

import pytest

import tokenry.tokenization as room


def _fresh(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_submodule_does_not_hide_the_function_of_its_name():
    script = (
        "from tokenry.tokenization.audit import audit; import tokenry, sys\n"
        "assert tokenry.tokenization.audit is audit\n"
        "assert sys.modules['tokenry.tokenization.audit'].audit is audit\n"
        "print(callable(tokenry.tokenization.audit))"
    )
    assert _fresh(script) == "True"


def test_a_front_function_is_imported_on_first_use_only():
    script = (
        "import tokenry.tokenization, sys\n"
        "before = 'tokenry.tokenization.audit' in sys.modules\n"
        "tokenry.tokenization.audit\n"
        "print(before, 'tokenry.tokenization.audit' in sys.modules)"
    )
    assert _fresh(script) == "False True"


def test_other_submodules_and_unknown_names_behave_as_ever():
    from tokenry.tokenization import lenses

    assert room.lenses is lenses
    assert {"audit", "compare", "train", "extend"} <= set(dir(room))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        room.nothing  # noqa: B018
