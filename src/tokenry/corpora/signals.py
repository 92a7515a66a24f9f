"""Measure documents: columns of signals beside them, each with a name, a version and a published definition.

Scores decide nothing. They are written once as a sidecar (a folder of parts, row by row beside the documents) and
read by `select`, `mix` and `describe`, where thresholds can change without measuring again.

Papers: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372); Dolma: an Open Corpus of Three
Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159).
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import resolve
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.corpora import LEARNED, SIGNALS
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.families import Family, Material, Settings, column_of
from tokenry.corpora.prepared import Prepared
from tokenry.corpora.units import Reading

__all__ = [
    "Settings",
    "families_of",
    "score",
    "score_batch",
    "score_corpus",
    "score_report",
    "signal_columns",
    "signals_report",
]

# Characters are held as numbers while they are counted, some 40 bytes for one of text: batches are cut to this.
CHUNK_BYTES = 2 * 2**20


def families_of(names: str | Sequence[str | Family]) -> list[Family]:
    """The families a user named: names with commas, or a list; a model's as `linear:DIR`, your own as
    `pkg.module:FAMILY`.

    Raises:
        ValueError: a name is not known (the nearest is given), two families have a column of one name, or none is
            named.
    """
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    listed = list(dict.fromkeys(name for name in listed if name))
    if not listed:
        raise ValueError(f"no signals named; need at least one of: {', '.join(SIGNALS)}.")
    families = [name if isinstance(name, Family) else _family_of(name) for name in listed]
    owners: dict[str, str] = {}
    for family in families:
        for column in family.columns:
            if column in owners:
                raise ValueError(f"both {owners[column]!r} and {family.name!r} have the column {column!r}.")
            owners[column] = family.name
    return families


def _family_of(name: str) -> Family:
    if name.partition(":")[0] in LEARNED:
        from tokenry.corpora.learned import learned_family

        return learned_family(name)
    found = resolve(name, SIGNALS, kind="family of signals")
    if not isinstance(found, Family):
        raise ValueError(f"{name} is a {type(found).__name__}; need a tokenry.corpora.families.Family.")
    return found


def signal_columns(names: str | Sequence[str] | None = None) -> dict[str, pa.DataType]:
    """Name and type of every signal of these families, of all by default."""
    columns: dict[str, pa.DataType] = {}
    for family in families_of(list(SIGNALS) if names is None else names):
        columns |= family.columns
    return columns


def score_batch(
    batch: pa.RecordBatch, families: Sequence[Family], *, material: Material | None = None
) -> pa.RecordBatch:
    """The signals of a batch of documents: the same rows in the same order, `id` first.

    Args:
        batch: documents (`id`, `text`), possibly none.
        families: as `families_of` gives them.
        material: word lists and the like; one for many batches.
    """
    material = Material() if material is None else material
    fields = [pa.field("id", pa.string())]
    for family in families:
        version = {"version": str(family.version)}
        fields += [pa.field(name, kind, metadata=version) for name, kind in family.columns.items()]
    schema = pa.schema(fields)
    made = [_score_chunk(chunk, families, material, schema) for chunk in _chunks(batch)]
    if len(made) == 1:
        return made[0]
    table = pa.Table.from_batches(made, schema).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema)


def _chunks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of not many bytes of text, an empty one whole."""
    import pyarrow.compute as pc

    if batch.num_rows < 2:
        yield batch
        return
    sizes = pc.fill_null(pc.binary_length(batch.column("text")), 0).to_numpy(zero_copy_only=False)
    start, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if held and held + size > CHUNK_BYTES:
            yield batch.slice(start, row - start)
            start, held = row, 0
        held += size
    yield batch.slice(start)


