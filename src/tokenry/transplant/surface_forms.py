"""What a hypernetwork reads of a token: the pieces an old vocabulary cuts its bytes into, at most seven of them.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

from collections.abc import Sequence

import numpy as np

from tokenry.core.trie import ByteTrie
from tokenry.core.vocab import Vocab

PIECES = 7
"""Pieces of a token that are read; the paper's number."""
PADDING = -1
N_BYTES = 256
"""Ids behind the old vocabulary, one for each byte value, for bytes it cannot spell."""


def surface_forms(old: Vocab, tokens: Sequence[bytes | None], *, pieces: int = PIECES) -> tuple[np.ndarray, int]:
    """Cut tokens into pieces of an old vocabulary.

    A token that the old vocabulary holds is its own single piece; others are cut by `Vocab.decompose`: no normaliser,
    no leading space. A byte that the old vocabulary cannot spell is id `old.size + byte`.

    Args:
        old: the vocabulary of the source model.
        tokens: bytes of each token; None (a special, a hole) has no pieces.
        pieces: columns; further pieces of a token are dropped.

    Returns:
        int64 (N, pieces), padded with -1, and how many tokens lost pieces.

    Raises:
        ValueError: `pieces` below 1.
    """
    spelled = [spell(old, token) if token else [] for token in tokens]
    return surface_matrix(spelled, pieces=pieces)


def spell(old: Vocab, token: bytes) -> list[int]:
    """Pieces of one token, all of them; see `surface_forms`."""
    known = old.index.get(token)
    if known:
        return [known[0]]
    return old.decompose(token) or _with_bytes(old).segment(token)


def surface_matrix(spelled: Sequence[Sequence[int]], *, pieces: int = PIECES) -> tuple[np.ndarray, int]:
    """Lists of piece ids as one padded matrix (N, pieces), and how many lists were too long."""
    if pieces < 1:
        raise ValueError(f"pieces={pieces}; need room for at least 1 piece of a token. The paper takes {PIECES}.")
    out = np.full((len(spelled), pieces), PADDING, dtype=np.int64)
    for row, ids in zip(out, spelled, strict=True):
        row[: min(pieces, len(ids))] = ids[:pieces]
    return out, sum(len(ids) > pieces for ids in spelled)


def _with_bytes(old: Vocab) -> ByteTrie:
    """The old tokens and the bytes that are none of them; the fewest pieces that spell a token are found in it."""
    kept = old.__dict__.get("_trie_with_bytes")
    if kept is None:
        single = (bytes([value]) for value in range(N_BYTES))
        missing = [None if byte in old.index else byte for byte in single]
        kept = ByteTrie.build([*old.tokens, *missing], preference=[*old.kinds.tolist(), *[N_BYTES] * N_BYTES])
        old.__dict__["_trie_with_bytes"] = kept
    return kept
