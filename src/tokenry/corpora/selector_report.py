"""What selectors there are, and what one measured.

Paper: A Survey on Data Selection for Language Models (arXiv 2402.16827), for the groups.
"""

from collections.abc import Mapping

import pyarrow as pa

from tokenry.core.report import Report
from tokenry.corpora import SELECTORS
from tokenry.corpora.engine import Mapped
from tokenry.corpora.selectors import GROUPS, open_selector

__all__ = ["selectors_report", "utility_report"]


def utility_report(method: str, measured: Mapped | None) -> Report:
    """What was measured: ranges and quartiles of the columns, and how its paper would keep by them."""
    from tokenry.corpora.signals import score_report

    selector = open_selector(method)
    if measured is None:
        raise ValueError(
            f"the selector {method!r} has nothing to measure. Use it at once: tokenry corpus select --method."
        )
    report = score_report(measured)
    report.kind, report.title = "corpus utility", selector.says
    report.facts = {"method": method, "keeps": _said(selector.choice), **report.facts}
    return report


def selectors_report() -> Report:
    """All selectors by group, and the presets of rules: what each does, needs, costs and puts upon its columns."""
    from tokenry.corpora.presets import PRESETS, preset

    report = Report("corpus selectors", "ways to select, by the groups of the survey")
    found = sorted((open_selector(name) for name in SELECTORS), key=lambda one: GROUPS.index(one.group))
    rows = [
        {
            "method": one.name, "says": one.says,
            "needs": ", ".join(one.needs).replace("targets", "target").replace("|", " or "),
            "--set": ", ".join(f"{name}={value}" for name, value in one.options.items()), "cost": one.cost,
            "keeps": _said(one.choice), "group": one.group, "aim": one.aim, "paper": one.paper,
        }
        for one in found
    ]  # fmt: skip
    report.tables["selectors"] = pa.Table.from_pylist(rows)
    report.tables["presets"] = pa.Table.from_pylist([{"method": name, "says": preset(name).says} for name in PRESETS])
    report.notes += [
        "Any column or expression is a utility too: tokenry corpus select --score EXPRESSION --budget ... "
        "[--temperature T | --noisy 9 | --per COLUMN --quota ... | --cap N].",
        "Weights of whole domains (DoReMi, DoGE, RegMix, CLIMB) are mixtures: tokenry corpus mix.",
    ]
    return report


def _said(choice: Mapping[str, object]) -> str:
    said = [*choice.get("rules", {}).values(), *([f"best {choice['score']}"] if "score" in choice else [])]
    said += [f"{name}={value}" for name, value in choice.items() if name not in ("rules", "score")]
    return "; ".join(said) or "any, at random"