def _score_chunk(
    batch: pa.RecordBatch, families: Sequence[Family], material: Material, schema: pa.Schema
) -> pa.RecordBatch:
    prepared = Prepared(batch.column("text").cast(pa.string()))
    arrays: list[pa.Array] = [batch.column("id").cast(pa.string())]
    for family in families:
        made = family.score(prepared, batch, material)
        for name, kind in family.columns.items():
            arrays.append(column_of(made[name], kind, prepared.given))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def score(
    source: object,
    families: str | Sequence[str | Family],
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    **reading: object,
) -> Iterator[pa.RecordBatch]:
    """The documents of any source with their signals, as a stream.

    Args:
        source: what `core.tables.stream` reads.
        families: names of `SIGNALS`.
        settings: word lists, languages, columns.
        reading: as for `core.tables.stream`.

    Example:
        `for batch in score(["A text."], "gopher"): ...`
    """
    from tokenry.core.tables import stream

    found, material = families_of(families), Material(settings)
    for family in found:
        family.check(settings)
    for batch in stream(source, **reading):
        scored = score_batch(batch, found, material=material)
        arrays = [*batch.columns, *scored.columns[1:]]
        fields = [*batch.schema, *list(scored.schema)[1:]]
        yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def score_corpus(
    source: object,
    families: str | Sequence[str | Family],
    out: str | Path,
    *,
    engine: str | Engine = "embedded",
    workers: int | None = None,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> Mapped:
    """Measure a corpus and write the signals as a sidecar.

    Args:
        source: files, folders, globs.
        families: names of `SIGNALS`, or families of your own.
        out: the folder to make.
        engine: "embedded", "daft", "ray", "ray://host:port", or an engine.
        workers: processes; None as the engine sees fit.
        settings: word lists, languages, columns.
        reading: the text column and what happens to broken rows. Columns that no signal needs are not read.

    Raises:
        ValueError: an unknown family, a missing list, a broken row. FileExistsError: `out` is there.
    """
    found = families_of(families)
    for family in found:
        family.check(settings)
    if isinstance(engine, str):
        engine = open_engine(engine, **({} if workers is None else {"workers": workers}))
    return engine.map(
        source,
        functools.partial(_scored, families=tuple(names_of(found))),
        out,
        key=key_of(found, settings),
        setup=functools.partial(Material, settings),
        reading=reading,
        label="score",
    )


def names_of(families: Sequence[Family]) -> list[str | Family]:
    """Names where they name these families, the family itself where it is a user's own: both travel to a worker."""
    return [family.name if family.name in SIGNALS else family for family in families]


def key_of(families: Sequence[Family], settings: Settings) -> str:
    """The key of scoring with these: it changes with a version, a column, a setting or a list."""
    said = [[family.name, family.version, list(family.columns)] for family in families]
    return fingerprint("score", said, settings.fingerprint())


def _scored(batch: pa.RecordBatch, material: Material, *, families: tuple[str | Family, ...]) -> pa.RecordBatch:
    return score_batch(batch, families_of(families), material=material)


def signals_report(names: Sequence[str] = ()) -> Report:
    """The families of signals, a row each; or every column of some."""
    found = families_of(list(names) or list(SIGNALS))
    if names:
        rows = [
            {"signal": name, "type": "spans" if pa.types.is_list(kind) else str(kind), "version": family.version}
            for family in found
            for name, kind in family.columns.items()
        ]
        title = "signals of " + ", ".join(family.name for family in found)
        return Report("corpus signals", title, tables={"signals": pa.Table.from_pylist(rows)})
    rows = [
        {
            "family": one.name,
            "signals": len(one.columns),
            "version": one.version,
            "measures": one.says,
            "needs": ", ".join("--" + need.replace("_", "-") for need in one.needs),
        }
        for one in found
    ]
    learned = pa.table({"family": [f"{kind}:DIR" for kind in LEARNED], "measures": list(map(_said, LEARNED))})
    return Report("corpus signals", "families of signals", tables={
        "families": pa.Table.from_pylist(rows), "families of a model of yours": learned})  # fmt: skip


def _said(kind: str) -> str:
    """The first line of what opens such a model."""
    return (resolve(kind, LEARNED, kind="family of signals").__doc__ or "").partition("\n")[0]


def score_report(mapped: Mapped) -> Report:
    """What scoring gave: documents, seconds, and of each signal its range and quartiles."""
    from tokenry.corpora.sidecars import columns_of

    report = Report("corpus score", "what was measured", facts={"documents": mapped.n_in, "folder": str(mapped.folder)})
    seconds = sum(tally.cpu_seconds for tally in mapped.tallies)
    report.facts["processor seconds"] = round(seconds, 2)
    report.facts |= mapped.losses
    rows = [_described(mapped, name, column) for name, column in columns_of([mapped.folder]).items()]
    report.tables["signals"] = pa.Table.from_pylist(rows)
    return report


def _described(mapped: Mapped, name: str, column: pa.Field) -> Mapping[str, object]:
    from tokenry.corpora.sidecars import read_signals

    values = read_signals(mapped.folder, [name]).column(name)
    row: dict[str, object] = {"signal": name, "given": len(values) - values.null_count}
    row |= dict.fromkeys(("least", "quarter", "middle", "three quarters", "most"))
    numbers = None
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        numbers = values.drop_null().cast(pa.float64()).to_numpy()
    elif pa.types.is_list(column.type):
        import pyarrow.compute as pc

        numbers = pc.list_value_length(values).drop_null().cast(pa.float64()).to_numpy()
    if numbers is not None and len(numbers):
        cuts = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist()
        row |= dict(zip(("least", "quarter", "middle", "three quarters", "most"), cuts, strict=True))
    return row
