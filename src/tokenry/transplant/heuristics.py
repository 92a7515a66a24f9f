"""New rows without data: zero, random, mean, and combinations of the old pieces a token is made of.

Papers: Fast Vocabulary Transfer (Gee 2022); asymmetric rows (arXiv 2608.03494); TokenAdapt (arXiv 2505.09738) compares.
"""

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind
from tokenry.transplant.planning import Gap, Rows

POSITIONS = ("first", "last", "mean", "weighted")


def zero(gap: Gap) -> Rows:
    """Rows of zeros. A zero head row has logit 0, which may exceed every true one: a baseline, not a choice."""
    return _empty(gap, RowKind.ZERO)


def random(gap: Gap) -> Rows:
    """Rows drawn from a normal distribution with the mean and spread of the ordinary old rows in each dimension."""
    return _empty(gap, RowKind.RANDOM)


def mean(gap: Gap) -> Rows:
    """The mean of the ordinary old rows; as a head row it is never likelier than their geometric mean.

    Byte pieces, specials and holes are left out, unlike in the library's `resize_token_embeddings`: where they were
    never trained they all point one way (a whole bit per byte on stories260K).
    """
    return _empty(gap, RowKind.MEAN)


def pieces(gap: Gap, *, norm: str = "none") -> Rows:
    """The mean of the old pieces' rows, for input and head (fast vocabulary transfer, on exact bytes).

    Args:
        norm: "none", or "match": scale each row to the median norm of the old rows that are as many bytes long
            (a mean of m nearly orthogonal rows is shorter by sqrt(m)); needs `base` rows.
    """
    return _from_pieces(gap, "mean", "mean", norm)


def weighted_pieces(gap: Gap, *, norm: str = "none") -> Rows:
    """The mean of the old pieces' rows weighted by their length in characters (a byte of a character of n bytes counts
    1/n); `norm` as in `pieces`."""
    return _from_pieces(gap, "weighted", "weighted", norm)


def asymmetric(gap: Gap, *, input: str = "last", head: str = "weighted", norm: str = "none") -> Rows:
    """Different rows for input and head: the body reads a word at its last piece, the head predicts the whole of it.

    The head gets a matrix of its own; the file grows by one embedding where the model had one for both.

    Args:
        input, head: "first", "last", "mean", or "weighted" (by length in characters).
        norm: as in `pieces`; for the input row only, a longer head row would only make its token likelier.

    Raises:
        ValueError: for an unknown position.
    """
    return _from_pieces(gap, input, head, norm, untie=input != head)


def piece_weights(gap: Gap, ids: list[int], how: str) -> tuple[list[int], np.ndarray]:
    """Old ids and weights (sum 1) of one token's row."""
    if how == "first":
        return ids[:1], np.ones(1)
    if how == "last":
        return ids[-1:], np.ones(1)
    if how == "mean":
        return ids, np.full(len(ids), 1 / len(ids))
    spelled = [gap.old.tokens[i] or b"" for i in ids]
    shares = _byte_shares(b"".join(spelled))
    ends = np.cumsum([len(piece) for piece in spelled])
    total = np.concatenate([[0.0], np.cumsum(shares)])
    length = np.diff(total[np.concatenate([[0], ends])])
    return ids, length / length.sum()


def matched_scales(gap: Gap, rows: list, base: np.ndarray) -> np.ndarray:
    """float64 (n,): what brings each row to the median norm of old ordinary rows with as many bytes.

    Lengths with fewer than 8 old tokens are pooled with the shorter ones; 1 where a row is empty or zero.
    """
    lengths, kinds = gap.old.byte_lengths, gap.old.kinds
    norms = np.linalg.norm(base[: gap.old.size].astype(np.float64), axis=1)
    ordinary = np.flatnonzero((kinds == Kind.NORMAL) & (norms > 0))
    if not ordinary.size:
        return np.ones(len(rows))
    target, pool = {}, np.zeros(0)
    for length in range(1, int(lengths[ordinary].max()) + 1):
        here = norms[ordinary[lengths[ordinary] == length]]
        pool = here if here.size >= 8 else np.concatenate([pool, here])
        target[length] = float(np.median(pool)) if pool.size else float(np.median(norms[ordinary]))
    scales = np.ones(len(rows))
    for n, (i, (ids, weights)) in enumerate(zip(gap.ids, rows, strict=True)):
        now = np.linalg.norm(np.asarray(weights) @ base[list(ids)].astype(np.float64)) if len(ids) else 0.0
        if now > 0:
            scales[n] = target[min(max(1, int(gap.new.byte_lengths[i])), max(target))] / now
    return scales


def _byte_shares(data: bytes) -> np.ndarray:
    """What part of a character each byte is: 1/n in a character of n bytes, 1/2 in a fragment of one."""
    shares, start = np.full(len(data), 0.5), 0
    while start < len(data):
        lead = data[start]
        n = 1 if lead < 0x80 else 2 if 0xC0 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4
        whole = data[start : start + n]
        if lead < 0x80 or (lead >= 0xC0 and len(whole) == n and all(0x80 <= byte < 0xC0 for byte in whole[1:])):
            shares[start : start + n] = 1 / n
            start += n
        else:
            start += 1
    return shares


def _empty(gap: Gap, kind: int) -> Rows:
    return Rows([([], [])] * gap.ids.size, np.full(gap.ids.size, kind, dtype=np.uint8))


def _from_pieces(gap: Gap, input: str, head: str, norm: str, untie: bool = False) -> Rows:
    for value in (input, head):
        if value not in POSITIONS:
            raise ValueError(f"{value!r} is no way to combine pieces; need one of {', '.join(POSITIONS)}.")
    if norm not in ("none", "match"):
        raise ValueError(f"norm={norm!r} is unknown; need 'none' or 'match'.")
    kinds = np.array([RowKind.COMBINE if ids else RowKind.MEAN for ids in gap.pieces], dtype=np.uint8)
    rows = [piece_weights(gap, ids, input) if ids else ([], []) for ids in gap.pieces]
    head_rows = [piece_weights(gap, ids, head) if ids else ([], []) for ids in gap.pieces] if input != head else None
    info = {"pieces_per_new_token": float(np.mean([len(ids) for ids in gap.pieces])) if gap.pieces else 0.0}
    if norm == "match":
        if gap.base is None:
            raise ValueError("norm='match' looks at the model's own rows; pass them: plan(..., base=rows).")
        scales = matched_scales(gap, rows, gap.base)
        rows = [(ids, np.asarray(weights) * scale) for (ids, weights), scale in zip(rows, scales, strict=True)]
        info["norm_scale_median"] = float(np.median(scales)) if scales.size else 1.0
    return Rows(rows, kinds, head_rows, untie, info)
