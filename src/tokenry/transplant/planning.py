"""Plan a move to another vocabulary as sparse maps, and make the new rows of embedding and head from a plan.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607), Fast Vocabulary Transfer (Gee 2022).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tokenry.core.choosing import resolve, suggest
from tokenry.core.tokenmap import RowKind, TokenMap
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.matching import SPECIAL_ROLE, SPECIAL_TEXT, Match, match, rows_fingerprint

# A token that must not be chosen is this far below the least biased one (nats): e^-20 of its chance.
_BIAS_GAP = 20.0
_N_RARE = 64


@dataclass(frozen=True, eq=False)
class Gap:
    """What a method is asked: rows for the new tokens that no old token is equal to."""

    old: Vocab
    new: Vocab
    match: Match
    ids: np.ndarray
    """int64 (n,): the new ids to make."""
    pieces: list[list[int]]
    """for each of `ids` the old ids it is made of; empty where the old vocabulary cannot spell it (specials)."""
    donor: np.ndarray | None = None
    """(V_new, d_donor) input rows of a model, or vectors of a text, over the new vocabulary."""
    donor_head: np.ndarray | None = None
    base: np.ndarray | None = None
    """(V_old or more, d) input rows of the model that is moved; only some methods look at them."""
    base_head: np.ndarray | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """What a method answers: one (old ids, weights) pair for each id of the gap."""

    rows: list[tuple[Sequence[int], Sequence[float]]]
    kinds: np.ndarray
    """uint8 (n,), RowKind of each row; MEAN, ZERO and RANDOM rows are empty and filled from the old matrix."""
    head: list[tuple[Sequence[int], Sequence[float]]] | None = None
    """rows of the output head where they differ."""
    untie: bool = False
    """the head must stop sharing the embedding for this to make sense."""
    info: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plan:
    """How every row of a new vocabulary is made from the rows of an old one."""

    input: TokenMap
    """shape (V_new, V_old)."""
    head: TokenMap
    """the same for the output head and its bias; the input's map again where they do not differ."""
    method: str
    untie: bool
    """a model with one matrix for both gets two."""
    unfilled: np.ndarray
    """int64: new ids without a token. Input row: mean of the ordinary old rows. Head row: mean of the rarest old
    tokens' rows, never likelier than their geometric mean (Jensen). Head bias: 20 nats below the least."""
    old_fingerprint: str
    new_fingerprint: str
    """rows_fingerprint of the two vocabularies."""
    info: dict = field(default_factory=dict)
    """JSON values: match classes, options, notes, residuals of a pursuit."""
    random: dict | None = None
    """recipe of RANDOM rows: {"seed": int}; mean and std are those of the ordinary old rows, per dimension."""

    @property
    def n_new(self) -> int:
        """Number of new ids."""
        return self.input.shape[0]

    @property
    def n_old(self) -> int:
        """Number of old ids."""
        return self.input.shape[1]

    def becomes(self, old_id: int) -> list[int]:
        """New ids that are the old token itself: they copy its input or its head row."""
        found = set()
        for tokens in (self.input, self.head):
            own = np.flatnonzero(tokens.copies & (tokens.kinds <= RowKind.SPECIAL))
            found.update(own[tokens.cols[tokens.indptr[:-1][own]] == old_id].tolist())
        return sorted(found)

    @property
    def is_identity(self) -> bool:
        """Both vocabularies name the same rows in the same order."""
        return self.old_fingerprint == self.new_fingerprint


def plan(
    old: Vocab,
    new: Vocab,
    *,
    method: str | Callable[..., Rows] = "pieces",
    pieces: list[list[int]] | None = None,
    donor: np.ndarray | None = None,
    donor_head: np.ndarray | None = None,
    base: np.ndarray | None = None,
    base_head: np.ndarray | None = None,
    seed: int = 0,
    untie: bool | None = None,
    **options,
) -> Plan:
    """Plan the move of a model from vocabulary `old` to `new`.

    Tokens with the same bytes, specials of the same role or text, keep their row. The method makes the others.

    Args:
        method: a key of `transplant.METHODS`, `pkg.module:function`, or a function of a Gap that returns Rows.
        pieces: for the ids from `old.size` on, in order, the old ids each is made of (`tokenization.extend` knows
            them); without, a token's bytes are cut by the old vocabulary (no normaliser, no leading space).
        donor, donor_head: rows over the new vocabulary for methods that carry a combination over ("omp").
        base, base_head: rows of the model to move, for methods that match norms or test themselves.
        untie: give the head rows of its own; None leaves it to the method.
        options: go to the method; see its docstring.

    Raises:
        ValueError: an unknown method or option, donor rows that do not fit `new`, or a method that needs rows
            which were not given.
    """
    from tokenry.transplant import METHODS

    found = match(old, new)
    maker = resolve(method, METHODS, kind="transplant method")
    name = method if isinstance(method, str) else f"{maker.__module__}:{maker.__qualname__}"
    _check_options(maker, options, name)
    ids = np.flatnonzero((found.new_to_old < 0) & (new.kinds != Kind.UNUSED))
    donors = _donor_rows(new, donor, donor_head)
    gap = Gap(old, new, found, ids, _pieces(old, new, ids, pieces), *donors, base, base_head, seed)
    made = maker(gap, **options)
    _check_rows(made, ids, name)
    if made.untie and untie is False:
        raise ValueError(
            f"Method {name!r} with these options makes different rows for input and head, and untie=False was asked. "
            "Allow untying, or take a method with one map: 'pieces'."
        )
    return _plan_of(gap, made, name, made.untie if untie is None else untie, options)


