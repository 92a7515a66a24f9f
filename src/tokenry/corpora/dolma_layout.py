"""Exchange documents and attributes with the Dolma toolkit: its folders are read as sidecars, ours written as its own.

Dolma keeps `ROOT/documents/**` (JSON lines, compressed) and, for each experiment, `ROOT/attributes/EXPERIMENT/**` with
the same relative paths, the same rows in the same order: `{"id", "attributes": {"EXPERIMENT__TAGGER__NAME": [[start,
end, score], ...]}}`. A value of a whole document is one span over all of it. Offsets are characters on both sides.

Paper: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159).
"""

import gzip
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.runs import atomic_folder
from tokenry.corpora.engine import Mapped, read_mapped, write_manifest
from tokenry.corpora.families import BOOL, FLOAT, SPANS, WHOLE
from tokenry.corpora.sidecars import columns_of
from tokenry.corpora.units import Reading, Tally, Unit, cut_units, first_schema, part_name, read_unit

__all__ = ["attribute_name", "column_name", "read_attributes", "write_attributes", "write_documents"]

_ROWS = 1024
_LINE = 256 * 2**20  # characters of a line of attributes: more is no attribute file
_SUFFIXES = (".gz", ".zst", ".xz", ".bz2", ".jsonl", ".json", ".ndjson", ".parquet")


def attribute_name(column: str, experiment: str) -> str:
    """Our column as an attribute: `rpv2.doc_word_count` becomes `EXPERIMENT__rpv2__doc_word_count`."""
    family, _, name = column.rpartition(".")
    return f"{experiment}__{family.replace('.', '_')}__{name}"


def column_name(attribute: str, experiment: str) -> str:
    """An attribute as our column: `EXPERIMENT__gopher_v1__word_count` becomes `gopher_v1.word_count`."""
    rest = attribute.removeprefix(f"{experiment}__")
    return rest.replace("__", ".")


def write_documents(source: object, root: str | Path, *, reading: Reading = Reading()) -> list[Path]:  # noqa: B008
    """Write documents as `ROOT/documents/NAME.jsonl.gz`, a file for each file of the source.

    `id`, `text` and `source` stand at the top as Dolma wants them, other columns in `metadata`.

    Raises:
        FileExistsError: the folder is there. ValueError: a broken row, or two files that would have one name.
    """
    units, reading = _units(source, reading)
    names = _names(units)
    with atomic_folder(Path(root) / "documents") as folder:
        for name, group in _by_file(units, names):
            rows = (row for unit in group for batch in read_unit(unit, reading, _strict()) for row in batch.to_pylist())
            _write_lines(folder / name, (_document(row) for row in rows))
    return [Path(root) / "documents" / name for name in dict.fromkeys(names)]


def _document(row: dict) -> dict:
    top = {name: row.pop(name) for name in ("id", "text", "source")}
    return {**top, "text": top["text"] or "", **({"metadata": row} if row else {})}


