"""Tables of what answers to sums tell: accuracy with intervals, by length match and carries, paired, and the errors.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenry.core.intervals import wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.tokenization.arithmetic_scores import (
    Scored,
    Taxonomy,
    accuracy,
    by_setting,
    carries,
    longest_chain,
    paired,
    read_rows,
    score,
    taxonomy,
)

_MOST_PAIRS = 200


def arithmetic_report(
    scored: Sequence[Scored],
    *,
    title: str = "Arithmetic",
    direction: str | None = None,
    chunk: int = 3,
    rank: Callable[[str], int] | None = None,
) -> Report:
    """All tables about scored responses.

    Args:
        scored: of any number of settings; nothing is pooled over them.
        title: of the report.
        direction, chunk, rank: of `taxonomy`, for answers whose cut is left to the tokenizer.

    Raises:
        ValueError: without a response.
    """
    if not scored:
        raise ValueError("no response to report on; need at least one.")
    groups = by_setting(scored)
    taxonomies = {name: taxonomy(group, direction=direction, chunk=chunk, rank=rank) for name, group in groups.items()}
    best = max(groups, key=lambda name: accuracy(groups[name]).value)
    worst = min(groups, key=lambda name: accuracy(groups[name]).value)
    facts = {"responses": len(scored), "settings": len(groups)}
    facts |= {f"accuracy.{name}": accuracy(group) for name, group in groups.items()} if len(groups) <= 12 else {}
    points = [(name, one.value, one.low, one.high) for name, one in ((n, accuracy(g)) for n, g in groups.items())]
    verdict = f"{accuracy(groups[best]).value:.1%} right as {best}"
    if best != worst:
        test = paired(groups[best], groups[worst])
        verdict += f", {accuracy(groups[worst]).value:.1%} as {worst} (same problems: p = {test.p:.2g}, n = {test.n})"
    return Report(
        kind="arithmetic",
        title=title,
        facts=facts,
        tables={
            "accuracy": _accuracies(groups),
            "by length match": _split(groups, lambda one: "match" if one.length_match else "mismatch", "length"),
            "by carries": _split(groups, lambda one: _n_carries(one), "carries"),
            "paired": _pairs(groups),
            "errors": _errors(taxonomies),
            "positions": _positions(taxonomies),
        },
        figures=[Figure("interval", "Right answers", "setting", "share", {"right": points})]
        if len(points) <= 40
        else [],
        verdict=verdict + ".",
        notes=[
            "The p of the verdict is of the best and the worst setting, chosen after the fact: of many, it flatters.",
            "An answer is right when its digits are, whatever its format; intervals are Wilson's, 95 %.",
            "Length match: the answer has as many digits as one of the operands. Paired: exact McNemar test.",
        ],
    )


def rescore(folder: str | Path) -> Report:
    """Score stored responses anew: result files of `model arithmetic`, or the published ones of the paper.

    Raises:
        FileNotFoundError, ValueError: as for `read_rows`.
    """
    rows = read_rows(folder)
    report = arithmetic_report(score(rows), title=f"Stored responses in {Path(folder).name}")
    report.facts["files"] = len({row["file"] for row in rows})
    return report


def _n_carries(one: Scored) -> str:
    flags = carries(one.a, one.b) if one.op == "add" else []
    return f"{sum(flags)}, chain {longest_chain(flags)}" if flags else "not an addition"


def _accuracies(groups: dict[str, list[Scored]]) -> object:
    import pyarrow as pa

    rows = []
    for name, group in groups.items():
        share = accuracy(group)
        rows.append({
            "setting": name, "n": len(group), "right": sum(one.right for one in group), "accuracy": share.value,
            "low": share.low, "high": share.high,
            "format kept": sum(one.format_match for one in group) / len(group),
            "length right": sum(one.length_right for one in group) / len(group),
            "no number": sum(one.answer is None for one in group),
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


def _split(groups: dict[str, list[Scored]], key: Callable[[Scored], str], column: str) -> object:
    import pyarrow as pa

    rows = []
    for name, group in groups.items():
        for value in sorted({key(one) for one in group}):
            part = [one.right for one in group if key(one) == value]
            share = wilson_interval(sum(part), len(part))
            rows.append({"setting": name, column: value, "n": len(part), "right": sum(part), "accuracy": share.value,
                         "low": share.low, "high": share.high})  # fmt: skip
    return pa.Table.from_pylist(rows)


def _pairs(groups: dict[str, list[Scored]]) -> object:
    import pyarrow as pa

    rows, names = [], list(groups)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if len(rows) == _MOST_PAIRS:
                break
            test = paired(groups[first], groups[second])
            if test.n:
                rows.append({"first": first, "second": second, "n": test.n, "only first right": test.only_first,
                             "only second right": test.only_second, "p": test.p})  # fmt: skip
    columns = {"first": pa.string(), "second": pa.string(), "n": pa.int64(), "only first right": pa.int64(),
               "only second right": pa.int64(), "p": pa.float64()}  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))


def _errors(taxonomies: dict[str, Taxonomy]) -> object:
    import pyarrow as pa

    from tokenry.tokenization.arithmetic_scores import sign_test

    rows = [
        {
            "setting": name, "wrong": one.wrong, "of the right length": one.length_right,
            "one digit only": sum(one.only_digit.values()), "off by one": one.off_by_one,
            "off by one, last digit": one.off_by_one_last,
            "more frequent token": one.more_frequent[0], "rarer token": one.more_frequent[1],
            "p (frequency)": sign_test(*one.more_frequent),
        }
        for name, one in taxonomies.items()
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def _positions(taxonomies: dict[str, Taxonomy]) -> object:
    """One row a digit or token position that differs somewhere, or whose uncertainty is known."""
    import pyarrow as pa

    rows = []
    for name, one in taxonomies.items():
        parts = (("digit", one.digit), ("token", one.token))
        for what, counts in parts:
            bits = one.entropies_bits if what == "token" else {}
            for place in sorted({*counts, *bits}):
                rows.append({"setting": name, "what": what, "position from the left": place,
                             "wrong": counts.get(place, 0), "share of responses": counts.get(place, 0) / one.n,
                             "entropy_bits": bits.get(place)})  # fmt: skip
    columns = {"setting": pa.string(), "what": pa.string(), "position from the left": pa.int64(), "wrong": pa.int64(),
               "share of responses": pa.float64(), "entropy_bits": pa.float64()}  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))
