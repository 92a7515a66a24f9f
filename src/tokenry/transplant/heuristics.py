"""New rows without data: zero, random, mean, and combinations of the old pieces a token is made of.

Papers: Fast Vocabulary Transfer (Gee 2022); asymmetric rows (arXiv 2608.03494); AdaptiVocab (arXiv 2503.19693);
TokenAdapt (arXiv 2505.09738) compares.
"""

from dataclasses import replace

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.planning import Gap, Rows

POSITIONS = ("first", "last", "mean", "weighted", "early", "late")


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
        input, head: "first", "last", "mean", "weighted" (by length in characters), or "early" / "late": each piece
            counts half as much as the one before / behind it.
        norm: as in `pieces`; for the input row only, a longer head row would only make its token likelier.

    Raises:
        ValueError: for an unknown position.
    """
    return _from_pieces(gap, input, head, norm, untie=input != head)


def first_last(gap: Gap, *, norm: str = "none") -> Rows:
    """The last piece's row for the input, the first piece's for the head: where the body reads a word, and how the head
    begins it. The head gets a matrix of its own; `norm` as in `pieces`."""
    return _from_pieces(gap, "last", "first", norm, untie=True)


def exponential(gap: Gap, *, rate: float = 1.0, norm: str = "none") -> Rows:
    """Pieces weighted by place: exp(rate * i) for the input, so that the last counts most, exp(-rate * i) for the head.

    Args:
        rate: 0 is the mean of the pieces, infinity `first_last`.
        norm: as in `pieces`; for the input row only.

    Raises:
        ValueError: a rate below 0.

    Paper: AdaptiVocab (arXiv 2503.19693), from memory of its formula; its code was not at hand.
    """
    if not rate >= 0:
        raise ValueError(f"rate={rate}; need 0 (the mean of the pieces) or more.")

    def row(ids: list[int], sign: int) -> tuple[list[int], np.ndarray]:
        steps = np.arange(len(ids) - 1, -1, -1) if sign > 0 else np.arange(len(ids))
        weights = (steps == 0).astype(np.float64) if np.isinf(rate) else np.exp(-rate * steps)
        return ids, weights / weights.sum()

    rows, heads = ([row(ids, sign) if ids else ([], []) for ids in gap.pieces] for sign in (1, -1))
    return _combined(gap, rows, heads, norm, untie=rate > 0)


def normal(gap: Gap, *, scale: float = 1e-9) -> Rows:
    """Rows drawn around the mean of the ordinary old rows with their covariance times `scale`, for input and head.

    With the default they are the mean row but for a noise that tells tokens apart, which bounds what new tokens take
    from old ones; it is what `resize_token_embeddings(mean_resizing=True)` of transformers does, there over all rows.

    Args:
        scale: 1 draws rows like the old ones; 0 is `mean`.

    Raises:
        ValueError: without `base` rows, or a scale below 0.
    """
    if gap.base is None or not scale >= 0:
        raise ValueError(
            f"Method 'john-hewitt' got base rows: {gap.base is not None}, scale={scale}; need the model's own rows "
            "(plan(..., base=rows)) and a scale of 0 or more."
        )
    ordinary = np.flatnonzero(gap.old.kinds == Kind.NORMAL)

    def drawn(base: np.ndarray, stream: int) -> np.ndarray:
        rows = base[ordinary].astype(np.float64)
        mean = rows.mean(axis=0)
        values, directions = np.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        noise = np.random.default_rng([gap.seed, stream]).standard_normal((gap.ids.size, rows.shape[1]))
        return (mean + noise * np.sqrt(scale * np.maximum(values, 0)) @ directions.T).astype(np.float32)

    head = None if gap.base_head is None else drawn(gap.base_head, 1)
    made = _empty(gap, RowKind.MEAN)
    return replace(made, dense=drawn(gap.base, 0), dense_head=head)


def piece_weights(old: Vocab, ids: list[int], how: str) -> tuple[list[int], np.ndarray]:
    """Old ids and weights (sum 1) of one token's row."""
    if how == "first":
        return ids[:1], np.ones(1)
    if how == "last":
        return ids[-1:], np.ones(1)
    if how == "mean":
        return ids, np.full(len(ids), 1 / len(ids))
    if how in ("early", "late"):
        weights = 2.0 ** -np.arange(len(ids))
        return ids, (weights if how == "early" else weights[::-1]) / weights.sum()
    spelled = [old.tokens[i] or b"" for i in ids]
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


def check_norm(gap: Gap, norm: str) -> None:
    """Raise ValueError for a `norm` that is not known, or for which the rows of the model are missing."""
    if norm not in ("none", "match"):
        raise ValueError(f"norm={norm!r} is unknown; need 'none' or 'match'.")
    if norm == "match" and gap.base is None:
        raise ValueError("norm='match' looks at the model's own rows; pass them: plan(..., base=rows).")


def normed(gap: Gap, rows: list, *, norm: str, info: dict) -> list:
    """The rows, scaled by `matched_scales` where norm is "match", which is then told in `info`."""
    if norm != "match":
        return rows
    scales = matched_scales(gap, rows, gap.base)
    info["norm_scale_median"] = float(np.median(scales)) if scales.size else 1.0
    return [(ids, np.asarray(weights) * scale) for (ids, weights), scale in zip(rows, scales, strict=True)]


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
    rows = [piece_weights(gap.old, ids, input) if ids else ([], []) for ids in gap.pieces]
    heads = [piece_weights(gap.old, ids, head) if ids else ([], []) for ids in gap.pieces] if input != head else None
    return _combined(gap, rows, heads, norm, untie)


def _combined(gap: Gap, rows: list, heads: list | None, norm: str, untie: bool) -> Rows:
    """Rows of pieces, with the mean row where there are none, and norms matched where that is asked."""
    check_norm(gap, norm)
    kinds = np.array([RowKind.COMBINE if ids else RowKind.MEAN for ids in gap.pieces], dtype=np.uint8)
    info = {"pieces_per_new_token": float(np.mean([len(ids) for ids in gap.pieces])) if gap.pieces else 0.0}
    rows = normed(gap, rows, norm=norm, info=info)
    return Rows(rows, kinds, heads, untie, info)
