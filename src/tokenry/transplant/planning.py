"""Plan a move to another vocabulary as sparse maps, and make the new rows of embedding and head from a plan.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607), Fast Vocabulary Transfer (Gee 2022).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.choosing import resolve, suggest
from tokenry.core.tokenmap import RowKind, TokenMap
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.matching import SPECIAL_ROLE, SPECIAL_TEXT, UNTRAINED, Match, match, rows_fingerprint
from tokenry.transplant.row_making import new_bias, new_rows

__all__ = ["Gap", "Plan", "Rows", "new_bias", "new_rows", "plan", "rarest_ids"]

_N_RARE = 64


@dataclass(frozen=True, eq=False)
class Gap:
    """What a method is asked: rows for the new tokens that no old token is equal to.

    A method with an option `keep_shared` that is off is asked for the ordinary shared tokens too.
    """

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
    dense: np.ndarray | None = None
    """float32 (n, d): input rows as numbers, where no combination of old rows gives them. A row of NaN is not given:
    `rows` counts there."""
    dense_head: np.ndarray | None = None
    """the same for a head of its own."""
    dense_bias: np.ndarray | None = None
    """float32 (n,): the bias of the head, for a model that has one; NaN is not given."""


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
    dense: np.ndarray | None = None
    """float32 (n, d): input rows that are numbers, not combinations (RowKind.GIVEN); a row of NaN is not given. A
    fine-tuned relative gets these very numbers."""
    dense_head: np.ndarray | None = None
    """the same for the head; without, an untied plan of a model with one matrix takes `dense`."""
    dense_ids: np.ndarray | None = None
    """int64 (n,): the new ids of all of them."""
    dense_bias: np.ndarray | None = None
    """float32 (n,): biases of the head that are numbers."""

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
    untrained: tuple[Sequence[int], Sequence[int]] | None = None,
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
        untrained: (old ids, new ids) that a model never learned, of the base and of the donor. They are neither copied
            nor anchors; the method makes the row of a token that only the base never learned, the mean of its pieces
            that of the others. `transplant.untrained_ids` finds them.
        options: go to the method; see its docstring.

    Raises:
        ValueError: an unknown method or option, donor rows that do not fit `new`, or a method that needs rows
            which were not given.
    """
    from tokenry.transplant import METHODS

    found = match(old, new)
    if untrained is not None:
        found = found.without(*untrained)
    maker = resolve(method, METHODS, kind="transplant method")
    name = method if isinstance(method, str) else f"{maker.__module__}:{maker.__qualname__}"
    _check_options(maker, options, name)
    wanted = (found.new_to_old < 0) & (new.kinds != Kind.UNUSED)
    if not _keeps_shared(maker, options):
        wanted[found.anchors(old, new)[0]] = True
    ids = np.flatnonzero(wanted)
    donors = _donor_rows(new, donor, donor_head)
    gap = Gap(old, new, found, ids, _spelled(old, new, found, ids, pieces, untrained), *donors, base, base_head, seed)
    made = maker(gap, **options)
    _check_rows(made, ids, name)
    if untrained is not None:
        made = _by_pieces(gap, made, untrained)
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
    input_map = _assemble(*parts, rows=made.rows, cols=found.new_to_old, hole=None, dense=made.dense)
    head_map = _assemble(*parts, rows=made.head or made.rows, cols=found.head_to_old, hole=rare, dense=made.dense_head)
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
    tables = {
        key: None if rows is None else np.ascontiguousarray(rows, dtype=np.float32)
        for key, rows in (("dense", made.dense), ("dense_head", made.dense_head), ("dense_bias", made.dense_bias))
    }
    ids = None if all(table is None for table in tables.values()) else gap.ids
    return Plan(input_map, head_map, name, untie, unfilled[~same_hole], *prints, info, random, **tables, dense_ids=ids)


