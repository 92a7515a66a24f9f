"""Make the new rows of embedding, head and head bias from a plan: the single place where rows are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenry.core.tokenmap import RowKind, TokenMap

if TYPE_CHECKING:
    from tokenry.transplant.planning import Plan

# A token that must not be chosen is this far below the least biased one (nats): e^-20 of its chance.
_BIAS_GAP = 20.0


def new_rows(
    plan: Plan, input_rows: np.ndarray, head_rows: np.ndarray | None = None, *, n_rows: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make the new rows.

    Args:
        input_rows: (V_old or more, d), float16, float32 or float64. Rows past the old vocabulary are padding.
        head_rows: the same for a head of its own; None for a model that shares one matrix.
        n_rows: rows to return, padding included; the size of the new vocabulary by default. Padding copies the old
            padding in order; where there is none it is made as an unfilled id (see Plan.unfilled).

    Returns:
        New input rows (n_rows, d) and new head rows, None when the model shares one matrix and the plan keeps that.
        Work is in float32 (float64 for float64), cast once to the dtype that came in; copies keep every bit.
        Rows that the plan holds as numbers (see Plan.dense) are taken as they are, whatever model this is.

    Raises:
        ValueError: a wrong number or width of rows, numbers that are not finite, or a new row that leaves the range of
            the dtype.
    """
    n_rows = plan.n_new if n_rows is None else n_rows
    if n_rows < plan.n_new:
        raise ValueError(f"{n_rows} rows asked for a vocabulary of {plan.n_new} ids; need at least one row an id.")
    for name, rows in (("input", input_rows), ("head", head_rows)):
        if rows is not None:
            check_matrix(plan, rows, name)
    shared = head_rows is None and not plan.untie
    made = _make(plan, plan.input, input_rows, n_rows, stream=0)
    _give(plan, made, plan.dense, "input")
    if shared:
        # One matrix for both: what the head would do with an unfilled id matters, the input never sees it.
        made[plan.unfilled] = _mean(input_rows[_rare_ids(plan)])
        _pad(plan, made, input_rows, as_head=True)
        return made, None
    _pad(plan, made, input_rows, as_head=False)
    source = input_rows if head_rows is None else head_rows
    head = _make(plan, plan.head, source, n_rows, stream=0 if plan.head is plan.input else 1)
    # A model that shared its matrix when it was planned, and is untied now, starts with the same rows twice.
    _give(plan, head, plan.dense if plan.dense_head is None and head_rows is None else plan.dense_head, "head")
    _pad(plan, head, source, as_head=True)
    return made, head


def check_range(rows: np.ndarray, name: str, *, largest: float, dtype: str) -> None:
    """Refuse rows that a number type cannot hold.

    Args:
        rows: what is to be stored.
        largest: the greatest finite number of the type, 65504 for float16.
        dtype: what to call it.

    Raises:
        ValueError: naming the first row that would become infinite.
    """
    too_large = np.abs(rows).max(axis=-1, initial=0) > largest if rows.ndim == 2 else np.abs(rows) > largest
    if too_large.any():
        bad = np.flatnonzero(too_large)
        raise ValueError(
            f"{bad.size} new rows of the {name} (first: id {bad[0]}, {np.abs(rows[bad[0]]).max():.3g}) are larger than "
            f"{dtype} can hold ({largest:.5g}) and would become infinite. Save the model as bfloat16 or float32 first, "
            "or take a method whose weights are bounded: 'pieces'."
        )


def new_bias(plan: Plan, bias: np.ndarray, *, n_rows: int | None = None) -> np.ndarray:
    """The bias of the new head (n_rows,) from the old one (V_old or more,); unfilled ids lie 20 below the least.

    Rows without a combination (zero, random, mean) get the mean bias, unless the plan holds their bias as a number.
    Raises ValueError as new_rows does.
    """
    check_matrix(plan, bias[:, None], "head bias")
    n_rows = plan.n_new if n_rows is None else n_rows
    out = np.full(n_rows, bias.min() - _BIAS_GAP, dtype=bias.dtype)
    out[: plan.n_new] = plan.head.apply(bias[: plan.n_old])
    empty = np.diff(plan.head.indptr) == 0
    out[: plan.n_new][empty] = bias[_mean_ids(plan)].mean()
    if plan.dense_bias is not None:
        is_given = ~np.isnan(plan.dense_bias)
        out[plan.dense_ids[is_given]] = plan.dense_bias[is_given]
    out[plan.unfilled] = bias.min() - _BIAS_GAP
    old_padding = bias[plan.n_old :][: n_rows - plan.n_new]
    out[plan.n_new : plan.n_new + old_padding.size] = old_padding
    return out


