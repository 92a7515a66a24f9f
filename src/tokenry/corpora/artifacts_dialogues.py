"""Dialogues played by two agents: who falls out of a role, who is interrupted, who leaves the task, and when.

Rules say what each role must and must not write. The paper's are the default: a user who writes "Solution:" or an
assistant who writes "Instruction:" has flipped; a turn without its marker, in a dialogue that has not ended, is an
interruption. Markers, roles, the first turn that counts and the test for digression are settings here.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), section on simulation.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tokenry.core.report import Report
from tokenry.corpora.artifacts import Finding, compare_means, report_of

__all__ = ["Rules", "audit_dialogues", "faults"]

FAULTS = ("role_flip", "interruption", "digression")
Turn = Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """What is a fault.

    Attributes:
        forbidden: role -> strings that only the other role writes.
        expected: role -> strings of which a turn has at least one; a role without any is not held to it.
        ends: strings that end a dialogue; the turn that has one needs no marker.
        digression: patterns (searched, capitals ignored) that show a turn has left the task, or a function of (turn,
            dialogue) to True.
        first: the first turn that is looked at (a greeting or the task itself may stand before).
    """

    forbidden: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"user": ["Solution:"], "assistant": ["Instruction:"]}
    )
    expected: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"user": ["Instruction:"], "assistant": ["Solution:"]}
    )
    ends: Sequence[str] = ("<CAMEL_TASK_DONE>",)
    digression: Sequence[str] | Callable[[Turn, Sequence[Turn]], bool] = ()
    first: int = 0

    def __post_init__(self) -> None:
        listed = [(name, each) for name in ("forbidden", "expected") for each in _values(getattr(self, name))]
        listed += [("ends", self.ends)] + ([] if callable(self.digression) else [("digression", self.digression)])
        for name, each in listed:
            if not isinstance(each, list | tuple) or not all(isinstance(one, str) for one in each):
                raise ValueError(
                    f"{name} is {str(getattr(self, name))[:60]}; need lists of strings (forbidden and expected: one "
                    "for each role)."
                )
        if not isinstance(self.first, int) or self.first < 0:
            raise ValueError(f"first={self.first!r}; need the number of a turn, 0 or more.")


def _values(roles: object) -> list:
    return list(roles.values()) if isinstance(roles, Mapping) else [roles if isinstance(roles, str) else None]


def faults(dialogue: Sequence[Turn], rules: Rules = Rules()) -> dict[str, np.ndarray]:
    """Fault -> whether each turn has it (turns before `rules.first` have none).

    Raises:
        ValueError: a turn without role or content.
    """
    made = {name: np.zeros(len(dialogue), bool) for name in FAULTS}
    ended = False
    for place, turn in enumerate(dialogue):
        if not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
            raise ValueError(f"turn {place} is {str(dict(turn))[:80]}; need role and content, both text.")
        role, content = turn["role"].lower(), turn["content"]
        ends = any(mark in content for mark in rules.ends)
        if place >= rules.first and not ended:
            made["role_flip"][place] = any(mark in content for mark in rules.forbidden.get(role, ()))
            wanted = rules.expected.get(role, ())
            made["interruption"][place] = bool(wanted) and not ends and not any(mark in content for mark in wanted)
            made["digression"][place] = _digresses(turn, dialogue, rules)
        ended = ended or ends
    return made


def _digresses(turn: Turn, dialogue: Sequence[Turn], rules: Rules) -> bool:
    if callable(rules.digression):
        return bool(rules.digression(turn, dialogue))
    return any(re.search(pattern, turn["content"], re.IGNORECASE) for pattern in rules.digression)


def audit_dialogues(
    human: Sequence[Mapping[str, object]],
    synthetic: Sequence[Mapping[str, object]],
    *,
    rules: Rules = Rules(),
) -> Report:
    """Compare dialogues.

    Args:
        human: rows with `messages` (turns of `role` and `content`) and perhaps `success` (true or false).
        synthetic: the same. One side may be empty: then the other's rates stand alone.
        rules: what is a fault.

    Raises:
        ValueError: rows without turns, a pattern that is none.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    if not callable(rules.digression):
        for pattern in rules.digression:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"digression {pattern!r} is no pattern ({error}). Write it as a regular expression."
                ) from None
    sides = {"human": [_turns(row) for row in human], "synthetic": [_turns(row) for row in synthetic]}
    found = {side: [faults(one, rules) for one in dialogues] for side, dialogues in sides.items()}
    findings: list[Finding] = []
    for fault in FAULTS:
        any_ = [[one[fault].any() for one in found[side]] for side in sides]
        rate = [[one[fault][rules.first :].mean() if len(one[fault]) > rules.first else math.nan
                 for one in found[side]] for side in sides]  # fmt: skip
        findings.append(compare_means(*any_, metric=f"{fault}.dialogues"))
        findings.append(compare_means(*rate, metric=f"{fault}.turns"))
        longest = max((len(one[fault]) for each in found.values() for one in each), default=0)
        for turn in range(rules.first, min(longest, 20)):
            at = [[one[fault][turn] for one in found[side] if len(one[fault]) > turn] for side in sides]
            findings.append(compare_means(*at, metric=f"{fault}.turns", group=f"turn {turn}"))
    findings.append(compare_means(*([len(one) for one in each] for each in sides.values()), metric="length.turns"))
    success = {"human": human, "synthetic": synthetic}
    return report_of("dialogues", findings, tables={"success": _success(success, found)})


def _turns(row: Mapping[str, object]) -> list[Turn]:
    turns = row.get("messages", row.get("turns"))
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise ValueError(f"a row with {', '.join(row)}; need messages, a list of turns with role and content.")
    return list(turns)


def _success(rows: dict[str, Sequence], found: dict[str, list[dict]]) -> pa.Table:
    """Correlation of having a fault with success, for each side."""
    made = {"side": [], "fault": [], "pearson": [], "n": []}
    for side, each in found.items():
        known = [place for place, row in enumerate(rows[side]) if row.get("success") is not None]
        done = np.array([float(bool(rows[side][place]["success"])) for place in known])
        for fault in FAULTS:
            has = np.array([float(each[place][fault].any()) for place in known])
            usable = len(known) > 2 and np.ptp(has) > 0 and np.ptp(done) > 0
            made["side"].append(side)
            made["fault"].append(fault)
            made["pearson"].append(float(np.corrcoef(has, done)[0, 1]) if usable else math.nan)
            made["n"].append(len(known))
    return pa.table(made)
