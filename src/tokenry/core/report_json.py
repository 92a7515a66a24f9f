"""Reports as strict JSON and back. See `core/report.py` for what null means."""

import json
import math
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from tokenry.core.report import FactValue, Figure, Headline, Interval, Report, TokenSample

SCHEMA = "tokenry.report/1"


def write_json(report: Report) -> str:
    """`Report.to_json`."""
    content = {
        "schema": SCHEMA,
        "kind": report.kind,
        "title": report.title,
        "verdict": report.verdict,
        "command": report.command,
        "warnings": list(report.warnings),
        "headline": [asdict(line) for line in report.headline],
        "facts": {name: _fact_out(name, value) for name, value in report.facts.items()},
        "tables": {name: _table_out(name, table) for name, table in report.tables.items()},
        "figures": [asdict(figure) for figure in report.figures],
        "samples": [
            {"title": sample.title, "rows": [{"label": label, "tokens": tokens} for label, tokens in sample.rows]}
            for sample in report.samples
        ],
        "notes": list(report.notes),
    }
    content = _strict(content)
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    # A lone surrogate has no UTF-8 form; escaped, the file still reads back equal.
    return text if _is_utf8(text) else json.dumps(content, ensure_ascii=True, allow_nan=False, indent=1)


def read_json(text: str) -> Report:
    """`Report.from_json`."""
    content = json.loads(text)
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise ValueError(f"schema {found!r}; need {SCHEMA!r}: a report.json written by tokenry.")
    return Report(
        kind=content["kind"],
        title=content["title"],
        facts={name: _fact_in(value) for name, value in content["facts"].items()},
        tables={name: _table_in(table) for name, table in content["tables"].items()},
        figures=[Figure(**figure) for figure in content["figures"]],
        verdict=content["verdict"],
        warnings=content["warnings"],
        notes=content["notes"],
        command=content["command"],
        samples=[
            TokenSample(sample["title"], [(row["label"], row["tokens"]) for row in sample["rows"]])
            for sample in content["samples"]
        ],
        headline=[_headline_in(line) for line in content["headline"]],
    )


def _strict(value):
    """The same structure with plain Python values, and None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fact_out(name: str, value: FactValue):
    if isinstance(value, Interval):
        return asdict(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(
            f"fact {name!r} is a {type(value).__name__}; need a number, text, true/false, None or an Interval. "
            "Put lists into a table."
        )
    return value


def _fact_in(value) -> FactValue:
    return _interval_in(value) if isinstance(value, dict) else value


def _interval_in(value: dict) -> Interval:
    ends = {key: math.nan if value[key] is None else float(value[key]) for key in ("value", "low", "high")}
    return Interval(**ends, n=value["n"], unit=value["unit"])


def _headline_in(line: dict) -> Headline:
    def number(value):
        return _interval_in(value) if isinstance(value, dict) else math.nan if value is None else value

    change = None if line["change"] is None else _interval_in(line["change"])
    return Headline(line["label"], number(line["before"]), number(line["after"]), line["unit"], line["better"], change)


def _table_out(name: str, table: pa.Table) -> dict:
    if len(set(table.column_names)) != table.num_columns:
        raise ValueError(f"table {name!r} has two columns of one name: {table.column_names}; rename one.")
    columns, types = {}, {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        types[column] = _type_name(values.type, f"{name}.{column}")
        columns[column] = values.to_pylist()
    return {"types": types, "columns": columns}


def _table_in(table: dict) -> pa.Table:
    return pa.table({name: pa.array(table["columns"][name], _type_of(kind)) for name, kind in table["types"].items()})


def _type_name(kind: pa.DataType, where: str) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_type_name(kind.value_type, where)}>"
    if not (
        any(check(kind) for check in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null))
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise ValueError(
            f"column {where!r} is of type {kind}; a report's tables hold booleans, numbers, strings and lists of them. "
            "Cast it first."
        )
    return str(kind)


def _type_of(name: str) -> pa.DataType:
    return pa.list_(_type_of(name[5:-1])) if name.startswith("list<") else pa.type_for_alias(name)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