def _give(plan: Plan, out: np.ndarray, dense: np.ndarray | None, name: str) -> None:
    """Put the rows that the plan holds as numbers in place."""
    if dense is None:
        return
    if dense.shape[1] != out.shape[1]:
        raise ValueError(
            f"The plan holds {name} rows of width {dense.shape[1]}, this model's have width {out.shape[1]}; a plan "
            "with rows of its own fits only models of the width it was made for. Plan again from this model."
        )
    is_given = ~np.isnan(dense[:, 0]) if dense.shape[1] else np.zeros(len(dense), dtype=bool)
    if np.issubdtype(out.dtype, np.floating):
        check_range(dense[is_given], name, largest=float(np.finfo(out.dtype).max), dtype=str(out.dtype))
    out[plan.dense_ids[is_given]] = dense[is_given]


def _make(plan: Plan, tokens: TokenMap, source: np.ndarray, n_rows: int, stream: int) -> np.ndarray:
    old = source[: plan.n_old]
    out = np.zeros((n_rows, source.shape[1]), dtype=source.dtype)
    with np.errstate(over="ignore"):
        out[: plan.n_new] = tokens.apply(old)
    if not np.isfinite(out).all():
        # Only a half type gets here: weights of more than 65504 in all, or rows that nearly fill the range.
        broken = np.where(np.isfinite(out), 0, np.inf)
        check_range(broken, "model", largest=float(np.finfo(out.dtype).max), dtype=str(out.dtype))
    empty = np.diff(tokens.indptr) == 0
    used = _mean_ids(plan)
    out[: plan.n_new][empty & (tokens.kinds == RowKind.MEAN)] = _mean(old[used])
    drawn = np.flatnonzero(empty & (tokens.kinds == RowKind.RANDOM))
    if drawn.size:
        work = old[used].astype(np.float64)
        rng = np.random.default_rng([plan.random["seed"], stream])
        noise = rng.standard_normal((drawn.size, old.shape[1]))
        out[drawn] = (work.mean(axis=0) + work.std(axis=0) * noise).astype(out.dtype)
    return out


def _pad(plan: Plan, out: np.ndarray, source: np.ndarray, *, as_head: bool) -> None:
    """Fill the rows past the new vocabulary in place."""
    padding, old_padding = out[plan.n_new :], source[plan.n_old :]
    copied = min(len(padding), len(old_padding))
    padding[:copied] = old_padding[:copied]
    if copied < len(padding):
        padding[copied:] = _mean(source[_rare_ids(plan) if as_head else _mean_ids(plan)])


def _mean_ids(plan: Plan) -> np.ndarray:
    """Ordinary old ids: holes, specials and byte pieces, most of them never trained, would pull the mean away."""
    keep = np.ones(plan.n_old, dtype=bool)
    keep[np.array(plan.info.get("not_averaged", []), dtype=np.int64)] = False
    return np.flatnonzero(keep) if keep.any() else np.arange(plan.n_old)


def _rare_ids(plan: Plan) -> np.ndarray:
    return np.array(plan.info.get("rare_ids") or _mean_ids(plan), dtype=np.int64)


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)


def check_matrix(plan: Plan, rows: np.ndarray, name: str) -> None:
    if rows.ndim != 2 or len(rows) < plan.n_old:
        raise ValueError(
            f"The {name} has shape {rows.shape}; this plan starts from {plan.n_old} tokens and needs a row for each. "
            "It was made for another vocabulary: plan again from this model's tokenizer."
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(
            f"The {name} holds NaN or infinite numbers (first in row {bad}); need finite weights. "
            "The checkpoint is damaged or was saved after a diverged run: take an earlier one."
        )
