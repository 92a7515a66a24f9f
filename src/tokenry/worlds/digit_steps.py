"""Problems solved step by step on one digit, worded freely: what a token does to the answer is known.

A problem names operations and a start: "a add 4 b mix 2 from 3 :". Its solution works them off: " a add 4 to 3 is 7 . b
mix 2 with 7 gives 1 . so 1 !". Operations are look-ups in a table (add is the sum modulo ten, mix and turn are drawn),
so a small model knows some of them and a larger one all. Words in between are drawn among synonyms, so two good models
differ in them without meaning anything by it.
"""

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["DigitSteps"]

OPERATIONS = ("add", "mix", "turn")
LABELS = "abcdefgh"
JOINERS, VERBS, CLOSERS = ("to", "with", "on"), ("is", "gives", "makes"), ("so", "thus", "hence")


class DigitSteps:
    """Problems of `n_steps` operations.

    Args:
        seed: of the tables.
        n_steps: operations in a problem, 1 to 8.
    """

    def __init__(self, seed: int = 0, *, n_steps: int = 5) -> None:
        if not 1 <= n_steps <= len(LABELS):
            raise ValueError(f"n_steps={n_steps}; need 1 to {len(LABELS)}.")
        rng = np.random.default_rng(seed)
        self.n_steps = n_steps
        self.tables = {name: rng.integers(10, size=(10, 10)) for name in OPERATIONS}
        self.tables["add"] = np.add.outer(np.arange(10), np.arange(10)) % 10

    def problem(self, rng: np.random.Generator) -> str:
        """A question, up to its colon."""
        steps = (f"{LABELS[at]} {rng.choice(OPERATIONS)} {rng.integers(10)}" for at in range(self.n_steps))
        return f"{' '.join(steps)} from {rng.integers(10)} :"

    def solution(self, problem: str, rng: np.random.Generator) -> str:
        """One right solution, in words drawn by `rng`."""
        steps, state = self.parse(problem)
        lines = []
        for label, (name, operand) in zip(LABELS, steps, strict=False):
            after = int(self.tables[name][state, operand])
            lines.append(f" {label} {name} {operand} {rng.choice(JOINERS)} {state} {rng.choice(VERBS)} {after} .")
            state = after
        return "".join([*lines, f" {rng.choice(CLOSERS)} {state} !"])

    def answer(self, problem: str) -> int:
        """The right answer."""
        steps, state = self.parse(problem)
        for name, operand in steps:
            state = int(self.tables[name][state, operand])
        return state

    def is_right(self, problem: str, text: str) -> bool:
        """Whether a solution (with or without its problem before it) ends in the right answer."""
        found = re.search(rf"(?:{'|'.join(CLOSERS)}) (\d) !", text)
        return found is not None and int(found[1]) == self.answer(problem)

    def problems(self, n: int, *, seed: int) -> list[str]:
        """Questions."""
        rng = np.random.default_rng([seed, 1])
        return [self.problem(rng) for _ in range(n)]

    def documents(self, n: int, *, seed: int) -> list[str]:
        """Problems with their solutions."""
        rng = np.random.default_rng([seed, 0])
        return [problem + self.solution(problem, rng) for problem in (self.problem(rng) for _ in range(n))]

    @staticmethod
    def parse(problem: str) -> tuple[list[tuple[str, int]], int]:
        """(operation, operand) of each step, and the start."""
        steps = [(name, int(digit)) for name, digit in re.findall(rf"({'|'.join(OPERATIONS)}) (\d)", problem)]
        return steps, int(re.search(r"from (\d)", problem)[1])


def said(text: str) -> Sequence[str]:
    """What a solution says beside its wording: labels, operations and digits."""
    wording = {*JOINERS, *VERBS, *CLOSERS}
    return [word for word in text.split() if word not in wording]
