"""What a method is given: by its signature, from a closed list, with a sentence where something does not fit."""

import numpy as np
import pytest

from tokenry.core.tokenmap import RowKind
from tokenry.transplant import METHODS
from tokenry.transplant.materials import FLAGS, Materials, list_methods, options_for, parsed_options, record
from tokenry.transplant.planning import Rows, plan


def takes_texts(gap, *, texts, k: int = 3, device: str | None = None):
    """Rows that count the texts."""
    return Rows([([], []) for _ in gap.ids], np.full(gap.ids.size, RowKind.ZERO, np.uint8), info={"n": len(texts) * k})


def takes_anything(gap, **given):
    return Rows([([], []) for _ in gap.ids], np.full(gap.ids.size, RowKind.ZERO, np.uint8))


def test_a_method_gets_what_its_signature_names_and_the_plan_runs_with_it(old, new):
    options = options_for(takes_texts, Materials(texts=["a", "b"], k=5, device="cpu"))
    assert options == {"texts": ["a", "b"], "k": 5, "device": "cpu"}
    assert plan(old, new, method=takes_texts, **options).info["n"] == 10


def test_material_that_is_not_taken_is_refused_or_left_for_others():
    given = Materials(texts=["a"], dictionary="d.tsv", own={"norm": "match", "rate": 2})
    with pytest.raises(ValueError, match=r"does not take --data or --dictionary.*takes none of them"):
        options_for("pieces", given)
    assert options_for("pieces", given, refuse=False) == {"norm": "match"}
    assert options_for("exponential", given, refuse=False) == {"norm": "match", "rate": 2}
    assert options_for(takes_anything, given) == {"texts": ["a"], "dictionary": "d.tsv", "norm": "match", "rate": 2}


def test_required_material_is_asked_for_by_its_option():
    with pytest.raises(ValueError, match=r"needs texts.*--data"):
        options_for(takes_texts, Materials())


def test_the_device_is_passed_where_it_is_taken_and_never_refused():
    assert options_for("pieces", Materials(device="cuda")) == {}
    assert options_for("omp", Materials(device="cuda")) == {"device": "cuda"}


def test_options_are_read_as_numbers_truths_and_words():
    typed = ["rate=2.5", "keep-shared=true", "norm=match", "rank=null", "width=100"]
    assert parsed_options(typed) == {"rate": 2.5, "keep_shared": True, "norm": "match", "rank": None, "width": 100}


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["norm"], "no key=value"),
        (["a=1", "a=2"], "given twice"),
        (["texts=x"], "--data instead"),
        (["memory-mb=3"], "--memory-mb instead"),
        (["rows=[1]"], "one number"),
        (["a b=1"], "no key=value"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(typed, sentence):
    with pytest.raises(ValueError, match=sentence):
        parsed_options(typed)


def test_the_list_holds_every_method_with_its_sentence_and_what_it_asks_for():
    rows = {row["method"]: row for table in list_methods().tables.values() for row in table.to_pylist()}
    assert rows.keys() == METHODS.keys()
    assert all(row["a new row"] for row in rows.values())
    assert rows["pieces"]["needs"] == ""
    assert "--donor" in rows["sava"]["needs"] or "donor" in rows["sava"]["needs"]
    assert rows["wechsel"]["takes"] == "--vectors, --new-vectors, --dictionary"


def test_the_record_of_a_run_holds_no_text():
    assert record(Materials(texts=["secret"] * 3, k=4)) == {"texts": "3 documents", "k": 4}
    assert set(FLAGS) <= set(Materials.__dataclass_fields__)