def write_attributes(
    source: object,
    sidecars: Sequence[str | Path],
    root: str | Path,
    *,
    experiment: str,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> list[Path]:
    """Write signals as Dolma attributes beside the documents of `write_documents` (or those they were read from).

    A null has no attribute, False none either (as the toolkit's flags); True is a score of 1; texts (languages,
    reasons) cannot be attributes and are left out.

    Args:
        source: the documents the sidecars belong to.
        sidecars: folders of signals.
        root: the Dolma folder; the files go to `ROOT/attributes/EXPERIMENT/`.
        experiment: the name of the experiment.
        reading: as the signals were made with.

    Raises:
        ValueError: a sidecar is of other documents, or none of its columns can be an attribute.
        FileExistsError: the experiment is there.
    """
    from dataclasses import replace

    fields = {name: field for name, field in columns_of(sidecars).items() if _is_attribute(field.type)}
    if not fields:
        raise ValueError(f"{', '.join(map(str, sidecars))} have no numbers and no spans; nothing can be an attribute.")
    units, reading = _units(source, reading)
    reading = replace(reading, sidecars=tuple(map(str, sidecars)), signals=tuple(fields))
    names = _names(units)
    spelt = {name: attribute_name(name, experiment) for name in fields}
    with atomic_folder(Path(root) / "attributes" / experiment) as folder:
        for name, group in _by_file(units, names):
            rows = (row for unit in group for batch in read_unit(unit, reading, _strict()) for row in batch.to_pylist())
            _write_lines(folder / name, (_attributes(row, spelt) for row in rows))
    return [Path(root) / "attributes" / experiment / name for name in dict.fromkeys(names)]


def _attributes(row: Mapping[str, object], spelt: Mapping[str, str]) -> dict:
    length = len(row["text"] or "")
    made: dict[str, list] = {}
    for column, name in spelt.items():
        value = row[column]
        if value is None or value is False:
            continue
        if isinstance(value, list):
            made[name] = [[span["start"], span["end"], span["score"]] for span in value]
        else:
            made[name] = [[0, length, float(value) if isinstance(value, bool) else value]]
    return {"id": row["id"], "attributes": made, "source": row["source"]}


def _is_attribute(kind: pa.DataType) -> bool:
    return kind in (SPANS, BOOL) or pa.types.is_floating(kind) or pa.types.is_integer(kind)


def read_attributes(
    attributes: str | Path,
    documents: object,
    out: str | Path,
    *,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    types: Mapping[str, pa.DataType] | None = None,
) -> Mapped:
    """Read a folder of attributes that the Dolma toolkit (or `write_attributes`) wrote as a sidecar of its documents.

    Columns are called `TAGGER.NAME`. An attribute whose every value is one span over its whole document becomes a
    number, any other a list of spans; `types` says otherwise. What a row lacks is null, or no spans: the toolkit writes
    neither empty lists nor flags that are off.

    Args:
        attributes: `ROOT/attributes/EXPERIMENT`.
        documents: `ROOT/documents`, or whatever holds the same files.
        out: the sidecar to make.
        reading: how the documents are read.
        types: column -> float64, int64, bool or `families.SPANS`, for columns that shall be that.

    Raises:
        FileNotFoundError: a document file has no attributes. ValueError: the rows are of other documents, or broken.
    """
    folder = Path(attributes)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; need ROOT/attributes/EXPERIMENT.")
    units, reading = _units(documents, reading)
    names = _names(units)
    kinds = _kinds(folder, names, dict(types or {}))
    fields = [pa.field("id", pa.string())]
    fields += [pa.field(name, kind, metadata={"version": "dolma"}) for name, kind in kinds.items()]
    schema = pa.schema(fields)
    tallies = []
    with atomic_folder(out) as part:
        for name, group in _by_file(units, names):
            lines = _lines(folder, name)
            for unit in group:
                tallies.append(_read_unit(unit, reading, lines, schema, part, folder))
            if next(lines, None) is not None:
                raise ValueError(f"{folder / name} has more rows than its documents. Tag them again.")
        write_manifest(Mapped(part, tallies, f"dolma {folder.name}"), "dolma")
    return read_mapped(out)


def _read_unit(
    unit: Unit, reading: Reading, lines: Iterator[dict], schema: pa.Schema, part: Path, folder: Path
) -> Tally:
    import pyarrow.parquet as pq

    tally = Tally(unit.number, unit.place.name)
    with pq.ParquetWriter(part / part_name(unit.number), schema, compression="zstd") as writer:
        for batch in read_unit(unit, reading, _strict()):
            rows = list(itertools.islice(lines, batch.num_rows))
            ids = batch.column("id").to_pylist()
            theirs = [row["id"] for row in rows]
            if theirs != ids:
                place = next((n for n, (a, b) in enumerate(zip(theirs, ids, strict=False)) if a != b), len(theirs))
                got = theirs[place] if place < len(theirs) else "the end of the file"
                raise ValueError(
                    f"{folder}: {got!r} where the document {ids[place]!r} of {unit.place.path} comes. The attributes "
                    "are of other documents, or in another order. Tag them again."
                )
            arrays = [batch.column("id")]
            for name in schema.names[1:]:
                arrays.append(_column([row["attributes"].get(name) for row in rows], schema.field(name).type))
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            tally.n_in += batch.num_rows
            tally.n_out += batch.num_rows
    return tally


def _column(values: list[list | None], kind: pa.DataType) -> pa.Array:
    if kind == SPANS:
        return pa.array(
            [[{"start": a, "end": b, "score": c} for a, b, c in spans or ()] for spans in values],
            SPANS,
        )
    scores = [None if not spans else spans[0][2] for spans in values]
    if kind == BOOL:
        return pa.array([bool(score) for score in scores], BOOL)  # a flag that is off is not written
    return pa.array(scores).cast(kind) if any(score is not None for score in scores) else pa.nulls(len(scores), kind)


def _kinds(folder: Path, names: Sequence[str], types: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The type of every column, from all rows: each is read once more, never held."""
    found: dict[str, pa.DataType] = {}
    for name in dict.fromkeys(names):
        for row in _lines(folder, name):
            # The length of the text is not known here: a span over the whole of it reaches as far as any does.
            length = max((span[1] for spans in row["attributes"].values() for span in spans), default=0)
            for column, spans in row["attributes"].items():
                kind = _kind(spans, length)
                before = found.setdefault(column, kind)
                if before != kind:
                    found[column] = SPANS if SPANS in (before, kind) else FLOAT
    for column in types:
        if column not in found:
            raise ValueError(f"no attribute {column!r} in {folder}.{suggest(column, found)}")
    return dict(sorted((found | types).items()))


def _kind(spans: list, length: int) -> pa.DataType:
    if len(spans) != 1 or spans[0][0] != 0 or spans[0][1] != length:
        return SPANS
    return WHOLE if isinstance(spans[0][2], int) else FLOAT


def _lines(folder: Path, name: str) -> Iterator[dict]:
    """Rows of the attribute file that belongs to a document file: `id`, and `attributes` under our names."""
    from tokenry.core.places import find_places
    from tokenry.core.readers import read_place

    stem = _stem(name)
    file = next((folder / f"{stem}{end}" for end in _ENDINGS if (folder / f"{stem}{end}").is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{folder} has no attributes for {name}. Tag its documents, or leave them out.")

    def refuse(place: object, line: int | None, reason: str) -> None:
        raise ValueError(f"{file}{'' if line is None else f', line {line}'}: {reason}. Tag the documents again.")

    for place in find_places(str(file)):
        for rows in read_place(place, batch_rows=_ROWS, on_bad=refuse, needed=None):
            for row in rows.values:
                yield _checked(row, folder.name, file)


_ENDINGS = (".jsonl.gz", ".json.gz", ".gz", ".jsonl", ".jsonl.zst", ".json.zst", ".zst", ".json")


def _checked(row: object, experiment: str, file: Path) -> dict:
    try:
        attributes = {column_name(name, experiment): value for name, value in row["attributes"].items()}
        for spans in attributes.values():
            for start, end, score in spans:
                if not (0 <= start <= end and (score is None or isinstance(score, (int, float)))):
                    raise ValueError(f"the span {[start, end, score]}")
        return {"id": str(row["id"]), "attributes": attributes}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file}: a row is no attributes of Dolma ({error}). Tag the documents again.") from error


def _units(source: object, reading: Reading) -> tuple[list[Unit], Reading]:
    from dataclasses import replace

    units = cut_units(source)
    return units, reading if reading.schema is not None else replace(reading, schema=first_schema(units, reading))


def _strict() -> object:
    from tokenry.core.columns import BadRows

    return BadRows()


def _names(units: Sequence[Unit]) -> list[str]:
    """For each unit the file below `documents/`: the source's relative path as .jsonl.gz."""
    names = [f"{_stem(unit.place.name or Path(unit.place.path).name)}.jsonl.gz" for unit in units]
    owners: dict[str, str] = {}
    for unit, name in zip(units, names, strict=True):
        if owners.setdefault(name, unit.place.path) != unit.place.path:
            raise ValueError(f"{owners[name]} and {unit.place.path} would both be {name}. Rename one of them.")
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"{name} leads out of its folder.")
    return names


def _stem(name: str) -> str:
    while name.endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def _by_file(units: Sequence[Unit], names: Sequence[str]) -> Iterator[tuple[str, list[Unit]]]:
    for name, group in itertools.groupby(zip(names, units, strict=True), key=lambda pair: pair[0]):
        yield name, [unit for _, unit in group]


def _write_lines(path: Path, rows: Iterator[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as below, gzip.GzipFile("", "wb", compresslevel=6, fileobj=below, mtime=0) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")
