"""Rules over columns, written as a user would say them: `gopher.words >= 50 and not contains(text, "lorem ipsum")`.

The text is parsed, never run: only what is listed here has a meaning. A column that is not there is an error, for a
rule that never fires is worse than none. A comparison with a missing value is unknown; unknown is not true.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tokenry.core.choosing import suggest

__all__ = ["FUNCTIONS", "Expression", "parse"]

_MOST_CHARACTERS, _MOST_NODES = 20_000, 2_000

_COMPARE: dict[type[ast.cmpop], Callable] = {
    ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable] = {
    ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply,
    ast.Div: lambda a, b: pc.divide(_float(a), _float(b)),
}  # fmt: skip


def _float(value: object) -> object:
    return pc.cast(value, pa.float64()) if isinstance(value, (pa.Array, pa.ChunkedArray, pa.Scalar)) else float(value)


def _over_list(reduce: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], pa.Array]:
    """A function of a list column: the scores of its spans, or its numbers, reduced row by row."""

    def reduced(values: pa.Array) -> pa.Array:
        if not isinstance(values, pa.ListArray):
            raise ValueError(f"a column of {values.type} where a list of spans or numbers is needed")
        return reduce(values)

    return reduced


def _scores(values: pa.ListArray) -> tuple[pa.Array, pa.Array]:
    """The row and the score of every span that has one."""
    flat, rows = values.flatten(), pc.list_parent_indices(values)
    if pa.types.is_struct(flat.type):
        flat = pc.struct_field(flat, "score")
    flat = flat.cast(pa.float64())
    given = pc.is_valid(flat)
    return rows.filter(given), flat.filter(given)


def _summed(values: pa.ListArray, how: str) -> pa.Array:
    rows, scores = _scores(values)
    table = pa.table({"row": rows, "score": scores}).group_by("row").aggregate([("score", how)])
    found = dict(zip(table["row"].to_pylist(), table[f"score_{how}"].to_pylist(), strict=True))
    absent = 0.0 if how in ("sum", "count") else None
    valid = values.is_valid().to_pylist()
    return pa.array([found.get(row, absent) if ok else None for row, ok in enumerate(valid)], pa.float64())


FUNCTIONS: dict[str, tuple[int, Callable]] = {
    "length": (1, pc.utf8_length),
    "lower": (1, pc.utf8_lower),
    "contains": (2, lambda values, what: pc.match_substring(values, str(what))),
    "matches": (2, lambda values, what: pc.match_substring_regex(values, str(what))),
    "starts": (2, lambda values, what: pc.starts_with(values, str(what))),
    "missing": (1, pc.is_null),
    "default": (2, pc.coalesce),
    "abs": (1, pc.abs),
    "log": (1, lambda values: pc.ln(_float(values))),
    "exp": (1, lambda values: pc.exp(_float(values))),
    "least": (2, pc.min_element_wise),
    "greatest": (2, pc.max_element_wise),
    "mean": (1, _over_list(lambda values: _summed(values, "mean"))),
    "sum": (1, _over_list(lambda values: _summed(values, "sum"))),
    "count": (1, _over_list(pc.list_value_length)),
}


@dataclass(frozen=True)
class Expression:
    """A parsed rule.

    Attributes:
        text: as it was written.
        columns: the columns it needs, in the order of their first use.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr

    def check(self, known: Iterable[str]) -> None:
        """Check that every column is among `known`.

        Raises:
            ValueError: one is not (the nearest name is given).
        """
        names = list(known)
        for name in self.columns:
            if name not in names:
                raise ValueError(
                    f"{self.text!r} asks for the column {name!r}, which is not there.{suggest(name, names)} "
                    f"There are: {', '.join(sorted(names)[:40])}{', ...' if len(names) > 40 else ''}."
                )

    def evaluate(self, batch: pa.RecordBatch | pa.Table) -> pa.Array:
        """The value for every row; null where it is unknown.

        Raises:
            ValueError: a column is not there, or of a kind the rule does not fit.
        """
        self.check(batch.schema.names)
        columns = {name: _whole(batch.column(name)) for name in self.columns}
        try:
            value = _value(self._tree, columns)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            kinds = ", ".join(f"{name} is {columns[name].type}" for name in self.columns)
            raise ValueError(f"{self.text!r} does not fit its columns ({kinds}): {error}") from error
        if not isinstance(value, pa.Array):
            kind = value.type if isinstance(value, pa.Scalar) else None
            return pa.array([value.as_py() if kind is not None else value] * batch.num_rows, kind)
        return value

    def holds(self, batch: pa.RecordBatch | pa.Table) -> pa.BooleanArray:
        """True where the rule is true; false where it is false or unknown.

        Raises:
            ValueError: as `evaluate`; also for a rule that gives no yes or no.
        """
        value = self.evaluate(batch)
        if not (pa.types.is_boolean(value.type) or pa.types.is_null(value.type)):
            raise ValueError(f"{self.text!r} gives {value.type}, not yes or no. Compare it: {self.text} > 0.")
        return pc.fill_null(value.cast(pa.bool_()), False)


