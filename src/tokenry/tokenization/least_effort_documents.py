"""What the Less-is-Better learner reads and the rules it holds to: sentences as symbols, in documents.

Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (arXiv 2403.00417).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Axes: N symbols of the text.

GAPS = ("off", "published", "every")
"""Whether frames around a gap are learned: never; as the demonstration looks for them, which leaves a sentence at the
first frame without a gap; or at every place."""
GAP = 1 << 20
"""The symbol of a gap; those of characters are smaller."""


@dataclass(frozen=True)
class Rules:
    """What the learner holds to; the defaults are the paper's."""

    max_length: int = 12
    """Longest entry, in characters."""
    memory_in: float = 0.25
    """Probability that two neighbours are proposed as one entry."""
    memory_out: float = 1e-4
    """Share of the lexicon, from its tail, that goes on probation after each epoch (at least one entry)."""
    update_rate: float = 0.2
    """Share of its place by which an entry moves up or down."""
    max_gap: int = 2
    """Longest run of unknown characters that is proposed."""
    life: int = 10
    """Epochs of probation."""
    sentences: int = 200
    """Sentences of a document, the text of one epoch."""
    across_words: bool = True
    """Whether an entry may hold a space anywhere but at its start."""
    gaps: str = "off"
    """One of `GAPS`: whether frames (two chunks around a gap) are learned too, which teach what stands in them."""
    longest_filler: int = 7
    """Longest text in a gap, in characters, that is learned as one entry (the demonstration's figure)."""

    def __post_init__(self) -> None:
        if self.gaps not in GAPS:
            raise ValueError(f"gaps={self.gaps!r}; need {', '.join(GAPS)}. Take off for the paper's learner.")
        for name, least, most in (
            ("max_length", 1, 256), ("memory_in", 0, 1), ("memory_out", 0, 1), ("update_rate", 0, 10),
            ("max_gap", 0, 256), ("life", 2, 10**6), ("sentences", 1, 10**6), ("longest_filler", 1, 256),
        ):  # fmt: skip
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{name}={value}; need {least} to {most}. Correct the rules of the learner.")


@dataclass(frozen=True, eq=False)
class Documents:
    """Sentences as symbols, in groups that are read together."""

    symbols: np.ndarray
    """int32 (N,), all sentences end to end."""
    ends: np.ndarray
    """int64 (sentences + 1,), where each sentence starts."""
    starts: np.ndarray
    """int64 (documents + 1,), first sentence of each document."""
    alphabet: tuple[str, ...]
    """The character of each symbol, in order of first appearance."""

    @classmethod
    def of(cls, found: Sequence[str], *, per_document: int = 200) -> "Documents":
        """Group sentences in their order.

        Raises:
            ValueError: no sentence with a character in it.
        """
        found = [sentence for sentence in found if sentence]
        if not found:
            raise ValueError("the data hold no text; need at least one sentence. Is the text column right (--text)?")
        joined = "".join(found)
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        used, first, inverse = np.unique(points, return_index=True, return_inverse=True)
        if len(used) > GAP:
            raise ValueError(f"{len(used):,} different characters; need at most {GAP:,}. Is it text?")
        order = np.argsort(first, kind="stable")
        number = np.empty(len(used), np.int32)
        number[order] = np.arange(len(used))
        ends = np.concatenate([[0], np.cumsum([len(sentence) for sentence in found])]).astype(np.int64)
        starts = np.append(np.arange(0, len(found), per_document), len(found)).astype(np.int64)
        return cls(number[inverse], ends, starts, tuple(chr(p) for p in used[order].tolist()))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def document(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Symbols of one document, and where its sentences start in them."""
        ends = self.ends[self.starts[number] : self.starts[number + 1] + 1]
        return self.symbols[ends[0] : ends[-1]], ends - ends[0]
