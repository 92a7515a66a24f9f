"""Problems solved step by step on digits, worded freely: what a token does to the answer is known.

A problem names a program and two digits: "run 4 from 3 7 :". Its solution applies the program's operations, each to the
last two digits: " a add 3 to 7 is 0 . b mix 7 with 0 gives 4 . ... so 4 !". Operations are look-ups in a table (add is
the sum modulo eight, mix and turn are drawn), so a small model knows some of them and a larger one all. Words in
between are drawn among synonyms, so two good models differ in them without meaning anything by it.
"""

import re

import numpy as np

__all__ = ["DigitSteps", "same_steps", "steps_said"]

OPERATIONS = ("add", "mix", "turn")
LABELS = "abcdefgh"
JOINERS, VERBS, CLOSERS = ("to", "with", "on"), ("is", "gives", "makes"), ("so", "thus", "hence")
DIGITS, PROGRAMS = 8, 10
_N_HELD_OUT = 160  # of the 640 problems


class DigitSteps:
    """640 problems of `n_steps` operations.

    Args:
        seed: of the tables, the programs, and which 160 problems are held out.
        n_steps: operations in a problem, 1 to 8.
    """

    def __init__(self, seed: int = 0, *, n_steps: int = 5) -> None:
        if not 1 <= n_steps <= len(LABELS):
            raise ValueError(f"n_steps={n_steps}; need 1 to {len(LABELS)}.")
        rng = np.random.default_rng(seed)
        self.n_steps = n_steps
        self.tables = {name: rng.integers(DIGITS, size=(DIGITS, DIGITS)) for name in OPERATIONS}
        self.tables["add"] = np.add.outer(np.arange(DIGITS), np.arange(DIGITS)) % DIGITS
        self.programs = rng.choice(OPERATIONS, size=(PROGRAMS, n_steps))
        order = rng.permutation(PROGRAMS * DIGITS**2)
        self._held_out, self._known = order[:_N_HELD_OUT], order[_N_HELD_OUT:]

    def solution(self, problem: str, rng: np.random.Generator) -> str:
        """One right solution, in words drawn by `rng`."""
        lines = []
        for label, (name, first, second, result) in zip(LABELS, self._steps(problem), strict=False):
            lines.append(f" {label} {name} {first} {rng.choice(JOINERS)} {second} {rng.choice(VERBS)} {result} .")
        return "".join([*lines, f" {rng.choice(CLOSERS)} {self.answer(problem)} !"])

    def answer(self, problem: str) -> int:
        """The right answer."""
        return self._steps(problem)[-1][-1]

    def is_right(self, problem: str, text: str) -> bool:
        """Whether a solution (with or without its problem before it) ends in the right answer."""
        found = re.search(rf"(?:{'|'.join(CLOSERS)}) (\d) !", text)
        return found is not None and int(found[1]) == self.answer(problem)

    def problems(self, n: int, *, seed: int) -> list[str]:
        """Different problems that no document holds; at most 160."""
        picked = np.random.default_rng([seed, 1]).permutation(self._held_out)[:n]
        return [_problem(number) for number in picked]

    def known_problems(self, n: int, *, seed: int) -> list[str]:
        """Different problems of those that documents hold; at most 480."""
        picked = np.random.default_rng([seed, 2]).permutation(self._known)[:n]
        return [_problem(number) for number in picked]

    def documents(self, n: int, *, seed: int) -> list[str]:
        """Problems with their solutions, drawn anew each time."""
        rng = np.random.default_rng([seed, 0])
        drawn = [_problem(number) for number in rng.choice(self._known, n)]
        return [problem + self.solution(problem, rng) for problem in drawn]

    def _steps(self, problem: str) -> list[tuple[str, int, int, int]]:
        """(operation, both digits, result) of each step."""
        program, first, second = (int(digit) for digit in re.findall(r"\d", problem))
        found = []
        for name in self.programs[program]:
            result = int(self.tables[name][first, second])
            found.append((str(name), first, second, result))
            first, second = second, result
        return found


def steps_said(text: str) -> list[str]:
    """What a solution says beside its wording: labels, operations and digits."""
    wording = {*JOINERS, *VERBS, *CLOSERS}
    return [word for word in text.split() if word not in wording]


def same_steps(forks: list) -> list[int]:
    """The exact judge of two continuations: 0 where they say the same steps, 1 where not (`decoding.verifiers`)."""
    return [int(steps_said(fork.small) != steps_said(fork.large)) for fork in forks]


def _problem(number: int) -> str:
    program, start = divmod(int(number), DIGITS**2)
    return f"run {program} from {start // DIGITS} {start % DIGITS} :"
