"""Choose documents by rules and by what they are worth, within a budget, and say of every one why it was left out.

Three passes, none of which measures again: rules and utility over the signal columns, which leaves a few numbers for
each document; one decision over those numbers; the kept documents written. The decisions are a sidecar, so a rule can
be changed, and only what it decides is done anew.

Paper: A Survey on Data Selection for Language Models (arXiv 2402.16827), section 2: utility function and selection
mechanism.
"""

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import check_folder, write_run
from tokenry.corpora.engine import Engine, Mapped, map_once, open_engine, read_mapped
from tokenry.corpora.expressions import Expression, parse
from tokenry.corpora.mechanisms import best, by_cell, capped, cell_budgets, noisy_keep, softened
from tokenry.corpora.select_report import (
    BUDGET,
    CAP,
    KEPT,
    NO_CELL,
    NO_SCORE,
    NO_SIZE,
    NOISE,
    OUTCOMES,
    Counted,
    selection_report,
)
from tokenry.corpora.sidecars import columns_of, write_sidecar
from tokenry.corpora.spans import replace_spans
from tokenry.corpora.units import Reading, cut_units, first_schema

__all__ = ["UNITS", "Choice", "Selection", "check_choice", "decide", "select"]

UNITS = ("docs", "chars", "bytes")
_MOST_RULES = 62  # what a document breaks is a bit each of an int64


