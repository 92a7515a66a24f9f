"""Tokens of a model that were never trained, so that a move neither copies them nor leans on them.

Papers: Fishing for Magikarp (arXiv 2405.05417), as used by Training-Free Tokenizer Transplantation via OMP.
"""

from pathlib import Path

import numpy as np

from tokenry.core.vocab import Kind, Vocab

SHARE = 0.01
"""Share of the reachable ids that is taken for untrained, as in mergekit's filter."""


def untrained_ids(vocab: Vocab, folder: str | Path, *, share: float = SHARE) -> np.ndarray:
    """Ids whose rows look as if training never touched them.

    These are the ids that no text can reach, and the lowest `share` of the others by the indicator that tells the first
    from the rest best (length of the input row, or distance from the mean unused row). Where a model with one matrix
    has no unreachable id there is nothing to compare with, and none is named.

    Args:
        vocab: the model's tokenizer.
        folder: its safetensors files.

    Returns:
        int64, ascending.

    Raises:
        FileNotFoundError: no weights there. ValueError: fewer rows than ids, or a share outside 0..1.
    """
    from tokenry.tokenization.undertrained import indicators

    if not 0 <= share <= 1:
        raise ValueError(f"share={share} of the ids; need 0 to 1, for example 0.01.")
    found = indicators(vocab, folder)
    unused = found.unused[found.unused < vocab.size]
    if found.is_tied and not unused.size:
        return np.zeros(0, dtype=np.int64)
    tested = np.setdiff1d(np.flatnonzero(vocab.kinds == Kind.NORMAL), unused)
    values = found.values[found.main][tested]
    lowest = tested[np.argsort(values, kind="stable")[: int(share * tested.size)]]
    return np.union1d(unused, lowest).astype(np.int64)
