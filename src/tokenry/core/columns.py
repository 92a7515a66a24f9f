"""Bring batches of any origin to one schema: `id`, `text`, `source`, and the other columns of the first batch."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tokenry.core.places import Place
from tokenry.core.readers import Rows

NAMED = ("id", "text", "source")
MEMORY = Place(path="the given rows", name="", stem="", format="memory", compression=None)
_SLICE_BYTES = 2**28  # Arrow strings end at 2 GB; a batch of long documents is passed on in slices
_UNFIT = (TypeError, ValueError, OverflowError, pa.ArrowException)


@dataclass
class BadRows:
    """What was passed over with `skip_bad=True`.

    Attributes:
        n: how many rows; a file whose rest cannot be read counts as one.
        examples: path, line (None when unknown) and reason of the first few.
        keep: how many examples to keep.
    """

    n: int = 0
    examples: list[tuple[str, int | None, str]] = field(default_factory=list)
    keep: int = 5

    def add(self, path: str, line: int | None, reason: str) -> None:
        """Count one bad row."""
        self.n += 1
        if len(self.examples) < self.keep:
            self.examples.append((path, line, reason))

    def __str__(self) -> str:
        """One sentence."""
        if not self.n:
            return "no bad rows"
        path, line, reason = self.examples[0] if self.examples else ("", None, "")
        where = f"{path}, line {line}" if line else path
        return f"{self.n:,} bad row{'s' if self.n > 1 else ''} passed over; the first: {where}: {reason}"


class Columns:
    """Turns batches into record batches of one schema, which the first batch fixes.

    Args:
        text: the column that holds the text.
        keep: other columns to keep; None keeps all of the first batch.
        skip_bad: count bad rows in `bad` and go on, instead of raising at the first.
        bad: where they are counted.
    """

    def __init__(self, *, text: str, keep: Sequence[str] | None, skip_bad: bool, bad: BadRows) -> None:
        self.text = text
        self.keep = keep
        self.skip_bad = skip_bad
        self.bad = bad
        self.schema: pa.Schema | None = None
        self._warned: set[str] = set()
        self.checked: Place | None = None  # the file whose first rows were seen to have the column of the text

    @property
    def needed(self) -> list[str] | None:
        """The columns to read, None for all."""
        return None if self.keep is None else [self.text, "id", "source", *self.keep]

    def on_bad(self, place: Place, line: int | None, reason: str) -> None:
        """Raise, or count and return."""
        if self.skip_bad:
            self.bad.add(place.path, line, reason)
            return
        unit = "line" if place.format in ("jsonl", "json", "txt") else "row"
        where = f"{place.path}, {unit} {line}" if line else place.path
        raise ValueError(f"{where}: {reason}. Mend it, or pass over such rows with skip_bad=True (--skip-bad).")

    def from_rows(self, batch: Rows, place: Place) -> Iterator[pa.RecordBatch]:
        """One record batch of parsed rows: mappings, or strings which are the text itself; none when all are bad."""
        column = "text" if place.format == "txt" else self.text
        batch.values = [{column: row} if isinstance(row, str) else row for row in batch.values]
        try:
            texts = pa.array([row.get(column) for row in batch.values], pa.string())
        except (AttributeError, *_UNFIT):
            batch = self._good_rows(batch, place, column)
            if not batch.values:
                return
            texts = pa.array([row.get(column) for row in batch.values], pa.string())
        if self.checked is not place:
            self.checked = place
            if texts.null_count == len(texts) and not any(column in row for row in batch.values):
                raise _no_text(place, column, _keys(batch.values))
        names = self._extra_names(_keys(batch.values) if self.schema is None else (), column)
        extras = {name: self._fitted(name, [row.get(name) for row in batch.values], place) for name in names}
        ids = _strings([row.get("id") for row in batch.values], lambda row: _made_id(place, batch.numbers[row]))
        sources = _strings([row.get("source") for row in batch.values], lambda row: place.stem)
        yield self._joined(ids, texts, sources, extras)

    def from_arrow(self, batch: pa.RecordBatch, place: Place, first: int) -> Iterator[pa.RecordBatch]:
        """Record batches of one that holds rows `first`, `first + 1`, ... of its file."""
        if batch.nbytes > _SLICE_BYTES and batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from self.from_arrow(batch.slice(0, half), place, first)
            yield from self.from_arrow(batch.slice(half), place, first + half)
            return
        names = batch.schema.names
        if self.text not in names:
            raise _no_text(place, self.text, names)
        if len(set(names)) < len(names):
            raise ValueError(f"{place.path} has two columns of one name among: {', '.join(names)}. Rename one of them.")
        texts = _as_strings(batch.column(self.text))
        if texts is None:
            kind = batch.schema.field(self.text).type
            raise ValueError(
                f"{place.path}: the column {self.text!r} is of type {kind}; need strings. Columns: {', '.join(names)}."
            )
        mask = self._valid(texts, place, first)
        ids = _filled(batch, "id", lambda row: _made_id(place, first + row))
        sources = _filled(batch, "source", lambda row: place.stem)
        found = self._extra_names(names, self.text)
        extras = {name: self._fitted(name, batch.column(name), place) for name in found if name in names}
        joined = self._joined(ids, texts, sources, extras)
        yield joined if mask is None else joined.filter(mask)

    def _good_rows(self, batch: Rows, place: Place, column: str) -> Rows:
        good = Rows()
        for value, number, line in zip(batch.values, batch.numbers, batch.lines, strict=True):
            if reason := _why_bad(value, column):
                self.on_bad(place, line, reason)
                continue
            good.values.append(value)
            good.numbers.append(number)
            good.lines.append(line)
        return good

    def _valid(self, texts: pa.StringArray, place: Place, first: int) -> pa.BooleanArray | None:
        """Which texts are UTF-8, None when all are: Parquet promises it and nobody checks."""
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            valid = []
            for row in range(len(texts)):
                try:
                    texts[row].as_py()
                    valid.append(True)
                except UnicodeDecodeError:
                    self.on_bad(place, first + row, "the text is not UTF-8")
                    valid.append(False)
            return pa.array(valid)
        return None

    def _extra_names(self, names: Sequence[str], column: str) -> list[str]:
        """Columns beside the named ones: those of the schema, or, before it is set, those of `names` that are kept."""
        if self.schema is not None:
            return self.schema.names[len(NAMED) :]
        found = [name for name in names if name not in NAMED and name != column]
        if self.keep is None:
            return found
        missing = [name for name in self.keep if name not in found and name not in NAMED]
        if missing:
            raise ValueError(f"no column {missing[0]!r} to keep; there are: {', '.join(found) or 'none'}.")
        return [name for name in self.keep if name not in NAMED]

    def _fitted(self, name: str, values: Sequence | pa.Array, place: Place) -> pa.Array | None:
        """The values in the column's type, null where they do not fit; None to leave a new column out."""
        wanted = None if self.schema is None else self.schema.field(name).type
        try:
            if not isinstance(values, pa.Array):
                values = pa.array(values, wanted)
            if wanted is None:
                return None if _is_hollow(values.type) else values
            return values.cast(wanted)
        except _UNFIT as error:
            if name not in self._warned:
                self._warned.add(name)
                what = "is left out" if wanted is None else f"becomes null where a value is no {wanted}"
                warnings.warn(
                    f"{place.path}: the column {name!r} is of several types and {what} ({error}).", stacklevel=2
                )
        if wanted is None:
            return None
        members = values.to_pylist() if isinstance(values, pa.Array) else values
        return pa.concat_arrays([_one(member, wanted) for member in members])

    def _joined(
        self, ids: pa.Array, texts: pa.Array, sources: pa.Array, extras: dict[str, pa.Array | None]
    ) -> pa.RecordBatch:
        if self.schema is None:
            fields = [(name, values.type) for name, values in extras.items() if values is not None]
            self.schema = pa.schema([(name, pa.string()) for name in NAMED] + fields)
        arrays = [ids, texts, sources]
        for column in list(self.schema)[len(NAMED) :]:
            values = extras.get(column.name)
            arrays.append(pa.nulls(len(texts), column.type) if values is None else values)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _keys(rows: Sequence[Mapping]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _one(member: object, kind: pa.DataType) -> pa.Array:
    try:
        return pa.array([member], kind)
    except _UNFIT:
        return pa.nulls(1, kind)


def _no_text(place: Place, column: str, names: Sequence[str]) -> ValueError:
    return ValueError(
        f"{place.path} has no column {column!r}; its columns are: {', '.join(map(str, names)) or 'none'}. "
        "Say which one holds the text (--text-column, text=... in Python)."
    )


def _why_bad(value: object, column: str) -> str:
    if not isinstance(value, Mapping):
        return f"a {type(value).__name__} where an object with a text is needed"
    text = value.get(column)
    if text is not None and not isinstance(text, str):
        return f"{column!r} is a {type(text).__name__}; need a string"
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        return f"half a surrogate pair in {column!r} (\\u{ord(text[error.start]):04x}): no valid text"
    return ""


def _made_id(place: Place, number: int) -> str:
    if not number:
        return place.name
    return f"{place.name}:{number}" if place.name else str(number)


def _plain(value: object) -> str | None:
    """The value as an identifier; None for what cannot be one."""
    if isinstance(value, str) or value is None:
        return value
    return str(value) if isinstance(value, (int, float)) else None


def _strings(values: list[object], fallback: Callable[[int], str]) -> pa.StringArray:
    """Texts and numbers as strings; `fallback(row)` for nulls and what is neither."""
    if values.count(None) == len(values):
        return pa.array([fallback(row) for row in range(len(values))], pa.string())
    chosen = [fallback(row) if plain is None else plain for row, plain in enumerate(map(_plain, values))]
    try:
        return pa.array(chosen, pa.string())
    except UnicodeEncodeError:
        return pa.array([value.encode("utf-8", "replace").decode() for value in chosen], pa.string())


def _as_strings(values: pa.Array) -> pa.StringArray | None:
    """Any Arrow spelling of strings as plain ones; None when these are no strings."""
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            # A slice of a column over 2 GB keeps its far offsets; a copy of the slice begins at 0.
            return values.take(pa.array(range(len(values)))).cast(pa.string())
    return None


def _filled(batch: pa.RecordBatch, name: str, fallback: Callable[[int], str]) -> pa.StringArray:
    """The column as strings; `fallback(row)` where it is null, missing or neither text nor number."""
    if name in batch.schema.names:
        values = batch.column(name)
        strings = _as_strings(values)
        if strings is None and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            strings = values.cast(pa.string())
        if strings is not None:
            return strings if not strings.null_count else _strings(strings.to_pylist(), fallback)
    return pa.array([fallback(row) for row in range(batch.num_rows)], pa.string())


def _is_hollow(kind: pa.DataType) -> bool:
    """True for columns without content: all null, or objects without keys (which Parquet cannot hold)."""
    return pa.types.is_null(kind) or _has_empty_object(kind)


def _has_empty_object(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_object(kind.field(place).type) for place in range(kind.num_fields))