def parse(text: str) -> Expression:
    """Read a rule.

    Operators: `and or not`, `< <= > >= == !=` (also chained), `in [..]`, `not in [..]`, `+ - * /`, parentheses;
    numbers, strings, True, False, None; columns by their names with dots; functions of `FUNCTIONS`.

    Raises:
        ValueError: it cannot be read, or holds what has no meaning here.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("an empty rule; need one such as 'gopher.words >= 50'.")
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a rule of {len(text):,} characters; at most {_MOST_CHARACTERS:,}. Cut it in several.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise ValueError(
            f"{text!r} cannot be read{place}. Need a rule such as 'gopher.words >= 50 and language.label == \"en\"'."
        ) from error
    if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
        raise ValueError(f"a rule of more than {_MOST_NODES:,} parts. Cut it in several.")
    columns: dict[str, None] = {}
    _check(tree, text, columns)
    return Expression(text.strip(), tuple(columns), tree)


def _check(node: ast.AST, text: str, columns: dict[str, None]) -> None:
    """Allow only what has a meaning, and collect the columns."""
    match node:
        case ast.Name() | ast.Attribute():
            columns.setdefault(_dotted(node, text))
        case ast.Constant(value=value) if value is None or isinstance(value, (bool, int, float, str)):
            pass
        case ast.BoolOp(values=values) | ast.List(elts=values) | ast.Tuple(elts=values):
            for one in values:
                _check(one, text, columns)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, text, columns)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            _check(left, text, columns)
            _check(right, text, columns)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for one in (left, *others):
                _check(one, text, columns)
            for op, other in zip(ops, others, strict=True):
                if isinstance(op, (ast.In, ast.NotIn)):
                    if not (isinstance(other, (ast.List, ast.Tuple)) and all(_is_constant(e) for e in other.elts)):
                        raise ValueError(f"{text!r}: 'in' needs a list of constants, such as ['en', 'de'].")
                elif type(op) not in _COMPARE:
                    raise ValueError(f"{text!r}: 'is' has no meaning in a rule. Use ==, or missing(column).")
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            _check_call(name, args, text)
            for one in args:
                _check(one, text, columns)
        case _:
            raise ValueError(
                f"{text!r}: {type(node).__name__.lower()} has no meaning in a rule. Rules compare columns and numbers; "
                f"functions: {', '.join(FUNCTIONS)}."
            )


def _check_call(name: str, args: list[ast.expr], text: str) -> None:
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise ValueError(f"{text!r}: no function {name!r}.{suggest(name, FUNCTIONS)} There are: {known}.")
    if len(args) != FUNCTIONS[name][0]:
        raise ValueError(f"{text!r}: {name} takes {FUNCTIONS[name][0]} arguments, not {len(args)}.")


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant)


def _dotted(node: ast.AST, text: str) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError(f"{text!r}: a name after a dot must belong to a column, such as gopher.words.")
    return ".".join([node.id, *reversed(parts)])


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        return values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    return values


def _value(node: ast.AST, columns: Mapping[str, pa.Array]) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return columns[_dotted(node, "")]
        case ast.BoolOp(op=op, values=values):
            join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            result = _value(values[0], columns)
            for one in values[1:]:
                result = join(result, _value(one, columns))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_value(operand, columns))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return pc.negate(_value(operand, columns))
        case ast.UnaryOp(operand=operand):
            return _value(operand, columns)
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_value(left, columns), _value(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(_value(left, columns), ops, others, columns)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name][1](*(_value(one, columns) for one in args))
    raise ValueError(f"{type(node).__name__} has no meaning in a rule.")  # parse lets none through


def _compared(left: object, ops: list[ast.cmpop], others: list[ast.expr], columns: Mapping[str, pa.Array]) -> object:
    result: object = None
    for op, other in zip(ops, others, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            members = pa.array([ast.literal_eval(one) for one in other.elts])
            this = pc.is_in(left, value_set=members.cast(left.type) if isinstance(left, pa.Array) else members)
            if isinstance(left, pa.Array):
                this = pc.if_else(pc.is_valid(left), this, None)
            this, right = pc.invert(this) if isinstance(op, ast.NotIn) else this, None
        else:
            right = _value(other, columns)
            this = _COMPARE[type(op)](left, right)
        result = this if result is None else pc.and_kleene(result, this)
        left = right
    return result
