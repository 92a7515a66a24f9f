"""Draw documents from several sources in given proportions, within a budget, in a random order that can be repeated.

Papers: CLIMB (arXiv 2504.13161), for the accounting of epochs; UniMax (arXiv 2304.09151); Scaling Data-Constrained
Language Models (arXiv 2305.16264).
"""

import functools
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.hashing import mix as scrambled
from tokenry.core.report import Figure, Report
from tokenry.core.runs import check_folder, describe_input, write_run
from tokenry.corpora.describe import sizes
from tokenry.corpora.engine import Engine, Mapped, map_once, open_engine
from tokenry.corpora.mechanisms import by_cell, softened
from tokenry.corpora.mixtures import budgets_within_epochs, effective_tokens, normalised, temperature_weights, unimax
from tokenry.corpora.sidecars import write_sidecar
from tokenry.corpora.units import Reading, cut_units, first_schema

__all__ = ["UNITS", "Proportions", "mix"]

# Axes: S sources.

UNITS = ("docs", "chars", "bytes")
FILE = "documents.parquet"


@dataclass(frozen=True)
class Proportions:
    """How much of each source.

    Attributes:
        budget: documents, characters or bytes in all (see `unit`); None takes what there is, once.
        unit: docs, chars or bytes.
        weights: source -> weight; None goes by the sizes, raised to `exponent`.
        exponent: 1 in proportion to the sizes, 0 all alike; 0.3 is common for languages.
        even: as evenly as `epochs` allows (UniMax) instead.
        epochs: go through no source more often than this.
    """

    budget: float | None = None
    unit: str = "bytes"
    weights: Mapping[str, float] | None = None
    exponent: float = 1.0
    even: bool = False
    epochs: float = 4.0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit={self.unit!r}; need one of {', '.join(UNITS)}.")
        if self.weights is not None and (self.even or self.exponent != 1.0):
            raise ValueError("weights, and a rule that sets them (--even, --exponent); give one of them.")
        if not self.epochs > 0:
            raise ValueError(f"epochs={self.epochs}; need a number above 0.")

    def budgets(self, names: list[str], sizes_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shares asked for, and the budget of each source."""
        total = float(sizes_S.sum()) if self.budget is None else self.budget
        if self.even:
            return np.full(len(names), 1 / len(names)), unimax(sizes_S, total, epochs=self.epochs)
        if self.weights is not None:
            shares_S = normalised(self.weights, names)
        else:
            shares_S = temperature_weights(sizes_S, self.exponent)
        return shares_S, budgets_within_epochs(shares_S, sizes_S, total, epochs=self.epochs)


def mix(
    sources: Mapping[str, object],
    out: str | Path,
    *,
    proportions: Proportions,
    seed: int = 0,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Report:
    """Draw from the sources and write one shuffled Parquet file, `documents.parquet`, with `source` set to their names.

    Args:
        sources: name -> documents, as `core.tables.stream` reads them. Only the columns that all have are kept.
        out: the folder to make.
        proportions: how much of each.
        seed: of what is drawn and of the order.
        reading: how the documents are read.
        engine: an engine or its name.

    Raises:
        ValueError: no source, or a weight for none of them. FileExistsError: `out` is there.
    """
    engine, target = open_engine(engine), Path(out)
    if not sources:
        raise ValueError("no source to draw from; give at least one: --source web=kept/.")
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    reading = _shared(sources, reading)
    scratch = target.parent / f".{target.name}.mixing"
    try:
        report = _mixed(engine, sources, scratch, proportions=proportions, seed=seed, reading=reading)
        arguments = {**proportions.__dict__, "weights": dict(proportions.weights or {})}
        write_run(scratch / "out", verb="corpus mix", arguments=arguments, seed=seed, inputs=list(sources.values()))
        (scratch / "out").rename(target)
    except ValueError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch)
    return report


def _mixed(
    engine: Engine,
    sources: Mapping[str, object],
    scratch: Path,
    *,
    proportions: Proportions,
    seed: int,
    reading: Reading,
) -> Report:
    """Measure the sources, draw from each, and write the shuffled file into `scratch/out`."""
    measured = [
        _measured(engine, source, scratch / f"{place}.sizes", reading) for place, source in enumerate(sources.values())
    ]
    held = [_sizes(mapped, proportions.unit) for mapped in measured]
    names = list(sources)
    sizes_S = np.array([sizes_N.sum() for sizes_N in held])
    shares_S, budgets_S = proportions.budgets(names, sizes_S)
    parts, taken_S = [], np.zeros(len(names))
    for place, (name, source) in enumerate(sources.items()):
        copies_N = _drawn(held[place], budgets_S[place], seed=stable_hash(f"{seed} {name}") % 2**32)
        taken_S[place] = float((held[place] * copies_N).sum())
        key = fingerprint("mix", seed, name, budgets_S[place], measured[place].key)
        # What an interrupted run of other settings left lies under another key, and is no obstacle.
        folder, drawer = scratch / f"{place}.{key}.copies", functools.partial(drawn, name=name, seed=seed)
        shutil.rmtree(folder, ignore_errors=True)
        column = {"mix.copies": pa.array(copies_N, pa.int64())}
        write_sidecar(measured[place], column, folder, key=key, engine=engine.name)
        beside = replace(reading, sidecars=(str(folder),))
        out, label = scratch / f"{place}.{key}.drawn", f"drawing from {name}"
        parts += map_once(engine, source, drawer, out=out, key=key, reading=beside, label=label).parts
    shutil.rmtree(scratch / "out", ignore_errors=True)
    (scratch / "out").mkdir()
    engine.sort(parts, ["mix.order"], scratch / "out" / FILE, drop=True)
    report = _report(names, (shares_S, sizes_S, budgets_S, taken_S), proportions)
    report.facts |= sum((Counter(one.losses) for one in measured), Counter())
    return report


def drawn(batch: pa.RecordBatch, *, name: str, seed: int) -> pa.RecordBatch:
    """The documents of a batch as often as `mix.copies` says, named after their source, with a place in the order."""
    copies_N = batch.column("mix.copies").to_numpy()
    rows = np.repeat(np.arange(batch.num_rows), copies_N)
    copy_N = np.arange(len(rows)) - np.repeat(np.cumsum(copies_N) - copies_N, copies_N)
    hashes = np.array([stable_hash(f"{seed} {name} {one}") for one in batch.column("id").to_pylist()], np.uint64)
    order_N = scrambled(hashes[rows] + copy_N.astype(np.uint64)) if len(rows) else np.empty(0, np.uint64)
    names = [column for column in batch.schema.names if column != "mix.copies"]
    taken = batch.select(names).take(pa.array(rows, pa.int64()))
    taken = taken.set_column(names.index("source"), "source", pa.array([name] * len(rows), pa.string()))
    return taken.append_column("mix.order", pa.array(order_N.view(np.int64)))


def _shared(sources: Mapping[str, object], reading: Reading) -> Reading:
    """Reading of the columns that all sources have with one type."""
    schemas = [first_schema(cut_units(source, skip_bad=reading.skip_bad), reading) for source in sources.values()]
    fields = [column for column in schemas[0] if all(column.equals(_field(one, column.name)) for one in schemas)]
    names = tuple(column.name for column in fields if column.name not in ("id", "text", "source"))
    return replace(reading, columns=names, schema=pa.schema(fields))


def _field(schema: pa.Schema, name: str) -> pa.Field:
    place = schema.get_field_index(name)
    return schema.field(place) if place >= 0 else pa.field("", pa.null())


def _measured(engine: Engine, source: object, out: Path, reading: Reading) -> Mapped:
    plain = replace(reading, columns=(), schema=pa.schema([reading.schema.field(n) for n in ("id", "text", "source")]))
    key = fingerprint("mix-sizes", describe_input(source))
    out = out.with_name(f"{out.name}.{key}")
    return map_once(engine, source, sizes, out=out, key=key, reading=plain, label="measuring")


def _sizes(mapped: Mapped, unit: str) -> np.ndarray:
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(part, columns=["chars", "bytes"]) for part in mapped.parts])
    if unit == "docs":
        return np.ones(table.num_rows)
    return table.column(unit).fill_null(0).cast(pa.float64()).to_numpy()


def _drawn(sizes_N: np.ndarray, budget: float, *, seed: int) -> np.ndarray:
    """How often each document is drawn: all of them as often as they fit, and a random part once more."""
    noise_N = softened(np.zeros(len(sizes_N)), 1.0, seed=seed)
    cell_N = np.zeros(len(sizes_N), np.int64)
    return by_cell(noise_N, sizes_N, cell_N, budgets_C=np.array([budget]), repeat=True, seed=seed)


def _report(names: list[str], numbers: tuple[np.ndarray, ...], proportions: Proportions) -> Report:
    shares_S, sizes_S, budgets_S, taken_S = numbers
    total = max(float(taken_S.sum()), 1e-300)
    rows = []
    for place, name in enumerate(names):
        epochs = float(taken_S[place] / sizes_S[place]) if sizes_S[place] else 0.0
        worth = effective_tokens(float(sizes_S[place]), epochs)
        unit, taken = proportions.unit, float(taken_S[place])
        rows.append(
            {
                "source": name,
                f"{unit}_held": float(sizes_S[place]),
                "share_asked": float(shares_S[place]),
                f"{unit}_taken": taken,
                "share_taken": taken / total,
                "epochs": epochs,
                "worth_in_fresh": worth / taken if taken else None,
            }
        )
    asked = float(sizes_S.sum()) if proportions.budget is None else float(proportions.budget)
    points = {
        "asked": [(row["source"], row["share_asked"]) for row in rows],
        "taken": [(row["source"], row["share_taken"]) for row in rows],
    }
    most = max(rows, key=lambda row: row["epochs"])
    return Report(
        kind="mixture",
        title="Mixture",
        facts={
            f"{proportions.unit}.asked": asked,
            f"{proportions.unit}.taken": float(taken_S.sum()),
            "sources": len(names),
            "epochs_most": most["epochs"],
        },
        tables={"sources": pa.Table.from_pylist(rows)},
        figures=[Figure("bar", "Shares", "source", f"share of {proportions.unit}", points)],
        verdict=f"{taken_S.sum():,.0f} {proportions.unit} from {len(names)} sources; "
        f"{most['source']} is gone through {most['epochs']:.2f} times.",
        warnings=_warnings(rows, asked, float(budgets_S.sum()), proportions),
        notes=["'worth in fresh' is what repeated text is worth per unit taken (arXiv 2305.16264, R* = 15.4)."],
    )


def _warnings(rows: list[dict], asked: float, allowed: float, proportions: Proportions) -> list[str]:
    """Where the mixture is not what was asked for, and why."""
    unit, bound = proportions.unit, f"{proportions.epochs:g} epochs"
    taken = sum(row[f"{unit}_taken"] for row in rows)
    warnings = []
    if allowed < asked * (1 - 1e-6):
        warnings.append(
            f"the sources hold less than the budget within {bound}: {taken:,.0f} of {asked:,.0f} {unit}. Raise "
            "--epochs, or add text."
        )
    elif taken > asked * 1.02:
        warnings.append(
            f"{taken:,.0f} {unit} taken, {asked:,.0f} asked: documents are not cut, and the last one of a source may "
            "pass its share. Cut long documents first for a closer fit."
        )
    return warnings + [
        f"{row['source']} has {row['share_taken']:.1%} of the mixture, {row['share_asked']:.1%} was asked: a source is "
        f"at its bound of {bound}, or its documents are large beside its share."
        for row in rows
        if abs(row["share_taken"] - row["share_asked"]) > 0.01 and row["share_asked"] > 0
    ]