@dataclass(frozen=True)
class Choice:
    """What is kept.

    Attributes:
        rules: name -> rule; a document must hold all of them.
        score: what a document is worth, an expression; None keeps all that hold the rules.
        budget: how much may be kept, in `unit`; None for no bound.
        share: instead of a budget, the share of what holds the rules.
        unit: docs, chars, bytes, or an expression such as a column of token counts.
        per: a column: the budget is shared among its values.
        quota: how: "proportional", "equal", or value -> weight.
        cap: at most so much of each value of `per`.
        repeat: where a value has less than its quota, repeat its documents.
        temperature: sample with p ~ exp(score / temperature) instead of taking the best.
        noisy: take the score as a probability and keep by the noisy threshold with this alpha; of what passes, any
            within the budget.
        seed: of ties and draws.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    score: str | None = None
    budget: float | None = None
    share: float | None = None
    unit: str = "docs"
    per: str | None = None
    quota: str | Mapping[str, float] = "proportional"
    cap: float | None = None
    repeat: bool = False
    temperature: float | None = None
    noisy: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Selection:
    """What a selection left.

    Attributes:
        documents: the kept documents, None when they were not written.
        decisions: the sidecar of decisions: `select.copies`, `select.reason`, `select.score`.
        report: counts by rule and by source.
    """

    documents: Mapped | None
    decisions: Mapped
    report: Report


def select(
    source: object,
    out: str | Path,
    *,
    choice: Choice,
    sidecars: Sequence[str | Path] = (),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
    cut: Mapping[str, str] | None = None,
    write: bool = True,
) -> Selection:
    """Keep the documents that `choice` names.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder of the kept documents (Parquet parts, the columns of the input). The decisions go beside it,
            into `OUT.decisions`.
        choice: what to keep.
        sidecars: folders of signals that belong to the documents.
        reading: how the documents are read.
        engine: an engine or its name.
        cut: columns of spans -> what stands in their place in the kept documents ("" takes them out): repeated
            paragraphs, addresses, names.
        write: False only decides.

    Raises:
        ValueError: a rule asks for a column that is not there; a contradiction in `choice`; strangers among the
            sidecars. FileExistsError: an output is there.
    """
    engine = open_engine(engine)
    target, decided, weighed = Path(out), Path(f"{out}.decisions"), Path(out).parent / f".{Path(out).name}.weighed"
    check_folder(target.parent)
    plan = _Plan.of(choice)
    reading = replace(reading, sidecars=tuple(map(str, sidecars)))
    if reading.schema is None:
        reading = replace(reading, schema=first_schema(cut_units(source, skip_bad=reading.skip_bad), reading))
    known = columns_of(reading.sidecars)
    plan.check([*reading.schema.names, *known])
    _check_cuts(cut or {}, known)
    key = fingerprint("select", 2, plan.described(), [[folder, read_mapped(folder).key] for folder in reading.sidecars])
    if target.exists() or (decided.exists() and read_mapped(decided).key != key):
        raise FileExistsError(f"{target if target.exists() else decided} exists already. Give another --out.")
    narrow = plan.narrow(reading)
    weigher = functools.partial(weigh, choice=choice)
    numbers = map_once(engine, source, weigher, out=weighed, key=key, reading=narrow, label="weighing")
    decisions, report = _decided(numbers, choice, plan, decided, engine.name)
    report.facts |= numbers.losses
    kept = None
    if write:
        kept = _written(engine, source, target, decided=decided, reading=reading, cuts=dict(cut or {}))
        write_run(target, verb="corpus select", arguments=plan.described(), seed=choice.seed, inputs=[source])
    shutil.rmtree(weighed, ignore_errors=True)
    return Selection(kept, decisions, report)


def _check_cuts(cut: Mapping[str, str], known: Mapping[str, pa.Field]) -> None:
    spans = [name for name, column in known.items() if pa.types.is_list(column.type)]
    for column in cut:
        if column not in spans:
            raise ValueError(f"no column of spans {column!r} to cut.{suggest(column, spans)} There are: {spans}.")


def _written(
    engine: Engine, source: object, target: Path, *, decided: Path, reading: Reading, cuts: dict[str, str]
) -> Mapped:
    key = fingerprint(read_mapped(decided).key, cuts)
    sidecars = (str(decided), *(reading.sidecars if cuts else ()))
    reading = replace(reading, sidecars=sidecars, signals=("select.copies", *cuts))
    keeper = functools.partial(keep, cut=cuts)
    return engine.map(source, keeper, target, key=key, reading=reading, label="writing what is kept")


def check_choice(choice: Choice) -> None:
    """Refuse a choice that contradicts itself or cannot be read.

    Raises:
        ValueError: that is so.
    """
    _Plan.of(choice)


def weigh(batch: pa.RecordBatch, *, choice: Choice) -> pa.RecordBatch:
    """What decides about each document: the rules it breaks (a bit each), its score, its size, its cell."""
    plan = _Plan.of(choice)
    broken_N = np.zeros(batch.num_rows, np.int64)
    for place, rule in enumerate(plan.rules.values()):
        holds_N = rule.holds(batch).to_numpy(zero_copy_only=False).astype(bool)
        broken_N |= np.where(holds_N, 0, 1 << place)
    score_N = _numbers(plan.score, batch) if plan.score is not None else np.zeros(batch.num_rows)
    cells = batch.column(choice.per).cast(pa.string()) if choice.per else pa.nulls(batch.num_rows, pa.string())
    columns = {
        "id": batch.column("id"),
        "source": batch.column("source"),
        "broken": pa.array(broken_N, pa.int64()),
        "score": pa.array(score_N, pa.float64()),
        "size": pa.array(_sizes(choice.unit, batch), pa.float64()),
        "cell": cells,
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def keep(batch: pa.RecordBatch, *, cut: Mapping[str, str]) -> pa.RecordBatch:
    """The documents of a batch as often as `select.copies` says, their spans cut, without those columns."""
    copies_N = batch.column("select.copies").to_numpy()
    batch = batch.filter(pa.array(copies_N > 0))
    if cut:
        texts = replace_spans(batch.column("text"), [(batch.column(column), by) for column, by in cut.items()])
        batch = batch.set_column(batch.schema.get_field_index("text"), "text", texts)
    rows = np.repeat(np.arange(batch.num_rows), copies_N[copies_N > 0])
    names = [name for name in batch.schema.names if name != "select.copies" and name not in cut]
    return batch.select(names).take(pa.array(rows, pa.int64()))


def decide(
    score_N: np.ndarray, size_N: np.ndarray, cell_N: np.ndarray, *, choice: Choice, cells: Sequence[str] = ()
) -> np.ndarray:
    """How often each document is kept: the mechanism of `choice` over the numbers of all documents.

    Args:
        score_N: what each is worth; NaN is never kept (it breaks a rule, or has no score).
        size_N: what each costs.
        cell_N: its cell, -1 for none.
        choice: what to keep.
        cells: the names of the cells.

    Returns:
        copies_N: int64.
    """
    utility_N = _utility(np.asarray(score_N, np.float64), size_N, cell_N, choice)
    budget = choice.budget
    if choice.share is not None:
        budget = choice.share * float(size_N[~np.isnan(utility_N)].sum())
    if budget is None:
        return (~np.isnan(utility_N)).astype(np.int64)
    if choice.per is None or choice.cap is not None:
        return best(utility_N, size_N, budget, seed=choice.seed)
    usable_N = ~np.isnan(utility_N) & (cell_N >= 0)
    if not usable_N.any():
        return np.zeros(len(utility_N), np.int64)
    sizes_C = np.bincount(cell_N[usable_N], weights=size_N[usable_N], minlength=len(cells))
    budgets_C = cell_budgets(sizes_C, budget, choice.quota, names=cells)
    return by_cell(utility_N, size_N, cell_N, budgets_C=budgets_C, repeat=choice.repeat, seed=choice.seed)


def _utility(score_N: np.ndarray, size_N: np.ndarray, cell_N: np.ndarray, choice: Choice) -> np.ndarray:
    """The score with the noise of a temperature or of a draw, NaN for what is not drawn or beyond the cap of a cell."""
    utility_N = score_N
    if choice.noisy is not None:
        # What passes the draw is as good as any other: a budget, a share or a cap takes of it by chance.
        chance_N = np.random.default_rng([choice.seed, 1]).random(len(score_N))
        utility_N = np.where(noisy_keep(score_N, alpha=choice.noisy, seed=choice.seed) > 0, chance_N, np.nan)
    elif choice.temperature is not None:
        utility_N = softened(utility_N, choice.temperature, seed=choice.seed)
    if choice.cap is not None:
        within_N = capped(utility_N, size_N, cell_N, cap=choice.cap, seed=choice.seed)
        utility_N = np.where(within_N > 0, utility_N, np.nan)
    return utility_N


@dataclass(frozen=True)
class _Plan:
    """A choice, parsed."""

    choice: Choice
    rules: dict[str, Expression]
    score: Expression | None
    size: Expression | None

    @classmethod
    def of(cls, choice: Choice) -> "_Plan":
        if choice.budget is not None and choice.share is not None:
            raise ValueError("a budget and a share; give one of them.")
        if choice.share is not None and not 0 < choice.share <= 1:
            raise ValueError(f"share={choice.share}; need a number above 0 and at most 1.")
        if (choice.temperature is not None or choice.noisy is not None) and choice.score is None:
            raise ValueError("sampling by score without a score. Give one: --score quality.score.")
        if choice.temperature is not None and choice.noisy is not None:
            raise ValueError("a temperature and a noisy threshold; give one of them.")
        if choice.cap is not None and (choice.quota != "proportional" or choice.repeat):
            raise ValueError("a cap with a quota or with repeats; a cap bounds each value alone. Give one of them.")
        if (choice.cap is not None or choice.repeat or choice.quota != "proportional") and choice.per is None:
            raise ValueError("a quota or cap without the column it goes by. Give one: --per source.")
        if choice.repeat and choice.budget is None:
            raise ValueError("repeating without a budget to reach. Give one: --budget 1000000 --unit bytes.")
        bounded = any(one is not None for one in (choice.budget, choice.share, choice.noisy, choice.cap))
        if choice.score is not None and not bounded:
            raise ValueError(
                f"a score ({choice.score!r}) without a bound keeps everything. Give --budget or --share, or make it a "
                f"rule: --where '{choice.score} > 0.5'."
            )
        if not choice.rules and not bounded:
            raise ValueError("nothing to choose by. Give a rule (--where), a preset, or a score and a budget.")
        if len(choice.rules) > _MOST_RULES:
            raise ValueError(f"{len(choice.rules)} rules; at most {_MOST_RULES}. Join some with 'and'.")
        rules = {name: parse(rule) for name, rule in choice.rules.items()}
        size = None if choice.unit in UNITS else parse(choice.unit)
        return cls(choice, rules, None if choice.score is None else parse(choice.score), size)

    def check(self, known: Sequence[str]) -> None:
        for expression in self.expressions:
            expression.check(known)
        if self.choice.per is not None and self.choice.per not in known:
            raise ValueError(f"no column {self.choice.per!r} to share by.{suggest(self.choice.per, known)}")

    def narrow(self, reading: Reading) -> Reading:
        """Reading of what the decision needs alone: few columns of the documents, few signals."""
        own = ("id", "text", "source")
        columns = tuple(name for name in self.columns if name in reading.schema.names and name not in own)
        schema = pa.schema([reading.schema.field(name) for name in (*own, *columns)])
        signals = tuple(name for name in self.columns if name not in reading.schema.names)
        return replace(reading, columns=columns, schema=schema, signals=signals)

    @property
    def expressions(self) -> list[Expression]:
        return [*self.rules.values(), *(one for one in (self.score, self.size) if one is not None)]

    @property
    def columns(self) -> list[str]:
        names = [name for expression in self.expressions for name in expression.columns]
        return list(dict.fromkeys([*names, *([self.choice.per] if self.choice.per else [])]))

    def described(self) -> dict[str, object]:
        choice = self.choice
        told = {name: getattr(choice, name) for name in Choice.__dataclass_fields__}
        quota = choice.quota if isinstance(choice.quota, str) else dict(choice.quota)
        return {**told, "rules": dict(choice.rules), "quota": quota}


def _numbers(expression: Expression, batch: pa.RecordBatch) -> np.ndarray:
    values = expression.evaluate(batch)
    return values.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)


def _sizes(unit: str, batch: pa.RecordBatch) -> np.ndarray:
    import pyarrow.compute as pc

    if unit == "docs":
        return np.ones(batch.num_rows)
    if unit == "chars":
        return pc.fill_null(pc.utf8_length(batch.column("text")), 0).cast(pa.float64()).to_numpy()
    if unit == "bytes":
        return pc.fill_null(pc.binary_length(batch.column("text")), 0).cast(pa.float64()).to_numpy()
    return _numbers(parse(unit), batch)


def _decided(numbers: Mapped, choice: Choice, plan: _Plan, decided: Path, engine: str) -> tuple[Mapped, Report]:
    """Decide over the numbers of all documents, write the decisions part by part, and count."""
    import pyarrow.parquet as pq

    columns = ["source", "broken", "score", "size", "cell"]
    whole = pa.concat_tables([pq.read_table(part, columns=columns) for part in numbers.parts])
    cell_N, cells = _codes(whole.column("cell"))
    broken_N, score_N, size_N = (whole.column(name).to_numpy() for name in ("broken", "score", "size"))
    sized_N = ~np.isnan(size_N)
    size_N = np.where(sized_N, size_N, 0.0)
    if choice.budget is None and choice.share is None and choice.cap is None:
        sized_N[:] = True  # nothing is bounded, so no size decides
    usable_N = np.where((broken_N == 0) & sized_N, score_N, np.nan)
    copies_N = decide(usable_N, size_N, cell_N, choice=choice, cells=cells)
    names = [*plan.rules, *OUTCOMES]
    outcome_N = _outcomes(usable_N, size_N, cell_N, copies_N, choice)
    outcome_N = len(plan.rules) + np.where(sized_N, outcome_N, OUTCOMES.index(NO_SIZE))
    first_N = np.where(broken_N > 0, _lowest_bit(broken_N), outcome_N)
    if not decided.exists():
        columns = {
            "select.copies": pa.array(copies_N, pa.int64()),
            "select.reason": pa.array(names, pa.string()).take(pa.array(first_N, pa.int64())),
            "select.score": whole.column("score"),
        }
        write_sidecar(numbers, columns, decided, key=numbers.key, engine=engine)
    source_N, sources = _codes(whole.column("source"))
    rules = {name: rule.text for name, rule in plan.rules.items()}
    counted = Counted(broken_N, first_N, copies_N, size_N, source_N, sources)
    return read_mapped(decided), selection_report(counted, rules, choice.unit, budget=choice.budget)


def _outcomes(
    score_N: np.ndarray, size_N: np.ndarray, cell_N: np.ndarray, copies_N: np.ndarray, choice: Choice
) -> np.ndarray:
    """The place in `OUTCOMES` of each document that holds the rules."""
    place = {name: number for number, name in enumerate(OUTCOMES)}
    outcome_N = np.full(len(score_N), place[BUDGET])
    if choice.cap is not None:
        outcome_N[np.isnan(_utility(score_N, size_N, cell_N, choice))] = place[CAP]
    if choice.noisy is not None:
        outcome_N[noisy_keep(score_N, alpha=choice.noisy, seed=choice.seed) == 0] = place[NOISE]
    if choice.per is not None:
        outcome_N[cell_N < 0] = place[NO_CELL]
    outcome_N[np.isnan(score_N)] = place[NO_SCORE]
    outcome_N[copies_N > 0] = place[KEPT]
    return outcome_N


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """A column of strings as numbers (-1 for null) and the strings they stand for."""
    encoded = pa.chunked_array(column.chunks, column.type).combine_chunks().dictionary_encode()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _lowest_bit(values_N: np.ndarray) -> np.ndarray:
    """The place of the lowest set bit."""
    return np.log2(np.maximum(values_N & -values_N, 1)).astype(np.int64)
