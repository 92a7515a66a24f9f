"""The front of the room: every name it offers is there, and importing it is light."""

import subprocess
import sys

import pytest

from tokenry import transplant
from tokenry.core.choosing import resolve


@pytest.mark.parametrize("name", sorted(transplant.METHODS))
def test_every_method_is_a_function(name):
    assert callable(resolve(name, transplant.METHODS, kind="transplant method"))


@pytest.mark.parametrize("name", [name for name in transplant.__all__ if name != "METHODS"])
def test_every_front_name_resolves_and_stays_the_same(name):
    assert callable(getattr(transplant, name))
    assert getattr(transplant, name) is getattr(transplant, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'moov'"):
        transplant.moov  # noqa: B018


def test_planning_needs_no_torch():
    code = (
        "import sys\n"
        "from tokenry.transplant import match, plan, new_rows, donor_rows_from_text\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