def _plan_of(gap: Gap, made: Rows, name: str, untie: bool, options: dict) -> Plan:
    """Put copies, made rows and holes together."""
    old, new, found = gap.old, gap.new, gap.match
    unfilled = np.flatnonzero(new.kinds == Kind.UNUSED)
    same_hole = np.array([i < old.size and old.kinds[i] == Kind.UNUSED for i in unfilled], dtype=bool)
    rare = rarest_ids(old)
    parts = (found, gap.ids, made, unfilled, same_hole, old.size)
    input_map = _assemble(*parts, rows=made.rows, cols=found.new_to_old, hole=None)
    head_map = _assemble(*parts, rows=made.head or made.rows, cols=found.head_to_old, hole=rare)
    info = {
        "classes": found.classes,
        "rows": input_map.counts(),
        "options": {key: value for key, value in options.items() if isinstance(value, (int, float, str, bool))},
        "rare_ids": rare.tolist(),
        "not_averaged": np.flatnonzero(old.kinds != Kind.NORMAL).tolist(),
        **made.info,
    }
    is_random = (made.kinds == RowKind.RANDOM).any()
    random = {"seed": int(gap.seed), "mean": "old rows", "std": "old rows"} if is_random else None
    prints = (rows_fingerprint(old), rows_fingerprint(new))
    return Plan(input_map, head_map, name, untie, unfilled[~same_hole], *prints, info, random)


