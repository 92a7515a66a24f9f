"""A plan from a stranger: nothing in it leads out of its folder, asks for more than it holds, or runs."""

import json

import numpy as np
import pytest

from tokenry.transplant.manifest import _digest, load_plan, save_plan
from tokenry.transplant.planning import plan


@pytest.fixture
def folder(old, new, tmp_path):
    return save_plan(plan(old, new), tmp_path / "plan")


def changed(folder, **fields):
    manifest = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(manifest | fields))
    return manifest


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/passwd", "other.npz"])
def test_a_name_that_leads_elsewhere_is_refused(folder, name):
    (folder.parent / "secret.npz").write_bytes(b"x")
    files = changed(folder)["files"]
    changed(folder, files={**files, name: "0"})
    with pytest.raises(ValueError, match="Do not use it"):
        load_plan(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [10**9, 10**9]},
        {"shape": "large"},
        {"unfilled": [10**9]},
        {"unfilled": [-1]},
        {"info": {"rare_ids": [10**9]}},
        {"info": []},
        {"untie": "yes"},
        {"method": 3},
        {"files": {}},
    ],
)
def test_claims_that_do_not_fit_are_refused(folder, fields):
    changed(folder, **fields)
    with pytest.raises(ValueError, match=r"plan\.json is not a plan|manifest says|unfilled ids outside"):
        load_plan(folder)


def test_an_array_that_claims_more_than_its_file_has_is_refused_unread(folder):
    import io
    import zipfile

    header = io.BytesIO()
    claim = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(folder / "input.npz", "w") as archive:
        archive.writestr("weights.npy", header.getvalue())
    files = changed(folder)["files"]
    changed(folder, files={**files, "input.npz": _digest(folder / "input.npz")})
    with pytest.raises(ValueError, match="not a part of a plan"):
        load_plan(folder)


def test_pickled_objects_are_refused_unopened(folder):
    np.savez(folder / "input.npz", indptr=np.array([object()], dtype=object))
    files = changed(folder)["files"]
    changed(folder, files={**files, "input.npz": _digest(folder / "input.npz")})
    with pytest.raises(ValueError, match=r"input\.npz"):
        load_plan(folder)
