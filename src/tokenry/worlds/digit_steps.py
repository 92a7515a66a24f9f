"""Problems solved step by step on digits, worded freely: what a token does to the answer is known.

A problem names a program and two digits: "run 4 from 3 7 :". Its solution applies the program's operations, each to the
last two digits: " a add 3 to 7 is 0 . b mix 7 with 0 gives 4 . ... so 4 !". Operations are look-ups in a table (add is
the sum modulo ten, mix and turn are drawn), so a small model knows some of them and a larger one all. Words in between
are drawn among synonyms, so two good models differ in them without meaning anything by it.
"""

import re

import numpy as np

__all__ = ["DigitSteps", "same_steps", "steps_said"]

OPERATIONS = ("add", "mix", "turn")
LABELS = "abcdefgh"
JOINERS, VERBS, CLOSERS = ("to", "with", "on"), ("is", "gives", "makes"), ("so", "thus", "hence")
_N_HELD_OUT = 200  # of the thousand problems


class DigitSteps:
    """A thousand problems of `n_steps` operations.

    Args:
        seed: of the tables, the programs, and which 200 problems are held out.
        n_steps: operations in a problem, 1 to 8.
    """

    def __init__(self, seed: int = 0, *, n_steps: int = 5) -> None:
        if not 1 <= n_steps <= len(LABELS):
            raise ValueError(f"n_steps={n_steps}; need 1 to {len(LABELS)}.")
        rng = np.random.default_rng(seed)
        self.n_steps = n_steps
        self.tables = {name: rng.integers(10, size=(10, 10)) for name in OPERATIONS}
        self.tables["add"] = np.add.outer(np.arange(10), np.arange(10)) % 10
        self.programs = rng.choice(OPERATIONS, size=(10, n_steps))
        order = rng.permutation(1000)
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
        """Different problems that no document holds; at most 200."""
        picked = np.random.default_rng([seed, 1]).permutation(self._held_out)[:n]
        return [_problem(number) for number in picked]

    def known_problems(self, n: int, *, seed: int) -> list[str]:
        """Different problems of those that documents hold; at most 800."""
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
    return f"run {number // 100} from {number // 10 % 10} {number % 10} :"