def rarest_ids(old: Vocab) -> np.ndarray:
    """The last ordinary ids of a vocabulary, at most 64: merges and SentencePiece pieces are stored by frequency."""
    ordinary = np.flatnonzero(old.kinds == Kind.NORMAL)
    return ordinary[-min(_N_RARE, max(1, ordinary.size // 8)) :] if ordinary.size else np.arange(0)


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


def _spelled(old: Vocab, new: Vocab, found: Match, ids: np.ndarray, known, untrained) -> list[list[int]]:
    """Old ids each new token is made of; an untrained token that both hold is cut in two."""
    bad = set() if untrained is None else set(map(int, untrained[0]))
    again = found.klass[ids] == UNTRAINED
    cuts = zip(ids, again, _pieces(old, new, ids, known), strict=True)
    return [_halves(old, new.tokens[i], bad) if is_old else cut for i, is_old, cut in cuts]


def _by_pieces(gap: Gap, made: Rows, untrained: tuple[Sequence[int], Sequence[int]]) -> Rows:
    """Put the mean of the pieces where the donor never learned the token: its row says nothing."""
    rows, heads, kinds = list(made.rows), None if made.head is None else list(made.head), made.kinds.copy()
    names = ("dense", "dense_head", "dense_bias")
    tables = [None if (table := getattr(made, name)) is None else table.copy() for name in names]
    for n in np.flatnonzero(np.isin(gap.ids, np.asarray(untrained[1], dtype=np.int64))).tolist():
        pieces = gap.pieces[n]
        rows[n] = (pieces, [1 / len(pieces)] * len(pieces)) if pieces else ([], [])
        kinds[n] = RowKind.COMBINE if pieces else RowKind.MEAN
        if heads is not None:
            heads[n] = rows[n]
        for table in tables:
            if table is not None:
                table[n] = np.nan
    info = {**made.info, "untrained_old": len(untrained[0]), "untrained_new": len(untrained[1])}
    return replace(made, rows=rows, head=heads, kinds=kinds, info=info, **dict(zip(names, tables, strict=True)))


def _halves(old: Vocab, token: bytes, bad: set[int]) -> list[int]:
    """The fewest old ids that spell a token which is one itself, in two parts; none of `bad` where that can be."""
    cuts = [old.decompose(token[:n]) + old.decompose(token[n:]) for n in range(1, len(token))]
    whole = [ids for ids in cuts if b"".join(old.tokens[i] or b"" for i in ids) == token]
    return min(whole, key=lambda ids: (any(i in bad for i in ids), len(ids)), default=[])


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


def _keeps_shared(maker: Callable, options: dict) -> bool:
    """Whether shared tokens copy their row: yes, but for a method with an option `keep_shared` that is off."""
    asked = inspect.signature(maker).parameters.get("keep_shared")
    return asked is None or bool(options.get("keep_shared", asked.default))


def _check_rows(made: Rows, ids: np.ndarray, name: str) -> None:
    if not isinstance(made, Rows):
        raise ValueError(f"Method {name!r} returned {type(made).__name__}; need transplant.Rows.")
    numbers = {len(made.rows), len(made.kinds)} | ({len(made.head)} if made.head is not None else set())
    if numbers != {ids.size}:
        raise ValueError(f"Method {name!r} made {sorted(numbers)} rows for {ids.size} new tokens; need one for each.")
    if made.dense_bias is not None and made.dense_bias.shape != (ids.size,):
        raise ValueError(f"Method {name!r} gave biases of shape {made.dense_bias.shape}; need ({ids.size},).")
    for dense in (made.dense, made.dense_head):
        if dense is None:
            continue
        if dense.ndim != 2 or len(dense) != ids.size:
            raise ValueError(
                f"Method {name!r} gave rows of shape {dense.shape} for {ids.size} new tokens; need ({ids.size}, width)."
            )
        bad = ~(np.isfinite(dense).all(axis=1) | np.isnan(dense).all(axis=1))
        if bad.any():
            raise ValueError(
                f"Method {name!r} gave {bad.sum()} rows that hold NaN or infinite numbers in part (first: new id "
                f"{ids[bad][0]}); need finite rows, or NaN throughout for a row that is not given. "
                "Look at the rows it starts from, or take method 'pieces'."
            )


def _assemble(found: Match, ids, made: Rows, unfilled, same_hole, n_old: int, *, rows, cols, hole, dense) -> TokenMap:
    """One map from copies, a method's rows and the holes.

    Args:
        hole: old ids an unfilled row is the mean of, or None.
        dense: rows given as numbers, or None; their kind says so.
    """
    cols = cols.copy()
    cols[ids] = -1
    cols[unfilled[same_hole]] = unfilled[same_hole]
    kinds = np.where(np.isin(found.klass, (SPECIAL_ROLE, SPECIAL_TEXT)), RowKind.SPECIAL, RowKind.COPY)
    is_mean = hole is None or not hole.size
    kinds[unfilled] = np.where(same_hole, RowKind.COPY, RowKind.MEAN if is_mean else RowKind.COMBINE)
    kinds[ids] = made.kinds
    if dense is not None and dense.shape[1]:
        kinds[ids[~np.isnan(dense[:, 0])]] = RowKind.GIVEN
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
