"""What a report of a move says aloud."""

import numpy as np
import pytest

from small_vocabularies import ENGLISH, byte_level, rows_for
from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.transplant.matching import raw_overlap
from tokenry.transplant.move_report import move_report
from tokenry.transplant.planning import new_rows, plan


def report(old, new, **options):
    made = plan(old, new, **options)
    rows = rows_for(old)
    after, _ = new_rows(made, rows, rows)
    return move_report(made, old, new, before=rows, after=after, lost=["x is gone"], template=["<tool>"])


def test_facts_add_up_and_survive_json(old, new):
    found = report(old, new)
    facts = found.facts
    assert facts["shared"] + facts["match.unmatched"] == new.size
    assert facts["shared_share"] == pytest.approx(facts["shared"] / new.size)
    assert facts["shared_by_raw_string"] == raw_overlap(old, new)
    assert facts["weights_l1_max"] == pytest.approx(1.0)
    again = Report.from_json(found.to_json())
    assert again.facts == facts
    assert sum(count for _, count in found.figures[0].series["new rows"]) == new.size


def test_what_was_lost_and_what_a_template_misses_are_warnings(old, new):
    warnings = " ".join(report(old, new).warnings)
    assert "x is gone." in warnings
    assert "<tool>" in warnings


def test_zero_rows_are_warned_about(old, new):
    assert any("logit 0" in warning for warning in report(old, new, method="zero").warnings)
    assert not any("logit 0" in warning for warning in report(old, old, method="zero").warnings)


def test_vocabularies_that_share_no_token_are_warned_about_in_words(old, new):
    from test_transplant_bad_input import letters_of

    assert not any("share no token" in warning for warning in report(old, new).warnings)
    strange = letters_of("жилибылистариксостарухой", "cyrillic"), letters_of("καλημερακοσμεπωςεισαι", "greek")
    [said] = [warning for warning in report(*strange).warnings if "share no token" in warning]
    assert "0 are made from other rows by pieces, 32 say nothing" in said
    assert "train it" in said


def test_a_change_of_the_digit_scheme_is_warned_about(old):
    assert not any("numbers" in warning for warning in report(old, old).warnings)
    spec = byte_level("english", 340).spec
    digits = {"type": "Digits", "individual_digits": True}
    single = {**spec, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, spec["pre_tokenizer"]]}}
    grouped = byte_level_with_numbers()
    assert any("numbers differently" in warning for warning in report(grouped, Vocab.from_spec(single)).warnings)


def byte_level_with_numbers() -> Vocab:
    from small_vocabularies import byte_level_of

    rng = np.random.default_rng(0)
    return byte_level_of(ENGLISH + [" ".join(map(str, rng.integers(10, 1000, 50))) for _ in range(40)], 420)