def rarest_ids(old: Vocab) -> np.ndarray:
    """The last ordinary ids of a vocabulary, at most 64: merges and SentencePiece pieces are stored by frequency."""
    ordinary = np.flatnonzero(old.kinds == Kind.NORMAL)
    return ordinary[-min(_N_RARE, max(1, ordinary.size // 8)) :] if ordinary.size else np.arange(0)


def new_rows(
    plan: Plan, input_rows: np.ndarray, head_rows: np.ndarray | None = None, *, n_rows: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make the new rows; the single place where rows are made.

    Args:
        input_rows: (V_old or more, d), float16, float32 or float64. Rows past the old vocabulary are padding.
        head_rows: the same for a head of its own; None for a model that shares one matrix.
        n_rows: rows to return, padding included; the size of the new vocabulary by default. Padding copies the old
            padding in order; where there is none it is made as an unfilled id (see Plan.unfilled).

    Returns:
        New input rows (n_rows, d) and new head rows, None when the model shares one matrix and the plan keeps that.
        Work is in float32 (float64 for float64), cast once to the dtype that came in; copies keep every bit.

    Raises:
        ValueError: a wrong number of rows, or numbers that are not finite.
    """
    n_rows = plan.n_new if n_rows is None else n_rows
    if n_rows < plan.n_new:
        raise ValueError(f"{n_rows} rows asked for a vocabulary of {plan.n_new} ids; need at least one row an id.")
    for name, rows in (("input", input_rows), ("head", head_rows)):
        if rows is not None:
            _check_matrix(plan, rows, name)
    shared = head_rows is None and not plan.untie
    made = _make(plan, plan.input, input_rows, n_rows, stream=0)
    if shared:
        # One matrix for both: what the head would do with an unfilled id matters, the input never sees it.
        made[plan.unfilled] = _mean(input_rows[_rare_ids(plan)])
        _pad(plan, made, input_rows, as_head=True)
        return made, None
    _pad(plan, made, input_rows, as_head=False)
    source = input_rows if head_rows is None else head_rows
    head = _make(plan, plan.head, source, n_rows, stream=0 if plan.head is plan.input else 1)
    _pad(plan, head, source, as_head=True)
    return made, head


def new_bias(plan: Plan, bias: np.ndarray, *, n_rows: int | None = None) -> np.ndarray:
    """The bias of the new head (n_rows,) from the old one (V_old or more,); unfilled ids lie 20 below the least.

    Rows without a combination (zero, random, mean) get the mean bias. Raises ValueError as new_rows does.
    """
    _check_matrix(plan, bias[:, None], "head bias")
    n_rows = plan.n_new if n_rows is None else n_rows
    out = np.full(n_rows, bias.min() - _BIAS_GAP, dtype=bias.dtype)
    out[: plan.n_new] = plan.head.apply(bias[: plan.n_old])
    empty = np.diff(plan.head.indptr) == 0
    out[: plan.n_new][empty] = bias[_mean_ids(plan)].mean()
    out[plan.unfilled] = bias.min() - _BIAS_GAP
    old_padding = bias[plan.n_old :][: n_rows - plan.n_new]
    out[plan.n_new : plan.n_new + old_padding.size] = old_padding
    return out


def _make(plan: Plan, tokens: TokenMap, source: np.ndarray, n_rows: int, stream: int) -> np.ndarray:
    old = source[: plan.n_old]
    out = np.zeros((n_rows, source.shape[1]), dtype=source.dtype)
    out[: plan.n_new] = tokens.apply(old)
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


def _pieces(old: Vocab, new: Vocab, ids: np.ndarray, known: list[list[int]] | None) -> list[list[int]]:
    known = known or []
    if len(known) > max(0, new.size - old.size):
        raise ValueError(
            f"Pieces of {len(known)} appended tokens were given, but the new vocabulary has {new.size - old.size} ids "
            "more than the old one. Give one list for each id from the old size on."
        )
    out = []
    for i in ids.tolist():
        if 0 <= i - old.size < len(known) and known[i - old.size]:
            out.append(list(known[i - old.size]))
        else:
            out.append(old.decompose(new.tokens[i]) if new.tokens[i] else [])
    return out


def _donor_rows(new: Vocab, donor, donor_head) -> tuple:
    for name, rows in (("donor", donor), ("donor_head", donor_head)):
        if rows is not None and (rows.ndim != 2 or len(rows) < new.size):
            raise ValueError(
                f"{name} rows have shape {rows.shape}; need ({new.size}, width): one row for each id of the new "
                "vocabulary. Take the donor model whose tokenizer this is."
            )
        if rows is not None and not np.isfinite(rows).all():
            raise ValueError(f"{name} rows hold NaN or infinite numbers; need finite ones. Check the donor's weights.")
    return tuple(None if rows is None else rows[: new.size] for rows in (donor, donor_head))


def _check_options(maker: Callable, options: dict, name: str) -> None:
    parameters = inspect.signature(maker).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"Method {name!r} has no option {option!r}.{suggest(option, known)} It has: {listed}.")


def _check_rows(made: Rows, ids: np.ndarray, name: str) -> None:
    if not isinstance(made, Rows):
        raise ValueError(f"Method {name!r} returned {type(made).__name__}; need transplant.Rows.")
    numbers = {len(made.rows), len(made.kinds)} | ({len(made.head)} if made.head is not None else set())
    if numbers != {ids.size}:
        raise ValueError(f"Method {name!r} made {sorted(numbers)} rows for {ids.size} new tokens; need one for each.")


def _check_matrix(plan: Plan, rows: np.ndarray, name: str) -> None:
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


def _assemble(
    found: Match, ids, made: Rows, unfilled, same_hole, n_old: int, *, rows, cols, hole: np.ndarray | None
) -> TokenMap:
    """One map from copies, a method's rows and the holes; `hole` are the old ids an unfilled row is the mean of."""
    cols = cols.copy()
    cols[unfilled[same_hole]] = unfilled[same_hole]
    kinds = np.where(np.isin(found.klass, (SPECIAL_ROLE, SPECIAL_TEXT)), RowKind.SPECIAL, RowKind.COPY)
    is_mean = hole is None or not hole.size
    kinds[unfilled] = np.where(same_hole, RowKind.COPY, RowKind.MEAN if is_mean else RowKind.COMBINE)
    kinds[ids] = made.kinds
    mixed: list[tuple[int, Sequence[int], Sequence[float]]] = [(i, *row) for i, row in zip(ids, rows, strict=True)]
    if hole is not None and hole.size:
        mixed += [(i, hole, np.full(hole.size, 1 / hole.size)) for i in unfilled[~same_hole]]
    lengths = (cols >= 0).astype(np.int64)
    for i, old_ids, weights in mixed:
        if len(old_ids) != len(weights):
            raise ValueError(f"New token {i} got {len(old_ids)} old ids and {len(weights)} weights; need one an id.")
        lengths[i] = len(old_ids)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entries, values = np.zeros(indptr[-1], dtype=np.int64), np.ones(indptr[-1], dtype=np.float32)
    copied = np.flatnonzero(cols >= 0)
    entries[indptr[copied]] = cols[copied]
    for i, old_ids, weights in mixed:
        entries[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]] = old_ids, weights
    return TokenMap(indptr, entries, values, n_old, kinds)
