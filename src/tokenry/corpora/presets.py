"""Published sets of rules, kept as data: name a preset, and see what it needs and what it asks.

The rules are expressions over signals (`presets.toml`). A name that no family of signals has is an error, found when
the tests run and again when the preset is used: Dolma's released recipe had three filters that never fired, because
they named an attribute that no tagger wrote.

Papers: A Survey on Data Selection for Language Models (arXiv 2402.16827); Dolma: an Open Corpus of Three Trillion
Tokens for Language Model Pretraining Research (arXiv 2402.00159).
"""

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.report import Report

__all__ = ["PRESETS", "Preset", "asked_families", "preset", "presets_report"]

_FILE = Path(__file__).with_name("presets.toml")


@dataclass(frozen=True)
class Preset:
    """A published set of rules.

    Attributes:
        name: what a user types.
        says: what it is, in a line.
        paper: where it is from.
        rules: reason a document is dropped for -> rule it must hold.
        cut: columns of spans that are taken out of the kept texts -> what stands for them.
    """

    name: str
    says: str
    paper: str
    rules: Mapping[str, str]
    cut: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The signals it looks at."""
        from tokenry.corpora.expressions import parse

        asked = [column for rule in self.rules.values() for column in parse(rule).columns]
        return tuple(dict.fromkeys([*asked, *self.cut]))

    @property
    def families(self) -> tuple[str, ...]:
        """The families of signals to score for it.

        Raises:
            ValueError: no family has one of its signals (the nearest is given).
        """
        owners = _owners()
        for column in self.columns:
            if column not in owners:
                raise ValueError(
                    f"the preset {self.name!r} asks for {column!r}, which no signal is.{suggest(column, owners)}"
                )
        return tuple(dict.fromkeys(owners[column] for column in self.columns))


@functools.cache
def _owners() -> dict[str, str]:
    from tokenry.corpora.signals import SIGNALS, families_of

    return {column: family.name for family in families_of(list(SIGNALS)) for column in family.columns}


@functools.cache
def _read() -> dict[str, Preset]:
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: Preset(name, entry["says"], entry["paper"], entry["rules"], entry.get("cut", {}))
        for name, entry in entries.items()
    }


class _Rules(Mapping):
    """Preset -> its rules, read from the file when first looked at."""

    def __getitem__(self, name: str) -> Mapping[str, str]:
        return _read()[name].rules

    def __iter__(self) -> Iterator[str]:
        return iter(_read())

    def __len__(self) -> int:
        return len(_read())


PRESETS: Mapping[str, Mapping[str, str]] = _Rules()
"""Preset -> reason -> rule that a document must hold."""


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ValueError: there is none (the nearest is given).
    """
    found = _read()
    if name not in found:
        raise ValueError(f"no preset is called {name!r}.{suggest(name, found)} There are: {', '.join(found)}.")
    return found[name]


def asked_families(signals: Sequence[str], presets: Sequence[str]) -> list[str]:
    """The families of signals that a user named, with commas or one by one, and those that presets need.

    Raises:
        ValueError: nothing is named, or a preset is not known.
    """
    named = [name.strip() for entry in signals for name in entry.split(",") if name.strip()]
    families = list(dict.fromkeys([*named, *(family for name in presets for family in preset(name).families)]))
    if not families:
        raise ValueError(
            "no signals named. Give --signals gopher,pii (`tokenry corpus signals` lists them) or --preset."
        )
    return families


def presets_report(names: Sequence[str] = ()) -> Report:
    """All presets, a row each; or every rule of some, with the reason it gives.

    Raises:
        ValueError: a preset is not known.
    """
    report = Report("corpus presets", "published sets of rules")
    if names:
        found = [preset(name) for name in names]
        rules = [
            {"preset": one.name, "reason": reason, "keeps": rule} for one in found for reason, rule in one.rules.items()
        ]
        cuts = [{"preset": one.name, "spans": a, "replaced by": b} for one in found for a, b in one.cut.items()]
        report.tables["rules"] = pa.Table.from_pylist(rules)
        if cuts:
            report.tables["taken out"] = pa.Table.from_pylist(cuts)
        report.notes += [f"{one.name}: {one.says}. {one.paper}." for one in found]
        return report
    rows = [
        {"preset": one.name, "says": one.says, "rules": len(one.rules), "signals": ",".join(one.families)}
        for one in _read().values()
    ]
    report.tables["presets"] = pa.Table.from_pylist(rows)
    return report
